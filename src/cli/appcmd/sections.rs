//! The CONFIG object: sections of the configuration, at a path of it.
//!
//! `set config "Default Web Site/shop" /section:X /a:v` writes the web.config of that folder;
//! `/commit:apphost` writes a `<location>` of applicationHost.config instead. Without a path it is
//! applicationHost.config itself.

use std::fmt::Write;
use std::process::ExitCode;

use sim_was::config::edit::{Act, Change, localized};
use sim_was::config::view::Views;
use sim_was::config::{AllowDefinition, Around, FoundFile, SECTION_LOCKED, load_sections};
use sim_was::live::LocalDisk;

use super::commit::{self, Commit};
use super::grammar::{Object, Sentence, is_change};
use super::print::{attribute, element, properties};
use super::url::is_below;
use super::{Failure, parameters};
use crate::administration::store::{Store, changed_file, replace_file};

/// The path of the server in output lines.
pub(super) const HOST: &str = "MACHINE/WEBROOT/APPHOST";

/// Does what is asked of the CONFIG object.
pub(super) fn run(sentence: &Sentence, store: &Store) -> Result<ExitCode, Failure> {
    let files = Files::of(store)?;
    if sentence.parameter("section") == Some("?") {
        for name in files.views().section_names()? {
            println!("{name}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    files.require_site(&location(sentence))?;
    match sentence.verb.as_str() {
        "list" => with_views(sentence, (store, &files), |views| {
            list(sentence, &files, views)
        }),
        "set" => {
            let section = files.required(sentence)?;
            let changes = match &sentence.template {
                Some(template) => {
                    let at = location(sentence);
                    let commit = Commit::of(sentence, store, &at)?;
                    let (views, text) = (files.views(), commit.text(&files.text)?);
                    let now = commit.effective(&views, &text).section(&section, &at)?;
                    template.differences(&section, &[], now.as_ref())
                }
                None => set(sentence, &section)?,
            };
            change(sentence, (store, &files), (&section, &changes), "changed")
        }
        "clear" | "reset" => {
            let section = files.required(sentence)?;
            let cleared = Change::new(&section, Vec::new(), Act::DeleteElement);
            change(sentence, (store, &files), (&section, &[cleared]), "cleared")
        }
        "lock" => lock(sentence, store, &files.required(sentence)?, true),
        "unlock" => lock(sentence, store, &files.required(sentence)?, false),
        "search" => search(sentence, &files),
        verb => Err(Failure::Message(format!(
            "Command '{verb}' is not supported on CONFIG.  Run 'appcmd.exe /?' to display supported \
             commands."
        ))),
    }
}

/// applicationHost.config and the files around it.
pub(super) struct Files {
    text: String,
    name: String,
    around: Around,
    /// The names of the sites.
    sites: Vec<String>,
    /// The applications and virtual directories as paths, as the file spells them.
    paths: Vec<String>,
}

impl Files {
    pub(super) fn of(store: &Store) -> Result<Self, Failure> {
        let (text, name) = (store.text()?, store.name());
        let sites = load_sections(&text, &name)?.sites;
        let around = Around::find(&sites, &mut LocalDisk(store.root()));
        let paths_of = |site: &sim_was::config::Site| {
            let below = |above: &str, path: &str| format!("{above}{}", path.trim_end_matches('/'));
            let paths = site.applications.iter().flat_map(|app| {
                let application = below(&site.name, &app.path);
                let directories = app.virtual_directories.iter();
                let directories = directories.map(|directory| below(&application, &directory.path));
                directories.chain([application.clone()]).collect::<Vec<_>>()
            });
            paths.collect::<Vec<String>>()
        };
        let paths = sites.iter().flat_map(paths_of).collect();
        let sites = sites.into_iter().map(|site| site.name).collect();
        Ok(Self {
            text,
            name,
            around,
            sites,
            paths,
        })
    }

    /// A location as the file spells the innermost application or virtual directory that it lies in.
    fn spelled(&self, location: &str) -> String {
        let below = |path: &&String| {
            let rest = location.get(path.len()..)?;
            let is_in = rest.is_empty() || rest.starts_with('/');
            (is_in && location[..path.len()].to_lowercase() == path.to_lowercase()).then_some(rest)
        };
        let around = self.paths.iter().filter(|path| below(path).is_some());
        let around = around.max_by_key(|path| path.len());
        around.map_or_else(
            || location.to_owned(),
            |path| format!("{path}{}", &location[path.len()..]),
        )
    }

    pub(super) fn views(&self) -> Views<'_> {
        Views::new(&self.text, &self.name).with(self.around.clone())
    }

    /// A path begins with the name of a site; what lies below the site need not be there.
    fn require_site(&self, path: &str) -> Result<(), Failure> {
        let name = path.split('/').next().unwrap_or_default();
        let is_it = |site: &String| site.eq_ignore_ascii_case(name);
        if path.is_empty() || self.sites.iter().any(is_it) {
            return Ok(());
        }
        let is_url = path.contains("://");
        Err(Failure::NotFound {
            object: Object::Site,
            identifier: if is_url { path } else { name }.to_owned(),
        })
    }

    /// The full name of the section that a command needs: `applicationPools` is short for
    /// `system.applicationHost/applicationPools`.
    fn required(&self, sentence: &Sentence) -> Result<String, Failure> {
        let name = self.section(sentence)?;
        name.ok_or_else(|| {
            let text =
                "Must specify the section with /section:<name>; /section:? lists all there are.";
            Failure::Message(text.to_owned())
        })
    }

    fn section(&self, sentence: &Sentence) -> Result<Option<String>, Failure> {
        let Some(name) = sentence.parameter("section") else {
            return Ok(None);
        };
        let full = self.views().section_name(name)?;
        full.map(Some).ok_or_else(|| unknown_section(name))
    }
}

fn unknown_section(name: &str) -> Failure {
    Failure::Message(format!(
        "Unknown config section \"{name}\".  Replace with -? for help."
    ))
}

/// What lies above applicationHost.config: the files of the .NET Framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// machine.config.
    Machine,
    /// Its web.config.
    WebRoot,
}

/// The level above applicationHost.config that a sentence is about, if it is about one.
pub(super) fn level(sentence: &Sentence) -> Option<Level> {
    let path = sentence.identifier.as_deref()?.trim_matches('/');
    match path.to_ascii_uppercase().as_str() {
        "MACHINE" => Some(Level::Machine),
        "MACHINE/WEBROOT" => Some(Level::WebRoot),
        _ => None,
    }
}

/// What lies below the server's own path, if a path begins with it, without slashes at its ends.
pub(super) fn below_host(path: &str) -> &str {
    let path = path.trim_matches('/');
    if is_below(path, HOST) {
        path[HOST.len()..].trim_matches('/')
    } else {
        path
    }
}

/// The path that is meant, without slashes at its ends; it is empty for the server and what lies above it.
fn location(sentence: &Sentence) -> String {
    if level(sentence).is_some() {
        return String::new();
    }
    let path = sentence.identifier.as_deref().unwrap_or_default();
    below_host(path).to_owned()
}

/// The path of a level or, without one, of a place, as output lines give it.
pub(super) fn level_path(level: Option<Level>, at: &str) -> String {
    match level {
        Some(Level::Machine) => "MACHINE".to_owned(),
        Some(Level::WebRoot) => "MACHINE/WEBROOT".to_owned(),
        None => machine_path(at),
    }
}

/// A path as output lines give it.
pub(super) fn machine_path(at: &str) -> String {
    format!("{HOST}/{at}").trim_end_matches('/').to_owned()
}

/// Lists what several sentences ask for as one document.
pub(super) fn list_as_xml(sentences: &[Sentence], store: &Store) -> Result<ExitCode, Failure> {
    let files = Files::of(store)?;
    let mut content = String::new();
    for sentence in sentences {
        parameters::check(sentence, Object::Config)?;
        files.require_site(&location(sentence))?;
        content += &with_views(sentence, (store, &files), |views| {
            xml(sentence, views, &names(sentence, &files, views)?)
        })?;
    }
    print!("{}", document(&content));
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration as far as the level of a sentence sees it.
fn with_views<T>(
    sentence: &Sentence,
    (store, files): (&Store, &Files),
    read: impl FnOnce(&Views<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let views = files.views();
    let Some(level) = level(sentence) else {
        return read(&views);
    };
    // Assumed: applicationHost.config declares these sections, so the files above it do not know them.
    let section = files.section(sentence)?;
    if let Some(name) = section.filter(|name| name.starts_with("system.webServer/")) {
        return Err(unknown_section(&name));
    }
    let text = Commit::of(sentence, store, "")?.text("")?;
    let path = level_path(Some(level), "");
    match level {
        Level::Machine => read(&Views::new(&text, &path)),
        Level::WebRoot => read(&views.web_root(&text, &path)),
    }
}

/// The sections that are to be listed; all of them can be used.
fn names(sentence: &Sentence, files: &Files, views: &Views<'_>) -> Result<Vec<String>, Failure> {
    let at = location(sentence);
    let mut names: Vec<String> = Vec::new();
    if let Some(section) = files.section(sentence)? {
        names.push(section);
    } else {
        for (name, location) in views.written()? {
            if location.eq_ignore_ascii_case(&at) && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    for section in &names {
        if let Some(fault) = views.mistake(section, &at)?.or(views.fault(section, &at)?) {
            return Err(unusable(&fault.file, fault.line, &fault.text));
        }
    }
    Ok(names)
}

fn list(sentence: &Sentence, files: &Files, views: &Views<'_>) -> Result<ExitCode, Failure> {
    let (at, names) = (location(sentence), names(sentence, files, views)?);
    let all = sentence.parameter("config") == Some("*");
    if let Some(wanted) = sentence.parameter("text") {
        for section in &names {
            let Some(view) = views.section(section, &at)? else {
                continue;
            };
            if wanted == "*" {
                print!("CONFIG\n{}", properties(&view));
            } else {
                println!("{}", view.attribute(wanted).unwrap_or_default());
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    if sentence.has("xml") {
        print!("{}", document(&xml(sentence, views, &names)?));
        return Ok(ExitCode::SUCCESS);
    }
    for section in &names {
        let groups: Vec<&str> = section.split('/').collect();
        let (name, groups) = groups.split_last().unwrap_or((&"", &[]));
        let found = views.section(section, &at)?;
        for (depth, group) in groups.iter().enumerate() {
            println!("{}<{group}>", "  ".repeat(depth));
        }
        let text = found.map_or_else(|| format!("<{name} />"), |view| element(&view, 0, all));
        for line in text.lines() {
            println!("{}{line}", "  ".repeat(groups.len()));
        }
        for (depth, group) in groups.iter().enumerate().rev() {
            println!("{}</{group}>", "  ".repeat(depth));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Sections for another appcmd's `/in`.
///
/// Source: appcmd: `<CONFIG CONFIG.SECTION="…" path="MACHINE/WEBROOT/APPHOST" …>`, the section in it. Assumed: its
/// element is called by its whole name, with a dash for the slash.
fn xml(sentence: &Sentence, views: &Views<'_>, names: &[String]) -> Result<String, Failure> {
    let at = &location(sentence);
    let path = &level_path(level(sentence), at);
    let all = sentence.parameter("config") == Some("*");
    let mut text = String::new();
    for section in names {
        let attributes = [
            attribute("CONFIG.SECTION", section),
            attribute("path", path),
        ];
        let name = section.replace('/', "-");
        let content = match views.section(section, at)? {
            Some(mut view) => {
                view.name = name;
                element(&view, 4, all)
            }
            None => format!("        <{name} />\n"),
        };
        let attributes = attributes.concat();
        let _ = writeln!(text, "    <CONFIG{attributes}>\n{content}    </CONFIG>");
    }
    Ok(text)
}

/// What another appcmd reads with `/in`.
fn document(content: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<appcmd>\n{content}</appcmd>\n")
}

/// Forbids or allows inner levels to have a section.
///
/// Source: published outputs of appcmd: `Unlocked section "…" at configuration path "MACHINE/WEBROOT/APPHOST".`
/// Assumed: a lock is always committed to applicationHost.config, as Microsoft's examples do.
fn lock(
    sentence: &Sentence,
    store: &Store,
    section: &str,
    locked: bool,
) -> Result<ExitCode, Failure> {
    if let Some(level) = level(sentence) {
        return Err(Failure::Message(format!(
            "A section cannot be locked or unlocked at \"{}\": give {HOST} or a path below it.",
            level_path(Some(level), "")
        )));
    }
    let commit = sentence.parameter("commit");
    let is_host = |to: &str| ["", "apphost"].contains(&&*below_host(to).to_ascii_lowercase());
    if let Some(to) = commit.filter(|to| !is_host(to)) {
        return Err(Failure::Message(format!(
            "Invalid commit path \"{to}\": a lock is committed to applicationHost.config, /commit:apphost."
        )));
    }
    let at = location(sentence);
    let act = Act::Lock { locked };
    store.change(&[Change::new(section, Vec::new(), act).at(&at)])?;
    let done = if locked { "Locked" } else { "Unlocked" };
    println!(
        "{done} section \"{section}\" at configuration path \"{}\".",
        machine_path(&at)
    );
    Ok(ExitCode::SUCCESS)
}

/// Where sections are written, as paths: at a path and below it, with the properties that are asked for.
fn search(sentence: &Sentence, files: &Files) -> Result<ExitCode, Failure> {
    let views = files.views();
    let wanted = files.section(sentence)?;
    let at = location(sentence).to_lowercase();
    let mut places: Vec<String> = Vec::new();
    let written = views.written()?;
    let wanted_here = wanted.iter().map(|section| (section.as_str(), ""));
    let is_wanted = |section: &str| wanted.as_ref().is_none_or(|wanted| wanted == section);
    let places_of = written.iter().filter(|(section, _)| is_wanted(section));
    let places_of = places_of.map(|(section, location)| (section.as_str(), location.as_str()));
    let looked_at: Vec<(&str, &str)> = wanted_here.chain(places_of).collect();
    for (name, _) in sentence.properties() {
        let is_known = |(section, location): &(&str, &str)| {
            let view = views.section(section, location);
            let view = view.ok().flatten();
            let may_have_any = || wanted.is_some();
            view.map_or_else(may_have_any, |view| {
                view.knows(name) || !view.has_schema() && may_have_any()
            })
        };
        if !name.contains('[') && !looked_at.iter().any(is_known) {
            return Err(parameters::unknown(name));
        }
    }
    for (section, location) in &written {
        let below = location.to_lowercase();
        let below = below.strip_prefix(&at).unwrap_or("-");
        let is_here = at.is_empty() || below.is_empty() || below.starts_with('/');
        if !is_here || wanted.as_ref().is_some_and(|wanted| wanted != section) {
            continue;
        }
        let view = views.section(section, location)?;
        let writes = |(path, value): (&str, Option<&str>)| {
            let written = view.as_ref().and_then(|view| view.written(path));
            written.is_some_and(|own| value.is_none_or(|value| own.eq_ignore_ascii_case(value)))
        };
        let place = machine_path(&files.spelled(location));
        if sentence.properties().all(writes) && !places.contains(&place) {
            places.push(place);
        }
    }
    if sentence.has("xml") {
        print!("{}", found_as_xml(&places, wanted.as_deref()));
        return Ok(ExitCode::SUCCESS);
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

/// What was found, for another appcmd's `/in`.
/// Assumed: the attributes are those of `list config`; the section is there if one was asked for.
fn found_as_xml(places: &[String], section: Option<&str>) -> String {
    let section = section.map(|section| attribute("CONFIG.SECTION", section));
    let section = section.unwrap_or_default();
    let line = |place: &String| {
        let path = attribute("path", place);
        format!("    <CONFIGSEARCH{section}{path} />\n")
    };
    let lines: String = places.iter().map(line).collect();
    document(&lines)
}

fn set(sentence: &Sentence, section: &str) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    for (name, value) in sentence.properties() {
        is_change(name, value).map_err(Failure::Message)?;
        let value = value.map(|value| format!(":{value}")).unwrap_or_default();
        changes.push(Change::within(section, &format!("{name}{value}"))?);
    }
    if changes.is_empty() {
        return Err(Failure::Message(
            "Nothing to set: give attributes, e.g. /enabled:true.".to_owned(),
        ));
    }
    Ok(changes)
}

/// Source: appcmd: `Applied configuration changes to section "…" for "…" at configuration commit path "…"`.
fn change(
    sentence: &Sentence,
    (store, files): (&Store, &Files),
    (section, changes): (&str, &[Change]),
    done: &str,
) -> Result<ExitCode, Failure> {
    let at = location(sentence);
    let commit = Commit::of(sentence, store, &at)?;
    let sets = !changes.is_empty() && done == "changed";
    if sets && !is_allowed(section, (store, &files.views()), &commit, &at)? {
        return Err(unusable(&store.name(), 0, SECTION_LOCKED));
    }
    let committed = make(&commit, (store, files), (section, changes), &at)?;
    if done == "changed" {
        println!(
            "Applied configuration changes to section \"{section}\" for \"{}\" at configuration commit \
             path \"{committed}\"",
            level_path(level(sentence), &at)
        );
    } else {
        println!("CONFIG object \"{section}\" {done}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes changes of a section for a path where they are committed; gives the path that this file stands for.
pub(super) fn make(
    commit: &Commit,
    (store, files): (&Store, &Files),
    (section, changes): (&str, &[Change]),
    at: &str,
) -> Result<String, Failure> {
    let _lock = commit.lock()?;
    let (views, text) = (files.views(), commit.text(&files.text)?);
    if let Some(fault) = views.mistake(section, at)? {
        return Err(unusable(&fault.file, fault.line, &fault.text));
    }
    // Assumed: applicationHost.config declares these sections, so the files above it do not know them.
    if matches!(commit, Commit::Framework { .. }) && section.starts_with("system.webServer/") {
        return Err(unknown_section(section));
    }
    // What lies below the file is nothing to it.
    let effective = |text: &str| commit.effective(&views, text).section(section, at);
    let of_file: Vec<Change> = changes.iter().map(|change| commit.placed(change)).collect();
    let of_file = localized(&text, &of_file, &effective)?;
    Ok(match commit {
        // What was piped in is in effect as it is.
        _ if changes.is_empty() => machine_path(at),
        Commit::Host(_) => {
            store.change(&of_file)?;
            HOST.to_owned()
        }
        Commit::Framework { file, path, .. } => {
            let bytes = changed_file(file, &of_file)?;
            replace_file(file, &bytes)?;
            store.has_changed(file, &of_file);
            (*path).to_owned()
        }
        Commit::Folder { folder, path, .. } => {
            let file = Commit::web_config(folder);
            let name = file.display().to_string();
            let bytes = changed_file(&file, &of_file)?;
            let written = FoundFile {
                name,
                bytes: Ok(bytes.clone()),
                modified: 0,
            };
            // The line is one of a file that nobody will see.
            if let Some(fault) = views.refusal(path, written)? {
                return Err(unusable(&fault.file, 0, &fault.text));
            }
            replace_file(&file, &bytes)?;
            store.has_changed(&file, &of_file);
            machine_path(path)
        }
    })
}

/// Whether a section may be written there at all, whatever is locked.
/// Assumed: where it may not, appcmd says of it what it says of a locked section.
fn is_allowed(
    section: &str,
    (store, views): (&Store, &Views<'_>),
    commit: &Commit,
    at: &str,
) -> Result<bool, Failure> {
    let is_elsewhere = match commit {
        Commit::Host(location) => !location.is_empty(),
        Commit::Framework { .. } => true,
        // That is found out when the file is looked at.
        Commit::Folder { .. } => false,
    };
    if is_elsewhere && views.is_host_only(section)? {
        return Ok(false);
    }
    let framework = match commit {
        Commit::Framework { path, .. } if at.is_empty() => Some(*path),
        Commit::Framework { .. } | Commit::Host(_) | Commit::Folder { .. } => None,
    };
    Ok(match views.allow_definition(section)? {
        AllowDefinition::Everywhere => true,
        AllowDefinition::MachineToApplication => commit::application(store, at)? == at.len(),
        AllowDefinition::MachineToWebRoot => framework.is_some(),
        AllowDefinition::MachineOnly => framework == Some("MACHINE"),
    })
}

/// Why a section cannot be used.
fn unusable(file: &str, line: u32, text: &str) -> Failure {
    // A fault names the section before what IIS says.
    let text = if text.ends_with(SECTION_LOCKED) {
        SECTION_LOCKED
    } else {
        text
    };
    Failure::configuration(file, line, text)
}
