//! `/api/webserver/webapps`.

use serde_json::{Map, Value, json};
use sim_was::config::edit::{Act, Change, Position, Step};
use sim_was::config::view::View;

use super::application_pools;
use super::resource::{ApiError, Asked, Reply, fields_of, id, name_in};
use super::store::Store;
use super::websites::{self, SECTION, own, physical_path};

/// An application and whose it is.
pub(super) struct App {
    pub(super) site: View,
    pub(super) view: View,
}

impl App {
    pub(super) fn path(&self) -> &str {
        own(&self.view, "path")
    }

    pub(super) fn id(&self) -> String {
        id('a', &format!("{}{}", own(&self.site, "id"), self.path()))
    }

    fn href(&self) -> String {
        format!("/api/webserver/webapps/{}", self.id())
    }

    pub(super) fn reference(&self) -> Value {
        json!({"path": self.path(), "id": self.id()})
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        let entry = |key: &str, value: &str| Step::Entry(vec![(key.to_owned(), value.to_owned())]);
        vec![
            entry("name", own(&self.site, "name")),
            entry("path", self.path()),
        ]
    }

    fn object(&self, store: &Store) -> Result<Map<String, Value>, ApiError> {
        let pool = application_pools::reference(own(&self.view, "applicationPool"), store)?;
        let object = json!({
            "location": format!("{}{}", own(&self.site, "name"), self.path()),
            "path": self.path(),
            "id": self.id(),
            "physical_path": physical_path(&self.view),
            "enabled_protocols": own(&self.view, "enabledProtocols"),
            "preload_enabled": own(&self.view, "preloadEnabled") == "true",
            "website": websites::reference(&self.site, store)?,
            "application_pool": pool,
        });
        Ok(fields_of(object))
    }
}

/// The applications of the site that is asked for, or of all.
pub(super) fn apps(asked: &Asked, store: &Store) -> Result<Vec<App>, ApiError> {
    let sites = match asked.query.get("website.id") {
        Some(of) => vec![websites::find(of, store)?],
        None => websites::views(store)?,
    };
    let pool = asked.query.get("application_pool.id");
    let pool = pool.map(|of| application_pools::name_of(of)).transpose()?;
    let of_site = |site: &View| {
        let apps = site.entries("application").map(|view| App {
            site: site.clone(),
            view: view.clone(),
        });
        apps.collect::<Vec<_>>()
    };
    let is_of_pool = |app: &App| {
        let own = own(&app.view, "applicationPool");
        pool.as_deref()
            .is_none_or(|pool| own.eq_ignore_ascii_case(pool))
    };
    let apps = sites.iter().flat_map(of_site);
    Ok(apps.filter(is_of_pool).collect())
}

pub(super) fn find(of: &str, store: &Store) -> Result<App, ApiError> {
    let known = name_in('a', of).is_some();
    let mut apps = apps(&Asked::default(), store)?.into_iter();
    apps.find(|app| known && app.id() == of)
        .ok_or_else(|| ApiError::not_found("webapp"))
}

pub(super) fn answer(asked: &Asked, rest: &[String], store: &Store) -> Result<Reply, ApiError> {
    match (asked.method.as_str(), rest) {
        ("GET", []) => {
            let mut objects = Vec::new();
            for app in apps(asked, store)? {
                objects.push((app.object(store)?, app.href()));
            }
            Ok(asked.list("webapps", objects))
        }
        ("POST", []) => create(asked, store),
        (_, []) => Err(ApiError::method("GET, POST")),
        ("GET", [of]) => show(asked, 200, of, store),
        ("PATCH", [of]) => change(asked, &find(of, store)?, store),
        ("DELETE", [of]) => {
            let app = find(of, store)?;
            let keys = vec![("path".to_owned(), app.path().to_owned())];
            let site = app.steps().into_iter().take(1).collect();
            store.change(&[Change::new(SECTION, site, Act::Remove { keys })])?;
            Ok(Reply::empty(204))
        }
        (_, [_]) => Err(ApiError::method("GET, PATCH, DELETE")),
        (_, _) => Err(ApiError::not_found("webapps")),
    }
}

fn show(asked: &Asked, code: u16, of: &str, store: &Store) -> Result<Reply, ApiError> {
    let app = find(of, store)?;
    Ok(asked.object(code, app.object(store)?, &app.href()))
}

fn create(asked: &Asked, store: &Store) -> Result<Reply, ApiError> {
    let (path, folder) = (asked.required("path")?, asked.required("physical_path")?);
    let website = asked
        .relation("website")?
        .ok_or_else(|| ApiError::field("website", "is required, with its id"))?;
    let site = websites::find(website, store)?;
    let path = format!("/{}", path.trim_matches('/'));
    let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let steps = vec![Step::Entry(vec![entry("name", own(&site, "name"))])];
    let add = |attributes| Act::Add {
        attributes,
        at: Position::End,
    };
    let mut inner = steps.clone();
    inner.push(Step::Entry(vec![entry("path", &path)]));
    let root = vec![entry("path", "/"), entry("physicalPath", folder)];
    let mut changes = vec![
        Change::new(SECTION, steps, add(vec![entry("path", &path)])),
        Change::new(SECTION, inner, add(root)),
    ];
    changes.extend(settings(asked, own(&site, "name"), &path, None)?);
    store.change(&changes)?;
    show(
        asked,
        201,
        &id('a', &format!("{}{path}", own(&site, "id"))),
        store,
    )
}

fn change(asked: &Asked, app: &App, store: &Store) -> Result<Reply, ApiError> {
    asked.leaves(&app.object(store)?, &["id", "location", "website"])?;
    let site = own(&app.site, "name");
    let mut changes = settings(asked, site, app.path(), Some(&app.view))?;
    let mut of = app.id();
    // Source: microsoft/IIS.Administration, `ApplicationHelper`: an application has the path that it is given.
    if let Some(wanted) = asked.text("path")? {
        let wanted = format!("/{}", wanted.trim_matches('/'));
        if wanted != app.path() {
            if app.path() == "/" {
                let detail = "is that of the root application, which every site has";
                return Err(ApiError::field("path", detail));
            }
            changes.push(Change::application(site, app.path(), "path", &wanted));
            of = id('a', &format!("{}{wanted}", own(&app.site, "id")));
        }
    }
    if !changes.is_empty() {
        store.change(&changes)?;
    }
    show(asked, 200, &of, store)
}

/// What a body says of an application, besides whose it is; `now` is how it is.
fn settings(
    asked: &Asked,
    site: &str,
    path: &str,
    now: Option<&View>,
) -> Result<Vec<Change>, ApiError> {
    const KNOWN: [&str; 8] = [
        "path",
        "id",
        "location",
        "physical_path",
        "enabled_protocols",
        "preload_enabled",
        "website",
        "application_pool",
    ];
    let mut names = asked.body.keys();
    if let Some(unknown) = names.find(|name| !KNOWN.contains(&name.as_str())) {
        let detail = format!("unknown field; known: {}", KNOWN.join(", "));
        return Err(ApiError::field(unknown, &detail));
    }
    let mut changes = Vec::new();
    if let Some(folder) = asked.text("physical_path")?
        && now.is_some_and(|now| physical_path(now) != Some(folder))
    {
        let attribute = "physicalPath";
        let directory = Change::virtual_directory(site, path, "/", attribute, folder);
        changes.push(directory);
    }
    let preload = asked.body.get("preload_enabled");
    let preload = preload.map(|said| {
        said.as_str()
            .map_or_else(|| said.to_string(), str::to_owned)
    });
    for (attribute, wanted) in [
        (
            "enabledProtocols",
            asked.text("enabled_protocols")?.map(str::to_owned),
        ),
        ("preloadEnabled", preload),
        ("applicationPool", application_pools::wanted(asked)?),
    ] {
        let is_new = |wanted: &String| now.is_none_or(|now| own(now, attribute) != wanted);
        if let Some(wanted) = wanted.filter(is_new) {
            changes.push(Change::application(site, path, attribute, &wanted));
        }
    }
    Ok(changes)
}
