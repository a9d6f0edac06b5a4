//! `add … /in`: an object is made of the element that another appcmd has written with `/config /xml`; and
//! `set config /in`: a section is made like the one that is written there.
//!
//! Source: Microsoft's pages on moving sites: `appcmd list site "X" /config /xml > x.xml`, then
//! `appcmd add site /in < x.xml`.

use roxmltree::Node;
use sim_was::config::edit::{Act, Change, Position, Step};
use sim_was::config::view::View;

/// An element, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    name: String,
    attributes: Vec<(String, String)>,
    children: Vec<Self>,
}

/// Elements that are entries of the collection that they stand in, each known by these attributes.
/// Source: IIS schema, `system.applicationHost`.
const ENTRIES: [(&str, &[&str]); 5] = [
    ("site", &["name"]),
    ("application", &["path"]),
    ("virtualDirectory", &["path"]),
    ("binding", &["protocol", "bindingInformation"]),
    ("add", &["name", "value", "logFieldName"]),
];

impl Template {
    pub(super) fn of(node: Node<'_, '_>) -> Self {
        let attributes = node.attributes();
        Self {
            name: node.tag_name().name().to_owned(),
            attributes: attributes
                .map(|attribute| (attribute.name().to_owned(), attribute.value().to_owned()))
                .collect(),
            children: node
                .children()
                .filter(Node::is_element)
                .map(Self::of)
                .collect(),
        }
    }

    /// The value of an attribute.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Gives an attribute another value.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.attributes.retain(|(known, _)| known != name);
        self.attributes.push((name.to_owned(), value.to_owned()));
    }

    /// Entries of that name in it.
    pub(super) fn entries<'t>(&'t self, name: &'t str) -> impl Iterator<Item = &'t Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// What makes a section at some place like this one, which another appcmd has listed. `here` leads to the
    /// element that the section has there now, `now`.
    ///
    /// Assumed: what is in effect already is left alone, and so are entries that are not in the list.
    pub(super) fn differences(
        &self,
        section: &str,
        here: &[Step],
        now: Option<&View>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        if now.is_none() {
            changes.extend(self.looked_up(section, here));
        }
        for (attribute, value) in &self.attributes {
            if now.and_then(|now| now.attribute(attribute)) != Some(value) {
                let (attribute, value) = (attribute.clone(), value.clone());
                let set = Act::Set { attribute, value };
                changes.push(Change::new(section, here.to_vec(), set));
            }
        }
        for child in &self.children {
            let is_single = now.map_or(child.name != "add", |now| now.has_single(&child.name));
            if now.is_some_and(|now| !now.can_hold(&child.name)) {
                let step = Step::Child(child.name.clone());
                changes.push(look_up(section, &[here, &[step]].concat()));
            } else if is_single {
                let step = Step::Child(child.name.clone());
                let inner = now.and_then(|now| now.child(&child.name));
                changes.extend(child.differences(section, &[here, &[step]].concat(), inner));
            } else if !["remove", "clear"].contains(&child.name.as_str()) {
                changes.extend(child.entry_differences(section, here, now));
            }
        }
        changes
    }

    /// The same for an entry of the collection in an element.
    fn entry_differences(&self, section: &str, here: &[Step], now: Option<&View>) -> Vec<Change> {
        let entries = || now.into_iter().flat_map(|now| now.entries(&self.name));
        let key_names = entries().next().map(View::key_names).unwrap_or_default();
        let is_key = |(name, _): &&(String, String)| key_names.contains(&name.as_str());
        let keys: Vec<(String, String)> = self.attributes.iter().filter(is_key).cloned().collect();
        let has = |entry: &View, (name, value): &(String, String)| {
            let own = entry.attribute(name);
            own.is_some_and(|own| own.eq_ignore_ascii_case(value))
        };
        let has_keys = |entry: &&View| keys.iter().all(|key| has(entry, key));
        let known = entries().filter(|_| !keys.is_empty()).find(has_keys);
        let is_same = known.is_some_and(|known| self.attributes.iter().all(|a| has(known, a)));
        let act = |act| Change::new(section, here.to_vec(), act);
        let mut changes = Vec::new();
        if known.is_some() && !is_same {
            let keys = keys.clone();
            changes.push(act(Act::Remove { keys }));
        }
        if !is_same {
            let attributes = self.attributes.clone();
            changes.push(act(Act::Add {
                attributes,
                at: Position::End,
            }));
        }
        let known_by = if keys.is_empty() {
            self.attributes.clone()
        } else {
            keys
        };
        let inner = [here, &[Step::Entry(known_by)]].concat();
        let kept = known.filter(|_| is_same);
        if kept.is_none() {
            changes.extend(self.looked_up(section, &inner));
        }
        for child in &self.children {
            let inner = [&inner[..], &[Step::Child(child.name.clone())]].concat();
            if kept.is_some_and(|kept| !kept.can_hold(&child.name)) {
                changes.push(look_up(section, &inner));
            }
            let now = kept.and_then(|kept| kept.child(&child.name));
            changes.extend(child.differences(section, &inner, now));
        }
        changes
    }

    /// What makes it, below an element of a section.
    pub(super) fn changes(&self, section: &str, above: &[Step]) -> Vec<Change> {
        let mut here = above.to_vec();
        let mut changes = Vec::new();
        if let Some((_, keys)) = ENTRIES.iter().find(|(name, _)| *name == self.name) {
            let add = Act::Add {
                attributes: self.attributes.clone(),
                at: Position::End,
            };
            changes.push(Change::new(section, above.to_vec(), add));
            let is_key = |(name, _): &&(String, String)| keys.contains(&name.as_str());
            let known_by = self.attributes.iter().filter(is_key).cloned().collect();
            here.push(Step::Entry(known_by));
        } else {
            here.push(Step::Child(self.name.clone()));
            for (attribute, value) in &self.attributes {
                let (attribute, value) = (attribute.clone(), value.clone());
                changes.push(Change::new(
                    section,
                    here.clone(),
                    Act::Set { attribute, value },
                ));
            }
        }
        changes.extend(self.looked_up(section, &here));
        for child in &self.children {
            changes.extend(child.changes(section, &here));
        }
        changes
    }

    /// Of an element that says nothing it is found out at least whether there can be one. In something that is made
    /// anew; what is in it as well comes later.
    fn looked_up(&self, section: &str, here: &[Step]) -> Vec<Change> {
        let says_nothing = |child: &&Self| child.attributes.is_empty() && child.children.is_empty();
        let is_entry = |child: &&Self| {
            let known = ENTRIES.iter().any(|(name, _)| *name == child.name);
            known || child.name == "clear"
        };
        let empty = self.children.iter().filter(says_nothing);
        let empty = empty.filter(|child| !is_entry(child));
        let at = |child: &Self| [here, &[Step::Child(child.name.clone())]].concat();
        empty.map(|child| look_up(section, &at(child))).collect()
    }
}

/// Fails if there can be no such element, and changes nothing where it is not written.
fn look_up(section: &str, element: &[Step]) -> Change {
    Change::new(section, element.to_vec(), Act::DeleteElement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_becomes_the_changes_that_make_it() {
        let text = "<site name='S' id='7'><application path='/'><virtualDirectory path='/' physicalPath='C:\\x' />\
                    </application><limits maxConnections='5' /></site>";
        let document = roxmltree::Document::parse(text).expect("it is XML");
        let template = Template::of(document.root_element());
        let changes = template.changes("a/sites", &[]);
        let words: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "+a/sites.[name='S',id='7']",
                "+a/sites.[name='S'].[path='/']",
                "+a/sites.[name='S'].[path='/'].[path='/',physicalPath='C:\\x']",
                "a/sites.[name='S'].limits.maxConnections:5",
            ]
        );
    }
}
