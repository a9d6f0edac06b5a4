//! The audit log: who has asked the services for what, when, and what came of it.
//!
//! One JSON object a line in `Windows/System32/LogFiles/iis-sim/audit.jsonl`. Questions are not written
//! down, only what was to change something. Who it was the kernel says: the user and the process at the
//! other end of the control socket.

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use sim_httpsys::live::LineFile;
use sim_httpsys::live::clock::utc_now;
use tokio::net::unix::UCred;

use crate::control::{Answer, Command};

/// Below a root. Assumed: IIS has no such log of its own; it lies beside HTTPERR.
const PATH: &str = "Windows/System32/LogFiles/iis-sim/audit.jsonl";

/// Who asks.
pub(super) struct Asker {
    /// The process at the other end, as the kernel knows it.
    pub(super) who: Option<UCred>,
    /// For whom it says that it asks.
    pub(super) on_behalf_of: Option<String>,
}

/// The open file.
#[derive(Debug)]
pub(super) struct AuditLog(Mutex<LineFile>);

impl AuditLog {
    /// Opens the log of a root; what is there stays.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let file = LineFile::open(&root.join(PATH))?;
        Ok(Self(Mutex::new(file)))
    }

    /// Writes down what was asked and answered. A full disk loses lines, not the server.
    pub(super) fn write(&self, asker: Asker, command: &Command, answer: &Answer, took: Duration) {
        if command.is_question() {
            return;
        }
        let Asker { who, on_behalf_of } = asker;
        let line = json!({
            "time": jiff::Timestamp::from_nanosecond(i128::from(utc_now().0))
                .map_or_else(|_| String::new(), |time| time.to_string()),
            "uid": who.map(|who| who.uid()),
            "pid": who.and_then(|who| who.pid()),
            "process": who.and_then(|who| who.pid()).and_then(command_line),
            "on_behalf_of": on_behalf_of,
            "command": command,
            "effect": effect(answer),
            "took_ms": took.as_secs_f64() * 1e3,
        });
        if let Ok(mut file) = self.0.lock() {
            // One write, so that lines of two writers do not mix.
            file.write(format!("{line}\n").as_bytes());
        }
    }
}

fn effect(answer: &Answer) -> Value {
    match answer {
        Answer::Refused(refusal) => json!({ "refused": refusal }),
        Answer::Done
        | Answer::ApplicationPools(_)
        | Answer::Sites(_)
        | Answer::Applications(_)
        | Answer::VirtualDirectories(_)
        | Answer::WorkerProcesses(_)
        | Answer::Requests(_)
        | Answer::Counters(_)
        | Answer::Services(_) => json!("done"),
    }
}

/// What a process was started with; it may have ended already.
fn command_line(pid: i32) -> Option<String> {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = words
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    Some(words.join(" "))
}
