//! A setting is looked for in the element itself, then in the defaults that stand for it, then in the
//! schema.

use std::time::Duration;

use roxmltree::Node;

use super::collection::{Collection, Duplicate};
use super::schema::Element;
use super::value::Value;

/// One element as it takes effect: the nodes that say something about it, the most specific first.
#[derive(Clone, Debug)]
pub(super) struct Layers<'a> {
    schema: &'static Element,
    nodes: Vec<Node<'a, 'a>>,
}

impl<'a> Layers<'a> {
    /// The nodes come with the most specific first.
    pub(super) fn new(schema: &'static Element, nodes: Vec<Node<'a, 'a>>) -> Self {
        Self { schema, nodes }
    }

    /// The same, with one more node below all of them.
    pub(super) fn above(&self, node: Node<'a, 'a>) -> Self {
        let nodes = self.nodes.iter().copied().chain([node]);
        Self::new(self.schema, nodes.collect())
    }

    /// An element inside.
    pub(super) fn child(&self, name: &str) -> Self {
        Self {
            schema: &self.schema.children[name],
            nodes: self.nodes_of(name),
        }
    }

    /// The appearances of a child element, the most specific first.
    pub(super) fn nodes_of(&self, name: &str) -> Vec<Node<'a, 'a>> {
        let of = |node: &Node<'a, 'a>| {
            let named = node
                .children()
                .filter(|n| n.is_element() && n.tag_name().name() == name);
            // If it appears twice, the later one wins.
            let mut named: Vec<_> = named.collect();
            named.reverse();
            named
        };
        self.nodes.iter().flat_map(of).collect()
    }

    /// The entries of a collection, merged over all layers, and what is there twice.
    pub(super) fn entries(
        &self,
        name: &'a str,
        inner_first: bool,
    ) -> (Vec<Self>, Vec<Duplicate<'a>>) {
        let schema = &self.schema.entries[name];
        let mut collection = Collection::new(name, schema);
        let mut duplicates = Vec::new();
        for (layer, node) in self.nodes.iter().rev().enumerate() {
            duplicates.extend(collection.read(*node, layer));
        }
        let entries = collection.into_entries(inner_first);
        (
            entries
                .into_iter()
                .map(|node| Self::new(schema, vec![node]))
                .collect(),
            duplicates,
        )
    }

    /// What says something about it, the most specific first.
    pub(super) fn nodes(&self) -> &[Node<'a, 'a>] {
        &self.nodes
    }

    /// The schema of the entries of a collection.
    pub(super) fn entry_schema(&self, name: &str) -> &'static Element {
        &self.schema.entries[name]
    }

    /// Whether nothing says anything about it.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether applicationHost.config says something about it for all of the server.
    pub(super) fn is_of_server(&self) -> bool {
        self.nodes.iter().any(|node| {
            let mut around = node.ancestors();
            let is_in_location = around.any(|outer| {
                let path = outer.attribute("path").unwrap_or_default();
                outer.has_tag_name("location") && !["", "."].contains(&path)
            });
            let root = node.document().root_element();
            let mut groups = root.children();
            !is_in_location && groups.any(|group| group.has_tag_name("system.applicationHost"))
        })
    }

    /// An attribute as it is written where it counts, and the byte where that is.
    pub(super) fn written(&self, name: &str) -> Option<(&'a str, usize)> {
        let mut nodes = self.nodes.iter();
        let attribute = nodes.find_map(|node| node.attribute_node(name))?;
        Some((attribute.value(), attribute.range().start))
    }

    /// The schema of this element.
    pub(super) fn schema(&self) -> &'static Element {
        self.schema
    }

    /// The element itself, without its defaults.
    pub(super) fn own(&self) -> Node<'a, 'a> {
        self.nodes[0]
    }

    /// A value that the schema refuses counts as not written; the check has reported it.
    fn value(&self, name: &str) -> Option<Value> {
        let attribute = &self.schema.attributes[name];
        let written = self.nodes.iter().find_map(|node| node.attribute(name));
        written
            .and_then(|text| attribute.check(text).ok())
            .or_else(|| attribute.default_value())
    }

    /// A bool.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Bool(true)))
    }

    /// A number, an enum or flags.
    pub(super) fn number(&self, name: &str) -> u32 {
        u32::try_from(self.long(name)).unwrap_or(u32::MAX)
    }

    /// A number of 64 bits; a negative one is 0.
    pub(super) fn long(&self, name: &str) -> u64 {
        match self.value(name) {
            Some(Value::Number(number)) => u64::try_from(number).unwrap_or(0),
            Some(Value::Bool(_) | Value::Text(_) | Value::Time(_)) | None => 0,
        }
    }

    /// A time, if there is one.
    pub(super) fn maybe_time(&self, name: &str) -> Option<Duration> {
        match self.value(name) {
            Some(Value::Time(time)) => Some(time),
            Some(Value::Bool(_) | Value::Number(_) | Value::Text(_)) | None => None,
        }
    }

    /// A time; zero without one.
    pub(super) fn time(&self, name: &str) -> Duration {
        self.maybe_time(name).unwrap_or_default()
    }

    /// A text; empty without one.
    pub(super) fn text(&self, name: &str) -> String {
        match self.value(name) {
            Some(Value::Text(text)) => text,
            Some(Value::Bool(_) | Value::Number(_) | Value::Time(_)) | None => String::new(),
        }
    }
}
