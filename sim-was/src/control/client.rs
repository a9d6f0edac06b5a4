//! Asks a running server: what `appcmd`, `iisreset` and `iisapp` are made of.
//!
//! Who asks never waits for ever: a question is answered within [`ANSWER_MAX`], an order may take as long
//! as its service needs for it, but the service has to show meanwhile that it lives.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;
use sim_httpsys::live::SocketPath;
use sim_httpsys::live::clock::clock_now;

use super::wire::{self, MessageError, Order};
use super::{Answer, Command};

/// How long a question may take. Source: the service control manager gives a service 30 s for a control
/// request. Assumed: the tools do the same.
pub const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How long a service that is busy with an order may take to show that it lives.
/// Assumed: enough for a busy machine, as it only has to say its state.
const SIGN_OF_LIFE_MAX: Duration = Duration::from_secs(5);

/// When whoever waits at a terminal is told that it takes longer.
/// Assumed: so long nobody thinks that it hangs.
const NOTE_AFTER: Duration = Duration::from_secs(2);

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
    /// It stands still: a process that was stopped, or a machine that does nothing any more.
    #[error("the server at {root} does not respond", root = .root.display())]
    TimedOut {
        /// The root that was asked for.
        root: PathBuf,
    },
}

/// Asks the server at `root` and waits for its answer, but not for ever.
pub fn ask(root: &Path, command: &Command) -> Result<Answer, AskError> {
    ask_telling(root, command, || {})
}

/// The same; calls `waiting` once if the answer does not come soon.
pub fn ask_telling(
    root: &Path,
    command: &Command,
    waiting: impl FnOnce(),
) -> Result<Answer, AskError> {
    Question::put(root, command)?.wait(command, &Patience::default(), waiting)
}

/// The same on behalf of somebody, whom the server's audit log names.
pub fn ask_for(root: &Path, command: &Command, who: &str) -> Result<Answer, AskError> {
    let order = Order::For {
        on_behalf_of: who.to_owned(),
        command: command.clone(),
    };
    Question::put_order(root, &order)?.wait(command, &Patience::default(), || {})
}

/// How long is waited for what.
struct Patience {
    note_after: Duration,
    answer_max: Duration,
    sign_of_life_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            note_after: NOTE_AFTER,
            answer_max: ANSWER_MAX,
            sign_of_life_max: SIGN_OF_LIFE_MAX,
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
    pub fn answer(&mut self, patience: Duration) -> Result<Option<Answer>, AskError> {
        let deadline = clock_now() + patience;
        loop {
            let left = deadline.saturating_since(clock_now());
            let left = Timespec::try_from(left).unwrap_or(Timespec {
                tv_sec: i64::MAX,
                tv_nsec: 0,
            });
            let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
            match poll(&mut fds, Some(&left)) {
                Ok(0) => return Ok(None),
                Ok(_) => return self.read().map(Some).map_err(|error| self.broken(error)),
                // Whoever waits was stopped and continued, for example.
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(self.broken(io::Error::from(error).into())),
            }
        }
    }

    /// Waits as long as the command may take.
    fn wait(
        mut self,
        command: &Command,
        patience: &Patience,
        waiting: impl FnOnce(),
    ) -> Result<Answer, AskError> {
        if let Some(answer) = self.answer(patience.note_after)? {
            return Ok(answer);
        }
        waiting();
        let more = patience.answer_max.saturating_sub(patience.note_after);
        if let Some(answer) = self.answer(more)? {
            return Ok(answer);
        }
        // A pool may take its shutdown time limit to stop, whatever that is; but the service that waits
        // for it answers others meanwhile.
        while !command.is_question() {
            let mut probe = Self::put(&self.root, &Command::ServiceStatus)?;
            if probe.answer(patience.sign_of_life_max)?.is_none() {
                break;
            }
            if let Some(answer) = self.answer(patience.answer_max)? {
                return Ok(answer);
            }
        }
        Err(AskError::TimedOut { root: self.root })
    }

    fn read(&mut self) -> Result<Answer, MessageError> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        let mut json = vec![0; wire::length(head)?];
        self.stream.read_exact(&mut json)?;
        wire::decode(&json)
    }

    fn broken(&self, source: MessageError) -> AskError {
        let root = self.root.clone();
        let timed_out =
            matches!(&source, MessageError::Io(error) if error.kind() == io::ErrorKind::WouldBlock);
        if timed_out {
            AskError::TimedOut { root }
        } else {
            AskError::NoAnswer { root, source }
        }
    }
}

/// The process that hosts the services of `root`, as the kernel knows it.
pub fn services_process(root: &Path) -> Result<u32, AskError> {
    let stream = connect(root)?;
    let pid = socket_peercred(&stream).map(|peer| peer.pid.as_raw_nonzero().get());
    pid.map(i32::cast_unsigned)
        .map_err(|error| AskError::NoAnswer {
            root: root.to_owned(),
            source: io::Error::from(error).into(),
        })
}

/// Whether no server runs at `root`. Nothing is asked, so that one that stands still does not matter.
pub fn nobody_listens(root: &Path) -> bool {
    matches!(connect(root), Err(AskError::NotRunning { .. }))
}

fn connect(root: &Path) -> Result<UnixStream, AskError> {
    let path = wire::socket_path(root);
    let connected = SocketPath::of(&path).and_then(|name| connect_to(name.as_path()));
    connected.map_err(|source| {
        let root = root.to_path_buf();
        if source.kind() == io::ErrorKind::PermissionDenied {
            AskError::Denied { root }
        } else if source.kind() == io::ErrorKind::WouldBlock {
            AskError::TimedOut { root }
        } else {
            AskError::NotRunning { root, source }
        }
    })
}

/// A stream whose limits hold from the beginning: `connect` itself waits where nobody accepts.
fn connect_to(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    for side in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, side, Some(ANSWER_MAX))?;
    }
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::control::ServiceStatus;

    /// Limits that a test can wait for.
    const SHORT: Patience = Patience {
        note_after: Duration::from_millis(5),
        answer_max: Duration::from_millis(30),
        sign_of_life_max: Duration::from_millis(500),
    };

    fn stop() -> Command {
        let name = "DefaultAppPool".to_owned();
        Command::StopApplicationPool { name }
    }

    fn listening() -> (tempfile::TempDir, UnixListener) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("run")).unwrap();
        let listener = UnixListener::bind(wire::socket_path(root.path())).unwrap();
        (root, listener)
    }

    fn asked(listener: &UnixListener) -> (UnixStream, Order) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4];
        stream.read_exact(&mut head).unwrap();
        let mut json = vec![0; wire::length(head).unwrap()];
        stream.read_exact(&mut json).unwrap();
        (stream, wire::decode(&json).unwrap())
    }

    fn reply(stream: &mut UnixStream, answer: &Answer) {
        stream.write_all(&wire::encode(answer).unwrap()).unwrap();
    }

    #[test]
    fn a_server_that_stands_still_is_given_up_after_a_note() {
        let (root, _listener) = listening();
        for command in [Command::ListSites, stop()] {
            let mut told = 0;
            let question = Question::put(root.path(), &command).unwrap();
            let given_up = question.wait(&command, &SHORT, || told += 1);
            assert!(matches!(given_up, Err(AskError::TimedOut { .. })));
            assert_eq!(told, 1);
        }
    }

    #[test]
    fn an_order_may_take_as_long_as_its_service_shows_that_it_lives() {
        let (root, listener) = listening();
        let server = std::thread::spawn(move || {
            let (mut order, _) = asked(&listener);
            for _ in 0..3 {
                let (mut probe, command) = asked(&listener);
                assert_eq!(command, Order::Own(Command::ServiceStatus));
                let running = (crate::control::Service::Was, ServiceStatus::Running);
                reply(&mut probe, &Answer::Services(vec![running]));
            }
            reply(&mut order, &Answer::Done);
        });
        let question = Question::put(root.path(), &stop()).unwrap();
        let answer = question.wait(&stop(), &SHORT, || {});
        assert_eq!(answer.unwrap(), Answer::Done);
        server.join().unwrap();
    }

    #[test]
    fn an_answer_that_comes_at_once_is_no_cause_for_a_note() {
        let (root, listener) = listening();
        let question = Question::put(root.path(), &Command::ListSites).unwrap();
        let (mut stream, _) = asked(&listener);
        reply(&mut stream, &Answer::Sites(Vec::new()));
        let answer = question.wait(&Command::ListSites, &SHORT, || panic!("told"));
        assert_eq!(answer.unwrap(), Answer::Sites(Vec::new()));
    }
}
