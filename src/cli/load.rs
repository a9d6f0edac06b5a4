//! `iis-sim load`: the load generator, as `compare` starts it.

use std::path::PathBuf;
use std::process::ExitCode;

use super::fail;
use crate::load;

/// Arguments of `iis-sim load`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The plan file that `compare` wrote
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
}

/// Runs the plan; commands come on standard input.
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    match load::run(&arguments.plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}
