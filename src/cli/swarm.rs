//! `iis-sim swarm`: many seeds under the virtual clock, each with faults, all checked.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sim_httpsys::live::clock::clock_now;

use super::mutants;
use crate::virtual_world::swarm::{self, SwarmError};
use crate::virtual_world::track::{Line, Watch};
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
    /// Virtual seconds of load and faults for each seed
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Write the facts of the first seed, one JSON object a line
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Go on after a seed that fails
    #[arg(long)]
    keep_going: bool,
    /// Put faults into the models, one after the other, and see that each is found (needs a build with
    /// --features mutants); fails if less than 95 % are
    #[arg(long)]
    mutants: bool,
    /// Of the mutants only that one; repeat for more
    #[arg(long, value_name = "NAME", requires = "mutants")]
    mutant: Vec<String>,
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
    if arguments.mutants {
        return mutants::main(&arguments.mutant, &(first..end), arguments.seconds);
    }
    if let Some(path) = &arguments.trace
        && let Err(error) = trace(first, arguments.seconds * 1_000, path)
    {
        eprintln!("iis-sim: {}: {error}", path.display());
        return ExitCode::from(BROKEN);
    }
    let begun = clock_now();
    let mut total = Size::default();
    let mut sometimes: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    let (mut digest, mut failed) = (0_u64, 0_u64);
    for seed in first..end {
        match swarm::run(seed, arguments.seconds * 1_000) {
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
                tell(seed, arguments.seconds, &error);
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

fn tell(seed: u64, seconds: u64, error: &SwarmError) {
    let plan = swarm::draw(seed, seconds * 1_000);
    let plan = serde_json::to_string(&plan).unwrap_or_default();
    eprintln!(
        "seed {seed}: {error}\n  plan: {plan}\n  again: iis-sim swarm --seeds {seed}..{} --seconds {seconds}",
        seed + 1
    );
}

/// Runs a seed, and writes its facts in the order in which they were stated.
fn trace(seed: u64, millis: u64, path: &Path) -> io::Result<()> {
    let plan = swarm::draw(seed, millis);
    let (_, track) = swarm::run_watched(&plan, Watch::Facts(0..u64::MAX));
    let mut file = BufWriter::new(fs::File::create(path)?);
    for Line { at, by, fact, .. } in &track.lines {
        writeln!(file, "{{\"at\":{},\"who\":\"{by}\",\"fact\":{fact}}}", at.0)?;
    }
    file.flush()
}
