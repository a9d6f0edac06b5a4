//! `iis-sim replay`: run a stored run again, and say where it does something else.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::virtual_world::record::{Difference, Record, RecordError, Replayed, Subject};

/// Exit code when a run has done something else than was recorded.
const DIFFERS: u8 = 1;
/// Exit code when the file is no record, or cannot be run.
const UNUSABLE: u8 = 2;

/// Arguments of `iis-sim replay`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every run did what was recorded; 1 one did something else: \
    the first fact that differs is named, or an invariant is broken that must hold; 2 the file cannot be used"
)]
pub(super) struct Arguments {
    /// A record, from `iis-sim compare --clock virtual --record FILE` or `iis-sim swarm`; or a folder with
    /// recordings of live programs, from `iis-sim compare --out DIR --record-inputs` or `iis-sim up --record`:
    /// their inputs are handed to the same models, which must decide the same
    #[arg(value_name = "FILE or DIR")]
    record: PathBuf,
}

/// Runs it again and tells.
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let differing = if arguments.record.is_dir() {
        super::replay_live::run(&arguments.record).map_err(|error| error.to_string())
    } else {
        run(arguments).map_err(|error| error.to_string())
    };
    match differing {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(DIFFERS),
        Err(error) => {
            eprintln!("iis-sim: {error}");
            ExitCode::from(UNUSABLE)
        }
    }
}

/// Gives how many runs differ.
fn run(arguments: &Arguments) -> Result<usize, RecordError> {
    let record = Record::read(&arguments.record)?;
    let is_for_all = matches!(record.subject, Subject::Regression { .. });
    if !record.is_of_this_build() && !is_for_all {
        eprintln!(
            "iis-sim: recorded by build {}; this one may do something else",
            record.build
        );
    }
    let has_digest = !record.runs.is_empty();
    let mut differing = 0;
    record.replay(&mut |replayed| {
        tell(replayed, has_digest);
        differing += usize::from(!replayed.is_right);
        true
    })?;
    Ok(differing)
}

fn tell(replayed: &Replayed, has_digest: bool) {
    let Replayed {
        words,
        digest,
        facts,
        failure,
        difference,
        is_right,
    } = replayed;
    if let Some(failure) = failure {
        println!("{words}: {failure}");
    }
    match difference {
        None if *is_right && failure.is_none() && !has_digest => {
            println!("{words}: every invariant holds, digest {digest:016x} over {facts} facts");
        }
        None if !has_digest => {}
        None => println!("{words}: the same, digest {digest:016x} over {facts} facts"),
        Some(difference) => {
            println!(
                "{words}: differs, digest {digest:016x} over {facts} facts; recorded {:016x} over {}",
                difference.recorded, difference.recorded_facts
            );
            show(difference);
        }
    }
}

fn show(difference: &Difference) {
    let first = &difference.first;
    let count = first.end - first.start;
    if count == 1 {
        println!("  the first fact that differs is number {}", first.start);
    } else {
        println!(
            "  the first fact that differs is one of the {count} from number {} on",
            first.start
        );
    }
    for line in &difference.lines {
        let mark = if first.contains(&line.number) {
            ">"
        } else {
            " "
        };
        println!("  {mark} {line}");
    }
    if difference
        .lines
        .last()
        .is_none_or(|line| line.number < first.start)
    {
        println!("  > here the run has ended this time");
    }
}
