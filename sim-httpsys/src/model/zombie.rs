//! Zombies: requests whose client has gone while a worker was still busy with them.

use core::time::Duration;

use super::exchange::{Answer, Answerer, Exchange, Stage};
use super::{HttpSys, ReasonPhrase, Timer};
use crate::api::{Completion, ConnectionId, LogData, ProcessId, RequestId, Verb};
use crate::clockwork::Instant;
use crate::etw::Fact;

/// `sc-win32-status` of a response whose client has gone.
/// Source: KB944884 and field logs: 64, `ERROR_NETNAME_DELETED`.
const NETNAME_DELETED: u32 = 64;

/// How long a worker may take to hand in the log data of a request whose client has gone.
/// Source: HTTPERR documentation of Windows Server 2003, `Connection_Dropped`: log data not returned
/// within one minute.
pub const ZOMBIE_MAX: Duration = Duration::from_mins(1);

/// A request whose client has gone while its worker was busy with it.
///
/// Source: KB937692: the connection is kept as a zombie; if the worker finishes in time, the site's
/// log gets the line, otherwise the error log gets `Connection_Dropped`.
#[derive(Debug)]
pub(super) struct Zombie {
    exchange: Box<Exchange>,
    pub(super) process: ProcessId,
}

impl HttpSys {
    /// The client went away while its request was held by a process or its response was on the way.
    pub(super) fn lose_client(&mut self, id: ConnectionId, now: Instant) {
        let Some(exchange) = self.take_exchange(id) else {
            return;
        };
        self.state_drop(id, &exchange, ReasonPhrase::ConnectionDropped);
        match exchange.stage {
            Stage::Delivered { process } => {
                let request = exchange.request.id;
                self.complete(process, Completion::Disconnected { request });
                let zombie = Zombie { exchange, process };
                self.zombies.insert(request, zombie);
                self.deadlines.set(Timer::Zombie(request), now + ZOMBIE_MAX);
            }
            Stage::Arrived | Stage::Queued { .. } | Stage::Sending(_) => {
                let (status, log) = exchange.answer.map_or((0, None), |a| (a.status, a.log));
                self.log_lost(&exchange, status, log, now);
            }
        }
    }

    /// The books of a request whose client has gone: the site's, with its log and its counters, if there was
    /// an answer; else the error log.
    fn log_lost(&mut self, exchange: &Exchange, status: u16, log: Option<LogData>, now: Instant) {
        if log.is_some() {
            self.count_lost(exchange, status);
        }
        match log.filter(|_| exchange.log.is_some()) {
            Some(log) => {
                let log = LogData {
                    win32_status: NETNAME_DELETED,
                    ..log
                };
                self.log_answer(exchange, status, Some(log), now);
            }
            None => self.log_error(exchange, ReasonPhrase::ConnectionDropped, now),
        }
    }

    fn count_lost(&mut self, exchange: &Exchange, status: u16) {
        let request = &exchange.request;
        let text = &request.text;
        let (process, entry) = match exchange.stage {
            Stage::Delivered { process } | Stage::Sending(Answerer::Worker(process)) => {
                (Some(process), None)
            }
            Stage::Sending(Answerer::Cache(entry)) => (None, Some(entry)),
            Stage::Arrived | Stage::Queued { .. } => (None, None),
        };
        self.fact(Fact::LogFileWrite {
            request: request.id,
            activity: request.activity,
            site: request.site,
            process,
            entry,
            status,
            bytes: exchange.answer.map_or(0, |answer| answer.bytes),
            verb: Verb::of(text.bytes(text.verb)),
            received: exchange.bytes_received,
        });
    }

    /// A worker answers a request whose client has gone. `false` if there is no such request.
    pub(super) fn answer_zombie(
        &mut self,
        by: ProcessId,
        request: RequestId,
        head: Option<(u16, Option<LogData>)>,
        more: bool,
        now: Instant,
    ) -> bool {
        let Some(zombie) = self.zombies.get_mut(&request).filter(|z| z.process == by) else {
            return false;
        };
        if let Some((status, log)) = head {
            zombie.exchange.answer = Some(Answer {
                status,
                log,
                bytes: 0,
                body: 0,
                declared: None,
                has_body: false,
                close: true,
            });
        }
        if !more {
            self.deadlines.clear(Timer::Zombie(request));
            if let Some(Zombie { exchange, .. }) = self.zombies.remove(&request) {
                let (status, log) = exchange.answer.map_or((0, None), |a| (a.status, a.log));
                self.log_lost(&exchange, status, log, now);
            }
        }
        true
    }

    /// The worker did not finish a request whose client has gone.
    pub(super) fn bury_zombie(&mut self, request: RequestId, now: Instant) {
        self.deadlines.clear(Timer::Zombie(request));
        if let Some(Zombie { exchange, .. }) = self.zombies.remove(&request) {
            self.log_error(&exchange, ReasonPhrase::ConnectionDropped, now);
        }
    }
}
