//! How a request ended in the driver.

use sim_httpsys::api::{ActivityId, ProcessId};
use sim_httpsys::etw::Fact;
use sim_httpsys::model::ReasonPhrase;

/// How a request ended in the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered { status: u16, process: ProcessId },
    FromCache { status: u16 },
    Refused { status: u16, reason: ReasonPhrase },
    Dropped { reason: ReasonPhrase },
}

impl End {
    /// The end that a fact tells of, and of which attempt; `None` if it tells of something else.
    pub(super) fn of(fact: &Fact) -> Option<(ActivityId, Self)> {
        if let Fact::SendComplete {
            activity,
            status,
            process,
            ..
        } = *fact
        {
            Some((activity, Self::Answered { status, process }))
        } else if let Fact::SrvdFrmCache {
            activity, status, ..
        } = *fact
        {
            Some((activity, Self::FromCache { status }))
        } else if let Fact::FastResp {
            activity,
            status,
            reason,
            ..
        } = *fact
        {
            Some((activity, Self::Refused { status, reason }))
        } else if let Fact::Dropped {
            activity, reason, ..
        } = *fact
        {
            Some((activity, Self::Dropped { reason }))
        } else {
            None
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Answered { .. } => "answered",
            Self::FromCache { .. } => "from_cache",
            Self::Refused { .. } => "refused_by_driver",
            Self::Dropped { .. } => "dropped",
        }
    }

    /// As a part of a sentence.
    pub(super) fn words(self) -> String {
        match self {
            Self::Answered { status, process } => {
                format!("answered with {status} by process {}", process.0)
            }
            Self::FromCache { status } => format!("answered with {status} from the cache"),
            Self::Refused { status, reason } => {
                format!("refused with {status} ({})", phrase(reason))
            }
            Self::Dropped { reason } => format!("dropped ({})", phrase(reason)),
        }
    }

    /// The status of a response that went out in full.
    pub(super) fn status(self) -> Option<u16> {
        match self {
            Self::Answered { status, .. }
            | Self::FromCache { status }
            | Self::Refused { status, .. } => Some(status),
            Self::Dropped { .. } => None,
        }
    }
}

/// A reason as the error log spells it.
pub(super) fn phrase(reason: ReasonPhrase) -> String {
    match serde_json::to_value(reason) {
        Ok(serde_json::Value::String(text)) => text,
        other => unreachable!("a reason is written as a text, not {other:?}"),
    }
}
