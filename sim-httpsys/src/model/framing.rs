//! What a request's headers say together: its host, its body's length, whether to keep the
//! connection.

use super::ReasonPhrase;
use super::http1::parse_activity;
use super::target::{Authority, Target, parse_authority};
use crate::api::{ACTIVITY_HEADER, ActivityId, EntityLength, Span, Version};
use crate::{byte_ranges, runs};

/// What headers say about the message, rather than about its meaning.
#[derive(Clone, Copy)]
pub(super) struct Framing {
    pub(super) host: Span,
    pub(super) host_port: Option<u16>,
    pub(super) entity: EntityLength,
    pub(super) keep_alive: bool,
    pub(super) expect_continue: bool,
    pub(super) activity: ActivityId,
    /// What the host's header says.
    pub(super) host_header: Option<Authority>,
}

/// The headers that matter here, as they were found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    host: Option<Span>,
    content_length: Option<Span>,
    transfer_encoding: Option<Span>,
    expect: Option<Span>,
    close: bool,
    activity: ActivityId,
    /// What is wrong first: a header that must be there once is there twice, or a range overflows.
    wrong: Option<ReasonPhrase>,
}

/// Judges the headers of a request. `known_host` is what the host's header says, if it was read before.
pub(super) fn framing(
    bytes: &[u8],
    verb: &[u8],
    version: Version,
    found: &Found,
    target: &Target,
    known_host: Option<Authority>,
) -> Result<Framing, ReasonPhrase> {
    if let Some(reason) = found.wrong {
        return Err(reason);
    }
    let of = |span: Span| of(bytes, span);
    let header = match known_host {
        Some(host) => Some(host),
        None => host(bytes, version, found)?,
    };
    let authority = target.authority.or(header);
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
    })
}

fn of(bytes: &[u8], span: Span) -> &[u8] {
    &bytes[span.start as usize..(span.start + span.len) as usize]
}

impl Found {
    /// What these headers say.
    pub(super) fn among(bytes: &[u8], headers: &[(Span, Span)]) -> Self {
        let mut found = Self::default();
        for &header in headers {
            found.note(bytes, header);
        }
        found
    }

    /// Whether the host's header is among them.
    pub(super) fn names_host(&self) -> bool {
        self.host.is_some()
    }

    /// One more header.
    pub(super) fn note(&mut self, bytes: &[u8], (name, value): (Span, Span)) {
        let of = |span: Span| of(bytes, span);
        let is = |known: &str| is_named(known, of(name));
        // Looked at by length first: most headers are none of these.
        match name.len {
            4 if is("Host") => {
                let twice = self.host.replace(value).is_some();
                self.wrong_if(twice, ReasonPhrase::Header);
            }
            5 if is("Range") => {
                let overflows = byte_ranges::overflows(of(value));
                self.wrong_if(overflows, ReasonPhrase::Header);
            }
            // Each line counts: one that is not known is not hidden by one that is.
            6 if is("Expect") => {
                let unknown = self.expect.filter(|&other| !is_continue(of(other)));
                self.expect = unknown.or(Some(value));
            }
            10 if is("Connection") => self.close |= has_token(of(value), b"close"),
            12 if is(ACTIVITY_HEADER) => self.activity = parse_activity(of(value)),
            14 if is("Content-Length") => {
                let twice = self.content_length.replace(value).is_some();
                self.wrong_if(twice, ReasonPhrase::Header);
            }
            17 if is("Transfer-Encoding") => {
                let twice = self.transfer_encoding.replace(value).is_some();
                // Coded twice is a coding that nobody implements.
                self.wrong_if(twice, ReasonPhrase::NotImplemented);
            }
            _ => {}
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
