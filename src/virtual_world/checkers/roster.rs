//! The workers that WAS knows, by their pools too: with thousands of pools, looking through all workers for those of
//! each pool would take longer than the run.

use std::collections::BTreeMap;
use std::collections::btree_map::IterMut;
use std::ops::Deref;

use sim_httpsys::api::ProcessId;

use super::book::{PoolIndex, Worker};

/// Workers, by process and by pool.
#[derive(Debug, Default)]
pub(super) struct Roster {
    all: BTreeMap<ProcessId, Worker>,
    /// By the number of the pool, in the order of the processes.
    of_pools: Vec<Vec<ProcessId>>,
}

impl Deref for Roster {
    type Target = BTreeMap<ProcessId, Worker>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Roster {
    pub(super) fn insert(&mut self, process: ProcessId, worker: Worker) {
        self.remove(process);
        let PoolIndex(pool) = worker.pool;
        if self.of_pools.len() <= pool {
            self.of_pools.resize_with(pool + 1, Vec::new);
        }
        let of_pool = &mut self.of_pools[pool];
        let place = of_pool.partition_point(|other| *other < process);
        of_pool.insert(place, process);
        self.all.insert(process, worker);
    }

    pub(super) fn remove(&mut self, process: ProcessId) -> Option<Worker> {
        let worker = self.all.remove(&process)?;
        if let Some(of_pool) = self.of_pools.get_mut(worker.pool.0) {
            of_pool.retain(|other| *other != process);
        }
        Some(worker)
    }

    /// To change what is known of it: its pool stays what it was.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as the map takes it")]
    pub(super) fn get_mut(&mut self, process: &ProcessId) -> Option<&mut Worker> {
        self.all.get_mut(process)
    }

    pub(super) fn iter_mut(&mut self) -> IterMut<'_, ProcessId, Worker> {
        self.all.iter_mut()
    }

    /// Those of a pool, in the order of their processes.
    pub(super) fn of(&self, pool: PoolIndex) -> impl Iterator<Item = (&ProcessId, &Worker)> {
        let of_pool = self.of_pools.get(pool.0);
        let processes = of_pool.map(Vec::as_slice).unwrap_or_default();
        processes
            .iter()
            .filter_map(|process| self.all.get_key_value(process))
    }
}
