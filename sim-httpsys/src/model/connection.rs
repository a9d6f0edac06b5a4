//! A client's connection: from being accepted to being closed.
//!
//! ```text
//!            head complete               response sent, body read
//!   Idle ───────────────────► Busy ─────────────────────────────► Idle
//!    ▲                          │ response sent, body unread
//!    └───────── body read ── Draining
//! ```
//!
//! One request at a time is looked at; what the client sends meanwhile stays in the buffer. An idle
//! connection has no buffer and no exchange, so that ten thousand of them cost little.
//! Left out: HTTP/2 and upgraded (WebSocket) connections.

use std::rc::Rc;

use bytes::Bytes;

use super::endpoints::EndpointIndex;
use super::exchange::{Exchange, Stage};
use super::http1::{EntityReader, Head, parse_head};
use super::timeouts::{ConnectionTimer, TimerKind};
use super::unread::Unread;
use super::{CloseHow, HttpSys, Output, ReasonPhrase};
use crate::api::{ConnectionId, Endpoint, Ends, ShortEnds, SiteId, Timeouts};
use crate::clockwork::Instant;
use crate::etw::{ConnectionEnd, Fact};
use crate::logging::{HttpErrRecord, LogEntry};

/// Unread bytes at which reading is paused.
/// Assumed: the size of one send (`MaxBytesPerSend` 65536); Microsoft publishes no read-ahead.
const READ_AHEAD_MAX: usize = 64 << 10;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) endpoint: EndpointIndex,
    pub(super) ends: ShortEnds,
    /// Requests that were parsed on it.
    pub(super) requests: u32,
    /// The site whose connection limit it counts for: that of its first request.
    pub(super) counted_for: Option<SiteId>,
    /// The timers of the group that its last request was routed to, the machine's before.
    /// Source: win32, server timeouts: a group's values apply after the first request was routed.
    pub(super) timeouts: Rc<Timeouts>,
    pub(super) timer: ConnectionTimer,
    /// What arrived and was not taken yet.
    pub(super) unread: Unread,
    /// The client has sent its last byte.
    pub(super) half_closed: bool,
    /// Something was handed over to be sent, and has not been reported as sent.
    pub(super) unsent: bool,
    /// Reading is paused.
    pub(super) paused: bool,
    pub(super) state: ConnectionState,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) enum ConnectionState {
    /// It waits for a request, or for the rest of one's head.
    Idle,
    /// A request is being dealt with.
    Busy(Box<Exchange>),
    /// The response is out, the rest of the request's body is being read and dropped.
    Draining(Box<EntityReader>),
}

impl Connection {
    /// The request that it is busy with.
    pub(super) fn exchange(&mut self) -> Option<&mut Exchange> {
        match &mut self.state {
            ConnectionState::Busy(exchange) => Some(exchange),
            ConnectionState::Idle | ConnectionState::Draining(_) => None,
        }
    }
}

impl HttpSys {
    pub(super) fn opened(
        &mut self,
        id: ConnectionId,
        endpoint: Endpoint,
        ends: Ends,
        now: Instant,
    ) {
        self.fact(Fact::ConnConnect {
            connection: id,
            ends,
            secure: endpoint.secure,
        });
        let connection = Connection {
            endpoint: self.endpoints.enter(endpoint),
            ends: ShortEnds::new(ends),
            requests: 0,
            counted_for: None,
            timeouts: Rc::clone(&self.first_timeouts),
            timer: ConnectionTimer::default(),
            unread: Unread::default(),
            half_closed: false,
            unsent: false,
            paused: false,
            state: ConnectionState::Idle,
        };
        self.connections.insert(id, connection);
        match self.endpoints.get(&endpoint) {
            Some(state) if state.is_open() => self.arm(id, TimerKind::Idle, now),
            // It was accepted just before its endpoint was closed.
            Some(_) | None => self.close_for_endpoint(id, now),
        }
    }

    pub(super) fn received(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match &mut connection.state {
            ConnectionState::Idle if connection.unread.is_empty() => self.read_head(id, bytes, now),
            ConnectionState::Idle => {
                connection.unread.keep(bytes, now);
                self.read_buffered_head(id, now);
            }
            ConnectionState::Busy(exchange) => {
                connection.unread.keep(bytes, now);
                let asked = exchange.asked;
                if exchange.arriving.is_some() && !self.entity_arrives(id, bytes, now) {
                    return;
                }
                if asked {
                    self.pass_entity_body(id, now);
                }
                self.pause_if_flooded(id, now);
            }
            ConnectionState::Draining(_) => {
                connection.unread.keep(bytes, now);
                self.drain(id, now);
            }
        }
    }

    /// The client sends nothing more; what it has asked for it still gets.
    pub(super) fn half_closed(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.half_closed = true;
        match &mut connection.state {
            ConnectionState::Idle => {
                self.close(id, Some(CloseHow::AfterSending), ConnectionEnd::ClientFin);
            }
            ConnectionState::Busy(exchange) => {
                let asked = exchange.asked;
                self.await_entity(id, now);
                if asked {
                    self.pass_entity_body(id, now);
                }
            }
            ConnectionState::Draining(_) => {
                self.close(id, Some(CloseHow::AfterSending), ConnectionEnd::ServerFin);
            }
        }
    }

    /// The client has reset the connection.
    pub(super) fn client_reset(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match connection.exchange().map(|exchange| exchange.stage) {
            None => {}
            Some(Stage::Arrived | Stage::Queued { .. }) => {
                self.drop_request(id, ReasonPhrase::ClientReset, now);
            }
            Some(Stage::Delivered { .. } | Stage::Sending(_)) => self.lose_client(id, now),
        }
        self.close(id, None, ConnectionEnd::ClientReset);
    }

    /// Turns to the next request of a connection that is done with one.
    pub(super) fn next_request(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.state = ConnectionState::Idle;
        connection.unread.begin_head(now);
        let (has_more, half_closed) = (!connection.unread.is_empty(), connection.half_closed);
        if connection.paused {
            self.resume_if_paused(id);
        }
        if has_more {
            self.read_buffered_head(id, now);
        } else if half_closed {
            self.close(id, Some(CloseHow::AfterSending), ConnectionEnd::ClientFin);
        } else {
            self.arm(id, TimerKind::Idle, now);
        }
    }

    fn read_buffered_head(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let bytes = connection.unread.bytes();
        let mut head = parse_head(bytes, &self.parameters, &mut self.head_memory);
        match &mut head {
            Head::Incomplete => self.await_head(id, now),
            Head::Complete(head) => {
                let received = connection.unread.head_began().unwrap_or(now);
                connection.unread.advance(head.consumed);
                self.begin_request(id, head, received, now);
            }
            Head::Refused(refused) => {
                connection.unread = Unread::default();
                self.refuse_head(id, refused, now);
            }
        }
    }

    /// As [`Self::read_buffered_head`], for the usual case that the whole head has just arrived: it is
    /// never copied into the buffer.
    fn read_head(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) {
        let mut head = parse_head(bytes, &self.parameters, &mut self.head_memory);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match &mut head {
            Head::Incomplete => {
                connection.unread.keep(bytes, now);
                self.await_head(id, now);
            }
            Head::Complete(head) => {
                let rest = bytes.get(head.consumed..).unwrap_or(&[]);
                connection.unread.keep(rest, now);
                self.begin_request(id, head, now, now);
            }
            Head::Refused(refused) => self.refuse_head(id, refused, now),
        }
    }

    fn await_head(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.half_closed {
            self.close(id, Some(CloseHow::AfterSending), ConnectionEnd::ClientFin);
        } else if connection.timer.kind() != Some(TimerKind::Header) {
            self.arm(id, TimerKind::Header, now);
        }
    }

    fn pause_if_flooded(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if !connection.paused && connection.unread.bytes().len() > READ_AHEAD_MAX {
            connection.paused = true;
            self.outputs.push_back(Output::Reading {
                connection: id,
                paused: true,
            });
            self.await_entity(id, now);
        }
    }

    pub(super) fn resume_if_paused(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.paused && connection.unread.bytes().len() <= READ_AHEAD_MAX / 2 {
            connection.paused = false;
            self.outputs.push_back(Output::Reading {
                connection: id,
                paused: false,
            });
        }
    }

    /// Hands bytes over to be sent.
    pub(super) fn send(&mut self, id: ConnectionId, bytes: Bytes) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.unsent = true;
        }
        self.outputs.push_back(Output::Send {
            connection: id,
            bytes,
        });
    }

    /// Forgets a connection, and closes it unless the client has done so. Its request has ended before.
    pub(super) fn close(&mut self, id: ConnectionId, how: Option<CloseHow>, end: ConnectionEnd) {
        let Some(connection) = self.connections.remove(id) else {
            return;
        };
        debug_assert!(
            !matches!(connection.state, ConnectionState::Busy(_)),
            "a request ends before its connection does"
        );
        if let Some(queued) = connection.timer.queued() {
            self.connection_timers.remove(queued, id);
        }
        self.endpoints.leave(connection.endpoint);
        if let Some(open) = connection
            .counted_for
            .and_then(|s| self.site_connections.get_mut(&s))
        {
            *open = open.saturating_sub(1);
        }
        if let Some(how) = how {
            self.outputs.push_back(Output::Close {
                connection: id,
                how,
            });
        }
        self.fact(Fact::ConnCleanup {
            connection: id,
            end,
            requests: connection.requests,
        });
    }

    /// Cuts a connection that has no request, and says so in the error log.
    pub(super) fn cut_idle(&mut self, id: ConnectionId, reason: ReasonPhrase, now: Instant) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let record = HttpErrRecord {
            at: now,
            ends: connection.ends.get(),
            version: None,
            verb: None,
            url: None,
            status: None,
            site: None,
            reason,
            queue: None,
        };
        self.fact(Fact::ConnError {
            connection: id,
            reason,
        });
        self.outputs
            .push_back(Output::Log(LogEntry::HttpErr(Box::new(record))));
        self.close(id, Some(CloseHow::Reset), ConnectionEnd::ServerReset);
    }
}
