//! The command line: `iis-sim`, and the administrator's tools under their own names or as
//! sub-commands.
//!
//! One executable has many names. Started as `httpsys`, `was` or `w3wp` it *is* that program
//! ([`program`]); started as `appcmd`, `iisreset` or `iisapp` it is that tool.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "this is where a user is talked to"
)]

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};

mod agree;
mod appcmd;
mod calibrate;
mod closed_stdout;
mod compare;
mod diagnostics;
mod event_query;
mod explain_change;
mod iisapp;
mod iisreset;
mod load;
mod measuring;
mod merge;
mod mutants;
mod net;
mod output_file;
mod programs;
mod replay;
mod replay_live;
mod run;
mod sc;
mod selection;
mod structured_query;
mod swarm;
mod sweep;
mod typeperf;
mod up;
mod wevtutil;

pub use programs::program;

use crate::build;

/// The folder that is the simulated `C:\` when none is named.
const ROOT_DEFAULT: &str = "iis-sim-root";
/// Exit code of wrong arguments. Source: clap's own.
const WRONG_ARGUMENTS: u8 = 2;
/// The environment variable that names the root for the administrator's tools.
const ROOT_VARIABLE: &str = "IIS_SIM_ROOT";

/// A running simulator of the IIS architecture: measure what an iisreset and a recycle cost.
#[derive(Debug, Parser)]
#[command(name = "iis-sim", version = version(), after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  iis-sim compare                      measure none, iisreset and recycle; about a minute
  iis-sim compare --quick              the same in less than 20 seconds, one trial each
  iis-sim up --port-map 80:8080        run a server; then, in another terminal:
  iis-sim iisapp                         which worker processes serve which pool
  iis-sim appcmd list wp                 the same, as IIS 7 and later say it
  iis-sim appcmd recycle apppool /apppool.name:DefaultAppPool
  iis-sim iisreset                       stop and start all services";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the scenario's operations on real processes over real sockets, and print what each costs
    Compare(compare::Arguments),
    /// Measure on this machine what things cost, for runs in virtual time
    Calibrate(calibrate::Arguments),
    /// Run a scenario under both clocks and hold them together: outcomes, workers' lives, downtime
    Agree(agree::Arguments),
    /// Run a scenario, or a folder of them, and say whether what it is meant to show was seen
    Run(run::Arguments),
    /// Run many seeds with faults under the virtual clock, and check what must always hold
    Swarm(swarm::Arguments),
    /// Run a scenario under many parameters and seeds on the virtual clock, on one machine or many
    Sweep(sweep::Arguments),
    /// Put the results of a sweep together, once all are there
    Merge(merge::Arguments),
    /// Run a stored run again under the virtual clock, and name the first fact that differs
    Replay(replay::Arguments),
    /// Tell what each difference between two configurations would cause, and why; runs nothing
    ExplainChange(explain_change::Arguments),
    /// Run a server until Ctrl-C: httpsys and was, and worker processes on demand
    Up(up::Arguments),
    /// Administer a running server: list, start, stop and recycle pools, sites, requests …
    #[command(disable_help_flag = true)]
    Appcmd(Words),
    /// Stop and start all services of a running server
    #[command(disable_help_flag = true)]
    Iisreset(Words),
    /// List the worker processes of a running server, or recycle a pool, as iisapp.vbs does
    #[command(disable_help_flag = true)]
    Iisapp(Words),
    /// Start or stop a service of a running server: net stop was /y
    #[command(disable_help_flag = true)]
    Net(Words),
    /// Ask for the states of the services: sc query
    #[command(disable_help_flag = true)]
    Sc(Words),
    /// Read the counters: `typeperf "\APP_POOL_WAS(*)\Current Worker Processes" -sc 1`
    #[command(disable_help_flag = true)]
    Typeperf(Words),
    /// Read the event log: wevtutil qe System /f:text
    #[command(disable_help_flag = true)]
    Wevtutil(Words),
    /// The load generator, as `compare` starts it
    #[command(hide = true)]
    Load(load::Arguments),
}

/// The words after a tool's name; the tool has its own grammar.
#[derive(Debug, clap::Args)]
struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
    words: Vec<String>,
}

/// Does what the arguments say; the first is the name that the executable was started by.
pub fn main(arguments: Vec<String>) -> ExitCode {
    closed_stdout::quietly(|| run_as_named(arguments))
}

fn run_as_named(arguments: Vec<String>) -> ExitCode {
    if let Some(code) = program(&arguments) {
        return code;
    }
    let rest = arguments.get(1..).unwrap_or_default().to_vec();
    match name_of(&arguments) {
        "appcmd" | "appcmd.exe" => return appcmd::main(rest),
        "iisreset" | "iisreset.exe" => return iisreset::main(rest),
        "iisapp" | "iisapp.vbs" => return iisapp::main(rest),
        "net" | "net.exe" => return net::main(rest),
        "sc" | "sc.exe" => return sc::main(rest),
        "typeperf" | "typeperf.exe" => return typeperf::main(rest),
        "wevtutil" | "wevtutil.exe" => return wevtutil::main(rest),
        _ => {}
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // Help and the version are such an error too, and go to stdout.
        Err(error) => {
            let told = error.print();
            told.unwrap_or_else(|error| closed_stdout::give_up(&error));
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG_ARGUMENTS));
        }
    };
    match cli.command {
        Command::Compare(arguments) => compare::main(&arguments),
        Command::Calibrate(arguments) => calibrate::main(&arguments),
        Command::Agree(arguments) => agree::main(&arguments),
        Command::Run(arguments) => run::main(&arguments),
        Command::Swarm(arguments) => swarm::main(&arguments),
        Command::Sweep(arguments) => sweep::main(&arguments),
        Command::Merge(arguments) => merge::main(&arguments),
        Command::Replay(arguments) => replay::main(&arguments),
        Command::ExplainChange(arguments) => explain_change::main(&arguments),
        Command::Up(arguments) => up::main(arguments),
        Command::Appcmd(words) => appcmd::main(words.words),
        Command::Iisreset(words) => iisreset::main(words.words),
        Command::Iisapp(words) => iisapp::main(words.words),
        Command::Net(words) => net::main(words.words),
        Command::Sc(words) => sc::main(words.words),
        Command::Typeperf(words) => typeperf::main(words.words),
        Command::Wevtutil(words) => wevtutil::main(words.words),
        Command::Load(arguments) => load::main(&arguments),
    }
}

/// The version and the build.
fn version() -> &'static str {
    static VERSION: LazyLock<String> =
        LazyLock::new(|| format!("{} (build {})", build::BUILD.version, build::BUILD));
    &VERSION
}

/// The last part of the name that an executable was started by.
fn name_of(arguments: &[String]) -> &str {
    let name = arguments.first().map_or("", String::as_str);
    Path::new(name)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("")
}

/// Takes `--root DIR` out of a tool's words; else the environment, else the default folder.
fn take_root(words: &mut Vec<String>) -> Result<PathBuf, String> {
    let Some(at) = words
        .iter()
        .position(|word| word == "--root" || word.starts_with("--root="))
    else {
        let from_environment = std::env::var_os(ROOT_VARIABLE).filter(|root| !root.is_empty());
        return Ok(from_environment.map_or_else(|| PathBuf::from(ROOT_DEFAULT), PathBuf::from));
    };
    let word = words.remove(at);
    if let Some((_, root)) = word.split_once('=') {
        return Ok(PathBuf::from(root));
    }
    if at < words.len() {
        Ok(PathBuf::from(words.remove(at)))
    } else {
        Err("--root: a folder is missing after it".to_owned())
    }
}

/// Tells whoever sits at a terminal that the server takes its time.
fn say_waiting() {
    if std::io::stderr().is_terminal() {
        eprintln!("iis-sim: waiting for the server to respond...");
    }
}

/// Prints an error and its causes, each after a colon, and gives the exit code of a failure.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    eprintln!("iis-sim: {text}");
    ExitCode::FAILURE
}
