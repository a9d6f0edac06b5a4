//! A parsed request, as the driver hands it to a worker: the worker never parses HTTP again.
//!
//! All text lives in one buffer and is named by [`Span`]s, so that a request costs one allocation
//! for its text and one for its header list, and travels to the worker as it lies.

use serde::{Deserialize, Serialize};

use std::sync::Arc;

use super::{ActivityId, ConnectionId, RequestId, ShortEnds, SiteId, UrlContext};
use crate::clockwork::Instant;

/// A piece of a request's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of its first byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// From `start` up to but without `end`.
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end, "a span cannot end before it starts");
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            start: narrow(start),
            len: narrow(end.saturating_sub(start)),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// HTTP version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A version as a request line names it: its two parts, 10 for whatever has more than one digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentVersion {
    /// Before the dot.
    pub major: u8,
    /// After it.
    pub minor: u8,
}

impl From<Version> for SentVersion {
    fn from(version: Version) -> Self {
        let minor = match version {
            Version::Http10 => 0,
            Version::Http11 => 1,
        };
        Self { major: 1, minor }
    }
}

/// How long a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityLength {
    /// There is none.
    None,
    /// As `Content-Length` says; never 0.
    Known(u64),
    /// Chunked: known when it ends.
    Chunked,
}

/// The text of a request and where its parts are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestText {
    /// The head as it arrived, followed by what was computed from it (the decoded path).
    pub text: Vec<u8>,
    /// The verb, e.g. `GET`.
    pub verb: Span,
    /// The request target as it arrived.
    pub raw_url: Span,
    /// The path, percent-decoded, without the query. Empty for `OPTIONS *`.
    pub path: Span,
    /// The query as it arrived, without its `?`; empty if there is none.
    pub query: Span,
    /// The host that counts (of an absolute target, else of `Host`), without the port.
    pub host: Span,
    /// Name and value of every header, in order; values trimmed.
    pub headers: Vec<(Span, Span)>,
}

impl RequestText {
    /// The bytes of a span; empty if it does not lie in the text.
    pub fn bytes(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.text
            .get(start..start.saturating_add(span.len as usize))
            .unwrap_or(&[])
    }

    /// The text of a span, empty if it is not UTF-8.
    pub fn str(&self, span: Span) -> &str {
        str::from_utf8(self.bytes(span)).unwrap_or("")
    }

    /// The value of the first header of that name (any case), as bytes.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.header_lines(name).next()
    }

    /// The values of all headers of that name (any case), in order.
    pub fn header_lines<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let is_it = |&&(n, _): &&(Span, Span)| self.bytes(n).eq_ignore_ascii_case(name.as_bytes());
        let lines = self.headers.iter().filter(is_it);
        lines.map(|&(_, value)| self.bytes(value))
    }

    /// The members of a header that is a list.
    ///
    /// Source: RFC 9110, 5.3: lines with the same name are one list; `None` if there is no such line.
    pub fn header_list<'a>(&'a self, name: &str) -> Option<impl Iterator<Item = &'a [u8]>> {
        self.header(name)?;
        let lines = self.header_lines(name);
        Some(lines.flat_map(|line| line.split(|&b| b == b',').map(<[u8]>::trim_ascii)))
    }
}

/// A request that was routed to a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// The connection that it came on.
    pub connection: ConnectionId,
    /// The client's name for it.
    pub activity: ActivityId,
    /// The site that it was routed to.
    pub site: SiteId,
    /// What was registered with the URL that it was routed by.
    pub url_context: UrlContext,
    /// Both ends of its connection.
    pub ends: ShortEnds,
    /// Whether it came over TLS.
    pub secure: bool,
    /// Its version.
    pub version: Version,
    /// When its first byte was received.
    pub received: Instant,
    /// How long its body is.
    pub entity: EntityLength,
    /// Its text.
    pub text: RequestText,
}

impl Request {
    /// What stands where a request was, or is to be.
    pub fn nobodys() -> Self {
        Self {
            id: RequestId(0),
            connection: ConnectionId(0),
            activity: ActivityId(0),
            site: SiteId(0),
            url_context: UrlContext(0),
            ends: ShortEnds::default(),
            secure: false,
            version: Version::Http11,
            received: Instant::SWITCHED_ON,
            entity: EntityLength::None,
            text: RequestText::default(),
        }
    }
}

/// A request as the driver, its worker and its log line share it: it is read and not changed.
pub type SharedRequest = Arc<Request>;

/// The verb of a request, as the counters of "Web Service" tell verbs apart.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[expect(missing_docs, reason = "each is named after its verb")]
pub enum Verb {
    Get,
    Post,
    Head,
    Put,
    Delete,
    Options,
    Trace,
    Copy,
    Move,
    Mkcol,
    Propfind,
    Proppatch,
    Search,
    Lock,
    Unlock,
    /// Any other.
    #[default]
    Other,
}

impl Verb {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 16] = [
        Self::Get,
        Self::Post,
        Self::Head,
        Self::Put,
        Self::Delete,
        Self::Options,
        Self::Trace,
        Self::Copy,
        Self::Move,
        Self::Mkcol,
        Self::Propfind,
        Self::Proppatch,
        Self::Search,
        Self::Lock,
        Self::Unlock,
        Self::Other,
    ];

    /// The verb that is written so. Verbs are case-sensitive.
    pub fn of(text: &[u8]) -> Self {
        match text {
            b"GET" => Self::Get,
            b"POST" => Self::Post,
            b"HEAD" => Self::Head,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"COPY" => Self::Copy,
            b"MOVE" => Self::Move,
            b"MKCOL" => Self::Mkcol,
            b"PROPFIND" => Self::Propfind,
            b"PROPPATCH" => Self::Proppatch,
            b"SEARCH" => Self::Search,
            b"LOCK" => Self::Lock,
            b"UNLOCK" => Self::Unlock,
            _ => Self::Other,
        }
    }
}
