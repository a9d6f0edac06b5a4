//! Finds the place of a change: the section, in the file or a `<location>`, and the element in it.

use roxmltree::Node;

use super::change::{Change, Step};
use super::{Attribute, EditError, Element};

/// A tag that has to be written on the way to a place.
#[derive(Clone, Debug)]
pub(super) struct Tag {
    pub(super) name: String,
    /// As they are written, each with a space before it.
    pub(super) attributes: String,
}

impl Tag {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            attributes: String::new(),
        }
    }
}

/// Where a change happens.
pub(super) struct Place<'a> {
    /// The elements that are there, in the order of the file: several if blocks repeat a section.
    pub(super) nodes: Vec<Node<'a, 'a>>,
    /// What has to be written below the last of them (or below a new section).
    pub(super) missing: Vec<Tag>,
    pub(super) section: String,
    /// How messages call it.
    pub(super) name: String,
    schema: Option<&'static Element>,
}

fn elements<'a>(parent: Node<'a, 'a>) -> impl DoubleEndedIterator<Item = Node<'a, 'a>> {
    parent.children().filter(Node::is_element)
}

fn named<'a>(parent: Node<'a, 'a>, name: &str) -> Vec<Node<'a, 'a>> {
    let same = |node: &Node<'a, 'a>| node.tag_name().name() == name;
    elements(parent).filter(same).collect()
}

/// The path of a `<location>`, as it is compared.
fn path_of(block: Node<'_, '_>) -> String {
    let path = block.attribute("path").unwrap_or_default();
    match path.trim_matches('/') {
        "." => String::new(),
        path => path.to_lowercase(),
    }
}

/// The blocks of a location: `<configuration>` itself for the empty one, and `<location>`s.
fn blocks<'a>(root: Node<'a, 'a>, location: &str) -> Vec<Node<'a, 'a>> {
    let mut blocks = Vec::new();
    if location.is_empty() {
        blocks.push(root);
    }
    let wanted = location.to_lowercase();
    let locations = named(root, "location");
    blocks.extend(locations.into_iter().filter(|b| path_of(*b) == wanted));
    blocks
}

/// The appearances of a section, in the order of the file.
pub(crate) fn sections<'a>(root: Node<'a, 'a>, location: &str, section: &str) -> Vec<Node<'a, 'a>> {
    let mut found = blocks(root, location);
    for name in section.split('/') {
        found = found
            .into_iter()
            .flat_map(|node| named(node, name))
            .collect();
    }
    found.sort_by_key(|node| node.range().start);
    found
}

/// The element that a new section has to be written in, and the tags from there to the section.
pub(super) fn missing_sections<'a>(
    root: Node<'a, 'a>,
    location: &str,
    section: &str,
) -> (Node<'a, 'a>, Vec<Tag>) {
    let Some(&block) = blocks(root, location).first() else {
        let mut block = Tag::new("location");
        block.attributes = format!(" path=\"{}\"", super::escape(location, '"'));
        let mut tags = vec![block];
        tags.extend(section.split('/').map(Tag::new));
        return (root, tags);
    };
    let mut parent = block;
    let mut names = section.split('/').peekable();
    while let Some(group) = names.peek()
        && let Some(&found) = named(parent, group).first()
    {
        parent = found;
        names.next();
    }
    (parent, names.map(Tag::new).collect())
}

impl<'a> Place<'a> {
    pub(super) fn of_section(
        sections: &[Node<'a, 'a>],
        change: &Change,
        schema: Option<&'static Element>,
    ) -> Self {
        Self {
            nodes: sections.to_vec(),
            missing: Vec::new(),
            section: change.section.clone(),
            name: change.section.clone(),
            schema,
        }
    }

    /// Goes from the section to the element.
    pub(super) fn descend(&mut self, steps: &[Step]) -> Result<(), EditError> {
        for step in steps {
            match step {
                Step::Child(name) => self.child(name)?,
                Step::Entry(keys) => self.entry(keys)?,
            }
        }
        Ok(())
    }

    fn child(&mut self, name: &str) -> Result<(), EditError> {
        let known = match self.schema {
            Some(schema) if !schema.foreign => {
                let same = |known: &&String| known.eq_ignore_ascii_case(name);
                let found = schema.children.keys().find(same);
                Some(found.ok_or_else(|| self.unknown("element", name, &schema.children))?)
            }
            Some(_) | None => None,
        };
        let name = known.map_or(name, String::as_str);
        self.schema = known.and_then(|known| self.schema?.children.get(known));
        self.name = format!("{}/{name}", self.name);
        let found: Vec<_> = self
            .nodes
            .iter()
            .flat_map(|node| named(*node, name))
            .collect();
        if found.is_empty() || !self.missing.is_empty() {
            self.missing.push(Tag::new(name));
        } else {
            self.nodes = found;
        }
        Ok(())
    }

    fn entry(&mut self, keys: &[(String, String)]) -> Result<(), EditError> {
        let found = self.find(keys).filter(|_| self.missing.is_empty());
        let Some(node) = found else {
            return Err(EditError::NoEntry {
                place: self.name.clone(),
                keys: in_words(keys),
            });
        };
        self.schema = self
            .schema
            .and_then(|schema| schema.entries.get(node.tag_name().name()));
        self.name = format!(
            "{}/{}[{}]",
            self.name,
            node.tag_name().name(),
            in_words(keys)
        );
        self.nodes = vec![node];
        Ok(())
    }

    /// The last entry with these attributes; values are compared without case.
    pub(super) fn find(&self, keys: &[(String, String)]) -> Option<Node<'a, 'a>> {
        let names = self.entry_names();
        let fits = |node: &Node<'a, 'a>| {
            let name = node.tag_name().name();
            let is_entry = if names.is_empty() {
                !["remove", "clear"].contains(&name)
            } else {
                names.contains(&name)
            };
            is_entry && keys.iter().all(|(name, value)| has(*node, name, value))
        };
        self.nodes
            .iter()
            .rev()
            .find_map(|parent| elements(*parent).rev().find(fits))
    }

    /// The attributes of the element as they would be with one of them changed.
    pub(super) fn attributes_with(&self, name: &str, value: &str) -> Vec<(String, String)> {
        let there = self.nodes.last().filter(|_| self.missing.is_empty());
        let others = there.into_iter().flat_map(Node::attributes);
        let others = others.filter(|attribute| attribute.name() != name);
        others
            .map(|attribute| (attribute.name().to_owned(), attribute.value().to_owned()))
            .chain([(name.to_owned(), value.to_owned())])
            .collect()
    }

    /// The names of the elements that are entries here; empty if the schema does not tell.
    pub(super) fn entry_names(&self) -> Vec<&str> {
        match self.schema {
            Some(schema) => schema.entries.keys().map(String::as_str).collect(),
            None => Vec::new(),
        }
    }

    /// What the schema knows of an attribute: its name as the schema writes it, and its type.
    /// `None` if there is no schema here.
    pub(super) fn attribute(
        &self,
        name: &str,
    ) -> Result<Option<(&'static str, &'static Attribute)>, EditError> {
        match self.schema {
            Some(schema) if !schema.foreign => self.attribute_of(schema, name).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    pub(super) fn attribute_of(
        &self,
        schema: &'static Element,
        name: &str,
    ) -> Result<(&'static str, &'static Attribute), EditError> {
        let mut attributes = schema.attributes.iter();
        attributes
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(known, attribute)| (known.as_str(), attribute))
            .ok_or_else(|| self.unknown("attribute", name, &schema.attributes))
    }

    /// The name of the element that an entry with these attributes is, and its schema.
    pub(super) fn entry_for(
        &self,
        attributes: &[(String, String)],
    ) -> Result<(String, Option<&'static Element>), EditError> {
        let Some(schema) = self.schema.filter(|schema| !schema.foreign) else {
            let like = self
                .nodes
                .last()
                .and_then(|node| elements(*node).next_back());
            let name = like.map_or("add", |node| node.tag_name().name());
            return Ok((name.to_owned(), None));
        };
        let fits = |(_, entry): &(&String, &'static Element)| {
            let known = |name: &str| {
                entry
                    .attributes
                    .keys()
                    .any(|k| k.eq_ignore_ascii_case(name))
            };
            attributes.iter().all(|(name, _)| known(name))
        };
        let mut entries = schema.entries.iter();
        let found = entries.find(fits).or_else(|| schema.entries.iter().next());
        let (name, entry) = found.ok_or_else(|| EditError::Unknown {
            place: self.name.clone(),
            what: "collection",
            name: in_words(attributes),
            known: "none".to_owned(),
        })?;
        Ok((name.clone(), Some(entry)))
    }

    fn unknown<T>(
        &self,
        what: &'static str,
        name: &str,
        known: &std::collections::BTreeMap<String, T>,
    ) -> EditError {
        let known: Vec<&str> = known.keys().map(String::as_str).collect();
        EditError::Unknown {
            place: self.name.clone(),
            what,
            name: name.to_owned(),
            known: if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            },
        }
    }
}

fn has(node: Node<'_, '_>, name: &str, value: &str) -> bool {
    let mut attributes = node.attributes();
    attributes.any(|attribute| {
        attribute.name().eq_ignore_ascii_case(name)
            && attribute.value().to_lowercase() == value.to_lowercase()
    })
}

/// Those attributes that tell entries apart.
pub(super) fn keys_of(
    schema: Option<&'static Element>,
    attributes: &[(String, String)],
) -> Vec<(String, String)> {
    let Some(schema) = schema else {
        return attributes.iter().take(1).cloned().collect();
    };
    let groups = schema.keys();
    let Some(group) = groups.first() else {
        return Vec::new();
    };
    let is_key = |(name, _): &&(String, String)| group.contains(&name.as_str());
    attributes.iter().filter(is_key).cloned().collect()
}

/// `name='X', id='1'`.
pub(super) fn in_words(keys: &[(String, String)]) -> String {
    let words: Vec<_> = keys
        .iter()
        .map(|(name, value)| format!("{name}='{value}'"))
        .collect();
    words.join(", ")
}
