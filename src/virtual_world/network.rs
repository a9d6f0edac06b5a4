//! TCP connections between clients and the driver: both ends, and what is under way between them.
//!
//! Absent on purpose: segments, windows, loss. Bytes arrive whole and in order, a write is complete at
//! once, and the end of a stream never overtakes its bytes.

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
    /// The request that is on it.
    pub(super) request: Vec<u8>,
    pub(super) response: ResponseReader,
    up: Wire<Up>,
    down: Wire<Down>,
}

impl Connection {
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

/// All connections, by their ids.
#[derive(Debug, Default)]
pub(super) struct Network {
    connections: Vec<Option<Box<Connection>>>,
}

impl Network {
    /// Begins a connection: its first packet is on its way.
    pub(super) fn connect(
        &mut self,
        (endpoint, ends): (Endpoint, Ends),
        (kind, pool): (ConnectionKind, usize),
        timeline: &mut Timeline,
    ) -> &mut Connection {
        let id = ConnectionId(self.connections.len() as u64 + 1);
        let mut connection = Box::new(Connection {
            id,
            endpoint,
            ends,
            server: ServerSide::Unknown,
            owed: false,
            client: ClientSide::Connecting,
            kind,
            place: None,
            pool,
            attempt: None,
            record: None,
            opened: timeline.now,
            request: Vec::new(),
            response: ResponseReader::default(),
            up: Wire::default(),
            down: Wire::default(),
        });
        connection.send_up(Up::Syn, timeline);
        self.connections.push(Some(connection));
        let last = self.connections.last_mut().and_then(Option::as_deref_mut);
        last.expect("it was pushed in the line before")
    }

    pub(super) fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let index = usize::try_from(id.0.checked_sub(1)?).ok()?;
        self.connections.get_mut(index)?.as_deref_mut()
    }

    /// The clients are gone, and with them their ends of all connections.
    pub(super) fn hang_up_clients(&mut self, timeline: &mut Timeline) {
        for connection in self.connections.iter_mut().flatten() {
            if connection.client != ClientSide::Closed {
                connection.client = ClientSide::Closed;
                connection.attempt = None;
                connection.send_up(Up::Fin, timeline);
            }
        }
    }

    /// Forgets a connection that neither end has any more.
    pub(super) fn forget_if_over(&mut self, id: ConnectionId) {
        let is_over = self.find(id).is_some_and(|connection| {
            connection.client == ClientSide::Closed && connection.server == ServerSide::Closed
        });
        if is_over && let Ok(index) = usize::try_from(id.0 - 1) {
            self.connections[index] = None;
        }
    }
}
