//! PerfMon counters, folded from facts: one struct per counter set, changed only by recording a fact.
//!
//! The names are PerfMon's. Rates are left to the reader, who knows the interval. Left out: the user
//! mode part of "Web Service Cache", which worker processes count themselves.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::api::{ConnectionId, ProcessId, RequestId, RequestQueueName, SiteId, Verb};
use crate::clockwork::Instant;
use crate::clockwork::mutants::{Mutant, mutated};
use crate::etw::{CacheRemoval, Fact};

/// Every counter set of the driver.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// "HTTP Service Request Queues", an instance per queue.
    pub http_service_request_queues: BTreeMap<RequestQueueName, HttpServiceRequestQueues>,
    /// "Web Service Cache", the kernel part.
    pub web_service_cache: WebServiceCache,
    /// "Web Service", an instance per site.
    pub web_service: BTreeMap<SiteId, WebService>,
    /// Requests that processes hold: who, and since when.
    held: BTreeMap<RequestId, (ProcessId, Instant)>,
    /// Which queue a process receives from.
    queue_of_process: BTreeMap<ProcessId, RequestQueueName>,
    /// Which queue a cache entry belongs to.
    queue_of_entry: BTreeMap<u64, RequestQueueName>,
    /// Which site a connection counts for.
    site_of_connection: BTreeMap<ConnectionId, SiteId>,
}

/// "HTTP Service Request Queues", since the queue was created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpServiceRequestQueues {
    /// `ArrivalRate`, as a total: requests that the queue took.
    pub arrivals: u64,
    /// `RejectedRequests`.
    pub rejected_requests: u64,
    /// `CacheHitRate`, as a total: requests answered from the queue's cache entries.
    pub cache_hits: u64,
    /// Requests that were handed to processes.
    pub delivered: u64,
    waiting: BTreeMap<RequestId, Instant>,
    /// Lets a queue that was closed be told from one that is empty.
    pub is_open: bool,
}

impl HttpServiceRequestQueues {
    /// `CurrentQueueSize`.
    pub fn current_queue_size(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// `MaxQueueItemAge`: how long the oldest request has waited.
    pub fn max_queue_item_age(&self, now: Instant) -> Duration {
        let oldest = self.waiting.first_key_value();
        oldest.map_or(Duration::ZERO, |(_, since)| now.saturating_since(*since))
    }
}

/// "Web Service Cache", counters that begin with `Kernel:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebServiceCache {
    /// `Kernel: Current URIs Cached`.
    pub kernel_current_uris_cached: u64,
    /// `Kernel: Total URIs Cached`.
    pub kernel_total_uris_cached: u64,
    /// `Kernel: URI Cache Hits`.
    pub kernel_uri_cache_hits: u64,
    /// `Kernel: URI Cache Misses`.
    pub kernel_uri_cache_misses: u64,
    /// `Kernel: URI Cache Flushes`: entries that somebody or something flushed before their time.
    pub kernel_uri_cache_flushes: u64,
    /// `Kernel: Total Flushed URIs`: entries that have left, for whatever reason.
    pub kernel_total_flushed_uris: u64,
    /// Bytes of the entries; PerfMon has no such counter for the kernel.
    pub kernel_current_bytes: u64,
}

/// "Web Service", as far as the driver knows it, since W3SVC was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebService {
    /// `Total Method Requests`: requests that were answered, also those whose client did not wait for it.
    /// Assumed: they are the lines of the site's log, as far as there is one.
    pub total_method_requests: u64,
    /// The same by verb, in the order of [`Verb::ALL`]: `Total Get Requests` and so on.
    pub total_requests_by_verb: [u64; 16],
    /// `Total Bytes Sent`.
    pub total_bytes_sent: u64,
    /// `Total Bytes Received`: of requests that were answered.
    pub total_bytes_received: u64,
    /// `Total Files Sent`: by workers; the response cache sends entries, not files.
    pub total_files_sent: u64,
    /// `Total Not Found Errors`: answers of status 404.
    pub total_not_found_errors: u64,
    /// Requests that a worker answered, who logs everybody on (anonymously): `Total Logon Attempts`.
    pub total_logon_attempts: u64,
    /// `Current Connections`.
    pub current_connections: u64,
    /// `Maximum Connections`.
    pub maximum_connections: u64,
    /// `Total Connection Attempts (all instances)`: connections whose first request was routed here.
    pub total_connection_attempts: u64,
}

/// What all counters read at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// "HTTP Service Request Queues", those that are open, by name.
    pub request_queues: Vec<QueueReading>,
    /// "Web Service", by site.
    pub web_service: Vec<(SiteId, WebService)>,
    /// "Web Service Cache", the kernel part.
    pub web_service_cache: WebServiceCache,
}

/// What the counters of one queue read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueReading {
    /// Which.
    pub name: RequestQueueName,
    /// `CurrentQueueSize`.
    pub current_queue_size: u64,
    /// `MaxQueueItemAge`, milliseconds.
    pub max_queue_item_age_ms: u64,
    /// How long the oldest request that a process was given has been held, milliseconds: it grows without
    /// end when a worker answers its pings and nothing else. PerfMon has no such counter.
    pub max_delivered_age_ms: u64,
    /// `ArrivalRate`, as a total.
    pub arrivals: u64,
    /// `RejectedRequests`.
    pub rejected_requests: u64,
    /// `CacheHitRate`, as a total.
    pub cache_hits: u64,
}

impl Counters {
    /// Records a fact that happened at `at`.
    pub fn record(&mut self, fact: &Fact, at: Instant) {
        match fact {
            Fact::CacheMiss { .. } => self.web_service_cache.kernel_uri_cache_misses += 1,
            Fact::Queued { request, queue, .. } => {
                let queue = self.queue(queue);
                queue.arrivals += 1;
                queue.waiting.insert(*request, at);
            }
            Fact::Deliver {
                request, process, ..
            } => {
                self.held.insert(*request, (*process, at));
                self.delivered(*request, *process);
            }
            Fact::SendComplete {
                request,
                site,
                status,
                bytes,
                verb,
                received,
                is_file,
                ..
            } => {
                self.held.remove(request);
                self.answered(*site, *status, *bytes, *verb, *received);
                let site = self.site(*site);
                site.total_logon_attempts += 1;
                site.total_files_sent += u64::from(*is_file);
            }
            Fact::SrvdFrmCache {
                site,
                status,
                bytes,
                verb,
                received,
                entry,
                ..
            } => {
                self.answered(*site, *status, *bytes, *verb, *received);
                self.hit(*entry);
            }
            Fact::LogFileWrite {
                site,
                process,
                entry,
                status,
                bytes,
                verb,
                received,
                ..
            } => {
                self.answered(*site, *status, *bytes, *verb, *received);
                self.site(*site).total_logon_attempts += u64::from(process.is_some());
                if let Some(entry) = entry {
                    self.hit(*entry);
                }
            }
            // The queue refuses with a page, or by a reset; for a bad body it is not the one that refuses.
            Fact::FastResp {
                request,
                queue: Some(queue),
                reason,
                ..
            }
            | Fact::Dropped {
                request,
                queue: Some(queue),
                reason,
                ..
            } => {
                self.held.remove(request);
                let queue = self.queue(queue);
                queue.waiting.remove(request);
                queue.rejected_requests += u64::from(reason.is_of_queue());
            }
            Fact::CacheInsert {
                entry,
                queue,
                bytes,
                ..
            } => {
                self.queue_of_entry.insert(*entry, queue.clone());
                let cache = &mut self.web_service_cache;
                cache.kernel_current_uris_cached += 1;
                cache.kernel_total_uris_cached += 1;
                cache.kernel_current_bytes += bytes;
            }
            Fact::CacheRemove { entry, bytes, why } => self.uncached(*entry, *bytes, *why),
            Fact::ProcessAttach { process, queue } => {
                self.queue_of_process.insert(*process, queue.clone());
            }
            Fact::ProcessDetach { process, .. } => {
                self.queue_of_process.remove(process);
            }
            Fact::CreateRequestQueue { queue } => self.queue(queue).is_open = true,
            Fact::CloseRequestQueue { queue, .. } => self.queue_closed(queue),
            Fact::ConnCounted { connection, site } => {
                self.site_of_connection.insert(*connection, *site);
                let site = self.site(*site);
                site.total_connection_attempts += 1;
                site.current_connections += 1;
                site.maximum_connections = site.maximum_connections.max(site.current_connections);
            }
            Fact::ConnCleanup { connection, .. } => {
                if let Some(site) = self.site_of_connection.remove(connection) {
                    let site = self.site(site);
                    site.current_connections = site.current_connections.saturating_sub(1);
                }
            }
            Fact::ConnConnect { .. }
            | Fact::SslHandshake { .. }
            | Fact::Parse { .. }
            | Fact::FastResp { queue: None, .. }
            | Fact::Dropped { queue: None, .. }
            | Fact::ConnError { .. }
            | Fact::DemandStart { .. }
            | Fact::ProcessShutdown { .. }
            | Fact::Untrusted { .. }
            | Fact::AddUrl { .. }
            | Fact::RemoveUrl { .. }
            | Fact::EndpointOpen { .. }
            | Fact::EndpointClose { .. } => {}
        }
    }

    fn queue(&mut self, name: &RequestQueueName) -> &mut HttpServiceRequestQueues {
        if !self.http_service_request_queues.contains_key(name) {
            self.http_service_request_queues
                .insert(name.clone(), HttpServiceRequestQueues::default());
        }
        self.http_service_request_queues
            .get_mut(name)
            .expect("it was inserted above")
    }

    /// The counters of a queue go with it. With the last one W3SVC has let go of everything, and the counters of
    /// its sites go, too.
    ///
    /// Assumed: "Web Service" is counted as long as W3SVC runs, whatever becomes of the URL groups of a site
    /// meanwhile: stopping a site, or giving it another pool, does not begin its counters anew.
    fn queue_closed(&mut self, name: &RequestQueueName) {
        let queue = self.queue(name);
        *queue = HttpServiceRequestQueues {
            waiting: core::mem::take(&mut queue.waiting),
            ..HttpServiceRequestQueues::default()
        };
        if self.open_queues().is_empty() {
            for site in self.web_service.values_mut() {
                *site = WebService {
                    current_connections: site.current_connections,
                    maximum_connections: site.current_connections,
                    ..WebService::default()
                };
            }
        }
    }

    fn delivered(&mut self, request: RequestId, process: ProcessId) {
        let Some(name) = self.queue_of_process.get(&process) else {
            return;
        };
        let Some(queue) = self.http_service_request_queues.get_mut(name) else {
            return;
        };
        queue.delivered += 1;
        if queue.waiting.remove(&request).is_none() {
            queue.arrivals += 1;
        }
    }

    fn site(&mut self, site: SiteId) -> &mut WebService {
        self.web_service.entry(site).or_default()
    }

    fn answered(&mut self, site: SiteId, status: u16, bytes: u64, verb: Verb, received: u64) {
        let mut site = site;
        if mutated(Mutant::CountForFirstSite) {
            site = self.web_service.keys().next().copied().unwrap_or(site);
        }
        let site = self.site(site);
        site.total_method_requests += 1;
        site.total_requests_by_verb[verb as usize] += 1;
        site.total_bytes_sent += bytes;
        site.total_bytes_received += received;
        site.total_not_found_errors += u64::from(status == 404);
    }

    fn hit(&mut self, entry: u64) {
        self.web_service_cache.kernel_uri_cache_hits += 1;
        if let Some(name) = self.queue_of_entry.get(&entry).cloned() {
            self.queue(&name).cache_hits += 1;
        }
    }

    /// What they read now.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let queues = self.http_service_request_queues.iter();
        let mut oldest: BTreeMap<&RequestQueueName, Duration> = BTreeMap::new();
        for (process, since) in self.held.values() {
            if let Some(name) = self.queue_of_process.get(process) {
                let age = oldest.entry(name).or_default();
                *age = now.saturating_since(*since).max(*age);
            }
        }
        let milliseconds = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let reading = |(name, queue): (&RequestQueueName, &HttpServiceRequestQueues)| {
            let held = oldest.get(name).copied().unwrap_or_default();
            QueueReading {
                name: name.clone(),
                current_queue_size: queue.current_queue_size(),
                max_queue_item_age_ms: milliseconds(queue.max_queue_item_age(now)),
                max_delivered_age_ms: milliseconds(held),
                arrivals: queue.arrivals,
                rejected_requests: queue.rejected_requests,
                cache_hits: queue.cache_hits,
            }
        };
        Snapshot {
            request_queues: queues.filter(|(_, q)| q.is_open).map(reading).collect(),
            web_service: self
                .web_service
                .iter()
                .map(|(&id, &site)| (id, site))
                .collect(),
            web_service_cache: self.web_service_cache,
        }
    }

    fn uncached(&mut self, entry: u64, bytes: u64, why: CacheRemoval) {
        self.queue_of_entry.remove(&entry);
        let cache = &mut self.web_service_cache;
        cache.kernel_current_uris_cached = cache.kernel_current_uris_cached.saturating_sub(1);
        cache.kernel_current_bytes = cache.kernel_current_bytes.saturating_sub(bytes);
        cache.kernel_total_flushed_uris += 1;
        match why {
            CacheRemoval::Flushed | CacheRemoval::OwnerGone | CacheRemoval::QueueClosed => {
                cache.kernel_uri_cache_flushes += 1;
            }
            CacheRemoval::Expired
            | CacheRemoval::Scavenged
            | CacheRemoval::Replaced
            | CacheRemoval::Evicted => {}
        }
    }

    /// How many queues are open.
    pub fn open_queues(&self) -> BTreeSet<&RequestQueueName> {
        let queues = self.http_service_request_queues.iter();
        queues
            .filter(|(_, queue)| queue.is_open)
            .map(|(name, _)| name)
            .collect()
    }
}
