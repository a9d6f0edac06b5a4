//! What was measured, for people ([`text`]) and for programs ([`json`]).

use std::collections::BTreeMap;

use crate::load::profile::Profile;
use crate::measure::downtime::Bounded;
use crate::measure::statistics::median;
use crate::measure::{Metrics, Outcomes, Summary, TrialResult, summarise};
use crate::scenario::{Clock, Operation, Scenario, Story};

pub mod agreement;
mod environment;
pub mod expectations;
pub mod json;
mod notes;
#[cfg(test)]
mod tests;
pub mod text;
mod verdict;

pub use environment::Environment;

/// All that a comparison has measured.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The scenario.
    pub scenario: Scenario,
    /// Under which clock it ran.
    pub clock: Clock,
    /// Where it was measured.
    pub environment: Environment,
    /// What said what things cost: virtual time only.
    pub profile: Option<String>,
    /// What was run: the scenario itself, or each of its variants.
    pub stories: Vec<Story>,
    /// The arms, in the order of the scenario.
    pub arms: Vec<Arm>,
}

/// All trials of one operation.
#[derive(Clone, Debug)]
pub struct Arm {
    /// What it is called: the operation, or the variant that it was performed on.
    pub name: String,
    /// The operation.
    pub operation: Operation,
    /// Which of [`Comparison::stories`] it belongs to.
    pub story: usize,
    /// Its trials, by seed.
    pub trials: Vec<TrialResult>,
    /// Over its valid trials; if there is none, over its invalid ones ([`Arm::is_invalid`]).
    pub summary: Summary,
    /// Invalid trials that were run again, and are in no figure.
    pub repeated: Vec<TrialResult>,
}

impl Comparison {
    /// Sums up the trials of a scenario. Invalid ones are kept and shown, and left out of sums.
    pub fn new(scenario: &Scenario, clock: Clock, results: Vec<TrialResult>) -> Self {
        let (repeated, kept): (Vec<_>, Vec<_>) = results.into_iter().partition(|r| r.is_repeated);
        let mut kept = by_operation(kept);
        let mut repeated = by_operation(repeated);
        let arm = |operation: &Operation| {
            let trials = kept.remove(operation).unwrap_or_default();
            let metrics: Vec<Metrics> = used(&trials).map(|trial| trial.metrics.clone()).collect();
            Arm {
                name: operation.name().to_owned(),
                operation: *operation,
                story: 0,
                summary: summarise(&metrics),
                trials,
                repeated: repeated.remove(operation).unwrap_or_default(),
            }
        };
        Self {
            scenario: scenario.clone(),
            clock,
            environment: Environment::of_this_machine(clock),
            profile: None,
            stories: vec![Story {
                variant: String::new(),
                scenario: scenario.clone(),
            }],
            arms: scenario.operations.iter().map(arm).collect(),
        }
    }

    /// Says by which profile the costs of virtual time were drawn.
    #[must_use]
    pub fn with_profile(mut self, profile: Option<String>) -> Self {
        self.profile = profile;
        self
    }

    /// The stories of one scenario in one report, each with its results.
    pub fn of_stories(
        scenario: &Scenario,
        clock: Clock,
        stories: Vec<(Story, Vec<TrialResult>)>,
    ) -> Self {
        let mut whole = Self {
            scenario: scenario.clone(),
            clock,
            environment: Environment::of_this_machine(clock),
            profile: None,
            stories: Vec::new(),
            arms: Vec::new(),
        };
        for (number, (story, results)) in stories.into_iter().enumerate() {
            let part = Self::new(&story.scenario, clock, results);
            whole.arms.extend(part.arms.into_iter().map(|arm| Arm {
                name: story.arm(arm.operation),
                story: number,
                ..arm
            }));
            whole.stories.push(story);
        }
        whole
    }

    /// Whether every trial is valid, every attempt of every trial is explained, and every arm has some.
    pub fn is_trusted(&self) -> bool {
        self.arms.iter().all(|arm| !arm.is_empty())
            && self
                .trials()
                .all(|trial| trial.invalid.is_none() && trial.unexplained_count() == 0)
    }

    /// All trials of all arms.
    pub fn trials(&self) -> impl Iterator<Item = &TrialResult> {
        self.arms.iter().flat_map(|arm| &arm.trials)
    }

    /// The load of an arm.
    fn load_of(&self, arm: &Arm) -> &Profile {
        let story = self.stories.get(arm.story);
        &story.map_or(&self.scenario, |story| &story.scenario).load
    }

    /// What something is in all stories; where variants differ in it, what it is in which.
    fn each(&self, what: &dyn Fn(&Scenario) -> String) -> String {
        let mut values: Vec<(String, Vec<&str>)> = Vec::new();
        for story in &self.stories {
            let value = what(&story.scenario);
            match values.iter_mut().find(|(known, _)| *known == value) {
                Some((_, names)) => names.push(&story.variant),
                None => values.push((value, vec![&story.variant])),
            }
        }
        match &values[..] {
            [] => what(&self.scenario),
            [(value, _)] => value.clone(),
            several => {
                let several = several.iter();
                let told = several.map(|(value, names)| format!("{value} ({})", names.join("; ")));
                told.collect::<Vec<_>>().join(" or ")
            }
        }
    }

    /// The arm of an operation.
    pub fn arm(&self, operation: Operation) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.operation == operation)
    }
}

impl Arm {
    /// Whether the probes of a trial failed all before the operation too: then they tell no downtime.
    pub fn is_blind(&self) -> bool {
        let mut trials = self.trials.iter();
        trials.any(|trial| trial.metrics.probes.never_succeeded())
    }

    /// The median of a figure over the valid trials, by its path in the metrics.
    pub fn median(&self, path: &str) -> Option<f64> {
        self.summary
            .figures
            .get(path)
            .map(|estimate| estimate.median)
    }

    /// How often an outcome happened over all valid trials.
    pub fn count(&self, outcome: &str) -> u64 {
        self.summary
            .outcomes
            .get(outcome)
            .map_or(0, |count| count.count)
    }

    /// Attempts of the trials that are summed up.
    pub fn attempts(&self) -> u64 {
        self.used().map(|trial| trial.metrics.attempts).sum()
    }

    /// How the attempts of these trials ended before the operation began.
    pub fn before(&self) -> Outcomes {
        let trials = self.used();
        trials.map(|trial| trial.metrics.before.outcomes).sum()
    }

    /// What the longest gap was at least, if it had not ended when the run did: probing cannot tell how long it
    /// would have been. `None` if the median over the trials is that of gaps that ended. Where no probe failed
    /// there was no gap, whatever the last probe was still waiting for.
    pub fn open_gap(&self) -> Option<f64> {
        let gaps: Vec<Bounded> = self
            .used()
            .filter_map(|trial| trial.metrics.downtime_max_gap_ms)
            .collect();
        let had_not_ended = |gap: &Bounded| gap.upper.is_none() && gap.value > 0.0;
        let told = |gap: &Bounded| {
            if had_not_ended(gap) {
                gap.lower
            } else {
                gap.value
            }
        };
        let at_least = median(&gaps.iter().map(told).collect::<Vec<f64>>())?;
        let is_open = |gap: &Bounded| had_not_ended(gap) && gap.lower <= at_least;
        gaps.iter().any(is_open).then_some(at_least)
    }

    /// How long a pool had no worker to deliver to at least, if it had none when the run ended; as [`Arm::open_gap`].
    pub fn open_without_target(&self) -> Option<f64> {
        let times = || {
            let metrics = self.used().map(|trial| &trial.metrics);
            metrics.filter_map(|m| Some((m.no_delivery_target_ms?, m.no_delivery_target_lasts)))
        };
        let at_least = median(&times().map(|(ms, _)| ms).collect::<Vec<f64>>())?;
        let is_open = |(ms, lasts): (f64, bool)| lasts && ms <= at_least;
        times().any(is_open).then_some(at_least)
    }

    /// The trials that are summed up.
    fn used(&self) -> impl Iterator<Item = &TrialResult> {
        used(&self.trials)
    }

    /// How many trials are summed up.
    pub fn trials_used(&self) -> usize {
        self.used().count()
    }

    /// Whether it was tried, and nobody asked for anything once the operation had begun.
    pub fn is_empty(&self) -> bool {
        !self.trials.is_empty() && self.attempts() == 0
    }

    /// Whether no trial of it is valid, so that its figures must be marked.
    pub fn is_invalid(&self) -> bool {
        self.trials.iter().all(|trial| trial.invalid.is_some())
    }
}

/// The trials that are summed up: the valid ones, or all if there is none.
fn used(trials: &[TrialResult]) -> impl Iterator<Item = &TrialResult> {
    let any_valid = trials.iter().any(|trial| trial.invalid.is_none());
    trials
        .iter()
        .filter(move |trial| trial.invalid.is_none() || !any_valid)
}

fn by_operation(results: Vec<TrialResult>) -> BTreeMap<Operation, Vec<TrialResult>> {
    let mut sorted: BTreeMap<Operation, Vec<TrialResult>> = BTreeMap::new();
    for result in results {
        sorted.entry(result.operation).or_default().push(result);
    }
    sorted
}
