//! Books with a known truth, for tests.

use sim_httpsys::clockwork::Instant;

use crate::load::book::{
    AttemptRecord, Book, BookHeader, ConnectionKind, ConnectionRecord, TlsKind,
};
use crate::load::outcome::Outcome;
use crate::load::plan::Stream;

/// The moment at which synthetic operations begin.
pub(super) const OPERATION: Instant = Instant(100_000_000_000);

/// The ends of synthetic connections.
pub(super) const PORT: u16 = 50_000;
pub(super) const SERVER: ([u8; 4], u16) = ([127, 0, 0, 1], 80);

/// A moment so many milliseconds after the operation began.
pub(super) fn at(ms: f64) -> Instant {
    #[expect(clippy::cast_possible_truncation, reason = "test moments")]
    let nanos = (ms * 1e6) as i64;
    Instant(OPERATION.0.checked_add_signed(nanos).unwrap())
}

/// An attempt that took one millisecond.
pub(super) fn attempt(
    id: u64,
    stream: Stream,
    planned: Instant,
    outcome: Outcome,
) -> AttemptRecord {
    let status = match outcome {
        Outcome::Ok | Outcome::Slow => Some(200),
        Outcome::Http503 => Some(503),
        Outcome::Http5xx => Some(500),
        Outcome::Http4xx => Some(404),
        Outcome::Refused
        | Outcome::ResetIdle
        | Outcome::ResetInflight
        | Outcome::Truncated
        | Outcome::Timeout
        | Outcome::Abandoned
        | Outcome::NotSent => None,
    };
    AttemptRecord {
        id,
        stream,
        planned,
        sent: planned,
        first_byte: status.map(|_| Instant(planned.0 + 900_000)),
        finished: Instant(planned.0 + 1_000_000),
        outcome,
        status,
        url: "/".to_owned(),
        user: u32::try_from(id % 7).unwrap_or(0),
        keeps_session: false,
        session: None,
        worker: None,
        bytes: 10,
        connection: None,
        tls: TlsKind::None,
        detail: None,
    }
}

/// A connection in clear text, opened so many milliseconds after the operation.
pub(super) fn connection(opened: f64) -> ConnectionRecord {
    ConnectionRecord {
        number: 0,
        kind: ConnectionKind::KeepAlive,
        secure: false,
        opened: at(opened),
        local_port: PORT,
        server: SERVER.into(),
        tls: TlsKind::None,
        requests: 1,
        closed: None,
        how: None,
        in_flight: false,
    }
}

/// 5 s before the operation and 12 s after it: probes every 10 ms, 100 attempts a second, and
/// `outcome` for all that is planned in the outage, which begins 103 ms after the operation.
pub(super) fn book_with_outage(outage_ms: u64, outcome: Outcome) -> Book {
    #[expect(clippy::cast_precision_loss, reason = "test moments")]
    let outage = 103.0..103.0 + outage_ms as f64;
    let mut book = Book {
        header: BookHeader {
            seed: 1,
            start: at(-5_000.0),
            probe_interval: 10_000_000,
            late_bound: 2_000_000,
        },
        ..Book::default()
    };
    for step in -500..1_200_i32 {
        for (stream, phase) in [
            (Stream::ProbeNew, 0.0),
            (Stream::ProbeReused, 5.0),
            (Stream::Load, 2.0),
        ] {
            let ms = f64::from(step) * 10.0 + phase;
            let now = if outage.contains(&ms) {
                outcome
            } else {
                Outcome::Ok
            };
            let id = book.attempts.len() as u64 + 1;
            book.attempts.push(attempt(id, stream, at(ms), now));
        }
    }
    book.sum_up(book.attempts.len() as u64, false);
    book
}
