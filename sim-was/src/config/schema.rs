//! What may stand in the sections that we know: elements, attributes, types, ranges, defaults.
//!
//! The data is `schema.json`, a compact form of the attributes of `IIS_schema.xml` (IIS 10) and
//! `ASPNET_schema.xml`: `sections` as shipped with Windows Server 2016, `later` what newer systems
//! write. A path reads `add[].processModel.idleTimeout`: attribute `idleTimeout` of the element
//! `processModel` of each entry `add` of the section's collection.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::outline;
use super::value::{Kind, Range, TimeFormat, Validator};

/// An element of the schema: a section, an element in it, or an entry of a collection.
#[derive(Clone, Debug, Default)]
pub(super) struct Element {
    /// Its attributes.
    pub(super) attributes: BTreeMap<String, Attribute>,
    /// Elements that appear once.
    pub(super) children: BTreeMap<String, Self>,
    /// Entries of a collection, by the name of the adding element (`add`, `site`, `mimeMap` …).
    pub(super) entries: BTreeMap<String, Self>,
    /// The names of all of these, in the order of Microsoft's schema.
    pub(super) order: Vec<String>,
    /// Whether the content belongs to a schema that we do not have: of its collections some may be known,
    /// its attributes are not looked at.
    pub(super) foreign: bool,
    /// Whether required attributes may be absent, as in `…Defaults`.
    pub(super) partial: bool,
    /// Whether entries that an inner level adds come before those that it inherits (`mergeAppend="false"`).
    pub(super) inner_first: bool,
}

/// An attribute of the schema.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attribute {
    /// Its type.
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    /// Its default, as text.
    pub(super) default: Option<String>,
    /// `integerRange` or `timeSpanRange`.
    pub(super) range: Option<Range>,
    /// Another validator.
    pub(super) validate: Option<Validator>,
    /// Names and numbers of an enum or of flags.
    #[serde(default)]
    pub(super) values: BTreeMap<String, i64>,
    /// Whether it must be there.
    #[serde(default)]
    pub(super) required: bool,
    /// Whether it tells entries of a collection apart.
    pub(super) key: Option<Key>,
    /// How a timeSpan is written.
    #[serde(default)]
    pub(super) format: TimeFormat,
}

/// How an attribute tells entries of a collection apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Key {
    /// By itself.
    Unique,
    /// Together with the other combined ones.
    Combined,
}

#[derive(Deserialize)]
struct Data {
    sections: BTreeMap<String, Attributes>,
    later: BTreeMap<String, Attributes>,
}

/// Attributes by their paths, in the order of the file.
struct Attributes(Vec<(String, Attribute)>);

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

/// Reads [`Attributes`].
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Attributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the attributes of a section")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
        let mut attributes = Vec::new();
        while let Some(attribute) = map.next_entry()? {
            attributes.push(attribute);
        }
        Ok(Attributes(attributes))
    }
}

static SECTIONS: LazyLock<BTreeMap<String, Element>> = LazyLock::new(read);

/// The schema of a section such as `system.applicationHost/sites`.
pub(super) fn section(path: &str) -> Option<&'static Element> {
    SECTIONS.get(path)
}

/// The schema of a section, or what is known of one that has none.
pub(super) fn section_or_outline(path: &str) -> &'static Element {
    section(path)
        .or_else(|| outline::of(path))
        .unwrap_or_else(|| foreign())
}

/// What stands for the schema of a section that we have none for, and know nothing of.
pub(super) fn foreign() -> &'static Element {
    static FOREIGN: LazyLock<Element> = LazyLock::new(|| Element {
        foreign: true,
        ..Element::default()
    });
    &FOREIGN
}

/// The names of all sections.
pub(super) fn section_names() -> impl Iterator<Item = &'static str> {
    SECTIONS.keys().map(String::as_str)
}

/// Collections in which what an inner level adds comes before what it inherits.
/// Assumed: `mergeAppend="false"` for the default documents and the handlers alone; known from the order that IIS
/// Manager shows.
const INNER_FIRST: [(&str, &str); 2] = [
    ("system.webServer/defaultDocument", "files"),
    ("system.webServer/handlers", ""),
];

/// Whether the path is a section group on the way to a section that we know.
pub(super) fn is_group(path: &str) -> bool {
    let below = format!("{path}/");
    SECTIONS
        .range(below.clone()..)
        .next()
        .is_some_and(|(name, _)| name.starts_with(&below))
}

fn data() -> Data {
    serde_json::from_str(include_str!("schema.json")).expect("schema.json is ours, and tested")
}

fn read() -> BTreeMap<String, Element> {
    let data = data();
    let mut sections = BTreeMap::<String, Element>::new();
    for (section, attributes) in data.sections.into_iter().chain(data.later) {
        let element = sections.entry(section).or_default();
        for (path, attribute) in attributes.0 {
            element.insert(&path, attribute);
        }
    }
    if let Some(pools) = sections.get_mut("system.applicationHost/applicationPools") {
        let defaults = pools.entries["add"].clone().into_defaults();
        pools.put("applicationPoolDefaults", defaults);
    }
    if let Some(sites) = sections.get_mut("system.applicationHost/sites") {
        complete_sites(sites);
    }
    for (section, path) in INNER_FIRST {
        let section = sections.get_mut(section);
        section
            .expect("the schema has these sections")
            .reach(path)
            .inner_first = true;
    }
    sections
}

/// The pool of an application that names none.
pub(super) const DEFAULT_POOL: &str = "DefaultAppPool";

/// Adds the elements that repeat others: the defaults of sites, applications and directories.
///
/// Source: IIS schema: `preloadEnabled` and `serviceAutoStart*` exist on `site/applicationDefaults`,
/// but not on the server-wide `sites/applicationDefaults` (path, applicationPool, enabledProtocols).
fn complete_sites(sites: &mut Element) {
    let site = sites.entries.get_mut("site").expect("the schema has sites");
    // The FTP service adds its own element to a site when it is installed.
    let ftp_server = Element {
        foreign: true,
        ..Element::default()
    };
    let application = site
        .entries
        .get_mut("application")
        .expect("the schema has applications");
    let directory = application.entries["virtualDirectory"]
        .clone()
        .into_defaults();
    application.put("virtualDirectoryDefaults", directory.clone());
    let mut defaults = application.clone().into_defaults();
    defaults.entries.clear();
    defaults.children.clear();
    // Source: IIS configuration reference: an application without a pool runs in DefaultAppPool.
    let pool = application.attributes.get_mut("applicationPool");
    pool.expect("the schema has it").default = Some(DEFAULT_POOL.to_owned());
    let mut application = defaults;
    site.put("applicationDefaults", application.clone());
    site.put("virtualDirectoryDefaults", directory.clone());
    site.put("ftpServer", ftp_server);
    let mut site = site.clone().into_defaults();
    site.entries.clear();
    // Source: IIS schema: the directory of siteDefaults is not that of a site.
    let traces = site.children.get_mut("traceFailedRequestsLogging");
    let traces = traces.expect("the schema has it");
    let directory_of_traces = traces.attributes.get_mut("directory");
    directory_of_traces.expect("the schema has it").default =
        Some("%SystemDrive%\\inetpub\\FailedReqLogFiles".to_owned());
    application
        .attributes
        .retain(|name, _| ["path", "applicationPool", "enabledProtocols"].contains(&name.as_str()));
    sites.put("siteDefaults", site);
    sites.put("applicationDefaults", application);
    sites.put("virtualDirectoryDefaults", directory);
}

impl Element {
    /// The attributes by which an entry is looked for, and the defaults of those that its key has besides; `None` if
    /// none are left out.
    pub(super) fn whole_key(&self, given: &[(String, String)]) -> Option<Vec<(String, String)>> {
        let is_given = |name: &str| {
            given
                .iter()
                .any(|(given, _)| given.eq_ignore_ascii_case(name))
        };
        let groups = self.keys().into_iter();
        let mut groups = groups.filter(|group| group.iter().any(|name| is_given(name)));
        let left_out = groups.next()?.into_iter().filter(|name| !is_given(name));
        let with_default = |name: &str| {
            let default = self.attributes[name].default.clone()?;
            Some((name.to_owned(), default))
        };
        let defaults: Vec<_> = left_out.filter_map(with_default).collect();
        (!defaults.is_empty()).then(|| [given, &defaults].concat())
    }

    /// Adds an attribute at a path such as `add[].processModel.idleTimeout`.
    pub(super) fn insert(&mut self, path: &str, attribute: Attribute) {
        let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
        let element = self.reach(above);
        element.note(name);
        element.attributes.insert(name.to_owned(), attribute);
    }

    fn put(&mut self, name: &str, child: Self) {
        self.note(name);
        self.children.insert(name.to_owned(), child);
    }

    /// Gives a name that is new the next place in the order.
    fn note(&mut self, name: &str) {
        if self.rank(name).is_none() {
            self.order.push(name.to_owned());
        }
    }

    /// The place of an attribute or an element in the order of Microsoft's schema.
    pub(super) fn rank(&self, name: &str) -> Option<usize> {
        self.order.iter().position(|known| known == name)
    }

    /// Some of what may stand in it, in the order of Microsoft's schema.
    pub(super) fn in_order<'e, T>(
        &'e self,
        of: &'e BTreeMap<String, T>,
    ) -> impl Iterator<Item = (&'e String, &'e T)> {
        self.order.iter().filter_map(|name| of.get_key_value(name))
    }

    /// The element at a path such as `add[].processModel`, which is made if it is not there.
    pub(super) fn reach(&mut self, path: &str) -> &mut Self {
        let steps = path.split('.').filter(|step| !step.is_empty());
        steps.fold(self, |element, step| {
            let entry = step.strip_suffix("[]");
            element.note(entry.unwrap_or(step));
            match entry {
                Some(entry) => element.entries.entry(entry.to_owned()).or_default(),
                None => element.children.entry(step.to_owned()).or_default(),
            }
        })
    }

    fn into_defaults(mut self) -> Self {
        self.partial = true;
        self
    }

    /// The attributes that tell entries apart, each group compared as a whole.
    pub(super) fn keys(&self) -> Vec<Vec<&str>> {
        let with = |key| {
            let named = self
                .attributes
                .iter()
                .filter(move |(_, a)| a.key == Some(key));
            named.map(|(name, _)| name.as_str())
        };
        let mut keys: Vec<Vec<&str>> = with(Key::Unique).map(|name| vec![name]).collect();
        // `name` before `id`, `protocol` before `bindingInformation`: as IIS names them.
        keys.sort_by_key(|key| key[0] != "name");
        let mut combined: Vec<&str> = with(Key::Combined).collect();
        combined.sort_by_key(|name| !["protocol", "statusCode", "fullPath"].contains(name));
        if !combined.is_empty() {
            keys.push(combined);
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::{Fault, Value};

    fn every_attribute() -> Vec<(String, String, Attribute)> {
        let data = data();
        let all = data.sections.into_iter().chain(data.later);
        all.flat_map(|(section, attributes)| {
            let attributes = attributes.0.into_iter();
            attributes.map(move |(path, a)| (section.clone(), path, a))
        })
        .collect()
    }

    #[test]
    fn all_25_sections_and_345_attributes_are_here() {
        let data = data();
        assert_eq!(data.sections.len(), 25);
        assert_eq!(
            data.sections.values().map(|of| of.0.len()).sum::<usize>(),
            345
        );
    }

    #[test]
    fn every_default_passes_its_own_validation() {
        for (section, path, attribute) in every_attribute() {
            if let Some(default) = &attribute.default {
                // The schema's own exception: an enum's default is always one of its names.
                let checked = attribute.check(default);
                assert!(checked.is_ok(), "{section}/{path}: {default}: {checked:?}");
            }
        }
    }

    #[test]
    fn every_attribute_refuses_a_value_that_is_wrong_for_its_type() {
        for (section, path, attribute) in every_attribute() {
            let bad = match (attribute.kind, attribute.validate) {
                (Kind::String, None) => continue,
                (Kind::String, Some(Validator::ApplicationPoolName)) => "a|b",
                (Kind::String, Some(Validator::SiteName)) => "a/b",
                (
                    Kind::String,
                    Some(Validator::ApplicationPath | Validator::VirtualDirectoryPath),
                ) => "/a/",
                (Kind::String, Some(Validator::NonEmptyString)) => "",
                (Kind::String, Some(Validator::RequireTrimmedString)) => " a",
                (Kind::Bool, _) => "yes",
                (Kind::Enum | Kind::Flags, _) => "Nonsense",
                (Kind::Uint, _) => "-5",
                (Kind::Int | Kind::Int64, _) => "1.5",
                (Kind::TimeSpan, _) => "00:61:00",
            };
            let checked = attribute.check(bad);
            assert!(checked.is_err(), "{section}/{path}: {bad}: {checked:?}");
        }
    }

    #[test]
    fn every_range_refuses_what_lies_outside_and_takes_its_ends() {
        for (section, path, attribute) in every_attribute() {
            let Some(range) = &attribute.range else {
                continue;
            };
            let (inside, outside) = if range.exclude {
                (range.max + 1, range.max)
            } else {
                (range.max - range.max % range.step, range.max + 1)
            };
            let text = |n: i64| match (attribute.kind, attribute.format) {
                (Kind::TimeSpan, TimeFormat::Text) => {
                    format!("{:02}:{:02}:{:02}", n / 3600, n / 60 % 60, n % 60)
                }
                (Kind::TimeSpan, TimeFormat::Minutes) => {
                    (n.div_euclid(60) + i64::from(n % 60 != 0)).to_string()
                }
                _ => n.to_string(),
            };
            let good = attribute.check(&text(inside));
            assert!(good.is_ok(), "{section}/{path}: {}: {good:?}", text(inside));
            let bad = attribute.check(&text(outside));
            assert!(
                matches!(bad, Err(Fault::OutOfRange { .. })),
                "{section}/{path}: {bad:?}"
            );
        }
    }

    #[test]
    fn enums_are_compared_without_case() {
        let pools = section("system.applicationHost/applicationPools").unwrap();
        let mode = &pools.entries["add"].attributes["managedPipelineMode"];
        assert_eq!(mode.check("cLaSsIc"), Ok(Value::Number(1)));
    }

    #[test]
    fn every_value_of_an_enum_is_written_under_one_name_and_read_again() {
        for (section, path, attribute) in every_attribute() {
            for (name, number) in &attribute.values {
                let written = attribute.canonical(name);
                let read = attribute.check(&written);
                assert_eq!(
                    read,
                    Ok(Value::Number(*number)),
                    "{section}/{path}: {written}"
                );
            }
        }
        let cookieless = &section("system.web/sessionState").unwrap().attributes["cookieless"];
        assert_eq!(cookieless.canonical("UseUri"), "UseUri");
        assert_eq!(cookieless.canonical("TRUE"), "UseUri");
        let pools = section("system.applicationHost/applicationPools").unwrap();
        let recycling = &pools.entries["add"].children["recycling"];
        let logged = &recycling.attributes["logEventOnRecycle"];
        assert_eq!(logged.canonical("memory,Time"), "Time, Memory");
        assert_eq!(logged.canonical("Time, Nonsense"), "Time, Nonsense");
    }

    #[test]
    fn preload_is_no_server_wide_default() {
        let sites = section("system.applicationHost/sites").unwrap();
        let of = |e: &Element| {
            e.children["applicationDefaults"]
                .attributes
                .contains_key("preloadEnabled")
        };
        assert!(!of(sites));
        assert!(of(&sites.entries["site"]));
    }

    #[test]
    fn groups_lead_to_sections() {
        assert!(is_group("system.webServer"));
        assert!(is_group("system.web/caching"));
        assert!(!is_group("system.webServer/caching"));
        assert!(!is_group("system.ftpServer"));
    }
}
