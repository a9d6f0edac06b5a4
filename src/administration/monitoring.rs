//! Counters: of the whole server, of a website, of an application pool.
//!
//! Source: microsoft/IIS.Administration, `WebServerSnapshot`, `WebSiteSnapshot`, `ApplicationPoolSnapshot`:
//! network, requests, memory, cpu, disk, cache. Totals since the counters began, where theirs are rates. What
//! nobody counts is missing: the bytes of a pool that shares a website with another pool, for example.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sim_httpsys::api::SiteId;
use sim_was::config::view::View;
use sim_was::control::{Answer, Command, CounterReadings, RequestInfo};
use sim_worker::counters::WorkerCounters;

use super::resource::{ApiError, Asked, Reply, fields_of, id};
use super::store::Store;
use super::{application_pools, websites};
use crate::live_world::processes::{io_reading, process_reading};

/// Of what counters are asked for.
#[derive(Debug)]
enum Whose {
    Server,
    /// A website and its pools, in lower case. Source: `WebSiteSnapshot` is made of the worker processes that
    /// serve the website, whether or not they serve others too.
    Site(SiteId, BTreeSet<String>),
    /// A pool and its websites; `None` if it shares one with another pool.
    Pool(String, Option<BTreeSet<SiteId>>),
}

/// `/api/webserver/monitoring`, `websites/monitoring/{id}`, `application-pools/monitoring/{id}`.
pub(super) fn answer(asked: &Asked, rest: &[&str], store: &Store) -> Result<Reply, ApiError> {
    if asked.method != "GET" {
        return Err(ApiError::method("GET"));
    }
    let (whose, of) = match *rest {
        [] => (Whose::Server, id('m', "webserver")),
        ["websites", of] => {
            let site = websites::find(of, store)?;
            (Whose::Site(number(&site), pools(&site)), of.to_owned())
        }
        ["application-pools", of] => {
            let name = application_pools::name_of(of)?;
            let sites = sites_of(&name, &websites::views(store)?);
            (Whose::Pool(name, sites), of.to_owned())
        }
        _ => return Err(ApiError::not_found("monitoring")),
    };
    let Answer::Counters(readings) = store.ask(&Command::QueryCounters { of_workers: true })?
    else {
        return Err(ApiError::not_found("monitoring"));
    };
    let Answer::Requests(active) = store.ask(&Command::ListRequests)? else {
        return Err(ApiError::not_found("monitoring"));
    };
    let mut object = fields_of(counters(&whose, &readings, &active));
    object.insert("id".to_owned(), json!(of));
    Ok(asked.object(200, object, "/api/webserver/monitoring"))
}

fn number(site: &View) -> SiteId {
    SiteId(websites::own(site, "id").parse().unwrap_or(0))
}

fn pools(site: &View) -> BTreeSet<String> {
    let pools = site.entries("application");
    pools
        .filter_map(|application| application.attribute("applicationPool"))
        .map(str::to_lowercase)
        .collect()
}

fn sites_of(pool: &str, sites: &[View]) -> Option<BTreeSet<SiteId>> {
    let pool = pool.to_lowercase();
    let pools_of = sites.iter().map(|site| (number(site), pools(site)));
    let own = pools_of.filter(|(_, pools)| pools.contains(&pool));
    own.map(|(site, pools)| (pools.len() == 1).then_some(site))
        .collect()
}

fn counters(whose: &Whose, readings: &CounterReadings, active: &[RequestInfo]) -> Value {
    let is_of = |pool: &str| match whose {
        Whose::Server => true,
        Whose::Pool(name, _) => name.eq_ignore_ascii_case(pool),
        Whose::Site(_, pools) => pools.contains(&pool.to_lowercase()),
    };
    let workers = readings.workers.iter();
    let workers: Vec<_> = workers.filter(|w| is_of(&w.application_pool)).collect();
    let mut counted = WorkerCounters::default();
    for worker in &workers {
        counted.add(&worker.counters);
    }
    let (active_requests, threads) = (counted.active_requests, counted.active_threads_count);
    // Totals do not fall when a worker is recycled.
    for (_, gone) in readings.others.iter().filter(|(pool, _)| is_of(pool)) {
        counted.add(gone);
    }
    let memory = workers.iter().filter_map(|w| process_reading(w.pid));
    let (private, resident) = memory.fold((0, 0), |(private, resident), reading| {
        (
            private + reading.private_bytes,
            resident + reading.working_set,
        )
    });
    let io = workers.iter().filter_map(|w| io_reading(w.pid));
    let (reads, writes) = io.fold((0, 0), |(reads, writes), io| {
        (reads + io.reads, writes + io.writes)
    });
    let mut object = json!({
        "requests": {
            "active": active_requests,
            "total": counted.total_http_requests_served,
        },
        "memory": {"private_bytes": private, "working_set": resident},
        "cpu": {"processes": workers.len(), "threads": threads},
        "disk": {"total_io_read_operations": reads, "total_io_write_operations": writes},
        "cache": {
            "file_cache_hits": counted.file_cache.hits,
            "file_cache_misses": counted.file_cache.misses,
            "output_cache_total_hits": counted.output_cache.hits,
            "output_cache_total_misses": counted.output_cache.misses,
        },
    });
    if let Whose::Site(site, _) = whose {
        let own = active.iter().filter(|info| info.request.site == *site);
        object["requests"] = json!({"active": own.count()});
    }
    let sites = readings
        .driver
        .iter()
        .flat_map(|driver| &driver.web_service);
    let is_counted = |site: &SiteId| match whose {
        // Of sites that were deleted the driver has counters, too.
        Whose::Server => readings.sites.iter().any(|(known, _)| *known == site.0),
        Whose::Site(number, _) => site == number,
        Whose::Pool(_, sites) => sites.as_ref().is_some_and(|sites| sites.contains(site)),
    };
    let sites: Vec<_> = sites
        .filter(|(site, _)| is_counted(site))
        .map(|(_, counters)| counters)
        .collect();
    if readings.driver.is_none() || matches!(whose, Whose::Pool(_, None)) {
        return object;
    }
    if matches!(whose, Whose::Site(..) | Whose::Server) {
        // Not what workers have served: of one that was killed that is not known to the end.
        object["requests"]["total"] =
            json!(sites.iter().map(|s| s.total_method_requests).sum::<u64>());
    }
    object["network"] = json!({
        "total_bytes_sent": sites.iter().map(|s| s.total_bytes_sent).sum::<u64>(),
        "total_bytes_recv": sites.iter().map(|s| s.total_bytes_received).sum::<u64>(),
        "current_connections": sites.iter().map(|s| s.current_connections).sum::<u64>(),
        "total_connection_attempts": sites.iter().map(|s| s.total_connection_attempts).sum::<u64>(),
    });
    object
}
