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

use std::rc::Rc;

use super::connection::ConnectionState;
use super::http1::{EntityReader, ParsedHead};
use super::known_routes::CameIn;
use super::refusal::error_record;
use super::request_queue::QueueIndex;
use super::response_cache::CacheUse;
use super::routing::{Route, RouteBy};
use super::timeouts::TimerKind;
use super::url_path::has_more_segments;
use super::{CloseHow, HttpSys, Output, ReasonPhrase};
use crate::api::{
    ActivityId, Completion, ConnectionId, EntityLength, LogData, LogSettings, ProcessId, Request,
    RequestId, SharedRequest, Verb, Version,
};
use crate::clockwork::Instant;
use crate::clockwork::mutants::{Mutant, mutated};
use crate::etw::{ConnectionEnd, Fact};
use crate::logging::{LogEntry, W3cRecord};

/// Ended requests whose memory is kept: as many as begin before the first of them was logged and let go.
/// Assumed: 64, which costs no more than some kilobytes.
const ENDED_MAX: usize = 64;

/// A request that was routed, and what is known about its response.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state"
)]
pub(super) struct Exchange {
    pub(super) request: SharedRequest,
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
    pub(super) entity: Option<Box<EntityReader>>,
    /// The body, until its end has arrived; ahead of `entity` by what lies in the buffer.
    pub(super) arriving: Option<Box<EntityReader>>,
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

impl Exchange {
    /// A request and what is known about its response, before there are any.
    fn empty() -> Self {
        Self {
            request: SharedRequest::new(Request::nobodys()),
            stage: Stage::Arrived,
            queue: QueueIndex::default(),
            log: None,
            keep_alive: false,
            continue_wanted: false,
            is_head: false,
            cache: CacheUse::NONE,
            bytes_received: 0,
            entity: None,
            arriving: None,
            asked: false,
            answer: None,
        }
    }
}

impl HttpSys {
    /// A request has come. Its head and what becomes of it are written where those of an earlier request were,
    /// field by field: both are large, and a request is too short-lived to be moved about.
    pub(super) fn begin_request(
        &mut self,
        id: ConnectionId,
        head: &ParsedHead,
        received: Instant,
        now: Instant,
    ) {
        let request_id = self.count_request(id, head.activity);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.requests += 1;
        if !mutated(Mutant::IdleTimerWhileBusy) {
            connection.timer.disarm();
        }
        let no_body_yet = connection.unread.is_empty();
        let ends = connection.ends.clone();
        let endpoint = self.endpoints.of(connection.endpoint);
        let came_in = CameIn {
            secure: endpoint.secure,
            port: endpoint.port,
            local: ends.local_ip(),
            version: self.routing.version(),
        };
        let route = self.route(head, came_in);
        let mut exchange = self.memory_for_exchange();
        let request = SharedRequest::get_mut(&mut exchange.request)
            .expect("a request that has just come is nobody else's");
        request.id = request_id;
        request.connection = id;
        request.activity = head.activity;
        request.ends = ends;
        request.secure = came_in.secure;
        request.version = head.version;
        request.received = received;
        request.entity = head.entity;
        // What was written there before is memory for the next head.
        std::mem::swap(&mut request.text, &mut self.head_memory.text);
        let registration = match route {
            Route::To(registration) => registration,
            Route::NoHost => {
                return self.refuse_unrouted(id, exchange, ReasonPhrase::Hostname, now);
            }
            Route::NoPath => {
                return self.refuse_unrouted(id, exchange, ReasonPhrase::NotFound, now);
            }
            Route::ReservedOnly => {
                return self.refuse_unrouted(id, exchange, ReasonPhrase::NotAvailable, now);
            }
        };
        let Some(group) = self.groups.get(&registration.group) else {
            return self.refuse_unrouted(id, exchange, ReasonPhrase::NotAvailable, now);
        };
        let segments_max = group.properties.url_segments_max;
        if segments_max != 0 && has_more_segments(request.text.str(request.text.path), segments_max)
        {
            let site = Some(group.properties.site);
            return self.refuse_unqueued(id, exchange, site, ReasonPhrase::Url, now);
        }
        request.url_context = registration.context;
        request.site = group.properties.site;
        if mutated(Mutant::FirstSiteNamed) {
            request.site = self
                .first_group()
                .map_or(request.site, |g| g.properties.site);
        }
        exchange.is_head = request.text.bytes(request.text.verb) == b"HEAD";
        exchange.cache = head.cache;
        exchange.stage = Stage::Arrived;
        exchange.queue = group.queue;
        if mutated(Mutant::RouteToFirstPool) {
            exchange.queue = self
                .first_group()
                .map_or(exchange.queue, |first| first.queue);
        }
        exchange.log.clone_from(&group.log);
        exchange.keep_alive = head.keep_alive && head.version == Version::Http11;
        // Source: RFC 9110, 10.1.1: who has begun to send the body does not wait for it.
        exchange.continue_wanted = head.expect_continue && no_body_yet;
        exchange.bytes_received = head.consumed as u64;
        exchange.entity = match head.entity {
            EntityLength::None => None,
            EntityLength::Known(_) | EntityLength::Chunked => {
                Some(Box::new(EntityReader::new(head.entity)))
            }
        };
        exchange.arriving.clone_from(&exchange.entity);
        exchange.asked = false;
        exchange.answer = None;
        let limit = group.properties.connections_max;
        if let Some(connection) = self.connections.get_mut(id) {
            if !Rc::ptr_eq(&connection.timeouts, &group.timeouts) {
                connection.timeouts = Rc::clone(&group.timeouts);
            }
            connection.state = ConnectionState::Busy(exchange);
            self.tally.live += 1;
        }
        self.find_answerer(id, head, limit, now);
    }

    /// Where a head leads to.
    fn route(&mut self, head: &ParsedHead, came_in: CameIn) -> Route {
        let known = head.known;
        if let Some(route) = known.and_then(|host| self.known_routes.route(host, &came_in)) {
            return route;
        }
        let text = &self.head_memory.text;
        let route = self.routing.route(RouteBy {
            secure: came_in.secure,
            port: came_in.port,
            local: Some(came_in.local),
            host: text.str(text.host),
            path: text.str(text.path),
        });
        if let Some(host) = known {
            self.known_routes.keep(host, came_in, route);
        }
        route
    }

    /// A request was routed: it is answered from the cache, or offered to its queue.
    fn find_answerer(
        &mut self,
        id: ConnectionId,
        head: &ParsedHead,
        limit: Option<u32>,
        now: Instant,
    ) {
        let has_entity = head.entity != EntityLength::None;
        if has_entity && !self.entity_begins(id, now) {
            return;
        }
        if self.is_over_connection_limit(id, limit) {
            self.refuse_request(id, ReasonPhrase::ConnLimit, now);
        } else if !self.serve_from_cache(id, head.known, now) {
            self.offer(id, now);
        }
        if has_entity {
            self.await_entity(id, now);
        }
    }

    /// Memory for a request and its exchange: those of the request that ended last, which the processor has at
    /// hand; if somebody still looks at that, of the one that ended first.
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "memory is lent, not its contents"
    )]
    fn memory_for_exchange(&mut self) -> Box<Exchange> {
        let is_free = |ended: &mut Box<Exchange>| SharedRequest::strong_count(&ended.request) == 1;
        let free = self.ended.pop_back_if(is_free);
        let free = free.or_else(|| self.ended.pop_front_if(is_free));
        free.unwrap_or_else(|| Box::new(Exchange::empty()))
    }

    /// Keeps the memory of a request that has ended for another one.
    pub(super) fn keep_memory(&mut self, exchange: Box<Exchange>) {
        if self.ended.len() < ENDED_MAX {
            self.ended.push_back(exchange);
        }
    }

    /// A request's number; from here it has to end.
    pub(super) fn count_request(&mut self, id: ConnectionId, activity: ActivityId) -> RequestId {
        self.tally.parsed += 1;
        let request = RequestId(self.tally.parsed);
        self.fact(Fact::Parse {
            request,
            activity,
            connection: id,
        });
        request
    }

    /// Counts the connection for the site of its first request; `true` if the site has enough.
    fn is_over_connection_limit(&mut self, id: ConnectionId, limit: Option<u32>) -> bool {
        let Some(connection) = self.connections.get_mut(id) else {
            return false;
        };
        if connection.counted_for.is_some() {
            return false;
        }
        let Some(site) = connection.exchange().map(|exchange| exchange.request.site) else {
            return false;
        };
        let mut others = 0;
        if mutated(Mutant::ConnectionsOfAllSites) {
            let all = self.site_connections.iter();
            others = all
                .filter(|(of, _)| **of != site)
                .map(|(_, open)| open)
                .sum();
        }
        let open = self.site_connections.entry(site).or_default();
        let extra = u32::from(mutated(Mutant::ConnectionLimitOffByOne));
        if limit.is_some_and(|limit| *open + others >= limit + extra) {
            return true;
        }
        *open += 1;
        connection.counted_for = Some(site);
        self.fact(Fact::ConnCounted {
            connection: id,
            site,
        });
        false
    }

    /// Everything of the response has been written.
    pub(super) fn sent(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.unsent = false;
        let stage = connection.exchange().map(|exchange| exchange.stage);
        if let Some(Stage::Sending(answerer)) = stage {
            self.request_answered(id, answerer, now);
        }
    }

    pub(super) fn request_answered(&mut self, id: ConnectionId, answerer: Answerer, now: Instant) {
        self.disarm(id);
        let Some(mut exchange) = self.take_exchange(id) else {
            return;
        };
        let Some(answer) = exchange.answer else {
            return;
        };
        let (request, activity) = (exchange.request.id, exchange.request.activity);
        let site = exchange.request.site;
        let Answer { status, bytes, .. } = answer;
        let bytes = bytes - u64::from(mutated(Mutant::CountBytesShort));
        let text = &exchange.request.text;
        let (verb, received) = (Verb::of(text.bytes(text.verb)), exchange.bytes_received);
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
                    verb,
                    received,
                    is_file: answer.log.is_some_and(|log| log.is_file),
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
                verb,
                received,
            },
        });
        let entity = exchange.entity.take();
        let is_cached = matches!(answerer, Answerer::Cache(_));
        if !(is_cached && mutated(Mutant::NoLineForAnswer)) {
            self.log_answer(&exchange, answer.status, answer.log, now);
        }
        self.keep_memory(exchange);
        if answer.close {
            self.close(id, Some(CloseHow::AfterSending), ConnectionEnd::ServerFin);
        } else if let Some(reader) = entity {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.state = ConnectionState::Draining(reader);
            }
            self.arm(id, TimerKind::Drain, now);
            self.drain(id, now);
        } else {
            self.next_request(id, now);
        }
    }

    /// Writes the site's log line. Without log data there is none, nor if they ask for none.
    pub(super) fn log_answer(
        &mut self,
        exchange: &Exchange,
        status: u16,
        log: Option<LogData>,
        now: Instant,
    ) {
        let log = log.filter(|log| !log.is_unlogged);
        let (Some(settings), Some(log)) = (&exchange.log, log) else {
            return;
        };
        let request = &exchange.request;
        self.outputs.push_back(Output::Log(LogEntry::W3c(W3cRecord {
            at: now,
            settings: Rc::clone(settings),
            took: now.saturating_since(request.received),
            request: SharedRequest::clone(request),
            status,
            substatus: log.substatus,
            win32_status: log.win32_status,
            bytes_sent: exchange.answer.map_or(0, |answer| answer.bytes),
            bytes_received: exchange.bytes_received,
        })));
    }

    /// Takes the request off its connection, its queue and its holder. Its end is stated by the caller.
    pub(super) fn take_exchange(&mut self, id: ConnectionId) -> Option<Box<Exchange>> {
        let connection = self.connections.get_mut(id)?;
        let state = std::mem::replace(&mut connection.state, ConnectionState::Idle);
        let exchange = match state {
            ConnectionState::Busy(exchange) => exchange,
            ConnectionState::Idle | ConnectionState::Draining(_) => {
                connection.state = state;
                return None;
            }
        };
        self.tally.live -= 1;
        self.tally.ended += 1;
        match exchange.stage {
            Stage::Queued { .. } => self.leave_queue(exchange.queue, exchange.request.id),
            Stage::Delivered { process } => {
                self.release(process, exchange.queue, exchange.request.id);
            }
            Stage::Arrived | Stage::Sending(_) => {}
        }
        Some(exchange)
    }

    /// The worker has handed over its whole response: the request is no longer its business.
    pub(super) fn response_whole(&mut self, id: ConnectionId, process: ProcessId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
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
        let Some(exchange) = self.take_exchange(id) else {
            return;
        };
        self.state_drop(id, &exchange, reason);
        if !mutated(Mutant::NoLineForDrop) {
            self.log_error(&exchange, reason, now);
        }
    }

    /// Ends a request and resets its connection; the process that held it is told.
    pub(super) fn abort_request(&mut self, id: ConnectionId, reason: ReasonPhrase, now: Instant) {
        if let Some(exchange) = self.connections.get_mut(id).and_then(|c| c.exchange())
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

    /// What was handed over is sent before the connection closes, in the time that any response has.
    pub(super) fn close_when_answered(&mut self, id: ConnectionId) {
        if let Some(exchange) = self.connections.get_mut(id).and_then(|c| c.exchange())
            && let Some(answer) = &mut exchange.answer
        {
            answer.close = true;
        }
    }

    pub(super) fn state_drop(
        &mut self,
        id: ConnectionId,
        exchange: &Exchange,
        reason: ReasonPhrase,
    ) {
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

    pub(super) fn log_error(&mut self, exchange: &Exchange, reason: ReasonPhrase, now: Instant) {
        let mut record = error_record(&exchange.request, reason, now);
        record.site = Some(exchange.request.site);
        record.queue = self.queues.name(exchange.queue);
        self.outputs
            .push_back(Output::Log(LogEntry::HttpErr(Box::new(record))));
    }
}
