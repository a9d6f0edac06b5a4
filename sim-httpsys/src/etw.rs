//! The facts that the driver states, named after the events of the ETW provider
//! Microsoft-Windows-HttpService where it has one.
//!
//! A fact is stated once, by the model, when it has happened. Counters, the ledger and every figure
//! of a report are folds over facts. [`Traced`] is how facts travel in a trace file, one JSON object
//! a line.

use serde::{Deserialize, Serialize};

use crate::api::{
    ActivityId, ConnectionId, Ends, ProcessId, RequestId, RequestQueueName, SiteId, Verb,
};
use crate::clockwork::Instant;
use crate::model::ReasonPhrase;

/// One line of a trace file: a fact of any program, and when it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traced<F> {
    /// When.
    pub at: Instant,
    /// What.
    pub fact: F,
}

/// What has happened in the driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// A connection was accepted.
    ConnConnect {
        /// Which.
        connection: ConnectionId,
        /// Its ends.
        ends: Ends,
        /// Whether it is to speak TLS.
        secure: bool,
    },
    /// The first request of a connection was routed: from now on it counts as one of that site's.
    ConnCounted {
        /// Which connection.
        connection: ConnectionId,
        /// For which site.
        site: SiteId,
    },
    /// A TLS handshake was completed.
    SslHandshake {
        /// On which connection.
        connection: ConnectionId,
        /// Whether an earlier session was resumed.
        resumed: bool,
    },
    /// A connection has ended.
    ConnCleanup {
        /// Which.
        connection: ConnectionId,
        /// Who ended it, and how.
        end: ConnectionEnd,
        /// Requests that were parsed on it.
        requests: u32,
    },
    /// The head of a request was parsed, or refused as none. From here it ends in exactly one of [`Fact::SendComplete`],
    /// [`Fact::FastResp`], [`Fact::SrvdFrmCache`] and [`Fact::Dropped`].
    Parse {
        /// Which request.
        request: RequestId,
        /// The client's name for it.
        activity: ActivityId,
        /// On which connection.
        connection: ConnectionId,
    },
    /// A request could have been answered from the response cache, and no entry was there.
    CacheMiss {
        /// Which request.
        request: RequestId,
        /// The client's name for it.
        activity: ActivityId,
    },
    /// A request has to wait in a queue, because no process has a receive for it. A request that
    /// finds a pending receive is delivered at once and states only [`Fact::Deliver`].
    Queued {
        /// Which request.
        request: RequestId,
        /// The client's name for it.
        activity: ActivityId,
        /// Which queue.
        queue: RequestQueueName,
    },
    /// A request was handed to a process.
    Deliver {
        /// Which request.
        request: RequestId,
        /// The client's name for it.
        activity: ActivityId,
        /// To whom.
        process: ProcessId,
        /// Nanoseconds that it waited in the queue.
        waited: u64,
    },
    /// A worker's response has gone out in full.
    SendComplete {
        /// Which request.
        request: RequestId,
        /// The client's name for it.
        activity: ActivityId,
        /// Of which site.
        site: SiteId,
        /// Who answered.
        process: ProcessId,
        /// The status.
        status: u16,
        /// Bytes of head and body.
        bytes: u64,
        /// The verb.
        verb: Verb,
        /// Bytes of the request, head and body.
        received: u64,
        /// Whether its body was that of a file.
        is_file: bool,
        /// Nanoseconds from its first byte to the end of the response.
        took: u64,
    },
    /// A response went out from the cache, no process saw the request.
    SrvdFrmCache {
        /// Which request.
        request: RequestId,
        /// The client's name for it.
        activity: ActivityId,
        /// Of which site.
        site: SiteId,
        /// The cache entry that answered (see [`Fact::CacheInsert`]).
        entry: u64,
        /// The status (200, 206, 304 …).
        status: u16,
        /// Bytes of head and body.
        bytes: u64,
        /// The verb.
        verb: Verb,
        /// Bytes of the request.
        received: u64,
    },
    /// The driver refused a request with a page of its own: one line in the error log.
    FastResp {
        /// Which request.
        request: RequestId,
        /// The client's name for it.
        activity: ActivityId,
        /// On which connection.
        connection: ConnectionId,
        /// The status.
        status: u16,
        /// Why.
        reason: ReasonPhrase,
        /// The queue that it was meant for, if it was routed that far.
        queue: Option<RequestQueueName>,
    },
    /// A request ended without a (whole) response: one line in the error log.
    Dropped {
        /// Which request.
        request: RequestId,
        /// The client's name for it.
        activity: ActivityId,
        /// On which connection.
        connection: ConnectionId,
        /// Why.
        reason: ReasonPhrase,
        /// The queue that it was meant for, if it was routed that far.
        queue: Option<RequestQueueName>,
        /// The process that held it.
        process: Option<ProcessId>,
        /// Whether part of a response had been sent.
        partial: bool,
    },
    /// A worker had an answer to a request that was [dropped](Self::Dropped) because its client went away: the
    /// site's log and the counters have it. Of other requests their end says as much.
    LogFileWrite {
        /// Which request.
        request: RequestId,
        /// The client's name for it.
        activity: ActivityId,
        /// Of which site.
        site: SiteId,
        /// Who answered; `None` if it was the response cache.
        process: Option<ProcessId>,
        /// The cache entry that answered.
        entry: Option<u64>,
        /// The status.
        status: u16,
        /// Bytes of head and body that were handed over.
        bytes: u64,
        /// The verb.
        verb: Verb,
        /// Bytes of the request, head and body.
        received: u64,
    },
    /// A connection without a pending request got a line in the error log (a timer, mostly).
    ConnError {
        /// Which connection.
        connection: ConnectionId,
        /// Why.
        reason: ReasonPhrase,
    },
    /// A response was put into the cache.
    CacheInsert {
        /// The entry's number, never used again.
        entry: u64,
        /// Whose queue.
        queue: RequestQueueName,
        /// Which process made it.
        process: ProcessId,
        /// Its size in bytes.
        bytes: u64,
        /// From when on it is too old to be used, if it ever is. It leaves the cache later, when somebody looks.
        expires: Option<Instant>,
    },
    /// An entry left the cache.
    CacheRemove {
        /// The entry's number.
        entry: u64,
        /// Its size in bytes.
        bytes: u64,
        /// Why.
        why: CacheRemoval,
    },
    /// A process was told that a request waits for a worker.
    DemandStart {
        /// In which queue.
        queue: RequestQueueName,
    },
    /// A process opened the queue to receive from it.
    ProcessAttach {
        /// Who.
        process: ProcessId,
        /// Which queue.
        queue: RequestQueueName,
    },
    /// A process has stopped receiving ([`crate::api::ControlCall::ShutdownRequestQueue`]).
    ProcessShutdown {
        /// Who.
        process: ProcessId,
    },
    /// A process has let go of the device.
    ProcessDetach {
        /// Who.
        process: ProcessId,
        /// Requests that it held and that died with it.
        abandoned: u32,
    },
    /// A process answered what it does not hold, or with what is not a response: it is not to be
    /// trusted any longer.
    Untrusted {
        /// Who.
        process: ProcessId,
        /// The request that it named.
        request: RequestId,
        /// What it did.
        what: UntrustedCall,
    },
    /// A queue was made.
    CreateRequestQueue {
        /// Which.
        queue: RequestQueueName,
    },
    /// A queue was closed.
    CloseRequestQueue {
        /// Which.
        queue: RequestQueueName,
        /// Requests that waited in it.
        waiting: u32,
    },
    /// A URL was registered.
    AddUrl {
        /// Which.
        url: String,
    },
    /// A URL was removed.
    RemoveUrl {
        /// Which.
        url: String,
    },
    /// An endpoint was opened.
    EndpointOpen {
        /// Its port (of the binding).
        port: u16,
    },
    /// An endpoint was closed, and every connection on it.
    EndpointClose {
        /// Its port (of the binding).
        port: u16,
        /// Connections that were open on it.
        connections: u32,
    },
}

/// What an untrusted process did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UntrustedCall {
    /// It named a request that was never delivered to it.
    ForeignRequest,
    /// Its status or headers are not HTTP, or it sent a second head.
    MalformedResponse,
}

/// Who ended a connection, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectionEnd {
    /// The client closed it in order (FIN), nothing pending.
    ClientFin,
    /// The client reset it.
    ClientReset,
    /// The driver closed it in order after a response.
    ServerFin,
    /// The driver reset it: a request died, a timer fired, or its endpoint went away.
    ServerReset,
}

/// Why an entry left the response cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheRemoval {
    /// Its time was over.
    Expired,
    /// Nobody asked for it for the scavenger's period.
    Scavenged,
    /// Somebody flushed it.
    Flushed,
    /// The process that made it has gone.
    OwnerGone,
    /// Its queue was closed.
    QueueClosed,
    /// A newer response took its place.
    Replaced,
    /// The cache was full.
    Evicted,
}
