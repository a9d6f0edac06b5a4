//! The driver's part of the world: what reaches `HttpSys`, and what becomes of its outputs.

use std::time::Duration;

use sim_httpsys::api::{CallResult, Completion, ConnectionId, Endpoint, ProcessId};
use sim_httpsys::clockwork::StateMachine;
use sim_httpsys::model::{CloseHow, Input as ToHttpSys, Output as FromHttpSys};

use super::{Event, World};
use crate::virtual_world::costs::Cost;
use crate::virtual_world::network::{ClientSide, Down, ServerSide, Up};
use crate::virtual_world::processes::ToDriver;

impl World {
    pub(super) fn tell_httpsys(&mut self, input: ToHttpSys<'_>) {
        self.give(input);
        self.carry_out_httpsys();
    }

    pub(super) fn carry_out_httpsys(&mut self) {
        let now = self.timeline.now;
        if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.pass(now);
        }
        let mut listened = Vec::new();
        // One thread: what it says after it has closed many connections leaves so much later. Assumed: closing
        // one computes as much as a hop; live, 70 of them take 3 ms.
        let mut closing = Duration::ZERO;
        loop {
            // Most outputs are facts and log lines, which are large: they are looked at where they lie.
            match self.httpsys.poll_output() {
                Some(FromHttpSys::Fact(ref fact)) => self.chronicle.httpsys(now, fact),
                Some(FromHttpSys::Log(ref entry)) => self.chronicle.log(entry),
                Some(FromHttpSys::Send { connection, bytes }) => {
                    if let Some(checkers) = &mut self.chronicle.checkers {
                        checkers.sends(connection, &bytes);
                    }
                    self.send_to_client(connection, Down::Bytes(bytes));
                }
                Some(FromHttpSys::Complete { to, completion }) => {
                    self.complete(to, completion, closing);
                }
                Some(FromHttpSys::Close { connection, how }) => {
                    closing += self.hop_cpu;
                    self.hang_up(connection, how);
                }
                Some(FromHttpSys::Reading { connection, paused }) => {
                    self.pause(connection, paused);
                }
                Some(FromHttpSys::Listen { endpoint }) => {
                    self.endpoints.insert(endpoint);
                    listened.push(endpoint);
                }
                Some(FromHttpSys::Unlisten { endpoint }) => {
                    self.endpoints.remove(&endpoint);
                }
                Some(FromHttpSys::QueryCounters { by, call }) => {
                    let snapshot = Box::new(self.chronicle.counters(now));
                    let result = Ok(CallResult::Counters(snapshot));
                    self.complete(by, Completion::Called { id: call, result }, closing);
                }
                None if self.answer_httpsys(&mut listened) => {}
                None => break,
            }
        }
        if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.httpsys_settled(&self.httpsys);
        }
        let due = self.httpsys.next_deadline().map(|deadline| deadline.at);
        self.httpsys_alarm
            .set(due, Event::WakeHttpSys, &mut self.timeline);
    }

    /// Tells the driver that what it has sent has gone, or that a socket is open; `false` if there is no such news.
    fn answer_httpsys(&mut self, listened: &mut Vec<Endpoint>) -> bool {
        let input = if let Some(id) = self.gone.pop_front() {
            let Some(input) = self.sent_input(id) else {
                return true;
            };
            input
        } else if let Some(endpoint) = listened.pop() {
            let result = Ok(());
            ToHttpSys::Listening { endpoint, result }
        } else {
            return self.read_on();
        };
        self.give(input);
        true
    }

    fn send_to_client(&mut self, id: ConnectionId, message: Down) {
        let Some(connection) = self.network.find_for_traffic(id) else {
            return;
        };
        connection.send_down(message, &mut self.timeline);
        if connection.owed {
            return;
        }
        connection.owed = true;
        let late = connection.traffic().slow_read;
        if late.is_zero() {
            self.gone.push_back(id);
        } else {
            self.timeline.after(late, Event::Sent(id));
        }
    }

    fn hang_up(&mut self, id: ConnectionId, how: CloseHow) {
        let Some(connection) = self.network.find_for_traffic(id) else {
            return;
        };
        connection.server = ServerSide::Closed;
        let end = match how {
            CloseHow::AfterSending => Down::Fin,
            CloseHow::Reset => {
                connection.lose_down();
                Down::Rst
            }
        };
        connection.send_down(end, &mut self.timeline);
        self.network.forget_if_over(id);
    }

    fn complete(&mut self, to: ProcessId, completion: Completion, busy: Duration) {
        let is_control = to == self.controller.id;
        let hop = if is_control {
            Cost::ControlHop
        } else {
            Cost::DeviceHop
        };
        let mut delay = self.timeline.draw(hop) + busy;
        let announcement = Event::FromDriver(to);
        if is_control {
            let wire = &mut self.controller.completions;
            wire.send(completion, delay, announcement, &mut self.timeline);
        } else if let Some(process) = self.processes.find(to).filter(|p| p.is_alive()) {
            let stall = self.fate.of_device();
            if !stall.is_zero() {
                delay += stall;
                if let Some(checkers) = &mut self.chronicle.checkers {
                    checkers.stalled(to);
                }
            }
            let wire = &mut process.from_driver;
            wire.send(completion, delay, announcement, &mut self.timeline);
        }
    }

    pub(super) fn up(&mut self, id: ConnectionId) {
        let Some(connection) = self.network.find(id) else {
            return;
        };
        let Some(message) = connection.take_up() else {
            return;
        };
        let now = self.timeline.now;
        match (connection.server, message) {
            (ServerSide::Unknown, Up::Syn) => {
                self.timeline.steal(self.connection_cpu);
                let (endpoint, ends) = self.clients.ends(connection.pool, connection.port);
                if !self.endpoints.contains(&endpoint) {
                    connection.server = ServerSide::Closed;
                    connection.send_down(Down::Refused, &mut self.timeline);
                    return self.network.forget_if_over(id);
                }
                connection.server = ServerSide::Open;
                connection.send_down(Down::Accepted, &mut self.timeline);
                self.tell_httpsys(ToHttpSys::Opened {
                    connection: id,
                    endpoint,
                    ends,
                });
            }
            (ServerSide::Open, Up::Hello { resume }) => {
                let cost = if resume {
                    Cost::HandshakeResumed
                } else {
                    Cost::HandshakeFull
                };
                let took = self.timeline.draw(cost);
                let secured = Event::Secured {
                    connection: id,
                    resumed: resume,
                };
                self.timeline.after(took, secured);
            }
            (ServerSide::Open, Up::Request | Up::Part(..) | Up::Body(_) | Up::Fin) => {
                if let Some(message) = connection.hold(message) {
                    self.hear(id, message);
                } else {
                    self.readable.push_back(id);
                }
                self.carry_out_httpsys();
                self.network.settle(id, now);
            }
            (ServerSide::Open, Up::Rst) => {
                connection.server = ServerSide::Closed;
                self.network.forget_if_over(id);
                self.tell_httpsys(ToHttpSys::Reset { connection: id });
            }
            (ServerSide::Unknown | ServerSide::Closed, _) | (ServerSide::Open, Up::Syn) => {}
        }
    }

    pub(super) fn sent(&mut self, id: ConnectionId) {
        if let Some(input) = self.sent_input(id) {
            self.tell_httpsys(input);
        }
    }

    /// What the driver is told when what it has sent has gone; nothing if it has closed the connection.
    fn sent_input(&mut self, id: ConnectionId) -> Option<ToHttpSys<'static>> {
        let connection = self.network.find(id)?;
        connection.owed = false;
        let is_open = connection.server == ServerSide::Open;
        is_open.then_some(ToHttpSys::Sent { connection: id })
    }

    pub(super) fn secured(&mut self, id: ConnectionId, resumed: bool) {
        let Some(connection) = self.network.find(id) else {
            return;
        };
        let is_there = connection.client != ClientSide::Closed;
        if connection.server == ServerSide::Open && is_there {
            connection.send_down(Down::Secured { resumed }, &mut self.timeline);
            self.tell_httpsys(ToHttpSys::Secured {
                connection: id,
                resumed,
            });
        }
    }

    pub(super) fn at_driver(&mut self, id: ProcessId) {
        if self.controller_at_driver(id) {
            return;
        }
        match self.processes.find(id).and_then(|p| p.to_driver.take()) {
            Some(ToDriver::Attach) => self.tell_httpsys(ToHttpSys::Attached { process: id }),
            Some(ToDriver::Call(call)) => self.tell_httpsys(ToHttpSys::Called { by: id, call }),
            Some(ToDriver::HangUp) => self.tell_httpsys(ToHttpSys::Gone { process: id }),
            None => {}
        }
    }
}
