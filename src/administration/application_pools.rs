//! `/api/webserver/application-pools`.

use serde_json::{Map, Value, json};
use sim_was::config::edit::{Act, Change, Position, Step};
use sim_was::config::view::{View, Views};
use sim_was::control::{Answer, ApplicationPoolInfo, Command, ObjectState};

use super::fields::{POOL, SCHEDULE, put, read, write};
use super::resource::{ApiError, Asked, Reply, id, name_in, status};
use super::store::Store;

const SECTION: &str = "system.applicationHost/applicationPools";
const PATH: &str = "/api/webserver/application-pools";
/// What a body may have besides the fields of the configuration.
const OTHERS: [&str; 4] = [
    "name",
    "id",
    "status",
    "recycling.periodic_restart.schedule",
];

/// A pool in a few words, as other objects name it.
pub(super) fn reference(name: &str, store: &Store) -> Result<Value, ApiError> {
    let known = states(store)?
        .into_iter()
        .find(|pool| pool.name.eq_ignore_ascii_case(name));
    let state = known
        .as_ref()
        .map_or(ObjectState::Unknown, |pool| pool.state);
    // Its id is made of its name, as the pool itself spells it.
    let name = known.as_ref().map_or(name, |pool| &pool.name);
    Ok(json!({"name": name, "id": id('p', name), "status": status(state)}))
}

/// The name of a pool by its id.
pub(super) fn name_of(of: &str) -> Result<String, ApiError> {
    name_in('p', of).ok_or_else(|| ApiError::not_found("application_pool"))
}

/// The name of the pool that a body names, if it does.
pub(super) fn wanted(asked: &Asked) -> Result<Option<String>, ApiError> {
    asked.relation("application_pool")?.map(name_of).transpose()
}

pub(super) fn answer(asked: &Asked, rest: &[String], store: &Store) -> Result<Reply, ApiError> {
    match (asked.method.as_str(), rest) {
        ("GET", []) => {
            let (states, views) = (states(store)?, views(store)?);
            let pool = |view: &View| {
                let object = object(view, &states);
                (object, href(own_name(view)))
            };
            Ok(asked.list("app_pools", views.iter().map(pool).collect()))
        }
        ("POST", []) => create(asked, store),
        (_, []) => Err(ApiError::method("GET, POST")),
        ("GET", [of]) => show(asked, 200, &name_of(of)?, store),
        ("PATCH", [of]) => change(asked, &name_of(of)?, store),
        ("DELETE", [of]) => {
            let view = find(&name_of(of)?, store)?;
            let keys = vec![("name".to_owned(), own_name(&view).to_owned())];
            store.change(&[Change::new(SECTION, Vec::new(), Act::Remove { keys })])?;
            Ok(Reply::empty(204))
        }
        (_, [_]) => Err(ApiError::method("GET, PATCH, DELETE")),
        (_, _) => Err(ApiError::not_found("application-pools")),
    }
}

fn own_name(view: &View) -> &str {
    view.attribute("name").unwrap_or_default()
}

fn href(name: &str) -> String {
    format!("{PATH}/{}", id('p', name))
}

fn views(store: &Store) -> Result<Vec<View>, ApiError> {
    let (text, file) = (store.section_text(SECTION)?, store.name());
    Ok(Views::new(&text, &file).pools()?)
}

fn find(name: &str, store: &Store) -> Result<View, ApiError> {
    let mut views = views(store)?.into_iter();
    let found = views.find(|view| own_name(view).eq_ignore_ascii_case(name));
    found.ok_or_else(|| ApiError::not_found("application_pool"))
}

fn states(store: &Store) -> Result<Vec<ApplicationPoolInfo>, ApiError> {
    let Answer::ApplicationPools(pools) = store.ask(&Command::ListApplicationPools)? else {
        return Ok(Vec::new());
    };
    Ok(pools)
}

fn schedule(view: &View) -> Vec<&str> {
    let restart = view
        .child("recycling")
        .and_then(|v| v.child("periodicRestart"));
    let schedule = restart.and_then(|restart| restart.child("schedule"));
    let entries = schedule
        .into_iter()
        .flat_map(|schedule| schedule.entries("add"));
    let times = entries.filter_map(|entry| entry.attribute("value"));
    times
        .map(|time| time.strip_suffix(":00").unwrap_or(time))
        .collect()
}

fn object(view: &View, states: &[ApplicationPoolInfo]) -> Map<String, Value> {
    let name = own_name(view);
    let state = states.iter().find(|pool| pool.name == name);
    let state = state.map_or(ObjectState::Unknown, |pool| pool.state);
    let mut object = Map::new();
    object.insert("name".to_owned(), json!(name));
    object.insert("id".to_owned(), json!(id('p', name)));
    object.insert("status".to_owned(), json!(status(state)));
    object.extend(read(POOL, view));
    let times = json!(schedule(view));
    put(&mut object, SCHEDULE, times);
    object
}

fn show(asked: &Asked, code: u16, name: &str, store: &Store) -> Result<Reply, ApiError> {
    let view = find(name, store)?;
    let object = object(&view, &states(store)?);
    Ok(asked.object(code, object, &href(own_name(&view))))
}

fn create(asked: &Asked, store: &Store) -> Result<Reply, ApiError> {
    let name = asked.required("name")?;
    let known = views(store)?;
    if known
        .iter()
        .any(|view| own_name(view).eq_ignore_ascii_case(name))
    {
        return Err(ApiError::new(
            409,
            "Conflict",
            "name",
            "there is such a pool",
        ));
    }
    let entry = Act::Add {
        attributes: vec![("name".to_owned(), name.to_owned())],
        at: Position::End,
    };
    let mut changes = vec![Change::new(SECTION, Vec::new(), entry)];
    // What it would have from the defaults if nothing else were said.
    let bare = store.with(&changes)?;
    let file = store.name();
    let mut views = Views::new(&bare, &file).pools()?.into_iter();
    let bare = views.find(|view| own_name(view) == name);
    let bare = bare.ok_or_else(|| ApiError::field("name", "is no pool's name"))?;
    changes.extend(settings(asked, name, &bare)?);
    store.change(&changes)?;
    show(asked, 201, name, store)
}

fn change(asked: &Asked, name: &str, store: &Store) -> Result<Reply, ApiError> {
    let view = find(name, store)?;
    let mut name = own_name(&view).to_owned();
    let wanted = asked.status(&["started", "stopped", "recycling"])?;
    let mut changes = settings(asked, &name, &view)?;
    let new_name = asked.text("name")?.filter(|new| *new != name);
    if let Some(new) = new_name {
        changes.push(Change::pool(&name, "name", new));
    }
    if !changes.is_empty() {
        store.change(&changes)?;
    }
    if let Some(new) = new_name {
        new.clone_into(&mut name);
    }
    let state = states(store)?
        .into_iter()
        .find(|pool| pool.name == name)
        .map(|pool| pool.state);
    let order = match wanted {
        Some("started") if state != Some(ObjectState::Started) => {
            Some(Command::StartApplicationPool { name: name.clone() })
        }
        Some("stopped") if state != Some(ObjectState::Stopped) => {
            Some(Command::StopApplicationPool { name: name.clone() })
        }
        Some("recycling") => Some(Command::RecycleApplicationPool { name: name.clone() }),
        _ => None,
    };
    if let Some(order) = order {
        store.ask(&order)?;
    }
    let mut reply = show(asked, 200, &name, store)?;
    if new_name.is_some() {
        reply.headers.push(("location", href(&name)));
    }
    Ok(reply)
}

/// The changes that a body asks for, besides its name.
fn settings(asked: &Asked, name: &str, view: &View) -> Result<Vec<Change>, ApiError> {
    let written = write(POOL, &asked.body, &OTHERS, view)?;
    let mut changes: Vec<Change> = written
        .iter()
        .map(|(attribute, text)| Change::pool(name, attribute, text))
        .collect();
    let body = Value::Object(asked.body.clone());
    let Some(times) = body.pointer("/recycling/periodic_restart/schedule") else {
        return Ok(changes);
    };
    let times: Option<Vec<&str>> = times
        .as_array()
        .and_then(|times| times.iter().map(Value::as_str).collect());
    let times = times.ok_or_else(|| ApiError::field(SCHEDULE, "give an array of \"hh:mm\""))?;
    if times == schedule(view) {
        return Ok(changes);
    }
    let mut element = vec![Step::Entry(vec![("name".to_owned(), name.to_owned())])];
    element.extend(["recycling", "periodicRestart", "schedule"].map(|s| Step::Child(s.to_owned())));
    changes.push(Change::new(SECTION, element.clone(), Act::Clear));
    for time in times {
        let time = if time.len() == 5 {
            format!("{time}:00")
        } else {
            time.to_owned()
        };
        let attributes = vec![("value".to_owned(), time)];
        let add = Act::Add {
            attributes,
            at: Position::End,
        };
        changes.push(Change::new(SECTION, element.clone(), add));
    }
    Ok(changes)
}
