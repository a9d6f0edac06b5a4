//! A file that is written when everything has run: whether it can be is asked before anything runs.

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
        assert_eq!(fs::read_to_string(&old).unwrap(), "kept");
        assert!(!new.exists());
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
