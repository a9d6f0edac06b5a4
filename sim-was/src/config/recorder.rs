//! Writes the settings of a file down while it is resolved, each with its line.

use roxmltree::Node;

use super::layers::Layers;
use super::locks::{self, Declared};
use super::schema::{self, Element};
use super::sections::is_own_block;
use super::settings::{
    DECLARATIONS, INHERITS, OVERRIDE_MODE, POOLS, SITES, Scope, Settings, in_one_form,
};

/// Where lines begin, to tell the line of a byte.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(ends.map(|(at, _)| at + 1).collect())
    }

    /// The line of a byte, from 1.
    pub(super) fn at(&self, byte: usize) -> u32 {
        let line = self.0.partition_point(|start| *start <= byte) + 1;
        u32::try_from(line).unwrap_or(u32::MAX)
    }

    /// The line of a byte, and which byte of the line it is.
    fn place(&self, byte: usize) -> (u32, u32) {
        let number = self.0.partition_point(|start| *start <= byte);
        let start = number.checked_sub(1).map_or(0, |last| self.0[last]);
        let column = u32::try_from(byte - start).unwrap_or(u32::MAX);
        (self.at(byte), column)
    }
}

/// What a `<location>` says of the sections in it, and where.
#[derive(Clone, Copy, Debug)]
struct Block {
    is_locked: Option<bool>,
    /// It keeps them from child applications.
    is_own: bool,
    place: (u32, u32),
}

/// Writes settings down while a file is resolved.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) settings: Settings,
    lines: Lines,
    /// The sections that the file declares.
    declared: Declared,
}

impl Recorder {
    pub(super) fn new(text: &str) -> Self {
        Self {
            settings: Settings::default(),
            lines: Lines::of(text),
            declared: Declared::default(),
        }
    }

    /// A pool, site, application or virtual directory: that it is there, and its settings as they take
    /// effect. `apart` are entries that have a scope of their own.
    pub(super) fn object(
        &mut self,
        scope: &Scope,
        section: &str,
        layers: &Layers<'_>,
        apart: &[&str],
    ) {
        let place = self.lines.place(layers.own().range().start);
        let name = layers.own().attribute("name").unwrap_or_default();
        self.settings
            .insert(scope.clone(), section, "", name.to_owned(), place);
        self.element(scope, section, "", layers, apart);
    }

    fn element(
        &mut self,
        scope: &Scope,
        section: &str,
        prefix: &str,
        layers: &Layers<'_>,
        apart: &[&str],
    ) {
        let schema: &'static Element = layers.schema();
        for (name, attribute) in &schema.attributes {
            if let Some((text, at)) = layers.written(name) {
                let value = in_one_form(attribute, text);
                self.attribute(scope, section, &format!("{prefix}{name}"), value, at);
            }
        }
        for name in schema
            .children
            .keys()
            .filter(|name| !name.ends_with("Defaults"))
        {
            let child = layers.child(name);
            let path = format!("{prefix}{name}.");
            if child.schema().foreign {
                // What belongs to another service: as it is written, the defaults first.
                for node in child.nodes().iter().rev() {
                    self.written(scope, section, &path, *node, None);
                }
            } else if !child.is_empty() {
                self.element(scope, section, &path, &child, &[]);
            }
        }
        for name in schema
            .entries
            .keys()
            .filter(|name| !apart.contains(&name.as_str()))
        {
            for entry in layers.entries(name, false).0 {
                let words = entry_name(entry.own(), Some(entry.schema()));
                let path = format!("{prefix}{name}[{words}].");
                self.element(scope, section, &path, &entry, &[]);
            }
        }
    }

    fn attribute(&mut self, scope: &Scope, section: &str, path: &str, value: String, at: usize) {
        let place = self.lines.place(at);
        self.settings
            .insert(scope.clone(), section, path, value, place);
    }

    /// Everything in a file that is no pool and no site, as it is written.
    pub(super) fn rest(&mut self, configuration: Node<'_, '_>) {
        self.declared = Declared::read(configuration);
        for node in elements(configuration) {
            if node.tag_name().name() == "location" {
                let path = node.attribute("path").unwrap_or_default().trim_matches('/');
                let path = if path == "." { "" } else { path };
                let block = Block {
                    is_locked: locks::mode_of(node),
                    is_own: is_own_block(node),
                    place: self.lines.place(node.range().start),
                };
                for node in elements(node) {
                    let scope = Scope::Location(path.to_lowercase());
                    self.section(&scope, "", node, Some(block));
                }
            } else if node.has_tag_name(DECLARATIONS) {
                self.declarations(node, "");
            } else {
                self.section(&Scope::Location(String::new()), "", node, None);
            }
        }
    }

    /// Who may have which section, with the defaults of what is not said.
    ///
    /// Source: IIS configuration reference, `configSections`: `overrideModeDefault` is Allow and
    /// `allowDefinition` is Everywhere where they are not written.
    fn declarations(&mut self, group: Node<'_, '_>, above: &str) {
        for node in elements(group) {
            let name = node.attribute("name").unwrap_or_default();
            let path = format!("{above}{name}");
            if node.has_tag_name("sectionGroup") {
                self.declarations(node, &format!("{path}/"));
                continue;
            }
            for (name, default) in [
                ("overrideModeDefault", "Allow"),
                ("allowDefinition", "Everywhere"),
            ] {
                let written = node.attribute_node(name);
                let at = written.map_or(node.range().start, |written| written.range().start);
                let value = written.map_or(default, |written| written.value());
                let (path, place) = (format!("[{path}].{name}"), self.lines.place(at));
                let scope = Scope::Location(String::new());
                self.settings
                    .insert(scope, DECLARATIONS, &path, value.to_owned(), place);
            }
        }
    }

    fn section(&mut self, scope: &Scope, group: &str, node: Node<'_, '_>, block: Option<Block>) {
        let name = node.tag_name().name();
        let path = if group.is_empty() {
            name.to_owned()
        } else {
            format!("{group}/{name}")
        };
        if path == POOLS || path == SITES {
            return;
        }
        let known = schema::section(&path);
        if known.is_none() && self.is_group(&path, node) {
            for inner in elements(node) {
                self.section(scope, &path, inner, block);
            }
        } else {
            self.inheritance(scope, &path, block);
            let mode = block.and_then(|block| Some((block.is_locked?, block.place)));
            if let Some((is_locked, place)) = mode {
                let value = if is_locked { "Deny" } else { "Allow" }.to_owned();
                self.settings
                    .insert(scope.clone(), &path, OVERRIDE_MODE, value, place);
            }
            self.written(scope, &path, "", node, known);
        }
    }

    /// Notes that a section is kept from child applications, if all of it is that this place has.
    fn inheritance(&mut self, scope: &Scope, section: &str, block: Option<Block>) {
        let settings = &mut self.settings;
        let Some(block) = block.filter(|block| block.is_own) else {
            settings.remove(scope, section, INHERITS);
            return;
        };
        if !settings.has_section(scope, section) {
            settings.insert(
                scope.clone(),
                section,
                INHERITS,
                "false".to_owned(),
                block.place,
            );
        }
    }

    /// Whether sections are in an element, and not entries. A group that is declared nowhere is known by
    /// the dot in its name: `system.ftpServer`.
    fn is_group(&self, path: &str, node: Node<'_, '_>) -> bool {
        let is_bare = node.attributes().len() == 0;
        let is_declared =
            || self.declared.has_group(path) || Declared::by_default().has_group(path);
        let is_dotted = || path.contains('.') && !path.contains('/') && !self.declared.has(path);
        is_bare && (schema::is_group(path) || is_declared() || is_dotted())
    }

    fn written(
        &mut self,
        scope: &Scope,
        section: &str,
        prefix: &str,
        node: Node<'_, '_>,
        schema: Option<&'static Element>,
    ) {
        for attribute in node.attributes() {
            let (name, at) = (attribute.name(), attribute.range().start);
            let known = schema.and_then(|schema| schema.attributes.get(name));
            let value = known.map_or_else(
                || attribute.value().to_owned(),
                |known| in_one_form(known, attribute.value()),
            );
            self.attribute(scope, section, &format!("{prefix}{name}"), value, at);
        }
        self.children_written(scope, section, prefix, node, schema);
    }

    fn children_written(
        &mut self,
        scope: &Scope,
        section: &str,
        prefix: &str,
        node: Node<'_, '_>,
        schema: Option<&'static Element>,
    ) {
        for child in elements(node) {
            let name = child.tag_name().name();
            let inner = schema.and_then(|s| s.children.get(name).or_else(|| s.entries.get(name)));
            let is_child = schema.is_some_and(|schema| schema.children.contains_key(name));
            let is_bare = child.attributes().len() == 0;
            let path = if is_child || is_bare {
                format!("{prefix}{name}")
            } else {
                format!("{prefix}{name}[{}]", entry_name(child, inner))
            };
            // All that there is to say of an entry without known keys is that it is there.
            let is_named_by_all = !is_child && !is_bare && inner.is_none();
            if is_named_by_all || is_bare && elements(child).next().is_none() {
                let place = self.lines.place(child.range().start);
                let text = child.text().unwrap_or_default().trim();
                let text = if is_named_by_all { PRESENT } else { text };
                self.settings
                    .insert(scope.clone(), section, &path, text.to_owned(), place);
            }
            let path = format!("{path}.");
            if is_named_by_all {
                self.children_written(scope, section, &path, child, None);
            } else {
                self.written(scope, section, &path, child, inner);
            }
        }
    }
}

/// The value of an entry of a collection of which nothing is known, if it is there.
pub(super) const PRESENT: &str = "present";

fn elements<'a>(parent: Node<'a, 'a>) -> impl Iterator<Item = Node<'a, 'a>> {
    parent.children().filter(Node::is_element)
}

/// What an entry is known by: its key attributes as far as they are written; if none is known, all of them.
fn entry_name(node: Node<'_, '_>, schema: Option<&'static Element>) -> String {
    let keys = schema.map(Element::keys).unwrap_or_default();
    let keys = keys.into_iter().next().unwrap_or_default();
    let word = |name: &str| Some(format!("{name}='{}'", node.attribute(name)?));
    let mut words: Vec<String> = keys.into_iter().filter_map(word).collect();
    if words.is_empty() {
        let all = node.attributes();
        words = all.filter_map(|attribute| word(attribute.name())).collect();
    }
    words.join(",")
}
