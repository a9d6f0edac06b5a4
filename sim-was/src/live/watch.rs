//! Watching the configuration: a change is told once the files have been still for a while, so that a
//! file that is half written is not acted on.
//!
//! Folders are watched, not files, because editors and tools replace files. Folders are replaced too, and
//! made after they were named: so what is above them is watched as well ([`folders`]), and whenever something on
//! the way to one of them comes or goes, all are armed anew ([`folders::Armed`]).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use folders::{Armed, News};

mod folders;

/// How long files have to be still. Assumed: long enough for any editor between two writes.
pub(super) const SETTLE: Duration = Duration::from_millis(200);
/// A change that goes on for longer is looked at nevertheless.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// The watched folders.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    inotify: Arc<OwnedFd>,
    armed: Arc<Mutex<Armed>>,
}

impl Watch {
    /// Begins to watch for changes of `file`, and of web.config and machine.config in the folders that
    /// it is given; each is told through `changes`. What is above a folder is watched down from `root`.
    pub(super) fn begin(file: &Path, root: &Path, changes: mpsc::Sender<()>) -> io::Result<Self> {
        let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
        let inotify = Arc::new(inotify::init(flags)?);
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for descriptors that may change; this one is owned"
        )]
        let waiting = AsyncFd::new(Arc::clone(&inotify))?;
        let armed = Armed::new(file.to_owned(), root.to_owned());
        let watch = Self {
            inotify,
            armed: Arc::new(Mutex::new(armed)),
        };
        watch.folders(Vec::new(), Vec::new());
        tokio::spawn(follow(waiting, watch.clone(), changes));
        Ok(watch)
    }

    /// Watches these folders from now on, whether or not they exist, and all folders below `trees`.
    pub(super) fn folders(&self, folders: Vec<PathBuf>, trees: Vec<PathBuf>) {
        self.with_armed(|armed| armed.want(folders, trees, &self.inotify));
    }

    fn with_armed<T>(&self, act: impl FnOnce(&mut Armed) -> T) -> T {
        act(&mut self.armed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn follow(inotify: AsyncFd<Arc<OwnedFd>>, watch: Watch, changes: mpsc::Sender<()>) {
    loop {
        let Ok(mut relevant) = news(&inotify, &watch).await else {
            return;
        };
        if !relevant {
            continue;
        }
        let began = Instant::now();
        while relevant && began.elapsed() < SETTLE_MAX {
            relevant = match timeout(SETTLE, news(&inotify, &watch)).await {
                Ok(Ok(more)) => more || began.elapsed() < SETTLE,
                Ok(Err(_)) => return,
                Err(_) => false,
            };
        }
        if changes.send(()).await.is_err() {
            return;
        }
    }
}

/// Waits for events: whether one of them is about the configuration.
async fn news(inotify: &AsyncFd<Arc<OwnedFd>>, watch: &Watch) -> io::Result<bool> {
    let mut guard = inotify.readable().await?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut reader = inotify::Reader::new(&**inotify.get_ref(), &mut buffer);
    let (mut relevant, mut moved) = (false, false);
    loop {
        match reader.next() {
            Ok(event) => {
                let name = event.file_name().map(|name| name.to_string_lossy());
                let news = watch
                    .with_armed(|armed| armed.news_of(event.wd(), name.as_deref(), event.events()));
                relevant |= matches!(news, News::File | News::Folders);
                moved |= matches!(news, News::Folders | News::Tree);
            }
            Err(rustix::io::Errno::AGAIN) => {
                guard.clear_ready();
                if moved {
                    relevant |= watch.with_armed(|armed| armed.arm(&watch.inotify));
                }
                return Ok(relevant);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A root with a configuration, and one folder that is to be watched.
    struct Bench {
        root: tempfile::TempDir,
        _watch: Watch,
        changes: mpsc::Receiver<()>,
    }

    impl Bench {
        fn of(folder: &str, made: bool) -> Self {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().to_owned();
            if made {
                fs::create_dir_all(path.join(folder)).unwrap();
            }
            let (sender, changes) = mpsc::channel(1);
            let watch = Watch::begin(&path.join("host.config"), &path, sender).unwrap();
            watch.folders(vec![path.join(folder)], vec![path.join(folder)]);
            Self {
                root,
                _watch: watch,
                changes,
            }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        /// Whether a change is told.
        async fn is_told(&mut self) -> bool {
            timeout(Duration::from_secs(2), self.changes.recv())
                .await
                .is_ok()
        }

        /// Whether nothing is told for a while.
        async fn is_quiet(&mut self) -> bool {
            timeout(SETTLE * 3, self.changes.recv()).await.is_err()
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_made_later_is_watched() {
        let mut bench = Bench::of("apps/new", false);
        fs::create_dir_all(bench.path("apps/new")).unwrap();
        assert!(bench.is_told().await, "the folder is there");
        fs::write(bench.path("apps/new/web.config"), "<x/>").unwrap();
        assert!(bench.is_told().await, "and so is its file");
        fs::write(bench.path("apps/new/page.htm"), "x").unwrap();
        fs::write(bench.path("apps/page.htm"), "x").unwrap();
        fs::create_dir(bench.path("apps/new/images")).unwrap();
        assert!(bench.is_quiet().await, "other files are nobody's business");
    }

    #[tokio::test]
    async fn what_a_folder_below_says_counts_as_soon_as_it_is_there() {
        let mut bench = Bench::of("www", true);
        fs::create_dir_all(bench.path("www/a/b")).unwrap();
        assert!(bench.is_quiet().await, "it says nothing");
        fs::write(bench.path("www/a/b/web.config"), "<x/>").unwrap();
        assert!(bench.is_told().await);
        fs::create_dir(bench.path("www/web.config")).unwrap();
        assert!(bench.is_told().await, "a folder in the place of the file");
        fs::create_dir_all(bench.path("next/c")).unwrap();
        fs::write(bench.path("next/c/web.config"), "<x/>").unwrap();
        assert!(bench.is_quiet().await, "it is elsewhere");
        fs::rename(bench.path("next"), bench.path("www/next")).unwrap();
        assert!(bench.is_told().await, "a folder that brings one");
        fs::remove_dir_all(bench.path("www/a")).unwrap();
        assert!(bench.is_told().await, "a folder that takes one away");
    }

    #[tokio::test]
    async fn a_folder_that_is_deleted_and_made_again_is_watched() {
        let mut bench = Bench::of("www", true);
        fs::remove_dir_all(bench.path("www")).unwrap();
        assert!(bench.is_told().await);
        fs::create_dir(bench.path("www")).unwrap();
        assert!(bench.is_told().await);
        fs::write(bench.path("www/Web.config"), "<x/>").unwrap();
        assert!(bench.is_told().await);
    }

    #[tokio::test]
    async fn who_may_look_into_a_folder_is_news() {
        let mut bench = Bench::of("inetpub/www", true);
        fs::create_dir(bench.path("inetpub/www/a")).unwrap();
        fs::create_dir(bench.path("other")).unwrap();
        assert!(bench.is_quiet().await);
        for folder in ["inetpub", "inetpub/www", "inetpub/www/a"] {
            for mode in [0o700, 0o755] {
                fs::set_permissions(bench.path(folder), Permissions::from_mode(mode)).unwrap();
                assert!(bench.is_told().await, "{folder} {mode:o}");
            }
        }
        fs::set_permissions(bench.path("other"), Permissions::from_mode(0o700)).unwrap();
        assert!(bench.is_quiet().await, "it is elsewhere");
    }

    #[tokio::test]
    async fn folders_that_are_swapped_are_watched_and_the_old_one_no_more() {
        let mut bench = Bench::of("inetpub/www", true);
        fs::create_dir_all(bench.path("inetpub/next")).unwrap();
        fs::rename(bench.path("inetpub/www"), bench.path("inetpub/old")).unwrap();
        fs::rename(bench.path("inetpub/next"), bench.path("inetpub/www")).unwrap();
        assert!(bench.is_told().await);
        fs::write(bench.path("inetpub/old/web.config"), "<x/>").unwrap();
        assert!(bench.is_quiet().await);
        fs::write(bench.path("inetpub/www/web.config"), "<x/>").unwrap();
        assert!(bench.is_told().await);
        fs::rename(bench.path("inetpub"), bench.path("away")).unwrap();
        assert!(bench.is_told().await, "what is above it has gone");
    }

    #[tokio::test]
    async fn what_a_link_leads_to_is_watched_while_it_is_away() {
        let elsewhere = tempfile::tempdir().unwrap();
        let (real, away) = (elsewhere.path().join("real"), elsewhere.path().join("away"));
        fs::create_dir(&real).unwrap();
        let mut bench = Bench::of("apps/link", false);
        fs::create_dir(bench.path("apps")).unwrap();
        std::os::unix::fs::symlink(&real, bench.path("apps/link")).unwrap();
        assert!(bench.is_told().await);
        fs::rename(&real, &away).unwrap();
        assert!(bench.is_told().await, "it has gone");
        fs::rename(&away, &real).unwrap();
        assert!(bench.is_told().await, "it has come back");
        fs::write(real.join("web.config"), "<x/>").unwrap();
        assert!(bench.is_told().await);
    }
}
