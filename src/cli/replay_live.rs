//! `iis-sim replay DIR`: hand the recordings of a live run to the same models again.

use std::path::Path;

use crate::live_world::recordings::{ReplayError, ReplayedProgram, find, replay};

/// Why a folder could not be replayed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayLiveError {
    /// It cannot be looked through.
    #[error("{0}: {1}")]
    Folder(String, #[source] std::io::Error),
    /// There is nothing in it.
    #[error(
        "{0}: no recording (*.tape) in it; `iis-sim up --record` and `iis-sim compare --out DIR \
             --record-inputs` make some"
    )]
    Nothing(String),
    /// A recording.
    #[error(transparent)]
    Recording(#[from] ReplayError),
}

/// Replays everything below a folder; gives how many programs differ.
pub(super) fn run(folder: &Path) -> Result<usize, ReplayLiveError> {
    let name = || folder.display().to_string();
    let paths = find(folder).map_err(|error| ReplayLiveError::Folder(name(), error))?;
    if paths.is_empty() {
        return Err(ReplayLiveError::Nothing(name()));
    }
    let mut differing = 0;
    for path in &paths {
        let program = replay(path)?;
        differing += usize::from(program.replayed.difference.is_some());
        tell(path.strip_prefix(folder).unwrap_or(path), &program);
    }
    println!(
        "{} recordings, {differing} of them decided otherwise this time",
        paths.len()
    );
    Ok(differing)
}

fn tell(path: &Path, program: &ReplayedProgram) {
    let replayed = &program.replayed;
    let verdict = if replayed.difference.is_none() {
        "the same"
    } else {
        "DIFFERS"
    };
    println!(
        "{}: {verdict}, {} inputs, {} outputs",
        path.display(),
        replayed.inputs,
        replayed.outputs
    );
    if replayed.is_cut {
        println!(
            "  its writer was killed: the last entry is cut and what was not yet written is missing"
        );
    }
    if let Some(difference) = &replayed.difference {
        println!("  {difference}");
    }
    if program.version != env!("CARGO_PKG_VERSION") {
        println!("  recorded by version {}", program.version);
    }
}
