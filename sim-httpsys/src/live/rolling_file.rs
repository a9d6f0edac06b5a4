//! A log file that is buffered, begun anew under another name from time to time, and never read.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Bytes that are kept back for one write. Assumed: 64 KiB, as logs of IIS are said to be buffered.
pub(super) const BUFFER_MAX: usize = 64 << 10;

/// A log file.
#[derive(Debug)]
pub(super) struct RollingFile {
    directory: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
    size: u64,
}

impl RollingFile {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            file: None,
            buffer: Vec::new(),
            size: 0,
        }
    }

    /// Bytes in the present file, written or kept back.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Goes on in another file, at its end if it exists.
    pub(super) fn begin(&mut self, name: &str) {
        self.flush();
        let path = self.directory.join(name);
        let opened = fs::create_dir_all(&self.directory)
            .and_then(|()| OpenOptions::new().append(true).create(true).open(&path));
        match opened {
            Ok(file) => {
                self.size = file.metadata().map_or(0, |metadata| metadata.len());
                self.file = Some(file);
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "a log file cannot be opened");
                self.file = None;
                self.size = 0;
            }
        }
    }

    /// Appends what `write` appends.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.buffer.len();
        write(&mut self.buffer);
        self.size += (self.buffer.len() - before) as u64;
        if self.buffer.len() >= BUFFER_MAX {
            self.flush();
        }
    }

    /// Whether something is kept back.
    pub(super) fn is_behind(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Writes what was kept back.
    pub(super) fn flush(&mut self) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(&self.buffer)
        {
            tracing::warn!(%error, folder = %self.directory.display(), "log lines are lost");
        }
        self.buffer.clear();
    }
}

impl Drop for RollingFile {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The number of the newest file `prefix<N>.log` in a folder, if there is one.
pub(super) fn newest(directory: &Path, prefix: &str) -> Option<u32> {
    let number = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix(prefix)?
            .strip_suffix(".log")?
            .parse()
            .ok()
    };
    fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| number(entry.ok()?))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_back_until_the_buffer_is_full_or_somebody_asks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut log = RollingFile::new(folder.path().to_owned());
        log.begin("a.log");
        log.append(|out| out.extend_from_slice(b"one\r\n"));
        assert_eq!(fs::read(&path).unwrap(), b"");
        log.flush();
        assert_eq!(fs::read(&path).unwrap(), b"one\r\n");
        log.append(|out| out.resize(BUFFER_MAX, b'x'));
        assert_eq!(fs::metadata(&path).unwrap().len(), log.size());
    }

    #[test]
    fn a_file_that_exists_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("httperr3.log"), "old\r\n").unwrap();
        fs::write(folder.path().join("httperr12.log"), "newer\r\n").unwrap();
        assert_eq!(newest(folder.path(), "httperr"), Some(12));
        let mut log = RollingFile::new(folder.path().to_owned());
        log.begin("httperr12.log");
        log.append(|out| out.extend_from_slice(b"new\r\n"));
        drop(log);
        let text = fs::read_to_string(folder.path().join("httperr12.log")).unwrap();
        assert_eq!(text, "newer\r\nnew\r\n");
    }
}
