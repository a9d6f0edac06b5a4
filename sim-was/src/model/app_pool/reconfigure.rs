//! A pool's settings change while it lives, or it leaves the configuration.

use sim_httpsys::api::{DisabledReason, ProcessId, UrlContext};
use sim_httpsys::clockwork::Instant;
use sim_worker::configuration::{Application, WorkerConfiguration};
use sim_worker::ipm::{RecycleReason, ShutdownReason};

use super::{AppPool, AppPoolState};
use crate::config::ApplicationPool;
use crate::model::config_change::news_of_applications;
use crate::model::effects::Effects;
use crate::model::recycling::{RecycleStep, Slot};
use crate::model::{Output, PoolId};

impl AppPool {
    pub(in crate::model) fn id(&self) -> PoolId {
        self.id
    }

    /// Its applications, as the next worker is to know them.
    pub(in crate::model) fn applications(&self) -> &[Application] {
        &self.configuration.applications
    }

    /// Takes new settings: what is looked at when it is needed holds from now on, what a worker was
    /// started with holds for the next one.
    pub(in crate::model) fn reconfigure(
        &mut self,
        settings: ApplicationPool,
        configuration: WorkerConfiguration,
        fx: &mut Effects,
    ) {
        let rule = |settings: &ApplicationPool| {
            let failure = &settings.failure;
            let (is_on, most) = (
                failure.rapid_fail_protection,
                failure.rapid_fail_protection_max_crashes,
            );
            (is_on, most, failure.rapid_fail_protection_interval)
        };
        if rule(&self.settings) != rule(&settings) {
            // Assumed: what was counted by another rule does not count.
            self.rapid_fail.clear();
        }
        // Source: IIS configuration reference, `disallowRotationOnConfigChange`: running workers keep what they were
        // started with.
        let keeps = settings.recycling.disallow_rotation_on_config_change;
        if self.settings.cpu != settings.cpu && (!keeps || self.workers.is_empty()) {
            self.set_cpu_limit(settings.cpu.clone(), fx);
        }
        let is_repaired = self.settings.fault.is_some() && settings.fault.is_none();
        if is_repaired && self.state == AppPoolState::Stopped(DisabledReason::AppOffline) {
            self.settings = settings.clone();
            let _ = self.start(fx);
        }
        self.settings = settings;
        self.configuration = configuration;
        self.settling = true;
        self.slots
            .resize_with(self.slots.len().max(self.slots_wanted()), Slot::default);
        if std::mem::take(&mut self.leaving) {
            // It was taken out of the configuration and is in it again before its workers had gone.
            let state = if self.settings.auto_start {
                AppPoolState::Started
            } else {
                AppPoolState::Stopped(DisabledReason::Disabled)
            };
            self.set_state(state, fx);
        }
    }

    /// It is not in the configuration any more: its workers finish, then it is gone.
    pub(in crate::model) fn leave(&mut self, fx: &mut Effects) {
        if !self.leaving {
            self.leaving = true;
            if self.state == AppPoolState::Started {
                self.set_state(AppPoolState::Stopping, fx);
            }
        }
    }

    /// Whether it is to go, but its queue is still needed.
    pub(in crate::model) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether it has left and nothing of it runs.
    pub(in crate::model) fn has_left(&self) -> bool {
        self.leaving && self.workers.is_empty()
    }

    /// Recycles every worker, because what it was started with has changed.
    ///
    /// Source: WAS event 5080: "being recycled due to 1 or more configuration changes in the
    /// application pool properties which necessitate a restart of the processes"; one event for all.
    pub(in crate::model) fn recycle_for_change(&mut self, fx: &mut Effects, now: Instant) {
        if !self.may_run() {
            return;
        }
        self.keep_surplus_workers();
        // A process that is on its way was started with the old settings and will not do.
        let steps: Vec<RecycleStep> = (0..self.slots.len())
            .map(|slot| self.step(slot, true))
            .collect();
        if steps.iter().any(|step| step.is_effective()) {
            self.log_recycle(RecycleReason::ConfigChange, ProcessId(0), fx);
        }
        for (slot, step) in steps.into_iter().enumerate() {
            self.carry_out(slot, step, fx, now);
        }
        self.note_recycle_of_all();
    }

    /// Tells running workers how their applications are from now on. Without one the next will have to know
    /// those that leave.
    pub(in crate::model) fn tell_of_applications(
        &mut self,
        new: &[Application],
        restarted: impl Fn(UrlContext) -> bool,
        fx: &mut Effects,
    ) {
        let news = news_of_applications(&self.configuration.applications, new, restarted);
        let is_one_of = |all: &[Application], one: &Application| {
            all.iter().any(|other| other.url_context == one.url_context)
        };
        self.departed.retain(|gone| !is_one_of(new, gone));
        if self.workers.values().all(|worker| worker.pid.is_none()) {
            for old in &self.configuration.applications {
                if !is_one_of(new, old) && !is_one_of(&self.departed, old) {
                    let mut old = old.clone();
                    old.preload = false;
                    old.auto_start = false;
                    self.departed.push(old);
                }
            }
        }
        let pids = self.workers.values().filter_map(|worker| worker.pid);
        for pid in pids {
            for message in news.iter().cloned() {
                fx.push(Output::Tell { pid, message });
            }
        }
    }

    /// Source: IIS docs, `maxProcesses`: 0 is one per NUMA node.
    pub(super) fn slots_wanted(&self) -> usize {
        let processes = match self.settings.process_model.max_processes {
            0 => self.numa_nodes,
            processes => processes,
        };
        processes.clamp(1, 1024) as usize
    }

    /// Where there are too many places, workers of those that go get the empty ones of those that stay: a recycle
    /// replaces as many of them as there may be.
    ///
    /// Source: IIS docs, "Features of WAS": the process to be recycled keeps processing until its replacement is
    /// ready, so that a pool that has a worker is never without.
    fn keep_surplus_workers(&mut self) {
        let wanted = self.slots_wanted();
        for place in 0..wanted.min(self.slots.len()) {
            let mut surplus = wanted..self.slots.len();
            let Some(from) = surplus.find(|slot| self.slots[*slot].current.is_some()) else {
                return;
            };
            if self.slots[place].current.is_some() {
                continue;
            }
            self.slots.swap(place, from);
            for worker in self.workers.values_mut() {
                worker.slot = match worker.slot {
                    slot if slot == from => place,
                    slot if slot == place => from,
                    slot => slot,
                };
            }
        }
    }

    /// Empties a place that there is not any more: whom it has is not replaced.
    pub(super) fn clear_slot(&mut self, slot: usize, fx: &mut Effects, now: Instant) {
        // A replacement that is on its way would have the place next.
        while let Some(surplus) = self.slots[slot].current {
            self.slots[slot].retire(surplus);
            self.stop_one(surplus, ShutdownReason::Recycle, fx, now);
        }
    }

    /// Places that are too many go when they are empty.
    pub(super) fn shed_slots(&mut self) {
        while self.slots.len() > self.slots_wanted()
            && self.slots.last().is_some_and(|slot| slot.processes() == 0)
        {
            self.slots.pop();
        }
        let per_slot = 1 + usize::from(self.overlap());
        self.settling &= self.slots.iter().any(|slot| slot.processes() > per_slot);
    }
}
