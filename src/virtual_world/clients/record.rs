//! What is told of the clients: their progress while they run, and their book at the end.

use std::time::Duration;

use sim_httpsys::clockwork::Instant;

use super::Clients;
use crate::load::Progress;
use crate::load::book::{AttemptRecord, Book, BookHeader, TlsKind};
use crate::load::outcome::Outcome;
use crate::load::plan::PlannedAttempt;

impl Clients {
    /// How it goes, since this was asked last.
    pub(in crate::virtual_world) fn progress(&mut self, now: Instant) -> Progress {
        let window = &mut self.window;
        window.latencies.sort_unstable();
        let rank = (window.latencies.len() * 95)
            .div_ceil(100)
            .saturating_sub(1);
        let p95 = window.latencies.get(rank).map(|nanos| nanos / 1_000);
        window.latencies.clear();
        Progress {
            at: now,
            done: window.done,
            ok: window.ok,
            failed: window.failed,
            p95_us_last: p95,
            late_us: 0,
        }
    }

    /// The book of the run that ends now.
    pub(in crate::virtual_world) fn close_book(&mut self, now: Instant) -> Book {
        let mut attempts = std::mem::take(&mut self.attempts);
        for ((record, carrier), planned) in attempts
            .iter_mut()
            .zip(&self.carriers)
            .zip(&self.plan.attempts)
        {
            record
                .url
                .clone_from(&self.plan.urls[planned.url as usize].url);
            if carrier.is_some() {
                record.finished = now;
            }
        }
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let mut book = Book {
            header: BookHeader {
                seed: self.seed,
                start: self.start,
                probe_interval: nanos(self.profile.probes.interval),
                late_bound: nanos(self.profile.late_bound),
            },
            attempts,
            connections: std::mem::take(&mut self.connections),
            summary: None,
        };
        self.carriers.clear();
        self.patience = Default::default();
        let is_cut = self.next < self.plan.attempts.len();
        book.sum_up(self.plan.attempts.len() as u64, is_cut);
        book
    }
}

/// A record of an attempt that begins now, as planned.
pub(super) fn begun(planned: &PlannedAttempt, now: Instant) -> AttemptRecord {
    AttemptRecord {
        id: 1 + u64::from(planned.number),
        stream: planned.stream,
        planned: now,
        sent: now,
        first_byte: None,
        finished: now,
        outcome: Outcome::Abandoned,
        status: None,
        url: String::new(),
        user: planned.user,
        session: None,
        worker: None,
        bytes: 0,
        connection: None,
        local_port: None,
        tls: TlsKind::None,
        detail: None,
    }
}
