//! What a worker watches about itself: is it idle, and is it time to be recycled?
//!
//! It only asks; WAS decides. If nothing came of it (a replacement did not start), the next reason asks
//! again: the next measurement of memory, as many requests more, the next time of the schedule.

use std::time::Duration;

use sim_httpsys::clockwork::mutants::{Mutant, mutated};
use sim_httpsys::clockwork::{Instant, UtcTime};

use crate::configuration::PeriodicRestart;
use crate::configuration::WorkerConfiguration;
use crate::ipm::RecycleReason;
use crate::local_time::{LocalTime, TimeZone};

/// Source: how idle workers are found: "worker-side check every 60 s".
pub(crate) const IDLE_CHECK: Duration = Duration::from_mins(1);

/// A worker's own health.
#[derive(Debug)]
pub(crate) struct Health {
    restart: PeriodicRestart,
    idle_timeout: Duration,
    zone: TimeZone,
    /// The next time of the schedule as the wall clock shows it, and the last that has run.
    scheduled: Option<LocalTime>,
    schedule_ran: Option<LocalTime>,
    requests: u64,
    /// When a request was received or ended last.
    last_busy: Instant,
}

impl Health {
    pub(crate) fn new(configuration: &WorkerConfiguration, now: Instant) -> Self {
        Self {
            restart: configuration.periodic_restart.clone(),
            idle_timeout: configuration.idle_timeout,
            zone: configuration.time_zone.clone(),
            scheduled: None,
            schedule_ran: configuration.schedule_ran,
            requests: 0,
            last_busy: now,
        }
    }

    /// A request was received: the reason to be recycled, if it was one too many.
    pub(crate) fn request(&mut self, now: Instant) -> Option<RecycleReason> {
        self.last_busy = now;
        self.requests += 1;
        let extra = u64::from(mutated(Mutant::RequestLimitOneTooLate));
        let limit = u64::from(self.restart.requests) + extra;
        (self.restart.requests > 0 && self.requests.is_multiple_of(limit))
            .then_some(RecycleReason::Requests)
    }

    /// It is not idle yet: a request has ended, or it was suspended and is awake again, because there is work.
    ///
    /// Source: IIS docs, `idleTimeout`: idle is who executes no request and receives none.
    /// Assumed: for all of that time, so that it counts from the end of a request and not only from its receipt.
    pub(crate) fn busy(&mut self, now: Instant) {
        self.last_busy = now;
    }

    /// WAS sets another idle timeout.
    pub(crate) fn set_idle_timeout(&mut self, timeout: Duration) {
        self.idle_timeout = timeout;
    }

    /// Whether it has been idle for long enough.
    pub(crate) fn is_idle(&self, in_flight: usize, now: Instant) -> bool {
        !self.idle_timeout.is_zero()
            && (in_flight == 0 || mutated(Mutant::IdleWithRequest))
            && now.saturating_since(self.last_busy) >= self.idle_timeout
    }

    /// Whether there is a limit on its memory.
    pub(crate) fn watches_memory(&self) -> bool {
        self.restart.memory_kb > 0 || self.restart.private_memory_kb > 0
    }

    /// Memory was measured: the reason to be recycled, if it is too much.
    pub(crate) fn memory(&self, private_kb: u64, virtual_kb: u64) -> Option<RecycleReason> {
        let above = |limit: u32, kb: u64| limit > 0 && kb > u64::from(limit);
        if above(self.restart.private_memory_kb, private_kb) {
            Some(RecycleReason::PrivateMemory)
        } else {
            above(self.restart.memory_kb, virtual_kb).then_some(RecycleReason::Memory)
        }
    }

    /// How long a worker lives, counted from its start.
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        let drift = Duration::from_secs(mutated(Mutant::PeriodicRestartDrift).into());
        (!self.restart.time.is_zero()).then_some(self.restart.time.saturating_sub(drift))
    }

    /// How long until the next scheduled time of day.
    pub(crate) fn until_schedule(&mut self, utc: UtcTime) -> Option<Duration> {
        let next = self
            .zone
            .next_of(&self.restart.schedule, utc, self.schedule_ran);
        self.scheduled = next.map(|(_, local)| local);
        next.map(|(moment, _)| Duration::from_nanos(moment.0.saturating_sub(utc.0)))
    }

    /// The scheduled time has come: which it is.
    pub(crate) fn run_schedule(&mut self) -> Option<LocalTime> {
        let ran = self.scheduled.take()?;
        self.schedule_ran = Some(ran);
        Some(ran)
    }
}
