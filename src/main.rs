//! The one executable: `iis-sim` itself, and, started under their names, `httpsys`, `was`, `w3wp`,
//! `appcmd`, `iisreset` and `iisapp`.

use std::process::ExitCode;

fn main() -> ExitCode {
    iis_sim::cli::main(std::env::args().collect())
}
