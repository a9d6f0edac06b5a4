//! What a client says must hold before it gets a file: `If-Match` and what is like it.
//!
//! Source: RFC 9110, 13.2.2, for the order; 8.8.3.2 for the two comparisons of tags. IIS answers a condition
//! that fails 412 (its custom error file `412.htm`).

use sim_httpsys::api::Request;
use sim_httpsys::model::http_date::seconds_of;

use super::super::FileStamp;

/// What came of the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The file is sent.
    Holds,
    /// It is not what the client wants to have: 412.
    Failed,
    /// The client has it already: 304.
    NotModified,
}

/// Judges the conditions of a request, but that of a range. `etag` is the file's, if it is told.
pub(crate) fn judge(request: &Request, etag: Option<&str>, stamp: FileStamp) -> Verdict {
    let tags = |name| request.text.header_list(name);
    let date = |name| seconds_of(request.text.header(name)?);
    let holds = match (tags("If-Match"), date("If-Unmodified-Since")) {
        (Some(tags), _) => is_listed(tags, |tag| is_tag(tag, etag)),
        (None, Some(since)) => seconds(stamp) <= since,
        (None, None) => true,
    };
    if !holds {
        return Verdict::Failed;
    }
    let is_known = match (tags("If-None-Match"), date("If-Modified-Since")) {
        (Some(tags), _) => is_listed(tags, |tag| {
            is_tag(tag.strip_prefix(b"W/").unwrap_or(tag), etag)
        }),
        (None, Some(since)) => seconds(stamp) <= since,
        (None, None) => false,
    };
    if is_known {
        Verdict::NotModified
    } else {
        Verdict::Holds
    }
}

/// Whether the part that is asked for belongs to the file that the client has a part of: if `If-Range` names
/// its tag, or exactly its date.
pub(crate) fn is_same_file(request: &Request, etag: Option<&str>, stamp: FileStamp) -> bool {
    request.text.header("If-Range").is_none_or(|condition| {
        is_tag(condition, etag) || seconds_of(condition) == Some(seconds(stamp))
    })
}

fn is_listed<'a>(mut tags: impl Iterator<Item = &'a [u8]>, is_it: impl Fn(&[u8]) -> bool) -> bool {
    tags.any(|tag| tag == b"*" || is_it(tag))
}

/// The strong comparison: our own tags are strong.
fn is_tag(tag: &[u8], etag: Option<&str>) -> bool {
    etag.is_some_and(|etag| tag == etag.as_bytes())
}

fn seconds(stamp: FileStamp) -> i64 {
    i64::try_from(stamp.modified / 1_000_000_000).unwrap_or(i64::MAX)
}
