//! Downtime by probes: the longest gap between successes, and how much failed in all.
//!
//! ```text
//!   probes    ✓   ✓   ✗   ✗   ✗   ✓       δ apart, by planned time
//!                 a               b       last success before, first success after
//!             value = b − a − δ = 3 δ,   the truth lies in [value − δ, value + δ]
//! ```
//!
//! A probe that had no verdict when the run ended (it was abandoned) is undecided: by itself it is no failure and
//! no success. Between failures, or between one and the next success, it is a part of their outage, since
//! nothing had success then; behind the last failure it is too, up to the end of the run. So the
//! total is the sum of all outages, and never less than the longest of them, unless a pause of the load is in it. One
//! that has waited for longer than a probe may is no such one: it has failed, as a time-out. So when all hang until the
//! end of the run it is an outage from the first of them that timed out; if none had the time to, the gap has no upper
//! bound, and that is all that can be said.
//!
//! Failure starts when the request was *made*, so planned times count and not finished ones. A probe
//! that was answered late is a success: its wait is latency, not downtime. A probe that was in flight when
//! the operation began belongs to it: what cuts it is the operation. But an outage may have been under way by then:
//! a probe had failed already, or had been hanging for longer than others waited, until its time was over. Of that one
//! the time from the operation on is watched, and only probes that were planned since count.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sim_httpsys::clockwork::Instant;

use crate::load::book::AttemptRecord;
use crate::load::outcome::Outcome;
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

/// A run of probes of one stream without a success, at least one of which failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureWindow {
    /// Which stream.
    pub stream: Stream,
    /// The planned time of the first of them, in milliseconds since the operation began; negative if it
    /// was in flight then.
    pub from_ms: f64,
    /// The planned time of the last of them.
    pub to_ms: f64,
    /// How many failed.
    pub failed: u64,
    /// How many had no verdict when the run ended.
    #[serde(default)]
    pub undecided: u64,
}

/// What one stream of probes saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamDowntime {
    /// Probes that were planned since the operation began, or were in flight then and belong to it.
    pub probes: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that had no verdict when the run ended; they are in none of the other two.
    #[serde(default)]
    pub undecided: u64,
    /// The longest gap between two successes, less the interval of the probes.
    pub max_gap_ms: Bounded,
    /// All outages: failed probes times the interval, if each has a verdict.
    pub total_ms: f64,
    /// From the operation's start to the end of the first success after the first failure; `None` if no
    /// probe failed, so that there is nothing to measure, or if there was no success any more.
    pub time_to_first_success_ms: Option<f64>,
    /// Whether an outage was under way when the operation began; what came of it before is in no figure.
    #[serde(default)]
    pub was_failing: bool,
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
        let mut seconds = BTreeSet::new();
        let mut of_stream = |stream| {
            let mut probes: Vec<&AttemptRecord> =
                attempts.iter().filter(|a| a.stream == stream).collect();
            probes.sort_by_key(|probe| probe.planned);
            let watched = Watched::of(&probes, operation);
            let failed = watched.probes.iter().filter(|p| is_failed(p));
            seconds.extend(failed.map(|p| p.planned.0.saturating_sub(operation.0) / 1_000_000_000));
            stream_downtime(&watched, operation, interval, &mut windows)
        };
        let (new, reused) = (of_stream(Stream::ProbeNew), of_stream(Stream::ProbeReused));
        windows.sort_by(|a, b| a.from_ms.total_cmp(&b.from_ms));
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

    /// The longest gap of the stream that fared worse. If that of one is open it may be the longest, however long
    /// it was so far: then there is no upper bound.
    pub fn max_gap_ms(&self) -> Option<Bounded> {
        self.streams()
            .map(|stream| stream.max_gap_ms)
            .reduce(|a, b| Bounded {
                value: a.value.max(b.value),
                lower: a.lower.max(b.lower),
                upper: a.upper.zip(b.upper).map(|(a, b)| a.max(b)),
            })
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

/// The probes of a stream that tell of an operation.
#[derive(Default)]
struct Watched<'a> {
    probes: Vec<&'a AttemptRecord>,
    /// The runs of these between two successes.
    runs: Vec<Run<'a>>,
    /// Whether an outage was under way.
    was_failing: bool,
}

/// Probes without a success among them, one after the other.
struct Run<'a> {
    probes: Vec<&'a AttemptRecord>,
    /// When the last success before them was planned; `None` if there is none, or if an outage was under way.
    success_before: Option<Instant>,
    /// When the next success was planned.
    success_after: Option<Instant>,
}

impl<'a> Watched<'a> {
    fn of(probes: &[&'a AttemptRecord], operation: Instant) -> Self {
        let mut watched = Self::default();
        let mut last_success = None;
        let usual = longest_wait(probes, operation);
        let mut runs = probes
            .chunk_by(|a, b| a.outcome.is_success() == b.outcome.is_success())
            .peekable();
        while let Some(run) = runs.next() {
            let of_operation = run.iter().copied().filter(|p| is_of(p, operation));
            if run[0].outcome.is_success() {
                watched.probes.extend(of_operation);
                last_success = run.last().map(|last| last.planned);
                continue;
            }
            let was_failing = run.iter().any(|p| had_failed(p, operation, usual));
            let of_run: Vec<&AttemptRecord> = of_operation
                .filter(|p| !was_failing || p.planned >= operation)
                .collect();
            if of_run.is_empty() {
                continue;
            }
            watched.was_failing |= was_failing;
            watched.probes.extend(&of_run);
            watched.runs.push(Run {
                probes: of_run,
                success_before: last_success.filter(|_| !was_failing),
                success_after: runs.peek().map(|next| next[0].planned),
            });
        }
        watched
    }
}

/// Whether a probe failed without the operation: its end was known before, or it had been hanging for longer than is
/// `usual`, until its time was over.
fn had_failed(probe: &AttemptRecord, operation: Instant, usual: Duration) -> bool {
    let waited = operation.saturating_since(probe.planned);
    let hung = probe.outcome == Outcome::Timeout && waited > usual;
    let is_known = probe.finished < operation || hung;
    probe.planned < operation && is_failed(probe) && is_known
}

/// For how long the successes before the operation had waited, at most. What had waited for no longer when it began
/// may have been caught by it.
/// Assumed: the last hundred tell; earlier ones may have met a page that was compiled.
fn longest_wait(probes: &[&AttemptRecord], operation: Instant) -> Duration {
    let before = probes.iter().rev().filter(|p| {
        let is_over = p.finished <= operation;
        is_over && p.outcome.is_success()
    });
    let waits = before
        .take(100)
        .map(|p| p.finished.saturating_since(p.planned));
    waits.max().unwrap_or_default()
}

fn stream_downtime(
    watched: &Watched<'_>,
    operation: Instant,
    interval: u64,
    windows: &mut Vec<FailureWindow>,
) -> Option<StreamDowntime> {
    let since = &watched.probes;
    let decided = since.iter().filter(|p| p.outcome.is_verdict()).count() as u64;
    let first = since.first().filter(|_| decided > 0)?;
    let failed = since.iter().filter(|p| is_failed(p)).count() as u64;
    let first_failure = since.iter().position(|p| is_failed(p));
    let time_to_first_success_ms = first_failure.and_then(|index| {
        let success = since[index..].iter().find(|p| p.outcome.is_success())?;
        Some(success.finished.millis_since(operation))
    });
    let outages: Vec<Outage> = watched
        .runs
        .iter()
        .filter_map(|run| outage(run, interval))
        .collect();
    let of_stream = outages.iter().map(|outage| FailureWindow {
        stream: first.stream,
        from_ms: outage.from.millis_since(operation),
        to_ms: outage.to.millis_since(operation),
        failed: outage.failed,
        undecided: outage.undecided,
    });
    windows.extend(of_stream);
    let mut max_gap_ms = Bounded {
        value: 0.0,
        lower: 0.0,
        upper: Some(millis(interval)),
    };
    for gap in outages.iter().map(|outage| outage.gap) {
        if gap.value > max_gap_ms.value {
            max_gap_ms = gap;
        }
    }
    // Nobody knows what would have become of them: it may be the longest of all gaps that has just begun.
    if since.last().is_some_and(|last| !last.outcome.is_verdict()) {
        max_gap_ms.upper = None;
    }
    Some(StreamDowntime {
        probes: decided,
        failed,
        undecided: since.len() as u64 - decided,
        max_gap_ms,
        total_ms: outages.iter().map(|outage| outage.of_probes).sum(),
        time_to_first_success_ms,
        was_failing: watched.was_failing,
    })
}

/// A run of probes without a success.
struct Outage {
    from: Instant,
    to: Instant,
    failed: u64,
    undecided: u64,
    gap: Bounded,
    /// Its probes times their interval: where some were left out, for a pause of the load, that is less than the gap.
    of_probes: f64,
}

/// That of a run, if it has a failure in it.
fn outage(run: &Run<'_>, interval: u64) -> Option<Outage> {
    let mut failures = run.probes.iter().filter(|p| is_failed(p));
    let failed = failures.clone().count() as u64;
    let first_failure = failures.next()?;
    let last_failure = failures.next_back().unwrap_or(first_failure);
    let (from, to) = (run.probes.first()?.planned, run.probes.last()?.planned);
    let long = match (run.success_before, run.success_after) {
        (Some(before), Some(after)) => (after.0 - before.0).saturating_sub(interval),
        // It was there when the first of them was planned.
        (None, Some(after)) => after.0 - from.0,
        // It began at the first of them at the latest, and lasted to the last one at least.
        (Some(_) | None, None) => to.0 - from.0 + interval,
    };
    Some(Outage {
        from,
        to,
        failed,
        undecided: run.probes.len() as u64 - failed,
        of_probes: millis(interval * run.probes.len() as u64),
        gap: Bounded {
            value: millis(long),
            lower: last_failure.planned.millis_since(first_failure.planned),
            upper: run.success_after.map(|_| millis(long + interval)),
        },
    })
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a report")]
fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

#[cfg(test)]
mod tests;
