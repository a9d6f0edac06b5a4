//! Many plans at once, on every core, told in the order of their seeds.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use super::plan::Plan;
use super::{Outcome, SwarmError, draw, run_plan};

/// Runs a plan; a panic is one more way to fail.
pub fn run_caught(plan: &Plan) -> Result<Outcome, SwarmError> {
    catch_unwind(AssertUnwindSafe(|| run_plan(plan))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(SwarmError::Panic(text.unwrap_or("?").to_owned()))
    })
}

/// Runs seeds of `millis` each on so many threads. `watcher` is told what came of each, in the order of
/// seeds however many threads there are, and ends it by `false`.
pub fn run_many(
    seeds: Range<u64>,
    millis: u64,
    threads: usize,
    watcher: &mut dyn FnMut(u64, Result<Outcome, SwarmError>) -> bool,
) {
    let next = AtomicU64::new(seeds.start);
    let goes_on = AtomicBool::new(true);
    let (sender, receiver) = sync_channel(64);
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let sender = sender.clone();
            let (next, goes_on) = (&next, &goes_on);
            scope.spawn(move || {
                while goes_on.load(Ordering::Relaxed) {
                    let taken = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seed| {
                        (seed < seeds.end).then(|| seed + 1)
                    });
                    let Ok(seed) = taken else { break };
                    let outcome = run_caught(&draw(seed, millis));
                    if sender.send((seed, outcome)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        // What comes too early waits for the seeds before it.
        let mut early = BTreeMap::new();
        let mut expected = seeds.start;
        for (seed, outcome) in &receiver {
            early.insert(seed, outcome);
            while let Some(outcome) = early.remove(&expected) {
                if goes_on.load(Ordering::Relaxed) && !watcher(expected, outcome) {
                    goes_on.store(false, Ordering::Relaxed);
                }
                expected += 1;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_seeds_of_all_are_seeds_like_others() {
        let mut seeds = Vec::new();
        run_many(u64::MAX - 2..u64::MAX, 1_000, 4, &mut |seed, outcome| {
            assert!(outcome.is_ok());
            seeds.push(seed);
            true
        });
        assert_eq!(seeds, [u64::MAX - 2, u64::MAX - 1]);
    }
}
