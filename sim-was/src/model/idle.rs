//! Idle shutdown: the worker finds out that it has nothing to do and asks; WAS decides.

use crate::config::ProcessModel;

/// What an idle worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdleDecision {
    /// To exit; `log` says whether that is an event.
    ShutDown {
        /// Whether event 5186 is logged.
        log: bool,
    },
    /// To be frozen.
    Suspend,
    /// To stay.
    Stay,
}

/// Decides.
///
/// Source: `processModel` documentation: Terminate ends the process, Suspend keeps it with all that
/// it holds. A worker that is about to be replaced is left to the recycle.
pub(super) fn decide(suspends: bool, log: bool, being_replaced: bool) -> IdleDecision {
    if being_replaced {
        IdleDecision::Stay
    } else if suspends {
        IdleDecision::Suspend
    } else {
        IdleDecision::ShutDown { log }
    }
}

/// The idle timeout in whole minutes, as event 5186 and the `-t` argument give it.
pub(super) fn minutes(limits: &ProcessModel) -> u64 {
    limits.idle_timeout.as_secs() / 60
}
