//! The configuration as tools show it: each element with all of its attributes, as they take effect.
//!
//! Unlike [`Configuration`](super::Configuration), which is what WAS acts by, this keeps the names and the texts of the
//! file: `idleTimeout` is `00:20:00`, also where the schema says so and nobody wrote it.

use std::collections::BTreeSet;
use std::fmt;

use roxmltree::Node;

use super::edit::sections_at;
use super::layers::Layers;
use super::locks::Declared;
use super::machine::AllowDefinition;
use super::raw::{self, ConfigError};
use super::schema::{self, Element};
use super::sections::{self, Sections};
use super::view_attributes::attributes_of;
use super::web_config::{Around, FoundFile};
use super::{Fault, faults, machine, open_view, outline, written};

/// An element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its name, e.g. `processModel`.
    pub name: String,
    /// Its attributes: those that are written in the order of the file, then the others in that of the schema.
    pub attributes: Vec<ViewAttribute>,
    /// The elements in it: those that are written in the order of the file, then the others in that of the schema.
    pub children: Vec<Self>,
    /// Whether anything in it is written, and not a default.
    pub is_written: bool,
    /// What may stand in it, as far as that is known.
    pub(super) schema: Known,
}

/// The schema of an element, if it has one.
#[derive(Clone, Copy)]
pub(super) struct Known(pub(super) Option<&'static Element>);

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Known" } else { "Unknown" })
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Some(own), Some(other)) => std::ptr::eq(own, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl Eq for Known {}

/// An attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewAttribute {
    /// Its name.
    pub name: String,
    /// Its value, as text.
    pub value: String,
    /// Whether it is written in the element itself, and not a default.
    pub is_written: bool,
    /// Whether an outer level writes it, and the element itself does not.
    pub is_inherited: bool,
}

/// The sections of a configuration file, for looking at.
#[derive(Debug)]
pub struct Views<'a> {
    file: &'a str,
    text: &'a str,
    around: Around,
}

/// The section of the pools.
const POOLS: &str = "system.applicationHost/applicationPools";
/// The section of the sites.
const SITES: &str = "system.applicationHost/sites";

impl<'a> Views<'a> {
    /// Of the text of a file; `file` is what messages call it.
    pub fn new(text: &'a str, file: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let around = Around::default();
        Self { file, text, around }
    }

    /// The same, with the files around it: what a web.config says holds at its location.
    #[must_use]
    pub fn with(self, around: Around) -> Self {
        Self { around, ..self }
    }

    /// The configuration as far as one of its files sees it, which has this text now: the web.config of a place, or
    /// applicationHost.config, which is that of the empty one. What lies further in says nothing.
    #[must_use]
    pub fn committed<'t>(&'t self, place: &str, text: &'t str) -> Views<'t> {
        let place = place.trim_matches('/').to_lowercase();
        let above = self.around.above(&place);
        if place.is_empty() {
            return Views::new(text, self.file).with(above);
        }
        let file = FoundFile {
            name: "web.config".to_owned(),
            bytes: Ok(text.as_bytes().to_vec()),
            modified: 0,
        };
        Views::new(self.text, self.file).with(above.with(&place, file))
    }

    /// The configuration as far as the web.config of the .NET Framework sees it, which has this text now.
    #[must_use]
    pub fn web_root<'t>(&self, text: &'t str, file: &'t str) -> Views<'t> {
        Views::new(text, file).with(self.around.machine())
    }

    /// The application pools, each an `add`, with the defaults of `applicationPoolDefaults`.
    pub fn pools(&self) -> Result<Vec<View>, ConfigError> {
        let section = self.section(POOLS, "")?;
        Ok(entries_of(section, "add"))
    }

    /// The sites, each a `site` with its applications and their virtual directories.
    pub fn sites(&self) -> Result<Vec<View>, ConfigError> {
        let section = self.section(SITES, "")?;
        Ok(entries_of(section, "site"))
    }

    /// A section as it takes effect at a location: what is written there, then what is written at the
    /// locations above it and for the server. `None` if nothing is known of it, nobody declares it and it is
    /// written nowhere. A file around that cannot be read says nothing.
    pub fn section(&self, path: &str, location: &str) -> Result<Option<View>, ConfigError> {
        let document = raw::parse(self.text, self.file)?;
        let root = document.root_element();
        let texts = self.around.texts();
        let documents = self.around.documents(&texts);
        let around = self.around.web_configs(&documents);
        let location = location.trim_matches('/').to_lowercase();
        let places = places_from(&location);
        let application = sections::application_length(root, &location);
        // Source: IIS: `inheritInChildApplications="false"` keeps a location from the applications below it.
        let reaches =
            |at: &str, node: &Node<'_, '_>| at.len() >= application || !sections::is_own(*node);
        let name = path.rsplit('/').next().unwrap_or(path);
        let Some(schema) = schema::section(path) else {
            let declared = Declared::read(root);
            let is_host_only = declared.is_host_only(path);
            let places = places.into_iter();
            let places = places.filter(|place| place.is_empty() || !is_host_only);
            let at_place = |at| {
                let nodes = written::nodes(root, &around, at, path).into_iter();
                nodes.filter(move |node| reaches(at, node))
            };
            let found: Vec<_> = places.flat_map(at_place).collect();
            let outline = outline::of(path);
            let is_known = !found.is_empty() || outline.is_some() || declared.has(path);
            let outline = outline.unwrap_or_else(|| schema::foreign());
            return Ok(is_known.then(|| open_view::view(name, outline, &found)));
        };
        let sections = Sections::of_all(root, &around);
        let mut nodes = Vec::new();
        let everywhere = sections.is_host_only(path);
        let places = places
            .into_iter()
            .filter(|place| place.is_empty() || !everywhere);
        for at in places {
            let here = sections.at(at, path).iter().rev();
            let here = here.map(|section| section.node);
            nodes.extend(here.filter(|node| reaches(at, node)));
        }
        let layers = Layers::new(schema, nodes);
        Ok(Some(view(name, schema, &layers, &[], None)))
    }

    /// What makes a section unusable at a location: a web.config on the way to it that may not have the
    /// section, or has it wrong.
    pub fn fault(&self, path: &str, location: &str) -> Result<Option<Fault>, ConfigError> {
        let document = raw::parse(self.text, self.file)?;
        let texts = self.around.texts();
        let documents = self.around.documents(&texts);
        let around = self.around.web_configs(&documents);
        let sections = Sections::of_all(document.root_element(), &around);
        let location = location.trim_matches('/').to_lowercase();
        let places = places_from(&location);
        let outermost = around.iter().take_while(|file| file.is_outermost()).count();
        for (number, file) in around.iter().enumerate().skip(outermost) {
            let mut faults = faults::of_file(&sections, number + 1);
            let here = |(name, at, _): &faults::Placed<'_>| *name == path && places.contains(at);
            if let Some((_, _, fault)) = faults.find(here) {
                return Ok(Some(fault.of(&file.file.name)));
            }
        }
        Ok(None)
    }

    /// What breaks the schema in a section of applicationHost.config that counts at a location: then it can be
    /// neither shown nor changed.
    pub fn mistake(&self, path: &str, location: &str) -> Result<Option<Fault>, ConfigError> {
        let document = raw::parse(self.text, self.file)?;
        let Some(schema) = schema::section(path) else {
            return Ok(None);
        };
        let location = location.trim_matches('/').to_lowercase();
        let places = places_from(&location).into_iter().rev();
        let nodes = places.flat_map(|at| sections_at(document.root_element(), at, path));
        let fault = faults::of_host(path, nodes, schema);
        Ok(fault.map(|fault| fault.of(self.file)))
    }

    /// Why the web.config of a place may not say this, if so: a section that is locked there, or what the
    /// schema refuses.
    pub fn refusal(&self, place: &str, file: FoundFile) -> Result<Option<Fault>, ConfigError> {
        let place = place.trim_matches('/').to_lowercase();
        let name = file.name.clone();
        let files = self.around.above(&place).with(&place, file);
        let document = raw::parse(self.text, self.file)?;
        let texts = files.texts();
        let documents = files.documents(&texts);
        let around = files.web_configs(&documents);
        let sections = Sections::of_all(document.root_element(), &around);
        let first = faults::of_file(&sections, around.len()).next();
        Ok(first.map(|(_, _, fault)| fault.of(&name)))
    }

    /// Whether a section counts for the whole server only, and not for a path of it.
    pub fn is_host_only(&self, path: &str) -> Result<bool, ConfigError> {
        let document = raw::parse(self.text, self.file)?;
        Ok(Declared::read(document.root_element()).is_host_only(path))
    }

    /// Down to which level a section may be written, as applicationHost.config or machine.config declares it.
    pub fn allow_definition(&self, path: &str) -> Result<AllowDefinition, ConfigError> {
        let document = raw::parse(self.text, self.file)?;
        let declared = Declared::read(document.root_element());
        Ok(if declared.is_of_applications(path) {
            AllowDefinition::MachineToApplication
        } else {
            AllowDefinition::of(path)
        })
    }

    /// The names of the sections that are written, with their locations; those that no file declares are none.
    ///
    /// Source: IIS: `cannot be read because it is missing a section declaration`.
    pub fn written(&self) -> Result<Vec<(String, String)>, ConfigError> {
        let document = raw::parse(self.text, self.file)?;
        let root = document.root_element();
        let declared = Declared::read(root);
        let mut names = written::sections(root, &declared);
        let mut declarations = vec![Declared::read(root)];
        let texts = self.around.texts();
        let documents = self.around.documents(&texts);
        for file in self.around.web_configs(&documents) {
            let Ok(document) = file.document else {
                continue;
            };
            declarations.push(Declared::read(document.root_element()));
            for (name, location) in written::sections(document.root_element(), &declared) {
                for place in file.places {
                    let whole = format!("{}/{location}", spelled(place, &file.file.name));
                    names.push((name.clone(), whole.trim_matches('/').to_owned()));
                }
            }
        }
        let is_known = |name: &str| {
            schema::section(name).is_some()
                || outline::of(name).is_some()
                || declarations.iter().any(|declared| declared.has(name))
        };
        names.retain(|(name, _)| is_known(name));
        let mut seen = BTreeSet::new();
        names.retain(|(name, location)| seen.insert((name.clone(), location.to_lowercase())));
        Ok(names)
    }

    /// The full names of all sections that there can be: of the schema, declared, or written.
    pub fn section_names(&self) -> Result<Vec<String>, ConfigError> {
        let document = raw::parse(self.text, self.file)?;
        let declared = Declared::read(document.root_element());
        let known = schema::section_names().chain(machine::names());
        let known = known.map(str::to_owned);
        let declared = declared.names().map(str::to_owned);
        let written = self.written()?.into_iter().map(|(name, _)| name);
        let names: BTreeSet<String> = known.chain(declared).chain(written).collect();
        Ok(names.into_iter().collect())
    }

    /// The full name of a section: itself, or the one that ends in it.
    pub fn section_name(&self, name: &str) -> Result<Option<String>, ConfigError> {
        let last = |full: &str| full.rsplit('/').next().unwrap_or_default().to_lowercase();
        let (wanted, mut names) = (name.to_lowercase(), self.section_names()?);
        names.retain(|full| full.to_lowercase() == wanted || last(full) == wanted);
        // system.webServer comes before system.web, as for appcmd.
        names.sort_by_key(|full| {
            (
                full.to_lowercase() != wanted,
                !full.starts_with("system.webServer/"),
            )
        });
        Ok(names.into_iter().next())
    }
}

/// A place in lower case as the folders spell it that a file lies in, as far as they have the same names.
fn spelled(place: &str, file: &str) -> String {
    let mut folders = file.rsplit(['/', '\\']).skip(1);
    let mut is_same = true;
    let steps = place.rsplit('/').map(|step| {
        let folder = folders.next().unwrap_or_default();
        is_same &= folder.to_lowercase() == step;
        if is_same { folder } else { step }
    });
    let mut steps: Vec<&str> = steps.collect();
    steps.reverse();
    steps.join("/")
}

/// A place and those above it, up to the server (empty).
fn places_from(location: &str) -> Vec<&str> {
    let mut places = vec![location];
    let mut at = location;
    while !at.is_empty() {
        at = at.rsplit_once('/').map_or("", |(above, _)| above);
        places.push(at);
    }
    places
}

fn entries_of(section: Option<View>, name: &str) -> Vec<View> {
    let children = section.map(|section| section.children).unwrap_or_default();
    children
        .into_iter()
        .filter(|child| child.name == name)
        .collect()
}

/// What stands for an entry that does not say something itself: the element of defaults that applies to
/// entries of this name, here or further down.
#[derive(Clone, Copy)]
struct Defaults<'n, 'a> {
    entry: &'static str,
    nodes: &'n [Node<'a, 'a>],
}

/// Entries, and the elements that hold their defaults.
/// Source: IIS configuration reference: `applicationPoolDefaults`, `siteDefaults`, `applicationDefaults`,
/// `virtualDirectoryDefaults`.
const DEFAULTS: [(&str, &str); 4] = [
    ("add", "applicationPoolDefaults"),
    ("site", "siteDefaults"),
    ("application", "applicationDefaults"),
    ("virtualDirectory", "virtualDirectoryDefaults"),
];

/// Shows an element. `entry` is the entry that it is in: what stands outside of it is a default.
fn view<'a>(
    name: &str,
    schema: &'static Element,
    layers: &Layers<'a>,
    above: &[Defaults<'_, 'a>],
    entry: Option<Node<'a, 'a>>,
) -> View {
    let is_own = |node: &Node<'a, 'a>| {
        let is_around = |entry| node.ancestors().any(|around| around == entry);
        entry.is_none_or(is_around)
    };
    let own = (!layers.is_empty()).then(|| layers.own()).filter(is_own);
    let mut attributes = attributes_of(schema, layers, own);
    if entry.is_some() {
        // What stands around an entry are its defaults.
        for attribute in &mut attributes {
            attribute.is_inherited = false;
        }
    }
    let found: Vec<(&'static str, Vec<Node<'a, 'a>>)> = DEFAULTS
        .into_iter()
        .filter(|(_, defaults)| schema.children.contains_key(*defaults))
        .map(|(entry, defaults)| (entry, layers.nodes_of(defaults)))
        .collect();
    let mut defaults: Vec<Defaults<'_, 'a>> = found
        .iter()
        .map(|(entry, nodes)| Defaults { entry, nodes })
        .collect();
    defaults.extend_from_slice(above);
    let mut children = Vec::new();
    for (child, of_child) in schema.in_order(&schema.children) {
        children.push(if of_child.foreign {
            open_view::within(child, of_child, &layers.nodes_of(child), is_own)
        } else {
            view(child, of_child, &layers.child(child), &[], entry)
        });
    }
    for (entry_name, of_entry) in schema.in_order(&schema.entries) {
        // The merged entries borrow the name of their element from the schema, which is static.
        let (entries, _) = layers.entries(entry_name, schema.inner_first);
        for one in entries {
            let mut nodes = vec![one.own()];
            for default in defaults.iter().filter(|d| d.entry == entry_name) {
                nodes.extend_from_slice(default.nodes);
            }
            let around = Some(one.own()).filter(is_own).or(entry);
            let layers = Layers::new(of_entry, nodes);
            children.push(view(entry_name, of_entry, &layers, &defaults, around));
        }
    }
    let written: Vec<&str> = open_view::names(own.as_slice());
    let place = |child: &View| written.iter().position(|name| *name == child.name);
    children.sort_by_key(|child| place(child).unwrap_or(usize::MAX));
    let is_written = own.is_some_and(|own| own.attributes().len() > 0)
        || children.iter().any(|child| child.is_written);
    View {
        name: name.to_owned(),
        attributes,
        children,
        is_written,
        schema: Known(Some(schema)),
    }
}

impl View {
    /// The value of an attribute by its path, e.g. `processModel.idleTimeout` or
    /// `[path='/'].applicationPool`, with no regard to case.
    pub fn attribute(&self, path: &str) -> Option<&str> {
        if let Some(rest) = path.strip_prefix('[') {
            let (keys, rest) = rest.split_once(']')?;
            let entry = self.children.iter().find(|child| child.has_keys(keys))?;
            return entry.attribute(rest.trim_start_matches('.'));
        }
        let step_end = path.find(['.', '[']);
        match step_end {
            Some(at) => {
                let (step, rest) = path.split_at(at);
                let child = self.child(step)?;
                child.attribute(rest.trim_start_matches('.'))
            }
            None => self.own(path),
        }
    }

    /// The value of an attribute that is written in the element itself, by its path.
    pub fn written(&self, path: &str) -> Option<&str> {
        let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
        let steps = above.split('.').filter(|step| !step.is_empty());
        let element = steps
            .into_iter()
            .try_fold(self, |view, step| view.child(step))?;
        let mut attributes = element.attributes.iter();
        let found = attributes.find(|a| a.is_written && a.name.eq_ignore_ascii_case(name));
        found.map(|attribute| attribute.value.as_str())
    }

    /// Whether anything in it is written somewhere, here or by an outer level.
    pub fn is_in_effect(&self) -> bool {
        self.is_written
            || self
                .attributes
                .iter()
                .any(|attribute| attribute.is_inherited)
            || self.children.iter().any(Self::is_in_effect)
    }

    /// A single element in it.
    pub fn child(&self, name: &str) -> Option<&Self> {
        let mut children = self.children.iter();
        children.find(|child| child.name.eq_ignore_ascii_case(name))
    }

    /// Whether an element of that name may stand in it, as far as that is known.
    pub fn can_hold(&self, name: &str) -> bool {
        let may = |schema: &Element| {
            schema.foreign
                || schema.children.contains_key(name)
                || schema.entries.contains_key(name)
                || !schema.entries.is_empty() && ["remove", "clear"].contains(&name)
        };
        self.schema.0.is_none_or(may)
    }

    /// The entries of that name.
    pub fn entries<'v>(&'v self, name: &'v str) -> impl Iterator<Item = &'v Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    fn own(&self, name: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        let found = attributes.find(|attribute| attribute.name.eq_ignore_ascii_case(name));
        found.map(|attribute| attribute.value.as_str())
    }

    /// Whether it has these attributes, written `name='X',type='Y'`.
    fn has_keys(&self, keys: &str) -> bool {
        keys.split(',').all(|key| {
            let (name, value) = key.split_once('=').unwrap_or((key, ""));
            let value = value.trim().trim_matches('\'');
            self.own(name.trim())
                .is_some_and(|own| own.eq_ignore_ascii_case(value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"<configuration><system.applicationHost>
        <applicationPools>
            <add name="Shop" queueLength="5000"><processModel maxProcesses="3" /></add>
            <applicationPoolDefaults managedRuntimeVersion="v4.0"><processModel idleTimeout="00:05:00" /></applicationPoolDefaults>
        </applicationPools>
        <sites>
            <site name="S" id="7">
                <application path="/"><virtualDirectory path="/" physicalPath="C:\x" /></application>
            </site>
            <applicationDefaults applicationPool="Shop" />
        </sites>
        </system.applicationHost>
        <system.webServer><urlCompression doDynamicCompression="false" /></system.webServer>
        <location path="S/api"><system.webServer><urlCompression doDynamicCompression="true" /></system.webServer></location>
        </configuration>"#;

    #[test]
    fn a_number_is_shown_by_its_name_and_a_refused_value_not_at_all() {
        let text = TEXT.replace(
            "queueLength=\"5000\"",
            "queueLength=\"5\" managedPipelineMode=\"1\" startMode=\"alwaysrunning\" autoStart=\"maybe\"",
        );
        let [shop] = Views::new(&text, "x").pools().unwrap().try_into().unwrap();
        assert_eq!(shop.attribute("managedPipelineMode"), Some("Classic"));
        assert_eq!(shop.attribute("startMode"), Some("AlwaysRunning"));
        assert_eq!(shop.attribute("queueLength"), Some("1000"));
        assert_eq!(shop.attribute("autoStart"), Some("true"));
        assert_eq!(shop.written("autoStart"), None);
    }

    #[test]
    fn what_the_defaults_say_is_not_written_in_the_entry() {
        let text = TEXT.replace(
            "<processModel idleTimeout=\"00:05:00\" />",
            "<processModel idleTimeout=\"00:05:00\" /><recycling><periodicRestart><schedule><add value=\"03:00:00\" />\
             </schedule></periodicRestart></recycling><failure rapidFailProtection=\"false\" />",
        );
        let [shop] = Views::new(&text, "x").pools().unwrap().try_into().unwrap();
        let is_written = |name: &str| shop.child(name).unwrap().is_written;
        assert!(is_written("processModel"));
        assert!(!is_written("failure") && !is_written("recycling"));
        assert_eq!(shop.attribute("failure.rapidFailProtection"), Some("false"));
        assert_eq!(shop.written("failure.rapidFailProtection"), None);
        let schedule = "recycling.periodicRestart.schedule.[value='03:00:00'].value";
        assert_eq!(
            shop.attribute(schedule),
            Some("03:00:00"),
            "and counts nevertheless"
        );
    }

    #[test]
    fn an_attribute_is_found_in_the_element_its_defaults_and_the_schema() {
        let [shop] = Views::new(TEXT, "x").pools().unwrap().try_into().unwrap();
        assert_eq!(shop.attribute("queueLength"), Some("5000"));
        assert_eq!(shop.attribute("processmodel.maxprocesses"), Some("3"));
        assert_eq!(shop.attribute("processModel.idleTimeout"), Some("00:05:00"));
        assert_eq!(shop.attribute("managedRuntimeVersion"), Some("v4.0"));
        assert_eq!(
            shop.attribute("processModel.pingInterval"),
            Some("00:00:30")
        );
        assert_eq!(shop.attribute("nothing"), None);
    }

    #[test]
    fn applications_and_directories_are_found_by_their_keys() {
        let [site] = Views::new(TEXT, "x").sites().unwrap().try_into().unwrap();
        assert_eq!(site.attribute("[path='/'].applicationPool"), Some("Shop"));
        let path = site.attribute("[path='/'].[path='/'].physicalPath");
        assert_eq!(path, Some(r"C:\x"));
    }

    #[test]
    fn a_location_overrides_the_server() {
        let views = Views::new(TEXT, "x");
        let value = |location| {
            let section = views.section("system.webServer/urlCompression", location);
            let section = section.unwrap().unwrap();
            section.attribute("doDynamicCompression").map(str::to_owned)
        };
        assert_eq!(value("").as_deref(), Some("false"));
        assert_eq!(value("S/api/v1").as_deref(), Some("true"));
    }
}
