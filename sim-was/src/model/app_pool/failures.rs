//! Failures: how workers end that were not to end, what follows for them, and for the pool.

use sim_httpsys::api::DisabledReason;
use sim_httpsys::clockwork::Instant;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};

use super::{AppPool, AppPoolState};
use crate::event_log::{Event, Fact, WorkerExit, WorkerFailure};
use crate::model::effects::Effects;
use crate::model::rapid_fail::Verdict;
use crate::model::supervised_worker::WorkerState;
use crate::model::{Output, SpawnError, SpawnId};

impl AppPool {
    /// A worker has sent nonsense.
    pub(in crate::model) fn garbled(&mut self, id: SpawnId, fx: &mut Effects, now: Instant) {
        self.kill(id, WorkerFailure::Untrusted, fx, now);
    }

    /// A worker has let go of its pipe. One that was told to stop may; any other has crashed.
    pub(in crate::model) fn pipe_closed(&mut self, id: SpawnId, fx: &mut Effects, now: Instant) {
        if self.workers.get(&id).is_some_and(|w| !w.is_leaving()) {
            self.kill(id, WorkerFailure::Pipe, fx, now);
        }
    }

    /// A worker process has ended.
    ///
    /// Assumed: one that was told to stop and ends with an error has failed too (cc787273: "exit
    /// with an error"), and one that ends without having been told to has failed whatever its code.
    pub(in crate::model) fn exited(
        &mut self,
        id: SpawnId,
        exit: WorkerExit,
        fx: &mut Effects,
        now: Instant,
    ) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        if let Some(process) = worker.pid {
            fx.fact(Fact::WorkerExited { process, exit });
        }
        let failed = match worker.state() {
            WorkerState::Spawned | WorkerState::Starting | WorkerState::Running => true,
            WorkerState::Stopping => !exit.is_clean() || mutated(Mutant::CleanExitCounts),
            WorkerState::Killed => false,
        };
        let slot = worker.slot;
        if failed {
            self.fail(id, WorkerFailure::Terminated(exit), fx, now);
        }
        fx.clear_timers(id);
        self.slots[slot].remove(id);
        self.workers.remove(&id);
    }

    pub(super) fn kill(
        &mut self,
        id: SpawnId,
        failure: WorkerFailure,
        fx: &mut Effects,
        now: Instant,
    ) {
        self.fail(id, failure, fx, now);
        if mutated(Mutant::FailedReplacementStopsOld) {
            self.stop_replaced(id, fx, now);
        }
        if let Some(worker) = self.workers.get_mut(&id) {
            self.slots[worker.slot].retire(id);
            worker.kill(fx);
        }
    }

    /// Logs a failure of a worker and counts it, once per worker.
    pub(super) fn fail(
        &mut self,
        id: SpawnId,
        failure: WorkerFailure,
        fx: &mut Effects,
        now: Instant,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if worker.failed || worker.state() == WorkerState::Killed {
            return;
        }
        worker.failed = true;
        if let Some(pid) = worker.pid {
            fx.event(Event::worker_failed(&self.settings.name, pid, failure));
        }
        self.count_failure(fx, now);
    }

    pub(super) fn count_failure(&mut self, fx: &mut Effects, now: Instant) {
        let failure = &self.settings.failure;
        if !failure.rapid_fail_protection || !self.may_run() {
            return;
        }
        let interval = failure.rapid_fail_protection_interval;
        let crashes_max = failure.rapid_fail_protection_max_crashes;
        if mutated(Mutant::CountCrashTwice) {
            self.rapid_fail.record(interval, crashes_max, now);
        }
        match self.rapid_fail.record(interval, crashes_max, now) {
            Verdict::Tolerated => {}
            Verdict::Disable => {
                fx.event(Event::rapid_fail(&self.settings.name));
                self.disable(fx);
            }
        }
    }

    /// Takes the pool off. Source: IIS docs, `autoShutdownExe`: run when the pool is shut down.
    fn disable(&mut self, fx: &mut Effects) {
        self.set_state(AppPoolState::Stopped(DisabledReason::AppOffline), fx);
        let failure = &self.settings.failure;
        if !failure.auto_shutdown_exe.is_empty() {
            fx.push(Output::Run {
                pool: self.settings.name.clone(),
                executable: failure.auto_shutdown_exe.clone(),
                parameters: failure.auto_shutdown_params.clone(),
            });
        }
    }

    /// A process could not be created. A replacement is done without; otherwise the pool is off.
    pub(super) fn not_created(
        &mut self,
        id: SpawnId,
        error: &SpawnError,
        fx: &mut Effects,
        now: Instant,
    ) {
        let Some(worker) = self.workers.remove(&id) else {
            return;
        };
        fx.clear_timers(id);
        let slot = &mut self.slots[worker.slot];
        let replaced = slot.current.filter(|_| slot.replacement == Some(id));
        slot.remove(id);
        let pool = &self.settings.name;
        if let SpawnError::Configuration(error) = error {
            fx.event(Event::pool_config_not_written(pool, error));
        }
        if let Some(old) = replaced.and_then(|old| self.workers[&old].pid) {
            fx.event(Event::overlap_failed(pool, old));
            self.count_failure(fx, now);
        } else if self.may_run() && worker.state() == WorkerState::Spawned {
            if matches!(error, SpawnError::Process(_)) {
                fx.event(Event::worker_not_created(pool));
            }
            self.disable(fx);
        }
    }
}
