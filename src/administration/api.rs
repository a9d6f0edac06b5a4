//! The REST API: from a request to a reply. Pure but for what it asks of the store.

use super::resource::{ApiError, Asked, Reply};
use super::store::Store;
use super::{
    application_pools, diagnostics, monitoring, processes, virtual_directories, webapps, websites,
};

/// Answers a request of somebody who may ask.
pub(super) fn answer(asked: &Asked, store: &Store) -> Reply {
    route(asked, store).unwrap_or_else(|error| error.reply())
}

fn route(asked: &Asked, store: &Store) -> Result<Reply, ApiError> {
    let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
    let rest = |from: usize| asked.path.get(from..).unwrap_or_default();
    match path.as_slice() {
        [] | ["webserver"] => index(asked),
        ["webserver", "info"] => processes::info(asked, store),
        ["webserver", "service-controller"] => processes::service(asked, store),
        ["webserver", "monitoring"] => monitoring::answer(asked, &[], store),
        [
            "webserver",
            kind @ ("websites" | "application-pools"),
            "monitoring",
            of,
        ] => monitoring::answer(asked, &[kind, of], store),
        ["webserver", "application-pools", ..] => application_pools::answer(asked, rest(2), store),
        ["webserver", "websites", ..] => websites::answer(asked, rest(2), store),
        ["webserver", "webapps", ..] => webapps::answer(asked, rest(2), store),
        ["webserver", "virtual-directories", ..] => {
            virtual_directories::answer(asked, rest(2), store)
        }
        ["webserver", "logging", ..] => diagnostics::logging(asked, rest(2), store),
        ["webserver", "http-request-tracing", ..] => diagnostics::tracing(asked, rest(2), store),
        ["webserver", "transactions", ..] => diagnostics::transactions(asked, rest(2)),
        ["webserver", "worker-processes", ..] => processes::workers(asked, rest(2), store),
        ["webserver", "http-request-monitor", "requests", ..] => {
            processes::requests(asked, rest(3), store)
        }
        _ => Err(ApiError::not_found(&path.join("/"))),
    }
}

fn index(asked: &Asked) -> Result<Reply, ApiError> {
    const KNOWN: [&str; 12] = [
        "application-pools",
        "http-request-monitor/requests",
        "http-request-tracing",
        "info",
        "logging",
        "monitoring",
        "service-controller",
        "transactions",
        "virtual-directories",
        "webapps",
        "websites",
        "worker-processes",
    ];
    if asked.method != "GET" {
        return Err(ApiError::method("GET"));
    }
    let links = KNOWN.map(|name| {
        let href = format!("/api/webserver/{name}");
        (name.to_owned(), serde_json::json!({"href": href}))
    });
    let links: serde_json::Map<_, _> = links.into_iter().collect();
    Ok(Reply {
        status: 200,
        headers: asked.kind_of_body(),
        body: Some(serde_json::json!({"_links": links})),
    })
}
