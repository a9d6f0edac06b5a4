//! All operations and trials of a scenario in virtual time.

use super::costs::Costs;
use super::track::{Track, Watch};
use super::trial::{Run, Size, Trial, TrialError};
use crate::measure::{Observation, TrialResult};
use crate::scenario::{Operation, Scenario};

/// What has come of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// The trials, by seed.
    pub results: Vec<TrialResult>,
    /// What was kept of each.
    pub tracks: Vec<Track>,
    /// How much was simulated in all.
    pub size: Size,
}

/// Runs every trial of a scenario. The trials of one round share their seed, so that the arms meet the
/// same load and the same dice (paired). `watcher` is told how many trials are done and which is next.
/// `None` if it wants an end, or if all worlds are to end.
pub fn compare(
    scenario: &Scenario,
    costs: &Costs,
    watch: &Watch,
    watcher: &mut dyn FnMut(u32, Operation) -> bool,
) -> Result<Option<Compared>, TrialError> {
    compare_and(scenario, costs, watch, watcher, &mut |_, _| {})
}

/// As [`compare`]; `visit` sees every trial and what it was measured from.
pub fn compare_and(
    scenario: &Scenario,
    costs: &Costs,
    watch: &Watch,
    watcher: &mut dyn FnMut(u32, Operation) -> bool,
    visit: &mut dyn FnMut(&TrialResult, &Observation),
) -> Result<Option<Compared>, TrialError> {
    let mut compared = Compared::default();
    let mut done = 0;
    for round in 0..scenario.trials {
        let seed = scenario.seed_of_round(round);
        for &operation in &scenario.operations {
            if !watcher(done, operation) {
                return Ok(None);
            }
            let trial = Trial {
                scenario,
                operation,
                seed,
                costs,
            };
            let (run, track) = trial.run_watched(watch.clone());
            let Run {
                result,
                size,
                observation,
                ..
            } = match run {
                Ok(run) => run,
                Err(TrialError::Interrupted) => return Ok(None),
                Err(error) => return Err(error),
            };
            visit(&result, &observation);
            compared.size.events += size.events;
            compared.size.attempts += size.attempts;
            compared.size.nanos += size.nanos;
            compared.results.push(result);
            compared.tracks.push(track);
            done += 1;
        }
    }
    Ok(Some(compared))
}
