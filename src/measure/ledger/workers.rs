//! What the workers say of the requests that they had.

use std::collections::{BTreeMap, BTreeSet};

use sim_httpsys::api::ProcessId;
use sim_worker::facts;

use crate::measure::Observation;

/// What a worker says about its requests.
#[derive(Default)]
pub(super) struct Worker {
    began: BTreeSet<u64>,
    pub(super) ended: BTreeMap<u64, u16>,
    /// It ended by its own will, so its trace is whole.
    pub(super) is_whole: bool,
}

/// What each worker says, by its trace.
pub(super) fn of(observation: &Observation) -> BTreeMap<ProcessId, Worker> {
    let mut workers = BTreeMap::new();
    for (process, facts) in observation.workers.iter().flatten() {
        let mut worker = Worker::default();
        for traced in facts {
            if let facts::Fact::RequestBegan { activity, .. } = &traced.fact {
                worker.began.insert(activity.0);
            } else if let facts::Fact::RequestEnded {
                activity, status, ..
            } = &traced.fact
            {
                worker.ended.insert(activity.0, *status);
            } else if let facts::Fact::RequestAborted { activity, .. } = &traced.fact {
                worker.began.remove(&activity.0);
            } else if let facts::Fact::Exiting { .. } = &traced.fact {
                worker.is_whole = true;
            }
        }
        workers.insert(*process, worker);
    }
    workers
}

/// Requests that a worker began and never finished, although it lived on or ended in order.
pub(super) fn lost_in(
    workers: &BTreeMap<ProcessId, Worker>,
) -> impl Iterator<Item = (u64, String)> {
    let whole = workers.iter().filter(|(_, worker)| worker.is_whole);
    whole.flat_map(|(process, worker)| {
        let began = worker.began.iter();
        let lost = began.filter(|id| !worker.ended.contains_key(id));
        lost.map(|id| {
            let why = format!("worker {} began it and never ended it", process.0);
            (*id, why)
        })
    })
}
