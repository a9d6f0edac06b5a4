//! A file of rows on its way: written beside its place and renamed when it is whole, or, where there is no
//! file to be replaced, written directly.
//!
//! ```text
//!   nothing there, or a file      PATH.tmp.PID.HOST ──► whole and on the disk ──► PATH
//!   a link                        the same for what it points to; the link stays
//!   a device, a pipe              opened and written to: it is what it was afterwards
//! ```

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

use super::folder::{FolderError, Header, at, with};
use super::table::{Kind, Table, Writer};

/// A file that is being written; nobody sees it before it is whole.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    place: Place,
    writer: Writer<File>,
}

/// Where the bytes go while it is written.
#[derive(Debug)]
enum Place {
    /// Beside the file that it will be, by this name.
    Beside(Temporary, PathBuf),
    /// Into a device or a pipe.
    Directly,
}

impl Output {
    /// Begins a file with these columns.
    pub fn begin(path: &Path, columns: Vec<(String, Kind)>) -> Result<Self, FolderError> {
        let (place, file) = if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            let file = OpenOptions::new().write(true).open(path);
            (Place::Directly, file.map_err(at(path))?)
        } else {
            let target = linked(path);
            let temporary = Temporary::beside(&target);
            let file = File::create(&temporary.0).map_err(at(&target))?;
            (Place::Beside(temporary, target), file)
        };
        Ok(Self {
            path: path.to_owned(),
            place,
            writer: Writer::new(file, columns).map_err(with(path))?,
        })
    }

    /// Adds rows.
    pub fn add(&mut self, table: &Table) -> Result<(), FolderError> {
        self.writer.add(table).map_err(with(&self.path))
    }

    /// Writes the end, and gives the file its name.
    pub fn finish(self, header: &Header) -> Result<(), FolderError> {
        let Self {
            path,
            place,
            writer,
        } = self;
        let header = serde_json::to_string(header).map_err(|error| FolderError::Parquet {
            path: path.clone(),
            source: ParquetError::External(Box::new(error)),
        })?;
        let file = writer.close(header).map_err(with(&path))?;
        match place {
            Place::Beside(temporary, target) => {
                file.sync_all().map_err(at(&path))?;
                fs::rename(&temporary.0, &target).map_err(at(&path))
            }
            // Not every device can be asked whether all has arrived.
            Place::Directly => Ok(()),
        }
    }
}

/// What a path means when links are followed; the last of them may point to what is not there yet.
fn linked(path: &Path) -> PathBuf {
    /// Source: Linux, `path_resolution(7)`: at most 40 links are followed.
    const LINKS_MAX: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = fs::read_link(&path) else {
            break;
        };
        path = match path.parent() {
            Some(folder) => folder.join(target),
            None => target,
        };
    }
    path
}

/// A file under its temporary name; gone when this is dropped, unless it was renamed.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> Self {
        // Containers have the same few pids on every machine, so the host is in the name too.
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".tmp.{}.{}", std::process::id(), host()));
        Self(path.with_file_name(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The name of this machine, as far as a file name can hold it.
pub(super) fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let fits = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    name.chars().filter(fits).take(63).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_to_what_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink("second", path("first")).unwrap();
        std::os::unix::fs::symlink(path("file"), path("second")).unwrap();
        assert_eq!(linked(&path("first")), path("file"));
        assert_eq!(linked(&path("file")), path("file"));
    }
}
