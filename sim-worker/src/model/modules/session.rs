//! `SessionStateModule`: the cookie that names a session.

use sim_httpsys::api::{Request, UrlContext};

use super::super::session_state::{COOKIE, is_id};

/// The session id that a request brings, if it can be one.
pub(crate) fn id_of(request: &Request) -> Option<&str> {
    let text = &request.text;
    let cookies = text
        .headers
        .iter()
        .filter(|&&(name, _)| text.bytes(name).eq_ignore_ascii_case(b"Cookie"))
        .flat_map(|&(_, value)| text.bytes(value).split(|&b| b == b';'));
    for cookie in cookies {
        let cookie = cookie.trim_ascii();
        if let Some((name, value)) = cookie.split_at_checked(COOKIE.len())
            && name.eq_ignore_ascii_case(COOKIE.as_bytes())
            && let Some(id) = value.strip_prefix(b"=")
            && is_id(id)
        {
            return str::from_utf8(id).ok();
        }
    }
    None
}

/// The header line that gives a client its id.
/// Source: .NET 4.8: `Set-Cookie: ASP.NET_SessionId=…; path=/; HttpOnly; SameSite=Lax`.
pub(crate) fn set_cookie(id: &str) -> String {
    format!("Set-Cookie: {COOKIE}={id}; path=/; HttpOnly; SameSite=Lax\r\n")
}

/// The key under which sessions of an application are found.
pub(crate) fn scope(request: &Request) -> UrlContext {
    request.url_context
}
