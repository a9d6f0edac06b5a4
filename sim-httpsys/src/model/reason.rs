//! Why the driver refused or dropped something: the `s-reason` of the HTTPERR log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The closed list of reasons. Source: KB820729, spelled as there; `NotFound` is not in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReasonPhrase {
    /// 503: rapid-fail protection took the pool off.
    AppOffline,
    /// 503: the pool's process is too busy.
    AppPoolTimer,
    /// 503: shut down automatically, by policy.
    AppShutdown,
    /// 503: the site's connection limit.
    ConnLimit,
    /// 503: an administrator stopped the pool.
    Disabled,
    /// 503: the queue's limit.
    QueueFull,
    /// 503: an internal error, or a reservation without a registration.
    #[serde(rename = "N/A")]
    NotAvailable,
    /// 501: unknown transfer coding.
    #[serde(rename = "N/I")]
    NotImplemented,
    /// 500: an internal error.
    Internal,
    /// 505: version not supported.
    #[serde(rename = "Version_N/S")]
    VersionNotSupported,
    /// 400: a general parse error.
    BadRequest,
    /// 400: the verb.
    Verb,
    /// 400: the URL.
    #[serde(rename = "URL")]
    Url,
    /// 414: URL too long.
    #[serde(rename = "URL_Length")]
    UrlLength,
    /// 400: a header.
    Header,
    /// 400: the host, or no such host.
    Hostname,
    /// 400: an illegal CR or LF.
    #[serde(rename = "Invalid_CR/LF")]
    InvalidCrLf,
    /// 400: a number, such as a length.
    Number,
    /// 400: one header is too long.
    FieldLength,
    /// 400: request line and headers together are too long.
    RequestLength,
    /// 403: a forbidden element in the URL.
    Forbidden,
    /// 411: no length on POST or PUT.
    LengthRequired,
    /// 412: precondition missing.
    Precondition,
    /// 413: body over the limit.
    EntityTooLarge,
    /// 404: no registration for the path.
    NotFound,
    /// The client reset the connection before a process had the request.
    #[serde(rename = "Client_Reset")]
    ClientReset,
    /// The connection was closed before the last packet of the response.
    #[serde(rename = "Connection_Dropped")]
    ConnectionDropped,
    /// The process that held the request has gone or given it up.
    #[serde(rename = "Connection_Abandoned_By_ReqQueue")]
    ConnectionAbandonedByReqQueue,
    /// A connection was idle too long.
    #[serde(rename = "Timer_ConnectionIdle")]
    TimerConnectionIdle,
    /// Headers came too late.
    #[serde(rename = "Timer_HeaderWait")]
    TimerHeaderWait,
    /// A body came too late.
    #[serde(rename = "Timer_EntityBody")]
    TimerEntityBody,
    /// A request waited too long in the queue.
    #[serde(rename = "Timer_ReqQueue")]
    TimerReqQueue,
    /// The client read too slowly.
    #[serde(rename = "Timer_MinBytesPerSecond")]
    TimerMinBytesPerSecond,
    /// Ours: the request was in flight when its queue or endpoint was closed (a service stop).
    /// Assumed: Microsoft documents no phrase for it; HTTPERR samples show `Request_Cancelled`.
    #[serde(rename = "Request_Cancelled")]
    RequestCancelled,
}

impl ReasonPhrase {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 34] = [
        Self::AppOffline,
        Self::AppPoolTimer,
        Self::AppShutdown,
        Self::ConnLimit,
        Self::Disabled,
        Self::QueueFull,
        Self::NotAvailable,
        Self::NotImplemented,
        Self::Internal,
        Self::VersionNotSupported,
        Self::BadRequest,
        Self::Verb,
        Self::Url,
        Self::UrlLength,
        Self::Header,
        Self::Hostname,
        Self::InvalidCrLf,
        Self::Number,
        Self::FieldLength,
        Self::RequestLength,
        Self::Forbidden,
        Self::LengthRequired,
        Self::Precondition,
        Self::EntityTooLarge,
        Self::NotFound,
        Self::ClientReset,
        Self::ConnectionDropped,
        Self::ConnectionAbandonedByReqQueue,
        Self::TimerConnectionIdle,
        Self::TimerHeaderWait,
        Self::TimerEntityBody,
        Self::TimerReqQueue,
        Self::TimerMinBytesPerSecond,
        Self::RequestCancelled,
    ];

    /// How the HTTPERR log spells it.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::AppOffline => "AppOffline",
            Self::AppPoolTimer => "AppPoolTimer",
            Self::AppShutdown => "AppShutdown",
            Self::ConnLimit => "ConnLimit",
            Self::Disabled => "Disabled",
            Self::QueueFull => "QueueFull",
            Self::NotAvailable => "N/A",
            Self::NotImplemented => "N/I",
            Self::Internal => "Internal",
            Self::VersionNotSupported => "Version_N/S",
            Self::BadRequest => "BadRequest",
            Self::Verb => "Verb",
            Self::Url => "URL",
            Self::UrlLength => "URL_Length",
            Self::Header => "Header",
            Self::Hostname => "Hostname",
            Self::InvalidCrLf => "Invalid_CR/LF",
            Self::Number => "Number",
            Self::FieldLength => "FieldLength",
            Self::RequestLength => "RequestLength",
            Self::Forbidden => "Forbidden",
            Self::LengthRequired => "LengthRequired",
            Self::Precondition => "Precondition",
            Self::EntityTooLarge => "EntityTooLarge",
            Self::NotFound => "NotFound",
            Self::ClientReset => "Client_Reset",
            Self::ConnectionDropped => "Connection_Dropped",
            Self::ConnectionAbandonedByReqQueue => "Connection_Abandoned_By_ReqQueue",
            Self::TimerConnectionIdle => "Timer_ConnectionIdle",
            Self::TimerHeaderWait => "Timer_HeaderWait",
            Self::TimerEntityBody => "Timer_EntityBody",
            Self::TimerReqQueue => "Timer_ReqQueue",
            Self::TimerMinBytesPerSecond => "Timer_MinBytesPerSecond",
            Self::RequestCancelled => "Request_Cancelled",
        }
    }

    /// Whether a queue refuses with it.
    pub const fn is_of_queue(self) -> bool {
        matches!(
            self,
            Self::AppOffline
                | Self::AppPoolTimer
                | Self::AppShutdown
                | Self::Disabled
                | Self::QueueFull
        )
    }

    /// The status of the response, `None` if the connection ends without one.
    ///
    /// Source: KB820729 for 500, 501, 505 and 503.
    /// Assumed: the 4xx numbers, from the pages observed and RFC 9110.
    pub const fn status(self) -> Option<u16> {
        match self {
            Self::BadRequest
            | Self::Verb
            | Self::Url
            | Self::Header
            | Self::Hostname
            | Self::InvalidCrLf
            | Self::Number
            | Self::FieldLength
            | Self::RequestLength => Some(400),
            Self::Forbidden => Some(403),
            Self::NotFound => Some(404),
            Self::LengthRequired => Some(411),
            Self::Precondition => Some(412),
            Self::EntityTooLarge => Some(413),
            Self::UrlLength => Some(414),
            Self::Internal => Some(500),
            Self::NotImplemented => Some(501),
            Self::AppOffline
            | Self::AppPoolTimer
            | Self::AppShutdown
            | Self::ConnLimit
            | Self::Disabled
            | Self::QueueFull
            | Self::NotAvailable => Some(503),
            Self::VersionNotSupported => Some(505),
            Self::ClientReset
            | Self::ConnectionDropped
            | Self::ConnectionAbandonedByReqQueue
            | Self::TimerConnectionIdle
            | Self::TimerHeaderWait
            | Self::TimerEntityBody
            | Self::TimerReqQueue
            | Self::TimerMinBytesPerSecond
            | Self::RequestCancelled => None,
        }
    }
}

impl fmt::Display for ReasonPhrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_spells_every_reason_as_the_error_log_does() {
        for reason in ReasonPhrase::ALL {
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(json, format!("\"{reason}\""));
            assert_eq!(serde_json::from_str::<ReasonPhrase>(&json).unwrap(), reason);
        }
    }

    #[test]
    fn no_two_reasons_share_a_phrase_and_none_would_split_a_log_line() {
        let phrases: std::collections::BTreeSet<_> = ReasonPhrase::ALL
            .iter()
            .map(|reason| reason.phrase())
            .collect();
        assert_eq!(phrases.len(), ReasonPhrase::ALL.len());
        assert!(
            phrases
                .iter()
                .all(|phrase| phrase.bytes().all(|b| b.is_ascii_graphic()))
        );
    }

    #[test]
    fn timers_and_lost_connections_send_nothing() {
        for reason in ReasonPhrase::ALL {
            let silent = ["Timer_", "Connection_", "Client_", "Request_Cancelled"]
                .iter()
                .any(|kind| reason.phrase().starts_with(kind));
            assert_eq!(reason.status().is_none(), silent, "{reason}");
        }
    }
}
