//! What an outer level forbids an inner one: whole sections (`overrideMode`), and attributes, elements
//! and entries of a section (`lockAttributes` and its kin).
//!
//! Source: IIS configuration reference, "How to use locking in IIS configuration"; the error texts are
//! those of IIS (0x80070021).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use roxmltree::Node;

use super::default_config;

/// What IIS says of a section that is locked.
pub const SECTION_LOCKED: &str = "This configuration section cannot be used at this path. This happens when the section is locked at a parent level. Locking is either by default (overrideModeDefault=\"Deny\"), or set explicitly by a location tag with overrideMode=\"Deny\" or the legacy allowOverride=\"false\"";

/// How `configSections` declares sections, by their path.
#[derive(Debug, Default)]
pub(super) struct Declared {
    sections: BTreeMap<String, Definition>,
    /// Those that no folder of an application may have (`allowDefinition="MachineToApplication"`).
    of_applications: BTreeSet<String>,
}

/// Who may have a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Definition {
    /// Every level.
    Everyone,
    /// No inner level, unless a `<location>` allows it (`overrideModeDefault="Deny"`).
    Locked,
    /// applicationHost.config alone, whatever a `<location>` says (`allowDefinition="AppHostOnly"`).
    HostOnly,
}

impl Declared {
    /// Reads `<configSections>`.
    pub(super) fn read(configuration: Node<'_, '_>) -> Self {
        let mut declared = Self::default();
        for node in configuration.children() {
            if node.has_tag_name("configSections") {
                declared.group(node, "");
            }
        }
        declared
    }

    /// What the applicationHost.config that IIS comes with declares.
    pub(super) fn by_default() -> &'static Self {
        static DEFAULT: LazyLock<Declared> =
            LazyLock::new(|| Declared::read(default_config::document().root_element()));
        &DEFAULT
    }

    fn group(&mut self, group: Node<'_, '_>, above: &str) {
        for node in group.children().filter(Node::is_element) {
            let name = node.attribute("name").unwrap_or_default();
            let path = if above.is_empty() {
                name.to_owned()
            } else {
                format!("{above}/{name}")
            };
            if node.has_tag_name("sectionGroup") {
                self.group(node, &path);
            } else if node.has_tag_name("section") {
                let is = |name: &str, value: &str| {
                    node.attribute(name)
                        .is_some_and(|v| v.eq_ignore_ascii_case(value))
                };
                let is_host_only =
                    is("allowDefinition", "AppHostOnly") || is("allowDefinition", "MachineOnly");
                let definition = match is("overrideModeDefault", "Deny") {
                    _ if is_host_only => Definition::HostOnly,
                    true => Definition::Locked,
                    false => Definition::Everyone,
                };
                if is("allowDefinition", "MachineToApplication") {
                    self.of_applications.insert(path.clone());
                }
                self.sections.insert(path, definition);
            }
        }
    }

    /// The sections that are declared.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    /// Whether a section is declared.
    pub(super) fn has(&self, section: &str) -> bool {
        self.sections.contains_key(section)
    }

    /// Whether there are declared sections in a group.
    pub(super) fn has_group(&self, group: &str) -> bool {
        let is_in = |name: &str| {
            name.strip_prefix(group)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        self.names().any(is_in)
    }

    /// Whether a section is locked where nothing else is said.
    pub(super) fn locks(&self, section: &str) -> bool {
        self.is_host_only(section) || self.sections.get(section) == Some(&Definition::Locked)
    }

    /// Whether a section may be written for applications, and not for the folders in them.
    pub(super) fn is_of_applications(&self, section: &str) -> bool {
        self.of_applications.contains(section)
    }

    /// Whether a section counts for the whole server only, and no `<location>` can have or unlock it.
    ///
    /// Source: IIS schema: the sections of `system.applicationHost` are for applicationHost.config only.
    pub(super) fn is_host_only(&self, section: &str) -> bool {
        section.starts_with("system.applicationHost/")
            || self.sections.get(section) == Some(&Definition::HostOnly)
    }
}

/// What a `<location>` says about the sections in it: locked or not, if it says so.
pub(super) fn mode_of(location: Node<'_, '_>) -> Option<bool> {
    match (
        location.attribute("overrideMode"),
        location.attribute("allowOverride"),
    ) {
        (Some(mode), _) if mode.eq_ignore_ascii_case("Deny") => Some(true),
        (Some(mode), _) if mode.eq_ignore_ascii_case("Allow") => Some(false),
        (_, Some(allow)) => Some(allow.eq_ignore_ascii_case("false")),
        (Some(_) | None, None) => None,
    }
}

/// The first thing in the `<location>`s and `<configSections>` of a file that cannot be: its byte, and what is wrong.
/// Nobody can tell then what is locked, so that the file cannot be used.
///
/// Source: IIS configuration reference, location: overrideMode is Allow, Deny or Inherit; the others are bools. Its
/// error texts: `Unrecognized attribute 'x'`, `Only one <configSections> element allowed per config file`.
pub(super) fn mistake(configuration: Node<'_, '_>) -> Option<(usize, String)> {
    let declarations = |parent: Node<'_, '_>| {
        let all = parent.children();
        let all = all.filter(|node| node.has_tag_name("configSections"));
        all.map(|node| node.range().start).collect::<Vec<usize>>()
    };
    if let Some(second) = declarations(configuration).get(1) {
        let text = "Only one <configSections> element allowed per config file and if present must be the first child of the root <configuration> element";
        return Some((*second, text.to_owned()));
    }
    let blocks = configuration.children();
    let mut blocks = blocks.filter(|node| node.has_tag_name("location"));
    blocks.find_map(|block| {
        if let Some(inside) = declarations(block).first() {
            let text =
                "<configSections> stands in <location>: sections are declared for a whole file";
            return Some((*inside, text.to_owned()));
        }
        let mut attributes = block.attributes();
        attributes.find_map(|attribute| {
            let (name, value) = (attribute.name(), attribute.value());
            let (known, whole): (&[&str], _) = match name {
                "overrideMode" => (&["Allow", "Deny", "Inherit"], "one of Allow, Deny, Inherit"),
                "allowOverride" | "inheritInChildApplications" => {
                    (&["true", "false"], "true or false")
                }
                "path" => return None,
                _ => {
                    let text = format!("Unrecognized attribute '{name}' in location");
                    return Some((attribute.range().start, text));
                }
            };
            let is_known = known.iter().any(|known| known.eq_ignore_ascii_case(value));
            let text = || format!("{name}=\"{value}\" in location is not {whole}");
            (!is_known).then(|| (attribute.range().start, text()))
        })
    })
}

/// What an inner element does that outer ones forbid, and the byte where it does so.
pub(super) fn violation(outer: &[Node<'_, '_>], inner: Node<'_, '_>) -> Option<(usize, String)> {
    let attribute = inner.attributes().find(|attribute| {
        !attribute.name().starts_with("lock")
            && is_locked(
                outer,
                attribute.name(),
                "lockAttributes",
                "lockAllAttributesExcept",
            )
    });
    if let Some(attribute) = attribute {
        let text = format!(
            "Lock violation: attribute \"{}\" is locked at a parent level",
            attribute.name()
        );
        return Some((attribute.range().start, text));
    }
    for child in inner.children().filter(Node::is_element) {
        let name = child.tag_name().name();
        if is_locked(outer, name, "lockElements", "lockAllElementsExcept") {
            let text = format!("Lock violation: element <{name}> is locked at a parent level");
            return Some((child.range().start, text));
        }
        if ["remove", "clear"].contains(&name) && locked_items(outer).any(|item| goes(child, item))
        {
            let text = "Lock violation: an item is locked at a parent level".to_owned();
            return Some((child.range().start, text));
        }
        let same = |node: &Node<'_, '_>| node.has_tag_name(name);
        let above: Vec<_> = outer
            .iter()
            .flat_map(|node| node.children().filter(same))
            .collect();
        if !["add", "remove", "clear"].contains(&name)
            && let Some(found) = violation(&above, child)
        {
            return Some(found);
        }
    }
    None
}

fn is_locked(outer: &[Node<'_, '_>], name: &str, locked: &str, except: &str) -> bool {
    let names = |text: &str| text.split(',').any(|n| n.trim() == "*" || n.trim() == name);
    outer.iter().any(|node| {
        node.attribute(locked).is_some_and(names)
            || node.attribute(except).is_some_and(|text| !names(text))
    })
}

fn locked_items<'a>(outer: &[Node<'a, 'a>]) -> impl Iterator<Item = Node<'a, 'a>> {
    let is_item = |node: &Node<'_, '_>| {
        node.attribute("lockItem")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    };
    let nodes: Vec<_> = outer
        .iter()
        .flat_map(|node| node.children().filter(is_item))
        .collect();
    nodes.into_iter()
}

/// Whether a `clear` or a `remove` takes an item away.
fn goes(taker: Node<'_, '_>, item: Node<'_, '_>) -> bool {
    taker.has_tag_name("clear")
        || taker.attributes().any(|attribute| {
            let value = item.attribute(attribute.name()).unwrap_or_default();
            value.eq_ignore_ascii_case(attribute.value())
        })
}

#[cfg(test)]
mod tests {
    use super::super::view::Views;
    use super::super::web_config::{Around, FoundFile};

    const HOST: &str = r#"<configuration><system.applicationHost><sites><site name="Shop" id="1">
        <application path="/" /><application path="/App" /></site></sites></system.applicationHost></configuration>"#;

    fn file(text: &str) -> FoundFile {
        FoundFile {
            name: "web.config".to_owned(),
            bytes: Ok(text.as_bytes().to_vec()),
            modified: 0,
        }
    }

    /// Why a place below a site may not have a section, if so. The site has it in a location of its own, with these
    /// attributes of the `<location>`.
    fn fault(location: &str, of_site: &str, place: &str, inner: &str) -> Option<String> {
        let section = |content: &str| format!("<system.webServer>{content}</system.webServer>");
        let site = format!(
            "<configuration><location path='.' {location}>{}</location></configuration>",
            section(of_site)
        );
        let inner = format!("<configuration>{}</configuration>", section(inner));
        let views = Views::new(HOST, "x").with(Around::default().with("shop", file(&site)));
        let fault = views.refusal(place, file(&inner)).unwrap();
        fault.map(|fault| fault.text)
    }

    const OWN: &str = "inheritInChildApplications='false'";

    #[test]
    fn a_lock_that_a_site_keeps_from_its_applications_holds_in_its_folders_only() {
        for (of_site, inner) in [
            (
                "<urlCompression lockAttributes='doStaticCompression' />",
                "<urlCompression doStaticCompression='false' />",
            ),
            (
                "<urlCompression lockAllAttributesExcept='doDynamicCompression' />",
                "<urlCompression doStaticCompression='false' />",
            ),
            (
                "<defaultDocument lockElements='files' />",
                "<defaultDocument><files><add value='x' /></files></defaultDocument>",
            ),
            (
                "<security><requestFiltering lockAllElementsExcept='verbs' /></security>",
                "<security><requestFiltering><hiddenSegments /></requestFiltering></security>",
            ),
            (
                "<modules><add name='PM' lockItem='true' /></modules>",
                "<modules><remove name='PM' /></modules>",
            ),
        ] {
            for (location, place, holds) in [
                ("", "shop/app", true),
                (OWN, "shop/app", false),
                (OWN, "shop/app/in", false),
                (OWN, "shop/images", true),
            ] {
                let fault = fault(location, of_site, place, inner);
                let is_lock = fault
                    .as_ref()
                    .is_some_and(|text| text.starts_with("Lock violation"));
                assert_eq!(is_lock, holds, "{of_site} {location} {place}: {fault:?}");
                assert_eq!(
                    fault.is_some(),
                    holds,
                    "{of_site} {location} {place}: {fault:?}"
                );
            }
        }
    }

    #[test]
    fn an_entry_that_a_site_keeps_from_its_applications_is_there_twice_in_its_folders_only() {
        let modules = "<modules><add name='PM' type='A.B' /></modules>";
        assert_eq!(fault(OWN, modules, "shop/app", modules), None);
        let fault = fault(OWN, modules, "shop/images", modules);
        assert!(fault.is_some_and(|text| text.contains("duplicate")));
    }

    #[test]
    fn a_section_of_applications_is_locked_in_their_folders() {
        let host = HOST.replace(
            "<configuration>",
            "<configuration><configSections><sectionGroup name='system.webServer'><section name='modules' \
             allowDefinition='MachineToApplication' /></sectionGroup></configSections>",
        );
        let modules =
            "<configuration><system.webServer><modules /></system.webServer></configuration>";
        let views = Views::new(&host, "x");
        for (place, locked) in [
            ("shop", false),
            ("shop/app", false),
            ("shop/images", true),
            ("shop/app/in", true),
        ] {
            let fault = views.refusal(place, file(modules)).unwrap();
            assert_eq!(fault.is_some(), locked, "{place}: {fault:?}");
        }
    }

    #[test]
    fn a_section_that_a_site_locks_for_itself_is_free_in_its_applications() {
        let (section, inner) = ("<caching />", "<caching enabled='false' />");
        let locked = format!("overrideMode='Deny' {OWN}");
        assert_eq!(fault(&locked, section, "shop/app", inner), None);
        assert!(fault(&locked, section, "shop/images", inner).is_some());
        assert!(fault("overrideMode='Deny'", section, "shop/app", inner).is_some());
    }
}
