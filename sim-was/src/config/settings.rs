//! What a configuration says, setting by setting, each with its value and its line: the base on which
//! two configurations are compared.
//!
//! Pools, sites, applications and virtual directories are here as they take effect: their own
//! attributes over the defaults that stand for them. Everything else is here as it is written, with or
//! without a schema. A setting that is written nowhere is absent: it has the schema's default.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::schema::{self, Attribute};
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

    /// Whether a place has something of a section.
    pub(super) fn has_section(&self, scope: &Scope, section: &str) -> bool {
        let first = key(scope, section, "");
        let mut following = self.map.range(first..);
        let next = following.next();
        next.is_some_and(|(key, _)| key.scope == *scope && key.section == section)
    }

    /// Whether what a place has of a section is kept from child applications.
    pub(super) fn is_own(&self, scope: &Scope, section: &str) -> bool {
        self.map.contains_key(&key(scope, section, INHERITS))
    }

    pub(super) fn remove(&mut self, scope: &Scope, section: &str, path: &str) {
        self.map.remove(&key(scope, section, path));
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

pub(super) const POOLS: &str = "system.applicationHost/applicationPools";
pub(super) const SITES: &str = "system.applicationHost/sites";
/// Where a file declares its sections.
pub(super) const DECLARATIONS: &str = "configSections";
/// The setting of a section that says whether child applications have it.
pub(super) const INHERITS: &str = "inheritInChildApplications";
/// The setting of a section that says whether inner levels may have it.
pub(super) const OVERRIDE_MODE: &str = "overrideMode";

fn key(scope: &Scope, section: &str, path: &str) -> Key {
    Key {
        scope: scope.clone(),
        section: section.to_owned(),
        path: path.to_owned(),
    }
}

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
pub(super) fn in_one_form(attribute: &Attribute, text: &str) -> String {
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
