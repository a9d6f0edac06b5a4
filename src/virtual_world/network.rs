//! TCP connections between clients and the driver: both ends, and what is under way between them.
//!
//! Absent on purpose: segments, windows, loss. Bytes arrive whole and in order, a write is complete at
//! once, and the end of a stream never overtakes its bytes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use bytes::Bytes;
use sim_httpsys::api::{ConnectionId, Endpoint, Ends};
use sim_httpsys::clockwork::Instant;

use super::clients::Slot;
use super::costs::Cost;
use super::response::ResponseReader;
use super::wires::{Timeline, Wire};
use super::world::Event;
use crate::load::book::ConnectionKind;

/// From a client to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Up {
    Syn,
    /// The beginning of a TLS handshake.
    Hello {
        resume: bool,
    },
    /// The bytes of [`Connection::request`].
    Request,
    Fin,
    Rst,
}

/// From the driver to a client.
#[derive(Debug)]
pub(super) enum Down {
    Accepted,
    Refused,
    Secured { resumed: bool },
    Bytes(Bytes),
    Fin,
    Rst,
}

/// The driver's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerSide {
    /// It has not heard of it yet.
    Unknown,
    Open,
    Closed,
}

/// The client's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientSide {
    Connecting,
    Securing,
    Ready,
    Closed,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) endpoint: Endpoint,
    pub(super) ends: Ends,
    pub(super) server: ServerSide,
    /// The driver is to be told when what it sends has gone.
    pub(super) owed: bool,
    pub(super) client: ClientSide,
    pub(super) kind: ConnectionKind,
    /// Which pool of kept-alive connections it counts for, if it has a place in one.
    pub(super) place: Option<usize>,
    /// The pool that it belongs to.
    pub(super) pool: usize,
    /// The attempt that it carries or is opened for.
    pub(super) attempt: Option<Slot>,
    /// Its number in the client's book.
    pub(super) record: Option<u32>,
    pub(super) opened: Instant,
    /// The request that is on its way; the driver takes it.
    pub(super) request: Vec<u8>,
    pub(super) response: ResponseReader,
    up: Wire<Up>,
    down: Wire<Down>,
}

impl Connection {
    fn new(id: ConnectionId, endpoint: Endpoint, ends: Ends) -> Self {
        Self {
            id,
            endpoint,
            ends,
            server: ServerSide::Unknown,
            owed: false,
            client: ClientSide::Connecting,
            kind: ConnectionKind::Extra,
            place: None,
            pool: 0,
            attempt: None,
            record: None,
            opened: Instant::SWITCHED_ON,
            request: Vec::new(),
            response: ResponseReader::default(),
            up: Wire::default(),
            down: Wire::default(),
        }
    }

    /// Uses the room again that another connection had for its texts and wires.
    fn take_room_of(&mut self, last: Self) {
        (self.request, self.response) = (last.request, last.response);
        self.up = last.up.emptied();
        self.down = last.down.emptied();
    }

    /// Neither end has it any more.
    fn is_over(&self) -> bool {
        self.client == ClientSide::Closed && self.server == ServerSide::Closed
    }

    pub(super) fn send_up(&mut self, message: Up, timeline: &mut Timeline) {
        let delay = timeline.draw(Cost::ClientHop);
        self.up.send(message, delay, Event::Up(self.id), timeline);
    }

    pub(super) fn send_down(&mut self, message: Down, timeline: &mut Timeline) {
        let delay = timeline.draw(Cost::ClientHop);
        self.down
            .send(message, delay, Event::Down(self.id), timeline);
    }

    pub(super) fn take_up(&mut self) -> Option<Up> {
        self.up.take()
    }

    pub(super) fn take_down(&mut self) -> Option<Down> {
        self.down.take()
    }
}

/// Connections, by their ids. A slot is used again, with the room that its last connection took.
#[derive(Debug, Default)]
pub(super) struct Network {
    slots: Vec<Connection>,
    free: Vec<u32>,
    /// Where each connection is that was not forgotten. Looked up, never walked through.
    places: HashMap<u64, u32, BuildHasherDefault<Spread>>,
    opened: u64,
    /// Room for requests that are on no connection now.
    pub(super) texts: Vec<Vec<u8>>,
}

impl Network {
    /// Begins a connection: its first packet is on its way.
    pub(super) fn connect(
        &mut self,
        (endpoint, ends): (Endpoint, Ends),
        (kind, pool): (ConnectionKind, usize),
        timeline: &mut Timeline,
    ) -> &mut Connection {
        self.opened += 1;
        let used = self.free.pop();
        let slot = used.unwrap_or_else(|| u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        let id = ConnectionId(self.opened);
        self.places.insert(id.0, slot);
        if used.is_none() {
            self.slots.push(Connection::new(id, endpoint, ends));
        }
        let connection = &mut self.slots[slot as usize];
        if used.is_some() {
            let last = std::mem::replace(connection, Connection::new(id, endpoint, ends));
            connection.take_room_of(last);
        }
        connection.kind = kind;
        connection.pool = pool;
        connection.opened = timeline.now;
        connection.send_up(Up::Syn, timeline);
        connection
    }

    pub(super) fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = *self.places.get(&id.0)?;
        self.slots.get_mut(slot as usize)
    }

    /// The clients are gone, and with them their ends of all connections.
    pub(super) fn hang_up_clients(&mut self, timeline: &mut Timeline) {
        let open = self.slots.iter().filter(|c| c.client != ClientSide::Closed);
        let mut open: Vec<ConnectionId> = open.map(|connection| connection.id).collect();
        open.sort_unstable();
        for id in open {
            if let Some(connection) = self.find(id) {
                connection.client = ClientSide::Closed;
                connection.attempt = None;
                connection.send_up(Up::Fin, timeline);
            }
        }
    }

    /// Forgets a connection that neither end has any more.
    pub(super) fn forget_if_over(&mut self, id: ConnectionId) {
        if self.find(id).is_some_and(|connection| connection.is_over()) {
            self.free.extend(self.places.remove(&id.0));
        }
    }
}

/// Spreads numbers that count up: one multiplication by the golden ratio, its high bits brought down to
/// where buckets are chosen.
#[derive(Clone, Copy, Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}
