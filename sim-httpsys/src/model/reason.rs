//! Why the driver refused or dropped something: the `s-reason` of the HTTPERR log.

use serde::{Deserialize, Serialize};

/// The closed list of reasons. Source: KB820729, spelled as there; `NotFound` is not in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReasonPhrase {
    /// 503: rapid-fail protection took the pool off.
    AppOffline,
    /// 503: the pool's process is too busy.
    AppPoolTimer,
    /// 503: shut down automatically, by policy.
    AppShutdown,
    /// 503: the site's connection limit.
    ConnLimit,
    /// 503: an administrator stopped the pool.
    Disabled,
    /// 503: the queue's limit.
    QueueFull,
    /// 503: an internal error, or a reservation without a registration.
    #[serde(rename = "N/A")]
    NotAvailable,
    /// 501: unknown transfer coding.
    #[serde(rename = "N/I")]
    NotImplemented,
    /// 500: an internal error.
    Internal,
    /// 505: version not supported.
    #[serde(rename = "Version_N/S")]
    VersionNotSupported,
    /// 400: a general parse error.
    BadRequest,
    /// 400: the verb.
    Verb,
    /// 400: the URL.
    #[serde(rename = "URL")]
    Url,
    /// 414: URL too long.
    #[serde(rename = "URL_Length")]
    UrlLength,
    /// 400: a header.
    Header,
    /// 400: the host, or no such host.
    Hostname,
    /// 400: an illegal CR or LF.
    #[serde(rename = "Invalid_CR/LF")]
    InvalidCrLf,
    /// 400: a number, such as a length.
    Number,
    /// 400: one header is too long.
    FieldLength,
    /// 400: request line and headers together are too long.
    RequestLength,
    /// 403: a forbidden element in the URL.
    Forbidden,
    /// 411: no length on POST or PUT.
    LengthRequired,
    /// 412: precondition missing.
    Precondition,
    /// 413: body over the limit.
    EntityTooLarge,
    /// 404: no registration for the path.
    NotFound,
    /// The client reset the connection before a process had the request.
    #[serde(rename = "Client_Reset")]
    ClientReset,
    /// The connection was closed before the last packet of the response.
    #[serde(rename = "Connection_Dropped")]
    ConnectionDropped,
    /// The process that held the request has gone or given it up.
    #[serde(rename = "Connection_Abandoned_By_ReqQueue")]
    ConnectionAbandonedByReqQueue,
    /// A connection was idle too long.
    #[serde(rename = "Timer_ConnectionIdle")]
    TimerConnectionIdle,
    /// Headers came too late.
    #[serde(rename = "Timer_HeaderWait")]
    TimerHeaderWait,
    /// A body came too late.
    #[serde(rename = "Timer_EntityBody")]
    TimerEntityBody,
    /// A request waited too long in the queue.
    #[serde(rename = "Timer_ReqQueue")]
    TimerReqQueue,
    /// The client read too slowly.
    #[serde(rename = "Timer_MinBytesPerSecond")]
    TimerMinBytesPerSecond,
    /// Ours: the request was in flight when its queue or endpoint was closed (a service stop).
    /// Assumed: Microsoft documents no phrase for it; HTTPERR samples show `Request_Cancelled`.
    #[serde(rename = "Request_Cancelled")]
    RequestCancelled,
}
