//! The check of the checks: faults that are put into the models on purpose must be found by the swarm.
//!
//! Each mutant runs through the seeds until one breaks an invariant that the same seed keeps without
//! it. A panic counts as found, under the name `panic`: an assertion of a model is a check as well.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use sim_httpsys::clockwork::mutants::{Mutant, choose};

use super::plan::Plan;
use super::shrink::{Shrunk, shrink};
use super::{SwarmError, draw, run_caught};

/// What has come of one mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub mutant: Mutant,
    /// How it was found; `None` if it has survived every seed.
    pub caught: Option<Caught>,
    /// Seeds that were tried.
    pub seeds: u64,
}

/// How a mutant was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    /// The seed.
    pub seed: u64,
    /// The name of the invariant, or `panic`.
    pub by: &'static str,
    /// What was seen.
    pub what: String,
}

/// Runs mutants through seeds of `millis` each, on so many threads. `watcher` is told each verdict as
/// it falls, from whichever thread; when it says `false`, what is not decided yet is left out.
///
/// # Panics
///
/// Never: mutants panic where that is caught.
pub fn check(
    mutants: &[Mutant],
    seeds: &Range<u64>,
    millis: u64,
    threads: usize,
    watcher: &(dyn Fn(&Verdict) -> bool + Sync),
) -> Vec<Verdict> {
    let next = AtomicUsize::new(0);
    let goes_on = AtomicBool::new(true);
    let verdicts = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while goes_on.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&mutant) = mutants.get(index) else {
                        break;
                    };
                    let Some(verdict) = try_one(mutant, seeds, millis, &goes_on) else {
                        break;
                    };
                    if !watcher(&verdict) {
                        goes_on.store(false, Ordering::Relaxed);
                    }
                    verdicts
                        .lock()
                        .expect("nobody panics with it")
                        .push((index, verdict));
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().expect("nobody panics with it");
    verdicts.sort_by_key(|(index, _)| *index);
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

/// `None` if it was told to end.
fn try_one(
    mutant: Mutant,
    seeds: &Range<u64>,
    millis: u64,
    goes_on: &AtomicBool,
) -> Option<Verdict> {
    for seed in seeds.clone() {
        if !goes_on.load(Ordering::Relaxed) {
            return None;
        }
        let plan = draw(seed, millis);
        let error = match error_of(Some(mutant), &plan) {
            None => continue,
            Some(SwarmError::Interrupted) => return None,
            Some(error) => error,
        };
        let by = error.name();
        if error_of(None, &plan).is_none_or(|other| other.name() != by) {
            let what = error.to_string();
            return Some(Verdict {
                mutant,
                caught: Some(Caught { seed, by, what }),
                seeds: seed + 1 - seeds.start,
            });
        }
    }
    Some(Verdict {
        mutant,
        caught: None,
        seeds: seeds.end - seeds.start,
    })
}

/// What a plan breaks with a mutant, or without any.
fn error_of(mutant: Option<Mutant>, plan: &Plan) -> Option<SwarmError> {
    choose(mutant);
    let error = run_caught(plan).err();
    choose(None);
    error
}

/// Makes a plan smaller by which a mutant was found.
pub fn shrink_caught(mutant: Mutant, plan: &Plan, tries: u32) -> Option<Shrunk> {
    let error = error_of(Some(mutant), plan)?;
    choose(Some(mutant));
    let shrunk = shrink(plan, error, tries, &mut |_| true);
    choose(None);
    Some(shrunk)
}
