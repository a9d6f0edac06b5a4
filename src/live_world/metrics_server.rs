//! Where Prometheus scrapes: `/metrics` of a running server, on loopback.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sim_httpsys::live::clock::utc_now;
use sim_was::control::client::Question;
use sim_was::control::{Answer, Command, CounterReadings};
use tokio::net::TcpListener;

use super::processes::process_reading;
use crate::exporter::{Scrape, render};

/// How long the services may take to answer a scrape; then the page says that they did not.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Why `/metrics` is not served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Others could read it.
    #[error("{0}: /metrics is served on a loopback address only, e.g. 127.0.0.1:9182")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("{address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Serves the metrics of the server at `root` until this process ends; gives where.
pub fn serve_metrics(root: &Path, address: SocketAddr) -> Result<SocketAddr, MetricsError> {
    if !address.ip().is_loopback() {
        return Err(MetricsError::NotLoopback(address));
    }
    let failed = |source| MetricsError::Bind { address, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let root = root.to_owned();
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || runtime.block_on(accept(listener, root)))
        .map_err(failed)?;
    Ok(bound)
}

async fn accept(listener: TcpListener, root: PathBuf) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, mostly: wait until some are free again.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let root = root.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, root.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(hyper_util::rt::TokioTimer::new())
                .header_read_timeout(ANSWER_MAX)
                .serve_connection(TokioIo::new(stream), service);
            connection.await.ok();
        });
    }
}

async fn answer(
    request: Request<hyper::body::Incoming>,
    root: PathBuf,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let page = tokio::task::spawn_blocking(move || render(&scrape(&root))).await;
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            (StatusCode::OK, kind, page.unwrap_or_default())
        }
        (&Method::GET, "/") => {
            let page = "<html><body><a href=\"/metrics\">Metrics</a></body></html>\n";
            (StatusCode::OK, "text/html; charset=utf-8", page.to_owned())
        }
        (&Method::GET, _) => (
            StatusCode::NOT_FOUND,
            "text/plain",
            "see /metrics\n".to_owned(),
        ),
        _ => (
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "GET only\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

fn scrape(root: &Path) -> Scrape {
    let readings = readings(root);
    let workers = readings.iter().flat_map(|readings| &readings.workers);
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let processes = workers.filter_map(|worker| process_reading(worker.pid));
    Scrape {
        processes: processes.collect(),
        hostname: hostname.trim().to_owned(),
        unix_s: utc_now().timestamp().as_duration().as_secs_f64(),
        readings,
    }
}

fn readings(root: &Path) -> Option<CounterReadings> {
    let mut question = Question::put(root, &Command::QueryCounters).ok()?;
    match question.answer(Some(ANSWER_MAX)) {
        Ok(Some(Answer::Counters(readings))) => Some(*readings),
        Ok(_) | Err(_) => None,
    }
}
