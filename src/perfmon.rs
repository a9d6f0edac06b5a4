//! What the server's counters read, as `PerfMon` names them: object, instance, counter.
//!
//! One list for everybody who shows counters (`typeperf`, `/metrics`). Every figure comes from
//! [`CounterReadings`], which are folds over facts. What the simulated machine does not have (CGI, ISAPI
//! extensions, `WebDAV` locks, web sockets, URI and metadata caches of user mode) reads 0, because
//! nothing of it ever happens. So do files received, because no module here takes a PUT.

use sim_httpsys::api::Verb;
use sim_httpsys::counters::{QueueReading, Snapshot, WebService, WebServiceCache};
use sim_was::control::{CounterReadings, WorkerReading};
use sim_was::counters::AppPoolWas;
use sim_worker::counters::WorkerCounters;

/// One counter of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    /// Its object, e.g. `APP_POOL_WAS`.
    pub object: &'static str,
    /// Its instance; objects with one instance have none.
    pub instance: Option<String>,
    /// Its name, e.g. `Current Worker Processes`.
    pub name: &'static str,
    /// What it reads. Of a rate: the total that it is the rate of.
    pub value: f64,
    /// Whether `PerfMon` shows the change of the value in a second.
    pub is_rate: bool,
}

/// The object of application pools.
pub const APP_POOL_WAS: &str = "APP_POOL_WAS";
/// The object of worker processes, as W3SVC counts.
pub const W3SVC_W3WP: &str = "W3SVC_W3WP";
/// The object of worker processes, as WAS counts.
pub const WAS_W3WP: &str = "WAS_W3WP";
/// The object of sites.
pub const WEB_SERVICE: &str = "Web Service";
/// The object of caches over all workers and the kernel.
pub const WEB_SERVICE_CACHE: &str = "Web Service Cache";
/// The object of request queues.
pub const REQUEST_QUEUES: &str = "HTTP Service Request Queues";
/// The object of the driver's cache.
pub const HTTP_SERVICE: &str = "HTTP Service";

/// The objects of which workers have to be asked.
pub const OF_WORKERS: [&str; 3] = [W3SVC_W3WP, WAS_W3WP, WEB_SERVICE_CACHE];

/// The instance that stands for all others together.
const TOTAL: &str = "_Total";

/// The counters of the verbs of "Web Service", in the order of [`Verb::ALL`].
pub const VERB_COUNTERS: [&str; 16] = [
    "Total Get Requests",
    "Total Post Requests",
    "Total Head Requests",
    "Total Put Requests",
    "Total Delete Requests",
    "Total Options Requests",
    "Total Trace Requests",
    "Total Copy Requests",
    "Total Move Requests",
    "Total Mkcol Requests",
    "Total Propfind Requests",
    "Total Proppatch Requests",
    "Total Search Requests",
    "Total Lock Requests",
    "Total Unlock Requests",
    "Total Other Request Methods",
];

/// Counters of "Web Service" that stay 0.
const WEB_SERVICE_ABSENT: [&str; 11] = [
    "Total Files Received",
    "Current NonAnonymous Users",
    "Total NonAnonymous Users",
    "Current CGI Requests",
    "Total CGI Requests",
    "Current ISAPI Extension Requests",
    "Total ISAPI Extension Requests",
    "Current Blocked Async I/O Requests",
    "Total Blocked Async I/O Requests",
    "Total Rejected Async I/O Requests",
    "Total Locked Errors",
];

/// Counters of a worker's URI and metadata caches, which stay 0.
const CACHES_ABSENT: [&str; 12] = [
    "Active Flushed Entries",
    "URI Cache Hits",
    "URI Cache Misses",
    "Current URIs Cached",
    "Total URIs Cached",
    "Total Flushed URIs",
    "Metadata Cache Hits",
    "Metadata Cache Misses",
    "Metadata Cache Flushes",
    "Current Metadata Cached",
    "Total Metadata Cached",
    "Total Flushed Metadata",
];

/// Counters of a worker's web sockets, which stay 0.
const WEB_SOCKETS_ABSENT: [&str; 4] = [
    "WebSocket Active Requests",
    "WebSocket Connection Attempts / Sec",
    "WebSocket Connections Accepted / Sec",
    "WebSocket Connections Rejected / Sec",
];

/// Everything that can be read, object by object.
pub fn counters(readings: &CounterReadings) -> Vec<Counter> {
    let mut list = List::default();
    list.app_pools(&readings.app_pools);
    list.workers(&readings.workers);
    list.caches(readings);
    // A driver that has not answered has no counters: zeros would look as if they had begun anew.
    if let Some(driver) = &readings.driver {
        list.sites(readings, driver);
        list.kernel_cache(&driver.web_service_cache);
        for queue in &driver.request_queues {
            list.queue(queue);
        }
    }
    list.counters
}

#[derive(Default)]
struct List {
    counters: Vec<Counter>,
}

/// An object and an instance, to which counters are added.
struct Instance<'a> {
    list: &'a mut Vec<Counter>,
    object: &'static str,
    name: Option<String>,
}

impl Instance<'_> {
    fn add(&mut self, name: &'static str, value: u64) {
        self.push(name, value, false);
    }

    fn rate(&mut self, name: &'static str, total: u64) {
        self.push(name, total, true);
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "PerfMon shows counters as floating point"
    )]
    fn push(&mut self, name: &'static str, value: u64, is_rate: bool) {
        self.list.push(Counter {
            object: self.object,
            instance: self.name.clone(),
            name,
            value: value as f64,
            is_rate,
        });
    }
}

impl List {
    fn of(&mut self, object: &'static str, instance: Option<String>) -> Instance<'_> {
        Instance {
            list: &mut self.counters,
            object,
            name: instance,
        }
    }

    fn app_pools(&mut self, pools: &[(String, AppPoolWas)]) {
        let mut total = AppPoolWas::default();
        for (name, pool) in pools {
            app_pool(&mut self.of(APP_POOL_WAS, Some(name.clone())), pool);
            add_app_pool(&mut total, pool);
        }
        app_pool(&mut self.of(APP_POOL_WAS, Some(TOTAL.to_owned())), &total);
    }

    fn workers(&mut self, workers: &[WorkerReading]) {
        let mut total = WorkerCounters::default();
        for worker in workers {
            let instance = format!("{}_{}", worker.pid, worker.application_pool);
            let counters = &worker.counters;
            w3svc_w3wp(&mut self.of(W3SVC_W3WP, Some(instance.clone())), counters);
            was_w3wp(&mut self.of(WAS_W3WP, Some(instance)), counters);
            total.add(counters);
        }
        w3svc_w3wp(&mut self.of(W3SVC_W3WP, Some(TOTAL.to_owned())), &total);
    }

    /// Source: "Web Service", an instance per site: all sites of the configuration have one.
    fn sites(&mut self, readings: &CounterReadings, driver: &Snapshot) {
        let uptime = readings.service_uptime_s;
        let mut total = WebService::default();
        for (number, name) in &readings.sites {
            let found = driver.web_service.iter().find(|(id, _)| id.0 == *number);
            let site = found.map(|(_, site)| *site).unwrap_or_default();
            web_service(&mut self.of(WEB_SERVICE, Some(name.clone())), &site, uptime);
            add_site(&mut total, &site);
        }
        let mut instance = self.of(WEB_SERVICE, Some(TOTAL.to_owned()));
        web_service(&mut instance, &total, uptime);
    }

    /// Source: "Web Service Cache": totals "since service startup", whatever became of the workers.
    fn caches(&mut self, readings: &CounterReadings) {
        let mut total = WorkerCounters::default();
        for worker in &readings.workers {
            total.add(&worker.counters);
        }
        for (_, counters) in &readings.others {
            total.add(counters);
        }
        total.file_cache.memory_max = readings.file_cache_memory_max;
        worker_caches(&mut self.of(WEB_SERVICE_CACHE, None), &total);
    }

    fn kernel_cache(&mut self, kernel: &WebServiceCache) {
        let mut cache = self.of(WEB_SERVICE_CACHE, None);
        cache.add(
            "Kernel: Current URIs Cached",
            kernel.kernel_current_uris_cached,
        );
        cache.add("Kernel: Total URIs Cached", kernel.kernel_total_uris_cached);
        cache.add("Kernel: URI Cache Hits", kernel.kernel_uri_cache_hits);
        cache.rate("Kernel: URI Cache Hits/sec", kernel.kernel_uri_cache_hits);
        cache.add("Kernel: URI Cache Misses", kernel.kernel_uri_cache_misses);
        cache.add("Kernel: URI Cache Flushes", kernel.kernel_uri_cache_flushes);
        cache.add(
            "Kernel: Total Flushed URIs",
            kernel.kernel_total_flushed_uris,
        );
        let mut http = self.of(HTTP_SERVICE, None);
        http.add("CurrentUrisCached", kernel.kernel_current_uris_cached);
        http.add("TotalUrisCached", kernel.kernel_total_uris_cached);
        http.add("UriCacheHits", kernel.kernel_uri_cache_hits);
        http.add("UriCacheMisses", kernel.kernel_uri_cache_misses);
        http.add("UriCacheFlushes", kernel.kernel_uri_cache_flushes);
        http.add("TotalFlushedUris", kernel.kernel_total_flushed_uris);
    }

    fn queue(&mut self, queue: &QueueReading) {
        let mut instance = self.of(REQUEST_QUEUES, Some(queue.name.0.clone()));
        instance.add("CurrentQueueSize", queue.current_queue_size);
        instance.add("MaxQueueItemAge", queue.max_queue_item_age_ms);
        instance.rate("ArrivalRate", queue.arrivals);
        instance.rate("RejectionRate", queue.rejected_requests);
        instance.add("RejectedRequests", queue.rejected_requests);
        instance.rate("CacheHitRate", queue.cache_hits);
    }
}

fn app_pool(to: &mut Instance<'_>, pool: &AppPoolWas) {
    let state = u64::from(pool.current_application_pool_state);
    to.add("Current Application Pool State", state);
    to.add(
        "Current Application Pool Uptime",
        pool.current_application_pool_uptime_s,
    );
    to.add(
        "Current Worker Processes",
        u64::from(pool.current_worker_processes),
    );
    to.add(
        "Maximum Worker Processes",
        u64::from(pool.maximum_worker_processes),
    );
    to.add(
        "Recent Worker Process Failures",
        pool.recent_worker_process_failures,
    );
    to.add(
        "Time Since Last Worker Process Failure",
        pool.time_since_last_worker_process_failure_s,
    );
    to.add(
        "Total Application Pool Recycles",
        pool.total_application_pool_recycles,
    );
    to.add(
        "Total Application Pool Uptime",
        pool.total_application_pool_uptime_s,
    );
    to.add(
        "Total Worker Processes Created",
        pool.total_worker_processes_created,
    );
    to.add(
        "Total Worker Process Failures",
        pool.total_worker_process_failures,
    );
    to.add(
        "Total Worker Process Ping Failures",
        pool.total_worker_process_ping_failures,
    );
    to.add(
        "Total Worker Process Shutdown Failures",
        pool.total_worker_process_shutdown_failures,
    );
    to.add(
        "Total Worker Process Startup Failures",
        pool.total_worker_process_startup_failures,
    );
}

/// Sums; the state and the times of all pools together mean nothing and stay 0.
fn add_app_pool(total: &mut AppPoolWas, pool: &AppPoolWas) {
    total.current_worker_processes += pool.current_worker_processes;
    total.maximum_worker_processes += pool.maximum_worker_processes;
    total.recent_worker_process_failures += pool.recent_worker_process_failures;
    total.total_application_pool_recycles += pool.total_application_pool_recycles;
    total.total_worker_processes_created += pool.total_worker_processes_created;
    total.total_worker_process_failures += pool.total_worker_process_failures;
    total.total_worker_process_ping_failures += pool.total_worker_process_ping_failures;
    total.total_worker_process_shutdown_failures += pool.total_worker_process_shutdown_failures;
    total.total_worker_process_startup_failures += pool.total_worker_process_startup_failures;
}

fn w3svc_w3wp(to: &mut Instance<'_>, worker: &WorkerCounters) {
    to.add("Active Requests", worker.active_requests);
    to.add(
        "Total HTTP Requests Served",
        worker.total_http_requests_served,
    );
    to.rate("Requests / Sec", worker.total_http_requests_served);
    to.add("Active Threads Count", worker.active_threads_count);
    to.add("Maximum Threads Count", worker.maximum_threads_count);
    worker_caches(to, worker);
    let names = [
        "% 401 HTTP Response Sent",
        "% 403 HTTP Response Sent",
        "% 404 HTTP Response Sent",
        "% 500 HTTP Response Sent",
    ];
    for (name, count) in names.into_iter().zip(worker.answers_by_status) {
        to.add(name, count);
    }
    for name in WEB_SOCKETS_ABSENT {
        to.add(name, 0);
    }
}

fn worker_caches(to: &mut Instance<'_>, worker: &WorkerCounters) {
    let file = &worker.file_cache;
    to.add("Current File Cache Memory Usage", file.memory);
    to.add("Maximum File Cache Memory Usage", file.memory_max);
    to.add("File Cache Flushes", file.flushed_items);
    to.add("File Cache Hits", file.hits);
    to.add("File Cache Misses", file.misses);
    to.add("Current Files Cached", file.current_items());
    to.add("Total Files Cached", file.total_items);
    to.add("Total Flushed Files", file.flushed_items);
    for name in CACHES_ABSENT {
        to.add(name, 0);
    }
    let output = &worker.output_cache;
    to.add("Output Cache Current Items", output.current_items());
    to.add("Output Cache Current Memory Usage", output.memory);
    to.add("Output Cache Current Flushed Items", 0);
    to.add("Output Cache Total Hits", output.hits);
    to.add("Output Cache Total Misses", output.misses);
    to.add("Output Cache Total Flushed Items", output.flushed_items);
    to.add("Output Cache Total Flushes", output.flushed_items);
}

fn was_w3wp(to: &mut Instance<'_>, worker: &WorkerCounters) {
    to.add("Total Health Pings", worker.total_health_pings);
    to.add(
        "Total Runtime Status Queries",
        worker.total_runtime_status_queries,
    );
    to.add(
        "Total WAS Messages Received",
        worker.total_was_messages_received,
    );
    to.rate("Messages Sent to WAS", worker.total_messages_sent_to_was);
    to.add(
        "Total Messages Sent to WAS",
        worker.total_messages_sent_to_was,
    );
    to.add("Total Requests Served", worker.total_http_requests_served);
    // It listens for HTTP, and for nothing else.
    to.add("Active Listener Channels", 1);
    to.add("Active Protocol Handlers", 1);
}

/// Source: `TechNet` cc775901: anonymous users are those with an anonymous connection. Assumed: so
/// everybody who connects is one, because nobody authenticates here.
fn web_service(to: &mut Instance<'_>, site: &WebService, uptime_s: u64) {
    to.add("Service Uptime", uptime_s);
    to.add("Current Connections", site.current_connections);
    to.add("Maximum Connections", site.maximum_connections);
    to.add(
        "Total Connection Attempts (all instances)",
        site.total_connection_attempts,
    );
    to.add("Total Bytes Received", site.total_bytes_received);
    to.add("Total Bytes Sent", site.total_bytes_sent);
    to.rate("Bytes Sent/sec", site.total_bytes_sent);
    to.add("Total Files Sent", site.total_files_sent);
    to.rate("Files Sent/sec", site.total_files_sent);
    to.rate("Bytes Received/sec", site.total_bytes_received);
    to.add("Current Anonymous Users", site.current_connections);
    to.add("Total Anonymous Users", site.total_connection_attempts);
    for verb in Verb::ALL {
        let at = verb as usize;
        to.add(VERB_COUNTERS[at], site.total_requests_by_verb[at]);
    }
    to.add("Total Method Requests", site.total_method_requests);
    to.rate("Total Method Requests/sec", site.total_method_requests);
    to.add("Total Not Found Errors", site.total_not_found_errors);
    to.add("Total Logon Attempts", site.total_logon_attempts);
    for name in WEB_SERVICE_ABSENT {
        to.add(name, 0);
    }
}

fn add_site(total: &mut WebService, site: &WebService) {
    total.total_method_requests += site.total_method_requests;
    total.total_bytes_sent += site.total_bytes_sent;
    total.total_files_sent += site.total_files_sent;
    total.total_bytes_received += site.total_bytes_received;
    total.total_not_found_errors += site.total_not_found_errors;
    total.total_logon_attempts += site.total_logon_attempts;
    total.current_connections += site.current_connections;
    total.maximum_connections += site.maximum_connections;
    total.total_connection_attempts += site.total_connection_attempts;
    let counts = site.total_requests_by_verb;
    for (sum, count) in total.total_requests_by_verb.iter_mut().zip(counts) {
        *sum += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_total_is_the_sum_of_the_others() {
        let pool = |created| AppPoolWas {
            total_worker_processes_created: created,
            ..AppPoolWas::default()
        };
        let readings = CounterReadings {
            app_pools: vec![("A".to_owned(), pool(2)), ("B".to_owned(), pool(3))],
            ..CounterReadings::default()
        };
        let list = counters(&readings);
        let created = |instance: &str| {
            let is_it = |c: &&Counter| {
                c.name == "Total Worker Processes Created"
                    && c.instance.as_deref() == Some(instance)
            };
            list.iter().find(is_it).map(|counter| counter.value)
        };
        assert_eq!(
            (created("A"), created("B"), created("_Total")),
            (Some(2.0), Some(3.0), Some(5.0))
        );
    }
}
