//! Worker processes, executing requests and services.

use serde_json::json;
use sim_was::control::{Answer, Command, RequestInfo, Service, ServiceStatus, WorkerProcessInfo};

use super::application_pools;
use super::resource::{ApiError, Asked, Reply, fields_of, id, name_in};
use super::store::Store;

/// How long W3SVC may take to stop. Source: iisreset usage: 60 s for a stop.
const STOP_TIMEOUT_MS: u64 = 60_000;

/// `/api/webserver/worker-processes`.
pub(super) fn workers(asked: &Asked, rest: &[String], store: &Store) -> Result<Reply, ApiError> {
    let Answer::WorkerProcesses(workers) = store.ask(&Command::ListWorkerProcesses)? else {
        return Err(ApiError::not_found("worker_processes"));
    };
    let of = |worker: &WorkerProcessInfo| id('w', &worker.pid.to_string());
    let href =
        |worker: &WorkerProcessInfo| format!("/api/webserver/worker-processes/{}", of(worker));
    let object = |worker: &WorkerProcessInfo| {
        let pool = application_pools::reference(&worker.application_pool, store)?;
        Ok::<_, ApiError>(fields_of(json!({
            "name": "w3wp",
            "id": of(worker),
            "process_id": worker.pid,
            "status": format!("{:?}", worker.state).to_ascii_lowercase(),
            "application_pool": pool,
        })))
    };
    let find = |wanted: &String| {
        let found = workers.iter().find(|worker| of(worker) == *wanted);
        found.ok_or_else(|| ApiError::not_found("worker_process"))
    };
    match (asked.method.as_str(), rest) {
        ("GET", []) => {
            let pool = asked.query.get("application_pool.id");
            let pool = pool.map(|of| application_pools::name_of(of)).transpose()?;
            let is_wanted = |worker: &&WorkerProcessInfo| {
                pool.as_ref()
                    .is_none_or(|pool| pool.eq_ignore_ascii_case(&worker.application_pool))
            };
            let mut objects = Vec::new();
            for worker in workers.iter().filter(is_wanted) {
                objects.push((object(worker)?, href(worker)));
            }
            Ok(asked.list("worker_processes", objects))
        }
        ("GET", [wanted]) => {
            let worker = find(wanted)?;
            Ok(asked.object(200, object(worker)?, &href(worker)))
        }
        ("DELETE", [wanted]) => {
            let pid = find(wanted)?.pid;
            store.ask(&Command::KillWorkerProcess { pid })?;
            Ok(Reply::empty(204))
        }
        (_, []) => Err(ApiError::method("GET")),
        (_, _) => Err(ApiError::method("GET, DELETE")),
    }
}

/// `/api/webserver/http-request-monitor/requests`.
pub(super) fn requests(asked: &Asked, rest: &[String], store: &Store) -> Result<Reply, ApiError> {
    if asked.method != "GET" {
        return Err(ApiError::method("GET"));
    }
    let Answer::Requests(requests) = store.ask(&Command::ListRequests)? else {
        return Err(ApiError::not_found("requests"));
    };
    let wp = match asked.query.get("wp.id") {
        None => None,
        Some(of) => {
            let pid = name_in('w', of).and_then(|pid| pid.parse::<u32>().ok());
            Some(pid.ok_or_else(|| ApiError::not_found("worker_process"))?)
        }
    };
    let of = |info: &RequestInfo| id('r', &info.request.id.0.to_string());
    let object = |info: &RequestInfo| {
        fields_of(json!({
            "id": of(info),
            "url": info.request.url,
            "method": info.request.verb,
            "client_ip_address": info.request.client,
            "time_elapsed": info.request.elapsed_ms,
            "pipeline_state": info.request.stage,
            "current_module": info.request.module,
            "website": {"id": id('s', &info.request.site.0.to_string())},
            "worker_process": {"id": id('w', &info.pid.to_string()), "process_id": info.pid},
        }))
    };
    let href =
        |info: &RequestInfo| format!("/api/webserver/http-request-monitor/requests/{}", of(info));
    match rest {
        [] => {
            let of_wp = requests
                .iter()
                .filter(|info| wp.is_none_or(|pid| info.pid == pid));
            Ok(asked.list(
                "requests",
                of_wp.map(|info| (object(info), href(info))).collect(),
            ))
        }
        [wanted] => {
            let found = requests.iter().find(|info| of(info) == *wanted);
            let info = found.ok_or_else(|| ApiError::not_found("request"))?;
            Ok(asked.object(200, object(info), &href(info)))
        }
        _ => Err(ApiError::not_found("requests")),
    }
}

/// `/api/webserver/service-controller`: W3SVC.
pub(super) fn service(asked: &Asked, store: &Store) -> Result<Reply, ApiError> {
    if asked.method == "PATCH" {
        let services = vec![Service::W3svc];
        let wanted = asked
            .status(&["started", "stopped"])?
            .ok_or_else(|| ApiError::field("status", "is required"))?;
        let is_running = w3svc(store)? == ServiceStatus::Running;
        if wanted == "started" && !is_running {
            store.ask(&Command::StartServices { services })?;
        } else if wanted == "stopped" && is_running {
            store.ask(&Command::StopServices {
                services,
                timeout_ms: STOP_TIMEOUT_MS,
                force: false,
                reset_by: None,
            })?;
        }
    } else if asked.method != "GET" {
        return Err(ApiError::method("GET, PATCH"));
    }
    let object = json!({
        "name": "World Wide Web Publishing Service",
        "id": id('c', "w3svc"),
        "status": status(w3svc(store)?),
    });
    Ok(asked.object(200, fields_of(object), "/api/webserver/service-controller"))
}

fn w3svc(store: &Store) -> Result<ServiceStatus, ApiError> {
    let Answer::Services(services) = store.ask(&Command::ServiceStatus)? else {
        return Ok(ServiceStatus::Stopped);
    };
    let found = services
        .iter()
        .find(|(service, _)| *service == Service::W3svc);
    Ok(found.map_or(ServiceStatus::Stopped, |(_, status)| *status))
}

fn status(status: ServiceStatus) -> &'static str {
    match status {
        ServiceStatus::Running => "started",
        ServiceStatus::StartPending => "starting",
        ServiceStatus::StopPending => "stopping",
        ServiceStatus::Stopped => "stopped",
    }
}

/// `/api/webserver/info`.
pub(super) fn info(asked: &Asked, store: &Store) -> Result<Reply, ApiError> {
    if asked.method != "GET" {
        return Err(ApiError::method("GET"));
    }
    let object = json!({
        "name": "Microsoft Internet Information Services (simulated by iis-sim)",
        "id": id('i', "webserver"),
        "status": status(w3svc(store)?),
    });
    Ok(asked.object(200, fields_of(object), "/api/webserver/info"))
}
