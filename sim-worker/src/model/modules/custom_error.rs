//! `CustomErrorModule`: the pages for what went wrong.

use bytes::Bytes;
use sim_httpsys::api::CachePolicy;

use super::{Reply, SERVER};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) substatus: u16,
    /// More to say than the page for the status does.
    pub(crate) detail: Option<String>,
}

impl Refusal {
    pub(crate) fn new(status: u16, substatus: u16) -> Self {
        Self {
            status,
            substatus,
            detail: None,
        }
    }

    pub(crate) fn because(status: u16, substatus: u16, detail: impl Into<String>) -> Self {
        Self {
            status,
            substatus,
            detail: Some(detail.into()),
        }
    }
}

/// Title and sentence of a page.
///
/// Source: the custom error files of IIS (`custerr\en-US\404.htm` …); shortened to one heading and one sentence.
fn wording(refusal: &Refusal) -> (&'static str, &'static str) {
    match (refusal.status, refusal.substatus) {
        (400, _) => ("Bad Request", "The request is badly formed."),
        (401, _) => (
            "Unauthorized: Access is denied due to invalid credentials.",
            "You do not have permission to view this directory or page using the credentials that you supplied.",
        ),
        (403, _) => (
            "Forbidden: Access is denied.",
            "You do not have permission to view this directory or page using the credentials that you supplied.",
        ),
        (404, 0) => (
            "File or directory not found.",
            "The resource you are looking for might have been removed, had its name changed, or is temporarily unavailable.",
        ),
        (404, 3) => (
            "Not Found",
            "The extension has no MIME type, so the file is not served.",
        ),
        (404, 5) => (
            "Not Found",
            "The request filtering module denies a sequence in the URL.",
        ),
        (404, 6) => ("Not Found", "The request filtering module denies the verb."),
        (404, 7) => (
            "Not Found",
            "The request filtering module denies this file extension.",
        ),
        (404, 8) => (
            "Not Found",
            "The request filtering module denies a hidden segment of the path.",
        ),
        (404, 10) => (
            "Not Found",
            "The request filtering module denies a request header that is too long.",
        ),
        (404, 18) => (
            "Not Found",
            "The request filtering module denies a sequence in the query string.",
        ),
        (404, 19) => (
            "Not Found",
            "The request filtering module denies the request because of a filtering rule.",
        ),
        (404, 11) => (
            "Not Found",
            "The request filtering module denies a double escape sequence.",
        ),
        (404, 12) => (
            "Not Found",
            "The request filtering module denies a URL with high bit characters.",
        ),
        (404, 14) => (
            "Not Found",
            "The request filtering module denies a URL that is too long.",
        ),
        (404, 15) => (
            "Not Found",
            "The request filtering module denies a query string that is too long.",
        ),
        (404, _) => ("Not Found", "The resource cannot be found."),
        (405, _) => (
            "HTTP verb used to access this page is not allowed.",
            "The page cannot be displayed because of the verb.",
        ),
        (412, _) => (
            "Precondition set by the client failed when evaluated on the Web server.",
            "The request was not completed due to preconditions that are set in the request header.",
        ),
        (413, _) => (
            "Request Entity Too Large",
            "The content of the request is too long.",
        ),
        (416, _) => (
            "Requested Range Not Satisfiable",
            "The range lies outside of the file.",
        ),
        (503, _) => ("Service Unavailable", "The service is unavailable."),
        (_, _) => (
            "Internal server error.",
            "There is a problem with the resource you are looking for, and it cannot be displayed.",
        ),
    }
}

/// The response for a refusal. `extra` are further header lines.
pub(crate) fn reply(refusal: &Refusal, extra: &str) -> Reply {
    let (title, sentence) = wording(refusal);
    let status = refusal.status;
    let detail = refusal
        .detail
        .as_deref()
        .map(|text| format!("\r\n<pre>{}</pre>", escape(text)));
    let body = format!(
        "<!DOCTYPE html>\r\n<html>\r\n<head><title>{status} - {title}</title></head>\r\n<body>\r\n\
         <h1>Server Error</h1>\r\n<h2>{status} - {title}</h2>\r\n<h3>{sentence}</h3>{}\r\n</body>\r\n</html>\r\n",
        detail.unwrap_or_default(),
    );
    let headers = format!(
        "Content-Type: text/html\r\n{SERVER}{extra}Content-Length: {}\r\n",
        body.len()
    );
    Reply {
        status,
        substatus: refusal.substatus,
        headers: Bytes::from(headers),
        body: Bytes::from(body),
        policy: CachePolicy::Nocache,
    }
}

/// Text that came from outside, for HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
