//! What must always hold, checked at every input of the driver and of WAS while a virtual run goes on.
//!
//! Checkers see what a reader of a trace would: facts, log lines, and what processes say to each other.
//! They keep books of their own beside the models'. A name such as `Q2` is that of the invariant; the
//! first one that breaks ends the run.
//!
//! * `book` – C1, N1, N2, Q5: requests, connections, pools and workers, as the facts tell of them
//! * `conservation` – C2, C3, C4 · `connections` – N1–N5 · `sites`, `urls` – N6, C4, M1 · `queues` – Q1–Q4, Q6, I2
//! * `workers` – W1–W8 · `recycling` – R1–R6 · `rapid_fail` – F1–F3 · `services` – X1, X3, X4
//! * `terms` – which settings hold for whom, while the configuration changes
//! * `answers`, `caches` – K1–K4 · `trust` – I1, I3, R7 · `rest` – L1–L3, T1, M1
//! * [`coverage`] – which events have met which states of the machines
//! * [`sometimes`] – what must be seen sometimes in many runs
//!
//! C5 and M2 need the clients' book, and X2 needs two runs: whoever has them checks those.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a checker names the few facts that its invariants are about; the book names them all"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sim_httpsys::api::{Call, ConnectionId, ProcessId, RequestId};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{self, Traced};
use sim_httpsys::logging::LogEntry;
use sim_httpsys::model::{CacheOnWorkerExit, HttpSys, Input as ToHttpSys, Parameters};
use sim_was::config::Configuration;
use sim_was::event_log::{self, Event};
use sim_was::model::Personality;
use sim_worker::facts;
use sim_worker::ipm::{FromWorker, RecycleReason, ToWorker};

mod answers;
mod book;
mod caches;
mod connections;
mod conservation;
pub mod coverage;
mod numbered;
mod queues;
mod rapid_fail;
mod recycling;
mod rest;
mod roster;
mod services;
mod sites;
pub mod sometimes;
mod terms;
mod trust;
mod urls;
mod wire;
mod words;
mod workers;

use super::processes::FIRST_WORKER;
use answers::Answers;
use book::{Book, PoolIndex};
use caches::Caches;
use connections::Connections;
use conservation::Conservation;
use coverage::Coverage;
use queues::Queues;
use rapid_fail::RapidFail;
use recycling::Recycling;
use rest::Rest;
use services::Services;
use sites::Sites;
use sometimes::{Seen, Sometimes};
use terms::LimitsInForce;
use trust::Trust;
use workers::Workers;

/// Inputs from one count of everything to the next.
const SCAN_EVERY: u64 = 10_000;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its name, e.g. `Q2`.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
    /// When.
    pub at: Instant,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken at {}: {}", self.invariant, self.at, self.what)
    }
}

/// What one check says: nothing, or the invariant that is broken and how.
type Verdict = Result<(), (&'static str, String)>;

fn broken(invariant: &'static str, what: String) -> Verdict {
    Err((invariant, what))
}

/// The process that an event is about.
fn pid_of(event: &Event) -> Option<ProcessId> {
    let (_, pid) = event.data.iter().find(|(name, _)| name == "ProcessID")?;
    pid.parse().ok().map(ProcessId)
}

/// All checkers.
#[derive(Debug)]
pub(super) struct Checkers {
    book: Book,
    limits: LimitsInForce,
    conservation: Conservation,
    connections: Connections,
    queues: Queues,
    workers: Workers,
    recycling: Recycling,
    rapid_fail: RapidFail,
    services: Services,
    sites: Sites,
    answers: Answers,
    caches: Caches,
    trust: Trust,
    rest: Rest,
    /// Workers that died with WAS, whose end nobody states, and whether the driver knows.
    orphans: BTreeMap<ProcessId, bool>,
    /// Workers of whose end the driver knows, and WAS not yet.
    hung_up: BTreeSet<ProcessId>,
    /// When each worker that lives began.
    begun: BTreeMap<ProcessId, Instant>,
    sometimes: Sometimes,
    coverage: Coverage,
    inputs: u64,
    broken: Option<Broken>,
}

impl Checkers {
    pub(super) fn new(
        configuration: &Configuration,
        parameters: &Parameters,
        personality: Personality,
    ) -> Self {
        let pools = configuration.application_pools.len();
        let flush_owned = parameters.kernel_cache_on_worker_exit == CacheOnWorkerExit::FlushOwned;
        Self {
            book: Book::new(configuration),
            limits: LimitsInForce::new(configuration, personality),
            conservation: Conservation::default(),
            connections: Connections::default(),
            queues: Queues::new(pools),
            workers: Workers::default(),
            recycling: Recycling::default(),
            rapid_fail: RapidFail::new(pools),
            services: Services::default(),
            sites: Sites::new(configuration),
            answers: Answers::default(),
            caches: Caches::new(parameters.response_cache_bytes_max, flush_owned),
            trust: Trust::default(),
            rest: Rest::default(),
            orphans: BTreeMap::new(),
            hung_up: BTreeSet::new(),
            begun: BTreeMap::new(),
            sometimes: Sometimes::default(),
            coverage: Coverage::default(),
            inputs: 0,
            broken: None,
        }
    }

    // --- the driver ---------------------------------------------------------------------------------

    /// The driver is given an input now.
    pub(super) fn given(&mut self, now: Instant, input: &ToHttpSys<'_>) {
        let verdict = self.rest.input(&mut self.book, now);
        self.note(verdict);
        match input {
            ToHttpSys::Called { by, call } => {
                self.trust.called(&mut self.book, *by, call);
                self.answers.called(call);
                self.conservation.called(call);
                self.sites.called(call);
                self.recycling.called(*by, call);
                self.caches.called(&self.book, call);
                let seen = &mut self.sometimes;
                self.queues.called(&mut self.book, *by, call, seen);
                if let Call::Control { call, .. } = call {
                    let verdict = self.book.sites.called(call);
                    self.note(verdict);
                    let verdict = self.sites.told(&self.book, call);
                    self.note(verdict);
                }
                let verdict = Services::called(*by, call, &self.book);
                self.note(verdict);
            }
            ToHttpSys::Gone { process } => {
                self.trust.gone(&self.book, *process);
                self.caches.gone(*process);
                if *process < FIRST_WORKER {
                    self.queues.controller_gone(&self.book);
                    self.book.sites.controller_gone();
                } else if let Some(is_known) = self.orphans.get_mut(process) {
                    *is_known = true;
                } else if self.book.workers.contains_key(process) {
                    self.hung_up.insert(*process);
                }
            }
            ToHttpSys::Received { connection, bytes } => {
                self.sites.received(&mut self.book, *connection, bytes);
            }
            ToHttpSys::Listening { .. }
            | ToHttpSys::Opened { .. }
            | ToHttpSys::Secured { .. }
            | ToHttpSys::Sent { .. }
            | ToHttpSys::HalfClosed { .. }
            | ToHttpSys::Reset { .. }
            | ToHttpSys::Attached { .. } => {}
        }
    }

    /// The driver reads no more from a connection for now.
    pub(super) fn paused(&mut self) {
        self.sometimes.note(Seen::ReadingPaused);
    }

    /// The driver sends something to a client.
    pub(super) fn sends(&mut self, connection: ConnectionId, bytes: &[u8]) {
        self.answers.sends(connection, bytes);
        self.sites.sends(connection, bytes);
    }

    /// The driver states a fact.
    pub(super) fn httpsys(&mut self, now: Instant, fact: &etw::Fact) {
        let verdict = self.follow(now, fact);
        self.note(verdict);
    }

    fn follow(&mut self, now: Instant, fact: &etw::Fact) -> Verdict {
        debug_assert!(now == self.book.now, "the time is told before its facts");
        let (book, seen) = (&mut self.book, &mut self.sometimes);
        self.coverage.httpsys(book, fact)?;
        let step = book.follow(fact)?;
        book.connect(fact, &step)?;
        self.sites.httpsys(book, fact, &step, seen)?;
        Workers::httpsys(book, fact, &step, seen)?;
        self.trust.httpsys(book, fact, &step, seen)?;
        self.queues.httpsys(book, fact, &step, seen)?;
        self.recycling.httpsys(book, &step)?;
        self.conservation.httpsys(fact, &step, seen)?;
        self.services.httpsys(fact, &step)?;
        self.caches.httpsys(book, fact, &step, seen)?;
        self.answers.httpsys(book, fact, &step)?;
        self.connections.httpsys(book, fact, &step, seen)
    }

    /// The driver writes a line of a log.
    pub(super) fn log(&mut self, entry: &LogEntry) {
        let verdict = self.conservation.log(entry);
        self.note(verdict);
        let verdict = self.answers.log(entry);
        self.note(verdict);
    }

    /// The driver has carried out an input, or what was due.
    pub(super) fn httpsys_settled(&mut self, httpsys: &HttpSys) {
        self.inputs += 1;
        let verdict = self.driver_at_rest();
        self.note(verdict);
        self.bury_orphans();
        if self.inputs.is_multiple_of(SCAN_EVERY) {
            self.scan(httpsys);
        }
    }

    /// Those of whose end the driver knows are gone for everybody.
    fn bury_orphans(&mut self) {
        let Self {
            orphans,
            book,
            begun,
            caches,
            ..
        } = self;
        orphans.retain(|process, is_known| {
            if *is_known {
                book.workers.remove(*process);
                begun.remove(process);
                caches.forget(*process);
            }
            !*is_known
        });
    }

    fn driver_at_rest(&mut self) -> Verdict {
        self.conservation.settled(&self.book)?;
        self.connections.settled(&self.book)?;
        self.queues.settled(&self.book)?;
        self.caches.settled(&self.book)?;
        self.sites.settled()?;
        self.trust.settled()
    }

    /// Counts everything anew, and asks the driver for its own numbers.
    pub(super) fn scan(&mut self, httpsys: &HttpSys) {
        let state = httpsys.service_state();
        let verdict = Conservation::scan(&self.book)
            .and_then(|()| Connections::scan(&self.book))
            .and_then(|()| Rest::scan(&self.book, &state))
            .and_then(|()| self.caches.scan(state.cache_entries, state.cache_bytes));
        self.note(verdict);
    }

    // --- WAS and workers ----------------------------------------------------------------------------

    /// A machine was given an input, or is to do what is due.
    pub(super) fn pass(&mut self, now: Instant) {
        let verdict = self.rest.input(&mut self.book, now);
        self.note(verdict);
    }

    /// WAS hears a worker.
    pub(super) fn told(&mut self, process: ProcessId, message: &FromWorker) {
        let verdict = self.coverage.told(&self.book, process, message);
        self.note(verdict);
        let seen = &mut self.sometimes;
        self.workers.told(&self.book, process, message, seen);
    }

    /// WAS says something to a worker.
    pub(super) fn tell(&mut self, process: ProcessId, message: &ToWorker) {
        let verdict = self.coverage.tell(&self.book, process, message);
        self.note(verdict);
        let verdict = self.workers.tell(&self.book, process, message);
        self.note(verdict);
    }

    /// WAS states a fact.
    pub(super) fn was(&mut self, now: Instant, fact: &event_log::Fact) {
        let verdict = self.follow_was(now, fact);
        self.note(verdict);
    }

    fn follow_was(&mut self, now: Instant, fact: &event_log::Fact) -> Verdict {
        debug_assert!(now == self.book.now, "the time is told before its facts");
        let (book, seen) = (&mut self.book, &mut self.sometimes);
        if let event_log::Fact::ConfigurationChanged { recycled, .. } = fact
            && !recycled.is_empty()
        {
            seen.note(Seen::RecycledForChange);
        }
        self.coverage.was(book, fact)?;
        self.services.was(book, fact)?;
        self.rapid_fail.was(book, fact, seen)?;
        self.recycling.was(book, fact, seen)?;
        self.workers.was(book, fact, seen)?;
        if let event_log::Fact::WorkerExited { process, .. } = fact {
            self.hung_up.remove(process);
            self.begun.remove(process);
            self.caches.forget(*process);
        }
        Ok(())
    }

    /// WAS has carried out an input, or what was due.
    pub(super) fn was_settled(&mut self) {
        let verdict = self.was_at_rest();
        self.note(verdict);
    }

    fn was_at_rest(&mut self) -> Verdict {
        self.book.settle();
        self.rapid_fail.settled(&self.book)?;
        self.recycling.settled(&self.book, &mut self.sometimes)?;
        self.services.settled(&self.book)?;
        (0..self.book.pools.len())
            .try_for_each(|index| Workers::settled(&self.book, PoolIndex(index)))
    }

    /// A worker states a fact.
    pub(super) fn worker(&mut self, process: ProcessId, now: Instant, fact: &facts::Fact) {
        let verdict = self.follow_worker(process, now, fact);
        self.note(verdict);
    }

    fn follow_worker(&mut self, process: ProcessId, now: Instant, fact: &facts::Fact) -> Verdict {
        self.rest.input(&mut self.book, now)?;
        match fact {
            facts::Fact::Started { .. } => {
                self.begun.insert(process, now);
            }
            facts::Fact::RecycleRequested {
                reason: RecycleReason::Time,
            } => {
                if let Some(begun) = self.begun.get(&process) {
                    Recycling::age(&self.book, process, *begun)?;
                }
            }
            _other => {}
        }
        Workers::own(&mut self.book, process, fact)?;
        self.recycling
            .own(&self.book, process, fact, &mut self.sometimes)?;
        self.caches.own(process, fact)
    }

    /// A worker says something to WAS, which hears it later.
    pub(super) fn said(&mut self, process: ProcessId, now: Instant, message: &FromWorker) {
        let FromWorker::Idle = message else {
            return;
        };
        let verdict = self.rest.input(&mut self.book, now);
        self.note(verdict);
        if let Some(begun) = self.begun.get(&process) {
            let verdict = Workers::said_idle(&mut self.book, process, *begun);
            self.note(verdict);
        }
    }

    // --- the world ----------------------------------------------------------------------------------

    /// A fault has struck a worker: it need not keep its promises any more.
    pub(super) fn struck(&mut self, process: ProcessId) {
        if let Some(worker) = self.book.workers.get_mut(&process) {
            worker.struck = true;
        }
    }

    /// A worker is made to answer a request besides its own.
    pub(super) fn lied(&mut self, process: ProcessId, request: RequestId) {
        self.struck(process);
        self.answers.lied(process, request);
    }

    /// A worker stands still for a while.
    pub(super) fn worker_frozen(&mut self, process: ProcessId) {
        if let Some(worker) = self.book.workers.get_mut(&process) {
            worker.slowed = true;
        }
    }

    /// WAS stands still from now on.
    pub(super) fn was_frozen(&mut self) {
        self.book.frozen = true;
    }

    /// WAS goes on.
    pub(super) fn was_thawed(&mut self, now: Instant) {
        let verdict = self.rest.input(&mut self.book, now);
        self.note(verdict);
        self.sometimes.note(Seen::WasStoodStill);
        self.book.frozen = false;
        self.book.thawed = Some(now);
        self.workers.thawed(now);
    }

    /// A worker does not take what the driver sends, for a while.
    pub(super) fn stalled(&mut self, process: ProcessId) {
        let mut others = self.book.workers.iter();
        if others.any(|(other, worker)| *other != process && worker.serves()) {
            self.sometimes.note(Seen::BackpressureOnOne);
        }
    }

    /// Every file was written to.
    pub(super) fn content_changed(&mut self, now: Instant) {
        self.answers.content_changed(now);
    }

    /// WAS has died, and its workers with it: what it has promised is void, and it has counted nothing.
    pub(super) fn was_died(&mut self, now: Instant) {
        let verdict = self.rest.input(&mut self.book, now);
        self.note(verdict);
        self.sometimes.note(Seen::WasDied);
        let hung_up = std::mem::take(&mut self.hung_up);
        for (process, worker) in self.book.workers.iter_mut() {
            worker.struck = true;
            self.orphans.insert(*process, hung_up.contains(process));
        }
        self.book.frozen = false;
        self.workers.was_died(self.orphans.len());
        self.bury_orphans();
        self.recycling = Recycling::default();
        self.rapid_fail = RapidFail::new(self.book.pools.len());
        self.services.was_died(&mut self.book);
    }

    /// Faults are over.
    pub(super) fn be_quiet(&mut self, now: Instant) {
        self.rest.quiet = Some(now);
    }

    /// Time passes: nobody may be beyond a limit.
    pub(super) fn look(&mut self, now: Instant) {
        let verdict = self.rest.input(&mut self.book, now);
        self.note(verdict);
        let verdict = self.workers.look(&self.book, &self.orphans);
        self.note(verdict);
        let verdict = self.answers.look(&self.book);
        self.note(verdict);
        let verdict = self.queues.look(&self.book);
        self.note(verdict);
        let verdict = self.rest.look(&mut self.book);
        self.note(verdict);
    }

    /// The time begins in which everything has to come to rest.
    pub(super) fn begin_rest(&mut self) {
        self.rest.begin(&self.book);
    }

    /// Load and faults are over, and every limit has passed: nothing may be under way. `false` if there is
    /// more to do than can have been done, and enough of it was.
    pub(super) fn at_rest(&mut self, httpsys: &HttpSys) -> bool {
        let rest = self.rest.at_rest(&self.book);
        let is_over = *rest.as_ref().unwrap_or(&true);
        let verdict = rest.and_then(|_| {
            if !is_over {
                return Ok(());
            }
            self.conservation.at_rest()?;
            self.sites.at_rest()?;
            self.book.sites.at_rest()
        });
        self.note(verdict);
        self.scan(httpsys);
        is_over
    }

    /// WAS has ended, and so many processes are left.
    pub(super) fn after_the_end(&mut self, alive: usize, facts: &[Traced<etw::Fact>]) {
        let verdict = self.workers.after_the_end(&self.book, alive);
        self.note(verdict);
        let verdict = Rest::counters(&self.book, &self.sites, facts);
        self.note(verdict);
    }

    /// The first invariant that is broken.
    pub(super) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// What was seen, and how often.
    pub(super) fn sometimes(&self) -> BTreeMap<&'static str, u64> {
        self.sometimes.counts()
    }

    /// Bytes of the bodies that were sent as whole responses, by the clients' names for their requests.
    pub(super) fn bodies(&self) -> &BTreeMap<u64, u64> {
        self.answers.bodies()
    }

    /// Since when which pool had the root of the first site; none while the driver was being told of a change.
    pub(super) fn root_led_to(&self) -> Vec<(Instant, Option<String>)> {
        let name = |pool: PoolIndex| self.book.pool(pool).name.clone();
        let times = self.sites.root_led_to().iter();
        times.map(|(at, pool)| (*at, pool.map(name))).collect()
    }

    /// Requests that were answered by a worker that was made to, by the clients' names for them.
    pub(super) fn lied_to(&self) -> &BTreeSet<u64> {
        self.answers.lied_to()
    }

    /// Which events have met which states.
    pub(super) fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn note(&mut self, verdict: Verdict) {
        if let Err((invariant, what)) = verdict
            && self.broken.is_none()
        {
            let (at, what) = (self.book.now, words::readable(&what));
            self.broken = Some(Broken {
                invariant,
                what,
                at,
            });
        }
    }
}
