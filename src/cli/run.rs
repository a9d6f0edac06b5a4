//! `iis-sim run`: run a scenario, and say whether what it is meant to show was seen.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::measuring::{Failure, Measuring, NOT_TRUSTED, at};
use super::output_file::output_file;
use crate::report::expectations::{self, Decided, Holds};
use crate::report::{self, Comparison};
use crate::scenario::{Scenario, Story};

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
        // A file of its own for each story, if there are several.
        let label = if scenarios.len() > 1 {
            in_a_name(&scenario.name)
        } else {
            String::new()
        };
        match measure(arguments, scenario, &label) {
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

/// Letters and digits of a text, and a dash for whatever else is between them.
fn in_a_name(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

/// What each story of a scenario is called in the name of a file: no two alike.
fn labels(label: &str, stories: &[Story]) -> Vec<String> {
    let names: Vec<String> = stories
        .iter()
        .map(|story| in_a_name(&story.variant))
        .collect();
    let mut labels = Vec::with_capacity(names.len());
    for (number, name) in names.iter().enumerate() {
        let is_alone = names.iter().filter(|other| *other == name).count() == 1;
        let number = if is_alone {
            String::new()
        } else {
            number.to_string()
        };
        let parts = [label, name, &number];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        labels.push(parts.join("-"));
    }
    labels
}

fn measure(arguments: &Arguments, scenario: &Scenario, label: &str) -> Result<Ran, Failure> {
    let stories = scenario.stories().map_err(Failure::Scenario)?;
    let mut results = Vec::new();
    let labels = labels(label, &stories);
    for (number, (story, label)) in stories.into_iter().zip(&labels).enumerate() {
        let folder = format!("{}-{number}", scenario.name);
        let of_story = arguments.measuring.run(&story.scenario, &folder, label)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stories_are_told_apart_in_the_names_of_files() {
        let story = |variant: &str| Story {
            variant: variant.to_owned(),
            scenario: Scenario::reset_vs_recycle().unwrap(),
        };
        assert_eq!(labels("", &[story("")]), [""]);
        let two = [story("at 03:00"), story("at noon")];
        assert_eq!(labels("", &two), ["at-03-00", "at-noon"]);
        assert_eq!(labels("lunch", &two), ["lunch-at-03-00", "lunch-at-noon"]);
        let alike = [story("a b"), story("a+b")];
        assert_eq!(labels("", &alike), ["a-b-0", "a-b-1"]);
    }
}
