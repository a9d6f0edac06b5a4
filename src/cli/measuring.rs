//! Measuring a scenario under either clock, with progress and Ctrl-C, for every command that does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use sim_httpsys::live::clock::clock_now;

use super::explain_change::no_good;
use super::fail;
use super::output_file::{output_file, output_folder};
use super::selection::{ProfileArgument, ProfileError};
use super::up::stop_flag;
use crate::live_world::compare::{Now, compare};
use crate::live_world::trial::{Stage, TrialError};
use crate::measure::TrialResult;
use crate::scenario::{Clock, Operation, Scenario, ScenarioError};
use crate::virtual_world::record::{Record, RecordError};
use crate::virtual_world::trace;
use crate::virtual_world::track::Watch;
use crate::virtual_world::{self, trial::Size};

/// Exit code when the numbers cannot be trusted: an invalid trial, an unexplained attempt, or none at all.
pub(super) const NOT_TRUSTED: u8 = 3;
/// Exit code for arguments that do not go together, as clap's own.
const WRONG_ARGUMENTS: u8 = 2;
/// Exit code after Ctrl-C. Source: the shell's convention, 128 + SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

/// How a scenario is measured.
#[derive(Debug, clap::Args)]
pub(super) struct Measuring {
    /// Under which clock [default: the scenario's, or else live]
    #[arg(long, value_name = "CLOCK")]
    pub(super) clock: Option<Clock>,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Keep books, logs and traces of every trial below DIR; under the virtual clock the traces only
    /// [default: a temporary folder]
    #[arg(long, value_name = "DIR", value_parser = output_folder())]
    out: Option<PathBuf>,
    /// Write a record for `iis-sim replay` to FILE; virtual clock only. Each variant has one of its own, and each
    /// scenario of a folder: FILE with their names before its extension. With --out there is one anyway,
    /// DIR/record.json
    #[arg(long, value_name = "FILE", value_parser = output_file())]
    record: Option<PathBuf>,
    /// Record every input of httpsys, was and w3wp with its time below --out DIR, for `iis-sim replay DIR`;
    /// live clock only
    #[arg(long, requires = "out")]
    record_inputs: bool,
}

/// Why nothing was measured.
pub(super) enum Failure {
    Scenario(ScenarioError),
    Trial(TrialError),
    Virtual(virtual_world::trial::TrialError),
    Profile(ProfileError),
    Record(RecordError),
    RecordLive,
    RecordInputsVirtual,
    File(PathBuf, std::io::Error),
}

impl Failure {
    /// Whether somebody has stopped it.
    pub(super) fn is_interrupted(&self) -> bool {
        matches!(self, Self::Trial(TrialError::Interrupted))
    }

    /// Says why, and gives the exit code.
    pub(super) fn tell(&self) -> ExitCode {
        match self {
            Self::Trial(TrialError::Interrupted) => {
                eprintln!("iis-sim: interrupted; every process that was started has ended");
                ExitCode::from(INTERRUPTED)
            }
            Self::Trial(error) => fail(error),
            Self::Virtual(error) => fail(error),
            Self::Scenario(error) => fail(error),
            Self::Record(error) => fail(error),
            Self::RecordLive => {
                eprintln!("iis-sim: --record needs --clock virtual: a live run does not repeat");
                ExitCode::from(WRONG_ARGUMENTS)
            }
            Self::RecordInputsVirtual => {
                eprintln!(
                    "iis-sim: --record-inputs needs --clock live: on the virtual clock --record is enough"
                );
                ExitCode::from(WRONG_ARGUMENTS)
            }
            Self::Profile(error) => fail(error),
            Self::File(path, source) => {
                eprintln!("iis-sim: {}: {source}", path.display());
                ExitCode::FAILURE
            }
        }
    }
}

impl Measuring {
    /// Runs every trial of a scenario; `name` tells several stories of one command apart, in folders and (as
    /// `label`) in the names of records.
    pub(super) fn run(
        &self,
        scenario: &Scenario,
        name: &str,
        label: &str,
    ) -> Result<Vec<TrialResult>, Failure> {
        if let Some(warning) = self.unused_profile(scenario) {
            eprintln!("iis-sim: {warning}");
        }
        if self.clock == Some(Clock::Virtual) && scenario.farm.is_some() {
            eprintln!(
                "iis-sim: {}: a real HAProxy has no virtual clock; this one is measured live",
                scenario.name
            );
        }
        let refused = match self.clock_of(scenario) {
            Clock::Live if self.record.is_some() => Some(Failure::RecordLive),
            Clock::Virtual if self.record_inputs => Some(Failure::RecordInputsVirtual),
            Clock::Live | Clock::Virtual => None,
        };
        if let Some(refused) = refused {
            return Err(refused);
        }
        scenario.check_operations().map_err(Failure::Scenario)?;
        let served = scenario.served(Operation::None);
        for fault in no_good(&served.map_err(Failure::Scenario)?.configuration) {
            eprintln!("iis-sim: {}: {fault}", scenario.name);
        }
        if let Some(out) = &self.out {
            let folder = out.join(name);
            clear_trials(&folder).map_err(at(&folder))?;
        }
        match self.clock_of(scenario) {
            Clock::Live => run_live(self, scenario, name),
            Clock::Virtual => run_virtual(self, scenario, name, label),
        }
    }

    /// What is said of a profile that nobody looks at.
    fn unused_profile(&self, scenario: &Scenario) -> Option<String> {
        let is_unused = self.profile.is_given() && self.clock_of(scenario) == Clock::Live;
        is_unused.then(|| {
            format!(
                "{}: --profile says what things cost in virtual time; this one is measured live, without it",
                scenario.name
            )
        })
    }

    /// The clock that was asked for, or the scenario's, or live. A farm is always live: a real HAProxy
    /// has no other clock.
    pub(super) fn clock_of(&self, scenario: &Scenario) -> Clock {
        match (&scenario.farm, self.clock.or(scenario.clock)) {
            (Some(_), _) => Clock::Live,
            (None, clock) => clock.unwrap_or_default(),
        }
    }

    /// What said what things cost, for the report; `None` for a live run.
    pub(super) fn profile(&self, scenario: &Scenario) -> Result<Option<String>, Failure> {
        match self.clock_of(scenario) {
            Clock::Live => Ok(None),
            Clock::Virtual => {
                let profile = self.profile.read().map_err(Failure::Profile)?;
                Ok(Some(profile.name))
            }
        }
    }
}

impl Measuring {
    /// Where records go; several stories of one command write different files.
    fn record_files(&self, name: &str, label: &str) -> Result<Vec<PathBuf>, Failure> {
        let mut files = Vec::new();
        if let Some(out) = &self.out {
            let folder = out.join(name);
            std::fs::create_dir_all(&folder).map_err(at(&folder))?;
            files.push(folder.join("record.json"));
        }
        if let Some(path) = &self.record {
            files.push(labelled(path, label));
        }
        Ok(files)
    }
}

/// `record.json` with a label: `record-LABEL.json`.
fn labelled(path: &Path, label: &str) -> PathBuf {
    if label.is_empty() {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let dot = if extension.is_empty() { "" } else { "." };
    path.with_file_name(format!("{stem}-{label}{dot}{extension}"))
}

pub(super) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::File(path, source)
}

/// What an earlier run has left in a folder of trials goes: its trials are none of the record that will lie beside them.
fn clear_trials(folder: &Path) -> std::io::Result<()> {
    let found = match std::fs::read_dir(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut is_used = false;
    for entry in found {
        let entry = entry?;
        if entry.file_type()?.is_dir() && is_of_trial(&entry.file_name().to_string_lossy()) {
            std::fs::remove_dir_all(entry.path())?;
            is_used = true;
        }
    }
    let record = folder.join("record.json");
    if is_used && record.is_file() {
        std::fs::remove_file(record)?;
    }
    Ok(())
}

/// Whether a folder is one of a trial: `recycle-1`.
fn is_of_trial(name: &str) -> bool {
    let Some((operation, round)) = name.rsplit_once('-') else {
        return false;
    };
    let is_number = !round.is_empty() && round.bytes().all(|byte| byte.is_ascii_digit());
    is_number && Operation::ALL.iter().any(|known| known.name() == operation)
}

fn run_live(
    arguments: &Measuring,
    scenario: &Scenario,
    name: &str,
) -> Result<Vec<TrialResult>, Failure> {
    for operation in &scenario.operations {
        let served = scenario.served(*operation).map_err(Failure::Scenario)?;
        if let Some(gap) = served.log_gap() {
            eprintln!("{gap}: the sites' logs are not held against the clients' book");
            break;
        }
    }
    let temporary = Temporary::make().map_err(at(&std::env::temp_dir()))?;
    let folder = arguments.out.as_deref().unwrap_or(&temporary.0).join(name);
    std::fs::create_dir_all(&folder).map_err(at(&folder))?;
    let stop = stop_flag().map_err(at(&folder))?;
    let bar = progress_bar(scenario);
    let results = compare(scenario, &folder, arguments.record_inputs, &mut |now| {
        show(&bar, now);
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    results.map_err(Failure::Trial)
}

fn run_virtual(
    arguments: &Measuring,
    scenario: &Scenario,
    name: &str,
    label: &str,
) -> Result<Vec<TrialResult>, Failure> {
    let profile = arguments.profile.read().map_err(Failure::Profile)?;
    let files = arguments.record_files(name, label)?;
    let watch = if files.is_empty() {
        Watch::Digest
    } else {
        Watch::Trail
    };
    let stop = stop_flag().map_err(at(Path::new("signals")))?;
    let bar = progress_bar(scenario);
    let begun = clock_now();
    let mut watcher = |done, operation| {
        bar.set_position(u64::from(done) * STEPS);
        bar.set_message(format!("trial {}: {operation}", done + 1));
        !stop.load(Ordering::Relaxed)
    };
    let mut rounds = BTreeMap::new();
    let mut written = Ok(());
    let compared = virtual_world::compare::compare_and(
        scenario,
        &profile.costs,
        &watch,
        &mut watcher,
        &mut |result, observation| {
            if let Some(out) = &arguments.out
                && written.is_ok()
            {
                let round: &mut u32 = rounds.entry(result.operation).or_default();
                *round += 1;
                let trial = format!("{}-{round}", result.operation);
                let folder = out.join(name).join(trial).join("root/trace");
                written = trace::write(&folder, observation).map_err(at(&folder));
            }
        },
    );
    bar.finish_and_clear();
    let compared = compared.map_err(Failure::Virtual)?;
    written?;
    let compared = compared.ok_or(Failure::Trial(TrialError::Interrupted))?;
    tell_speed(&compared.size, clock_now() - begun);
    if !files.is_empty() {
        let record = Record::of_comparison(scenario, profile.text, &compared);
        for path in &files {
            record.write(path).map_err(Failure::Record)?;
            eprintln!("recorded in {}", path.display());
        }
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        measuring: Measuring,
    }

    fn measuring(words: &[&str]) -> Measuring {
        Command::parse_from([&["compare"], words].concat()).measuring
    }

    #[test]
    fn a_record_goes_where_it_was_asked_for_unless_there_are_several() {
        let measuring = measuring(&["--record", "/tmp/rr.json"]);
        let files = |label| measuring.record_files("lunch-0", label).ok().unwrap();
        assert_eq!(files(""), [PathBuf::from("/tmp/rr.json")]);
        assert_eq!(files("at-noon"), [PathBuf::from("/tmp/rr-at-noon.json")]);
        assert_eq!(labelled(Path::new("rr"), "a"), Path::new("rr-a"));
    }

    #[test]
    fn a_profile_that_a_live_clock_does_not_look_at_is_no_secret() {
        let scenario = Scenario::reset_vs_recycle().unwrap();
        let said = |words: &[&str]| measuring(words).unused_profile(&scenario);
        assert!(said(&["--profile", "my.toml", "--clock", "live"]).is_some());
        assert!(said(&["--profile", "my.toml", "--clock", "virtual"]).is_none());
        assert!(said(&["--clock", "live"]).is_none());
    }

    #[test]
    fn the_trials_of_an_earlier_run_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let there = |name: &str| folder.path().join(name);
        std::fs::write(there("record.json"), "{}").unwrap();
        std::fs::write(there("report.json"), "{}").unwrap();
        clear_trials(folder.path()).unwrap();
        assert!(there("record.json").exists(), "it may be of somebody else");
        for name in [
            "recycle-1/root/trace",
            "iisreset-noforce-12",
            "mine-1",
            "none-",
            "other",
        ] {
            std::fs::create_dir_all(there(name)).unwrap();
        }
        clear_trials(folder.path()).unwrap();
        clear_trials(&there("nowhere")).unwrap();
        let gone = ["recycle-1", "iisreset-noforce-12", "record.json"];
        assert!(gone.iter().all(|name| !there(name).exists()));
        let kept = ["mine-1", "none-", "other", "report.json"];
        assert!(kept.iter().all(|name| there(name).exists()));
    }
}
