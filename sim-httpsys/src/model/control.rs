//! Control calls: everything that is not on the path of a request. This file only routes.

use super::{HttpSys, Output};
use crate::api::{CallId, CallResult, Completion, ControlCall, ProcessId};
use crate::clockwork::Instant;
use crate::service_state::{RequestQueueState, ServiceState, UrlGroupState};

impl HttpSys {
    pub(super) fn control(&mut self, by: ProcessId, id: CallId, call: ControlCall, now: Instant) {
        self.processes.entry(by).or_default();
        let result = match call {
            ControlCall::CreateRequestQueue { name, properties } => {
                self.create_request_queue(by, name, properties)
            }
            ControlCall::SetRequestQueueProperties { queue, properties } => {
                self.set_request_queue_properties(by, &queue, properties, now)
            }
            ControlCall::CloseRequestQueue { queue } => self.close_request_queue(by, &queue, now),
            ControlCall::CreateUrlGroup { group, properties } => {
                self.create_url_group(by, group, *properties)
            }
            ControlCall::SetUrlGroupProperties { group, properties } => {
                self.set_url_group_properties(by, group, *properties)
            }
            ControlCall::CloseUrlGroup { group } => self.close_url_group(by, group, now),
            ControlCall::RemoveUrl { group, url } => self.remove_url(by, group, &url, now),
            ControlCall::FlushResponseCache {
                queue,
                url,
                recursive,
            } => self.flush_response_cache(&queue, url.as_deref(), recursive),
            ControlCall::QueryServiceState => {
                Ok(CallResult::ServiceState(Box::new(self.service_state())))
            }
            // Whoever folds the facts knows them.
            ControlCall::QueryCounters => {
                return self
                    .outputs
                    .push_back(Output::QueryCounters { by, call: id });
            }
            ControlCall::OpenRequestQueue { name } => self.open_request_queue(by, name),
            ControlCall::ShutdownRequestQueue => self.shutdown_request_queue(by),
            ControlCall::CancelReceives => self.cancel_receives(by),
            ControlCall::DisownProcess { process } => self.disown_process(by, process),
            // These answer by themselves: before something else they cause, or later.
            ControlCall::AddUrl {
                group,
                url,
                context,
            } => {
                return self.add_url(by, id, group, url, context);
            }
            ControlCall::MoveUrl {
                from,
                group,
                url,
                context,
            } => {
                return self.move_url(by, id, (from, group), url, context);
            }
            ControlCall::WaitForDemandStart { queue } => {
                return self.wait_for_demand_start(by, queue, id);
            }
        };
        self.complete(by, Completion::Called { id, result });
    }

    /// A snapshot of everything that is set up.
    pub fn service_state(&self) -> ServiceState {
        let url_groups = self.groups.iter().map(|(&id, group)| UrlGroupState {
            id,
            site: group.properties.site,
            queue: group.properties.queue.clone(),
            urls: group.urls.values().map(|url| url.text.clone()).collect(),
        });
        let request_queues = self.queues.open().map(|(_, queue)| RequestQueueState {
            name: queue.name.clone(),
            state: queue.properties.state,
            verbosity: queue.properties.verbosity,
            length_max: queue.properties.length,
            queued: queue.waiting,
            active: queue.active,
            arrived: queue.arrived,
            rejected: queue.rejected,
            cache_hits: queue.cache_hits,
            controller: queue.controller,
            processes: queue.processes.iter().copied().collect(),
        });
        ServiceState {
            url_groups: url_groups.collect(),
            request_queues: request_queues.collect(),
            connections: self.connections.len() as u64,
            cache_entries: self.cache.len() as u64,
            cache_bytes: self.cache.bytes(),
        }
    }
}
