//! How an attempt ends, as its client saw it: exactly one way each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is told of a probe whose response was whole and had not the marker in it.
pub const NO_MARKER: &str = "the body has no marker";

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A whole response with status 2xx or 3xx, in time.
    Ok,
    /// As `ok`, but later than the slow threshold, counted from the planned time.
    Slow,
    /// A whole response with status 503.
    #[serde(rename = "http_503")]
    Http503,
    /// A whole response with another status from 500.
    #[serde(rename = "http_5xx")]
    Http5xx,
    /// A whole response with a status 4xx.
    #[serde(rename = "http_4xx")]
    Http4xx,
    /// Nobody listened: the connection was refused.
    Refused,
    /// The connection ended before any byte of this request was sent. No work was lost, a user's
    /// agent may send it again. Besides kept-alive connections these are new ones that were reset
    /// between the connect and the request, in the TLS handshake for instance.
    ResetIdle,
    /// Bytes of the request were sent, and then the connection was reset, or it was closed before
    /// a whole response head had arrived.
    ResetInflight,
    /// A response had begun, and the connection was closed in order before its end, or what came
    /// was not the expected content.
    Truncated,
    /// No whole response until the deadline, counted from the planned time.
    Timeout,
    /// The plan was stopped while the attempt was in flight, and it got no answer in its grace.
    Abandoned,
    /// The generator could not make the attempt (no port, no descriptor): the trial is invalid.
    NotSent,
}

impl Outcome {
    /// Every outcome, in the order of a report.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::Slow,
        Self::Http503,
        Self::Http5xx,
        Self::Http4xx,
        Self::Refused,
        Self::ResetIdle,
        Self::ResetInflight,
        Self::Truncated,
        Self::Timeout,
        Self::Abandoned,
        Self::NotSent,
    ];

    /// The outcome of a whole response with this status; success may still be too slow.
    pub fn of_status(status: u16) -> Self {
        match status {
            503 => Self::Http503,
            500.. => Self::Http5xx,
            400..=499 => Self::Http4xx,
            ..400 => Self::Ok,
        }
    }

    /// Whether the user got what was asked for, in whatever time.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Ok | Self::Slow)
    }

    /// Whether the attempt says something about the server: it was made, and nobody cut it short.
    pub fn is_verdict(self) -> bool {
        !matches!(self, Self::Abandoned | Self::NotSent)
    }

    /// Its name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Http503 => "http_503",
            Self::Http5xx => "http_5xx",
            Self::Http4xx => "http_4xx",
            Self::Refused => "refused",
            Self::ResetIdle => "reset_idle",
            Self::ResetInflight => "reset_inflight",
            Self::Truncated => "truncated",
            Self::Timeout => "timeout",
            Self::Abandoned => "abandoned",
            Self::NotSent => "not_sent",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_has_the_same_name_in_files_and_in_reports() {
        for outcome in Outcome::ALL {
            let written = serde_json::to_string(&outcome).unwrap();
            assert_eq!(written, format!("\"{outcome}\""));
        }
    }

    #[test]
    fn a_redirect_is_a_success_and_a_503_has_its_own_name() {
        assert_eq!(Outcome::of_status(302), Outcome::Ok);
        assert_eq!(Outcome::of_status(404), Outcome::Http4xx);
        assert_eq!(Outcome::of_status(502), Outcome::Http5xx);
        assert_eq!(Outcome::of_status(503), Outcome::Http503);
    }
}
