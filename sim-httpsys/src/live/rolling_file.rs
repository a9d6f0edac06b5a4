//! A log file that is buffered, begun anew under another name from time to time, and never read.

use std::fs;
use std::path::{Path, PathBuf};

use super::line_file::LineFile;

/// Bytes that are kept back for one write. Assumed: 64 KiB, as logs of IIS are said to be buffered.
pub(super) const BUFFER_MAX: usize = 64 << 10;

/// What is wrong with a log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFault {
    /// The file.
    pub path: PathBuf,
    /// Whether it could be made, and lines do not get into it.
    pub is_open: bool,
}

/// A log file.
#[derive(Debug)]
pub(super) struct RollingFile {
    directory: PathBuf,
    /// The present file; empty before the first.
    name: String,
    file: Option<LineFile>,
    /// What the present file begins with, as long as it is not written.
    header: Vec<u8>,
    buffer: Vec<u8>,
    size: u64,
    /// It was said that the present file cannot be opened, or written.
    told: bool,
    /// What has gone wrong since somebody asked.
    fault: Option<LogFault>,
}

impl RollingFile {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            name: String::new(),
            file: None,
            header: Vec::new(),
            buffer: Vec::new(),
            size: 0,
            told: false,
            fault: None,
        }
    }

    /// What has gone wrong since this was asked last: once for a file, until lines get into it again.
    pub(super) fn take_fault(&mut self) -> Option<LogFault> {
        self.fault.take()
    }

    /// Bytes in the present file, written or kept back.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Goes on in another file, at its end if it exists.
    pub(super) fn begin(&mut self, name: &str) {
        self.flush();
        name.clone_into(&mut self.name);
        self.header.clear();
        self.file = None;
        self.told = false;
        self.open();
        self.size = self.file.as_ref().map_or(0, LineFile::size);
    }

    /// What the present file begins with: not lost with lines that are.
    pub(super) fn append_header(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.header.len();
        write(&mut self.header);
        self.size += (self.header.len() - before) as u64;
    }

    /// Appends what `write` appends: whole lines.
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

    /// Writes what was kept back. A file that could not be opened is tried again.
    pub(super) fn flush(&mut self) {
        if self.is_behind() && self.file.is_none() {
            self.open();
        }
        if let Some(file) = &mut self.file {
            if !self.header.is_empty() && file.write(&self.header) {
                self.header.clear();
            }
            if !self.buffer.is_empty() {
                let is_written = file.write(&self.buffer);
                self.note(is_written, true);
            }
        }
        self.buffer.clear();
    }

    /// Keeps in mind, once, that the file cannot be opened or written.
    fn note(&mut self, is_good: bool, is_open: bool) {
        if !is_good && !self.told {
            let path = self.directory.join(&self.name);
            self.fault = Some(LogFault { path, is_open });
        }
        self.told = !is_good;
    }

    fn open(&mut self) {
        let path = self.directory.join(&self.name);
        match LineFile::open(&path) {
            Ok(file) => {
                self.file = Some(file);
                self.told = false;
            }
            Err(error) => {
                if !self.told {
                    tracing::warn!(%error, path = %path.display(), "a log file cannot be opened");
                }
                self.note(false, false);
            }
        }
    }
}

impl Drop for RollingFile {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The number of the newest file `prefix<N>suffix` in a folder, if there is one.
pub(super) fn newest(directory: &Path, prefix: &str, suffix: &str) -> Option<u32> {
    let number = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix(prefix)?
            .strip_suffix(suffix)?
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
    fn a_file_that_could_not_be_opened_is_tried_again_and_has_its_header() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("logs");
        fs::write(&directory, "in the way").unwrap();
        let mut log = RollingFile::new(directory.clone());
        log.begin("a.log");
        log.append_header(|out| out.extend_from_slice(b"#Fields: a\r\n"));
        log.append(|out| out.extend_from_slice(b"lost\r\n"));
        let path = directory.join("a.log");
        let is_open = false;
        assert_eq!(log.take_fault(), Some(LogFault { path, is_open }));
        log.flush();
        assert_eq!(log.take_fault(), None, "it was said");
        fs::remove_file(&directory).unwrap();
        log.append(|out| out.extend_from_slice(b"kept\r\n"));
        log.flush();
        let text = fs::read_to_string(directory.join("a.log")).unwrap();
        assert_eq!(text, "#Fields: a\r\nkept\r\n");
    }

    #[test]
    fn a_file_that_exists_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("httperr3.log"), "old\r\n").unwrap();
        fs::write(folder.path().join("httperr12.log"), "newer\r\n").unwrap();
        assert_eq!(newest(folder.path(), "httperr", ".log"), Some(12));
        let mut log = RollingFile::new(folder.path().to_owned());
        log.begin("httperr12.log");
        log.append(|out| out.extend_from_slice(b"new\r\n"));
        drop(log);
        let text = fs::read_to_string(folder.path().join("httperr12.log")).unwrap();
        assert_eq!(text, "newer\r\nnew\r\n");
    }
}
