//! The driver, pure: bytes, calls and the time go in; bytes, completions and facts come out.
//!
//! This file only routes. Each noun has its own file.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;

use crate::api::{
    Call, CallId, Completion, ConnectionId, Endpoint, Ends, ProcessId, RequestId, SiteId, Timeouts,
    UrlGroupId, Win32Error,
};
use crate::clockwork::{Deadline, Deadlines, Instant, StateMachine, UtcClock};
use crate::etw::Fact;
use crate::id_slab::IdSlab;
use crate::logging::LogEntry;
use crate::pieces::Pieces;
use crate::remembered::Remembered;

mod cache_entry;
mod connection;
mod control;
mod endpoints;
mod entity;
mod entity_body;
pub mod error_page;
mod exchange;
mod framing;
pub mod http1;
pub mod http_date;
mod id_map;
mod known_heads;
mod known_routes;
mod mutations;
mod processes;
mod reason;
mod refusal;
mod request_queue;
mod response;
mod response_cache;
mod response_head;
pub mod routing;
mod target;
#[cfg(test)]
mod tests;
mod timeouts;
mod unread;
mod url_group;
pub mod url_path;
pub mod url_prefix;
mod zombie;

use connection::Connection;
use endpoints::Endpoints;
use exchange::Exchange;
use http1::HeadMemory;
use known_routes::KnownRoutes;
use processes::Process;
use request_queue::RequestQueues;
use response_cache::ResponseCache;
use response_head::ResponseHead;
use routing::RoutingTable;
use timeouts::ConnectionTimers;
use url_group::UrlGroup;
use zombie::Zombie;

pub use reason::ReasonPhrase;
pub use timeouts::MIN_SEND_RATE;
pub use zombie::ZOMBIE_MAX;

/// What can happen to the driver.
#[derive(serde::Serialize, serde::Deserialize, Debug)]
pub enum Input<'a> {
    /// The answer to [`Output::Listen`].
    Listening {
        /// Which endpoint.
        endpoint: Endpoint,
        /// Whether its socket could be opened.
        result: Result<(), Win32Error>,
    },
    /// A connection was accepted.
    Opened {
        /// Its id, chosen by the driver's live part, never used before.
        connection: ConnectionId,
        /// On which endpoint.
        endpoint: Endpoint,
        /// Its ends.
        ends: Ends,
    },
    /// A TLS handshake was completed; cleartext follows.
    Secured {
        /// On which connection.
        connection: ConnectionId,
        /// Whether an earlier session was resumed.
        resumed: bool,
    },
    /// Bytes arrived (cleartext).
    Received {
        /// On which connection.
        connection: ConnectionId,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Everything that was to be sent on the connection is on its way, as far as the client has room for it:
    /// what an RST would still take back does not count.
    Sent {
        /// On which connection.
        connection: ConnectionId,
    },
    /// The client will send nothing more (FIN), and may still read.
    HalfClosed {
        /// On which connection.
        connection: ConnectionId,
    },
    /// The connection is gone: reset by the client, or a write failed.
    Reset {
        /// Which connection.
        connection: ConnectionId,
    },
    /// A process has opened the device.
    Attached {
        /// Who.
        process: ProcessId,
    },
    /// A process asks something.
    Called {
        /// Who.
        by: ProcessId,
        /// What.
        #[serde(with = "crate::api::wire::call_as_frame")]
        call: Call,
    },
    /// A process has let go of the device, mostly by dying.
    Gone {
        /// Who.
        process: ProcessId,
    },
}

/// What the driver wants done, and what it says has happened.
#[derive(Debug)]
pub enum Output {
    /// Open a listening socket; answer with [`Input::Listening`].
    Listen {
        /// Where.
        endpoint: Endpoint,
    },
    /// Close a listening socket. Its connections are dealt with one by one.
    Unlisten {
        /// Where.
        endpoint: Endpoint,
    },
    /// Send bytes (cleartext).
    Send {
        /// On which connection.
        connection: ConnectionId,
        /// The bytes.
        bytes: Bytes,
    },
    /// Stop or resume reading from a connection: its client sends faster than anybody takes. Until
    /// resumed, [`Input::Received`] is still taken if it comes.
    Reading {
        /// Which connection.
        connection: ConnectionId,
        /// Stop (`true`) or resume.
        paused: bool,
    },
    /// Close a connection. The id is not used again, in either direction.
    Close {
        /// Which.
        connection: ConnectionId,
        /// How.
        how: CloseHow,
    },
    /// Answer a call with what the counters read, which are folded from the facts.
    QueryCounters {
        /// Who has asked.
        by: ProcessId,
        /// Its call.
        call: CallId,
    },
    /// Tell a process something.
    Complete {
        /// Whom.
        to: ProcessId,
        /// What.
        completion: Completion,
    },
    /// Write a line into a log.
    Log(LogEntry),
    /// Something has happened.
    Fact(Fact),
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseHow {
    /// In order: what was to be sent is sent first, then FIN; what still arrives is read and dropped.
    AfterSending,
    /// At once, with an RST on the wire; what was to be sent is dropped.
    Reset,
}

/// What happens to a process's cache entries when it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheOnWorkerExit {
    /// They go too.
    /// Assumed: with the worker gone nobody could invalidate an entry whose file changes (KB911822
    /// says that the worker keeps its own entry in order to flush the driver's).
    FlushOwned,
    /// They stay, as long as their queue lives.
    Keep,
}

/// How connections end when their endpoint goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointClose {
    /// By RST.
    /// Assumed: no Microsoft document says what an idle connection sees.
    Rst,
    /// By FIN.
    Fin,
}

/// What a machine is made with, for its recording.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MachineSetup {
    /// Its settings.
    pub parameters: Parameters,
    /// Its civil time.
    pub clock: UtcClock,
}

/// The settings that the driver reads once, when it is loaded (the registry, under `HTTP\Parameters`),
/// and the choices where nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// Longest header field, bytes. Source: KB820129, `MaxFieldLength` 16384.
    pub max_field_length: u32,
    /// Longest request line and headers together, bytes. Source: KB820129, `MaxRequestBytes` 16384.
    pub max_request_bytes: u32,
    /// Most segments in a path. Source: KB820129, `UrlSegmentMaxCount` 255.
    pub url_segment_max_count: u32,
    /// Longest segment, characters. Source: KB820129, `UrlSegmentMaxLength` 260.
    pub url_segment_max_length: u32,
    /// Largest cached response, bytes. Source: KB820129, `UriMaxUriBytes` 262144.
    pub uri_max_uri_bytes: u32,
    /// Seconds between two rounds of the scavenger. Source: KB820129, `UriScavengerPeriod` 120.
    pub uri_scavenger_period: u32,
    /// Whether the response cache is on at all. Source: KB820129, `UriEnableCache` 1.
    pub uri_enable_cache: bool,
    /// Size at which the next error log file is begun. Source: KB820729, `ErrorLogFileTruncateSize`
    /// default and minimum 1 MiB.
    pub error_log_file_truncate_size: u64,
    /// The response cache and a worker's exit.
    pub kernel_cache_on_worker_exit: CacheOnWorkerExit,
    /// Connections and the end of their endpoint.
    pub endpoint_close: EndpointClose,
    /// All bytes of the response cache together.
    /// Assumed: real HTTP.sys takes a share of memory that Microsoft does not publish.
    pub response_cache_bytes_max: u64,
}

impl Parameters {
    /// Says which of them HTTP.sys would not take.
    ///
    /// Source: KB820129: `MaxFieldLength` 64 to 65534, `MaxRequestBytes` 256 to 16777216,
    /// `UrlSegmentMaxCount` up to 16383, `UrlSegmentMaxLength` up to 32766, `UriMaxUriBytes` 4096 to 16777216,
    /// `UriScavengerPeriod` at least 10 s.
    pub fn check(&self) -> Result<(), String> {
        for (name, value, least, most) in [
            ("max_field_length", self.max_field_length, 64, 65_534),
            ("max_request_bytes", self.max_request_bytes, 256, 16_777_216),
            (
                "url_segment_max_count",
                self.url_segment_max_count,
                0,
                16_383,
            ),
            (
                "url_segment_max_length",
                self.url_segment_max_length,
                0,
                32_766,
            ),
            (
                "uri_max_uri_bytes",
                self.uri_max_uri_bytes,
                4_096,
                16_777_216,
            ),
            (
                "uri_scavenger_period",
                self.uri_scavenger_period,
                10,
                u32::MAX,
            ),
        ] {
            if !(least..=most).contains(&value) {
                return Err(format!(
                    "{name} must lie between {least} and {most}, not {value}"
                ));
            }
        }
        Ok(())
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            max_field_length: 16384,
            max_request_bytes: 16384,
            url_segment_max_count: 255,
            url_segment_max_length: 260,
            uri_max_uri_bytes: 262_144,
            uri_scavenger_period: 120,
            uri_enable_cache: true,
            error_log_file_truncate_size: 1 << 20,
            kernel_cache_on_worker_exit: CacheOnWorkerExit::FlushOwned,
            endpoint_close: EndpointClose::Rst,
            response_cache_bytes_max: 256 << 20,
        }
    }
}

/// Why the driver wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// A connection's idle, header or body timer, whichever it has armed.
    Connection(ConnectionId),
    /// The response cache's scavenger.
    Scavenger,
    /// The log data of a request whose client has gone, still owed by its worker.
    Zombie(RequestId),
}

/// HTTP.sys.
#[derive(Debug)]
pub struct HttpSys {
    parameters: Parameters,
    date: response_head::DateLine,
    outputs: VecDeque<Output>,
    deadlines: Deadlines<Timer>,
    connection_timers: ConnectionTimers,
    connections: IdSlab<ConnectionId, Connection>,
    /// The timers of a connection that was not routed yet.
    first_timeouts: Rc<Timeouts>,
    zombies: BTreeMap<RequestId, Zombie>,
    processes: BTreeMap<ProcessId, Process>,
    queues: RequestQueues,
    groups: BTreeMap<UrlGroupId, UrlGroup>,
    endpoints: Endpoints,
    routing: RoutingTable,
    cache: ResponseCache,
    site_connections: BTreeMap<SiteId, u32>,
    tally: Tally,
    head_memory: HeadMemory,
    known_routes: KnownRoutes,
    /// Heads of workers that were read before.
    response_heads: Remembered<Rc<ResponseHead>>,
    answer_memory: Pieces,
    /// Requests that have ended, of which the memory is used again.
    ended: VecDeque<Box<Exchange>>,
}

/// The book that [`HttpSys::check_invariants`] balances: every parsed request ends exactly once.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Requests parsed; also the number of the last request.
    parsed: u64,
    /// Requests that have ended.
    ended: u64,
    /// Requests that are in an [`exchange::Exchange`].
    live: u64,
}

impl HttpSys {
    /// A driver with nothing registered.
    pub fn new(parameters: Parameters, clock: UtcClock) -> Self {
        Self {
            parameters,
            date: response_head::DateLine::new(clock),
            outputs: VecDeque::new(),
            deadlines: Deadlines::new(),
            connection_timers: ConnectionTimers::default(),
            connections: IdSlab::default(),
            first_timeouts: Rc::new(Timeouts::default()),
            zombies: BTreeMap::new(),
            processes: BTreeMap::new(),
            queues: RequestQueues::default(),
            groups: BTreeMap::new(),
            endpoints: Endpoints::default(),
            routing: RoutingTable::default(),
            cache: ResponseCache::default(),
            site_connections: BTreeMap::new(),
            tally: Tally::default(),
            head_memory: HeadMemory::default(),
            known_routes: KnownRoutes::default(),
            response_heads: Remembered::default(),
            answer_memory: Pieces::default(),
            ended: VecDeque::new(),
        }
    }

    fn called(&mut self, by: ProcessId, call: Call, now: Instant) {
        match call {
            Call::Control { id, call } => self.control(by, id, call, now),
            Call::ReceiveRequest { credits } => self.receive_request(by, credits, now),
            Call::SendResponse {
                request,
                response,
                more,
            } => {
                self.send_response(by, request, response, more, now);
            }
            Call::SendEntityBody {
                request,
                body,
                more,
            } => {
                self.send_entity_body(by, request, body, more, now);
            }
            Call::ReceiveEntityBody { request } => self.receive_entity_body(by, request, now),
            Call::CancelRequest { request } => self.cancel_request(by, request, now),
        }
    }

    /// Takes the next timer that is due. Among equal times a connection's comes first.
    fn due_timer(&mut self, now: Instant) -> Option<Timer> {
        loop {
            let Deadline { at, timer } = self.next_deadline()?;
            if at > now {
                return None;
            }
            match timer {
                Timer::Connection(id) => {
                    self.connection_timers.remove(at, id);
                    return Some(timer);
                }
                Timer::Scavenger | Timer::Zombie(_) => {
                    if let Some(timer) = self.deadlines.pop_due(now) {
                        return Some(timer);
                    }
                }
            }
        }
    }

    fn fact(&mut self, fact: Fact) {
        self.outputs.push_back(Output::Fact(fact));
    }

    fn complete(&mut self, to: ProcessId, completion: Completion) {
        self.outputs.push_back(Output::Complete { to, completion });
    }

    /// What must hold after every input: the book of requests balances (every parsed request is in
    /// exactly one place or has ended exactly once), and nothing waits that could be delivered.
    pub fn check_invariants(&self) {
        let Tally {
            parsed,
            ended,
            live,
        } = self.tally;
        debug_assert_eq!(
            parsed,
            ended + live,
            "every parsed request ends exactly once"
        );
        let held: usize = self.processes.values().map(|p| p.held.len()).sum();
        let active: usize = self
            .queues
            .open()
            .map(|(_, queue)| queue.active as usize)
            .sum();
        debug_assert_eq!(held, active, "a delivered request has exactly one holder");
        for (_, queue) in self.queues.open() {
            queue.check_invariants();
        }
        self.cache.check_invariants();
    }
}

impl StateMachine for HttpSys {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Timer = Timer;

    fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Listening { endpoint, result } => self.listening(endpoint, result),
            Input::Opened {
                connection,
                endpoint,
                ends,
            } => {
                self.opened(connection, endpoint, ends, now);
            }
            Input::Secured {
                connection,
                resumed,
            } => {
                self.fact(Fact::SslHandshake {
                    connection,
                    resumed,
                });
            }
            Input::Received { connection, bytes } => self.received(connection, bytes, now),
            Input::Sent { connection } => self.sent(connection, now),
            Input::HalfClosed { connection } => self.half_closed(connection, now),
            Input::Reset { connection } => self.client_reset(connection, now),
            Input::Attached { process } => {
                self.processes.entry(process).or_default();
            }
            Input::Called { by, call } => self.called(by, call, now),
            Input::Gone { process } => self.process_gone(process, now),
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn handle_deadline(&mut self, now: Instant) {
        while let Some(timer) = self.due_timer(now) {
            match timer {
                Timer::Connection(connection) => self.connection_timer(connection, now),
                Timer::Scavenger => self.scavenge(now),
                Timer::Zombie(request) => self.bury_zombie(request, now),
            }
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Deadline<Timer>> {
        let first = self.connection_timers.first();
        let of_connection = first.map(|(at, id)| Deadline {
            at,
            timer: Timer::Connection(id),
        });
        match (of_connection, self.deadlines.next()) {
            (Some(one), Some(other)) if other.at < one.at => Some(other),
            (one, other) => one.or(other),
        }
    }
}
