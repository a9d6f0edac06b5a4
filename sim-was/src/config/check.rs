//! Holds a section of the file against the schema, and lists everything that does not fit.

use roxmltree::{Attribute as XmlAttribute, Node};

use super::collection::Collection;
use super::schema::{Attribute, Element, Key};
use super::value::Fault;

/// Attributes that any element may have: they lock, encrypt or relocate it.
pub(super) const ANYWHERE: [&str; 8] = [
    "lockAttributes",
    "lockAllAttributesExcept",
    "lockElements",
    "lockAllElementsExcept",
    "lockItem",
    "configProtectionProvider",
    "overrideMode",
    "allowOverride",
];

/// So many violations of one section are listed: one stops the server, and not all of them are shown.
const VIOLATIONS_MAX: usize = 1000;

/// Something that does not fit.
#[derive(Debug)]
pub(super) struct Finding {
    /// Where, as a byte of the text.
    pub(super) at: usize,
    /// What is wrong.
    pub(super) text: String,
    /// How bad it is.
    pub(super) kind: FindingKind,
}

impl Finding {
    /// Whether IIS may well accept it.
    pub(super) fn is_doubt(&self) -> bool {
        matches!(self.kind, FindingKind::Doubt)
    }

    /// Whether it breaks the schema.
    pub(super) fn is_violation(&self) -> bool {
        matches!(self.kind, FindingKind::Violation)
    }
}

/// How bad a finding is.
#[derive(Debug)]
pub(super) enum FindingKind {
    /// It breaks the schema.
    Violation,
    /// It is odd, and we cannot tell whether IIS would refuse it.
    Doubt,
    /// A value outside its range, which WAS replaces by the default (event 5041).
    OutOfRange(OutOfRange),
}

/// The parts of event 5041.
#[derive(Debug)]
pub(super) struct OutOfRange {
    /// The name of the entry it belongs to, empty for defaults.
    pub(super) entry: String,
    /// The attribute.
    pub(super) property: String,
    /// As written.
    pub(super) value: String,
    /// The least value.
    pub(super) min: String,
    /// The greatest value.
    pub(super) max: String,
    /// What it becomes.
    pub(super) default: String,
    /// The granularity, if there is one.
    pub(super) step: Option<String>,
}

impl OutOfRange {
    /// What events call the entry.
    pub(super) fn name(&self) -> &str {
        match self.entry.as_str() {
            "" => "defaults",
            entry => entry,
        }
    }
}

/// What has been found so far.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    violations: usize,
}

impl Findings {
    fn push(&mut self, finding: Finding) {
        match finding.kind {
            FindingKind::Violation => self.violations += 1,
            FindingKind::Doubt | FindingKind::OutOfRange(_) => {}
        }
        self.list.push(finding);
    }

    fn is_full(&self) -> bool {
        self.violations >= VIOLATIONS_MAX
    }
}

/// Checks a section. `place` is how messages call it.
pub(super) fn check(section: Node<'_, '_>, schema: &'static Element, place: &str) -> Vec<Finding> {
    let mut findings = Findings::default();
    if section.has_attribute("configSource") {
        violation(
            &mut findings,
            section,
            "configSource is not supported: other files are not read",
        );
    } else if section.has_attribute("configProtectionProvider") {
        violation(
            &mut findings,
            section,
            &format!("{place} is encrypted and cannot be read"),
        );
    } else {
        element(&mut findings, section, schema, place);
    }
    findings.list
}

fn violation(findings: &mut Findings, node: Node<'_, '_>, text: &str) {
    let (at, text) = (node.range().start, text.to_owned());
    findings.push(Finding {
        at,
        text,
        kind: FindingKind::Violation,
    });
}

fn element(found: &mut Findings, node: Node<'_, '_>, schema: &'static Element, place: &str) {
    if schema.foreign || found.is_full() {
        return;
    }
    for written in node.attributes().filter(|a| a.namespace().is_none()) {
        let name = written.name();
        match schema.attributes.get(name) {
            Some(attribute) => value(found, node, &written, attribute, place),
            None if ANYWHERE.contains(&name) => {}
            None => {
                let known = list(schema.attributes.keys());
                let text = format!("unknown attribute \"{name}\" in {place}; known: {known}");
                let at = written.range().start;
                found.push(Finding {
                    at,
                    text,
                    kind: FindingKind::Violation,
                });
            }
        }
    }
    if !schema.partial {
        for (name, attribute) in &schema.attributes {
            let needed = attribute.required || attribute.key == Some(Key::Unique);
            if needed && node.attribute(name.as_str()).is_none() {
                violation(
                    found,
                    node,
                    &format!("missing required attribute \"{name}\" in {place}"),
                );
            }
        }
    }
    children(found, node, schema, place);
    for (name, entry) in &schema.entries {
        for duplicate in Collection::new(name, entry).read(node, 0) {
            violation(found, duplicate.node, &duplicate.text);
        }
    }
}

fn children(found: &mut Findings, node: Node<'_, '_>, schema: &'static Element, place: &str) {
    let mut seen: Vec<&str> = Vec::new();
    for child in node.children().filter(Node::is_element) {
        let name = child.tag_name().name();
        let below = || format!("{place}/{name}");
        if let Some(schema) = schema.children.get(name) {
            if seen.contains(&name) {
                let text = format!("{name} appears twice in {place}");
                let at = child.range().start;
                found.push(Finding {
                    at,
                    text,
                    kind: FindingKind::Doubt,
                });
            } else {
                seen.push(name);
            }
            element(found, child, schema, &below());
        } else if let Some(schema) = schema.entries.get(name) {
            element(found, child, schema, &below());
        } else if !schema.entries.is_empty() && name == "remove" {
            remove(found, child, schema, &below());
        } else if schema.entries.is_empty() || name != "clear" {
            let known = list(schema.children.keys().chain(schema.entries.keys()));
            violation(
                found,
                child,
                &format!("unknown element <{name}> in {place}; known: {known}"),
            );
        }
    }
}

/// A `remove` names an entry by its keys.
fn remove(found: &mut Findings, node: Node<'_, '_>, schema: &'static Element, place: &str) {
    let keys = || {
        let attributes = schema.entries.values().flat_map(|entry| &entry.attributes);
        attributes
            .filter(|(_, a)| a.key.is_some())
            .map(|(name, _)| name)
    };
    if !keys().any(|name| node.has_attribute(name.as_str())) {
        let known = list(keys());
        violation(
            found,
            node,
            &format!("{place} says nothing to remove; known: {known}"),
        );
    }
}

fn list<'s>(names: impl Iterator<Item = &'s String>) -> String {
    let names: Vec<_> = names.map(String::as_str).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn value(
    found: &mut Findings,
    node: Node<'_, '_>,
    written: &XmlAttribute<'_, '_>,
    attribute: &Attribute,
    place: &str,
) {
    let (name, value) = (written.name(), written.value());
    let Err(fault) = attribute.check(value) else {
        return;
    };
    let at = written.range().start;
    // Values may be long, and anything may be in them.
    let shown: String = value
        .chars()
        .take(80)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    found.push(match fault {
        Fault::Malformed(why) => Finding {
            at,
            text: format!("{name}=\"{shown}\" in {place} is {why}"),
            kind: FindingKind::Violation,
        },
        Fault::OutOfRange {
            min,
            max,
            step,
            exclude,
        } => Finding {
            at,
            text: format!(
                "{name}=\"{shown}\" in {place} is {} {min} to {max}{}",
                if exclude {
                    "inside the forbidden range"
                } else {
                    "outside of the range"
                },
                step.as_ref()
                    .map(|s| format!(" in steps of {s}"))
                    .unwrap_or_default(),
            ),
            kind: FindingKind::OutOfRange(OutOfRange {
                entry: node
                    .ancestors()
                    .find_map(|n| n.attribute("name"))
                    .unwrap_or("")
                    .to_owned(),
                property: name.to_owned(),
                value: shown,
                // A forbidden range begins at 0: what is above it is allowed.
                max: if exclude {
                    u32::MAX.to_string()
                } else {
                    max.clone()
                },
                min: if exclude { above(&max) } else { min },
                default: attribute.default.clone().unwrap_or_default(),
                step,
            }),
        },
    });
}

/// The number after a number.
fn above(number: &str) -> String {
    let number = number.parse::<i64>().unwrap_or_default();
    number.saturating_add(1).to_string()
}
