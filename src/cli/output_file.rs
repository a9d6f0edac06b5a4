//! A file or a folder that is written when everything has run: whether it can be is asked before anything runs.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};

/// Understands the name of a file that can be written. What is in it stays until there is something to write. Its
/// folder is made, if only that is missing: `--out DIR --json DIR/x.json`.
pub(super) fn output_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| writable(&path).map(|()| path))
}

fn writable(path: &Path) -> io::Result<()> {
    if path == Path::new("-") {
        return Err(io::Error::other(
            "a file is wanted; /dev/stdout is one, and the table is printed there too",
        ));
    }
    match fs::metadata(path) {
        // Opening and closing a pipe would tell its reader that this was all.
        Ok(found) if !found.is_file() && !found.is_dir() => Ok(()),
        Ok(_) => OpenOptions::new().write(true).open(path).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link to what is not there yet is written through.
            if let Ok(target) = fs::read_link(path) {
                return writable(&path.parent().unwrap_or(Path::new("")).join(target));
            }
            if let Some(folder) = path.parent().filter(|folder| is_missing(folder)) {
                fs::create_dir(folder)?;
            }
            let made = OpenOptions::new().write(true).create_new(true).open(path);
            drop(made?);
            fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

/// Understands the name of a folder that can be written into. It is made when there is something to write.
pub(super) fn output_folder() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| writable_folder(&path).map(|()| path))
}

fn writable_folder(path: &Path) -> io::Result<()> {
    let here = Path::new(".");
    let named = |folder: &&Path| **folder != *Path::new("");
    let mut above = path.ancestors().filter(named);
    let there = above.find(|folder| !is_missing(folder)).unwrap_or(here);
    let probe = there.join(format!(".iis-sim-{}", std::process::id()));
    drop(
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&probe)?,
    );
    fs::remove_file(probe)
}

fn is_missing(folder: &Path) -> bool {
    let is_named = folder != Path::new("");
    is_named && fs::symlink_metadata(folder).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        fs::write(&old, "kept").unwrap();
        writable(&old).unwrap();
        writable(&new).unwrap();
        writable(&folder.path().join("made/new")).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("new", &link).unwrap();
        writable(&link).unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "kept");
        assert!(!new.exists());
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_written_into_where_one_above_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "kept").unwrap();
        writable_folder(folder.path()).unwrap();
        writable_folder(&folder.path().join("a/b")).unwrap();
        assert!(writable_folder(&file).is_err() && writable_folder(&file.join("a")).is_err());
        assert!(writable_folder(Path::new("/proc/nobody")).is_err());
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "nothing is left but the file");
    }

    #[test]
    fn what_cannot_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        for wrong in [
            folder.path().to_owned(),
            folder.path().join("no/where/out.json"),
            PathBuf::from("-"),
        ] {
            assert!(writable(&wrong).is_err(), "{}", wrong.display());
        }
    }
}
