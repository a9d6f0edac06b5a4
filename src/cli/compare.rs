//! `iis-sim compare`: measure what operations cost, and print the table.

use std::path::PathBuf;
use std::process::ExitCode;

use super::measuring::{Failure, Measuring, NOT_TRUSTED, at};
use crate::report::{self, Comparison};
use crate::scenario::{Operation, Scenario, ScenarioError};

/// Arguments of `iis-sim compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 measured; 1 failed; 2 wrong arguments; \
    3 an invalid trial or an unexplained attempt; 130 interrupted")]
pub(super) struct Arguments {
    /// The scenario [default: reset-vs-recycle, built in]
    #[arg(value_name = "SCENARIO.toml")]
    scenario: Option<PathBuf>,
    /// An operation to measure; repeat for more [default: the scenario's]
    #[arg(long = "op", value_name = "NAME")]
    operations: Vec<Operation>,
    /// Trials of each operation, each on a fresh server [default: the scenario's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    trials: Option<u32>,
    /// From which the load is drawn [default: the scenario's]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    #[command(flatten)]
    measuring: Measuring,
    /// One short trial of each operation: less than 20 seconds in all
    #[arg(long)]
    quick: bool,
    /// Write everything that was measured to FILE (schema iis-sim/compare/1)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures and prints.
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    run(arguments).unwrap_or_else(|failure| failure.tell())
}

fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let scenario = scenario_of(arguments).map_err(Failure::Scenario)?;
    let results = arguments.measuring.run(&scenario, "")?;
    let comparison = Comparison::new(&scenario, arguments.measuring.clock, results);
    println!("{}", report::text::render(&comparison));
    if let Some(path) = &arguments.json {
        std::fs::write(path, report::json::render(&comparison)).map_err(at(path))?;
    }
    let trusted = comparison.is_trusted();
    Ok(if trusted {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_TRUSTED)
    })
}

fn scenario_of(arguments: &Arguments) -> Result<Scenario, ScenarioError> {
    let mut scenario = match &arguments.scenario {
        Some(path) => Scenario::read(path)?,
        None => Scenario::reset_vs_recycle()?,
    };
    if arguments.quick {
        scenario.quick();
    }
    if !arguments.operations.is_empty() {
        scenario.operations.clone_from(&arguments.operations);
        let mut seen = Vec::new();
        scenario.operations.retain(|op| {
            !seen.contains(op) && {
                seen.push(*op);
                true
            }
        });
    }
    scenario.trials = arguments.trials.unwrap_or(scenario.trials);
    scenario.seed = arguments.seed.unwrap_or(scenario.seed);
    Ok(scenario)
}
