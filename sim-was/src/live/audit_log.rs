//! The audit log: who has asked the services for what, when, and what came of it.
//!
//! One JSON object a line in `Windows/System32/LogFiles/iis-sim/audit.jsonl`. Questions are not written
//! down, only what was to change something. Who it was the kernel says: the user and the process at the
//! other end of the control socket. What tools do in files by themselves they write down themselves.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use sim_httpsys::live::LineFile;
use sim_httpsys::live::clock::utc_now;
use tokio::net::unix::UCred;

use super::control::Answered;
use crate::control::{Answer, Command, Refusal};
use crate::event_log::Fact;
use crate::secrets::{command_without_secrets, effect_without_secrets, words_without_secrets};

/// Below a root. Assumed: IIS has no such log of its own; it lies beside HTTPERR.
const PATH: &str = "Windows/System32/LogFiles/iis-sim/audit.jsonl";

/// Who wants something; nothing is known of who has edited a file.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    uid: Option<u32>,
    pid: Option<i32>,
    /// What the process was started with.
    process: Option<String>,
    on_behalf_of: Option<String>,
}

impl Asker {
    /// This process, for itself or for somebody.
    pub fn this_process(on_behalf_of: Option<String>) -> Self {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Self {
            uid: Some(rustix::process::geteuid().as_raw()),
            pid: Some(pid),
            process: command_line(pid),
            on_behalf_of,
        }
    }

    /// The process at the other end of a socket, as the kernel knows it, and for whom it says that it asks.
    pub(super) fn peer(who: Option<UCred>, on_behalf_of: Option<String>) -> Self {
        let pid = who.and_then(|who| who.pid());
        Self {
            uid: who.map(|who| who.uid()),
            pid,
            process: pid.and_then(command_line),
            on_behalf_of,
        }
    }
}

/// The open file.
#[derive(Debug)]
pub struct AuditLog(Mutex<LineFile>);

impl AuditLog {
    /// Opens the log of a root; what is there stays. Only this user reads it.
    pub fn open(root: &Path) -> io::Result<Self> {
        let path = root.join(PATH);
        let file = LineFile::open(&path)?;
        let (made, of_root) = (fs::metadata(&path)?, fs::metadata(root)?);
        if made.mode() & 0o777 != 0o600 {
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        }
        // A tool that the machine's root has run may be the first: the log is that of whose the server is.
        if made.uid() != of_root.uid() {
            chown(&path, Some(of_root.uid()), Some(of_root.gid()))?;
        }
        Ok(Self(Mutex::new(file)))
    }

    /// Writes down what was done and what came of it. A full disk loses lines, not the server.
    pub fn write(&self, asker: &Asker, deed: &Value, effect: &Value, took: Duration) {
        let line = json!({
            "time": jiff::Timestamp::from_nanosecond(i128::from(utc_now().0))
                .map_or_else(|_| String::new(), |time| time.to_string()),
            "uid": asker.uid,
            "pid": asker.pid,
            "process": asker.process,
            "on_behalf_of": asker.on_behalf_of,
            "command": deed,
            "effect": effect,
            "took_ms": took.as_secs_f64() * 1e3,
        });
        if let Ok(mut file) = self.0.lock() {
            // One write, so that lines of two writers do not mix.
            file.write(format!("{line}\n").as_bytes());
        }
    }

    /// Writes down what was ordered, and what came of it.
    pub(super) fn command(
        &self,
        asker: &Asker,
        command: &Command,
        answered: &Answered,
        took: Duration,
    ) {
        let deed = serde_json::to_value(command_without_secrets(command)).unwrap_or_default();
        let is_change = matches!(command, Command::ChangeConfiguration { .. });
        let effect = match (&answered.answer, &answered.consequences) {
            (Answer::Refused(refusal), _) => {
                let mut effect = json!({ "refused": refusal });
                effect_without_secrets(&mut effect, command);
                // Part of it was done.
                if *refusal == Refusal::TimedOut {
                    effect["until_then"] = answered.outcome.clone();
                }
                effect
            }
            (_, Some(fact)) => consequences_of(fact),
            (_, None) if is_change => json!("written; nothing that runs goes by it"),
            (_, None) => answered.outcome.clone(),
        };
        self.write(asker, &deed, &effect, took);
    }

    /// Writes down what came of an order after it was answered.
    pub(super) fn outcome_of(
        &self,
        asker: &Asker,
        command: &Command,
        outcome: &Value,
        took: Duration,
    ) {
        let deed = json!({"OutcomeOf": command_without_secrets(command)});
        self.write(asker, &deed, outcome, took);
    }

    /// Writes down that files have changed which nobody has changed through WAS.
    pub(super) fn files_changed(&self, fact: &Fact) {
        let deed = json!("ConfigurationFilesChanged");
        let nobody = Asker::default();
        self.write(&nobody, &deed, &consequences_of(fact), Duration::ZERO);
    }
}

/// What a change of the configuration has caused.
fn consequences_of(fact: &Fact) -> Value {
    let mut all = serde_json::to_value(fact).unwrap_or_default();
    all.get_mut("ConfigurationChanged")
        .map_or(Value::Null, Value::take)
}

/// What a process was started with; it may have ended already.
fn command_line(pid: i32) -> Option<String> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = words
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    Some(words_without_secrets(words.iter().map(|word| &**word)))
}
