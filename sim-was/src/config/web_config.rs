//! The files around applicationHost.config: machine.config and web.config of the .NET Framework, and the
//! web.config of every application and of the folders in it, whose sections lie over those of
//! applicationHost.config.
//!
//! ```text
//! MACHINE ─► WEBROOT ─► APPHOST (its <location>s) ─► site/web.config ─► site/app/web.config ─► site/app/images/web.config
//! ```
//!
//! What is wrong with one of them stops nobody but the requests that it is for: they get 500.19.

use std::collections::{BTreeMap, BTreeSet};

use roxmltree::Document;

use super::raw::{self, ConfigError};
use super::settings::Scope;
use super::{Application, Configuration, Site, VirtualDirectory, resolve, web_server};

/// Where the .NET Framework keeps machine.config and its web.config.
pub const FRAMEWORK: &str = r"%SystemRoot%\Microsoft.NET\Framework64\v4.0.30319\Config";

/// The largest web.config. Source: `MaxWebConfigFileSizeInKB`: 250.
const SIZE_MAX: usize = 250 * 1024;

/// A file as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// How messages call it.
    pub name: String,
    /// What it says, or why it cannot be read.
    pub bytes: Result<Vec<u8>, String>,
    /// When it was last written: touching a web.config restarts its application.
    pub modified: u64,
}

/// Where the files around an applicationHost.config are; it goes by Windows paths.
pub trait Disk {
    /// A file, if it is there.
    fn read(&mut self, path: &str) -> Option<FoundFile>;

    /// The folders below a folder that have a web.config, as they are written behind it: `\\images\\old`.
    fn folders(&mut self, folder: &str) -> Vec<String>;
}

/// The files around an applicationHost.config, the outermost first.
#[derive(Clone, Debug, Default)]
pub struct Around(Vec<Found>);

/// One of them: its folder, the locations that it is for in lower case, and itself.
type Found = (String, Vec<String>, FoundFile);

impl Around {
    /// Those of some sites.
    pub fn find(sites: &[Site], disk: &mut dyn Disk) -> Self {
        let mut files = Vec::new();
        for (folder, Folder { written, places }) in folders(sites, disk) {
            let names: &[&str] = if folder == FRAMEWORK.to_lowercase() {
                &["machine.config", "web.config"]
            } else {
                &["web.config"]
            };
            for name in names {
                if let Some(file) = disk.read(&format!("{written}\\{name}")) {
                    files.push((folder.clone(), places.clone(), file));
                }
            }
        }
        // The framework's, then sites, then what is below them.
        let depth = |place: &String| place.matches('/').count();
        files.sort_by_key(|(_, places, _)| places.iter().map(depth).min());
        let framework = |places: &[String]| places.iter().any(String::is_empty);
        files.sort_by_key(|(_, places, _)| !framework(places));
        Self(files)
    }

    /// The files above a place, as a web.config there sees them; above the server (empty) are those of the .NET
    /// Framework.
    #[must_use]
    pub(super) fn above(&self, place: &str) -> Self {
        let is_above = |at: &String| {
            let rest = place.strip_prefix(at.as_str());
            rest.is_some_and(|rest| at.is_empty() || rest.starts_with('/'))
        };
        let above = |(folder, places, file): &Found| {
            // Several applications may have one folder.
            let places: Vec<String> = places.iter().filter(|at| is_above(at)).cloned().collect();
            (!places.is_empty()).then(|| (folder.clone(), places, file.clone()))
        };
        Self(self.0.iter().filter_map(above).collect())
    }

    /// machine.config alone.
    #[must_use]
    pub(super) fn machine(&self) -> Self {
        let files = self.0.iter();
        let is_it = |(_, _, file): &&Found| file.name.ends_with("machine.config");
        Self(files.filter(is_it).cloned().collect())
    }

    /// The same with one more, the innermost, which stands for a place.
    #[must_use]
    pub(super) fn with(mut self, place: &str, file: FoundFile) -> Self {
        self.0.push((String::new(), vec![place.to_owned()], file));
        self
    }

    pub(super) fn texts(&self) -> Vec<Result<String, String>> {
        self.0.iter().map(|(_, _, file)| text_of(file)).collect()
    }

    pub(super) fn documents<'a>(
        &self,
        texts: &'a [Result<String, String>],
    ) -> Vec<Result<Document<'a>, String>> {
        let pairs = texts.iter().zip(&self.0);
        pairs
            .map(|(text, (_, _, file))| parse(text, file))
            .collect()
    }

    pub(super) fn web_configs<'a>(
        &'a self,
        documents: &'a [Result<Document<'a>, String>],
    ) -> Vec<WebConfig<'a>> {
        let pairs = self.0.iter().zip(documents);
        let web_config = |((folder, places, file), document): (&'a Found, _)| WebConfig {
            folder,
            places,
            file,
            document,
        };
        pairs.map(web_config).collect()
    }
}

/// Reads applicationHost.config from its bytes, and the files around it from the disk.
pub fn load_tree(
    bytes: &[u8],
    file_name: &str,
    disk: &mut dyn Disk,
) -> Result<Configuration, ConfigError> {
    read_tree(bytes, file_name, disk)?.whole()
}

/// The same, also if there are sections in it that cannot be used; see [`load_sections`](super::load_sections).
pub fn load_tree_sections(
    bytes: &[u8],
    file_name: &str,
    disk: &mut dyn Disk,
) -> Result<Configuration, ConfigError> {
    read_tree(bytes, file_name, disk)
}

fn read_tree(
    bytes: &[u8],
    file_name: &str,
    disk: &mut dyn Disk,
) -> Result<Configuration, ConfigError> {
    let text = raw::decode(bytes, file_name)?;
    let alone = resolve::resolve(&text, file_name, &[])?;
    let around = Around::find(&alone.sites, disk);
    if around.0.is_empty() {
        return Ok(alone);
    }
    let texts = around.texts();
    let documents = around.documents(&texts);
    let around = around.web_configs(&documents);
    resolve::resolve(&text, file_name, &around)
}

/// A file around applicationHost.config, read.
pub(super) struct WebConfig<'a> {
    pub(super) folder: &'a str,
    /// The locations that it is for, in lower case.
    pub(super) places: &'a [String],
    pub(super) file: &'a FoundFile,
    pub(super) document: &'a Result<Document<'a>, String>,
}

impl WebConfig<'_> {
    /// What tells one state of the file from another.
    pub(super) fn stamp(&self) -> String {
        let bytes = self.file.bytes.as_deref().unwrap_or_default();
        let hash = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
        });
        format!("{hash:016x}, written {}", self.file.modified)
    }

    pub(super) fn is_outermost(&self) -> bool {
        self.places.iter().any(String::is_empty)
    }

    pub(super) fn scope(&self) -> Scope {
        Scope::WebConfig(self.folder.to_owned())
    }
}

impl FoundFile {
    /// Whether it is no XML: it may be that somebody is writing it.
    pub fn is_torn(&self) -> bool {
        self.bytes.is_ok() && parse(&text_of(self), self).is_err()
    }
}

fn text_of(file: &FoundFile) -> Result<String, String> {
    let name = &file.name;
    let bytes = file
        .bytes
        .as_ref()
        .map_err(|error| format!("{name}: {error}"))?;
    if bytes.len() > SIZE_MAX {
        return Err(format!(
            "{name}: cannot read configuration file because it exceeds the maximum file size"
        ));
    }
    let text = raw::decode(bytes, name).map_err(|error| error.to_string())?;
    Ok(text.into_owned())
}

fn parse<'a>(text: &'a Result<String, String>, file: &FoundFile) -> Result<Document<'a>, String> {
    let text = text.as_ref().map_err(Clone::clone)?;
    let document = raw::parse(text, &file.name).map_err(|error| error.to_string())?;
    let name = document.root_element().tag_name().name();
    if name == "configuration" {
        Ok(document)
    } else {
        Err(format!(
            "{}: line 1: begins with <{name}>, not <configuration>",
            file.name
        ))
    }
}

/// A folder that may have such files.
struct Folder {
    /// As it is written first.
    written: String,
    /// The locations that its files are for, in lower case.
    places: Vec<String>,
}

/// The folders that have such files, or may have them and belong to an application, by their names in lower
/// case.
fn folders(sites: &[Site], disk: &mut dyn Disk) -> BTreeMap<String, Folder> {
    let mut folders = Folders::default();
    folders.add(FRAMEWORK, String::new());
    let mut trees = BTreeMap::<String, Vec<String>>::new();
    for site in sites {
        let roots = places_of(site);
        for application in &site.applications {
            for directory in &application.virtual_directories {
                let place = place_of(site, application, directory);
                let written = directory.physical_path.as_str();
                folders.add(written, place.clone());
                if !directory.allow_sub_dir_config {
                    continue;
                }
                let tree = trees.entry(written.to_lowercase());
                let below = tree.or_insert_with(|| disk.folders(written));
                for folder in below {
                    let inside = format!("{place}{}", folder.replace('\\', "/").to_lowercase());
                    // What is an application or a virtual directory lies where that one says.
                    if nearest(&roots, &inside) == Some(place.as_str()) {
                        let written = written.trim_end_matches('\\');
                        folders.add(&format!("{written}{folder}"), inside);
                    }
                }
            }
        }
    }
    folders.0
}

#[derive(Default)]
struct Folders(BTreeMap<String, Folder>);

impl Folders {
    fn add(&mut self, written: &str, place: String) {
        let known = self.0.entry(written.to_lowercase());
        let folder = known.or_insert_with(|| Folder {
            written: written.to_owned(),
            places: Vec::new(),
        });
        folder.places.push(place);
    }
}

/// The location of a virtual directory, in lower case.
fn place_of(site: &Site, application: &Application, directory: &VirtualDirectory) -> String {
    let (application, directory) = (&application.path, &directory.path);
    let path = format!(
        "{}{}",
        application.trim_end_matches('/'),
        directory.trim_end_matches('/')
    );
    web_server::place(&site.name, &path)
}

/// The locations of all virtual directories of a site, and so of its applications.
fn places_of(site: &Site) -> BTreeSet<String> {
    let applications = site.applications.iter();
    let places = applications.flat_map(|application| {
        let directories = application.virtual_directories.iter();
        directories.map(|directory| place_of(site, application, directory))
    });
    places.collect()
}

/// The innermost of some places that a location lies at or below.
fn nearest<'p>(places: &'p BTreeSet<String>, location: &str) -> Option<&'p str> {
    let ends = location.match_indices('/').map(|(at, _)| at);
    let mut ends = ends.chain([location.len()]).rev();
    ends.find_map(|end| places.get(&location[..end]))
        .map(String::as_str)
}

/// Notes for every application which folders' web.config it reads, the outermost first: those on the way to it,
/// whether or not they have one, and those inside of it.
pub(super) fn note_chains(sites: &mut [Site], around: &[WebConfig<'_>]) {
    let files = around.iter().flat_map(|file| {
        let places = file.places.iter();
        places.map(|place| (place.as_str(), file.folder))
    });
    let mut folders: Vec<(&str, &str)> = files.filter(|(place, _)| !place.is_empty()).collect();
    folders.sort_unstable();
    for site in sites {
        let place = |path: &str| web_server::place(&site.name, path);
        let roots: BTreeMap<String, String> = site
            .applications
            .iter()
            .filter_map(|app| Some((place(&app.path), app.folder()?.to_lowercase())))
            .collect();
        let places: BTreeSet<String> = roots.keys().cloned().collect();
        let at = |location: &str| {
            let start = folders.partition_point(|(place, _)| *place < location);
            let here = folders[start..].iter();
            let here = here.take_while(move |(place, _)| *place == location);
            here.map(|(_, folder)| *folder).collect::<Vec<_>>()
        };
        for application in &mut site.applications {
            let place = place(&application.path);
            let mut chain = vec![FRAMEWORK.to_lowercase()];
            for location in web_server::locations(&place, "").iter().rev() {
                chain.extend(roots.get(location).cloned());
                chain.extend(at(location).into_iter().map(str::to_owned));
            }
            let start = format!("{place}/");
            let first = folders.partition_point(|(at, _)| *at < start.as_str());
            let inside = folders[first..].iter();
            let inside = inside.take_while(|(at, _)| at.starts_with(&start));
            let own = inside.filter(|(at, _)| nearest(&places, at) == Some(place.as_str()));
            chain.extend(own.map(|(_, folder)| (*folder).to_owned()));
            let mut seen = BTreeSet::new();
            chain.retain(|folder| seen.insert(folder.clone()));
            application.web_configs = chain;
        }
    }
}
