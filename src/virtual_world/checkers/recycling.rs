//! R1–R6: a recycle loses nothing that it has promised to finish, and leaves no gap. R7 is among `trust`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sim_httpsys::api::{Call, ProcessId, RequestId};
use sim_httpsys::model::ReasonPhrase;
use sim_was::event_log::{Event, Fact};
use sim_worker::facts;
use sim_worker::ipm::{RecycleReason, ShutdownReason};

use super::book::{Book, End, Move, Place, PoolIndex, Worker};
use super::sometimes::{Seen, Sometimes};
use super::{Verdict, broken, pid_of, words};

/// What is known of recycles.
#[derive(Debug, Default)]
pub(super) struct Recycling {
    /// Who has asked to be recycled, for which reasons, and whether the event log has each.
    asked: BTreeMap<ProcessId, Vec<(RecycleReason, bool)>>,
    /// Old workers that were told in this input to go for a new one.
    replaced: Vec<(ProcessId, PoolIndex)>,
    /// Pools whose replacement has failed in this input, and who served before.
    failed: Vec<(PoolIndex, Vec<ProcessId>)>,
    /// Workers that have failed in this input, each by itself: no replacement's failure has taken them.
    failures: BTreeSet<ProcessId>,
    /// The request that a worker gives up with this input.
    given_up: Option<(ProcessId, RequestId)>,
}

impl Recycling {
    /// A call has reached the driver: an application may give its own request up, whatever happens to its worker.
    pub(super) fn called(&mut self, by: ProcessId, call: &Call) {
        self.given_up = match call {
            Call::CancelRequest { request } => Some((by, *request)),
            _other => None,
        };
    }

    /// R1, R4, W8: what a worker has promised to finish is not dropped by its end.
    pub(super) fn httpsys(&self, book: &Book, step: &Move) -> Verdict {
        let Move::Ended(request, entry, End::Dropped(reason)) = step else {
            return Ok(());
        };
        let Place::Delivered(process) = entry.place else {
            return Ok(());
        };
        let is_given_up = self.given_up == Some((process, *request));
        if *reason != ReasonPhrase::ConnectionAbandonedByReqQueue || is_given_up {
            return Ok(());
        }
        let Some(worker) = book.workers.get(&process).filter(|worker| worker.drains()) else {
            return Ok(());
        };
        let Some((_, reason)) = worker.ordered else {
            return Ok(());
        };
        let invariant = match reason {
            ShutdownReason::Recycle if book.pool(worker.pool).overlapped => "R1",
            ShutdownReason::Recycle => "R4",
            ShutdownReason::Idle => "W8",
            ShutdownReason::PoolStop | ShutdownReason::ServiceStop => "W6",
        };
        let what = format!(
            "{request:?} was dropped by {process:?}, which was to finish it: {}",
            words::of(Some(worker))
        );
        broken(invariant, what)
    }

    /// A fact of WAS, when the book has it.
    pub(super) fn was(&mut self, book: &Book, fact: &Fact, seen: &mut Sometimes) -> Verdict {
        match fact {
            Fact::WorkerStopOrdered {
                process,
                reason: ShutdownReason::Recycle,
            } => {
                if let Some(worker) = book.workers.get(process) {
                    self.replaced.push((*process, worker.pool));
                }
            }
            Fact::WorkerExited { process, .. } => {
                self.asked.remove(process);
            }
            Fact::Event(event) => return self.event(book, event, seen),
            _other => {}
        }
        Ok(())
    }

    fn event(&mut self, book: &Book, event: &Event, seen: &mut Sometimes) -> Verdict {
        let by_itself = match event.id {
            5074 => RecycleReason::Time,
            5075 => RecycleReason::Requests,
            5076 => RecycleReason::Schedule,
            5077 => RecycleReason::Memory,
            5117 => RecycleReason::PrivateMemory,
            5009..=5013 | 5039 | 5127 | 5139 => {
                self.failure(book, event);
                return Ok(());
            }
            5079 => {
                let pool = event.pool.as_deref().and_then(|name| book.pool_named(name));
                let starts = |pool| {
                    book.workers_of(pool)
                        .any(|(_, worker)| worker.is_starting())
                };
                if pool.is_some_and(starts) {
                    seen.note(Seen::RecycleDuringStart);
                }
                return Ok(());
            }
            _other => return Ok(()),
        };
        let Some(process) = pid_of(event) else {
            return Ok(());
        };
        // A word that arrives twice is logged twice.
        let struck = book
            .workers
            .get(&process)
            .is_some_and(|worker| worker.struck);
        let asked = self.asked.entry(process).or_default();
        let fits = |(reason, logged): &&mut (RecycleReason, bool)| {
            *reason == by_itself && (struck || !*logged)
        };
        match asked.iter_mut().find(fits) {
            Some((_, logged)) => {
                *logged = true;
                Ok(())
            }
            None => broken(
                "R6",
                format!("event {} is logged, the worker said {asked:?}", event.id),
            ),
        }
    }

    fn failure(&mut self, book: &Book, event: &Event) {
        let Some(process) = pid_of(event) else {
            return;
        };
        self.failures.insert(process);
        let worker = book.workers.get(&process);
        if let Some(worker) = worker.filter(|worker| worker.ready.is_none()) {
            let before = serving(book, worker.pool).collect();
            self.failed.push((worker.pool, before));
        }
    }

    /// A worker's own word: R6, to the nanosecond and to the request.
    pub(super) fn own(
        &mut self,
        book: &Book,
        process: ProcessId,
        fact: &facts::Fact,
        seen: &mut Sometimes,
    ) -> Verdict {
        let Some(worker) = book.workers.get(&process) else {
            return Ok(());
        };
        let restart = &worker.terms.restart;
        match fact {
            facts::Fact::RequestBegan { .. } => {
                let many = restart.requests > 0 && worker.began == u64::from(restart.requests);
                if many && self.asked.contains_key(&process) {
                    seen.note(Seen::AgeAndRequestsTogether);
                }
                Ok(())
            }
            facts::Fact::RecycleRequested { reason } => {
                self.asked
                    .entry(process)
                    .or_default()
                    .push((*reason, false));
                match reason {
                    // Its moment is the worker's to know: the wall clock has a zone, and can be set.
                    RecycleReason::Schedule if restart.schedule.is_empty() => broken(
                        "R6",
                        format!("{process:?} asks at a time of day, and has none"),
                    ),
                    // A worker that goes on nevertheless asks again after as many more. In a web garden
                    // the first workers have shares of the limit.
                    RecycleReason::Requests
                        if !(1..=worker.terms.places).any(|place| {
                            let share = restart.share(place, worker.terms.places);
                            worker.began.is_multiple_of(u64::from(share.requests))
                        }) =>
                    {
                        let (began, limit) = (worker.began, restart.requests);
                        broken(
                            "R6",
                            format!("{process:?} asks after {began} requests, not {limit}"),
                        )
                    }
                    _other => Ok(()),
                }
            }
            _other => Ok(()),
        }
    }

    /// R6: the age at which a worker asks, counted from its own start.
    pub(super) fn age(
        book: &Book,
        process: ProcessId,
        begun: sim_httpsys::clockwork::Instant,
    ) -> Verdict {
        let Some(worker) = book.workers.get(&process) else {
            return Ok(());
        };
        let age = book.now - begun;
        let (restart, count) = (&worker.terms.restart, worker.terms.places);
        let lifetime = restart.time;
        let mut places = 1..=count;
        // In a web garden the first worker of each place lives for its share of the time.
        let is_it = |share: Duration| share == age || (worker.slowed && share < age);
        if !places.any(|place| is_it(restart.share(place, count).time)) {
            return broken(
                "R6",
                format!("{process:?} asks at the age of {age:?}, not {lifetime:?}"),
            );
        }
        Ok(())
    }

    /// WAS has carried out an input: R2, R3, R5.
    pub(super) fn settled(&mut self, book: &Book, seen: &mut Sometimes) -> Verdict {
        for (process, index) in self.replaced.drain(..) {
            let pool = book.pool(index);
            if !pool.may_run() || !book.serving {
                continue;
            }
            let now = |worker: &Worker| worker.ready == Some(book.now);
            let successor = book.workers_of(index).any(|(_, worker)| now(worker));
            // A place that there is not any more has no successor.
            if pool.overlapped && !successor && !pool.has_surplus() {
                let what = format!(
                    "{process:?} of {} was told to go, and nobody is ready",
                    pool.name
                );
                return broken("R2", what);
            }
            if !pool.overlapped && serving(book, index).next().is_none() {
                seen.note(Seen::NoWorkerInRotation);
            }
            let leaving =
                |worker: &Worker| matches!(worker.ordered, Some((_, ShutdownReason::Recycle)));
            let draining = book
                .workers_of(index)
                .filter(|(_, worker)| leaving(worker))
                .count();
            // A place that there is not any more is emptied at once, also of the successor of one that drains.
            let most = if pool.has_surplus() {
                pool.may_have()
            } else {
                pool.may_serve()
            };
            if draining > most {
                let what = format!("{draining} recycles are under way in {}", pool.name);
                return broken("R5", what);
            }
        }
        let failures = std::mem::take(&mut self.failures);
        for (index, before) in self.failed.drain(..) {
            let pool = book.pool(index);
            let is_to_stay = |process: &&ProcessId| !failures.contains(*process);
            let before = before.iter().filter(is_to_stay).count();
            let after = serving(book, index).count();
            if pool.may_run() && book.serving && after < before {
                let what = format!("{} had {before} workers and has {after}", pool.name);
                return broken("R3", what);
            }
        }
        Ok(())
    }
}

fn serving(book: &Book, pool: PoolIndex) -> impl Iterator<Item = ProcessId> {
    let serves = |(_, worker): &(&ProcessId, &Worker)| worker.serves();
    book.workers_of(pool)
        .filter(serves)
        .map(|(process, _)| *process)
}
