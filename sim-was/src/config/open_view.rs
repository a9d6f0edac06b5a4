//! The effective configuration of sections that have no schema: what outer levels write is inherited, entries are
//! added, removed and cleared as far as their collections are known ([`super::outline`]).
//!
//! Assumed: of an element that nothing is known of, `add` is an entry of a collection, and so is what stands in one
//! element several times; two entries are the same if all of their attributes are. Anything else appears once.

use roxmltree::Node;

use super::collection::Collection;
use super::schema::{self, Element};
use super::view::{Known, View, ViewAttribute};

/// The elements that take entries away.
const TAKERS: [&str; 2] = ["remove", "clear"];

/// Shows an element; the nodes that speak of it come with the innermost first.
pub(super) fn view<'a>(name: &str, schema: &'static Element, nodes: &[Node<'a, 'a>]) -> View {
    let mut children = Vec::new();
    for name in names(nodes) {
        if let Some(of_entry) = entry_schema(schema, name, nodes) {
            let mut collection = Collection::new(name, of_entry);
            for (layer, node) in nodes.iter().rev().enumerate() {
                collection.read(*node, layer);
            }
            let entries = collection.into_entries(schema.inner_first).into_iter();
            children.extend(entries.map(|entry| view(name, of_entry, &[entry])));
        } else if !TAKERS.contains(&name) {
            let inner: Vec<_> = nodes.iter().flat_map(|node| named(*node, name)).collect();
            let known = schema.children.get(name);
            children.push(view(
                name,
                known.unwrap_or_else(|| schema::foreign()),
                &inner,
            ));
        }
    }
    let is_written = nodes.first().is_some_and(|own| own.attributes().len() > 0)
        || children.iter().any(|child| child.is_written);
    View {
        name: name.to_owned(),
        attributes: attributes(schema, nodes),
        children,
        is_written,
        schema: Known(Some(schema)),
    }
}

/// Shows an element of something that has a schema; what is not its own is a default, and not written.
pub(super) fn within<'a>(
    name: &str,
    schema: &'static Element,
    nodes: &[Node<'a, 'a>],
    is_own: impl Fn(&Node<'a, 'a>) -> bool,
) -> View {
    let mut whole = view(name, schema, nodes);
    let own: Vec<_> = nodes.iter().copied().filter(is_own).collect();
    if own.len() < nodes.len() {
        let own = (!own.is_empty()).then(|| view(name, schema, &own));
        whole.is_written_only_in(own.as_ref());
    }
    whole
}

impl View {
    fn is_written_only_in(&mut self, own: Option<&Self>) {
        for attribute in &mut self.attributes {
            let mut written = own.into_iter().flat_map(|own| &own.attributes);
            attribute.is_inherited = false;
            attribute.is_written = written.any(|a| a.is_written && a.name == attribute.name);
        }
        let counts = |name: &str| {
            self.children
                .iter()
                .filter(|child| child.name == name)
                .count()
        };
        let is_entry: Vec<bool> = self
            .children
            .iter()
            .map(|child| counts(&child.name) > 1)
            .collect();
        for (child, is_entry) in self.children.iter_mut().zip(is_entry) {
            let mut same = own.into_iter().flat_map(|own| &own.children);
            let same =
                same.find(|own| own.name == child.name && (!is_entry || own.says_the_same(child)));
            child.is_written_only_in(same);
        }
        self.is_written = own.is_some_and(|own| own.is_written);
    }

    fn says_the_same(&self, other: &Self) -> bool {
        let said = |view: &Self| -> Vec<(String, String)> {
            let attributes = view.attributes.iter();
            attributes
                .map(|a| (a.name.clone(), a.value.clone()))
                .collect()
        };
        said(self) == said(other)
    }
}

/// The schema of the entries of that name, if they are entries.
fn entry_schema(
    schema: &'static Element,
    name: &str,
    nodes: &[Node<'_, '_>],
) -> Option<&'static Element> {
    if !schema.entries.is_empty() {
        return schema.entries.get(name);
    }
    let is_repeated = || nodes.iter().any(|node| named(*node, name).count() > 1);
    let is_entry = !TAKERS.contains(&name)
        && !schema.children.contains_key(name)
        && (name == "add" || is_repeated());
    is_entry.then(schema::foreign)
}

/// The names of the elements in an element, in the order in which they are found, from the outermost node.
pub(super) fn names<'a>(nodes: &[Node<'a, 'a>]) -> Vec<&'a str> {
    let mut names = Vec::new();
    for child in nodes.iter().rev().flat_map(Node::children) {
        let name = child.tag_name().name();
        if child.is_element() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The elements of that name; if one that should be there once is there twice, the later one wins.
fn named<'a>(parent: Node<'a, 'a>, name: &str) -> impl Iterator<Item = Node<'a, 'a>> {
    let children = parent.children().rev();
    children.filter(move |child| child.is_element() && child.tag_name().name() == name)
}

fn attributes(schema: &Element, nodes: &[Node<'_, '_>]) -> Vec<ViewAttribute> {
    let mut attributes: Vec<ViewAttribute> = Vec::new();
    for (depth, node) in nodes.iter().enumerate() {
        for written in node.attributes() {
            let name = written.name();
            let is_known = attributes.iter().any(|known| known.name == name);
            // A lock is what one level says of those below it.
            if !is_known && (depth == 0 || !name.starts_with("lock")) {
                attributes.push(ViewAttribute {
                    name: name.to_owned(),
                    value: written.value().to_owned(),
                    is_written: depth == 0,
                    is_inherited: depth > 0,
                });
            }
        }
    }
    for (name, attribute) in &schema.attributes {
        let default = attribute.default.as_ref();
        if let Some(value) = default.filter(|_| attributes.iter().all(|a| a.name != *name)) {
            attributes.push(ViewAttribute {
                name: name.clone(),
                value: value.clone(),
                is_written: false,
                is_inherited: false,
            });
        }
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::super::view::Views;
    use super::*;

    fn section(server: &str, site: &str, path: &str) -> View {
        let (group, _) = path.rsplit_once('/').unwrap();
        let groups: Vec<&str> = group.split('/').collect();
        let open = format!("<{}>", groups.join("><"));
        let closing: Vec<&str> = groups.into_iter().rev().collect();
        let close = format!("</{}>", closing.join("></"));
        let text = format!(
            "<configuration>{open}{server}{close}<location path='S'>{open}{site}{close}</location>\
             </configuration>"
        );
        let views = Views::new(&text, "x");
        views.section(path, "S/app").unwrap().unwrap()
    }

    fn values(view: &View, attribute: &str) -> Vec<String> {
        let own = |child: &View| child.attribute(attribute).unwrap_or_default().to_owned();
        view.children.iter().map(own).collect()
    }

    #[test]
    fn what_the_defaults_of_sites_say_for_another_service_is_not_written_in_a_site() {
        let site = |content: &str| {
            let text = format!(
                "<configuration><system.applicationHost><sites><siteDefaults><ftpServer allowUTF8='false'>\
                 <security><ssl controlChannelPolicy='SslAllow' /></security></ftpServer></siteDefaults>\
                 <site name='S' id='1'>{content}</site></sites></system.applicationHost></configuration>"
            );
            let views = Views::new(&text, "x");
            let sites = views
                .section("system.applicationHost/sites", "")
                .unwrap()
                .unwrap();
            let mut sites = sites.children.into_iter();
            sites.find(|child| child.name == "site").unwrap()
        };
        let none = site("");
        let ftp = none.child("ftpServer").unwrap();
        assert!(!ftp.is_in_effect(), "{ftp:#?}");
        assert_eq!(ftp.attribute("allowUTF8"), Some("false"), "but it holds");
        let some = site("<ftpServer><security><ssl serverCertHash='x' /></security></ftpServer>");
        assert_eq!(
            some.written("ftpServer.security.ssl.serverCertHash"),
            Some("x")
        );
        assert_eq!(some.written("ftpServer.allowUTF8"), None);
        assert_eq!(
            some.written("ftpServer.security.ssl.controlChannelPolicy"),
            None
        );
    }

    #[test]
    fn what_a_site_adds_comes_to_what_the_server_has() {
        let filtering = section(
            "<requestFiltering allowDoubleEscaping='true'><hiddenSegments><add segment='bin' /><add segment='b' />\
             </hiddenSegments><verbs><add verb='PUT' allowed='false' /></verbs></requestFiltering>",
            "<requestFiltering><requestLimits maxUrl='9' /><hiddenSegments><remove segment='B' /><add segment='c' />\
             </hiddenSegments><verbs><clear /></verbs></requestFiltering>",
            "system.webServer/security/requestFiltering",
        );
        let segments = filtering.child("hiddenSegments").unwrap();
        assert_eq!(values(segments, "segment"), ["bin", "c"]);
        assert!(filtering.child("verbs").unwrap().children.is_empty());
        assert_eq!(filtering.attribute("requestLimits.maxUrl"), Some("9"));
        assert_eq!(filtering.attribute("allowDoubleEscaping"), Some("true"));
        assert_eq!(filtering.written("allowDoubleEscaping"), None);
    }

    #[test]
    fn an_entry_is_removed_by_keys_that_it_does_not_write() {
        let rules = section(
            "<authorization><add accessType='Allow' users='*' /><add accessType='Deny' users='joe' verbs='PUT' />\
             </authorization>",
            "<authorization><remove users='*' roles='' verbs='' /><remove users='joe' /></authorization>",
            "system.webServer/security/authorization",
        );
        assert_eq!(values(&rules, "users"), ["joe"]);
    }

    #[test]
    fn a_section_that_nobody_knows_has_its_entries_told_apart_by_everything() {
        let foos = section(
            "<foos on='true'><add a='1' b='1' /><add a='1' b='2' /><one x='1' y='1' /></foos>",
            "<foos><add a='2' /><remove a='1' b='2' /><one x='2' /></foos>",
            "acme/foos",
        );
        let found = values(&foos, "b");
        assert_eq!(found, ["1", "", ""], "{foos:?}");
        assert_eq!(foos.attribute("one.x"), Some("2"));
        assert_eq!(foos.attribute("one.y"), Some("1"));
        assert_eq!(foos.attribute("on"), Some("true"));
    }
}
