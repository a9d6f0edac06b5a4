//! L1–L3, T1, M1: time goes on, nothing goes round in circles, and everything comes to rest.

use std::time::Duration;

use sim_httpsys::clockwork::Instant;
use sim_httpsys::counters::Counters;
use sim_httpsys::etw::{self, Traced};
use sim_httpsys::service_state::ServiceState;

use super::book::{Book, Place, Pool, PoolIndex, Request};
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
    /// When the time began in which everything has to come to rest, and what each pool had to do then.
    begun: (Instant, Vec<Backlog>),
}

/// What waited for a pool when the time to come to rest began.
#[derive(Clone, Copy, Debug)]
struct Backlog {
    waiting: usize,
    /// How many its workers had taken out of the queue by then.
    taken: u64,
    /// How many a worker takes before it is recycled; none if it takes all.
    of_a_worker: Option<usize>,
}

impl Backlog {
    fn of(book: &Book, index: PoolIndex) -> Self {
        let pool = book.pool(index);
        let workers = book.workers_of(index).map(|(_, worker)| &worker.terms);
        let limits = workers.chain([&pool.terms]).filter_map(|terms| {
            let requests = terms.restart.requests as usize;
            // Of a web garden each takes its part of them before its first recycle.
            (requests > 0).then(|| (requests / terms.places).max(1))
        });
        Self {
            waiting: pool.waiting_count,
            taken: pool.taken.0,
            of_a_worker: limits.min(),
        }
    }

    /// It is more than one worker takes, and one life of a worker has gone into it since.
    fn shrinks(&self, book: &Book, index: PoolIndex) -> bool {
        let pool = book.pool(index);
        let taken = usize::try_from(pool.taken.0 - self.taken).unwrap_or(usize::MAX);
        let goes_on = |share| self.waiting > share && (taken >= share || pool.waiting_count == 0);
        self.of_a_worker.is_some_and(goes_on)
    }
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
    /// forward: the first in it has not been the first for longer than that.
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
            let Pool { name, taken, .. } = &book.pools[index];
            let is_first_since = from.max(since).max(taken.1);
            if book.now.saturating_since(is_first_since) > limit + Duration::from_mins(1) {
                return broken("L2", format!("{first:?} waits in {name} since {since}"));
            }
        }
        Ok(())
    }

    /// The time begins in which everything has to come to rest.
    pub(super) fn begin(&mut self, book: &Book) {
        let pools = (0..book.pools.len()).map(PoolIndex);
        self.begun = (
            book.now,
            pools.map(|pool| Backlog::of(book, pool)).collect(),
        );
    }

    /// L1: load and faults are over, and every limit has passed since it began: nothing is under way.
    /// `Ok(false)` if there was more to do than one life of each worker, and that much was done: the same has
    /// to hold of the time that begins now.
    ///
    /// Clients may have left many requests behind, each as long as the longest page, and pools may let a
    /// worker do no more than a few before the next one has to start: no limit bounds how long all of them take.
    pub(super) fn at_rest(&mut self, book: &Book) -> Result<bool, (&'static str, String)> {
        let settled = Self::settled(book);
        if settled.is_err() && self.goes_forward(book) {
            self.begin(book);
            return Ok(false);
        }
        settled.map(|()| true)
    }

    /// Whether only pools are not at rest whose backlog is smaller than it was by what it has to be, and
    /// no worker has kept a request for the whole time.
    fn goes_forward(&self, book: &Book) -> bool {
        let (begun, backlogs) = &self.begun;
        let shrinks = |pool: PoolIndex| {
            let backlog = backlogs.get(pool.0);
            backlog.is_some_and(|backlog| backlog.shrinks(book, pool))
        };
        let mut requests = book.requests.iter();
        let mut workers = book.workers.values();
        requests.all(|(_, request)| match request.place {
            Place::Parsed => false,
            Place::Queued(pool) => shrinks(pool),
            Place::Delivered(process) if book.let_go.contains_key(&process) => true,
            Place::Delivered(_) => request.since > *begun && request.pool.is_some_and(shrinks),
        }) && workers.all(|worker| worker.serves() || shrinks(worker.pool))
    }

    fn settled(book: &Book) -> Verdict {
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

#[cfg(test)]
mod tests {
    use sim_httpsys::api::{ActivityId, ConnectionId, ProcessId, RequestId, RequestQueueName};
    use sim_httpsys::etw::Fact;

    use super::*;
    use crate::virtual_world::swarm::draw;

    /// L1 of a pool for which so many requests waited when its time to come to rest began, of which so many
    /// were taken and answered since; each of its workers takes at most so many.
    fn at_rest(waiting: u64, taken: u64, of_a_worker: u32) -> Result<bool, &'static str> {
        let mut plan = draw(0, 1_000);
        plan.pools.truncate(1);
        plan.other_sites.clear();
        plan.pools[0].max_processes = 1;
        plan.pools[0].restart_requests = of_a_worker;
        let mut book = Book::new(&plan.configuration().unwrap());
        let follow = |book: &mut Book, fact: &Fact| book.follow(fact).map(|_| ()).unwrap();
        let activity = ActivityId(0);
        for request in (1..=waiting).map(RequestId) {
            let connection = ConnectionId(request.0);
            let queue = RequestQueueName("P0".to_owned());
            let parsed = Fact::Parse {
                request,
                activity,
                connection,
            };
            follow(&mut book, &parsed);
            let queued = Fact::Queued {
                request,
                activity,
                queue,
            };
            follow(&mut book, &queued);
        }
        let mut rest = Rest::default();
        rest.begin(&book);
        for request in (1..=taken).map(RequestId) {
            let delivered = Fact::Deliver {
                request,
                activity,
                process: ProcessId(1_000),
                waited: 0,
            };
            follow(&mut book, &delivered);
            let dropped = Fact::Dropped {
                request,
                activity,
                connection: ConnectionId(request.0),
                reason: sim_httpsys::model::ReasonPhrase::ConnectionDropped,
                queue: None,
                process: None,
                partial: false,
            };
            follow(&mut book, &dropped);
        }
        rest.at_rest(&book).map_err(|(invariant, _)| invariant)
    }

    #[test]
    fn a_queue_that_outlasts_a_worker_has_to_shrink_by_what_a_worker_takes() {
        assert_eq!(at_rest(200, 200, 50), Ok(true));
        assert_eq!(at_rest(200, 50, 50), Ok(false));
        assert_eq!(at_rest(200, 49, 50), Err("L1"));
    }

    #[test]
    fn what_one_worker_can_do_has_to_be_done() {
        assert_eq!(at_rest(50, 49, 50), Err("L1"));
        assert_eq!(at_rest(200, 199, 0), Err("L1"));
        assert_eq!(at_rest(200, 200, 0), Ok(true));
    }
}
