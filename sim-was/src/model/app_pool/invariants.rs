//! What must always hold in a pool.

use super::{AppPool, AppPoolState};
use crate::model::recycling::Slot;
use crate::model::supervised_worker::SupervisedWorker;

impl AppPool {
    /// What must always hold.
    pub(super) fn check_invariants(&self) {
        let per_slot = 1 + usize::from(self.overlap());
        for slot in &self.slots {
            assert!(
                self.settling || slot.processes() <= per_slot,
                "a slot has at most its worker and one that comes or goes: {slot:?}"
            );
            if let Some(replacement) = slot.replacement {
                assert!(
                    self.workers[&replacement].is_starting(),
                    "a replacement that is ready takes the place at once"
                );
                assert!(
                    slot.current.is_some_and(|id| self.workers[&id].is_up()),
                    "only a worker that is up is replaced"
                );
            }
            assert!(
                slot.current
                    .is_none_or(|id| !self.workers[&id].is_leaving()),
                "a worker that was told to stop has lost its place"
            );
        }
        let placed: usize = self.slots.iter().map(Slot::processes).sum();
        assert_eq!(
            placed,
            self.workers.len(),
            "every worker is in exactly one slot"
        );
        if self.state != AppPoolState::Started {
            assert!(
                self.workers.values().all(SupervisedWorker::is_leaving),
                "a pool that is off starts nothing"
            );
        }
        let failure = &self.settings.failure;
        assert!(
            self.state != AppPoolState::Started
                || self.rapid_fail.recent() < failure.rapid_fail_protection_max_crashes as usize,
            "the failure that reaches the limit disables the pool"
        );
    }
}
