//! Asks a running server: what `appcmd`, `iisreset` and `iisapp` are made of.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use sim_httpsys::live::SocketPath;

use super::wire::{self, MessageError};
use super::{Answer, Command};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens there.
    #[error(
        "no server runs at {root} ({source}); start one with `iis-sim up --root {root}`",
        root = .root.display()
    )]
    NotRunning {
        /// The root that was asked for.
        root: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is somebody else's.
    #[error("the server at {} belongs to another user", .root.display())]
    Denied {
        /// The root that was asked for.
        root: PathBuf,
    },
    /// The conversation broke off.
    #[error("the server at {root} did not answer", root = .root.display())]
    NoAnswer {
        /// The root that was asked for.
        root: PathBuf,
        /// Why.
        source: MessageError,
    },
}

/// Asks the server at `root` and waits for its answer.
pub fn ask(root: &Path, command: &Command) -> Result<Answer, AskError> {
    let stream = SocketPath::of(&wire::socket_path(root))
        .and_then(|name| UnixStream::connect(name.as_path()))
        .map_err(|source| {
            let root = root.to_path_buf();
            if source.kind() == io::ErrorKind::PermissionDenied {
                AskError::Denied { root }
            } else {
                AskError::NotRunning { root, source }
            }
        })?;
    converse(stream, command).map_err(|source| AskError::NoAnswer {
        root: root.to_path_buf(),
        source,
    })
}

fn converse(mut stream: UnixStream, command: &Command) -> Result<Answer, MessageError> {
    stream.write_all(&wire::encode(command)?)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut json = vec![0; wire::length(head)?];
    stream.read_exact(&mut json)?;
    wire::decode(&json)
}
