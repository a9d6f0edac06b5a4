//! "httpapi": what user mode may ask of the driver ([`Call`]) and what it answers ([`Completion`]).
//!
//! The driver owns this protocol, as with the real `httpapi.dll`: whoever accepts a message defines
//! it. Two kinds of callers exist. The *controller* (W3SVC) makes request queues and URL groups and
//! waits for demand starts. A *worker process* opens an existing queue by name, posts receives and
//! sends responses. How calls travel as bytes is the business of [`wire`].

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::counters::Snapshot;
use crate::id_slab::Id;
use crate::service_state::ServiceState;

mod ends;
mod log_settings;
mod request;
pub mod wire;

pub use ends::ShortEnds;
pub use log_settings::{CustomLogField, LogFields, LogFormat, LogPeriod, LogSettings};
pub use request::{
    EntityLength, Request, RequestText, SentVersion, SharedRequest, Span, Verb, Version,
};

/// One TCP connection, unique since the driver was loaded.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ConnectionId(pub u64);

impl Id for ConnectionId {
    fn number(self) -> u64 {
        self.0
    }
}

/// One request, unique since the driver was loaded (`HTTP_REQUEST_ID`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RequestId(pub u64);

impl Id for RequestId {
    fn number(self) -> u64 {
        self.0
    }
}

/// The id that a client gave its attempt in the header `X-Attempt-Id`; 0 if it gave none.
///
/// It plays the part of an ETW activity id: facts, logs and the client's own book are joined by it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ActivityId(pub u64);

/// The request header in which a client may name its attempt (decimal).
pub const ACTIVITY_HEADER: &str = "x-attempt-id";

/// An operating system process that holds the device open.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ProcessId(pub u32);

/// A URL group (`HTTP_URL_GROUP_ID`), chosen by the controller.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UrlGroupId(pub u64);

/// What the controller wants to be told back with every request of a URL (`HTTP_URL_CONTEXT`).
/// W3SVC puts the number of the application there.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UrlContext(pub u64);

/// A site's number, as in `W3SVC1` and in the `s-siteid` column.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SiteId(pub u32);

/// The name of a request queue; under IIS the name of its application pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestQueueName(pub String);

impl fmt::Display for RequestQueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A caller's number for one of its calls; the answer carries it back.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct CallId(pub u32);

/// An address and port on which the driver listens because a URL is registered there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// The address that a binding names, `None` for all (`*`).
    pub address: Option<std::net::IpAddr>,
    /// The port that a binding names (a port map may place the socket elsewhere).
    pub port: u16,
    /// Whether connections there speak TLS. One port cannot carry both.
    pub secure: bool,
}

/// What user mode asks of the driver.
#[derive(Clone, Debug)]
pub enum Call {
    /// Everything that is not on the path of a request.
    Control {
        /// The caller's number for it; the answer is [`Completion::Called`].
        id: CallId,
        /// What is asked.
        call: ControlCall,
    },
    /// Posts `credits` receives on the queue that the process has opened.
    /// Source: `HttpReceiveHttpRequest`; one pending receive completes per request.
    ReceiveRequest {
        /// How many more requests the process will take.
        credits: u32,
    },
    /// Sends the head of a response, and its body or the beginning of it.
    SendResponse {
        /// Which request it answers.
        request: RequestId,
        /// The response.
        response: Response,
        /// Whether [`Call::SendEntityBody`] follows (`HTTP_SEND_RESPONSE_FLAG_MORE_DATA`).
        more: bool,
    },
    /// Sends more of a response's body.
    SendEntityBody {
        /// Which request it answers.
        request: RequestId,
        /// The bytes, framed by the caller if it chose chunked coding: the driver does not chunk.
        body: Bytes,
        /// Whether more follows.
        more: bool,
    },
    /// Asks for (more of) a request's body; answered by [`Completion::EntityBody`].
    ReceiveEntityBody {
        /// Whose body.
        request: RequestId,
    },
    /// Gives a request up: its connection is reset (`HttpCancelHttpRequest`).
    CancelRequest {
        /// Which one.
        request: RequestId,
    },
}

/// The calls that set the driver up, and those that ask about it. What is large of them is boxed: a [`Call`] is mostly
/// a response, and is moved from hand to hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ControlCall {
    /// Makes a queue; the caller becomes its controller. Fails with `ALREADY_EXISTS`.
    CreateRequestQueue {
        /// Its name.
        name: RequestQueueName,
        /// Its properties.
        properties: RequestQueueProperties,
    },
    /// Changes a queue. Only its controller may; from a worker it does nothing and succeeds.
    SetRequestQueueProperties {
        /// Which queue.
        queue: RequestQueueName,
        /// All properties, changed or not.
        properties: RequestQueueProperties,
    },
    /// Closes a queue: what waits in it fails, its cache entries go.
    CloseRequestQueue {
        /// Which queue.
        queue: RequestQueueName,
    },
    /// Makes a URL group bound to a queue (site × pool under IIS).
    CreateUrlGroup {
        /// Its id, chosen by the caller, unused so far.
        group: UrlGroupId,
        /// Its properties.
        properties: Box<UrlGroupProperties>,
    },
    /// Changes a URL group.
    SetUrlGroupProperties {
        /// Which group.
        group: UrlGroupId,
        /// All properties, changed or not.
        properties: Box<UrlGroupProperties>,
    },
    /// Closes a URL group and removes its URLs.
    CloseUrlGroup {
        /// Which group.
        group: UrlGroupId,
    },
    /// Registers a URL prefix. The endpoint is opened if this is its first.
    AddUrl {
        /// Into which group.
        group: UrlGroupId,
        /// The prefix, e.g. `http://*:80/app/`.
        url: String,
        /// What comes with every request of it.
        context: UrlContext,
    },
    /// Registers a URL prefix, and takes it from another group if that has it: there is no moment in which
    /// nobody has it, and its endpoint stays open.
    ///
    /// Source: HTTP Server API, `HttpServerBindingProperty`: a group is bound to another queue while its URLs
    /// stay. Assumed: that is how W3SVC moves an application to another pool.
    MoveUrl {
        /// From which group.
        from: UrlGroupId,
        /// Into which group.
        group: UrlGroupId,
        /// The prefix.
        url: String,
        /// What comes with every request of it.
        context: UrlContext,
    },
    /// Removes a URL prefix. The endpoint is closed if this was its last.
    RemoveUrl {
        /// From which group.
        group: UrlGroupId,
        /// The prefix, as it was added.
        url: String,
    },
    /// Asks to be told once when a request waits that no process has a receive for
    /// (`HttpWaitForDemandStart`). Completes at once if one waits already.
    WaitForDemandStart {
        /// On which queue.
        queue: RequestQueueName,
    },
    /// Removes entries from the response cache (`HttpFlushResponseCache`).
    FlushResponseCache {
        /// Of which queue.
        queue: RequestQueueName,
        /// Which URL (path), all of the queue's if `None`.
        url: Option<String>,
        /// Also everything below it.
        recursive: bool,
    },
    /// Asks for a snapshot (`netsh http show servicestate`).
    QueryServiceState,
    /// What do the counters read? Answered by [`CallResult::Counters`].
    QueryCounters,
    /// Opens a queue that exists, to receive from it. One queue per process.
    OpenRequestQueue {
        /// Its name.
        name: RequestQueueName,
    },
    /// Stops receiving: pending receives are taken back, requests not yet received stay in the
    /// queue for others (`HttpShutdownRequestQueue`). Requests received before may still be answered.
    ShutdownRequestQueue,
    /// Takes back the receives that the process has posted; it may post others later (`CancelIoEx` on
    /// the queue's handle).
    CancelReceives,
    /// From now on a process gets nothing more from a queue, as if it had shut the queue down itself;
    /// what it has received is its own. Only the queue's controller may.
    ///
    /// Assumed: that WAS keeps a worker that it abandons (orphans) away from the queue: else a hung one
    /// would go on taking what its successor should get.
    DisownProcess {
        /// Which process.
        process: ProcessId,
    },
}

/// What a successful control call gives back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CallResult {
    /// Nothing but success.
    Done,
    /// A snapshot.
    ServiceState(Box<ServiceState>),
    /// The counters.
    Counters(Box<Snapshot>),
}

/// Why a control call failed, by its Windows error code, with its system message.
///
/// Source: winerror.h, system error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Win32Error {
    /// There is no such queue, group or URL.
    #[error("The system cannot find the file specified.")]
    FileNotFound = 2,
    /// The endpoint's port belongs to somebody else.
    #[error("The process cannot access the file because it is being used by another process.")]
    SharingViolation = 32,
    /// The endpoint could not be opened for want of a right (port below 1024).
    #[error("Access is denied.")]
    AccessDenied = 5,
    /// A malformed prefix or argument.
    #[error("The parameter is incorrect.")]
    InvalidParameter = 87,
    /// It exists already.
    #[error("Cannot create a file when that file already exists.")]
    AlreadyExists = 183,
    /// The caller is not the queue's controller.
    #[error("The value provided was an invalid value for an identifier authority.")]
    InvalidIdAuthority = 1343,
    /// The request is not (or no longer) this caller's.
    #[error("An operation was attempted on a nonexistent network connection.")]
    ConnectionInvalid = 1229,
}

/// What the driver tells a process.
#[derive(Clone, Debug)]
pub enum Completion {
    /// The answer to [`Call::Control`].
    Called {
        /// The caller's number for the call.
        id: CallId,
        /// What came of it.
        result: Result<CallResult, Win32Error>,
    },
    /// A pending receive has completed: the request is now this process's to answer.
    Request(SharedRequest),
    /// The answer to [`Call::ReceiveEntityBody`].
    EntityBody {
        /// Whose body.
        request: RequestId,
        /// The bytes, without chunk framing; may be empty at the end.
        bytes: Bytes,
        /// Whether the body ends here.
        last: bool,
    },
    /// The client of a received request is gone (reset): nobody will read the response.
    Disconnected {
        /// Which request.
        request: RequestId,
    },
    /// A request waits in the queue, and no process has a receive for it.
    DemandStart {
        /// In which queue.
        queue: RequestQueueName,
    },
    /// A process answered what it does not hold, or with what is not a response. Told to the controller
    /// of its queue.
    /// Assumed: Microsoft documents that WAS gives up a worker that it cannot trust (event 5127), and
    /// not how it learns of what the driver has seen.
    Untrusted {
        /// Who.
        process: ProcessId,
    },
}

/// How a queue that cannot serve says so (`HTTP_503_RESPONSE_VERBOSITY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResponseVerbosity {
    /// Resets the connection and sends nothing. The driver's default; `TcpLevel` in IIS.
    Basic,
    /// A 503 page. `HttpLevel`, the default in IIS.
    Limited,
    /// A 503 page that names the reason.
    Full,
}

/// Whether a queue takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueState {
    /// It does.
    Active,
    /// It answers 503, and this is why (the `s-reason` of the error log).
    Inactive(DisabledReason),
}

/// Why a queue is inactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DisabledReason {
    /// An administrator stopped the pool.
    Disabled,
    /// Rapid-fail protection took it off.
    AppOffline,
    /// It was shut down automatically, by policy.
    AppShutdown,
}

/// The properties of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestQueueProperties {
    /// How many requests may wait; 0 for no limit.
    /// Source: HTTP Server API, `HttpServerQueueLengthProperty`: default 1000.
    pub length: u32,
    /// How it refuses.
    pub verbosity: ResponseVerbosity,
    /// Whether it takes requests.
    pub state: QueueState,
}

/// The properties of a URL group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlGroupProperties {
    /// The queue that its requests go to.
    pub queue: RequestQueueName,
    /// The site that it belongs to.
    pub site: SiteId,
    /// How many connections the site may have at once; `None` for no limit.
    pub connections_max: Option<u32>,
    /// How many segments a URL of the site may have; 0 for no limit.
    ///
    /// Source: IIS schema, `site/limits/@maxUrlSegments` 32, 0 to 16383. Assumed: what has more is refused as by
    /// `UrlSegmentMaxCount`, whose range it has, and 0 means what it means there (KB820129: no bound).
    #[serde(default)]
    pub url_segments_max: u32,
    /// Its timers, in seconds.
    pub timeouts: Timeouts,
    /// Where and how answered requests are logged; `None` for not at all.
    pub log: Option<LogSettings>,
}

/// The timers of a URL group, in seconds. 0 inherits the machine's value, 65535 switches off.
///
/// Source: `HTTP_TIMEOUT_LIMIT_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// For (more of) a request's body to arrive; re-armed by every piece.
    pub entity_body: u16,
    /// For an unread body to be drained after the response.
    pub drain_entity_body: u16,
    /// For a request to wait in the queue.
    /// Source: `netsh http show servicestate` on IIS machines shows 65535 (off) for IIS groups.
    pub request_queue: u16,
    /// For a kept-alive connection to say something.
    pub idle_connection: u16,
    /// For a request's head to arrive in full.
    pub header_wait: u16,
    /// The slowest client, in bytes a second over the whole response; 0 inherits.
    pub min_send_rate: u32,
}

impl Default for Timeouts {
    /// Source: `netsh http show servicestate`, IIS URL groups: 120/120/65535/120/0/0.
    fn default() -> Self {
        Self {
            entity_body: 120,
            drain_entity_body: 120,
            request_queue: 65535,
            idle_connection: 120,
            header_wait: 0,
            min_send_rate: 0,
        }
    }
}

/// A worker's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 100–999.
    pub status: u16,
    /// Header lines, each `Name: value\r\n`, no empty line. The driver adds `Date` (replacing any),
    /// `Server` and `Content-Length` where they are missing, and `Connection: close` when it closes.
    pub headers: Bytes,
    /// The body, or its beginning if more follows.
    pub body: Bytes,
    /// Whether the driver may answer later requests with it.
    pub cache_policy: CachePolicy,
    /// What the log line says besides the status; `None` for no line at all.
    pub log: Option<LogData>,
    /// Close the connection after it (`HTTP_SEND_RESPONSE_FLAG_DISCONNECT`).
    pub disconnect: bool,
}

/// What a worker adds to the log line of a response (`HTTP_LOG_FIELDS_DATA`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogData {
    /// `sc-substatus`.
    pub substatus: u16,
    /// `sc-win32-status`.
    pub win32_status: u32,
    /// Whether the body is that of a file, for `Total Files Sent`; in no log.
    pub is_file: bool,
    /// Whether no line is written, although there is something to say (`httpLogging`).
    pub is_unlogged: bool,
}

/// Whether and for how long the driver may keep a response (`HTTP_CACHE_POLICY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    /// Not at all.
    Nocache,
    /// Until somebody flushes it, or nobody has asked for it for the scavenger's period.
    UserInvalidates,
    /// For so many seconds; 0 means not at all.
    TimeToLive(u32),
}

/// Who talks to whom: the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// The client's address.
    pub client: SocketAddr,
    /// The address that the client sees as the server (the binding's port, not a mapped one).
    pub local: SocketAddr,
}
