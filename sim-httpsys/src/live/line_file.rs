//! A file of whole lines, of which some may get lost: a log or a trace on a disk that may be full.
//!
//! What does not fit is dropped and counted, never waited for, and never left behind as half a line.
//! It is said twice: when lines begin to get lost, and how many they were when they do no more.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::regular_file;

/// An open file that only this process appends to.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    file: File,
    lost: u64,
}

impl LineFile {
    /// Opens a file at its end; it is made if it does not exist, and so is its folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        let file = regular_file::open_with(options.append(true).create(true), path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            lost: 0,
        })
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Appends lines, each with its end, as far as they fit; false if some are lost.
    pub fn write(&mut self, lines: &[u8]) -> bool {
        let (written, error) = write_some(&mut self.file, lines);
        let Some(error) = error else {
            if self.lost > 0 {
                let (lost, path) = (self.lost, self.path.display());
                tracing::warn!(lost, %path, "lines are written again, after some were lost");
                self.lost = 0;
            }
            return true;
        };
        let whole = lines[..written].iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |at| at + 1);
        if written > whole {
            let torn = (written - whole) as u64;
            let _ = self.file.set_len(self.size().saturating_sub(torn));
        }
        if self.lost == 0 {
            tracing::warn!(%error, path = %self.path.display(), "lines are lost");
        }
        let ends = lines[whole..].iter().filter(|byte| **byte == b'\n');
        self.lost += ends.count() as u64;
        false
    }
}

/// Writes as much as it can: how much that was, and what stopped it.
fn write_some(out: &mut impl Write, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return (written, Some(ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_the_next_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log/a.log");
        let mut log = LineFile::open(&path).unwrap();
        assert!(log.write(b"one\n"));
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let file = std::mem::replace(&mut log.file, full);
        assert!(!log.write(b"two\nthree\n"));
        assert_eq!(log.lost, 2);
        log.file = file;
        assert!(log.write(b"four\n"));
        assert_eq!(log.lost, 0);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\nfour\n");
    }

    /// Takes five bytes, and then none.
    struct Small(Vec<u8>);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = 5_usize.saturating_sub(self.0.len());
            if room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let taken = &bytes[..room.min(bytes.len())];
            self.0.extend_from_slice(taken);
            Ok(taken.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_becomes_full_takes_a_part() {
        let mut disk = Small(Vec::new());
        let (written, error) = write_some(&mut disk, b"abc\ndef\n");
        assert_eq!(written, 5);
        assert_eq!(error.unwrap().kind(), ErrorKind::StorageFull);
    }
}
