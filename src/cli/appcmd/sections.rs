//! The CONFIG object: sections of the configuration, at a path of it.
//!
//! `set config "Default Web Site/shop" /section:X /a:v` writes the web.config of that folder;
//! `/commit:apphost` writes a `<location>` of applicationHost.config instead. Without a path it is
//! applicationHost.config itself.

use std::path::PathBuf;
use std::process::ExitCode;

use sim_was::config::edit::{Act, Change};
use sim_was::config::view::Views;
use sim_was::config::{load, physical_path, view};

use super::Failure;
use super::grammar::Sentence;
use super::print::element;
use crate::administration::store::{Store, change_file};

/// Where a change is committed.
enum Commit {
    /// applicationHost.config, at this location of it.
    Host(String),
    /// The web.config of a folder.
    Folder(PathBuf),
}

/// Does what is asked of the CONFIG object.
pub(super) fn run(sentence: &Sentence, store: &Store) -> Result<ExitCode, Failure> {
    match sentence.verb.as_str() {
        "list" => list(sentence, store),
        "set" => change(sentence, store, &set(sentence)?, "changed"),
        "clear" | "reset" => {
            let section = full_name(required(sentence)?)?;
            let cleared = Change::new(&section, Vec::new(), Act::DeleteElement);
            change(sentence, store, &[cleared], "cleared")
        }
        "lock" => lock(sentence, store, true),
        "unlock" => lock(sentence, store, false),
        "search" => search(sentence, store),
        verb => Err(Failure::Message(format!(
            "Command '{verb}' is not supported on CONFIG.  Run 'appcmd.exe /?' to display supported \
             commands."
        ))),
    }
}

fn required(sentence: &Sentence) -> Result<&str, Failure> {
    sentence.parameter("section").ok_or_else(|| {
        Failure::Message("Must specify the section with /section:<name>.".to_owned())
    })
}

/// `applicationPools` is short for `system.applicationHost/applicationPools`.
fn full_name(name: &str) -> Result<String, Failure> {
    view::section_name(name).ok_or_else(|| {
        Failure::Message(format!(
            "Unknown config section \"{name}\".  Replace with -? for help."
        ))
    })
}

/// The path that is meant, without slashes at its ends.
fn location(sentence: &Sentence) -> String {
    let path = sentence.identifier.as_deref().unwrap_or_default();
    path.trim_matches('/').to_owned()
}

fn list(sentence: &Sentence, store: &Store) -> Result<ExitCode, Failure> {
    let (text, name) = (store.text()?, store.name());
    let wrong = |error: sim_was::config::ConfigError| Failure::Message(error.to_string());
    let views = Views::new(&text, &name);
    let at = location(sentence);
    let mut names: Vec<String> = Vec::new();
    if let Some(section) = sentence.parameter("section") {
        names.push(full_name(section)?);
    } else {
        for (name, location) in views.written().map_err(wrong)? {
            if location.eq_ignore_ascii_case(&at) && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let all = sentence.parameter("config") == Some("*") || sentence.parameter("text") == Some("*");
    for section in &names {
        let Some(section_view) = views.section(section, &at).map_err(wrong)? else {
            continue;
        };
        let groups: Vec<&str> = section.split('/').collect();
        let groups = &groups[..groups.len() - 1];
        for (depth, group) in groups.iter().enumerate() {
            println!("{}<{group}>", "  ".repeat(depth));
        }
        let text = element(&section_view, 0, all);
        for line in text.lines() {
            println!("{}{line}", "  ".repeat(groups.len()));
        }
        for (depth, group) in groups.iter().enumerate().rev() {
            println!("{}</{group}>", "  ".repeat(depth));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Forbids or allows inner levels to have a section.
///
/// Source: published outputs of appcmd: `Unlocked section "…" at configuration path "MACHINE/WEBROOT/APPHOST".`
/// Assumed: a lock is always committed to applicationHost.config, as Microsoft's examples do.
fn lock(sentence: &Sentence, store: &Store, locked: bool) -> Result<ExitCode, Failure> {
    let section = full_name(required(sentence)?)?;
    let at = location(sentence);
    let act = Act::Lock { locked };
    store.change(&[Change::new(&section, Vec::new(), act).at(&at)])?;
    let done = if locked { "Locked" } else { "Unlocked" };
    let path = format!("MACHINE/WEBROOT/APPHOST/{at}");
    println!(
        "{done} section \"{section}\" at configuration path \"{}\".",
        path.trim_end_matches('/')
    );
    Ok(ExitCode::SUCCESS)
}

/// Where sections are written, as paths.
fn search(sentence: &Sentence, store: &Store) -> Result<ExitCode, Failure> {
    let (text, name) = (store.text()?, store.name());
    let written = Views::new(&text, &name).written();
    let written = written.map_err(|error| Failure::Message(error.to_string()))?;
    let wanted = sentence.parameter("section").map(full_name).transpose()?;
    let mut places: Vec<String> = Vec::new();
    for (section, location) in written {
        if wanted.as_ref().is_none_or(|wanted| *wanted == section) {
            let place = format!("MACHINE/WEBROOT/APPHOST/{location}");
            let place = place.trim_end_matches('/').to_owned();
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    for place in &places {
        println!("CONFIGSEARCH \"{place}\"");
    }
    Ok(if places.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn set(sentence: &Sentence) -> Result<Vec<Change>, Failure> {
    let section = full_name(required(sentence)?)?;
    let mut changes = Vec::new();
    for (name, value) in sentence.properties() {
        let sign = name.chars().next().filter(|c| ['+', '-'].contains(c));
        let path = name.trim_start_matches(['+', '-']);
        let dot = if path.starts_with('[') && sign.is_none() {
            ""
        } else {
            "."
        };
        let sign = sign.map(String::from).unwrap_or_default();
        let value = value.map(|value| format!(":{value}")).unwrap_or_default();
        changes.push(format!("{sign}{section}{dot}{path}{value}").parse::<Change>()?);
    }
    if changes.is_empty() {
        return Err(Failure::Message(
            "Nothing to set: give attributes, e.g. /enabled:true.".to_owned(),
        ));
    }
    Ok(changes)
}

/// Makes changes where they are committed.
/// Source: appcmd: `Applied configuration changes to section "…" for "…" at configuration commit path "…"`.
fn change(
    sentence: &Sentence,
    store: &Store,
    changes: &[Change],
    done: &str,
) -> Result<ExitCode, Failure> {
    let at = location(sentence);
    let section = full_name(required(sentence)?)?;
    let committed = match commit(sentence, store, &at)? {
        Commit::Host(location) => {
            let changes = changes.iter().map(|change| change.clone().at(&location));
            store.change(&changes.collect::<Vec<Change>>())?;
            "MACHINE/WEBROOT/APPHOST".to_owned()
        }
        Commit::Folder(folder) => {
            let inherit = |change: &Change| Change {
                inherits: true,
                ..change.clone()
            };
            let changes: Vec<Change> = changes.iter().map(inherit).collect();
            let file = folder.join("web.config");
            change_file(&file, &changes)?;
            format!("MACHINE/WEBROOT/APPHOST/{at}")
        }
    };
    if done == "changed" {
        let path = format!("MACHINE/WEBROOT/APPHOST/{at}");
        println!(
            "Applied configuration changes to section \"{section}\" for \"{}\" at configuration commit \
             path \"{committed}\"",
            path.trim_end_matches('/')
        );
    } else {
        println!("CONFIG object \"{section}\" {done}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Source: appcmd `/commit`: `apphost`, `site`, `app`, `url` (the default) or a path.
fn commit(sentence: &Sentence, store: &Store, at: &str) -> Result<Commit, Failure> {
    let to = sentence
        .parameter("commit")
        .unwrap_or("url")
        .to_ascii_lowercase();
    let host = || Ok(Commit::Host(at.to_owned()));
    match to.as_str() {
        _ if at.is_empty() => host(),
        "apphost" | "machine/webroot/apphost" => host(),
        "url" | "app" => Ok(Commit::Folder(folder(store, at)?)),
        "site" => {
            let site = at.split('/').next().unwrap_or(at);
            Ok(Commit::Folder(folder(store, site)?))
        }
        other => Err(Failure::Message(format!(
            "Invalid commit path \"{other}\": apphost, site, app or url are valid here."
        ))),
    }
}

/// The folder of a path such as `Default Web Site/shop/images`.
fn folder(store: &Store, at: &str) -> Result<PathBuf, Failure> {
    let (text, name) = (store.text()?, store.name());
    let configuration = load(&text, &name).map_err(|error| Failure::Message(error.to_string()))?;
    let (site_name, rest) = at
        .split_once('/')
        .map_or((at, ""), |(site, rest)| (site, rest));
    let mut sites = configuration.sites.iter();
    let site = sites.find(|site| site.name.eq_ignore_ascii_case(site_name));
    let path = format!("/{rest}");
    let mut best: Option<(usize, &str, &str)> = None;
    for app in site.iter().flat_map(|site| &site.applications) {
        for directory in &app.virtual_directories {
            let whole = format!("{}{}", app.path.trim_end_matches('/'), directory.path);
            let prefix = whole.trim_end_matches('/');
            let below = path.get(prefix.len()..).filter(|below| {
                let head = &path[..prefix.len()];
                head.eq_ignore_ascii_case(prefix) && (below.is_empty() || below.starts_with('/'))
            });
            if let Some(below) = below
                && best.is_none_or(|(length, _, _)| prefix.len() >= length)
            {
                best = Some((prefix.len(), &directory.physical_path, below));
            }
        }
    }
    let Some((length, physical, _)) = best else {
        return Err(Failure::Message(format!(
            "Cannot find SITE object with identifier \"{site_name}\"."
        )));
    };
    let folder = physical_path::to_unix(physical, store.root());
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
