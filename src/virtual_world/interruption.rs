//! Ctrl-C, as far as virtual time knows of it: a process has one, however many worlds it runs.
//!
//! It is raised from outside and never lowered. A world looks at it now and then between two events; what
//! was interrupted has no result, so that no result depends on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use crate::measure::apart::unless_stopped;

/// From one look to the next, in events: a millisecond or so of real time, and nothing of its speed.
const EVENTS: u64 = 1024;

static FLAG: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// What a handler of signals raises.
pub fn flag() -> Arc<AtomicBool> {
    Arc::clone(&FLAG)
}

/// What comes of work that does not look at it; `None` if it is raised before that is known.
pub(crate) fn unless_raised<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    unless_stopped(&mut || !FLAG.load(Ordering::Relaxed), work)
}

/// Whether it was raised; looked at once in [`EVENTS`].
pub(super) fn is_seen_at(event: u64) -> bool {
    event.is_multiple_of(EVENTS) && FLAG.load(Ordering::Relaxed)
}
