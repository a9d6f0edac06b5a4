//! The files around applicationHost.config: machine.config and web.config of the .NET Framework, and the
//! web.config of every application, whose sections lie over those of applicationHost.config.
//!
//! ```text
//! MACHINE ─► WEBROOT ─► APPHOST (its <location>s) ─► site/web.config ─► site/app/web.config
//! ```
//!
//! What is wrong with one of them stops nobody but the applications that read it: their requests get
//! 500.19. Left out: web.config files in folders that are no application.

use std::collections::{BTreeMap, BTreeSet};

use roxmltree::Document;

use super::raw::{self, ConfigError};
use super::settings::Scope;
use super::{Configuration, Site, resolve};

/// Where the .NET Framework keeps machine.config and its web.config.
pub(super) const FRAMEWORK: &str = r"%SystemRoot%\Microsoft.NET\Framework64\v4.0.30319\Config";

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

/// The files around an applicationHost.config, the outermost first.
#[derive(Clone, Debug, Default)]
pub struct Around(Vec<Found>);

/// One of them: its folder, the locations that it is for in lower case, and itself.
type Found = (String, Vec<String>, FoundFile);

impl Around {
    /// Those of some sites; `read` gets a Windows path.
    pub fn find(sites: &[Site], read: &mut dyn FnMut(&str) -> Option<FoundFile>) -> Self {
        let mut files = Vec::new();
        for (folder, Folder { written, places }) in folders(sites) {
            let names: &[&str] = if folder == FRAMEWORK.to_lowercase() {
                &["machine.config", "web.config"]
            } else {
                &["web.config"]
            };
            for name in names {
                if let Some(file) = read(&format!("{written}\\{name}")) {
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

/// Reads applicationHost.config from its bytes, and through `read` the files around it; `read` gets a
/// Windows path.
pub fn load_tree(
    bytes: &[u8],
    file_name: &str,
    read: &mut dyn FnMut(&str) -> Option<FoundFile>,
) -> Result<Configuration, ConfigError> {
    let text = raw::decode(bytes, file_name)?;
    let alone = resolve::load(&text, file_name)?;
    let around = Around::find(&alone.sites, read);
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

/// The folders that may have such files, by their names in lower case.
fn folders(sites: &[Site]) -> BTreeMap<String, Folder> {
    let folder = |written: &str| Folder {
        written: written.to_owned(),
        places: Vec::new(),
    };
    let mut framework = folder(FRAMEWORK);
    framework.places.push(String::new());
    let mut folders = BTreeMap::from([(FRAMEWORK.to_lowercase(), framework)]);
    for site in sites {
        for application in &site.applications {
            if let Some(written) = application.folder() {
                let place = format!("{}{}", site.name, application.path.trim_end_matches('/'));
                let known = folders.entry(written.to_lowercase());
                let known = known.or_insert_with(|| folder(written));
                known.places.push(place.to_lowercase());
            }
        }
    }
    folders
}

/// Notes for every application which folders' web.config it reads, the outermost first.
pub(super) fn note_chains(sites: &mut [Site]) {
    for site in sites {
        let by_path: BTreeMap<String, String> = site
            .applications
            .iter()
            .filter_map(|app| {
                Some((
                    app.path.trim_end_matches('/').to_lowercase(),
                    app.folder()?.to_lowercase(),
                ))
            })
            .collect();
        for application in &mut site.applications {
            let path = application.path.trim_end_matches('/').to_lowercase();
            let mut chain = vec![FRAMEWORK.to_lowercase()];
            let ends: BTreeSet<usize> = path
                .match_indices('/')
                .map(|(at, _)| at)
                .chain([path.len()])
                .collect();
            chain.extend(
                ends.into_iter()
                    .filter_map(|end| by_path.get(&path[..end]).cloned()),
            );
            application.web_configs = chain;
        }
    }
}
