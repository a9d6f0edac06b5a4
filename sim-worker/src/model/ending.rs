//! How a request ends in a worker: it is answered, refused, or its client leaves. Whatever it held is
//! given back in one place.

use std::time::Duration;

use bytes::Bytes;
use sim_httpsys::api::{
    CachePolicy, Call, LogData, RequestId, Response, SharedRequest, wire::BODY_MAX,
};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};

use super::http_context::{HttpContext, Notification, Waits};
use super::modules::custom_error::{self, Refusal};
use super::modules::static_file::STATIC_FILE;
use super::modules::{Reply, SERVER};
use super::{Lifecycle, Output, Timer, WorkerProcess};
use crate::configuration::PathSettings;
use crate::facts::Fact;

/// What a response that is cut begins with.
const FIRST_CHUNK: &str = "5\r\nbegun\r\n";
/// The driver is to name no server either.
const NO_SERVER: &str = "Server: \r\n";
/// Assumed: after a chunk is sent a handler does something before it gives up; else the reset would overtake
/// the chunk on its way.
const CHUNK_TO_CUT: Duration = Duration::from_millis(100);

/// Ended requests whose memory is kept.
/// Assumed: 64, as the driver does; those that begin while more are under way find none.
const ENDED_MAX: usize = 64;

impl WorkerProcess {
    /// Answers with an error page.
    pub(super) fn refuse(&mut self, context: Box<HttpContext>, refusal: &Refusal, now: Instant) {
        let managed = context.page.is_some();
        let extra = format!(
            "Cache-Control: private\r\nX-Sim-Worker: {}\r\n",
            self.process.0
        );
        let reply = custom_error::reply(refusal, if managed { &extra } else { "" });
        self.finish(context, reply, now);
    }

    /// Sends a response and ends the request.
    pub(super) fn finish(&mut self, mut context: Box<HttpContext>, reply: Reply, now: Instant) {
        // Source: PerfMon, `Total Files Sent`: files that the service has sent; a 304 and a HEAD send none.
        let is_file = context.module == STATIC_FILE && matches!(reply.status, 200 | 206);
        context.enters(Notification::EndRequest, "");
        if context.simulated {
            let application = context.request.url_context;
            self.end(context, now);
            return self.page_initialized(application, now);
        }
        let (request, activity) = (context.request.id, context.request.activity);
        let text = &context.request.text;
        let head = text.bytes(text.verb) == b"HEAD";
        // Source: KB937692: a request whose client has gone is still handed back, so that the driver
        // gets its log data. Nobody reads the body.
        let mut body = if head || context.gone {
            Bytes::new()
        } else {
            reply.body
        };
        let first = body.split_to(body.len().min(BODY_MAX));
        let settings = self.settings_of(&context);
        let response = Response {
            status: reply.status,
            headers: headers_of(settings, reply.headers),
            body: first,
            cache_policy: reply.policy,
            log: Some(LogData {
                substatus: reply.substatus,
                win32_status: win32_status(reply.status, reply.substatus),
                is_file: is_file && !head,
                is_unlogged: settings.is_some_and(|it| !it.logging.has(reply.status)),
            }),
            disconnect: false,
        };
        let more = !body.is_empty();
        self.outputs.push_back(Output::Call(Call::SendResponse {
            request,
            response,
            more,
        }));
        while !body.is_empty() {
            let piece = body.split_to(body.len().min(BODY_MAX));
            let call = Call::SendEntityBody {
                request,
                body: piece,
                more: !body.is_empty(),
            };
            self.outputs.push_back(Output::Call(call));
        }
        self.state(if context.gone {
            Fact::RequestAborted { request, activity }
        } else {
            Fact::RequestEnded {
                request,
                activity,
                status: reply.status,
            }
        });
        self.end(context, now);
    }

    /// Sends the head of a response and its first chunk, and no more.
    pub(super) fn begin_response(&mut self, mut context: Box<HttpContext>, now: Instant) {
        if context.simulated {
            return self.give_up(context, now);
        }
        let request = context.request.id;
        let text = &context.request.text;
        let is_head = text.bytes(text.verb) == b"HEAD";
        let chunk = if is_head || context.gone {
            ""
        } else {
            FIRST_CHUNK
        };
        let headers = format!(
            "Content-Type: text/html\r\n{SERVER}Transfer-Encoding: chunked\r\nX-Sim-Worker: {}\r\n",
            self.process.0
        );
        let settings = self.settings_of(&context);
        let response = Response {
            status: 200,
            headers: headers_of(settings, Bytes::from(headers)),
            body: Bytes::from_static(chunk.as_bytes()),
            cache_policy: CachePolicy::Nocache,
            log: Some(LogData {
                is_unlogged: settings.is_some_and(|it| !it.logging.has(200)),
                ..LogData::default()
            }),
            disconnect: false,
        };
        let more = true;
        self.outputs.push_back(Output::Call(Call::SendResponse {
            request,
            response,
            more,
        }));
        context.waits = Waits::Cut;
        self.deadlines
            .set(Timer::Request(request), now + CHUNK_TO_CUT);
        self.park(context);
    }

    /// What holds for a request's path, if its application is here.
    fn settings_of(&self, context: &HttpContext) -> Option<&PathSettings> {
        let request = &context.request;
        let domain = self.domains.get(&request.url_context)?;
        Some(domain.settings_for(request))
    }

    /// The handler gives its request up (`HttpRequest.Abort`): its connection is reset, whatever was sent.
    ///
    /// Source: aspnetcore, `ResponseAbortTests`: with nothing sent the client sees no status; after a chunk it
    /// has the chunk, and then an end without the last one.
    pub(super) fn give_up(&mut self, context: Box<HttpContext>, now: Instant) {
        if context.simulated {
            let application = context.request.url_context;
            self.end(context, now);
            return self.page_initialized(application, now);
        }
        let (request, activity) = (context.request.id, context.request.activity);
        self.outputs
            .push_back(Output::Call(Call::CancelRequest { request }));
        self.state(Fact::RequestAborted { request, activity });
        self.end(context, now);
    }

    /// Gives back what a request holds.
    fn end(&mut self, mut context: Box<HttpContext>, now: Instant) {
        if let Some(held) = context.session.take() {
            if context.waits == Waits::Session {
                self.sessions.wait_no_more(held.number);
            }
            self.sessions.release(held.number, context.request.id);
            self.arm_session_timeout(held.number, now);
        }
        self.allocated = self.allocated.saturating_sub(context.plan.allocate);
        if context.has_thread {
            self.runnable.extend(self.threads.give_back());
        }
        if !context.simulated {
            self.in_flight = self.in_flight.saturating_sub(1);
            self.health.busy(now);
            if let Some(requests) = self.concurrent.get_mut(&context.application) {
                *requests = requests.saturating_sub(1);
            }
            self.post_receives();
        }
        if self.ended.len() < ENDED_MAX {
            context.request = SharedRequest::clone(&self.nobodys);
            self.ended.push(context);
        }
    }

    /// Puts a context where that of an earlier request was: it is large, and handed on from step to step.
    pub(super) fn memory_for(&mut self, context: HttpContext) -> Box<HttpContext> {
        match self.ended.pop() {
            Some(mut memory) => {
                *memory = context;
                memory
            }
            None => Box::new(context),
        }
    }

    /// Posts receives again for those that have completed, a quarter of them at a time: a call for
    /// each would cost more than the request.
    ///
    /// Assumed: a process that answers none takes what it has asked for and asks for no more, so that its
    /// queue fills; what really keeps it from asking depends on how it hangs.
    pub(super) fn post_receives(&mut self) {
        let wanted = self.receives;
        let takes_more = self.symptoms.answers_requests || self.in_flight == 0;
        let credits = wanted.saturating_sub(self.posted);
        if self.lifecycle == Lifecycle::Running
            && takes_more
            && !mutated(Mutant::ReceiveLeak)
            && credits > 0
            && credits.saturating_mul(4) >= wanted
        {
            self.outputs
                .push_back(Output::Call(Call::ReceiveRequest { credits }));
            self.posted += credits;
        }
    }

    /// A client is gone. A handler that runs is not told: it is synchronous code. One that reads is.
    pub(super) fn disconnected(&mut self, request: RequestId, now: Instant) {
        let Some(mut context) = self.contexts.remove(request) else {
            return;
        };
        match context.waits {
            Waits::Nothing
            | Waits::Run
            | Waits::Timer
            | Waits::Cut
            | Waits::Hang
            | Waits::Death => {
                context.gone = true;
                self.contexts.insert(request, context);
            }
            Waits::Body => self.body_broke_off(context, now),
            Waits::Start | Waits::File | Waits::Thread | Waits::Compiling | Waits::Session => {
                self.threads.forget(request);
                self.deadlines.clear(Timer::Request(request));
                let activity = context.request.activity;
                self.state(Fact::RequestAborted { request, activity });
                self.end(context, now);
            }
        }
    }
}

/// The header lines of a response, which need not name the server.
///
/// Source: IIS 10, `requestFiltering/@removeServerHeader`.
fn headers_of(settings: Option<&PathSettings>, headers: Bytes) -> Bytes {
    if !settings.is_some_and(|it| it.request_filtering.remove_server_header) {
        return headers;
    }
    let lines = String::from_utf8_lossy(&headers);
    Bytes::from(lines.replacen(SERVER, NO_SERVER, 1))
}

/// What the log says in `sc-win32-status` about a response that a module made.
///
/// Source: IIS logs of missing files read `404 0 2` (`ERROR_FILE_NOT_FOUND`), of denied ones `403 14 5`
/// (`ERROR_ACCESS_DENIED`); every other response reads 0.
fn win32_status(status: u16, substatus: u16) -> u32 {
    match (status, substatus) {
        (404, 0) => 2,
        (401 | 403, _) => 5,
        _other => 0,
    }
}
