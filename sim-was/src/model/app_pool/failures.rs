//! Failures: how workers end that were not to end, what follows for them, and for the pool.

use std::time::Duration;

use sim_httpsys::api::{ControlCall, DisabledReason, ProcessId};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};
use sim_worker::ipm::StartFailure;

use super::{AppPool, AppPoolState, DemandStart};
use crate::event_log::{Event, Fact, WorkerExit, WorkerFailure};
use crate::model::effects::Effects;
use crate::model::rapid_fail::Verdict;
use crate::model::supervised_worker::{SupervisedWorker, WorkerState};
use crate::model::{Output, Program, Purpose, SpawnError, SpawnId, Timer};

/// How long a pool is off whose configuration could not be written, before it is tried again.
/// Assumed: a second; the event asks to "recommit" the configuration, and a disk that was full is repaired
/// without that.
const CONFIGURATION_RETRY: Duration = Duration::from_secs(1);

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
    /// Source: cc787273: what counts is an exit with an error; a clean exit does not, even of one that was not
    /// told to stop. Assumed: one that has not come to be has failed whatever its code.
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
        let failure = WorkerFailure::Terminated(exit);
        match worker.state() {
            WorkerState::Running
            | WorkerState::Suspending
            | WorkerState::Suspended
            | WorkerState::Resuming
                if exit.is_clean() && !mutated(Mutant::CleanExitCounts) =>
            {
                self.report(id, failure, fx);
            }
            WorkerState::Stopping if exit.is_clean() && !mutated(Mutant::CleanExitCounts) => {}
            WorkerState::Spawned
            | WorkerState::Starting
            | WorkerState::Running
            | WorkerState::Suspending
            | WorkerState::Suspended
            | WorkerState::Resuming
            | WorkerState::Stopping => self.fail(id, failure, fx, now),
            WorkerState::Killed => {}
        }
        self.forget(id, fx);
    }

    /// A worker says that it cannot start, and ends.
    pub(super) fn start_failed(
        &mut self,
        id: SpawnId,
        failure: StartFailure,
        fx: &mut Effects,
        now: Instant,
    ) {
        let (said, failure) = match failure {
            StartFailure::Configuration => {
                (Event::worker_not_initialized(), WorkerFailure::Reported)
            }
            StartFailure::RequestQueue => {
                (Event::worker_without_http(), WorkerFailure::ListenerChannel)
            }
        };
        fx.event(said);
        self.fail(id, failure, fx, now);
    }

    /// A process is no longer the pool's.
    fn forget(&mut self, id: SpawnId, fx: &mut Effects) -> Option<SupervisedWorker> {
        let worker = self.workers.remove(&id)?;
        fx.clear_timers(id);
        fx.census.gone();
        self.slots[worker.slot].remove(id);
        Some(worker)
    }

    pub(super) fn kill(
        &mut self,
        id: SpawnId,
        failure: WorkerFailure,
        fx: &mut Effects,
        now: Instant,
    ) {
        // Source: WAS features: one that fails its ping, its stop or its talk with WAS is orphaned; one that has
        // not come to be is not, and would take requests once it has.
        let suspect = self.workers.get(&id).is_some_and(|worker| {
            let is_new = matches!(worker.state(), WorkerState::Spawned | WorkerState::Starting);
            let is_new = is_new && !mutated(Mutant::OrphanWhileStarting);
            worker.pid.is_some() && !is_new && worker.state() != WorkerState::Killed
        });
        self.fail(id, failure, fx, now);
        if mutated(Mutant::FailedReplacementStopsOld) {
            self.stop_replaced(id, fx, now);
        }
        if suspect && self.settings.failure.orphan_worker_process {
            self.orphan(id, fx);
        } else if let Some(worker) = self.workers.get_mut(&id) {
            self.slots[worker.slot].retire(id);
            worker.kill(fx);
        }
    }

    /// Abandons a worker that would be killed, so that somebody can look at it.
    ///
    /// Source: IIS docs, `orphanWorkerProcess`, `orphanActionExe`, `orphanActionParams`: "%1%" stands for
    /// the process id.
    fn orphan(&mut self, id: SpawnId, fx: &mut Effects) {
        let Some(mut worker) = self.forget(id, fx) else {
            return;
        };
        worker.thaw(fx);
        let Some(pid) = worker.pid else {
            return;
        };
        fx.call(ControlCall::DisownProcess { process: pid });
        fx.fact(Fact::WorkerOrphaned { process: pid });
        fx.orphaned.push(pid);
        fx.push(Output::Orphan { pid });
        let failure = &self.settings.failure;
        let parameters = failure
            .orphan_action_params
            .replace("%1%", &pid.0.to_string());
        let purpose = Purpose::OrphanAction(pid);
        self.run(purpose, &failure.orphan_action_exe, parameters, fx);
    }

    /// Runs a program of the administrator, if there is one.
    fn run(&self, purpose: Purpose, executable: &str, parameters: String, fx: &mut Effects) {
        if !executable.is_empty() {
            fx.push(Output::Run(Box::new(Program {
                pool: self.settings.name.clone(),
                purpose,
                executable: executable.to_owned(),
                parameters,
            })));
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
        if self.report(id, failure, fx) {
            let pid = self.workers.get(&id).and_then(|worker| worker.pid);
            self.count_failure(pid, fx, now);
        }
    }

    /// Writes down how a worker has ended or failed, once; true if this was the first time.
    fn report(&mut self, id: SpawnId, failure: WorkerFailure, fx: &mut Effects) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else {
            return false;
        };
        if worker.failed || worker.state() == WorkerState::Killed {
            return false;
        }
        worker.failed = true;
        if let Some(pid) = worker.pid {
            fx.event(Event::worker_failed(&self.settings.name, pid, failure));
        }
        true
    }

    fn count_failure(&mut self, pid: Option<ProcessId>, fx: &mut Effects, now: Instant) {
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
                self.disable(pid, fx);
            }
        }
    }

    /// Takes the pool off. Source: IIS docs, `autoShutdownExe`: run when the pool is shut down.
    /// Assumed: "%1%" in its parameters is the process whose failure was the last, as for orphans.
    fn disable(&mut self, pid: Option<ProcessId>, fx: &mut Effects) {
        self.set_state(AppPoolState::Stopped(DisabledReason::AppOffline), fx);
        let failure = &self.settings.failure;
        let pid = pid.map_or_else(String::new, |pid| pid.0.to_string());
        let parameters = failure.auto_shutdown_params.replace("%1%", &pid);
        let executable = &failure.auto_shutdown_exe;
        self.run(Purpose::AutoShutdown, executable, parameters, fx);
    }

    /// A process could not be created. A replacement is done without; otherwise the pool is off.
    pub(super) fn not_created(
        &mut self,
        id: SpawnId,
        error: &SpawnError,
        fx: &mut Effects,
        now: Instant,
    ) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let slot = &self.slots[worker.slot];
        let replaced = slot.current.filter(|_| slot.replacement == Some(id));
        let Some(worker) = self.forget(id, fx) else {
            return;
        };
        let pool = &self.settings.name;
        if let SpawnError::Configuration(error) = error
            && self.unwritten.as_ref() != Some(error)
        {
            fx.event(Event::pool_config_not_written(pool, error));
            self.unwritten = Some(error.clone());
        }
        if let SpawnError::Process(_) = error {
            fx.event(Event::process_not_created(pool));
        }
        if let Some(old) = replaced.and_then(|old| self.workers[&old].pid) {
            fx.event(Event::overlap_failed(pool, old));
            if self.recycled_together.contains(&id) {
                self.recycled_together.clear();
                fx.event(Event::recycle_not_issued_to_all(pool));
            }
            self.count_failure(None, fx, now);
        } else if self.may_run() && worker.state() == WorkerState::Spawned {
            match error {
                SpawnError::Process(_) => {
                    fx.event(Event::worker_not_created(pool));
                    self.disable(None, fx);
                }
                SpawnError::Configuration(_) => {
                    self.set_state(AppPoolState::Stopped(DisabledReason::AppOffline), fx);
                    fx.timers
                        .set(Timer::Retry(self.id), now + CONFIGURATION_RETRY);
                }
            }
        }
    }

    /// The pool was off because its configuration could not be written; perhaps it can be now.
    pub(in crate::model) fn retry(&mut self, fx: &mut Effects) {
        let off = AppPoolState::Stopped(DisabledReason::AppOffline);
        if self.unwritten.is_some() && self.state == off && self.settings.fault.is_none() {
            self.demand = DemandStart::Unarmed;
            self.set_state(AppPoolState::Started, fx);
        }
    }
}
