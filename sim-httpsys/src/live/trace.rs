//! The trace: every fact, one JSON object a line.
//!
//! It is written at the end of a turn, before anything is sent: what a client has seen, the trace
//! knows, even if the driver is killed in the next moment.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::clockwork::Instant;
use crate::etw::{Fact, Traced};

/// The trace file.
#[derive(Debug)]
pub(super) struct Trace {
    file: File,
    buffer: Vec<u8>,
}

impl Trace {
    /// Opens `folder/httpsys.jsonl`, at its end if it exists.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join("httpsys.jsonl");
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self {
            file,
            buffer: Vec::new(),
        })
    }

    pub(super) fn record(&mut self, at: Instant, fact: Fact) {
        serde_json::to_writer(&mut self.buffer, &Traced { at, fact })
            .expect("a fact is plain data");
        self.buffer.push(b'\n');
    }

    pub(super) fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if let Err(error) = self.file.write_all(&self.buffer) {
            tracing::warn!(%error, "facts are lost");
        }
        self.buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_fact_and_its_moment() {
        let folder = tempfile::tempdir().unwrap();
        let mut trace = Trace::open(folder.path()).unwrap();
        let fact = Fact::EndpointOpen { port: 80 };
        trace.record(Instant(7), fact.clone());
        trace.flush();
        let text = fs::read_to_string(folder.path().join("httpsys.jsonl")).unwrap();
        let line: Traced<Fact> = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(
            line,
            Traced {
                at: Instant(7),
                fact
            }
        );
    }
}
