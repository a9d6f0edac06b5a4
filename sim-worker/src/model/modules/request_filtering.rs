//! `RequestFilteringModule`: what is refused before a handler is looked for.
//!
//! Left out: rules of a site's own, other than `requestLimits`; the defaults hold everywhere.

use sim_httpsys::api::{EntityLength, Request};

use super::custom_error::Refusal;
use crate::application::FILE_NAME;
use crate::configuration::RequestLimits;

/// Source: IIS schema, `requestFiltering/hiddenSegments`: web.config, bin, `App_code`,
/// `App_GlobalResources`, `App_LocalResources`, `App_WebReferences`, `App_Data`, `App_Browsers`.
const HIDDEN: [&str; 9] = [
    "web.config",
    "bin",
    "app_code",
    "app_globalresources",
    "app_localresources",
    "app_webreferences",
    "app_data",
    "app_browsers",
    FILE_NAME,
];

/// Source: IIS applicationHost.config as shipped, `requestFiltering/fileExtensions` with allowed="false".
const DENIED: [&str; 22] = [
    "asa",
    "asax",
    "ascx",
    "master",
    "skin",
    "browser",
    "sitemap",
    "config",
    "cs",
    "csproj",
    "vb",
    "vbproj",
    "webinfo",
    "licx",
    "resx",
    "resources",
    "mdb",
    "vjsproj",
    "java",
    "jsl",
    "ldb",
    "rules",
];

/// What no name on Windows has in it.
const ODD: [bool; 256] = {
    let mut table = [false; 256];
    let characters = b":\0~*?<>|\"";
    let mut character = 0;
    while character < characters.len() {
        table[characters[character] as usize] = true;
        character += 1;
    }
    table
};

/// Checks a request whose lower-case path below its application is `path`.
pub(crate) fn check(request: &Request, path: &str, limits: &RequestLimits) -> Result<(), Refusal> {
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
    if is_escaped_twice(text.bytes(text.path)) {
        return Err(Refusal::new(404, 11));
    }
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        // Windows drops dots and blanks at the end of a name, and `:` names a stream of a file: both
        // would be other names for something that is refused.
        let odd = segment.ends_with(['.', ' ']) || segment.bytes().any(|b| ODD[b as usize]);
        if odd {
            return Err(Refusal::new(404, 0));
        }
        if HIDDEN.contains(&segment) {
            return Err(Refusal::new(404, 8));
        }
    }
    let name = path.rsplit('/').next();
    match name.and_then(|name| name.rsplit_once('.')) {
        Some((_, extension)) if DENIED.contains(&extension) => Err(Refusal::new(404, 7)),
        Some(_) | None => Ok(()),
    }
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
