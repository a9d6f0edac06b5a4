//! A request's target: where in it path and query lie, and the host if it names one.

use std::net::Ipv6Addr;

use super::{Parameters, ReasonPhrase, url_path};
use crate::api::Span;
use crate::runs;

/// What a request target says.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The path as it was written; empty for `*`.
    pub(super) path: Span,
    /// The path's canonical form, if it is another.
    pub(super) decoded_path: Option<String>,
    pub(super) query: Span,
    /// The host and port of an absolute target.
    pub(super) authority: Option<Authority>,
}

/// A host, and a port if one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) host: Span,
    pub(super) port: Option<u16>,
}

/// Reads a target: `/path?query`, `http://host:port/path?query`, or `*` for OPTIONS.
pub(super) fn parse_target(
    bytes: &[u8],
    target: Span,
    verb: &[u8],
    parameters: &Parameters,
) -> Result<Target, ReasonPhrase> {
    let (begin, end) = (target.start as usize, (target.start + target.len) as usize);
    let raw = &bytes[begin..end];
    let nothing = Span::new(end, end);
    let (path_begin, authority) = match raw.first() {
        Some(b'/') => (begin, None),
        Some(b'*') if raw.len() == 1 && verb == b"OPTIONS" => {
            return Ok(Target {
                path: nothing,
                decoded_path: None,
                query: nothing,
                authority: None,
            });
        }
        Some(_) => {
            let host = begin + scheme_length(raw).ok_or(ReasonPhrase::Url)?;
            let length = bytes[host..end]
                .iter()
                .position(|&b| matches!(b, b'/' | b'?' | b'#'));
            let path = host + length.unwrap_or(end - host);
            // Source: wine's tests of HTTP.sys: an absolute target without a path whose query has a
            // slash is 400. Assumed: so is every query without a path.
            if matches!(bytes.get(path), Some(b'?' | b'#')) && path < end {
                return Err(ReasonPhrase::Url);
            }
            let authority = parse_authority(bytes, Span::new(host, path));
            (path, Some(authority.ok_or(ReasonPhrase::Hostname)?))
        }
        None => return Err(ReasonPhrase::Url),
    };
    let rest = &bytes[path_begin..end];
    let path_length = runs::position(b'?', rest).unwrap_or(rest.len());
    let path = Span::new(path_begin, path_begin + path_length);
    let query_begin = end.min(path_begin + path_length + 1);
    if bytes[query_begin..end]
        .iter()
        .any(|&b| b <= 0x20 || b == 0x7f)
    {
        return Err(ReasonPhrase::Url);
    }
    let decoded_path = if path.is_empty() {
        Some("/".to_owned()) // `http://host`
    } else {
        url_path::canonical(&rest[..path_length], parameters)
            .map_err(|url_path::InvalidPath| ReasonPhrase::Url)?
    };
    Ok(Target {
        path,
        decoded_path,
        query: Span::new(query_begin, end),
        authority,
    })
}

/// The length of `http://` or `https://`, in any case, at the beginning of a target.
fn scheme_length(raw: &[u8]) -> Option<usize> {
    ["http://", "https://"]
        .iter()
        .map(|scheme| scheme.len())
        .find(|&length| {
            let scheme = &b"https://"[..];
            raw.len() >= length
                && raw[..4].eq_ignore_ascii_case(&scheme[..4])
                && (length == 7 || raw[4].eq_ignore_ascii_case(&b's'))
                && raw[..length].ends_with(b"://")
        })
}

/// Reads `host`, `host:port` or `[address]:port`; `None` if it is malformed or has no host.
///
/// Assumed: `*` and `%` are no part of a host, though RFC 3986 would allow them, lest a request
/// ask for a wildcard; a port may be empty but not 0.
pub(super) fn parse_authority(bytes: &[u8], span: Span) -> Option<Authority> {
    let begin = span.start as usize;
    let text = &bytes[begin..begin + span.len as usize];
    let host_length = if text.first() == Some(&b'[') {
        let length = text.iter().position(|&b| b == b']')? + 1;
        str::from_utf8(&text[1..length - 1])
            .ok()?
            .parse::<Ipv6Addr>()
            .ok()?;
        length
    } else {
        let length = runs::position(b':', text).unwrap_or(text.len());
        let host = &text[..length];
        (1..=HOST_MAX).contains(&length).then_some(())?;
        host.iter()
            .all(|&b| HOST[b as usize] || !b.is_ascii())
            .then_some(())?;
        (host.is_ascii() || str::from_utf8(host).is_ok()).then_some(length)?
    };
    let port = match &text[host_length..] {
        [] | [b':'] => None,
        [b':', digits @ ..] => Some(parse_port(digits)?),
        _ => return None,
    };
    Some(Authority {
        host: Span::new(begin, begin + host_length),
        port,
    })
}

/// Source: RFC 1035, 2.3.4: names of at most 255 octets.
const HOST_MAX: usize = 255;

fn parse_port(digits: &[u8]) -> Option<u16> {
    let port = runs::number(digits)?;
    u16::try_from(port).ok().filter(|&port| port != 0)
}

/// What a host may be written with, of ASCII.
const HOST: [bool; 256] =
    runs::members(b"-._~!$&'()+,;=0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
