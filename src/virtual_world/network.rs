//! TCP connections between clients and the driver: both ends, and what is under way between them.
//!
//! Mostly nothing is under way on a connection, even while its request is served: what is needed meanwhile is lent
//! to it, and goes to another one when all is at rest.
//!
//! Absent on purpose: segments, windows, loss, bandwidth. Bytes arrive whole and in order, a write is complete at
//! once, and the end of a stream never overtakes its bytes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use sim_httpsys::api::ConnectionId;
use sim_httpsys::clockwork::Instant;
use sim_httpsys::id_slab::IdSlab;

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
    /// The bytes of [`Traffic::request`].
    Request,
    /// Some of them, from one place up to another.
    Part(usize, usize),
    /// So many bytes of a body.
    Body(u32),
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

/// Room for traffic that is kept while no connection needs it; more than that, left behind by a burst, is
/// given back.
const UNUSED_MAX: usize = 1_024;

/// Most bytes that the driver reads at once: as many as live.
pub(super) const READ_MAX: u32 = 64 << 10;

/// What has arrived at the driver and was not read yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// The driver reads nothing more for now.
    pub(super) is_paused: bool,
    unread: VecDeque<Up>,
}

/// A connection: what is known of it while nothing happens.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    traffic: Option<Box<Traffic>>,
    /// The attempt that it carries or is opened for.
    pub(super) attempt: Option<Slot>,
    /// Its number in the client's book.
    pub(super) record: Option<u32>,
    /// The pool that it belongs to.
    pub(super) pool: u32,
    /// Its client's port.
    pub(super) port: u16,
    pub(super) kind: ConnectionKind,
    /// It counts for its pool of kept-alive connections.
    pub(super) has_place: bool,
    pub(super) server: ServerSide,
    /// The driver is to be told when what it sends has gone.
    pub(super) owed: bool,
    pub(super) client: ClientSide,
    /// Its client has said that it sends no more.
    pub(super) has_sent_fin: bool,
}

/// What is under way on a connection.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Its client takes what is sent so much later.
    pub(super) slow_read: Duration,
    /// When its client has had enough of the attempt that it carries.
    pub(super) gives_up_at: Option<Instant>,
    /// Its client resets it with the first byte of a response.
    pub(super) gives_up_reading: bool,
    /// The request that is on its way; the driver takes it.
    pub(super) request: Vec<u8>,
    pub(super) response: ResponseReader,
    /// Only where a body was sent: all else is read as it arrives.
    inbox: Option<Box<Inbox>>,
    up: Wire<Up>,
    down: Wire<Down>,
}

impl Traffic {
    /// Whether a connection needs it no more, or not until more is sent.
    fn is_at_rest(&self, has_attempt: bool, now: Instant) -> bool {
        let awaits_nothing = || self.gives_up_at.is_none() && self.response.is_as_any();
        self.slow_read.is_zero()
            && self.inbox.is_none()
            && self.up.is_at_rest(now)
            && self.down.is_at_rest(now)
            && (!has_attempt || awaits_nothing())
    }

    /// Its room, for another connection. What is at rest leaves nothing in its wires that could be noticed.
    fn clear(&mut self) {
        self.slow_read = Duration::ZERO;
        self.gives_up_at = None;
        self.gives_up_reading = false;
        self.request.clear();
        self.response.begin(false);
        self.inbox = None;
    }
}

impl Connection {
    /// What is under way on it.
    pub(super) fn traffic(&mut self) -> &mut Traffic {
        self.traffic.get_or_insert_default()
    }

    /// When its client has had enough of the attempt that it carries.
    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        self.traffic.as_ref()?.gives_up_at
    }

    /// What has arrived at the driver and was not read yet.
    pub(super) fn inbox(&mut self) -> &mut Inbox {
        self.traffic().inbox.get_or_insert_default()
    }

    /// Keeps what has arrived until it is its turn to be read; what can be read at once comes back.
    pub(super) fn hold(&mut self, message: Up) -> Option<Up> {
        if matches!(message, Up::Body(_)) || self.traffic().inbox.is_some() {
            self.inbox().unread.push_back(message);
            return None;
        }
        Some(message)
    }

    /// What the driver reads next, if anything has arrived and it does not pause.
    pub(super) fn read(&mut self) -> Option<Up> {
        let slot = &mut self.traffic.as_mut()?.inbox;
        let inbox = slot.as_mut().filter(|inbox| !inbox.is_paused)?;
        match inbox.unread.pop_front() {
            Some(Up::Body(length)) if length > READ_MAX => {
                inbox.unread.push_front(Up::Body(length - READ_MAX));
                Some(Up::Body(READ_MAX))
            }
            None => {
                *slot = None;
                None
            }
            message => message,
        }
    }

    /// Neither end has it any more.
    fn is_over(&self) -> bool {
        self.client == ClientSide::Closed && self.server == ServerSide::Closed
    }

    pub(super) fn send_up(&mut self, message: Up, timeline: &mut Timeline) {
        let delay = timeline.draw(Cost::ClientHop);
        let announcement = Event::Up(self.id);
        let up = &mut self.traffic().up;
        up.send(message, delay, announcement, timeline);
    }

    /// Sends so much of a body together with what was sent before.
    pub(super) fn send_body(&mut self, length: u32, timeline: &mut Timeline) {
        if length > 0 {
            let announcement = Event::Up(self.id);
            let up = &mut self.traffic().up;
            up.send(Up::Body(length), Duration::ZERO, announcement, timeline);
        }
    }

    /// Sends something so long after what was sent before.
    pub(super) fn send_up_later(&mut self, message: Up, pause: Duration, timeline: &mut Timeline) {
        let announcement = Event::Up(self.id);
        let up = &mut self.traffic().up;
        let behind = up.arrives().saturating_since(timeline.now);
        let delay = timeline.draw(Cost::ClientHop) + behind + pause;
        up.send(message, delay, announcement, timeline);
    }

    /// What a client has not taken yet is lost with a reset.
    pub(super) fn lose_down(&mut self) {
        let traffic = self.traffic();
        if traffic.slow_read > Duration::ZERO {
            traffic.down.cut();
        }
    }

    pub(super) fn send_down(&mut self, message: Down, timeline: &mut Timeline) {
        let announcement = Event::Down(self.id);
        let traffic = self.traffic();
        // One that gives up has read the beginning, and never the rest.
        let late = if traffic.gives_up_reading {
            traffic.slow_read / 2
        } else {
            traffic.slow_read
        };
        let delay = timeline.draw(Cost::ClientHop) + late;
        traffic.down.send(message, delay, announcement, timeline);
    }

    pub(super) fn take_up(&mut self) -> Option<Up> {
        self.traffic.as_mut()?.up.take()
    }

    pub(super) fn take_down(&mut self) -> Option<Down> {
        self.traffic.as_mut()?.down.take()
    }
}

/// Connections, by their ids.
#[derive(Debug, Default)]
pub(super) struct Network {
    connections: IdSlab<ConnectionId, Connection>,
    opened: u64,
    /// Room for traffic that no connection needs now.
    #[expect(clippy::vec_box, reason = "boxes are lent, not their contents")]
    unused: Vec<Box<Traffic>>,
    /// Room for requests that are on no connection now.
    pub(super) texts: Vec<Vec<u8>>,
}

impl Network {
    /// Begins a connection: its first packet is on its way.
    pub(super) fn connect(
        &mut self,
        port: u16,
        (kind, pool): (ConnectionKind, u32),
        timeline: &mut Timeline,
    ) -> &mut Connection {
        self.opened += 1;
        let id = ConnectionId(self.opened);
        let connection = self.connections.insert(
            id,
            Connection {
                id,
                traffic: self.unused.pop(),
                attempt: None,
                record: None,
                pool,
                port,
                kind,
                has_place: false,
                server: ServerSide::Unknown,
                owed: false,
                client: ClientSide::Connecting,
                has_sent_fin: false,
            },
        );
        connection.send_up(Up::Syn, timeline);
        connection
    }

    #[inline]
    pub(super) fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id)
    }

    /// The connection, with room for traffic on it.
    pub(super) fn find_for_traffic(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id)?;
        if connection.traffic.is_none() {
            connection.traffic = self.unused.pop();
        }
        Some(connection)
    }

    /// Takes the room back that a connection had for its traffic, if that is over.
    pub(super) fn settle(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = self.connections.get_mut(id)
            && let Some(traffic) = &connection.traffic
            && traffic.is_at_rest(connection.attempt.is_some(), now)
            && let Some(traffic) = connection.traffic.take()
        {
            self.keep(traffic);
        }
    }

    /// The clients are gone, and with them their ends of all connections.
    pub(super) fn hang_up_clients(&mut self, timeline: &mut Timeline) {
        let all = self.connections.iter();
        let open = all.filter(|(_, connection)| connection.client != ClientSide::Closed);
        let mut open: Vec<ConnectionId> = open.map(|(id, _)| id).collect();
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
        if self.find(id).is_some_and(|connection| connection.is_over())
            && let Some(connection) = self.connections.remove(id)
            && let Some(mut traffic) = connection.traffic
        {
            traffic.up.clear();
            traffic.down.clear();
            self.keep(traffic);
        }
    }

    fn keep(&mut self, mut traffic: Box<Traffic>) {
        if self.unused.len() < UNUSED_MAX {
            traffic.clear();
            self.unused.push(traffic);
        }
    }
}
