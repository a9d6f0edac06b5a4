//! What a balancer in front of a farm saw of it, from its log.

use serde::{Deserialize, Serialize};
use sim_httpsys::clockwork::Instant;

use super::outcomes::Outcomes;
use crate::load::book::AttemptRecord;

/// A line of the balancer's log and when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// When.
    pub at: Instant,
    /// What.
    pub said: Said,
}

/// What a line says. Servers are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A request was relayed, or answered by the balancer itself.
    Relayed(Relayed),
    /// A health check of a server failed.
    CheckFailed(usize),
    /// A server gets no more requests.
    Down(usize),
    /// It gets them again.
    Up(usize),
}

/// A request as the balancer saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// The attempt; `None` for a request that was not of the load.
    pub attempt: Option<u64>,
    /// The server that it went to last; `None` if no server was up.
    pub server: Option<usize>,
    /// The status that the client was sent.
    pub status: u16,
    /// HAProxy's two letters for who ended the session and where it was then; `--` is in order.
    pub termination: String,
    /// It went to another server than the one it was meant for, since that could not be reached.
    pub is_redispatched: bool,
}

impl Relayed {
    pub(super) fn is_in_order(&self) -> bool {
        self.termination == "--"
    }

    /// Source: HAProxy's manual, 8.5: S the server ended or refused it, s it was too slow, P the proxy
    /// did; C at the connect, Q in the queue, H before the response's headers.
    pub(super) fn is_own_answer(&self) -> bool {
        let mut letters = self.termination.chars();
        let by = letters.next().is_some_and(|by| "SsPR".contains(by));
        by && letters.next().is_some_and(|at| "CQH".contains(at))
    }

    /// The server ended the connection in the middle of the response.
    pub(super) fn cut_by_server(&self) -> bool {
        matches!(self.termination.as_str(), "SD" | "sD" | "SL" | "SH")
    }
}

/// The balancer's `log-format` for requests: what [`Stamped::parse`] reads.
pub const LOG_FORMAT: &str = "relayed %[capture.req.hdr(0)] %s %ST %ts %rc";

/// What HAProxy calls a server: `server-` and its number, counted from 1.
pub const SERVER: &str = "server-";

impl Stamped {
    /// Understands a line of the log; `None` for one that is about something else.
    pub fn parse(line: &str, at: Instant) -> Option<Self> {
        let said = if let Some(request) = line.strip_prefix("relayed ") {
            Said::Relayed(parse_relayed(request)?)
        } else if let Some(check) = line.strip_prefix("Health check for server ") {
            let (name, rest) = check.split_once(' ')?;
            if !rest.starts_with("failed") {
                return None;
            }
            Said::CheckFailed(number(name)?)
        } else {
            let (name, rest) = line.strip_prefix("Server ")?.split_once(' ')?;
            if rest.starts_with("is DOWN") {
                Said::Down(number(name)?)
            } else if rest.starts_with("is UP") {
                Said::Up(number(name)?)
            } else {
                return None;
            }
        };
        Some(Self { at, said })
    }
}

fn parse_relayed(text: &str) -> Option<Relayed> {
    let mut words = text.split(' ');
    let attempt = words.next()?.parse().ok();
    let server = number(words.next()?);
    let status = words.next()?.parse().ok()?;
    let termination = words.next()?.to_owned();
    let retries = words.next()?;
    Some(Relayed {
        attempt,
        server,
        status,
        termination,
        is_redispatched: retries.starts_with('+'),
    })
}

/// The number of `farm/server-1` or `server-1`, counted from 0.
fn number(name: &str) -> Option<usize> {
    let name = name.rsplit('/').next()?;
    name.strip_prefix(SERVER)?
        .parse::<usize>()
        .ok()?
        .checked_sub(1)
}

/// What a balancer saw of the server that was operated on, since the operation began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Balancer {
    /// Servers behind it.
    pub servers: u64,
    /// Health checks of the server that failed.
    pub checks_failed: u64,
    /// How often it took the server out.
    pub taken_out: u64,
    /// Milliseconds until it took the server out for the first time.
    pub noticed_ms: Option<f64>,
    /// Milliseconds until it gave the server requests again, for the last time.
    pub back_ms: Option<f64>,
    /// How attempts of load and probes ended that were planned while the server was out.
    pub while_out: Outcomes,
    /// Of these, those that failed.
    pub failed_while_out: u64,
    /// Failed attempts of load and probes that were planned before the balancer took the server out.
    pub failed_unnoticed: u64,
    /// Requests that could not reach a server and were sent to another one.
    pub redispatched: u64,
    /// Requests that the balancer answered itself, with 502 to 504.
    pub answered_itself: u64,
    /// Health checks of the other servers that failed. They were left alone.
    pub checks_failed_elsewhere: u64,
}

impl Balancer {
    /// What it saw of server 0 since `operation`.
    pub fn of(
        lines: &[Stamped],
        attempts: &[AttemptRecord],
        servers: usize,
        operation: Instant,
    ) -> Self {
        let mut seen = Self {
            servers: servers as u64,
            ..Self::default()
        };
        let mut out: Vec<(Instant, Instant)> = Vec::new();
        for line in lines.iter().filter(|line| line.at >= operation) {
            match &line.said {
                Said::CheckFailed(0) => seen.checks_failed += 1,
                Said::CheckFailed(_) => seen.checks_failed_elsewhere += 1,
                Said::Down(0) => {
                    seen.taken_out += 1;
                    out.push((line.at, Instant(u64::MAX)));
                    let ms = line.at.millis_since(operation);
                    seen.noticed_ms.get_or_insert(ms);
                }
                Said::Up(0) => {
                    if let Some((_, end)) = out.last_mut() {
                        *end = line.at;
                    }
                    seen.back_ms = Some(line.at.millis_since(operation));
                }
                Said::Down(_) | Said::Up(_) => {}
                Said::Relayed(relayed) => {
                    seen.redispatched += u64::from(relayed.is_redispatched);
                    seen.answered_itself += u64::from(relayed.is_own_answer());
                }
            }
        }
        let is_out = |at: Instant| out.iter().any(|(from, to)| at >= *from && at < *to);
        let while_out = attempts.iter().filter(|a| is_out(a.planned));
        seen.while_out = Outcomes::of(while_out);
        seen.failed_while_out = seen.while_out.failed();
        let noticed = out.first().map_or(Instant(u64::MAX), |(from, _)| *from);
        let unnoticed = attempts
            .iter()
            .filter(|a| a.finished >= operation && a.planned < noticed);
        seen.failed_unnoticed = Outcomes::of(unnoticed).failed();
        seen
    }
}

#[cfg(test)]
#[path = "balancer_tests.rs"]
mod tests;
