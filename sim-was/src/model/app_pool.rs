//! An application pool: its state, its slots with their workers, its failures.
//!
//! ```text
//!              start                      stop               last worker gone
//!  Stopped ───────────► Started ───────────────► Stopping ─────────────────────► Stopped
//!     ▲                    │
//!     └─── rapid-fail, or no process can be created (its workers are told to stop)
//! ```
//!
//! "Started" means allowed to run, with or without a worker. While a place is free and nobody is on
//! the way, the pool asks the driver for a demand start; so a request that waits always brings a
//! worker, and exactly one.

use std::collections::BTreeMap;

use sim_httpsys::api::{
    CallId, ControlCall, DisabledReason, ProcessId, QueueState, RequestQueueName,
};
use sim_httpsys::clockwork::Instant;
use sim_worker::configuration::WorkerConfiguration;
use sim_worker::ipm::{FromWorker, RecycleReason, ShutdownReason};

use super::effects::Effects;
use super::idle::{self, IdleDecision};
use super::ping::Reply;
use super::rapid_fail::{RapidFail, Verdict};
use super::recycling::{RecycleStep, Slot};
use super::supervised_worker::{SupervisedWorker, WorkerState};
use super::{ClientId, Output, PoolId, Spawn, SpawnError, SpawnId, Timer, WorkerArguments};
use crate::config;
use crate::control::{Answer, ObjectState, Refusal};
use crate::event_log::{Event, Fact, WorkerExit, WorkerFailure};

/// Whether a pool may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppPoolState {
    /// It may.
    Started,
    /// An administrator stops it; its workers finish.
    Stopping,
    /// It may not, for this reason.
    Stopped(DisabledReason),
}

/// One application pool.
#[derive(Debug)]
pub(super) struct AppPool {
    id: PoolId,
    settings: config::ApplicationPool,
    configuration: WorkerConfiguration,
    state: AppPoolState,
    /// W3SVC runs and the queue exists.
    serving: bool,
    demand: DemandStart,
    slots: Vec<Slot>,
    workers: BTreeMap<SpawnId, SupervisedWorker>,
    rapid_fail: RapidFail,
    stop_client: Option<ClientId>,
}

/// Whether the driver was asked for a demand start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DemandStart {
    Unarmed,
    Armed(CallId),
    /// The driver refused; not asked again until W3SVC or the pool is started.
    Refused,
}

impl AppPool {
    /// A pool as WAS starts.
    ///
    /// Source: IIS docs, `maxProcesses`: 0 is one per NUMA node. Assumed: one node.
    pub(super) fn new(
        id: PoolId,
        settings: config::ApplicationPool,
        configuration: WorkerConfiguration,
    ) -> Self {
        let state = if settings.auto_start {
            AppPoolState::Started
        } else {
            AppPoolState::Stopped(DisabledReason::Disabled)
        };
        let slots = settings.process_model.max_processes.clamp(1, 1024) as usize;
        Self {
            id,
            settings,
            configuration,
            state,
            serving: false,
            demand: DemandStart::Unarmed,
            slots: vec![Slot::default(); slots],
            workers: BTreeMap::new(),
            rapid_fail: RapidFail::default(),
            stop_client: None,
        }
    }

    // ---- orders ---------------------------------------------------------------------------------

    /// W3SVC has made the queue.
    pub(super) fn serve(&mut self) {
        self.serving = true;
        self.demand = DemandStart::Unarmed;
    }

    /// W3SVC begins to stop: nothing is started any more.
    pub(super) fn stop_serving(&mut self) {
        self.serving = false;
        self.demand = DemandStart::Unarmed;
    }

    /// W3SVC stops: the queue is gone, workers end without finishing their requests.
    /// Source: native API reference, `DrainRequestsGracefully` is false for an IIS restart.
    pub(super) fn service_stop(&mut self, fx: &mut Effects, now: Instant) {
        self.stop_serving();
        self.stop_workers(ShutdownReason::ServiceStop, fx, now);
    }

    /// Kills every worker.
    pub(super) fn kill_all(&mut self, fx: &mut Effects) {
        for worker in self.workers.values_mut() {
            self.slots[worker.slot].retire(worker.spawn());
            worker.kill(fx);
        }
    }

    /// An administrator starts the pool. Source: cc787273: starting a pool resets its failures.
    pub(super) fn start(&mut self, fx: &mut Effects) -> Result<(), Refusal> {
        match self.state {
            AppPoolState::Started => Err(Refusal::already_running()),
            AppPoolState::Stopping => Err(Refusal::cannot_accept_control()),
            AppPoolState::Stopped(_) => {
                self.rapid_fail.clear();
                self.demand = DemandStart::Unarmed;
                self.set_state(AppPoolState::Started, fx);
                Ok(())
            }
        }
    }

    /// An administrator stops the pool; `client` is answered when the last worker has gone.
    pub(super) fn stop(&mut self, client: ClientId, fx: &mut Effects) -> Result<(), Refusal> {
        match self.state {
            AppPoolState::Stopped(_) => Err(Refusal::not_started()),
            AppPoolState::Stopping => Err(Refusal::cannot_accept_control()),
            AppPoolState::Started => {
                self.stop_client = Some(client);
                self.set_state(AppPoolState::Stopping, fx);
                Ok(())
            }
        }
    }

    /// An administrator recycles the pool: every worker, at once.
    /// Source: `TechNet` "Recycling an Application Pool": a recycle on demand restarts all workers.
    /// Assumed: without a worker nothing is logged, as nothing is recycled.
    pub(super) fn recycle(&mut self, fx: &mut Effects, now: Instant) -> Result<(), Refusal> {
        if self.state != AppPoolState::Started {
            return Err(Refusal::not_started());
        }
        if !self.serving {
            return Ok(());
        }
        let steps: Vec<RecycleStep> = (0..self.slots.len()).map(|i| self.step(i)).collect();
        if steps.iter().any(|step| step.is_effective()) {
            self.log_recycle(RecycleReason::OnDemand, ProcessId(0), fx);
        }
        for (slot, step) in steps.into_iter().enumerate() {
            self.carry_out(slot, step, fx, now);
        }
        Ok(())
    }

    /// A request waits, and no worker has a receive for it.
    pub(super) fn demand_start(&mut self, fx: &mut Effects, now: Instant) {
        self.demand = DemandStart::Unarmed;
        if self.may_run()
            && !self.is_starting()
            && let Some(slot) = self.free_slot()
        {
            self.start_worker(slot, fx, now);
        }
    }

    /// The driver has refused a call; true if it was this pool's wish for a demand start.
    pub(super) fn demand_refused(&mut self, call: CallId, still_armed: bool) -> bool {
        if self.demand != DemandStart::Armed(call) {
            return false;
        }
        if !still_armed {
            self.demand = DemandStart::Refused;
        }
        true
    }

    /// Does what follows from the state as it is now: starts what is wanted, stops what is not.
    pub(super) fn keep_up(&mut self, fx: &mut Effects, now: Instant) {
        match self.state {
            AppPoolState::Started if self.serving => self.start_what_is_wanted(fx, now),
            AppPoolState::Started => {}
            AppPoolState::Stopping | AppPoolState::Stopped(_) => {
                self.stop_workers(ShutdownReason::PoolStop, fx, now);
            }
        }
        if self.state == AppPoolState::Stopping && self.workers.is_empty() {
            self.set_state(AppPoolState::Stopped(DisabledReason::Disabled), fx);
            if let Some(client) = self.stop_client.take() {
                fx.answer(client, Answer::Done);
            }
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    // ---- what happens to workers ----------------------------------------------------------------

    /// The process of a worker exists, or does not.
    pub(super) fn spawned(
        &mut self,
        id: SpawnId,
        result: Result<ProcessId, SpawnError>,
        fx: &mut Effects,
        now: Instant,
    ) {
        match result {
            Ok(pid) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.created(pid, &self.settings.name, fx);
                }
            }
            Err(error) => self.not_created(id, &error, fx, now),
        }
    }

    /// A worker says something.
    pub(super) fn told(
        &mut self,
        id: SpawnId,
        message: &FromWorker,
        fx: &mut Effects,
        now: Instant,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        match *message {
            FromWorker::Ready => self.ready(id, fx, now),
            FromWorker::PingReply { sequence } => {
                if worker.ping_reply(sequence, fx) == Reply::Untrusted {
                    self.kill(id, WorkerFailure::Untrusted, fx, now);
                }
            }
            FromWorker::RequestRecycle { reason } => self.recycle_requested(id, reason, fx, now),
            FromWorker::Idle => self.idle(id, fx, now),
            FromWorker::StartFailed { .. } if worker.is_starting() => {
                worker.leaving(self.settings.process_model.shutdown_time_limit, fx, now);
                let slot = worker.slot;
                self.slots[slot].retire(id);
                self.fail(id, WorkerFailure::Reported, fx, now);
            }
            FromWorker::StartFailed { .. } | FromWorker::Draining | FromWorker::Requests { .. } => {
            }
        }
    }

    /// A worker has sent nonsense.
    pub(super) fn garbled(&mut self, id: SpawnId, fx: &mut Effects, now: Instant) {
        self.kill(id, WorkerFailure::Untrusted, fx, now);
    }

    /// A worker has let go of its pipe. One that was told to stop may; any other has crashed.
    pub(super) fn pipe_closed(&mut self, id: SpawnId, fx: &mut Effects, now: Instant) {
        if self.workers.get(&id).is_some_and(|w| !w.is_leaving()) {
            self.kill(id, WorkerFailure::Pipe, fx, now);
        }
    }

    /// A worker process has ended.
    ///
    /// Assumed: one that was told to stop and ends with an error has failed too (cc787273: "exit
    /// with an error"), and one that ends without having been told to has failed whatever its code.
    pub(super) fn exited(&mut self, id: SpawnId, exit: WorkerExit, fx: &mut Effects, now: Instant) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        if let Some(process) = worker.pid {
            fx.fact(Fact::WorkerExited { process, exit });
        }
        let failed = match worker.state() {
            WorkerState::Spawned | WorkerState::Starting | WorkerState::Running => true,
            WorkerState::Stopping => !exit.is_clean(),
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

    /// A timer of a worker.
    pub(super) fn timer(&mut self, timer: Timer, fx: &mut Effects, now: Instant) {
        let limits = &self.settings.process_model;
        match timer {
            Timer::Startup(id) => self.kill(id, WorkerFailure::StartupTime, fx, now),
            Timer::Shutdown(id) => self.kill(id, WorkerFailure::ShutdownTime, fx, now),
            Timer::PingDue(id) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.ping(limits, fx, now);
                }
            }
            Timer::PingReply(id) => {
                if let Some(worker) = self.workers.get_mut(&id)
                    && worker.ping_overdue(limits, fx, now)
                {
                    self.kill(id, WorkerFailure::Ping, fx, now);
                }
            }
            Timer::ServiceStop | Timer::Query(_) => {}
        }
    }

    // ---- questions ------------------------------------------------------------------------------

    pub(super) fn settings(&self) -> &config::ApplicationPool {
        &self.settings
    }

    /// What its queue is to be.
    pub(super) fn queue_state(&self) -> QueueState {
        match self.state {
            AppPoolState::Started => QueueState::Active,
            AppPoolState::Stopping => QueueState::Inactive(DisabledReason::Disabled),
            AppPoolState::Stopped(reason) => QueueState::Inactive(reason),
        }
    }

    /// Its state as tools show it.
    pub(super) fn shown(&self) -> ObjectState {
        match self.state {
            AppPoolState::Started => ObjectState::Started,
            AppPoolState::Stopping => ObjectState::Stopping,
            AppPoolState::Stopped(_) => ObjectState::Stopped,
        }
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = &SupervisedWorker> {
        self.workers.values()
    }

    /// Failures that count against it now.
    #[cfg(test)]
    pub(super) fn recent_failures(&self) -> usize {
        self.rapid_fail.recent()
    }

    // ---- private parts --------------------------------------------------------------------------

    fn overlap(&self) -> bool {
        !self.settings.recycling.disallow_overlapping_rotation
    }

    fn may_run(&self) -> bool {
        self.state == AppPoolState::Started && self.serving
    }

    fn is_starting(&self) -> bool {
        self.slots
            .iter()
            .filter_map(|slot| slot.current)
            .any(|id| self.workers[&id].is_starting())
    }

    fn free_slot(&self) -> Option<usize> {
        let overlap = self.overlap();
        self.slots.iter().position(|slot| slot.may_start(overlap))
    }

    fn set_state(&mut self, state: AppPoolState, fx: &mut Effects) {
        self.state = state;
        fx.driver_changed = true;
        self.state_itself(fx);
    }

    /// States what its state is.
    pub(super) fn state_itself(&self, fx: &mut Effects) {
        fx.fact(Fact::PoolState {
            pool: self.settings.name.clone(),
            state: format!("{:?}", self.shown()),
        });
    }

    /// Source: IIS docs, `startMode`: `AlwaysRunning` starts a worker at once, `OnDemand` at a request.
    fn start_what_is_wanted(&mut self, fx: &mut Effects, now: Instant) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].take_again() {
                let step = self.step(slot);
                self.carry_out(slot, step, fx, now);
            }
        }
        if self.settings.always_running {
            while let Some(slot) = self.free_slot() {
                self.start_worker(slot, fx, now);
            }
        }
        let unarmed = self.demand == DemandStart::Unarmed;
        if unarmed && !self.is_starting() && self.free_slot().is_some() {
            let queue = RequestQueueName(self.settings.name.clone());
            self.demand = DemandStart::Armed(fx.call(ControlCall::WaitForDemandStart { queue }));
        }
    }

    fn start_worker(&mut self, slot: usize, fx: &mut Effects, now: Instant) {
        let id = self.order_process(slot, fx, now);
        self.slots[slot].current = Some(id);
    }

    fn order_process(&mut self, slot: usize, fx: &mut Effects, now: Instant) -> SpawnId {
        let settings = &self.settings;
        let worker = SupervisedWorker::order(slot, &settings.process_model, fx, now);
        let id = worker.spawn();
        self.workers.insert(id, worker);
        fx.spawned_by(id, self.id);
        fx.push(Output::Spawn(Box::new(Spawn {
            spawn: id,
            configuration: self.configuration.clone(),
            arguments: WorkerArguments {
                pool: settings.name.clone(),
                runtime_version: settings.managed_runtime_version.clone(),
                runtime_loader: settings.managed_runtime_loader.clone(),
                classic: settings.classic,
                idle_minutes: idle::minutes(settings),
                idle_suspend: settings.process_model.idle_suspend,
            },
            environment: settings.environment.clone().into_iter().collect(),
        })));
        id
    }

    fn stop_workers(&mut self, reason: ShutdownReason, fx: &mut Effects, now: Instant) {
        let limit = self.settings.process_model.shutdown_time_limit;
        for worker in self.workers.values_mut() {
            // Its slot's replacement, if any, is told to stop in the same pass.
            self.slots[worker.slot].retire(worker.spawn());
            worker.stop(reason, limit, fx, now);
        }
        for slot in &mut self.slots {
            slot.again = false;
        }
    }

    fn ready(&mut self, id: SpawnId, fx: &mut Effects, now: Instant) {
        let limits = &self.settings.process_model;
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        match worker.state() {
            WorkerState::Starting => worker.ready(limits, fx, now),
            WorkerState::Running => return self.kill(id, WorkerFailure::Untrusted, fx, now),
            WorkerState::Spawned | WorkerState::Stopping | WorkerState::Killed => return,
        }
        let limit = limits.shutdown_time_limit;
        let slot = worker.slot;
        if self.slots[slot].replacement == Some(id)
            && let Some(old) = self.slots[slot].hand_over()
            && let Some(old) = self.workers.get_mut(&old)
        {
            old.stop(ShutdownReason::Recycle, limit, fx, now);
        }
    }

    fn step(&self, slot: usize) -> RecycleStep {
        let running = self.slots[slot]
            .current
            .is_some_and(|id| self.workers[&id].state() == WorkerState::Running);
        self.slots[slot].recycle(self.overlap(), running)
    }

    fn carry_out(&mut self, slot: usize, step: RecycleStep, fx: &mut Effects, now: Instant) {
        match step {
            RecycleStep::NoWorker | RecycleStep::Coalesced => {}
            RecycleStep::Later => self.slots[slot].again = true,
            RecycleStep::Replace(_) => {
                let id = self.order_process(slot, fx, now);
                self.slots[slot].replacement = Some(id);
            }
            RecycleStep::StopFirst(old) => {
                self.slots[slot].retire(old);
                self.stop_one(old, ShutdownReason::Recycle, fx, now);
            }
        }
    }

    fn stop_one(&mut self, id: SpawnId, reason: ShutdownReason, fx: &mut Effects, now: Instant) {
        let limit = self.settings.process_model.shutdown_time_limit;
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.stop(reason, limit, fx, now);
        }
    }

    fn recycle_requested(
        &mut self,
        id: SpawnId,
        reason: RecycleReason,
        fx: &mut Effects,
        now: Instant,
    ) {
        let worker = &self.workers[&id];
        let (slot, pid) = (worker.slot, worker.pid);
        if !self.may_run() || self.slots[slot].current != Some(id) {
            return;
        }
        let step = self.step(slot);
        if step.is_effective()
            && let Some(pid) = pid
        {
            self.log_recycle(reason, pid, fx);
        }
        self.carry_out(slot, step, fx, now);
    }

    /// Source: IIS docs, `logEventOnRecycle`: which reasons are logged.
    fn log_recycle(&self, reason: RecycleReason, pid: ProcessId, fx: &mut Effects) {
        if self
            .settings
            .recycling
            .log_event_on_recycle
            .contains(&reason)
        {
            fx.event(Event::recycle(reason, &self.settings.name, pid));
        }
    }

    fn idle(&mut self, id: SpawnId, fx: &mut Effects, now: Instant) {
        let worker = &self.workers[&id];
        let (slot, pid) = (worker.slot, worker.pid);
        if worker.state() != WorkerState::Running {
            return;
        }
        match idle::decide(&self.settings, self.slots[slot].replacement.is_some()) {
            IdleDecision::Stay => {}
            IdleDecision::ShutDown { log } => {
                if let Some(pid) = pid.filter(|_| log) {
                    let minutes = idle::minutes(&self.settings);
                    fx.event(Event::idle(&self.settings.name, pid, minutes));
                }
                self.slots[slot].retire(id);
                self.stop_one(id, ShutdownReason::Idle, fx, now);
            }
        }
    }

    fn kill(&mut self, id: SpawnId, failure: WorkerFailure, fx: &mut Effects, now: Instant) {
        self.fail(id, failure, fx, now);
        if let Some(worker) = self.workers.get_mut(&id) {
            self.slots[worker.slot].retire(id);
            worker.kill(fx);
        }
    }

    /// Logs a failure of a worker and counts it, once per worker.
    fn fail(&mut self, id: SpawnId, failure: WorkerFailure, fx: &mut Effects, now: Instant) {
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

    fn count_failure(&mut self, fx: &mut Effects, now: Instant) {
        let failure = &self.settings.failure;
        if !failure.rapid_fail_protection || !self.may_run() {
            return;
        }
        let interval = failure.rapid_fail_protection_interval;
        let crashes_max = failure.rapid_fail_protection_max_crashes;
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
    fn not_created(&mut self, id: SpawnId, error: &SpawnError, fx: &mut Effects, now: Instant) {
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

    /// What must always hold.
    fn check_invariants(&self) {
        let per_slot = 1 + usize::from(self.overlap());
        for slot in &self.slots {
            assert!(
                slot.processes() <= per_slot,
                "a slot has at most its worker and one that comes or goes: {slot:?}"
            );
            if let Some(replacement) = slot.replacement {
                assert!(
                    self.workers[&replacement].is_starting(),
                    "a replacement that is ready takes the place at once"
                );
                assert!(
                    slot.current
                        .is_some_and(|id| self.workers[&id].state() == WorkerState::Running),
                    "only a running worker is replaced"
                );
            }
            assert!(
                slot.current
                    .is_none_or(|id| !self.workers[&id].is_leaving()),
                "a worker that was told to stop has lost its place"
            );
        }
        let placed: usize = self.slots.iter().map(Slot::processes).sum();
        assert_eq!(
            placed,
            self.workers.len(),
            "every worker is in exactly one slot"
        );
        if self.state != AppPoolState::Started {
            assert!(
                self.workers.values().all(SupervisedWorker::is_leaving),
                "a pool that is off starts nothing"
            );
        }
        let failure = &self.settings.failure;
        assert!(
            self.state != AppPoolState::Started
                || self.rapid_fail.recent() < failure.rapid_fail_protection_max_crashes as usize,
            "the failure that reaches the limit disables the pool"
        );
    }
}
