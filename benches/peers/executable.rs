//! Where the programs are.

use std::path::{Path, PathBuf};

/// An executable on the PATH, or where distributions put servers.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// The iis-sim to measure: the one that was asked for, or the one that cargo built with this bench.
pub(crate) fn iis_sim(given: Option<&Path>) -> Option<PathBuf> {
    let built = option_env!("CARGO_BIN_EXE_iis-sim").map(PathBuf::from);
    given
        .map(Path::to_owned)
        .or(built)
        .filter(|path| path.is_file())
}
