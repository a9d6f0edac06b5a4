//! Heads of responses: what a worker gives is checked, and completed by what the driver adds.
//!
//! A worker's header lines are hostile until they were read here: a line that could be taken for two,
//! or for the end of the head, would let one client's data become another client's response.

use core::ops::Range;
use std::rc::Rc;

use bytes::{BufMut, BytesMut};

use super::http_date::HttpDate;
use super::http1::{is_token, value_length};
use crate::clockwork::{Instant, UtcClock};
use crate::remembered::Remembered;
use crate::runs;

/// What the driver calls itself where a worker names no server.
/// Source: aspnetcore's tests of http.sys: `Server: Microsoft-HTTPAPI/2.0`.
pub(super) const SERVER_LINE: &[u8] = b"Server: Microsoft-HTTPAPI/2.0\r\n";

/// What there is to know about a worker's header lines.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state"
)]
pub(super) struct ResponseHead {
    pub(super) content_length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) has_server: bool,
    /// The worker wants no server named: its line is empty, and left out.
    hides_server: bool,
    pub(super) has_content_type: bool,
    pub(super) close: bool,
    pub(super) etag: Option<Range<usize>>,
    pub(super) last_modified: Option<Range<usize>>,
    /// A line that the driver writes itself.
    has_date: bool,
}

/// Header lines that are not HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MalformedHead;

impl ResponseHead {
    /// As [`Self::read`], of lines that may have been read before.
    pub(super) fn read_again(
        status: u16,
        lines: &[u8],
        known: &mut Remembered<Rc<Self>>,
    ) -> Result<Rc<Self>, MalformedHead> {
        if has_status(status)
            && let Some((head, length)) = known.find(lines.len(), lines)
            && length == lines.len()
        {
            return Ok(Rc::clone(head));
        }
        let head = Rc::new(Self::read(status, lines)?);
        known.keep(lines.len(), lines, &head);
        Ok(head)
    }

    /// Reads a worker's header lines, each `Name: value\r\n`.
    pub(super) fn read(status: u16, lines: &[u8]) -> Result<Self, MalformedHead> {
        if !has_status(status) {
            return Err(MalformedHead);
        }
        let mut head = Self::default();
        let mut start = 0;
        while start < lines.len() {
            let rest = &lines[start..];
            let colon = rest
                .iter()
                .position(|&b| !is_token(b))
                .ok_or(MalformedHead)?;
            if colon == 0 || rest[colon] != b':' {
                return Err(MalformedHead);
            }
            let value = &rest[colon + 1..];
            // Source: RFC 9110, `field-value`: visible characters, space, tab and obs-text.
            let length = value_length(value);
            if !value[length..].starts_with(b"\r\n") {
                return Err(MalformedHead);
            }
            let end = start + colon + 1 + length + 2;
            head.note(lines, start..end, start + colon)?;
            start = end;
        }
        Ok(head)
    }

    fn note(
        &mut self,
        lines: &[u8],
        line: Range<usize>,
        colon: usize,
    ) -> Result<(), MalformedHead> {
        let name = &lines[line.start..colon];
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        let raw = &lines[colon + 1..line.end - 2];
        let span = || {
            let begin = line.end - 2 - raw.trim_ascii_start().len();
            begin..begin + raw.trim_ascii().len()
        };
        // Looked at by length first: most lines are none of these.
        match name.len() {
            4 if is(b"date") => self.has_date = true,
            4 if is(b"etag") => self.etag = Some(span()),
            // Source: IIS 10, `removeServerHeader`: such a response names no server, the driver's neither. Assumed:
            // an empty line is how the driver is told.
            6 if is(b"server") => {
                self.has_server = true;
                self.hides_server |= raw.trim_ascii().is_empty();
            }
            10 if is(b"connection") => {
                let mut options = raw.split(|&b| b == b',');
                self.close |= options.any(|o| o.trim_ascii().eq_ignore_ascii_case(b"close"));
            }
            12 if is(b"content-type") => self.has_content_type = true,
            13 if is(b"last-modified") => self.last_modified = Some(span()),
            14 if is(b"content-length") => {
                let number = runs::number(raw.trim_ascii()).ok_or(MalformedHead)?;
                if self.content_length.is_some_and(|other| other != number) {
                    return Err(MalformedHead);
                }
                self.content_length = Some(number);
            }
            17 if is(b"transfer-encoding") => self.chunked = true,
            _ => {}
        }
        Ok(())
    }

    /// Appends the worker's lines without its `Date`.
    pub(super) fn append_lines(&self, lines: &[u8], out: &mut BytesMut) {
        if self.hides_server {
            append_without(&[b"date", b"server"], lines, out);
        } else if self.has_date {
            append_without(&[b"date"], lines, out);
        } else {
            out.put_slice(lines);
        }
        if !self.has_server {
            out.put_slice(SERVER_LINE);
        }
    }

    /// Appends the worker's lines without those that differ from hit to hit.
    pub(super) fn append_cacheable_lines(&self, lines: &[u8], out: &mut BytesMut) {
        if self.hides_server {
            append_without(&[b"date", b"content-length", b"server"], lines, out);
        } else {
            append_without(&[b"date", b"content-length"], lines, out);
        }
        if !self.has_server {
            out.put_slice(SERVER_LINE);
        }
    }
}

/// Whether a response may have that status: 1xx is not a response to a request. 100 is the driver's, and upgrades
/// are left out.
fn has_status(status: u16) -> bool {
    (200..=999).contains(&status)
}

/// Appends lines that have been read, but none with these names.
fn append_without(names: &[&[u8]], lines: &[u8], out: &mut BytesMut) {
    for line in lines.split_inclusive(|&b| b == b'\n') {
        let name = line.split(|&b| b == b':').next().unwrap_or(line);
        if !names.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            out.put_slice(line);
        }
    }
}

/// Appends `HTTP/1.1 200 OK\r\n`.
pub(super) fn append_status_line(status: u16, out: &mut BytesMut) {
    if status == 200 {
        return out.put_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.put_slice(b"HTTP/1.1 ");
    append_number(u64::from(status), out);
    out.put_u8(b' ');
    out.put_slice(reason_text(status).as_bytes());
    out.put_slice(b"\r\n");
}

/// Appends `Content-Length: n\r\n`.
pub(super) fn append_length(length: u64, out: &mut BytesMut) {
    out.put_slice(b"Content-Length: ");
    append_number(length, out);
    out.put_slice(b"\r\n");
}

/// Appends a decimal number.
fn append_number(number: u64, out: &mut BytesMut) {
    runs::decimal(number, |digits| out.put_slice(digits));
}

/// The `Date` line, written once a second.
#[derive(Clone, Debug)]
pub(super) struct DateLine {
    clock: UtcClock,
    date: HttpDate,
    /// The second that the line was written for.
    second: Option<u64>,
    line: [u8; 37],
}

impl DateLine {
    /// A line that is written when it is first needed.
    pub(super) fn new(clock: UtcClock) -> Self {
        let line = *b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
        Self {
            clock,
            date: HttpDate::default(),
            second: None,
            line,
        }
    }

    /// The second that `now` lies in, and `Date: …\r\n` for it.
    pub(super) fn line(&mut self, now: Instant) -> (u64, &[u8]) {
        let utc = self.clock.utc(now);
        let second = utc.unix_seconds();
        if self.second != Some(second) {
            self.second = Some(second);
            self.line[6..35].copy_from_slice(self.date.at(utc).as_bytes());
        }
        (second, &self.line)
    }

    /// Only the date.
    pub(super) fn value(&mut self, now: Instant) -> &str {
        self.date.at(self.clock.utc(now))
    }
}

/// The text of a status line. Source: RFC 9110 and the IANA registry; IIS uses the same.
fn reason_text(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Redirect",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Requested Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_could_be_read_as_two_are_malformed() {
        for lines in [
            "A: b\r\n\r\nHTTP/1.1 200 OK\r\n",
            "A: b\rC: d\r\n",
            "A: b\nC: d\r\n",
            "A: b\r\n C: folded\r\n",
            "A : b\r\n",
            ": b\r\n",
            "A: b",
            "A: b\0\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: \r\n",
        ] {
            assert!(
                ResponseHead::read(200, lines.as_bytes()).is_err(),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn an_empty_server_line_names_none_and_no_line_names_the_driver() {
        let appended = |lines: &str| {
            let head = ResponseHead::read(200, lines.as_bytes()).unwrap();
            let mut all = [BytesMut::new(), BytesMut::new()];
            head.append_lines(lines.as_bytes(), &mut all[0]);
            head.append_cacheable_lines(lines.as_bytes(), &mut all[1]);
            all.map(|lines| String::from_utf8_lossy(&lines).into_owned())
        };
        assert_eq!(appended("A: b\r\nServer: \r\n"), ["A: b\r\n"; 2]);
        assert_eq!(appended("Server:\r\nDate: x\r\n"), [""; 2]);
        assert!(appended("A: b\r\n")[0].contains("Microsoft-HTTPAPI/2.0"));
    }

    #[test]
    fn a_status_that_is_no_answer_is_malformed() {
        assert!(ResponseHead::read(100, b"").is_err());
        assert!(ResponseHead::read(1000, b"").is_err());
        assert!(ResponseHead::read(200, b"").is_ok());
    }
}
