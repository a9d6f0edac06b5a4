//! `iis-sim compare`: measure what operations cost, and print the table.

use std::path::PathBuf;
use std::process::ExitCode;

use super::measuring::{Failure, Measuring, NOT_TRUSTED, at};
use super::output_file::output_file;
use super::selection::Selection;
use crate::report::{self, Comparison};

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
    let results = arguments.measuring.run(&scenario, "")?;
    let comparison = Comparison::new(&scenario, arguments.measuring.clock_of(&scenario), results)
        .with_profile(arguments.measuring.profile(&scenario)?);
    // First: whoever reads only the beginning of what is printed closes the pipe.
    if let Some(path) = &arguments.json {
        std::fs::write(path, report::json::render(&comparison)).map_err(at(path))?;
    }
    println!("{}", report::text::render(&comparison));
    let trusted = comparison.is_trusted();
    Ok(if trusted {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_TRUSTED)
    })
}
