//! The driver, pure: bytes, calls and the time go in; bytes, completions and facts come out.
//!
//! This file only routes. Each noun has its own file.


use bytes::Bytes;

use crate::api::{
    Call, Completion, ConnectionId, Endpoint, Ends, ProcessId, Win32Error,
};
use crate::clockwork::{Deadline, Instant, StateMachine, UtcClock};
use crate::etw::Fact;
use crate::logging::LogEntry;

pub mod error_page;
mod entity;
mod framing;
pub mod http1;
pub mod http_date;
mod reason;
pub mod routing;
mod target;
mod url_path;
pub mod url_prefix;

pub use reason::ReasonPhrase;

/// What can happen to the driver.
#[derive(Debug)]
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
    /// Everything that was to be sent on the connection has been written.
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
    /// Close a connection. The id is not used again, in either direction.
    Close {
        /// Which.
        connection: ConnectionId,
        /// How.
        how: CloseHow,
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
}

/// HTTP.sys.
#[derive(Debug)]
pub struct HttpSys {
    parameters: Parameters,
    clock: UtcClock,
}

impl HttpSys {
    /// A driver with nothing registered.
    pub fn new(parameters: Parameters, clock: UtcClock) -> Self {
        Self { parameters, clock }
    }
}

impl StateMachine for HttpSys {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Timer = Timer;

    fn handle_input(&mut self, _input: Input<'_>, _now: Instant) {}
    fn handle_deadline(&mut self, _now: Instant) {}
    fn poll_output(&mut self) -> Option<Output> {
        None
    }
    fn next_deadline(&self) -> Option<Deadline<Timer>> {
        None
    }
}

