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

use std::collections::{BTreeMap, BTreeSet};

use sim_httpsys::api::{
    CallId, ControlCall, DisabledReason, ProcessId, QueueState, RequestQueueName,
};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};
use sim_worker::configuration::{Application, WorkerConfiguration};
use sim_worker::ipm::{FromWorker, ShutdownReason};
use sim_worker::local_time::LocalTime;

use super::effects::Effects;
use super::idle;
use super::job_object::JobObject;
use super::ping::Reply;
use super::rapid_fail::RapidFail;
use super::recycling::Slot;
use super::supervised_worker::SupervisedWorker;
use super::{
    ClientId, Output, Parameters, PoolId, Spawn, SpawnError, SpawnId, Timer, WorkerArguments,
};
use crate::config;
use crate::control::{Answer, ObjectState, Refusal};
use crate::event_log::{Event, Fact, WorkerFailure};

mod failures;
mod invariants;
mod job;
mod reconfigure;
mod rotation;
mod suspension;

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
    /// It was logged that there are as many workers as there may be, and it cannot start one.
    told_of_limit: Option<u32>,
    slots: Vec<Slot>,
    workers: BTreeMap<SpawnId, SupervisedWorker>,
    rapid_fail: RapidFail,
    job: JobObject,
    numa_nodes: u32,
    /// What dynamic idle divides the idle timeout by.
    idle_divisor: u32,
    /// The last time of the schedule that its workers were recycled at.
    schedule_ran: Option<LocalTime>,
    stop_client: Option<ClientId>,
    /// Applications that have left it while it had no worker that knew them: requests for them may wait in its
    /// queue, and are for its next worker.
    departed: Vec<Application>,
    /// It is not in the configuration any more.
    leaving: bool,
    /// A place may hold more processes than its new settings allow, until some have gone.
    settling: bool,
    /// Why its configuration could not be written when its last worker was to start.
    unwritten: Option<String>,
    /// The replacements of the last recycle of all workers, until one of them could not be created.
    recycled_together: BTreeSet<SpawnId>,
}

/// Whether the driver was asked for a demand start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DemandStart {
    Unarmed,
    Armed(CallId),
    /// The driver refused; not asked again until W3SVC or the pool is started.
    Refused,
    /// Work waits, but there are as many workers on the server as there may be.
    Held,
}

impl AppPool {
    /// A pool as WAS starts.
    ///
    pub(super) fn new(
        id: PoolId,
        settings: config::ApplicationPool,
        configuration: WorkerConfiguration,
        parameters: &Parameters,
    ) -> Self {
        let state = if settings.fault.is_some() {
            AppPoolState::Stopped(DisabledReason::AppOffline)
        } else if settings.auto_start {
            AppPoolState::Started
        } else {
            AppPoolState::Stopped(DisabledReason::Disabled)
        };
        let mut pool = Self {
            id,
            job: JobObject::new(settings.cpu.clone(), parameters.processors),
            numa_nodes: parameters.numa_nodes,
            idle_divisor: 1,
            schedule_ran: None,
            settings,
            configuration,
            state,
            serving: false,
            demand: DemandStart::Unarmed,
            told_of_limit: None,
            slots: Vec::new(),
            workers: BTreeMap::new(),
            rapid_fail: RapidFail::default(),
            stop_client: None,
            departed: Vec::new(),
            leaving: false,
            settling: false,
            unwritten: None,
            recycled_together: BTreeSet::new(),
        };
        pool.slots.resize_with(pool.slots_wanted(), Slot::default);
        pool
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
        for worker in self.workers.values_mut() {
            self.slots[worker.slot].retire(worker.spawn());
            worker.stop_draining(ShutdownReason::ServiceStop, fx, now);
        }
        for slot in &mut self.slots {
            slot.again = None;
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

    /// Whether a process of it lives.
    pub(super) fn has_workers(&self) -> bool {
        !self.workers.is_empty()
    }

    /// Kills every worker.
    pub(super) fn kill_all(&mut self, fx: &mut Effects) {
        for worker in self.workers.values_mut() {
            self.slots[worker.slot].retire(worker.spawn());
            worker.kill(fx);
        }
        for slot in &mut self.slots {
            slot.again = None;
        }
    }

    /// An administrator starts the pool. Source: cc787273: starting a pool resets its failures.
    pub(super) fn start(&mut self, fx: &mut Effects) -> Result<(), Refusal> {
        if let Some(fault) = &self.settings.fault {
            return Err(Refusal::invalid_data(fault));
        }
        match self.state {
            AppPoolState::Started => Err(Refusal::already_running()),
            AppPoolState::Stopping => Err(Refusal::cannot_accept_control()),
            AppPoolState::Stopped(_) => {
                if !mutated(Mutant::RapidFailSurvivesStart) {
                    self.rapid_fail.clear();
                }
                self.job.clear();
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

    /// A request has come that a new worker could serve.
    pub(super) fn demand_start(&mut self, fx: &mut Effects, now: Instant) {
        self.demand = DemandStart::Unarmed;
        if !self.may_run() || self.is_starting() {
            return;
        }
        if let Some(id) = self.suspended_worker() {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.resume(fx, now);
            }
        } else if let Some(slot) = self.free_slot() {
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
            AppPoolState::Started if self.may_run() => self.start_what_is_wanted(fx, now),
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
        self.watch_cpu(fx, now);
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
                self.unwritten = None;
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.created(pid, &self.settings.name, fx);
                    self.departed.clear();
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
            FromWorker::Suspended { wake_in } => self.suspended(id, wake_in, fx, now),
            FromWorker::Resumed => self.resumed(id),
            FromWorker::ScheduleRan { local } => {
                self.schedule_ran = self.schedule_ran.max(Some(local));
            }
            FromWorker::StartFailed { failure, .. } if worker.is_starting() => {
                worker.leaving(fx, now);
                let slot = worker.slot;
                self.slots[slot].retire(id);
                self.start_failed(id, failure, fx, now);
            }
            FromWorker::StartFailed { .. }
            | FromWorker::Draining
            | FromWorker::Requests { .. }
            | FromWorker::Counters { .. }
            | FromWorker::Exiting { .. } => {}
        }
    }

    /// A timer of a worker.
    pub(super) fn timer(&mut self, timer: Timer, fx: &mut Effects, now: Instant) {
        match timer {
            Timer::Startup(id) => self.kill(id, WorkerFailure::StartupTime, fx, now),
            Timer::Shutdown(id) => self.kill(id, WorkerFailure::ShutdownTime, fx, now),
            Timer::PingDue(id) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.ping(fx, now);
                }
            }
            Timer::Wake(id) => self.wake(id, fx, now),
            Timer::PingReply(id) => {
                if let Some(worker) = self.workers.get_mut(&id)
                    && worker.ping_overdue(fx, now)
                {
                    self.kill(id, WorkerFailure::Ping, fx, now);
                }
            }
            Timer::ServiceStop
            | Timer::Query(_)
            | Timer::Cpu(_)
            | Timer::Machine
            | Timer::Retry(_) => {}
        }
    }

    // ---- questions ------------------------------------------------------------------------------

    pub(super) fn settings(&self) -> &config::ApplicationPool {
        &self.settings
    }

    /// What its queue is to be.
    pub(super) fn queue_state(&self) -> QueueState {
        match self.state {
            AppPoolState::Started if self.job.is_held() => {
                QueueState::Inactive(DisabledReason::AppShutdown)
            }
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
        self.state == AppPoolState::Started && self.serving && !self.job.is_held()
    }

    fn is_starting(&self) -> bool {
        self.slots
            .iter()
            .filter_map(|slot| slot.current)
            .any(|id| self.workers[&id].is_coming())
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
            let running = self.is_running(slot);
            if self.slots[slot].take_again(running) {
                let step = self.step(slot, false);
                self.carry_out(slot, step, fx, now);
            }
        }
        if self.settings.always_running {
            while let Some(slot) = self.free_slot() {
                if !self.start_worker(slot, fx, now) {
                    return;
                }
            }
        }
        if self.demand == DemandStart::Held && fx.census.has_room() {
            self.demand = DemandStart::Unarmed;
        }
        let unarmed = self.demand == DemandStart::Unarmed;
        let wanted = self.free_slot().is_some() || self.suspended_worker().is_some();
        if unarmed && !self.is_starting() && wanted {
            let queue = RequestQueueName(self.settings.name.clone());
            self.demand = DemandStart::Armed(fx.call(ControlCall::WaitForDemandStart { queue }));
        }
    }

    /// Starts a worker in a free place, if there may be one; true if it did.
    ///
    /// Source: events 5196 and 5057: beyond `demandStartThreshold` no worker is started; with an identity
    /// that cannot be logged on the pool is disabled at the first start. Assumed: so is one whose part of
    /// the configuration cannot be read and never could.
    fn start_worker(&mut self, slot: usize, fx: &mut Effects, now: Instant) -> bool {
        if let Some(fault) = &self.settings.fault {
            fx.event(Event::configuration_unreadable(fault));
            self.set_state(AppPoolState::Stopped(DisabledReason::AppOffline), fx);
            return false;
        }
        if !self.settings.process_model.identity.is_valid() {
            fx.event(Event::identity_disables(&self.settings.name));
            self.set_state(AppPoolState::Stopped(DisabledReason::AppOffline), fx);
            return false;
        }
        if !fx.census.has_room() {
            // Whenever another worker ends, the pools that wait try again; only the first time is worth an event.
            let processes_max = fx.census.processes_max();
            if self.told_of_limit.replace(processes_max) != Some(processes_max) {
                fx.event(Event::too_many_workers(&self.settings.name, processes_max));
            }
            self.demand = DemandStart::Held;
            return false;
        }
        self.told_of_limit = None;
        let id = self.order_process(slot, fx, now);
        self.slots[slot].current = Some(id);
        true
    }

    fn order_process(&mut self, slot: usize, fx: &mut Effects, now: Instant) -> SpawnId {
        if *self.job.settings() != self.settings.cpu {
            self.set_cpu_limit(self.settings.cpu.clone(), fx);
        }
        let configuration = self.configuration_of_place(slot);
        let settings = &self.settings;
        let worker = SupervisedWorker::order(slot, &settings.process_model, fx, now);
        let id = worker.spawn();
        self.workers.insert(id, worker);
        self.slots[slot].used = true;
        fx.census.born();
        fx.spawned_by(id, self.id);
        fx.push(Output::Spawn(Box::new(Spawn {
            spawn: id,
            configuration,
            arguments: WorkerArguments {
                pool: settings.name.clone(),
                runtime_version: settings.managed_runtime_version.clone(),
                runtime_loader: settings.managed_runtime_loader.clone(),
                classic: settings.classic,
                idle_minutes: idle::minutes(&settings.process_model),
                idle_suspend: settings.process_model.idle_suspend,
            },
            environment: settings.environment.clone().into_iter().collect(),
            place: slot,
            affinity: settings.cpu.affinity,
        })));
        id
    }

    /// What a worker of this place is to know.
    ///
    /// Source: `TechNet` cc787620: in a web garden recycles by time and by requests are staggered.
    /// Assumed: how. The first worker of the kth of n places lives for k/n of the time (and of the
    /// requests), its successors for all of it.
    fn configuration_of_place(&self, slot: usize) -> WorkerConfiguration {
        let mut configuration = self.configuration.clone();
        if !self.slots[slot].used {
            let restart = &mut configuration.periodic_restart;
            *restart = restart.share(slot + 1, self.slots.len());
        }
        let idle_timeout = self.settings.process_model.idle_timeout;
        configuration.idle_timeout = self.divided(idle_timeout);
        configuration.schedule_ran = self.schedule_ran;
        configuration.departed.clone_from(&self.departed);
        configuration
    }

    fn stop_workers(&mut self, reason: ShutdownReason, fx: &mut Effects, now: Instant) {
        for worker in self.workers.values_mut() {
            // Its slot's replacement, if any, is told to stop in the same pass.
            self.slots[worker.slot].retire(worker.spawn());
            worker.stop(reason, fx, now);
        }
        for slot in &mut self.slots {
            slot.again = None;
        }
    }

    fn stop_one(&mut self, id: SpawnId, reason: ShutdownReason, fx: &mut Effects, now: Instant) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.stop(reason, fx, now);
        }
    }
}
