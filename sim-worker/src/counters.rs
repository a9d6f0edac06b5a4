//! `PerfMon` counters of a worker process, folded from its facts and its words with WAS: the sets
//! `W3SVC_W3WP` and `WAS_W3WP`, whose instance it is.
//!
//! Left out, because a simulated worker has none: the URI and metadata caches of user mode, web
//! sockets. They read 0 for whoever asks for them by name.

use serde::{Deserialize, Serialize};

use crate::facts::{CacheLayer, Fact};
use crate::ipm::{FromWorker, ToWorker};

/// One kind of cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheCounters {
    /// Lookups that found something.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Entries that were put in.
    pub total_items: u64,
    /// Entries that have left.
    pub flushed_items: u64,
    /// Bytes of the entries that are in.
    pub memory: u64,
    /// The most of it.
    pub memory_max: u64,
}

impl CacheCounters {
    /// Entries that are in.
    pub fn current_items(&self) -> u64 {
        self.total_items.saturating_sub(self.flushed_items)
    }

    /// Adds what another cache has counted.
    pub fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.total_items += other.total_items;
        self.flushed_items += other.flushed_items;
        self.memory += other.memory;
        self.memory_max += other.memory_max;
    }

    /// Its process is gone, and everything that was in it.
    ///
    /// Assumed: those entries count as flushed, so that what came less what went is what is in.
    fn end(&mut self) {
        self.flushed_items = self.total_items;
        self.memory = 0;
        self.memory_max = 0;
    }
}

/// What the counters of one worker read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCounters {
    /// `Active Requests`.
    pub active_requests: u64,
    /// `Total HTTP Requests Served`.
    pub total_http_requests_served: u64,
    /// Answers of status 401, 403, 404 and 500: `% … HTTP Response Sent` are made of them.
    pub answers_by_status: [u64; 4],
    /// `Active Threads Count`: threads that run a handler.
    pub active_threads_count: u64,
    /// `Maximum Threads Count`.
    pub maximum_threads_count: u64,
    /// `File Cache …`.
    pub file_cache: CacheCounters,
    /// `Output Cache …`.
    pub output_cache: CacheCounters,
    /// `Total Health Pings`.
    pub total_health_pings: u64,
    /// `Total Runtime Status Queries`.
    pub total_runtime_status_queries: u64,
    /// `Total WAS Messages Received`.
    pub total_was_messages_received: u64,
    /// `Total Messages Sent to WAS`.
    pub total_messages_sent_to_was: u64,
}

/// The statuses that are counted by themselves.
pub const COUNTED_STATUSES: [u16; 4] = [401, 403, 404, 500];

impl WorkerCounters {
    /// Takes a fact in.
    pub fn record(&mut self, fact: &Fact) {
        if let Fact::RequestBegan { .. } = fact {
            self.active_requests += 1;
        } else if let Fact::RequestEnded { status, .. } = fact {
            self.active_requests = self.active_requests.saturating_sub(1);
            self.total_http_requests_served += 1;
            if let Some(at) = COUNTED_STATUSES.iter().position(|s| s == status) {
                self.answers_by_status[at] += 1;
            }
        } else if let Fact::RequestAborted { .. } = fact {
            self.active_requests = self.active_requests.saturating_sub(1);
            self.total_http_requests_served += 1;
        } else if let Fact::CacheLookup { layer, hit } = fact
            && let Some(cache) = self.cache(*layer)
        {
            cache.hits += u64::from(*hit);
            cache.misses += u64::from(!*hit);
        } else if let Fact::CacheInsert { layer, bytes, .. } = fact
            && let Some(cache) = self.cache(*layer)
        {
            cache.total_items += 1;
            cache.memory += bytes;
            cache.memory_max = cache.memory_max.max(cache.memory);
        } else if let Fact::CacheRemove { layer, bytes, .. } = fact
            && let Some(cache) = self.cache(*layer)
        {
            cache.flushed_items += 1;
            cache.memory = cache.memory.saturating_sub(*bytes);
        }
    }

    /// Takes in what WAS has said.
    pub fn told(&mut self, message: &ToWorker) {
        self.total_was_messages_received += 1;
        match message {
            ToWorker::Ping { .. } => self.total_health_pings += 1,
            ToWorker::ListRequests { .. } | ToWorker::QueryCounters { .. } => {
                self.total_runtime_status_queries += 1;
            }
            ToWorker::Shutdown { .. }
            | ToWorker::Suspend
            | ToWorker::Resume
            | ToWorker::SetIdleTimeout { .. }
            | ToWorker::ApplicationChanged { .. }
            | ToWorker::ApplicationRemoved { .. } => {}
        }
    }

    /// Takes in what was said to WAS.
    pub fn said(&mut self, _message: &FromWorker) {
        self.total_messages_sent_to_was += 1;
    }

    /// Adds what another worker has counted.
    pub fn add(&mut self, other: &Self) {
        self.active_requests += other.active_requests;
        self.total_http_requests_served += other.total_http_requests_served;
        self.active_threads_count += other.active_threads_count;
        self.maximum_threads_count += other.maximum_threads_count;
        let counts = other.answers_by_status;
        for (sum, count) in self.answers_by_status.iter_mut().zip(counts) {
            *sum += count;
        }
        self.file_cache.add(&other.file_cache);
        self.output_cache.add(&other.output_cache);
        self.total_health_pings += other.total_health_pings;
        self.total_runtime_status_queries += other.total_runtime_status_queries;
        self.total_was_messages_received += other.total_was_messages_received;
        self.total_messages_sent_to_was += other.total_messages_sent_to_was;
    }

    /// Its process is gone: what it has counted stays, what it had at a moment is 0.
    pub fn end(&mut self) {
        self.active_requests = 0;
        self.active_threads_count = 0;
        self.maximum_threads_count = 0;
        self.file_cache.end();
        self.output_cache.end();
    }

    fn cache(&mut self, layer: CacheLayer) -> Option<&mut CacheCounters> {
        match layer {
            CacheLayer::File => Some(&mut self.file_cache),
            CacheLayer::Output => Some(&mut self.output_cache),
            CacheLayer::Application | CacheLayer::Compiled => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use sim_httpsys::api::{ActivityId, RequestId};

    use super::*;

    #[test]
    fn a_request_is_active_until_it_has_ended_and_counted_by_its_status() {
        let mut counters = WorkerCounters::default();
        let (request, activity) = (RequestId(1), ActivityId(1));
        counters.record(&Fact::RequestBegan { request, activity });
        assert_eq!(counters.active_requests, 1);
        let status = 404;
        counters.record(&Fact::RequestEnded {
            request,
            activity,
            status,
        });
        assert_eq!(
            (
                counters.active_requests,
                counters.total_http_requests_served
            ),
            (0, 1)
        );
        assert_eq!(counters.answers_by_status, [0, 0, 1, 0]);
    }

    #[test]
    fn what_is_in_a_cache_is_what_came_less_what_went() {
        let mut counters = WorkerCounters::default();
        let layer = CacheLayer::Output;
        for key in 0..3 {
            counters.record(&Fact::CacheInsert {
                layer,
                key,
                bytes: 10,
                expires: None,
            });
        }
        counters.record(&Fact::CacheRemove {
            layer,
            key: 1,
            bytes: 10,
        });
        let cache = counters.output_cache;
        assert_eq!(
            (cache.current_items(), cache.memory, cache.memory_max),
            (2, 20, 30)
        );
    }
}
