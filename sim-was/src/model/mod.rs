//! WAS and W3SVC, pure: configuration, commands, the words of workers and the completions of the
//! driver go in; orders to the driver, to workers and to the machine come out.
//!
//! ```text
//!   commands ──► Was ── routes ──► services           WAS and W3SVC start and stop (iisreset)
//!                 │                listener_adapter   W3SVC: what the driver is to be
//!                 └─ per pool ───► AppPool ──► Slot (recycling) ──► SupervisedWorker
//!                                     ├──────► RapidFail
//!                                     └──────► JobObject (CPU time)
//! ```

use std::path::PathBuf;

use sim_httpsys::api::{Call, Completion, ProcessId};
use sim_worker::configuration::WorkerConfiguration;
use sim_worker::ipm::{FromWorker, ToWorker};
use sim_worker::local_time::TimeZone;

use crate::config::Configuration;
use crate::config::edit::Change;
use crate::control::{Answer, Command};
use crate::event_log::{Fact, WorkerExit};

mod app_pool;
mod census;
mod commands;
mod config_change;
mod counter_query;
mod dynamic_idle;
mod effects;
#[cfg(test)]
mod event_tests;
#[cfg(test)]
mod failure_tests;
mod idle;
mod job_object;
pub mod listener_adapter;
mod lists;
mod personality;
mod ping;
mod rapid_fail;
mod recycling;
mod service_control;
#[cfg(test)]
mod service_tests;
mod services;
mod site_log;
mod standing;
mod supervised_worker;
mod was;
mod worker_configuration;
mod worker_totals;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;

pub use dynamic_idle::MachineMemory;
pub use job_object::CpuUse;
pub use personality::Personality;
pub use rapid_fail::{RapidFail, Verdict};
pub use standing::Standing;
pub use was::Was;

/// One process that WAS has ordered, unique since the program began.
#[derive(
    serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct SpawnId(pub u64);

/// One tool that waits for an answer, chosen by the driver of the machine.
#[derive(
    serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct ClientId(pub u64);

/// A pool, unique since WAS was started: it stays the same whatever the configuration becomes.
#[derive(
    serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct PoolId(pub usize);

/// What WAS is told about the machine that it runs on.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The simulated `C:\`.
    pub root: PathBuf,
    /// Receives that each worker keeps posted.
    pub receives: u32,
    /// Threads that run handlers in each worker.
    pub threads_max: u32,
    /// Its time zone.
    pub time_zone: TimeZone,
    /// Which version of IIS this is.
    pub personality: Personality,
    /// Processors of the machine, of which `cpu/@limit` is a share.
    pub processors: u32,
    /// Its NUMA nodes: `maxProcesses="0"` is one worker for each.
    pub numa_nodes: u32,
}

impl Parameters {
    /// The defaults for a machine with so many processors.
    ///
    /// Source: machine.config `autoConfig`: 100 worker threads per CPU.
    /// Assumed: 100 receives, because Microsoft documents no number: enough that a batch of the
    /// driver finds one for each request, and few enough that a frozen worker hoards little.
    pub fn new(root: PathBuf, processors: u32) -> Self {
        Self {
            root,
            receives: 100,
            threads_max: processors.max(1).saturating_mul(100),
            time_zone: TimeZone::default(),
            personality: Personality::default(),
            processors: processors.max(1),
            numa_nodes: 1,
        }
    }
}

/// What can happen to WAS.
#[derive(serde::Serialize, serde::Deserialize, Debug)]
pub enum Input {
    /// The driver has answered a call, or a request waits for a worker.
    Completed(#[serde(with = "sim_httpsys::api::wire::completion_as_frame")] Completion),
    /// A worker says something.
    Told {
        /// Which.
        pid: ProcessId,
        /// What.
        message: FromWorker,
    },
    /// What a worker sent was not understood.
    Garbled {
        /// Which.
        pid: ProcessId,
    },
    /// A process that was ordered exists, or does not.
    Spawned {
        /// Which order.
        spawn: SpawnId,
        /// Its pid.
        result: Result<ProcessId, SpawnError>,
    },
    /// A worker process has ended.
    Exited {
        /// Which.
        pid: ProcessId,
        /// How.
        exit: WorkerExit,
    },
    /// A worker has let go of its pipe.
    PipeClosed {
        /// Which.
        pid: ProcessId,
    },
    /// A tool asks.
    Commanded {
        /// Who waits for the answer.
        client: ClientId,
        /// What is asked.
        command: Command,
    },
    /// The configuration was read (the answer to [`Output::ReadConfig`]), or why it could not be.
    ConfigRead(Result<Configuration, String>),
    /// applicationHost.config or a web.config has changed, and was read anew; or why it could not be.
    ConfigChanged(Result<Configuration, String>),
    /// Nobody will say when a file of the configuration changes.
    ConfigNotWatched,
    /// The configuration was edited (the answer to [`Output::EditConfig`]) and read anew; or why not.
    ConfigEdited {
        /// Who asked.
        client: ClientId,
        /// The new configuration.
        result: Result<Configuration, String>,
    },
    /// A program that a pool wanted run could not be run.
    RunFailed(Box<Program>),
    /// The CPU time of a pool's workers (the answer to [`Output::MeasureCpu`]).
    CpuMeasured {
        /// Whose.
        pool: PoolId,
        /// What they have used.
        cpu: CpuUse,
    },
    /// It cannot be known (the other answer to [`Output::MeasureCpu`]).
    CpuUnknown {
        /// Whose.
        pool: PoolId,
    },
    /// The memory of the machine (the answer to [`Output::MeasureMachine`]).
    MachineMeasured(MachineMemory),
    /// A worker of this pool could not be bound to its processors; it runs on all.
    AffinityRefused {
        /// Whose.
        pool: String,
    },
    /// The driver is gone.
    DeviceLost,
}

/// Why a worker process was not created.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum SpawnError {
    /// The pool's copy of the configuration could not be written.
    Configuration(String),
    /// The process could not be created.
    Process(String),
}

/// What WAS wants done, and what it says has happened.
#[derive(Debug)]
pub enum Output {
    /// A call of the driver.
    Call(Call),
    /// A message for a worker.
    Tell {
        /// Which.
        pid: ProcessId,
        /// What.
        message: ToWorker,
    },
    /// Create a process; answered by [`Input::Spawned`].
    Spawn(Box<Spawn>),
    /// Kill a process.
    Terminate {
        /// Which.
        pid: ProcessId,
    },
    /// Read applicationHost.config; answered by [`Input::ConfigRead`].
    ReadConfig,
    /// Make changes in applicationHost.config; answered by [`Input::ConfigEdited`].
    EditConfig {
        /// Who asked.
        client: ClientId,
        /// What to change.
        changes: Vec<Change>,
    },
    /// An answer for a tool.
    Answer {
        /// Who asked.
        client: ClientId,
        /// What it is told.
        answer: Answer,
    },
    /// Have nothing to do with a process any more; it lives on.
    Orphan {
        /// Which.
        pid: ProcessId,
    },
    /// Let a process not run.
    Freeze {
        /// Which.
        pid: ProcessId,
        /// Why.
        reason: FreezeReason,
    },
    /// Let a frozen process run.
    Thaw {
        /// Which.
        pid: ProcessId,
    },
    /// Measure CPU time; answered by [`Input::CpuMeasured`] or [`Input::CpuUnknown`].
    MeasureCpu {
        /// Whose.
        pool: PoolId,
        /// Its workers.
        pids: Vec<ProcessId>,
    },
    /// Measure memory; answered by [`Input::MachineMeasured`].
    MeasureMachine,
    /// Run a program and forget it; answered by [`Input::RunFailed`] if it cannot be run.
    Run(Box<Program>),
    /// Something has happened.
    Fact(Fact),
    /// Everything is down; the program may end.
    Stopped,
}

/// Why a process is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezeReason {
    /// It is idle: its memory may be given to others.
    Suspended,
    /// Its pool has used its share of the processor; it goes on in a moment.
    Throttled,
}

/// A program of the administrator.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Whose wish it is.
    pub pool: String,
    /// What for.
    pub purpose: Purpose,
    /// The program.
    pub executable: String,
    /// Its parameters.
    pub parameters: String,
}

/// What a program is run for.
#[derive(serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `autoShutdownExe`: the pool was taken off.
    AutoShutdown,
    /// `orphanActionExe`: this worker was abandoned.
    OrphanAction(ProcessId),
}

/// An order for a worker process.
#[derive(Clone, Debug, PartialEq)]
pub struct Spawn {
    /// The number of the order.
    pub spawn: SpawnId,
    /// What the worker is to know.
    pub configuration: WorkerConfiguration,
    /// What its command line says.
    pub arguments: WorkerArguments,
    /// `environmentVariables` of the pool.
    pub environment: Vec<(String, String)>,
    /// Which of the pool's places it is for; 0 if there is but one.
    pub place: usize,
    /// The processors that it may run on, one bit each; all if `None`.
    pub affinity: Option<u64>,
}

/// The part of a worker's command line that its pool's settings decide.
///
/// Source: w3wp.exe as seen in process lists:
/// `-ap "…" -v "v4.0" -l "webengine4.dll" -a PIPE -h "CONFIG" -w "" -m 0 -t 20 -ta 0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerArguments {
    /// `-ap`
    pub pool: String,
    /// `-v`
    pub runtime_version: String,
    /// `-l`
    pub runtime_loader: String,
    /// `-m`: 0 integrated, 1 classic.
    pub classic: bool,
    /// `-t`
    pub idle_minutes: u64,
    /// `-ta`: 0 terminate, 1 suspend.
    pub idle_suspend: bool,
}

/// Why WAS wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// A worker must be ready by now.
    Startup(SpawnId),
    /// A worker must have exited by now.
    Shutdown(SpawnId),
    /// A worker is to be pinged.
    PingDue(SpawnId),
    /// A worker must have answered its ping by now.
    PingReply(SpawnId),
    /// A frozen worker is to be recycled by the clock.
    Wake(SpawnId),
    /// Services must have stopped by now.
    ServiceStop,
    /// Workers must have listed their requests by now.
    Query(u64),
    /// The CPU time of a pool is to be measured.
    Cpu(PoolId),
    /// The memory of the machine is to be measured.
    Machine,
    /// A pool whose configuration could not be written is tried again.
    Retry(PoolId),
}
