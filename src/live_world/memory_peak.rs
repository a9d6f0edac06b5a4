//! The most memory that a server's workers hold together, while an operation is performed and watched.
//!
//! Two workers may overlap for a few milliseconds only, so a thread looks often. What is shorter than its pause can
//! still be missed: the figure is the most that was seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sim_httpsys::live::clock::clock_now;

use super::processes::{children, resident_bytes};

/// From one look to the next.
/// Assumed: a worker that starts and one that drains overlap for longer.
const PAUSE: Duration = Duration::from_millis(5);
/// So many times longer than a look takes is the pause behind it, up to [`PAUSE_MAX`]: looking at a thousand workers
/// takes long, and is not to be felt by those that are measured.
const PAUSE_PER_LOOK: u32 = 100;
/// A look that somebody else has interrupted takes long, too.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Looks until it is dropped.
#[derive(Debug)]
pub(super) struct MemoryPeak {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    was: AtomicU32,
    peak: AtomicU64,
    is_over: AtomicBool,
}

impl MemoryPeak {
    /// Begins to look at the workers of that process of WAS. What they hold by now counts, what they held before does
    /// not.
    pub(super) fn watch(was: u32) -> Self {
        let shared = Arc::new(Shared {
            was: AtomicU32::new(was),
            peak: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        shared.look();
        let looking = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while !looking.is_over.load(Ordering::Relaxed) {
                let begun = clock_now();
                looking.look();
                let took = clock_now() - begun;
                thread::park_timeout((took * PAUSE_PER_LOOK).clamp(PAUSE, PAUSE_MAX));
            }
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// Another process is WAS now.
    pub(super) fn follow(&self, was: u32) {
        self.shared.was.store(was, Ordering::Relaxed);
    }

    /// The most that was seen so far, bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.look();
        self.shared.peak.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn look(&self) {
        let workers = children(self.was.load(Ordering::Relaxed));
        let held = resident_bytes(&workers);
        self.peak.fetch_max(held, Ordering::Relaxed);
    }
}

impl Drop for MemoryPeak {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_a_child_held_for_a_moment_is_seen() {
        let mut shell = Command::new("sh")
            .args([
                "-c",
                "head -c 30000000 /dev/zero | tail -c 29999999; read x",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let peak = MemoryPeak::watch(shell.id());
        // It writes what it holds for as long as that is read.
        let mut written = shell.stdout.take().unwrap().take(29_999_999);
        std::io::copy(&mut written, &mut std::io::sink()).unwrap();
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(peak.bytes() > 25_000_000, "{}", peak.bytes());
    }
}
