//! Files that stand in somebody's folder, opened so that nothing in it can hold up who looks.
//!
//! Opening a FIFO waits for its other end, `/dev/zero` never ends, and a file may have any size. So a file is
//! opened without waiting, looked at once it is open (what the name leads to may change meanwhile), and read up to
//! a size. What is no regular file is an error like a file that may not be read.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// The largest file of a configuration, of any kind.
/// Assumed: real ones stay below 1 MiB, and IIS has no documented limit for applicationHost.config.
pub const CONFIGURATION_MAX: u64 = 16 << 20;

/// Reads a regular file of the configuration as a whole.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    up_to(CONFIGURATION_MAX, open(path)?)
}

/// Reads a file of the configuration that somebody names on a command line: it may be a pipe, as a shell makes one
/// of what another program prints, and who named it waits for it.
pub fn read_named(path: &Path) -> io::Result<Vec<u8>> {
    up_to(CONFIGURATION_MAX, File::open(path)?)
}

/// Opens a regular file to read.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(OpenOptions::new().read(true), path)
}

/// Opens a regular file in the way that is asked for.
pub fn open_with(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        Ok(file)
    } else if kind.is_dir() {
        Err(ErrorKind::IsADirectory.into())
    } else {
        Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is no regular file",
        ))
    }
}

fn up_to(size_max: u64, file: File) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    if size > size_max {
        return Err(too_large(size_max));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // It may grow meanwhile, and files of the kernel do not say how long they are.
    let read = file.take(size_max + 1).read_to_end(&mut bytes)?;
    if read as u64 > size_max {
        return Err(too_large(size_max));
    }
    Ok(bytes)
}

fn too_large(size_max: u64) -> io::Error {
    let words = format!("it has more than {size_max} bytes, and no more are read");
    io::Error::new(ErrorKind::FileTooLarge, words)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        symlink(path("fifo"), path("link")).unwrap();
        for name in ["fifo", "zero", "link"] {
            let error = read(&path(name)).unwrap_err();
            assert_eq!(error.to_string(), "it is no regular file", "{name}");
        }
        let append = open_with(OpenOptions::new().append(true), &path("fifo"));
        assert!(append.is_err(), "nobody reads what it is told");
        let error = read(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
        let error = read(&path("nothing")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_file_is_read_up_to_a_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "1234567").unwrap();
        assert_eq!(up_to(7, open(&path).unwrap()).unwrap(), b"1234567");
        let error = up_to(6, open(&path).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        let error = up_to(6, open(Path::new("/proc/self/status")).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge, "it says it has none");
    }
}
