//! Edits to the text of an applicationHost.config (or a web.config): every byte that is not concerned
//! stays, in any encoding, with its comments, its line ends, its quotes and its order.
//!
//! ```text
//! text ─ find the section, then the element ─► a place ─ splice ─► text
//!                └─ what is missing on the way is written, indented like its neighbours
//! ```
//!
//! A [`Change`] says what is wanted in the words of appcmd:
//!
//! ```
//! use sim_was::config::edit::{apply, Change};
//!
//! let text = r#"<configuration><system.applicationHost><applicationPools>
//!   <add name="Shop" />
//! </applicationPools></system.applicationHost></configuration>"#;
//! let change = Change::pool("Shop", "queueLength", "5000");
//! assert!(apply(text, &[change])?.contains(r#"<add name="Shop" queueLength="5000" />"#));
//! // The same, as a text:
//! let change: Change = "system.applicationHost/applicationPools[name='Shop'].queueLength:5000".parse()?;
//! assert!(apply(text, &[change])?.contains(r#"queueLength="5000""#));
//! # Ok::<(), sim_was::config::edit::EditError>(())
//! ```

mod change;
mod inherited;
mod locate;
mod lock;
mod reset;
mod splice;

use std::borrow::Cow;

use roxmltree::{Document, Node};

pub use change::{Act, Change, Position, Step};
pub use inherited::localized;
pub(super) use locate::sections as sections_at;
pub use splice::escape;

use super::binding;
use super::machine;
use super::raw::{self, ConfigError};
use super::schema::{self, Attribute, Element};
use super::value::{Fault, Validator};
use locate::Place;
use splice::Splice;

/// The section of the sites.
const SITES: &str = "system.applicationHost/sites";
/// What stands in the place of a new site's id: the next number above those of all sites.
///
/// Source: appcmd: a site that is added without an id takes the next free one. The edit chooses it, and not who
/// asks for it: several may ask at once, and edits are made one after the other.
pub const NEXT_ID: &str = "next";
/// The longest name of a pool, characters.
const NAME_MAX: usize = 64;

/// Why an edit was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The file is no good as it is.
    #[error(transparent)]
    Unreadable(#[from] ConfigError),
    /// A change could not be understood.
    #[error("\"{text}\" is no change: {why}")]
    Syntax {
        /// As written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such section in the schema, nor in the file.
    #[error("there is no section \"{0}\"")]
    NoSection(String),
    /// The section has no such element or attribute.
    #[error("{place} has no {what} \"{name}\"; known: {known}")]
    Unknown {
        /// Where.
        place: String,
        /// `attribute` or `element`.
        what: &'static str,
        /// What was named.
        name: String,
        /// What would be valid.
        known: String,
    },
    /// An entry of a collection that is to be changed or removed is not there.
    #[error("{place} has no entry with {keys}")]
    NoEntry {
        /// Where.
        place: String,
        /// `name='X'`.
        keys: String,
    },
    /// An entry of a collection that is to be added is there already.
    #[error("{place} has an entry with {} already", locate::in_words(keys))]
    Duplicate {
        /// Where.
        place: String,
        /// The attributes by which it is told from others, and their values.
        keys: Vec<(String, String)>,
    },
    /// The value does not suit the attribute.
    #[error("{attribute}=\"{value}\" in {place} is {why}")]
    Invalid {
        /// Where.
        place: String,
        /// Which attribute.
        attribute: String,
        /// The value.
        value: String,
        /// What would be valid.
        why: String,
    },
}

/// Makes changes, one after the other; a later one sees what an earlier one has done. If one fails,
/// nothing was done.
///
/// Values are held against the schema where there is one for the section. What the text says
/// elsewhere is not looked at, as long as it is XML.
pub fn apply(text: &str, changes: &[Change]) -> Result<String, EditError> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut edited = body.to_owned();
    for change in changes {
        edited = apply_one(&edited, change)?;
    }
    let mark = &text[..text.len() - body.len()];
    Ok(format!("{mark}{edited}"))
}

/// Like [`apply`], from the bytes of a file to its bytes: its encoding and byte order mark stay.
pub fn apply_to_bytes(bytes: &[u8], file: &str, changes: &[Change]) -> Result<Vec<u8>, EditError> {
    let text = raw::decode(bytes, file)?;
    Ok(encoded_like(bytes, &apply(&text, changes)?))
}

/// The bytes of a text, with the encoding and the byte order mark of some others.
pub fn encoded_like(bytes: &[u8], text: &str) -> Vec<u8> {
    let units = |order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect();
    match bytes {
        [0xFF, 0xFE, ..] => [vec![0xFF, 0xFE], units(u16::to_le_bytes)].concat(),
        [0xFE, 0xFF, ..] => [vec![0xFE, 0xFF], units(u16::to_be_bytes)].concat(),
        [0xEF, 0xBB, 0xBF, ..] => [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
        _ => text.as_bytes().to_vec(),
    }
}

fn apply_one(text: &str, change: &Change) -> Result<String, EditError> {
    let document = raw::parse(text, "the configuration")?;
    let root = document.root_element();
    let editor = Editor { text, root, change };
    let splices = editor.splices()?;
    let edited = splice::carry_out(text, splices);
    debug_assert!(
        Document::parse(&edited).is_ok(),
        "what was XML is XML after an edit of {change:?}"
    );
    Ok(edited)
}

struct Editor<'t> {
    text: &'t str,
    root: Node<'t, 't>,
    change: &'t Change,
}

impl<'t> Editor<'t> {
    fn splices(&self) -> Result<Vec<Splice>, EditError> {
        let change = self.change;
        let known = schema::section(&change.section);
        let sections = locate::sections(self.root, &change.location, &change.section);
        if let Act::Lock { locked } = change.act
            && (known.is_some() || lock::is_declared(self.root, &change.section))
        {
            let place = (change.location.as_str(), change.section.as_str());
            return Ok(lock::splices(self.text, self.root, place, locked));
        }
        // A web.config declares nothing: whoever changes one knows what applicationHost.config declares.
        let is_declared = change.inherits
            || machine::declares(&change.section)
            || lock::is_declared(self.root, &change.section);
        if known.is_none() && sections.is_empty() && !is_declared {
            return Err(EditError::NoSection(change.section.clone()));
        }
        if matches!(change.act, Act::DeleteElement) && change.element.is_empty() {
            return Ok(sections
                .into_iter()
                .map(|section| splice::remove(self.text, section))
                .collect());
        }
        let mut place = Place::of_section(&sections, change);
        place.descend(&change.element)?;
        match &change.act {
            Act::Set { attribute, value } => {
                let kind = place.attribute(attribute)?;
                let written = kind.map_or(Cow::Borrowed(value.as_str()), |(_, kind)| {
                    kind.canonical(value)
                });
                let name = kind.map_or_else(|| place.spelled(attribute), |(name, _)| name);
                if let Some((name, kind)) = kind {
                    check(kind, name, value, &place.name)?;
                }
                if ["id", "protocol", "bindingInformation"].contains(&name) {
                    let whole = place.attributes_with(name, &written);
                    check_together(change, &whole, &place.name)?;
                }
                if let Some(keys) = place.twin(name, &written) {
                    let place = place.name;
                    return Err(EditError::Duplicate { place, keys });
                }
                Ok(vec![self.set(&place, name, &written)])
            }
            Act::DeleteAttribute { attribute } => {
                let inherits = change.inherits || !change.location.is_empty();
                reset::splices(self.text, place, attribute, inherits)
            }
            Act::Add { attributes, at } => self.add(&place, attributes, *at),
            Act::Remove { keys } => self.remove(&place, keys),
            Act::Clear => Ok(self.clear(&place)),
            // Only a section that somebody declares can be locked.
            Act::Lock { .. } => Err(EditError::NoSection(change.section.clone())),
            Act::DeleteElement => Ok(place
                .nodes
                .iter()
                .filter(|_| place.missing.is_empty())
                .map(|node| splice::remove(self.text, *node))
                .collect()),
        }
    }

    fn set(&self, place: &Place<'t>, name: &str, value: &str) -> Splice {
        if !place.missing.is_empty() {
            return self.write(place, &[(name.to_owned(), value.to_owned())]);
        }
        // Where several blocks speak of one section, the last one wins.
        let winning = place.nodes.iter().rev().find(|n| n.has_attribute(name));
        match winning.or(place.nodes.last()) {
            Some(node) => splice::set_attribute(self.text, *node, name, value),
            None => self.write(place, &[(name.to_owned(), value.to_owned())]),
        }
    }

    fn add(
        &self,
        place: &Place<'t>,
        attributes: &[(String, String)],
        at: Position,
    ) -> Result<Vec<Splice>, EditError> {
        let (entry, kind) = place.entry_for(attributes)?;
        let next = self.next_id(place);
        let mut written = Vec::new();
        for (name, value) in attributes {
            let is_next = name == "id" && value == NEXT_ID;
            let value = next.as_ref().filter(|_| is_next).unwrap_or(value);
            let known = kind
                .map(|kind| place.attribute_of(kind, name))
                .transpose()?
                .flatten();
            if let Some((name, known)) = known {
                check(known, name, value, &place.name)?;
            }
            let text = known.map_or(Cow::Borrowed(value.as_str()), |(_, kind)| {
                kind.canonical(value)
            });
            let name = known.map_or(name.as_str(), |(name, _)| name);
            written.push((name.to_owned(), text.into_owned()));
        }
        check_together(self.change, &written, &place.name)?;
        let groups = locate::keys_of(kind, &written).into_iter();
        let mut groups = groups.filter(|_| place.missing.is_empty());
        if let Some(keys) = groups.find(|keys| !keys.is_empty() && place.find(keys).is_some()) {
            // Those that were given say enough.
            let is_key = |(name, _): &&(String, String)| keys.iter().any(|(key, _)| key == name);
            let given: Vec<_> = written.iter().filter(is_key).cloned().collect();
            return Err(EditError::Duplicate {
                place: place.name.clone(),
                keys: given,
            });
        }
        let element = splice::empty_element(&entry, &written);
        let Some(parent) = place.nodes.last().filter(|_| place.missing.is_empty()) else {
            return Ok(vec![self.write_with(place, &[], Some(&element))]);
        };
        if let Position::Number(_) = at
            && let Some(next) = at.pick(place.entries(*parent))
        {
            return Ok(vec![splice::add_before(self.text, next, &element)]);
        }
        let first = at == Position::Start;
        Ok(vec![splice::add_entry(
            self.text, *parent, &entry, &element, first,
        )])
    }

    /// The number above those of all sites, if it is a site that is added.
    fn next_id(&self, place: &Place<'t>) -> Option<String> {
        if self.change.section != SITES || !self.change.element.is_empty() {
            return None;
        }
        let sites = place.nodes.iter().flat_map(|node| place.entries(*node));
        let ids = sites.filter_map(|site| site.attribute("id")?.trim().parse::<u32>().ok());
        Some(ids.max().unwrap_or(0).saturating_add(1).to_string())
    }

    fn remove(
        &self,
        place: &Place<'t>,
        keys: &[(String, String)],
    ) -> Result<Vec<Splice>, EditError> {
        let here = place.missing.is_empty();
        if let Some(node) = place.find(keys).filter(|_| here) {
            return Ok(vec![splice::remove(self.text, node)]);
        }
        let is_position = keys.iter().any(|(name, _)| Position::of(name).is_some());
        if is_position || self.change.location.is_empty() && !self.change.inherits {
            return Err(EditError::NoEntry {
                place: place.name.clone(),
                keys: locate::in_words(keys),
            });
        }
        // What an outer level has added is taken away here, by its keys and nothing else.
        let known_by = place.key_names();
        let is_key = |(name, _): &&(String, String)| {
            let is_it = |key: &&str| key.eq_ignore_ascii_case(name);
            known_by.is_empty() || known_by.iter().any(is_it)
        };
        let said: Vec<_> = keys.iter().filter(is_key).cloned().collect();
        let said = if said.is_empty() { keys } else { &said };
        let element = splice::empty_element("remove", said);
        Ok(vec![match place.nodes.last().filter(|_| here) {
            Some(parent) => splice::add_entry(self.text, *parent, "remove", &element, false),
            None => self.write_with(place, &[], Some(&element)),
        }])
    }

    fn clear(&self, place: &Place<'t>) -> Vec<Splice> {
        let Some(parent) = place.nodes.last().filter(|_| place.missing.is_empty()) else {
            return vec![self.write_with(place, &[], Some("<clear />"))];
        };
        let names = place.entry_names();
        let mut entries: Vec<_> = parent
            .children()
            .filter(|node| {
                let name = node.tag_name().name();
                ["clear", "remove"].contains(&name) || names.contains(&name)
            })
            .collect();
        if entries.is_empty() {
            return vec![splice::add_entry(
                self.text,
                *parent,
                "clear",
                "<clear />",
                true,
            )];
        }
        let first = entries.remove(0);
        let mut splices = vec![Splice::new(first.range(), "<clear />")];
        splices.extend(entries.into_iter().map(|n| splice::remove(self.text, n)));
        splices
    }

    /// Writes what is missing on the way to a place, and the place itself with these attributes.
    fn write(&self, place: &Place<'t>, attributes: &[(String, String)]) -> Splice {
        self.write_with(place, attributes, None)
    }

    fn write_with(
        &self,
        place: &Place<'t>,
        attributes: &[(String, String)],
        content: Option<&str>,
    ) -> Splice {
        let mut tags = place.missing.clone();
        let parent = if let Some(node) = place.nodes.last() {
            *node
        } else {
            let (parent, mut above) =
                locate::missing_sections(self.root, &self.change.location, &place.section);
            above.append(&mut tags);
            tags = above;
            parent
        };
        if let Some(last) = tags.last_mut() {
            for (name, value) in attributes {
                last.attributes += &splice::written(name, value);
            }
        }
        splice::add_chain(self.text, parent, &tags, content)
    }
}

fn check(kind: &Attribute, name: &str, value: &str, place: &str) -> Result<(), EditError> {
    let is_pool = kind.validate == Some(Validator::ApplicationPoolName);
    let is_path = matches!(
        kind.validate,
        Some(Validator::ApplicationPath | Validator::VirtualDirectoryPath)
    );
    let why = match kind.check(value) {
        // Source: events 5050 and 5051: WAS ignores a pool with such a name.
        Ok(_) if is_pool && !(1..=NAME_MAX).contains(&value.chars().count()) => {
            format!("not 1 to {NAME_MAX} characters long")
        }
        // Assumed: one of blanks counts as empty, and no tool takes a line end.
        Ok(_) if is_pool && (value.trim().is_empty() || value.contains(char::is_control)) => {
            "not a pool's name: it is blank, or has a control character in it".to_owned()
        }
        // Source: Microsoft.Web.Administration, `InvalidApplicationPathCharacters`. Assumed: only this one of them
        // is refused, because no URL's path has it.
        Ok(_) if is_path && value.contains('?') => "not a path: ? may not be in it".to_owned(),
        Ok(_) => return Ok(()),
        Err(Fault::Malformed(why)) => why,
        Err(Fault::OutOfRange {
            min,
            max,
            step,
            exclude,
        }) => {
            let side = if exclude {
                "inside the forbidden range"
            } else {
                "outside of the range"
            };
            let steps = step
                .map(|s| format!(" in steps of {s}"))
                .unwrap_or_default();
            format!("{side} {min} to {max}{steps}")
        }
    };
    Err(EditError::Invalid {
        place: place.to_owned(),
        attribute: name.to_owned(),
        value: value.to_owned(),
        why,
    })
}

/// What a site or a binding may not be though the schema takes each of its attributes.
fn check_together(
    change: &Change,
    attributes: &[(String, String)],
    place: &str,
) -> Result<(), EditError> {
    let of = |wanted: &str| {
        let mut attributes = attributes.iter();
        let found = attributes.find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    let refuse = |attribute: &str, value: &str, why: &str| {
        Err(EditError::Invalid {
            place: place.to_owned(),
            attribute: attribute.to_owned(),
            value: value.to_owned(),
            why: why.to_owned(),
        })
    };
    if change.section != SITES {
        return Ok(());
    }
    if let Some(protocol) = of("protocol")
        && let Some(information) = of("bindingInformation")
        && ["http", "https"].contains(&protocol.to_ascii_lowercase().as_str())
        && let Err(why) = binding::parse(information, protocol.eq_ignore_ascii_case("https"))
    {
        let why = format!("not a binding, because {why}");
        return refuse("bindingInformation", information, &why);
    }
    // W3SVC ignores a site with such a number.
    let is_site = of("name").is_some() && of("id").is_some();
    let id = of("id").filter(|_| is_site).unwrap_or("1");
    if id.trim().parse::<u32>() == Ok(0) {
        return refuse("id", id, "not the number of a site: they begin with 1");
    }
    Ok(())
}

/// Sets `recycling/@disallowOverlappingRotation="true"` for one pool.
pub fn disallow_overlapping_rotation(text: &str, pool: &str) -> Result<String, EditError> {
    let change = Change::pool(pool, "recycling.disallowOverlappingRotation", "true");
    apply(text, &[change])
}

#[cfg(test)]
mod outline_tests;
#[cfg(test)]
mod site_tests;
#[cfg(test)]
mod tests;
