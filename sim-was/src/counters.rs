//! `PerfMon` counters of WAS, folded from its facts: the set `APP_POOL_WAS`, one instance per pool.
//!
//! What depends on the moment of looking (uptimes, the time since the last failure) is told by
//! [`Counters::reading`]. The failures inside the rapid-fail interval end without a fact: the pool
//! itself counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::Instant;
use sim_worker::ipm::ShutdownReason;

use crate::control::{Service, ServiceStatus};
use crate::event_log::Fact;

/// The counters of one pool, since WAS was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppPoolWas {
    /// Current Application Pool State: 3 running, 4 disabling, 5 disabled.
    pub current_application_pool_state: u32,
    /// Current Application Pool Uptime, seconds since the pool was started; 0 while it is not running.
    pub current_application_pool_uptime_s: u64,
    /// Total Application Pool Uptime, seconds that it has run since WAS was started.
    pub total_application_pool_uptime_s: u64,
    /// When the current uptime began; the moment of looking while the pool is not running.
    pub current_uptime_began: Instant,
    /// When the total uptime would have begun, had the pool run ever since.
    pub total_uptime_began: Instant,
    /// Recent Worker Process Failures: inside the interval of rapid-fail protection.
    pub recent_worker_process_failures: u64,
    /// Time Since Last Worker Process Failure, seconds; 0 if there was none.
    pub time_since_last_worker_process_failure_s: u64,
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

/// The counters of all pools. Changed only by [`Counters::record`], until a pool is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pools: BTreeMap<String, AppPoolWas>,
    times: BTreeMap<String, Times>,
    pool_of: BTreeMap<ProcessId, String>,
    w3svc_since: Option<Instant>,
    /// Workers that have said that they are ready.
    ready: BTreeSet<ProcessId>,
    /// The fact before was that a worker has exited without an error.
    exited_clean: bool,
}

/// The moments of a pool that its counters measure from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Times {
    running_since: Option<Instant>,
    /// How long it has run before that.
    ran: Duration,
    last_failure: Option<Instant>,
}

impl Counters {
    /// Takes a fact in that was stated at `at`.
    pub fn record(&mut self, fact: &Fact, at: Instant) {
        let exited_clean = std::mem::take(&mut self.exited_clean);
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
            Fact::WorkerReady { process } => {
                self.ready.insert(*process);
            }
            Fact::WorkerExited { process, .. } | Fact::WorkerOrphaned { process } => {
                let was_ready = self.ready.remove(process);
                if let Fact::WorkerExited { exit, .. } = fact {
                    self.exited_clean = was_ready && exit.is_clean();
                }
                if let Some(pool) = self.pool_of.remove(process) {
                    let counters = self.of(&pool);
                    counters.current_worker_processes =
                        counters.current_worker_processes.saturating_sub(1);
                }
            }
            Fact::PoolState { pool, state } => {
                let number = match state.as_str() {
                    "Stopping" => 4,
                    "Stopped" => 5,
                    _ => 3,
                };
                self.of(pool).current_application_pool_state = number;
                self.times
                    .entry(pool.clone())
                    .or_default()
                    .turn(number == 3, at);
            }
            Fact::Event(event) => {
                // Source: cc787273: an exit without an error is reported, and is no failure.
                if let Some(pool) = &event.pool
                    && !(exited_clean && event.id == 5009)
                {
                    self.event(event.id, pool, at);
                }
            }
            Fact::ServiceState { service, status } => {
                if (*service, *status) == (Service::Was, ServiceStatus::StartPending) {
                    *self = Self::default();
                }
                if *service == Service::W3svc {
                    self.w3svc_since = (*status == ServiceStatus::Running).then_some(at);
                }
            }
            Fact::WorkerSuspended { .. }
            | Fact::WorkerResumed { .. }
            | Fact::WorkerKilled { .. }
            | Fact::ConfigurationChanged { .. }
            | Fact::CommandAccepted { .. } => {}
        }
    }

    /// A pool is gone, and so is its instance: one that is made by its name begins at 0.
    pub fn forget(&mut self, pool: &str) {
        self.pools.remove(pool);
        self.times.remove(pool);
    }

    /// The instances, by the names of their pools.
    pub fn pools(&self) -> &BTreeMap<String, AppPoolWas> {
        &self.pools
    }

    /// How long W3SVC has run.
    pub fn service_uptime(&self, now: Instant) -> Duration {
        let since = self.w3svc_since.map(|since| now.saturating_since(since));
        since.unwrap_or_default()
    }

    /// What the counters of a pool read at `now`.
    pub fn reading(&self, pool: &str, now: Instant) -> AppPoolWas {
        let mut reading = self.pools.get(pool).copied().unwrap_or_default();
        let times = self.times.get(pool).copied().unwrap_or_default();
        let current = times.running_since.map(|since| now.saturating_since(since));
        let current = current.unwrap_or_default();
        let since_failure = times.last_failure.map(|at| now.saturating_since(at));
        reading.current_application_pool_uptime_s = current.as_secs();
        reading.total_application_pool_uptime_s = (times.ran + current).as_secs();
        reading.current_uptime_began = times.running_since.unwrap_or(now);
        let began = Instant::SWITCHED_ON + times.ran;
        let began = reading.current_uptime_began.saturating_since(began);
        reading.total_uptime_began = Instant::SWITCHED_ON + began;
        reading.time_since_last_worker_process_failure_s =
            since_failure.unwrap_or_default().as_secs();
        reading
    }

    fn event(&mut self, id: u16, pool: &str, at: Instant) {
        let counters = self.of(pool);
        match id {
            5010 => counters.total_worker_process_ping_failures += 1,
            5012 | 5039 | 5139 => counters.total_worker_process_startup_failures += 1,
            5013 => counters.total_worker_process_shutdown_failures += 1,
            5009 | 5011 | 5127 => {}
            _ => return,
        }
        counters.total_worker_process_failures += 1;
        self.times.entry(pool.to_owned()).or_default().last_failure = Some(at);
    }

    fn of(&mut self, pool: &str) -> &mut AppPoolWas {
        self.pools.entry(pool.to_owned()).or_default()
    }
}

impl Times {
    /// The pool runs, or does not.
    fn turn(&mut self, runs: bool, at: Instant) {
        match self.running_since {
            None if runs => self.running_since = Some(at),
            Some(since) if !runs => {
                self.ran += at.saturating_since(since);
                self.running_since = None;
            }
            None | Some(_) => {}
        }
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
            counters.record(&Fact::WorkerSpawned { process, pool }, Instant(0));
        }
        let reason = ShutdownReason::Recycle;
        let process = old;
        counters.record(&Fact::WorkerStopOrdered { process, reason }, Instant(0));
        let event = Event::worker_failed("P", old, WorkerFailure::ShutdownTime);
        counters.record(&Fact::Event(event), Instant(2_000_000_000));
        let exit = WorkerExit::Signal(9);
        counters.record(
            &Fact::WorkerExited { process, exit },
            Instant(3_000_000_000),
        );
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

    #[test]
    fn a_worker_that_exits_by_itself_without_an_error_is_no_failure() {
        let failures = |exit: WorkerExit, is_ready: bool| {
            let mut counters = Counters::default();
            let (process, pool) = (ProcessId(1), "P".to_owned());
            counters.record(&Fact::WorkerSpawned { process, pool }, Instant(0));
            if is_ready {
                counters.record(&Fact::WorkerReady { process }, Instant(0));
            }
            counters.record(&Fact::WorkerExited { process, exit }, Instant(0));
            let event = Event::worker_failed("P", process, WorkerFailure::Terminated(exit));
            counters.record(&Fact::Event(event), Instant(0));
            counters.pools()["P"].total_worker_process_failures
        };
        assert_eq!(failures(WorkerExit::Code(0), true), 0);
        assert_eq!(
            failures(WorkerExit::Code(0), false),
            1,
            "it has not come to be"
        );
        assert_eq!(failures(WorkerExit::Code(1), true), 1);
    }

    /// The counters of a pool that entered states, each at its second.
    fn of_states(states: &[(u64, &str)]) -> Counters {
        let mut counters = Counters::default();
        for (second, state) in states {
            let (pool, state) = ("P".to_owned(), (*state).to_owned());
            let at = Instant(second * 1_000_000_000);
            counters.record(&Fact::PoolState { pool, state }, at);
        }
        counters
    }

    #[test]
    fn a_pool_that_was_stopped_in_between_has_run_for_less_than_was() {
        let counters = of_states(&[(0, "Started"), (10, "Stopped"), (30, "Started")]);
        let reading = counters.reading("P", Instant(35_000_000_000));
        assert_eq!(reading.current_application_pool_uptime_s, 5);
        assert_eq!(reading.total_application_pool_uptime_s, 15);
        assert_eq!(reading.current_application_pool_state, 3);
    }

    #[test]
    fn while_a_pool_runs_its_uptimes_have_begun_at_one_moment() {
        let counters = of_states(&[(1, "Started"), (10, "Stopped"), (30, "Started")]);
        for now in [30_000_000_000, 30_400_000_000, 31_200_000_000] {
            let reading = counters.reading("P", Instant(now));
            assert_eq!(reading.current_uptime_began, Instant(30_000_000_000));
            assert_eq!(reading.total_uptime_began, Instant(21_000_000_000));
        }
    }
}
