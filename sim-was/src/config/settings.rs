//! What a configuration says, setting by setting, each with its value and its line: the base on which
//! two configurations are compared.
//!
//! Pools, sites, applications and virtual directories are here as they take effect: their own
//! attributes over the defaults that stand for them. Everything else is here as it is written, with or
//! without a schema. A setting that is written nowhere is absent: it has the schema's default.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use roxmltree::Node;

use super::layers::Layers;
use super::locks::{self, Declared};
use super::schema::{self, Attribute, Element};
use super::value::{Kind, TimeFormat, Value, print_time};
use super::{entries, order};

/// What a setting belongs to.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// An application pool, by its name.
    Pool(String),
    /// A site, by its number.
    Site(u32),
    /// An application: its site and its path.
    Application(u32, String),
    /// A virtual directory: site, path of the application, own path.
    VirtualDirectory(u32, String, String),
    /// A section for a place: the `<location>`'s path in lower case, empty for the whole server.
    Location(String),
    /// A web.config: the Windows path of the folder that it lies in, in lower case.
    WebConfig(String),
}

/// Which setting: what it belongs to, the section, and the path in it.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What it belongs to.
    pub scope: Scope,
    /// E.g. `system.webServer/caching`.
    pub section: String,
    /// E.g. `recycling.periodicRestart.time`; empty for the existence of a pool, site ….
    pub path: String,
}

/// A value and where it comes from.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value, in one form: `1.05:00:00`, `true`, `Time, Memory`.
    pub value: String,
    /// The line that says so.
    pub line: u32,
    /// The byte of that line, from 0: several settings may stand on one.
    #[serde(default)]
    pub column: u32,
}

impl Setting {
    fn place(&self) -> (u32, u32) {
        (self.line, self.column)
    }
}

/// All settings of a configuration.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub(super) map: BTreeMap<Key, Setting>,
}

/// A difference between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which setting.
    pub key: Key,
    /// What it was; `None` if it was not there and has no default.
    pub old: Option<String>,
    /// Line and column of the old value, if it was written.
    pub old_place: Option<(u32, u32)>,
    /// What it is.
    pub new: Option<String>,
    /// Line and column of the new value, if it is written.
    pub new_place: Option<(u32, u32)>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Scope::Pool(name) => write!(f, "application pool '{name}'")?,
            Scope::Site(id) => write!(f, "site {id}")?,
            Scope::Application(site, path) => write!(f, "application '{path}' of site {site}")?,
            Scope::VirtualDirectory(site, application, path) => {
                write!(
                    f,
                    "virtual directory '{path}' of '{application}' of site {site}"
                )?;
            }
            Scope::Location(path) if path.is_empty() => write!(f, "{}", self.section)?,
            Scope::Location(path) => write!(f, "{} for \"{path}\"", self.section)?,
            Scope::WebConfig(folder) => write!(f, "web.config in {folder}")?,
        }
        if self.path.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.path)
        }
    }
}

impl Settings {
    /// The setting of that key, if it is written.
    pub fn get(&self, key: &Key) -> Option<&Setting> {
        self.map.get(key)
    }

    /// The sections that are written for places, each with its place in lower case and a line of it.
    pub(super) fn sections_of_locations(&self) -> impl Iterator<Item = (&str, &str, u32)> {
        self.map
            .iter()
            .filter_map(|(key, setting)| match &key.scope {
                Scope::Location(place) if !place.is_empty() => {
                    Some((place.as_str(), key.section.as_str(), setting.line))
                }
                Scope::Location(_)
                | Scope::Pool(_)
                | Scope::Site(_)
                | Scope::Application(..)
                | Scope::VirtualDirectory(..)
                | Scope::WebConfig(_) => None,
            })
    }

    /// What differs, in the order of the keys; then which collections are in another order.
    pub fn differences(&self, new: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        let only_new = new.map.keys().filter(|key| !self.map.contains_key(key));
        let mut keys: Vec<&Key> = self.map.keys().chain(only_new).collect();
        keys.sort();
        for key in keys {
            let (before, after) = (self.map.get(key), new.map.get(key));
            if before.map(|s| &s.value) == after.map(|s| &s.value) {
                continue;
            }
            // What comes or goes as a whole is one difference, not one for each attribute.
            if self.hides(key) || new.hides(key) {
                continue;
            }
            let value = |setting: Option<&Setting>| {
                setting.map(|s| s.value.clone()).or_else(|| default_of(key))
            };
            let (old, new) = (value(before), value(after));
            if old != new {
                differences.push(Difference {
                    key: key.clone(),
                    old,
                    old_place: before.map(Setting::place),
                    new,
                    new_place: after.map(Setting::place),
                });
            }
        }
        let mut differences = entries::whole(&self.map, &new.map, differences);
        differences.extend(order::differences(&self.map, &new.map));
        differences
    }

    /// Whether the thing that a setting belongs to does not exist here, so that its coming or going
    /// says it all.
    fn hides(&self, key: &Key) -> bool {
        let exists = |scope: Scope| {
            let is_pool = matches!(scope, Scope::Pool(_));
            let section = if is_pool { POOLS } else { SITES };
            let path = String::new();
            self.map.contains_key(&Key {
                scope,
                section: section.to_owned(),
                path,
            })
        };
        let own = |scope: &Scope| !key.path.is_empty() && !exists(scope.clone());
        match &key.scope {
            Scope::Pool(_) | Scope::Site(_) => own(&key.scope),
            Scope::Application(site, _) => own(&key.scope) || !exists(Scope::Site(*site)),
            Scope::VirtualDirectory(site, application, _) => {
                own(&key.scope)
                    || !exists(Scope::Site(*site))
                    || !exists(Scope::Application(*site, application.clone()))
            }
            Scope::Location(_) | Scope::WebConfig(_) => false,
        }
    }

    /// The same, as if a site had had another name when its `<location>`s were written that are renamed with it: those
    /// that `new` has for the new name, and not for the old one any more. Names are in lower case.
    pub(super) fn with_site_renamed(mut self, from: &str, to: &str, new: &Self) -> Self {
        let below = |place: &str, name: &str| {
            let rest = place.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())
        };
        let places = |settings: &Self, name: &str| -> BTreeSet<String> {
            let places = settings.sections_of_locations();
            places
                .filter_map(|(place, ..)| below(place, name))
                .collect()
        };
        let (has, had) = (places(new, to), places(&self, to));
        let still = places(new, from);
        let goes_along =
            |rest: &String| has.contains(rest) && !had.contains(rest) && !still.contains(rest);
        let renamed: BTreeSet<String> =
            places(&self, from).into_iter().filter(goes_along).collect();
        if renamed.is_empty() {
            return self;
        }
        let map = std::mem::take(&mut self.map).into_iter();
        self.map = map
            .map(|(mut key, setting)| {
                if let Scope::Location(place) = &mut key.scope
                    && let Some(rest) = below(place, from).filter(|rest| renamed.contains(rest))
                {
                    *place = format!("{to}{rest}");
                }
                (key, setting)
            })
            .collect();
        self
    }

    /// Puts what `old` says about some things in the place of what is said here.
    pub(crate) fn keep(&mut self, old: &Self, is_kept: impl Fn(&Scope) -> bool) {
        self.map.retain(|key, _| !is_kept(&key.scope));
        let kept = old.map.iter().filter(|(key, _)| is_kept(&key.scope));
        self.map
            .extend(kept.map(|(key, setting)| (key.clone(), setting.clone())));
    }

    pub(super) fn insert(
        &mut self,
        scope: Scope,
        section: &str,
        path: &str,
        value: String,
        (line, column): (u32, u32),
    ) {
        let key = Key {
            scope,
            section: section.to_owned(),
            path: path.to_owned(),
        };
        let setting = Setting {
            value,
            line,
            column,
        };
        self.map.insert(key, setting);
    }
}

const POOLS: &str = "system.applicationHost/applicationPools";
const SITES: &str = "system.applicationHost/sites";
/// Where a file declares its sections.
pub(super) const DECLARATIONS: &str = "configSections";
/// The setting of a section that says whether inner levels may have it.
pub(super) const OVERRIDE_MODE: &str = "overrideMode";

/// The schema's default of a setting, in the form of [`Setting::value`].
fn default_of(key: &Key) -> Option<String> {
    let mut element = schema::section(&key.section)?;
    element = match key.scope {
        Scope::Pool(_) => element.entries.get("add")?,
        Scope::Site(_) => element.entries.get("site")?,
        Scope::Application(..) => element.entries.get("site")?.entries.get("application")?,
        Scope::VirtualDirectory(..) => {
            let application = element.entries.get("site")?.entries.get("application")?;
            application.entries.get("virtualDirectory")?
        }
        Scope::Location(_) => element,
        Scope::WebConfig(_) => return None,
    };
    if key.path.contains('[') {
        return None;
    }
    let (children, name) = key.path.rsplit_once('.').unwrap_or(("", &key.path));
    for child in children.split('.').filter(|child| !child.is_empty()) {
        element = element.children.get(child)?;
    }
    let attribute = element.attributes.get(name)?;
    attribute
        .default
        .as_deref()
        .map(|text| in_one_form(attribute, text))
}

/// A value in one form, however it was written.
fn in_one_form(attribute: &Attribute, text: &str) -> String {
    match (attribute.check(text), attribute.kind) {
        (Ok(Value::Bool(value)), _) => value.to_string(),
        (Ok(Value::Time(time)), _) if attribute.format == TimeFormat::Text => {
            print_time(time.as_secs())
        }
        (Ok(Value::Number(number)), Kind::Enum | Kind::Flags) => attribute.names(number),
        (Ok(Value::Number(number)), _) => number.to_string(),
        // A value that is refused counts as not written.
        (Err(_), _) => attribute
            .default
            .as_deref()
            .filter(|default| *default != text)
            .map_or_else(
                || text.to_owned(),
                |default| in_one_form(attribute, default),
            ),
        (Ok(Value::Text(_) | Value::Time(_)), _) => text.to_owned(),
    }
}

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
struct Mode {
    is_locked: bool,
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
                let (value, place) = (in_one_form(attribute, text), self.lines.place(at));
                self.settings.insert(
                    scope.clone(),
                    section,
                    &format!("{prefix}{name}"),
                    value,
                    place,
                );
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

    /// Everything in a file that is no pool and no site, as it is written.
    pub(super) fn rest(&mut self, configuration: Node<'_, '_>) {
        self.declared = Declared::read(configuration);
        for node in elements(configuration) {
            if node.tag_name().name() == "location" {
                let path = node.attribute("path").unwrap_or_default().trim_matches('/');
                let path = if path == "." { "" } else { path };
                let mode = locks::mode_of(node).map(|is_locked| Mode {
                    is_locked,
                    place: self.lines.place(node.range().start),
                });
                for node in elements(node) {
                    self.section(&Scope::Location(path.to_lowercase()), "", node, mode);
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

    fn section(&mut self, scope: &Scope, group: &str, node: Node<'_, '_>, mode: Option<Mode>) {
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
                self.section(scope, &path, inner, mode);
            }
        } else {
            if let Some(Mode { is_locked, place }) = mode {
                let value = if is_locked { "Deny" } else { "Allow" }.to_owned();
                self.settings
                    .insert(scope.clone(), &path, OVERRIDE_MODE, value, place);
            }
            self.written(scope, &path, "", node, known);
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
            let place = self.lines.place(at);
            self.settings.insert(
                scope.clone(),
                section,
                &format!("{prefix}{name}"),
                value,
                place,
            );
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
