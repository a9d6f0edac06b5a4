//! Which folders are watched, and what an event in one of them means.
//!
//! ```text
//!   ROOT ─ inetpub ─ wwwroot ─ web.config
//!     │       │         └ wanted: its web.config counts
//!     │       └ on the way: `wwwroot` coming or going counts
//!     └ on the way: `inetpub` coming or going counts
//! ```
//!
//! What does not exist is not watched; what is above it is, and tells when it is made. Outside of the root
//! only the folder itself and the nearest one above that exists are watched: what else happens on this machine
//! is not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};

use super::super::content_folders;

/// Names of files that are part of the configuration, besides the one that the server was given.
const NAMES: [&str; 2] = ["web.config", "machine.config"];

/// Links that are followed at most, so that those that lead round in circles end.
const LINKS_MAX: usize = 1_000;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing that matters.
    None,
    /// A file of the configuration.
    File,
    /// A folder that is watched, or one on the way to it: all have to be armed anew.
    Folders,
    /// A folder below a watched one: all have to be armed anew, and it matters if it has a file of the
    /// configuration.
    Tree,
}

/// The watches as they are.
#[derive(Debug)]
pub(super) struct Armed {
    /// applicationHost.config.
    file: PathBuf,
    root: PathBuf,
    wanted: BTreeSet<PathBuf>,
    /// Folders below which every one counts.
    trees: BTreeSet<PathBuf>,
    /// The web.config files below them.
    web_configs: BTreeSet<PathBuf>,
    watches: BTreeMap<i32, Folder>,
}

/// What counts in a folder.
#[derive(Debug, Default)]
struct Folder {
    /// Files of the configuration.
    is_wanted: bool,
    /// Every folder that comes or goes.
    is_tree: bool,
    /// The next folders on the way to a wanted one.
    next: BTreeSet<String>,
}

impl Armed {
    pub(super) fn new(file: PathBuf, root: PathBuf) -> Self {
        Self {
            file,
            root,
            wanted: BTreeSet::new(),
            trees: BTreeSet::new(),
            web_configs: BTreeSet::new(),
            watches: BTreeMap::new(),
        }
    }

    /// Watches these folders, that of the configuration itself, and all below `trees`.
    pub(super) fn want(&mut self, folders: Vec<PathBuf>, trees: Vec<PathBuf>, inotify: &OwnedFd) {
        self.wanted = folders.into_iter().collect();
        self.trees = trees.into_iter().collect();
        self.wanted.extend(self.file.parent().map(Path::to_owned));
        self.arm(inotify);
    }

    /// Watches what exists of the wanted folders and of what is above and below them. True if a web.config
    /// below them has come or gone.
    pub(super) fn arm(&mut self, inotify: &OwnedFd) -> bool {
        let mut watches = BTreeMap::<i32, Folder>::new();
        let (plan, web_configs) = self.plan();
        for (path, folder) in plan {
            match inotify::add_watch(inotify, &path, flags(&folder)) {
                Ok(watch) => {
                    // Two paths may lead to one folder.
                    let known = watches.entry(watch).or_default();
                    known.is_wanted |= folder.is_wanted;
                    known.is_tree |= folder.is_tree;
                    known.next.extend(folder.next);
                    if let Err(error) = inotify::add_watch(inotify, &path, flags(known)) {
                        tracing::debug!(folder = %path.display(), %error, "folder not watched");
                    }
                }
                Err(error) => {
                    tracing::debug!(folder = %path.display(), %error, "folder not watched");
                }
            }
        }
        for gone in self.watches.keys().filter(|old| !watches.contains_key(old)) {
            // It may be gone by itself.
            let _ = inotify::remove_watch(inotify, *gone);
        }
        self.watches = watches;
        let is_news = self.web_configs != web_configs;
        self.web_configs = web_configs;
        is_news
    }

    /// What is to be watched, and what counts there; what is above comes first, so that nothing is made
    /// unseen between two watches.
    fn plan(&self) -> (BTreeMap<PathBuf, Folder>, BTreeSet<PathBuf>) {
        let mut plan = BTreeMap::<PathBuf, Folder>::new();
        let mut wanted: Vec<PathBuf> = self.wanted.iter().cloned().collect();
        let mut links = 0;
        while let Some(path) = wanted.pop() {
            let folder = plan.entry(path.clone()).or_default();
            if std::mem::replace(&mut folder.is_wanted, true) {
                continue;
            }
            let mut below = path.as_path();
            loop {
                // What a link leads to comes and goes, too.
                if links < LINKS_MAX
                    && let Some(target) = linked(&path, below)
                {
                    links += 1;
                    wanted.push(target);
                }
                let above = below.parent().filter(|_| below != self.root);
                let (Some(above), Some(name)) = (above, below.file_name()) else {
                    break;
                };
                let folder = plan.entry(above.to_owned()).or_default();
                folder.next.insert(name.to_string_lossy().into_owned());
                let is_enough = !above.starts_with(&self.root) && above.is_dir();
                if is_enough {
                    break;
                }
                below = above;
            }
        }
        let mut web_configs = BTreeSet::new();
        for tree in &self.trees {
            plan.entry(tree.clone()).or_default().is_tree = true;
            for folder in content_folders::below(tree) {
                let planned = plan.entry(folder.path).or_default();
                (planned.is_wanted, planned.is_tree) = (true, true);
                web_configs.extend(folder.web_config);
            }
        }
        (plan, web_configs)
    }

    /// What an event is about.
    pub(super) fn news_of(&self, watch: i32, name: Option<&str>, events: ReadFlags) -> News {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            return News::Folders;
        }
        let Some(folder) = self.watches.get(&watch) else {
            return News::None;
        };
        let itself = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
        if events.intersects(itself) {
            return News::Folders;
        }
        let Some(name) = name else { return News::None };
        let moved =
            ReadFlags::CREATE | ReadFlags::DELETE | ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO;
        // Somebody may look into it who might not, or the other way round.
        let permitted = events.contains(ReadFlags::ATTRIB);
        if (events.intersects(moved) || permitted) && folder.next.contains(name) {
            return News::Folders;
        }
        let own = self.file.file_name().map(|own| own.to_string_lossy());
        let is_own = own.is_some_and(|own| own.eq_ignore_ascii_case(name));
        let is_file = is_own || NAMES.iter().any(|file| file.eq_ignore_ascii_case(name));
        if events.contains(ReadFlags::ISDIR) && folder.is_tree {
            if permitted || (is_file && events.intersects(moved)) {
                return News::Folders;
            }
            if events.intersects(moved) {
                return News::Tree;
            }
        }
        if folder.is_wanted && is_file {
            News::File
        } else {
            News::None
        }
    }
}

/// Where a path leads if the part of it up to `link` is a link.
fn linked(path: &Path, link: &Path) -> Option<PathBuf> {
    let target = std::fs::read_link(link).ok()?;
    let rest = path.strip_prefix(link).ok()?;
    Some(link.parent()?.join(target).join(rest))
}

fn flags(folder: &Folder) -> WatchFlags {
    let come_and_go = WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ATTRIB
        | WatchFlags::ONLYDIR;
    if folder.is_wanted {
        come_and_go | WatchFlags::CLOSE_WRITE | WatchFlags::MODIFY
    } else {
        come_and_go
    }
}
