//! One scenario under both clocks, held together: what must be the same, and what may differ by how much.
//!
//! * The same outcome classes: what attempts ended in, for each operation. A class that most live trials
//!   show must be one that virtual trials show, and one that every virtual trial shows must be seen live.
//!   (Virtual time is cheap: seeds beyond those of the trials tell what may happen and what must.)
//! * The same events of each worker in the same order, trial by trial ([`lifecycle`]).
//! * Exactly equal counts where the work in flight is fixed (`load.held`), trial by trial.
//! * Medians of downtime within 10 % or 20 ms or an interval of the probes, whichever is largest: they come in whole
//!   intervals, so that a probe which just meets a gap, or does not, makes a difference of one. (The time to the first success is shown and not
//!   judged: it is nothing or a worker's whole start, as one probe happens to meet the gap or not.)
//!
//! Source of the bounds: the goals of this project; no peer publishes any. A live trial whose generator
//! was late proves nothing and is left out; an operation without a valid live trial is not judged.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::load::Outcome;
use crate::load::plan::Stream;
use crate::measure::outcomes::Outcomes;
use crate::measure::{Observation, TrialResult};
use crate::report::Comparison;
use crate::scenario::Clock;
use crate::scenario::{Operation, Scenario};

pub mod lifecycle;

use lifecycle::Lives;

/// Virtual trials of each operation, from which it is known what may happen.
const VIRTUAL_TRIALS_MIN: u32 = 20;

/// Medians of downtime may differ by so much of the live one …
const SHARE_MAX: f64 = 0.1;
/// … or by so many milliseconds.
const MILLIS_MAX: f64 = 20.0;

/// The figures that are held together, by their paths in the metrics.
pub const TIMES: [&str; 2] = ["downtime_max_gap_ms.value", "downtime_total_ms"];

/// What is kept of a trial.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What was measured.
    pub result: TrialResult,
    /// What happened to its workers.
    pub lives: Lives,
    /// How the held requests ended; `None` if the scenario has none.
    pub held: Option<Outcomes>,
}

impl Seen {
    /// Keeps what is to be compared.
    pub fn of(scenario: &Scenario, result: &TrialResult, observation: &Observation) -> Self {
        let held = scenario.load.held.as_ref().map(|held| {
            let attempts = observation.book.attempts.iter();
            let is_held = |a: &&crate::load::book::AttemptRecord| {
                a.stream == Stream::Load && a.url == held.url
            };
            Outcomes::of(attempts.filter(is_held))
        });
        Self {
            result: result.clone(),
            lives: Lives::of(observation),
            held,
        }
    }

    fn is_valid(&self) -> bool {
        self.result.invalid.is_none()
    }
}

/// How many virtual trials of each operation there should be for so many live ones.
pub fn virtual_trials(live: u32) -> u32 {
    live.max(VIRTUAL_TRIALS_MIN)
}

/// What came of holding both clocks together.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// The live trials, summed up.
    pub live: Comparison,
    /// The virtual trials with the same seeds, summed up.
    pub virtual_: Comparison,
    /// What is said of each operation, in the order of the scenario.
    pub operations: Vec<Judged>,
}

/// What is said of an operation.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// Which.
    pub operation: Operation,
    /// Live trials that count.
    pub live_trials: usize,
    /// Why live trials do not count, one line each.
    pub invalid: Vec<String>,
    /// What was held together; empty if no live trial counts.
    pub rows: Vec<Row>,
}

/// One thing that was held together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What.
    pub what: What,
    /// As it was live.
    pub live: String,
    /// As it was virtually.
    #[serde(rename = "virtual")]
    pub virtual_: String,
    /// How far apart they may be.
    pub allowed: String,
    /// Whether they are no further apart.
    pub agrees: bool,
    /// Where they differ, in words.
    pub difference: Option<String>,
}

/// What is held together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// What attempts end in.
    OutcomeClasses,
    /// The events of each worker.
    Lifecycle,
    /// How the held requests ended.
    HeldRequests,
    /// Attempts that the ledger cannot explain.
    Unexplained,
    /// The first of [`TIMES`].
    LongestGap,
    /// The second.
    AllFailedProbes,
}

impl What {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::OutcomeClasses => "outcome classes",
            Self::Lifecycle => "events of each worker",
            Self::HeldRequests => "held requests",
            Self::Unexplained => "unexplained attempts",
            Self::LongestGap => "downtime, longest gap, ms",
            Self::AllFailedProbes => "downtime, all failed probes, ms",
        }
    }

    /// Whether it is a time, which a busy machine stretches.
    pub fn is_time(self) -> bool {
        match self {
            Self::LongestGap | Self::AllFailedProbes => true,
            Self::OutcomeClasses | Self::Lifecycle | Self::HeldRequests | Self::Unexplained => {
                false
            }
        }
    }
}

/// The verdict over everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both clocks agree in everything.
    Agree,
    /// They do not.
    Disagree,
    /// What could be judged agrees, but an operation has no valid live trial.
    NotJudged,
}

impl Agreement {
    /// Holds the trials of both clocks together. Repeated live trials are only reported.
    pub fn judge(scenario: &Scenario, live: Vec<Seen>, virtual_: Vec<Seen>) -> Self {
        let judged = |operation: &Operation| {
            let of = |seen: &[Seen]| -> Vec<Seen> {
                let of_operation = seen.iter().filter(|s| s.result.operation == *operation);
                of_operation.cloned().collect()
            };
            let interval = scenario.load.probes.interval.as_secs_f64() * 1e3;
            judge_operation(*operation, &of(&live), &of(&virtual_), interval)
        };
        let operations = scenario.operations.iter().map(judged).collect();
        let seeds: Vec<u64> = live.iter().map(|seen| seen.result.seed).collect();
        let paired = virtual_.into_iter().map(|seen| seen.result);
        let paired = paired
            .filter(|result| seeds.contains(&result.seed))
            .collect();
        let live = live.into_iter().map(|seen| seen.result).collect();
        Self {
            live: Comparison::new(scenario, Clock::Live, live),
            virtual_: Comparison::new(scenario, Clock::Virtual, paired),
            operations,
        }
    }

    /// The verdict over all operations.
    pub fn verdict(&self) -> Verdict {
        let rows = || self.operations.iter().flat_map(|judged| &judged.rows);
        if rows().any(|row| !row.agrees) {
            Verdict::Disagree
        } else if self.operations.iter().any(|judged| judged.rows.is_empty()) {
            Verdict::NotJudged
        } else {
            Verdict::Agree
        }
    }
}

/// `interval` is that of the probes, in milliseconds.
fn judge_operation(
    operation: Operation,
    live: &[Seen],
    virtual_: &[Seen],
    interval: f64,
) -> Judged {
    let invalid = live
        .iter()
        .filter_map(|seen| Some((seen.result.seed, seen.result.invalid.as_ref()?)))
        .map(|(seed, why)| format!("{operation} {seed}: {why}"))
        .collect();
    let live: Vec<&Seen> = live.iter().filter(|seen| seen.is_valid()).collect();
    let pair = |seen: &&Seen| {
        let mut others = virtual_.iter();
        others.find(|other| other.result.seed == seen.result.seed)
    };
    let pairs: Vec<(&Seen, &Seen)> = live
        .iter()
        .filter_map(|seen| Some((*seen, pair(seen)?)))
        .collect();
    let mut rows = Vec::new();
    if !pairs.is_empty() {
        rows.push(classes(&live, &virtual_.iter().collect::<Vec<_>>()));
        rows.push(lifecycle_row(&pairs));
        rows.extend(held(&pairs));
        rows.push(unexplained(&pairs));
        let whats = [What::LongestGap, What::AllFailedProbes];
        rows.extend(
            whats
                .iter()
                .zip(TIMES)
                .filter_map(|(what, path)| time(*what, path, &pairs, interval)),
        );
    }
    Judged {
        operation,
        live_trials: live.len(),
        invalid,
        rows,
    }
}

/// How an attempt ended, as far as the clocks must agree: whether a success was slow is a time, and an
/// attempt that was cut off by the end of the load says nothing.
fn class(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Ok | Outcome::Slow => Some("answered"),
        Outcome::Http503 => Some("503"),
        Outcome::Http5xx => Some("other 5xx"),
        Outcome::Http4xx => Some("4xx"),
        Outcome::Refused => Some("refused"),
        Outcome::ResetIdle => Some("reset, nothing sent"),
        Outcome::ResetInflight => Some("reset in flight"),
        Outcome::Truncated => Some("truncated"),
        Outcome::Timeout => Some("timed out"),
        Outcome::Abandoned | Outcome::NotSent => None,
    }
}

/// In how many trials each class was seen.
fn count_classes(trials: &[&Seen]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for seen in trials {
        let all = seen.result.metrics.outcomes.each();
        let mut there: Vec<&str> = all
            .filter(|(_, count)| *count > 0)
            .filter_map(|(outcome, _)| class(outcome))
            .collect();
        there.dedup();
        for name in there {
            *counts.entry(name).or_insert(0) += 1;
        }
    }
    counts
}

fn classes(live: &[&Seen], virtual_: &[&Seen]) -> Row {
    let (of_live, of_virtual) = (count_classes(live), count_classes(virtual_));
    let mut wrong = Vec::new();
    for (name, count) in &of_live {
        if 2 * count > live.len() && !of_virtual.contains_key(name) {
            wrong.push(format!(
                "\"{name}\" was seen live, in {count} of {} trials, and in none of {} \
                 virtual ones",
                live.len(),
                virtual_.len()
            ));
        }
    }
    for (name, count) in &of_virtual {
        if *count == virtual_.len() && !of_live.contains_key(name) {
            wrong.push(format!(
                "\"{name}\" was seen in all {count} virtual trials, and in none of {} live ones",
                live.len()
            ));
        }
    }
    let list = |counts: &BTreeMap<&str, usize>, trials: usize| {
        let name = |(name, count): (&&str, &usize)| {
            if *count == trials {
                (*name).to_owned()
            } else {
                format!("{name} (in {count} of {trials} trials)")
            }
        };
        counts.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    Row {
        what: What::OutcomeClasses,
        live: list(&of_live, live.len()),
        virtual_: list(&of_virtual, virtual_.len()),
        allowed: "the same".to_owned(),
        agrees: wrong.is_empty(),
        difference: (!wrong.is_empty()).then(|| wrong.join("; ")),
    }
}

fn lifecycle_row(pairs: &[(&Seen, &Seen)]) -> Row {
    let difference = pairs.iter().find_map(|(live, virtual_)| {
        let difference = live.lives.difference("live", &virtual_.lives, "virtual")?;
        Some(format!("seed {}: {difference}", live.result.seed))
    });
    let describe = |lives: &Lives| {
        let (workers, events) = lives.count();
        format!("{workers} workers, {events} events")
    };
    // The pair that differs is shown; if none does, they are all alike in what is shown.
    let shown = pairs
        .iter()
        .find(|(live, virtual_)| live.lives != virtual_.lives);
    let (live, virtual_) = shown.unwrap_or(&pairs[0]);
    Row {
        what: What::Lifecycle,
        live: describe(&live.lives),
        virtual_: describe(&virtual_.lives),
        allowed: "the same order".to_owned(),
        agrees: difference.is_none(),
        difference,
    }
}

fn held(pairs: &[(&Seen, &Seen)]) -> Option<Row> {
    let count = |seen: &Seen| -> Option<BTreeMap<&'static str, u64>> {
        let mut counts = BTreeMap::new();
        for (outcome, count) in seen.held?.each().filter(|(_, count)| *count > 0) {
            *counts
                .entry(class(outcome).unwrap_or("cut off by the end"))
                .or_insert(0) += count;
        }
        Some(counts)
    };
    let words = |counts: &BTreeMap<&str, u64>| {
        let words = counts.iter().map(|(name, count)| format!("{count} {name}"));
        words.collect::<Vec<_>>().join(", ")
    };
    let counted: Vec<_> = pairs
        .iter()
        .filter_map(|(live, virtual_)| Some((live.result.seed, count(live)?, count(virtual_)?)))
        .collect();
    let differs = counted.iter().find(|(_, live, virtual_)| live != virtual_);
    let (seed, live, virtual_) = differs.or(counted.first())?;
    Some(Row {
        what: What::HeldRequests,
        live: words(live),
        virtual_: words(virtual_),
        allowed: "equal".to_owned(),
        agrees: differs.is_none(),
        difference: differs.map(|_| format!("seed {seed}")),
    })
}

fn unexplained(pairs: &[(&Seen, &Seen)]) -> Row {
    let live: u64 = pairs
        .iter()
        .map(|(live, _)| live.result.unexplained_count())
        .sum();
    let virtual_: u64 = pairs
        .iter()
        .map(|(_, other)| other.result.unexplained_count())
        .sum();
    let examples = pairs.iter().flat_map(|(live, other)| {
        live.result
            .unexplained
            .iter()
            .chain(&other.result.unexplained)
    });
    let examples: Vec<&str> = examples.map(String::as_str).collect();
    Row {
        what: What::Unexplained,
        live: live.to_string(),
        virtual_: virtual_.to_string(),
        allowed: "0".to_owned(),
        agrees: live == 0 && virtual_ == 0,
        difference: (!examples.is_empty()).then(|| examples.join("; ")),
    }
}

/// How far from a live median a virtual one may be, and what allows that.
fn allowed(live: f64, interval: f64) -> (f64, &'static str) {
    let share = (live * SHARE_MAX, "10 %");
    [(interval, "an interval of the probes"), share]
        .into_iter()
        .fold((MILLIS_MAX, "20 ms"), |most, other| {
            if other.0 > most.0 { other } else { most }
        })
}

/// A median of downtime; `None` if a trial does not tell it.
fn time(what: What, path: &str, pairs: &[(&Seen, &Seen)], interval: f64) -> Option<Row> {
    let figure = |seen: &Seen| -> Option<f64> {
        let metrics = &seen.result.metrics;
        match what {
            What::LongestGap => metrics.downtime_max_gap_ms.map(|gap| gap.value),
            What::AllFailedProbes => metrics.downtime_total_ms,
            What::OutcomeClasses | What::Lifecycle | What::HeldRequests | What::Unexplained => None,
        }
    };
    debug_assert!(TIMES.contains(&path), "only the times are held together");
    let all = |seen: &mut dyn Iterator<Item = &Seen>| {
        let values: Option<Vec<f64>> = seen.map(figure).collect();
        crate::measure::statistics::median(&values?)
    };
    let live = all(&mut pairs.iter().map(|(live, _)| *live))?;
    let virtual_ = all(&mut pairs.iter().map(|(_, other)| *other))?;
    let (allowed, why) = allowed(live, interval);
    let apart = (live - virtual_).abs();
    Some(Row {
        what,
        live: format!("{live:.1}"),
        virtual_: format!("{virtual_:.1}"),
        allowed: format!("±{allowed:.1} ({why})"),
        agrees: apart <= allowed,
        difference: (apart > allowed).then(|| format!("{apart:.1} ms apart")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_downtime_may_be_an_interval_of_the_probes_apart() {
        assert_eq!(allowed(25.0, 10.0), (20.0, "20 ms"));
        assert_eq!(allowed(25.0, 50.0), (50.0, "an interval of the probes"));
        let (wide, why) = allowed(1_000.0, 50.0);
        assert!((wide - 100.0).abs() < 1e-9 && why == "10 %");
    }
}
