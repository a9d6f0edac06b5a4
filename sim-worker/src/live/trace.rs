//! The worker's facts, one JSON object a line, in `w3wp-<pid>.jsonl`.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::Traced;

use crate::facts::Fact;

/// The trace, if one is wanted. A disk that is full ends the trace, not the worker.
#[derive(Debug)]
pub(super) struct Trace {
    file: Option<BufWriter<File>>,
}

impl Trace {
    pub(super) fn open(directory: Option<&Path>, process: ProcessId) -> Self {
        let create = |directory: &Path| {
            std::fs::create_dir_all(directory)?;
            File::create(directory.join(format!("w3wp-{}.jsonl", process.0)))
        };
        let file = directory.and_then(|directory| {
            let file = create(directory);
            file.inspect_err(
                |error| tracing::warn!(%error, folder = %directory.display(), "there is no trace"),
            )
            .ok()
        });
        Self {
            file: file.map(|file| BufWriter::with_capacity(256 << 10, file)),
        }
    }

    pub(super) fn write(&mut self, at: Instant, fact: Fact) {
        let Some(file) = &mut self.file else { return };
        let written =
            serde_json::to_writer(&mut *file, &Traced { at, fact }).map_err(io::Error::from);
        let written = written.and_then(|()| file.write_all(b"\n"));
        self.check(written);
    }

    /// What was stated must be on its way before anybody can see its consequences.
    pub(super) fn flush(&mut self) {
        if let Some(file) = &mut self.file {
            let flushed = file.flush();
            self.check(flushed);
        }
    }

    fn check(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            tracing::warn!(%error, "the trace ends here");
            self.file = None;
        }
    }
}
