//! What checkers say, in words that a user can read.

use std::fmt::Write;

use super::book::{Place, Worker};

/// Names of things as the code has them, and as they are called.
const NAMES: [(&str, &str); 4] = [
    ("RequestId(", "request "),
    ("ProcessId(", "process "),
    ("ConnectionId(", "connection "),
    ("SiteId(", "site "),
];

/// A text without the code's own spelling of numbers: `RequestId(5)` is request 5.
pub(super) fn readable(what: &str) -> String {
    let mut text = what.to_owned();
    for (code, name) in NAMES {
        while let Some(at) = text.find(code) {
            let digits = at + code.len();
            let Some(length) = text[digits..].find(')') else {
                break;
            };
            let number = text[digits..digits + length].to_owned();
            text.replace_range(at..=digits + length, &format!("{name}{number}"));
        }
    }
    text
}

/// Where a request is.
pub(super) fn place(place: Place) -> String {
    match place {
        Place::Parsed => "was parsed, and is nowhere".to_owned(),
        Place::Queued(_) => "waits in a queue".to_owned(),
        Place::Delivered(process) => format!("is with {process:?}"),
    }
}

/// What is known of a worker.
pub(super) fn of(worker: Option<&Worker>) -> String {
    let Some(worker) = worker else {
        return "not there".to_owned();
    };
    let mut text = format!("started at {}", worker.spawned);
    // A string takes every write.
    let _ = match worker.ready {
        Some(at) => write!(text, ", ready at {at}"),
        None => write!(text, ", not ready"),
    };
    if let Some((at, reason)) = worker.ordered {
        let _ = write!(text, ", told to stop at {at} ({reason:?})");
    }
    if let Some(at) = worker.killed {
        let _ = write!(text, ", killed at {at}");
    }
    let states = [
        (worker.failed, "failed"),
        (worker.shut_down, "takes nothing more"),
        (!worker.attached, "has no handle of the driver"),
        (worker.struck, "struck by a fault"),
        (worker.suspended, "suspended"),
    ];
    for (_, state) in states.into_iter().filter(|(is, _)| *is) {
        let _ = write!(text, ", {state}");
    }
    let (held, busy) = (worker.held, worker.busy_with.len());
    let _ = write!(text, ", with {held} request(s), {busy} of them begun");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_named_as_they_are_called() {
        let what = "RequestId(5) was delivered to ProcessId(1000), and Some(ConnectionId(7)) is RequestId(5";
        let wanted =
            "request 5 was delivered to process 1000, and Some(connection 7) is RequestId(5";
        assert_eq!(readable(what), wanted);
    }
}
