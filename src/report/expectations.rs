//! Whether what a scenario is meant to show was seen: every sentence with the figures that decide it.

use std::fmt::{self, Write};

use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::Value;

use super::{Arm, Comparison, used};
use crate::measure::statistics::median;
use crate::scenario::expectation::{Bound, Check};
use crate::scenario::{Clock, Scenario};

/// A sentence, decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decided {
    /// The sentence.
    pub that: String,
    /// Which claim of a longer argument it decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// Whether it holds.
    pub holds: Holds,
    /// The figures, in words, one for each check.
    pub measured: Vec<String>,
    /// Under which clock they were measured.
    pub clock: Clock,
}

/// Whether a sentence holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// A figure that would decide it is not known.
    Unknown,
    /// What was measured cannot be trusted.
    NotJudged,
}

impl Holds {
    /// Whether two parts of a sentence hold together.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::NotJudged, _) | (_, Self::NotJudged) => Self::NotJudged,
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "holds",
            Self::No => "DOES NOT HOLD",
            Self::Unknown => "UNKNOWN",
            Self::NotJudged => "not judged",
        })
    }
}

/// Decides every sentence of the scenario; none where there is no verdict either.
pub fn decide(comparison: &Comparison) -> Vec<Decided> {
    let figures = Figures::of(comparison);
    let is_trusted = comparison.is_trusted();
    let expectations = comparison.scenario.expectations.iter();
    expectations
        .map(|expectation| {
            let checks = expectation.checks.iter().map(|check| figures.decide(check));
            let (of_checks, measured): (Vec<Holds>, Vec<String>) = checks.unzip();
            let holds = if is_trusted {
                of_checks.into_iter().fold(Holds::Yes, Holds::and)
            } else {
                Holds::NotJudged
            };
            Decided {
                that: expectation.that.clone(),
                claim: expectation.claim.clone(),
                holds,
                measured,
                clock: comparison.clock,
            }
        })
        .collect()
}

/// The sentences of a scenario that could not be measured.
pub fn undecided(scenario: &Scenario) -> impl Iterator<Item = Decided> {
    scenario.expectations.iter().map(|expectation| Decided {
        that: expectation.that.clone(),
        claim: expectation.claim.clone(),
        holds: Holds::Unknown,
        measured: vec!["not measured, see above".to_owned()],
        clock: Clock::default(),
    })
}

/// The metrics of the trials of every arm, as plain values.
struct Figures(Vec<(String, Vec<Value>)>);

impl Figures {
    fn of(comparison: &Comparison) -> Self {
        let of_arm = |arm: &Arm| {
            let trials = used(&arm.trials);
            // Metrics are plain data; what could not be written would only be unknown.
            let values = trials.map(|t| serde_json::to_value(&t.metrics).unwrap_or(Value::Null));
            (arm.name.clone(), values.collect())
        };
        Self(comparison.arms.iter().map(of_arm).collect())
    }

    /// The median over the trials of an arm; `None` if one does not know it.
    fn median(&self, arm: &str, figure: &str) -> Option<f64> {
        let (_, trials) = self.0.iter().find(|(name, _)| name == arm)?;
        let values: Option<Vec<f64>> = trials.iter().map(|trial| value_of(trial, figure)).collect();
        median(&values?)
    }

    fn decide(&self, check: &Check) -> (Holds, String) {
        let left = self.median(&check.arm, &check.figure);
        let mut holds = Holds::Yes;
        let mut words = format!("{}: {} = {}", check.arm, check.figure, number(left));
        for (relation, bound) in check.bounds() {
            let (right, of_bound) = self.value(check, bound);
            let _ = write!(words, ", {} {of_bound}", relation.words());
            holds = holds.and(match left.zip(right) {
                Some((left, right)) if relation.holds(left, right) => Holds::Yes,
                Some(_) => Holds::No,
                None => Holds::Unknown,
            });
        }
        (holds, words)
    }

    fn value(&self, check: &Check, bound: &Bound) -> (Option<f64>, String) {
        match bound {
            Bound::Number(value) => (Some(*value), number(Some(*value))),
            Bound::Figure(other) => {
                let figure = other.figure.as_ref().unwrap_or(&check.figure);
                let value = self.median(&other.arm, figure);
                let value = value.map(|value| value * other.times + other.plus);
                let mut words = format!("{} ({}", number(value), other.arm);
                if other.figure.is_some() {
                    let _ = write!(words, ": {figure}");
                }
                if (other.times - 1.0).abs() > 1e-12 {
                    let _ = write!(words, ", times {}", other.times);
                }
                if other.plus.abs() > 1e-12 {
                    let _ = write!(words, ", plus {}", other.plus);
                }
                (value, words + ")")
            }
        }
    }
}

/// A figure of one trial, or the sum of several.
fn value_of(trial: &Value, figure: &str) -> Option<f64> {
    figure
        .split(" + ")
        .map(|path| {
            let path = path.trim();
            let value = path.split('.').try_fold(trial, |value, key| value.get(key));
            match value {
                Some(value) => value.as_f64(),
                // What was counted and never happened is not in the list.
                None if path.starts_with("events.") => trial.get("events").map(|_| 0.0),
                None => None,
            }
        })
        .sum()
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "unknown".to_owned(),
        Some(value) if value.fract() == 0.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// The sentences as text, each with its figures below it.
pub fn render(decided: &[Decided]) -> String {
    let mut text = String::new();
    for sentence in decided {
        let claim = sentence.claim.as_ref();
        let claim = claim.map_or_else(String::new, |claim| format!("{claim}  "));
        let _ = writeln!(
            text,
            "{:<14} {claim}{}",
            sentence.holds.to_string(),
            sentence.that
        );
        for words in &sentence.measured {
            let _ = writeln!(text, "               {words}");
        }
    }
    let held = decided.iter().filter(|d| d.holds == Holds::Yes).count();
    text + &format!("{held} of {} sentences hold\n", decided.len())
}

/// The sentences of several scenarios as one table: claim, what was measured, holds or not.
pub fn table(decided: &[Decided]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["CLAIM", "SENTENCE", "MEASURED", "CLOCK", ""]);
    let mut sorted: Vec<&Decided> = decided.iter().collect();
    sorted.sort_by_key(|sentence| claim_order(sentence.claim.as_deref()));
    for sentence in sorted {
        table.add_row([
            sentence.claim.clone().unwrap_or_default(),
            sentence.that.clone(),
            sentence.measured.join("\n"),
            sentence.clock.to_string(),
            sentence.holds.to_string(),
        ]);
    }
    table.trim_fmt()
}

/// `A4` before `A12`, and what is no claim behind them.
fn claim_order(claim: Option<&str>) -> (bool, u32, String) {
    let claim = claim.unwrap_or_default();
    let number = claim.trim_start_matches(|c: char| !c.is_ascii_digit());
    let number = number.split(|c: char| !c.is_ascii_digit()).next();
    let number = number.and_then(|digits| digits.parse().ok()).unwrap_or(0);
    (claim.is_empty(), number, claim.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn figures() -> Figures {
        let trial = |failed: u64| {
            json!({"failed": failed, "connections": {"lost_rst": 3, "lost_fin": 4},
                   "events": {"5074": 1}, "sessions": {"live": null}})
        };
        Figures(vec![
            ("recycle".to_owned(), vec![trial(0), trial(0), trial(9)]),
            ("iisreset".to_owned(), vec![trial(70)]),
        ])
    }

    fn decided(check: &str) -> (Holds, String) {
        figures().decide(&toml::from_str(check).unwrap())
    }

    #[test]
    fn a_check_compares_medians_with_numbers_and_with_other_arms() {
        let (holds, words) = decided("arm = 'recycle'\nfigure = 'failed'\nequals = 0");
        assert_eq!(
            (holds, words.as_str()),
            (Holds::Yes, "recycle: failed = 0, exactly 0")
        );
        let more =
            "arm = 'iisreset'\nfigure = 'failed'\nmore-than = { arm = 'recycle', plus = 69 }";
        assert_eq!(decided(more).0, Holds::Yes);
        let less = "arm = 'iisreset'\nfigure = 'failed'\nless-than = { arm = 'recycle' }";
        assert_eq!(decided(less).0, Holds::No);
    }

    #[test]
    fn figures_are_added_up_and_events_that_never_happened_count_as_none() {
        let sum =
            "arm = 'recycle'\nfigure = 'connections.lost_rst + connections.lost_fin'\nequals = 7";
        assert_eq!(decided(sum).0, Holds::Yes);
        let event =
            |id, count| format!("arm = 'recycle'\nfigure = 'events.{id}'\nequals = {count}");
        assert_eq!(decided(&event(5074, 1)).0, Holds::Yes);
        assert_eq!(decided(&event(5002, 0)).0, Holds::Yes);
    }

    #[test]
    fn what_is_not_known_decides_nothing() {
        let unknown = "arm = 'recycle'\nfigure = 'sessions.live'\nat-most = 5";
        assert_eq!(decided(unknown).0, Holds::Unknown);
        let typo = "arm = 'recycle'\nfigure = 'sesions.live'\nat-most = 5";
        assert_eq!(decided(typo).0, Holds::Unknown);
    }
}
