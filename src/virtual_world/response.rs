//! Reads responses as a simple client does: a status line, a few headers, a body of known length.
//!
//! Absent on purpose: chunked bodies (no model makes any), trailers, `HEAD`.

use std::rc::Rc;

use sim_httpsys::remembered::Remembered;
use sim_httpsys::runs;

use crate::load::book::SessionSeen;

/// Markers are looked for in the first so many bytes of a body.
const KEPT_MAX: usize = 64 * 1024;

/// The head of a response, as far as a client of this kind cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) session: Option<SessionSeen>,
    pub(super) worker: Option<u32>,
    /// `Connection: close`.
    pub(super) closes: bool,
    /// The session cookie, as it is sent back.
    pub(super) cookie: Option<Box<[u8]>>,
    length: Option<u64>,
}

/// Reads one response after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct ResponseReader {
    pub(super) head: Option<Rc<Head>>,
    /// Bytes of the body that have arrived.
    pub(super) bytes: u64,
    keeps_body: bool,
    kept: Option<Box<Kept>>,
}

/// Bytes that are kept. Mostly there are none: a head arrives whole, and nobody looks into a body.
#[derive(Clone, Debug, Default)]
struct Kept {
    /// Of a head that is not whole yet.
    head: Vec<u8>,
    body: Vec<u8>,
}

impl ResponseReader {
    /// The next response begins; whether its body is to be kept.
    pub(super) fn begin(&mut self, keeps_body: bool) {
        self.head = None;
        self.bytes = 0;
        self.keeps_body = keeps_body;
        if let Some(kept) = &mut self.kept {
            kept.head.clear();
            kept.body.clear();
        }
    }

    /// Whether it has read nothing yet, and nobody will look into the body: one reader is as good as any other.
    pub(super) fn is_as_any(&self) -> bool {
        let has_begun = self.kept.as_ref().is_some_and(|kept| !kept.head.is_empty());
        self.head.is_none() && !has_begun && !self.keeps_body
    }

    /// Takes bytes; says whether the response is whole. `known` are heads that were read before.
    pub(super) fn take(&mut self, bytes: &[u8], known: &mut Remembered<Rc<Head>>) -> bool {
        if self.head.is_some() {
            self.take_body(bytes);
        } else if self.kept.as_ref().is_none_or(|kept| kept.head.is_empty())
            && let Some((head, end)) = parse_again(bytes, known)
        {
            self.head = Some(head);
            self.take_body(&bytes[end..]);
        } else {
            let partial = &mut self.kept.get_or_insert_default().head;
            partial.extend_from_slice(bytes);
            if let Some((head, end)) = parse(partial) {
                let all = std::mem::take(partial);
                self.head = Some(Rc::new(head));
                self.take_body(&all[end..]);
            }
        }
        let head = self.head.as_ref();
        head.is_some_and(|head| head.length.is_some_and(|length| self.bytes >= length))
    }

    /// The stream has ended: whether that is the end of a response without a length.
    pub(super) fn ends_with_stream(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.length.is_none())
    }

    /// Whether more has arrived than the head has announced: the stream cannot be read on.
    pub(super) fn is_overrun(&self, head: &Head) -> bool {
        head.length.is_some_and(|length| self.bytes > length)
    }

    /// Whether the kept body has a text in it.
    pub(super) fn has(&self, marker: &str) -> bool {
        let marker = marker.as_bytes();
        let body = self.kept.as_ref().map_or(&[][..], |kept| &kept.body);
        marker.is_empty() || body.windows(marker.len()).any(|part| part == marker)
    }

    fn take_body(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.keeps_body {
            let body = &mut self.kept.get_or_insert_default().body;
            if body.len() < KEPT_MAX {
                body.extend_from_slice(bytes);
            }
        }
    }
}

/// As [`parse`], of a head that may have been read before.
fn parse_again(bytes: &[u8], known: &mut Remembered<Rc<Head>>) -> Option<(Rc<Head>, usize)> {
    if let Some((head, end)) = known.find(bytes.len(), bytes) {
        return Some((Rc::clone(head), end));
    }
    let (head, end) = parse(bytes)?;
    let head = Rc::new(head);
    known.keep(bytes.len(), &bytes[..end], &head);
    Some((head, end))
}

/// Reads a head, and says where it ends; nothing if that has not arrived.
fn parse(bytes: &[u8]) -> Option<(Head, usize)> {
    let mut at = line_end(bytes, 0)?;
    let status = bytes[..at].get(9..12).and_then(runs::number).unwrap_or(0);
    let mut head = Head {
        status: u16::try_from(status).unwrap_or(0),
        length: matches!(status, 100..200 | 204 | 304).then_some(0),
        ..Head::default()
    };
    loop {
        let end = line_end(bytes, at)?;
        if &bytes[at..end] == b"\r\n" {
            return Some((head, end));
        }
        head.note(&bytes[at..end]);
        at = end;
    }
}

/// Where the line ends that begins there.
fn line_end(bytes: &[u8], begin: usize) -> Option<usize> {
    Some(begin + runs::position(b'\n', &bytes[begin..])? + 1)
}

impl Head {
    /// Notes what a header line says. Looked at by the first letter: most lines are none of these.
    fn note(&mut self, line: &[u8]) {
        match line.first().map(u8::to_ascii_lowercase) {
            Some(b'c') => {
                if let Some(value) = value_of("Connection", line) {
                    self.closes = value.eq_ignore_ascii_case(b"close");
                } else if self.length.is_none()
                    && let Some(value) = value_of("Content-Length", line)
                {
                    self.length = runs::number(value);
                }
            }
            Some(b's') => {
                if let Some(value) = value_of("Set-Cookie", line) {
                    let pair = value.split(|&byte| byte == b';').next().unwrap_or(value);
                    if pair.starts_with(b"ASP.NET_SessionId=") {
                        self.cookie = Some(pair.into());
                    }
                }
            }
            Some(b'x') => {
                if let Some(value) = value_of("X-Sim-Worker", line) {
                    self.worker = runs::number(value).and_then(|pid| u32::try_from(pid).ok());
                } else if let Some(value) = value_of("X-Sim-Session", line) {
                    self.session = match value {
                        b"found" => Some(SessionSeen::Found),
                        b"new" => Some(SessionSeen::New),
                        b"lost" => Some(SessionSeen::Lost),
                        _ => None,
                    };
                }
            }
            Some(_) | None => {}
        }
    }
}

/// The value of a header line, if that is its name.
#[inline]
fn value_of<'a>(name: &str, line: &'a [u8]) -> Option<&'a [u8]> {
    let is_as_long = line.get(name.len()) == Some(&b':');
    if !is_as_long {
        return None;
    }
    // Mostly it is written as here, and that is seen sooner.
    let (found, name) = (&line[..name.len()], name.as_bytes());
    if found != name && !found.eq_ignore_ascii_case(name) {
        return None;
    }
    Some(line[found.len() + 1..].trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Sim-Worker: 1007\r\n\
        Set-Cookie: ASP.NET_SessionId=abc; path=/; HttpOnly\r\nX-Sim-Session: new\r\n\r\nhello";

    #[test]
    fn a_response_is_whole_however_it_is_cut() {
        let mut known = Remembered::default();
        for cut in 0..RESPONSE.len() {
            let mut reader = ResponseReader::default();
            reader.begin(true);
            assert!(!reader.take(&RESPONSE[..cut], &mut known), "{cut}");
            assert!(reader.take(&RESPONSE[cut..], &mut known), "{cut}");
            let head = reader.head.clone().unwrap();
            assert_eq!((head.status, head.worker), (200, Some(1007)));
            assert_eq!(head.session, Some(SessionSeen::New));
            assert_eq!(head.cookie.as_deref(), Some(&b"ASP.NET_SessionId=abc"[..]));
            assert!(reader.has("ell") && reader.bytes == 5);
        }
    }

    #[test]
    fn a_response_without_length_ends_with_its_stream() {
        let mut reader = ResponseReader::default();
        reader.begin(false);
        let response = b"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\nabc";
        assert!(!reader.take(response, &mut Remembered::default()));
        assert!(reader.ends_with_stream());
        assert!(reader.head.unwrap().closes);
    }
}
