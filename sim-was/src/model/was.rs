//! `Was`: the state machine. This file only routes; the nouns do the work.

use std::collections::{BTreeMap, BTreeSet};

use sim_httpsys::api::{CallId, Completion, ProcessId, SiteId, Win32Error};
use sim_httpsys::clockwork::{Deadline, Instant, StateMachine};
use sim_worker::ipm::FromWorker;

use super::app_pool::AppPool;
use super::dynamic_idle::{self, DynamicIdle, MachineMemory};
use super::effects::Effects;
use super::listener_adapter::{DriverState, ListenerAdapter, Subject};
use super::lists::Query;
use super::services::{Phase, Services};
use super::{ClientId, Input, Output, Parameters, PoolId, Purpose, SpawnError, SpawnId, Timer};
use crate::config::Configuration;
use crate::control::{Answer, Refusal};
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
    pub(super) queries_asked: u64,
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
            queries_asked: 0,
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

    fn completed(&mut self, completion: Completion, now: Instant) {
        match completion {
            Completion::Called { id, result } => {
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
            Some(Subject::Queue(queue)) => self.fx.event(Event::queue_not_configured(&queue.0)),
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
        let Some(configuration) = &self.configuration else {
            return;
        };
        let (pools, sites) = (&self.pools, &self.sites);
        let next = DriverState::of(
            configuration,
            &self.parameters.root,
            |pool| {
                pools
                    .iter()
                    .find(|p| p.settings().name == pool.name)
                    .expect("a pool for each pool of the configuration")
                    .queue_state()
            },
            |site| sites.get(&SiteId(site.id)) == Some(&SiteState::Started),
        );
        self.apply(next, then, now);
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
            && let Some(pool) = self.pool_of.get(&spawn)
        {
            act(&mut self.pools[pool.0], spawn, &mut self.fx);
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
                self.pools[pool.0].spawned(spawn, result, &mut self.fx, now);
            }
            (None, &Ok(pid)) => self.fx.push(Output::Terminate { pid }),
            (None, Err(_)) => {}
        }
    }

    fn exited(&mut self, pid: ProcessId) {
        if let Some(spawn) = self.spawn_of.remove(&pid) {
            self.pool_of.remove(&spawn);
        }
        self.worker_gone(pid);
    }

    fn timer(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::ServiceStop => self.stop_overdue(now),
            Timer::Query(token) => self.query_overdue(token),
            Timer::Cpu(pool) => {
                if let Some(pool) = self.pools.get_mut(pool.0) {
                    pool.cpu_due(&mut self.fx, now);
                }
            }
            Timer::Machine => {
                self.fx.push(Output::MeasureMachine);
                let next = now + dynamic_idle::CHECK;
                self.fx.timers.set(Timer::Machine, next);
            }
            Timer::Startup(id)
            | Timer::Shutdown(id)
            | Timer::PingDue(id)
            | Timer::PingReply(id) => {
                if let Some(pool) = self.pool_of.get(&id) {
                    self.pools[pool.0].timer(timer, &mut self.fx, now);
                }
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

    /// What follows from whatever has happened: the driver is told, pools start and stop what they
    /// want, services go on.
    fn settle(&mut self, now: Instant) {
        let w3svc_works = matches!(self.services.phase, Phase::StartingW3svc | Phase::Running);
        if self.fx.driver_changed && w3svc_works {
            self.configure_driver(Then::Nothing, now);
        }
        for pool in &mut self.pools {
            pool.keep_up(&mut self.fx, now);
        }
        let ordered = std::mem::take(&mut self.fx.ordered);
        self.pool_of.extend(ordered);
        for pid in std::mem::take(&mut self.fx.orphaned) {
            self.exited(pid);
        }
        self.advance_stop();
        self.state_services();
    }

    /// Says what has changed about the services.
    pub(super) fn state_services(&mut self) {
        for (service, status) in self.services.changes() {
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
        match input {
            Input::Completed(completion) => self.completed(completion, now),
            Input::Told { pid, message } => self.told(pid, message, now),
            Input::Garbled { pid } => {
                self.with_worker(pid, |pool, id, fx| pool.garbled(id, fx, now));
            }
            Input::Spawned { spawn, result } => self.spawned(spawn, result, now),
            Input::Exited { pid, exit } => {
                self.with_worker(pid, |pool, id, fx| pool.exited(id, exit, fx, now));
                self.exited(pid);
            }
            Input::PipeClosed { pid } => {
                self.with_worker(pid, |pool, id, fx| pool.pipe_closed(id, fx, now));
            }
            Input::Commanded { client, command } => self.command(client, command, now),
            Input::ConfigRead(result) => self.config_read(result, now),
            Input::RunFailed(program) => self.fx.event(match program.purpose {
                Purpose::AutoShutdown => Event::auto_shutdown_not_run(&program.pool),
                Purpose::OrphanAction(pid) => {
                    Event::orphan_action_not_run(&program.pool, pid, &program.executable)
                }
            }),
            Input::CpuMeasured { pool, cpu } => {
                if let Some(pool) = self.pools.get_mut(pool.0) {
                    pool.cpu_measured(&cpu, &mut self.fx, now);
                }
            }
            Input::MachineMeasured(memory) => self.machine_measured(memory),
            Input::AffinityRefused { pool } => self.fx.event(Event::affinity_not_set(&pool)),
            Input::DeviceLost => self.device_lost(now),
        }
        self.settle(now);
    }

    fn handle_deadline(&mut self, now: Instant) {
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
