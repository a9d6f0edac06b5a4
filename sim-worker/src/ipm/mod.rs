//! "IPM", the pipe between WAS and a worker process: what WAS may say ([`ToWorker`]) and what the
//! worker answers or reports ([`FromWorker`]).
//!
//! Either end of the pipe closing means that the other process is gone.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sim_httpsys::api::{RequestId, SiteId, UrlContext};

use crate::configuration::Application;

use crate::local_time::LocalTime;

use crate::counters::WorkerCounters;

pub mod wire;

/// What WAS says to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Are you alive? Answered by [`FromWorker::PingReply`].
    Ping {
        /// Comes back in the reply.
        sequence: u64,
    },
    /// Stop listening, finish, exit.
    Shutdown {
        /// Why.
        reason: ShutdownReason,
        /// Whether requests in flight are finished first (`DrainRequestsGracefully`).
        /// Source: native API reference: true for a recycle, false for an IIS restart.
        drain: bool,
    },
    /// What do your counters read? Answered by [`FromWorker::Counters`].
    QueryCounters {
        /// Comes back in the answer.
        token: u64,
    },
    /// Which requests are executing? Answered by [`FromWorker::Requests`].
    ListRequests {
        /// Comes back in the answer.
        token: u64,
    },
    /// Take no more requests, you are to be frozen. Answered by [`FromWorker::Suspended`], or by
    /// [`FromWorker::Resumed`] if there is work.
    Suspend,
    /// You are awake again: take requests. Answered by [`FromWorker::Resumed`].
    Resume,
    /// From now on this is your idle timeout (dynamic idle); zero for none.
    SetIdleTimeout {
        /// The timeout.
        timeout: Duration,
    },
    /// An application is new, or is otherwise from now on.
    ApplicationChanged {
        /// The application.
        application: Box<Application>,
        /// Whether it restarts: its application domain is unloaded when its requests have ended, and
        /// the next request starts a fresh one. The process stays.
        restart: bool,
    },
    /// An application is no longer served by this pool.
    ApplicationRemoved {
        /// Which.
        url_context: UrlContext,
    },
}

/// Why a worker is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShutdownReason {
    /// It is being replaced.
    Recycle,
    /// It was idle too long.
    Idle,
    /// Its pool was stopped.
    PoolStop,
    /// The service stops (iisreset, `net stop`).
    ServiceStop,
}

/// What a worker says to WAS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// It has started, its modules are loaded, and preloaded applications are warm. It receives.
    Ready,
    /// The answer to [`ToWorker::Ping`].
    PingReply {
        /// As in the ping.
        sequence: u64,
    },
    /// It asks to be recycled.
    RequestRecycle {
        /// Why.
        reason: RecycleReason,
    },
    /// It has been idle for its idle timeout and asks to be shut down.
    Idle,
    /// The answer to [`ToWorker::ListRequests`].
    Requests {
        /// As in the question.
        token: u64,
        /// The requests, oldest first.
        requests: Vec<ExecutingRequest>,
    },
    /// The answer to [`ToWorker::QueryCounters`].
    Counters {
        /// As in the question.
        token: u64,
        /// What they read.
        counters: Box<WorkerCounters>,
    },
    /// It has stopped receiving and drains.
    Draining,
    /// It exits, and this is what it has counted.
    /// Source: IIS 6 architecture: a worker process sends its counters to WAS when it shuts down, too.
    Exiting {
        /// What they read.
        counters: Box<WorkerCounters>,
    },
    /// It has nothing to do and takes nothing: it can be frozen.
    Suspended {
        /// In how long it has to be awake, because it is then to be recycled by the clock.
        wake_in: Option<Duration>,
    },
    /// It takes requests (again).
    Resumed,
    /// It is about to ask for a recycle by the clock, for this time of the schedule.
    ScheduleRan {
        /// What the wall clock shows.
        local: LocalTime,
    },
    /// A module or the configuration failed at start; it will exit.
    StartFailed {
        /// What failed.
        failure: StartFailure,
        /// How, in words.
        message: String,
    },
}

/// What can fail when a worker starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartFailure {
    /// It can make nothing of what it was started with.
    Configuration,
    /// HTTP.sys gives it no queue.
    RequestQueue,
}

/// The eight reasons of `logEventOnRecycle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecycleReason {
    /// `periodicRestart.time`: event 5074.
    Time,
    /// `periodicRestart.requests`: event 5075.
    Requests,
    /// `periodicRestart.schedule`: event 5076.
    Schedule,
    /// `periodicRestart.memory`: event 5077.
    Memory,
    /// An ISAPI reported itself unhealthy: event 5078.
    IsapiUnhealthy,
    /// An administrator asked: event 5079.
    OnDemand,
    /// The configuration changed: event 5080.
    ConfigChange,
    /// `periodicRestart.privateMemory`: event 5117.
    PrivateMemory,
}

/// A request that a worker is executing, as `appcmd list request` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutingRequest {
    /// Its id.
    pub id: RequestId,
    /// Its verb.
    pub verb: String,
    /// Its raw URL.
    pub url: String,
    /// Its site.
    pub site: SiteId,
    /// The client's address.
    pub client: String,
    /// Milliseconds since the worker received it.
    pub elapsed_ms: u64,
    /// The notification that it is in, e.g. `ExecuteRequestHandler`.
    pub stage: String,
    /// The module that has it, e.g. `ManagedPipelineHandler`.
    pub module: String,
}
