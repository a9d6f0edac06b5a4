//! A slot: one of the `maxProcesses` places of a pool, and what recycling means in it.
//!
//! ```text
//! overlapped      current: old ──────────────┐ (still receives)
//!                 replacement: new Starting ─┴─ Ready ─► current: new, outgoing: old (drains)
//! not overlapped  current: old ─► outgoing: old (drains) ─ exit ─► empty ─ work waits ─► current: new
//! ```
//!
//! A slot never holds more than two processes, or more than one if rotation may not overlap.
//!
//! Source: IIS docs, "Features of WAS": with overlapped recycling the process to be recycled keeps
//! processing until the new one is ready.

use std::collections::BTreeSet;

use sim_httpsys::clockwork::mutants::{Mutant, mutated};

use super::SpawnId;

/// One place for a worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    /// The worker that has the place: created, starting or running.
    pub(super) current: Option<SpawnId>,
    /// The worker that is to take its place: created or starting.
    pub(super) replacement: Option<SpawnId>,
    /// Workers that were told to stop, or killed, and have not exited.
    pub(super) outgoing: BTreeSet<SpawnId>,
    /// The worker that is to be recycled once the recycle before is over.
    pub(super) again: Option<SpawnId>,
    /// Whether it has had a worker since the pool was made.
    pub(super) used: bool,
}

/// What a recycle order means in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecycleStep {
    /// No worker is there: nothing, and that is a success.
    NoWorker,
    /// A fresh process is already on its way: the order is satisfied by it.
    Coalesced,
    /// The last one is still draining: once more when it has gone.
    /// Assumed: nothing is documented; this keeps a slot at two processes and loses no order.
    Later(SpawnId),
    /// Start a replacement for this worker.
    Replace(SpawnId),
    /// Stop this worker; a new one is started when it has gone and work waits.
    StopFirst(SpawnId),
}

impl RecycleStep {
    /// Whether the order makes a difference (and is logged).
    pub(super) fn is_effective(self) -> bool {
        match self {
            Self::NoWorker | Self::Coalesced => false,
            Self::Later(_) | Self::Replace(_) | Self::StopFirst(_) => true,
        }
    }
}

impl Slot {
    /// How many processes it holds.
    pub(super) fn processes(&self) -> usize {
        usize::from(self.current.is_some())
            + usize::from(self.replacement.is_some())
            + self.outgoing.len()
    }

    /// Whether a worker may be started in it.
    pub(super) fn may_start(&self, overlap: bool) -> bool {
        self.current.is_none() && self.outgoing.len() <= usize::from(overlap)
    }

    /// What a recycle order means now. `running` says whether the current worker is ready, `stale`
    /// whether a process that is on its way will not do, because it was started with old settings.
    pub(super) fn recycle(&self, overlap: bool, running: bool, stale: bool) -> RecycleStep {
        let Some(current) = self.current else {
            return RecycleStep::NoWorker;
        };
        let newest = self.replacement.unwrap_or(current);
        let is_under_way = self.replacement.is_some() && !mutated(Mutant::RecycleTwice);
        if self.again == Some(newest) {
            RecycleStep::Coalesced
        } else if !running || is_under_way {
            if stale {
                RecycleStep::Later(newest)
            } else {
                RecycleStep::Coalesced
            }
        } else if !self.outgoing.is_empty() {
            RecycleStep::Later(current)
        } else if overlap {
            RecycleStep::Replace(current)
        } else {
            RecycleStep::StopFirst(current)
        }
    }

    /// The replacement takes the place; gives back the worker that has to go.
    pub(super) fn hand_over(&mut self) -> Option<SpawnId> {
        let old = self.current.take();
        self.current = self.replacement.take();
        self.outgoing.extend(old);
        old
    }

    /// A worker was told to stop or killed. If it had the place, a replacement on its way has it now.
    pub(super) fn retire(&mut self, worker: SpawnId) {
        if self.current == Some(worker) {
            self.current = self.replacement.take();
        } else if self.replacement == Some(worker) {
            self.replacement = None;
        }
        self.outgoing.insert(worker);
    }

    /// A worker has exited.
    pub(super) fn remove(&mut self, worker: SpawnId) {
        self.retire(worker);
        self.outgoing.remove(&worker);
    }

    /// Takes the order to recycle once more, if it can be carried out now: `running` says whether the
    /// current worker is ready. If the worker that was meant has gone, so has the order.
    pub(super) fn take_again(&mut self, running: bool) -> bool {
        let Some(meant) = self.again else {
            return false;
        };
        if self.current != Some(meant) && self.replacement != Some(meant) {
            self.again = None;
            return false;
        }
        let possible = running && self.current == Some(meant) && self.outgoing.is_empty();
        possible && self.again.take().is_some()
    }
}
