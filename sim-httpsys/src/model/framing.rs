//! What a request's headers say together: its host, its body's length, whether to keep the
//! connection, whether the response cache may be used.

use super::ReasonPhrase;
use super::known_heads::FirstLines;
use super::response_cache::CacheUse;
use super::target::{Authority, parse_authority};
use crate::api::{ACTIVITY_HEADER, ActivityId, EntityLength, Span, Version};
use crate::{byte_ranges, runs};

/// What headers say about the message, rather than about its meaning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framing {
    pub(super) host: Span,
    pub(super) host_port: Option<u16>,
    pub(super) entity: EntityLength,
    pub(super) keep_alive: bool,
    pub(super) expect_continue: bool,
    pub(super) activity: ActivityId,
    /// What the host's header says.
    pub(super) host_header: Option<Authority>,
    pub(super) cache: CacheUse,
}

/// What a header is, as far as the driver knows its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderKind {
    Host,
    Range,
    Expect,
    Connection,
    Activity,
    ContentLength,
    TransferEncoding,
    /// `If-None-Match` or `If-Modified-Since`.
    Condition,
    /// One with which only the worker can deal.
    ForWorker,
    Other,
}

/// The headers that matter here, as they were found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    host: Option<Span>,
    content_length: Option<Span>,
    transfer_encoding: Option<Span>,
    expect: Option<Span>,
    close: bool,
    activity: ActivityId,
    cache: CacheUse,
    /// What is wrong first: a header that must be there once is there twice, or a range overflows.
    wrong: Option<ReasonPhrase>,
}

/// Judges what was found in the headers of a request, behind its first lines too.
pub(super) fn framing(
    bytes: &[u8],
    lines: &FirstLines,
    found: &Found,
) -> Result<Framing, ReasonPhrase> {
    if let Some(reason) = found.wrong {
        return Err(reason);
    }
    let of = |span: Span| of(bytes, span);
    let (verb, version) = (of(lines.verb), lines.version);
    let header = match lines.host {
        Some(host) => Some(host),
        None => host(bytes, version, found)?,
    };
    let authority = lines.target.authority.or(header);
    let entity = entity(bytes, verb, version, found)?;
    let expect_continue = match found.expect.map(of) {
        Some(expect) if version == Version::Http11 => {
            // Assumed: any other expectation is refused by its header; the driver's list of reasons
            // has none for 417.
            is_continue(expect)
                .then_some(entity != EntityLength::None)
                .ok_or(ReasonPhrase::Header)?
        }
        Some(_) | None => false,
    };
    Ok(Framing {
        host: authority.map_or_else(|| Span::new(0, 0), |authority| authority.host),
        host_port: authority.and_then(|authority| authority.port),
        entity,
        // Source: ASP.NET Core's tests of HTTP.sys: "Http.Sys does not support 1.0 keep-alives".
        keep_alive: version == Version::Http11 && !found.close,
        expect_continue,
        activity: found.activity,
        host_header: header,
        cache: if verb == b"GET" && entity == EntityLength::None {
            found.cache
        } else {
            CacheUse::NONE
        },
    })
}

fn of(bytes: &[u8], span: Span) -> &[u8] {
    &bytes[span.start as usize..(span.start + span.len) as usize]
}

impl Framing {
    /// That of another attempt, of which nothing else is different.
    pub(super) fn of_attempt(self, activity: ActivityId) -> Self {
        Self { activity, ..self }
    }
}

impl HeaderKind {
    /// By its name. Looked at by length first: most headers are none of these.
    pub(super) fn of(name: &[u8]) -> Self {
        let is = |known: &str| is_named(known, name);
        match name.len() {
            4 if is("Host") => Self::Host,
            5 if is("Range") => Self::Range,
            6 if is("Expect") => Self::Expect,
            8 if is("If-Range") || is("If-Match") => Self::ForWorker,
            9 if is("Translate") => Self::ForWorker,
            10 if is("Connection") => Self::Connection,
            12 if is(ACTIVITY_HEADER) => Self::Activity,
            13 if is("Authorization") => Self::ForWorker,
            13 if is("If-None-Match") => Self::Condition,
            14 if is("Content-Length") => Self::ContentLength,
            17 if is("Transfer-Encoding") => Self::TransferEncoding,
            17 if is("If-Modified-Since") => Self::Condition,
            19 if is("If-Unmodified-Since") => Self::ForWorker,
            _ => Self::Other,
        }
    }

    /// Whether such a header changes nothing of how a request is dealt with.
    pub(super) fn is_by_the_way(self) -> bool {
        matches!(self, Self::Activity | Self::Other)
    }
}

impl Found {
    /// No headers.
    pub(super) const NOTHING: Self = Self {
        host: None,
        content_length: None,
        transfer_encoding: None,
        expect: None,
        close: false,
        activity: ActivityId(0),
        cache: CacheUse::ALL,
        wrong: None,
    };

    /// What these headers say.
    pub(super) fn among(bytes: &[u8], headers: &[(Span, Span)]) -> Self {
        let mut found = Self::NOTHING;
        for &(name, value) in headers {
            found.note(bytes, HeaderKind::of(of(bytes, name)), value);
        }
        found
    }

    /// What a client calls its attempt.
    pub(super) fn activity(&self) -> ActivityId {
        self.activity
    }

    /// Whether the host's header is among them.
    pub(super) fn names_host(&self) -> bool {
        self.host.is_some()
    }

    /// One more header.
    pub(super) fn note(&mut self, bytes: &[u8], kind: HeaderKind, value: Span) {
        let of = |span: Span| of(bytes, span);
        self.cache.note(kind);
        match kind {
            HeaderKind::Host => {
                let twice = self.host.replace(value).is_some();
                self.wrong_if(twice, ReasonPhrase::Header);
            }
            HeaderKind::Range => {
                let overflows = byte_ranges::overflows(of(value));
                self.wrong_if(overflows, ReasonPhrase::Header);
            }
            // Each line counts: one that is not known is not hidden by one that is.
            HeaderKind::Expect => {
                let unknown = self.expect.filter(|&other| !is_continue(of(other)));
                self.expect = unknown.or(Some(value));
            }
            HeaderKind::Connection => self.close |= has_token(of(value), b"close"),
            HeaderKind::Activity => self.activity = parse_activity(of(value)),
            HeaderKind::ContentLength => {
                let twice = self.content_length.replace(value).is_some();
                self.wrong_if(twice, ReasonPhrase::Header);
            }
            HeaderKind::TransferEncoding => {
                let twice = self.transfer_encoding.replace(value).is_some();
                // Coded twice is a coding that nobody implements.
                self.wrong_if(twice, ReasonPhrase::NotImplemented);
            }
            HeaderKind::Condition | HeaderKind::ForWorker | HeaderKind::Other => {}
        }
    }

    /// Source: pages observed for two lengths, and since MS15-034 for a range that overflows: "invalid header
    /// name". Assumed: the same for two hosts, and for a length that is merely repeated.
    fn wrong_if(&mut self, wrong: bool, reason: ReasonPhrase) {
        if wrong && self.wrong.is_none() {
            self.wrong = Some(reason);
        }
    }
}

/// The host of the header. The target's counts before it, but it must be there and well-formed
/// nevertheless.
fn host(bytes: &[u8], version: Version, found: &Found) -> Result<Option<Authority>, ReasonPhrase> {
    match (found.host, version) {
        (None, Version::Http11) => Err(ReasonPhrase::Hostname),
        (None, Version::Http10) => Ok(None),
        // Assumed: a client of HTTP/1.0 may leave the value out too.
        (Some(value), Version::Http10) if value.is_empty() => Ok(None),
        (Some(value), Version::Http10 | Version::Http11) => {
            let authority = parse_authority(bytes, value);
            authority.map(Some).ok_or(ReasonPhrase::Hostname)
        }
    }
}

/// The length of the body.
///
/// Source: pages observed for 411 and 501; ASP.NET Core's tests of HTTP.sys: of the verbs, only POST
/// and PUT must have a length. Assumed: a request with a length *and* a coding is refused, as
/// RFC 9112, 6.1 allows and as newer parsers do, since such requests serve to smuggle others.
fn entity(
    bytes: &[u8],
    verb: &[u8],
    version: Version,
    found: &Found,
) -> Result<EntityLength, ReasonPhrase> {
    let of = |span: Span| of(bytes, span);
    let chunked = match found.transfer_encoding.map(of) {
        None => false,
        Some(_) if version == Version::Http10 => return Err(ReasonPhrase::Header),
        Some(coding) if coding.eq_ignore_ascii_case(b"chunked") => true,
        Some(coding) if coding.eq_ignore_ascii_case(b"identity") => false,
        Some(_) => return Err(ReasonPhrase::NotImplemented),
    };
    match found.content_length.map(of) {
        Some(_) if found.transfer_encoding.is_some() => Err(ReasonPhrase::Header),
        Some(length) => match runs::number(length).ok_or(ReasonPhrase::Number)? {
            0 => Ok(EntityLength::None),
            length => Ok(EntityLength::Known(length)),
        },
        None if chunked => Ok(EntityLength::Chunked),
        None if matches!(verb, b"POST" | b"PUT") => Err(ReasonPhrase::LengthRequired),
        None => Ok(EntityLength::None),
    }
}

/// Whether that is a header's name. Mostly it is written as here, and that is seen sooner.
#[inline]
fn is_named(known: &str, name: &[u8]) -> bool {
    name == known.as_bytes() || name.eq_ignore_ascii_case(known.as_bytes())
}

fn is_continue(expect: &[u8]) -> bool {
    expect.eq_ignore_ascii_case(b"100-continue")
}

fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|&b| b == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// Finds the client's name for a refused attempt, as far as its headers have arrived.
pub(super) fn find_activity(bytes: &[u8]) -> ActivityId {
    let lines = bytes.split(|&b| b == b'\n').skip(1);
    let head = lines.take_while(|line| !matches!(**line, [] | [b'\r']));
    let value = head.filter_map(|line| {
        let (name, value) = line.split_at_checked(ACTIVITY_HEADER.len())?;
        let value = value.strip_prefix(b":")?;
        name.eq_ignore_ascii_case(ACTIVITY_HEADER.as_bytes())
            .then_some(value.trim_ascii())
    });
    value.map(parse_activity).next().unwrap_or_default()
}

/// Reads the client's name for its attempt; one that is not a number is as good as none.
pub(super) fn parse_activity(value: &[u8]) -> ActivityId {
    ActivityId(runs::number(value).unwrap_or(0))
}
