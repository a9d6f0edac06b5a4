//! A worker process, pure: what it is told, what it does, what it states.
//!
//! ```text
//!   Opening ─► Initializing ─► Preloading ─► Running ─► Draining ─► Stopping ─► Exited
//!      └────────────┴──────────────┴────────────┼ told to stop at once ┘ (Application_End)
//!                          Suspending ◄─ idle ──┘
//!                              └─► Suspended (frozen) ─ demand ─► Running
//! ```
//!
//! This file holds the types and routes; `life.rs` is the life of the process, `pipeline.rs` and
//! `handler.rs` that of a request, `applications.rs` that of an application.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sim_httpsys::api::{
    Call, CallId, Completion, ControlCall, ProcessId, Request, RequestId, SharedRequest, UrlContext,
};
use sim_httpsys::clockwork::mutants::{Mutant, mutated};
use sim_httpsys::clockwork::{Deadline, Deadlines, Instant, StateMachine, UtcClock};
use sim_httpsys::id_slab::IdSlab;
use sim_httpsys::pieces::Pieces;

use crate::configuration::WorkerConfiguration;
use crate::counters::WorkerCounters;
use crate::facts::Fact;
use crate::ipm::{FromWorker, RecycleReason, StartFailure, ToWorker};
use crate::symptoms::Symptoms;

mod app_domain;
mod app_offline;
mod applications;
mod caches;
mod ending;
mod files;
mod handler;
mod health;
mod http_context;
mod initialization;
mod life;
mod modules;
mod pipeline;
mod request_body;
mod response_policy;
mod restart;
mod session_state;
mod thread_pool;
mod work;

use app_domain::AppDomain;
use caches::{ApplicationCaches, FileCache, OutputCache};
use health::Health;
use http_context::HttpContext;
use session_state::{SessionNumber, SessionState};
use thread_pool::ThreadPool;
pub use work::{Death, FileOutcome, FileSeen, FileStamp, Outcome, Work, WorkId};

/// What a worker is made with, for its recording.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MachineSetup {
    /// What WAS wrote down for its pool.
    pub configuration: WorkerConfiguration,
    /// Its pid.
    pub process: ProcessId,
    /// Its civil time.
    pub clock: UtcClock,
    /// When it began.
    pub begun: Instant,
}

/// What can happen to a worker.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug)]
pub enum Input {
    /// The driver says something.
    Completed(#[serde(with = "sim_httpsys::api::wire::completion_as_frame")] Completion),
    /// WAS says something.
    Told(ToWorker),
    /// Work is done.
    WorkDone {
        /// Which.
        work: WorkId,
        /// What came of it.
        outcome: Outcome,
    },
    /// The process's memory was measured: the answer to [`Output::MeasureMemory`].
    MemorySampled {
        /// Private bytes, KB.
        private_kb: u64,
        /// Virtual bytes, KB.
        virtual_kb: u64,
    },
    /// The machine's wall clock was set.
    ClockSet(UtcClock),
}

/// What a worker wants done, and what it states.
#[derive(Debug)]
pub enum Output {
    /// Ask the driver.
    Call(Call),
    /// Say something to WAS.
    Tell(FromWorker),
    /// Do work; answer with [`Input::WorkDone`].
    StartWork {
        /// Its number.
        work: WorkId,
        /// What to do.
        cost: Work,
    },
    /// Measure the process's memory; answer with [`Input::MemorySampled`].
    MeasureMemory,
    /// The process ends.
    Exit {
        /// With this code.
        code: i32,
    },
    /// This has happened.
    Fact(Fact),
}

/// Why a worker wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A request's wait is over, or it polls its session's lock.
    Request(RequestId),
    /// An application's start has waited.
    ApplicationStart(UrlContext),
    /// An application's stop has waited.
    ApplicationStop(UrlContext),
    /// A session times out.
    Session(u64),
    /// Is anything going on?
    IdleCheck,
    /// Does no request come any more for an application that is to leave?
    Leave(UrlContext),
    /// Recycling by age.
    Lifetime,
    /// Recycling by time of day.
    Schedule,
    /// Have files that the driver keeps been changed?
    FileWatch,
    /// The process has waited for what its start waits for.
    Initialize,
    /// How much memory is held?
    MemoryCheck,
}

/// Who gets the outcome of a piece of work.
#[derive(Debug)]
enum Doer {
    /// The start of the process.
    Initialize,
    Request(RequestId),
    ReadApplication(UrlContext),
    /// Its `simulation.toml` alone.
    ReadOfflineApplication(UrlContext),
    /// Waits for its `app_offline.htm`, or its code, to change.
    WatchOffline(UrlContext),
    StartApplication(UrlContext),
    StopApplication(UrlContext),
    Compile(UrlContext, usize),
    Watch((UrlContext, Box<str>)),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifecycle {
    Opening(CallId),
    /// It loads what it needs.
    Initializing,
    /// So many applications are being warmed.
    Preloading {
        left: usize,
    },
    Running,
    /// Its receives are being taken back, so that it can be frozen.
    Suspending(CallId),
    /// It takes nothing, and may be frozen.
    Suspended,
    /// It finishes what it has; `stopped` once the driver gives it nothing more.
    Draining {
        call: CallId,
        stopped: bool,
    },
    /// So many applications are being stopped.
    Stopping {
        left: usize,
    },
    Exited,
}

/// A worker process: w3wp.
#[derive(Debug)]
pub struct WorkerProcess {
    process: ProcessId,
    pool: String,
    receives: u32,
    clock: UtcClock,
    lifecycle: Lifecycle,
    outputs: VecDeque<Output>,
    deadlines: Deadlines<Timer>,
    domains: BTreeMap<UrlContext, AppDomain>,
    /// Domains that finish their requests and then end, under numbers of their own.
    unloading: BTreeSet<UrlContext>,
    /// How many domains were set apart so far.
    retired: u64,
    contexts: IdSlab<RequestId, Box<HttpContext>>,
    /// Requests that have ended, of which the memory is used again.
    #[expect(clippy::vec_box, reason = "boxes are lent, not their contents")]
    ended: Vec<Box<HttpContext>>,
    /// What they have in the place of a request, so that those can go.
    nobodys: SharedRequest,
    /// Memory for responses that are not kept.
    pieces: Pieces,
    /// Requests for applications that WAS has not told of yet.
    strangers: BTreeMap<UrlContext, Vec<RequestId>>,
    /// Applications that are to leave, and when the last request came for each.
    leaving: BTreeMap<UrlContext, Instant>,
    /// Requests that may go on, in order.
    runnable: VecDeque<RequestId>,
    in_flight: usize,
    /// Requests in flight by application.
    concurrent: BTreeMap<UrlContext, u32>,
    /// Requests that application initialization has made.
    initializations: u64,
    /// Receives that the driver has, and those that it is still to get.
    posted: u32,
    works: IdSlab<WorkId, Doer>,
    works_begun: u64,
    calls_made: u32,
    threads: ThreadPool,
    sessions: SessionState,
    files: FileCache,
    responses: OutputCache,
    values: ApplicationCaches,
    health: Health,
    counters: WorkerCounters,
    /// What applications never give back.
    leaked: Vec<Vec<u8>>,
    /// Bytes that handlers and starts have asked for and not given back.
    allocated: u64,
    symptoms: Symptoms,
}

impl WorkerProcess {
    /// A worker that begins to live at `now`: poll its first outputs.
    pub fn new(
        configuration: WorkerConfiguration,
        process: ProcessId,
        clock: UtcClock,
        now: Instant,
    ) -> Self {
        let open = CallId(1);
        let health = Health::new(&configuration, now);
        let symptoms = Symptoms::of(&configuration.environment);
        let domain = |application: crate::configuration::Application| {
            (application.url_context, AppDomain::new(application))
        };
        let mut worker = Self {
            counters: WorkerCounters::default(),
            process,
            receives: configuration.receives.max(1),
            clock,
            lifecycle: Lifecycle::Opening(open),
            outputs: VecDeque::new(),
            deadlines: Deadlines::new(),
            domains: configuration.applications.into_iter().map(domain).collect(),
            unloading: BTreeSet::new(),
            retired: 0,
            contexts: IdSlab::default(),
            ended: Vec::new(),
            nobodys: SharedRequest::new(Request::nobodys()),
            pieces: Pieces::default(),
            strangers: BTreeMap::new(),
            leaving: BTreeMap::new(),
            runnable: VecDeque::new(),
            in_flight: 0,
            concurrent: BTreeMap::new(),
            initializations: 0,
            posted: 0,
            works: IdSlab::default(),
            works_begun: 0,
            calls_made: 1,
            threads: ThreadPool::new(configuration.threads_max),
            sessions: SessionState::new(process),
            files: FileCache::default(),
            responses: OutputCache::default(),
            values: ApplicationCaches::default(),
            health,
            leaked: Vec::new(),
            allocated: 0,
            symptoms: symptoms.clone().unwrap_or_default(),
            pool: configuration.pool,
        };
        worker.state(Fact::Started {
            process,
            pool: worker.pool.clone(),
        });
        for application in configuration.departed {
            let context = application.url_context;
            worker.domains.insert(context, AppDomain::new(application));
            worker.application_removed(context, now);
        }
        match symptoms {
            Ok(_) => worker.open(open, now),
            Err(error) => worker.cannot_start(StartFailure::Configuration, error.to_string()),
        }
        worker
    }

    /// Requests that it has and has not answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Bytes that it holds for its applications: what they have allocated and not given back, sessions, and
    /// what is cached. Left out: its own programs' and what a request is made of.
    pub fn held(&self) -> u64 {
        let cached = self.files.bytes() + self.responses.bytes() + self.values.bytes();
        self.allocated
            .saturating_add(cached)
            .saturating_add(self.sessions.bytes())
    }

    fn completed(&mut self, completion: Completion, now: Instant) {
        match completion {
            Completion::Called { id, result } => self.called(id, &result, now),
            Completion::Request(request) => self.begin_request(request, now),
            Completion::Disconnected { request } => self.disconnected(request, now),
            Completion::EntityBody {
                request,
                bytes,
                last,
            } => self.body_received(request, bytes.len(), last, now),
            // It controls no queue.
            Completion::DemandStart { .. } | Completion::Untrusted { .. } => {}
        }
    }

    fn woken(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Request(request) => self.request_woken(request, now),
            Timer::ApplicationStart(context) => self.application_started(context, now),
            Timer::ApplicationStop(context) => self.application_stopped(context),
            Timer::Session(number) => self.session_timed_out(number, now),
            Timer::IdleCheck => self.check_idle(now),
            Timer::Leave(context) => self.leave(context, now),
            Timer::Lifetime => self.request_recycle(Some(RecycleReason::Time)),
            Timer::Schedule => self.schedule_due(now),
            Timer::Initialize => self.initialized(now),
            Timer::MemoryCheck => self.check_memory(now),
            Timer::FileWatch => self.watch_files(now),
        }
    }

    fn session_timed_out(&mut self, number: SessionNumber, now: Instant) {
        match self.sessions.expire(number) {
            Some((application, session)) => {
                let expired = true;
                self.state(Fact::SessionEnd {
                    application,
                    session,
                    expired,
                });
            }
            // A request has it: its end will arm the timer again; if not, look once more.
            // Or it has ended with its application.
            None => self.arm_session_timeout(number, now),
        }
    }

    /// A session ends so long after the last request that had it.
    ///
    /// Source: sessionState, timeout: sliding.
    fn arm_session_timeout(&mut self, number: SessionNumber, now: Instant) {
        let Some(session) = self.sessions.get_mut(number) else {
            return;
        };
        let domain = self.domains.get(&session.application);
        let settings = domain.map(|domain| domain.application.session_state);
        self.deadlines.set(
            Timer::Session(number),
            now + settings.unwrap_or_default().timeout,
        );
    }

    fn work_done(&mut self, work: WorkId, outcome: Outcome, now: Instant) {
        let Some(doer) = self.works.remove(work) else {
            return;
        };
        match (doer, outcome) {
            (Doer::Initialize, _) => self.loaded(now),
            (Doer::Request(request), outcome) => self.request_work_done(request, outcome, now),
            (Doer::ReadApplication(context), Outcome::File(file)) => {
                self.application_found(context, file, now);
            }
            (Doer::ReadOfflineApplication(context), Outcome::File(file)) => {
                self.application_read(context, file, now);
            }
            (Doer::WatchOffline(context), Outcome::Changed) => self.offline_changed(context, now),
            (Doer::StartApplication(context), Outcome::Done { memory }) => {
                self.application_ran(context, memory, now);
            }
            (Doer::StopApplication(context), Outcome::Done { .. }) => {
                self.application_wound_up(context, now);
            }
            (Doer::Compile(context, page), Outcome::Done { memory }) => {
                self.compiled(context, page, memory);
            }
            (Doer::Watch(key), Outcome::File(file)) => self.watched(&key, &file, now),
            (doer, outcome) => debug_assert!(false, "{doer:?} cannot have {outcome:?}"),
        }
    }

    /// Lets requests that may go on do so, and ends a drain that has come to its end.
    fn settle(&mut self, now: Instant) {
        while let Some(request) = self.runnable.pop_front() {
            self.resume(request, now);
        }
        self.unload_the_finished(now);
        if (self.in_flight == 0 || mutated(Mutant::ExitBeforeDrained))
            && matches!(self.lifecycle, Lifecycle::Draining { stopped: true, .. })
        {
            self.stop_applications(now);
        }
    }

    fn state(&mut self, fact: Fact) {
        self.counters.record(&fact);
        self.outputs.push_back(Output::Fact(fact));
    }

    fn tell(&mut self, message: FromWorker) {
        self.counters.said(&message);
        self.outputs.push_back(Output::Tell(message));
    }

    fn call(&mut self, call: ControlCall) -> CallId {
        self.calls_made = self.calls_made.wrapping_add(1);
        let id = CallId(self.calls_made);
        self.outputs
            .push_back(Output::Call(Call::Control { id, call }));
        id
    }

    fn start_work(&mut self, cost: Work, doer: Doer) {
        self.works_begun += 1;
        let work = WorkId(self.works_begun);
        if let Work::Run { allocate, .. } = cost {
            self.allocated = self.allocated.saturating_add(allocate);
            if let Doer::StartApplication(context) | Doer::Compile(context, _) = doer
                && let Some(domain) = self.domains.get_mut(&context)
            {
                domain.allocated = domain.allocated.saturating_add(allocate);
            }
        }
        self.works.insert(work, doer);
        self.outputs.push_back(Output::StartWork { work, cost });
    }
}

impl StateMachine for WorkerProcess {
    type Input<'a> = Input;
    type Output = Output;
    type Timer = Timer;

    fn handle_input(&mut self, input: Input, now: Instant) {
        if self.lifecycle == Lifecycle::Exited {
            return;
        }
        match input {
            Input::Completed(completion) => self.completed(completion, now),
            Input::Told(message) => self.told(&message, now),
            Input::WorkDone { work, outcome } => self.work_done(work, outcome, now),
            Input::MemorySampled {
                private_kb,
                virtual_kb,
            } => {
                let reason = self.health.memory(private_kb, virtual_kb);
                self.request_recycle(reason);
            }
            Input::ClockSet(clock) => {
                self.clock = clock;
                self.arm_schedule(now);
            }
        }
        self.settle(now);
    }

    fn handle_deadline(&mut self, now: Instant) {
        while let Some(timer) = self.deadlines.pop_due(now) {
            if self.lifecycle != Lifecycle::Exited {
                self.woken(timer, now);
            }
        }
        self.settle(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Deadline<Timer>> {
        self.deadlines.next()
    }
}

#[cfg(test)]
pub(crate) mod tests;
