//! What tools look for in an element: an element in it, whether there is such an attribute at all, and which of
//! two values is more.

use std::cmp::Ordering;

use super::edit::{Position, Step};
use super::schema::{Attribute, Element};
use super::value::Value;
use super::view::View;

impl View {
    /// The element in it that some steps lead to.
    pub fn at(&self, steps: &[Step]) -> Option<&Self> {
        steps.iter().try_fold(self, |view, step| match step {
            Step::Child(name) => view.child(name),
            Step::Entry(keys) => view.entry(keys),
        })
    }

    /// The entry with these attributes, without regard to case, or the one at a position. Of several it is the one
    /// that has the defaults of the keys that are left out, or else the last.
    pub fn entry(&self, keys: &[(String, String)]) -> Option<&Self> {
        let has = |entry: &Self, (name, value): &(String, String)| match entry.attribute(name) {
            Some(own) => own.to_lowercase() == value.to_lowercase(),
            // A key that is not written and has no default is empty.
            None => value.is_empty() && entry.key_names().contains(&name.as_str()),
        };
        let is_position = |(name, _): &(String, String)| Position::of(name).is_some();
        let fits = |entry: &&Self| keys.iter().all(|key| is_position(key) || has(entry, key));
        let mut positions = keys.iter().filter_map(|(name, _)| Position::of(name));
        if let Some(position) = positions.next() {
            let entries = self.children.iter();
            let entries = entries.filter(|child| !self.has_single(&child.name));
            return position.pick(entries).filter(fits);
        }
        let is_whole = |entry: &&Self| {
            let key = entry.schema.0.and_then(|schema| schema.whole_key(keys));
            key.is_some_and(|key| key.iter().all(|key| has(entry, key)))
        };
        let whole = self.children.iter().rev().find(is_whole);
        whole.or_else(|| self.children.iter().rev().find(fits))
    }

    /// The entry that has the keys of one with these attributes, so that the two cannot be there together.
    pub fn same(&self, attributes: &[(String, String)]) -> Option<&Self> {
        let has = |entry: &Self, name: &str| {
            let known = entry
                .schema
                .0
                .and_then(|schema| schema.attributes.get(name));
            let default = known.and_then(|known| known.default.as_deref());
            let mut given = attributes.iter();
            let given = given.find(|(given, _)| given.eq_ignore_ascii_case(name));
            let given = given.map(|(_, value)| value.as_str()).or(default);
            let own = entry.attribute(name).unwrap_or_default();
            own.to_lowercase() == given.unwrap_or_default().to_lowercase()
        };
        let is_same = |entry: &&Self| {
            let names = entry.key_names();
            !self.has_single(&entry.name)
                && !names.is_empty()
                && names.into_iter().all(|name| has(entry, name))
        };
        self.children.iter().find(is_same)
    }

    /// Whether an element of that name appears once in it, and is no entry of a collection.
    pub fn has_single(&self, name: &str) -> bool {
        match self.schema.0 {
            // As in `open_view`.
            Some(schema) if schema.foreign && schema.entries.is_empty() => {
                let is_repeated = || self.entries(name).count() > 1;
                schema.children.contains_key(name) || name != "add" && !is_repeated()
            }
            Some(schema) if schema.foreign => !schema.entries.contains_key(name),
            Some(schema) => schema.children.contains_key(name),
            None => false,
        }
    }

    /// Which attributes tell entries such as this one apart.
    pub fn key_names(&self) -> Vec<&str> {
        let keys = self.schema.0.map(Element::keys).unwrap_or_default();
        keys.into_iter().next().unwrap_or_default()
    }

    /// Whether the schema has an attribute of that path, be it written or not; without a schema, whether it
    /// is written.
    pub fn knows(&self, path: &str) -> bool {
        match self.schema.0 {
            Some(schema) if !schema.foreign => {
                attribute(schema, path).is_some() || names_element(schema, path)
            }
            Some(_) | None => self.attribute(path).is_some(),
        }
    }

    /// Whether it is known which attributes it may have.
    pub fn has_schema(&self) -> bool {
        self.schema.0.is_some_and(|schema| !schema.foreign)
    }

    /// How the value of an attribute compares with another one: as times, numbers, names or texts without
    /// regard to case. `None` if it has no value, or if one of the two is none of its kind.
    pub fn compare(&self, path: &str, other: &str) -> Option<Ordering> {
        let own = self.attribute(path)?;
        let known = self.schema.0.and_then(|schema| attribute(schema, path));
        let typed =
            known.and_then(|known| Some((known.check(own).ok()?, known.check(other).ok()?)));
        match typed {
            Some((Value::Number(own), Value::Number(other))) => Some(own.cmp(&other)),
            Some((Value::Time(own), Value::Time(other))) => Some(own.cmp(&other)),
            Some((Value::Bool(own), Value::Bool(other))) => Some(own.cmp(&other)),
            _ => Some(own.to_lowercase().cmp(&other.to_lowercase())),
        }
    }
}

/// The attribute of a path such as `processModel.idleTimeout` or `[path='/'].applicationPool`.
fn attribute(schema: &'static Element, path: &str) -> Option<&'static Attribute> {
    if let Some(rest) = path.strip_prefix('[') {
        let (keys, rest) = rest.split_once(']')?;
        let key = keys.split('=').next().unwrap_or_default().trim();
        let mut entries = schema.entries.values();
        let entry = entries.find(|entry| find(&entry.attributes, key).is_some())?;
        return attribute(entry, rest.trim_start_matches('.'));
    }
    match path.find(['.', '[']) {
        Some(at) => {
            let (step, rest) = path.split_at(at);
            let child = find(&schema.children, step)?;
            attribute(child, rest.trim_start_matches('.'))
        }
        None => find(&schema.attributes, path),
    }
}

/// Whether a path is that of a single element.
fn names_element(schema: &'static Element, path: &str) -> bool {
    let mut steps = path.split('.');
    let last = steps.try_fold(schema, |element, step| find(&element.children, step));
    last.is_some()
}

fn find<'s, T>(named: &'s std::collections::BTreeMap<String, T>, name: &str) -> Option<&'s T> {
    let mut all = named.iter();
    let found = all.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}
