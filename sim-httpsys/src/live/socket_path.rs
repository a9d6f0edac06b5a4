//! Unix sockets in folders whose names are too long for a socket's address.
//!
//! An address holds 107 bytes of path. A longer one is reached through an open handle of its folder:
//! `/proc/self/fd/<n>/<name>` names the same file, and is short.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The longest path that is used as it is. Source: unix(7): `sun_path` has 108 bytes, the last is NUL.
const PATH_MAX: usize = 107;

/// A name under which a Unix socket can be bound or connected to, as long as this value lives.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    /// Held open for the name that goes through it.
    _folder: Option<File>,
}

impl SocketPath {
    /// The name for `path`, whose folder must exist if `path` is long.
    pub fn of(path: &Path) -> io::Result<Self> {
        let short = path.as_os_str().len() <= PATH_MAX;
        let (false, Some(folder), Some(name)) = (short, path.parent(), path.file_name()) else {
            return Ok(Self {
                path: path.to_owned(),
                _folder: None,
            });
        };
        let folder = File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self {
            path,
            _folder: Some(folder),
        })
    }

    /// The name. Lent, not given: some `bind` and `connect` drop what they are given before they use
    /// the address that they made of it.
    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_socket_in_a_folder_with_a_very_long_name_is_reached() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("long".repeat(50));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("device");
        assert!(UnixListener::bind(&path).is_err());
        let listener = UnixListener::bind(SocketPath::of(&path).unwrap().as_path()).unwrap();
        let mut client = UnixStream::connect(SocketPath::of(&path).unwrap().as_path()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        let mut buffer = [0; 5];
        server.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"hello");
        assert!(path.exists());
    }

    #[test]
    fn a_short_path_stays_as_it_is() {
        let path = Path::new("/not/there/device");
        assert_eq!(SocketPath::of(path).unwrap().as_path(), path);
    }
}
