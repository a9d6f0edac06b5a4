//! All operations and trials of a scenario, in an order that spreads drift over the arms.

use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;

use super::trial::{Stage, Trial, TrialError};
use crate::measure::{Observation, TrialResult};
use crate::scenario::{Operation, Scenario};

/// What is running now, for whoever shows progress.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Trials that are done.
    pub done: u32,
    /// Trials in all.
    pub total: u32,
    /// The operation of the trial that runs.
    pub operation: Operation,
    /// Where it is.
    pub stage: Stage,
}

/// Runs every trial of a scenario, each in a folder of its own below `folder`.
///
/// The trials of one round share their seed, so that the arms meet the same plan (paired); within a
/// round the order is drawn from the scenario's seed. An invalid trial is run again, and reported.
pub fn compare(
    scenario: &Scenario,
    folder: &Path,
    record: bool,
    watcher: &mut dyn FnMut(Now) -> bool,
) -> Result<Vec<TrialResult>, TrialError> {
    compare_and(scenario, folder, record, watcher, &mut |_, _| {})
}

/// As [`compare`]; `visit` sees every trial, the invalid ones too, and what it was measured from.
pub fn compare_and(
    scenario: &Scenario,
    folder: &Path,
    record: bool,
    watcher: &mut dyn FnMut(Now) -> bool,
    visit: &mut dyn FnMut(&TrialResult, &Observation),
) -> Result<Vec<TrialResult>, TrialError> {
    let arms = u32::try_from(scenario.operations.len()).unwrap_or(u32::MAX);
    let total = scenario.trials.saturating_mul(arms);
    let mut order = Pcg64Mcg::seed_from_u64(scenario.seed);
    let mut results: Vec<TrialResult> = Vec::new();
    let mut done = 0;
    let mut repeats_left = scenario.timing.repeats_max;
    for round in 0..scenario.trials {
        let mut operations = scenario.operations.clone();
        operations.shuffle(&mut order);
        for operation in operations {
            let seed = scenario.seed_of_round(round);
            // Some are kept for those that come later.
            let left = total.saturating_sub(done).max(1);
            let mut share = repeats_left.min(repeats_left.div_ceil(left).max(2));
            loop {
                let trial_folder = trial_folder(folder, operation, round)?;
                let trial = Trial {
                    scenario,
                    operation,
                    seed,
                    folder: &trial_folder,
                    record,
                };
                let mut watch = |stage| {
                    watcher(Now {
                        done,
                        total,
                        operation,
                        stage,
                    })
                };
                let (mut result, observation) = trial.run(&mut watch)?;
                result.is_repeated = result.invalid.is_some() && share > 0;
                visit(&result, &observation);
                let is_kept = !result.is_repeated;
                results.push(result);
                if is_kept {
                    break;
                }
                repeats_left -= 1;
                share -= 1;
            }
            done += 1;
        }
    }
    results.sort_by_key(|result| result.seed);
    Ok(results)
}

/// An empty folder for a trial; what an invalid one left there goes.
fn trial_folder(folder: &Path, operation: Operation, round: u32) -> Result<PathBuf, TrialError> {
    let path = folder.join(format!("{operation}-{}", round + 1));
    let at = |source| TrialError::File {
        path: path.clone(),
        source,
    };
    if path.exists() {
        std::fs::remove_dir_all(&path).map_err(at)?;
    }
    std::fs::create_dir_all(&path).map_err(at)?;
    Ok(path)
}
