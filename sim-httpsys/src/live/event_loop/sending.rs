//! What becomes of bytes that were handed over: when they count as sent, and how a connection is let go
//! of without cutting what its client has not got.
//!
//! ```text
//!   Open ── the machine lets go ──► Closing ── FIN sent ──► Finishing ── all acknowledged ──► Draining
//!                                      └── too slow: RST ◄──────┘                                │
//!                                                                   closed by the client, or RST ◄┘
//! ```
//!
//! An RST takes with it what lies in the socket: closing one early would cut a response that is in the
//! books as sent. The kernel does not report what a client takes, so it is looked for.

use std::time::Duration;

use super::{Again, EventLoop};
use crate::api::ConnectionId;
use crate::clockwork::StateMachine;
use crate::live::connection::{Connection, Flushed, Phase, Writing, reset};
use crate::model::{Input, MIN_SEND_RATE, Output};

/// How long what a client still sends is dropped after our FIN has arrived.
/// Assumed: long enough for a response to be read before the RST that unread bytes would cause.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// How long a client may at least take to read what waited when the machine let go of its connection.
/// Assumed: as long as IIS lets a connection be idle (`connectionTimeout`, 120 s).
const LEAVING_MAX: Duration = Duration::from_mins(2);

/// The first look whether a client has taken what was written comes after so long, each further one after
/// twice as long, up to `LOOK_MAX`. Assumed: what is too short to be seen in a `time-taken`.
const LOOK_MIN: Duration = Duration::from_millis(1);

const LOOK_MAX: Duration = Duration::from_millis(32);

impl<M> EventLoop<M>
where
    M: for<'a> StateMachine<Input<'a> = Input<'a>, Output = Output>,
{
    /// The machine has let go of a connection: what waits is still sent.
    ///
    /// Source: iisdocs, webLimits: a response is cut only after the time that the whole of it should have
    /// taken at the slowest rate. Assumed: here that of a group that names none, because the connection's
    /// group is not known any more.
    pub(super) fn take_leave(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else {
            return;
        };
        connection.phase = Phase::Closing;
        connection.looks = 0;
        let slowest = Duration::from_secs(connection.outstanding() / u64::from(MIN_SEND_RATE));
        self.leaving.set(id, self.now + slowest.max(LEAVING_MAX));
        self.touch(id);
    }

    pub(super) fn on_sending_deadlines(&mut self) {
        while let Some(id) = self.leaving.pop_due(self.now) {
            if let Some(connection) = self.connections.remove(id) {
                reset(&connection.socket);
            }
        }
        while let Some(id) = self.looks.pop_due(self.now) {
            self.touch(id);
        }
    }

    /// Writes what waits, and looks what has become of what was written.
    pub(super) fn flush_connection(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else {
            return;
        };
        connection.writing = Writing::Idle;
        let mut flushed = connection.flush();
        if flushed == Flushed::All && connection.phase == Phase::Closing {
            flushed = connection.finish();
            if flushed == Flushed::All {
                connection.phase = Phase::Finishing;
                // What arrived before is still unread.
                self.lists.again.push(Again::Connection(id));
            }
        }
        match (flushed, connection.phase) {
            (Flushed::Blocked, _) => connection.writing = Writing::Blocked,
            (Flushed::Reset, _) => self.lost(id),
            (Flushed::All, Phase::Open | Phase::HalfClosed) if !connection.owed => {}
            (Flushed::All, Phase::Open | Phase::HalfClosed) => {
                if connection.has_sent_all() {
                    (connection.owed, connection.looks) = (false, 0);
                    self.lists.sent.push(id);
                } else {
                    self.look_later(id);
                }
            }
            (Flushed::All, Phase::Finishing) => {
                if connection.is_acknowledged() {
                    connection.phase = Phase::Draining;
                    self.leaving.set(id, self.now + DRAIN_MAX);
                    // The client's FIN may have come before.
                    self.lists.again.push(Again::Connection(id));
                } else {
                    self.look_later(id);
                }
            }
            (Flushed::All, Phase::Closing | Phase::Draining) => {}
        }
    }

    fn look_later(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else {
            return;
        };
        let delay = LOOK_MIN * 2_u32.saturating_pow(connection.looks.into());
        connection.looks = connection.looks.saturating_add(1);
        self.looks.set(id, self.now + delay.min(LOOK_MAX));
    }

    /// The connection broke.
    pub(super) fn lost(&mut self, id: ConnectionId) {
        let Some(connection) = self.forget(id) else {
            return;
        };
        reset(&connection.socket);
        match connection.phase {
            Phase::Open | Phase::HalfClosed => self.tell(Input::Reset { connection: id }),
            Phase::Closing | Phase::Finishing | Phase::Draining => {}
        }
    }

    pub(super) fn forget(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.connections.remove(id)?;
        match connection.phase {
            Phase::Open | Phase::HalfClosed => {}
            Phase::Closing | Phase::Finishing | Phase::Draining => self.leaving.clear(id),
        }
        self.looks.clear(id);
        Some(connection)
    }
}
