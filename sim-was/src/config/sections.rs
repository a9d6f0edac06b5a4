//! Finds the sections in the tree: at the top, in section groups, and in `<location>` blocks.
//!
//! Sections and groups without a schema here (`configSections`, `system.ftpServer`, `webFarms`,
//! `rewrite` …) are passed over.

use std::collections::BTreeMap;

use roxmltree::Node;

use super::schema::{self, Element};

/// One appearance of a section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a> {
    /// Its element.
    pub(super) node: Node<'a, 'a>,
    /// Its schema.
    pub(super) schema: &'static Element,
}

/// The sections of a file that we have a schema for.
#[derive(Debug, Default)]
pub(super) struct Sections<'a> {
    /// By the path of their location in lower case (empty for the server), then by their name.
    by_location: BTreeMap<String, BTreeMap<String, Vec<Section<'a>>>>,
    /// Name, location as written and section, in the order of the file.
    in_order: Vec<(String, &'a str, Section<'a>)>,
}

impl<'a> Sections<'a> {
    /// Collects the sections below `<configuration>`.
    pub(super) fn find(configuration: Node<'a, 'a>) -> Self {
        let mut sections = Self::default();
        sections.collect(configuration, "", "");
        for block in elements(configuration).filter(|n| n.tag_name().name() == "location") {
            let path = block
                .attribute("path")
                .unwrap_or_default()
                .trim_matches('/');
            // Source: .NET configuration: `path="."` is the place of the file itself.
            sections.collect(block, if path == "." { "" } else { path }, "");
        }
        sections
            .in_order
            .sort_by_key(|(_, _, section)| section.node.range().start);
        sections
    }

    fn collect(&mut self, parent: Node<'a, 'a>, location: &'a str, group: &str) {
        for node in elements(parent) {
            let name = node.tag_name().name();
            let path = match group {
                "" => name.to_owned(),
                group => format!("{group}/{name}"),
            };
            if let Some(schema) = schema::section(&path) {
                let section = Section { node, schema };
                let here = self.by_location.entry(location.to_lowercase()).or_default();
                here.entry(path.clone()).or_default().push(section);
                self.in_order.push((path, location, section));
            } else if schema::is_group(&path) {
                self.collect(node, location, &path);
            }
        }
    }

    /// Every section: name, location, element; in the order of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(String, &'a str, Section<'a>)> {
        self.in_order.iter()
    }

    /// Whether something stands in this location.
    pub(super) fn has(&self, location: &str) -> bool {
        self.by_location.contains_key(location)
    }

    /// The appearances of a section at one location, in the order of the file.
    pub(super) fn at(&self, location: &str, section: &str) -> &[Section<'a>] {
        self.by_location
            .get(location)
            .and_then(|s| s.get(section))
            .map_or(&[], Vec::as_slice)
    }
}

fn elements<'a>(parent: Node<'a, 'a>) -> impl Iterator<Item = Node<'a, 'a>> {
    parent.children().filter(Node::is_element)
}
