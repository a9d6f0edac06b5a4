//! `RequestFilteringModule`: what is refused before a handler is looked for.
//!
//! What a filtering rule denies is in `filtering_rules`. `removeServerHeader` is a matter of the response.

use sim_httpsys::api::{EntityLength, Request};
use sim_httpsys::runs;

use super::custom_error::Refusal;
use super::filtering_rules::{self, Query};
use crate::application::FILE_NAME;
use crate::configuration::{Listed, RequestFiltering, RequestLimits};

/// What no name on Windows has in it.
const ODD: [bool; 256] = runs::members(b":\0~*?<>|\"");

/// Checks a request whose lower-case path below its application is `path`.
pub(crate) fn check(
    request: &Request,
    path: &str,
    (limits, filtering): (&RequestLimits, &RequestFiltering),
) -> Result<(), Refusal> {
    let text = &request.text;
    if let EntityLength::Known(length) = request.entity {
        check_length(limits, length)?;
    }
    // Source: requestLimits, what is longer than maxUrl is a 404.14, than maxQueryString a 404.15.
    if text.path.len > limits.url_max {
        return Err(Refusal::new(404, 14));
    }
    if text.query.len > limits.query_string_max {
        return Err(Refusal::new(404, 15));
    }
    check_headers(request, filtering)?;
    check_verb_and_url(request, filtering)?;
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        // Windows drops dots and blanks at the end of a name, and `:` names a stream of a file: both
        // would be other names for something that is refused.
        let odd = segment.ends_with(['.', ' ']) || segment.bytes().any(|b| ODD[b as usize]);
        if odd {
            return Err(Refusal::new(404, 0));
        }
        if segment == FILE_NAME || filtering.hidden_segments.iter().any(|s| s == segment) {
            return Err(Refusal::new(404, 8));
        }
    }
    let extension = extension(path);
    if !filtering.file_extensions.allows(extension) {
        return Err(Refusal::new(404, 7));
    }
    if !filtering.looks_beyond_the_path() {
        return Ok(());
    }
    let query = Query::of(request, filtering);
    // Source: IIS status codes: 404.18 query string sequence denied, 404.19 denied by filtering rule.
    if query.is_denied(filtering) {
        return Err(Refusal::new(404, 18));
    }
    if filtering_rules::is_denied(request, extension, &query, filtering) {
        return Err(Refusal::new(404, 19));
    }
    Ok(())
}

/// Source: requestLimits, headerLimits: "maximum size in bytes for HTTP request headers"; IIS status codes: 404.10
/// request header too long. Assumed: it is the value that is measured, of each line.
fn check_headers(request: &Request, filtering: &RequestFiltering) -> Result<(), Refusal> {
    for (name, limit) in &filtering.header_limits {
        let mut lines = request.text.header_lines(name);
        if lines.any(|value| value.len() > *limit as usize) {
            return Err(Refusal::new(404, 10));
        }
    }
    Ok(())
}

/// Whether the path of a request is one of `alwaysAllowedUrls`.
///
/// Source: IIS configuration reference: URLs "that IIS will always allow". Assumed: whatever sequence or rule looks
/// at the URL; its segments, extension and length are looked at as ever.
pub(super) fn is_url_always_allowed(request: &Request, filtering: &RequestFiltering) -> bool {
    let path = request.text.str(request.text.path);
    let mut urls = filtering.always_allowed_urls.iter();
    urls.any(|url| path.to_lowercase() == *url)
}

/// Whether nothing of a request is refused but perhaps its path, by rules that tell no verbs apart.
pub(crate) fn passes_but_for_path(
    request: &Request,
    (limits, filtering): (&RequestLimits, &RequestFiltering),
) -> bool {
    let is_short = match request.entity {
        EntityLength::Known(length) => check_length(limits, length).is_ok(),
        EntityLength::None | EntityLength::Chunked => true,
    };
    let knows_no_verbs = filtering.verbs.allow_unlisted && filtering.verbs.allowed.is_empty();
    let only_path = !filtering.looks_beyond_the_path();
    is_short && knows_no_verbs && only_path && request.text.query.len <= limits.query_string_max
}

/// Source: IIS status codes: 404.6 verb denied, 404.11 double escape sequence, 404.12 high-bit characters,
/// 404.5 URL sequence denied. Assumed: in this order, and verbs are not told apart by case.
fn check_verb_and_url(request: &Request, filtering: &RequestFiltering) -> Result<(), Refusal> {
    let text = &request.text;
    let path = text.bytes(text.path);
    let is_verb_allowed = filtering.verbs == Listed::default() || {
        let verb = text.str(text.verb).to_ascii_lowercase();
        filtering.verbs.allows(&verb)
    };
    if !is_verb_allowed {
        return Err(Refusal::new(404, 6));
    }
    if !filtering.allow_double_escaping && is_escaped_twice(path) {
        return Err(Refusal::new(404, 11));
    }
    if !filtering.allow_high_bit_characters && !path.is_ascii() {
        return Err(Refusal::new(404, 12));
    }
    if !filtering.deny_url_sequences.is_empty() {
        let path = text.str(text.path).to_lowercase();
        let mut denied = filtering.deny_url_sequences.iter();
        let is_denied = denied.any(|sequence| path.contains(sequence));
        if is_denied && !is_url_always_allowed(request, filtering) {
            return Err(Refusal::new(404, 5));
        }
    }
    Ok(())
}

/// The extension of a path, with its dot.
/// Assumed: `.` stands for none, as in `UrlScan`, whose successor the module is. A slash behind a name does not
/// hide its extension.
fn extension(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rfind('.').map_or(".", |dot| &name[dot..])
}

/// Checks how long a body is said to be, or is so far: one of exactly the limit passes.
///
/// Source: requestLimits, maxAllowedContentLength: 413.1 (404.13 in IIS 7.0). Source: aspnetcore,
/// `RequestBodyLimitTests`: a body that says no length fails when the limit is passed.
pub(crate) fn check_length(limits: &RequestLimits, length: u64) -> Result<(), Refusal> {
    if length > u64::from(limits.content_length_max) {
        return Err(Refusal::new(413, 1));
    }
    Ok(())
}

/// Source: requestFiltering, allowDoubleEscaping false: a path that decodes further, or holds a `+`, is refused.
fn is_escaped_twice(path: &[u8]) -> bool {
    let escape = |window: &[u8]| matches!(window, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    path.contains(&b'+') || (path.contains(&b'%') && path.windows(3).any(escape))
}
