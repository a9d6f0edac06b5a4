//! L1–L3, T1, M1: time goes on, nothing goes round in circles, and everything comes to rest.

use std::time::Duration;

use sim_httpsys::clockwork::Instant;
use sim_httpsys::counters::Counters;
use sim_httpsys::etw::{self, Traced};
use sim_httpsys::service_state::ServiceState;

use super::book::{Book, Place, PoolIndex, Request};
use super::sites::{Sites, Told};
use super::{Verdict, broken, words};

/// Inputs that machines may be given in one instant.
const INPUTS_MAX: u64 = 1_000_000;

/// Time, and what has moved in it.
#[derive(Debug, Default)]
pub(super) struct Rest {
    inputs: u64,
    /// Since when faults are over.
    pub(super) quiet: Option<Instant>,
}

impl Rest {
    /// T1, L3: a machine is given an input at `now`.
    pub(super) fn input(&mut self, book: &mut Book, now: Instant) -> Verdict {
        if now < book.now {
            let then = book.now;
            return broken("T1", format!("it is {now}, and was {then}"));
        }
        if now > book.now {
            book.now = now;
            self.inputs = 0;
        }
        self.inputs += 1;
        if self.inputs > INPUTS_MAX {
            return broken("L3", format!("{INPUTS_MAX} inputs at {now}"));
        }
        Ok(())
    }

    /// L2: when faults have been over for longer than every limit, a queue of a pool that is on goes
    /// forward.
    pub(super) fn look(&self, book: &mut Book) -> Verdict {
        let Some(quiet) = self.quiet else {
            return Ok(());
        };
        for index in 0..book.pools.len() {
            let pool = &book.pools[index];
            if pool.waiting_count == 0 || !pool.may_run() || !book.serving {
                continue;
            }
            let of_workers = book
                .workers_of(PoolIndex(index))
                .map(|(_, worker)| worker.terms.all_limits());
            let limit = pool
                .terms
                .all_limits()
                .max(of_workers.max().unwrap_or_default());
            let from = quiet + limit + Duration::from_secs(1);
            let Some(first) = book.first_waiting(PoolIndex(index)) else {
                continue;
            };
            let since = book
                .requests
                .get(first.0)
                .map_or(book.now, |request| request.since);
            if book.now.saturating_since(from.max(since)) > limit + Duration::from_mins(1) {
                let name = &book.pools[index].name;
                return broken("L2", format!("{first:?} waits in {name} since {since}"));
            }
        }
        Ok(())
    }

    /// L1: load and faults are over, and every limit has passed.
    pub(super) fn at_rest(book: &Book) -> Verdict {
        // Whoever is orphaned keeps what it has, until somebody looks at it.
        let is_kept = |request: &Request| match request.place {
            Place::Delivered(process) => book.let_go.contains_key(&process),
            Place::Parsed | Place::Queued(_) => false,
        };
        let mut left = book.requests.iter();
        if let Some((id, request)) = left.find(|(_, request)| !is_kept(request)) {
            let count = book.requests.len();
            let place = words::place(request.place);
            let what = format!(
                "{count} request(s) have not ended, {id} {place} since {}",
                request.since
            );
            return broken("L1", what);
        }
        let restless = book.workers.iter().find(|(_, worker)| !worker.serves());
        if let Some((process, worker)) = restless {
            return broken(
                "L1",
                format!("{process:?} is not at rest: {}", words::of(Some(worker))),
            );
        }
        Ok(())
    }

    /// M1: the driver's own numbers are those of the book.
    pub(super) fn scan(book: &Book, state: &ServiceState) -> Verdict {
        let open = book.connections.len() as u64;
        if state.connections != open {
            let what = format!(
                "{open} connections are open, the driver says {}",
                state.connections
            );
            return broken("M1", what);
        }
        for queue in &state.request_queues {
            let Some(index) = book.pool_of(&queue.name) else {
                continue;
            };
            let pool = book.pool(index);
            if queue.queued as usize != pool.waiting_count {
                let what = format!(
                    "{} wait in {}, the driver says {}",
                    pool.waiting_count, pool.name, queue.queued
                );
                return broken("M1", what);
            }
            if queue.active as usize > pool.delivered_count {
                let what = format!(
                    "workers of {} have {}, the driver says {}",
                    pool.name, pool.delivered_count, queue.active
                );
                return broken("M1", what);
            }
        }
        Ok(())
    }

    /// M1: PerfMon's counters, folded from the facts, are those of the book, and fall only when W3SVC lets go
    /// of everything.
    pub(super) fn counters(book: &Book, sites: &Sites, facts: &[Traced<etw::Fact>]) -> Verdict {
        let answered_of = |counters: &Counters| -> u64 {
            let sites = counters.web_service.values();
            sites.map(|site| site.total_method_requests).sum()
        };
        let mut counters = Counters::default();
        let mut answered_before = 0;
        let mut told = Told::default();
        for traced in facts {
            let before = answered_of(&counters);
            let is_reset = matches!(traced.fact, etw::Fact::CloseRequestQueue { .. });
            let of_sites = is_reset.then(|| counters.web_service.clone());
            counters.record(&traced.fact, traced.at);
            if let Some(of_sites) = of_sites.filter(|_| counters.open_queues().is_empty()) {
                told.add(&of_sites);
            }
            let after = answered_of(&counters);
            if after >= before {
                continue;
            }
            if !is_reset || after != 0 || !counters.open_queues().is_empty() {
                let what = format!("PerfMon's {before} answers became {after} at {traced:?}");
                return broken("M1", what);
            }
            answered_before += before;
        }
        told.add(&counters.web_service);
        sites.counters(&told)?;
        let answered = answered_before + answered_of(&counters);
        let is_late =
            |traced: &&Traced<etw::Fact>| matches!(traced.fact, etw::Fact::LogFileWrite { .. });
        let booked = book.tally.responded + facts.iter().filter(is_late).count() as u64;
        if answered != booked {
            return broken(
                "M1",
                format!("{booked} were answered, PerfMon says {answered}"),
            );
        }
        let queues = counters.http_service_request_queues.values();
        let waiting: u64 = queues
            .map(sim_httpsys::counters::HttpServiceRequestQueues::current_queue_size)
            .sum();
        if waiting != book.tally.queued {
            let booked = book.tally.queued;
            return broken("M1", format!("{booked} wait, PerfMon says {waiting}"));
        }
        Ok(())
    }
}
