//! Ctrl-C: whoever measures ends promptly, with 130, and takes everything that it has started along.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test looks until something has happened, and fails when it is not as it should be"
)]

mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Virtual time that takes minutes of real time, in one trial.
const LONG: &str = "
name = 'long'
clock = 'virtual'
operations = ['none']
trials = 1
[timing]
watch-min = '2h'
watch-max = '2h'
[load]
rate = 200
tls_share = 0
mix = [{ url = '/default.aspx' }]
";

/// A process in a group of its own, as a shell makes one for each of its jobs.
struct Job(Child);

impl Job {
    fn start(folder: &Path, words: &[&str]) -> Self {
        let mut command = Command::new(support::IIS_SIM);
        command.args(words).current_dir(folder).process_group(0);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn ctrl_c(&mut self) -> Option<i32> {
        kill_process_group(Pid::from_child(&self.0), Signal::INT).unwrap();
        let told = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(told.elapsed() < Duration::from_secs(20), "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the handlers of signals are there: whoever catches SIGINT says so in its status.
fn until_it_catches(job: &Job) {
    let status = format!("/proc/{}/status", job.0.id());
    until("it catches SIGINT", || {
        let text = fs::read_to_string(&status).unwrap();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|caught| u64::from_str_radix(caught.trim(), 16).ok());
        caught.unwrap_or_default() & 1 << (Signal::INT.as_raw() - 1) != 0
    });
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "waited a minute until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn ctrl_c_ends_virtual_time_in_the_middle_of_a_trial() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("long.toml"), LONG).unwrap();
    let plan = "scenario = 'long.toml'\nseeds = '0..1'\n";
    fs::write(folder.path().join("plan.toml"), plan).unwrap();
    for words in [
        &["compare", "long.toml"][..],
        &["run", "long.toml"],
        &["swarm", "--seeds", "0..1", "--seconds", "7200"],
        &["sweep", "plan.toml", "--out", "rows"],
    ] {
        let mut job = Job::start(folder.path(), words);
        until_it_catches(&job);
        // It is somewhere within its only trial.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(job.ctrl_c(), Some(130), "{words:?}");
    }
}

#[test]
fn ctrl_c_ends_a_replay_and_no_difference_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions/q3-seed-798.json");
    let stored = fs::read_to_string(stored).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&stored).unwrap();
    record["subject"]["plan"]["millis"] = 7_200_000.into();
    fs::write(folder.path().join("long.json"), record.to_string()).unwrap();
    let mut job = Job::start(folder.path(), &["replay", "long.json"]);
    until_it_catches(&job);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(job.ctrl_c(), Some(130));
}

#[test]
fn ctrl_c_in_a_terminal_is_for_whoever_measures_and_not_for_its_load() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = Job::start(folder.path(), &["compare", "--quick", "--out", "out"]);
    until("the load runs", || {
        let trials = fs::read_dir(folder.path().join("out"));
        let mut trials = trials.into_iter().flatten().flatten();
        trials.any(|trial| trial.path().join("load.log").exists())
    });
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(job.ctrl_c(), Some(130));
    let path = folder.path().to_string_lossy().into_owned();
    let left = fs::read_dir("/proc").unwrap().flatten().filter(|process| {
        let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&path)
    });
    assert_eq!(left.count(), 0, "something was left running");
}
