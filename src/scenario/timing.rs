//! When an operation begins and when watching it ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::profile::duration_text;

/// From the order to begin to the first planned attempt.
pub(crate) const LEAD: Duration = Duration::from_millis(30);
/// How much of the warm-up is the baseline, ns.
pub(crate) const BASELINE: u64 = 1_000_000_000;
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
    /// For how long a plan is drawn.
    pub(crate) fn plan(&self) -> Duration {
        let phases = self.warm_up_max.saturating_add(self.watch_max);
        phases.saturating_add(SLACK)
    }
}
