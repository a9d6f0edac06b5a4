//! `/api/webserver/logging`, `/api/webserver/http-request-tracing`, `/api/webserver/transactions`: what is
//! written down of requests, of a website (`?website.id=`) or of one that says nothing; and the changes that
//! wait to be committed.
//!
//! Source: microsoft/IIS.Administration, `LoggingHelper`, `HttpRequestTracingHelper`, `TransactionsController`.
//! Absent on purpose: changing them here. A configuration is changed at once, so there are no transactions;
//! failed requests are not traced.

use serde_json::{Value, json};
use sim_was::config::view::{View, Views};

use super::resource::{ApiError, Asked, Reply, fields_of, id};
use super::store::Store;
use super::websites::{SECTION, find, own};

/// `/api/webserver/transactions`.
pub(super) fn transactions(asked: &Asked, rest: &[String]) -> Result<Reply, ApiError> {
    match (asked.method.as_str(), rest) {
        ("GET", []) => Ok(asked.list("transactions", Vec::new())),
        (_, []) => Err(ApiError::method("GET")),
        (_, _) => Err(ApiError::not_found("transaction")),
    }
}

/// `/api/webserver/logging`.
pub(super) fn logging(asked: &Asked, rest: &[String], store: &Store) -> Result<Reply, ApiError> {
    let feature = Feature {
        name: "logging",
        kind: 'l',
        element: "logFile",
    };
    feature.answer(asked, rest, store, |settings| {
        let text = |name: &str| own(settings, name).to_owned();
        let period = match own(settings, "period").to_ascii_lowercase().as_str() {
            "maxsize" => "max_size".to_owned(),
            other => other.to_owned(),
        };
        let fields = own(settings, "logExtFileFlags").split(',');
        let fields: Vec<_> = fields.map(|name| snake(name.trim())).collect();
        json!({
            "enabled": is_true(settings, "enabled"),
            "log_format": text("logFormat").to_ascii_lowercase(),
            "directory": text("directory"),
            "rollover": {
                "period": period,
                "truncate_size": number(settings, "truncateSize"),
                "use_local_time": is_true(settings, "localTimeRollover"),
            },
            "log_fields": fields,
        })
    })
}

/// `/api/webserver/http-request-tracing`.
pub(super) fn tracing(asked: &Asked, rest: &[String], store: &Store) -> Result<Reply, ApiError> {
    let feature = Feature {
        name: "http-request-tracing",
        kind: 't',
        element: "traceFailedRequestsLogging",
    };
    feature.answer(asked, rest, store, |settings| {
        json!({
            "enabled": is_true(settings, "enabled"),
            "directory": own(settings, "directory"),
            "maximum_number_trace_files": number(settings, "maxLogFiles"),
        })
    })
}

/// An element of a site that is a resource of its own.
struct Feature {
    name: &'static str,
    kind: char,
    element: &'static str,
}

impl Feature {
    fn answer(
        &self,
        asked: &Asked,
        rest: &[String],
        store: &Store,
        settings_of: impl Fn(&View) -> Value,
    ) -> Result<Reply, ApiError> {
        if asked.method != "GET" {
            return Err(ApiError::method("GET"));
        }
        let site = match (rest, asked.query.get("website.id")) {
            ([], None) => None,
            ([], Some(site)) => Some(find(site, store)?),
            ([of], _) if *of == id(self.kind, "") => None,
            ([of], _) => Some(self.site_of(of, store)?),
            _ => return Err(ApiError::not_found(self.name)),
        };
        let (text, file) = (store.section_text(SECTION)?, store.name());
        let views = Views::new(&text, &file);
        let defaults = views.section(SECTION, "")?;
        let defaults = defaults
            .as_ref()
            .and_then(|sites| sites.child("siteDefaults"));
        let holder = site.as_ref().or(defaults);
        let missing = || ApiError::not_found(self.name);
        let settings = holder.and_then(|holder| holder.child(self.element));
        let mut object = fields_of(settings_of(settings.ok_or_else(missing)?));
        let number = site.as_ref().map(|site| own(site, "id"));
        let of = id(self.kind, number.unwrap_or_default());
        object.insert("id".to_owned(), json!(of));
        let scope = site.as_ref().map(|site| format!("{}/", own(site, "name")));
        object.insert("scope".to_owned(), json!(scope.unwrap_or_default()));
        let website = site
            .as_ref()
            .map(|site| json!({"name": own(site, "name"), "id": id('s', own(site, "id"))}));
        object.insert("website".to_owned(), json!(website));
        Ok(asked.object(200, object, &format!("/api/webserver/{}/{of}", self.name)))
    }

    fn site_of(&self, of: &str, store: &Store) -> Result<View, ApiError> {
        let number = super::resource::name_in(self.kind, of);
        let number = number.ok_or_else(|| ApiError::not_found(self.name))?;
        find(&id('s', &number), store)
    }
}

fn is_true(settings: &View, name: &str) -> bool {
    own(settings, name).eq_ignore_ascii_case("true")
}

fn number(settings: &View, name: &str) -> Option<u64> {
    own(settings, name).parse().ok()
}

/// `UriStem` → `uri_stem`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    let mut before = '_';
    for letter in name.chars() {
        if letter.is_uppercase() && before.is_lowercase() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
        before = letter;
    }
    snake
}
