//! The job object of a pool: how much CPU time all its workers together may use.
//!
//! ```text
//! NoAction, KillW3wp   │◄── resetInterval ──►│◄──   used > limit × interval: log, or kill until the end
//! Throttle             a purse: the limit flows in, what is used flows out; empty: freeze, else thaw
//! ThrottleUnderLoad    the same, but only while others want the processor
//! ```
//!
//! The kernel of Windows counts and caps exactly. Here WAS measures, and a pool that is to be throttled is
//! stopped and continued, in turns of 50 ms and more (SIGSTOP, SIGCONT); control groups are not used.
//!
//! Source: IIS docs, `cpu`: the limit is in 1/1000 of a percent of the whole machine, for all workers of
//! the pool; "Throttle" and "`ThrottleUnderLoad`" do not use resetInterval.

use std::collections::BTreeMap;
use std::time::Duration;

use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::Instant;

use crate::config::{Cpu, CpuAction};

/// How often CPU time is measured to log or to kill.
/// Assumed: a job object of Windows tells at once; a second later is soon enough in an interval of minutes.
const CHECK: Duration = Duration::from_secs(1);
/// How often it is measured to throttle.
const THROTTLE_CHECK: Duration = Duration::from_millis(50);
/// For so long the purse fills while nothing is used.
const PURSE: Duration = Duration::from_millis(100);
/// The whole machine, in the unit of the limit.
const WHOLE: u128 = 100_000;

/// What WAS measures.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuUse {
    /// CPU time that each living worker has used since it was created.
    pub used: Vec<(ProcessId, Duration)>,
    /// Whether others want the processor as well.
    pub is_contended: bool,
}

/// What follows from a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobVerdict {
    /// Nothing.
    Within,
    /// The limit is exceeded, for the first time in this interval (or ever).
    Log,
    /// Kill the workers, and start none until then.
    Kill(Instant),
}

/// The CPU time of one pool.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state"
)]
pub(super) struct JobObject {
    settings: Cpu,
    processors: u32,
    used: BTreeMap<ProcessId, Duration>,
    measured: Option<Instant>,
    /// The interval that is counted: its beginning, what was used, whether that was too much.
    began: Option<Instant>,
    used_in_interval: Duration,
    exceeded: bool,
    /// Nanoseconds of CPU time in the purse; negative if more was used than there was.
    purse: i128,
    frozen: bool,
    logged: bool,
    /// It could not be measured the last time.
    lost: bool,
    held_until: Option<Instant>,
}

impl JobObject {
    pub(super) fn new(settings: Cpu, processors: u32) -> Self {
        Self {
            settings,
            processors: processors.max(1),
            used: BTreeMap::new(),
            measured: None,
            began: None,
            used_in_interval: Duration::ZERO,
            exceeded: false,
            purse: 0,
            frozen: false,
            logged: false,
            lost: false,
            held_until: None,
        }
    }

    /// Whether there is a limit to be watched.
    pub(super) fn is_active(&self) -> bool {
        self.settings.limit > 0 && (self.throttles() || !self.settings.reset_interval.is_zero())
    }

    /// How long until the next measurement.
    pub(super) fn period(&self) -> Duration {
        if self.throttles() {
            THROTTLE_CHECK
        } else {
            CHECK
        }
    }

    /// Whether the pool's workers are to be frozen now.
    pub(super) fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Whether the pool was stopped for the rest of an interval.
    pub(super) fn is_held(&self) -> bool {
        self.held_until.is_some()
    }

    /// Lets the pool go on if its interval is over at `now`; true if it has just ended.
    pub(super) fn release(&mut self, now: Instant) -> bool {
        self.held_until.take_if(|until| *until <= now).is_some()
    }

    /// The limit that holds.
    pub(super) fn settings(&self) -> &Cpu {
        &self.settings
    }

    /// Another limit.
    pub(super) fn set(&mut self, settings: Cpu) {
        *self = Self::new(settings, self.processors);
    }

    /// Nobody is measured any more: what comes later begins anew.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.settings.clone(), self.processors);
    }

    /// CPU time could not be measured; true if it could the last time.
    pub(super) fn lost(&mut self) -> bool {
        self.frozen = false;
        !std::mem::replace(&mut self.lost, true)
    }

    /// CPU time was measured.
    pub(super) fn measured(&mut self, cpu: &CpuUse, now: Instant) -> JobVerdict {
        self.lost = false;
        let mut more = Duration::ZERO;
        for (process, used) in &cpu.used {
            let before = self.used.get(process).copied().unwrap_or_default();
            more += used.saturating_sub(before);
        }
        self.used = cpu.used.iter().copied().collect();
        let since = self.measured.replace(now);
        if self.throttles() {
            let span = since.map_or(Duration::ZERO, |since| now.saturating_since(since));
            self.throttle(more, span, cpu)
        } else {
            self.count(more, now)
        }
    }

    fn throttles(&self) -> bool {
        match self.settings.action {
            CpuAction::Throttle | CpuAction::ThrottleUnderLoad => true,
            CpuAction::NoAction | CpuAction::KillW3wp => false,
        }
    }

    /// CPU time that the limit gives in so much time.
    fn allowance(&self, span: Duration) -> u128 {
        let whole = span.as_nanos() * u128::from(self.processors);
        whole * u128::from(self.settings.limit) / WHOLE
    }

    fn count(&mut self, more: Duration, now: Instant) -> JobVerdict {
        let interval = self.settings.reset_interval;
        let mut began = *self.began.get_or_insert(now);
        while now.saturating_since(began) >= interval {
            began += interval;
            self.used_in_interval = Duration::ZERO;
            self.exceeded = false;
        }
        self.began = Some(began);
        self.used_in_interval += more;
        if self.exceeded || self.used_in_interval.as_nanos() <= self.allowance(interval) {
            return JobVerdict::Within;
        }
        self.exceeded = true;
        if self.settings.action == CpuAction::KillW3wp {
            let until = began + interval;
            self.held_until = Some(until);
            JobVerdict::Kill(until)
        } else {
            JobVerdict::Log
        }
    }

    fn throttle(&mut self, more: Duration, span: Duration, cpu: &CpuUse) -> JobVerdict {
        let signed = |nanos: u128| i128::try_from(nanos).unwrap_or(i128::MAX);
        let purse_max = signed(self.allowance(PURSE));
        self.purse =
            (self.purse + signed(self.allowance(span)) - signed(more.as_nanos())).min(purse_max);
        let acts = self.settings.action == CpuAction::Throttle || cpu.is_contended;
        if !acts {
            self.purse = self.purse.max(0);
        }
        self.frozen = acts && self.purse < 0;
        if self.frozen && !self.logged {
            self.logged = true;
            return JobVerdict::Log;
        }
        JobVerdict::Within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn job(action: CpuAction, limit: u32) -> JobObject {
        let cpu = Cpu {
            limit,
            action,
            reset_interval: Duration::from_mins(1),
            ..Cpu::default()
        };
        JobObject::new(cpu, 2)
    }

    fn used(millis: u64) -> CpuUse {
        CpuUse {
            used: vec![(ProcessId(1), Duration::from_millis(millis))],
            is_contended: true,
        }
    }

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    #[test]
    fn half_of_two_processors_for_a_minute_is_a_minute_of_cpu_time() {
        let mut job = job(CpuAction::NoAction, 50_000);
        job.measured(&used(0), at(0));
        assert_eq!(job.measured(&used(60_000), at(31_000)), JobVerdict::Within);
        assert_eq!(job.measured(&used(60_001), at(32_000)), JobVerdict::Log);
        let again = job.measured(&used(64_000), at(34_000));
        assert_eq!(again, JobVerdict::Within, "once in an interval");
        assert_eq!(job.measured(&used(64_000), at(61_000)), JobVerdict::Within);
        assert_eq!(job.measured(&used(124_001), at(100_000)), JobVerdict::Log);
    }

    #[test]
    fn a_pool_that_is_killed_is_held_until_its_interval_ends() {
        let mut job = job(CpuAction::KillW3wp, 1_000);
        job.measured(&used(0), at(0));
        let verdict = job.measured(&used(1_500), at(1_000));
        assert_eq!(verdict, JobVerdict::Kill(at(60_000)));
        assert!(!job.release(at(59_999)) && job.is_held());
        assert!(job.release(at(60_000)) && !job.is_held());
    }

    #[test]
    fn a_throttled_pool_runs_for_its_share_of_the_time() {
        // A quarter of one of two processors; a thread that spins whenever it may.
        let mut job = job(CpuAction::Throttle, 12_500);
        let (mut cpu, mut now) = (0, 0);
        while now < 60_000 {
            now += 50;
            if !job.is_frozen() {
                cpu += 50;
            }
            job.measured(&used(cpu), at(now));
        }
        assert!((14_000..=16_000).contains(&cpu), "{cpu} ms of 60 s");
    }

    #[test]
    fn under_load_means_only_while_others_want_the_processor() {
        let mut job = job(CpuAction::ThrottleUnderLoad, 12_500);
        let alone = |millis| CpuUse {
            is_contended: false,
            ..used(millis)
        };
        job.measured(&alone(0), at(0));
        assert_eq!(job.measured(&alone(10_000), at(10_000)), JobVerdict::Within);
        assert!(!job.is_frozen());
        assert_eq!(job.measured(&used(11_000), at(11_000)), JobVerdict::Log);
        assert!(job.is_frozen());
        job.measured(&alone(11_000), at(11_050));
        assert!(!job.is_frozen());
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        assert!(!job(CpuAction::KillW3wp, 0).is_active());
        assert_eq!(job(CpuAction::Throttle, 5).period(), THROTTLE_CHECK);
        assert_eq!(job(CpuAction::NoAction, 5).period(), SECOND);
    }
}
