//! Bodies of requests: a page reads all of it before it does anything else.
//!
//! ```text
//!   execute ─► read ─► (driver: 100 Continue, if wanted) ─► a piece ─► read ─► … ─► the last ─► execute
//!                                                            ├► more than allowed: 413.1
//!                       the client leaves, or is too slow: its request ends
//! ```
//!
//! Source: .NET reference source, `HttpRequest.FillInFormCollection` and `GetEntireRawContent`: the first
//! look at `Request.Form` reads the whole body, on the request's thread, which waits for it.
//! Assumed: every page takes that look, as one that is posted to does; `reads_body = false` in its
//! `simulation.toml` says otherwise. Static files do not, and the driver drains what came with them.
//!
//! Left out: what is in it, and where it is kept meanwhile (`requestLengthDiskThreshold`).
//! `uploadReadAheadSize` is absent, too: IIS reads so much ahead of the handler, which then waits for the
//! rest; nobody outside can tell.

use sim_httpsys::api::{Call, RequestId};
use sim_httpsys::clockwork::Instant;

use super::http_context::{Body, HttpContext, Waits};
use super::modules::custom_error::Refusal;
use super::modules::request_filtering;
use super::{Output, WorkerProcess};

impl WorkerProcess {
    /// Asks for (more of) a request's body, and waits for it.
    pub(super) fn read_body(&mut self, mut context: Box<HttpContext>) {
        context.waits = Waits::Body;
        let request = context.request.id;
        self.outputs
            .push_back(Output::Call(Call::ReceiveEntityBody { request }));
        self.park(context);
    }

    /// A piece of a request's body is there.
    pub(super) fn body_received(
        &mut self,
        request: RequestId,
        bytes: usize,
        last: bool,
        now: Instant,
    ) {
        let Some(mut context) = self.contexts.remove(request) else {
            return;
        };
        let (Waits::Body, Some(page)) = (context.waits, context.page) else {
            debug_assert!(false, "{:?} has asked for no body", context.waits);
            return self.park(context);
        };
        context.waits = Waits::Nothing;
        let mut read = bytes as u64;
        if let Body::Partial { read: before } = context.body {
            read += before;
        }
        let domain = &self.domains[&context.request.url_context];
        let limits = &domain.settings_for(&context.request).request_limits;
        if let Err(refusal) = request_filtering::check_length(limits, read) {
            return self.refuse(context, &refusal, now);
        }
        if last {
            context.body = Body::Whole;
            self.execute(context, page, now);
        } else {
            context.body = Body::Partial { read };
            self.read_body(context);
        }
    }

    /// The client of a request has gone, or was too slow, while its body was being read.
    ///
    /// Source: .NET reference source, `IIS7WorkerRequest.RaiseCommunicationError`: the read throws an
    /// `HttpException`, "An error occurred while communicating with the remote host", which is a 500.
    pub(super) fn body_broke_off(&mut self, mut context: Box<HttpContext>, now: Instant) {
        context.gone = true;
        let what = "An error occurred while communicating with the remote host.";
        self.refuse(context, &Refusal::because(500, 0, what), now);
    }
}
