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
}

/// The headers that matter here, as they were found.
#[derive(Default)]
struct Found<'a> {
    host: Option<Span>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    expect: Option<&'a [u8]>,
    close: bool,
    activity: ActivityId,
    /// What is wrong first: a header that must be there once is there twice, or a range overflows.
    wrong: Option<ReasonPhrase>,
}

/// Judges the headers of a request.
pub(super) fn framing(
    bytes: &[u8],
    verb: &[u8],
    version: Version,
    headers: &[(Span, Span)],
    target: &Target,
) -> Result<Framing, ReasonPhrase> {
    let found = Found::among(bytes, headers);
    if let Some(reason) = found.wrong {
        return Err(reason);
    }
    let authority = host(bytes, version, &found, target)?;
    let entity = entity(verb, version, &found)?;
    let expect_continue = match found.expect {
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
    })
}

impl<'a> Found<'a> {
    fn among(bytes: &'a [u8], headers: &[(Span, Span)]) -> Self {
        let of = |span: Span| &bytes[span.start as usize..(span.start + span.len) as usize];
        let mut found = Self::default();
        for &(name, value) in headers {
            let is = |known: &str| of(name).eq_ignore_ascii_case(known.as_bytes());
            // Looked at by length first: most headers are none of these.
            match name.len {
                4 if is("Host") => {
                    let twice = found.host.replace(value).is_some();
                    found.wrong_if(twice, ReasonPhrase::Header);
                }
                5 if is("Range") => {
                    let overflows = byte_ranges::overflows(of(value));
                    found.wrong_if(overflows, ReasonPhrase::Header);
                }
                // Each line counts: one that is not known is not hidden by one that is.
                6 if is("Expect") => {
                    found.expect = found.expect.filter(|e| !is_continue(e)).or(Some(of(value)));
                }
                10 if is("Connection") => found.close |= has_token(of(value), b"close"),
                12 if is(ACTIVITY_HEADER) => found.activity = parse_activity(of(value)),
                14 if is("Content-Length") => {
                    let twice = found.content_length.replace(of(value)).is_some();
                    found.wrong_if(twice, ReasonPhrase::Header);
                }
                17 if is("Transfer-Encoding") => {
                    let twice = found.transfer_encoding.replace(of(value)).is_some();
                    // Coded twice is a coding that nobody implements.
                    found.wrong_if(twice, ReasonPhrase::NotImplemented);
                }
                _ => {}
            }
        }
        found
    }

    /// Source: pages observed for two lengths, and since MS15-034 for a range that overflows: "invalid header
    /// name". Assumed: the same for two hosts, and for a length that is merely repeated.
    fn wrong_if(&mut self, wrong: bool, reason: ReasonPhrase) {
        if wrong && self.wrong.is_none() {
            self.wrong = Some(reason);
        }
    }
}

/// The host that counts: the target's before the header's, which must be there and well-formed
/// nevertheless.
fn host(
    bytes: &[u8],
    version: Version,
    found: &Found<'_>,
    target: &Target,
) -> Result<Option<Authority>, ReasonPhrase> {
    let header = match (found.host, version) {
        (None, Version::Http11) => return Err(ReasonPhrase::Hostname),
        (None, Version::Http10) => None,
        // Assumed: a client of HTTP/1.0 may leave the value out too.
        (Some(value), Version::Http10) if value.is_empty() => None,
        (Some(value), Version::Http10 | Version::Http11) => {
            Some(parse_authority(bytes, value).ok_or(ReasonPhrase::Hostname)?)
        }
    };
    Ok(target.authority.or(header))
}

/// The length of the body.
///
/// Source: pages observed for 411 and 501; ASP.NET Core's tests of HTTP.sys: of the verbs, only POST
/// and PUT must have a length. Assumed: a request with a length *and* a coding is refused, as
/// RFC 9112, 6.1 allows and as newer parsers do, since such requests serve to smuggle others.
fn entity(verb: &[u8], version: Version, found: &Found<'_>) -> Result<EntityLength, ReasonPhrase> {
    let chunked = match found.transfer_encoding {
        None => false,
        Some(_) if version == Version::Http10 => return Err(ReasonPhrase::Header),
        Some(coding) if coding.eq_ignore_ascii_case(b"chunked") => true,
        Some(coding) if coding.eq_ignore_ascii_case(b"identity") => false,
        Some(_) => return Err(ReasonPhrase::NotImplemented),
    };
    match found.content_length {
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

fn is_continue(expect: &[u8]) -> bool {
    expect.eq_ignore_ascii_case(b"100-continue")
}

fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|&b| b == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}
