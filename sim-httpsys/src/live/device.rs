//! The device: the Unix socket through which other processes call the driver.
//!
//! Only processes of the same user may open it. Frames are collected per process and written once
//! at the end of a turn of the event loop: batching is what makes a hop cheap.

use std::fs::Permissions;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use mio::net::{UnixListener, UnixStream as Stream};
use mio::{Interest, Registry, Token};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use super::socket_path::SocketPath;
use crate::api::wire::{Frames, WireError, decode_call, encode_completion};
use crate::api::{Call, Completion, ProcessId};

/// Frames that wait for a process that does not read, bytes; beyond it the process counts as gone.
const WAITING_MAX: usize = 4 << 20;

/// Opens the driver's device for calls: a stream of frames (see [`crate::api::wire`]), nonblocking.
///
/// It exists as soon as the driver is ready: whoever starts both retries while it is not found.
pub fn open_device(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(SocketPath::of(path)?.as_path())?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Where processes knock.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Device {
    /// Makes the socket in one step: nobody sees it before it listens, nor with another mode.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let _ = std::fs::remove_file(&unfinished);
        let listener = UnixListener::bind(SocketPath::of(&unfinished)?.as_path())?;
        std::fs::set_permissions(&unfinished, Permissions::from_mode(0o600))?;
        std::fs::rename(&unfinished, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// The next process that wants in; `None` when there is none. Strangers are turned away.
    pub(super) fn accept(&self) -> io::Result<Option<(Stream, u32)>> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let Ok(peer) = socket_peercred(&stream) else {
                continue;
            };
            if peer.uid != geteuid() {
                tracing::warn!(
                    uid = peer.uid.as_raw(),
                    "a stranger was turned away from the device"
                );
                continue;
            }
            let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).unwrap_or(0);
            return Ok(Some((stream, pid)));
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Why a process is let go of.
#[derive(Debug, thiserror::Error)]
pub(super) enum Parting {
    /// It closed its end, mostly by dying.
    #[error("it has let go of the device")]
    Closed,
    /// Reading or writing failed.
    #[error("its device handle failed")]
    Io(#[source] io::Error),
    /// It sent what is not a call.
    #[error("it sent a malformed frame")]
    Malformed(#[source] WireError),
    /// It does not read what it is told.
    #[error("more than {WAITING_MAX} bytes wait for it")]
    NotReading,
}

/// A process that has the device open.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    stream: Stream,
    frames: Frames,
    waiting: Vec<u8>,
    written: usize,
    /// Whether it is in the loop's list of processes to write to.
    pub(super) dirty: bool,
    /// Whether its becoming writable is being waited for.
    watched: bool,
    /// Whether the end of what it says is known to have come: epoll says so only once, and mostly in
    /// the same breath as the last calls.
    pub(super) ended: bool,
}

impl Process {
    pub(super) fn new(id: ProcessId, stream: Stream) -> Self {
        Self {
            id,
            stream,
            frames: Frames::default(),
            waiting: Vec::new(),
            written: 0,
            dirty: false,
            watched: false,
            ended: false,
        }
    }

    /// Begins to wait for its calls.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE)
    }

    /// Waits for it to become writable as long as it does not take everything, and no longer:
    /// whenever it reads, its Unix socket becomes writable, and that would wake us.
    pub(super) fn watch(&mut self, registry: &Registry, token: Token) -> Result<(), Parting> {
        let blocked = !self.waiting.is_empty();
        if blocked == self.watched {
            return Ok(());
        }
        self.watched = blocked;
        let interest = if blocked {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        registry
            .reregister(&mut self.stream, token, interest)
            .map_err(Parting::Io)
    }

    /// Reads once; whether there may be more. A read that does not fill the buffer has emptied the
    /// socket, but not taken note of its end: only the next read would.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<bool, Parting> {
        match self.stream.read(buffer) {
            Ok(0) => Err(Parting::Closed),
            Ok(n) => {
                self.frames.buffer.extend_from_slice(&buffer[..n]);
                Ok(n == buffer.len() || self.ended)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(true),
            Err(e) => Err(Parting::Io(e)),
        }
    }

    /// The next call that has arrived in full.
    pub(super) fn next_call(&mut self) -> Result<Option<Call>, Parting> {
        match self.frames.next_frame().map_err(Parting::Malformed)? {
            Some(frame) => decode_call(frame).map(Some).map_err(Parting::Malformed),
            None => Ok(None),
        }
    }

    /// Keeps a completion for the end of the turn.
    pub(super) fn tell(&mut self, completion: &Completion) {
        encode_completion(completion, &mut self.waiting);
    }

    /// Writes what waits, as far as the process takes it.
    pub(super) fn flush(&mut self) -> Result<(), Parting> {
        while self.written < self.waiting.len() {
            match self.stream.write(&self.waiting[self.written..]) {
                Ok(0) => return Err(Parting::Closed),
                Ok(n) => self.written += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return self.keep_waiting(),
                Err(e) => return Err(Parting::Io(e)),
            }
        }
        self.waiting.clear();
        self.waiting.shrink_to(64 << 10);
        self.written = 0;
        Ok(())
    }

    fn keep_waiting(&mut self) -> Result<(), Parting> {
        if self.waiting.len() - self.written > WAITING_MAX {
            return Err(Parting::NotReading);
        }
        self.waiting.drain(..self.written);
        self.written = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::api::RequestId;
    use crate::api::wire::encode_call;

    fn pair() -> (Process, UnixStream) {
        let (driver, process) = UnixStream::pair().unwrap();
        driver.set_nonblocking(true).unwrap();
        (
            Process::new(ProcessId(1), Stream::from_std(driver)),
            process,
        )
    }

    #[test]
    fn the_device_is_for_its_owner_only_and_goes_with_the_driver() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device");
        let device = Device::create(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let _caller = open_device(&path).unwrap();
        let (_, pid) = device.accept().unwrap().expect("somebody has knocked");
        assert_eq!(pid, std::process::id());
        drop(device);
        assert!(!path.exists());
    }

    #[test]
    fn calls_that_arrive_in_pieces_are_put_together() {
        let (mut process, mut caller) = pair();
        let mut frame = Vec::new();
        encode_call(&Call::ReceiveRequest { credits: 7 }, &mut frame);
        let mut buffer = [0; 64];
        caller.write_all(&frame[..3]).unwrap();
        process.read(&mut buffer).unwrap();
        assert!(process.next_call().unwrap().is_none());
        caller.write_all(&frame[3..]).unwrap();
        process.read(&mut buffer).unwrap();
        assert!(matches!(
            process.next_call(),
            Ok(Some(Call::ReceiveRequest { credits: 7 }))
        ));
    }

    #[test]
    fn a_malformed_frame_parts_the_process() {
        let (mut process, mut caller) = pair();
        caller.write_all(&[1, 0, 0, 0, 99]).unwrap();
        process.read(&mut [0; 64]).unwrap();
        assert!(matches!(
            process.next_call(),
            Err(Parting::Malformed(WireError::UnknownKind(99)))
        ));
    }

    #[test]
    fn a_process_that_does_not_read_is_let_go() {
        let (mut process, _caller) = pair();
        let bytes = Bytes::from(vec![0; 1 << 20]);
        let parted = (0..32).find_map(|_| {
            process.tell(&Completion::EntityBody {
                request: RequestId(1),
                bytes: bytes.clone(),
                last: false,
            });
            process.flush().err()
        });
        assert!(matches!(parted, Some(Parting::NotReading)));
    }
}
