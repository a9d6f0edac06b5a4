//! What administrators' tools may ask of a running server, and what they are told.
//!
//! One request and one answer per connection, each a frame of JSON, on `ROOT/run/control.sock`
//! (mode 0600, same user only).

use serde::{Deserialize, Serialize};
use sim_httpsys::counters::Snapshot;
use sim_worker::counters::WorkerCounters;
use sim_worker::ipm::ExecutingRequest;

use crate::config::edit::Change;
use crate::counters::AppPoolWas;

#[cfg(feature = "live")]
pub mod client;
pub mod wire;
mod words;

/// What a tool asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// All application pools.
    ListApplicationPools,
    /// All sites.
    ListSites,
    /// All applications.
    ListApplications,
    /// All virtual directories.
    ListVirtualDirectories,
    /// All worker processes.
    ListWorkerProcesses,
    /// Executing requests of all workers.
    ListRequests,
    /// Starts a pool.
    StartApplicationPool {
        /// Its name.
        name: String,
    },
    /// Stops a pool; answered when it is stopped.
    StopApplicationPool {
        /// Its name.
        name: String,
    },
    /// Recycles a pool; answered when the recycle has been ordered.
    RecycleApplicationPool {
        /// Its name.
        name: String,
    },
    /// Changes applicationHost.config as appcmd does, and carries out what follows from it; answered
    /// when that is under way. Nothing is changed if one of the changes cannot be made.
    ChangeConfiguration {
        /// What to change, in this order.
        changes: Vec<Change>,
    },
    /// Kills a worker process, as `taskkill /f` does; answered when that has been ordered.
    KillWorkerProcess {
        /// Its pid.
        pid: u32,
    },
    /// Starts a site.
    StartSite {
        /// Its name.
        name: String,
    },
    /// Stops a site.
    StopSite {
        /// Its name.
        name: String,
    },
    /// Stops services, dependents first; answered when they are stopped or the time is up.
    StopServices {
        /// Which.
        services: Vec<Service>,
        /// For how long to wait for them, milliseconds.
        timeout_ms: u64,
        /// Whether to kill what has not stopped by then.
        force: bool,
        /// The user of iisreset, which has it told in the event log: what becomes of an order is known even if
        /// its tool has been ended meanwhile. Always written: a recording has no names of fields by which one
        /// could be missed.
        #[serde(default)]
        reset_by: Option<String>,
    },
    /// Starts services, what they depend on first; answered when they run.
    StartServices {
        /// Which.
        services: Vec<Service>,
    },
    /// What all counters read, of WAS and of the driver.
    QueryCounters {
        /// And of the workers: they are asked.
        of_workers: bool,
    },
    /// The state of every service.
    ServiceStatus,
    /// Ends the whole server, as `iis-sim up` does at Ctrl-C.
    Quit,
}

impl Command {
    /// Whether it only asks, and changes nothing.
    pub fn is_question(&self) -> bool {
        match self {
            Self::ListApplicationPools
            | Self::ListSites
            | Self::ListApplications
            | Self::ListVirtualDirectories
            | Self::ListWorkerProcesses
            | Self::ListRequests
            | Self::QueryCounters { .. }
            | Self::ServiceStatus => true,
            Self::StartApplicationPool { .. }
            | Self::StopApplicationPool { .. }
            | Self::RecycleApplicationPool { .. }
            | Self::ChangeConfiguration { .. }
            | Self::KillWorkerProcess { .. }
            | Self::StartSite { .. }
            | Self::StopSite { .. }
            | Self::StopServices { .. }
            | Self::StartServices { .. }
            | Self::Quit => false,
        }
    }
}

/// A Windows service of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Service {
    /// Windows Process Activation Service.
    Was,
    /// World Wide Web Publishing Service; depends on WAS.
    W3svc,
}

impl Service {
    /// The name that the service control manager knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Was => "WAS",
            Self::W3svc => "W3SVC",
        }
    }

    /// The name that people read.
    pub fn display_name(self) -> &'static str {
        match self {
            Self::Was => "Windows Process Activation Service",
            Self::W3svc => "World Wide Web Publishing Service",
        }
    }
}

/// The state of a service, as the service control manager names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceStatus {
    /// Stopped.
    Stopped,
    /// Start pending.
    StartPending,
    /// Stop pending.
    StopPending,
    /// Running.
    Running,
}

/// What a tool is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Done.
    Done,
    /// Pools, in the order of the file.
    ApplicationPools(Vec<ApplicationPoolInfo>),
    /// Sites, in the order of the file.
    Sites(Vec<SiteInfo>),
    /// Applications.
    Applications(Vec<ApplicationInfo>),
    /// Virtual directories.
    VirtualDirectories(Vec<VirtualDirectoryInfo>),
    /// Worker processes.
    WorkerProcesses(Vec<WorkerProcessInfo>),
    /// Executing requests, with the worker and pool that have each.
    Requests(Vec<RequestInfo>),
    /// Counters.
    Counters(Box<CounterReadings>),
    /// Services.
    Services(Vec<(Service, ServiceStatus)>),
    /// It was not done.
    Refused(Refusal),
}

/// What all counters read at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CounterReadings {
    /// The services.
    pub services: Vec<(Service, ServiceStatus)>,
    /// Seconds since W3SVC has entered its running state; 0 if it does not run.
    pub service_uptime_s: u64,
    /// `APP_POOL_WAS`, by pool.
    pub app_pools: Vec<(String, AppPoolWas)>,
    /// `W3SVC_W3WP` and `WAS_W3WP`, by worker; of one that hangs, what it has said last.
    pub workers: Vec<WorkerReading>,
    /// What workers have counted that are not among them, because they are gone, by pool: with it the
    /// totals of all workers do not fall when one exits.
    pub others: Vec<(String, WorkerCounters)>,
    /// The most memory that the file caches of all workers have had.
    pub file_cache_memory_max: u64,
    /// The sites of the configuration, by number.
    pub sites: Vec<(u32, String)>,
    /// The driver's counters; `None` if it has not answered.
    pub driver: Option<Snapshot>,
}

/// What the counters of a worker read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerReading {
    /// Its pid.
    pub pid: u32,
    /// Its pool.
    pub application_pool: String,
    /// The counters.
    pub counters: WorkerCounters,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no object of that name.
    NotFound {
        /// `APPPOOL`, `SITE` ….
        object: String,
        /// The name.
        identifier: String,
    },
    /// A Windows error.
    Failed {
        /// The HRESULT, e.g. 0x80070426.
        hresult: u32,
        /// Its system message.
        message: String,
    },
    /// Services did not stop in time.
    TimedOut,
}

/// What Windows says of a file that is not there (`ERROR_FILE_NOT_FOUND`).
pub const FILE_NOT_FOUND: &str = "The system cannot find the file specified.";

/// What Windows says of a file that somebody may not read or write (`ERROR_ACCESS_DENIED`).
pub const ACCESS_DENIED: &str = "Access is denied.";

/// What Windows says if who was asked has ended before it answered (`RPC_S_CALL_FAILED`, 1726).
pub const CALL_FAILED: &str = "The remote procedure call failed.";

/// What Windows says of a service that stands still (`ERROR_SERVICE_REQUEST_TIMEOUT`, 1053).
pub const REQUEST_TIMEOUT: &str =
    "The service did not respond to the start or control request in a timely fashion.";

/// `ERROR_SERVICE_REQUEST_TIMEOUT` as an HRESULT.
pub const REQUEST_TIMEOUT_HRESULT: u32 = 0x8007_041d;

impl Refusal {
    /// An object of this type and name does not exist.
    pub fn not_found(object: &str, identifier: &str) -> Self {
        Self::NotFound {
            object: object.to_owned(),
            identifier: identifier.to_owned(),
        }
    }

    /// `ERROR_SERVICE_ALREADY_RUNNING`.
    pub fn already_running() -> Self {
        Self::failed(
            0x8007_0420,
            "An instance of the service is already running.",
        )
    }

    /// `ERROR_SERVICE_CANNOT_ACCEPT_CTRL`.
    pub fn cannot_accept_control() -> Self {
        Self::failed(
            0x8007_0425,
            "The service cannot accept control messages at this time.",
        )
    }

    /// `ERROR_SERVICE_NOT_ACTIVE`.
    pub fn not_started() -> Self {
        Self::failed(0x8007_0426, "The service has not been started.")
    }

    /// `ERROR_SERVICE_REQUEST_TIMEOUT`.
    pub fn request_timeout() -> Self {
        Self::failed(REQUEST_TIMEOUT_HRESULT, REQUEST_TIMEOUT)
    }

    /// `ERROR_INVALID_DATA`, with what is invalid.
    pub fn invalid_data(text: &str) -> Self {
        Self::failed(0x8007_000d, text)
    }

    /// Why a configuration cannot be read or written: `ERROR_FILE_NOT_FOUND`, `ERROR_ACCESS_DENIED`, or
    /// `ERROR_INVALID_DATA`.
    pub fn unreadable(error: &str) -> Self {
        if error.ends_with(FILE_NOT_FOUND) {
            Self::failed(0x8007_0002, FILE_NOT_FOUND)
        } else if error.ends_with(ACCESS_DENIED) {
            Self::failed(0x8007_0005, error)
        } else {
            Self::invalid_data(error)
        }
    }

    /// Any Windows error.
    pub fn failed(hresult: u32, message: &str) -> Self {
        Self::Failed {
            hresult,
            message: message.to_owned(),
        }
    }
}

/// The state of a pool or a site. Source: IIS schema rscaext.xml.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectState {
    /// Starting.
    Starting,
    /// Allowed to run, with or without a worker.
    Started,
    /// Stopping.
    Stopping,
    /// Stopped.
    Stopped,
    /// Unknown (the service does not run).
    Unknown,
}

/// A pool, as appcmd lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplicationPoolInfo {
    /// Its name.
    pub name: String,
    /// `managedRuntimeVersion`.
    pub managed_runtime_version: String,
    /// `Integrated` or `Classic`.
    pub managed_pipeline_mode: String,
    /// Its state.
    pub state: ObjectState,
}

/// A site, as appcmd lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteInfo {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// Its bindings, each `protocol/bindingInformation`.
    pub bindings: Vec<String>,
    /// Its state.
    pub state: ObjectState,
}

/// An application, as appcmd lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplicationInfo {
    /// Its site's name.
    pub site: String,
    /// Its path.
    pub path: String,
    /// Its pool.
    pub application_pool: String,
}

/// A virtual directory, as appcmd lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VirtualDirectoryInfo {
    /// Its site's name.
    pub site: String,
    /// Its application's path.
    pub application: String,
    /// Its own path.
    pub path: String,
    /// The physical path as it is written.
    pub physical_path: String,
}

/// A worker process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerProcessInfo {
    /// Its pid.
    pub pid: u32,
    /// Its pool.
    pub application_pool: String,
    /// Its state.
    pub state: WorkerProcessState,
}

/// The state of a worker process. Source: IIS schema rscaext.xml.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerProcessState {
    /// Starting.
    Starting,
    /// Running.
    Running,
    /// Stopping.
    Stopping,
}

/// An executing request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestInfo {
    /// Which worker has it.
    pub pid: u32,
    /// Of which pool.
    pub application_pool: String,
    /// The request.
    pub request: ExecutingRequest,
}
