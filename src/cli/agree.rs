//! `iis-sim agree`: one scenario under both clocks, held together.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fail;
use super::measuring::{INTERRUPTED, STEPS, Temporary, progress_bar, show};
use super::output_file::{output_file, output_folder};
use super::selection::{ProfileArgument, ProfileError, Selection};
use super::up::stop_flag;
use crate::agreement::{Agreement, Seen, Verdict, virtual_trials};
use crate::live_world;
use crate::live_world::trial::TrialError;
use crate::report;
use crate::scenario::{Scenario, ScenarioError};
use crate::virtual_world::{self, costs::Costs, track::Watch};

/// Exit code when the machine was too busy to judge an operation.
const NOT_JUDGED: u8 = 3;
/// Exit code when the clocks disagree.
const DISAGREE: u8 = 4;

/// Arguments of `iis-sim agree`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Run a scenario under both clocks and hold them together",
    long_about = "Runs a scenario under both clocks, with the same seeds, and holds them together:\n\n\
    * the same outcome classes for each operation\n\
    * the same events of each worker in the same order, trial by trial\n\
    * exactly equal counts of what became of held requests (load.held in the scenario)\n\
    * medians of downtime within 10 %, 20 ms or an interval of the probes, whichever is largest\n\n\
    The other figures are printed side by side and not judged. A live trial whose load was not punctual \
    proves nothing: it is run again, and left out if that does not help.",
    after_help = "Exit codes: 0 both clocks agree; 1 failed; 2 wrong arguments; 3 an operation could not be \
    judged, because none of its live trials was valid; 4 the clocks disagree; 130 interrupted"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    profile: ProfileArgument,
    /// How many invalid live trials are run again, over the whole run [default: the scenario's]
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// Write everything to FILE (schema iis-sim/agree/1)
    #[arg(long, value_name = "FILE", value_parser = output_file())]
    json: Option<PathBuf>,
    /// Keep books, logs and traces of every live trial below DIR [default: a temporary folder]
    #[arg(long, value_name = "DIR", value_parser = output_folder())]
    out: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error("live: {0}")]
    Live(#[source] TrialError),
    #[error("virtual: {0}")]
    Virtual(#[from] virtual_world::trial::TrialError),
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("interrupted; every process that was started has ended")]
    Interrupted,
}

/// Runs both, and prints.
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(Verdict::Agree) => ExitCode::SUCCESS,
        Ok(Verdict::NotJudged) => ExitCode::from(NOT_JUDGED),
        Ok(Verdict::Disagree) => ExitCode::from(DISAGREE),
        Err(Failure::Interrupted) => {
            fail(&Failure::Interrupted);
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => fail(&error),
    }
}

fn run(arguments: &Arguments) -> Result<Verdict, Failure> {
    let mut scenario = arguments.selection.scenario()?;
    let profile = arguments.profile.read()?;
    if let Some(retries) = arguments.retries {
        scenario.timing.repeats_max = retries;
    }
    let stop = stop_flag().map_err(at(Path::new("signals")))?;
    // Virtual first: it takes a moment, and finds what no live trial has to be run for.
    let virtual_ = run_virtual(&scenario, &profile.costs, &stop)?;
    let live = run_live(arguments, &scenario, &stop)?;
    let mut agreement = Agreement::judge(&scenario, live, virtual_);
    agreement.virtual_.profile = Some(profile.name);
    // First: whoever reads only the beginning of what is printed closes the pipe.
    if let Some(path) = &arguments.json {
        std::fs::write(path, report::agreement::json(&agreement)).map_err(at(path))?;
    }
    println!("{}", report::agreement::render(&agreement));
    Ok(agreement.verdict())
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::File { path, source }
}

fn run_virtual(
    scenario: &Scenario,
    costs: &Costs,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<Seen>, Failure> {
    let mut scenario = scenario.clone();
    scenario.trials = virtual_trials(scenario.trials);
    let bar = progress_bar(&scenario);
    let mut seen = Vec::new();
    let compared = virtual_world::compare::compare_and(
        &scenario,
        costs,
        &Watch::Digest,
        &mut |done, operation| {
            bar.set_position(u64::from(done) * STEPS);
            bar.set_message(format!("virtual trial {}: {operation}", done + 1));
            !stop.load(Ordering::Relaxed)
        },
        &mut |result, observation| seen.push(Seen::of(&scenario, result, observation)),
    );
    bar.finish_and_clear();
    compared?.ok_or(Failure::Interrupted)?;
    Ok(seen)
}

/// The live trials that count, and those that are invalid for good.
fn run_live(
    arguments: &Arguments,
    scenario: &Scenario,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<Seen>, Failure> {
    let temporary = Temporary::make().map_err(at(&std::env::temp_dir()))?;
    let folder = arguments.out.as_deref().unwrap_or(&temporary.0);
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    let bar = progress_bar(scenario);
    let mut seen = Vec::new();
    let results = live_world::compare::compare_and(
        scenario,
        folder,
        false,
        &mut |now| {
            show(&bar, now);
            !stop.load(Ordering::Relaxed)
        },
        &mut |result, observation| seen.push(Seen::of(scenario, result, observation)),
    );
    bar.finish_and_clear();
    match results {
        Ok(_) => Ok(seen),
        Err(TrialError::Interrupted) => Err(Failure::Interrupted),
        Err(error) => Err(Failure::Live(error)),
    }
}
