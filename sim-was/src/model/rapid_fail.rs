//! Rapid-fail protection: how many failures a pool may have in how long.

use std::collections::VecDeque;
use std::time::Duration;

use sim_httpsys::clockwork::Instant;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};

/// The failures of one pool that still count.
#[derive(Clone, Debug, Default)]
pub struct RapidFail {
    failures: VecDeque<Instant>,
}

/// Whether a pool may go on after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Tolerated,
    /// It is to be disabled.
    Disable,
}

impl RapidFail {
    /// Notes a failure.
    ///
    /// Source: `TechNet` cc787273: the pool is disabled when the failures within the interval "equal
    /// or exceed" the limit; a failure exactly one interval old no longer counts.
    pub fn record(&mut self, interval: Duration, crashes_max: u32, now: Instant) -> Verdict {
        self.failures.push_back(now);
        if !mutated(Mutant::RapidFailNeverForgets) {
            self.forget_older_than(interval, now);
        }
        let extra = usize::from(mutated(Mutant::RapidFailOneTooLate));
        if self.recent() >= crashes_max as usize + extra {
            Verdict::Disable
        } else {
            Verdict::Tolerated
        }
    }

    /// How many failures count.
    pub fn recent(&self) -> usize {
        self.failures.len()
    }

    /// How many failures are younger than `interval` at `now`.
    pub fn within(&self, interval: Duration, now: Instant) -> usize {
        let is_young = |failure: &&Instant| now.saturating_since(**failure) < interval;
        self.failures.iter().filter(is_young).count()
    }

    /// Forgets everything, as starting the pool does.
    pub fn clear(&mut self) {
        self.failures.clear();
    }

    fn forget_older_than(&mut self, interval: Duration, now: Instant) {
        while self
            .failures
            .front()
            .is_some_and(|&failure| now.saturating_since(failure) >= interval)
        {
            self.failures.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES: Duration = Duration::from_mins(5);

    fn at_seconds(seconds: &[u64]) -> Verdict {
        let mut rapid_fail = RapidFail::default();
        seconds
            .iter()
            .map(|&s| rapid_fail.record(MINUTES, 5, Instant(s * 1_000_000_000)))
            .last()
            .expect("there are failures")
    }

    #[test]
    fn the_fifth_failure_within_five_minutes_disables() {
        assert_eq!(at_seconds(&[0, 10, 20, 30]), Verdict::Tolerated);
        assert_eq!(at_seconds(&[0, 10, 20, 30, 299]), Verdict::Disable);
    }

    #[test]
    fn a_failure_exactly_one_interval_old_no_longer_counts() {
        assert_eq!(at_seconds(&[0, 10, 20, 30, 300]), Verdict::Tolerated);
    }
}
