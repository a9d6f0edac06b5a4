//! One entry of the response cache, and what is answered from it: the whole of it, a part, or that nothing has
//! changed.

use bytes::{BufMut, Bytes, BytesMut};
use jiff::civil::DateTime;

use super::exchange::Exchange;
use super::request_queue::QueueIndex;
use super::response_head::{append_length, append_number, append_status_line};
use crate::api::{LogData, ProcessId};
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
        let mut out = self.head(self.status, date, false);
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

    /// A head without its length and its end.
    fn head(&self, status: u16, date: &[u8], close: bool) -> BytesMut {
        let inline = if self.large_body.is_none() {
            self.ready.len()
        } else {
            0
        };
        let mut out = BytesMut::with_capacity(self.lines.len() + inline + 160);
        append_status_line(status, &mut out);
        out.put_slice(&self.lines);
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
        let mut out = BytesMut::with_capacity(entry.lines.len() + 128);
        append_status_line(304, &mut out);
        out.put_slice(&entry.lines);
        out.put_slice(date);
        if close {
            out.put_slice(b"Connection: close\r\n");
        }
        out.put_slice(b"\r\n");
        return Some(Hit {
            status: 304,
            first: out.freeze(),
            second: None,
            body: 0,
        });
    }
    if entry.status == 200 && exchange.cache.range {
        let body = entry.body();
        let range = single_range(text.header("range")?, body.len())?;
        let mut out = entry.head(206, date, close);
        out.put_slice(b"Content-Range: bytes ");
        append_number(range.start as u64, &mut out);
        out.put_u8(b'-');
        append_number(range.end as u64 - 1, &mut out);
        out.put_u8(b'/');
        append_number(body.len() as u64, &mut out);
        out.put_slice(b"\r\n");
        append_length(range.len() as u64, &mut out);
        out.put_slice(b"\r\n");
        let length = range.len() as u64;
        let second = Some(body.slice(range));
        return Some(Hit {
            status: 206,
            first: out.freeze(),
            second,
            body: length,
        });
    }
    let has_body = !matches!(entry.status, 204 | 304);
    let length = entry
        .large_body
        .as_ref()
        .map_or(entry.ready.len() - entry.head_len, Bytes::len);
    if close || !has_body {
        let mut out = entry.head(entry.status, date, close);
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
    if let Some(wanted) = text.header("if-none-match") {
        let Some(etag) = &entry.etag else {
            return wanted.trim_ascii() == b"*";
        };
        let strong = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
        let mut tags = wanted.split(|&b| b == b',').map(<[u8]>::trim_ascii);
        return tags.any(|tag| tag == b"*" || strong(tag) == strong(etag));
    }
    let (Some(since), Some(modified)) = (text.header("if-modified-since"), &entry.last_modified)
    else {
        return false;
    };
    let moment = |date: &[u8]| {
        let date = str::from_utf8(date).ok()?;
        DateTime::strptime("%a, %d %b %Y %H:%M:%S GMT", date.trim()).ok()
    };
    match (moment(since), moment(modified)) {
        (Some(since), Some(modified)) => modified <= since,
        (None | Some(_), _) => false,
    }
}

/// The one satisfiable range of a `Range` header; `None` if there is none, or several.
fn single_range(header: &[u8], length: usize) -> Option<core::ops::Range<usize>> {
    let spec = str::from_utf8(header).ok()?.trim().strip_prefix("bytes=")?;
    let (first, last) = spec.split_once('-')?;
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if is_number {
            digits.parse::<usize>().ok()
        } else {
            None
        }
    };
    let range = if first.is_empty() {
        length.saturating_sub(number(last)?)..length
    } else if last.is_empty() {
        number(first)?..length
    } else {
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return None;
        }
        first..last.saturating_add(1).min(length)
    };
    (range.start < range.end).then_some(range)
}
