//! `set`, `add` and `delete` of sites, applications, virtual directories and application pools.
//!
//! Everything becomes [`Change`]s in the words that appcmd itself uses, written for the section.

use std::cell::OnceCell;
use std::process::ExitCode;

use sim_was::config::ConfigError;
use sim_was::config::edit::{Act, Change, NEXT_ID, Position, Step, localized};
use sim_was::config::view::{View, Views};

use super::grammar::{Object, Sentence, is_change};
use super::import::Template;
use super::rows::site_called;
use super::{Failure, name_of, usable_section};
use crate::administration::store::Store;

pub(super) const POOLS: &str = "system.applicationHost/applicationPools";
pub(super) const SITES: &str = "system.applicationHost/sites";

/// Makes the changes and says so.
pub(super) fn run(sentence: &Sentence, object: Object, store: &Store) -> Result<ExitCode, Failure> {
    let (text, file) = usable_section(store, section_of(object))?;
    let (changes, lines) = changes(sentence, object, &Objects::of(&text, &file))?;
    store.change(&changes)?;
    for line in lines {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The section that has the objects of a kind.
pub(super) fn section_of(object: Object) -> &'static str {
    if object == Object::AppPool {
        POOLS
    } else {
        SITES
    }
}

/// What a sentence makes of a file.
pub(super) fn changes(sentence: &Sentence, object: Object, objects: &Objects<'_>) -> Done {
    let edits = Edits {
        sentence,
        object,
        objects,
    };
    let (changes, lines) = match sentence.verb.as_str() {
        "add" => edits.add()?,
        "set" => edits.set()?,
        _ => edits.delete()?,
    };
    // What is taken away by its name may be inherited from the defaults of pools or sites.
    let is_reset = |change: &&Change| matches!(change.act, Act::DeleteAttribute { .. });
    let changes = match changes.iter().find(is_reset) {
        Some(Change { section, .. }) => {
            let effective = |text: &str| Views::new(text, objects.file).section(section, "");
            localized(objects.text, &changes, &effective)?
        }
        None => changes,
    };
    Ok((changes, lines))
}

/// The pools and sites of a file, read when they are asked for.
pub(super) struct Objects<'a> {
    text: &'a str,
    file: &'a str,
    pools: OnceCell<Vec<View>>,
    sites: OnceCell<Vec<View>>,
}

impl<'a> Objects<'a> {
    pub(super) fn of(text: &'a str, file: &'a str) -> Self {
        Self {
            text,
            file,
            pools: OnceCell::new(),
            sites: OnceCell::new(),
        }
    }

    fn pools(&self) -> Result<&[View], Failure> {
        read(&self.pools, || Views::new(self.text, self.file).pools())
    }

    fn sites(&self) -> Result<&[View], Failure> {
        read(&self.sites, || Views::new(self.text, self.file).sites())
    }
}

fn read(
    cell: &OnceCell<Vec<View>>,
    find: impl FnOnce() -> Result<Vec<View>, ConfigError>,
) -> Result<&[View], Failure> {
    if let Some(known) = cell.get() {
        return Ok(known);
    }
    let found = find()?;
    Ok(cell.get_or_init(|| found))
}

struct Edits<'a> {
    sentence: &'a Sentence,
    object: Object,
    objects: &'a Objects<'a>,
}

/// Changes, and what is said when they are made.
pub(super) type Changes = (Vec<Change>, Vec<String>);
type Done = Result<Changes, Failure>;

/// An object of the configuration, found by its identifier.
struct Found {
    name: String,
    section: &'static str,
    element: Vec<Step>,
}

impl Edits<'_> {
    fn property(&self, name: &str) -> Option<&str> {
        self.sentence.parameter(name)
    }

    fn required(&self, name: &str) -> Result<&str, Failure> {
        self.property(name).ok_or_else(|| {
            Failure::Message(format!(
                "Missing required attribute \"{name}\".  Give it as /{name}:<value>."
            ))
        })
    }

    fn says(&self, name: &str, done: &str) -> String {
        format!("{} object \"{name}\" {done}", self.object.name())
    }

    // --- set ----------------------------------------------------------------------------------------

    fn set(&self) -> Done {
        let found = self.find(&name_of(self.sentence, self.object)?)?;
        let own_name = format!("{}.NAME", self.object.name());
        let given = self.sentence.properties();
        let given = given.filter(|(name, _)| !name.eq_ignore_ascii_case(&own_name));
        // The others are found by the name that the object still has, so its new one comes last.
        let (key, others): (Vec<_>, Vec<_>) = given.partition(|(name, _)| self.is_key(name));
        let mut changes = Vec::new();
        for (name, value) in others.into_iter().chain(key) {
            changes.extend(self.change(&found, name, value)?);
        }
        if changes.is_empty() {
            return Err(Failure::Message(
                "Nothing to set: give attributes, e.g. /queueLength:5000.".to_owned(),
            ));
        }
        Ok((changes, vec![self.says(&found.name, "changed")]))
    }

    /// Whether an attribute is the one by which the element of the object is found.
    fn is_key(&self, attribute: &str) -> bool {
        let key = match self.object {
            Object::App | Object::Vdir => "path",
            Object::AppPool
            | Object::Site
            | Object::Config
            | Object::Wp
            | Object::Request
            | Object::Module
            | Object::Backup => "name",
        };
        attribute.eq_ignore_ascii_case(key)
    }

    /// One parameter of `set`.
    fn change(
        &self,
        found: &Found,
        name: &str,
        value: Option<&str>,
    ) -> Result<Vec<Change>, Failure> {
        if self.object == Object::Site && name.eq_ignore_ascii_case("bindings") {
            return bindings(&found.element, value.unwrap_or_default());
        }
        is_change(name, value).map_err(Failure::Message)?;
        let sign = name.chars().next().filter(|c| ['+', '-'].contains(c));
        let path = name.trim_start_matches(['+', '-']);
        let mut words = sign.map(String::from).unwrap_or_default();
        words.push_str(found.section);
        for step in &found.element {
            words.push_str(&keys_of(step));
        }
        if !path.starts_with('[') {
            words.push('.');
        }
        words.push_str(path);
        if let Some(value) = value {
            words.push(':');
            words.push_str(value);
        }
        Ok(vec![words.parse::<Change>()?])
    }

    // --- add ----------------------------------------------------------------------------------------

    fn add(&self) -> Done {
        if let Some(template) = &self.sentence.template {
            return self.add_from(template.clone());
        }
        match self.object {
            Object::AppPool => self.add_pool(),
            Object::Site => self.add_site(),
            Object::App => self.add_app(),
            Object::Vdir
            | Object::Config
            | Object::Wp
            | Object::Request
            | Object::Module
            | Object::Backup => self.add_vdir(),
        }
    }

    /// What another appcmd has listed; a name or an id that is given takes the place of its own.
    fn add_from(&self, mut template: Template) -> Done {
        for attribute in ["name", "id", "path"] {
            if let Some(value) = self.property(attribute) {
                template.set(attribute, value);
            }
        }
        let wanted = template.attribute("name").or(template.attribute("path"));
        let wanted = wanted.unwrap_or_default().to_owned();
        let (section, above, name) = match self.object {
            Object::AppPool => (POOLS, Vec::new(), wanted),
            Object::App => {
                let site = self.find_site(self.required("site.name")?)?;
                (SITES, site.element, format!("{}{wanted}", site.name))
            }
            Object::Vdir => {
                let app = self.find_app(self.required("app.name")?)?;
                let name = format!("{}{wanted}", app.name.trim_end_matches('/'));
                (SITES, app.element, name)
            }
            Object::Site
            | Object::Config
            | Object::Wp
            | Object::Request
            | Object::Module
            | Object::Backup => (SITES, Vec::new(), wanted),
        };
        let mut lines = vec![self.says(&name, "added")];
        let app_lines = |app: &str, directories: &Template| {
            let app = app.trim_end_matches('/');
            let path = |directory: &Template| directory.attribute("path").unwrap_or("/").to_owned();
            let directories = directories.entries("virtualDirectory").map(path);
            let lines = directories.map(|path| format!("VDIR object \"{app}{path}\" added"));
            lines.collect::<Vec<String>>()
        };
        if self.object == Object::App {
            lines.extend(app_lines(&name, &template));
        }
        for app in template.entries("application") {
            let app_name = format!("{name}{}", app.attribute("path").unwrap_or("/"));
            lines.push(format!("APP object \"{app_name}\" added"));
            lines.extend(app_lines(&app_name, app));
        }
        Ok((template.changes(section, &above), lines))
    }

    fn add_pool(&self) -> Done {
        let name = match self.sentence.identifier() {
            Some(identifier) => identifier.to_owned(),
            None => self.required("name")?.to_owned(),
        };
        let mut changes = vec![added(POOLS, Vec::new(), &[("name", &name)])];
        let found = Found {
            name: name.clone(),
            section: POOLS,
            element: vec![entry(&[("name", &name)])],
        };
        changes.extend(self.rest(&found, &["name", "apppool.name"])?);
        Ok((changes, vec![self.says(&name, "added")]))
    }

    /// Source: appcmd: a site with a physicalPath gets a root application and a root virtual directory,
    /// each said in a line of its own; without an id it takes the next free one.
    fn add_site(&self) -> Done {
        let name = self.required("name")?.to_owned();
        let id = self.property("id").unwrap_or(NEXT_ID);
        let site = entry(&[("name", &name)]);
        let mut changes = vec![added(SITES, Vec::new(), &[("name", &name), ("id", id)])];
        let mut lines = vec![self.says(&name, "added")];
        if let Some(path) = self.property("physicalPath") {
            let application = entry(&[("path", "/")]);
            changes.push(added(SITES, vec![site.clone()], &[("path", "/")]));
            let directory = [("path", "/"), ("physicalPath", path)];
            changes.push(added(SITES, vec![site.clone(), application], &directory));
            lines.push(format!("APP object \"{name}/\" added"));
            lines.push(format!("VDIR object \"{name}/\" added"));
        }
        let found = Found {
            name,
            section: SITES,
            element: vec![site],
        };
        changes.extend(self.rest(&found, &["name", "id", "physicalPath", "site.name"])?);
        Ok((changes, lines))
    }

    fn add_app(&self) -> Done {
        let site = self.required("site.name")?;
        let path = self.required("path")?;
        let found = self.find_site(site)?;
        let application = entry(&[("path", path)]);
        let mut changes = vec![added(SITES, found.element.clone(), &[("path", path)])];
        let name = format!("{}{path}", found.name);
        let mut lines = vec![self.says(&name, "added")];
        let mut element = found.element;
        element.push(application);
        if let Some(physical) = self.property("physicalPath") {
            let directory = [("path", "/"), ("physicalPath", physical)];
            changes.push(added(SITES, element.clone(), &directory));
            lines.push(format!("VDIR object \"{name}/\" added"));
        }
        let found = Found {
            name,
            section: SITES,
            element,
        };
        changes.extend(self.rest(&found, &["site.name", "path", "physicalPath"])?);
        Ok((changes, lines))
    }

    fn add_vdir(&self) -> Done {
        let app = self.find_app(self.required("app.name")?)?;
        let (path, physical) = (self.required("path")?, self.required("physicalPath")?);
        let attributes = [("path", path), ("physicalPath", physical)];
        let changes = vec![added(SITES, app.element.clone(), &attributes)];
        let name = format!("{}{path}", app.name.trim_end_matches('/'));
        let found = Found {
            name: name.clone(),
            section: SITES,
            element: [app.element, vec![entry(&[("path", path)])]].concat(),
        };
        let rest = self.rest(&found, &["app.name", "path", "physicalPath"])?;
        Ok(([changes, rest].concat(), vec![self.says(&name, "added")]))
    }

    /// What else was given is set on what was added.
    fn rest(&self, found: &Found, known: &[&str]) -> Result<Vec<Change>, Failure> {
        let mut changes = Vec::new();
        for (name, value) in self.sentence.properties() {
            if !known.iter().any(|known| name.eq_ignore_ascii_case(known)) {
                changes.extend(self.change(found, name, value)?);
            }
        }
        Ok(changes)
    }

    // --- delete -------------------------------------------------------------------------------------

    fn delete(&self) -> Done {
        let mut found = self.find(&name_of(self.sentence, self.object)?)?;
        let last = found.element.pop();
        let keys = match last {
            Some(Step::Entry(keys)) => keys,
            Some(Step::Child(_)) | None => Vec::new(),
        };
        let change = Change::new(found.section, found.element, Act::Remove { keys });
        Ok((vec![change], vec![self.says(&found.name, "deleted")]))
    }

    // --- finding ------------------------------------------------------------------------------------

    fn find(&self, identifier: &str) -> Result<Found, Failure> {
        match self.object {
            Object::AppPool => self.find_pool(identifier),
            Object::Site => self.find_site(identifier),
            Object::App => self.find_app(identifier),
            Object::Vdir
            | Object::Config
            | Object::Wp
            | Object::Request
            | Object::Module
            | Object::Backup => self.find_vdir(identifier),
        }
    }

    fn find_pool(&self, identifier: &str) -> Result<Found, Failure> {
        let mut names = self
            .objects
            .pools()?
            .iter()
            .filter_map(|pool| pool.attribute("name"));
        let name = names.find(|name| name.eq_ignore_ascii_case(identifier));
        let name = name.ok_or_else(|| not_found(Object::AppPool, identifier))?;
        Ok(Found {
            name: name.to_owned(),
            section: POOLS,
            element: vec![entry(&[("name", name)])],
        })
    }

    /// By its name, its number or a binding.
    fn find_site(&self, identifier: &str) -> Result<Found, Failure> {
        let name = site_called(self.objects.sites()?, identifier);
        let name = name.ok_or_else(|| not_found(Object::Site, identifier))?;
        Ok(Found {
            name: name.to_owned(),
            section: SITES,
            element: vec![entry(&[("name", name)])],
        })
    }

    /// `Default Web Site/app`; the site alone is its root application.
    fn find_app(&self, identifier: &str) -> Result<Found, Failure> {
        let wanted = identifier.trim_end_matches('/');
        for site in self.objects.sites()? {
            let site_name = site.attribute("name").unwrap_or_default();
            for app in site.entries("application") {
                let path = app.attribute("path").unwrap_or_default();
                let name = format!("{site_name}{path}");
                if name.trim_end_matches('/').eq_ignore_ascii_case(wanted) {
                    let element = vec![entry(&[("name", site_name)]), entry(&[("path", path)])];
                    return Ok(Found {
                        name,
                        section: SITES,
                        element,
                    });
                }
            }
        }
        Err(not_found(Object::App, identifier))
    }

    fn find_vdir(&self, identifier: &str) -> Result<Found, Failure> {
        let wanted = identifier.trim_end_matches('/');
        for site in self.objects.sites()? {
            let site_name = site.attribute("name").unwrap_or_default();
            for app in site.entries("application") {
                let app_path = app.attribute("path").unwrap_or_default();
                let app_name = format!("{site_name}{app_path}");
                for vdir in app.entries("virtualDirectory") {
                    let path = vdir.attribute("path").unwrap_or_default();
                    let name = format!("{}{path}", app_name.trim_end_matches('/'));
                    if name.trim_end_matches('/').eq_ignore_ascii_case(wanted) {
                        let element = vec![
                            entry(&[("name", site_name)]),
                            entry(&[("path", app_path)]),
                            entry(&[("path", path)]),
                        ];
                        return Ok(Found {
                            name,
                            section: SITES,
                            element,
                        });
                    }
                }
            }
        }
        Err(not_found(Object::Vdir, identifier))
    }
}

fn not_found(object: Object, identifier: &str) -> Failure {
    Failure::NotFound {
        object,
        identifier: identifier.to_owned(),
    }
}

fn entry(keys: &[(&str, &str)]) -> Step {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Step::Entry(keys.iter().map(owned).collect())
}

fn added(section: &str, element: Vec<Step>, attributes: &[(&str, &str)]) -> Change {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let attributes = attributes.iter().map(owned).collect();
    Change::new(
        section,
        element,
        Act::Add {
            attributes,
            at: Position::End,
        },
    )
}

/// `[name='X']`, with quotes written twice.
fn keys_of(step: &Step) -> String {
    match step {
        Step::Child(name) => format!(".{name}"),
        Step::Entry(keys) => {
            let key = |(name, value): &(String, String)| {
                format!("{name}='{}'", value.replace('\'', "''"))
            };
            format!(
                "[{}]",
                keys.iter().map(key).collect::<Vec<String>>().join(",")
            )
        }
    }
}

/// `/bindings:http/*:80:,https/*:443:` replaces all bindings of a site; `http://host:port` is understood too.
fn bindings(site: &[Step], value: &str) -> Result<Vec<Change>, Failure> {
    let element = [site.to_vec(), vec![Step::Child("bindings".to_owned())]].concat();
    let attribute = "bindings".to_owned();
    let reset = Act::DeleteAttribute { attribute };
    let mut changes = vec![Change::new(SITES, site.to_vec(), reset)];
    for binding in value.split(',').filter(|binding| !binding.is_empty()) {
        let (protocol, information) = if let Some((protocol, place)) = binding.split_once("://") {
            let place = place.trim_end_matches('/');
            let (host, port) = place.rsplit_once(':').unwrap_or((place, "80"));
            let host = if host == "*" { "" } else { host };
            (protocol, format!("*:{port}:{host}"))
        } else {
            let (protocol, information) = binding.split_once('/').ok_or_else(|| {
                Failure::Message(format!(
                    "Invalid binding \"{binding}\": expected protocol/address:port:host, e.g. http/*:80:"
                ))
            })?;
            (protocol, information.to_owned())
        };
        let attributes = [("protocol", protocol), ("bindingInformation", &information)];
        changes.push(added(SITES, element.clone(), &attributes));
    }
    Ok(changes)
}
