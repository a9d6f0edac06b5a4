//! `RequestFilteringModule`: what is refused before a handler is looked for.
//!
//! Left out: rules of a site's own (`requestFiltering` sections); the defaults hold everywhere.

use sim_httpsys::api::{EntityLength, Request};

use super::custom_error::Refusal;
use crate::application::FILE_NAME;

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

/// Checks a request whose lower-case path below its application is `path`.
pub(crate) fn check(request: &Request, path: &str) -> Result<(), Refusal> {
    let text = &request.text;
    // Source: requestLimits: maxAllowedContentLength 30000000 → 413.1, maxUrl 4096 → 404.14,
    // maxQueryString 2048 → 404.15.
    if matches!(request.entity, EntityLength::Known(length) if length > 30_000_000) {
        return Err(Refusal::new(413, 1));
    }
    if text.path.len > 4096 {
        return Err(Refusal::new(404, 14));
    }
    if text.query.len > 2048 {
        return Err(Refusal::new(404, 15));
    }
    if is_escaped_twice(text.bytes(text.path)) {
        return Err(Refusal::new(404, 11));
    }
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        // Windows drops dots and blanks at the end of a name, and `:` names a stream of a file: both
        // would be other names for something that is refused.
        let odd = segment.ends_with(['.', ' '])
            || segment.contains([':', '\0', '~', '*', '?', '<', '>', '|', '"']);
        if odd {
            return Err(Refusal::new(404, 0));
        }
        if HIDDEN.contains(&segment) {
            return Err(Refusal::new(404, 8));
        }
    }
    match path
        .rsplit('/')
        .next()
        .and_then(|name| name.rsplit_once('.'))
    {
        Some((_, extension)) if DENIED.contains(&extension) => Err(Refusal::new(404, 7)),
        Some(_) | None => Ok(()),
    }
}

/// Source: requestFiltering, allowDoubleEscaping false: a path that decodes further, or holds a `+`, is refused.
fn is_escaped_twice(path: &[u8]) -> bool {
    let escape = |window: &[u8]| matches!(window, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    path.contains(&b'+') || path.windows(3).any(escape)
}
