//! `iis-sim swarm --mutants`: does the swarm find faults that are put into the models on purpose?

use std::process::ExitCode;

use super::swarm::Arguments;
#[cfg(feature = "mutants")]
use super::swarm::INTERRUPTED;

#[cfg(feature = "mutants")]
use {
    super::up::stop_flag,
    crate::virtual_world::record::{Record, RecordError},
    crate::virtual_world::swarm,
    crate::virtual_world::swarm::mutation::{Verdict, check, shrink_caught},
    sim_httpsys::clockwork::mutants::Mutant,
    sim_httpsys::live::clock::clock_now,
    std::path::Path,
    std::sync::atomic::Ordering,
    std::time::Duration,
};

/// Exit code when too many mutants survive.
#[cfg(feature = "mutants")]
const SURVIVED: u8 = 1;
/// Exit code for wrong arguments, as clap's own.
const WRONG_ARGUMENTS: u8 = 2;
/// Of a hundred mutants so many have to be found. Source: the project's own goal.
#[cfg(feature = "mutants")]
const CAUGHT_MIN: usize = 95;

/// Without the feature there is nothing to switch on.
#[cfg(not(feature = "mutants"))]
pub(super) fn main(_: &Arguments) -> ExitCode {
    eprintln!(
        "iis-sim: this build has no mutants; make one that has: \
         cargo run --release --features mutants -- swarm --mutants --seeds 0..2000"
    );
    ExitCode::from(WRONG_ARGUMENTS)
}

/// Runs the mutants that are named (all, if none is), and prints the list with its verdicts.
#[cfg(feature = "mutants")]
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let (seeds, millis) = (
        arguments.seeds.0..arguments.seeds.1,
        arguments.seconds * 1_000,
    );
    let mutants = match pick(&arguments.mutant) {
        Ok(mutants) => mutants,
        Err(unknown) => {
            let known: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
            eprintln!(
                "iis-sim: no mutant {unknown}; there are: {}",
                known.join(", ")
            );
            return ExitCode::from(WRONG_ARGUMENTS);
        }
    };
    let stop = match stop_flag() {
        Ok(stop) => stop,
        Err(error) => {
            eprintln!("iis-sim: {error}");
            return ExitCode::FAILURE;
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // A mutant that panics is found; its message is in the list.
    std::panic::set_hook(Box::new(|_| {}));
    let begun = clock_now();
    let verdicts = check(&mutants, &seeds, millis, threads, &|verdict| {
        eprintln!("{}", line(verdict));
        if let Some(folder) = &arguments.store
            && let Err(error) = store(verdict, millis, arguments.tries, folder)
        {
            eprintln!("iis-sim: {error}");
        }
        !stop.load(Ordering::Relaxed)
    });
    let _ = std::panic::take_hook();
    report(&verdicts, clock_now() - begun);
    if stop.load(Ordering::Relaxed) {
        return ExitCode::from(INTERRUPTED);
    }
    let caught = verdicts.iter().filter(|v| v.caught.is_some()).count();
    if verdicts.len() == mutants.len() && caught * 100 >= mutants.len() * CAUGHT_MIN {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(SURVIVED)
    }
}

/// Makes the plan small by which a mutant was found, and stores it.
#[cfg(feature = "mutants")]
fn store(verdict: &Verdict, millis: u64, tries: u32, folder: &Path) -> Result<(), RecordError> {
    let Some(caught) = &verdict.caught else {
        return Ok(());
    };
    let plan = swarm::draw(caught.seed, millis);
    let Some(small) = shrink_caught(verdict.mutant, &plan, tries) else {
        return Ok(());
    };
    let name = verdict.mutant.name();
    let story = format!(
        "seed {} found the mutant {name}: {}",
        caught.seed, small.error
    );
    let record = Record::of_regression(&small.plan, small.error.name(), story);
    record.write(&folder.join(format!("mutant-{name}.json")))
}

#[cfg(feature = "mutants")]
fn pick(names: &[String]) -> Result<Vec<Mutant>, &str> {
    if names.is_empty() {
        return Ok(Mutant::ALL.to_vec());
    }
    let find = |name: &'_ String| Mutant::find(name);
    let unknown = names.iter().find(|name| find(name).is_none());
    match unknown {
        Some(unknown) => Err(unknown),
        None => Ok(names.iter().filter_map(find).collect()),
    }
}

#[cfg(feature = "mutants")]
fn line(verdict: &Verdict) -> String {
    let name = verdict.mutant.name();
    match &verdict.caught {
        Some(caught) => format!(
            "{name:<30} {:<8} seed {:<6} {}",
            caught.by, caught.seed, caught.what
        ),
        None => format!("{name:<30} SURVIVED {} seeds", verdict.seeds),
    }
}

#[cfg(feature = "mutants")]
fn report(verdicts: &[Verdict], took: Duration) {
    println!(
        "{:<30} {:<9} {:>5}  what it does",
        "mutant", "caught by", "seed"
    );
    for verdict in verdicts {
        let (by, seed) = match &verdict.caught {
            Some(caught) => (caught.by, caught.seed.to_string()),
            None => ("SURVIVED", String::new()),
        };
        let (name, sentence) = (verdict.mutant.name(), verdict.mutant.sentence());
        println!("{name:<30} {by:<9} {seed:>5}  {sentence}");
    }
    let caught = verdicts.iter().filter(|v| v.caught.is_some()).count();
    println!(
        "{caught} of {} caught in {:.1} s",
        verdicts.len(),
        took.as_secs_f64()
    );
}
