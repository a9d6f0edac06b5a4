//! Files that are watched, and the code of their applications: once a second each is compared with how it was seen.
//!
//! A folder that has not changed has no new file, so that a file that is absent costs one look at its folder.
//! Absent on purpose: inotify, of which a user may have 128 instances, and a server has as many workers as
//! it likes.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use sim_httpsys::api::UrlContext;
use sim_httpsys::clockwork::Instant;

use super::code::Code;
use super::files::{self, Found};
use crate::model::{FileSeen, WorkId};

/// How often files are looked at.
/// Assumed: Windows tells of a change at once; a second of waiting is not missed by who puts a file there by hand.
const PERIOD: Duration = Duration::from_secs(1);

/// The files that are watched, one for an application.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watches: BTreeMap<UrlContext, Watch>,
    next: Option<Instant>,
}

/// A file that is watched.
#[derive(Debug)]
pub(super) struct Watch {
    work: WorkId,
    root: PathBuf,
    file: [String; 1],
    seen: FileSeen,
    folder: Folder,
    code: Code,
}

/// When a folder was changed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Folder {
    changed: Option<(i64, i64)>,
    /// It was searched a period after that, at least: what came within the same tick of the clock was seen.
    settled: bool,
}

impl Watches {
    /// Watches a file, in the place of the one that was watched for the same application.
    pub(super) fn begin(&mut self, application: UrlContext, watch: Watch, now: Instant) {
        self.watches.insert(application, watch);
        self.next.get_or_insert(now + PERIOD);
    }

    /// When to look.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.next
    }

    /// Looks, if it is time: the watches that are over.
    pub(super) fn look(&mut self, now: Instant) -> Vec<WorkId> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let over = self.watches.extract_if(.., |_, watch| watch.has_changed());
        let over = over.map(|(_, watch)| watch.work).collect();
        self.next = (!self.watches.is_empty()).then(|| now + PERIOD);
        over
    }
}

impl Watch {
    pub(super) fn new(work: WorkId, root: PathBuf, file: String, seen: FileSeen) -> Self {
        Self {
            work,
            code: Code::of(&root),
            root,
            file: [file],
            seen,
            folder: Folder::default(),
        }
    }

    fn has_changed(&mut self) -> bool {
        self.code.has_changed() || self.file_has_changed()
    }

    fn file_has_changed(&mut self) -> bool {
        if self.seen == FileSeen::Absent && !self.folder_has_changed() {
            return false;
        }
        let unless = match self.seen {
            FileSeen::Readable(stamp) => Some((0, stamp)),
            FileSeen::Absent | FileSeen::Unreadable => None,
        };
        let seen = match files::read(&self.root, &self.file, unless) {
            Found::Outcome(outcome) => outcome.seen(),
            Found::Large { stamp, .. } => Some(FileSeen::Readable(stamp)),
        };
        seen.is_some_and(|seen| seen != self.seen)
    }

    /// Whether a file may have come into the folder.
    fn folder_has_changed(&mut self) -> bool {
        let folder = std::fs::metadata(&self.root).ok();
        let changed = folder.map(|folder| (folder.mtime(), folder.mtime_nsec()));
        let is_same = changed == self.folder.changed;
        if is_same && self.folder.settled {
            return false;
        }
        self.folder = Folder {
            changed,
            settled: is_same,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::FileOutcome;

    #[test]
    fn a_file_that_comes_changes_and_goes_is_noticed_each_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("App_Offline.htm");
        let file = || "app_offline.htm".to_owned();
        let watch = |seen| Watch::new(WorkId(1), root.path().to_owned(), file(), seen);
        let mut absent = watch(FileSeen::Absent);
        for _ in 0..4 {
            assert!(!absent.has_changed());
        }
        assert!(
            absent.folder.settled,
            "from now on only the folder is looked at"
        );
        fs::write(&path, "soon").unwrap();
        assert!(absent.has_changed());
        let outcome = match files::read(root.path(), &[file()], None) {
            Found::Outcome(outcome) => outcome,
            Found::Large { .. } => FileOutcome::TooLarge,
        };
        let mut there = watch(outcome.seen().unwrap());
        assert!(!there.has_changed());
        fs::write(&path, "later").unwrap();
        assert!(there.has_changed());
        fs::remove_file(&path).unwrap();
        assert!(there.has_changed());
    }

    #[test]
    fn files_are_looked_at_once_a_second_and_no_more_when_they_have_changed() {
        let root = tempfile::tempdir().unwrap();
        let mut watches = Watches::default();
        let second = |n: u64| Instant(n * 1_000_000_000);
        assert_eq!(watches.next_look(), None);
        let file = "a.htm".to_owned();
        let watch = Watch::new(WorkId(7), root.path().to_owned(), file, FileSeen::Absent);
        watches.begin(UrlContext(1), watch, second(1));
        fs::write(root.path().join("a.htm"), "").unwrap();
        assert_eq!(watches.look(second(1)), []);
        assert_eq!(watches.look(second(2)), [WorkId(7)]);
        assert_eq!(watches.next_look(), None);
    }
}
