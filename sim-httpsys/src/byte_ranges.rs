//! Parts of a representation that a client asks for: one of them is a 206, several are a 206 in pieces.
//!
//! Both the driver (from its response cache) and a worker's static files answer them.
//! Source: RFC 9110, chapter 14.

use core::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

/// Between the parts. Source: observed in responses of IIS.
/// Assumed: the driver writes the same one as the static file handler of the worker.
const BOUNDARY: &str = "<q1w2e3r4t5y6u7i8o9p0zaxscdvfbgnhmjklkl>";
/// Assumed: more parts than this are an attack, and ignored, as RFC 9110, 14.2 allows; so are parts that
/// are more together than the whole.
const PARTS_MAX: usize = 64;

/// What a `Range` header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Everything: the header is not understood, or not worth being followed.
    Whole,
    /// These parts, at least one, none of them empty, in the order of the header.
    Parts(Vec<Range<usize>>),
    /// Nothing that there is.
    Unsatisfiable,
}

/// Reads a `Range` header about something of so many bytes.
pub fn asked(header: &[u8], length: usize) -> Asked {
    let text = str::from_utf8(header).unwrap_or("").trim();
    let Some(specs) = text.strip_prefix("bytes=") else {
        return Asked::Whole;
    };
    let mut parts = Vec::new();
    let mut bytes = 0;
    for spec in specs.split(',').map(str::trim).filter(|s| !s.is_empty()) {
        let Some(part) = part(spec, length) else {
            return Asked::Whole;
        };
        if !part.is_empty() {
            bytes += part.len();
            parts.push(part);
        }
        let is_too_much = parts.len() > 1 && bytes > length;
        if is_too_much || parts.len() > PARTS_MAX {
            return Asked::Whole;
        }
    }
    if parts.is_empty() {
        Asked::Unsatisfiable
    } else {
        Asked::Parts(parts)
    }
}

/// Whether a `Range` header names a last byte behind which no byte could be counted in 64 bits.
///
/// Source: MS15-034: what `bytes=18-18446744073709551615` did to the driver; since then it is a bad header.
pub fn overflows(header: &[u8]) -> bool {
    let text = str::from_utf8(header).unwrap_or("").trim();
    let mut specs = text.strip_prefix("bytes=").unwrap_or("").split(',');
    specs.any(|spec| {
        let (first, last) = spec.split_once('-').unwrap_or_default();
        let (first, last) = (first.trim(), last.trim());
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let end = last.parse().ok().and_then(|last: u64| last.checked_add(1));
        are_digits(first) && are_digits(last) && end.is_none()
    })
}

/// One part, empty if it lies behind the end; `None` if it is none.
fn part(spec: &str, length: usize) -> Option<Range<usize>> {
    let (first, last) = spec.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        // A number that is too large for the type is behind every end.
        is_number.then(|| digits.parse().unwrap_or(usize::MAX))
    };
    let (from, to) = match (first, last) {
        ("", suffix) => (length.saturating_sub(number(suffix)?), length),
        (first, "") => (number(first)?, length),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(length))
        }
    };
    Some(from..to.max(from))
}

/// A 206, without its status line and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Header lines.
    pub lines: Bytes,
    /// The part, or the parts with what stands between them.
    pub body: Bytes,
}

/// The 206 of some parts; `lines` are the header lines of the whole without `Content-Length`.
pub fn partial(lines: &[u8], whole: &Bytes, parts: &[Range<usize>]) -> Partial {
    let mut head = BytesMut::with_capacity(lines.len() + 96);
    if let [only] = parts {
        head.put_slice(lines);
        put_content_range(&mut head, only, whole.len());
        return Partial {
            lines: head.freeze(),
            body: whole.slice(only.clone()),
        };
    }
    let is_type = |line: &&[u8]| {
        let name = b"content-type:";
        line.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    let mut content_type: &[u8] = b"";
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        if is_type(&line) {
            content_type = line;
        } else {
            head.put_slice(line);
        }
    }
    head.put_slice(
        format!("Content-Type: multipart/byteranges; boundary={BOUNDARY}\r\n").as_bytes(),
    );
    let mut body = BytesMut::new();
    for part in parts {
        body.put_slice(format!("\r\n--{BOUNDARY}\r\n").as_bytes());
        body.put_slice(content_type);
        put_content_range(&mut body, part, whole.len());
        body.put_slice(b"\r\n");
        body.put_slice(&whole[part.clone()]);
    }
    body.put_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    Partial {
        lines: head.freeze(),
        body: body.freeze(),
    }
}

fn put_content_range(out: &mut BytesMut, part: &Range<usize>, length: usize) {
    let (first, last) = (part.start, part.end.saturating_sub(1));
    out.put_slice(format!("Content-Range: bytes {first}-{last}/{length}\r\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_parts_or_nothing_or_everything() {
        let parts = |parts: &[(usize, usize)]| {
            Asked::Parts(parts.iter().map(|&(from, to)| from..to).collect())
        };
        for (header, expected) in [
            ("bytes=0-3", parts(&[(0, 4)])),
            ("bytes=7-", parts(&[(7, 10)])),
            ("bytes=-2", parts(&[(8, 10)])),
            ("bytes=-20", parts(&[(0, 10)])),
            ("bytes=5-18446744073709551616", parts(&[(5, 10)])),
            ("bytes=0-0, -1", parts(&[(0, 1), (9, 10)])),
            ("bytes=8-9,2-3,99-", parts(&[(8, 10), (2, 4)])),
            ("bytes=10-", Asked::Unsatisfiable),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=", Asked::Unsatisfiable),
            ("bytes=2-1", Asked::Whole),
            ("bytes=x-1", Asked::Whole),
            ("bytes=1-2,x", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=1-2", Asked::Whole),
            ("bytes=0-,0-", Asked::Whole),
        ] {
            assert_eq!(asked(header.as_bytes(), 10), expected, "{header}");
        }
        let many = format!("bytes={}", "1-1,".repeat(PARTS_MAX + 1));
        assert_eq!(asked(many.as_bytes(), 1_000), Asked::Whole);
    }

    #[test]
    fn several_parts_carry_the_type_of_the_whole() {
        let whole = Bytes::from_static(b"0123456789");
        let lines = b"Content-Type: text/plain\r\nETag: \"x\"\r\n";
        let partial = partial(lines, &whole, &[0..2, 9..10]);
        let boundary = BOUNDARY;
        assert_eq!(
            partial.lines,
            format!("ETag: \"x\"\r\nContent-Type: multipart/byteranges; boundary={boundary}\r\n")
        );
        assert_eq!(
            partial.body,
            format!(
                "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
                 \r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 9-9/10\r\n\r\n9\
                 \r\n--{boundary}--\r\n"
            )
        );
    }
}
