//! Finds the sections in the tree: at the top, in section groups, and in `<location>` blocks.
//!
//! Sections without a schema here (`windowsAuthentication` …) are taken if `configSections` declares them, so
//! that their locks hold; other ones (`configSections` itself, `webFarms`, `rewrite` …) are passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use roxmltree::Node;

use super::edit::sections_at;
use super::faults;
use super::locks::{self, Declared};
use super::schema::{self, Element};
use super::web_config::WebConfig;

/// So many appearances of a section at one place are merged to find entries that are there twice.
/// Assumed: nobody writes more of them, unless to make the server busy.
const LEVELS_MAX: usize = 32;
/// The section of the sites.
const SITES: &str = "system.applicationHost/sites";

/// One appearance of a section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a> {
    /// Its element.
    pub(super) node: Node<'a, 'a>,
    /// Its schema.
    pub(super) schema: &'static Element,
    /// Which file it stands in, outer ones first.
    file: usize,
    /// What its `<location>` says about inner levels: locked or not.
    mode: Option<bool>,
    /// It is not for applications below the one that its file belongs to.
    own: bool,
}

/// The sections of all files that we have a schema for, or that are declared.
#[derive(Debug, Default)]
pub(super) struct Sections<'a> {
    /// By the path of their location in lower case (empty for the server), then by their name.
    by_location: BTreeMap<String, BTreeMap<String, Vec<Section<'a>>>>,
    /// Name, location as written and section, in the order of applicationHost.config.
    in_order: Vec<(String, &'a str, Section<'a>)>,
    /// Name, location and section of the other files.
    around: Vec<(String, String, Section<'a>)>,
    declared: Declared,
    /// Which file is applicationHost.config.
    host: usize,
    /// What it says.
    root: Option<Node<'a, 'a>>,
    /// Whether some sections are not for child applications.
    has_own: bool,
    /// What in the files around makes requests for a location and below it fail.
    faults: BTreeMap<String, String>,
}

/// The place of some sections while they are collected.
#[derive(Clone, Copy)]
struct Stand {
    file: usize,
    mode: Option<bool>,
    own: bool,
}

impl<'a> Sections<'a> {
    /// Collects the sections of applicationHost.config and of the files around it, outer ones first.
    pub(super) fn of_all(host: Node<'a, 'a>, around: &'a [WebConfig<'a>]) -> Self {
        let mut sections = Self {
            declared: Declared::read(host),
            root: Some(host),
            ..Self::default()
        };
        let outermost = around.iter().take_while(|file| file.is_outermost()).count();
        for (number, file) in around[..outermost].iter().enumerate() {
            sections.read_around(file, number);
        }
        sections.host = outermost;
        sections.read(host, "", outermost);
        for (number, file) in around.iter().enumerate().skip(outermost) {
            sections.read_around(file, number + 1);
        }
        sections
    }

    fn read_around(&mut self, file: &'a WebConfig<'a>, number: usize) {
        for place in file.places {
            match file.document {
                Ok(document) => {
                    let root = document.root_element();
                    if let Some(fault) = faults::of_locations(root) {
                        let fault = fault.of(&file.file.name).to_string();
                        self.faults.insert(place.clone(), fault);
                    }
                    self.read(root, place, number);
                }
                Err(fault) => {
                    self.faults.insert(place.clone(), fault.clone());
                }
            }
        }
        let found: Vec<(String, String)> = faults::of_file(self, number)
            .map(|(_, location, fault)| {
                let fault = fault.of(&file.file.name).to_string();
                (location.to_owned(), fault)
            })
            .collect();
        for (location, fault) in found {
            self.faults.entry(location).or_insert(fault);
        }
    }

    /// Collects the sections below `<configuration>`, which stands for a place.
    fn read(&mut self, configuration: Node<'a, 'a>, place: &str, file: usize) {
        let stand = Stand {
            file,
            mode: None,
            own: false,
        };
        self.collect(configuration, (place, ""), "", stand);
        for block in elements(configuration).filter(|n| n.tag_name().name() == "location") {
            let path = block
                .attribute("path")
                .unwrap_or_default()
                .trim_matches('/');
            // Source: .NET configuration: `path="."` is the place of the file itself.
            let path = if path == "." { "" } else { path };
            let stand = Stand {
                mode: locks::mode_of(block),
                own: is_own_block(block),
                file,
            };
            self.collect(block, (place, path), "", stand);
        }
        self.in_order
            .sort_by_key(|(_, _, section)| section.node.range().start);
    }

    fn collect(
        &mut self,
        parent: Node<'a, 'a>,
        (place, location): (&str, &'a str),
        group: &str,
        stand: Stand,
    ) {
        for node in elements(parent) {
            let name = node.tag_name().name();
            let path = match group {
                "" => name.to_owned(),
                group => format!("{group}/{name}"),
            };
            let schema = schema::section(&path);
            let schema = schema.or_else(|| self.declared.has(&path).then(|| outline_of(&path)));
            if let Some(schema) = schema {
                let Stand { file, mode, own } = stand;
                let section = Section {
                    node,
                    schema,
                    file,
                    mode,
                    own,
                };
                let whole = match (place, location) {
                    ("", location) => location.to_lowercase(),
                    (place, "") => place.to_owned(),
                    (place, location) => format!("{place}/{}", location.to_lowercase()),
                };
                let here = self.by_location.entry(whole.clone()).or_default();
                here.entry(path.clone()).or_default().push(section);
                self.has_own |= own;
                if file == self.host && schema.foreign {
                    // Nothing is known that could be wrong with it.
                } else if file == self.host {
                    self.in_order.push((path, location, section));
                } else {
                    self.around.push((path, whole, section));
                }
            } else if schema::is_group(&path) || self.declared.has_group(&path) {
                self.collect(node, (place, location), &path, stand);
            }
        }
    }

    /// Whether some sections are not for child applications.
    pub(super) fn has_own(&self) -> bool {
        self.has_own
    }

    /// Every section of applicationHost.config: name, location, element; in the order of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(String, &'a str, Section<'a>)> {
        self.in_order.iter()
    }

    /// Every section of another file: name, location, element.
    pub(super) fn of_file(&self, file: usize) -> impl Iterator<Item = (&str, &str, &Section<'a>)> {
        let all = self
            .around
            .iter()
            .filter(move |(_, _, section)| section.file == file);
        all.map(|(name, location, section)| (name.as_str(), location.as_str(), section))
    }

    /// The appearances of a section in outer files that hold at a location, the outermost first.
    pub(super) fn outer(&self, location: &str, section: &str, file: usize) -> Vec<Node<'a, 'a>> {
        let found = self.reaching(location, section);
        let found = found.filter(|found| found.file < file);
        found.map(|found| found.node).collect()
    }

    /// The appearances of a section at a location and above it, but for those that are kept from its application, the
    /// outermost first.
    ///
    /// Source: IIS: `inheritInChildApplications="false"` keeps a location, with its locks, from the applications below.
    fn reaching(
        &self,
        location: &str,
        section: &str,
    ) -> impl DoubleEndedIterator<Item = &Section<'a>> {
        let application = self.application(location);
        places_to(location).into_iter().flat_map(move |place| {
            let found = self.at(place, section).iter();
            found.filter(move |found| place.len() >= application || !found.own)
        })
    }

    /// How much of a location is the path of its application, if that makes a difference.
    fn application(&self, location: &str) -> usize {
        let root = self.root.filter(|_| self.has_own);
        root.map_or(0, |root| application_length(root, location))
    }

    /// The appearances of a section that lie under another one at a location, the outermost first; of
    /// very many the first ones.
    pub(super) fn above(
        &self,
        location: &str,
        section: &str,
        inner: &Section<'a>,
    ) -> Vec<Node<'a, 'a>> {
        let mut nodes = Vec::new();
        let application = self.application(location);
        for place in places_to(location) {
            let here = place.len() >= application;
            let found = self.at(place, section).iter();
            let found = found.take_while(|found| found.node != inner.node);
            let found = found.filter(|s| here || !s.own).map(|s| s.node);
            nodes.extend(found.take(LEVELS_MAX));
        }
        nodes
    }

    /// Whether a section counts for the whole server only.
    pub(super) fn is_host_only(&self, section: &str) -> bool {
        self.declared.is_host_only(section)
    }

    /// Whether outer files have locked a section at a location.
    pub(super) fn is_locked(&self, location: &str, section: &str, file: usize) -> bool {
        if self.is_host_only(section) || self.is_beyond_application(location, section) {
            return true;
        }
        let found = self.reaching(location, section);
        let mut modes = found
            .filter(|found| found.file < file)
            .filter_map(|found| found.mode);
        modes
            .next_back()
            .unwrap_or_else(|| self.declared.locks(section))
    }

    /// Whether a location is in an application, and the section is for applications as a whole.
    /// Assumed: IIS says of it what it says of a locked section.
    fn is_beyond_application(&self, location: &str, section: &str) -> bool {
        let root = self.root.filter(|_| location.contains('/'));
        let root = root.filter(|_| self.declared.is_of_applications(section));
        root.is_some_and(|root| application_length(root, location) < location.len())
    }

    /// Why nothing can be used at the innermost of some locations, if so.
    pub(super) fn fault(&self, locations: &[String]) -> Option<&str> {
        locations
            .iter()
            .find_map(|location| self.faults.get(location))
            .map(String::as_str)
    }

    /// The appearances of a section that hold at the first of some locations, which belongs to an application,
    /// the innermost first.
    pub(super) fn for_application(
        &self,
        locations: &[String],
        application: &str,
        section: &str,
    ) -> Vec<Node<'a, 'a>> {
        let mut nodes = Vec::new();
        for location in locations {
            let inside = location.len() >= application.len();
            let found = self.at(location, section).iter().rev();
            nodes.extend(found.filter(|s| inside || !s.own).map(|s| s.node));
        }
        nodes
    }

    /// Whether something stands in this location.
    pub(super) fn has(&self, location: &str) -> bool {
        self.by_location.contains_key(location)
    }

    /// The locations below a place of which something is said, outer ones before those inside of them.
    pub(super) fn below(&self, place: &str) -> BTreeSet<String> {
        let start = format!("{place}/");
        let of_sections = keys_from(&self.by_location, &start);
        of_sections.chain(keys_from(&self.faults, &start)).collect()
    }

    /// The appearances of a section at one location, in the order of the file.
    pub(super) fn at(&self, location: &str, section: &str) -> &[Section<'a>] {
        self.by_location
            .get(location)
            .and_then(|s| s.get(section))
            .map_or(&[], Vec::as_slice)
    }
}

/// How much of a location, in lower case, is the path of its application.
pub(super) fn application_length(root: Node<'_, '_>, location: &str) -> usize {
    let site = location.split('/').next().unwrap_or_default();
    let below = &location[site.len()..];
    let is_named = |node: &Node<'_, '_>, name| node.tag_name().name() == name;
    let is_site = |node: &Node<'_, '_>| {
        let name = node.attribute("name").unwrap_or_default();
        is_named(node, "site") && name.to_lowercase() == site
    };
    let sections = sections_at(root, "", SITES).into_iter();
    let sites = sections.flat_map(|section| section.children().filter(is_site));
    let applications =
        sites.flat_map(|site| site.children().filter(|n| is_named(n, "application")));
    let lengths = applications.filter_map(|application| {
        let path = application.attribute("path")?.trim_end_matches('/');
        let rest = below.strip_prefix(&path.to_lowercase())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(below.len() - rest.len())
    });
    site.len() + lengths.max().unwrap_or(0)
}

/// What is known of a section that is only declared. The .NET Framework judges its own ones, and takes many entries
/// twice.
fn outline_of(path: &str) -> &'static Element {
    if path.starts_with("system.webServer/") {
        schema::section_or_outline(path)
    } else {
        schema::foreign()
    }
}

/// The keys that begin so.
pub(super) fn keys_from<'m, V>(
    map: &'m BTreeMap<String, V>,
    start: &'m str,
) -> impl Iterator<Item = String> + 'm {
    let all = map.range::<str, _>((Bound::Included(start), Bound::Unbounded));
    all.map(|(key, _)| key.clone())
        .take_while(move |key| key.starts_with(start))
}

/// The locations from the server (empty) to a place: `site`, `site/a`, `site/a/b`.
fn places_to(location: &str) -> Vec<&str> {
    let ends = location.match_indices('/').map(|(at, _)| at);
    let mut places: Vec<&str> = ends.map(|end| &location[..end]).collect();
    places.insert(0, "");
    if !location.is_empty() {
        places.push(location);
    }
    places
}

/// Whether a `<location>` keeps what it says from child applications.
pub(super) fn is_own_block(block: Node<'_, '_>) -> bool {
    let is_inherited = block.attribute("inheritInChildApplications");
    is_inherited.is_some_and(|value| value.eq_ignore_ascii_case("false"))
}

/// Whether a section is not for applications below the place that it is written for.
pub(super) fn is_own(section: Node<'_, '_>) -> bool {
    let is_block = |node: &Node<'_, '_>| {
        let configuration = node.parent_element();
        configuration.is_some_and(|root| root.parent_element().is_none())
    };
    let block = section.ancestors().find(is_block);
    block.is_some_and(|block| block.has_tag_name("location") && is_own_block(block))
}

fn elements<'a>(parent: Node<'a, 'a>) -> impl Iterator<Item = Node<'a, 'a>> {
    parent.children().filter(Node::is_element)
}
