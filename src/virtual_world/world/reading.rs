//! How the driver reads from its connections: what has arrived, in order, as long as it does not pause.

use sim_httpsys::api::ConnectionId;
use sim_httpsys::clockwork::StateMachine;
use sim_httpsys::model::Input as ToHttpSys;

use super::World;
use crate::virtual_world::network::{Connection, READ_MAX, ServerSide, Up};

/// What is in a body: nobody looks.
static BODY: [u8; READ_MAX as usize] = [b'x'; READ_MAX as usize];

impl World {
    /// The driver reads no more from a connection for now, or does so again.
    pub(super) fn pause(&mut self, id: ConnectionId, paused: bool) {
        let Some(connection) = self.network.find_for_traffic(id) else {
            return;
        };
        connection.inbox().is_paused = paused;
        if !paused {
            self.readable.push_back(id);
        } else if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.paused();
        }
    }

    /// Reads once from a connection that has something to read; `false` if none has.
    pub(super) fn read_on(&mut self) -> bool {
        let Some(id) = self.readable.pop_front() else {
            return false;
        };
        let connection = self.network.find(id);
        let connection = connection.filter(|connection| connection.server == ServerSide::Open);
        if let Some(message) = connection.and_then(Connection::read) {
            self.readable.push_back(id);
            self.hear(id, message);
        }
        true
    }

    /// The driver is told what was read.
    pub(super) fn hear(&mut self, id: ConnectionId, message: Up) {
        let Some(connection) = self.network.find_for_traffic(id) else {
            return;
        };
        let request = &mut connection.traffic().request;
        match message {
            Up::Request => {
                let text = std::mem::take(request);
                self.give(ToHttpSys::Received {
                    connection: id,
                    bytes: &text,
                });
                self.network.texts.push(text);
            }
            Up::Part(from, to) => {
                let text = request.get(from..to).unwrap_or_default().to_vec();
                self.give(ToHttpSys::Received {
                    connection: id,
                    bytes: &text,
                });
            }
            Up::Body(length) => self.give(ToHttpSys::Received {
                connection: id,
                bytes: BODY.get(..length as usize).unwrap_or(&BODY),
            }),
            Up::Fin => self.give(ToHttpSys::HalfClosed { connection: id }),
            Up::Syn | Up::Hello { .. } | Up::Rst => {
                debug_assert!(false, "{message:?} is not read");
            }
        }
    }

    pub(super) fn give(&mut self, input: ToHttpSys<'_>) {
        let now = self.timeline.now;
        if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.given(now, &input);
        }
        self.httpsys.handle_input(input, now);
    }
}
