//! Where facts go: the event log, the trace, and `tracing`.

use std::io;
use std::path::Path;

use sim_httpsys::clockwork::{Instant, UtcTime};
use sim_httpsys::etw::Traced;
use sim_httpsys::live::LineFile;

use super::event_log_file::EventLogFile;
use crate::event_log::{Fact, Level};

/// The open files.
#[derive(Debug)]
pub(super) struct Journal {
    events: EventLogFile,
    /// Events that could not be written since the last one that could.
    events_lost: u64,
    trace: Option<Trace>,
}

/// The trace, and what is written to it with the next flush.
#[derive(Debug)]
struct Trace {
    file: LineFile,
    lines: Vec<u8>,
}

impl Journal {
    /// Opens the event log and, if wanted, `trace/was.jsonl`.
    pub(super) fn open(root: &Path, trace: bool) -> io::Result<Self> {
        let events = EventLogFile::open(root)?;
        let trace = trace.then(|| LineFile::open(&root.join("trace/was.jsonl")));
        let trace = trace.transpose()?.map(|file| Trace {
            file,
            lines: Vec::new(),
        });
        Ok(Self {
            events,
            events_lost: 0,
            trace,
        })
    }

    /// Writes a fact down. A full disk loses lines, not the server.
    pub(super) fn write(&mut self, fact: &Fact, now: Instant, utc: UtcTime) {
        if let Fact::Event(event) = fact {
            let written = self.events.write(event, utc);
            self.count_lost(written);
        }
        if let Some(Trace { lines, .. }) = &mut self.trace {
            let traced = Traced { at: now, fact };
            serde_json::to_writer(&mut *lines, &traced).expect("a fact is plain data");
            lines.push(b'\n');
        }
        log(fact);
    }

    /// Brings the trace to disk.
    pub(super) fn flush(&mut self) {
        if let Some(Trace { file, lines }) = &mut self.trace
            && !lines.is_empty()
        {
            file.write(lines);
            lines.clear();
        }
    }

    fn count_lost(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) if self.events_lost > 0 => {
                let lost = self.events_lost;
                tracing::warn!(lost, "events are logged again, after some were lost");
                self.events_lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.events_lost == 0 {
                    tracing::warn!(%error, "events are lost");
                }
                self.events_lost += 1;
            }
        }
    }
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
            causes,
            recycled,
            restarted,
        } => {
            tracing::info!(
                changes,
                ?causes,
                ?recycled,
                ?restarted,
                "configuration changed"
            );
        }
        Fact::PoolState { pool, state } => tracing::info!(%pool, %state, "application pool"),
    }
}
