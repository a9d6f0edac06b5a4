//! A collection of the configuration system: entries that are added, removed and cleared, told apart
//! by their key attributes without regard to case; where nothing is known of the keys, by all of their attributes.

use std::collections::BTreeMap;

use roxmltree::Node;

use super::schema::Element;

/// Which key group, and the text of the keys in lower case.
type KeyText = (usize, String);

/// The entries of one collection while its elements are read in order.
#[derive(Debug)]
pub(super) struct Collection<'a> {
    entry_name: &'a str,
    keys: Vec<Vec<&'static str>>,
    schema: &'static Element,
    entries: Vec<Option<(usize, Node<'a, 'a>)>>,
    keys_of: Vec<Vec<KeyText>>,
    by_key: BTreeMap<KeyText, usize>,
}

/// Two entries with one key.
#[derive(Debug)]
pub(super) struct Duplicate<'a> {
    /// The second one.
    pub(super) node: Node<'a, 'a>,
    /// What IIS says.
    pub(super) text: String,
    /// Whether the first one stands in an outer layer.
    pub(super) across_layers: bool,
}

impl<'a> Collection<'a> {
    /// An empty collection whose entries are elements `entry_name` with this schema.
    pub(super) fn new(entry_name: &'a str, schema: &'static Element) -> Self {
        Self {
            entry_name,
            keys: schema.keys(),
            schema,
            entries: Vec::new(),
            keys_of: Vec::new(),
            by_key: BTreeMap::new(),
        }
    }

    /// Reads the children of one element. A later entry with the same key takes the earlier one's
    /// place, and is reported.
    pub(super) fn read(&mut self, parent: Node<'a, 'a>, layer: usize) -> Vec<Duplicate<'a>> {
        let mut duplicates = Vec::new();
        for child in parent.children().filter(Node::is_element) {
            match child.tag_name().name() {
                name if name == self.entry_name => duplicates.extend(self.add(child, layer)),
                "clear" => {
                    self.entries.clear();
                    self.keys_of.clear();
                    self.by_key.clear();
                }
                "remove" => self.remove(child),
                _ => {}
            }
        }
        duplicates
    }

    /// The entries that are left, in order; inner layers first if the schema says
    /// `mergeAppend="false"`.
    pub(super) fn into_entries(self, inner_first: bool) -> Vec<Node<'a, 'a>> {
        let mut entries: Vec<_> = self.entries.into_iter().flatten().collect();
        if inner_first {
            entries.sort_by_key(|(layer, _)| std::cmp::Reverse(*layer));
        }
        entries.into_iter().map(|(_, node)| node).collect()
    }

    fn add(&mut self, node: Node<'a, 'a>, layer: usize) -> Option<Duplicate<'a>> {
        let keys: Vec<_> = if self.is_keyed_by_everything() {
            vec![(0, everything(node))]
        } else {
            (0..self.keys.len())
                .map(|group| self.key(group, node))
                .collect()
        };
        let taken = keys
            .iter()
            .find_map(|key| Some((key.0, *self.by_key.get(key)?)));
        // Entries of which nobody knows the keys may well be there twice.
        let told = taken.filter(|_| !self.keys.is_empty());
        let duplicate = told.map(|(group, index)| Duplicate {
            node,
            text: self.complaint(group, node),
            across_layers: self.entries[index].is_some_and(|(before, _)| before != layer),
        });
        if let Some((_, index)) = taken {
            self.forget(index);
        }
        for key in &keys {
            self.by_key.insert(key.clone(), self.entries.len());
        }
        self.entries.push(Some((layer, node)));
        self.keys_of.push(keys);
        duplicate
    }

    /// Whether nothing is known of what tells the entries apart.
    fn is_keyed_by_everything(&self) -> bool {
        self.schema.foreign && self.keys.is_empty()
    }

    fn remove(&mut self, node: Node<'a, 'a>) {
        if self.is_keyed_by_everything() {
            let has = |entry: Node<'_, '_>| {
                node.attributes().all(|key| {
                    let own = entry.attribute(key.name()).unwrap_or_default();
                    own.to_lowercase() == key.value().to_lowercase()
                })
            };
            let fits = |entry: &Option<(usize, Node<'_, '_>)>| entry.is_some_and(|(_, e)| has(e));
            if let Some(index) = self.entries.iter().position(fits) {
                self.forget(index);
            }
        }
        for group in 0..self.keys.len() {
            if self.keys[group]
                .iter()
                .any(|name| node.attribute(*name).is_some())
                && let Some(&index) = self.by_key.get(&self.key(group, node))
            {
                self.forget(index);
            }
        }
    }

    fn forget(&mut self, index: usize) {
        self.entries[index] = None;
        for key in std::mem::take(&mut self.keys_of[index]) {
            self.by_key.remove(&key);
        }
    }

    fn key(&self, group: usize, node: Node<'a, 'a>) -> KeyText {
        let texts = self.keys[group]
            .iter()
            .map(|name| self.key_text(name, node).to_lowercase());
        (group, texts.collect::<Vec<_>>().join("\u{0}"))
    }

    fn key_text(&self, name: &str, node: Node<'a, 'a>) -> &'a str {
        let default = || self.schema.attributes[name].default.as_deref();
        node.attribute(name).or_else(default).unwrap_or_default()
    }

    /// Source: IIS error text, "Cannot add duplicate collection entry of type 'add' with unique key
    /// attribute 'name' set to 'X'".
    fn complaint(&self, group: usize, node: Node<'a, 'a>) -> String {
        let names = &self.keys[group];
        let values: Vec<_> = names.iter().map(|name| self.key_text(name, node)).collect();
        let (name, value) = (names.join(", "), values.join(", "));
        let entry = self.entry_name;
        let (key, respectively) = match names.len() {
            1 => ("unique key attribute", ""),
            _ => ("combined key attributes", "respectively "),
        };
        format!(
            "Cannot add duplicate collection entry of type '{entry}' with {key} '{name}' \
             {respectively}set to '{value}'"
        )
    }
}

/// All that is written in an entry.
fn everything(node: Node<'_, '_>) -> String {
    let attributes = node.attributes();
    let attributes = attributes.filter(|attribute| !attribute.name().starts_with("lock"));
    let mut texts: Vec<String> = attributes
        .map(|attribute| format!("{}={}", attribute.name(), attribute.value()).to_lowercase())
        .collect();
    texts.sort();
    texts.join("\u{0}")
}
