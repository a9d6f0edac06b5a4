//! One request's life in a worker: where it is in the pipeline, and what it holds there.

use std::time::Duration;

use sim_httpsys::api::{EntityLength, SharedRequest, UrlContext};
use sim_httpsys::clockwork::Instant;

use super::session_state::{Lookup, SessionNumber};
use crate::application::Fault;
use crate::ipm::ExecutingRequest;

/// The notification that a request is in, as `appcmd list request` shows it.
///
/// Source: IIS native API reference, "Request-Processing Constants". Left out are those in which
/// a simulated request never rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notification {
    BeginRequest,
    ResolveRequestCache,
    MapRequestHandler,
    AcquireRequestState,
    ExecuteRequestHandler,
    EndRequest,
}

impl Notification {
    fn name(self) -> &'static str {
        match self {
            Self::BeginRequest => "BeginRequest",
            Self::ResolveRequestCache => "ResolveRequestCache",
            Self::MapRequestHandler => "MapRequestHandler",
            Self::AcquireRequestState => "AcquireRequestState",
            Self::ExecuteRequestHandler => "ExecuteRequestHandler",
            Self::EndRequest => "EndRequest",
        }
    }
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// It runs.
    Nothing,
    /// For its application to start.
    Start,
    /// For a file.
    File,
    /// For a thread.
    Thread,
    /// For its page to be compiled.
    Compiling,
    /// For its session's lock: polls.
    Session,
    /// For (more of) its body.
    Body,
    /// For its CPU time and memory.
    Run,
    /// For its wait to be over.
    Timer,
    /// For the moment after its first chunk, in which it gives up.
    Cut,
    /// For ever.
    Hang,
    /// For the end of the process.
    Death,
}

/// What executing the handler takes, besides its CPU time.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) wait: Duration,
    pub(crate) allocate: u64,
    pub(crate) leak: u64,
    pub(crate) fault: Fault,
    pub(crate) exit_code: i32,
    /// The value that is missing in the application's cache.
    pub(crate) missing: Option<Box<Missing>>,
}

/// A value that an application makes and caches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    pub(crate) key: u64,
    pub(crate) bytes: u64,
    pub(crate) ttl: Duration,
}

/// How much of a request's body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// All of it, or there is none.
    Whole,
    /// So many bytes, and more is to come.
    Partial { read: u64 },
}

/// A session that a request uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldSession {
    pub(crate) number: SessionNumber,
    pub(crate) found: Lookup,
}

/// A request in a worker.
#[derive(Debug)]
pub(crate) struct HttpContext {
    pub(crate) request: SharedRequest,
    /// The application that it came for, also when that has been set apart.
    pub(crate) application: UrlContext,
    pub(crate) began: Instant,
    pub(crate) notification: Notification,
    pub(crate) module: &'static str,
    pub(crate) waits: Waits,
    /// The page with a handler that it was mapped to.
    pub(crate) page: Option<usize>,
    /// The candidates that were asked for, and the key in the file cache.
    pub(crate) file: Option<Box<FileRequest>>,
    pub(crate) session: Option<HeldSession>,
    pub(crate) has_thread: bool,
    pub(crate) body: Body,
    /// The client is gone: nobody will read the response.
    pub(crate) gone: bool,
    /// It comes from application initialization, not from a client.
    pub(crate) simulated: bool,
    pub(crate) plan: Plan,
    /// What the request allocated.
    pub(crate) memory: Vec<u8>,
}

/// A file that was asked for.
#[derive(Debug)]
pub(crate) struct FileRequest {
    pub(crate) key: (UrlContext, Box<str>),
    pub(crate) candidates: Vec<String>,
    /// Whether the candidates are default documents, followed by the folder itself.
    pub(crate) default_document: bool,
    /// The candidate that is the folder itself.
    pub(crate) folder: Option<usize>,
    /// If none is found, who answers: a default document with a handler.
    pub(crate) page: Option<usize>,
}

impl HttpContext {
    pub(crate) fn new(request: SharedRequest, now: Instant) -> Self {
        Self {
            application: request.url_context,
            body: match request.entity {
                EntityLength::None => Body::Whole,
                EntityLength::Known(_) | EntityLength::Chunked => Body::Partial { read: 0 },
            },
            request,
            began: now,
            notification: Notification::BeginRequest,
            module: "",
            waits: Waits::Nothing,
            page: None,
            file: None,
            session: None,
            has_thread: false,
            gone: false,
            simulated: false,
            plan: Plan::default(),
            memory: Vec::new(),
        }
    }

    pub(crate) fn enters(&mut self, notification: Notification, module: &'static str) {
        self.notification = notification;
        self.module = module;
    }

    /// As `appcmd list request` shows it.
    pub(crate) fn describe(&self, now: Instant) -> ExecutingRequest {
        let text = &self.request.text;
        ExecutingRequest {
            id: self.request.id,
            verb: String::from_utf8_lossy(text.bytes(text.verb)).into_owned(),
            url: String::from_utf8_lossy(text.bytes(text.raw_url)).into_owned(),
            site: self.request.site,
            client: self.request.ends.get().client.ip().to_string(),
            elapsed_ms: u64::try_from(now.saturating_since(self.began).as_millis())
                .unwrap_or(u64::MAX),
            stage: self.notification.name().to_owned(),
            module: self.module.to_owned(),
        }
    }
}
