//! Bodies of requests: passed on when the worker asks, drained when it does not.
//!
//! Body bytes stay as they arrived in the connection's buffer until they are asked for; that is what
//! keeps a body and the requests pipelined behind it in order.

use bytes::{Buf, Bytes};

use super::connection::ConnectionState;
use super::exchange::Stage;
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
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let is_empty = connection.buffer.is_empty();
        let Some(exchange) = connection.exchange() else {
            return;
        };
        exchange.asked = true;
        let continues = exchange.continue_wanted && exchange.entity.is_some();
        exchange.continue_wanted = false;
        if continues && is_empty && exchange.answer.is_none() {
            self.send(id, Bytes::from_static(CONTINUE));
        }
        self.pass_entity_body(id, now);
    }

    /// Gives the worker, which has asked, what is there of the body.
    pub(super) fn pass_entity_body(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let step = next_piece(connection);
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
                self.disarm(id);
                self.complete(
                    process,
                    Completion::EntityBody {
                        request,
                        bytes,
                        last,
                    },
                );
                self.resume_if_paused(id);
            }
            Step::NeedsMore => {
                self.resume_if_paused(id);
                // Source: KB820729, Timer_EntityBody: re-armed by every data indication.
                self.arm(id, TimerKind::EntityBody, now);
            }
            Step::CutShort => {
                self.lose_client(id, now);
                self.close(id, Some(CloseHow::Reset), ConnectionEnd::ServerReset);
            }
            Step::Malformed(reason) if exchange.answer.is_none() => {
                self.complete(process, Completion::Disconnected { request });
                self.refuse_request(id, reason, now);
            }
            Step::Malformed(reason) => self.abort_request(id, reason, now),
        }
    }

    /// Reads on through a body that nobody wants, to reach the next request.
    pub(super) fn drain(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        loop {
            let ConnectionState::Draining(reader) = &mut connection.state else {
                return;
            };
            match reader.read(&connection.buffer) {
                Err(_) => {
                    return self.close(id, Some(CloseHow::Reset), ConnectionEnd::ServerReset);
                }
                Ok(piece) => {
                    connection.buffer.advance(piece.consumed);
                    if piece.last {
                        return self.next_request(id, now);
                    }
                    if piece.consumed == 0 || connection.buffer.is_empty() {
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

/// Takes the next piece of a body out of a connection's buffer.
fn next_piece(connection: &mut super::connection::Connection) -> Step {
    let ConnectionState::Busy(exchange) = &mut connection.state else {
        return Step::NeedsMore;
    };
    loop {
        let Some(reader) = &mut exchange.entity else {
            return Step::Piece(Bytes::new(), true);
        };
        match reader.read(&connection.buffer) {
            Err(reason) => return Step::Malformed(reason),
            Ok(piece) => {
                connection.buffer.advance(piece.consumed);
                exchange.bytes_received += piece.consumed as u64;
                if piece.last {
                    exchange.entity = None;
                }
                if piece.last || !piece.body.is_empty() {
                    return Step::Piece(piece.body, piece.last);
                }
                if piece.consumed == 0 || connection.buffer.is_empty() {
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
