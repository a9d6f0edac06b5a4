//! The facts of a virtual trial as files, one JSON object a line, named and shaped as those of a live one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use crate::measure::Observation;

/// Writes `httpsys.jsonl`, `was.jsonl` and a `w3wp-PID.jsonl` for each worker into a folder, which is made.
pub fn write(folder: &Path, observation: &Observation) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let none = Vec::new();
    lines(
        &folder.join("httpsys.jsonl"),
        observation.httpsys.as_ref().unwrap_or(&none),
    )?;
    let none = Vec::new();
    lines(
        &folder.join("was.jsonl"),
        observation.was.as_ref().unwrap_or(&none),
    )?;
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
