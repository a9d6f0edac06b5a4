//! What must always hold, checked at every fact while a virtual run goes on.
//!
//! Checkers see the facts alone, as a reader of a trace would, and keep books of their own. A name such
//! as `Q2` is that of the invariant; the first one that breaks ends the run. What must be seen *sometimes*
//! in many runs (a queue that is full, a worker killed at its limit) is counted here too.
//!
//! * `requests` – C1, N1, Q1, Q2, Q5, W2: requests, queues and who holds what
//! * `workers` – W1, W3, W4, W6, W7, F2, F3, R6: the lives of worker processes
//! * C5 (the client's book against the server's) is the ledger's; L1 is asked when all should be at rest

use std::collections::BTreeMap;
use std::fmt;

use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw;
use sim_was::config::Configuration;
use sim_was::event_log;
use sim_worker::facts;

mod requests;
mod workers;

use requests::Requests;
use workers::Workers;

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

/// All checkers.
#[derive(Debug)]
pub(super) struct Checkers {
    requests: Requests,
    workers: Workers,
    sometimes: BTreeMap<&'static str, u64>,
    broken: Option<Broken>,
}

impl Checkers {
    pub(super) fn new(configuration: &Configuration) -> Self {
        Self {
            requests: Requests::new(configuration),
            workers: Workers::new(configuration),
            sometimes: BTreeMap::new(),
            broken: None,
        }
    }

    pub(super) fn httpsys(&mut self, at: Instant, fact: &etw::Fact) {
        let verdict = self.requests.take(fact, &mut self.sometimes);
        self.note(at, verdict);
    }

    pub(super) fn was(&mut self, at: Instant, fact: &event_log::Fact) {
        let verdict = self.workers.take(at, fact, &mut self.sometimes);
        self.note(at, verdict);
    }

    pub(super) fn worker(&mut self, process: ProcessId, at: Instant, fact: &facts::Fact) {
        let verdict = self.workers.own(process, at, fact);
        self.note(at, verdict);
    }

    /// Load and faults are over, and every limit has passed: nothing may be under way.
    pub(super) fn at_rest(&mut self, at: Instant) {
        let verdict = self.requests.at_rest();
        self.note(at, verdict);
        let verdict = self.workers.at_rest();
        self.note(at, verdict);
    }

    /// The first invariant that is broken.
    pub(super) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// What was seen, and how often.
    pub(super) fn sometimes(&self) -> &BTreeMap<&'static str, u64> {
        &self.sometimes
    }

    fn note(&mut self, at: Instant, verdict: Verdict) {
        if let Err((invariant, what)) = verdict
            && self.broken.is_none()
        {
            self.broken = Some(Broken {
                invariant,
                what,
                at,
            });
        }
    }
}
