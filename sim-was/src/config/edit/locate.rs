//! Finds the place of a change: the section, in the file or a `<location>`, and the element in it.

use roxmltree::Node;

use super::change::{Change, Position, Step};
use super::reset::Named;
use super::{Attribute, EditError, Element};
use crate::config::{check, locks, outline, schema};

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

/// Whether a block leaves to the levels above who may have its sections, and to which applications they go.
fn says_nothing(block: Node<'_, '_>) -> bool {
    let is_inherited = block.attribute("inheritInChildApplications");
    locks::mode_of(block).is_none()
        && is_inherited.is_none_or(|value| value.eq_ignore_ascii_case("true"))
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
    let blocks = blocks(root, location);
    // Source: IIS keeps what is locked differently in `<location>` tags of their own: a new section must be
    // neither locked nor unlocked by its neighbours in the block.
    let Some(&block) = blocks.iter().find(|block| says_nothing(**block)) else {
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
    pub(super) fn of_section(sections: &[Node<'a, 'a>], change: &Change) -> Self {
        let schema = schema::section(&change.section).or_else(|| outline::of(&change.section));
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
        let same = |known: &&String| known.eq_ignore_ascii_case(name);
        let known = self
            .schema
            .and_then(|schema| schema.children.keys().find(same));
        if let Some(schema) = self.schema
            && !schema.foreign
            && known.is_none()
        {
            return Err(self.unknown("element", name, &schema.children));
        }
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

    /// The entry with these attributes; values are compared without case. Of several it is the one that has the
    /// defaults of the keys that are left out, or else the last.
    pub(super) fn find(&self, keys: &[(String, String)]) -> Option<Node<'a, 'a>> {
        let position = keys.iter().find_map(|(name, _)| Position::of(name));
        if let Some(position) = position {
            let entries = self.nodes.iter().flat_map(|parent| self.entries(*parent));
            return position.pick(entries).filter(|node| self.fits(*node, keys));
        }
        let last = |fits: &dyn Fn(Node<'a, 'a>) -> bool| {
            let mut parents = self.nodes.iter().rev();
            parents.find_map(|parent| self.entries(*parent).rev().find(|node| fits(*node)))
        };
        let whole = |node| {
            let key = self.kind(node).and_then(|kind| kind.whole_key(keys));
            key.is_some_and(|key| self.fits(node, &key))
        };
        last(&whole).or_else(|| last(&|node| self.fits(node, keys)))
    }

    fn kind(&self, entry: Node<'_, '_>) -> Option<&'static Element> {
        self.schema?.entries.get(entry.tag_name().name())
    }

    fn fits(&self, entry: Node<'_, '_>, keys: &[(String, String)]) -> bool {
        let mut keys = keys.iter();
        keys.all(|(name, value)| {
            Position::of(name).is_some() || has(entry, self.kind(entry), name, value)
        })
    }

    /// The entries in one of the elements, in the order of the file.
    pub(super) fn entries(
        &self,
        parent: Node<'a, 'a>,
    ) -> impl DoubleEndedIterator<Item = Node<'a, 'a>> {
        elements(parent).filter(|node| self.is_entry(*node))
    }

    /// What a collection says, in the order of the file: its entries, and what takes inherited ones away.
    pub(super) fn entries_and_takers(
        &self,
        parent: Node<'a, 'a>,
    ) -> impl Iterator<Item = Node<'a, 'a>> {
        let is_taker = |node: &Node<'_, '_>| ["clear", "remove"].contains(&node.tag_name().name());
        elements(parent).filter(move |node| is_taker(node) || self.is_entry(*node))
    }

    /// An entry beside this one that would have the same keys if one of its attributes were changed.
    pub(super) fn twin(&self, name: &str, value: &str) -> Option<Vec<(String, String)>> {
        // What is not there yet is a single element, which nothing has to be told from.
        let (schema, [node], []) = (self.schema?, &*self.nodes, &*self.missing) else {
            return None;
        };
        let whole = self.attributes_with(name, value);
        let of_name = |keys: &Vec<(String, String)>| keys.iter().any(|(key, _)| key == name);
        let mut groups = keys_of(Some(schema), &whole).into_iter().filter(of_name);
        groups.find(|keys| {
            let beside = node.parent().into_iter().flat_map(elements);
            let mut beside =
                beside.filter(|other| other != node && other.has_tag_name(node.tag_name()));
            beside.any(|other| {
                keys.iter()
                    .all(|(name, value)| has(other, Some(schema), name, value))
            })
        })
    }

    fn is_entry(&self, node: Node<'_, '_>) -> bool {
        let names = self.entry_names();
        let name = node.tag_name().name();
        if names.is_empty() {
            let is_single = self
                .schema
                .is_some_and(|schema| schema.children.contains_key(name));
            !is_single && !["remove", "clear"].contains(&name)
        } else {
            names.contains(&name)
        }
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

    /// What tells the entries here apart.
    pub(super) fn key_names(&self) -> Vec<&'static str> {
        let entries = self
            .schema
            .into_iter()
            .flat_map(|schema| schema.entries.values());
        entries.flat_map(Element::keys).flatten().collect()
    }

    /// The name of an attribute as it is written, where there is no schema to say so.
    pub(super) fn spelled<'n>(&'n self, name: &'n str) -> &'n str {
        let is_it = |known: &str| known.eq_ignore_ascii_case(name);
        let here = self.nodes.last().filter(|_| self.missing.is_empty());
        let written = here.and_then(|node| node.attributes().find(|a| is_it(a.name())));
        let known = self
            .schema
            .into_iter()
            .flat_map(|schema| schema.attributes.keys());
        let known = known.map(String::as_str).chain(locking());
        let known = written
            .map(|attribute| attribute.name())
            .or_else(|| known.into_iter().find(|k| is_it(k)));
        known.unwrap_or(name)
    }

    /// What has a name here. Where no schema says it, that is what is written, here or (`inherits`) by an outer level.
    pub(super) fn named<'n>(
        &'n self,
        name: &'n str,
        inherits: bool,
    ) -> Result<Named<'n>, EditError> {
        let is_it = |known: &str| known.eq_ignore_ascii_case(name);
        let spelled = self.spelled(name);
        let here = self.nodes.iter().filter(|_| self.missing.is_empty());
        let schema = self.schema.unwrap_or_else(|| schema::foreign());
        let is_attribute = schema.attributes.keys().any(|known| is_it(known))
            || here.clone().any(|node| node.has_attribute(spelled))
            || Self::is_lock(name);
        if is_attribute {
            return Ok(Named::Attribute(spelled));
        }
        let mut inner = here.flat_map(|node| elements(*node));
        let is_written = inner.any(|node| node.tag_name().name() == name);
        if schema.children.keys().any(|known| is_it(known)) || schema.foreign && is_written {
            return Ok(Named::Element);
        }
        if schema.foreign && inherits {
            return Ok(Named::Elsewhere);
        }
        Err(self.unknown("attribute", name, &schema.attributes))
    }

    /// Whether an attribute is one by which any element locks what is in it.
    pub(super) fn is_lock(name: &str) -> bool {
        locking().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// What the schema knows of an attribute: its name as the schema writes it, and its type.
    /// `None` if there is no schema here, or if the attribute may stand everywhere, such as `lockItem`.
    pub(super) fn attribute(
        &self,
        name: &str,
    ) -> Result<Option<(&'static str, &'static Attribute)>, EditError> {
        match self.schema {
            Some(schema) => self.attribute_of(schema, name),
            None => Ok(None),
        }
    }

    pub(super) fn attribute_of(
        &self,
        schema: &'static Element,
        name: &str,
    ) -> Result<Option<(&'static str, &'static Attribute)>, EditError> {
        let is_it = |known: &str| known.eq_ignore_ascii_case(name);
        let mut attributes = schema.attributes.iter();
        let found = attributes.find(|(known, _)| is_it(known));
        if found.is_none() && !schema.foreign && !locking().any(is_it) {
            return Err(self.unknown("attribute", name, &schema.attributes));
        }
        Ok(found.map(|(known, attribute)| (known.as_str(), attribute)))
    }

    /// The name of the element that an entry with these attributes is, and its schema.
    pub(super) fn entry_for(
        &self,
        attributes: &[(String, String)],
    ) -> Result<(String, Option<&'static Element>), EditError> {
        let schema = self.schema.unwrap_or_else(|| schema::foreign());
        if schema.foreign && schema.entries.is_empty() {
            // Assumed: entries that have something in common have one name; else the usual one.
            let is_like = |node: &Node<'_, '_>| {
                let first = attributes.first();
                first.is_some_and(|(name, _)| node.has_attribute(&**name))
            };
            let nodes = self.nodes.last().filter(|_| self.missing.is_empty());
            let like = nodes.and_then(|node| self.entries(*node).rev().find(is_like));
            let name = like.map_or("add", |node| node.tag_name().name());
            return Ok((name.to_owned(), None));
        }
        let fits = |(_, entry): &(&String, &'static Element)| {
            let known = |name: &str| {
                entry
                    .attributes
                    .keys()
                    .any(|k| k.eq_ignore_ascii_case(name))
            };
            if entry.foreign {
                return attributes.iter().any(|(name, _)| known(name));
            }
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
        let mut known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        let below = self.below(name);
        if what == "attribute" && !below.is_empty() {
            known = format!("{known}; below it there is {}", below.join(", "));
        }
        EditError::Unknown {
            place: self.name.clone(),
            what,
            name: name.to_owned(),
            known,
        }
    }

    /// Where an attribute of this name is one level deeper, as paths go on: an attribute of an application is
    /// easily taken for one of its site.
    fn below(&self, name: &str) -> Vec<String> {
        let own = |element: &'static Element| {
            let mut names = element.attributes.keys();
            names.find(|known| known.eq_ignore_ascii_case(name))
        };
        let Some(schema) = self.schema else {
            return Vec::new();
        };
        let entries = schema.entries.values().filter_map(|entry| {
            let key = entry.keys().into_iter().next()?;
            let key: Vec<String> = key.iter().map(|name| format!("{name}='…'")).collect();
            Some(format!("[{}].{}", key.join(","), own(entry)?))
        });
        let children = schema.children.iter();
        let children =
            children.filter_map(|(child, element)| Some(format!("{child}.{}", own(element)?)));
        entries.chain(children).collect()
    }
}

/// The attributes by which any element locks what is in it.
fn locking() -> impl Iterator<Item = &'static str> {
    let all = check::ANYWHERE.into_iter();
    all.filter(|name| name.starts_with("lock"))
}

/// Whether an entry has an attribute of that value, be it written or not.
fn has(node: Node<'_, '_>, kind: Option<&Element>, name: &str, value: &str) -> bool {
    let is_it = |known: &str| known.eq_ignore_ascii_case(name);
    let mut attributes = node.attributes();
    let own = attributes.find(|attribute| is_it(attribute.name()));
    let own = own.map(|attribute| attribute.value()).or_else(|| {
        let mut known = kind?.attributes.iter();
        let (_, known) =
            known.find(|(known, attribute)| attribute.key.is_some() && is_it(known))?;
        Some(known.default.as_deref().unwrap_or_default())
    });
    own.is_some_and(|own| own.to_lowercase() == value.to_lowercase())
}

/// What tells an entry with these attributes from others: its keys, those that are not written too. There may be
/// several ways to tell: a site by its name and by its id.
pub(super) fn keys_of(
    schema: Option<&'static Element>,
    attributes: &[(String, String)],
) -> Vec<Vec<(String, String)>> {
    let foreign = schema.is_none_or(|schema| schema.foreign);
    let groups = schema.map(Element::keys).unwrap_or_default();
    let Some(schema) = schema.filter(|_| !groups.is_empty()) else {
        // Where nothing is known of the keys, only the very same entry is the same.
        return foreign.then(|| attributes.to_vec()).into_iter().collect();
    };
    let given = |name: &str| {
        let mut written = attributes.iter();
        written.find(|(written, _)| written.eq_ignore_ascii_case(name))
    };
    let key = |name: &&str| {
        let value = given(name).map(|(_, value)| value.as_str());
        let value = value.or(schema.attributes[*name].default.as_deref());
        ((*name).to_owned(), value.unwrap_or_default().to_owned())
    };
    let is_told = |group: &Vec<&str>| group.iter().any(|name| given(name).is_some());
    let groups = groups.iter().enumerate();
    let groups = groups.filter(|(at, group)| *at == 0 || is_told(group));
    groups
        .map(|(_, group)| group.iter().map(key).collect())
        .collect()
}

/// `name='X', id='1'`.
pub(super) fn in_words(keys: &[(String, String)]) -> String {
    let word = |(name, value): &(String, String)| match Position::of(name) {
        Some(position) => position.to_string(),
        None => format!("{name}='{value}'"),
    };
    let words: Vec<_> = keys.iter().map(word).collect();
    words.join(", ")
}
