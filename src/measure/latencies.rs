//! How long the load waited for its answers: before the operation, until all was steady again, and after that.

use serde::{Deserialize, Serialize};
use sim_httpsys::clockwork::Instant;

use super::statistics::quantile;
use crate::load::book::AttemptRecord;

/// Latency of successes before, during and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// In the baseline.
    pub before: Latency,
    /// From the operation's start to the steady state, or to the end of the run. If the server was
    /// steady at once these are the first two seconds.
    pub during: Latency,
    /// From there to the end of the run.
    pub after: Latency,
    /// From the operation's start to the end of the run: `during` and `after`.
    pub since: Latency,
}

/// Latency in milliseconds; `None` if nothing was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: Option<f64>,
    /// 99 % were quicker.
    pub p99: Option<f64>,
    /// The slowest.
    pub max: Option<f64>,
}

pub(super) fn latencies<'a>(
    before: impl Iterator<Item = &'a AttemptRecord>,
    since: impl Iterator<Item = &'a AttemptRecord>,
    operation: Instant,
    steady: Option<f64>,
) -> Latencies {
    const AT_LEAST: f64 = 2_000.0;
    let until = steady.map_or(
        f64::INFINITY,
        |steady| if steady > 0.0 { steady } else { AT_LEAST },
    );
    let since: Vec<&AttemptRecord> = since.collect();
    let (during, after): (Vec<&AttemptRecord>, Vec<&AttemptRecord>) = since
        .iter()
        .partition(|a| a.planned.millis_since(operation) < until);
    Latencies {
        before: Latency::of(before),
        during: Latency::of(during.into_iter()),
        after: Latency::of(after.into_iter()),
        since: Latency::of(since.into_iter()),
    }
}

impl Latency {
    fn of<'a>(attempts: impl Iterator<Item = &'a AttemptRecord>) -> Self {
        let answered = attempts.filter(|a| a.outcome.is_success());
        let mut all: Vec<f64> = answered.map(AttemptRecord::latency_ms).collect();
        all.sort_by(f64::total_cmp);
        Self {
            p50: quantile(&all, 0.5),
            p99: quantile(&all, 0.99),
            max: all.last().copied(),
        }
    }
}
