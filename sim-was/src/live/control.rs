//! The control socket: one command and one answer per connection.
//!
//! Whoever connects must be the same user (the folder is 0700, the socket 0600, and the peer's uid
//! is checked). Nothing that arrives is trusted: lengths are bounded, garbage gets an error and its
//! connection is closed, at most [`CONNECTIONS_MAX`] are open.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use serde_json::Value;
use sim_httpsys::clockwork::Instant;
use sim_httpsys::live::SocketPath;
use sim_httpsys::live::clock::clock_now;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::audit_log::{Asker, AuditLog};
use crate::control::wire::{self, MessageError, Order};
use crate::control::{Answer, Command, Refusal};
use crate::event_log::Fact;

/// Most connections at once.
const CONNECTIONS_MAX: usize = 64;

/// How long a tool may take to say what it wants.
const COMMAND_MAX: Duration = Duration::from_secs(5);

/// A command, and where its answer goes.
pub(super) type Commanded = (Command, oneshot::Sender<Answered>);

/// What a tool is told, and what the audit log is told beyond that.
pub(super) struct Answered {
    pub(super) answer: Answer,
    /// What a change of the configuration has caused.
    pub(super) consequences: Option<Fact>,
    /// What has come of any other order.
    pub(super) outcome: Value,
    /// What comes of it after the answer.
    pub(super) later: Option<oneshot::Receiver<Value>>,
}

impl Answered {
    fn refused(refusal: Refusal) -> Self {
        Self {
            answer: Answer::Refused(refusal),
            consequences: None,
            outcome: Value::Null,
            later: None,
        }
    }
}

/// Makes the folder of sockets below a root, for this user only.
pub(super) fn make_run_folder(root: &Path) -> io::Result<()> {
    let folder = root.join("run");
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o700))
}

/// Binds a Unix socket for this user only; a dead one of that name is replaced.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    let name = SocketPath::of(path)?;
    if std::os::unix::net::UnixStream::connect(name.as_path()).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(name.as_path())?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Whether the other end of a socket is a process of this user, or of root, who may do anything anyway.
pub(super) fn is_trusted(stream: &UnixStream) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let peer = stream.peer_cred();
    peer.is_ok_and(|peer| [user, 0].contains(&peer.uid()))
}

/// Accepts tools until the server ends.
pub(super) async fn serve(
    listener: UnixListener,
    commands: mpsc::Sender<Commanded>,
    audit: Arc<AuditLog>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, mostly: wait until some are free again.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if !is_trusted(&stream) {
            continue;
        }
        let (commands, audit) = (commands.clone(), Arc::clone(&audit));
        tokio::spawn(async move {
            let later = converse(stream, commands, &audit).await;
            drop(place);
            if let Ok(Some(later)) = later {
                later.write_down(&audit).await;
            }
        });
    }
}

/// An order that was answered before it was carried out.
struct Later {
    asker: Asker,
    command: Command,
    begun: Instant,
    outcome: oneshot::Receiver<Value>,
}

impl Later {
    /// Waits for what comes of it.
    async fn write_down(self, audit: &AuditLog) {
        if let Ok(outcome) = self.outcome.await {
            let took = clock_now() - self.begun;
            audit.outcome_of(&self.asker, &self.command, &outcome, took);
        }
    }
}

async fn converse(
    mut stream: UnixStream,
    commands: mpsc::Sender<Commanded>,
    audit: &AuditLog,
) -> Result<Option<Later>, MessageError> {
    let who = stream.peer_cred().ok();
    let mut unfinished = None;
    let answer = match timeout(COMMAND_MAX, read(&mut stream)).await {
        Ok(Ok(order)) => {
            let (command, on_behalf_of) = match order {
                Order::Own(command) => (command, None),
                Order::For {
                    on_behalf_of,
                    command,
                } => (command, Some(on_behalf_of)),
            };
            if has_gone(&stream) {
                return Ok(None);
            }
            let begun = clock_now();
            let (answer, answered) = oneshot::channel();
            let quit_already = commands.send((command.clone(), answer)).await.is_err();
            let answered = match answered.await {
                Ok(answered) if !quit_already => answered,
                Ok(_) | Err(_) => Answered::refused(Refusal::cannot_accept_control()),
            };
            if !command.is_question() {
                let asker = Asker::peer(who, on_behalf_of);
                audit.command(&asker, &command, &answered, clock_now() - begun);
                unfinished = answered.later.map(|outcome| Later {
                    asker,
                    command,
                    begun,
                    outcome,
                });
            }
            answered.answer
        }
        Ok(Err(error)) => malformed(&error.to_string()),
        Err(_) => malformed("no command came in time"),
    };
    // The order is carried out, whether or not somebody still hears the answer.
    let heard = stream.write_all(&wire::encode(&answer)?).await;
    match unfinished {
        Some(later) => Ok(Some(later)),
        None => Ok(heard.map(|()| None)?),
    }
}

/// Whether a tool has closed its end: it has given up, and what it wanted is not done. That is so when this
/// process was stopped for longer than it waits.
fn has_gone(stream: &UnixStream) -> bool {
    let mut byte = [0; 1];
    let looked = recv(stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(looked, Ok((_, 0)))
}

/// `ERROR_INVALID_DATA`.
fn malformed(message: &str) -> Answer {
    Answer::Refused(Refusal::invalid_data(message))
}

async fn read(stream: &mut UnixStream) -> Result<Order, MessageError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let mut json = vec![0; wire::length(head)?];
    stream.read_exact(&mut json).await?;
    wire::decode(&json)
}
