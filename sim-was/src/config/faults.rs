//! What is wrong with the sections of a file that requests need: locked, against the schema, twice.
//!
//! IIS answers such requests with 500.19, and its tools refuse to read or to write such a section.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use roxmltree::Node;

use super::collection::Duplicate;
use super::layers::Layers;
use super::recorder::Lines;
use super::schema::Element;
use super::sections::{Section, Sections, is_own};
use super::{check, locks};

/// Something that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, as messages call it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: line {}: {}", self.file, self.line, self.text)
    }
}

impl Fault {
    fn at(byte: usize, node: Node<'_, '_>, text: String) -> Self {
        Self {
            file: String::new(),
            line: Lines::of(node.document().input_text()).at(byte),
            text,
        }
    }

    /// The same, with the name of its file.
    #[must_use]
    pub(super) fn of(self, file: &str) -> Self {
        let file = file.to_owned();
        Self { file, ..self }
    }
}

/// A fault and where it is: the section, the location that it concerns in lower case, and what is wrong.
pub(super) type Placed<'s> = (&'s str, &'s str, Fault);

/// What is wrong with the sections of a file around applicationHost.config; the file has no name yet.
pub(super) fn of_file<'s>(
    sections: &'s Sections<'_>,
    file: usize,
) -> impl Iterator<Item = Placed<'s>> {
    let mut seen = BTreeMap::new();
    let all = sections.of_file(file);
    all.filter_map(move |(name, location, section)| {
        let node = section.node;
        let first = *seen.entry((name, location, block(node))).or_insert(node);
        let fault = if first == node {
            of_section(sections, (name, location), section, file)?
        } else {
            Fault::at(node.range().start, node, already_defined(name))
        };
        Some((name, location, fault))
    })
}

/// What a file may have a section in once: itself, or all of its `<location>`s of a path.
///
/// Assumed: `.` and no path are one path, and blocks that differ in `inheritInChildApplications` may stand side by side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Block {
    /// The file.
    File,
    /// A path of it in lower case, and whether that is kept from child applications.
    Path(String, bool),
}

/// Where a section stands.
pub(super) fn block(section: Node<'_, '_>) -> Block {
    let mut around = section.ancestors().skip(1);
    let location = around.find(|node| node.has_tag_name("location"));
    location.map_or(Block::File, |location| {
        let path = location.attribute("path").unwrap_or_default();
        let path = path.trim_matches('/').to_lowercase();
        let path = if path == "." { String::new() } else { path };
        Block::Path(path, is_own(section))
    })
}

/// Source: the text of IIS's error 500.19 for a section that a file has twice.
pub(super) fn already_defined(section: &str) -> String {
    format!(
        "Config section '{section}' already defined. Sections must only appear once per config file. See the help topic <location> for exceptions"
    )
}

/// What is wrong with the `<location>`s of a file; it has no name yet.
pub(super) fn of_locations(configuration: Node<'_, '_>) -> Option<Fault> {
    let (at, text) = locks::mistake(configuration)?;
    Some(Fault::at(at, configuration, text))
}

/// What breaks the schema in the appearances of a section of applicationHost.config; the file has no name yet.
///
/// Source: Microsoft's pages on error 500.19 and on appcmd: `Configuration error`, with file and line, of a section
/// that cannot be understood. A value out of range in `system.applicationHost` is a matter of WAS (event 5041).
/// Assumed: the .NET Framework, which checks its own sections, is not asked.
pub(super) fn of_host<'a>(
    name: &str,
    mut nodes: impl Iterator<Item = Node<'a, 'a>>,
    schema: &'static Element,
) -> Option<Fault> {
    let is_of_requests = name.starts_with("system.webServer/");
    let place = name.strip_prefix("system.applicationHost/");
    if !is_of_requests && place.is_none() {
        return None;
    }
    let mut seen = BTreeSet::new();
    nodes.find_map(|node| {
        if !seen.insert(block(node)) {
            return Some(Fault::at(node.range().start, node, already_defined(name)));
        }
        let findings = check::check(node, schema, place.unwrap_or(name)).into_iter();
        let mut wrong = findings
            .filter(|finding| finding.is_violation() || is_of_requests && !finding.is_doubt());
        let finding = wrong.next()?;
        Some(Fault::at(finding.at, node, finding.text))
    })
}

fn of_section(
    sections: &Sections<'_>,
    (name, location): (&str, &str),
    section: &Section<'_>,
    file: usize,
) -> Option<Fault> {
    let node = section.node;
    if sections.is_locked(location, name, file) {
        let text = format!("{name}: {}", locks::SECTION_LOCKED);
        return Some(Fault::at(node.range().start, node, text));
    }
    let outer = sections.outer(location, name, file);
    if let Some((byte, text)) = locks::violation(&outer, node) {
        return Some(Fault::at(byte, node, text));
    }
    // The .NET Framework checks its own sections, some of which have more than our schema.
    let is_ours = name.starts_with("system.webServer/") && !section.schema.foreign;
    let findings = if is_ours {
        check::check(node, section.schema, name)
    } else {
        Vec::new()
    };
    let finding = findings.into_iter().find(|finding| !finding.is_doubt());
    let finding = finding.map(|finding| Fault::at(finding.at, node, finding.text));
    finding.or_else(|| {
        let (at, text) = twice(sections, (name, location), section)?;
        Some(Fault::at(at, node, text))
    })
}

/// An entry of a section that an outer level has too, and nobody took away: its byte and what IIS says.
pub(super) fn twice<'a>(
    sections: &Sections<'a>,
    (name, location): (&str, &str),
    section: &Section<'a>,
) -> Option<(usize, String)> {
    let mut nodes = vec![section.node];
    nodes.extend(sections.above(location, name, section).into_iter().rev());
    if nodes.len() < 2 {
        return None;
    }
    let duplicate = duplicate(&Layers::new(section.schema, nodes), section.node)?;
    Some((duplicate.node.range().start, duplicate.text))
}

fn duplicate<'a>(layers: &Layers<'a>, inner: Node<'a, 'a>) -> Option<Duplicate<'a>> {
    let schema = layers.schema();
    let is_here = |duplicate: &Duplicate<'a>| {
        duplicate.across_layers && duplicate.node.ancestors().any(|node| node == inner)
    };
    let mut entries = schema.entries.keys();
    let own = entries.find_map(|name| layers.entries(name, false).1.into_iter().find(is_here));
    own.or_else(|| {
        let mut children = schema.children.keys();
        children.find_map(|name| duplicate(&layers.child(name), inner))
    })
}
