//! The file as written: bytes → text → XML tree, with everything hostile refused on the way.
//!
//! IIS writes UTF-8, with or without a byte order mark; Notepad may have made UTF-16 of it. A
//! document type is refused outright, so that there are no entities to expand and no other file to
//! fetch. Absent on purpose: other encodings, `configSource`, web.config.

use std::borrow::Cow;
use std::fmt;

use roxmltree::{Document, ParsingOptions};

/// The largest file. Assumed: real ones stay below 1 MiB; IIS itself refuses web.config above
/// 250 KB by default (`MaxWebConfigFileSizeInKB`) and has no documented limit for this file.
const SIZE_MAX: usize = 16 * 1024 * 1024;
/// The deepest nesting. Assumed: the schema needs 9.
const DEPTH_MAX: usize = 64;
/// The most attributes of one element: the XML reader compares each with every other.
const ATTRIBUTES_MAX: usize = 256;
/// The most namespace declarations in a file: an element copies those of its parents.
const NAMESPACES_MAX: usize = 1024;

/// Why a configuration cannot be used, and where it says so.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The name of the file, as the caller gave it.
    pub file: String,
    /// The line, from 1; 0 if the whole file is meant.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}: line {line}: {}", self.file, self.message),
        }
    }
}

impl ConfigError {
    /// Something wrong with the whole file.
    pub(super) fn whole(file: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: None,
            message: message.into(),
        }
    }

    /// Something wrong at a byte of the text.
    pub(super) fn at(file: &str, text: &str, byte: usize, message: impl Into<String>) -> Self {
        let (line, column) = position(text, byte);
        Self {
            file: file.to_owned(),
            line,
            column: Some(column),
            message: message.into(),
        }
    }
}

/// Line and column of a byte, both from 1.
pub(super) fn position(text: &str, byte: usize) -> (u32, u32) {
    let before = &text.as_bytes()[..byte.min(text.len())];
    let line_start = before
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |p| p + 1);
    let line = line_at(before);
    let column = before[line_start..]
        .iter()
        .filter(|&&b| b & 0xC0 != 0x80)
        .count()
        + 1;
    (
        u32::try_from(line).unwrap_or(u32::MAX),
        u32::try_from(column).unwrap_or(u32::MAX),
    )
}

/// The line that comes after these bytes, from 1.
fn line_at(before: &[u8]) -> usize {
    before.split(|&b| b == b'\n').count()
}

/// Turns the bytes of a file into text: UTF-8 with or without, UTF-16 with a byte order mark.
pub fn decode<'a>(bytes: &'a [u8], file: &str) -> Result<Cow<'a, str>, ConfigError> {
    if bytes.len() > SIZE_MAX {
        return Err(too_large(file, bytes.len()));
    }
    match bytes {
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes, file).map(Cow::Owned),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes, file).map(Cow::Owned),
        [b'<', 0, ..] | [0, b'<', ..] => Err(ConfigError::whole(
            file,
            "looks like UTF-16 but has no byte order mark",
        )),
        bytes => utf8(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes), file),
    }
}

fn utf8<'a>(bytes: &'a [u8], file: &str) -> Result<Cow<'a, str>, ConfigError> {
    std::str::from_utf8(bytes)
        .map(Cow::Borrowed)
        .map_err(|error| {
            let valid = &bytes[..error.valid_up_to()];
            let line = line_at(valid);
            ConfigError {
                file: file.to_owned(),
                line: u32::try_from(line).unwrap_or(u32::MAX),
                column: None,
                message: format!(
                    "is not UTF-8 at byte {}; save the file as UTF-8",
                    error.valid_up_to()
                ),
            }
        })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, file: &str) -> Result<String, ConfigError> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(ConfigError::whole(
            file,
            "is UTF-16 with an odd number of bytes",
        ));
    }
    char::decode_utf16(pairs.iter().map(|&pair| unit(pair)))
        .collect::<Result<String, _>>()
        .map_err(|_| ConfigError::whole(file, "is UTF-16 with an unpaired surrogate"))
}

/// Parses XML, once nothing hostile was found in it: no DTD, no flood, nothing nested too deeply.
pub fn parse<'a>(text: &'a str, file: &str) -> Result<Document<'a>, ConfigError> {
    if text.len() > SIZE_MAX {
        return Err(too_large(file, text.len()));
    }
    guard(text).map_err(|(byte, message)| ConfigError::at(file, text, byte, message))?;
    let options = ParsingOptions {
        allow_dtd: false,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).map_err(|error| {
        use roxmltree::Error::{NoRootNode, UnclosedRootNode, UnexpectedEndOfStream};
        // Where the text ends too early, the reader knows no place: it is the end.
        let (line, column) =
            if matches!(error, NoRootNode | UnclosedRootNode | UnexpectedEndOfStream) {
                position(text, text.trim_end().len())
            } else {
                (error.pos().row, error.pos().col)
            };
        ConfigError {
            file: file.to_owned(),
            line,
            column: Some(column),
            message: format!(
                "is not well-formed XML: {}",
                without_position(&error.to_string())
            ),
        }
    })
}

fn too_large(file: &str, size: usize) -> ConfigError {
    ConfigError::whole(
        file,
        format!("has {size} bytes; at most {SIZE_MAX} are read"),
    )
}

/// The reader's messages end in ` at 3:14`, which we say in our own way.
fn without_position(message: &str) -> &str {
    match message.rsplit_once(" at ") {
        Some((text, at)) if at.bytes().all(|b| b.is_ascii_digit() || b == b':') => text,
        Some(_) | None => message,
    }
}

/// Looks over the tags, before a tree is built of them: document types, depth, and the numbers of
/// attributes and namespaces. What is not well-formed is left to the parser.
fn guard(text: &str) -> Result<(), (usize, String)> {
    let bytes = text.as_bytes();
    let (mut depth, mut namespaces, mut at) = (0_usize, 0_usize, 0_usize);
    while let Some(found) = text[at..].find('<') {
        let start = at + found;
        let rest = &text[start..];
        at = if rest.starts_with("<!--") {
            after(text, start + 4, "-->")
        } else if rest.starts_with("<![CDATA[") {
            after(text, start, "]]>")
        } else if rest.starts_with("<?") {
            after(text, start, "?>")
        } else if rest.starts_with("<!") {
            return Err((
                start,
                "has a document type (DTD), which is refused".to_owned(),
            ));
        } else if rest.starts_with("</") {
            depth = depth.saturating_sub(1);
            after(text, start, ">")
        } else {
            let tag = OpeningTag::read(bytes, start);
            depth += 1;
            if depth > DEPTH_MAX {
                return Err((start, format!("is nested deeper than {DEPTH_MAX} elements")));
            }
            if tag.attributes > ATTRIBUTES_MAX {
                return Err((
                    start,
                    format!("has more than {ATTRIBUTES_MAX} attributes here"),
                ));
            }
            namespaces += text[start..tag.end].matches("xmlns").count();
            if namespaces > NAMESPACES_MAX {
                return Err((start, format!("has more than {NAMESPACES_MAX} namespaces")));
            }
            depth -= usize::from(tag.closed);
            tag.end
        };
    }
    Ok(())
}

/// Where the text goes on behind the next `end`.
fn after(text: &str, from: usize, end: &str) -> usize {
    let from = from.min(text.len());
    text[from..]
        .find(end)
        .map_or(text.len(), |found| from + found + end.len())
}

/// What the guard wants to know of `<name a="…" …>`.
struct OpeningTag {
    end: usize,
    attributes: usize,
    closed: bool,
}

impl OpeningTag {
    fn read(bytes: &[u8], start: usize) -> Self {
        let (mut quote, mut attributes) = (None, 0);
        for (at, &byte) in bytes.iter().enumerate().skip(start) {
            match (quote, byte) {
                (None, b'"' | b'\'') => {
                    quote = Some(byte);
                    attributes += 1;
                }
                (None, b'>') => {
                    return Self {
                        end: at + 1,
                        attributes,
                        closed: bytes[at - 1] == b'/',
                    };
                }
                (Some(open), byte) if open == byte => quote = None,
                (None | Some(_), _) => {}
            }
        }
        Self {
            end: bytes.len(),
            attributes,
            closed: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(count: usize, text: impl Fn(usize) -> String) -> String {
        (0..count).map(text).collect::<Vec<_>>().concat()
    }

    fn refused(text: &str) -> String {
        parse(text, "applicationHost.config")
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_billion_laughs_are_refused_with_their_line() {
        let text = "<?xml version=\"1.0\"?>\n<!DOCTYPE lolz [<!ENTITY lol \"lol\">]>\n<a>&lol;</a>";
        assert_eq!(
            refused(text),
            "applicationHost.config: line 2: has a document type (DTD), which is refused"
        );
    }

    #[test]
    fn a_doctype_in_a_comment_is_only_a_comment() {
        parse("<a><!-- <!DOCTYPE a> --><![CDATA[<!DOCTYPE b>]]></a>", "f").unwrap();
    }

    #[test]
    fn deep_nesting_is_refused_and_64_levels_are_not() {
        assert!(refused(&"<a>".repeat(1_000_000)).contains("deeper than 64"));
        parse(&("<a>".repeat(64) + &"</a>".repeat(64)), "f").unwrap();
    }

    #[test]
    fn a_flood_of_attributes_or_namespaces_is_refused() {
        let attributes = many(300, |n| format!(" a{n}=''"));
        assert!(refused(&format!("<a{attributes}/>")).contains("more than 256 attributes"));
        let nested = many(2000, |n| format!("<b xmlns:n{n}='{n}'/>"));
        assert!(refused(&format!("<a>{nested}</a>")).contains("namespaces"));
    }

    #[test]
    fn a_file_above_16_mib_is_refused() {
        assert!(refused(&" ".repeat(SIZE_MAX + 1)).contains("16777217 bytes"));
    }

    #[test]
    fn xml_errors_name_the_line_once() {
        let message = refused("<a>\n  <b>\n</a>");
        assert!(message.starts_with("applicationHost.config: line 3: is not well-formed XML"));
        assert!(!message.contains("3:1"), "{message}");
    }

    #[test]
    fn a_torn_file_is_wrong_where_it_ends() {
        for torn in ["<a>\n<b>\n  <c/>\n", "<a>\n<b>\n  <c", "<a>\n\n<b d='"] {
            let message = refused(torn);
            assert!(
                message.starts_with("applicationHost.config: line 3: "),
                "{message}"
            );
        }
    }

    #[test]
    fn utf_16_with_a_byte_order_mark_is_read_both_ways() {
        let units: Vec<u16> = "<ä/>".encode_utf16().collect();
        let little: Vec<u8> = [0xFF, 0xFE]
            .into_iter()
            .chain(units.iter().flat_map(|u| u.to_le_bytes()))
            .collect();
        let big: Vec<u8> = [0xFE, 0xFF]
            .into_iter()
            .chain(units.iter().flat_map(|u| u.to_be_bytes()))
            .collect();
        assert_eq!(decode(&little, "f").unwrap(), "<ä/>");
        assert_eq!(decode(&big, "f").unwrap(), "<ä/>");
        assert!(decode(&little[..5], "f").is_err());
        assert!(
            decode(&little[2..], "f")
                .unwrap_err()
                .to_string()
                .contains("byte order mark")
        );
    }

    #[test]
    fn a_code_page_is_refused_with_advice() {
        let error = decode(b"<a>\n\xE4</a>", "f").unwrap_err().to_string();
        assert_eq!(
            error,
            "f: line 2: is not UTF-8 at byte 4; save the file as UTF-8"
        );
    }
}
