//! One TCP connection, as the event loop holds it, and the table of all of them.
//!
//! An idle connection owns no buffer: bytes are read into one buffer that all share, and what is to
//! be sent lies in a queue that is empty most of the time.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use bytes::{Buf, Bytes};
use mio::net::TcpStream;
use rustix::net::sockopt::set_socket_linger;

use super::send_queue::{not_sent, unacknowledged};
use super::tls::Tls;
use crate::api::ConnectionId;

/// Most pieces that one write gathers.
const GATHERED_MAX: usize = 16;

/// Bytes that count as sent as soon as they are written.
/// Source: KB944884, `time-taken`: the client's acknowledgement is waited for, except for a response of at
/// most 2 KB from memory.
const UNWATCHED_MAX: u32 = 2 << 10;

/// Low bits of a [`ConnectionId`]: its slot. The others count connections.
const SLOT_BITS: u32 = 24;

/// How far a connection has come on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In use.
    Open,
    /// The client has sent FIN and may still read.
    HalfClosed,
    /// The model has let go of it; what waits is still sent.
    Closing,
    /// FIN was sent, and the client has not acknowledged everything.
    Finishing,
    /// It has; what arrives is dropped until the client closes too.
    Draining,
}

/// Whether something waits to be written to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// Nothing.
    Idle,
    /// It is in the loop's list of connections to write to.
    Dirty,
    /// The socket refused bytes: its becoming writable is news.
    Blocked,
}

/// What one attempt to read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// So many bytes of cleartext; whether more may be there now.
    Bytes { length: usize, more: bool },
    /// The TLS handshake is complete.
    Secured { resumed: bool },
    /// Nothing is there now.
    Nothing,
    /// The client will send nothing more.
    Fin,
    /// The connection is broken.
    Reset,
}

/// What one attempt to write gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Nothing waits any more.
    All,
    /// The client does not take more now.
    Blocked,
    /// The connection is broken.
    Reset,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) socket: TcpStream,
    pub(super) phase: Phase,
    pub(super) writing: Writing,
    /// Whether the machine wants nothing read for now.
    pub(super) paused: bool,
    /// Whether the end of what the client sends is known to have come; it is said only once, and may
    /// come while nothing is read.
    pub(super) ended: bool,
    /// Whether the model is owed an answer for bytes that it sent.
    pub(super) owed: bool,
    /// How often it was looked in vain whether the client has taken what was written.
    pub(super) looks: u8,
    /// Bytes that were handed over since everything was known to have left.
    unwatched: u32,
    waiting: VecDeque<Bytes>,
    tls: Option<Box<Tls>>,
}

impl Connection {
    /// Keeps bytes for the end of the turn.
    pub(super) fn queue(&mut self, bytes: Bytes) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.unwatched = self.unwatched.saturating_add(length);
        if !bytes.is_empty() {
            self.waiting.push_back(bytes);
        }
        self.owed = true;
    }

    /// Whether everything that was written has left for the client; what lies in the socket may still be
    /// cut.
    pub(super) fn has_sent_all(&mut self) -> bool {
        if self.unwatched <= UNWATCHED_MAX {
            return true;
        }
        let all = not_sent(&self.socket) == 0;
        if all {
            self.unwatched = 0;
        }
        all
    }

    /// Whether the client has acknowledged everything, the FIN too.
    pub(super) fn is_acknowledged(&self) -> bool {
        unacknowledged(&self.socket) == 0
    }

    /// Bytes that the client has not got, or not said to have got.
    pub(super) fn outstanding(&self) -> u64 {
        let waiting = self.waiting.iter().map(|bytes| bytes.len() as u64);
        waiting.sum::<u64>() + unacknowledged(&self.socket)
    }

    /// Whether TLS itself has something to say (its handshake, its alerts).
    pub(super) fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Reads once.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Received {
        if let Some(tls) = &mut self.tls {
            return tls.receive(&mut self.socket, buffer);
        }
        match self.socket.read(buffer) {
            Ok(0) => Received::Fin,
            Ok(length) => Received::Bytes {
                length,
                more: length == buffer.len(),
            },
            Err(e) if e.kind() == ErrorKind::WouldBlock => Received::Nothing,
            Err(e) if e.kind() == ErrorKind::Interrupted => Received::Bytes {
                length: 0,
                more: true,
            },
            Err(_) => Received::Reset,
        }
    }

    /// Writes what waits, as far as the client takes it.
    pub(super) fn flush(&mut self) -> Flushed {
        let done = match &mut self.tls {
            Some(tls) => tls.flush(&mut self.socket, &mut self.waiting),
            None => flush_clear(&mut self.socket, &mut self.waiting),
        };
        match done {
            Ok(()) => Flushed::All,
            Err(e) if e.kind() == ErrorKind::WouldBlock => Flushed::Blocked,
            Err(_) => Flushed::Reset,
        }
    }

    /// Sends FIN, once everything else has been sent.
    pub(super) fn finish(&mut self) -> Flushed {
        if let Some(tls) = &mut self.tls {
            tls.say_goodbye();
            match tls.flush(&mut self.socket, &mut self.waiting) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Flushed::Blocked,
                Err(_) => return Flushed::Reset,
            }
        }
        match self.socket.shutdown(Shutdown::Write) {
            Ok(()) => Flushed::All,
            Err(_) => Flushed::Reset,
        }
    }
}

fn flush_clear(socket: &mut TcpStream, waiting: &mut VecDeque<Bytes>) -> io::Result<()> {
    while let Some(first) = waiting.front() {
        let written = if waiting.len() == 1 {
            socket.write(first)
        } else {
            let mut gathered = [IoSlice::new(&[]); GATHERED_MAX];
            let pieces = waiting.len().min(GATHERED_MAX);
            for (slice, bytes) in gathered.iter_mut().zip(waiting.iter()) {
                *slice = IoSlice::new(bytes);
            }
            socket.write_vectored(&gathered[..pieces])
        };
        match written {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => advance(waiting, n),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Drops the first `n` bytes.
fn advance(waiting: &mut VecDeque<Bytes>, mut n: usize) {
    while let Some(first) = waiting.front_mut() {
        if first.len() > n {
            first.advance(n);
            return;
        }
        n -= first.len();
        waiting.pop_front();
    }
}

/// Makes the closing of a socket an RST on the wire.
pub(super) fn reset(socket: &TcpStream) {
    let _ = set_socket_linger(socket, Some(Duration::ZERO));
}

/// All connections. A slot is used again, an id never.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    opened: u64,
}

impl Connections {
    /// Takes a connection in; gives it back if there are too many to number.
    pub(super) fn insert(
        &mut self,
        socket: TcpStream,
        tls: Option<Box<Tls>>,
    ) -> Result<&mut Connection, TcpStream> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() >> SLOT_BITS == 0 => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).expect("slots have 24 bits")
            }
            None => return Err(socket),
        };
        self.opened += 1;
        Ok(self.slots[slot as usize].insert(Connection {
            id: ConnectionId(self.opened << SLOT_BITS | u64::from(slot)),
            socket,
            phase: Phase::Open,
            writing: Writing::Idle,
            paused: false,
            ended: false,
            owed: false,
            looks: 0,
            unwatched: 0,
            waiting: VecDeque::new(),
            tls,
        }))
    }

    /// The connection of that id, if it is still there.
    pub(super) fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.slots.get_mut(slot_of(id))?.as_mut()?;
        (connection.id == id).then_some(connection)
    }

    /// Takes a connection out; its socket closes when it is dropped.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let slot = self.slots.get_mut(slot_of(id))?;
        let connection = slot.take_if(|connection| connection.id == id)?;
        self.free
            .push(u32::try_from(slot_of(id)).expect("slots have 24 bits"));
        Some(connection)
    }
}

fn slot_of(id: ConnectionId) -> usize {
    usize::try_from(id.0 & ((1 << SLOT_BITS) - 1)).expect("24 bits")
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream as Client};

    use super::*;

    fn connected() -> (TcpStream, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        (TcpStream::from_std(socket), client)
    }

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Option<Connection>>() <= 80);
    }

    #[test]
    fn an_id_is_never_used_again_though_its_slot_is() {
        let mut connections = Connections::default();
        let (one, _client) = connected();
        let (two, _other) = connected();
        let first = connections.insert(one, None).unwrap().id;
        assert!(connections.remove(first).is_some());
        let second = connections.insert(two, None).unwrap().id;
        assert_eq!(slot_of(first), slot_of(second));
        assert!(connections.find(first).is_none());
        assert!(connections.remove(first).is_none());
        assert!(connections.find(second).is_some());
    }

    #[test]
    fn pieces_are_sent_in_order_and_what_is_refused_waits() {
        let mut connections = Connections::default();
        let (socket, mut client) = connected();
        let connection = connections.insert(socket, None).unwrap();
        let pieces: Vec<u8> = (0..200).collect();
        for &piece in &pieces {
            connection.queue(Bytes::from(vec![piece; 50_000]));
        }
        assert_eq!(connection.flush(), Flushed::Blocked);
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            client.read_to_end(&mut all).map(|_| all)
        });
        while connection.flush() == Flushed::Blocked {
            std::thread::yield_now();
        }
        assert_eq!(connection.finish(), Flushed::All);
        let all = reader.join().unwrap().unwrap();
        let expected: Vec<u8> = pieces
            .iter()
            .flat_map(|&piece| vec![piece; 50_000])
            .collect();
        assert!(all == expected);
    }

    #[test]
    fn a_reset_is_an_rst_on_the_wire() {
        let (socket, mut client) = connected();
        reset(&socket);
        drop(socket);
        let error = client.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
