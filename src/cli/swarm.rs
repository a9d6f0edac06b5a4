//! `iis-sim swarm`: many seeds under the virtual clock, each with faults, all checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sim_httpsys::live::clock::clock_now;

use super::output_file::{output_file, output_folder};
use super::up::stop_flag;
use super::{WRONG_ARGUMENTS, mutants};
use crate::virtual_world::checkers::coverage::{Coverage, Reached};
use crate::virtual_world::checkers::sometimes::ALL;
use crate::virtual_world::record::Record;
use crate::virtual_world::swarm::paired::paired;
use crate::virtual_world::swarm::shrink::shrink;
use crate::virtual_world::swarm::{self, Outcome, Plan, SwarmError};
use crate::virtual_world::track::{Line, Watch};
use crate::virtual_world::trial::Size;

/// So many seeds must see everything that must be seen sometimes.
const SEEDS_THAT_SEE_ALL: u64 = 2_000;

/// Seeds that are shorter cannot see everything: workers go by seconds, and some things take several of them.
const SECONDS_THAT_SEE_ALL: u64 = 10;

/// One seed of so many is also run as a pair (X2).
const SEEDS_A_PAIR: u64 = 20;

/// Exit code when an invariant is broken.
const BROKEN: u8 = 1;
/// Exit code after Ctrl-C. Source: the shell's convention, 128 + SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

/// Arguments of `iis-sim swarm`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A seed that fails is made small (see --tries), and stored where it runs for \
    ever (see --store). \
    Exit codes: 0 every invariant held; 1 one was broken, or a run that must see everything \
    (see --require-sometimes) did not; 2 wrong arguments; 130 interrupted"
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(super) struct Arguments {
    /// The seeds, from A up to but without B
    #[arg(long, value_name = "A..B", value_parser = range)]
    pub(super) seeds: (u64, u64),
    /// Virtual seconds of load and faults for each seed
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: u64,
    /// How many seeds run at once [default: one on each core]; the digest does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Print the digest of each seed: the same in every process and every kind of build
    #[arg(long)]
    digests: bool,
    /// Write the facts of the first seed, one JSON object a line
    #[arg(long, value_name = "FILE", value_parser = output_file())]
    trace: Option<PathBuf>,
    /// Fail if something that must be seen sometimes never was; so does a run of 2000 seeds or more
    /// of 10 seconds or more each, in which all of it can be seen
    #[arg(long)]
    require_sometimes: bool,
    /// Write a record of the first seed to FILE, for `iis-sim replay`
    #[arg(long, value_name = "FILE", value_parser = output_file())]
    record: Option<PathBuf>,
    /// Go on after a seed that fails
    #[arg(long)]
    keep_going: bool,
    /// How many plans are tried at most to make one that fails smaller; 0 leaves it as it is
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub(super) tries: u32,
    /// Where a plan that fails is stored; made if it is not there [default: tests/regressions, if it is there].
    /// As it was before it was made small it is kept in DIR/as-it-was [default: the folder for temporary files]
    #[arg(long, value_name = "DIR", value_parser = output_folder())]
    pub(super) store: Option<PathBuf>,
    /// Put faults into the models, one after the other, and see that each is found (needs a build with
    /// --features mutants); fails if less than 95 % are
    #[arg(long)]
    mutants: bool,
    /// Of the mutants only that one; repeat for more (with --store, what finds it is made small and stored)
    #[arg(long, value_name = "NAME", requires = "mutants")]
    pub(super) mutant: Vec<String>,
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
    // Now: a seed may fail only after hours, and then there must be a place for it.
    if let Some(folder) = &arguments.store
        && let Err(error) = fs::create_dir_all(folder)
    {
        eprintln!("iis-sim: --store {}: {error}", folder.display());
        return ExitCode::from(WRONG_ARGUMENTS);
    }
    if arguments.mutants {
        return mutants::main(arguments);
    }
    run(arguments).unwrap_or_else(|error| {
        eprintln!("iis-sim: {error}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let (first, end) = arguments.seeds;
    let millis = arguments.seconds * 1_000;
    if let Some(path) = &arguments.trace {
        trace(first, millis, path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(path) = &arguments.record {
        Record::of_seed(&swarm::draw(first, millis)).write(path)?;
    }
    let stop = stop_flag()?;
    let jobs = arguments.jobs.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    let bar = bar(end - first);
    let begun = clock_now();
    let mut sum = Sum::default();
    let mut failures: Vec<(u64, SwarmError)> = Vec::new();
    swarm::run_many(first..end, millis, jobs, &mut |seed, outcome| {
        bar.inc(1);
        match outcome {
            Ok(outcome) => {
                if arguments.digests {
                    bar.suspend(|| println!("{seed} {:016x}", outcome.digest));
                }
                sum.add(outcome);
            }
            Err(SwarmError::Interrupted) => return false,
            Err(error) => {
                bar.suspend(|| tell(seed, arguments.seconds, &error));
                failures.push((seed, error));
            }
        }
        (failures.is_empty() || arguments.keep_going) && !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    sum.print(failures.len(), clock_now() - begun);
    if stop.load(Ordering::Relaxed) {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    match compare_pairs(first..end, millis) {
        Err(SwarmError::Interrupted) => return Ok(ExitCode::from(INTERRUPTED)),
        compared => compared?,
    }
    // One that has ended early has not had its chance.
    let is_whole = failures.is_empty() || arguments.keep_going;
    let has_seen_enough = !is_whole || sum.has_seen_enough(arguments);
    let failed = !failures.is_empty() || !has_seen_enough;
    let mut known = BTreeSet::new();
    for (seed, error) in failures {
        if known.insert(error.name()) {
            keep(arguments, &swarm::draw(seed, millis), error, &stop)?;
        }
    }
    Ok(if failed {
        ExitCode::from(BROKEN)
    } else {
        ExitCode::SUCCESS
    })
}

/// X2: some seeds once more, as a pair of a recycle and an iisreset. Where the iisreset cost less is told, and
/// fails nothing: on a slow server the requests that it refuses do not wait.
fn compare_pairs(seeds: std::ops::Range<u64>, millis: u64) -> Result<(), SwarmError> {
    let (mut pairs, mut busy, mut broken) = (0, 0, 0);
    for seed in seeds.filter(|seed| seed.is_multiple_of(SEEDS_A_PAIR)) {
        let pair = paired(&swarm::draw(seed, millis))?;
        pairs += 1;
        busy += u32::from(!pair.is_fair());
        if pair.is_fair() && !pair.holds() {
            broken += 1;
            println!("X2: seed {seed}: {pair}");
        }
    }
    println!(
        "\nX2: {pairs} pair(s) of a recycle and an iisreset, {busy} of them on a server that fails \
         requests or stands still when nobody touches it; of the others the iisreset cost less in {broken}"
    );
    Ok(())
}

/// What has come of all seeds.
#[derive(Default)]
struct Sum {
    seeds: u64,
    digest: u64,
    size: Size,
    sometimes: BTreeMap<&'static str, (u64, u64)>,
    coverage: Coverage,
}

impl Sum {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.digest = self.digest.rotate_left(1) ^ outcome.digest;
        self.size.events += outcome.size.events;
        self.size.attempts += outcome.size.attempts;
        self.size.nanos += outcome.size.nanos;
        self.coverage.add(&outcome.coverage);
        for (what, count) in outcome.sometimes {
            let (seeds, times) = self.sometimes.entry(what).or_default();
            *seeds += 1;
            *times += count;
        }
    }

    /// Whether all was seen that must be seen sometimes, if this run must; tells what is missing.
    fn has_seen_enough(&self, arguments: &Arguments) -> bool {
        let (first, end) = arguments.seeds;
        let is_large =
            end - first >= SEEDS_THAT_SEE_ALL && arguments.seconds >= SECONDS_THAT_SEE_ALL;
        if !arguments.require_sometimes && !is_large {
            println!(
                "what must be seen: not asked for; it is of {SEEDS_THAT_SEE_ALL} seeds or more of \
                 {SECONDS_THAT_SEE_ALL} s or more, or with --require-sometimes"
            );
            return true;
        }
        let missing = ALL
            .iter()
            .filter(|what| !self.sometimes.contains_key(*what));
        let missing: Vec<&str> = missing.copied().collect();
        let thin = self.coverage.reached().into_iter();
        let thin: Vec<Reached> = thin.filter(|machine| !machine.is_enough()).collect();
        if missing.is_empty() && thin.is_empty() {
            println!("what must be seen: all of it was");
            return true;
        }
        println!("what must be seen: not all of it was, so this run fails");
        for what in missing {
            eprintln!("iis-sim: must be seen sometimes, and never was: {what}");
        }
        for Reached {
            machine,
            expected,
            missing,
        } in thin
        {
            let seen = expected - missing.len();
            eprintln!(
                "iis-sim: a {machine} was seen in {seen} of {expected} cells, less than 95 %"
            );
        }
        false
    }

    fn print(&self, failed: usize, took: Duration) {
        let Size {
            events,
            attempts,
            nanos,
        } = self.size;
        let of = match failed {
            0 => "",
            _ => "of the seeds that held ",
        };
        println!(
            "{} seeds, {failed} failed, digest {:016x}; {of}{} s of virtual time, {attempts} attempts, \
             {events} events in {:.1} s\n\nsometimes (seeds that saw it, times):",
            self.seeds + failed as u64,
            self.digest,
            nanos / 1_000_000_000,
            took.as_secs_f64()
        );
        for what in ALL {
            let (seeds, times) = self.sometimes.get(what).copied().unwrap_or_default();
            println!("  {seeds:>6} {times:>9}  {what}");
        }
        println!("\nwhat happened to whom in which state (cells seen, of those that should be):");
        for Reached {
            machine,
            expected,
            missing,
        } in self.coverage.reached()
        {
            let seen = expected - missing.len();
            println!("  {seen:>6} {expected:>9}  {machine}");
            for (state, event) in missing {
                println!("                    never: one that is {state} {event}");
            }
        }
    }
}

fn bar(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} {msg}  {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn tell(seed: u64, seconds: u64, error: &SwarmError) {
    eprintln!(
        "seed {seed}: {error}\n  again: iis-sim swarm --seeds {seed}..{} --seconds {seconds}",
        seed + 1
    );
}

/// Keeps a run that has failed: as it was, and made small, where it runs for ever.
fn keep(
    arguments: &Arguments,
    plan: &Plan,
    error: SwarmError,
    stop: &AtomicBool,
) -> Result<(), Box<dyn std::error::Error>> {
    let seed = plan.seed;
    let file = as_it_was(arguments.store.as_deref(), seed)?;
    Record::of_seed(plan).write(&file)?;
    eprintln!("seed {seed} as it was: iis-sim replay {}", file.display());
    let story = format!(
        "seed {seed} of a swarm of {} s each: {error}",
        arguments.seconds
    );
    let bar = bar(u64::from(arguments.tries));
    bar.set_message(format!("plans tried, to make seed {seed} smaller"));
    let small = shrink(plan, error, arguments.tries, &mut |tried| {
        bar.set_position(u64::from(tried));
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let broke = small.error.name();
    let record = Record::of_regression(&small.plan, broke, story);
    let standing = PathBuf::from("tests/regressions");
    let folder = match &arguments.store {
        Some(folder) => folder.clone(),
        None if standing.is_dir() => standing,
        None => std::env::temp_dir(),
    };
    let path = folder.join(format!("{}-seed-{seed}.json", broke.to_lowercase()));
    record.write(&path)?;
    eprintln!(
        "made small in {} tries: {} pool(s), {} operation(s), {} s of load: {}\n  again: iis-sim replay {}",
        small.tried,
        small.plan.pools.len(),
        small.plan.operations.len(),
        small.plan.millis.div_ceil(1_000),
        small.error,
        path.display()
    );
    Ok(())
}

/// Where a run is kept as it was: beside what is stored, in a folder of its own, because `tests/regressions/`
/// itself holds small plans only.
fn as_it_was(store: Option<&Path>, seed: u64) -> io::Result<PathBuf> {
    let name = format!("iis-sim-swarm-{seed}.json");
    let Some(store) = store else {
        return Ok(std::env::temp_dir().join(name));
    };
    let folder = store.join("as-it-was");
    fs::create_dir_all(&folder)?;
    Ok(folder.join(name))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_place_for_what_fails_nothing_is_left_elsewhere() {
        let store = tempfile::tempdir().expect("a folder");
        let file = as_it_was(Some(store.path()), 7).expect("its folder is made");
        let folder = store.path().join("as-it-was");
        assert_eq!(file, folder.join("iis-sim-swarm-7.json"));
        assert!(folder.is_dir());
        let without = as_it_was(None, 7).expect("it is named");
        assert!(without.starts_with(std::env::temp_dir()));
    }
}
