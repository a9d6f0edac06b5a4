//! A file is replaced as a whole or not at all, and may be read by whom it might be before.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Puts a file in the place of another at once. It may be read by whom the one at `like` may be: mostly the replaced
/// one.
pub fn replace(path: &Path, bytes: &[u8], like: &Path) -> io::Result<()> {
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut partial = target.clone().into_os_string();
    partial.push(".new");
    let partial = PathBuf::from(partial);
    write_like(&partial, bytes, like)?;
    fs::rename(&partial, &target)
}

/// Writes a file that may be read by whom another one may be, if there is one; nobody else may while it is written.
pub fn write_like(path: &Path, bytes: &[u8], like: &Path) -> io::Result<()> {
    let Ok(like) = fs::metadata(like) else {
        return fs::write(path, bytes);
    };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(like.permissions())
}
