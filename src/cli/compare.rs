//! `iis-sim compare`: measure what operations cost, and print the table.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use sim_httpsys::live::clock::clock_now;

use super::fail;
use super::up::stop_flag;
use crate::live_world::compare::{Now, compare};
use crate::live_world::trial::{Stage, TrialError};
use crate::measure::TrialResult;
use crate::report::{self, Clock, Comparison};
use crate::scenario::{Operation, Scenario, ScenarioError};
use crate::virtual_world::costs::{Costs, DEFAULT_PROFILE};
use crate::virtual_world::record::{Record, RecordError};
use crate::virtual_world::track::Watch;
use crate::virtual_world::{self, trial::Size};

/// Exit code when the numbers cannot be trusted: an invalid trial or an unexplained attempt.
const NOT_TRUSTED: u8 = 3;
/// Exit code for arguments that do not go together, as clap's own.
const WRONG_ARGUMENTS: u8 = 2;
/// Exit code after Ctrl-C. Source: the shell's convention, 128 + SIGINT.
const INTERRUPTED: u8 = 130;

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
    /// Under which clock
    #[arg(long, value_name = "CLOCK", default_value = "live")]
    clock: Clock,
    /// What things cost in virtual time [default: built in, src/virtual_world/default-profile.toml]
    #[arg(long, value_name = "PROFILE.toml")]
    costs: Option<PathBuf>,
    /// One short trial of each operation: less than 20 seconds in all
    #[arg(long)]
    quick: bool,
    /// Write everything that was measured to FILE (schema iis-sim/compare/1)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep books, logs and traces of every trial below DIR [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write a record of the run to FILE, for `iis-sim replay`; virtual clock only
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// Measures and prints.
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(code) => code,
        Err(Failure::Trial(TrialError::Interrupted)) => {
            eprintln!("iis-sim: interrupted; every process of the trial was ended");
            ExitCode::from(INTERRUPTED)
        }
        Err(Failure::Trial(error)) => fail(&error),
        Err(Failure::Virtual(error)) => fail(&error),
        Err(Failure::Costs(path, error)) => {
            eprintln!("iis-sim: {}: {error}", path.display());
            ExitCode::FAILURE
        }
        Err(Failure::Scenario(error)) => fail(&error),
        Err(Failure::Record(error)) => fail(&error),
        Err(Failure::File(path, source)) => {
            eprintln!("iis-sim: {}: {source}", path.display());
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    Scenario(ScenarioError),
    Trial(TrialError),
    Virtual(virtual_world::trial::TrialError),
    Costs(PathBuf, toml::de::Error),
    Record(RecordError),
    File(PathBuf, std::io::Error),
}

fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let scenario = scenario_of(arguments).map_err(Failure::Scenario)?;
    if arguments.record.is_some() && arguments.clock == Clock::Live {
        eprintln!("iis-sim: --record needs --clock virtual: a live run does not repeat");
        return Ok(ExitCode::from(WRONG_ARGUMENTS));
    }
    let results = match arguments.clock {
        Clock::Live => run_live(arguments, &scenario)?,
        Clock::Virtual => run_virtual(arguments, &scenario)?,
    };
    let comparison = Comparison::new(&scenario, arguments.clock, results);
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

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::File(path, source)
}

fn run_live(arguments: &Arguments, scenario: &Scenario) -> Result<Vec<TrialResult>, Failure> {
    let temporary = Temporary::make().map_err(at(&std::env::temp_dir()))?;
    let folder = arguments.out.as_deref().unwrap_or(&temporary.0);
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    let stop = stop_flag().map_err(at(folder))?;
    let bar = progress_bar(scenario);
    let results = compare(scenario, folder, &mut |now| {
        show(&bar, now);
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    results.map_err(Failure::Trial)
}

fn run_virtual(arguments: &Arguments, scenario: &Scenario) -> Result<Vec<TrialResult>, Failure> {
    let (profile, name) = match &arguments.costs {
        Some(path) => (
            std::fs::read_to_string(path).map_err(at(path))?,
            path.as_path(),
        ),
        None => (
            DEFAULT_PROFILE.to_owned(),
            Path::new("the built-in profile"),
        ),
    };
    let costs = Costs::parse(&profile);
    let costs = costs.map_err(|error| Failure::Costs(name.to_owned(), error))?;
    let stop = stop_flag().map_err(at(Path::new("signals")))?;
    let bar = progress_bar(scenario);
    let begun = clock_now();
    let watch = match arguments.record {
        Some(_) => Watch::Trail,
        None => Watch::Digest,
    };
    let compared =
        virtual_world::compare::compare(scenario, &costs, &watch, &mut |done, operation| {
            bar.set_position(u64::from(done) * STEPS);
            bar.set_message(format!("trial {}: {operation}", done + 1));
            !stop.load(Ordering::Relaxed)
        });
    bar.finish_and_clear();
    let compared = compared.map_err(Failure::Virtual)?;
    let compared = compared.ok_or(Failure::Trial(TrialError::Interrupted))?;
    tell_speed(&compared.size, clock_now() - begun);
    if let Some(path) = &arguments.record {
        let record = Record::of_comparison(scenario, profile, &compared);
        record.write(path).map_err(Failure::Record)?;
    }
    Ok(compared.results)
}

/// How fast virtual time went, on standard error: it is no property of what was simulated.
#[expect(clippy::cast_precision_loss, reason = "rates for people")]
fn tell_speed(size: &Size, took: Duration) {
    let seconds = took.as_secs_f64().max(1e-9);
    let virtual_seconds = size.nanos as f64 / 1e9;
    eprintln!(
        "virtual clock: {:.0} s of virtual time, {} attempts, {} events in {seconds:.2} s ({:.0} \
         events/s, {:.0} attempts/s, {:.0} times as fast as real time)",
        virtual_seconds,
        size.attempts,
        size.events,
        size.events as f64 / seconds,
        size.attempts as f64 / seconds,
        virtual_seconds / seconds,
    );
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

/// A folder that goes when it is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn make() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("iis-sim-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn progress_bar(scenario: &Scenario) -> ProgressBar {
    let trials = u64::from(scenario.trials) * scenario.operations.len() as u64;
    let bar = ProgressBar::new(trials * STEPS);
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Steps of the progress bar that one trial takes.
const STEPS: u64 = 4;

fn show(bar: &ProgressBar, now: Now) {
    let (step, word) = match now.stage {
        Stage::Starting => (0, "starting"),
        Stage::WarmingUp => (1, "warming up"),
        Stage::Operating => (2, "operating"),
        Stage::Watching => (2, "watching"),
        Stage::Reconciling => (3, "reconciling"),
    };
    bar.set_position(u64::from(now.done) * STEPS + step);
    bar.set_message(format!(
        "trial {} of {}: {} ({word})",
        now.done + 1,
        now.total,
        now.operation
    ));
}
