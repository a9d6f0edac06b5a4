//! Refusals: what the driver answers by itself, with a page or with a reset, and the line that the
//! error log gets for it.

use super::error_page::{error_page, head_of_page};
use super::exchange::Exchange;
use super::http1::RefusedHead;
use super::{CloseHow, HttpSys, Output, ReasonPhrase};
use crate::api::{ActivityId, ConnectionId, Request, RequestId, ResponseVerbosity, SiteId};
use crate::clockwork::Instant;
use crate::clockwork::mutants::{Mutant, mutated};
use crate::etw::{ConnectionEnd, Fact};
use crate::logging::{HttpErrRecord, LogEntry};

/// What is said about a request that ends in the error log.
struct Refusal {
    request: RequestId,
    activity: ActivityId,
    record: HttpErrRecord,
}

impl HttpSys {
    /// Refuses a routed request, in the way that its queue refuses.
    pub(super) fn refuse_request(&mut self, id: ConnectionId, reason: ReasonPhrase, now: Instant) {
        let Some(exchange) = self.take_exchange(id) else {
            return;
        };
        let mut refusal = Refusal::of(&exchange.request, reason, now);
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

    /// Refuses a request that no site has.
    pub(super) fn refuse_unrouted(
        &mut self,
        id: ConnectionId,
        exchange: Box<Exchange>,
        reason: ReasonPhrase,
        now: Instant,
    ) {
        self.refuse_unqueued(id, exchange, None, reason, now);
    }

    /// Refuses a request that goes to no queue, in the name of the site that does not take it, if it has one.
    pub(super) fn refuse_unqueued(
        &mut self,
        id: ConnectionId,
        exchange: Box<Exchange>,
        site: Option<SiteId>,
        reason: ReasonPhrase,
        now: Instant,
    ) {
        self.tally.ended += 1;
        let mut refusal = Refusal::of(&exchange.request, reason, now);
        refusal.record.site = site;
        self.keep_memory(exchange);
        self.refuse(id, refusal, ResponseVerbosity::Limited, now);
    }

    /// Refuses what is not a request.
    pub(super) fn refuse_head(&mut self, id: ConnectionId, head: &mut RefusedHead, now: Instant) {
        let request = self.count_request(id, head.activity);
        self.tally.ended += 1;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.requests += 1;
        let record = HttpErrRecord {
            at: now,
            ends: connection.ends.get(),
            version: head.version,
            verb: head.verb.take(),
            url: head.url.take(),
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
            ResponseVerbosity::Basic if !mutated(Mutant::AnswerTcpLevel) => None,
            ResponseVerbosity::Basic | ResponseVerbosity::Limited | ResponseVerbosity::Full => {
                error_page(reason, self.date.value(now))
            }
        };
        let page = match record.verb.as_deref() {
            Some("HEAD") => page.as_ref().map(head_of_page),
            Some(_) | None => page,
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
        if mutated(Mutant::TwoLinesPerRefusal) {
            let again = record.clone();
            self.outputs
                .push_back(Output::Log(LogEntry::HttpErr(Box::new(again))));
        }
        self.outputs
            .push_back(Output::Log(LogEntry::HttpErr(Box::new(record))));
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
    fn of(request: &Request, reason: ReasonPhrase, now: Instant) -> Self {
        Self {
            request: request.id,
            activity: request.activity,
            record: error_record(request, reason, now),
        }
    }
}

/// The error log's line of a request, before more is known.
pub(super) fn error_record(request: &Request, reason: ReasonPhrase, now: Instant) -> HttpErrRecord {
    HttpErrRecord {
        at: now,
        ends: request.ends.get(),
        version: Some(request.version.into()),
        verb: Some(request.text.str(request.text.verb).to_owned()),
        url: Some(request.text.str(request.text.raw_url).to_owned()),
        status: None,
        site: None,
        reason,
        queue: None,
    }
}
