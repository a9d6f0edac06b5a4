//! Whoever changes a file of the configuration reads it, changes it and puts it in its place: one at a time.
//!
//! What is locked is the folder of the file, so that nothing lies beside it, and the kernel unlocks it when its
//! process ends, however that is. IIS's tools lock the file itself; here it is replaced as a whole.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sim_httpsys::live::clock::clock_now;

/// How long to wait before looking again.
const STEP: Duration = Duration::from_millis(2);

/// A file of the configuration is being changed, until this is dropped.
#[derive(Debug)]
pub struct ConfigLock {
    _folder: File,
}

impl ConfigLock {
    /// Waits until nobody else changes a file. `None` if that lasts longer, or a folder cannot be locked.
    ///
    /// Assumed: then the change is made nevertheless. Whoever takes so long for one stands still, and must not hold
    /// up everybody else.
    pub fn take(path: &Path, patience: Duration) -> Option<Self> {
        let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = File::open(file.parent()?).ok()?;
        let begun = clock_now();
        loop {
            match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(Self { _folder: folder }),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR)
                    if clock_now() - begun < patience =>
                {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "the kernel tells nobody when a lock is free within some time"
                    )]
                    std::thread::sleep(STEP);
                }
                Err(_) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_changes_a_file_and_one_who_stands_still_does_not_hold_up_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("applicationHost.config");
        let one = ConfigLock::take(&path, Duration::ZERO);
        assert!(one.is_some());
        assert!(ConfigLock::take(&path, STEP * 3).is_none());
        drop(one);
        assert!(ConfigLock::take(&path, Duration::ZERO).is_some());
    }
}
