//! Events about limits of application pools: affinity, jobs, identities, orphans, idleness, the number of
//! worker processes.
//!
//! Source: `TechNet`, "IIS Application Pool Availability", "IIS Worker Process Availability" and "IIS
//! Application Pool Configuration", where not said otherwise.

use sim_httpsys::api::ProcessId;

use super::{Event, Level, WAS};

/// What the machine's memory looked like when dynamic idle decided something; MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicIdleLoad {
    /// The load, percent of the threshold.
    pub percent: u64,
    /// Worker processes.
    pub processes: u32,
    /// Committed.
    pub commit: u64,
    /// Physical.
    pub physical: u64,
    /// Free.
    pub free: u64,
}

/// What dynamic idle decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynamicIdleStep {
    /// 5192: idle timeouts begin to shrink.
    Reduce,
    /// 5193: they shrink much.
    ReduceAggressively,
    /// 5194: they are as configured again.
    Return,
}

impl Event {
    /// 5015: the program for an orphan could not be run.
    pub fn orphan_action_not_run(pool: &str, pid: ProcessId, executable: &str) -> Self {
        let message = format!(
            "A worker process with process id of '{}' serving application pool '{pool}' was orphaned but the specified orphan action '{executable}' could not be executed. The data field contains the error number.",
            pid.0
        );
        Self::new(5015, Level::Error, WAS, message)
            .about(pool)
            .with("AppPoolID", &pool)
            .with("ProcessID", &pid.0)
            .with("Action", &executable)
    }

    /// 5021: the identity of a pool is invalid, as WAS finds when it reads the configuration.
    pub fn identity_invalid(pool: &str) -> Self {
        let message = format!(
            "The identity of application pool {pool} is invalid. The user name or password that is specified for the identity may be incorrect, or the user may not have batch logon rights. If the identity is not corrected, the application pool will be disabled when the application pool receives its first request. The data field contains the error number."
        );
        Self::new(5021, Level::Warning, WAS, message).about(pool)
    }

    /// 5022: a process could not be created.
    pub fn process_not_created(pool: &str) -> Self {
        let message = format!(
            "The Windows Process Activation Service failed to create a worker process for the application pool '{pool}'. The data field contains the error number."
        );
        Self::new(5022, Level::Error, WAS, message).about(pool)
    }

    /// 5060: what the workers of a pool with a CPU limit have used cannot be measured.
    pub fn job_not_queried(pool: &str) -> Self {
        let message = format!(
            "The job object associated with application pool '{pool}' encountered an error when it was queried. CPU monitoring may not function as expected. The data field contains the error number."
        );
        Self::new(5060, Level::Warning, WAS, message).about(pool)
    }

    /// 5070: some workers of a pool are not recycled.
    pub fn recycle_not_issued_to_all(pool: &str) -> Self {
        let message = format!(
            "The Windows Process Activation Service failed to issue recycle requests to all worker processes of application pool '{pool}'. The data field contains the error number."
        );
        Self::new(5070, Level::Warning, WAS, message).about(pool)
    }

    /// 5025: a pool has used more CPU time than it may.
    /// Assumed: number and text. IIS 6 logged 1025, "Application pool '%1' exceeded its job limit
    /// settings", and its events became WAS's at n + 4000.
    pub fn job_limit_exceeded(pool: &str) -> Self {
        let message = format!("Application pool '{pool}' exceeded its job limit settings.");
        Self::new(5025, Level::Warning, WAS, message).about(pool)
    }

    /// 5057: a pool is disabled because of its identity.
    pub fn identity_disables(pool: &str) -> Self {
        let message = format!(
            "Application pool {pool} has been disabled. Windows Process Activation Service (WAS) did not create a worker process to serve the application pool because the application pool identity is invalid."
        );
        Self::new(5057, Level::Warning, WAS, message).about(pool)
    }

    /// 5058: the affinity mask of a pool could not be set.
    pub fn affinity_not_set(pool: &str) -> Self {
        let message = format!(
            "The Windows Process Activation Service encountered a failure while setting the affinity mask of application pool '{pool}'. Probable cause: the mask does not contain any processors available on this machine. The data field contains the error number."
        );
        Self::new(5058, Level::Warning, WAS, message).about(pool)
    }

    /// 5192 to 5194: dynamic idle changes the idle timeouts.
    pub fn dynamic_idle(step: DynamicIdleStep, load: DynamicIdleLoad) -> Self {
        let (id, level, what) = match step {
            DynamicIdleStep::Reduce => (
                5192,
                Level::Warning,
                "will start reducing worker process idle timeouts",
            ),
            DynamicIdleStep::ReduceAggressively => (
                5193,
                Level::Warning,
                "will start aggressively reducing worker process idle timeouts",
            ),
            DynamicIdleStep::Return => (
                5194,
                Level::Information,
                "will return to configured worker process idle timeouts",
            ),
        };
        let DynamicIdleLoad {
            percent,
            processes,
            commit,
            physical,
            free,
        } = load;
        let message = format!(
            "The Dynamic Idle load is '{percent}' percent of the Dynamic Idle threshold. The Windows Process Activation Service (WAS) {what}. The current number of worker processes is '{processes}', current total commit is '{commit}' MBs, total physical memory is '{physical}' MBs and the current free physical memory is '{free}' MBs."
        );
        Self::new(id, level, WAS, message)
            .with("Load", &percent)
            .with("ProcessCount", &processes)
            .with("TotalCommit", &commit)
            .with("PhysicalMemory", &physical)
            .with("FreeMemory", &free)
    }

    /// 5195: a worker was shut down for want of work, earlier than configured.
    pub fn idle_under_load(pool: &str, pid: ProcessId, configured: u64, decreased: u64) -> Self {
        let message = format!(
            "A worker process with process id of '{}' serving application pool '{pool}' was shutdown due to inactivity. The system is under high load and has decreased the idle timeout of this worker process to '{decreased}' minutes from its original configured idle timeout of '{configured}' minutes. A new worker process will be started when needed.",
            pid.0
        );
        Self::new(5195, Level::Information, WAS, message)
            .about(pool)
            .with("AppPoolID", &pool)
            .with("ProcessID", &pid.0)
            .with("Minutes", &configured)
            .with("DecreasedMinutes", &decreased)
    }

    /// 5196: no worker is started, because there are as many as there may be.
    /// Assumed: the end of the text.
    pub fn too_many_workers(pool: &str, processes_max: u32) -> Self {
        let message = format!(
            "A request to create a new worker process for application pool '{pool}' has arrived while the maximum ('{processes_max}') of worker processes is running. The request will wait until a worker process ends."
        );
        Self::new(5196, Level::Warning, WAS, message)
            .about(pool)
            .with("AppPoolID", &pool)
            .with("ProcessesMax", &processes_max)
    }
}
