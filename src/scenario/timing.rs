//! When an operation begins and when watching it ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use sim_httpsys::clockwork::Instant;

use crate::load::plan::{random_stream, unit};
use crate::load::profile::duration_text;

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
    fn the_baseline_is_the_end_of_the_warm_up() {
        let second = |s: u64| Instant(s * 1_000_000_000);
        assert_eq!(baseline_from(second(1), second(61)), second(46));
        assert_eq!(baseline_from(second(1), second(4)), second(3));
        assert_eq!(baseline_from(second(4), second(4)), second(4));
    }
}
