//! What is written down of a run: facts, log lines, and the digest over all of it.
//!
//! Log lines are written as the live driver writes them and read as the measurement reads them, in
//! pieces, so that they need little memory. The digest takes in every fact with its moment: two runs
//! with the same digest have done the same.

use std::collections::BTreeMap;
use std::rc::Rc;

use sim_httpsys::api::{LogSettings, ProcessId};
use sim_httpsys::clockwork::{Instant, UtcClock};
use sim_httpsys::counters::{Counters, Snapshot};
use sim_httpsys::etw::{self, Traced};
use sim_httpsys::logging::{self, LogEntry};
use sim_httpsys::model::Parameters;
use sim_was::config::Configuration;
use sim_was::event_log;
use sim_was::model::Personality;
use sim_worker::facts;

use super::checkers::{Broken, Checkers};
use super::digest::Digest;
use super::track::{Track, Tracker, Watch, Witness};
use crate::measure::Observation;
use crate::measure::read::{parse_httperr, parse_w3c};

/// What the machine is called in the logs.
/// Assumed: any name does, as long as it is the same on every machine that runs the story.
const COMPUTER: &str = "IIS-SIM";

/// Bytes of a log that are kept as text before they are read.
const TEXT_MAX: usize = 1 << 20;

/// What is written down of a run, besides the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    /// Every fact and every log line: what the measurement reads.
    Everything,
    /// Nothing, so that a run may be as long as one likes; invariants are checked if `checked`.
    Nothing { checked: bool },
}

/// What is written down.
#[derive(Debug)]
pub(super) struct Chronicle {
    digest: Digest,
    tracker: Tracker,
    pub(super) checkers: Option<Box<Checkers>>,
    kept: Option<Box<Kept>>,
}

/// Facts and log lines.
#[derive(Debug)]
struct Kept {
    clock: UtcClock,
    httpsys: Vec<Traced<etw::Fact>>,
    /// The driver's counters, with as many of its facts as are counted.
    counters: (Counters, usize),
    was: Vec<Traced<event_log::Fact>>,
    workers: BTreeMap<ProcessId, Vec<Traced<facts::Fact>>>,
    w3c: Vec<u8>,
    settings: Option<Rc<LogSettings>>,
    httperr: Vec<u8>,
    read: Observation,
}

impl Chronicle {
    pub(super) fn new(
        clock: UtcClock,
        configuration: &Configuration,
        parameters: &Parameters,
        personality: Personality,
        watch: Watch,
        keeping: Keeping,
    ) -> Self {
        let checked = keeping != Keeping::Nothing { checked: false };
        let checkers = || Checkers::new(configuration, parameters, personality);
        Self {
            digest: Digest::default(),
            tracker: Tracker::new(watch),
            checkers: checked.then(|| Box::new(checkers())),
            kept: (keeping == Keeping::Everything).then(|| Box::new(Kept::new(clock))),
        }
    }

    pub(super) fn httpsys(&mut self, at: Instant, fact: &etw::Fact) {
        self.digest.take(1, at, fact);
        self.tracker
            .note(self.digest.hash(), Witness::HttpSys, at, fact);
        if self.is_read() {
            self.keep_httpsys(at, fact);
        }
    }

    /// Whether anybody wants more of a fact than its digest.
    #[inline]
    fn is_read(&self) -> bool {
        self.checkers.is_some() || self.kept.is_some()
    }

    fn keep_httpsys(&mut self, at: Instant, fact: &etw::Fact) {
        if let Some(checkers) = &mut self.checkers {
            checkers.httpsys(at, fact);
        }
        if let Some(kept) = &mut self.kept {
            let fact = fact.clone();
            kept.httpsys.push(Traced { at, fact });
        }
    }

    /// What the driver's counters read, if facts are kept: folded when somebody asks, so that nobody else
    /// pays.
    pub(super) fn counters(&mut self, now: Instant) -> Snapshot {
        match &mut self.kept {
            Some(kept) => kept.counters(now),
            None => Snapshot::default(),
        }
    }

    pub(super) fn was(&mut self, at: Instant, fact: event_log::Fact) {
        if let Some(checkers) = &mut self.checkers {
            checkers.was(at, &fact);
        }
        self.keep_was(at, fact);
    }

    /// WAS has died, and its children with it. Nobody is left to write down that they did.
    pub(super) fn was_died(&mut self, at: Instant) {
        if let Some(checkers) = &mut self.checkers {
            checkers.was_died(at);
        }
    }

    fn keep_was(&mut self, at: Instant, fact: event_log::Fact) {
        self.digest.take(2, at, &fact);
        self.tracker
            .note(self.digest.hash(), Witness::Was, at, &fact);
        if let Some(kept) = &mut self.kept {
            kept.was.push(Traced { at, fact });
        }
    }

    pub(super) fn worker(&mut self, process: ProcessId, at: Instant, fact: &facts::Fact) {
        self.digest.take(process.0, at, fact);
        let by = Witness::Worker(process);
        self.tracker.note(self.digest.hash(), by, at, fact);
        if self.is_read() {
            self.keep_worker(process, at, fact);
        }
    }

    fn keep_worker(&mut self, process: ProcessId, at: Instant, fact: &facts::Fact) {
        if let Some(checkers) = &mut self.checkers {
            checkers.worker(process, at, fact);
        }
        if let Some(kept) = &mut self.kept {
            let fact = fact.clone();
            let facts = kept.workers.entry(process).or_default();
            facts.push(Traced { at, fact });
        }
    }

    #[inline]
    pub(super) fn log(&mut self, entry: &LogEntry) {
        if let Some(checkers) = &mut self.checkers {
            checkers.log(entry);
        }
        if let Some(kept) = &mut self.kept {
            kept.log(entry);
        }
    }

    /// The first invariant that is broken.
    pub(super) fn broken(&self) -> Option<&Broken> {
        self.checkers.as_ref()?.broken()
    }

    /// The digest so far.
    pub(super) fn digest(&self) -> u64 {
        self.digest.hash()
    }

    /// WAS has ended, and so many processes are left.
    pub(super) fn check_end(&mut self, alive: usize) {
        if let (Some(checkers), Some(kept)) = (&mut self.checkers, &self.kept) {
            checkers.after_the_end(alive, &kept.httpsys);
        }
    }

    /// All of it, and what was kept to compare it by.
    pub(super) fn close(self) -> (Observation, Track) {
        let observation = self.kept.map(|kept| kept.close()).unwrap_or_default();
        (observation, self.tracker.close(self.digest.hash()))
    }
}

impl Kept {
    fn new(clock: UtcClock) -> Self {
        Self {
            clock,
            httpsys: Vec::new(),
            counters: (Counters::default(), 0),
            was: Vec::new(),
            workers: BTreeMap::new(),
            w3c: Vec::new(),
            settings: None,
            httperr: Vec::new(),
            read: Observation {
                w3c: Some(Vec::new()),
                httperr: Some(Vec::new()),
                ..Observation::default()
            },
        }
    }

    fn counters(&mut self, now: Instant) -> Snapshot {
        let (counters, counted) = &mut self.counters;
        for traced in &self.httpsys[*counted..] {
            counters.record(&traced.fact, traced.at);
        }
        *counted = self.httpsys.len();
        counters.snapshot(now)
    }

    fn log(&mut self, entry: &LogEntry) {
        match entry {
            LogEntry::W3c(record) => {
                let settings = &record.settings;
                let is_known = self.settings.as_ref().is_some_and(|it| it == settings);
                if self.w3c.len() > TEXT_MAX || !is_known {
                    self.read_w3c();
                }
                let utc = self.clock.utc(record.at);
                if self.w3c.is_empty() {
                    logging::site_header(settings, utc, &mut self.w3c);
                    self.settings = Some(Rc::clone(settings));
                }
                logging::write_w3c_line(record, COMPUTER, &mut self.w3c, utc);
            }
            LogEntry::HttpErr(record) => {
                if self.httperr.len() > TEXT_MAX {
                    self.read_httperr();
                }
                let utc = self.clock.utc(record.at);
                if self.httperr.is_empty() {
                    logging::httperr_header(utc, &mut self.httperr);
                }
                logging::write_httperr_line(record, &mut self.httperr, utc);
            }
        }
    }

    /// A site may log without the columns that are needed: then there is no log to read.
    fn read_w3c(&mut self) {
        let text = String::from_utf8_lossy(&self.w3c);
        match (&mut self.read.w3c, parse_w3c(&text)) {
            (Some(read), Ok((lines, _))) => read.extend(lines),
            (read, _) => *read = None,
        }
        self.w3c.clear();
    }

    fn read_httperr(&mut self) {
        let text = String::from_utf8_lossy(&self.httperr);
        let (lines, _) = parse_httperr(&text).expect("the driver's own lines can be read");
        self.read.httperr.get_or_insert_default().extend(lines);
        self.httperr.clear();
    }

    fn close(mut self) -> Observation {
        self.read_w3c();
        self.read_httperr();
        Observation {
            httpsys: Some(self.httpsys),
            was: Some(self.was),
            workers: Some(self.workers),
            ..self.read
        }
    }
}
