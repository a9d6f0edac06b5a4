//! Coverage: which events have met the four machines in which of their states.
//!
//! A swarm that never kills a worker while it drains proves nothing about that. So each pair of a state
//! and an event that can happen is a cell that many seeds should reach, and one that cannot happen is an
//! invariant that breaks when it does: C1 for a request, N1 for a connection, W3 for a worker, F3 for a
//! pool.

use std::iter;

use sim_httpsys::api::{ConnectionId, ProcessId, RequestId};
use sim_httpsys::etw::{self, ConnectionEnd};
use sim_httpsys::model::ReasonPhrase;
use sim_was::event_log;
use sim_worker::ipm::{FromWorker, ToWorker};

use super::book::{Book, Place, PoolIndex, PoolState, Worker};
use super::{Verdict, broken, pid_of};

/// One of the machines: what it can be, what can happen to it, and what of that can happen when.
struct Machine {
    name: &'static str,
    /// What is broken when something happens that cannot.
    invariant: &'static str,
    states: &'static [&'static str],
    /// Each with a mark for each of the `states`: `#` it happens there, and many seeds should see it; `-`
    /// it may, where two things race; `.` it cannot.
    events: &'static [(&'static str, &'static str)],
}

const REQUEST: usize = 0;
const CONNECTION: usize = 1;
const WORKER: usize = 2;
const POOL: usize = 3;

const MACHINES: [Machine; 4] = [
    Machine {
        name: "request",
        invariant: "C1",
        states: &["parsed", "queued", "delivered", "answered"],
        events: &[
            ("is not in the cache", "#..."),
            ("is queued", "#..."),
            ("is delivered", "##.."),
            ("has its response", "..-#"),
            ("has it from the cache", "#..."),
            ("is refused", "##--"),
            ("loses its client", "####"),
            ("is dropped", "####"),
        ],
    },
    Machine {
        name: "connection",
        invariant: "N1",
        states: &["new", "reading a head", "busy", "idle"],
        events: &[
            ("is secured", "#..."),
            ("brings a request", ".#.-"),
            ("meets a timer", "##-#"),
            ("is closed by the client", "#-.#"),
            ("is reset by the client", "-#.#"),
            ("is closed by the server", "#-.#"),
            ("is reset by the server", "##.#"),
        ],
    },
    Machine {
        name: "worker",
        invariant: "W3",
        states: &[
            "starting",
            "running",
            "suspended",
            "draining",
            "stopping",
            "killed",
        ],
        events: &[
            ("is ready", "#....."),
            ("attaches", "#-.#--"),
            ("is pinged", ".#...."),
            ("answers a ping", ".#####"),
            ("asks for a recycle", "-#-###"),
            ("says that it is idle", "-#----"),
            ("is given a request", "##-#-#"),
            ("lies", "##-#--"),
            ("is suspended", ".#...."),
            ("is resumed", "..#--."),
            ("is told to stop", "####-."),
            ("receives no more", "---#-#"),
            ("misses a ping", ".#---."),
            ("is at the limit of its start", "#..--."),
            ("is at the limit of its stop", "...##."),
            ("is killed", "##-##."),
            ("is orphaned", "-#-##-"),
            ("lets go of the driver", "##-###"),
            ("exits in order", "---###"),
            ("exits otherwise", "##-###"),
        ],
    },
    Machine {
        name: "pool",
        invariant: "F3",
        states: &[
            "stopped", "stopping", "empty", "starting", "serving", "rotating", "leaving",
        ],
        events: &[
            ("is started", "#------"),
            ("begins to stop", "..#####"),
            ("is stopped", ".######"),
            ("has a worker spawned", "#-#####"),
            ("has a worker ready", "--.#.#."),
            ("has a worker told to stop", "##.####"),
            ("has a worker killed", "##.####"),
            ("has a worker exit", "##.####"),
            ("is disabled for its failures", "--#####"),
            ("asks for a worker", "#-#-###"),
            ("has a request queued", "#-#####"),
            ("refuses for a full queue", "#-#####"),
            ("has a request delivered", "#-.####"),
            ("is recycled for its configuration", "#######"),
        ],
    },
];

/// What happens to a request, in the order of its machine's events; and so on.
#[derive(Clone, Copy)]
enum Call {
    Missed,
    Queued,
    Delivered,
    Answered,
    Cached,
    Refused,
    ClientGone,
    Dropped,
}

#[derive(Clone, Copy)]
enum Line {
    Secured,
    Parsed,
    Timer,
    ClientFin,
    ClientReset,
    ServerFin,
    ServerReset,
}

#[derive(Clone, Copy)]
enum Life {
    Ready,
    Attached,
    Pinged,
    Ponged,
    AskedForRecycle,
    SaidIdle,
    Given,
    Lied,
    Suspended,
    Resumed,
    Ordered,
    Closed,
    MissedPing,
    StartLimit,
    StopLimit,
    Killed,
    Orphaned,
    Detached,
    Exited,
    Died,
}

#[derive(Clone, Copy)]
enum Crew {
    Started,
    Stopping,
    Stopped,
    Spawned,
    Ready,
    Ordered,
    Killed,
    Exited,
    Disabled,
    Asked,
    Queued,
    Full,
    Delivered,
    Changed,
}

/// Cells of the largest machine.
const CELLS_MAX: usize = 128;

/// How often each cell was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage([[u64; CELLS_MAX]; MACHINES.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Self([[0; CELLS_MAX]; MACHINES.len()])
    }
}

/// What a swarm has reached of a machine.
#[derive(Debug)]
pub struct Reached {
    /// The machine.
    pub machine: &'static str,
    /// Cells that should be.
    pub expected: usize,
    /// Those that were not: a state, and an event.
    pub missing: Vec<(&'static str, &'static str)>,
}

impl Reached {
    /// Whether a swarm of 2,000 seeds may have missed as much: one in twenty.
    pub fn is_enough(&self) -> bool {
        self.missing.len() * 20 <= self.expected
    }
}

impl Coverage {
    /// Counts what another run has reached, too.
    pub fn add(&mut self, other: &Self) {
        let cells = self.0.iter_mut().flatten();
        for (mine, others) in iter::zip(cells, other.0.iter().flatten()) {
            *mine += others;
        }
    }

    /// What was reached of each machine.
    pub fn reached(&self) -> Vec<Reached> {
        let machines = iter::zip(&MACHINES, &self.0);
        let reached = machines.map(|(machine, cells)| {
            let mut reached = Reached {
                machine: machine.name,
                expected: 0,
                missing: Vec::new(),
            };
            for (index, (event, marks)) in machine.events.iter().enumerate() {
                let states = iter::zip(machine.states, marks.bytes()).enumerate();
                for (state, (name, _)) in states.filter(|(_, (_, mark))| *mark == b'#') {
                    reached.expected += 1;
                    if cells[index * machine.states.len() + state] == 0 {
                        reached.missing.push((name, event));
                    }
                }
            }
            reached
        });
        reached.collect()
    }

    #[inline]
    fn note(&mut self, machine: usize, state: usize, event: usize) -> Verdict {
        let Machine {
            name,
            invariant,
            states,
            events,
        } = &MACHINES[machine];
        self.0[machine][event * states.len() + state] += 1;
        let (event, marks) = events[event];
        if marks.as_bytes()[state] != b'.' {
            return Ok(());
        }
        broken(
            invariant,
            format!("a {name} that is {} {event}", states[state]),
        )
    }

    /// The driver states a fact, which the book does not know yet.
    pub(super) fn httpsys(&mut self, book: &Book, fact: &etw::Fact) -> Verdict {
        use etw::Fact;
        match fact {
            Fact::Parse { connection, .. } => self.connection(book, *connection, Line::Parsed),
            Fact::CacheMiss { request, .. } => self.request(book, *request, Call::Missed),
            Fact::SendComplete { request, .. } => self.request(book, *request, Call::Answered),
            Fact::SrvdFrmCache { request, .. } => self.request(book, *request, Call::Cached),
            Fact::Queued { request, queue, .. } => {
                if let Some(pool) = book.pool_of(queue) {
                    self.pool(book, pool, Crew::Queued)?;
                }
                self.request(book, *request, Call::Queued)
            }
            Fact::Deliver {
                request, process, ..
            } => {
                if let Some(worker) = book.workers.get(process) {
                    self.pool(book, worker.pool, Crew::Delivered)?;
                }
                self.worker(book, *process, Life::Given)?;
                self.request(book, *request, Call::Delivered)
            }
            Fact::FastResp {
                request,
                reason,
                queue,
                ..
            } => {
                if let (ReasonPhrase::QueueFull, Some(queue)) = (reason, queue)
                    && let Some(pool) = book.pool_of(queue)
                {
                    self.pool(book, pool, Crew::Full)?;
                }
                self.request(book, *request, Call::Refused)
            }
            Fact::Dropped {
                request, reason, ..
            } => {
                let client = matches!(
                    reason,
                    ReasonPhrase::ClientReset | ReasonPhrase::ConnectionDropped
                );
                let event = if client {
                    Call::ClientGone
                } else {
                    Call::Dropped
                };
                self.request(book, *request, event)
            }
            Fact::SslHandshake { connection, .. } => {
                self.connection(book, *connection, Line::Secured)
            }
            Fact::ConnError { connection, .. } => self.connection(book, *connection, Line::Timer),
            Fact::ConnCleanup {
                connection, end, ..
            } => {
                let event = match end {
                    ConnectionEnd::ClientFin => Line::ClientFin,
                    ConnectionEnd::ClientReset => Line::ClientReset,
                    ConnectionEnd::ServerFin => Line::ServerFin,
                    ConnectionEnd::ServerReset => Line::ServerReset,
                };
                self.connection(book, *connection, event)
            }
            Fact::DemandStart { queue } => match book.pool_of(queue) {
                Some(pool) => self.pool(book, pool, Crew::Asked),
                None => Ok(()),
            },
            Fact::ProcessAttach { process, .. } => self.worker(book, *process, Life::Attached),
            Fact::ProcessShutdown { process } => self.worker(book, *process, Life::Closed),
            Fact::ProcessDetach { process, .. } => self.worker(book, *process, Life::Detached),
            Fact::Untrusted { process, .. } => self.worker(book, *process, Life::Lied),
            _other => Ok(()),
        }
    }

    /// WAS states a fact, which the book does not know yet.
    pub(super) fn was(&mut self, book: &Book, fact: &event_log::Fact) -> Verdict {
        use event_log::Fact;
        match fact {
            Fact::WorkerSpawned { pool, .. } => match book.pool_named(pool) {
                Some(pool) => self.pool(book, pool, Crew::Spawned),
                None => Ok(()),
            },
            Fact::WorkerReady { process } => {
                self.of_worker(book, *process, Crew::Ready)?;
                self.worker(book, *process, Life::Ready)
            }
            Fact::WorkerStopOrdered { process, .. } => {
                self.of_worker(book, *process, Crew::Ordered)?;
                self.worker(book, *process, Life::Ordered)
            }
            Fact::WorkerKilled { process } => {
                self.of_worker(book, *process, Crew::Killed)?;
                self.worker(book, *process, Life::Killed)
            }
            Fact::WorkerExited { process, exit } => {
                self.of_worker(book, *process, Crew::Exited)?;
                let event = if exit.is_clean() {
                    Life::Exited
                } else {
                    Life::Died
                };
                self.worker(book, *process, event)
            }
            Fact::WorkerOrphaned { process } => self.worker(book, *process, Life::Orphaned),
            Fact::WorkerSuspended { process } => self.worker(book, *process, Life::Suspended),
            Fact::WorkerResumed { process } => self.worker(book, *process, Life::Resumed),
            Fact::PoolState { pool, state } => {
                let event = match state.as_str() {
                    "Started" => Crew::Started,
                    "Stopping" => Crew::Stopping,
                    _other => Crew::Stopped,
                };
                match book.pool_named(pool) {
                    Some(pool) => self.pool(book, pool, event),
                    None => Ok(()),
                }
            }
            Fact::ConfigurationChanged { recycled, .. } => recycled.iter().try_for_each(|name| {
                let mut pools = book.pools.iter();
                match pools.position(|pool| pool.name.eq_ignore_ascii_case(name)) {
                    Some(pool) => self.pool(book, PoolIndex(pool), Crew::Changed),
                    None => Ok(()),
                }
            }),
            Fact::Event(event) => {
                let limit = match event.id {
                    5010 => Life::MissedPing,
                    5012 => Life::StartLimit,
                    5013 => Life::StopLimit,
                    5002 => {
                        let pool = event.pool.as_deref();
                        return match pool.and_then(|name| book.pool_named(name)) {
                            Some(pool) => self.pool(book, pool, Crew::Disabled),
                            None => Ok(()),
                        };
                    }
                    _other => return Ok(()),
                };
                pid_of(event).map_or(Ok(()), |process| self.worker(book, process, limit))
            }
            _other => Ok(()),
        }
    }

    /// WAS hears a worker.
    pub(super) fn told(
        &mut self,
        book: &Book,
        process: ProcessId,
        message: &FromWorker,
    ) -> Verdict {
        let event = match message {
            FromWorker::PingReply { .. } => Life::Ponged,
            FromWorker::RequestRecycle { .. } => Life::AskedForRecycle,
            FromWorker::Idle => Life::SaidIdle,
            _other => return Ok(()),
        };
        self.worker(book, process, event)
    }

    /// WAS says something to a worker.
    pub(super) fn tell(&mut self, book: &Book, process: ProcessId, message: &ToWorker) -> Verdict {
        match message {
            ToWorker::Ping { .. } => self.worker(book, process, Life::Pinged),
            _other => Ok(()),
        }
    }

    fn request(&mut self, book: &Book, id: RequestId, event: Call) -> Verdict {
        let Some(request) = book.requests.get(id.0) else {
            return Ok(()); // the book says so
        };
        let state = match request.place {
            Place::Parsed => 0,
            Place::Queued(_) => 1,
            Place::Delivered(_) => 2 + usize::from(request.answered),
        };
        self.note(REQUEST, state, event as usize)
    }

    fn connection(&mut self, book: &Book, id: ConnectionId, event: Line) -> Verdict {
        let Some(connection) = book.connections.get(id.0) else {
            return Ok(());
        };
        let state = if connection.request.is_some() {
            2
        } else if connection.head_since.is_some() {
            1
        } else {
            3 * usize::from(connection.site.is_some())
        };
        self.note(CONNECTION, state, event as usize)
    }

    fn worker(&mut self, book: &Book, process: ProcessId, event: Life) -> Verdict {
        let Some(worker) = book.workers.get(&process) else {
            return Ok(());
        };
        let state = if worker.killed.is_some() {
            5
        } else if worker.ordered.is_some() {
            3 + usize::from(worker.hurried)
        } else if worker.suspended {
            2
        } else {
            usize::from(worker.ready.is_some())
        };
        self.note(WORKER, state, event as usize)
    }

    /// Something happens to a pool, because it happens to a worker of it.
    fn of_worker(&mut self, book: &Book, process: ProcessId, event: Crew) -> Verdict {
        match book.workers.get(&process) {
            Some(worker) => self.pool(book, worker.pool, event),
            None => Ok(()),
        }
    }

    fn pool(&mut self, book: &Book, pool: PoolIndex, event: Crew) -> Verdict {
        // One that does not start with WAS says so once.
        if book.pool(pool).state.is_none() && matches!(event, Crew::Stopped) {
            return Ok(());
        }
        let mut workers = book.workers_of(pool).map(|(_, worker)| worker);
        let has = |is: fn(&Worker) -> bool| book.workers_of(pool).any(|(_, worker)| is(worker));
        let state = match book.pool(pool).state {
            None | Some(PoolState::Stopped) => 0,
            Some(PoolState::Stopping) => 1,
            Some(PoolState::Started) if workers.next().is_none() => 2,
            Some(PoolState::Started) => {
                let others = has(Worker::is_starting) || has(Worker::is_leaving);
                match (has(Worker::serves), has(Worker::is_starting)) {
                    (true, _) => 4 + usize::from(others),
                    (false, true) => 3,
                    (false, false) => 6,
                }
            }
        };
        self.note(POOL, state, event as usize)
    }
}

#[cfg(test)]
mod tests {
    use sim_httpsys::clockwork::Instant;
    use sim_was::config::Configuration;

    use super::*;

    #[test]
    fn every_state_has_a_mark_for_every_event() {
        let events = [
            Call::Dropped as usize,
            Line::ServerReset as usize,
            Life::Died as usize,
            Crew::Changed as usize,
        ];
        for (machine, last) in iter::zip(&MACHINES, events) {
            assert_eq!(machine.events.len(), last + 1, "{}", machine.name);
            assert!(machine.events.len() * machine.states.len() <= CELLS_MAX);
            for (event, marks) in machine.events {
                assert_eq!(marks.len(), machine.states.len(), "{event}");
                assert!(marks.bytes().all(|mark| b"#-.".contains(&mark)), "{event}");
            }
        }
    }

    #[test]
    fn what_cannot_happen_is_broken_and_what_happens_is_counted() {
        let mut book = Book::new(&Configuration::default());
        book.now = Instant::SWITCHED_ON;
        let connect = etw::Fact::Parse {
            request: RequestId(1),
            activity: sim_httpsys::api::ActivityId(0),
            connection: ConnectionId(1),
        };
        book.follow(&connect).expect("it is parsed once");
        let mut coverage = Coverage::default();
        let missing = |coverage: &Coverage| coverage.reached()[REQUEST].missing.len();
        let before = missing(&coverage);
        let cached = coverage.request(&book, RequestId(1), Call::Cached);
        assert_eq!((cached, missing(&coverage)), (Ok(()), before - 1));
        let answered = coverage.request(&book, RequestId(1), Call::Answered);
        let what = "a request that is parsed has its response".to_owned();
        assert_eq!(answered, Err(("C1", what)));
    }
}
