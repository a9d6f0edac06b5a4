//! The facts of a virtual trial as files, one JSON object a line, named and shaped as those of a live one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use crate::measure::Observation;

/// Writes `httpsys.jsonl`, `was.jsonl` and a `w3wp-PID.jsonl` for each worker into a folder; what an
/// earlier trial has left there goes.
pub fn write(folder: &Path, observation: &Observation) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let httpsys = observation.httpsys.as_deref().unwrap_or_default();
    lines(&folder.join("httpsys.jsonl"), httpsys)?;
    let was = observation.was.as_deref().unwrap_or_default();
    lines(&folder.join("was.jsonl"), was)?;
    for (process, facts) in observation.workers.iter().flatten() {
        lines(&folder.join(format!("w3wp-{}.jsonl", process.0)), facts)?;
    }
    Ok(())
}

fn lines<F: Serialize>(path: &Path, facts: &[F]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for fact in facts {
        serde_json::to_writer(&mut file, fact)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
