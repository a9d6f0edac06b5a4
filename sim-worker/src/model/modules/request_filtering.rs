//! `RequestFilteringModule`: what is refused before a handler is looked for.
//!
//! Left out: `filteringRules`, `headerLimits`, the lists for query strings, `alwaysAllowedUrls`, and
//! `removeServerHeader`: every response names its server.

use sim_httpsys::api::{EntityLength, Request};
use sim_httpsys::runs;

use super::custom_error::Refusal;
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
    if !filtering.file_extensions.allows(extension(path)) {
        return Err(Refusal::new(404, 7));
    }
    Ok(())
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
    is_short && knows_no_verbs && request.text.query.len <= limits.query_string_max
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
        if denied.any(|sequence| path.contains(sequence)) {
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
