//! When the server was steady again: as quick and as warm as before the operation.

use sim_httpsys::clockwork::Instant;

use super::cache::Lookups;
use super::statistics::quantile;
use crate::load::book::AttemptRecord;
use crate::load::plan::Stream;

/// For how long it must look steady.
pub const STEADY_FOR_MS: f64 = 2_000.0;

/// How far apart the moments are that are tried.
pub const STEP_MS: f64 = 100.0;

/// The latency of a steady server may be so many times that of the baseline …
const SLOWER: f64 = 1.25;

/// … or so much more, whichever is larger.
/// Assumed: at a baseline of 1 ms a quarter is less than the scheduling noise of a busy machine.
const SLOWER_MS: f64 = 1.0;

/// The hit ratio of a warm cache must be at least so many times that of the baseline.
pub const WARM: f64 = 0.95;

/// Milliseconds from the operation to the first moment after which, for two seconds, no attempt of
/// the load failed, the 95th percentile of its latency was at most 1.25 times the baseline's, and
/// the hit ratio of every cache layer was at least 0.95 of the baseline's. `None` if the run ended
/// before, or if nothing was answered in the baseline. `first_success_ms` is the earliest that it can be.
pub fn time_to_steady_state_ms(
    attempts: &[AttemptRecord],
    layers: &[&Lookups],
    operation: Instant,
    baseline_from: Instant,
    first_success_ms: f64,
) -> Option<f64> {
    let verdicts = attempts.iter().filter(|a| {
        a.stream == Stream::Load && a.planned >= baseline_from && a.outcome.is_verdict()
    });
    // What was in flight when the operation began belongs to neither side.
    let is_told = |a: &&AttemptRecord| a.planned >= operation || a.finished < operation;
    let mut load: Vec<(f64, f64, bool)> = verdicts
        .filter(is_told)
        .map(|a| {
            (
                a.planned.millis_since(operation),
                a.latency_ms(),
                a.outcome.is_success(),
            )
        })
        .collect();
    load.sort_by(|a, b| a.0.total_cmp(&b.0));
    let end = load.last()?.0;
    let split = load.partition_point(|(at, ..)| *at < 0.0);
    let baseline = p95(&load[..split])?;
    let bound = (baseline * SLOWER).max(baseline + SLOWER_MS);
    let mut from = (first_success_ms / STEP_MS).ceil() * STEP_MS;
    while from + STEADY_FOR_MS <= end + STEP_MS {
        let to = from + STEADY_FOR_MS;
        let first = load.partition_point(|(at, ..)| *at < from);
        let last = load.partition_point(|(at, ..)| *at < to);
        let window = &load[first..last];
        let all_well = window.iter().all(|(.., success)| *success);
        if all_well
            && p95(window).is_some_and(|p95| p95 <= bound)
            && layers.iter().all(|layer| layer.is_warm(from, to))
        {
            return Some(from);
        }
        from += STEP_MS;
    }
    None
}

fn p95(window: &[(f64, f64, bool)]) -> Option<f64> {
    let mut answered: Vec<f64> = window.iter().filter(|w| w.2).map(|w| w.1).collect();
    answered.sort_by(f64::total_cmp);
    quantile(&answered, 0.95)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::Outcome;
    use crate::measure::synthetic::{OPERATION, at, book_with_outage};

    fn steady(attempts: &[AttemptRecord]) -> Option<f64> {
        time_to_steady_state_ms(attempts, &[], OPERATION, at(-5_000.0), 0.0)
    }

    #[test]
    fn a_server_that_nothing_happened_to_is_steady_at_once() {
        assert_eq!(
            steady(&book_with_outage(0, Outcome::Ok).attempts),
            Some(0.0)
        );
    }

    #[test]
    fn steady_comes_after_the_outage() {
        let time = steady(&book_with_outage(500, Outcome::Refused).attempts).unwrap();
        assert!((600.0..=700.0).contains(&time), "{time}");
    }

    #[test]
    fn a_brown_out_is_not_steady_although_nothing_fails() {
        let mut book = book_with_outage(0, Outcome::Ok);
        for attempt in &mut book.attempts {
            if attempt.planned >= at(0.0) && attempt.planned < at(3_000.0) {
                attempt.finished = Instant(attempt.planned.0 + 30_000_000);
            }
        }
        let time = steady(&book.attempts).unwrap();
        assert!((2_900.0..=3_000.0).contains(&time), "{time}");
    }

    #[test]
    fn without_an_answer_in_the_baseline_nothing_is_claimed() {
        let mut book = book_with_outage(0, Outcome::Ok);
        for attempt in &mut book.attempts {
            if attempt.planned < OPERATION {
                // The application starts: everybody waits until after the operation.
                attempt.finished = at(10.0);
            }
        }
        assert_eq!(steady(&book.attempts), None);
    }

    #[test]
    fn a_run_that_ends_too_early_claims_nothing() {
        assert_eq!(
            steady(&book_with_outage(11_000, Outcome::Refused).attempts),
            None
        );
    }
}
