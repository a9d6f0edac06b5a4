//! The ledger: the client's story of every attempt against the server's.
//!
//! Every attempt must end in exactly one named way on both sides, and the two must agree:
//!
//! | client | server | and in the logs |
//! |---|---|---|
//! | `ok`, `slow` | `SendComplete` or `SrvdFrmCache` with the same status | one W3C line with it |
//! | `http_503`, `http_4xx`, `http_5xx` | the same, or `FastResp` with the same status | a W3C line, or a HTTPERR line |
//! | `refused` | nothing, and an endpoint was closed then | nothing |
//! | `reset_idle` | nothing parsed; the server ended the connection or never took it | nothing |
//! | `reset_inflight`, `truncated` | `Dropped` | a HTTPERR line |
//! | | or answered, and the connection was reset after that | as for the answer |
//! | | or (`truncated`) answered without the marker that the probe looks for | as for the answer |
//! | | or (`reset_inflight`) nothing parsed; the server ended the connection or never took it | nothing |
//! | `timeout`, `abandoned` | any one end, or nothing parsed | as for that end |
//! | `not_sent` | nothing | nothing |
//!
//! What does not fit a row, and what the server did without a client, is unexplained. What the driver refused
//! before it had read the attempt's name is joined with it by the connection.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sim_httpsys::api::{ConnectionId, ProcessId};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{ConnectionEnd, Fact, Traced};
use sim_httpsys::model::ReasonPhrase;

use super::read::Observation;
use crate::load::book::{AttemptRecord, ConnectionRecord};
use crate::load::outcome::{NO_MARKER, Outcome};
use closed::closed_spans;
use end::{End, phrase};
use unnamed::Unnamed;
use workers::Worker;

mod closed;
mod end;
mod farm;
mod unnamed;
mod workers;

/// How far a fact and a client's observation of the same thing may lie apart, in nanoseconds.
/// Assumed: the fact is stated by the model, the socket follows within one turn of a busy loop.
const SLACK: u64 = 50_000_000;

/// How many examples of unexplained attempts are kept.
const EXAMPLES_MAX: usize = 20;

/// The reconciliation of one trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Attempts of load and probes in the client's book.
    pub attempts: u64,
    /// Those whose two ends agree.
    pub explained: u64,
    /// Attempts whose ends do not agree, and things that the server did for nobody.
    pub unexplained: u64,
    /// How often each pair of ends occurred, e.g. `ok / answered`.
    pub ways: BTreeMap<String, u64>,
    /// The first of what is unexplained.
    pub examples: Vec<Unexplained>,
    /// Lines of traces and logs that were cut because their writer was killed.
    pub cut_lines: u64,
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unexplained {
    /// The attempt, 0 if none is known.
    pub attempt: u64,
    /// What its client saw.
    pub outcome: Option<Outcome>,
    /// Why it does not fit.
    pub why: String,
}

/// A connection as the driver saw it.
struct DriverConnection {
    port: u16,
    from: Instant,
    end: Option<(Instant, ConnectionEnd)>,
}

/// What the driver says about one attempt.
#[derive(Default)]
struct Request {
    parsed: Vec<ConnectionId>,
    ends: Vec<(Instant, End)>,
}

/// The URLs of HTTPERR lines, by client port and reason.
type HttpErrUrls = BTreeMap<(u16, String), Vec<Option<String>>>;

/// The server's side, indexed.
struct Server<'a> {
    requests: BTreeMap<u64, Request>,
    connections: BTreeMap<ConnectionId, DriverConnection>,
    /// By the client's port and the server's address.
    by_ends: BTreeMap<(u16, SocketAddr), Vec<ConnectionId>>,
    /// Spans in which at least one endpoint was closed.
    closed: Vec<(Instant, Instant)>,
    /// W3C lines by attempt; `None` if no log was read.
    w3c: Option<BTreeMap<u64, Vec<u16>>>,
    /// HTTPERR lines by port, reason and whether they name a URL; `None` if no log was read.
    httperr: Option<HttpErrUrls>,
    workers: BTreeMap<ProcessId, Worker>,
    unnamed: Unnamed,
    observation: &'a Observation,
}

impl Ledger {
    /// Reconciles a trial; `None` without the facts of httpsys.
    pub fn reconcile(observation: &Observation) -> Option<Self> {
        let mut server = Server::new(observation)?;
        let attempts = &observation.book.attempts;
        let mut ledger = Self {
            attempts: attempts.len() as u64,
            cut_lines: observation.cut_lines,
            ..Self::default()
        };
        let mut known = BTreeSet::new();
        for attempt in attempts {
            if !known.insert(attempt.id) {
                ledger.unexplained(attempt.id, Some(attempt.outcome), "its id was used twice");
                continue;
            }
            ledger.enter(attempt, server.explain(attempt));
        }
        for (attempt, why) in server.left_over(&known) {
            ledger.unexplained(attempt, None, &why);
        }
        Some(ledger)
    }

    /// Counts an attempt whose two ends agree, or does not fit.
    fn enter(&mut self, attempt: &AttemptRecord, explained: Result<&str, String>) {
        match explained {
            Ok(way) => {
                self.explained += 1;
                let way = format!("{} / {way}", attempt.outcome);
                *self.ways.entry(way).or_default() += 1;
            }
            Err(why) => self.unexplained(attempt.id, Some(attempt.outcome), &why),
        }
    }

    fn unexplained(&mut self, attempt: u64, outcome: Option<Outcome>, why: &str) {
        self.unexplained += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(Unexplained {
                attempt,
                outcome,
                why: why.to_owned(),
            });
        }
    }
}

impl<'a> Server<'a> {
    fn new(observation: &'a Observation) -> Option<Self> {
        let facts = observation.httpsys.as_ref()?;
        let mut server = Self {
            requests: BTreeMap::new(),
            connections: BTreeMap::new(),
            by_ends: BTreeMap::new(),
            closed: closed_spans(facts, &observation.ports),
            w3c: observation.w3c.as_ref().map(|lines| {
                let mut by_attempt: BTreeMap<u64, Vec<u16>> = BTreeMap::new();
                for line in lines {
                    by_attempt
                        .entry(line.attempt.unwrap_or(0))
                        .or_default()
                        .push(line.status);
                }
                by_attempt
            }),
            httperr: observation.httperr.as_ref().map(|lines| {
                let mut by_port: HttpErrUrls = BTreeMap::new();
                for line in lines {
                    let key = (line.client_port.unwrap_or(0), line.reason.clone());
                    by_port.entry(key).or_default().push(line.uri.clone());
                }
                by_port
            }),
            workers: workers::of(observation),
            unnamed: Unnamed::of(facts),
            observation,
        };
        for traced in facts {
            server.take(traced);
        }
        Some(server)
    }

    fn take(&mut self, traced: &Traced<Fact>) {
        if self.unnamed.has(traced) {
            return;
        }
        let at = traced.at;
        if let Some((activity, end)) = End::of(&traced.fact) {
            let request = self.requests.entry(activity.0).or_default();
            request.ends.push((at, end));
        }
        match &traced.fact {
            Fact::ConnConnect {
                connection, ends, ..
            } => {
                let port = ends.client.port();
                let seen = DriverConnection {
                    port,
                    from: at,
                    end: None,
                };
                self.connections.insert(*connection, seen);
                let ends = (port, ends.local);
                self.by_ends.entry(ends).or_default().push(*connection);
            }
            Fact::ConnCleanup {
                connection, end, ..
            } => {
                if let Some(seen) = self.connections.get_mut(connection) {
                    seen.end = Some((at, *end));
                }
            }
            Fact::Parse {
                activity,
                connection,
                ..
            } => {
                self.requests
                    .entry(activity.0)
                    .or_default()
                    .parsed
                    .push(*connection);
            }
            Fact::SendComplete { .. }
            | Fact::SrvdFrmCache { .. }
            | Fact::FastResp { .. }
            | Fact::Dropped { .. }
            | Fact::LogFileWrite { .. }
            | Fact::SslHandshake { .. }
            | Fact::CacheMiss { .. }
            | Fact::Queued { .. }
            | Fact::Deliver { .. }
            | Fact::ConnError { .. }
            | Fact::Untrusted { .. }
            | Fact::CacheInsert { .. }
            | Fact::CacheRemove { .. }
            | Fact::DemandStart { .. }
            | Fact::ProcessAttach { .. }
            | Fact::ProcessShutdown { .. }
            | Fact::ProcessDetach { .. }
            | Fact::CreateRequestQueue { .. }
            | Fact::CloseRequestQueue { .. }
            | Fact::AddUrl { .. }
            | Fact::RemoveUrl { .. }
            | Fact::ConnCounted { .. }
            | Fact::EndpointOpen { .. }
            | Fact::EndpointClose { .. } => {}
        }
    }

    /// The way in which the two sides agree, or why they do not.
    fn explain(&mut self, attempt: &AttemptRecord) -> Result<&'static str, String> {
        let request = self.request_of(attempt);
        let lines = self
            .w3c
            .as_mut()
            .map(|w3c| w3c.remove(&attempt.id).unwrap_or_default());
        if request.parsed.len() > 1 {
            return Err(format!(
                "the driver parsed it {} times",
                request.parsed.len()
            ));
        }
        if request.ends.len() > 1 {
            let names: Vec<_> = request.ends.iter().map(|(_, end)| end.name()).collect();
            return Err(format!("it ended more than once: {}", names.join(", ")));
        }
        let Some((at, end)) = request.ends.first().copied() else {
            if let Some(connection) = request.parsed.first() {
                return Err(format!(
                    "connection {} parsed it and nothing followed",
                    connection.0
                ));
            }
            if lines.is_some_and(|lines| !lines.is_empty()) {
                return Err("the driver never parsed it, but it has a W3C line".to_owned());
            }
            return self.explain_unseen(attempt);
        };
        let Some(connection) = request.parsed.first().copied() else {
            return Err(format!("it was {}, but never parsed", end.name()));
        };
        self.check_logs(attempt, end, connection, lines.as_deref())?;
        self.check_worker(attempt, end)?;
        self.check_pair(attempt, at, end, connection)
    }

    /// An attempt that the driver never parsed.
    fn explain_unseen(&self, attempt: &AttemptRecord) -> Result<&'static str, String> {
        match attempt.outcome {
            Outcome::Refused if self.was_closed_at(attempt) => Ok("endpoint_closed"),
            Outcome::Refused => Err("refused while every endpoint was open".to_owned()),
            Outcome::ResetIdle | Outcome::ResetInflight => self.connection_ended(attempt),
            Outcome::Timeout | Outcome::Abandoned | Outcome::NotSent => Ok("not_parsed"),
            Outcome::Ok
            | Outcome::Slow
            | Outcome::Http503
            | Outcome::Http5xx
            | Outcome::Http4xx
            | Outcome::Truncated => Err("answered, but the driver never saw it".to_owned()),
        }
    }

    fn was_closed_at(&self, attempt: &AttemptRecord) -> bool {
        let from = attempt.sent.0.saturating_sub(SLACK);
        let to = attempt.finished.0.saturating_add(SLACK);
        self.closed
            .iter()
            .any(|(closed, open)| closed.0 <= to && open.0 >= from)
    }

    /// Whether the server ended the attempt's connection, or never took it.
    fn connection_ended(&self, attempt: &AttemptRecord) -> Result<&'static str, String> {
        let finished = attempt.finished.0.saturating_add(SLACK);
        let seen = self
            .between_its_ends(attempt)
            .filter_map(|id| self.connections.get(id));
        let latest = seen.filter(|c| c.from.0 <= finished).max_by_key(|c| c.from);
        let opened = self.record_of(attempt).map(|own| own.opened);
        let Some(latest) = latest.filter(|c| !c.is_older(opened, attempt.sent)) else {
            return if self.was_closed_at(attempt) {
                Ok("never_accepted")
            } else {
                Err(
                    "reset, but no endpoint closed and the driver has no such connection"
                        .to_owned(),
                )
            };
        };
        match latest.end {
            Some((at, ConnectionEnd::ServerFin | ConnectionEnd::ServerReset))
                if at.0 <= finished =>
            {
                Ok("connection_ended")
            }
            Some((_, end)) => Err(format!("reset, but its connection ended by {end:?}")),
            None => Err("reset, but the driver's connection is open".to_owned()),
        }
    }

    /// The driver's connections with the same ends as the one of the attempt. The client's port alone would
    /// not do: from one port there may be a connection to each of several addresses at the same time.
    fn between_its_ends(&self, attempt: &AttemptRecord) -> impl Iterator<Item = &ConnectionId> {
        let ends = self
            .record_of(attempt)
            .map(|own| (own.local_port, own.server));
        let same = ends.and_then(|ends| self.by_ends.get(&ends));
        same.into_iter().flatten()
    }

    /// What the client noted of the attempt's connection.
    fn record_of(&self, attempt: &AttemptRecord) -> Option<&ConnectionRecord> {
        let number = attempt.connection? as usize;
        self.observation.book.connections.get(number)
    }

    /// The line that an end must have in exactly one of the two logs.
    fn check_logs(
        &mut self,
        attempt: &AttemptRecord,
        end: End,
        connection: ConnectionId,
        w3c: Option<&[u16]>,
    ) -> Result<(), String> {
        match end {
            End::Answered { status, .. } | End::FromCache { status } => match w3c {
                None => Ok(()),
                Some([line]) if *line == status => Ok(()),
                Some([]) => Err(format!("{} with {status}, but has no W3C line", end.name())),
                Some([line]) => Err(format!(
                    "{} with {status}, but its W3C line says {line}",
                    end.name()
                )),
                Some(lines) => Err(format!("it has {} W3C lines", lines.len())),
            },
            // Source: KB937692: if the worker is done in time, the site's log gets the line.
            End::Dropped {
                reason: ReasonPhrase::ConnectionDropped,
            } if w3c.is_some_and(|lines| lines.len() == 1) => Ok(()),
            End::Refused { reason, .. } | End::Dropped { reason } => {
                if w3c.is_some_and(|lines| !lines.is_empty()) {
                    return Err(format!("{}, but it has a W3C line", end.name()));
                }
                let port = self.connections.get(&connection).map(|c| c.port);
                let port = port.ok_or("its connection was never opened")?;
                let url = self.unnamed.url_read(connection, attempt);
                if self.consume_httperr(port, reason, url) {
                    Ok(())
                } else {
                    Err(format!(
                        "{} ({}), but it has no HTTPERR line",
                        end.name(),
                        phrase(reason)
                    ))
                }
            }
        }
    }

    /// Takes one line out of the HTTPERR log; without a log there is nothing to miss.
    fn consume_httperr(&mut self, port: u16, reason: ReasonPhrase, url: Option<&str>) -> bool {
        let Some(httperr) = &mut self.httperr else {
            return true;
        };
        let Some(lines) = httperr.get_mut(&(port, phrase(reason))) else {
            return false;
        };
        let fits = |line: &Option<String>| url.is_none() || line.as_deref() == url;
        lines
            .iter()
            .position(fits)
            .map(|index| lines.swap_remove(index))
            .is_some()
    }

    /// A worker's own record of a request that the driver says it answered.
    fn check_worker(&self, attempt: &AttemptRecord, end: End) -> Result<(), String> {
        let End::Answered { status, process } = end else {
            return Ok(());
        };
        if attempt.outcome.is_success() && attempt.worker.is_some_and(|pid| pid != process.0) {
            return Err(format!(
                "the driver had it from {}, the client from another",
                process.0
            ));
        }
        let Some(worker) = self.workers.get(&process) else {
            return if self.observation.workers.is_some() && !self.workers.is_empty() {
                Err(format!(
                    "answered by worker {}, which has no trace",
                    process.0
                ))
            } else {
                Ok(())
            };
        };
        match worker.ended.get(&attempt.id) {
            Some(ended) if *ended == status => Ok(()),
            Some(ended) => Err(format!(
                "the driver sent {status}, the worker answered {ended}"
            )),
            None if worker.is_whole => Err(format!(
                "answered by worker {}, which does not know it",
                process.0
            )),
            // The end of a killed worker's trace may be missing.
            None => Ok(()),
        }
    }

    /// Whether the client's outcome and the driver's end may go together.
    fn check_pair(
        &self,
        attempt: &AttemptRecord,
        at: Instant,
        end: End,
        connection: ConnectionId,
    ) -> Result<&'static str, String> {
        let disagree = || {
            Err(format!(
                "the client saw {}, the driver says that it was {}",
                attempt.outcome,
                end.words()
            ))
        };
        match attempt.outcome {
            Outcome::Ok | Outcome::Slow => match end {
                End::Answered { status, .. } | End::FromCache { status }
                    if attempt.status == Some(status) =>
                {
                    Ok(end.name())
                }
                End::Answered { .. }
                | End::FromCache { .. }
                | End::Refused { .. }
                | End::Dropped { .. } => disagree(),
            },
            Outcome::Http503 | Outcome::Http5xx | Outcome::Http4xx => {
                if end.status().is_some() && end.status() == attempt.status {
                    Ok(end.name())
                } else {
                    disagree()
                }
            }
            // The response was whole, and not what the probe looks for.
            Outcome::Truncated
                if attempt.detail.as_deref() == Some(NO_MARKER)
                    && end.status().is_some()
                    && end.status() == attempt.status =>
            {
                Ok("answered_without_marker")
            }
            Outcome::ResetInflight | Outcome::Truncated => match end {
                End::Dropped { .. } => Ok(end.name()),
                // The response had left the driver and was still on its way when the connection
                // was reset: what the client had not read is gone.
                End::Answered { .. } | End::FromCache { .. } | End::Refused { .. }
                    if self.was_reset_after(connection, at) =>
                {
                    Ok("answered_then_reset")
                }
                End::Answered { .. } | End::FromCache { .. } | End::Refused { .. } => disagree(),
            },
            Outcome::Timeout | Outcome::Abandoned => Ok(end.name()),
            Outcome::Refused | Outcome::ResetIdle | Outcome::NotSent => disagree(),
        }
    }

    fn was_reset_after(&self, connection: ConnectionId, at: Instant) -> bool {
        let end = self.connections.get(&connection).and_then(|c| c.end);
        end.is_some_and(|(ended, how)| how == ConnectionEnd::ServerReset && ended >= at)
    }

    /// What the server did for nobody.
    fn left_over(&mut self, known: &BTreeSet<u64>) -> Vec<(u64, String)> {
        let mut left = Vec::new();
        let facts = self.observation.httpsys.iter().flatten();
        let mut strangers = Vec::new();
        for traced in facts {
            if let Fact::FastResp {
                activity,
                connection,
                reason,
                ..
            }
            | Fact::Dropped {
                activity,
                connection,
                reason,
                ..
            } = &traced.fact
                && !known.contains(&activity.0)
                && !self.unnamed.is_joined(*connection)
            {
                strangers.push((*connection, *reason));
            } else if let Fact::ConnError { connection, reason } = &traced.fact {
                strangers.push((*connection, *reason));
            }
        }
        for (connection, reason) in strangers {
            let port = self.connections.get(&connection).map_or(0, |c| c.port);
            if !self.consume_httperr(port, reason, None) {
                left.push((
                    0,
                    format!("{} on port {port} has no HTTPERR line", phrase(reason)),
                ));
            }
        }
        for (id, request) in &self.requests {
            let ends = request.ends.iter().map(|(_, end)| end.name());
            let what = ends.chain(request.ends.is_empty().then_some("parsed"));
            left.extend(what.map(|what| (*id, format!("{what}, but no client attempted it"))));
        }
        for (id, statuses) in self.w3c.iter().flatten() {
            if self
                .requests
                .get(id)
                .is_none_or(|request| request.ends.len() < statuses.len())
            {
                left.push((*id, "a W3C line for a request that nobody made".to_owned()));
            }
        }
        for ((port, reason), lines) in self.httperr.iter().flatten() {
            for uri in lines {
                let uri = uri.as_deref().unwrap_or("-");
                let why = format!("a HTTPERR line ({reason} {uri}, port {port}) without a fact");
                left.push((0, why));
            }
        }
        left.extend(workers::lost_in(&self.workers));
        left.extend(self.unnamed.left_over());
        left
    }
}

#[cfg(test)]
mod tests;
