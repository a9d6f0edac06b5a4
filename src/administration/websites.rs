//! `/api/webserver/websites`.

use serde_json::{Map, Value, json};
use sim_was::config::edit::{Act, Change, NEXT_ID, Position, Step};
use sim_was::config::view::{View, Views};
use sim_was::control::{Answer, Command, ObjectState, SiteInfo};

use super::application_pools;
use super::fields::{SITE, read, write};
use super::resource::{ApiError, Asked, Reply, id, name_in, status};
use super::store::Store;

pub(super) const SECTION: &str = "system.applicationHost/sites";
const PATH: &str = "/api/webserver/websites";
const OTHERS: [&str; 7] = [
    "name",
    "id",
    "status",
    "key",
    "physical_path",
    "bindings",
    "application_pool",
];

pub(super) fn answer(asked: &Asked, rest: &[String], store: &Store) -> Result<Reply, ApiError> {
    match (asked.method.as_str(), rest) {
        ("GET", []) => {
            let states = states(store)?;
            let pool = asked.query.get("application_pool.id");
            let pool = pool.map(|of| application_pools::name_of(of)).transpose()?;
            let serves = |view: &&View| {
                let mut pools = view.entries("application");
                pool.as_deref().is_none_or(|pool| {
                    pools.any(|app| own(app, "applicationPool").eq_ignore_ascii_case(pool))
                })
            };
            let mut objects = Vec::new();
            for view in views(store)?.iter().filter(serves) {
                objects.push((object(view, &states, store)?, href(view)));
            }
            Ok(asked.list("websites", objects))
        }
        ("POST", []) => create(asked, store),
        (_, []) => Err(ApiError::method("GET, POST")),
        ("GET", [of]) => show(asked, 200, &find(of, store)?, store),
        ("PATCH", [of]) => change(asked, &find(of, store)?, store),
        ("DELETE", [of]) => {
            let keys = vec![("name".to_owned(), own(&find(of, store)?, "name").to_owned())];
            store.change(&[Change::new(SECTION, Vec::new(), Act::Remove { keys })])?;
            Ok(Reply::empty(204))
        }
        (_, [_]) => Err(ApiError::method("GET, PATCH, DELETE")),
        (_, _) => Err(ApiError::not_found("websites")),
    }
}

pub(super) fn own<'v>(view: &'v View, name: &str) -> &'v str {
    view.attribute(name).unwrap_or_default()
}

fn href(view: &View) -> String {
    format!("{PATH}/{}", id('s', own(view, "id")))
}

pub(super) fn views(store: &Store) -> Result<Vec<View>, ApiError> {
    let (text, file) = (store.section_text(SECTION)?, store.name());
    Ok(Views::new(&text, &file).sites()?)
}

/// A site by the id of the API.
pub(super) fn find(of: &str, store: &Store) -> Result<View, ApiError> {
    let missing = || ApiError::not_found("website");
    let number = name_in('s', of).ok_or_else(missing)?;
    let mut views = views(store)?.into_iter();
    views
        .find(|view| own(view, "id") == number)
        .ok_or_else(missing)
}

fn states(store: &Store) -> Result<Vec<SiteInfo>, ApiError> {
    let Answer::Sites(sites) = store.ask(&Command::ListSites)? else {
        return Ok(Vec::new());
    };
    Ok(sites)
}

fn state_of(view: &View, states: &[SiteInfo]) -> ObjectState {
    let state = states.iter().find(|site| site.name == own(view, "name"));
    state.map_or(ObjectState::Unknown, |site| site.state)
}

/// A site in a few words, as other objects name it.
pub(super) fn reference(view: &View, store: &Store) -> Result<Value, ApiError> {
    let state = state_of(view, &states(store)?);
    let of = id('s', own(view, "id"));
    Ok(json!({"name": own(view, "name"), "id": of, "status": status(state)}))
}

/// The root directory of an application.
pub(super) fn physical_path(application: &View) -> Option<&str> {
    application.attribute("[path='/'].physicalPath")
}

fn root(view: &View) -> Option<&View> {
    let mut applications = view.entries("application");
    applications.find(|application| application.attribute("path") == Some("/"))
}

fn object(view: &View, states: &[SiteInfo], store: &Store) -> Result<Map<String, Value>, ApiError> {
    let mut object = Map::new();
    object.insert("name".to_owned(), json!(own(view, "name")));
    object.insert("id".to_owned(), json!(id('s', own(view, "id"))));
    object.insert("status".to_owned(), json!(status(state_of(view, states))));
    object.insert("key".to_owned(), json!(own(view, "id").parse::<u64>().ok()));
    object.extend(read(SITE, view));
    let bindings = view.child("bindings");
    let bindings = bindings.into_iter().flat_map(|b| b.entries("binding"));
    object.insert("bindings".to_owned(), bindings.map(binding).collect());
    if let Some(root) = root(view) {
        object.insert("physical_path".to_owned(), json!(physical_path(root)));
        let pool = application_pools::reference(own(root, "applicationPool"), store)?;
        object.insert("application_pool".to_owned(), pool);
    }
    Ok(object)
}

/// Source: microsoft/IIS.Administration, `SiteHelper`: address, port and host apart for http and https.
fn binding(view: &View) -> Value {
    let (protocol, information) = (own(view, "protocol"), own(view, "bindingInformation"));
    let mut object = json!({"protocol": protocol, "binding_information": information});
    let mut parts = information.rsplitn(3, ':');
    if let (Some(host), Some(port), Some(address)) = (parts.next(), parts.next(), parts.next())
        && protocol.starts_with("http")
    {
        object["hostname"] = json!(host);
        object["port"] = json!(port.parse::<u16>().ok());
        object["ip_address"] = json!(address);
    }
    if protocol.eq_ignore_ascii_case("https") {
        object["require_sni"] = json!(ssl_flags(view) & SNI != 0);
    }
    object
}

fn show(asked: &Asked, code: u16, view: &View, store: &Store) -> Result<Reply, ApiError> {
    let object = object(view, &states(store)?, store)?;
    Ok(asked.object(code, object, &href(view)))
}

/// A binding of a site.
struct Binding {
    protocol: String,
    information: String,
    /// Whether it needs a server name; `None` if nothing is said.
    require_sni: Option<bool>,
}

impl Binding {
    /// What it is known by.
    fn keys(&self) -> Vec<(String, String)> {
        let key = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            key("protocol", &self.protocol),
            key("bindingInformation", &self.information),
        ]
    }
}

/// What a body may say of a binding.
const BINDING: [&str; 6] = [
    "protocol",
    "binding_information",
    "ip_address",
    "port",
    "hostname",
    "require_sni",
];

/// The bindings of a body; `None` if it has none.
fn bindings(asked: &Asked) -> Result<Option<Vec<Binding>>, ApiError> {
    let Some(bindings) = asked.body.get("bindings") else {
        return Ok(None);
    };
    let wrong = || ApiError::field("bindings", "give an array of bindings");
    let bindings = bindings.as_array().ok_or_else(wrong)?;
    bindings.iter().map(one).collect::<Result<_, _>>().map(Some)
}

fn one(binding: &Value) -> Result<Binding, ApiError> {
    let wrong = |detail: &str| ApiError::field("bindings", detail);
    let fields = binding
        .as_object()
        .ok_or_else(|| wrong("a binding is an object"))?;
    if let Some(unknown) = fields.keys().find(|name| !BINDING.contains(&name.as_str())) {
        return Err(ApiError::field(unknown, "a binding has no such field"));
    }
    let text = |name: &str| match fields.get(name) {
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(Value::Null) | None => Ok(None),
        Some(_) => Err(ApiError::field(name, "is a text")),
    };
    let number = match fields.get("port") {
        Some(Value::String(port)) => Some(port.parse().ok()),
        Some(port @ (Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_))) => {
            Some(port.as_u64())
        }
        Some(Value::Null) | None => None,
    };
    let port = number.map(|number| {
        let port = number.filter(|number| (1..=u64::from(u16::MAX)).contains(number));
        port.ok_or_else(|| ApiError::field("port", "is a number from 1 to 65535"))
    });
    let port = port.transpose()?;
    let information = match (text("binding_information")?, port) {
        (Some(information), _) => information.to_owned(),
        (None, Some(port)) => {
            let address = text("ip_address")?.unwrap_or("*");
            format!("{address}:{port}:{}", text("hostname")?.unwrap_or_default())
        }
        (None, None) => return Err(wrong("a binding needs binding_information, or port")),
    };
    let require_sni = match fields.get("require_sni") {
        Some(Value::Bool(require)) => Some(*require),
        Some(Value::Null) | None => None,
        Some(_) => return Err(ApiError::field("require_sni", "is true or false")),
    };
    Ok(Binding {
        protocol: text("protocol")?.unwrap_or("http").to_owned(),
        information,
        require_sni,
    })
}

/// Source: IIS schema, `sslFlags`: 1 is Sni.
const SNI: u32 = 1;

fn ssl_flags(view: &View) -> u32 {
    own(view, "sslFlags").parse().unwrap_or(0)
}

/// The changes after which a site has these bindings; one that it had keeps what else is said of it.
fn rebind(site: &str, old: &[&View], new: &[Binding]) -> Vec<Change> {
    let element = vec![
        Step::Entry(vec![("name".to_owned(), site.to_owned())]),
        Step::Child("bindings".to_owned()),
    ];
    let change = |act| Change::new(SECTION, element.clone(), act);
    let is = |view: &View, binding: &Binding| {
        own(view, "protocol") == binding.protocol
            && own(view, "bindingInformation") == binding.information
    };
    let gone = old.iter().filter(|view| !new.iter().any(|b| is(view, b)));
    let mut changes: Vec<Change> = gone
        .map(|view| {
            let key = |name: &str| (name.to_owned(), own(view, name).to_owned());
            let keys = vec![key("protocol"), key("bindingInformation")];
            change(Act::Remove { keys })
        })
        .collect();
    for binding in new {
        let known = old.iter().find(|view| is(view, binding));
        if known.is_none() {
            changes.push(change(Act::Add {
                attributes: binding.keys(),
                at: Position::End,
            }));
        }
        let before = known.map_or(0, |view| ssl_flags(view));
        let Some(require) = binding.require_sni else {
            continue;
        };
        let flags = if require { before | SNI } else { before & !SNI };
        if flags != before {
            let mut element = element.clone();
            element.push(Step::Entry(binding.keys()));
            let act = Act::Set {
                attribute: "sslFlags".to_owned(),
                value: flags.to_string(),
            };
            changes.push(Change::new(SECTION, element, act));
        }
    }
    changes
}

fn create(asked: &Asked, store: &Store) -> Result<Reply, ApiError> {
    let (name, folder) = (asked.required("name")?, asked.required("physical_path")?);
    let sites = views(store)?;
    if sites
        .iter()
        .any(|site| own(site, "name").eq_ignore_ascii_case(name))
    {
        return Err(ApiError::new(
            409,
            "Conflict",
            "name",
            "there is such a site",
        ));
    }
    let bindings = bindings(asked)?.unwrap_or_default();
    if bindings.is_empty() {
        return Err(ApiError::field("bindings", "is required"));
    }
    let entry = |keys: &[(&str, &str)]| Act::Add {
        attributes: keys
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        at: Position::End,
    };
    let site = || Step::Entry(vec![("name".to_owned(), name.to_owned())]);
    let root = || Step::Entry(vec![("path".to_owned(), "/".to_owned())]);
    let mut changes = vec![
        Change::new(
            SECTION,
            Vec::new(),
            entry(&[("name", name), ("id", NEXT_ID)]),
        ),
        Change::new(SECTION, vec![site()], entry(&[("path", "/")])),
        Change::new(
            SECTION,
            vec![site(), root()],
            entry(&[("path", "/"), ("physicalPath", folder)]),
        ),
    ];
    changes.extend(rebind(name, &[], &bindings));
    if let Some(pool) = application_pools::wanted(asked)? {
        changes.push(Change::application(name, "/", "applicationPool", &pool));
    }
    let bare = store.with(&changes)?;
    let file = store.name();
    let mut then = Views::new(&bare, &file).sites()?.into_iter();
    if let Some(bare) = then.find(|view| own(view, "name") == name) {
        for (attribute, text) in write(SITE, &asked.body, &OTHERS, &bare)? {
            changes.push(Change::site(name, attribute, &text));
        }
    }
    store.change(&changes)?;
    let mut sites = views(store)?.into_iter();
    let site = sites.find(|site| own(site, "name") == name);
    let site = site.ok_or_else(|| ApiError::not_found("website"))?;
    show(asked, 201, &site, store)
}

fn change(asked: &Asked, view: &View, store: &Store) -> Result<Reply, ApiError> {
    asked.leaves(&object(view, &states(store)?, store)?, &["id", "key"])?;
    let name = own(view, "name").to_owned();
    let wanted = asked.status(&["started", "stopped"])?;
    let mut changes: Vec<Change> = write(SITE, &asked.body, &OTHERS, view)?
        .iter()
        .map(|(attribute, text)| Change::site(&name, attribute, text))
        .collect();
    let root = root(view);
    if let Some(folder) = asked.text("physical_path")?
        && root.and_then(physical_path) != Some(folder)
    {
        let path = "physicalPath";
        changes.push(Change::virtual_directory(&name, "/", "/", path, folder));
    }
    if let Some(pool) = application_pools::wanted(asked)?
        && root.is_none_or(|root| own(root, "applicationPool") != pool)
    {
        changes.push(Change::application(&name, "/", "applicationPool", &pool));
    }
    if let Some(bindings) = bindings(asked)? {
        let old = view.child("bindings");
        let old: Vec<&View> = old.into_iter().flat_map(|b| b.entries("binding")).collect();
        changes.extend(rebind(&name, &old, &bindings));
    }
    let new_name = asked.text("name")?.filter(|new| *new != name);
    if let Some(new) = new_name {
        changes.push(Change::site(&name, "name", new));
    }
    if !changes.is_empty() {
        store.change(&changes)?;
    }
    let of = id('s', own(view, "id"));
    let view = find(&of, store)?;
    let name = own(&view, "name").to_owned();
    let started = state_of(&view, &states(store)?) == ObjectState::Started;
    match wanted {
        Some("started") if !started => drop(store.ask(&Command::StartSite { name })?),
        Some("stopped") if started => drop(store.ask(&Command::StopSite { name })?),
        _ => {}
    }
    show(asked, 200, &view, store)
}
