//! What WAS and W3SVC state: the events of the Windows event log, and the life of workers.
//!
//! The texts are those of the real events, so that a search for one finds Microsoft's page about it.
//!
//! Never written, because their cause cannot occur here:
//!
//! | event | of | why not |
//! |---|---|---|
//! | WAS 5014 | an internal error in the management of a worker | that is an assertion here |
//! | WAS 5023 | a pool that could not be created | it is memory of WAS; what it needs of HTTP.sys is 1026 |
//! | WAS 5042 | a wrong `AppPoolCommand` | a property of the metabase, which does not exist |
//! | WAS 5061, 5088 | a worker not put under a job, a limit not enforced | workers are known by their pid, and whoever has started a process may stop and kill it |
//! | WAS 5066 | a recycle not ordered | the tool that wants it is refused |
//! | WAS 5081 | a configuration store that may have missed changes | all is read anew and compared: nothing is stale |
//! | WAS 5091 | as 5054 | what tells them apart is not published |
//! | W3SVC 1020, 1175 | properties and end point sharing of the control channel | none are set |
//! | W3SVC 1062, 1133 to 1135 | central logging | every site has log files of its own |
//! | W3SVC 1071, 1073 | bandwidth throttling | `maxBandwidth` has no effect |
//! | W3SVC 1126 | a change not copied to W3SVC | WAS and W3SVC are one machine |
//! | worker 2201 to 2208, 2258, 2277 to 2279, 2281, 2297 | other ways to fail at the start or the end | a worker opens one queue (2269) and reads one file (2276); one without WAS has nobody to tell |
//! | worker 2214, 2216, 2219, 2220, 2262, 2268, 2274 | filters, scripts and ISAPI extensions | the one ISAPI is ASP.NET's, and gives no reason (2263) |
//! | worker 2264 | the folder of compressed files | there is none |
//! | worker 2280, 2282, 2293 to 2299 but 2297 | native modules | they are built in |
//! | ASP.NET 1309, 1310, 1325, .NET Runtime 1026, Application Error 1000 | failures of an application's code | no code of an application runs; its process is 5009 or 5011 |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sim_httpsys::api::ProcessId;
use sim_worker::ipm::{RecycleReason, ShutdownReason};

use crate::config::effects::EffectKind;
use crate::control::{Service, ServiceStatus};

mod configuration_events;
mod pool_events;
mod service_events;
mod w3svc_events;
mod worker_events;

pub use pool_events::{DynamicIdleLoad, DynamicIdleStep};
pub use w3svc_events::QueueChange;

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
        /// Why.
        reason: ShutdownReason,
    },
    /// A worker was killed.
    WorkerKilled {
        /// Its pid.
        process: ProcessId,
    },
    /// A worker was abandoned: WAS has nothing to do with it any more, and it lives on.
    WorkerOrphaned {
        /// Its pid.
        process: ProcessId,
    },
    /// An idle worker was frozen.
    WorkerSuspended {
        /// Its pid.
        process: ProcessId,
    },
    /// A frozen worker is woken, because work waits.
    WorkerResumed {
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
    /// The configuration has changed while the services run.
    ConfigurationChanged {
        /// How many settings.
        changes: u32,
        /// How many of them cause what.
        causes: BTreeMap<EffectKind, u32>,
        /// Which pools recycle, in lower case.
        recycled: Vec<String>,
        /// Which applications restart in their processes: `Default Web Site/app`.
        restarted: Vec<String>,
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

impl WorkerExit {
    /// Whether the process ended in order.
    pub fn is_clean(self) -> bool {
        self == Self::Code(0)
    }

    /// The exit code that event 5009 names.
    ///
    /// Assumed: a signal is shown as the NTSTATUS that Windows gives for the same accident, other
    /// signals by their number.
    pub fn windows_code(self) -> u32 {
        match self {
            Self::Code(code) => code.cast_unsigned(),
            Self::Signal(4) => 0xC000_001D, // SIGILL: STATUS_ILLEGAL_INSTRUCTION
            Self::Signal(6) => 0xC000_0409, // SIGABRT: STATUS_STACK_BUFFER_OVERRUN (fail fast)
            Self::Signal(8) => 0xC000_008E, // SIGFPE: STATUS_FLOAT_DIVIDE_BY_ZERO
            Self::Signal(7 | 11) => 0xC000_0005, // SIGBUS, SIGSEGV: STATUS_ACCESS_VIOLATION
            Self::Signal(number) => number.cast_unsigned(),
        }
    }
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
    /// The pool that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Its insertion strings, by name; that of the pool may be left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<(String, String)>,
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

/// The `EventSourceName` of WAS.
const WAS: &str = "WAS";
/// The source of W3SVC's events.
const W3SVC: &str = "Microsoft-Windows-IIS-W3SVC";
/// The source of the service control manager's events.
const SCM: &str = "Service Control Manager";

/// The source of HTTP.sys's events.
const HTTP: &str = "Microsoft-Windows-HttpEvent";

/// The source of iisreset's events.
const IISRESET: &str = "IIS-IISReset";

/// What iisreset does that is worth an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IisReset {
    /// 3201: services are started.
    Start,
    /// 3202: services are stopped.
    Stop,
    /// 3203: the computer is to be restarted.
    Reboot,
    /// 3204: what did not stop is killed.
    Kill,
}

/// What can go wrong with one worker process; each is a warning of WAS with the pool and the pid,
/// and each counts for rapid-fail protection.
///
/// Source: `TechNet` "Configuring Rapid-Fail Protection": not started or stopped within its limit,
/// exit with an error, no answer to a ping, invalid data on the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerFailure {
    /// 5009: it exited without having been told to.
    Terminated(WorkerExit),
    /// 5010: it did not answer a ping.
    Ping,
    /// 5011: its pipe broke.
    Pipe,
    /// 5012: it was not ready in time.
    StartupTime,
    /// 5013: it had not exited in time.
    ShutdownTime,
    /// 5039: it said itself that it could not start.
    Reported,
    /// 5139: it said that HTTP.sys gave it no queue.
    ListenerChannel,
    /// 5127: it sent nonsense.
    Untrusted,
}

impl Event {
    fn new(id: u16, level: Level, source: &str, message: String) -> Self {
        Self {
            id,
            level,
            source: source.to_owned(),
            message,
            pool: None,
            data: Vec::new(),
        }
    }

    /// Adds an insertion string.
    /// Assumed: the names, of which only `AppPoolID` and `ProcessID` are seen in published records.
    fn with(mut self, name: &str, value: &dyn std::fmt::Display) -> Self {
        self.data.push((name.to_owned(), value.to_string()));
        self
    }

    fn about(mut self, pool: &str) -> Self {
        self.pool = Some(pool.to_owned());
        self
    }

    /// 5009 to 5013, 5039, 5127, 5139: a worker has failed.
    /// Source: `TechNet` "IIS Worker Process Availability"; 5013 from KB 2634635.
    pub fn worker_failed(pool: &str, pid: ProcessId, failure: WorkerFailure) -> Self {
        let pid = pid.0;
        let (id, message) = match failure {
            WorkerFailure::Terminated(exit) => (
                5009,
                format!(
                    "A process serving application pool '{pool}' terminated unexpectedly. The process id was '{pid}'. The process exit code was '0x{:x}'.",
                    exit.windows_code()
                ),
            ),
            WorkerFailure::Ping => (
                5010,
                format!(
                    "A process serving application pool '{pool}' failed to respond to a ping. The process id was '{pid}'."
                ),
            ),
            WorkerFailure::Pipe => (
                5011,
                format!(
                    "A process serving application pool '{pool}' suffered a fatal communication error with the Windows Process Activation Service. The process id was '{pid}'. The data field contains the error number."
                ),
            ),
            WorkerFailure::StartupTime => (
                5012,
                format!(
                    "A process serving application pool '{pool}' exceeded time limits during start up. The process id was '{pid}'."
                ),
            ),
            WorkerFailure::ShutdownTime => (
                5013,
                format!(
                    "A process serving application pool '{pool}' exceeded time limits during shut down. The process id was '{pid}'."
                ),
            ),
            WorkerFailure::Reported => (
                5039,
                format!(
                    "A worker process '{pid}' serving application pool '{pool}' reported a failure. The data field contains the error number."
                ),
            ),
            WorkerFailure::ListenerChannel => (
                5139,
                format!(
                    "A listener channel for protocol 'http' in worker process '{pid}' serving application pool '{pool}' reported a listener channel failure. The data field contains the error number."
                ),
            ),
            WorkerFailure::Untrusted => (
                5127,
                format!(
                    "A worker process '{pid}' serving application pool '{pool}' is no longer trusted by the Windows Process Activation Service, based on ill-formed data the worker process sent to the service. The data field contains the error number."
                ),
            ),
        };
        let event = Self::new(id, Level::Warning, WAS, message)
            .about(pool)
            .with("AppPoolID", &pool)
            .with("ProcessID", &pid);
        match failure {
            WorkerFailure::Terminated(exit) => {
                event.with("ExitCode", &format!("{:x}", exit.windows_code()))
            }
            WorkerFailure::ListenerChannel => event.with("ProtocolID", &"http"),
            WorkerFailure::Ping
            | WorkerFailure::Pipe
            | WorkerFailure::StartupTime
            | WorkerFailure::ShutdownTime
            | WorkerFailure::Reported
            | WorkerFailure::Untrusted => event,
        }
    }

    /// 5002: rapid-fail protection has tripped.
    pub fn rapid_fail(pool: &str) -> Self {
        let message = format!(
            "Application pool '{pool}' is being automatically disabled due to a series of failures in the process(es) serving that application pool."
        );
        Self::new(5002, Level::Error, WAS, message).about(pool)
    }

    /// 5059: no process could be created. Assumed: the text, of which only the title is published.
    pub fn worker_not_created(pool: &str) -> Self {
        let message = format!(
            "Application pool {pool} has been disabled. Windows Process Activation Service (WAS) encountered a failure when it started a worker process to serve the application pool."
        );
        Self::new(5059, Level::Error, WAS, message).about(pool)
    }

    /// 5093: a recycle could not be overlapped. Assumed: the wording around the names.
    pub fn overlap_failed(pool: &str, pid: ProcessId) -> Self {
        let message = format!(
            "The Windows Process Activation Service failed to overlap recycle for application pool '{pool}' worker process '{}'. The data field contains the error number.",
            pid.0
        );
        Self::new(5093, Level::Warning, WAS, message)
            .about(pool)
            .with("AppPoolID", &pool)
            .with("ProcessID", &pid.0)
    }

    /// 5074 to 5080, 5117: why a recycle begins.
    /// Source: `TechNet` "IIS Application Pool Recycling".
    pub fn recycle(reason: RecycleReason, pool: &str, pid: ProcessId) -> Self {
        let pid = pid.0;
        let asked = |because: &str| {
            format!(
                "A worker process with process id of '{pid}' serving application pool '{pool}' has requested a recycle because {because}"
            )
        };
        let (id, message) = match reason {
            RecycleReason::Time => (
                5074,
                asked("the worker process reached its allowed processing time limit."),
            ),
            RecycleReason::Requests => (5075, asked("it reached its allowed request limit.")),
            RecycleReason::Schedule => (5076, asked("it reached its scheduled recycle time.")),
            RecycleReason::Memory => (5077, asked("it reached its virtual memory limit.")),
            RecycleReason::IsapiUnhealthy => (
                5078,
                format!(
                    "An ISAPI reported an unhealthy condition to its worker process. Therefore the worker process with process id of '{pid}' serving application pool '{pool}' has requested a recycle."
                ),
            ),
            RecycleReason::OnDemand => (
                5079,
                format!(
                    "An administrator has requested a recycle of all worker processes in application pool '{pool}'."
                ),
            ),
            RecycleReason::ConfigChange => (
                5080,
                format!(
                    "The worker processes serving application pool '{pool}' are being recycled due to 1 or more configuration changes in the application pool properties which necessitate a restart of the processes."
                ),
            ),
            RecycleReason::PrivateMemory => {
                (5117, asked("it reached its private bytes memory limit."))
            }
        };
        let event = Self::new(id, Level::Information, WAS, message).about(pool);
        match reason {
            RecycleReason::OnDemand | RecycleReason::ConfigChange => event,
            RecycleReason::Time
            | RecycleReason::Requests
            | RecycleReason::Schedule
            | RecycleReason::Memory
            | RecycleReason::IsapiUnhealthy
            | RecycleReason::PrivateMemory => {
                event.with("ProcessID", &pid).with("AppPoolID", &pool)
            }
        }
    }

    /// 5186: a worker was shut down for want of work. Source: `TechNet` dd364096.
    pub fn idle(pool: &str, pid: ProcessId, minutes: u64) -> Self {
        let message = format!(
            "A worker process with process id of '{}' serving application pool '{pool}' was shutdown due to inactivity. Application Pool timeout configuration was set to {minutes} minutes. A new worker process will be started when needed.",
            pid.0
        );
        Self::new(5186, Level::Information, WAS, message)
            .about(pool)
            .with("ProcessID", &pid.0)
            .with("AppPoolID", &pool)
            .with("Minutes", &minutes)
    }

    /// 5054: the automatic shutdown program of a pool was not run.
    pub fn auto_shutdown_not_run(pool: &str) -> Self {
        let message = format!(
            "The automatic shutdown executable for application pool '{pool}' was not run. The data field contains the error number."
        );
        Self::new(5054, Level::Warning, WAS, message).about(pool)
    }

    /// 5138: a worker held on to its requests when its service stopped, and is killed.
    pub fn listener_channel_not_stopped(pool: &str, pid: ProcessId) -> Self {
        let pid = pid.0;
        let message = format!(
            "A worker process '{pid}' serving application pool '{pool}' failed to stop a listener channel for protocol 'http' in the allotted time. The data field contains the error number."
        );
        Self::new(5138, Level::Warning, WAS, message)
            .about(pool)
            .with("AppPoolID", &pool)
            .with("ProcessID", &pid)
            .with("ProtocolID", &"http")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segmentation_fault_reads_as_an_access_violation() {
        let failure = WorkerFailure::Terminated(WorkerExit::Signal(11));
        let event = Event::worker_failed("P", ProcessId(7), failure);
        assert_eq!(
            event.message,
            "A process serving application pool 'P' terminated unexpectedly. The process id was '7'. The process exit code was '0xc0000005'."
        );
        assert_eq!(WorkerExit::Signal(9).windows_code(), 9);
    }

    #[test]
    fn a_port_in_use_a_duplicate_binding_and_a_scheme_that_is_not_the_ports_have_different_events()
    {
        use sim_httpsys::api::{SiteId, Win32Error};
        let id = |error| Event::url_not_registered(error, "http://*:80/", SiteId(1)).id;
        assert_eq!(id(Win32Error::SharingViolation), 1007);
        assert_eq!(id(Win32Error::AlreadyExists), 1004);
        // Source: HTTP Server API: a port carries one scheme.
        assert_eq!(id(Win32Error::InvalidParameter), 1003);
    }
}
