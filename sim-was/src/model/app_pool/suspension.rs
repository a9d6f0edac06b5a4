//! Idleness: a worker that has nothing to do is ended, or frozen until somebody wants it.
//!
//! Source: IIS docs, `idleTimeoutAction`: Terminate ends the process; Suspend pages it out, so that
//! nothing is lost and the first request is fast.
//! Assumed: it is recycled by the clock all the same (by age, at the times of the schedule), for which it is woken
//! here; what counts requests or measures memory has nothing to count meanwhile.

use std::time::Duration;

use sim_httpsys::clockwork::Instant;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};
use sim_worker::ipm::{ShutdownReason, ToWorker};

use super::AppPool;
use crate::event_log::{Event, Fact};
use crate::model::effects::Effects;
use crate::model::idle::{self, IdleDecision};
use crate::model::supervised_worker::WorkerState;
use crate::model::{FreezeReason, Output, SpawnId, Timer};

impl AppPool {
    /// A worker has nothing to do.
    pub(super) fn idle(&mut self, id: SpawnId, fx: &mut Effects, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let (slot, pid) = (worker.slot, worker.pid);
        if worker.state() != WorkerState::Running {
            return;
        }
        let log = self.settings.process_model.log_idle_timeout;
        let minutes = idle::minutes(worker.limits());
        let suspends = worker.limits().idle_suspend;
        match idle::decide(suspends, log, self.slots[slot].replacement.is_some()) {
            IdleDecision::Stay => {}
            IdleDecision::Suspend => worker.suspend(fx),
            IdleDecision::ShutDown { log } => {
                if let Some(pid) = pid.filter(|_| log) {
                    let pool = &self.settings.name;
                    fx.event(if self.idle_divisor > 1 {
                        let decreased = minutes / u64::from(self.idle_divisor);
                        Event::idle_under_load(pool, pid, minutes, decreased)
                    } else {
                        Event::idle(pool, pid, minutes)
                    });
                }
                self.slots[slot].retire(id);
                self.stop_one(id, ShutdownReason::Idle, fx, now);
            }
        }
    }

    /// A worker takes nothing more: it is frozen.
    pub(super) fn suspended(
        &mut self,
        id: SpawnId,
        wake_in: Option<Duration>,
        fx: &mut Effects,
        now: Instant,
    ) {
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.state() == WorkerState::Suspending
        {
            worker.suspended(fx);
            if let Some(wake_in) = wake_in {
                fx.timers.set(Timer::Wake(id), now + wake_in);
            }
        }
    }

    /// The clock has come to where a frozen worker asks to be recycled.
    pub(in crate::model) fn wake(&mut self, id: SpawnId, fx: &mut Effects, now: Instant) {
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.state() == WorkerState::Suspended
        {
            worker.resume(fx, now);
        }
    }

    /// A worker takes requests again, or has found some before it could be frozen.
    pub(super) fn resumed(&mut self, id: SpawnId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && matches!(
                worker.state(),
                WorkerState::Suspending | WorkerState::Resuming
            )
        {
            worker.become_(WorkerState::Running);
        }
    }

    /// A worker that is frozen and could serve.
    pub(super) fn suspended_worker(&self) -> Option<SpawnId> {
        if mutated(Mutant::ResumeForgotten) {
            return None;
        }
        let current = self.slots.iter().filter_map(|slot| slot.current);
        current
            .into_iter()
            .find(|id| self.workers[id].state() == WorkerState::Suspended)
    }

    /// Dynamic idle has changed what idle timeouts are divided by.
    pub(in crate::model) fn set_idle_divisor(&mut self, divisor: u32, fx: &mut Effects) {
        self.idle_divisor = divisor;
        for worker in self.workers.values() {
            if let Some(pid) = worker.pid.filter(|_| !worker.is_leaving()) {
                let timeout = self.divided(worker.limits().idle_timeout);
                let message = ToWorker::SetIdleTimeout { timeout };
                fx.push(Output::Tell { pid, message });
            }
        }
    }

    /// What dynamic idle makes of an idle timeout now; zero for none.
    pub(super) fn divided(&self, idle_timeout: Duration) -> Duration {
        idle_timeout / self.idle_divisor.max(1)
    }
}

impl super::SupervisedWorker {
    /// Asks it to give back its receives.
    fn suspend(&mut self, fx: &mut Effects) {
        self.become_(WorkerState::Suspending);
        if let Some(pid) = self.pid {
            let message = ToWorker::Suspend;
            fx.push(Output::Tell { pid, message });
        }
    }

    /// Freezes it. It is not pinged: a frozen process cannot answer.
    fn suspended(&mut self, fx: &mut Effects) {
        self.become_(WorkerState::Suspended);
        fx.clear_timers(self.spawn());
        self.freeze(FreezeReason::Suspended, fx);
        if let Some(process) = self.pid {
            fx.fact(Fact::WorkerSuspended { process });
        }
    }

    /// Wakes it, because work waits.
    pub(super) fn resume(&mut self, fx: &mut Effects, now: Instant) {
        self.become_(WorkerState::Resuming);
        fx.timers.clear(Timer::Wake(self.spawn()));
        if let Some(process) = self.pid {
            fx.fact(Fact::WorkerResumed { process });
        }
        self.thaw(fx);
        self.watch(fx, now);
        if let Some(pid) = self.pid {
            let message = ToWorker::Resume;
            fx.push(Output::Tell { pid, message });
        }
    }
}
