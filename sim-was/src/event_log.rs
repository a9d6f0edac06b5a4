//! What WAS and W3SVC state: the events of the Windows event log, and the life of workers.

use serde::{Deserialize, Serialize};
use sim_httpsys::api::ProcessId;

use crate::control::{Service, ServiceStatus};

/// What has happened in WAS or W3SVC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// An event was logged.
    Event(Event),
    /// A worker process was created.
    WorkerSpawned {
        /// Its pid.
        process: ProcessId,
        /// Its pool.
        pool: String,
    },
    /// A worker has said that it is ready.
    WorkerReady {
        /// Its pid.
        process: ProcessId,
    },
    /// A worker was told to stop.
    WorkerStopOrdered {
        /// Its pid.
        process: ProcessId,
    },
    /// A worker was killed.
    WorkerKilled {
        /// Its pid.
        process: ProcessId,
    },
    /// A worker has exited.
    WorkerExited {
        /// Its pid.
        process: ProcessId,
        /// How.
        exit: WorkerExit,
    },
    /// A command was accepted (the operation starts here).
    CommandAccepted {
        /// Which, as a short text.
        command: String,
    },
    /// A service has changed its state.
    ServiceState {
        /// Which.
        service: Service,
        /// Its state.
        status: ServiceStatus,
    },
    /// A pool has changed its state (`Started`, `Stopped` …).
    PoolState {
        /// Which.
        pool: String,
        /// Its state.
        state: String,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerExit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// A record of the event log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The event id.
    pub id: u16,
    /// Its level.
    pub level: Level,
    /// Its source.
    pub source: String,
    /// Its text.
    pub message: String,
}

/// The level of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// Error.
    Error,
    /// Warning.
    Warning,
    /// Information.
    Information,
}
