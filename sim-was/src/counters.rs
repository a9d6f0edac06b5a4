//! `PerfMon` counters of WAS, folded from its facts: the set `APP_POOL_WAS`, one instance per pool.
//!
//! Left out: uptimes and the time since the last failure, which are differences to the moment of
//! looking, and the failures inside the rapid-fail interval, which end without a fact.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sim_httpsys::api::ProcessId;
use sim_worker::ipm::ShutdownReason;

use crate::control::{Service, ServiceStatus};
use crate::event_log::Fact;

/// The counters of one pool, since WAS was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppPoolWas {
    /// Current Application Pool State: 3 running, 4 disabling, 5 disabled.
    pub current_application_pool_state: u32,
    /// Current Worker Processes.
    pub current_worker_processes: u32,
    /// Maximum Worker Processes.
    pub maximum_worker_processes: u32,
    /// Total Application Pool Recycles.
    pub total_application_pool_recycles: u64,
    /// Total Worker Processes Created.
    pub total_worker_processes_created: u64,
    /// Total Worker Process Failures.
    pub total_worker_process_failures: u64,
    /// Total Worker Process Ping Failures.
    pub total_worker_process_ping_failures: u64,
    /// Total Worker Process Shutdown Failures.
    pub total_worker_process_shutdown_failures: u64,
    /// Total Worker Process Startup Failures.
    pub total_worker_process_startup_failures: u64,
}

/// The counters of all pools. Changed only by [`Counters::record`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pools: BTreeMap<String, AppPoolWas>,
    pool_of: BTreeMap<ProcessId, String>,
}

impl Counters {
    /// Takes a fact in.
    pub fn record(&mut self, fact: &Fact) {
        match fact {
            Fact::WorkerSpawned { process, pool } => {
                self.pool_of.insert(*process, pool.clone());
                let counters = self.of(pool);
                counters.total_worker_processes_created += 1;
                counters.current_worker_processes += 1;
                counters.maximum_worker_processes = counters
                    .maximum_worker_processes
                    .max(counters.current_worker_processes);
            }
            Fact::WorkerStopOrdered { process, reason } => {
                if *reason == ShutdownReason::Recycle
                    && let Some(pool) = self.pool_of.get(process).cloned()
                {
                    self.of(&pool).total_application_pool_recycles += 1;
                }
            }
            Fact::WorkerExited { process, .. } | Fact::WorkerOrphaned { process } => {
                if let Some(pool) = self.pool_of.remove(process) {
                    let counters = self.of(&pool);
                    counters.current_worker_processes =
                        counters.current_worker_processes.saturating_sub(1);
                }
            }
            Fact::PoolState { pool, state } => {
                self.of(pool).current_application_pool_state = match state.as_str() {
                    "Stopping" => 4,
                    "Stopped" => 5,
                    _ => 3,
                };
            }
            Fact::Event(event) => {
                if let Some(pool) = &event.pool {
                    self.event(event.id, pool);
                }
            }
            Fact::ServiceState { service, status } => {
                if (*service, *status) == (Service::Was, ServiceStatus::StartPending) {
                    *self = Self::default();
                }
            }
            Fact::WorkerSuspended { .. }
            | Fact::WorkerResumed { .. }
            | Fact::WorkerReady { .. }
            | Fact::WorkerKilled { .. }
            | Fact::CommandAccepted { .. } => {}
        }
    }

    /// The instances, by the names of their pools.
    pub fn pools(&self) -> &BTreeMap<String, AppPoolWas> {
        &self.pools
    }

    fn event(&mut self, id: u16, pool: &str) {
        let counters = self.of(pool);
        match id {
            5010 => counters.total_worker_process_ping_failures += 1,
            5012 | 5039 => counters.total_worker_process_startup_failures += 1,
            5013 => counters.total_worker_process_shutdown_failures += 1,
            5009 | 5011 | 5127 => {}
            _ => return,
        }
        counters.total_worker_process_failures += 1;
    }

    fn of(&mut self, pool: &str) -> &mut AppPoolWas {
        self.pools.entry(pool.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::{Event, WorkerExit, WorkerFailure};

    #[test]
    fn a_recycle_whose_old_worker_is_killed_counts_as_recycle_and_as_failure() {
        let mut counters = Counters::default();
        let (old, new) = (ProcessId(1), ProcessId(2));
        let pool = "P".to_owned();
        for process in [old, new] {
            let pool = pool.clone();
            counters.record(&Fact::WorkerSpawned { process, pool });
        }
        let reason = ShutdownReason::Recycle;
        counters.record(&Fact::WorkerStopOrdered {
            process: old,
            reason,
        });
        let event = Event::worker_failed("P", old, WorkerFailure::ShutdownTime);
        counters.record(&Fact::Event(event));
        counters.record(&Fact::WorkerExited {
            process: old,
            exit: WorkerExit::Signal(9),
        });
        let expected = AppPoolWas {
            current_worker_processes: 1,
            maximum_worker_processes: 2,
            total_application_pool_recycles: 1,
            total_worker_processes_created: 2,
            total_worker_process_failures: 1,
            total_worker_process_shutdown_failures: 1,
            ..AppPoolWas::default()
        };
        assert_eq!(counters.pools()["P"], expected);
    }
}
