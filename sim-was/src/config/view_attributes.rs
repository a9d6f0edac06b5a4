//! The attributes of an element as tools show them, and the order in which they show what is in it.
//!
//! A file has its own order, which `/config` keeps; `/text:*` has that of the schema.

use roxmltree::Node;

use super::layers::Layers;
use super::schema::{Attribute, Element};
use super::value::Kind;
use super::view::{View, ViewAttribute};

impl View {
    /// Its attributes in the order of the schema; without a schema as the file has them.
    pub fn attributes_in_order(&self) -> Vec<&ViewAttribute> {
        let mut attributes: Vec<_> = self.attributes.iter().collect();
        attributes.sort_by_key(|attribute| self.rank(&attribute.name));
        attributes
    }

    /// The elements in it in the order of the schema, those that are there once before the entries of its
    /// collection; without a schema as the file has them.
    /// Assumed: as `IAppHostElement` has them, whose child elements and collection are two things.
    pub fn children_in_order(&self) -> Vec<&Self> {
        let mut children: Vec<_> = self.children.iter().collect();
        children.sort_by_key(|child| {
            let rank = self.rank(&child.name);
            (rank.is_some() && !self.has_single(&child.name), rank)
        });
        children
    }

    fn rank(&self, name: &str) -> Option<usize> {
        let schema = self.schema.0.filter(|schema| !schema.foreign)?;
        Some(schema.rank(name).unwrap_or(usize::MAX))
    }
}

/// The attributes of an element; `own` is where it is written itself, if it is.
pub(super) fn attributes_of(
    schema: &'static Element,
    layers: &Layers<'_>,
    own: Option<Node<'_, '_>>,
) -> Vec<ViewAttribute> {
    let mut attributes: Vec<ViewAttribute> = own
        .iter()
        .flat_map(Node::attributes)
        .filter_map(|attribute| as_written(schema, attribute.name(), attribute.value()))
        .collect();
    for (name, attribute) in schema.in_order(&schema.attributes) {
        if attributes.iter().any(|written| written.name == *name) {
            continue;
        }
        let inherited = layers.written(name).map(|(value, _)| value);
        let is_inherited = inherited.is_some();
        let value = inherited.or(attribute.default.as_deref());
        let value = value.and_then(|value| attribute.effective(value));
        // Source: appcmd `/text:*`: `userName:""`. Assumed: of numbers and times without a default nothing is
        // shown; all of them have to be written.
        let is_empty = value.is_none() && attribute.kind == Kind::String;
        let value = value.or_else(|| is_empty.then(String::new));
        attributes.extend(value.map(|value| ViewAttribute {
            name: name.clone(),
            value,
            is_written: false,
            is_inherited,
        }));
    }
    attributes
}

/// An attribute as tools show it, unless its value is refused: then the default counts, and is shown.
fn as_written(schema: &Element, name: &str, value: &str) -> Option<ViewAttribute> {
    let known = schema.attributes.get(name);
    let shown = |attribute: &Attribute| {
        // What an entry is known by is said in any case.
        let is_good = attribute.check(value).is_ok() || attribute.key.is_some();
        is_good.then(|| attribute.canonical(value).into_owned())
    };
    let value = match known {
        Some(attribute) => shown(attribute)?,
        None => value.to_owned(),
    };
    Some(ViewAttribute {
        name: name.to_owned(),
        value,
        is_written: true,
        is_inherited: false,
    })
}
