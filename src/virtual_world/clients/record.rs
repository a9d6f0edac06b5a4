//! What is told of the clients: their progress while they run, and their book at the end.

use std::time::Duration;

use sim_httpsys::clockwork::Instant;

use super::{Clients, Load};
use crate::load::Progress;
use crate::load::book::{AttemptRecord, Book, BookHeader};
use crate::load::outcome::Outcome;

impl Clients {
    /// How it goes, since this was asked last.
    pub(in crate::virtual_world) fn progress(&mut self, now: Instant) -> Progress {
        let window = &mut self.window;
        let rank = (window.latencies.len() * 95)
            .div_ceil(100)
            .saturating_sub(1);
        let p95 = (!window.latencies.is_empty())
            .then(|| *window.latencies.select_nth_unstable(rank).1 / 1_000);
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
        let made = self.attempts.begun();
        let mut notes = self.book.take().unwrap_or_default();
        notes.attempts.extend(self.attempts.drain().map(|attempt| {
            let record = attempt.record(Outcome::Abandoned, None, now);
            (attempt.planned.url, record)
        }));
        notes.attempts.sort_unstable_by_key(|(_, record)| record.id);
        let urls = match &mut self.load {
            Load::Plan(plan) => plan.urls.as_slice(),
            Load::Endless(attempts) => attempts.all_urls(),
        };
        let with_url = |(url, mut record): (u32, AttemptRecord)| {
            record.url.clone_from(&urls[url as usize].url);
            record
        };
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let mut book = Book {
            header: BookHeader {
                seed: self.seed,
                start: self.start,
                probe_interval: nanos(self.profile.probes.interval),
                late_bound: nanos(self.profile.late_bound),
            },
            attempts: notes.attempts.into_iter().map(with_url).collect(),
            connections: notes.connections,
            summary: None,
        };
        self.patience = Default::default();
        let planned = match &self.load {
            Load::Plan(plan) => plan.attempts.len(),
            Load::Endless(_) => made,
        };
        book.sum_up(planned as u64, made < planned);
        book
    }
}
