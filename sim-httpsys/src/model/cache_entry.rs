//! One entry of the response cache, and what is answered from it: the whole of it, a part, or that nothing has
//! changed.

use bytes::{BufMut, Bytes, BytesMut};

use super::exchange::Exchange;
use super::http_date::seconds_of;
use super::request_queue::QueueIndex;
use super::response_head::{append_length, append_status_line};
use crate::api::{LogData, ProcessId, UrlContext};
use crate::byte_ranges::{Asked, asked, partial};
use crate::clockwork::Instant;
use crate::clockwork::mutants::{Mutant, mutated};

/// One cached response.
#[derive(Debug)]
pub(super) struct CacheEntry {
    pub(super) id: u64,
    pub(super) key: Box<[u8]>,
    /// The raw path, lower case, without the query; for flushes.
    pub(super) path: String,
    /// The decoded path, lower case, if it differs.
    pub(super) decoded_path: Option<String>,
    pub(super) queue: QueueIndex,
    /// Of the URL that it was made under, and the port that the request came in on.
    pub(super) context: UrlContext,
    pub(super) port: u16,
    pub(super) process: ProcessId,
    pub(super) status: u16,
    pub(super) log: Option<LogData>,
    /// The worker's lines, without `Date` and `Content-Length`.
    pub(super) lines: Bytes,
    pub(super) etag: Option<Bytes>,
    pub(super) last_modified: Option<Bytes>,
    /// The head of `second`, with the body behind it if that is small.
    pub(super) ready: Bytes,
    pub(super) head_len: usize,
    pub(super) second: u64,
    /// The body, if it is not small.
    pub(super) large_body: Option<Bytes>,
    pub(super) expires: Option<Instant>,
    pub(super) touched: Instant,
}

impl CacheEntry {
    /// Whether a flush of that path takes it; the path may be raw or decoded.
    pub(super) fn lies_under(&self, flushed: &str, recursive: bool) -> bool {
        let mut paths = [Some(&self.path), self.decoded_path.as_ref()]
            .into_iter()
            .flatten();
        paths.any(|path| covers(flushed, path, recursive))
    }

    fn body(&self) -> Bytes {
        self.large_body
            .clone()
            .unwrap_or_else(|| self.ready.slice(self.head_len..))
    }

    pub(super) fn bytes(&self) -> u64 {
        let large = self.large_body.as_ref().map_or(0, Bytes::len);
        (self.key.len() + self.path.len() + self.lines.len() + self.ready.len() + large) as u64
    }

    /// Renews the head if the second has changed.
    pub(super) fn make_ready(&mut self, second: u64, date: &[u8]) {
        if self.second == second {
            return;
        }
        let body = self.body();
        let inline = if self.large_body.is_none() {
            body.len()
        } else {
            0
        };
        let mut out = Self::head(&self.lines, inline, self.status, date, false);
        let missing = u64::from(mutated(Mutant::ContentLengthShort));
        append_length((body.len() as u64).saturating_sub(missing), &mut out);
        out.put_slice(b"\r\n");
        self.head_len = out.len();
        if self.large_body.is_none() {
            out.put_slice(&body);
            if mutated(Mutant::CacheBodyDamaged)
                && !body.is_empty()
                && let Some(last) = out.last_mut()
            {
                *last ^= 1;
            }
        }
        self.ready = out.freeze();
        self.second = second;
    }

    /// A head without its length and its end, and room for a body behind it.
    fn head(lines: &[u8], body: usize, status: u16, date: &[u8], close: bool) -> BytesMut {
        let mut out = BytesMut::with_capacity(lines.len() + body + 160);
        append_status_line(status, &mut out);
        out.put_slice(lines);
        out.put_slice(date);
        if close {
            out.put_slice(b"Connection: close\r\n");
        }
        out
    }
}

/// What is sent from an entry.
pub(super) struct Hit {
    pub(super) status: u16,
    pub(super) first: Bytes,
    pub(super) second: Option<Bytes>,
    pub(super) body: u64,
}

fn covers(flushed: &str, path: &str, recursive: bool) -> bool {
    match path.strip_prefix(flushed) {
        Some("") => true,
        Some(rest) => recursive && (flushed.ends_with('/') || rest.starts_with('/')),
        None => false,
    }
}

/// What an entry answers; `None` for what the worker has to be asked.
pub(super) fn answer_from(entry: &CacheEntry, exchange: &Exchange, date: &[u8]) -> Option<Hit> {
    let close = !exchange.keep_alive;
    let text = &exchange.request.text;
    if entry.status == 200 && exchange.cache.conditional && is_not_modified(entry, exchange) {
        let mut out = CacheEntry::head(&entry.lines, 0, 304, date, close);
        out.put_slice(b"\r\n");
        return Some(Hit {
            status: 304,
            first: out.freeze(),
            second: None,
            body: 0,
        });
    }
    if entry.status == 200 && exchange.cache.range {
        let whole = entry.body();
        let Asked::Parts(parts) = asked(text.header("range")?, whole.len()) else {
            return None;
        };
        let partial = partial(&entry.lines, &whole, &parts);
        let length = partial.body.len() as u64;
        let mut out = CacheEntry::head(&partial.lines, 0, 206, date, close);
        append_length(length, &mut out);
        out.put_slice(b"\r\n");
        return Some(Hit {
            status: 206,
            first: out.freeze(),
            second: Some(partial.body),
            body: length,
        });
    }
    let has_body = !matches!(entry.status, 204 | 304);
    let length = entry
        .large_body
        .as_ref()
        .map_or(entry.ready.len() - entry.head_len, Bytes::len);
    if close || !has_body {
        let mut out = CacheEntry::head(&entry.lines, 0, entry.status, date, close);
        if has_body {
            append_length(length as u64, &mut out);
        }
        out.put_slice(b"\r\n");
        let second = Some(entry.body()).filter(|body| has_body && !body.is_empty());
        let body = if has_body { length as u64 } else { 0 };
        return Some(Hit {
            status: entry.status,
            first: out.freeze(),
            second,
            body,
        });
    }
    let (first, second) = (entry.ready.clone(), entry.large_body.clone());
    Some(Hit {
        status: entry.status,
        first,
        second,
        body: length as u64,
    })
}

/// Source: RFC 9110, 13.2.2: `If-None-Match` before `If-Modified-Since`.
/// Assumed: the driver answers conditions itself; no Microsoft page describes it.
fn is_not_modified(entry: &CacheEntry, exchange: &Exchange) -> bool {
    let text = &exchange.request.text;
    if let Some(mut tags) = text.header_list("if-none-match") {
        let strong = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
        let etag = entry.etag.as_deref().map(strong);
        return tags.any(|tag| tag == b"*" || etag.as_ref().is_some_and(|it| strong(tag) == *it));
    }
    let (Some(since), Some(modified)) = (text.header("if-modified-since"), &entry.last_modified)
    else {
        return false;
    };
    match (seconds_of(since), seconds_of(modified)) {
        (Some(since), Some(modified)) => modified <= since,
        (None | Some(_), _) => false,
    }
}
