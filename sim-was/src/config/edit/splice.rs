//! The text side of an edit: what is cut out where, what is put there, and how it is indented.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

use roxmltree::Node;

use super::locate::Tag;

/// A piece of text that takes another's place.
#[derive(Clone, Debug)]
pub(super) struct Splice {
    range: Range<usize>,
    text: String,
}

impl Splice {
    pub(super) fn new(range: Range<usize>, text: impl Into<String>) -> Self {
        Self {
            range,
            text: text.into(),
        }
    }
}

/// The text with the splices done. They do not overlap.
pub(super) fn carry_out(text: &str, mut splices: Vec<Splice>) -> String {
    splices.sort_by_key(|splice| splice.range.start);
    let mut edited = String::with_capacity(text.len() + 200);
    let mut at = 0;
    for splice in splices {
        edited.push_str(&text[at..splice.range.start]);
        edited.push_str(&in_encoding(text, &splice.text));
        at = splice.range.end;
    }
    edited + &text[at..]
}

/// What is put into a text: with character references where the encoding that it declares does not have the
/// characters.
///
/// Source: XML 1.0, section 4.1: a reference stands for a character that the encoding cannot express. Assumed: of
/// encodings other than UTF-8 and UTF-16 only that they have ASCII.
fn in_encoding<'s>(text: &str, inserted: &'s str) -> Cow<'s, str> {
    if inserted.is_ascii() || is_unicode(text) {
        return Cow::Borrowed(inserted);
    }
    let mut ascii = String::with_capacity(inserted.len() + 8);
    for c in inserted.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let _ = write!(ascii, "&#x{:X};", u32::from(c));
        }
    }
    Cow::Owned(ascii)
}

/// Whether the XML declaration says nothing of the encoding, or that it has every character.
fn is_unicode(text: &str) -> bool {
    let declaration = text
        .strip_prefix("<?xml")
        .and_then(|rest| rest.split_once("?>"));
    let declared = declaration.and_then(|(declaration, _)| declaration.split_once("encoding"));
    declared.is_none_or(|(_, encoding)| {
        let encoding = encoding.trim_start_matches([' ', '=', '"', '\'']);
        let head = encoding.get(.."utf".len()).unwrap_or_default();
        head.eq_ignore_ascii_case("utf")
    })
}

/// A value as it stands between quotes: read again, it is what it was, with its line ends.
pub fn escape(value: &str, quote: char) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' if quote == '"' => escaped.push_str("&quot;"),
            '\'' if quote == '\'' => escaped.push_str("&apos;"),
            '\n' => escaped.push_str("&#xA;"),
            '\r' => escaped.push_str("&#xD;"),
            '\t' => escaped.push_str("&#x9;"),
            // Anything else below the space is not allowed in XML at all.
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// ` name="value"`.
pub(super) fn written(name: &str, value: &str) -> String {
    format!(" {name}=\"{}\"", escape(value, '"'))
}

/// `<name a="b" />`.
pub(super) fn empty_element(name: &str, attributes: &[(String, String)]) -> String {
    let mut element = format!("<{name}");
    for (name, value) in attributes {
        element += &written(name, value);
    }
    element + " />"
}

/// Gives an attribute a value: in its place, or behind the last one and written like it.
pub(super) fn set_attribute(text: &str, node: Node<'_, '_>, name: &str, value: &str) -> Splice {
    if let Some(attribute) = node.attribute_node(name) {
        let range = attribute.range_value();
        let quote = quote_before(text, range.start);
        return Splice::new(range, escape(value, quote));
    }
    let Some(last) = node.attributes().next_back() else {
        let at = tag_name_end(text, node);
        return Splice::new(at..at, format!(" {name}=\"{}\"", escape(value, '"')));
    };
    let quote = quote_before(text, last.range_value().start);
    let range = last.range();
    let space = &text[space_before(text, range.start)..range.start];
    let written = format!("{space}{name}={quote}{}{quote}", escape(value, quote));
    Splice::new(range.end..range.end, written)
}

/// Takes an attribute away, and the space before it.
pub(super) fn remove_attribute(text: &str, attribute: Range<usize>) -> Splice {
    Splice::new(space_before(text, attribute.start)..attribute.end, "")
}

/// Takes an element away, and the line that it began if it was alone on it.
pub(super) fn remove(text: &str, node: Node<'_, '_>) -> Splice {
    let range = node.range();
    let start = space_before(text, range.start);
    let line = text[start..range.start]
        .rfind('\n')
        .map_or(range.start, |at| {
            let at = start + at;
            at - usize::from(text[..at].ends_with('\r'))
        });
    Splice::new(line..range.end, "")
}

/// Adds an entry to a collection: behind the last of its kind, else before everything else.
pub(super) fn add_entry(
    text: &str,
    parent: Node<'_, '_>,
    entry: &str,
    element: &str,
    first: bool,
) -> Splice {
    let children: Vec<_> = parent.children().filter(Node::is_element).collect();
    let is = |node: &Node<'_, '_>, names: &[&str]| names.contains(&node.tag_name().name());
    let last_alike = children.iter().rposition(|n| is(n, &[entry]));
    let last_taker = children.iter().rposition(|n| is(n, &["clear", "remove"]));
    let after = match (entry, first) {
        ("clear", _) => None,
        ("remove", _) | (_, true) => last_taker,
        (_, false) => last_alike.max(last_taker),
    };
    if let Some(after) = after {
        let (around, _) = around(text, parent);
        let at = children[after].range().end;
        return Splice::new(at..at, format!("{around}{element}"));
    }
    match children.first() {
        Some(next) => {
            let (around, _) = around(text, parent);
            let at = next.range().start;
            Splice::new(at..at, format!("{element}{around}"))
        }
        None => into_empty(text, parent, element),
    }
}

/// Adds an entry to a collection, before another one.
pub(super) fn add_before(text: &str, next: Node<'_, '_>, element: &str) -> Splice {
    let line = line_of(text, next).unwrap_or_default();
    let at = next.range().start;
    Splice::new(at..at, format!("{element}{line}"))
}

/// Writes tags, each in the one before it, at the end of an element.
pub(super) fn add_chain(
    text: &str,
    parent: Node<'_, '_>,
    tags: &[Tag],
    content: Option<&str>,
) -> Splice {
    let (around, unit) = around(text, parent);
    let mut chain = String::new();
    let mut ends = Vec::new();
    let deepest = tags.len() - 1;
    let mut line = around.clone();
    for (depth, tag) in tags.iter().enumerate() {
        if depth > 0 {
            line.push_str(&unit);
            chain.push_str(&line);
        }
        let (name, attributes) = (&tag.name, &tag.attributes);
        let written = match content {
            None if depth == deepest => format!("<{name}{attributes} />"),
            Some(content) if depth == deepest => {
                format!("<{name}{attributes}>{line}{unit}{content}{line}</{name}>")
            }
            None | Some(_) => {
                ends.push(format!("{line}</{name}>"));
                format!("<{name}{attributes}>")
            }
        };
        chain.push_str(&written);
    }
    chain.extend(ends.into_iter().rev());
    let last = parent.children().rfind(Node::is_element);
    match last {
        Some(last) => {
            let at = last.range().end;
            Splice::new(at..at, format!("{around}{chain}"))
        }
        None => into_empty(text, parent, &chain),
    }
}

/// Writes an element into one that has none.
fn into_empty(text: &str, parent: Node<'_, '_>, element: &str) -> Splice {
    let (around, _) = around(text, parent);
    let range = parent.range();
    let own = line_of(text, parent).unwrap_or_default();
    let whole = &text[range.clone()];
    if whole.ends_with("/>") {
        let start = space_before(text, range.end - 2);
        let name = &text[range.start + 1..tag_name_end(text, parent)];
        let written = format!(">{around}{element}{own}</{name}>");
        return Splice::new(start..range.end, written);
    }
    let end = range.start
        + whole
            .rfind("</")
            .expect("an element that is not empty is closed");
    let start = space_before(text, end);
    let tail = &text[start..end];
    let own = if tail.contains('\n') {
        tail
    } else {
        own.as_str()
    };
    Splice::new(start..end, format!("{around}{element}{own}"))
}

/// What stands before a child of an element (line end and indentation; nothing if all is on one
/// line), and the unit of indentation.
fn around(text: &str, parent: Node<'_, '_>) -> (String, String) {
    let own = line_of(text, parent);
    let unit = unit(text, parent);
    let children = parent.children().filter(Node::is_element);
    let mut child_lines = children.map(|child| line_of(text, child));
    match child_lines.next_back() {
        Some(Some(line)) => (line, unit),
        Some(None) => (String::new(), String::new()),
        None => match own {
            Some(own) => (own + &unit, unit),
            None => (String::new(), String::new()),
        },
    }
}

/// Line end and indentation before an element, if it begins a line.
fn line_of(text: &str, node: Node<'_, '_>) -> Option<String> {
    let start = node.range().start;
    let space = &text[space_before(text, start)..start];
    match space.rfind('\n') {
        Some(at) => {
            let at = at - usize::from(space[..at].ends_with('\r'));
            Some(space[at..].to_owned())
        }
        // The first element of a file has nothing before it.
        None if space.is_empty() && node.parent_element().is_none() => {
            text.contains('\n').then(|| newline(text).to_owned())
        }
        None => None,
    }
}

fn newline(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// By how much an element is indented further than its parent, the nearest that tells.
fn unit(text: &str, node: Node<'_, '_>) -> String {
    let indentation = |node: Node<'_, '_>| {
        let line = line_of(text, node)?;
        Some(line.trim_start_matches(['\r', '\n']).to_owned())
    };
    let first_child = node.first_element_child();
    let pairs = first_child.into_iter().chain(node.ancestors());
    for child in pairs.filter(Node::is_element) {
        if let Some(parent) = child.parent_element()
            && let (Some(outer), Some(inner)) = (indentation(parent), indentation(child))
            && let Some(unit) = inner.strip_prefix(&outer)
            && !unit.is_empty()
        {
            return unit.to_owned();
        }
    }
    if text.contains('\n') {
        "    ".to_owned()
    } else {
        String::new()
    }
}

fn space_before(text: &str, at: usize) -> usize {
    text[..at].trim_end_matches([' ', '\t', '\r', '\n']).len()
}

fn quote_before(text: &str, at: usize) -> char {
    if text[..at].ends_with('\'') {
        '\''
    } else {
        '"'
    }
}

fn tag_name_end(text: &str, node: Node<'_, '_>) -> usize {
    let start = node.range().start + 1;
    let is_end = |c: char| c.is_whitespace() || c == '/' || c == '>';
    start + text[start..].find(is_end).unwrap_or(0)
}
