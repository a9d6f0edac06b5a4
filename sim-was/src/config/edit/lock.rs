//! Locks of whole sections: whether inner levels may have one.
//!
//! For the whole server it is what `configSections` declares (`overrideModeDefault`); for a path, and for a
//! section that the file does not declare, a `<location>` of its own says it (`overrideMode`).
//! Source: IIS configuration reference, "How to use locking in IIS configuration".

use roxmltree::Node;

use super::locate::{self, Tag};
use super::splice::{self, Splice};

/// Locks a section at a location, or unlocks it.
pub(super) fn splices(
    text: &str,
    root: Node<'_, '_>,
    (location, section): (&str, &str),
    locked: bool,
) -> Vec<Splice> {
    let mode = if locked { "Deny" } else { "Allow" };
    if location.is_empty()
        && let Some(declared) = declaration(root, section)
    {
        let set = splice::set_attribute(text, declared, "overrideModeDefault", mode);
        return vec![set];
    }
    let sections = locate::sections(root, location, section);
    let found = sections.into_iter().find_map(|node| {
        let is_location = |node: &Node<'_, '_>| node.has_tag_name("location");
        Some((node, node.ancestors().find(is_location)?))
    });
    let (groups, name) = section.rsplit_once('/').unwrap_or(("", section));
    let (content, moved) = match found {
        Some((node, block)) if is_alone(node, block) => {
            return vec![splice::set_attribute(text, block, "overrideMode", mode)];
        }
        // Its neighbours in the block stay as they are.
        Some((node, _)) => {
            let content = text[node.range()].to_owned();
            (content, Some(splice::remove(text, node)))
        }
        None => (format!("<{name} />"), None),
    };
    let attributes = splice::written("path", location) + &splice::written("overrideMode", mode);
    let mut tags = vec![Tag {
        name: "location".to_owned(),
        attributes,
    }];
    let groups = groups.split('/').filter(|group| !group.is_empty());
    tags.extend(groups.map(Tag::new));
    let block = splice::add_chain(text, root, &tags, Some(&content));
    moved.into_iter().chain([block]).collect()
}

/// Whether `configSections` declares a section.
pub(super) fn is_declared(root: Node<'_, '_>, section: &str) -> bool {
    declaration(root, section).is_some()
}

/// The `<section>` of `configSections` that declares a section.
fn declaration<'a>(root: Node<'a, 'a>, section: &str) -> Option<Node<'a, 'a>> {
    let is_named = |node: &Node<'a, 'a>, tag: &str, name: &str| {
        node.has_tag_name(tag) && node.attribute("name") == Some(name)
    };
    let mut all = root.children();
    let mut place = all.find(|node| node.has_tag_name("configSections"))?;
    let mut names = section.split('/').peekable();
    while let Some(name) = names.next() {
        let tag = match names.peek() {
            Some(_) => "sectionGroup",
            None => "section",
        };
        place = place.children().find(|node| is_named(node, tag, name))?;
    }
    Some(place)
}

/// Whether a block has nothing but this section.
fn is_alone(section: Node<'_, '_>, block: Node<'_, '_>) -> bool {
    let between = section.ancestors().skip(1);
    let mut upto = between.take_while(|node| *node != block).chain([block]);
    upto.all(|node| node.children().filter(Node::is_element).count() == 1)
}
