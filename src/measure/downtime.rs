//! Downtime by probes: the longest gap between successes, and how much failed in all.
//!
//! ```text
//!   probes    ✓   ✓   ✗   ✗   ✗   ✓       δ apart, by planned time
//!                 a               b       last success before, first success after
//!             value = b − a − δ = 3 δ,   the truth lies in [value − δ, value + δ]
//! ```
//!
//! Failure starts when the request was *made*, so planned times count and not finished ones. A probe
//! that was answered late is a success: its wait is latency, not downtime. A probe that was in flight when
//! the operation began belongs to it: what cuts it is the operation.

use serde::{Deserialize, Serialize};
use sim_httpsys::clockwork::Instant;

use crate::load::book::AttemptRecord;
use crate::load::plan::Stream;

/// A duration that probing could only bound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounded {
    /// The best guess, in milliseconds.
    pub value: f64,
    /// It was no shorter.
    pub lower: f64,
    /// It was no longer; `None` if it had not ended when the run did.
    pub upper: Option<f64>,
}

/// A run of failed probes of one stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureWindow {
    /// Which stream.
    pub stream: Stream,
    /// The planned time of the first failed probe, in milliseconds since the operation began; negative if it
    /// was in flight then.
    pub from_ms: f64,
    /// The planned time of the last failed probe.
    pub to_ms: f64,
    /// How many failed.
    pub failed: u64,
}

/// What one stream of probes saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamDowntime {
    /// Probes that were planned since the operation began, or were in flight then.
    pub probes: u64,
    /// Those that failed.
    pub failed: u64,
    /// The longest gap between two successes, less the interval of the probes.
    pub max_gap_ms: Bounded,
    /// Failed probes times the interval.
    pub total_ms: f64,
    /// From the operation's start to the end of the first success after the first failure; `None` if no
    /// probe failed, so that there is nothing to measure, or if there was no success any more.
    pub time_to_first_success_ms: Option<f64>,
}

/// What both streams saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Downtime {
    /// Probes on new connections; `None` if there were none.
    pub new: Option<StreamDowntime>,
    /// Probes on kept-alive connections; `None` if there were none.
    pub reused: Option<StreamDowntime>,
    /// Every run of failures, in the order of time.
    pub windows: Vec<FailureWindow>,
    /// Seconds since the operation began in which at least one probe failed.
    pub disruption_seconds: u64,
}

impl Downtime {
    /// Folds the probes of a book. `operation` is when the operation began, `interval` the time
    /// between two probes in nanoseconds.
    pub fn of(attempts: &[AttemptRecord], operation: Instant, interval: u64) -> Self {
        let mut windows = Vec::new();
        let mut of_stream = |stream| {
            let mut probes: Vec<&AttemptRecord> = attempts
                .iter()
                .filter(|a| a.stream == stream && a.outcome.is_verdict())
                .collect();
            probes.sort_by_key(|probe| probe.planned);
            stream_downtime(&probes, operation, interval, &mut windows)
        };
        let (new, reused) = (of_stream(Stream::ProbeNew), of_stream(Stream::ProbeReused));
        windows.sort_by(|a, b| a.from_ms.total_cmp(&b.from_ms));
        let mut seconds: Vec<u64> = attempts
            .iter()
            .filter(|a| a.stream != Stream::Load && is_failed(a) && is_of(a, operation))
            .map(|a| a.planned.0.saturating_sub(operation.0) / 1_000_000_000)
            .collect();
        seconds.sort_unstable();
        seconds.dedup();
        Self {
            new,
            reused,
            windows,
            disruption_seconds: seconds.len() as u64,
        }
    }

    /// Both streams, as far as there are any.
    fn streams(&self) -> impl Iterator<Item = &StreamDowntime> {
        self.new.iter().chain(&self.reused)
    }

    /// The longest gap of the stream that fared worse.
    pub fn max_gap_ms(&self) -> Option<Bounded> {
        self.streams()
            .map(|s| s.max_gap_ms)
            .max_by(|a, b| a.value.total_cmp(&b.value))
    }

    /// The failed time of the stream that fared worse.
    pub fn total_ms(&self) -> Option<f64> {
        self.streams().map(|s| s.total_ms).max_by(f64::total_cmp)
    }

    /// The time to the first success of the stream that fared worse, of those that failed; `None` if none
    /// did, or if one never had a success.
    pub fn time_to_first_success_ms(&self) -> Option<f64> {
        let failed = self.streams().filter(|stream| stream.failed > 0);
        let times: Option<Vec<f64>> = failed.map(|s| s.time_to_first_success_ms).collect();
        times?.into_iter().max_by(f64::total_cmp)
    }
}

/// Whether an operation could do something to a probe: it was planned since, or was in flight.
fn is_of(probe: &AttemptRecord, operation: Instant) -> bool {
    probe.planned >= operation || probe.finished >= operation
}

fn is_failed(probe: &AttemptRecord) -> bool {
    probe.outcome.is_verdict() && !probe.outcome.is_success()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and milliseconds of a report"
)]
fn stream_downtime(
    probes: &[&AttemptRecord],
    operation: Instant,
    interval: u64,
    windows: &mut Vec<FailureWindow>,
) -> Option<StreamDowntime> {
    let since: Vec<&&AttemptRecord> = probes.iter().filter(|p| is_of(p, operation)).collect();
    let first = since.first()?;
    // Others that were planned later may have been answered before.
    let from = probes.partition_point(|p| p.planned < first.planned);
    let (before, on) = probes.split_at(from);
    let delta = interval as f64 / 1e6;
    let failed = since.iter().filter(|p| is_failed(p)).count() as u64;
    let first_failure = since.iter().position(|p| is_failed(p));
    let time_to_first_success_ms = first_failure.and_then(|index| {
        let success = since[index..].iter().find(|p| p.outcome.is_success())?;
        Some(success.finished.millis_since(operation))
    });
    collect_windows(&since, operation, windows);
    Some(StreamDowntime {
        probes: since.len() as u64,
        failed,
        max_gap_ms: longest_gap(before, on, delta),
        total_ms: failed as f64 * delta,
        time_to_first_success_ms,
    })
}

/// The longest run of failures that reaches past the operation's start, as a gap.
fn longest_gap(before: &[&AttemptRecord], on: &[&AttemptRecord], delta: f64) -> Bounded {
    let before = before.iter().rfind(|p| p.outcome.is_success());
    let mut last_success = before.map(|p| p.planned);
    let mut last_failure: Option<Instant> = None;
    let mut first_failure: Option<Instant> = None;
    let mut longest = Bounded {
        value: 0.0,
        lower: 0.0,
        upper: Some(delta),
    };
    let mut consider = |gap: Bounded| {
        if gap.value > longest.value {
            longest = gap;
        }
    };
    for probe in on {
        if is_failed(probe) {
            first_failure.get_or_insert(probe.planned);
            last_failure = Some(probe.planned);
            continue;
        }
        if let (Some(from), Some(to)) = (first_failure, last_failure) {
            let seen = to.millis_since(from);
            // Without a success before, the gap began at the first failure at the latest.
            let gap = last_success.map_or(seen + delta, |s| probe.planned.millis_since(s));
            consider(Bounded {
                value: (gap - delta).max(0.0),
                lower: seen,
                upper: Some(gap),
            });
        }
        (first_failure, last_failure) = (None, None);
        last_success = Some(probe.planned);
    }
    if let (Some(from), Some(to)) = (first_failure, last_failure) {
        let seen = to.millis_since(from);
        consider(Bounded {
            value: seen + delta,
            lower: seen,
            upper: None,
        });
    }
    longest
}

fn collect_windows(
    since: &[&&AttemptRecord],
    operation: Instant,
    windows: &mut Vec<FailureWindow>,
) {
    for run in since.chunk_by(|a, b| is_failed(a) == is_failed(b)) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            continue;
        };
        if is_failed(first) {
            windows.push(FailureWindow {
                stream: first.stream,
                from_ms: first.planned.millis_since(operation),
                to_ms: last.planned.millis_since(operation),
                failed: run.len() as u64,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::Outcome;
    use crate::measure::synthetic::{OPERATION, book_with_outage};

    const DELTA: u64 = 10_000_000;

    fn measured(outage_ms: u64, outcome: Outcome) -> Downtime {
        Downtime::of(
            &book_with_outage(outage_ms, outcome).attempts,
            OPERATION,
            DELTA,
        )
    }

    #[test]
    fn known_outages_are_measured_within_one_probe_interval() {
        for outage in [0, 50, 500, 5_000] {
            for outcome in [Outcome::ResetInflight, Outcome::Http503, Outcome::Refused] {
                let downtime = measured(outage, outcome);
                let truth = f64::from(u32::try_from(outage).unwrap());
                for stream in downtime.streams() {
                    let gap = stream.max_gap_ms;
                    assert!(
                        (gap.value - truth).abs() <= 10.0,
                        "{outage} {outcome}: {gap:?}"
                    );
                    assert!(
                        gap.lower <= truth && truth <= gap.upper.unwrap(),
                        "{outage}: {gap:?}"
                    );
                    assert!(
                        (stream.total_ms - truth).abs() <= 10.0,
                        "{}",
                        stream.total_ms
                    );
                }
            }
        }
    }

    #[test]
    fn a_stream_without_an_outage_has_no_time_to_its_end() {
        let mut downtime = measured(0, Outcome::Refused);
        assert_eq!(downtime.time_to_first_success_ms(), None);
        downtime.new = measured(500, Outcome::Refused).new;
        assert!(
            downtime
                .time_to_first_success_ms()
                .is_some_and(|ms| ms > 499.0)
        );
    }

    #[test]
    fn the_time_to_first_success_spans_the_outage() {
        let spanned = measured(500, Outcome::Refused)
            .time_to_first_success_ms()
            .unwrap();
        assert!((500.0..=615.0).contains(&spanned), "{spanned}");
    }

    #[test]
    fn seconds_with_a_failed_probe_are_counted_once() {
        assert_eq!(measured(0, Outcome::Refused).disruption_seconds, 0);
        assert_eq!(measured(50, Outcome::Refused).disruption_seconds, 1);
        assert_eq!(measured(5_000, Outcome::Refused).disruption_seconds, 6);
        assert_eq!(
            measured(5_000, Outcome::Refused).windows.len(),
            2,
            "one for each stream"
        );
    }

    #[test]
    fn an_outage_that_never_ends_has_no_upper_bound() {
        let downtime = measured(60_000, Outcome::Refused);
        assert_eq!(downtime.max_gap_ms().unwrap().upper, None);
        assert_eq!(downtime.time_to_first_success_ms(), None);
    }

    #[test]
    fn what_was_in_flight_and_is_cut_belongs_to_the_operation() {
        let mut attempts = book_with_outage(0, Outcome::Refused).attempts;
        // Whoever has come in the last second waits, and is reset half a second after the operation began.
        let began = Instant(OPERATION.0 - 1_000_000_000);
        for attempt in &mut attempts {
            if attempt.planned >= began && attempt.planned < OPERATION {
                attempt.finished = OPERATION + std::time::Duration::from_millis(500);
                attempt.outcome = Outcome::ResetInflight;
            }
        }
        let downtime = Downtime::of(&attempts, OPERATION, DELTA);
        for stream in downtime.streams() {
            assert!(
                (stream.max_gap_ms.value - 1_000.0).abs() <= 10.0,
                "{stream:?}"
            );
            assert!((99..=101).contains(&stream.failed), "{stream:?}");
            assert!(stream.time_to_first_success_ms.is_some_and(|ms| ms > 0.0));
        }
        assert_eq!(downtime.disruption_seconds, 1);
        assert!(downtime.windows[0].from_ms <= -990.0);
    }

    #[test]
    fn a_late_answer_is_no_downtime() {
        let downtime = measured(500, Outcome::Slow);
        assert!(downtime.max_gap_ms().unwrap().value < 1e-9);
    }

    #[test]
    fn without_probes_nothing_is_claimed() {
        let downtime = Downtime::of(&[], OPERATION, DELTA);
        assert_eq!((downtime.max_gap_ms(), downtime.total_ms()), (None, None));
    }
}
