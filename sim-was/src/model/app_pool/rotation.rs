//! Rotation: how the workers of a pool are replaced. What an order means in one place is in
//! `recycling.rs`; here it is carried out.

use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::Instant;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};
use sim_worker::ipm::{RecycleReason, ShutdownReason};

use super::{AppPool, AppPoolState};
use crate::control::Refusal;
use crate::event_log::{Event, WorkerFailure};
use crate::model::SpawnId;
use crate::model::effects::Effects;
use crate::model::recycling::RecycleStep;
use crate::model::supervised_worker::WorkerState;

impl AppPool {
    /// An administrator recycles the pool: every worker, at once.
    ///
    /// Source: `TechNet` "Recycling an Application Pool": a recycle on demand restarts all workers.
    /// Assumed: without a worker nothing is logged, as nothing is recycled.
    pub(in crate::model) fn recycle(
        &mut self,
        fx: &mut Effects,
        now: Instant,
    ) -> Result<(), Refusal> {
        if self.state != AppPoolState::Started {
            return Err(Refusal::not_started());
        }
        if !self.serving {
            return Ok(());
        }
        let steps: Vec<RecycleStep> = (0..self.slots.len())
            .map(|slot| self.step(slot, false))
            .collect();
        if steps.iter().any(|step| step.is_effective()) {
            self.log_recycle(RecycleReason::OnDemand, ProcessId(0), fx);
        }
        for (slot, step) in steps.into_iter().enumerate() {
            self.carry_out(slot, step, fx, now);
        }
        self.note_recycle_of_all();
        Ok(())
    }

    /// Assumed: event 5070 is for a recycle of all workers of which one could not be replaced. It says so once,
    /// however many could not.
    pub(super) fn note_recycle_of_all(&mut self) {
        let replacements = self.slots.iter().filter_map(|slot| slot.replacement);
        self.recycled_together = replacements.collect();
    }

    pub(super) fn ready(&mut self, id: SpawnId, fx: &mut Effects, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        match worker.state() {
            WorkerState::Starting => worker.ready(fx, now),
            WorkerState::Running
            | WorkerState::Suspending
            | WorkerState::Suspended
            | WorkerState::Resuming => return self.kill(id, WorkerFailure::Untrusted, fx, now),
            WorkerState::Spawned | WorkerState::Stopping | WorkerState::Killed => return,
        }
        let slot = worker.slot;
        if self.slots[slot].replacement == Some(id)
            && let Some(old) = self.slots[slot].hand_over()
            && let Some(old) = self.workers.get_mut(&old)
        {
            old.stop(ShutdownReason::Recycle, fx, now);
        }
    }

    pub(super) fn step(&self, slot: usize, stale: bool) -> RecycleStep {
        let overlap = self.overlap() && !mutated(Mutant::StopBeforeReplacement);
        self.slots[slot].recycle(overlap, self.is_running(slot), stale)
    }

    /// Whether the worker that has the place is ready.
    pub(super) fn is_running(&self, slot: usize) -> bool {
        self.slots[slot]
            .current
            .is_some_and(|id| self.workers[&id].is_up())
    }

    pub(super) fn carry_out(
        &mut self,
        slot: usize,
        step: RecycleStep,
        fx: &mut Effects,
        now: Instant,
    ) {
        if slot >= self.slots_wanted() {
            return self.clear_slot(slot, fx, now);
        }
        match step {
            RecycleStep::NoWorker | RecycleStep::Coalesced => {}
            RecycleStep::Later(worker) => self.slots[slot].again = Some(worker),
            RecycleStep::Replace(old) if !self.settings.process_model.identity.is_valid() => {
                // Source: WAS features: whether an identity can log on is looked at before a process is created.
                // Assumed: nothing has failed to start, so that nothing counts for rapid-fail protection.
                if let Some(pid) = self.workers.get(&old).and_then(|old| old.pid) {
                    fx.event(Event::overlap_failed(&self.settings.name, pid));
                }
            }
            RecycleStep::Replace(_) => {
                let id = self.order_process(slot, fx, now);
                self.slots[slot].replacement = Some(id);
            }
            RecycleStep::StopFirst(old) => {
                self.slots[slot].retire(old);
                self.stop_one(old, ShutdownReason::Recycle, fx, now);
            }
        }
    }

    /// What a failed replacement does to the worker that it was to replace, in one mutant.
    pub(super) fn stop_replaced(&mut self, replacement: SpawnId, fx: &mut Effects, now: Instant) {
        let mut slots = self.slots.iter_mut();
        let slot = slots.find(|slot| slot.replacement == Some(replacement));
        if let Some(slot) = slot
            && let Some(old) = slot.hand_over()
        {
            self.stop_one(old, ShutdownReason::Recycle, fx, now);
        }
    }

    pub(super) fn recycle_requested(
        &mut self,
        id: SpawnId,
        reason: RecycleReason,
        fx: &mut Effects,
        now: Instant,
    ) {
        if reason == RecycleReason::IsapiUnhealthy {
            fx.event(Event::isapi_unhealthy());
        }
        let worker = &self.workers[&id];
        let (slot, pid) = (worker.slot, worker.pid);
        if !self.may_run() || self.slots[slot].current != Some(id) {
            return;
        }
        let step = self.step(slot, false);
        if step.is_effective()
            && let Some(pid) = pid
        {
            self.log_recycle(reason, pid, fx);
        }
        self.carry_out(slot, step, fx, now);
    }

    /// Source: IIS docs, `logEventOnRecycle`: which reasons are logged.
    pub(super) fn log_recycle(&self, reason: RecycleReason, pid: ProcessId, fx: &mut Effects) {
        if self
            .settings
            .recycling
            .log_event_on_recycle
            .contains(&reason)
        {
            fx.event(Event::recycle(reason, &self.settings.name, pid));
        }
    }
}
