//! One request from its parsed head to its end, and the response that is made to it.
//!
//! ```text
//!            ┌─ cache hit ────────────────────────────┐
//!   parsed ──┤                                        ▼
//!            ├─► Queued ──► Delivered ── whole ──► Sending ── sent ──► SendComplete, SrvdFrmCache
//!            │      │           │       response      │
//!            ▼      ▼           ▼                     ▼
//!         FastResp (a page)   Dropped (client gone, timer, worker gone …)
//! ```
//!
//! Every request leaves this picture by exactly one of the four facts.

use core::time::Duration;
use std::rc::Rc;

use super::connection::ConnectionState;
use super::error_page::error_page;
use super::http1::{EntityReader, ParsedHead, RefusedHead};
use super::request_queue::QueueIndex;
use super::response_cache::CacheUse;
use super::routing::{Route, RouteBy};
use super::timeouts::TimerKind;
use super::{CloseHow, HttpSys, Output, ReasonPhrase, Timer};
use crate::api::{
    ActivityId, Completion, ConnectionId, Ends, EntityLength, LogData, LogSettings, ProcessId,
    Request, RequestId, ResponseVerbosity, SiteId, Version,
};
use crate::clockwork::Instant;
use crate::etw::{ConnectionEnd, Fact};
use crate::logging::{HttpErrRecord, LogEntry, W3cRecord};

/// `sc-win32-status` of a response whose client has gone.
/// Source: KB944884 and field logs: 64, `ERROR_NETNAME_DELETED`.
const NETNAME_DELETED: u32 = 64;

/// How long a worker may take to hand in the log data of a request whose client has gone.
/// Source: HTTPERR documentation of Windows Server 2003, `Connection_Dropped`: log data not returned
/// within one minute.
const ZOMBIE_MAX: Duration = Duration::from_secs(60);

/// A request that was routed, and what is known about its response.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) request: Box<Request>,
    pub(super) stage: Stage,
    pub(super) queue: QueueIndex,
    pub(super) log: Option<Rc<LogSettings>>,
    pub(super) keep_alive: bool,
    /// The client waits for `100 Continue`, and has not got it.
    pub(super) continue_wanted: bool,
    pub(super) is_head: bool,
    pub(super) cache: CacheUse,
    /// Bytes of head and body that were taken.
    pub(super) bytes_received: u64,
    /// The body, until its end was read.
    pub(super) entity: Option<EntityReader>,
    /// The worker waits for (more of) the body.
    pub(super) asked: bool,
    /// What was sent so far.
    pub(super) answer: Option<Answer>,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// It was parsed and routed; nobody has it yet.
    Arrived,
    /// It waits in its queue.
    Queued {
        /// Since when.
        since: Instant,
    },
    /// A process holds it.
    Delivered {
        /// Which.
        process: ProcessId,
    },
    /// Its whole response was handed over to be sent.
    Sending(Answerer),
}

/// Who made a response.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answerer {
    /// A worker.
    Worker(ProcessId),
    /// The response cache, from this entry.
    Cache(u64),
}

/// A response that has been begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) log: Option<LogData>,
    /// Bytes of head and body.
    pub(super) bytes: u64,
    /// Bytes of the body.
    pub(super) body: u64,
    /// The body's length, as the head says.
    pub(super) declared: Option<u64>,
    /// Whether the response may have a body (not to HEAD, not 204, not 304).
    pub(super) has_body: bool,
    /// Whether the connection is closed after it.
    pub(super) close: bool,
}

/// A request whose client has gone while its worker was busy with it.
///
/// Source: KB937692: the connection is kept as a zombie; if the worker finishes in time, the site's
/// log gets the line, otherwise the error log gets `Connection_Dropped`.
#[derive(Debug)]
pub(super) struct Zombie {
    exchange: Box<Exchange>,
    ends: Ends,
    pub(super) process: ProcessId,
}

/// What is said about a request that ends in the error log.
pub(super) struct Refusal {
    request: RequestId,
    activity: ActivityId,
    record: HttpErrRecord,
}

impl HttpSys {
    pub(super) fn begin_request(&mut self, id: ConnectionId, head: ParsedHead, now: Instant) {
        let request_id = self.count_request(id, head.activity);
        self.disarm(id);
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let endpoint = connection.endpoint;
        let route = self.routing.route(RouteBy {
            secure: endpoint.secure,
            port: endpoint.port,
            local: endpoint.address,
            host: head.text.str(head.text.host),
            path: head.text.str(head.text.path),
        });
        let (ends, received) = (connection.ends, connection.first_byte);
        let mut request = Box::new(Request {
            id: request_id,
            connection: id,
            activity: head.activity,
            site: SiteId::default(),
            url_context: crate::api::UrlContext::default(),
            ends,
            secure: endpoint.secure,
            version: head.version,
            received,
            entity: head.entity,
            text: head.text,
        });
        let registration = match route {
            Route::To(registration) => registration,
            Route::NoHost => {
                return self.refuse_unrouted(id, &request, ReasonPhrase::Hostname, now);
            }
            Route::NoPath => {
                return self.refuse_unrouted(id, &request, ReasonPhrase::NotFound, now);
            }
            Route::ReservedOnly => {
                return self.refuse_unrouted(id, &request, ReasonPhrase::NotAvailable, now);
            }
        };
        let Some(group) = self.groups.get(&registration.group) else {
            return self.refuse_unrouted(id, &request, ReasonPhrase::NotAvailable, now);
        };
        request.site = group.properties.site;
        request.url_context = registration.context;
        let is_get = request.text.bytes(request.text.verb) == b"GET";
        let exchange = Exchange {
            stage: Stage::Arrived,
            queue: group.queue,
            log: group.log.clone(),
            keep_alive: head.keep_alive && head.version == Version::Http11,
            continue_wanted: head.expect_continue,
            is_head: request.text.bytes(request.text.verb) == b"HEAD",
            cache: if is_get {
                CacheUse::of(&request)
            } else {
                CacheUse::NONE
            },
            bytes_received: head.consumed as u64,
            entity: match head.entity {
                EntityLength::None => None,
                EntityLength::Known(_) | EntityLength::Chunked => {
                    Some(EntityReader::new(head.entity))
                }
            },
            asked: false,
            answer: None,
            request,
        };
        let (timeouts, limit) = (group.properties.timeouts, group.properties.connections_max);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.timeouts = timeouts;
            connection.state = ConnectionState::Busy(Box::new(exchange));
            self.tally.live += 1;
        }
        if self.is_over_connection_limit(id, limit) {
            self.refuse_request(id, ReasonPhrase::ConnLimit, now);
        } else if !self.serve_from_cache(id, now) {
            self.offer(id, now);
        }
    }

    /// A request's number; from here it has to end.
    fn count_request(&mut self, id: ConnectionId, activity: ActivityId) -> RequestId {
        self.tally.parsed += 1;
        let request = RequestId(self.tally.parsed);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.requests += 1;
        }
        self.fact(Fact::Parse {
            request,
            activity,
            connection: id,
        });
        request
    }

    /// Counts the connection for the site of its first request; `true` if the site has enough.
    fn is_over_connection_limit(&mut self, id: ConnectionId, limit: Option<u32>) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        if connection.counted_for.is_some() {
            return false;
        }
        let Some(site) = connection.exchange().map(|exchange| exchange.request.site) else {
            return false;
        };
        let open = self.site_connections.entry(site).or_default();
        if limit.is_some_and(|limit| *open >= limit) {
            return true;
        }
        *open += 1;
        connection.counted_for = Some(site);
        false
    }

    /// Everything of the response has been written.
    pub(super) fn sent(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.unsent = false;
        let stage = connection.exchange().map(|exchange| exchange.stage);
        if let Some(Stage::Sending(answerer)) = stage {
            self.request_answered(id, answerer, now);
        }
    }

    fn request_answered(&mut self, id: ConnectionId, answerer: Answerer, now: Instant) {
        self.disarm(id);
        let Some((exchange, _)) = self.take_exchange(id) else {
            return;
        };
        let Some(answer) = exchange.answer else {
            return;
        };
        let (request, activity) = (exchange.request.id, exchange.request.activity);
        let site = exchange.request.site;
        let Answer { status, bytes, .. } = answer;
        let took = now.saturating_since(exchange.request.received).as_nanos();
        self.fact(match answerer {
            Answerer::Worker(process) => {
                let took = u64::try_from(took).unwrap_or(u64::MAX);
                Fact::SendComplete {
                    request,
                    activity,
                    site,
                    process,
                    status,
                    bytes,
                    took,
                }
            }
            Answerer::Cache(entry) => Fact::SrvdFrmCache {
                request,
                activity,
                site,
                entry,
                status,
                bytes,
            },
        });
        let mut exchange = exchange;
        let entity = exchange.entity.take();
        self.log_answer(exchange, answer.status, answer.log, now);
        if answer.close {
            self.close(id, Some(CloseHow::AfterSending), ConnectionEnd::ServerFin);
        } else if let Some(reader) = entity {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.state = ConnectionState::Draining(Box::new(reader));
            }
            self.arm(id, TimerKind::Drain, now);
            self.drain(id, now);
        } else {
            self.next_request(id, now);
        }
    }

    /// Writes the site's log line; the request moves into it. Without log data there is no line.
    fn log_answer(
        &mut self,
        exchange: Box<Exchange>,
        status: u16,
        log: Option<LogData>,
        now: Instant,
    ) {
        let Exchange {
            request,
            log: settings,
            bytes_received,
            answer,
            ..
        } = *exchange;
        let (Some(settings), Some(log)) = (settings, log) else {
            return;
        };
        self.outputs.push_back(Output::Log(LogEntry::W3c(W3cRecord {
            at: now,
            settings,
            took: now.saturating_since(request.received),
            request,
            status,
            substatus: log.substatus,
            win32_status: log.win32_status,
            bytes_sent: answer.map_or(0, |answer| answer.bytes),
            bytes_received,
        })));
    }

    /// Takes the request off its connection, its queue and its holder. Its end is stated by the caller.
    fn take_exchange(&mut self, id: ConnectionId) -> Option<(Box<Exchange>, Ends)> {
        let connection = self.connections.get_mut(&id)?;
        let state = std::mem::replace(&mut connection.state, ConnectionState::Idle);
        let exchange = match state {
            ConnectionState::Busy(exchange) => exchange,
            ConnectionState::Idle | ConnectionState::Draining(_) => {
                connection.state = state;
                return None;
            }
        };
        let ends = connection.ends;
        self.tally.live -= 1;
        self.tally.ended += 1;
        match exchange.stage {
            Stage::Queued { .. } => self.leave_queue(exchange.queue, exchange.request.id),
            Stage::Delivered { process } => {
                self.release(process, exchange.queue, exchange.request.id);
            }
            Stage::Arrived | Stage::Sending(_) => {}
        }
        Some((exchange, ends))
    }

    /// The worker has handed over its whole response: the request is no longer its business.
    pub(super) fn response_whole(&mut self, id: ConnectionId, process: ProcessId, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let unsent = connection.unsent;
        let Some(exchange) = connection.exchange() else {
            return;
        };
        let Some(answer) = exchange.answer else {
            return;
        };
        // Source: aspnetcore's tests of http.sys: an application that declares more bytes than it
        // writes has its connection aborted.
        if answer.has_body
            && answer
                .declared
                .is_some_and(|declared| answer.body < declared)
        {
            self.abort_request(id, ReasonPhrase::ConnectionAbandonedByReqQueue, now);
            return;
        }
        exchange.stage = Stage::Sending(Answerer::Worker(process));
        exchange.asked = false;
        let (queue, request) = (exchange.queue, exchange.request.id);
        self.release(process, queue, request);
        if unsent {
            self.arm_min_send_rate(id, answer.bytes, now);
        } else {
            self.request_answered(id, Answerer::Worker(process), now);
        }
    }

    /// Ends a request without a (whole) response, with a line in the error log. The caller deals with
    /// the connection.
    pub(super) fn drop_request(&mut self, id: ConnectionId, reason: ReasonPhrase, now: Instant) {
        let Some((exchange, ends)) = self.take_exchange(id) else {
            return;
        };
        self.state_drop(id, &exchange, reason);
        self.log_error(&exchange, ends, reason, now);
    }

    /// Ends a request and resets its connection; the process that held it is told.
    pub(super) fn abort_request(&mut self, id: ConnectionId, reason: ReasonPhrase, now: Instant) {
        if let Some(exchange) = self.connections.get_mut(&id).and_then(|c| c.exchange())
            && let Stage::Delivered { process } = exchange.stage
        {
            let request = exchange.request.id;
            self.complete(process, Completion::Disconnected { request });
        }
        self.drop_and_reset(id, reason, now);
    }

    /// As [`Self::abort_request`], when nobody is left to be told.
    pub(super) fn drop_and_reset(&mut self, id: ConnectionId, reason: ReasonPhrase, now: Instant) {
        self.drop_request(id, reason, now);
        self.close(id, Some(CloseHow::Reset), ConnectionEnd::ServerReset);
    }

    /// What was handed over is sent before the connection closes: the request counts as answered.
    pub(super) fn answer_and_close(&mut self, id: ConnectionId, by: Answerer, now: Instant) {
        if let Some(exchange) = self.connections.get_mut(&id).and_then(|c| c.exchange())
            && let Some(answer) = &mut exchange.answer
        {
            answer.close = true;
            self.request_answered(id, by, now);
        }
    }

    fn state_drop(&mut self, id: ConnectionId, exchange: &Exchange, reason: ReasonPhrase) {
        let process = match exchange.stage {
            Stage::Delivered { process } | Stage::Sending(Answerer::Worker(process)) => {
                Some(process)
            }
            Stage::Arrived | Stage::Queued { .. } | Stage::Sending(Answerer::Cache(_)) => None,
        };
        self.fact(Fact::Dropped {
            request: exchange.request.id,
            activity: exchange.request.activity,
            connection: id,
            reason,
            queue: self.queues.name(exchange.queue),
            process,
            partial: exchange.answer.is_some(),
        });
    }

    fn log_error(&mut self, exchange: &Exchange, ends: Ends, reason: ReasonPhrase, now: Instant) {
        let mut record = error_record(&exchange.request, ends, reason, now);
        record.site = Some(exchange.request.site);
        record.queue = self.queues.name(exchange.queue);
        self.outputs
            .push_back(Output::Log(LogEntry::HttpErr(record)));
    }

    /// The client went away while its request was held by a process or its response was on the way.
    pub(super) fn lose_client(&mut self, id: ConnectionId, now: Instant) {
        let Some((exchange, ends)) = self.take_exchange(id) else {
            return;
        };
        self.state_drop(id, &exchange, ReasonPhrase::ConnectionDropped);
        match exchange.stage {
            Stage::Delivered { process } => {
                let request = exchange.request.id;
                self.complete(process, Completion::Disconnected { request });
                self.zombies.insert(
                    request,
                    Zombie {
                        exchange,
                        ends,
                        process,
                    },
                );
                self.deadlines.set(Timer::Zombie(request), now + ZOMBIE_MAX);
            }
            Stage::Arrived | Stage::Queued { .. } | Stage::Sending(_) => {
                let (status, log) = exchange.answer.map_or((0, None), |a| (a.status, a.log));
                self.log_lost(exchange, ends, status, log, now);
            }
        }
    }

    /// The line of a request whose client has gone: the site's log if the worker gave log data.
    fn log_lost(
        &mut self,
        exchange: Box<Exchange>,
        ends: Ends,
        status: u16,
        log: Option<LogData>,
        now: Instant,
    ) {
        match log.filter(|_| exchange.log.is_some()) {
            Some(log) => {
                let log = LogData {
                    win32_status: NETNAME_DELETED,
                    ..log
                };
                self.log_answer(exchange, status, Some(log), now);
            }
            None => self.log_error(&exchange, ends, ReasonPhrase::ConnectionDropped, now),
        }
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
            if let Some(Zombie { exchange, ends, .. }) = self.zombies.remove(&request) {
                let (status, log) = exchange.answer.map_or((0, None), |a| (a.status, a.log));
                self.log_lost(exchange, ends, status, log, now);
            }
        }
        true
    }

    /// The worker did not finish a request whose client has gone.
    pub(super) fn bury_zombie(&mut self, request: RequestId, now: Instant) {
        self.deadlines.clear(Timer::Zombie(request));
        if let Some(Zombie { exchange, ends, .. }) = self.zombies.remove(&request) {
            self.log_error(&exchange, ends, ReasonPhrase::ConnectionDropped, now);
        }
    }

    /// Refuses a routed request, in the way that its queue refuses.
    pub(super) fn refuse_request(&mut self, id: ConnectionId, reason: ReasonPhrase, now: Instant) {
        let Some((exchange, ends)) = self.take_exchange(id) else {
            return;
        };
        let mut refusal = Refusal::of(&exchange.request, ends, reason, now);
        refusal.record.site = Some(exchange.request.site);
        refusal.record.queue = self.queues.name(exchange.queue);
        // A queue that is gone leaves nobody to say how it wants to refuse; IIS always says Limited.
        let verbosity = self
            .queues
            .get(exchange.queue)
            .map_or(ResponseVerbosity::Limited, |queue| {
                queue.properties.verbosity
            });
        self.refuse(id, refusal, verbosity, now);
    }

    fn refuse_unrouted(
        &mut self,
        id: ConnectionId,
        request: &Request,
        reason: ReasonPhrase,
        now: Instant,
    ) {
        self.tally.ended += 1;
        let refusal = Refusal::of(request, request.ends, reason, now);
        self.refuse(id, refusal, ResponseVerbosity::Limited, now);
    }

    /// Refuses what is not a request.
    pub(super) fn refuse_head(&mut self, id: ConnectionId, head: RefusedHead, now: Instant) {
        let request = self.count_request(id, head.activity);
        self.tally.ended += 1;
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let record = HttpErrRecord {
            at: now,
            ends: connection.ends,
            version: head.version,
            verb: head.verb,
            url: head.url,
            status: None,
            site: None,
            reason: head.reason,
            queue: None,
        };
        let refusal = Refusal {
            request,
            activity: head.activity,
            record,
        };
        self.refuse(id, refusal, ResponseVerbosity::Limited, now);
    }

    /// Answers with a page and closes, or just resets the connection.
    fn refuse(
        &mut self,
        id: ConnectionId,
        refusal: Refusal,
        verbosity: ResponseVerbosity,
        now: Instant,
    ) {
        let Refusal {
            request,
            activity,
            mut record,
        } = refusal;
        let (reason, queue) = (record.reason, record.queue.clone());
        let page = match verbosity {
            ResponseVerbosity::Basic => None,
            ResponseVerbosity::Limited | ResponseVerbosity::Full => {
                error_page(reason, self.date.value(now))
            }
        };
        let status = reason.status().filter(|_| page.is_some());
        record.status = status;
        self.fact(match status {
            Some(status) => Fact::FastResp {
                request,
                activity,
                connection: id,
                status,
                reason,
                queue,
            },
            None => Fact::Dropped {
                request,
                activity,
                connection: id,
                reason,
                queue,
                process: None,
                partial: false,
            },
        });
        self.outputs
            .push_back(Output::Log(LogEntry::HttpErr(record)));
        match page {
            Some(page) => {
                self.send(id, page);
                self.close(id, Some(CloseHow::AfterSending), ConnectionEnd::ServerFin);
            }
            None => self.close(id, Some(CloseHow::Reset), ConnectionEnd::ServerReset),
        }
    }
}

impl Refusal {
    fn of(request: &Request, ends: Ends, reason: ReasonPhrase, now: Instant) -> Self {
        Self {
            request: request.id,
            activity: request.activity,
            record: error_record(request, ends, reason, now),
        }
    }
}

fn error_record(
    request: &Request,
    ends: Ends,
    reason: ReasonPhrase,
    now: Instant,
) -> HttpErrRecord {
    HttpErrRecord {
        at: now,
        ends,
        version: Some(request.version),
        verb: Some(request.text.str(request.text.verb).to_owned()),
        url: Some(request.text.str(request.text.raw_url).to_owned()),
        status: None,
        site: None,
        reason,
        queue: None,
    }
}
