//! CPU limits: what follows for a pool from what its job object has found.
//!
//! Source: IIS docs, `cpu`, `action`; `TechNet` "CPU Monitoring" (IIS 6): with the action shutdown the
//! workers are ended and the pool serves nothing until the reset interval ends.

use sim_httpsys::clockwork::Instant;

use super::AppPool;
use crate::config::Cpu;
use crate::event_log::Event;
use crate::model::effects::Effects;
use crate::model::job_object::{CpuUse, JobVerdict};
use crate::model::supervised_worker::WorkerState;
use crate::model::{FreezeReason, Output, Timer};

impl AppPool {
    /// Sees to it that CPU time is measured as long as there is something to measure.
    pub(super) fn watch_cpu(&self, fx: &mut Effects, now: Instant) {
        let timer = Timer::Cpu(self.id);
        let wanted = self.job.is_active() && (!self.workers.is_empty() || self.job.is_held());
        match (wanted, fx.timers.get(timer)) {
            (true, None) => fx.timers.set(timer, now + self.job.period()),
            (false, Some(_)) => fx.timers.clear(timer),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Another limit holds from now on; what was counted by the old one does not count.
    pub(super) fn set_cpu_limit(&mut self, cpu: Cpu, fx: &mut Effects) {
        fx.driver_changed |= self.job.is_held();
        self.job.set(cpu);
        let awake = self
            .workers
            .values_mut()
            .filter(|worker| worker.state() != WorkerState::Suspended);
        for worker in awake {
            worker.thaw(fx);
        }
    }

    /// It is time to measure.
    pub(in crate::model) fn cpu_due(&mut self, fx: &mut Effects, now: Instant) {
        if self.job.release(now) {
            self.demand = super::DemandStart::Unarmed;
            fx.driver_changed = true;
        }
        let pids = self.workers.values().filter_map(|worker| worker.pid);
        fx.push(Output::MeasureCpu {
            pool: self.id,
            pids: pids.collect(),
        });
    }

    /// CPU time could not be measured: nobody is held back for what nobody knows.
    pub(in crate::model) fn cpu_unknown(&mut self, fx: &mut Effects) {
        if self.job.is_active() && self.job.lost() {
            fx.event(Event::job_not_queried(&self.settings.name));
            let awake = self
                .workers
                .values_mut()
                .filter(|worker| worker.state() != WorkerState::Suspended);
            for worker in awake {
                worker.thaw(fx);
            }
        }
    }

    /// CPU time was measured.
    pub(in crate::model) fn cpu_measured(&mut self, cpu: &CpuUse, fx: &mut Effects, now: Instant) {
        if !self.job.is_active() {
            return;
        }
        match self.job.measured(cpu, now) {
            JobVerdict::Within => {}
            JobVerdict::Log => fx.event(Event::job_limit_exceeded(&self.settings.name)),
            JobVerdict::Kill(until) => {
                fx.event(Event::job_limit_exceeded(&self.settings.name));
                // Assumed: it is no failure that counts, because the administrator wanted it.
                self.kill_all(fx);
                fx.driver_changed = true;
                fx.timers.set(Timer::Cpu(self.id), until);
            }
        }
        let frozen = self.job.is_frozen();
        for worker in self.workers.values_mut() {
            if matches!(
                worker.state(),
                WorkerState::Suspended | WorkerState::Killed | WorkerState::Spawned
            ) {
                continue;
            }
            if frozen {
                worker.freeze(FreezeReason::Throttled, fx);
            } else {
                worker.thaw(fx);
            }
        }
    }
}
