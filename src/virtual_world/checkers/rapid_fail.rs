//! F1–F3: which failures count, when they are too many, and that nothing starts after that.

use std::collections::VecDeque;

use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::Instant;
use sim_was::event_log::{Event, Fact, WorkerExit};

use super::book::{Book, PoolIndex};
use super::sometimes::{Seen, Sometimes};
use super::{Verdict, broken, pid_of};

/// The failures of one pool.
#[derive(Debug, Default)]
struct Failures {
    at: VecDeque<Instant>,
    disabled: Option<Instant>,
    /// The failure of this input that reaches the limit, and its event.
    tripping: Option<u16>,
}

#[derive(Debug)]
pub(super) struct RapidFail {
    pools: Vec<Failures>,
    /// Workers that have ended in this input without having been told to.
    crashed: Vec<(ProcessId, WorkerExit)>,
    /// The worker that ended last, if it ended as it was told to.
    ended_well: Option<ProcessId>,
    /// It has left by itself, without an error.
    left: Option<ProcessId>,
}

impl RapidFail {
    pub(super) fn new(pools: usize) -> Self {
        Self {
            pools: (0..pools).map(|_| Failures::default()).collect(),
            crashed: Vec::new(),
            ended_well: None,
            left: None,
        }
    }

    /// A fact of WAS, before the book has it.
    pub(super) fn was(&mut self, book: &mut Book, fact: &Fact, seen: &mut Sometimes) -> Verdict {
        match fact {
            Fact::Event(event) => self.event(book, event, seen),
            Fact::WorkerSpawned { process, pool } => {
                let index = book.pool_named(pool);
                let failures = index.and_then(|index| self.pools.get(index.0));
                // A process that was ordered in the same instant may be there a moment later.
                let disabled = failures.and_then(|failures| failures.disabled);
                if disabled.is_some_and(|disabled| book.now > disabled) {
                    return broken(
                        "F3",
                        format!("{process:?} was started for {pool}, which is off"),
                    );
                }
                Ok(())
            }
            Fact::WorkerExited { process, exit } => {
                let worker = book.workers.get(process);
                let in_order = worker.is_some_and(|worker| worker.ordered.is_some());
                self.ended_well = (in_order && exit.is_clean()).then_some(*process);
                let had_come = worker.is_some_and(|worker| worker.ready.is_some());
                let left = !in_order && had_come && exit.is_clean();
                self.left = left.then_some(*process);
                if worker.is_some_and(|worker| !worker.is_leaving() && !worker.failed) {
                    self.crashed.push((*process, *exit));
                }
                Ok(())
            }
            Fact::PoolState { pool, state } => {
                if let Some(index) = book.pool_named(pool)
                    && state == "Started"
                {
                    self.forget(index);
                }
                Ok(())
            }
            _other => Ok(()),
        }
    }

    /// WAS has taken a configuration: so many pools there are, and of these failures are counted anew.
    pub(super) fn recount(&mut self, pools: usize, others: &[PoolIndex]) {
        self.pools.resize_with(pools, Failures::default);
        for index in others {
            self.pools[index.0].at.clear();
        }
    }

    /// A pool was started, by an administrator or with WAS.
    fn forget(&mut self, pool: PoolIndex) {
        self.pools[pool.0] = Failures::default();
    }

    fn event(&mut self, book: &mut Book, event: &Event, seen: &mut Sometimes) -> Verdict {
        let Some(index) = event.pool.as_deref().and_then(|name| book.pool_named(name)) else {
            return Ok(());
        };
        match event.id {
            5009..=5013 | 5039 | 5127 | 5139 => {
                let process = pid_of(event);
                if process.is_some() && process == self.ended_well {
                    let what = format!("{process:?} stopped in order, and failed by {}", event.id);
                    return broken("F1", what);
                }
                self.crashed
                    .retain(|(crashed, _)| Some(*crashed) != process);
                let worker = process.and_then(|process| book.workers.get_mut(&process));
                if let Some(worker) = worker {
                    if worker.failed {
                        let what =
                            format!("a worker has failed twice, the second time by {}", event.id);
                        return broken("F1", what);
                    }
                    worker.failed = true;
                }
                // cc787273: only an exit with an error counts.
                if process.is_some() && process == self.left {
                    return Ok(());
                }
                self.failure(book, index, event.id, seen);
                Ok(())
            }
            // A replacement that could not be created.
            5093 => {
                self.failure(book, index, event.id, seen);
                Ok(())
            }
            5002 => self.tripped(book, index, seen),
            _other => Ok(()),
        }
    }

    fn failure(&mut self, book: &Book, index: PoolIndex, event: u16, seen: &mut Sometimes) {
        let pool = book.pool(index);
        let Some((crashes_max, interval)) = pool.rapid_fail else {
            return;
        };
        if !pool.may_run() || !book.serving {
            return;
        }
        let failures = &mut self.pools[index.0];
        failures.at.push_back(book.now);
        let before = failures.at.len();
        while failures
            .at
            .front()
            .is_some_and(|at| book.now.saturating_since(*at) >= interval)
        {
            failures.at.pop_front();
        }
        if before >= crashes_max as usize && failures.at.len() < crashes_max as usize {
            seen.note(Seen::FailuresSlideOut);
        }
        if failures.at.len() >= crashes_max as usize {
            failures.tripping = Some(event);
        }
    }

    fn tripped(&mut self, book: &Book, index: PoolIndex, seen: &mut Sometimes) -> Verdict {
        let name = &book.pool(index).name;
        let failures = &mut self.pools[index.0];
        let Some(event) = failures.tripping.take() else {
            let count = failures.at.len();
            return broken("F2", format!("{name} was disabled after {count} failures"));
        };
        failures.disabled = Some(book.now);
        seen.note(match event {
            5009 | 5011 => Seen::TrippedByCrash,
            5010 => Seen::TrippedByPing,
            5012 => Seen::TrippedByStartup,
            5013 => Seen::TrippedByShutdown,
            _other => Seen::TrippedByDistrust,
        });
        Ok(())
    }

    /// WAS has carried out an input: F1, F2.
    pub(super) fn settled(&mut self, book: &Book) -> Verdict {
        if let Some((process, exit)) = self.crashed.pop() {
            let what = format!("{process:?} has ended ({exit:?}), and no failure was counted");
            return broken("F1", what);
        }
        for (index, (pool, failures)) in book.pools.iter().zip(&self.pools).enumerate() {
            let stays = |(_, worker): &(&ProcessId, &super::book::Worker)| !worker.is_leaving();
            if failures.disabled.is_some()
                && let Some((process, _)) = book.workers_of(PoolIndex(index)).find(stays)
            {
                let what = format!("{process:?} of {} stays, and the pool is off", pool.name);
                return broken("F3", what);
            }
            if let Some(event) = failures.tripping {
                let count = failures.at.len();
                let what = format!(
                    "{} has failed {count} times ({event}), and is on",
                    pool.name
                );
                return broken("F2", what);
            }
        }
        Ok(())
    }
}
