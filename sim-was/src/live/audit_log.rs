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
            "command": without_passwords(serde_json::to_value(command).unwrap_or_default()),
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

/// What stands for a password. Assumed: the log is ours, and whoever reads it needs no password.
const HIDDEN: &str = "*";

/// A command without the values of passwords: changes name their attribute beside the value.
fn without_passwords(mut command: Value) -> Value {
    match &mut command {
        Value::Object(fields) => {
            let is_secret = fields.get("attribute").and_then(Value::as_str);
            if is_secret.is_some_and(is_password)
                && let Some(value) = fields.get_mut("value")
            {
                *value = json!(HIDDEN);
            }
            for field in fields.values_mut() {
                *field = without_passwords(field.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = without_passwords(item.take());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    command
}

fn is_password(name: &str) -> bool {
    let name = name.rsplit(['.', '\'', '/']).next().unwrap_or(name);
    name.to_lowercase().ends_with("password")
}

/// A word of a command line without the password that it sets: `/processModel.password:…`, and
/// `[path='/',password='…']`.
fn word_without_passwords(word: &str) -> String {
    let mut shown = String::new();
    let mut rest = word;
    let lower = |text: &str| text.to_ascii_lowercase();
    while let Some(at) = lower(rest).find("password") {
        let end = at + "password".len();
        shown.push_str(&rest[..end]);
        rest = &rest[end..];
        if let Some(quoted) = rest.strip_prefix("='") {
            shown.push_str("='");
            shown.push_str(HIDDEN);
            rest = quoted.find('\'').map_or("", |end| &quoted[end..]);
        } else if rest.starts_with([':', '=']) {
            shown.push_str(&rest[..1]);
            shown.push_str(HIDDEN);
            rest = "";
        }
    }
    shown.push_str(rest);
    shown
}

/// What a process was started with; it may have ended already.
fn command_line(pid: i32) -> Option<String> {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = words
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    let words = words.map(String::from_utf8_lossy);
    let words: Vec<_> = words.map(|word| word_without_passwords(&word)).collect();
    Some(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_written_down() {
        for (word, shown) in [
            ("/processModel.password:Secret1", "/processModel.password:*"),
            ("-Password:a'b", "-Password:*"),
            (
                "/+x.[path='/',password='S',userName='u']",
                "/+x.[path='/',password='*',userName='u']",
            ),
            ("/managedRuntimeVersion:v4.0", "/managedRuntimeVersion:v4.0"),
        ] {
            assert_eq!(word_without_passwords(word), shown);
        }
        let command = json!({"Change": [
            {"attribute": "processModel.password", "value": "S"},
            {"attribute": "userName", "value": "u"},
        ]});
        let shown = json!({"Change": [
            {"attribute": "processModel.password", "value": "*"},
            {"attribute": "userName", "value": "u"},
        ]});
        assert_eq!(without_passwords(command), shown);
    }
}
