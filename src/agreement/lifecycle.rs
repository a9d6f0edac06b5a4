//! What happened to each worker of a trial, in its order: from its birth to its end.
//!
//! Moments are left out on purpose: they are what the clocks may differ in. What other workers of the
//! pool were doing is kept only where it matters: how many of them were ready when one was told to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::Instant;
use sim_was::event_log::{self, WorkerExit};
use sim_worker::facts;
use sim_worker::ipm::{RecycleReason, ShutdownReason};

use crate::measure::Observation;

/// Something that happens to a worker once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeEvent {
    /// WAS has created the process.
    Spawned,
    /// It has told WAS that it is ready.
    Ready,
    /// It asked to be recycled.
    RecycleAsked(RecycleReason),
    /// WAS told it to stop.
    ToldToStop {
        /// Why.
        reason: ShutdownReason,
        /// Other workers of its pool that were ready and not told to stop then.
        others_ready: usize,
    },
    /// It takes no more requests.
    StoppedReceiving,
    /// It exits by its own will, with this code.
    Exits(i32),
    /// WAS killed it.
    Killed,
    /// WAS has seen its end.
    Exited(WorkerExit),
}

impl fmt::Display for LifeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawned => f.write_str("spawned"),
            Self::Ready => f.write_str("ready"),
            Self::RecycleAsked(reason) => write!(f, "asks for a recycle ({reason:?})"),
            Self::ToldToStop {
                reason,
                others_ready,
            } => write!(f, "told to stop ({reason:?}, {others_ready} other ready)"),
            Self::StoppedReceiving => f.write_str("stops receiving"),
            Self::Exits(code) => write!(f, "exits with {code}"),
            Self::Killed => f.write_str("killed by WAS"),
            Self::Exited(WorkerExit::Code(code)) => write!(f, "reaped, code {code}"),
            Self::Exited(WorkerExit::Signal(signal)) => write!(f, "reaped, signal {signal}"),
        }
    }
}

/// The lives of all workers of a trial: by pool, in the order of their births.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lives(pub BTreeMap<String, Vec<Vec<LifeEvent>>>);

impl Lives {
    /// Reads them from the facts of WAS and of the workers, up to the end of the load: how the server is
    /// shut down afterwards is no part of a trial.
    pub fn of(observation: &Observation) -> Self {
        let summary = observation.book.summary.as_ref();
        let end = summary.map_or(Instant(u64::MAX), |summary| summary.end);
        let mut events: Vec<(Instant, Told<'_>)> = Vec::new();
        for traced in observation.was.iter().flatten() {
            events.extend(of_was(&traced.fact).map(|told| (traced.at, told)));
        }
        for (process, facts) in observation.workers.iter().flatten() {
            let own = facts.iter().filter_map(|traced| {
                let event = of_worker(&traced.fact)?;
                Some((traced.at, Told::Of(*process, event)))
            });
            events.extend(own);
        }
        events.retain(|(at, _)| *at <= end);
        events.sort_by_key(|(at, _)| *at);
        let mut births = Births::default();
        for (_, told) in events {
            births.take(told);
        }
        births.lives
    }

    /// Workers and events in all.
    pub fn count(&self) -> (usize, usize) {
        let workers = || self.0.values().flatten();
        (workers().count(), workers().map(Vec::len).sum())
    }

    /// The first thing in which two trials differ, in words; `None` if in nothing.
    pub fn difference(&self, live: &str, other: &Self, virtual_: &str) -> Option<String> {
        let pools: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let none = Vec::new();
        for pool in pools {
            let mine = self.0.get(pool).unwrap_or(&none);
            let theirs = other.0.get(pool).unwrap_or(&none);
            let longest = mine.len().max(theirs.len());
            for worker in 0..longest {
                let (one, two) = (mine.get(worker), theirs.get(worker));
                if one != two {
                    return Some(format!(
                        "worker {} of pool {pool}: {live}: {}; {virtual_}: {}",
                        worker + 1,
                        in_words(one),
                        in_words(two)
                    ));
                }
            }
        }
        None
    }
}

/// A life in words.
pub fn in_words(life: Option<&Vec<LifeEvent>>) -> String {
    let Some(life) = life else {
        return "there is none".to_owned();
    };
    let words: Vec<String> = life.iter().map(LifeEvent::to_string).collect();
    words.join(", ")
}

#[derive(Clone, Copy)]
enum Told<'a> {
    Born(ProcessId, &'a str),
    StopOrdered(ProcessId, ShutdownReason),
    Of(ProcessId, LifeEvent),
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a fact that is added says nothing of a worker's life until somebody decides so"
)]
fn of_was(fact: &event_log::Fact) -> Option<Told<'_>> {
    match fact {
        event_log::Fact::WorkerSpawned { process, pool } => Some(Told::Born(*process, pool)),
        event_log::Fact::WorkerReady { process } => Some(Told::Of(*process, LifeEvent::Ready)),
        event_log::Fact::WorkerStopOrdered { process, reason } => {
            Some(Told::StopOrdered(*process, *reason))
        }
        event_log::Fact::WorkerKilled { process } => Some(Told::Of(*process, LifeEvent::Killed)),
        event_log::Fact::WorkerExited { process, exit } => {
            Some(Told::Of(*process, LifeEvent::Exited(*exit)))
        }
        _ => None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a fact that is added says nothing of a worker's life until somebody decides so"
)]
fn of_worker(fact: &facts::Fact) -> Option<LifeEvent> {
    match fact {
        facts::Fact::RecycleRequested { reason } => Some(LifeEvent::RecycleAsked(*reason)),
        facts::Fact::StoppedReceiving => Some(LifeEvent::StoppedReceiving),
        facts::Fact::Exiting { code } => Some(LifeEvent::Exits(*code)),
        _ => None,
    }
}

/// Lives, and whose is which.
#[derive(Default)]
struct Births {
    lives: Lives,
    places: BTreeMap<ProcessId, (String, usize)>,
    ready: BTreeMap<String, BTreeSet<ProcessId>>,
}

impl Births {
    fn take(&mut self, told: Told<'_>) {
        match told {
            Told::Born(process, pool) => {
                let of_pool = self.lives.0.entry(pool.to_owned()).or_default();
                self.places
                    .insert(process, (pool.to_owned(), of_pool.len()));
                of_pool.push(vec![LifeEvent::Spawned]);
            }
            Told::StopOrdered(process, reason) => {
                self.is_ready(process, false);
                let pool = self.places.get(&process).map(|(pool, _)| pool);
                let ready = pool.and_then(|pool| self.ready.get(pool));
                let others_ready = ready.map_or(0, BTreeSet::len);
                let event = LifeEvent::ToldToStop {
                    reason,
                    others_ready,
                };
                self.add(process, event);
            }
            Told::Of(process, event) => {
                match event {
                    LifeEvent::Ready => self.is_ready(process, true),
                    LifeEvent::Killed | LifeEvent::Exited(_) => self.is_ready(process, false),
                    LifeEvent::Spawned
                    | LifeEvent::RecycleAsked(_)
                    | LifeEvent::ToldToStop { .. }
                    | LifeEvent::StoppedReceiving
                    | LifeEvent::Exits(_) => {}
                }
                self.add(process, event);
            }
        }
    }

    fn is_ready(&mut self, process: ProcessId, ready: bool) {
        let Some((pool, _)) = self.places.get(&process) else {
            return;
        };
        let of_pool = self.ready.entry(pool.clone()).or_default();
        if ready {
            of_pool.insert(process);
        } else {
            of_pool.remove(&process);
        }
    }

    fn add(&mut self, process: ProcessId, event: LifeEvent) {
        let Some((pool, place)) = self.places.get(&process) else {
            return;
        };
        let lives = self.lives.0.get_mut(pool);
        if let Some(life) = lives.and_then(|lives| lives.get_mut(*place)) {
            life.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim_httpsys::etw::Traced;

    fn observation(was: &[(u64, event_log::Fact)]) -> Observation {
        let traced = was.iter().map(|(at, fact)| Traced {
            at: Instant(*at),
            fact: fact.clone(),
        });
        Observation {
            was: Some(traced.collect()),
            ..Observation::default()
        }
    }

    fn overlapped(gap: u64, ready_first: bool) -> Observation {
        let [one, two] = [ProcessId(1), ProcessId(2)];
        let born = |process| event_log::Fact::WorkerSpawned {
            process,
            pool: "Shop".to_owned(),
        };
        let ready = |process| event_log::Fact::WorkerReady { process };
        let stop = event_log::Fact::WorkerStopOrdered {
            process: one,
            reason: ShutdownReason::Recycle,
        };
        let (second_ready, first_stops) = if ready_first { (5, 6) } else { (6, 5) };
        observation(&[
            (gap, born(one)),
            (2 * gap, ready(one)),
            (4 * gap, born(two)),
            (second_ready * gap, ready(two)),
            (first_stops * gap, stop),
        ])
    }

    #[test]
    fn lives_are_compared_without_their_moments() {
        let (quick, slow) = (overlapped(1, true), overlapped(1_000, true));
        let (quick, slow) = (Lives::of(&quick), Lives::of(&slow));
        assert_eq!(quick, slow);
        assert_eq!(quick.count(), (2, 5));
        assert_eq!(quick.difference("live", &slow, "virtual"), None);
    }

    #[test]
    fn stopping_the_old_worker_before_the_new_one_is_ready_is_a_difference() {
        let (one, two) = (overlapped(1, true), overlapped(1, false));
        let difference = Lives::of(&one).difference("live", &Lives::of(&two), "virtual");
        let text = difference.unwrap();
        assert!(text.contains("worker 1 of pool Shop"), "{text}");
        assert!(text.contains("1 other ready"), "{text}");
        assert!(text.contains("0 other ready"), "{text}");
    }
}
