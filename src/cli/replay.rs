//! `iis-sim replay`: run a stored run again, and say where it does something else.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::virtual_world::record::{Difference, Record, RecordError, Replayed};

/// Exit code when a run has done something else than was recorded.
const DIFFERS: u8 = 1;
/// Exit code when the file is no record, or cannot be run.
const UNUSABLE: u8 = 2;

/// Arguments of `iis-sim replay`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every run did what was recorded; 1 one did something else: \
    the first fact (of a live program: the first output) that differs is named; 2 the file cannot be used"
)]
pub(super) struct Arguments {
    /// A record, from `iis-sim compare --clock virtual --record FILE`; or a folder with recordings of live
    /// programs, from `iis-sim compare --out DIR --record-inputs` or `iis-sim up --record`: their inputs are
    /// handed to the same models, which must decide the same
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
    if !record.is_of_this_build() {
        eprintln!(
            "iis-sim: recorded by build {}; this one may do something else",
            record.build
        );
    }
    let mut differing = 0;
    record.replay(&mut |replayed| {
        tell(replayed);
        differing += usize::from(replayed.difference.is_some());
        true
    })?;
    Ok(differing)
}

fn tell(replayed: &Replayed) {
    let Replayed {
        words,
        digest,
        facts,
        difference,
    } = replayed;
    match difference {
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
