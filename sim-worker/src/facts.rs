//! The facts that a worker process states, from which its cache bill and counters are folded.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sim_httpsys::api::{ActivityId, ProcessId, RequestId, UrlContext};
use sim_httpsys::clockwork::Instant;

use crate::ipm::{RecycleReason, ShutdownReason};

/// The id of a session, shared between its state and the facts about it.
pub type SessionId = Arc<str>;

/// What has happened in a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// The process has begun.
    Started {
        /// Its pid.
        process: ProcessId,
        /// Its pool.
        pool: String,
    },
    /// It has told WAS that it is ready.
    Ready,
    /// An application was started (`GL_APPLICATION_START` to the end of `Application_Start`).
    ApplicationStarted {
        /// Its path, `/LM/W3SVC/1/ROOT/app`.
        application: String,
        /// Nanoseconds that it took.
        took: u64,
    },
    /// An application that was known goes, alone or for a fresh start of itself; the process stays.
    ApplicationRestarted {
        /// Its path, `/LM/W3SVC/1/ROOT/app`.
        application: String,
    },
    /// A request was received.
    RequestBegan {
        /// Which.
        request: RequestId,
        /// The client's name for it.
        activity: ActivityId,
    },
    /// A request was answered.
    RequestEnded {
        /// Which.
        request: RequestId,
        /// The client's name for it.
        activity: ActivityId,
        /// The status.
        status: u16,
    },
    /// A request was dropped by the worker (client gone, process stopping).
    RequestAborted {
        /// Which.
        request: RequestId,
        /// The client's name for it.
        activity: ActivityId,
    },
    /// Something was looked up in a cache.
    CacheLookup {
        /// In which.
        layer: CacheLayer,
        /// Whether it was there.
        hit: bool,
    },
    /// Something was put into a cache.
    CacheInsert {
        /// Into which.
        layer: CacheLayer,
        /// Its key, hashed.
        key: u64,
        /// Its size in bytes.
        bytes: u64,
        /// From when on it is too old to be used, if it ever is. It leaves the cache later, when somebody looks.
        expires: Option<Instant>,
    },
    /// Something left a cache while the process lives.
    CacheRemove {
        /// Which.
        layer: CacheLayer,
        /// Its key, hashed.
        key: u64,
        /// Its size in bytes.
        bytes: u64,
    },
    /// No new request finds this any more, because of what was done to its application. It leaves the cache, at
    /// once or when the requests that go on with the old application have ended.
    CacheLost {
        /// Of which.
        layer: CacheLayer,
        /// Its key, hashed.
        key: u64,
        /// Its size in bytes.
        bytes: u64,
    },
    /// A session began.
    SessionStart {
        /// Of which application.
        application: UrlContext,
        /// Its id.
        session: SessionId,
        /// With which request: the client's name for it.
        activity: ActivityId,
        /// It ends so many nanoseconds after the last request that had it.
        timeout: u64,
    },
    /// A request found its session's state.
    SessionFound {
        /// Of which application.
        application: UrlContext,
        /// Its id.
        session: SessionId,
        /// Which request: the client's name for it.
        activity: ActivityId,
        /// The session ends so many nanoseconds after the last request that had it.
        timeout: u64,
    },
    /// A request brought a session id for which there is no state here.
    SessionMissing {
        /// Of which application.
        application: UrlContext,
        /// Its id.
        session: SessionId,
    },
    /// A session ended by time-out or by order.
    SessionEnd {
        /// Of which application.
        application: UrlContext,
        /// Its id.
        session: SessionId,
        /// Whether it timed out: nobody had asked for it for so long.
        expired: bool,
    },
    /// The worker asked to be recycled.
    RecycleRequested {
        /// Why.
        reason: RecycleReason,
    },
    /// WAS ordered it to stop.
    StopOrdered {
        /// Why.
        reason: ShutdownReason,
        /// Whether it drains.
        drain: bool,
        /// Requests in flight then.
        in_flight: u32,
    },
    /// It has stopped receiving.
    StoppedReceiving,
    /// It exits by its own will.
    Exiting {
        /// The exit code.
        code: i32,
    },
}

/// The caches of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheLayer {
    /// Contents of static files (`FileCacheModule`).
    File,
    /// Finished responses (`HttpCacheModule`, ASP.NET output cache).
    Output,
    /// What applications keep (HttpRuntime.Cache).
    Application,
    /// Compiled and jitted pages.
    Compiled,
}
