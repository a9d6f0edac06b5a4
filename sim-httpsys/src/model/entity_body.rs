//! Bodies of requests: passed on when the worker asks, drained when it does not.
//!
//! Body bytes stay as they arrived in the connection's buffer until they are asked for; that is what
//! keeps a body and the requests pipelined behind it in order. What arrives is looked at nevertheless:
//! whether it is a body at all, and whether it comes in time, is not the worker's business.

use bytes::Bytes;

use super::connection::ConnectionState;
use super::exchange::{Exchange, Stage};
use super::timeouts::TimerKind;
use super::{CloseHow, HttpSys, ReasonPhrase};
use crate::api::{Completion, ConnectionId, ProcessId, RequestId};
use crate::clockwork::Instant;
use crate::etw::ConnectionEnd;

/// Source: RFC 9110, 100 Continue.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What can be done about a body with the bytes that are there.
enum Step {
    /// These bytes, and whether they are the last.
    Piece(Bytes, bool),
    /// More has to arrive.
    NeedsMore,
    /// It never will.
    CutShort,
    /// It is malformed.
    Malformed(ReasonPhrase),
}

impl HttpSys {
    pub(super) fn receive_entity_body(&mut self, by: ProcessId, request: RequestId, now: Instant) {
        if self.zombies.contains_key(&request) {
            return;
        }
        let Some(id) = self.held_by(by, request) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(exchange) = connection.exchange() else {
            return;
        };
        exchange.asked = true;
        if std::mem::take(&mut exchange.continue_wanted) {
            if exchange.answer.is_none() {
                self.send(id, Bytes::from_static(CONTINUE));
            }
            self.await_entity(id, now);
        }
        self.pass_entity_body(id, now);
    }

    /// Looks at what has come of the body together with its head. `false` if the request is refused for it.
    pub(super) fn entity_begins(&mut self, id: ConnectionId, now: Instant) -> bool {
        let Some(connection) = self.connections.get_mut(id) else {
            return false;
        };
        let ConnectionState::Busy(exchange) = &mut connection.state else {
            return false;
        };
        let skimmed = skim(exchange, connection.unread.bytes());
        self.entity_skimmed(id, skimmed, now)
    }

    /// Looks at bytes of a body that have just arrived. `false` if the request has ended by it.
    pub(super) fn entity_arrives(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) -> bool {
        let Some(exchange) = self.connections.get_mut(id).and_then(|c| c.exchange()) else {
            return false;
        };
        match exchange.stage {
            Stage::Arrived | Stage::Queued { .. } | Stage::Delivered { .. } => {}
            // It is drained when the response is out.
            Stage::Sending(_) => return true,
        }
        exchange.continue_wanted = false;
        let skimmed = skim(exchange, bytes);
        if !self.entity_skimmed(id, skimmed, now) {
            return false;
        }
        // Source: KB820729, Timer_EntityBody: re-armed by every data indication.
        self.await_entity(id, now);
        true
    }

    fn entity_skimmed(
        &mut self,
        id: ConnectionId,
        skimmed: Result<(), ReasonPhrase>,
        now: Instant,
    ) -> bool {
        if let Err(reason) = skimmed {
            self.refuse_entity(id, reason, now);
        }
        skimmed.is_ok()
    }

    /// Refuses a request for its body, unless its response has begun; whoever holds it is told.
    fn refuse_entity(&mut self, id: ConnectionId, reason: ReasonPhrase, now: Instant) {
        let Some(exchange) = self.connections.get_mut(id).and_then(|c| c.exchange()) else {
            return;
        };
        if exchange.answer.is_some() {
            return self.abort_request(id, reason, now);
        }
        if let Stage::Delivered { process } = exchange.stage {
            let request = exchange.request.id;
            self.complete(process, Completion::Disconnected { request });
        }
        self.refuse_request(id, reason, now);
    }

    /// Gives what is to come of a body its time; or no limit, where it is not the client's fault that
    /// nothing comes.
    ///
    /// Source: KB820729, `Timer_EntityBody`: the timer is turned on when a request clearly has a body, not
    /// when somebody wants it. Assumed: the time of a client that waits for `100 Continue` begins when
    /// that is said, and a limit of the waiting in the queue comes first.
    pub(super) fn await_entity(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let armed = connection.timer.kind();
        let blocked = connection.paused || connection.half_closed;
        let Some(exchange) = connection.exchange() else {
            return;
        };
        match exchange.stage {
            Stage::Sending(_) => return,
            Stage::Queued { .. } if armed == Some(TimerKind::RequestQueue) => return,
            Stage::Arrived | Stage::Queued { .. } | Stage::Delivered { .. } => {}
        }
        if exchange.arriving.is_some() && !exchange.continue_wanted && !blocked {
            self.arm(id, TimerKind::EntityBody, now);
        } else if armed == Some(TimerKind::EntityBody) {
            self.disarm(id);
        }
    }

    /// Gives the worker, which has asked, what is there of the body.
    pub(super) fn pass_entity_body(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let step = next_piece(connection);
        let was_paused = connection.paused;
        let Some(exchange) = connection.exchange() else {
            return;
        };
        let request = exchange.request.id;
        let Stage::Delivered { process } = exchange.stage else {
            return;
        };
        match step {
            Step::Piece(bytes, last) => {
                exchange.asked = false;
                self.complete(
                    process,
                    Completion::EntityBody {
                        request,
                        bytes,
                        last,
                    },
                );
            }
            Step::NeedsMore => {}
            Step::CutShort => {
                self.lose_client(id, now);
                return self.close(id, Some(CloseHow::Reset), ConnectionEnd::ServerReset);
            }
            Step::Malformed(reason) => return self.refuse_entity(id, reason, now),
        }
        if was_paused {
            self.resume_if_paused(id);
            self.await_entity(id, now);
        }
    }

    /// Reads on through a body that nobody wants, to reach the next request.
    pub(super) fn drain(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        loop {
            let ConnectionState::Draining(reader) = &mut connection.state else {
                return;
            };
            match reader.read(connection.unread.bytes()) {
                Err(_) => {
                    return self.close(id, Some(CloseHow::Reset), ConnectionEnd::ServerReset);
                }
                Ok(piece) => {
                    connection.unread.advance(piece.consumed);
                    if piece.last {
                        return self.next_request(id, now);
                    }
                    if piece.consumed == 0 || connection.unread.is_empty() {
                        break;
                    }
                }
            }
        }
        if connection.half_closed {
            self.close(id, Some(CloseHow::AfterSending), ConnectionEnd::ServerFin);
        } else {
            self.resume_if_paused(id);
        }
    }
}

/// Follows the body to the end of these bytes, which have just arrived.
fn skim(exchange: &mut Exchange, bytes: &[u8]) -> Result<(), ReasonPhrase> {
    let Some(reader) = &mut exchange.arriving else {
        return Ok(());
    };
    let (_, last) = reader.skim(bytes)?;
    if last {
        exchange.arriving = None;
    }
    Ok(())
}

/// Takes the next piece of a body out of a connection's buffer.
fn next_piece(connection: &mut super::connection::Connection) -> Step {
    let ConnectionState::Busy(exchange) = &mut connection.state else {
        return Step::NeedsMore;
    };
    loop {
        let Some(reader) = &mut exchange.entity else {
            return Step::Piece(Bytes::new(), true);
        };
        match reader.read(connection.unread.bytes()) {
            Err(reason) => return Step::Malformed(reason),
            Ok(piece) => {
                connection.unread.advance(piece.consumed);
                exchange.bytes_received += piece.consumed as u64;
                if piece.last {
                    exchange.entity = None;
                }
                if piece.last || !piece.body.is_empty() {
                    return Step::Piece(piece.body, piece.last);
                }
                if piece.consumed == 0 || connection.unread.is_empty() {
                    return if connection.half_closed {
                        Step::CutShort
                    } else {
                        Step::NeedsMore
                    };
                }
            }
        }
    }
}
