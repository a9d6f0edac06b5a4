//! Watching the configuration: a change is told once the files have been still for a while, so that a
//! file that is half written is not acted on.
//!
//! Folders are watched, not files, because editors and tools replace files.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// How long files have to be still. Assumed: long enough for any editor between two writes.
const SETTLE: Duration = Duration::from_millis(200);
/// A change that goes on for longer is looked at nevertheless.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// Names of files that are part of the configuration, besides the one that the server was given.
const NAMES: [&str; 2] = ["web.config", "machine.config"];

/// The watched folders.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    inotify: Arc<OwnedFd>,
}

impl Watch {
    /// Begins to watch for changes of `file`, of web.config and of machine.config in the folders that
    /// are added; each is told through `changes`.
    pub(super) fn begin(file: &Path, changes: mpsc::Sender<()>) -> io::Result<Self> {
        let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
        let inotify = Arc::new(inotify::init(flags)?);
        let own = file
            .file_name()
            .map(|name| name.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for descriptors that may change; this one is owned"
        )]
        let waiting = AsyncFd::new(Arc::clone(&inotify))?;
        tokio::spawn(watch(waiting, own, changes));
        Ok(Self { inotify })
    }

    /// Watches a folder as well; one that is watched already stays so, one that does not exist is
    /// passed over.
    pub(super) fn add(&self, folder: &Path) {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        if let Err(error) = inotify::add_watch(&*self.inotify, folder, flags) {
            tracing::debug!(folder = %folder.display(), %error, "folder not watched");
        }
    }
}

async fn watch(inotify: AsyncFd<Arc<OwnedFd>>, own: String, changes: mpsc::Sender<()>) {
    loop {
        let Ok(mut relevant) = news(&inotify, &own).await else {
            return;
        };
        if !relevant {
            continue;
        }
        let began = Instant::now();
        while relevant && began.elapsed() < SETTLE_MAX {
            relevant = match timeout(SETTLE, news(&inotify, &own)).await {
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
async fn news(inotify: &AsyncFd<Arc<OwnedFd>>, own: &str) -> io::Result<bool> {
    let mut guard = inotify.readable().await?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut reader = inotify::Reader::new(&**inotify.get_ref(), &mut buffer);
    let mut relevant = false;
    loop {
        match reader.next() {
            Ok(event) => {
                let name = event
                    .file_name()
                    .map(|name| name.to_string_lossy().to_lowercase());
                let overflowed = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                relevant |= overflowed
                    || name.is_some_and(|name| name == own || NAMES.contains(&name.as_str()));
            }
            Err(rustix::io::Errno::AGAIN) => {
                guard.clear_ready();
                return Ok(relevant);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
