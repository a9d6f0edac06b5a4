//! `iis-sim compare`: measure what operations cost, and print the table.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use sim_httpsys::live::clock::clock_now;

use super::fail;
use super::selection::{ProfileArgument, ProfileError, Selection};
use super::up::stop_flag;
use crate::live_world::compare::{Now, compare};
use crate::live_world::trial::{Stage, TrialError};
use crate::measure::TrialResult;
use crate::report::{self, Clock, Comparison};
use crate::scenario::{Scenario, ScenarioError};
use crate::virtual_world::{self, costs::Costs, trial::Size};

/// Exit code when the numbers cannot be trusted: an invalid trial or an unexplained attempt.
const NOT_TRUSTED: u8 = 3;
/// Exit code after Ctrl-C. Source: the shell's convention, 128 + SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

/// Arguments of `iis-sim compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 measured; 1 failed; 2 wrong arguments; \
    3 an invalid trial or an unexplained attempt; 130 interrupted")]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Under which clock
    #[arg(long, value_name = "CLOCK", default_value = "live")]
    clock: Clock,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Write everything that was measured to FILE (schema iis-sim/compare/1)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep books, logs and traces of every trial below DIR [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
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
        Err(Failure::Profile(error)) => fail(&error),
        Err(Failure::Scenario(error)) => fail(&error),
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
    Profile(ProfileError),
    File(PathBuf, std::io::Error),
}

fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let scenario = arguments.selection.scenario().map_err(Failure::Scenario)?;
    let (results, profile) = match arguments.clock {
        Clock::Live => (run_live(arguments, &scenario)?, None),
        Clock::Virtual => {
            let (costs, name) = arguments.profile.costs().map_err(Failure::Profile)?;
            (run_virtual(&scenario, &costs)?, Some(name))
        }
    };
    let comparison = Comparison::new(&scenario, arguments.clock, results).with_profile(profile);
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

fn run_virtual(scenario: &Scenario, costs: &Costs) -> Result<Vec<TrialResult>, Failure> {
    let stop = stop_flag().map_err(at(Path::new("signals")))?;
    let bar = progress_bar(scenario);
    let begun = clock_now();
    let compared = virtual_world::compare::compare(scenario, costs, &mut |done, operation| {
        bar.set_position(u64::from(done) * STEPS);
        bar.set_message(format!("trial {}: {operation}", done + 1));
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let compared = compared.map_err(Failure::Virtual)?;
    let compared = compared.ok_or(Failure::Trial(TrialError::Interrupted))?;
    tell_speed(&compared.size, clock_now() - begun);
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

/// A folder that goes when it is dropped.
pub(super) struct Temporary(pub(super) PathBuf);

impl Temporary {
    pub(super) fn make() -> std::io::Result<Self> {
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

/// A bar over all trials of a scenario.
pub(super) fn progress_bar(scenario: &Scenario) -> ProgressBar {
    let trials = u64::from(scenario.trials) * scenario.operations.len() as u64;
    let bar = ProgressBar::new(trials * STEPS);
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Steps of the progress bar that one trial takes.
pub(super) const STEPS: u64 = 4;

/// Shows where a live trial is.
pub(super) fn show(bar: &ProgressBar, now: Now) {
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
