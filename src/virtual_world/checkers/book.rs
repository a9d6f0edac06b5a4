//! What the facts say: requests, connections, pools and workers, as a reader of a trace knows them.
//!
//! The book is kept beside the models and never looks into them. [`Book::follow`] moves a request from
//! place to place and finds out on the way whether it may be moved so (C1, Q5, T1, W3).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use sim_httpsys::api::{
    ConnectionId, DisabledReason, ProcessId, RequestId, RequestQueueName, SiteId,
};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::Fact;
use sim_httpsys::model::ReasonPhrase;
use sim_was::config::{ApplicationPool, Configuration};
use sim_worker::ipm::ShutdownReason;

use super::numbered::Numbered;
use super::roster::Roster;
use super::sites::Wanted;
use super::terms::{Before, SitesInForce, Terms};
use super::{Verdict, broken};

/// A pool, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PoolIndex(pub(super) usize);

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Parsed,
    Queued(PoolIndex),
    Delivered(ProcessId),
}

/// A request that has not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) connection: ConnectionId,
    pub(super) place: Place,
    /// The pool that it was routed to, once that is known.
    pub(super) pool: Option<PoolIndex>,
    /// Where it belongs.
    pub(super) wanted: Wanted,
    /// When it came to its place.
    pub(super) since: Instant,
    /// The worker has handed over its whole response.
    pub(super) answered: bool,
}

/// A connection that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    pub(super) port: u16,
    pub(super) request: Option<RequestId>,
    /// The last time that it became idle.
    pub(super) idle_since: Instant,
    /// When the head that is not whole yet began.
    pub(super) head_since: Option<Instant>,
    /// Since when a body is read that nobody wants.
    pub(super) draining_since: Option<Instant>,
    /// The site whose limit it counts for: that of its first request that was routed.
    pub(super) site: Option<SiteId>,
    /// The site whose times it has: that of its last one.
    pub(super) times_of: Option<SiteId>,
    /// Nobody can tell whose times it has.
    pub(super) is_unsure: bool,
    /// The times that that site had when the request was routed, if they are known.
    pub(super) limits: Option<Limits>,
    /// Recycles that were complete when it was opened.
    pub(super) recycles: u64,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    FromCache,
    Refused(ReasonPhrase),
    Dropped(ReasonPhrase),
}

/// What a fact of the driver did to a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    Parsed(RequestId),
    Queued(RequestId, PoolIndex),
    Delivered(RequestId, ProcessId, Request),
    Ended(RequestId, Request, End),
    None,
}

/// What WAS says of a pool's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PoolState {
    Started,
    Stopping,
    Stopped,
}

/// A pool.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what it is set to, by the names of the schema"
)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) workers_max: usize,
    pub(super) queue_length: u32,
    /// What its next worker is started with.
    pub(super) terms: Rc<Terms>,
    /// What it was allowed before a change that is not through yet.
    pub(super) before: Option<Before>,
    /// It is in the configuration.
    pub(super) is_configured: bool,
    pub(super) overlapped: bool,
    /// WAS starts it with itself: it is to be started, and nothing of it is broken.
    pub(super) auto_start: bool,
    pub(super) rapid_fail: Option<(u32, Duration)>,
    pub(super) tcp_level: bool,
    /// WAS's word; none before WAS runs.
    pub(super) state: Option<PoolState>,
    /// Whether the driver has its queue, and why it refuses if it does.
    pub(super) queue: Option<Result<(), DisabledReason>>,
    /// Requests in the queue; ids of some that have left may be among the first.
    pub(super) waiting: VecDeque<RequestId>,
    pub(super) waiting_count: usize,
    pub(super) delivered_count: usize,
    /// Requests that workers have taken out of the queue, and when the last one was.
    pub(super) taken: (u64, Instant),
}

/// A worker process, from its start until WAS knows of its end.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what three witnesses say of it, each in its own time"
)]
pub(super) struct Worker {
    pub(super) pool: PoolIndex,
    pub(super) terms: Rc<Terms>,
    pub(super) spawned: Instant,
    pub(super) ready: Option<Instant>,
    pub(super) ordered: Option<(Instant, ShutdownReason)>,
    /// The last order does not wait for requests.
    pub(super) hurried: bool,
    pub(super) killed: Option<Instant>,
    pub(super) failed: bool,
    /// The driver's word.
    pub(super) attached: bool,
    pub(super) shut_down: bool,
    pub(super) held: u32,
    /// Receives that it has posted and that were not taken.
    pub(super) credits: u32,
    /// Something was done to it from outside: it may break any promise but its own limits.
    pub(super) struck: bool,
    /// It has stood still for a while: what it does of itself may come late.
    pub(super) slowed: bool,
    /// WAS has suspended it, and not resumed it.
    pub(super) suspended: bool,
    /// When it was last resumed, or spawned.
    pub(super) awake_since: Instant,
    /// Its own word.
    pub(super) said_ready: bool,
    pub(super) stopped_receiving: bool,
    pub(super) began: u64,
    pub(super) last_began: Instant,
    /// When a request of it ended last.
    pub(super) last_ended: Instant,
    /// Requests that it has begun and neither answered nor dropped.
    pub(super) busy_with: BTreeSet<RequestId>,
    /// It has asked to be shut down, because it is idle.
    pub(super) said_idle: bool,
}

impl Worker {
    /// Whether WAS counts on it.
    pub(super) fn serves(&self) -> bool {
        self.ready.is_some() && !self.is_leaving()
    }

    pub(super) fn is_starting(&self) -> bool {
        self.ready.is_none() && !self.is_leaving()
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.ordered.is_some() || self.killed.is_some()
    }

    /// It has promised to finish what it has.
    pub(super) fn drains(&self) -> bool {
        self.ordered.is_some() && !self.hurried && self.killed.is_none() && !self.struck
    }
}

/// Numbers of requests in each state: C2's two sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) received: u64,
    pub(super) responded: u64,
    pub(super) refused: u64,
    pub(super) dropped: u64,
    pub(super) parsing: u64,
    pub(super) queued: u64,
    pub(super) delivered: u64,
}

/// How long a connection may be idle, and how long a head may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) idle: Duration,
    pub(super) header: Duration,
}

impl Limits {
    /// The driver's own, which hold until a first request was routed.
    pub(super) const OF_DRIVER: Self = Self {
        idle: Duration::from_mins(2),
        header: Duration::from_mins(2),
    };
}

/// All of it.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) now: Instant,
    pub(super) pools: Vec<Pool>,
    pub(super) requests: Numbered<Request>,
    pub(super) connections: Numbered<Connection>,
    pub(super) workers: Roster,
    pub(super) tally: Tally,
    last_parsed: RequestId,
    pub(super) accepted: u64,
    pub(super) closed: u64,
    /// What its sites allow.
    pub(super) sites: SitesInForce,
    /// Idle timeouts may be divided, because memory is short.
    pub(super) is_idle_divided: bool,
    /// So many workers may be started for requests, on the whole server.
    pub(super) workers_limit: u32,
    /// W3SVC runs: pools may start workers.
    pub(super) serving: bool,
    /// Workers that were replaced, or stopped to be.
    pub(super) recycles: u64,
    /// Workers that WAS has orphaned, and whether the driver knows.
    pub(super) let_go: BTreeMap<ProcessId, bool>,
    /// WAS stands still.
    pub(super) frozen: bool,
    /// When it last went on after that.
    pub(super) thawed: Option<Instant>,
}

impl Book {
    pub(super) fn new(configuration: &Configuration) -> Self {
        Self {
            now: Instant::SWITCHED_ON,
            pools: configuration
                .application_pools
                .iter()
                .map(Pool::new)
                .collect(),
            requests: Numbered::default(),
            connections: Numbered::default(),
            workers: Roster::default(),
            tally: Tally::default(),
            last_parsed: RequestId(0),
            accepted: 0,
            closed: 0,
            sites: SitesInForce::new(configuration),
            is_idle_divided: configuration.web_limits.dynamic_idle_threshold > 0,
            workers_limit: configuration.web_limits.demand_start_threshold,
            serving: false,
            recycles: 0,
            let_go: BTreeMap::new(),
            frozen: false,
            thawed: None,
        }
    }

    pub(super) fn pool_named(&self, name: &str) -> Option<PoolIndex> {
        let pools = self.pools.iter();
        pools
            .map(|pool| &pool.name)
            .position(|n| n == name)
            .map(PoolIndex)
    }

    pub(super) fn pool_of(&self, queue: &RequestQueueName) -> Option<PoolIndex> {
        self.pool_named(&queue.0)
    }

    /// Whether WAS is not to blame for what it does late.
    pub(super) fn excused(&self) -> bool {
        self.frozen || self.thawed == Some(self.now)
    }

    pub(super) fn pool(&self, index: PoolIndex) -> &Pool {
        &self.pools[index.0]
    }

    pub(super) fn workers_of(
        &self,
        pool: PoolIndex,
    ) -> impl Iterator<Item = (&ProcessId, &Worker)> {
        self.workers.of(pool)
    }

    /// Moves a request as a fact says.
    pub(super) fn follow(&mut self, fact: &Fact) -> Result<Move, (&'static str, String)> {
        match fact {
            Fact::Parse {
                request,
                connection,
                ..
            } => self.parsed(*request, *connection),
            Fact::Queued { request, queue, .. } => self.queued(*request, queue),
            Fact::Deliver {
                request, process, ..
            } => self.delivered(*request, *process),
            Fact::SendComplete { request, .. } => self.ended(*request, End::Answered, None),
            Fact::SrvdFrmCache { request, .. } => self.ended(*request, End::FromCache, None),
            Fact::FastResp {
                request,
                reason,
                queue,
                ..
            } => self.ended(*request, End::Refused(*reason), queue.as_ref()),
            Fact::Dropped {
                request,
                reason,
                queue,
                ..
            } => self.ended(*request, End::Dropped(*reason), queue.as_ref()),
            Fact::SslHandshake { .. }
            | Fact::LogFileWrite { .. }
            | Fact::ConnConnect { .. }
            | Fact::ConnCleanup { .. }
            | Fact::CacheMiss { .. }
            | Fact::ConnError { .. }
            | Fact::CacheInsert { .. }
            | Fact::CacheRemove { .. }
            | Fact::DemandStart { .. }
            | Fact::ProcessAttach { .. }
            | Fact::ProcessShutdown { .. }
            | Fact::ProcessDetach { .. }
            | Fact::Untrusted { .. }
            | Fact::CreateRequestQueue { .. }
            | Fact::CloseRequestQueue { .. }
            | Fact::AddUrl { .. }
            | Fact::RemoveUrl { .. }
            | Fact::ConnCounted { .. }
            | Fact::EndpointOpen { .. }
            | Fact::EndpointClose { .. } => Ok(Move::None),
        }
    }

    fn parsed(
        &mut self,
        request: RequestId,
        connection: ConnectionId,
    ) -> Result<Move, (&'static str, String)> {
        let parsed = Request {
            connection,
            place: Place::Parsed,
            pool: None,
            wanted: Wanted::Unknown,
            since: self.now,
            answered: false,
        };
        let is_next = request > self.last_parsed;
        self.last_parsed = request;
        if !is_next || !self.requests.insert(request.0, parsed) {
            return Err(("C1", format!("{request:?} was parsed twice")));
        }
        self.tally.received += 1;
        self.tally.parsing += 1;
        Ok(Move::Parsed(request))
    }

    fn queued(
        &mut self,
        request: RequestId,
        queue: &RequestQueueName,
    ) -> Result<Move, (&'static str, String)> {
        let Some(pool) = self.pool_of(queue) else {
            return Err((
                "Q5",
                format!("{request:?} waits for {queue}, which is no pool"),
            ));
        };
        let now = self.now;
        match self.requests.get_mut(request.0) {
            Some(entry) if entry.place == Place::Parsed => {
                entry.place = Place::Queued(pool);
                entry.pool = Some(pool);
                entry.since = now;
            }
            other => return Err(("Q5", format!("{request:?} was queued, and is {other:?}"))),
        }
        self.tally.parsing -= 1;
        self.tally.queued += 1;
        let pool_book = &mut self.pools[pool.0];
        pool_book.waiting.push_back(request);
        pool_book.waiting_count += 1;
        Ok(Move::Queued(request, pool))
    }

    fn delivered(
        &mut self,
        request: RequestId,
        process: ProcessId,
    ) -> Result<Move, (&'static str, String)> {
        let pool = self.workers.get(&process).map(|worker| worker.pool);
        let now = self.now;
        let Some(entry) = self.requests.get_mut(request.0) else {
            return Err(("C1", format!("{request:?} was delivered after its end")));
        };
        let before = *entry;
        if let Place::Delivered(holder) = before.place {
            let what = format!("{request:?} was delivered to {process:?}, and {holder:?} has it");
            return Err(("Q5", what));
        }
        entry.place = Place::Delivered(process);
        entry.pool = entry.pool.or(pool);
        entry.since = now;
        // One that was orphaned has no pool any more; its request has.
        let pool = entry.pool;
        self.leave(request, &before);
        if let Place::Queued(queue) = before.place {
            let (taken, last) = &mut self.pools[queue.0].taken;
            (*taken, *last) = (*taken + 1, now);
        }
        self.tally.delivered += 1;
        if let Some(pool) = pool {
            self.pools[pool.0].delivered_count += 1;
        }
        Ok(Move::Delivered(request, process, before))
    }

    fn ended(
        &mut self,
        request: RequestId,
        end: End,
        queue: Option<&RequestQueueName>,
    ) -> Result<Move, (&'static str, String)> {
        let Some(mut entry) = self.requests.remove(request.0) else {
            return Err(("C1", format!("{request:?} has ended twice, or never began")));
        };
        // It leaves what it was booked for: one that was handed to an orphan at once was booked for no pool.
        self.leave(request, &entry);
        entry.pool = entry
            .pool
            .or_else(|| queue.and_then(|queue| self.pool_of(queue)));
        match end {
            End::Answered | End::FromCache => self.tally.responded += 1,
            End::Refused(_) => self.tally.refused += 1,
            End::Dropped(_) => self.tally.dropped += 1,
        }
        Ok(Move::Ended(request, entry, end))
    }

    /// A request leaves its place.
    fn leave(&mut self, request: RequestId, entry: &Request) {
        match entry.place {
            Place::Parsed => self.tally.parsing -= 1,
            Place::Queued(pool) => {
                self.tally.queued -= 1;
                let pool = &mut self.pools[pool.0];
                pool.waiting_count -= 1;
                if pool.waiting.back() == Some(&request) {
                    pool.waiting.pop_back();
                }
            }
            Place::Delivered(process) => {
                self.tally.delivered -= 1;
                if let Some(pool) = entry.pool {
                    self.pools[pool.0].delivered_count -= 1;
                }
                if let Some(worker) = self.workers.get_mut(&process) {
                    worker.held = worker.held.saturating_sub(1);
                }
            }
        }
    }

    /// The request that has waited longest in a queue.
    pub(super) fn first_waiting(&mut self, pool: PoolIndex) -> Option<RequestId> {
        let waiting = &mut self.pools[pool.0].waiting;
        while let Some(first) = waiting.front() {
            let entry = self.requests.get(first.0);
            if entry.is_some_and(|entry| entry.place == Place::Queued(pool)) {
                return Some(*first);
            }
            waiting.pop_front();
        }
        None
    }

    /// Opens and closes connections, and tells which request is on which (N1, N2).
    pub(super) fn connect(&mut self, fact: &Fact, step: &Move) -> Verdict {
        if let Fact::ConnConnect {
            connection, ends, ..
        } = fact
        {
            let fresh = Connection {
                port: ends.local.port(),
                request: None,
                idle_since: self.now,
                head_since: None,
                draining_since: None,
                site: None,
                times_of: None,
                is_unsure: false,
                limits: None,
                recycles: self.recycles,
            };
            if !self.connections.insert(connection.0, fresh) {
                return broken("N1", format!("{connection:?} was opened twice"));
            }
            self.accepted += 1;
        }
        match *step {
            Move::Parsed(request) => {
                let id = self.requests.get(request.0).map(|r| r.connection);
                let connection = id.and_then(|id| self.connections.get_mut(id.0));
                let Some(connection) = connection else {
                    return broken(
                        "N1",
                        format!("{request:?} came on {id:?}, which is not open"),
                    );
                };
                if let Some(other) = connection.request.replace(request) {
                    let what = format!("{request:?} was parsed on {id:?}, and {other:?} is on it");
                    return broken("N2", what);
                }
                connection.head_since = None;
            }
            Move::Ended(request, entry, _) => {
                let now = self.now;
                if let Some(connection) = self.connections.get_mut(entry.connection.0) {
                    if connection.request.take() != Some(request) {
                        return broken("N2", format!("{request:?} ended out of its order"));
                    }
                    connection.idle_since = now;
                }
            }
            Move::Queued(..) | Move::Delivered(..) | Move::None => {}
        }
        Ok(())
    }
}

impl Pool {
    pub(super) fn new(settings: &ApplicationPool) -> Self {
        let model = &settings.process_model;
        let failure = &settings.failure;
        Self {
            name: settings.name.clone(),
            workers_max: model.max_processes.max(1) as usize,
            queue_length: settings.queue_length,
            terms: Terms::of(settings),
            before: None,
            is_configured: true,
            overlapped: !settings.recycling.disallow_overlapping_rotation,
            // Source: event 5172: WAS goes without what it cannot read.
            auto_start: settings.auto_start && settings.fault.is_none(),
            rapid_fail: failure.rapid_fail_protection.then_some((
                failure.rapid_fail_protection_max_crashes,
                failure.rapid_fail_protection_interval,
            )),
            tcp_level: failure.tcp_level,
            state: None,
            queue: None,
            waiting: VecDeque::new(),
            waiting_count: 0,
            delivered_count: 0,
            taken: (0, Instant::SWITCHED_ON),
        }
    }

    /// Whether WAS may start workers for it.
    pub(super) fn may_run(&self) -> bool {
        self.state == Some(PoolState::Started)
    }
}
