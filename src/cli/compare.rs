//! `iis-sim compare`: measure what operations cost, and print the table.

use std::path::PathBuf;
use std::process::ExitCode;

use super::measuring::{Failure, Measuring, NOT_TRUSTED, at};
use super::output_file::output_file;
use super::selection::Selection;
use crate::live_world::trial::TrialError;
use crate::report::{self, Comparison};
use crate::virtual_world::interruption;

/// Arguments of `iis-sim compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 measured; 1 failed; 2 wrong arguments; \
    3 an invalid trial, an unexplained attempt, or none at all; 130 interrupted")]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    measuring: Measuring,
    /// Write everything that was measured to FILE (schema iis-sim/compare/1)
    #[arg(long, value_name = "FILE", value_parser = output_file())]
    json: Option<PathBuf>,
}

/// Measures and prints.
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    run(arguments).unwrap_or_else(|failure| failure.tell())
}

fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let scenario = arguments.selection.scenario().map_err(Failure::Scenario)?;
    let results = arguments.measuring.run(&scenario, "", "")?;
    let clock = arguments.measuring.clock_of(&scenario);
    let profile = arguments.measuring.profile(&scenario)?;
    let wants_json = arguments.json.is_some();
    // Intervals of many trials take their time.
    let rendered = interruption::unless_raised(move || {
        let comparison = Comparison::new(&scenario, clock, results).with_profile(profile);
        let json = wants_json.then(|| report::json::render(&comparison));
        let text = report::text::render(&comparison);
        (json, text, comparison.is_trusted())
    });
    let interrupted = || Failure::Trial(TrialError::Interrupted);
    let (json, text, trusted) = rendered.ok_or_else(interrupted)?;
    // First: whoever reads only the beginning of what is printed closes the pipe.
    if let (Some(path), Some(json)) = (&arguments.json, json) {
        std::fs::write(path, json).map_err(at(path))?;
    }
    println!("{text}");
    Ok(if trusted {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_TRUSTED)
    })
}
