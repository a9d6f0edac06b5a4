//! The folders below a virtual directory, any of which may have a web.config.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// So many of them are looked at, and so many levels down.
/// Assumed: IIS looks on the way to the file that is asked for, whatever there is beside it; a tree that is larger
/// than this is content that nobody configures folder by folder, and would use up the machine's watches.
const FOLDERS_MAX: usize = 2_000;
const DEPTH_MAX: usize = 12;

/// One of them.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ContentFolder {
    pub(super) path: PathBuf,
    /// Its web.config, whatever the case of its name; or where one may be, if nobody may look.
    pub(super) web_config: Option<PathBuf>,
}

/// Those below a folder, outer ones first, without it; links are not followed.
pub(super) fn below(root: &Path) -> Vec<ContentFolder> {
    let mut found = Vec::new();
    let mut level = folders_in(root);
    for _ in 0..DEPTH_MAX {
        let mut next = Vec::new();
        level.sort();
        for path in level {
            if found.len() == FOLDERS_MAX {
                return found;
            }
            let web_config = web_config_in(&path);
            next.extend(folders_in(&path));
            found.push(ContentFolder { path, web_config });
        }
        level = next;
    }
    found
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let entries = entries.filter_map(Result::ok);
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries
        .filter(is_folder)
        .map(|entry| entry.path())
        .collect()
}

/// The one in a folder; one that may not be looked into may have one.
fn web_config_in(folder: &Path) -> Option<PathBuf> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Some(folder.join("web.config"));
        }
        entries => entries.into_iter().flatten(),
    };
    let names = entries.filter_map(Result::ok);
    let is_it = |entry: &fs::DirEntry| entry.file_name().eq_ignore_ascii_case("web.config");
    names.filter(is_it).map(|entry| entry.path()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_found_from_the_outside_in_with_their_files_and_not_behind_links() {
        let root = tempfile::tempdir().unwrap();
        let path = |path: &str| root.path().join(path);
        fs::create_dir_all(path("b/c")).unwrap();
        fs::create_dir_all(path("a")).unwrap();
        fs::write(path("b/c/Web.Config"), "").unwrap();
        fs::write(path("web.config"), "").unwrap();
        std::os::unix::fs::symlink(root.path(), path("a/round")).unwrap();
        let found = below(root.path());
        let paths: Vec<_> = found.iter().map(|folder| folder.path.clone()).collect();
        assert_eq!(paths, [path("a"), path("b"), path("b/c")]);
        let files: Vec<_> = found.into_iter().filter_map(|f| f.web_config).collect();
        assert_eq!(files, [path("b/c/Web.Config")]);
    }
}
