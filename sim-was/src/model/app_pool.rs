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
use sim_httpsys::clockwork::mutants::{Mutant, mutated};
use sim_worker::configuration::WorkerConfiguration;
use sim_worker::ipm::{FromWorker, ShutdownReason};

use super::effects::Effects;
use super::idle::{self, IdleDecision};
use super::ping::Reply;
use super::rapid_fail::RapidFail;
use super::recycling::{RecycleStep, Slot};
use super::supervised_worker::{SupervisedWorker, WorkerState};
use super::{ClientId, Output, PoolId, Spawn, SpawnError, SpawnId, Timer, WorkerArguments};
use crate::config;
use crate::control::{Answer, ObjectState, Refusal};
use crate::event_log::{Event, Fact, WorkerFailure};

mod failures;
mod invariants;
mod reconfigure;
mod rotation;

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
    /// It is not in the configuration any more.
    leaving: bool,
    /// A place may hold more processes than its new settings allow, until some have gone.
    settling: bool,
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
            leaving: false,
            settling: false,
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
        if mutated(Mutant::IisresetLeavesWorker)
            && let Some((id, worker)) = self.workers.pop_last()
        {
            self.slots[worker.slot].remove(id);
        }
        self.stop_workers(ShutdownReason::ServiceStop, fx, now);
    }

    /// W3SVC stops as in IIS 6: the queue refuses, workers end when they have finished.
    pub(super) fn service_drain(&mut self, fx: &mut Effects, now: Instant) {
        let limit = self.settings.process_model.shutdown_time_limit;
        for worker in self.workers.values_mut() {
            self.slots[worker.slot].retire(worker.spawn());
            worker.stop_draining(ShutdownReason::ServiceStop, limit, fx, now);
        }
        for slot in &mut self.slots {
            slot.again = false;
        }
    }

    /// The service's time is over, and these hold on to their requests.
    pub(super) fn log_channels_not_stopped(&self, fx: &mut Effects) {
        for pid in self.workers.values().filter_map(|worker| worker.pid) {
            fx.event(Event::listener_channel_not_stopped(
                &self.settings.name,
                pid,
            ));
        }
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
                if !mutated(Mutant::RapidFailSurvivesStart) {
                    self.rapid_fail.clear();
                }
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
            AppPoolState::Stopped(DisabledReason::AppOffline)
                if self.serving && mutated(Mutant::StartWhileDisabled) =>
            {
                self.start_what_is_wanted(fx, now);
            }
            AppPoolState::Stopped(DisabledReason::AppOffline)
                if mutated(Mutant::WorkersSurviveDisable) => {}
            AppPoolState::Stopping | AppPoolState::Stopped(_) => {
                self.stop_workers(ShutdownReason::PoolStop, fx, now);
            }
        }
        let is_empty = self.workers.is_empty() || mutated(Mutant::PoolStoppedEarly);
        if self.state == AppPoolState::Stopping && is_empty {
            self.set_state(AppPoolState::Stopped(DisabledReason::Disabled), fx);
            if let Some(client) = self.stop_client.take() {
                fx.answer(client, Answer::Done);
            }
        }
        self.shed_slots();
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
            FromWorker::Suspended
            | FromWorker::Resumed
            | FromWorker::ScheduleRan { .. }
            | FromWorker::StartFailed { .. }
            | FromWorker::Draining
            | FromWorker::Requests { .. }
            | FromWorker::Counters { .. } => {}
        }
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
            AppPoolState::Stopped(DisabledReason::AppOffline)
                if mutated(Mutant::QueueStaysOnAtDisable) =>
            {
                QueueState::Active
            }
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

    /// Failures inside the interval of rapid-fail protection at `now`.
    pub(super) fn failures_within(&self, now: Instant) -> usize {
        let interval = self.settings.failure.rapid_fail_protection_interval;
        self.rapid_fail.within(interval, now)
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
        let mut slots = self.slots.iter().take(self.slots_wanted());
        slots.position(|slot| slot.may_start(overlap))
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
            let step = self.step(slot);
            if step != RecycleStep::Coalesced && self.slots[slot].take_again() {
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

    fn stop_one(&mut self, id: SpawnId, reason: ShutdownReason, fx: &mut Effects, now: Instant) {
        let limit = self.settings.process_model.shutdown_time_limit;
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.stop(reason, limit, fx, now);
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
}
