//! `/commit`: the file that a change of a section goes into, and where in it.
//!
//! ```text
//! machine ─► webroot ─► apphost (its <location>s) ─► site ─► app ─► url
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use sim_httpsys::live::regular_file;
use sim_was::config::edit::Change;
use sim_was::config::view::Views;
use sim_was::config::{FRAMEWORK, decode, load_sections};
use sim_was::live::{ConfigLock, on_disk};

use super::Failure;
use super::grammar::{Object, Sentence};
use super::sections::{self, Level, level_path};
use super::url::is_below;
use crate::administration::store::{self, Store};

/// Where a change is committed.
pub(super) enum Commit {
    /// machine.config or web.config of the .NET Framework, which stands for a path, at this location of it.
    Framework {
        file: PathBuf,
        path: &'static str,
        location: String,
    },
    /// applicationHost.config, at this location of it.
    Host(String),
    /// The web.config of a folder, which stands for a path, at this location of it.
    Folder {
        folder: PathBuf,
        path: String,
        location: String,
    },
}

impl Commit {
    /// Source: appcmd `/commit`: `apphost`, `webroot`, `machine`, `site`, `app`, `parent`, `url` (the default) or a
    /// path.
    pub(super) fn of(sentence: &Sentence, store: &Store, at: &str) -> Result<Self, Failure> {
        let level = sections::level(sentence);
        let given = sentence.parameter("commit").unwrap_or("url");
        let given = given.trim_matches('/');
        let to = given.to_ascii_lowercase();
        let machine = Some(("machine.config", "MACHINE"));
        let webroot = Some(("web.config", "MACHINE/WEBROOT"));
        let framework = match (to.as_str(), level) {
            ("machine", _) | ("url", Some(Level::Machine)) | ("parent", Some(Level::WebRoot)) => {
                machine
            }
            ("webroot" | "machine/webroot", None | Some(Level::WebRoot))
            | ("url", Some(Level::WebRoot)) => webroot,
            // Source: the levels of IIS's configuration: WEBROOT is above applicationHost.config.
            ("parent", None) if at.is_empty() => webroot,
            (_, Some(_)) => return Err(invalid(given, &level_path(level, at))),
            (_, None) => None,
        };
        if let Some((name, path)) = framework {
            let folder = on_disk(FRAMEWORK, store.root());
            return Ok(Self::Framework {
                file: folder.join(name),
                path,
                location: at.to_owned(),
            });
        }
        let length = match to.as_str() {
            "apphost" => 0,
            "url" => at.len(),
            "site" => at.find('/').unwrap_or(at.len()),
            "parent" => at.rfind('/').unwrap_or(0),
            "app" if at.is_empty() => 0,
            "app" => application(store, at)?,
            _ => {
                let path = sections::below_host(given);
                if !path.is_empty() && !is_below(at, path) {
                    return Err(invalid(given, &level_path(None, at)));
                }
                path.len()
            }
        };
        let (path, location) = at.split_at(length);
        if path.is_empty() {
            return Ok(Self::Host(at.to_owned()));
        }
        Ok(Self::Folder {
            folder: folder(store, path)?,
            path: path.to_owned(),
            location: location.trim_matches('/').to_owned(),
        })
    }

    /// The web.config of a folder.
    pub(super) fn web_config(folder: &Path) -> PathBuf {
        folder.join("web.config")
    }

    /// Lets nobody else change the file, if it is not applicationHost.config, for which the store or the server sees to
    /// that.
    pub(super) fn lock(&self) -> Result<Option<ConfigLock>, Failure> {
        Ok(match self {
            Self::Host(_) => None,
            Self::Framework { file, .. } => {
                make_folder(file)?;
                store::lock_of(file)
            }
            Self::Folder { folder, .. } => store::lock_of(&Self::web_config(folder)),
        })
    }

    /// What the file says now; `host` is what applicationHost.config says.
    pub(super) fn text(&self, host: &str) -> Result<String, Failure> {
        let file = match self {
            Self::Host(_) => return Ok(host.to_owned()),
            Self::Framework { file, .. } => file.clone(),
            Self::Folder { folder, .. } => Self::web_config(folder),
        };
        let bytes = regular_file::read(&file).unwrap_or_else(|_| b"<configuration />".to_vec());
        Ok(decode(&bytes, &file.display().to_string())?.into_owned())
    }

    /// The configuration as far as the file sees it, if it has this text.
    pub(super) fn effective<'t>(&self, views: &'t Views<'_>, text: &'t str) -> Views<'t> {
        match self {
            // Assumed: what machine.config says is seldom changed by the web.config beside it.
            Self::Framework { path, .. } => Views::new(text, path),
            Self::Host(_) => views.committed("", text),
            Self::Folder { path, .. } => views.committed(path, text),
        }
    }

    /// A change as it is made in the file.
    pub(super) fn placed(&self, change: &Change) -> Change {
        match self {
            Self::Host(location) => change.clone().at(location),
            Self::Framework { location, .. } | Self::Folder { location, .. } => Change {
                inherits: true,
                ..change.clone().at(location)
            },
        }
    }
}

fn invalid(to: &str, at: &str) -> Failure {
    Failure::Message(format!(
        "Invalid commit path \"{to}\": apphost, site, app, parent, url, webroot, machine, or a configuration path at or \
         above \"{at}\" are valid here."
    ))
}

/// Makes the folder of a file, where the .NET Framework has none yet.
fn make_folder(file: &Path) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder).map_err(|source| store::at(folder, source).into())
}

/// How much of a path is that of its application.
pub(super) fn application(store: &Store, at: &str) -> Result<usize, Failure> {
    let (text, name) = (store.text()?, store.name());
    let configuration = load_sections(&text, &name)?;
    let site_name = at.split('/').next().unwrap_or(at);
    let mut sites = configuration.sites.iter();
    let site = sites.find(|site| site.name.eq_ignore_ascii_case(site_name));
    let path = &at[site_name.len()..];
    let lengths = site.into_iter().flat_map(|site| &site.applications);
    let lengths = lengths.map(|app| app.path.trim_end_matches('/'));
    let lengths = lengths.filter(|app| is_below(path, app)).map(str::len);
    Ok(site_name.len() + lengths.max().unwrap_or(0))
}

/// The folder of a path such as `Default Web Site/shop/images`.
fn folder(store: &Store, at: &str) -> Result<PathBuf, Failure> {
    let (text, name) = (store.text()?, store.name());
    let configuration = load_sections(&text, &name)?;
    let (site_name, rest) = at
        .split_once('/')
        .map_or((at, ""), |(site, rest)| (site, rest));
    let mut sites = configuration.sites.iter();
    let site = sites.find(|site| site.name.eq_ignore_ascii_case(site_name));
    let path = format!("/{rest}");
    let mut best: Option<(usize, &str)> = None;
    for app in site.iter().flat_map(|site| &site.applications) {
        for directory in &app.virtual_directories {
            let whole = format!("{}{}", app.path.trim_end_matches('/'), directory.path);
            let prefix = whole.trim_end_matches('/');
            let is_deeper = best.is_none_or(|(length, _)| prefix.len() >= length);
            if is_deeper && is_below(&path, prefix) {
                best = Some((prefix.len(), &directory.physical_path));
            }
        }
    }
    let Some((length, physical)) = best else {
        return Err(Failure::NotFound {
            object: Object::Site,
            identifier: site_name.to_owned(),
        });
    };
    let folder = on_disk(physical, store.root());
    let below = path[length..].trim_matches('/');
    let folder = if below.is_empty() {
        folder
    } else if below.split('/').any(|part| part == "..") {
        return Err(Failure::Message(format!("\"{at}\" is no path of a site.")));
    } else {
        folder.join(below)
    };
    if !folder.is_dir() {
        return Err(Failure::Message(format!(
            "There is no folder {} for \"{at}\".",
            folder.display()
        )));
    }
    Ok(folder)
}
