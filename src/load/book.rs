//! The book of a run: what the load process saw, attempt by attempt and connection by connection.
//!
//! It is kept in memory while the run lasts and written as JSON lines when it is over: a header,
//! the attempts, the connections, and a summary as the last line. All times are moments of
//! `CLOCK_MONOTONIC`, so that they compare with the facts of the server's processes.

use std::io::{self, Write};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sim_httpsys::clockwork::Instant;

use super::outcome::Outcome;
use super::plan::Stream;

/// Everything that the load process saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    /// What it was asked to do.
    pub header: BookHeader,
    /// The attempts, in the order of their ids.
    pub attempts: Vec<AttemptRecord>,
    /// The connections, in the order of their numbers.
    pub connections: Vec<ConnectionRecord>,
    /// How punctual the generator was; `None` if the book was cut short.
    pub summary: Option<BookSummary>,
}

/// What the load process was asked to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BookHeader {
    /// The seed of the plan.
    pub seed: u64,
    /// When the plan began.
    pub start: Instant,
    /// Nanoseconds from one probe of a stream to the next.
    pub probe_interval: u64,
    /// Nanoseconds within which 99.9 % of the attempts had to be begun.
    pub late_bound: u64,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Its id, unique in the run; the server's facts and logs carry it.
    pub id: u64,
    /// Its stream.
    pub stream: Stream,
    /// When it was to be made. Latency counts from here.
    pub planned: Instant,
    /// When it was made: the connect of a new connection began, or the request was handed to an
    /// open one.
    pub sent: Instant,
    /// When the first byte of the response was read.
    pub first_byte: Option<Instant>,
    /// When it ended.
    pub finished: Instant,
    /// How it ended.
    pub outcome: Outcome,
    /// The status, if a response head arrived.
    pub status: Option<u16>,
    /// Path and query.
    pub url: String,
    /// Whose it was.
    pub user: u32,
    /// Whether its user keeps the session's cookie, and brings it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_session: bool,
    /// What the server said about the user's session (`X-Sim-Session`).
    pub session: Option<SessionSeen>,
    /// The worker that answered (`X-Sim-Worker`).
    pub worker: Option<u32>,
    /// Bytes of the body that arrived.
    pub bytes: u64,
    /// The number of its connection; `None` if there was none.
    pub connection: Option<u32>,
    /// The handshake that was made for this attempt.
    pub tls: TlsKind,
    /// What else is known about a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl AttemptRecord {
    /// Milliseconds from its planned time to its end.
    pub fn latency_ms(&self) -> f64 {
        self.finished.millis_since(self.planned)
    }

    /// Nanoseconds by which the generator was late.
    pub fn lateness(&self) -> u64 {
        self.sent.0.saturating_sub(self.planned.0)
    }
}

/// What the server said about a user's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionSeen {
    /// Its state was there.
    Found,
    /// The user had none yet.
    New,
    /// The user had one, and its state is gone.
    Lost,
}

/// Which TLS handshake was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsKind {
    /// One with all key exchange and certificates.
    Full,
    /// One that took up an earlier session.
    Resumed,
    /// None: clear text, or a connection that was open already.
    #[default]
    None,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionKind {
    /// Kept alive, shared by the users.
    KeepAlive,
    /// Kept alive, opened because all others were busy, closed when it is not needed.
    Extra,
    /// For a single request.
    OneShot,
    /// For a single probe.
    ProbeNew,
    /// Kept alive, for probes.
    ProbeReused,
}

/// One connection. Refused ones appear only in their attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionRecord {
    /// Its number.
    pub number: u32,
    /// What it is for.
    pub kind: ConnectionKind,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// When it was established.
    pub opened: Instant,
    /// The client's port.
    pub local_port: u16,
    /// The server's address, as its own records name it. One client port may have a connection to each of
    /// several.
    pub server: SocketAddr,
    /// The handshake.
    pub tls: TlsKind,
    /// Requests that were handed to it.
    pub requests: u32,
    /// When it ended; `None` if it was open when the run was over.
    pub closed: Option<Instant>,
    /// How it ended.
    pub how: Option<ConnectionEnded>,
    /// Whether a request was on it when it ended.
    pub in_flight: bool,
}

/// How a connection ended, as the client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionEnded {
    /// The server reset it.
    Rst,
    /// The server closed it in order, without having said so before.
    Fin,
    /// The server had said `Connection: close`.
    Announced,
    /// The client closed it, or had asked for it.
    Client,
}

/// How punctual the generator was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BookSummary {
    /// When the last attempt had ended.
    pub end: Instant,
    /// Attempts that were planned.
    pub planned: u64,
    /// Attempts that were made; fewer if the plan was stopped.
    pub made: u64,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// Microseconds behind plan: the median.
    pub late_p50_us: f64,
    /// Microseconds behind plan: 99.9 % were begun earlier.
    pub late_p999_us: f64,
    /// Microseconds behind plan: the worst.
    pub late_max_us: f64,
    /// Kept-alive connections that had to be opened because all others were busy.
    pub extra_connections: u64,
    /// Attempts that the generator could not make.
    pub not_sent: u64,
    /// Whether the bound on lateness was kept and every attempt was made.
    pub valid: bool,
}

/// One line of a book file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BookLine {
    /// The first line.
    Header(BookHeader),
    /// An attempt.
    Attempt(AttemptRecord),
    /// A connection.
    Connection(ConnectionRecord),
    /// The last line.
    Summary(BookSummary),
}

impl Book {
    /// Writes it as JSON lines.
    pub fn write(&self, sink: &mut impl Write) -> io::Result<()> {
        let mut line = |line: &BookLine| {
            serde_json::to_writer(&mut *sink, line)?;
            sink.write_all(b"\n")
        };
        line(&BookLine::Header(self.header.clone()))?;
        for attempt in &self.attempts {
            line(&BookLine::Attempt(attempt.clone()))?;
        }
        for connection in &self.connections {
            line(&BookLine::Connection(connection.clone()))?;
        }
        self.summary
            .iter()
            .try_for_each(|summary| line(&BookLine::Summary(summary.clone())))
    }

    /// Takes up a line of a file.
    pub fn take(&mut self, line: BookLine) {
        match line {
            BookLine::Header(header) => self.header = header,
            BookLine::Attempt(attempt) => self.attempts.push(attempt),
            BookLine::Connection(connection) => self.connections.push(connection),
            BookLine::Summary(summary) => self.summary = Some(summary),
        }
    }

    /// Fills in the summary from the attempts.
    pub fn sum_up(&mut self, planned: u64, stopped: bool) {
        let mut late: Vec<u64> = self.attempts.iter().map(AttemptRecord::lateness).collect();
        late.sort_unstable();
        let behind = |per_mille: usize| -> u64 {
            let rank = (late.len() * per_mille).div_ceil(1000);
            late.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        let not_sent = count(
            self.attempts
                .iter()
                .filter(|a| a.outcome == Outcome::NotSent),
        );
        let extra = |c: &&ConnectionRecord| c.kind == ConnectionKind::Extra;
        self.summary = Some(BookSummary {
            end: self
                .attempts
                .iter()
                .map(|a| a.finished)
                .max()
                .unwrap_or(self.header.start),
            planned,
            made: count(self.attempts.iter()),
            stopped,
            late_p50_us: micros(behind(500)),
            late_p999_us: micros(behind(999)),
            late_max_us: micros(behind(1000)),
            extra_connections: count(self.connections.iter().filter(extra)),
            not_sent,
            valid: not_sent == 0 && behind(999) <= self.header.late_bound,
        });
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    u64::try_from(items.count()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds for a report")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}
