//! `iis-sim run`: run a scenario, and say whether what it is meant to show was seen.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::measuring::{Failure, Measuring, NOT_TRUSTED, at};
use super::output_file::output_file;
use crate::report::expectations::{self, Decided, Holds};
use crate::report::{self, Comparison};
use crate::scenario::Scenario;

/// Exit code when a sentence of a scenario does not hold, or cannot be decided.
const NOT_SHOWN: u8 = 4;

/// Arguments of `iis-sim run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every sentence holds; 1 failed; 2 wrong arguments; \
    3 an invalid trial, an unexplained attempt, or none at all; 4 a sentence does not hold; 130 interrupted\n\n\
    Example: iis-sim run examples/scenarios/long-requests.toml --clock virtual"
)]
pub(super) struct Arguments {
    /// A scenario, or a folder of scenarios
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    #[command(flatten)]
    measuring: Measuring,
    /// Trials of each arm [default: the scenario's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    trials: Option<u32>,
    /// From which the load is drawn [default: the scenario's]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Write everything that was measured, and every sentence, to FILE (schema iis-sim/run/1)
    #[arg(long, value_name = "FILE", value_parser = output_file())]
    json: Option<PathBuf>,
}

/// A scenario that was run.
struct Ran {
    comparison: Comparison,
    decided: Vec<Decided>,
}

/// Runs and prints.
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    run(arguments).unwrap_or_else(|failure| failure.tell())
}

fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let scenarios = read(arguments)?;
    let mut all = Vec::new();
    let mut decided: Vec<Decided> = Vec::new();
    let mut failed = None;
    for scenario in &scenarios {
        match measure(arguments, scenario) {
            Ok(ran) => {
                println!("{}", report::text::render(&ran.comparison));
                if !ran.decided.is_empty() {
                    println!("\n{}", expectations::render(&ran.decided));
                }
                decided.extend(ran.decided.iter().cloned());
                all.push(ran);
            }
            // The others can still be measured; what this one was to decide stays open.
            Err(failure) if scenarios.len() > 1 && !failure.is_interrupted() => {
                failed = Some(failure.tell());
                decided.extend(expectations::undecided(scenario));
            }
            Err(failure) => return Err(failure),
        }
    }
    if scenarios.len() > 1 {
        println!("{}", expectations::table(&decided));
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, json_of(&all)).map_err(at(path))?;
    }
    Ok(failed.unwrap_or_else(|| verdict(&all)))
}

fn verdict(all: &[Ran]) -> ExitCode {
    let holds = |ran: &Ran| {
        ran.decided
            .iter()
            .all(|decided| decided.holds == Holds::Yes)
    };
    if !all.iter().all(|ran| ran.comparison.is_trusted()) {
        ExitCode::from(NOT_TRUSTED)
    } else if all.iter().all(holds) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_SHOWN)
    }
}

fn measure(arguments: &Arguments, scenario: &Scenario) -> Result<Ran, Failure> {
    let stories = scenario.stories().map_err(Failure::Scenario)?;
    let mut results = Vec::new();
    for (number, story) in stories.into_iter().enumerate() {
        let folder = format!("{}-{number}", scenario.name);
        let of_story = arguments.measuring.run(&story.scenario, &folder)?;
        results.push((story, of_story));
    }
    let comparison =
        Comparison::of_stories(scenario, arguments.measuring.clock_of(scenario), results)
            .with_profile(arguments.measuring.profile(scenario)?);
    Ok(Ran {
        decided: expectations::decide(&comparison),
        comparison,
    })
}

/// The scenario that was named, or those of the folder, by name.
fn read(arguments: &Arguments) -> Result<Vec<Scenario>, Failure> {
    let path = &arguments.scenario;
    let files = if path.is_dir() {
        files_in(path).map_err(at(path))?
    } else {
        vec![path.clone()]
    };
    if files.is_empty() {
        let nothing = std::io::Error::other("no scenario (*.toml) in this folder");
        return Err(Failure::File(path.clone(), nothing));
    }
    let read = |path: &PathBuf| {
        let mut scenario = Scenario::read(path).map_err(Failure::Scenario)?;
        scenario.trials = arguments.trials.unwrap_or(scenario.trials);
        scenario.seed = arguments.seed.unwrap_or(scenario.seed);
        Ok(scenario)
    };
    files.iter().map(read).collect()
}

fn files_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn json_of(all: &[Ran]) -> String {
    let scenario = |ran: &Ran| {
        json!({
            "comparison": report::json::value(&ran.comparison),
            "expectations": ran.decided,
        })
    };
    let value = json!({
        "schema": "iis-sim/run/1",
        "scenarios": all.iter().map(scenario).collect::<Vec<Value>>(),
    });
    format!("{value:#}\n")
}
