//! When an operation begins and when watching it ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use sim_httpsys::clockwork::Instant;

use crate::load::plan::{random_stream, unit};
use crate::load::profile::duration_text;

use super::{ATTEMPTS_MAX, Operation, Scenario, Served, Step};

/// From the order to begin to the first planned attempt.
pub(crate) const LEAD: Duration = Duration::from_millis(30);
/// The baseline is the last so much of the warm-up, and at least this, ns.
/// Assumed: a quarter; what comes before it, caches are still being filled.
const BASELINE: (u64, u64) = (4, 1_000_000_000);
/// How long attempts in flight may go on after the load was stopped.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// How long an ordered stop may take before what is left is killed.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(2);
/// How long the load goes on at most after everything; the plan is drawn for so long.
const SLACK: Duration = Duration::from_secs(30);
/// For the time that an operation may take, at most so many attempts more are planned, or as many as without it.
/// Assumed: 40 MB of a plan, and more than a scenario's default load makes of the default limit of 90 s.
const ATTEMPTS_MORE_MAX: f64 = 1_000_000.0;

/// When an operation begins and when watching it ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Timing {
    /// The least time of load before the operation.
    #[serde(with = "duration_text")]
    pub warm_up_min: Duration,
    /// The longest time to wait for a steady state before the operation.
    #[serde(with = "duration_text")]
    pub warm_up_max: Duration,
    /// The least time to watch after the operation began.
    #[serde(with = "duration_text")]
    pub watch_min: Duration,
    /// The longest time to wait for a steady state after the operation was carried out. If it equals
    /// `watch-min`, that is how long is watched, from the operation's begin.
    #[serde(with = "duration_text")]
    pub watch_max: Duration,
    /// How many invalid trials (their generator was late) are run again, over the whole comparison;
    /// what is invalid after that is kept and marked.
    pub repeats_max: u32,
}

impl Default for Timing {
    /// Assumed: long enough for the default scenario's caches to fill on two cores.
    fn default() -> Self {
        Self {
            warm_up_min: Duration::from_secs(3),
            warm_up_max: Duration::from_secs(12),
            watch_min: Duration::from_secs(3),
            watch_max: Duration::from_secs(15),
            repeats_max: 6,
        }
    }
}

impl Timing {
    /// For how long a plan is drawn, if probes are so far apart.
    pub(crate) fn plan(&self, probe_interval: Duration) -> Duration {
        let phases = self.warm_up_max.saturating_add(self.watch_max);
        phases.saturating_add(probe_interval).saturating_add(SLACK)
    }
}

/// For how long the load of a trial is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// So long.
    pub(crate) span: Duration,
    /// Whether an operation that takes as long as its limits let it would need more.
    is_cut: bool,
}

impl Scenario {
    /// For how long the load is planned: longer than any of the operations may take, and the same for all of them.
    /// What is a short watch for most may be over before a pool has stopped that has to wait for its worker.
    pub(crate) fn load_planned(&self, served: &Served) -> Planned {
        let of_step = |step: Step| step.longest(&served.configuration, self.server.personality);
        let of_operation = |operation: &Operation| -> Duration {
            let steps = operation.steps(&served.pool, served.site(), &served.changes);
            steps
                .into_iter()
                .map(of_step)
                .fold(Duration::ZERO, Duration::saturating_add)
        };
        let longest = self.operations.iter().map(of_operation).max();
        let wanted = longest.unwrap_or_default();
        let without = self.timing.plan(self.load.probes.interval);
        let (rate, attempts) = (
            self.load.attempts_in(Duration::from_secs(1)),
            self.load.attempts_in(without),
        );
        let more = attempts.max(ATTEMPTS_MORE_MAX).min(ATTEMPTS_MAX - attempts);
        let most = Duration::try_from_secs_f64(more / rate).unwrap_or(Duration::MAX);
        Planned {
            span: without.saturating_add(wanted.min(most)),
            is_cut: wanted > most,
        }
    }
}

impl Planned {
    /// Why a trial is invalid that was over then, if there was no load any more.
    pub(crate) fn ran_out(
        self,
        load_started: Instant,
        operation: Instant,
        over: Instant,
    ) -> Option<String> {
        let end = load_started + self.span;
        let seconds = |moment: Instant| moment.millis_since(operation) / 1e3;
        (over > end).then(|| {
            let cut = if self.is_cut {
                "; no more attempts could be planned at its rate"
            } else {
                ""
            };
            format!(
                "the load ended {:.1} s after the operation began, and the operation or the watch {:.1} s after{cut}",
                seconds(end),
                seconds(over)
            )
        })
    }
}

/// How long a trial waits after its warm-up until the operation begins: less than the interval of the
/// probes, another time for each seed, the same for all operations and on both clocks.
///
/// Warm-up and probes tick on one grid. Without this wait an operation would begin at the moment of a probe,
/// and an outage of a millisecond would seem to last for a whole interval in every trial.
pub(crate) fn phase(seed: u64, probe_interval: Duration) -> Duration {
    probe_interval.mul_f64(unit(&mut random_stream(seed, "phase of the operation")))
}

/// From when on the baseline is measured.
pub(crate) fn baseline_from(load_started: Instant, operation: Instant) -> Instant {
    let (share, least) = BASELINE;
    let long = (operation.0.saturating_sub(load_started.0) / share).max(least);
    Instant(operation.0.saturating_sub(long)).max(load_started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_begin_anywhere_between_two_probes() {
        let interval = Duration::from_secs(1);
        let mut quarters = [0_u32; 4];
        for seed in 0..400 {
            let phase = phase(seed, interval);
            assert!(phase < interval);
            assert_eq!(phase, super::phase(seed, interval));
            quarters[phase.as_millis() as usize / 250] += 1;
        }
        assert!(
            quarters.iter().all(|n| (70..=130).contains(n)),
            "{quarters:?}"
        );
    }

    #[test]
    fn a_load_is_planned_for_as_long_as_the_limits_let_an_operation_take() {
        let planned = |operation: &str, more: &str| {
            let text = format!("name = 'x'\noperations = ['none', '{operation}']\n{more}\n[load]");
            let scenario = Scenario::parse(&text, "test.toml", std::path::Path::new(".")).unwrap();
            let planned = scenario.load_planned(&scenario.served(Operation::None).unwrap());
            let without = scenario.timing.plan(scenario.load.probes.interval);
            (
                planned.span.saturating_sub(without).as_secs(),
                planned.is_cut,
            )
        };
        let limit = |limit: &str| {
            let pool = "system.applicationHost/applicationPools[name='DefaultAppPool']";
            format!("[server]\nset = [\"{pool}.processModel.shutdownTimeLimit:{limit}\"]")
        };
        assert_eq!(planned("recycle", ""), (0, false));
        assert_eq!(planned("stop-start", ""), (90, false));
        assert_eq!(planned("stop-start", &limit("00:05:00")), (300, false));
        assert_eq!(planned("iisreset", &limit("00:05:00")), (20, false));
        let of_2003 = format!("{}\npersonality = 'iis6'", limit("00:05:00"));
        assert_eq!(planned("iisreset", &of_2003), (320, false));
        let (most, is_cut) = planned("stop-start", &limit("10.00:00:00"));
        assert!(is_cut && (1_000..2_000).contains(&most), "{most}");
    }

    #[test]
    fn a_watch_that_is_over_after_the_load_makes_a_trial_invalid() {
        let second = |s: u64| Instant(s * 1_000_000_000);
        let planned = Planned {
            span: Duration::from_secs(37),
            is_cut: true,
        };
        assert_eq!(planned.ran_out(second(1), second(3), second(38)), None);
        let said = planned.ran_out(second(1), second(3), second(93)).unwrap();
        assert!(said.contains("35.0 s after the operation began"), "{said}");
        assert!(said.contains("90.0 s after; no more attempts"), "{said}");
    }

    #[test]
    fn the_baseline_is_the_end_of_the_warm_up() {
        let second = |s: u64| Instant(s * 1_000_000_000);
        assert_eq!(baseline_from(second(1), second(61)), second(46));
        assert_eq!(baseline_from(second(1), second(4)), second(3));
        assert_eq!(baseline_from(second(4), second(4)), second(4));
    }
}
