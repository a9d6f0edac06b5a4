//! A Unix stream socket that carries frames: one read and one write per turn of the loop.

use std::io::{self, Read as _, Write as _};

use bytes::Bytes;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use sim_httpsys::api::wire::{Frames, WireError};

/// How much is read at once.
const READ_SIZE: usize = 256 << 10;

/// One end of a pipe.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state"
)]
pub(super) struct Pipe {
    pub(super) stream: UnixStream,
    frames: Frames,
    scratch: Box<[u8]>,
    /// Frames that are to be written at the end of the turn.
    pub(super) out: Vec<u8>,
    written: usize,
    /// Its becoming writable is being waited for.
    blocked: bool,
    /// The peer is gone.
    pub(super) closed: bool,
    /// The end of what the peer says is known to have come: epoll says so only once, and mostly in
    /// the same breath as its last words.
    pub(super) ended: bool,
    /// There may be more to read.
    pub(super) more: bool,
}

impl Pipe {
    pub(super) fn new(stream: std::os::unix::net::UnixStream) -> Self {
        Self {
            stream: UnixStream::from_std(stream),
            frames: Frames::default(),
            scratch: vec![0; READ_SIZE].into_boxed_slice(),
            out: Vec::new(),
            written: 0,
            blocked: false,
            closed: false,
            ended: false,
            more: false,
        }
    }

    /// Begins to wait for what the peer writes.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE)
    }

    /// Waits for the socket to become writable as long as something could not be written, and no
    /// longer: whenever the peer reads, a Unix socket becomes writable, and that would wake us.
    pub(super) fn watch(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let blocked = !self.out.is_empty();
        if blocked == self.blocked {
            return Ok(());
        }
        self.blocked = blocked;
        let interest = if blocked {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        registry.reregister(&mut self.stream, token, interest)
    }

    /// Reads what is there, once. A read that does not fill the buffer has emptied the socket, but not
    /// taken note of its end: only the next read would.
    pub(super) fn read(&mut self) {
        self.more = false;
        match self.stream.read(&mut self.scratch) {
            Ok(0) => self.closed = true,
            Ok(length) => {
                self.frames
                    .buffer
                    .extend_from_slice(&self.scratch[..length]);
                self.more = length == self.scratch.len() || self.ended;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.more = true,
            Err(_) => self.closed = true,
        }
    }

    /// The next whole frame.
    pub(super) fn next_frame(&mut self) -> Result<Option<Bytes>, WireError> {
        self.frames.next_frame()
    }

    /// Writes what has gathered, as far as the socket takes it; the rest when it is writable.
    pub(super) fn write(&mut self) {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => {
                    self.closed = true;
                    break;
                }
                Ok(length) => self.written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        self.out.clear();
        self.out.shrink_to(4 << 20);
        self.written = 0;
    }

    /// Writes all that is left, waiting for the socket: before the process exits.
    pub(super) fn write_all(&mut self, patience: std::time::Duration) {
        use rustix::event::{PollFd, PollFlags, poll};
        let until = super::clock::clock_now() + patience;
        self.write();
        while !self.out.is_empty() && !self.closed && super::clock::clock_now() < until {
            let slice = rustix::time::Timespec {
                tv_sec: 0,
                tv_nsec: 50_000_000,
            };
            let mut sockets = [PollFd::new(&self.stream, PollFlags::OUT)];
            // A failed poll is followed by a write that says what is wrong.
            poll(&mut sockets, Some(&slice)).ok();
            self.write();
        }
    }
}
