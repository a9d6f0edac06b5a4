//! `filteringRules` and what is said of query strings: texts that are denied in some parts of a request.

use sim_httpsys::api::Request;

use super::request_filtering::is_url_always_allowed;
use crate::configuration::{FilteringRule, RequestFiltering};

/// A query as it is looked at, in lower case.
pub(super) struct Query {
    as_it_is: String,
    /// Source: IIS configuration reference, `unescapeQueryString`: two passes, one of the raw query string and one of
    /// the unescaped one.
    decoded: Option<String>,
    is_always_allowed: bool,
}

impl Query {
    pub(super) fn of(request: &Request, filtering: &RequestFiltering) -> Self {
        let text = &request.text;
        let raw = text.bytes(text.query);
        let as_it_is = lower_case(raw);
        let unescapes = filtering.unescape_query_string && raw.contains(&b'%');
        let decoded = unescapes.then(|| lower_case(&unescaped(raw)));
        // Source: IIS configuration reference, `alwaysAllowedQueryStrings`: "query strings that IIS will always allow".
        let mut allowed = filtering.always_allowed_query_strings.iter();
        let is_always_allowed = allowed.any(|query| *query == as_it_is);
        Self {
            as_it_is,
            decoded,
            is_always_allowed,
        }
    }

    /// Whether `denyQueryStringSequences` has something that is in it.
    pub(super) fn is_denied(&self, filtering: &RequestFiltering) -> bool {
        self.has_one_of(&filtering.deny_query_string_sequences)
    }

    fn has_one_of(&self, texts: &[String]) -> bool {
        let passes = || [Some(&self.as_it_is), self.decoded.as_ref()];
        let has = |text: &String| {
            passes()
                .into_iter()
                .flatten()
                .any(|pass| pass.contains(text))
        };
        !self.is_always_allowed && texts.iter().any(has)
    }
}

/// Whether a filtering rule denies a request for a file with that extension.
///
/// Source: IIS configuration reference, `filteringRule`: `scanUrl`, `scanQueryString`, `scanAllRaw` ("scan the raw
/// headers"), `scanHeaders`, `appliesTo` (file name extensions), `denyStrings`, `denyUnescapedPercent`. Assumed: texts
/// are not told apart by case; the URL is looked at as it was decoded.
pub(super) fn is_denied(
    request: &Request,
    extension: &str,
    query: &Query,
    filtering: &RequestFiltering,
) -> bool {
    let applies = |rule: &&FilteringRule| {
        rule.applies_to.is_empty() || rule.applies_to.iter().any(|known| known == extension)
    };
    let is_url_allowed = !filtering.rules.is_empty() && is_url_always_allowed(request, filtering);
    let mut rules = filtering.rules.iter().filter(applies);
    rules.any(|rule| {
        rule.scan_url && !is_url_allowed && has_in_url(rule, request)
            || rule.scan_query_string && has_in_query(rule, request, query)
            || has_in_headers(rule, request)
    })
}

fn has_in_url(rule: &FilteringRule, request: &Request) -> bool {
    let text = &request.text;
    let raw = text.bytes(text.raw_url);
    let raw = raw.split(|&b| b == b'?').next().unwrap_or(raw);
    has_text(rule, text.bytes(text.path)) || has_odd_percent(rule, raw)
}

fn has_in_query(rule: &FilteringRule, request: &Request, query: &Query) -> bool {
    let raw = request.text.bytes(request.text.query);
    query.has_one_of(&rule.deny_strings) || !query.is_always_allowed && has_odd_percent(rule, raw)
}

/// Assumed: of a header a percent sign says nothing, as most are not escaped.
fn has_in_headers(rule: &FilteringRule, request: &Request) -> bool {
    let text = &request.text;
    let mut headers = text.headers.iter();
    headers.any(|&(name, value)| {
        let is_named = || {
            let mut named = rule.scan_headers.iter();
            named.any(|known| text.bytes(name).eq_ignore_ascii_case(known.as_bytes()))
        };
        let is_scanned = rule.scan_all_raw || is_named();
        is_scanned
            && (has_text(rule, text.bytes(value))
                || rule.scan_all_raw && has_text(rule, text.bytes(name)))
    })
}

fn has_text(rule: &FilteringRule, part: &[u8]) -> bool {
    let part = lower_case(part);
    rule.deny_strings.iter().any(|text| part.contains(text))
}

/// Whether there is a percent sign that escapes nothing, and the rule denies one.
fn has_odd_percent(rule: &FilteringRule, raw: &[u8]) -> bool {
    let is_odd = |at: usize| {
        let digits = raw.get(at + 1..at + 3);
        raw[at] == b'%' && !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit))
    };
    rule.deny_unescaped_percent && (0..raw.len()).any(is_odd)
}

fn lower_case(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_lowercase()
}

/// Percent-decoded once; what escapes nothing stays.
fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let escaped = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}
