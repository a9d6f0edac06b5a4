//! What an application is made from: its `bin` and its `App_…` folders, `Global.asax`, and here its `simulation.toml`.
//!
//! Source: .NET reference source, `FileChangesManager`: these are watched in the root of an application, the
//! folders with everything below them, and a change is the end of the domain.
//! Left out: there, a folder of any name that goes or is renamed restarts its application, too.
//! Assumed: a file has changed if its size or the time of its last change is another.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::application::FILE_NAME;

/// The folders, in the root of an application.
const FOLDERS: [&str; 5] = [
    "bin",
    "App_Code",
    "App_Browsers",
    "App_GlobalResources",
    "App_WebReferences",
];
/// The files, there. `simulation.toml` stands for what is compiled into `bin`.
const FILES: [&str; 2] = ["Global.asax", FILE_NAME];
/// So many files and folders are watched. Assumed: nobody deploys more code than that.
const ENTRIES_MAX: usize = 10_000;

/// When something was changed last.
type Changed = (i64, i64);

/// The code of an application, as it was seen.
#[derive(Debug)]
pub(super) struct Code {
    root: PathBuf,
    /// The root and the folders with code; what a folder has that has not changed is known.
    folders: BTreeMap<PathBuf, Option<Changed>>,
    /// Files with size and time; folders without.
    entries: Entries,
    /// The folders were searched when none had changed since the last look: what came within the same tick of
    /// the clock was seen.
    settled: bool,
}

type Entries = BTreeMap<PathBuf, Option<(u64, Changed)>>;

impl Code {
    /// The code below a root, as it is now.
    pub(super) fn of(root: &Path) -> Self {
        let entries = entries(root);
        Self {
            folders: folders(root, &entries),
            entries,
            root: root.to_owned(),
            settled: false,
        }
    }

    /// Whether something has come, gone or changed.
    pub(super) fn has_changed(&mut self) -> bool {
        let is_same = |(folder, changed): (&PathBuf, &Option<Changed>)| {
            *changed == fs::metadata(folder).ok().as_ref().map(changed_at)
        };
        let are_same = self.folders.iter().all(is_same);
        let is_same = |(path, seen): (&PathBuf, &Option<_>)| {
            seen.is_none() || *seen == fs::metadata(path).ok().as_ref().map(stamp)
        };
        if are_same && self.settled && self.entries.iter().all(is_same) {
            return false;
        }
        let entries = entries(&self.root);
        let has_changed = entries != self.entries;
        let folders = folders(&self.root, &entries);
        // What came while they were searched may not have been seen.
        self.settled = are_same && folders == self.folders;
        self.folders = folders;
        self.entries = entries;
        has_changed
    }
}

fn changed_at(seen: &Metadata) -> Changed {
    (seen.mtime(), seen.mtime_nsec())
}

fn stamp(seen: &Metadata) -> (u64, Changed) {
    (seen.len(), changed_at(seen))
}

fn folders(root: &Path, entries: &Entries) -> BTreeMap<PathBuf, Option<Changed>> {
    let below = entries.iter().filter(|(_, seen)| seen.is_none());
    let all = below.map(|(path, _)| path.as_path()).chain([root]);
    all.map(|path| {
        (
            path.to_owned(),
            fs::metadata(path).ok().as_ref().map(changed_at),
        )
    })
    .collect()
}

fn entries(root: &Path) -> Entries {
    let mut found = Entries::new();
    let mut folders = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        let is_file = FILES.into_iter().any(is);
        if !is_file && !FOLDERS.into_iter().any(is) {
            continue;
        }
        // Also what a link leads to.
        let Ok(seen) = fs::metadata(entry.path()) else {
            continue;
        };
        if is_file && !seen.is_dir() {
            found.insert(entry.path(), Some(stamp(&seen)));
        } else if !is_file && seen.is_dir() {
            found.insert(entry.path(), None);
            folders.push(entry.path());
        }
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if found.len() >= ENTRIES_MAX {
                return found;
            }
            // A link to a folder may lead in a circle, and counts as a file.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.insert(entry.path(), None);
                folders.push(entry.path());
            } else if let Ok(seen) = fs::metadata(entry.path()) {
                found.insert(entry.path(), Some(stamp(&seen)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Timespec, Timestamps, futimens};

    use super::*;

    #[test]
    fn code_that_comes_changes_and_goes_is_noticed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let epoch = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let long_ago = Timestamps {
            last_access: epoch,
            last_modification: epoch,
        };
        let path = |path: &str| root.path().join(path);
        let mut code = Code::of(root.path());
        let mut told = || {
            let look = |code: &mut Code| (0..3).filter(|_| code.has_changed()).count();
            let changes = look(&mut code);
            // Lest the next change comes within the same tick.
            for folder in code.folders.keys() {
                let folder = fs::File::open(folder).unwrap();
                futimens(folder, &long_ago).unwrap();
            }
            assert!(changes < 2 && look(&mut code) == 0 && code.settled);
            changes == 1
        };
        assert!(!told());
        fs::create_dir_all(path("images/bin")).unwrap();
        fs::write(path("images/bin/a.dll"), "a").unwrap();
        fs::write(path("page.aspx"), "a").unwrap();
        assert!(!told(), "not in the root, or no code");
        fs::write(path("global.ASAX"), "a").unwrap();
        assert!(told());
        fs::create_dir(path("Bin")).unwrap();
        assert!(told());
        fs::write(path("Bin/a.dll"), "a").unwrap();
        assert!(told());
        fs::write(path("Bin/a.dll"), "ab").unwrap();
        assert!(told());
        fs::create_dir_all(path("app_code/deep")).unwrap();
        assert!(told());
        fs::write(path("app_code/deep/a.cs"), "a").unwrap();
        assert!(told());
        fs::rename(path("app_code/deep/a.cs"), path("app_code/deep/b.cs")).unwrap();
        assert!(told());
        fs::rename(path("app_code"), path("code")).unwrap();
        assert!(told());
        fs::write(path("code/deep/b.cs"), "abc").unwrap();
        assert!(!told(), "it is no code any more");
        fs::remove_file(path("Bin/a.dll")).unwrap();
        assert!(told());
        fs::remove_file(path("global.ASAX")).unwrap();
        assert!(told());
        fs::write(path("simulation.toml"), "").unwrap();
        assert!(told());
    }
}
