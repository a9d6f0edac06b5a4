//! Sections as files write them, also those that have no schema here: `windowsAuthentication`, `rewrite` …
//!
//! What is a section, and what only a group of them, is said by the schema, then by `configSections`; an
//! element of which neither says anything is a section.

use roxmltree::Node;

use super::edit::sections_at;
use super::locks::Declared;
use super::schema;
use super::view::{Known, View, ViewAttribute};

/// Every section that a file writes, with the location that it stands in as the file writes it.
pub(super) fn sections(root: Node<'_, '_>, declared: &Declared) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(root, "", "", declared, &mut found);
    let locations = root.children().filter(|n| n.has_tag_name("location"));
    for block in locations {
        let path = block.attribute("path").unwrap_or_default();
        let path = path.trim_matches('/');
        let path = if path == "." { "" } else { path };
        collect(block, "", path, declared, &mut found);
    }
    found
}

fn collect(
    parent: Node<'_, '_>,
    group: &str,
    location: &str,
    declared: &Declared,
    found: &mut Vec<(String, String)>,
) {
    for node in parent.children().filter(Node::is_element) {
        let name = node.tag_name().name();
        if group.is_empty() && ["location", "configSections"].contains(&name) {
            continue;
        }
        let path = match group {
            "" => name.to_owned(),
            group => format!("{group}/{name}"),
        };
        let is_section = schema::section(&path).is_some() || declared.has(&path);
        if !is_section && (schema::is_group(&path) || declared.has_group(&path)) {
            collect(node, &path, location, declared, found);
        } else {
            found.push((path, location.to_owned()));
        }
    }
}

/// A section without a schema at the innermost of some places: as it is written there.
///
/// Assumed: without a schema nothing is known of how levels are merged, so the innermost is shown alone.
pub(super) fn section<'a>(
    places: impl IntoIterator<Item = (Node<'a, 'a>, &'a str)>,
    name: &str,
) -> Option<View> {
    let mut places = places.into_iter();
    places.find_map(|(root, location)| {
        let nodes = sections_at(root, location, name);
        nodes.last().map(|node| view(*node))
    })
}

fn view(node: Node<'_, '_>) -> View {
    let attribute = |attribute: roxmltree::Attribute<'_, '_>| ViewAttribute {
        name: attribute.name().to_owned(),
        value: attribute.value().to_owned(),
        is_written: true,
    };
    View {
        name: node.tag_name().name().to_owned(),
        attributes: node.attributes().map(attribute).collect(),
        children: node.children().filter(Node::is_element).map(view).collect(),
        is_written: true,
        schema: Known(None),
    }
}
