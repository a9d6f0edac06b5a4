//! Files as a Windows site sees them: any case, and nothing from outside the site's folder.
//!
//! Every open goes through `openat2` below the folder (`RESOLVE_BENEATH`), so that neither `..` nor a
//! symbolic link that leaves it gives a byte; links that stay inside work.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::model::{FileOutcome, FileStamp};

/// Files up to this size are read on the loop's thread, larger ones elsewhere.
const INLINE_MAX: u64 = 256 << 10;
/// The largest file that is read at all: responses are sent from memory.
pub(super) const FILE_MAX: u64 = 64 << 20;

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    /// This is what came of it.
    Outcome(FileOutcome),
    /// A large file, to be read elsewhere.
    Large {
        candidate: usize,
        stamp: FileStamp,
        file: File,
    },
}

/// Looks for the first candidate that exists and reads it, unless it is `unless`.
pub(super) fn read(
    root: &Path,
    candidates: &[String],
    unless: Option<(usize, FileStamp)>,
) -> Found {
    let outcome = Found::Outcome;
    let Ok(root) = openat(
        CWD,
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ) else {
        return outcome(FileOutcome::NotFound);
    };
    for (candidate, path) in candidates.iter().enumerate() {
        let file = match open(&root, path) {
            Ok(file) => File::from(file),
            Err(Errno::ACCESS | Errno::PERM) => return outcome(FileOutcome::Denied),
            Err(_) => continue,
        };
        let Ok(meta) = file.metadata() else { continue };
        if meta.is_dir() {
            if candidate + 1 == candidates.len() {
                return outcome(FileOutcome::Directory);
            }
            continue;
        }
        if !meta.is_file() {
            continue;
        }
        let modified = meta
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified =
            modified.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let stamp = FileStamp {
            modified,
            size: meta.len(),
        };
        return match meta.len() {
            _ if unless == Some((candidate, stamp)) => outcome(FileOutcome::Unchanged),
            size if size > FILE_MAX => outcome(FileOutcome::TooLarge),
            size if size > INLINE_MAX => Found::Large {
                candidate,
                stamp,
                file,
            },
            _ => outcome(contents(candidate, stamp, file)),
        };
    }
    outcome(FileOutcome::NotFound)
}

/// Reads a file. One that grows meanwhile is cut at its size, one that shrinks ends early.
pub(super) fn contents(candidate: usize, stamp: FileStamp, file: File) -> FileOutcome {
    let mut contents = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or(0));
    match file.take(stamp.size).read_to_end(&mut contents) {
        Ok(_) => FileOutcome::Contents {
            candidate,
            stamp,
            contents: Bytes::from(contents),
        },
        Err(_) => FileOutcome::Denied,
    }
}

/// Opens a file or folder below `root`; an exact name first, then one that differs in case only.
fn open(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    if path.is_empty() {
        return beneath(root, ".", OFlags::RDONLY);
    }
    match beneath(root, path, OFlags::RDONLY) {
        Err(Errno::NOENT) => beneath(root, &real_case(root, path)?, OFlags::RDONLY),
        result => result,
    }
}

fn beneath(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    // NONBLOCK: a FIFO must not stop the loop; it is refused once it is open.
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            // The kernel could not rule out a race with a rename.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// The path as it is spelled on the disk, found segment by segment.
fn real_case(root: &OwnedFd, path: &str) -> Result<String, Errno> {
    let mut real = String::new();
    for segment in path.split('/') {
        let folder = if real.is_empty() { "." } else { &real };
        let folder = beneath(root, folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let name = entry(folder, segment)?.ok_or(Errno::NOENT)?;
        if !real.is_empty() {
            real.push('/');
        }
        real.push_str(&name);
    }
    Ok(real)
}

/// The entry of a folder with that name: exact, else the first in order that differs in case only.
fn entry(folder: OwnedFd, name: &str) -> Result<Option<String>, Errno> {
    let wanted = name.to_lowercase();
    let mut found: Option<String> = None;
    for entry in Dir::new(folder)? {
        let entry = entry?;
        let Ok(candidate) = entry.file_name().to_str() else {
            continue;
        };
        let usable = !matches!(candidate, "." | "..") && entry.file_type() != FileType::Fifo;
        if usable && candidate == name {
            return Ok(Some(candidate.to_owned()));
        }
        let first = found.as_deref().is_none_or(|found| candidate < found);
        if usable && first && candidate.to_lowercase() == wanted {
            found = Some(candidate.to_owned());
        }
    }
    Ok(found)
}
