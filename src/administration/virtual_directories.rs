//! `/api/webserver/virtual-directories`.

use serde_json::{Map, Value, json};
use sim_was::config::edit::{Act, Change, Position, Step};
use sim_was::config::view::View;

use super::resource::{ApiError, Asked, Reply, fields_of, id};
use super::store::Store;
use super::webapps::{self, App};
use super::websites::{self, SECTION, own};

/// A virtual directory and whose it is.
struct Directory {
    app: App,
    view: View,
}

impl Directory {
    fn path(&self) -> &str {
        own(&self.view, "path")
    }

    fn id(&self) -> String {
        id_of(&self.app, self.path())
    }

    fn href(&self) -> String {
        format!("/api/webserver/virtual-directories/{}", self.id())
    }

    fn object(&self, store: &Store) -> Result<Map<String, Value>, ApiError> {
        let site = own(&self.app.site, "name");
        let above = self.app.path().trim_end_matches('/');
        let object = json!({
            "location": format!("{site}{above}{}", self.path()),
            "path": self.path(),
            "id": self.id(),
            "physical_path": own(&self.view, "physicalPath"),
            "webapp": self.app.reference(),
            "website": websites::reference(&self.app.site, store)?,
        });
        Ok(fields_of(object))
    }
}

fn id_of(app: &App, path: &str) -> String {
    id(
        'v',
        &format!("{}{}|{path}", own(&app.site, "id"), app.path()),
    )
}

/// The virtual directories of the application or site that is asked for, or of all.
fn directories(asked: &Asked, store: &Store) -> Result<Vec<Directory>, ApiError> {
    let webapp = asked.query.get("webapp.id");
    let mut all = Vec::new();
    for app in webapps::apps(asked, store)? {
        if webapp.is_some_and(|of| *of != app.id()) {
            continue;
        }
        for view in app.view.entries("virtualDirectory") {
            let (site, of) = (app.site.clone(), app.view.clone());
            all.push(Directory {
                app: App { site, view: of },
                view: view.clone(),
            });
        }
    }
    Ok(all)
}

fn find(of: &str, store: &Store) -> Result<Directory, ApiError> {
    let mut all = directories(&Asked::default(), store)?.into_iter();
    all.find(|directory| directory.id() == of)
        .ok_or_else(|| ApiError::not_found("virtual_directory"))
}

pub(super) fn answer(asked: &Asked, rest: &[String], store: &Store) -> Result<Reply, ApiError> {
    match (asked.method.as_str(), rest) {
        ("GET", []) => {
            let mut objects = Vec::new();
            for directory in directories(asked, store)? {
                objects.push((directory.object(store)?, directory.href()));
            }
            Ok(asked.list("virtual_directories", objects))
        }
        ("POST", []) => create(asked, store),
        (_, []) => Err(ApiError::method("GET, POST")),
        ("GET", [of]) => show(asked, 200, of, store),
        ("PATCH", [of]) => change(asked, &find(of, store)?, store),
        ("DELETE", [of]) => {
            let directory = find(of, store)?;
            refuse_root(&directory)?;
            let keys = vec![("path".to_owned(), directory.path().to_owned())];
            let remove = Change::new(SECTION, directory.app.steps(), Act::Remove { keys });
            store.change(&[remove])?;
            Ok(Reply::empty(204))
        }
        (_, [_]) => Err(ApiError::method("GET, PATCH, DELETE")),
        (_, _) => Err(ApiError::not_found("virtual-directories")),
    }
}

fn show(asked: &Asked, code: u16, of: &str, store: &Store) -> Result<Reply, ApiError> {
    let directory = find(of, store)?;
    Ok(asked.object(code, directory.object(store)?, &directory.href()))
}

fn create(asked: &Asked, store: &Store) -> Result<Reply, ApiError> {
    check(asked)?;
    let (path, folder) = (asked.required("path")?, asked.required("physical_path")?);
    let path = format!("/{}", path.trim_matches('/'));
    let app = match (asked.relation("webapp")?, asked.relation("website")?) {
        (Some(webapp), _) => webapps::find(webapp, store)?,
        (None, Some(website)) => root_of(website, store)?,
        (None, None) => {
            let detail = "is required, with its id, or website for its root application";
            return Err(ApiError::field("webapp", detail));
        }
    };
    let add = Act::Add {
        attributes: vec![
            ("path".to_owned(), path.clone()),
            ("physicalPath".to_owned(), folder.to_owned()),
        ],
        at: Position::End,
    };
    store.change(&[Change::new(SECTION, app.steps(), add)])?;
    show(asked, 201, &id_of(&app, &path), store)
}

/// The root application of a site.
fn root_of(website: &str, store: &Store) -> Result<App, ApiError> {
    let mut of_site = Asked::default();
    of_site
        .query
        .insert("website.id".to_owned(), website.to_owned());
    let mut apps = webapps::apps(&of_site, store)?.into_iter();
    apps.find(|app| app.path() == "/")
        .ok_or_else(|| ApiError::field("website", "has no root application"))
}

fn change(asked: &Asked, directory: &Directory, store: &Store) -> Result<Reply, ApiError> {
    check(asked)?;
    asked.leaves(
        &directory.object(store)?,
        &["id", "location", "webapp", "website"],
    )?;
    let mut steps = directory.app.steps();
    let keys = vec![("path".to_owned(), directory.path().to_owned())];
    steps.push(Step::Entry(keys));
    let mut path = directory.path().to_owned();
    let mut changes = Vec::new();
    if let Some(folder) = asked.text("physical_path")?
        && folder != own(&directory.view, "physicalPath")
    {
        changes.push(set(&steps, "physicalPath", folder));
    }
    if let Some(wanted) = asked.text("path")? {
        let wanted = format!("/{}", wanted.trim_matches('/'));
        if wanted != path {
            refuse_root(directory)?;
            changes.push(set(&steps, "path", &wanted));
            path = wanted;
        }
    }
    if !changes.is_empty() {
        store.change(&changes)?;
    }
    show(asked, 200, &id_of(&directory.app, &path), store)
}

/// An application has a root as long as it is there.
fn refuse_root(directory: &Directory) -> Result<(), ApiError> {
    if directory.path() == "/" {
        let detail = "is the root of its application, which goes with the application";
        return Err(ApiError::field("path", detail));
    }
    Ok(())
}

fn set(steps: &[Step], attribute: &str, value: &str) -> Change {
    let act = Act::Set {
        attribute: attribute.to_owned(),
        value: value.to_owned(),
    };
    Change::new(SECTION, steps.to_vec(), act)
}

/// Refuses fields that a virtual directory does not have.
fn check(asked: &Asked) -> Result<(), ApiError> {
    const KNOWN: [&str; 6] = [
        "path",
        "id",
        "location",
        "physical_path",
        "webapp",
        "website",
    ];
    let mut names = asked.body.keys();
    match names.find(|name| !KNOWN.contains(&name.as_str())) {
        Some(unknown) => {
            let detail = format!("unknown field; known: {}", KNOWN.join(", "));
            Err(ApiError::field(unknown, &detail))
        }
        None => Ok(()),
    }
}
