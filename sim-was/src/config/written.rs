//! Sections as files write them, also those that have no schema here: `windowsAuthentication`, `rewrite` …
//!
//! What is a section, and what only a group of them, is said by the schema, then by `configSections`; an
//! element of which neither says anything is a section.

use roxmltree::{Document, Node};

use super::edit::sections_at;
use super::locks::Declared;
use super::web_config::WebConfig;
use super::{outline, schema};

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
        let is_section =
            schema::section(&path).is_some() || outline::of(&path).is_some() || declared.has(&path);
        let is_group =
            schema::is_group(&path) || outline::is_group(&path) || declared.has_group(&path);
        if !is_section && is_group {
            collect(node, &path, location, declared, found);
        } else {
            found.push((path, location.to_owned()));
        }
    }
}

/// The appearances of a section that stand for a place, in all files, the innermost first.
pub(super) fn nodes<'a>(
    host: Node<'a, 'a>,
    around: &[WebConfig<'a>],
    at: &str,
    section: &str,
) -> Vec<Node<'a, 'a>> {
    let outermost = around.iter().take_while(|file| file.is_outermost()).count();
    let (outer, inner) = around.split_at(outermost);
    let of_file = |file: &WebConfig<'a>| {
        let root = file.document.as_ref().ok().map(Document::root_element);
        let places = root.into_iter().flat_map(|root| {
            let below = file.places.iter().filter_map(|place| below(place, at));
            below.map(move |location| (root, location))
        });
        places.collect::<Vec<_>>()
    };
    let places = inner.iter().rev().flat_map(of_file);
    let places = places.chain([(host, at)]);
    let places = places.chain(outer.iter().rev().flat_map(of_file));
    let found = places.flat_map(|(root, location)| {
        let nodes = sections_at(root, location, section);
        nodes.into_iter().rev()
    });
    found.collect()
}

/// The way from one place down to another.
fn below<'p>(place: &str, at: &'p str) -> Option<&'p str> {
    match at.strip_prefix(place)? {
        rest if place.is_empty() => Some(rest),
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}
