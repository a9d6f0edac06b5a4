//! A snapshot of the driver, as `netsh http show servicestate` prints it.

use serde::{Deserialize, Serialize};

use crate::api::{ProcessId, QueueState, RequestQueueName, ResponseVerbosity, SiteId, UrlGroupId};

/// Everything that is set up in the driver at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceState {
    /// URL groups, by id.
    pub url_groups: Vec<UrlGroupState>,
    /// Request queues, by name.
    pub request_queues: Vec<RequestQueueState>,
    /// Open connections.
    pub connections: u64,
    /// Entries in the response cache.
    pub cache_entries: u64,
    /// Bytes in the response cache.
    pub cache_bytes: u64,
}

/// One URL group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UrlGroupState {
    /// Its id.
    pub id: UrlGroupId,
    /// Its site.
    pub site: SiteId,
    /// Its queue.
    pub queue: RequestQueueName,
    /// Its URLs, as they were added.
    pub urls: Vec<String>,
}

/// One request queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestQueueState {
    /// Its name.
    pub name: RequestQueueName,
    /// Whether it takes requests.
    pub state: QueueState,
    /// How it refuses.
    pub verbosity: ResponseVerbosity,
    /// How many requests may wait.
    pub length_max: u32,
    /// How many wait.
    pub queued: u32,
    /// How many are held by processes.
    pub active: u32,
    /// How many have arrived.
    pub arrived: u64,
    /// How many were refused.
    pub rejected: u64,
    /// How many were answered from the cache.
    pub cache_hits: u64,
    /// Its controller.
    pub controller: ProcessId,
    /// The processes that have it open.
    pub processes: Vec<ProcessId>,
}
