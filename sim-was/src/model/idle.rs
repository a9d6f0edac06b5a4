//! Idle shutdown: the worker finds out that it has nothing to do and asks; WAS decides.

use crate::config::ApplicationPool;

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
pub(super) fn decide(settings: &ApplicationPool, being_replaced: bool) -> IdleDecision {
    if being_replaced {
        IdleDecision::Stay
    } else if settings.process_model.idle_suspend {
        IdleDecision::Suspend
    } else {
        IdleDecision::ShutDown {
            log: settings.process_model.log_idle_timeout,
        }
    }
}

/// The idle timeout in whole minutes, as event 5186 and the `-t` argument give it.
pub(super) fn minutes(settings: &ApplicationPool) -> u64 {
    settings.process_model.idle_timeout.as_secs() / 60
}
