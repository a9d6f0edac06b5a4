//! The trace: every fact, one JSON object a line.
//!
//! It is written at the end of a turn, before anything is sent: what a client has seen, the trace
//! knows, even if the driver is killed in the next moment.

use std::io;
use std::path::Path;

use super::line_file::LineFile;
use crate::clockwork::Instant;
use crate::etw::{Fact, Traced};

/// The trace file.
#[derive(Debug)]
pub(super) struct Trace {
    file: LineFile,
    buffer: Vec<u8>,
}

impl Trace {
    /// Opens `folder/httpsys.jsonl`, at its end if it exists.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            file: LineFile::open(&folder.join("httpsys.jsonl"))?,
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
        self.file.write(&self.buffer);
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
        let text = std::fs::read_to_string(folder.path().join("httpsys.jsonl")).unwrap();
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
