//! `iis-sim replay`: run a stored run again, and say where it does something else.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use super::swarm::INTERRUPTED;
use super::up::stop_flag;
use crate::live_world::recordings;
use crate::virtual_world::record::{Difference, Record, RecordError, Replayed, Subject};

/// Exit code when a run has done something else than was recorded.
const DIFFERS: u8 = 1;
/// Exit code when the file is no record, or cannot be run.
const UNUSABLE: u8 = 2;
/// Exit code when nothing differs, and not all of what was recorded is there.
const WITHOUT_END: u8 = 3;

/// Arguments of `iis-sim replay`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every run did what was recorded; 1 one did something else: \
    the first fact that differs is named, or an invariant is broken that must hold, or the runs are not those \
    that the record's scenario asks for; 2 the file cannot be used; 3 nothing differs as far as recordings go, and one of a live program ends \
    without its end: its process was killed (by the operation, or at its limit), or the file was cut; 130 interrupted\n\n\
    A record by another build is replayed like any other, with a note: facts decide, the name of the build does not"
)]
pub(super) struct Arguments {
    /// A record, from `iis-sim compare --clock virtual --record FILE` or `iis-sim swarm`, or the folder of
    /// `--out DIR` that it is in; or a folder with recordings of live programs, from `iis-sim compare --out DIR --record-inputs` or `iis-sim up --record`:
    /// their inputs are handed to the same models, which must decide the same
    #[arg(value_name = "FILE or DIR")]
    record: PathBuf,
}

/// Runs it again and tells.
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let stop = match stop_flag() {
        Ok(stop) => stop,
        Err(error) => {
            eprintln!("iis-sim: signals: {error}");
            return ExitCode::from(UNUSABLE);
        }
    };
    let replayed = run(&arguments.record, &stop);
    if stop.load(Ordering::Relaxed) {
        eprintln!("iis-sim: interrupted; what was not told was not compared");
        return ExitCode::from(INTERRUPTED);
    }
    replayed.unwrap_or_else(|error| {
        eprintln!("iis-sim: {error}");
        ExitCode::from(UNUSABLE)
    })
}

fn run(path: &Path, stop: &AtomicBool) -> Result<ExitCode, Box<dyn Error>> {
    if !path.is_dir() {
        return Ok(verdict(replay(path, stop)?));
    }
    let records = records_in(path)?;
    if records.is_empty() || !recordings::find(path)?.is_empty() {
        let replays = super::replay_live::run(path)?;
        return Ok(match replays.differing {
            0 if replays.unreadable > 0 => ExitCode::from(UNUSABLE),
            0 if replays.without_end > 0 => ExitCode::from(WITHOUT_END),
            differing => verdict(differing),
        });
    }
    let mut differing = 0;
    for record in &records {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        println!("{}:", record.display());
        differing += replay(record, stop)?;
    }
    Ok(verdict(differing))
}

fn verdict(differing: usize) -> ExitCode {
    match differing {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(DIFFERS),
    }
}

/// The records that `compare --out` and `run --out` have written into a folder.
fn records_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut folders = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder)? {
        folders.push(entry?.path());
    }
    folders.sort();
    let records = folders.into_iter().map(|folder| folder.join("record.json"));
    Ok(records.filter(|record| record.is_file()).collect())
}

/// Gives how many runs of a record differ.
fn replay(path: &Path, stop: &AtomicBool) -> Result<usize, RecordError> {
    let record = Record::read(path)?;
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
        // A run that was interrupted has done nothing else: it has no result.
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        tell(replayed, has_digest);
        differing += usize::from(!replayed.is_right);
        true
    })?;
    let strays = record.strays();
    for stray in &strays {
        println!("{stray}");
    }
    Ok(differing + strays.len())
}

fn tell(replayed: &Replayed, has_digest: bool) {
    let Replayed {
        words,
        digest,
        facts,
        failure,
        difference,
        besides,
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
        None if besides.is_some() => {
            println!("{words}: the same facts, digest {digest:016x} over {facts} facts");
        }
        None => println!("{words}: the same, digest {digest:016x} over {facts} facts"),
        Some(difference) => {
            println!(
                "{words}: differs, digest {digest:016x} over {facts} facts; recorded {:016x} over {}",
                difference.recorded, difference.recorded_facts
            );
            show(difference);
        }
    }
    if let Some(besides) = besides {
        println!("{words}: {besides}");
    }
}

fn show(difference: &Difference) {
    let Some(first) = &difference.first else {
        println!(
            "  no fact differs: what is recorded of the digest or the number of facts is not of this run"
        );
        return;
    };
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
