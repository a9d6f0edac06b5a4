//! Where facts go: the event log, the trace, and `tracing`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use sim_httpsys::clockwork::{Instant, UtcTime};
use sim_httpsys::etw::Traced;

use super::event_log_file::EventLogFile;
use crate::event_log::{Fact, Level};

/// The open files.
#[derive(Debug)]
pub(super) struct Journal {
    events: EventLogFile,
    trace: Option<BufWriter<File>>,
}

impl Journal {
    /// Opens the event log and, if wanted, `trace/was.jsonl`.
    pub(super) fn open(root: &Path, trace: bool) -> io::Result<Self> {
        let events = EventLogFile::open(root)?;
        let trace = if trace {
            Some(BufWriter::new(append(&root.join("trace"), "was.jsonl")?))
        } else {
            None
        };
        Ok(Self { events, trace })
    }

    /// Writes a fact down. A full disk loses lines, not the server.
    pub(super) fn write(&mut self, fact: &Fact, now: Instant, utc: UtcTime) {
        if let Fact::Event(event) = fact {
            self.events.write(event, utc).ok();
        }
        if let Some(trace) = &mut self.trace {
            let traced = Traced { at: now, fact };
            if serde_json::to_writer(&mut *trace, &traced).is_ok() {
                trace.write_all(b"\n").ok();
            }
        }
        log(fact);
    }

    /// Brings the trace to disk.
    pub(super) fn flush(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.flush().ok();
        }
    }
}

fn append(folder: &Path, name: &str) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(name))
}

fn log(fact: &Fact) {
    match fact {
        Fact::Event(event) => {
            let (id, message) = (event.id, event.message.as_str());
            match event.level {
                Level::Error | Level::Warning => tracing::warn!(id, "{message}"),
                Level::Information => tracing::info!(id, "{message}"),
            }
        }
        Fact::WorkerSpawned { process, pool } => {
            tracing::info!(pid = process.0, %pool, "worker process created");
        }
        Fact::WorkerReady { process } => tracing::info!(pid = process.0, "worker process ready"),
        Fact::WorkerStopOrdered { process, reason } => {
            tracing::info!(pid = process.0, ?reason, "worker process told to stop");
        }
        Fact::WorkerKilled { process } => tracing::info!(pid = process.0, "worker process killed"),
        Fact::WorkerOrphaned { process } => {
            tracing::warn!(
                pid = process.0,
                "worker process orphaned: it lives on, and is nobody's"
            );
        }
        Fact::WorkerSuspended { process } => {
            tracing::info!(pid = process.0, "worker process suspended");
        }
        Fact::WorkerResumed { process } => {
            tracing::info!(pid = process.0, "worker process resumed");
        }
        Fact::WorkerExited { process, exit } => {
            tracing::info!(pid = process.0, ?exit, "worker process exited");
        }
        Fact::CommandAccepted { command } => tracing::info!(%command, "command accepted"),
        Fact::ServiceState { service, status } => {
            tracing::info!(service = service.name(), ?status, "service");
        }
        Fact::ConfigurationChanged {
            changes,
            recycled,
            restarted,
        } => {
            tracing::info!(changes, ?recycled, ?restarted, "configuration changed");
        }
        Fact::PoolState { pool, state } => tracing::info!(%pool, %state, "application pool"),
    }
}
