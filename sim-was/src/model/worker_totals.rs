//! What workers have counted, beyond their lives: the totals of all of them only grow while W3SVC runs.
//!
//! A worker that exits says what it has counted. Of one that is killed WAS knows what it has said last: what it
//! has counted since then nobody knows any more.

use std::collections::{BTreeMap, BTreeSet};

use sim_httpsys::api::ProcessId;
use sim_worker::counters::WorkerCounters;

use crate::control::{CounterReadings, WorkerReading};

/// What WAS was told, since W3SVC was started.
#[derive(Debug, Default)]
pub(super) struct WorkerTotals {
    /// Workers that live, with their pools, as they have spoken last.
    told: BTreeMap<ProcessId, (String, WorkerCounters)>,
    /// Workers that are gone, by pool.
    gone: BTreeMap<String, WorkerCounters>,
    file_cache_memory_max: u64,
}

impl WorkerTotals {
    /// A worker has spoken.
    pub(super) fn told(&mut self, pid: ProcessId, pool: &str, counters: WorkerCounters) {
        self.told.insert(pid, (pool.to_owned(), counters));
    }

    /// A worker is gone.
    pub(super) fn gone(&mut self, pid: ProcessId) {
        if let Some((pool, mut counters)) = self.told.remove(&pid) {
            counters.end();
            self.gone.entry(pool).or_default().add(&counters);
        }
    }

    /// Adds to the readings of workers that have answered what else was counted: of those that have not what they have
    /// said last, and that of those that are gone. One that has answered and is gone by now is not counted twice.
    pub(super) fn complete(&mut self, readings: &mut CounterReadings) {
        let workers = &mut readings.workers;
        workers.retain(|worker| self.told.contains_key(&ProcessId(worker.pid)));
        let answered: BTreeSet<u32> = workers.iter().map(|worker| worker.pid).collect();
        let silent = self.told.iter();
        let silent = silent.filter(|(pid, _)| !answered.contains(&pid.0));
        workers.extend(silent.map(|(pid, (pool, counters))| WorkerReading {
            pid: pid.0,
            application_pool: pool.clone(),
            counters: *counters,
        }));
        workers.sort_by_key(|worker| worker.pid);
        let caches = self.told.values().map(|(_, worker)| worker.file_cache);
        let memory_max = caches.map(|cache| cache.memory_max).sum();
        self.file_cache_memory_max = self.file_cache_memory_max.max(memory_max);
        readings.file_cache_memory_max = self.file_cache_memory_max;
        readings.others = self.gone.clone().into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(hits: u64) -> WorkerCounters {
        let mut counters = WorkerCounters::default();
        counters.file_cache.hits = hits;
        counters.file_cache.total_items = 2;
        counters.file_cache.memory_max = 100;
        counters
    }

    /// Hits, entries that are in, and the most memory, when these have answered.
    fn sum(totals: &mut WorkerTotals, answered: &[(u32, u64)]) -> (u64, u64, u64) {
        let mut readings = CounterReadings::default();
        let answered = answered.iter().map(|&(pid, hits)| WorkerReading {
            pid,
            application_pool: "P".to_owned(),
            counters: counted(hits),
        });
        readings.workers = answered.collect();
        totals.complete(&mut readings);
        let mut all = WorkerCounters::default();
        let workers = readings.workers.iter().map(|worker| &worker.counters);
        for counters in workers.chain(readings.others.iter().map(|(_, counters)| counters)) {
            all.add(counters);
        }
        let file = all.file_cache;
        (
            file.hits,
            file.current_items(),
            readings.file_cache_memory_max,
        )
    }

    #[test]
    fn totals_do_not_fall_when_a_worker_hangs_or_exits_and_its_entries_are_gone_with_it() {
        let mut totals = WorkerTotals::default();
        let (old, new) = (ProcessId(1), ProcessId(2));
        totals.told(old, "P", counted(124));
        assert_eq!(sum(&mut totals, &[(1, 124)]), (124, 2, 100));
        assert_eq!(sum(&mut totals, &[]), (124, 2, 100), "it does not answer");
        totals.told(new, "P", counted(0));
        assert_eq!(sum(&mut totals, &[(1, 124), (2, 0)]), (124, 4, 200));
        totals.told(old, "P", counted(126));
        totals.gone(old);
        assert_eq!(sum(&mut totals, &[(2, 0)]), (126, 2, 200));
        let late = sum(&mut totals, &[(1, 124), (2, 0)]);
        assert_eq!(late, (126, 2, 200), "it had answered before it exited");
    }
}
