//! What a worker watches about itself: is it idle, and is it time to be recycled?
//!
//! It only asks; WAS decides. It asks to be recycled once.

use std::time::Duration;

use sim_httpsys::clockwork::mutants::{Mutant, mutated};
use sim_httpsys::clockwork::{Instant, UtcTime};

use crate::configuration::PeriodicRestart;
use crate::ipm::RecycleReason;

/// Source: how idle workers are found: "worker-side check every 60 s".
pub(crate) const IDLE_CHECK: Duration = Duration::from_mins(1);

/// A worker's own health.
#[derive(Debug)]
pub(crate) struct Health {
    restart: PeriodicRestart,
    idle_timeout: Duration,
    requests: u64,
    last_request: Instant,
    asked: bool,
}

impl Health {
    pub(crate) fn new(restart: PeriodicRestart, idle_timeout: Duration, now: Instant) -> Self {
        Self {
            restart,
            idle_timeout,
            requests: 0,
            last_request: now,
            asked: false,
        }
    }

    /// A request was received: the reason to be recycled, if it was one too many.
    pub(crate) fn request(&mut self, now: Instant) -> Option<RecycleReason> {
        self.last_request = now;
        self.requests += 1;
        let extra = u64::from(mutated(Mutant::RequestLimitOneTooLate));
        let limit = u64::from(self.restart.requests) + extra;
        let many = self.restart.requests > 0 && self.requests >= limit;
        many.then(|| self.ask(RecycleReason::Requests)).flatten()
    }

    /// Whether it has been idle for long enough.
    pub(crate) fn is_idle(&self, in_flight: usize, now: Instant) -> bool {
        !self.idle_timeout.is_zero()
            && (in_flight == 0 || mutated(Mutant::IdleWithRequest))
            && now.saturating_since(self.last_request) >= self.idle_timeout
    }

    /// Memory was measured: the reason to be recycled, if it is too much.
    pub(crate) fn memory(&mut self, private_kb: u64, virtual_kb: u64) -> Option<RecycleReason> {
        let above = |limit: u32, kb: u64| limit > 0 && kb > u64::from(limit);
        if above(self.restart.private_memory_kb, private_kb) {
            self.ask(RecycleReason::PrivateMemory)
        } else if above(self.restart.memory_kb, virtual_kb) {
            self.ask(RecycleReason::Memory)
        } else {
            None
        }
    }

    /// A timer says that it is time.
    pub(crate) fn ask(&mut self, reason: RecycleReason) -> Option<RecycleReason> {
        let first = !self.asked;
        self.asked = true;
        first.then_some(reason)
    }

    /// How long a worker lives, counted from its start.
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        let drift = Duration::from_secs(mutated(Mutant::PeriodicRestartDrift).into());
        (!self.restart.time.is_zero()).then_some(self.restart.time.saturating_sub(drift))
    }

    /// How long until the next scheduled time of day.
    /// Assumed: the server's time zone is UTC, so that a run does not depend on where it is made.
    pub(crate) fn until_schedule(&self, utc: UtcTime) -> Option<Duration> {
        const DAY: u64 = 24 * 60 * 60 * 1_000_000_000;
        let today = utc.0 % DAY;
        let wait = |at: &Duration| {
            let at = u64::try_from(at.as_nanos()).unwrap_or(0) % DAY;
            Duration::from_nanos(if at > today {
                at - today
            } else {
                at + DAY - today
            })
        };
        self.restart.schedule.iter().map(wait).min()
    }
}
