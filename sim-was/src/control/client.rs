//! Asks a running server: what `appcmd`, `iisreset` and `iisapp` are made of.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;
use sim_httpsys::live::SocketPath;

use super::wire::{self, MessageError, Order};
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

/// Asks the server at `root` and waits for its answer, however long it takes.
pub fn ask(root: &Path, command: &Command) -> Result<Answer, AskError> {
    let mut question = Question::put(root, command)?;
    loop {
        if let Some(answer) = question.answer(None)? {
            return Ok(answer);
        }
    }
}

/// The same on behalf of somebody, whom the server's audit log names.
pub fn ask_for(root: &Path, command: &Command, who: &str) -> Result<Answer, AskError> {
    let order = Order::For {
        on_behalf_of: who.to_owned(),
        command: command.clone(),
    };
    let mut question = Question::put_order(root, &order)?;
    loop {
        if let Some(answer) = question.answer(None)? {
            return Ok(answer);
        }
    }
}

/// A question that was put, and whose answer may take a while.
#[derive(Debug)]
pub struct Question {
    root: PathBuf,
    stream: UnixStream,
}

impl Question {
    /// Asks the server at `root`.
    pub fn put(root: &Path, command: &Command) -> Result<Self, AskError> {
        Self::put_order(root, command)
    }

    fn put_order(root: &Path, order: &impl Serialize) -> Result<Self, AskError> {
        let stream = connect(root)?;
        let mut question = Self {
            root: root.to_owned(),
            stream,
        };
        let message = wire::encode(order).map_err(|error| question.broken(error))?;
        let written = question.stream.write_all(&message);
        written.map_err(|error| question.broken(error.into()))?;
        Ok(question)
    }

    /// Waits for the answer, but no longer than `patience`; `None` if it has not come by then.
    pub fn answer(&mut self, patience: Option<Duration>) -> Result<Option<Answer>, AskError> {
        let timeout = patience.map(|patience| {
            Timespec::try_from(patience).unwrap_or(Timespec {
                tv_sec: i64::MAX,
                tv_nsec: 0,
            })
        });
        let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(None),
            Ok(_) => self.read().map(Some).map_err(|error| self.broken(error)),
            Err(error) => Err(self.broken(io::Error::from(error).into())),
        }
    }

    fn read(&mut self) -> Result<Answer, MessageError> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        let mut json = vec![0; wire::length(head)?];
        self.stream.read_exact(&mut json)?;
        wire::decode(&json)
    }

    fn broken(&self, source: MessageError) -> AskError {
        AskError::NoAnswer {
            root: self.root.clone(),
            source,
        }
    }
}

fn connect(root: &Path) -> Result<UnixStream, AskError> {
    SocketPath::of(&wire::socket_path(root))
        .and_then(|name| UnixStream::connect(name.as_path()))
        .map_err(|source| {
            let root = root.to_path_buf();
            if source.kind() == io::ErrorKind::PermissionDenied {
                AskError::Denied { root }
            } else {
                AskError::NotRunning { root, source }
            }
        })
}

/// Kills the process that hosts the services of `root` (SIGKILL), whatever state it is in.
///
/// Who it is, the kernel says: the process that listens on the control socket. It is signalled by its
/// descriptor, so that a process that has its number by chance is never meant.
pub fn kill_services(root: &Path) -> Result<(), AskError> {
    let host = |stream: &UnixStream| -> io::Result<Pid> { Ok(socket_peercred(stream)?.pid) };
    let (first, broken) = (connect(root)?, |source: io::Error| AskError::NoAnswer {
        root: root.to_owned(),
        source: source.into(),
    });
    let pid = host(&first).map_err(broken)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| broken(error.into()))?;
    // It listens still, so the descriptor is its own.
    if host(&connect(root)?).map_err(broken)? != pid {
        return Err(broken(io::Error::other("another process has taken over")));
    }
    pidfd_send_signal(&process, Signal::KILL).map_err(|error| broken(error.into()))
}
