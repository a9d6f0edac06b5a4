//! `iis-sim replay DIR`: hand the recordings of a live run to the same models again.

use std::path::Path;

use sim_httpsys::recording::RecordingError;

use crate::live_world::recordings::{ReplayError, ReplayedProgram, find, replay};
use crate::virtual_world::interruption;

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
}

/// What came of a folder.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Replays {
    /// How many programs decided otherwise.
    pub(super) differing: usize,
    /// How many of the others were recorded up to some place only.
    pub(super) without_end: usize,
    /// How many cannot be read.
    pub(super) unreadable: usize,
}

/// Replays everything below a folder, or what there is time for before an interruption.
pub(super) fn run(folder: &Path) -> Result<Replays, ReplayLiveError> {
    let name = || folder.display().to_string();
    let paths = find(folder).map_err(|error| ReplayLiveError::Folder(name(), error))?;
    if paths.is_empty() {
        return Err(ReplayLiveError::Nothing(name()));
    }
    let mut replays = Replays::default();
    for path in &paths {
        let work = path.clone();
        let Some(program) = interruption::unless_raised(move || replay(&work)) else {
            return Ok(replays);
        };
        match program {
            Ok(program) => {
                replays.differing += usize::from(program.replayed.difference.is_some());
                replays.without_end += usize::from(is_without_end(&program));
                tell(path.strip_prefix(folder).unwrap_or(path), &program);
            }
            Err(error @ ReplayError::Recording(RecordingError::Begun { .. })) => {
                replays.without_end += 1;
                println!("{error}: nothing of it is known");
            }
            Err(error) => {
                replays.unreadable += 1;
                eprintln!("iis-sim: {error}");
            }
        }
    }
    println!(
        "{} recordings, {} of them decided otherwise this time, {} end without their end, {} cannot be read",
        paths.len(),
        replays.differing,
        replays.without_end,
        replays.unreadable
    );
    Ok(replays)
}

/// Whether nothing differs up to a place where more should follow.
fn is_without_end(program: &ReplayedProgram) -> bool {
    program.replayed.difference.is_none() && !program.replayed.is_whole
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
    if is_without_end(program) {
        println!(
            "  it ends without its end: the process was killed or the file was cut; what came after is not known"
        );
    }
    if let Some(difference) = &replayed.difference {
        println!("  {difference}");
    }
    if program.version != env!("CARGO_PKG_VERSION") {
        println!("  recorded by version {}", program.version);
    }
}
