//! Recordings of live runs, handed to the same models again: the same inputs at the same times must give
//! the same outputs, or a model depends on something that it should not know.

use std::io;
use std::path::{Path, PathBuf};

use sim_httpsys::model::HttpSys;
use sim_httpsys::recording::{EXTENSION, Recording, RecordingError, Replayed};
use sim_was::model::Was;
use sim_worker::model::WorkerProcess;

/// Folders below each other that are looked through: a trial's recordings are three below its comparison.
const DEPTH_MAX: u32 = 8;

/// What came of replaying a program's recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedProgram {
    /// `httpsys`, `was` or `w3wp`.
    pub program: String,
    /// The process that was recorded.
    pub process: u32,
    /// The version of iis-sim that it was.
    pub version: String,
    /// What came of it.
    pub replayed: Replayed,
}

/// Why a recording could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// It is of a program that does not exist.
    #[error("{}: recorded by a program {program:?}; known are httpsys, was and w3wp", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// What its first line says.
        program: String,
    },
}

/// Every recording in a folder and below it, by name.
pub fn find(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(folder, DEPTH_MAX, &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // A link could lead round in circles; it is no folder here.
        if entry.file_type()?.is_dir() {
            if depth > 0 {
                collect(&path, depth - 1, found)?;
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == EXTENSION)
        {
            found.push(path);
        }
    }
    Ok(())
}

/// Replays a recording.
pub fn replay(path: &Path) -> Result<ReplayedProgram, ReplayError> {
    let recording = Recording::read(path)?;
    let header = recording.header::<serde_json::Value>()?;
    let replayed = match header.program.as_str() {
        "httpsys" => {
            let setup: sim_httpsys::model::MachineSetup = recording.header()?.setup;
            recording.replay(&mut HttpSys::new(setup.parameters, setup.clock))?
        }
        "was" => recording.replay(&mut Was::new(recording.header()?.setup))?,
        "w3wp" => {
            let setup: sim_worker::model::MachineSetup = recording.header()?.setup;
            let mut worker =
                WorkerProcess::new(setup.configuration, setup.process, setup.clock, setup.begun);
            recording.replay(&mut worker)?
        }
        _ => {
            return Err(ReplayError::Program {
                path: path.to_owned(),
                program: header.program,
            });
        }
    };
    Ok(ReplayedProgram {
        program: header.program,
        process: header.process,
        version: header.version,
        replayed,
    })
}
