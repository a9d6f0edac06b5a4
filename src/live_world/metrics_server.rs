//! Where Prometheus scrapes: `/metrics` of a running server, on loopback.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use sim_httpsys::clockwork::UtcClock;
use sim_httpsys::live::clock::utc_clock;
use sim_was::control::client::Question;
use sim_was::control::{Answer, Command, CounterReadings};

use super::loopback::{self, LoopbackError};
use super::processes::process_reading;
use crate::exporter::{Scrape, render};

/// How long the services may take to answer a scrape; then the page says that they did not.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Serves the metrics of the server at `root` until this process ends; gives where.
pub fn serve_metrics(root: &Path, address: SocketAddr) -> Result<SocketAddr, LoopbackError> {
    let root = root.to_owned();
    let clock = utc_clock();
    loopback::listen(address, "/metrics", "metrics", move |stream| {
        let root = root.clone();
        loopback::converse(stream, ANSWER_MAX, move |request| {
            answer(request, root.clone(), clock)
        })
    })
}

async fn answer(
    request: Request<hyper::body::Incoming>,
    root: PathBuf,
    clock: UtcClock,
) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let page = tokio::task::spawn_blocking(move || render(&scrape(&root, clock))).await;
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            (StatusCode::OK, kind, page.unwrap_or_default())
        }
        (&Method::GET | &Method::HEAD, "/") => {
            let page = "<html><body><a href=\"/metrics\">Metrics</a></body></html>\n";
            (StatusCode::OK, "text/html; charset=utf-8", page.to_owned())
        }
        (&Method::GET | &Method::HEAD, _) => (
            StatusCode::NOT_FOUND,
            "text/plain",
            "see /metrics\n".to_owned(),
        ),
        _ => (
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "GET and HEAD only\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn scrape(root: &Path, clock: UtcClock) -> Scrape {
    let readings = readings(root);
    let workers = readings.iter().flat_map(|readings| &readings.workers);
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let processes = workers.filter_map(|worker| process_reading(worker.pid));
    Scrape {
        processes: processes.collect(),
        hostname: hostname.trim().to_owned(),
        clock,
        readings,
    }
}

fn readings(root: &Path) -> Option<CounterReadings> {
    let mut question = Question::put(root, &Command::QueryCounters { of_workers: true }).ok()?;
    match question.answer(ANSWER_MAX) {
        Ok(Some(Answer::Counters(readings))) => Some(*readings),
        Ok(_) | Err(_) => None,
    }
}
