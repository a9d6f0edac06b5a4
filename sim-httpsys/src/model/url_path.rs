//! A URL's path as it is routed: percent-decoded once, dot segments resolved, limits checked.
//!
//! Left out: `EnableNonUTF8=0`, `PercentUAllowed=0` and `AllowRestrictedChars=1`; the driver is as
//! its registry defaults make it.

use super::Parameters;

/// The path is malformed, too deep, or climbs out of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidPath;

/// A URL's path as a driver with the registry's defaults routes it, if it does not refuse it.
pub fn decoded(raw: &str) -> Option<String> {
    let canonical = canonical(raw.as_bytes(), &Parameters::default()).ok()?;
    Some(canonical.unwrap_or_else(|| raw.to_owned()))
}

/// Checks a raw path that begins with `/`.
///
/// `None` if its canonical form is the path itself, which is what most requests send.
pub(super) fn canonical(
    raw: &[u8],
    parameters: &Parameters,
) -> Result<Option<String>, InvalidPath> {
    let segment_max = parameters.url_segment_max_length as usize;
    let (mut segments, mut segment_start) = (0_u32, 1);
    for (at, &byte) in raw.iter().enumerate() {
        match KINDS[byte as usize] {
            Kind::Plain => {}
            Kind::Slash => {
                if at > segment_start + segment_max {
                    return Err(InvalidPath);
                }
                segments += 1;
                segment_start = at + 1;
            }
            Kind::Dot if at != segment_start => {}
            Kind::Dot | Kind::Decode => return decode(raw, parameters).map(Some),
            Kind::Refuse => return Err(InvalidPath),
        }
    }
    if raw.len() > 1 && raw.ends_with(b"/") {
        segments -= 1;
    }
    let in_limits = raw.len() <= segment_start + segment_max;
    if in_limits && segments <= segments_max(parameters) {
        Ok(None)
    } else {
        Err(InvalidPath)
    }
}

/// Source: KB820129, `UrlSegmentMaxCount`: with zero, the count is bounded by the largest number that there is.
fn segments_max(parameters: &Parameters) -> u32 {
    match parameters.url_segment_max_count {
        0 => u32::MAX,
        most => most,
    }
}

/// Whether a path, as it is routed, has more segments; a `/` at its end begins no other one.
pub(super) fn has_more_segments(path: &str, most: u32) -> bool {
    let most = most as usize;
    let inner = path.strip_suffix('/').unwrap_or(path);
    // Each has its `/`; most paths are shorter than so many would be.
    inner.len() > most && inner.bytes().filter(|byte| *byte == b'/').count() > most
}

/// What a byte of a raw path asks for.
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Slash,
    Dot,
    Decode,
    Refuse,
}

/// Assumed: a raw `#` is refused, since a fragment has no place in a request (RFC 9112, 3.2).
const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte <= 0x20 || byte == 0x7f {
            kinds[byte] = Kind::Refuse;
        } else if byte >= 0x80 {
            kinds[byte] = Kind::Decode;
        }
        byte += 1;
    }
    kinds[b'#' as usize] = Kind::Refuse;
    kinds[b'/' as usize] = Kind::Slash;
    kinds[b'.' as usize] = Kind::Dot;
    kinds[b'%' as usize] = Kind::Decode;
    kinds[b'\\' as usize] = Kind::Decode;
    kinds
};

fn decode(raw: &[u8], parameters: &Parameters) -> Result<String, InvalidPath> {
    let mut path = Canonical {
        text: String::with_capacity(raw.len()),
        chars: 0,
        segments: 0,
        segment_max: parameters.url_segment_max_length,
    };
    let mut rest = raw;
    while let Some(&first) = rest.first() {
        match KINDS[first as usize] {
            Kind::Refuse => return Err(InvalidPath),
            Kind::Plain | Kind::Slash | Kind::Dot => {
                path.push(first as char)?;
                rest = &rest[1..];
            }
            Kind::Decode if first == b'%' && rest.get(1) == Some(&b'u') => {
                rest = percent_u(rest, &mut path)?;
            }
            Kind::Decode => rest = octets(rest, &mut path)?,
        }
    }
    path.end_segment(false)?;
    let segments = path.segments - u32::from(raw.len() > 1 && matches!(raw.last(), Some(b'/')));
    if segments > segments_max(parameters) {
        return Err(InvalidPath);
    }
    Ok(path.text)
}

/// A path being built, canonical up to its last `/`.
struct Canonical {
    text: String,
    /// Characters in the segment under way.
    chars: u32,
    segments: u32,
    segment_max: u32,
}

impl Canonical {
    /// Adds a decoded character; `\` counts as `/`, as everywhere in IIS.
    fn push(&mut self, c: char) -> Result<(), InvalidPath> {
        if c != '/' && c != '\\' {
            self.chars += 1;
            self.text.push(c);
            return Ok(());
        }
        self.end_segment(true)?;
        self.segments += 1;
        Ok(())
    }

    /// Adds text that stays as it was written.
    fn keep(&mut self, written: &str) -> Result<(), InvalidPath> {
        written.chars().try_for_each(|c| self.push(c))
    }

    /// Ends the segment under way and resolves it if it is `.` or `..`.
    ///
    /// Assumed: a path that climbs out of the root is 400 URL; samples of HTTPERR show `Forbidden`
    /// for some sequences of the kind, without a rule that tells which.
    fn end_segment(&mut self, more: bool) -> Result<(), InvalidPath> {
        if self.chars > self.segment_max {
            return Err(InvalidPath);
        }
        self.chars = 0;
        let start = self.text.rfind('/').map_or(0, |slash| slash + 1);
        match &self.text[start..] {
            "." if start > 0 => self.text.truncate(start),
            ".." if start > 0 => {
                let parent = self.text[..start - 1].rfind('/').ok_or(InvalidPath)?;
                self.text.truncate(parent + 1);
            }
            _name if more => self.text.push('/'),
            _last => {}
        }
        Ok(())
    }
}

/// Decodes `%uNNNN`, and a pair of them for a character beyond U+FFFF.
///
/// Source: KB820129, `PercentUAllowed` 1. Assumed: half a pair is malformed, and `%u002F` stays
/// written as it is, like `%2F`.
fn percent_u<'a>(rest: &'a [u8], path: &mut Canonical) -> Result<&'a [u8], InvalidPath> {
    let unit = |bytes: &[u8]| -> Option<u16> {
        let [b'%', b'u', a, b, c, d, ..] = *bytes else {
            return None;
        };
        Some(u16::from(hex(a, b)?) << 8 | u16::from(hex(c, d)?))
    };
    let first = unit(rest).ok_or(InvalidPath)?;
    let second = unit(&rest[6..]).filter(|_| (0xD800..0xDC00).contains(&first));
    let units = [first, second.unwrap_or(0)];
    let count = 1 + usize::from(second.is_some());
    let decoded = char::decode_utf16(units[..count].iter().copied()).next();
    let c = decoded.and_then(Result::ok).ok_or(InvalidPath)?;
    if c.is_control() {
        return Err(InvalidPath);
    }
    if c == '/' {
        path.keep(ascii(&rest[..6]))?;
    } else {
        path.push(c)?;
    }
    Ok(&rest[6 * count..])
}

/// Decodes the octets of one character, written as `%XX` or raw.
///
/// What is not UTF-8 (overlong forms, stray octets) is left as it was written, raw octets as `%XX`,
/// unless it would mean a control character.
/// Source: ASP.NET Core's tests of HTTP.sys: `%C0%A4`, `%E0%80%AF`, `%F0%80%80%AF` stay,
/// `%C0%32%A4` becomes `%C02%A4`, `%F0%8F%8F%BF` is 400. Assumed: the rule behind them is that what
/// is not UTF-8 is read in the ANSI code page (`EnableNonUTF8`), where 0x8F has no character.
fn octets<'a>(rest: &'a [u8], path: &mut Canonical) -> Result<&'a [u8], InvalidPath> {
    let (lead, mut used) = octet(rest)?;
    if lead < 0x80 {
        match lead {
            0..0x20 | 0x7f => return Err(InvalidPath),
            b'/' => path.keep(ascii(&rest[..used]))?,
            _ => path.push(lead as char)?,
        }
        return Ok(&rest[used..]);
    }
    let mut octets = [lead, 0, 0, 0];
    let wanted = match lead {
        0..0xC0 | 0xF8.. => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0..0xF8 => 4,
    };
    let mut count = 1;
    while count < wanted && matches!(rest.get(used), Some(b'%' | 0x80..)) {
        // What follows may also be malformed or `%uNNNN`; that is for the next round to find.
        let Ok((next @ 0x80..0xC0, length)) = octet(&rest[used..]) else {
            break;
        };
        octets[count] = next;
        count += 1;
        used += length;
    }
    let octets = &octets[..count];
    if let Ok(decoded) = str::from_utf8(octets) {
        if decoded.chars().any(char::is_control) {
            return Err(InvalidPath);
        }
        path.keep(decoded)?;
    } else if is_restricted(octets) {
        return Err(InvalidPath);
    } else {
        keep_written(&rest[..used], path)?;
    }
    Ok(&rest[used..])
}

/// Whether octets that are not UTF-8 mean a control character.
///
/// Source: KB820129, `AllowRestrictedChars` 0: U+007F–U+009F are refused. A stray octet of that
/// range is taken at its number; within a longer sequence the code page counts, in which only five
/// of them have no character.
fn is_restricted(octets: &[u8]) -> bool {
    match octets {
        [stray] => matches!(stray, 0x80..0xA0),
        sequence => sequence
            .iter()
            .any(|o| matches!(o, 0x81 | 0x8D | 0x8F | 0x90 | 0x9D)),
    }
}

fn keep_written(written: &[u8], path: &mut Canonical) -> Result<(), InvalidPath> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    written.iter().try_for_each(|&byte| {
        if byte.is_ascii() {
            return path.push(byte as char);
        }
        path.push('%')?;
        path.push(HEX[usize::from(byte >> 4)] as char)?;
        path.push(HEX[usize::from(byte & 15)] as char)
    })
}

/// The next octet and how many bytes it was written with.
fn octet(bytes: &[u8]) -> Result<(u8, usize), InvalidPath> {
    match *bytes {
        [b'%', high, low, ..] => hex(high, low).map(|octet| (octet, 3)).ok_or(InvalidPath),
        [b'%', ..] | [] => Err(InvalidPath),
        [raw, ..] => Ok((raw, 1)),
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |d: u8| (d as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn ascii(written: &[u8]) -> &str {
    str::from_utf8(written).unwrap_or("") // the caller has matched `%` and hexadecimal digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(raw: &str) -> Option<String> {
        let found = canonical(raw.as_bytes(), &Parameters::default()).ok()?;
        Some(found.unwrap_or_else(|| raw.to_owned()))
    }

    fn becomes(raw: &str, decoded: &str) {
        assert_eq!(path(raw).as_deref(), Some(decoded), "{raw}");
    }

    #[test]
    fn escapes_are_decoded_once() {
        becomes("/%41%20b", "/A b");
        becomes("/%252F", "/%2F");
        becomes("/%d0%A4", "/Ф");
        becomes("/%2F%2f", "/%2F%2f");
        becomes("/%u0041%uD852%uDF62", "/A\u{24B62}");
        becomes("/Ф", "/Ф");
        becomes("/%C2%A0", "/\u{A0}");
    }

    #[test]
    fn what_is_not_utf8_stays_as_it_was_written() {
        for raw in [
            "/%C0%A4",
            "/%C1%BF",
            "/%E0%80%AF",
            "/%E0%9F%BF",
            "/%F0%80%80%AF",
            "/%ff",
        ] {
            becomes(raw, raw);
        }
        becomes("/%C0%A4%32", "/%C0%A42");
        becomes("/%C0%32%A4", "/%C02%A4");
        assert_eq!(
            canonical(b"/\xe9", &Parameters::default()),
            Ok(Some("/%E9".to_owned()))
        );
    }

    #[test]
    fn malformed_escapes_and_control_characters_are_refused() {
        for raw in [
            "/%",
            "/%%",
            "/%A",
            "/%XY",
            "/%%20",
            "/%%32",
            "/%F0%8F%8F%BF",
            "/a b",
            "/%00",
            "/%1f",
            "/%7F",
            "/%80",
            "/%9F",
            "/%C2%80",
            "/%C2%85",
            "/%c2%9f",
            "/\u{85}",
            "/\t",
            "/%u00",
            "/%uD852",
            "/%uDF62",
            "/%u0000",
            "/%+1",
            "/#",
        ] {
            assert_eq!(path(raw), None, "{raw}");
        }
    }

    #[test]
    fn dot_segments_are_resolved_however_they_are_written() {
        becomes("/a/./b", "/a/b");
        becomes("/a/../b", "/b");
        becomes("/a/%2e%2E/b", "/b");
        becomes("/a\\..\\b", "/b");
        becomes("/a%5c..%5Cb", "/b");
        becomes("/a/..", "/");
        becomes("/a/.", "/a/");
        becomes("/a/b/..", "/a/");
        becomes("/.../..a/a..", "/.../..a/a..");
        becomes("/a//../b", "/a/b");
    }

    #[test]
    fn nobody_climbs_above_the_root() {
        for raw in ["/..", "/../a", "/a/../../b", "/%2e%2e/", "/..\\a", "/..%5c"] {
            assert_eq!(path(raw), None, "{raw}");
        }
        becomes("/..%2f..%2fetc", "/..%2f..%2fetc");
    }

    #[test]
    fn segments_are_limited_in_length_and_number() {
        let long = |n: usize| format!("/x/{}/y", "a".repeat(n));
        assert!(path(&long(260)).is_some() && path(&long(261)).is_none());
        assert!(path(&long(260).replace('x', "%41")).is_some());
        assert!(path(&long(261).replace('x', "%41")).is_none());
        let deep = |n: usize| "/a".repeat(n);
        assert!(path(&deep(255)).is_some() && path(&deep(256)).is_none());
        assert!(path(&(deep(255) + "/")).is_some() && path(&(deep(255) + "/%41")).is_none());
        let unbounded = Parameters {
            url_segment_max_count: 0,
            ..Parameters::default()
        };
        for raw in [deep(5_000), deep(5_000) + "/%41"] {
            assert!(canonical(raw.as_bytes(), &unbounded).is_ok());
        }
    }

    proptest! {
        #[test]
        fn a_canonical_path_is_printable_and_has_no_dot_segments(
            raw in prop::collection::vec(
                prop_oneof![
                    Just("/".to_owned()), Just(".".to_owned()), Just("\\".to_owned()),
                    "%[0-9a-fA-F]{2}", "%u[0-9a-fA-F]{4}", "[ -~]", any::<char>().prop_map(String::from),
                ],
                0..40,
            )
        ) {
            let raw = format!("/{}", raw.concat());
            if let Some(path) = path(&raw) {
                prop_assert!(path.starts_with('/'));
                prop_assert!(!path.contains('\\'));
                prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert!(!path.chars().any(char::is_control));
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(mut raw in prop::collection::vec(any::<u8>(), 0..200)) {
            raw.insert(0, b'/');
            let _ = canonical(&raw, &Parameters::default());
        }
    }
}
