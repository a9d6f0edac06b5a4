//! What `list` finds: one row for each object, from the configuration and from the running server.

use std::cmp::Ordering;

use sim_was::config::view::{View, Views};
use sim_was::control::{Answer, Command, ObjectState, RequestInfo, WorkerProcessInfo};

use super::edits::{POOLS, SITES};
use super::grammar::{Object, Sentence};
use super::{Failure, usable, usable_section};
use crate::administration::store::Store;

/// The names of what belongs to an object, and what they are: `APPPOOL.NAME`.
///
/// Assumed: appcmd finds the sites of a worker process, and the worker processes of a site, by their pools.
pub(super) type Related = (&'static str, Vec<String>);

/// One object: its line and its properties, for filters and other outputs.
pub(super) struct Row {
    /// Source: appcmd's default text form.
    pub(super) line: String,
    /// The properties that tools see beside the configuration.
    pub(super) properties: Vec<(&'static str, String)>,
    /// What belongs to it by the applications, which a filter may give: the pools of a site.
    pub(super) related: Option<Related>,
    /// Its element of the configuration, if it has one.
    pub(super) view: Option<View>,
}

impl Row {
    /// A property, or an attribute of its element by its path.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        let mut properties = self.properties.iter();
        let found = properties.find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).or_else(|| {
            let view = self.view.as_ref()?;
            view.attribute(name)
        })
    }

    /// What belongs to it by such a name, if there is such a relation.
    pub(super) fn related(&self, name: &str) -> Option<&[String]> {
        let related = self.related.as_ref();
        let related = related.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        related.map(|(_, names)| names.as_slice())
    }

    /// Whether objects of its kind have such a property.
    pub(super) fn knows(&self, name: &str) -> bool {
        let mut properties = self.properties.iter();
        properties.any(|(known, _)| known.eq_ignore_ascii_case(name))
            || self.related(name).is_some()
            || self.view.as_ref().is_some_and(|view| view.knows(name))
    }

    /// How a property compares with a value.
    pub(super) fn compare(&self, name: &str, value: &str) -> Option<Ordering> {
        if let Some(view) = &self.view
            && view.attribute(name).is_some()
        {
            return view.compare(name, value);
        }
        let own = self.property(name)?;
        let numbers = own.parse::<u64>().ok().zip(value.parse().ok());
        Some(match numbers {
            Some((own, value)) => own.cmp(&value),
            None => own.to_lowercase().cmp(&value.to_lowercase()),
        })
    }
}

/// All objects of a kind; `by_site` if the sites of pools and worker processes are asked for.
pub(super) fn of(object: Object, store: &Store, by_site: bool) -> Result<Vec<Row>, Failure> {
    let pairs = if by_site && [Object::AppPool, Object::Wp].contains(&object) {
        pairs(store)?
    } else {
        Vec::new()
    };
    let sites_of = |pool: &str| {
        let is_it = |(_, other): &&(String, String)| other.eq_ignore_ascii_case(pool);
        let names = pairs.iter().filter(is_it).map(|(site, _)| site.clone());
        Some(("SITE.NAME", names.collect::<Vec<String>>()))
    };
    Ok(match object {
        Object::AppPool => pools(store, &sites_of)?,
        Object::Site => sites(store)?,
        Object::App => apps(store)?,
        Object::Vdir => vdirs(store)?,
        Object::Wp => workers(store, &sites_of)?,
        Object::Request => requests(store)?,
        Object::Config | Object::Module | Object::Backup => Vec::new(),
    })
}

/// Source: appcmd `/xml`: `<WP WP.NAME="1001" APPPOOL.NAME="AppPool1" />`; a worker process has no state there.
fn workers(store: &Store, sites_of: &dyn Fn(&str) -> Option<Related>) -> Result<Vec<Row>, Failure> {
    let Answer::WorkerProcesses(workers) = store.ask(&Command::ListWorkerProcesses)? else {
        return Ok(Vec::new());
    };
    let row = |wp: WorkerProcessInfo| Row {
        line: format!(
            "WP \"{}\" (applicationPool:{})",
            wp.pid, wp.application_pool
        ),
        related: sites_of(&wp.application_pool),
        properties: vec![
            ("WP.NAME", wp.pid.to_string()),
            ("APPPOOL.NAME", wp.application_pool),
        ],
        view: None,
    };
    Ok(workers.into_iter().map(row).collect())
}

fn requests(store: &Store) -> Result<Vec<Row>, Failure> {
    let Answer::Requests(requests) = store.ask(&Command::ListRequests)? else {
        return Ok(Vec::new());
    };
    let (text, name) = usable(store)?;
    let sites = Views::new(&text, &name).sites()?;
    let rows = requests
        .into_iter()
        .map(|request| request_row(request, &sites));
    Ok(rows.collect())
}

/// The name of a site and the pool of one of its applications, for each of them.
fn pairs(store: &Store) -> Result<Vec<(String, String)>, Failure> {
    let mut pairs = Vec::new();
    for site in site_views(store)? {
        let name = text_of(&site, "name");
        let pools = site.entries("application");
        pairs.extend(pools.map(|app| (name.clone(), text_of(app, "applicationPool"))));
    }
    Ok(pairs)
}

fn site_views(store: &Store) -> Result<Vec<View>, Failure> {
    let (text, name) = usable_section(store, SITES)?;
    Ok(Views::new(&text, &name).sites()?)
}

/// The number of a site as the name of a parameter: `/site.id:1`.
const SITE_ID: &str = "site.id";

/// A site may be named by its number or by one of its bindings: the server, which knows names alone, is asked by its
/// name.
pub(super) fn resolve_site(
    sentence: &mut Sentence,
    object: Object,
    store: &Store,
) -> Result<(), Failure> {
    if object != Object::Site || ["list", "add"].contains(&sentence.verb.as_str()) {
        return Ok(());
    }
    let is_id = |(name, _): &(String, Option<String>)| name.eq_ignore_ascii_case(SITE_ID);
    if sentence.identifier().is_none() {
        let at = sentence.parameters.iter().position(is_id);
        sentence.identifier = at.and_then(|at| sentence.parameters.remove(at).1);
    }
    let Some(word) = sentence.identifier() else {
        return Ok(());
    };
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    if is_number || word.contains('/') {
        let sites = site_views(store)?;
        if let Some(name) = site_called(&sites, word) {
            sentence.identifier = Some(name.to_owned());
        }
    }
    Ok(())
}

/// The name of the site with this name, or else this number, or else a binding written so.
///
/// Source: appcmd: a SITE is identified by "name or id or URL/binding".
pub(super) fn site_called<'v>(sites: &'v [View], word: &str) -> Option<&'v str> {
    let is = |attribute: &'static str| {
        let is_it = move |site: &&View| {
            let own = site.attribute(attribute);
            own.is_some_and(|own| own.eq_ignore_ascii_case(word))
        };
        sites.iter().find(is_it)
    };
    let serves = |site: &&View| bindings_of(site).split(',').any(|binding| binding == word);
    let site = is("name").or_else(|| is("id"));
    let site = site.or_else(|| sites.iter().find(serves))?;
    site.attribute("name")
}

fn text_of(view: &View, attribute: &str) -> String {
    view.attribute(attribute).unwrap_or_default().to_owned()
}

/// Source: IIS schema `rscaext.xml`; a pool or site that no server knows is Unknown.
fn state(state: Option<ObjectState>) -> &'static str {
    match state {
        Some(ObjectState::Starting) => "Starting",
        Some(ObjectState::Started) => "Started",
        Some(ObjectState::Stopping) => "Stopping",
        Some(ObjectState::Stopped) => "Stopped",
        Some(ObjectState::Unknown) | None => "Unknown",
    }
}

fn pools(store: &Store, sites_of: &dyn Fn(&str) -> Option<Related>) -> Result<Vec<Row>, Failure> {
    let (text, name) = usable_section(store, POOLS)?;
    let views = Views::new(&text, &name).pools()?;
    let answer = store.ask_if_running(&Command::ListApplicationPools)?;
    let running = if let Some(Answer::ApplicationPools(pools)) = answer {
        pools
    } else {
        Vec::new()
    };
    let row = |view: View| {
        let name = text_of(&view, "name");
        let known = running
            .iter()
            .find(|pool| pool.name.eq_ignore_ascii_case(&name));
        let state = state(known.map(|pool| pool.state));
        let version = text_of(&view, "managedRuntimeVersion");
        let mode = text_of(&view, "managedPipelineMode");
        Row {
            related: sites_of(&name),
            line: format!("APPPOOL \"{name}\" (MgdVersion:{version},MgdMode:{mode},state:{state})"),
            properties: vec![
                ("APPPOOL.NAME", name),
                ("PipelineMode", mode),
                ("RuntimeVersion", version),
                ("state", state.to_owned()),
            ],
            view: Some(view),
        }
    };
    Ok(views.into_iter().map(row).collect())
}

fn sites(store: &Store) -> Result<Vec<Row>, Failure> {
    let running = if let Some(Answer::Sites(sites)) = store.ask_if_running(&Command::ListSites)? {
        sites
    } else {
        Vec::new()
    };
    let row = |view: View| {
        let (name, id) = (text_of(&view, "name"), text_of(&view, "id"));
        let known = running
            .iter()
            .find(|site| site.name.eq_ignore_ascii_case(&name));
        let state = state(known.map(|site| site.state));
        let bindings = bindings_of(&view);
        let pools = view.entries("application");
        let pools = pools.map(|app| text_of(app, "applicationPool"));
        Row {
            related: Some(("APPPOOL.NAME", pools.collect())),
            line: format!("SITE \"{name}\" (id:{id},bindings:{bindings},state:{state})"),
            properties: vec![
                ("SITE.NAME", name),
                ("SITE.ID", id),
                ("bindings", bindings),
                ("state", state.to_owned()),
            ],
            view: Some(view),
        }
    };
    Ok(site_views(store)?.into_iter().map(row).collect())
}

/// `http/*:80:,https/*:443:`
fn bindings_of(site: &View) -> String {
    let bindings = site.child("bindings");
    let entries = bindings
        .into_iter()
        .flat_map(|bindings| bindings.entries("binding"));
    let binding = |view: &View| {
        format!(
            "{}/{}",
            text_of(view, "protocol"),
            text_of(view, "bindingInformation")
        )
    };
    entries.map(binding).collect::<Vec<String>>().join(",")
}

fn apps(store: &Store) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for site in site_views(store)? {
        let site_name = text_of(&site, "name");
        for app in site.entries("application") {
            let path = text_of(app, "path");
            let name = format!("{site_name}{path}");
            let pool = text_of(app, "applicationPool");
            rows.push(Row {
                related: None,
                line: format!("APP \"{name}\" (applicationPool:{pool})"),
                properties: vec![
                    ("path", path),
                    ("APP.NAME", name),
                    ("APPPOOL.NAME", pool),
                    ("SITE.NAME", site_name.clone()),
                ],
                view: Some(app.clone()),
            });
        }
    }
    Ok(rows)
}

fn vdirs(store: &Store) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for site in site_views(store)? {
        let site_name = text_of(&site, "name");
        for app in site.entries("application") {
            let app_name = format!("{site_name}{}", text_of(app, "path"));
            for vdir in app.entries("virtualDirectory") {
                let (path, physical) = (text_of(vdir, "path"), text_of(vdir, "physicalPath"));
                let name = format!("{}{path}", app_name.trim_end_matches('/'));
                rows.push(Row {
                    related: Some(("APPPOOL.NAME", vec![text_of(app, "applicationPool")])),
                    line: format!("VDIR \"{name}\" (physicalPath:{physical})"),
                    properties: vec![
                        ("VDIR.NAME", name),
                        ("physicalPath", physical),
                        ("path", path),
                        ("APP.NAME", app_name.clone()),
                        ("SITE.NAME", site_name.clone()),
                    ],
                    view: Some(vdir.clone()),
                });
            }
        }
    }
    Ok(rows)
}

fn request_row(info: RequestInfo, sites: &[View]) -> Row {
    let request = info.request;
    let name = format!("{:016x}", request.id.0);
    let id = request.site.0.to_string();
    let site = sites.iter().find(|site| site.attribute("id") == Some(&id));
    Row {
        related: None,
        line: format!(
            "REQUEST \"{name}\" (url:{} {}, time:{} msec, client:{}, stage:{}, module:{})",
            request.verb,
            request.url,
            request.elapsed_ms,
            request.client,
            request.stage,
            request.module
        ),
        properties: vec![
            ("REQUEST.NAME", name),
            ("WP.NAME", info.pid.to_string()),
            ("APPPOOL.NAME", info.application_pool),
            ("SITE.ID", id),
            (
                "SITE.NAME",
                site.map_or_else(String::new, |site| text_of(site, "name")),
            ),
            ("url", request.url),
            ("verb", request.verb),
            ("clientIp", request.client),
            ("stage", request.stage),
            ("module", request.module),
            ("time", request.elapsed_ms.to_string()),
        ],
        view: None,
    }
}
