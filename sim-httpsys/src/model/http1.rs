//! HTTP/1.x framing: a request's head, as strict and as lenient as HTTP.sys is.
//!
//! One pass over the bytes, left to right, so that a refusal never depends on what came later:
//! blank lines, verb, target, version, then header by header; what headers mean together (host,
//! length) is judged when all of them are there. The pass is written by hand and not on `httparse`,
//! because HTTP.sys has a phrase for each way to be wrong and accepts what `httparse` does not; the
//! tests compare the two. Bodies are the business of [`EntityReader`].
//!
//! Left out: the registry switches that loosen the rules (`AllowWeakHeaderNameSyntax` and its kind).

pub use super::entity::{EntityPiece, EntityReader};
use super::framing::{Found, Framing, HeaderKind, find_activity, framing};
use super::known_heads::{FirstLine, FirstLines, KnownHead, KnownHeads, KnownHost};
use super::response_cache::CacheUse;
use super::target::{Target, parse_target};
use super::{Parameters, ReasonPhrase};
use crate::api::{ActivityId, EntityLength, RequestText, SentVersion, Span, Version};
use crate::runs;

/// What came of looking at the bytes that a connection has sent.
#[derive(Debug)]
pub enum Head {
    /// More bytes are needed.
    Incomplete,
    /// A request's head.
    Complete(ParsedHead),
    /// Not a request: refuse it and close.
    Refused(RefusedHead),
}

/// What is kept from one head to the next; all of them are read with the same parameters.
#[derive(Debug, Default)]
pub struct HeadMemory {
    /// The text of the head that was read last, copied out; the next one is written over it.
    pub text: RequestText,
    known: KnownHeads,
}

/// A request's head, understood. Its text is in the [`HeadMemory`].
#[derive(Debug)]
pub struct ParsedHead {
    /// How many bytes it took.
    pub consumed: usize,
    /// Its version.
    pub version: Version,
    /// Its body.
    pub entity: EntityLength,
    /// Whether the client wants the connection kept.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The client's name for the attempt.
    pub activity: ActivityId,
    /// The port in the host that counts, if one was given.
    pub host_port: Option<u16>,
    /// What the response cache may do for it.
    pub(super) cache: CacheUse,
    /// The known beginning that it has, if that names its host.
    pub(super) known: Option<KnownHost>,
}

/// Why a head was refused, and what of it was understood, for the error log.
#[derive(Debug)]
pub struct RefusedHead {
    /// Why.
    pub reason: ReasonPhrase,
    /// The version, if it was understood.
    pub version: Option<SentVersion>,
    /// The verb, if it was understood.
    pub verb: Option<String>,
    /// The raw URL, if it was understood.
    pub url: Option<String>,
    /// The client's name for the attempt, if that header was seen.
    pub activity: ActivityId,
}

/// Looks for a request's head at the beginning of `buffer`.
///
/// Pure and restartable: called again with more bytes it starts over. A head that cannot end within
/// `max_request_bytes` is refused before it ends, so that a caller needs no larger buffer.
pub fn parse_head(buffer: &[u8], parameters: &Parameters, memory: &mut HeadMemory) -> Head {
    let mut pass = Pass::over(buffer, parameters);
    match pass.run(memory) {
        Ok(parsed) => Head::Complete(parsed),
        Err(Stop::Incomplete) => Head::Incomplete,
        Err(Stop::Refused(reason)) => Head::Refused(pass.refused(reason)),
        // Rare: a header that goes on in the next line. It is laid out as one line of the same
        // length and read again. Assumed: accepted and unfolded, which RFC 9112, 5.2 allows.
        Err(Stop::Folded) => parse_head(&unfold(buffer), parameters, memory),
    }
}

/// Why a pass ended without a request.
enum Stop {
    Incomplete,
    Folded,
    Refused(ReasonPhrase),
}

impl From<ReasonPhrase> for Stop {
    fn from(reason: ReasonPhrase) -> Self {
        Self::Refused(reason)
    }
}

/// One pass over the bytes of a head.
struct Pass<'a> {
    /// No more than a head may have.
    bytes: &'a [u8],
    /// Whether there is no room for more bytes.
    full: bool,
    parameters: &'a Parameters,
    at: usize,
    start: usize,
    verb: Option<Span>,
    raw_url: Option<Span>,
    version: Option<SentVersion>,
}

impl<'a> Pass<'a> {
    fn over(buffer: &'a [u8], parameters: &'a Parameters) -> Self {
        let max = parameters.max_request_bytes as usize;
        Self {
            bytes: &buffer[..buffer.len().min(max)],
            full: buffer.len() >= max,
            parameters,
            at: 0,
            start: 0,
            verb: None,
            raw_url: None,
            version: None,
        }
    }

    fn run(&mut self, memory: &mut HeadMemory) -> Result<ParsedHead, Stop> {
        let HeadMemory { text, known } = memory;
        text.headers.clear();
        let first_line = FirstLine::of(self.bytes);
        if let Some(line) = first_line
            && let Some(beginning) = known.find(line, self.bytes)
        {
            self.go_on_behind(beginning);
            let framing = self.read_followers(beginning, &mut text.headers)?;
            let host = KnownHeads::host_of(line, beginning);
            let parsed = self.parsed(&beginning.lines, &framing, host, text);
            if text.headers.len() > beginning.lines_known() {
                known.learn_followers(line, &self.bytes[..self.at], &text.headers);
            }
            return Ok(parsed);
        }
        let mut lines = self.read_request_line()?;
        let mut found = Found::NOTHING;
        let end = self.read_headers(&mut text.headers, &mut found)?;
        let framing = framing(self.bytes, &lines, &found)?;
        let parsed = self.parsed(&lines, &framing, None, text);
        if let Some(line) = first_line {
            lines.host = framing.host_header;
            known.learn(line, &self.bytes[..end], &text.headers, &lines);
        }
        Ok(parsed)
    }

    fn read_request_line(&mut self) -> Result<FirstLines, Stop> {
        self.skip_blank_lines()?;
        self.start = self.at;
        let verb = self.read_verb()?;
        let (raw_url, sent, version) = self.read_rest_of_request_line()?;
        let target = self.check_target(verb, raw_url)?;
        Ok(FirstLines {
            start: self.start,
            verb,
            raw_url,
            sent,
            version,
            target,
            found: Found::NOTHING,
            host: None,
            framing: None,
        })
    }

    /// The first lines were read before.
    fn go_on_behind(&mut self, known: &KnownHead) {
        let lines = &known.lines;
        (self.at, self.start) = (known.end(), lines.start);
        (self.verb, self.raw_url) = (Some(lines.verb), Some(lines.raw_url));
        self.version = Some(lines.sent);
    }

    /// Takes the header lines behind a known beginning, sooner where they are those that have followed it before.
    fn read_followers(
        &mut self,
        known: &KnownHead,
        headers: &mut Vec<(Span, Span)>,
    ) -> Result<Framing, Stop> {
        headers.extend_from_slice(&known.headers);
        let max = self.parameters.max_field_length as usize;
        for follower in &known.followers {
            let Some((header, end)) = follower.read(self.bytes, self.at, max) else {
                break;
            };
            headers.push(header);
            self.at = end;
        }
        let followed = &headers[known.headers.len()..];
        if self.bytes[self.at..].starts_with(b"\r\n")
            && let Some(framing) = known.framing_behind(self.bytes, followed)
        {
            self.at += 2;
            return Ok(framing);
        }
        let mut found = known.lines.found;
        for (follower, header) in known.followers.iter().zip(followed) {
            found.note(self.bytes, follower.kind, header.1);
        }
        self.read_headers(headers, &mut found)?;
        Ok(framing(self.bytes, &known.lines, &found)?)
    }

    /// Takes all header lines from here on, and notes what is found in them; says where they end.
    fn read_headers(
        &mut self,
        headers: &mut Vec<(Span, Span)>,
        found: &mut Found,
    ) -> Result<usize, Stop> {
        let mut end = self.at;
        while let Some((name, value)) = self.read_header(headers)? {
            found.note(self.bytes, HeaderKind::of(self.of(name)), value);
            headers.push((name, value));
            end = self.at;
        }
        Ok(end)
    }

    /// Source: win32 parser enhancements: blank lines, also of white space, before the request line
    /// are accepted.
    fn skip_blank_lines(&mut self) -> Result<(), Stop> {
        loop {
            let line = self.at;
            while let b' ' | b'\t' = self.peek()? {
                self.at += 1;
            }
            if !self.skip_line_end()? {
                // White space before a verb, rather than a line of it.
                return if self.at == line {
                    Ok(())
                } else {
                    Err(ReasonPhrase::Verb.into())
                };
            }
        }
    }

    /// Assumed: a verb has at most the 255 bytes that the error log would show of it.
    fn read_verb(&mut self) -> Result<Span, Stop> {
        const VERB_MAX: usize = 255;
        let begin = self.at;
        self.at += run_of(is_token, &self.bytes[begin..]);
        if self.at - begin > VERB_MAX {
            return Err(ReasonPhrase::Verb.into());
        }
        let verb = &self.bytes[begin..self.at];
        match self.peek()? {
            b' ' if !verb.is_empty() && !is_refused_verb(verb) => {}
            b'\r' | b'\n' => {
                self.skip_line_end()?;
                return Err(ReasonPhrase::Verb.into());
            }
            _ => return Err(ReasonPhrase::Verb.into()),
        }
        let verb = Span::new(begin, self.at);
        self.verb = Some(verb);
        self.at += 1;
        Ok(verb)
    }

    /// Takes ` target HTTP/x.y` to the end of the line.
    fn read_rest_of_request_line(&mut self) -> Result<(Span, SentVersion, Version), Stop> {
        let begin = self.at;
        loop {
            self.at += runs::printable(&self.bytes[self.at..]);
            if let b'\r' | b'\n' = self.peek()? {
                break;
            }
            self.at += 1;
        }
        let line = Span::new(begin, self.at);
        self.skip_line_end()?;
        let line = self.of(line);
        let url_length = runs::position(b' ', line).unwrap_or(line.len());
        let raw_url = Span::new(begin, begin + url_length);
        self.raw_url = Some(raw_url);
        let sent = parse_version(line, url_length)?;
        self.version = Some(sent);
        Ok((raw_url, sent, served_as(sent)?))
    }

    fn check_target(&self, verb: Span, raw_url: Span) -> Result<Target, Stop> {
        let verb = self.of(verb);
        // Source: ASP.NET Core's tests of HTTP.sys: CONNECT that is not a WebSocket handshake of
        // HTTP/2 is 400. Assumed: by its verb.
        if verb == b"CONNECT" {
            return Err(ReasonPhrase::Verb.into());
        }
        Ok(parse_target(self.bytes, raw_url, verb, self.parameters)?)
    }

    /// Takes one header line, or the empty line at the end.
    fn read_header(&mut self, before: &[(Span, Span)]) -> Result<Option<(Span, Span)>, Stop> {
        let begin = self.at;
        if let b' ' | b'\t' = self.peek()? {
            let folded = if before.is_empty() {
                ReasonPhrase::Header.into()
            } else {
                Stop::Folded
            };
            return Err(folded);
        }
        if self.skip_line_end()? {
            return Ok(None);
        }
        self.take(begin, |rest| run_of(is_token, rest))?;
        let name = Span::new(begin, self.at);
        // White space before the colon, a separator, a control character, or no colon at all.
        if self.peek()? != b':' || name.is_empty() {
            return Err(ReasonPhrase::Header.into());
        }
        self.at += 1;
        let blanks = run_of(is_blank, &self.bytes[self.at..]);
        let value = self.at + blanks;
        self.take(begin, |rest| blanks + value_length(&rest[blanks..]))?;
        let mut end = self.at;
        if !self.skip_line_end()? {
            return Err(ReasonPhrase::Header.into());
        }
        while end > value && matches!(self.bytes[end - 1], b' ' | b'\t') {
            end -= 1;
        }
        Ok(Some((name, Span::new(value, end))))
    }

    /// Moves over as many bytes as `length` says of a header that began at `begin`, and minds how long
    /// that is.
    #[inline]
    fn take(&mut self, begin: usize, length: impl Fn(&[u8]) -> usize) -> Result<(), Stop> {
        self.at += length(&self.bytes[self.at..]);
        if self.at - begin > self.parameters.max_field_length as usize {
            return Err(ReasonPhrase::FieldLength.into());
        }
        self.peek().map(|_| ())
    }

    /// Takes CR LF or LF, if one is here.
    fn skip_line_end(&mut self) -> Result<bool, Stop> {
        match self.peek()? {
            b'\n' => self.at += 1,
            b'\r' => match self.bytes.get(self.at + 1) {
                Some(b'\n') => self.at += 2,
                Some(_) => return Err(ReasonPhrase::InvalidCrLf.into()),
                None => return Err(self.end_of_bytes()),
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn peek(&self) -> Result<u8, Stop> {
        self.bytes
            .get(self.at)
            .copied()
            .ok_or_else(|| self.end_of_bytes())
    }

    /// The bytes have run out: more may come, unless there is no room for more.
    fn end_of_bytes(&self) -> Stop {
        let in_url = self.verb.is_some() && self.raw_url.is_none();
        match (self.full, in_url) {
            (false, _) => Stop::Incomplete,
            (true, true) => ReasonPhrase::UrlLength.into(),
            (true, false) => ReasonPhrase::RequestLength.into(),
        }
    }

    fn of(&self, span: Span) -> &'a [u8] {
        &self.bytes[span.start as usize..(span.start + span.len) as usize]
    }

    fn parsed(
        &self,
        lines: &FirstLines,
        framing: &Framing,
        known: Option<KnownHost>,
        text: &mut RequestText,
    ) -> ParsedHead {
        let target = &lines.target;
        let head = &self.bytes[..self.at];
        text.text.clear();
        text.text.extend_from_slice(head);
        text.path = match &target.decoded_path {
            None => target.path,
            Some(decoded) => {
                text.text.extend_from_slice(decoded.as_bytes());
                Span::new(head.len(), text.text.len())
            }
        };
        text.verb = lines.verb;
        text.raw_url = lines.raw_url;
        text.query = target.query;
        text.host = framing.host;
        ParsedHead {
            consumed: self.at,
            version: lines.version,
            entity: framing.entity,
            keep_alive: framing.keep_alive,
            expect_continue: framing.expect_continue,
            activity: framing.activity,
            host_port: framing.host_port,
            cache: framing.cache,
            known,
        }
    }

    #[cold]
    fn refused(&self, reason: ReasonPhrase) -> RefusedHead {
        let text = |span: Span| String::from_utf8_lossy(self.of(span)).into_owned();
        let url_so_far = || match self.verb {
            Some(verb) if reason == ReasonPhrase::UrlLength => {
                Some(Span::new((verb.start + verb.len) as usize + 1, self.at))
            }
            Some(_) | None => None,
        };
        RefusedHead {
            reason,
            version: self.version,
            verb: self.verb.map(text),
            url: self
                .raw_url
                .or_else(url_so_far)
                .filter(|url| !url.is_empty())
                .map(text),
            activity: find_activity(&self.bytes[self.start..]),
        }
    }
}

/// Whether a verb is refused for its spelling: a verb that HTTP.sys knows, in lower case.
///
/// Source: KB820129, `AllowCaseInsensitiveVerbs` 0; `HTTP_VERB` for the list. Other tokens pass to
/// the worker.
fn is_refused_verb(verb: &[u8]) -> bool {
    const KNOWN: [&[u8]; 17] = [
        b"GET",
        b"HEAD",
        b"POST",
        b"PUT",
        b"DELETE",
        b"OPTIONS",
        b"TRACE",
        b"CONNECT",
        b"TRACK",
        b"MOVE",
        b"COPY",
        b"PROPFIND",
        b"PROPPATCH",
        b"MKCOL",
        b"LOCK",
        b"UNLOCK",
        b"SEARCH",
    ];
    verb.iter().any(u8::is_ascii_lowercase)
        && KNOWN.iter().any(|known| known.eq_ignore_ascii_case(verb))
}

/// Reads the version at the end of a request line whose target takes `url_length` bytes.
///
/// Assumed: a line without a version (HTTP/0.9) is 400 `BadRequest`; blanks within the line spoil the
/// URL.
fn parse_version(line: &[u8], url_length: usize) -> Result<SentVersion, ReasonPhrase> {
    if url_length == 0 {
        return Err(ReasonPhrase::Url);
    }
    let Some(text) = line.get(url_length + 1..) else {
        return Err(ReasonPhrase::BadRequest);
    };
    match text {
        b"HTTP/1.1" => return Ok(Version::Http11.into()),
        b"HTTP/1.0" => return Ok(Version::Http10.into()),
        _ => {}
    }
    let last = text.rsplit(|&b| b == b' ').next().unwrap_or(text);
    if last.len() != text.len() && last.starts_with(b"HTTP/") {
        return Err(ReasonPhrase::Url);
    }
    let numbers = text
        .strip_prefix(b"HTTP/")
        .ok_or(ReasonPhrase::BadRequest)?;
    let mut parts = numbers.splitn(2, |&b| b == b'.');
    let mut part = || match parts.next()? {
        [] => None,
        digits if !digits.iter().all(u8::is_ascii_digit) => None,
        [digit] => Some(digit - b'0'),
        _ => Some(10),
    };
    let (Some(major), Some(minor)) = (part(), part()) else {
        return Err(ReasonPhrase::BadRequest);
    };
    Ok(SentVersion { major, minor })
}

/// Source: KB820729, sample of `Version_N/S` for `HTTP/9.9`. Assumed: HTTP/1.2 and above are served as
/// 1.1, as RFC 9110, 2.5 asks.
fn served_as(version: SentVersion) -> Result<Version, ReasonPhrase> {
    match (version.major, version.minor) {
        (1, 0) => Ok(Version::Http10),
        (1, _) => Ok(Version::Http11),
        _ => Err(ReasonPhrase::VersionNotSupported),
    }
}

/// Writes blanks over line ends that are followed by a blank, up to the end of the head.
#[cold]
fn unfold(buffer: &[u8]) -> Vec<u8> {
    let mut bytes = buffer.to_vec();
    let mut in_head = false; // past the first line that is not blank
    let mut line = 0;
    for at in 0..bytes.len() {
        if bytes[at] != b'\n' {
            continue;
        }
        let blank = bytes[line..at].trim_ascii().is_empty();
        if blank && in_head {
            break;
        }
        in_head |= !blank;
        if in_head && matches!(bytes.get(at + 1), Some(b' ' | b'\t')) {
            bytes[at] = b' ';
            if at > line && bytes[at - 1] == b'\r' {
                bytes[at - 1] = b' ';
            }
        } else {
            line = at + 1;
        }
    }
    bytes
}

/// How many of the first bytes belong to a kind.
#[inline]
fn run_of(belongs: impl Fn(u8) -> bool, bytes: &[u8]) -> usize {
    let first_other = bytes.iter().position(|&byte| !belongs(byte));
    first_other.unwrap_or(bytes.len())
}

/// How many of the first bytes belong to a header's value: all that is visible, space and tab.
///
/// Source: win32 parser enhancements, UTF-8 in header values is accepted.
#[inline]
pub(super) fn value_length(bytes: &[u8]) -> usize {
    let mut length = runs::printable(bytes);
    while bytes.get(length) == Some(&b'\t') {
        length += 1;
        length += runs::printable(&bytes[length..]);
    }
    length
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Source: RFC 9110, `token`.
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

const TOKEN: [bool; 256] =
    runs::members(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

#[cfg(test)]
#[path = "http1_tests.rs"]
mod tests;
