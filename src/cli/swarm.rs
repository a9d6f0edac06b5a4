//! `iis-sim swarm`: many seeds under the virtual clock, each with faults, all checked.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use sim_httpsys::live::clock::clock_now;

use crate::virtual_world::swarm::{self, SwarmError};
use crate::virtual_world::trial::Size;

/// Exit code when an invariant is broken.
const BROKEN: u8 = 1;

/// Arguments of `iis-sim swarm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 every invariant held; 1 one was broken; 2 wrong arguments")]
pub(super) struct Arguments {
    /// The seeds, from A up to but without B
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: (u64, u64),
    /// Virtual seconds that each seed is watched after its operation
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    watch: u64,
    /// Go on after a seed that fails
    #[arg(long)]
    keep_going: bool,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("{text:?} is not a range of seeds such as 0..2000");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let first = first.parse().map_err(|_| wrong())?;
    let end = end.parse().map_err(|_| wrong())?;
    if first < end {
        Ok((first, end))
    } else {
        Err(wrong())
    }
}

/// Runs the seeds, and prints what was reached.
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let (first, end) = arguments.seeds;
    let begun = clock_now();
    let mut total = Size::default();
    let mut sometimes: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    let (mut digest, mut failed) = (0_u64, 0_u64);
    for seed in first..end {
        match swarm::run(seed, Duration::from_secs(arguments.watch)) {
            Ok(outcome) => {
                digest = digest.rotate_left(1) ^ outcome.digest;
                total.events += outcome.size.events;
                total.attempts += outcome.size.attempts;
                total.nanos += outcome.size.nanos;
                for (what, count) in outcome.sometimes {
                    let (seeds, times) = sometimes.entry(what).or_default();
                    *seeds += 1;
                    *times += count;
                }
            }
            Err(error) => {
                failed += 1;
                tell(seed, arguments.watch, &error);
                if !arguments.keep_going {
                    return ExitCode::from(BROKEN);
                }
            }
        }
    }
    let took = clock_now() - begun;
    println!(
        "{} seeds, {failed} failed, digest {digest:016x}; {} s of virtual time, {} attempts, {} events \
         in {:.1} s\n\nsometimes (seeds that saw it, times):",
        end - first,
        total.nanos / 1_000_000_000,
        total.attempts,
        total.events,
        took.as_secs_f64()
    );
    for (what, (seeds, times)) in &sometimes {
        println!("  {seeds:>6} {times:>9}  {what}");
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(BROKEN)
    }
}

fn tell(seed: u64, watch: u64, error: &SwarmError) {
    eprintln!(
        "seed {seed}: {error}\n  again: iis-sim swarm --seeds {seed}..{} --watch {watch}",
        seed + 1
    );
}
