//! Several trials of one operation in one line per figure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sim_httpsys::clockwork::Instant;

use super::downtime::Bounded;
use super::events::Recycles;
use super::metrics::{Lateness, Metrics, Trial};
use super::read::Observation;
use super::statistics::{median, median_interval, upper_bound_of_none};

/// All trials of one operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many trials there were.
    pub trials: usize,
    /// Every figure of [`Metrics`] by its path, e.g. `cache.file.entries_lost`.
    pub figures: BTreeMap<String, Estimate>,
    /// Every outcome over all attempts of all trials.
    pub outcomes: BTreeMap<String, Count>,
}

/// One figure over the trials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// The lower end of its 95 % interval; `None` for fewer than three trials.
    pub lower: Option<f64>,
    /// The upper end.
    pub upper: Option<f64>,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Trials in which it is known.
    pub known: usize,
    /// Trials in which it is not.
    pub unknown: usize,
}

/// How often something happened to the attempts of all trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// How often.
    pub count: u64,
    /// Of how many.
    pub of: u64,
    /// If it never happened: the share that it has at most, with 95 % confidence.
    pub share_at_most: Option<f64>,
}

/// Parts of [`Metrics`] that are lists or names and no figures.
const NOT_FIGURES: [&str; 4] = ["workers", "downtime_windows", "ledger", "events"];

/// Sums up the trials of one operation. Invalid trials are the caller's to leave out.
pub fn summarise(trials: &[Metrics]) -> Summary {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    for trial in trials {
        // Metrics are plain data; what could not be written would only be missing.
        let value = serde_json::to_value(trial).unwrap_or(Value::Null);
        flatten("", &value, &mut values, &mut unknown);
    }
    let figures = values
        .into_iter()
        .filter_map(|(path, values)| {
            let unknown = unknown.get(&path).copied().unwrap_or(0);
            Some((path, Estimate::of(&values, unknown)?))
        })
        .collect();
    Summary {
        trials: trials.len(),
        figures,
        outcomes: count_outcomes(trials),
    }
}

/// Every figure of a trial that is known, by its path, e.g. `cache.file.entries_lost`.
pub fn figures_of(trial: &Metrics) -> BTreeMap<String, f64> {
    let (mut values, mut unknown) = (BTreeMap::new(), BTreeMap::new());
    let value = serde_json::to_value(trial).unwrap_or(Value::Null);
    flatten("", &value, &mut values, &mut unknown);
    let last = |(path, values): (String, Vec<f64>)| Some((path, values.last().copied()?));
    values.into_iter().filter_map(last).collect()
}

impl Estimate {
    fn of(values: &[f64], unknown: usize) -> Option<Self> {
        // One seed for all figures, so that a report can be made again from its trials.
        let interval = median_interval(values, 1);
        Some(Self {
            median: median(values)?,
            lower: interval.map(|i| i.lower),
            upper: interval.map(|i| i.upper),
            min: values.iter().copied().min_by(f64::total_cmp)?,
            max: values.iter().copied().max_by(f64::total_cmp)?,
            known: values.len(),
            unknown,
        })
    }
}

/// What is wrong with the path of a figure, or with one in a sum of some: there can never be such a figure.
pub fn unknown_figure(figure: &str) -> Option<String> {
    let trial = Trial {
        operation: Instant::SWITCHED_ON,
        pool: None,
        baseline_from: Instant::SWITCHED_ON,
        workers_peak_bytes: None,
        clock: None,
    };
    let mut none = Metrics::of(&Observation::default(), &trial);
    // What is a table if it is known.
    none.downtime_max_gap_ms = Some(Bounded {
        value: 0.0,
        lower: 0.0,
        upper: None,
    });
    none.recycles = Some(Recycles::default());
    none.lateness = Some(Lateness {
        p999_us: 0.0,
        max_us: 0.0,
        bound_us: 0.0,
        valid: true,
    });
    let metrics = serde_json::to_value(none).unwrap_or_default();
    figure.split(" + ").find_map(|path| {
        let mut value = &metrics;
        // Only a farm has one.
        if path.trim().starts_with("balancer.") {
            return None;
        }
        let path = path.trim();
        let root = path.split('.').next().unwrap_or_default();
        if NOT_FIGURES.contains(&root) && root != "events" {
            return Some(format!(
                "there is no figure {path:?}: {root} is a list, of each trial"
            ));
        }
        for step in path.split('.') {
            match value {
                // Nobody knows before what it will hold.
                Value::Null => return None,
                Value::Object(known) if known.contains_key(step) => value = &known[step],
                Value::Object(known) => {
                    let known: Vec<&str> = known.keys().map(String::as_str).collect();
                    let known = known.join(", ");
                    return Some(format!(
                        "there is no figure {path:?}: {step:?} is none of {known}"
                    ));
                }
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    return Some(format!(
                        "there is no figure {path:?}: it ends before {step:?}"
                    ));
                }
            }
        }
        match value {
            Value::Null | Value::Number(_) => None,
            Value::Object(parts) if !parts.is_empty() && path != "events" => {
                let below: Vec<String> =
                    parts.keys().map(|name| format!("{path}.{name}")).collect();
                let below = below.join(", ");
                Some(format!(
                    "{path:?} is no number but a table: name one of {below}"
                ))
            }
            Value::Object(_) => Some(format!(
                "{path:?} is no number but a table: name a number of an event, e.g. events.5074"
            )),
            Value::Bool(_) | Value::String(_) | Value::Array(_) => {
                Some(format!("there is no figure {path:?}: it is no number"))
            }
        }
    })
}

fn flatten(
    path: &str,
    value: &Value,
    values: &mut BTreeMap<String, Vec<f64>>,
    unknown: &mut BTreeMap<String, usize>,
) {
    match value {
        Value::Number(number) => {
            values
                .entry(path.to_owned())
                .or_default()
                .extend(number.as_f64());
        }
        Value::Null => *unknown.entry(path.to_owned()).or_default() += 1,
        Value::Object(parts) => {
            for (name, part) in parts {
                if path.is_empty() && NOT_FIGURES.contains(&name.as_str()) {
                    continue;
                }
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{name}"), part, values, unknown);
            }
        }
        Value::Bool(_) | Value::String(_) | Value::Array(_) => {}
    }
}

fn count_outcomes(trials: &[Metrics]) -> BTreeMap<String, Count> {
    let of: u64 = trials.iter().map(|trial| trial.attempts).sum();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for trial in trials {
        for (outcome, count) in trial.outcomes.each() {
            *counts.entry(outcome.name().to_owned()).or_default() += count;
        }
    }
    let bounded = |count| Count {
        count,
        of,
        share_at_most: if count == 0 {
            upper_bound_of_none(of)
        } else {
            None
        },
    };
    counts
        .into_iter()
        .map(|(name, count)| (name, bounded(count)))
        .collect()
}

impl std::fmt::Display for Count {
    /// `0 of 30000 (at most 0.01 %)`, never "0 %".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.count, self.of)?;
        self.share_at_most.map_or(Ok(()), |share| {
            write!(f, " (at most {:.2} %)", share * 100.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::Outcome;
    use crate::measure::synthetic::{OPERATION, at, book_with_outage};

    fn trial(outage_ms: u64) -> Metrics {
        let book = book_with_outage(outage_ms, Outcome::Refused);
        let observation = Observation {
            book,
            ..Observation::default()
        };
        let trial = Trial {
            operation: OPERATION,
            pool: None,
            baseline_from: at(-5_000.0),
            workers_peak_bytes: None,
            clock: None,
        };
        Metrics::of(&observation, &trial)
    }

    #[test]
    fn a_figure_that_cannot_be_is_told_with_those_that_can() {
        for good in [
            "failed",
            "events.5074",
            "downtime_max_gap_ms.value",
            "balancer.taken_out",
        ] {
            assert_eq!(unknown_figure(good), None, "{good}");
        }
        assert_eq!(
            unknown_figure("outcomes.refused + probes.outcomes.refused"),
            None
        );
        let said = unknown_figure("failed + faild").expect("it is misspelt");
        assert!(
            said.contains("\"faild\"") && said.contains("failed, "),
            "{said}"
        );
        let said = unknown_figure("failed + downtime_max_gap_ms").expect("it is a table");
        assert!(said.contains("name one of downtime_max_gap_ms."), "{said}");
        assert!(said.contains("downtime_max_gap_ms.value"), "{said}");
        for table in [
            "recycles",
            "outcomes",
            "latency_ms",
            "workers",
            "downtime_windows",
        ] {
            assert!(unknown_figure(table).is_some(), "{table}");
        }
        assert!(
            unknown_figure("failed.value").is_some() && unknown_figure("outcomes.ko").is_some()
        );
    }

    #[test]
    fn one_trial_has_a_median_and_no_interval() {
        let summary = summarise(&[trial(500)]);
        let gap = &summary.figures["downtime_max_gap_ms.value"];
        assert!((gap.median - 500.0).abs() <= 10.0);
        assert_eq!((gap.lower, gap.upper), (None, None));
    }

    #[test]
    fn three_trials_have_an_interval_around_the_median() {
        let summary = summarise(&[trial(100), trial(500), trial(900)]);
        let gap = &summary.figures["downtime_max_gap_ms.value"];
        assert!(gap.lower.unwrap() <= gap.median && gap.median <= gap.upper.unwrap());
        assert_eq!((gap.known, gap.unknown), (3, 0));
        assert!(
            !summary.figures.contains_key("cache.file.entries_lost"),
            "never known"
        );
    }

    #[test]
    fn what_never_happened_is_bounded() {
        let summary = summarise(&[trial(500), trial(500), trial(500)]);
        let dropped = summary.outcomes["reset_inflight"];
        assert_eq!((dropped.count, dropped.of), (0, 3_600));
        assert_eq!(dropped.to_string(), "0 of 3600 (at most 0.08 %)");
        assert_eq!(summary.outcomes["refused"].share_at_most, None);
        assert_eq!(summary.outcomes["refused"].count, 150);
    }
}
