//! `Was`: the state machine. This file only routes; the nouns do the work.

use std::collections::{BTreeMap, BTreeSet};

use sim_httpsys::api::{CallId, Completion, ProcessId, QueueState, SiteId, Win32Error};
use sim_httpsys::clockwork::mutants::{Mutant, mutated};
use sim_httpsys::clockwork::{Deadline, Instant, StateMachine};
use sim_worker::configuration::Application;
use sim_worker::ipm::FromWorker;

use super::app_pool::AppPool;
use super::counter_query::CounterQuery;
use super::dynamic_idle::{self, DynamicIdle, MachineMemory};
use super::effects::Effects;
use super::listener_adapter::{DriverState, ListenerAdapter, Subject};
use super::lists::Query;
use super::services::{Phase, Services};
use super::site_log::log_settings;
use super::worker_configuration::same_name;
use super::worker_totals::WorkerTotals;
use super::{ClientId, Input, Output, Parameters, PoolId, Purpose, SpawnError, SpawnId, Timer};
use crate::config::{self, Configuration, WebLimits};
use crate::control::{Answer, Refusal, Service, ServiceStatus};
use crate::event_log::{Event, Fact};

/// WAS and W3SVC. Begins stopped: the first command is
/// [`StartServices`](crate::control::Command::StartServices).
#[derive(Debug)]
pub struct Was {
    pub(super) parameters: Parameters,
    pub(super) configuration: Option<Configuration>,
    pub(super) services: Services,
    pub(super) pools: Vec<AppPool>,
    pub(super) sites: BTreeMap<SiteId, SiteState>,
    pub(super) listener: ListenerAdapter,
    pub(super) batches: Vec<Batch>,
    pub(super) queries: BTreeMap<u64, Query>,
    pub(super) counter_queries: BTreeMap<u64, CounterQuery>,
    pub(super) queries_asked: u64,
    /// Workers that did not answer a question in time, and have not since.
    pub(super) silent: BTreeSet<ProcessId>,
    pub(super) counted: WorkerTotals,
    pub(super) pools_made: usize,
    /// The log of all sites, as it was when W3SVC was started.
    /// Assumed: only then it is opened, as explain-change says; no document does.
    pub(super) central_log: Option<config::SiteLog>,
    /// The limits of the whole server that hold.
    pub(super) web_limits: WebLimits,
    /// What was wrong with the configuration when it was read last, if something was.
    pub(super) unreadable: Option<String>,
    pub(super) fx: Effects,
    pub(super) dynamic_idle: DynamicIdle,
    pool_of: BTreeMap<SpawnId, PoolId>,
    spawn_of: BTreeMap<ProcessId, SpawnId>,
}

/// Whether a site listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SiteState {
    /// It does.
    Started,
    /// It does not.
    Stopped,
    /// It does not, because one of its URLs could not be registered.
    Failed(Win32Error),
}

/// Calls whose answers are awaited, and what follows then.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) calls: BTreeSet<CallId>,
    pub(super) then: Then,
}

/// What follows when the driver has answered a batch of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing.
    Nothing,
    /// W3SVC runs.
    W3svcStarted,
    /// IIS 6: workers are told to finish.
    RoutingStopped,
    /// Workers are told to stop.
    UrlsClosed,
    /// A tool is told how starting a site went.
    SiteStarted { client: ClientId, site: SiteId },
    /// A tool is told that it is done.
    Done(ClientId),
}

impl Was {
    /// A server on which neither service runs.
    pub fn new(parameters: Parameters) -> Self {
        Self {
            parameters,
            configuration: None,
            services: Services::default(),
            pools: Vec::new(),
            sites: BTreeMap::new(),
            listener: ListenerAdapter::default(),
            batches: Vec::new(),
            queries: BTreeMap::new(),
            counter_queries: BTreeMap::new(),
            queries_asked: 0,
            silent: BTreeSet::new(),
            counted: WorkerTotals::default(),
            pools_made: 0,
            central_log: None,
            web_limits: WebLimits::default(),
            unreadable: None,
            fx: Effects::default(),
            dynamic_idle: DynamicIdle::default(),
            pool_of: BTreeMap::new(),
            spawn_of: BTreeMap::new(),
        }
    }

    /// The configuration that WAS runs with, or ran with last.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }

    /// The applications of a pool, as a worker that is started now is to know them.
    pub fn applications_of(&self, pool: &str) -> Option<&[Application]> {
        let mut pools = self.pools.iter().filter(|pool| !pool.is_leaving());
        let pool = pools.find(|known| same_name(&known.settings().name, pool))?;
        Some(pool.applications())
    }

    fn completed(&mut self, completion: Completion, now: Instant) {
        match completion {
            Completion::Called { id, result } => {
                if self.driver_counters(id, result.as_ref().ok(), now) {
                    return;
                }
                let subject = self.listener.answered(id);
                if let Err(error) = result {
                    self.call_failed(id, subject, error, now);
                }
                self.batch_answered(id, now);
            }
            Completion::DemandStart { queue } => {
                if let Some(pool) = self.pools.iter_mut().find(|p| p.settings().name == queue.0) {
                    pool.demand_start(&mut self.fx, now);
                }
            }
            Completion::Untrusted { process } => {
                self.with_worker(process, |pool, id, fx| pool.garbled(id, fx, now));
            }
            // A controller posts no receives: there is no request that could be meant.
            Completion::Request(_)
            | Completion::EntityBody { .. }
            | Completion::Disconnected { .. } => {}
        }
    }

    fn call_failed(
        &mut self,
        id: CallId,
        subject: Option<Subject>,
        error: Win32Error,
        now: Instant,
    ) {
        match subject {
            Some(Subject::Url { site, url }) => self.url_refused(site, &url, error),
            Some(Subject::Queue(queue, changes)) => {
                for change in changes {
                    let event = Event::queue_not_changed(&queue.0, change);
                    self.fx.event(event);
                }
            }
            Some(Subject::NewQueue(queue)) => {
                self.fx.event(Event::queue_not_created(&queue.0));
                self.set_up_refused(error, now);
            }
            Some(Subject::SetUp) => self.set_up_refused(error, now),
            Some(Subject::Closing) => {}
            None => {
                let still_armed = error == Win32Error::AlreadyExists;
                let pool = self
                    .pools
                    .iter_mut()
                    .find_map(|pool| pool.demand_refused(id, still_armed).then_some(pool));
                if let Some(pool) = pool.filter(|_| !still_armed) {
                    let event = Event::demand_start_not_issued(&pool.settings().name);
                    self.fx.event(event);
                }
            }
        }
    }

    /// A URL could not be registered: its site is off, the others are not touched.
    /// Source: W3SVC events 1003, 1004, 1007: "The site has been deactivated."
    fn url_refused(&mut self, site: SiteId, url: &str, error: Win32Error) {
        if self.sites.get(&site) == Some(&SiteState::Started) {
            self.fx.event(Event::url_not_registered(error, url, site));
            self.sites.insert(site, SiteState::Failed(error));
            self.fx.driver_changed = true;
        }
    }

    fn batch_answered(&mut self, id: CallId, now: Instant) {
        for batch in &mut self.batches {
            batch.calls.remove(&id);
        }
        self.finish_batches(now);
    }

    fn finish_batches(&mut self, now: Instant) {
        while let Some(index) = self.batches.iter().position(|batch| batch.calls.is_empty()) {
            match self.batches.remove(index).then {
                Then::Nothing => {}
                Then::W3svcStarted => self.w3svc_started(),
                Then::RoutingStopped => self.routing_stopped(now),
                Then::UrlsClosed => self.urls_closed(now),
                Then::SiteStarted { client, site } => {
                    let answer = match self.sites.get(&site) {
                        Some(SiteState::Failed(error)) => {
                            Answer::Refused(Refusal::failed(hresult(*error), &error.to_string()))
                        }
                        Some(SiteState::Started | SiteState::Stopped) | None => Answer::Done,
                    };
                    self.fx.answer(client, answer);
                }
                Then::Done(client) => self.fx.answer(client, Answer::Done),
            }
        }
    }

    /// Makes the driver what pools and sites ask for; `then` follows when it has answered.
    pub(super) fn configure_driver(&mut self, then: Then, now: Instant) {
        self.fx.driver_changed = false;
        if let Some(next) = self.driver_state(AppPool::queue_state) {
            self.apply(next, then, now);
        }
    }

    /// What pools and sites ask of the driver, when each pool's queue is in this state.
    pub(super) fn driver_state(
        &self,
        queue_state: impl Fn(&AppPool) -> QueueState,
    ) -> Option<DriverState> {
        let (pools, sites) = (&self.pools, &self.sites);
        let pool_state = |pool: &config::ApplicationPool| {
            let pool = pools.iter().find(|p| p.settings().name == pool.name);
            queue_state(pool.expect("a pool for each pool of the configuration"))
        };
        let mut state = DriverState::of(
            self.configuration.as_ref()?,
            &self.web_limits,
            |site| log_settings(site, self.central_log.as_ref(), &self.parameters.root),
            pool_state,
            |site| sites.get(&SiteId(site.id)) == Some(&SiteState::Started),
        );
        // What the workers of a pool that has left still hold is answered through its queue.
        for pool in pools.iter().filter(|pool| pool.is_leaving()) {
            state.add_queue(pool.settings(), queue_state(pool));
        }
        Some(state)
    }

    /// Makes the driver `next`; `then` follows when it has answered.
    pub(super) fn apply(&mut self, next: DriverState, then: Then, now: Instant) {
        let calls = self
            .listener
            .apply(next, &mut self.fx)
            .into_iter()
            .collect();
        self.batches.push(Batch { calls, then });
        self.finish_batches(now);
    }

    fn told(&mut self, pid: ProcessId, message: FromWorker, now: Instant) {
        if let FromWorker::Requests { token, requests } = message {
            self.requests_listed(pid, token, requests);
        } else if let FromWorker::Counters { token, counters } = message {
            self.worker_counters(pid, token, *counters, now);
        } else if let FromWorker::Exiting { counters } = message {
            self.worker_counted(pid, *counters);
        } else {
            self.with_worker(pid, |pool, id, fx| pool.told(id, &message, fx, now));
        }
    }

    /// Does something with the pool and the worker that a pid stands for; late news of a process
    /// that has exited is dropped here.
    fn with_worker(
        &mut self,
        pid: ProcessId,
        act: impl FnOnce(&mut AppPool, SpawnId, &mut Effects),
    ) {
        if let Some(&spawn) = self.spawn_of.get(&pid)
            && let Some(&pool) = self.pool_of.get(&spawn)
        {
            self.in_pool(pool, |pool, fx| act(pool, spawn, fx));
        }
    }

    /// Does something with a pool.
    fn in_pool(&mut self, id: PoolId, act: impl FnOnce(&mut AppPool, &mut Effects)) {
        if let Ok(index) = self.pools.binary_search_by_key(&id, AppPool::id) {
            act(&mut self.pools[index], &mut self.fx);
        }
    }

    fn spawned(&mut self, spawn: SpawnId, result: Result<ProcessId, SpawnError>, now: Instant) {
        match (self.pool_of.get(&spawn), &result) {
            (Some(&pool), _) => {
                match result {
                    Ok(pid) => {
                        self.spawn_of.insert(pid, spawn);
                    }
                    Err(_) => {
                        self.pool_of.remove(&spawn);
                    }
                }
                self.in_pool(pool, |pool, fx| pool.spawned(spawn, result, fx, now));
            }
            (None, &Ok(pid)) => self.fx.push(Output::Terminate { pid }),
            (None, Err(_)) => {}
        }
    }

    fn exited(&mut self, pid: ProcessId, now: Instant) {
        if let Some(spawn) = self.spawn_of.remove(&pid) {
            self.pool_of.remove(&spawn);
        }
        self.worker_gone(pid);
        self.worker_counts_no_more(pid, now);
    }

    fn timer(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::ServiceStop => self.stop_overdue(now),
            Timer::Query(token) => {
                self.query_overdue(token);
                self.counter_query_overdue(token, now);
            }
            Timer::Cpu(pool) => self.in_pool(pool, |pool, fx| pool.cpu_due(fx, now)),
            Timer::Retry(pool) => self.in_pool(pool, AppPool::retry),
            Timer::Machine => {
                self.fx.push(Output::MeasureMachine);
                let next = now + dynamic_idle::CHECK;
                self.fx.timers.set(Timer::Machine, next);
            }
            Timer::Startup(id)
            | Timer::Shutdown(id)
            | Timer::PingDue(id)
            | Timer::PingReply(id)
            | Timer::Wake(id) => {
                if let Some(&pool) = self.pool_of.get(&id) {
                    self.in_pool(pool, |pool, fx| pool.timer(timer, fx, now));
                }
            }
        }
    }

    /// Goes by the limits of the whole server from now on.
    pub(super) fn take_limits(&mut self, limits: &WebLimits, now: Instant) {
        self.web_limits = limits.clone();
        self.fx.census.limit(limits.demand_start_threshold);
        let before = std::mem::replace(
            &mut self.dynamic_idle,
            DynamicIdle::new(limits.dynamic_idle_threshold),
        );
        if self.dynamic_idle.is_active() {
            self.fx.timers.set(Timer::Machine, now);
        } else {
            self.fx.timers.clear(Timer::Machine);
        }
        if before.divisor() != self.dynamic_idle.divisor() {
            for pool in &mut self.pools {
                pool.set_idle_divisor(self.dynamic_idle.divisor(), &mut self.fx);
            }
        }
    }

    fn machine_measured(&mut self, memory: MachineMemory) {
        let processes = self.fx.census.processes();
        let (changed, event) = self.dynamic_idle.measured(memory, processes);
        if let Some(event) = event {
            self.fx.event(event);
        }
        if changed {
            for pool in &mut self.pools {
                pool.set_idle_divisor(self.dynamic_idle.divisor(), &mut self.fx);
            }
        }
    }

    /// Whether the driver is told what changes.
    pub(super) fn w3svc_works(&self) -> bool {
        matches!(self.services.phase, Phase::StartingW3svc | Phase::Running)
    }

    /// What follows from whatever has happened: the driver is told, pools start and stop what they
    /// want, services go on.
    fn settle(&mut self, now: Instant) {
        if self.fx.driver_changed && self.w3svc_works() {
            self.configure_driver(Then::Nothing, now);
        }
        for pool in &mut self.pools {
            pool.keep_up(&mut self.fx, now);
        }
        self.forget_pools_that_left(now);
        let ordered = std::mem::take(&mut self.fx.ordered);
        self.pool_of.extend(ordered);
        for pid in std::mem::take(&mut self.fx.orphaned) {
            self.exited(pid, now);
        }
        self.advance_stop(now);
        self.state_services();
    }

    /// Says what has changed about the services.
    pub(super) fn state_services(&mut self) {
        for (service, status) in self.services.changes() {
            if (service, status) == (Service::W3svc, ServiceStatus::StartPending) {
                self.counted = WorkerTotals::default();
            }
            self.fx.fact(Fact::ServiceState { service, status });
            if let Some(event) = Event::service_state(service, status) {
                self.fx.event(event);
            }
        }
    }
}

/// `HRESULT_FROM_WIN32`.
fn hresult(error: Win32Error) -> u32 {
    0x8007_0000 | error as u32
}

impl StateMachine for Was {
    type Input<'a> = Input;
    type Output = Output;
    type Timer = Timer;

    fn handle_input(&mut self, input: Input, now: Instant) {
        self.fx.now = now;
        match input {
            Input::Completed(completion) => self.completed(completion, now),
            Input::Told { pid, message } => self.told(pid, message, now),
            Input::Garbled { pid } => {
                self.with_worker(pid, |pool, id, fx| pool.garbled(id, fx, now));
            }
            Input::Spawned { spawn, result } => self.spawned(spawn, result, now),
            Input::Exited { .. } if mutated(Mutant::NeverReap) => {}
            Input::Exited { pid, exit } => {
                self.with_worker(pid, |pool, id, fx| pool.exited(id, exit, fx, now));
                self.exited(pid, now);
            }
            Input::PipeClosed { pid } => {
                self.with_worker(pid, |pool, id, fx| pool.pipe_closed(id, fx, now));
            }
            Input::Commanded { client, command } => self.command(client, command, now),
            Input::ConfigRead(result) => self.config_read(result, now),
            Input::ConfigChanged(result) => self.config_changed(result, now),
            Input::ConfigNotWatched => self.fx.event(Event::changes_not_notified()),
            Input::ConfigEdited { client, result } => self.config_edited(client, result, now),
            Input::RunFailed(program) => self.fx.event(match program.purpose {
                Purpose::AutoShutdown => Event::auto_shutdown_not_run(&program.pool),
                Purpose::OrphanAction(pid) => {
                    Event::orphan_action_not_run(&program.pool, pid, &program.executable)
                }
            }),
            Input::CpuMeasured { pool, cpu } => {
                self.in_pool(pool, |pool, fx| pool.cpu_measured(&cpu, fx, now));
            }
            Input::CpuUnknown { pool } => self.in_pool(pool, AppPool::cpu_unknown),
            Input::MachineMeasured(memory) => self.machine_measured(memory),
            Input::AffinityRefused { pool } => self.fx.event(Event::affinity_not_set(&pool)),
            Input::DeviceLost => self.device_lost(now),
        }
        self.settle(now);
    }

    fn handle_deadline(&mut self, now: Instant) {
        self.fx.now = now;
        while let Some(timer) = self.fx.timers.pop_due(now) {
            self.timer(timer, now);
            self.settle(now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.fx.pop()
    }

    fn next_deadline(&self) -> Option<Deadline<Timer>> {
        self.fx.timers.next()
    }
}
