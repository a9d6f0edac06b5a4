//! The timers of a connection: at most one is armed, and moving it costs nothing.
//!
//! A connection writes down when it wants to be woken, and touches the set of all timers only if that is
//! earlier than the entry it has there. An entry that comes up too early is put back. So a request on a kept-alive connection moves a few
//! words and no tree.

use core::time::Duration;
use std::collections::BTreeSet;

use super::connection::ConnectionState;
use super::{CloseHow, HttpSys, ReasonPhrase};
use crate::api::{ConnectionId, Timeouts};
use crate::clockwork::Instant;
use crate::etw::ConnectionEnd;

/// What a timer of 0 inherits, seconds.
/// Source: `HTTP_TIMEOUT_LIMIT_INFO` and `netsh http show timeout`: 120 for each of the five.
const INHERITED: u16 = 120;

/// What a `min_send_rate` of 0 inherits, bytes a second.
/// Source: `HTTP_TIMEOUT_LIMIT_INFO`, `MinSendRate`: default 150 (KB820729 says 240).
pub const MIN_SEND_RATE: u32 = 150;

/// So much of earlier responses a client may not have read yet, bytes, when the next one comes.
/// Assumed: as much as the receive buffer of a socket takes (`net.ipv4.tcp_rmem`, 128 KiB): of pipelined responses
/// each is sent once it has left, and the one behind it waits for all that the client still has to read.
const READ_LATER: u64 = 128 << 10;

/// A timer of this many seconds is off. Source: `HTTP_TIMEOUT_LIMIT_INFO`, MAXUSHORT disables.
const OFF: u16 = u16::MAX;

/// Which limit is being watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerKind {
    /// A kept-alive connection says nothing.
    Idle,
    /// The rest of a head is late.
    Header,
    /// The rest of a body that a worker waits for is late.
    EntityBody,
    /// The rest of an unread body is late.
    Drain,
    /// A request waits in its queue.
    RequestQueue,
    /// The client takes its response too slowly.
    MinSendRate,
}

/// The one timer of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnectionTimer {
    kind: Option<TimerKind>,
    is_queued: bool,
    /// When the limit is reached; means nothing while none is being watched.
    due: Instant,
    /// Where the connection's entry stands among the timers, if it has one; never later than `due`.
    queued: Instant,
    /// When the client should have read everything so far at the slowest rate.
    read_due: Instant,
}

impl ConnectionTimer {
    /// Which limit is being watched.
    pub(super) fn kind(&self) -> Option<TimerKind> {
        self.kind
    }

    /// Watches a limit of its connection.
    #[inline]
    fn arm(
        &mut self,
        id: ConnectionId,
        kind: TimerKind,
        due: Instant,
        timers: &mut ConnectionTimers,
    ) {
        (self.kind, self.due) = (Some(kind), due);
        if self.queued().is_none_or(|queued| due < queued) {
            self.bring_forward(id, due, timers);
        }
    }

    #[cold]
    fn bring_forward(&mut self, id: ConnectionId, due: Instant, timers: &mut ConnectionTimers) {
        if let Some(queued) = self.queued() {
            timers.remove(queued, id);
        }
        self.queue(due);
        timers.insert(due, id);
    }

    /// Watches nothing; the entry among the timers is left to come up.
    pub(super) fn disarm(&mut self) {
        self.kind = None;
    }

    /// Where the connection's entry stands among the timers.
    pub(super) fn queued(&self) -> Option<Instant> {
        self.is_queued.then_some(self.queued)
    }

    fn queue(&mut self, at: Instant) {
        (self.is_queued, self.queued) = (true, at);
    }
}

/// Where the timer of each connection stands that has one armed.
#[derive(Debug, Default)]
pub(super) struct ConnectionTimers {
    all: BTreeSet<(Instant, ConnectionId)>,
    /// The first of them: it is asked for after every input.
    first: Option<(Instant, ConnectionId)>,
}

impl ConnectionTimers {
    /// The one that is due first.
    pub(super) fn first(&self) -> Option<(Instant, ConnectionId)> {
        self.first
    }

    pub(super) fn insert(&mut self, at: Instant, id: ConnectionId) {
        self.all.insert((at, id));
        self.first = Some(self.first.map_or((at, id), |first| first.min((at, id))));
    }

    pub(super) fn remove(&mut self, at: Instant, id: ConnectionId) {
        self.all.remove(&(at, id));
        if self.first == Some((at, id)) {
            self.first = self.all.first().copied();
        }
    }
}

fn limit(timeouts: &Timeouts, kind: TimerKind) -> Option<Duration> {
    let seconds = match kind {
        TimerKind::Idle => timeouts.idle_connection,
        TimerKind::Header => timeouts.header_wait,
        TimerKind::EntityBody => timeouts.entity_body,
        TimerKind::Drain => timeouts.drain_entity_body,
        TimerKind::RequestQueue => timeouts.request_queue,
        TimerKind::MinSendRate => OFF,
    };
    match seconds {
        OFF => None,
        0 => Some(Duration::from_secs(INHERITED.into())),
        seconds => Some(Duration::from_secs(seconds.into())),
    }
}

impl HttpSys {
    /// Arms the connection's timer for one of the limits in seconds.
    pub(super) fn arm(&mut self, id: ConnectionId, kind: TimerKind, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match limit(&connection.timeouts, kind) {
            Some(span) => {
                let timer = &mut connection.timer;
                timer.arm(id, kind, now + span, &mut self.connection_timers);
            }
            None => connection.timer.disarm(),
        }
    }

    /// Arms the connection's timer for a response of so many bytes.
    ///
    /// Source: iisdocs, webLimits: a response is cut only after the time that the whole of it should
    /// have taken at the slowest rate. Those before it that the client has not read yet have to be read first.
    pub(super) fn arm_min_send_rate(&mut self, id: ConnectionId, bytes: u64, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let rate = match connection.timeouts.min_send_rate {
            0 => MIN_SEND_RATE,
            u32::MAX => return connection.timer.disarm(),
            rate => rate,
        };
        let takes =
            |bytes: u64| Duration::from_millis(bytes.saturating_mul(1000) / u64::from(rate));
        // One more, so that a tiny response is not cut at once.
        let soonest = now + Duration::from_secs(1);
        let timer = &mut connection.timer;
        let begins = if timer.read_due <= soonest {
            soonest
        } else {
            timer.read_due.min(soonest + takes(READ_LATER))
        };
        let due = begins + takes(bytes);
        timer.read_due = due;
        let timers = &mut self.connection_timers;
        timer.arm(id, TimerKind::MinSendRate, due, timers);
    }

    /// Watches nothing on a connection.
    pub(super) fn disarm(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.timer.disarm();
        }
    }

    pub(super) fn connection_timer(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let timer = &mut connection.timer;
        timer.is_queued = false;
        match timer.kind {
            None => {}
            Some(_) if timer.due > now => {
                timer.queue(timer.due);
                self.connection_timers.insert(timer.due, id);
            }
            Some(kind) => {
                timer.disarm();
                self.time_out(id, kind, now);
            }
        }
    }

    /// Source: `TechNet` table 11.12: when a timer fires, the connection is reset, without a response.
    fn time_out(&mut self, id: ConnectionId, kind: TimerKind, now: Instant) {
        let reason = match kind {
            TimerKind::Idle => ReasonPhrase::TimerConnectionIdle,
            TimerKind::Header => ReasonPhrase::TimerHeaderWait,
            TimerKind::EntityBody => ReasonPhrase::TimerEntityBody,
            TimerKind::RequestQueue => ReasonPhrase::TimerReqQueue,
            TimerKind::MinSendRate => ReasonPhrase::TimerMinBytesPerSecond,
            // No document names a phrase for it.
            TimerKind::Drain => {
                return self.close(id, Some(CloseHow::Reset), ConnectionEnd::ServerReset);
            }
        };
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        match connection.state {
            ConnectionState::Busy(_) => self.abort_request(id, reason, now),
            ConnectionState::Idle | ConnectionState::Draining(_) => self.cut_idle(id, reason, now),
        }
    }
}
