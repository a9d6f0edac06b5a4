//! What tools are shown: objects in the order of the file, with their states.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sim_httpsys::api::{ProcessId, SiteId};
use sim_httpsys::clockwork::Instant;
use sim_worker::ipm::{ExecutingRequest, ToWorker};

use super::app_pool::AppPool;
use super::was::SiteState;
use super::{ClientId, Output, Timer, Was};
use crate::config::Site;
use crate::control::{
    Answer, ApplicationInfo, ApplicationPoolInfo, ObjectState, RequestInfo, Service, ServiceStatus,
    SiteInfo, VirtualDirectoryInfo, WorkerProcessInfo,
};

/// How long workers have to list their requests; one that hangs must not hang `appcmd`.
/// Assumed: IIS documents no limit.
pub(super) const QUERY_MAX: Duration = Duration::from_secs(2);

/// A question to all workers.
#[derive(Debug)]
pub(super) struct Query {
    client: ClientId,
    awaited: BTreeSet<ProcessId>,
    gathered: Vec<RequestInfo>,
}

/// The pools. While WAS does not run their state is unknown.
pub(super) fn application_pools(was: &Was) -> Vec<ApplicationPoolInfo> {
    let configured = was.configuration.iter().flat_map(|c| &c.application_pools);
    let by_name: BTreeMap<&str, &AppPool> = was
        .pools
        .iter()
        .map(|pool| (pool.settings().name.as_str(), pool))
        .collect();
    configured
        .map(|pool| ApplicationPoolInfo {
            name: pool.name.clone(),
            managed_runtime_version: pool.managed_runtime_version.clone(),
            managed_pipeline_mode: if pool.classic {
                "Classic"
            } else {
                "Integrated"
            }
            .to_owned(),
            state: by_name
                .get(pool.name.as_str())
                .map_or(ObjectState::Unknown, |pool| pool.shown()),
        })
        .collect()
}

fn configured_sites(was: &Was) -> impl Iterator<Item = &Site> {
    was.configuration.iter().flat_map(|c| &c.sites)
}

/// The sites. While W3SVC does not run their state is unknown.
///
/// Source: IIS schema, `state` of a site: Stopping is 2. Assumed: while W3SVC stops, those are that it had started.
pub(super) fn sites(was: &Was) -> Vec<SiteInfo> {
    let stops = was.services.status(Service::W3svc) == ServiceStatus::StopPending;
    configured_sites(was)
        .map(|site| SiteInfo {
            name: site.name.clone(),
            id: site.id,
            bindings: site
                .bindings
                .iter()
                .map(|binding| format!("{}/{}", binding.protocol, binding.information))
                .collect(),
            state: match was.sites.get(&SiteId(site.id)) {
                Some(SiteState::Started) if stops => ObjectState::Stopping,
                Some(SiteState::Started) => ObjectState::Started,
                Some(SiteState::Stopped | SiteState::Failed(_)) => ObjectState::Stopped,
                None => ObjectState::Unknown,
            },
        })
        .collect()
}

/// The applications.
pub(super) fn applications(was: &Was) -> Vec<ApplicationInfo> {
    configured_sites(was)
        .flat_map(|site| {
            site.applications.iter().map(|app| ApplicationInfo {
                site: site.name.clone(),
                path: app.path.clone(),
                application_pool: app.application_pool.clone(),
            })
        })
        .collect()
}

/// The virtual directories.
pub(super) fn virtual_directories(was: &Was) -> Vec<VirtualDirectoryInfo> {
    let mut list = Vec::new();
    for site in configured_sites(was) {
        for app in &site.applications {
            list.extend(
                app.virtual_directories
                    .iter()
                    .map(|directory| VirtualDirectoryInfo {
                        site: site.name.clone(),
                        application: app.path.clone(),
                        path: directory.path.clone(),
                        physical_path: directory.physical_path.clone(),
                    }),
            );
        }
    }
    list
}

/// The worker processes, pool by pool, the oldest first.
pub(super) fn worker_processes(was: &Was) -> Vec<WorkerProcessInfo> {
    let mut list = Vec::new();
    for pool in &was.pools {
        for worker in pool.workers() {
            if let Some(pid) = worker.pid {
                list.push(WorkerProcessInfo {
                    pid: pid.0,
                    application_pool: pool.settings().name.clone(),
                    state: worker.shown(),
                });
            }
        }
    }
    list
}

impl Was {
    /// Asks every worker that serves or drains; the answer is sent when all have answered.
    pub(super) fn list_requests(&mut self, client: ClientId, now: Instant) {
        self.queries_asked += 1;
        let token = self.queries_asked;
        let awaited = self.workers_to_ask();
        for &pid in &awaited {
            let message = ToWorker::ListRequests { token };
            self.fx.push(Output::Tell { pid, message });
        }
        self.fx.timers.set(Timer::Query(token), now + QUERY_MAX);
        let query = Query {
            client,
            awaited,
            gathered: Vec::new(),
        };
        self.queries.insert(token, query);
        self.finish_query(token);
    }

    /// The workers that can be asked. One that owes an answer is not waited for again: it is none that it would give.
    pub(super) fn workers_to_ask(&self) -> BTreeSet<ProcessId> {
        let workers = self.pools.iter().flat_map(AppPool::workers);
        workers
            .filter(|worker| worker.answers_questions())
            .filter_map(|worker| worker.pid)
            .filter(|pid| !self.silent.contains(pid))
            .collect()
    }

    pub(super) fn requests_listed(
        &mut self,
        pid: ProcessId,
        token: u64,
        requests: Vec<ExecutingRequest>,
    ) {
        self.silent.remove(&pid);
        let pool = worker_processes(self)
            .into_iter()
            .find(|worker| worker.pid == pid.0)
            .map(|worker| worker.application_pool);
        if let (Some(query), Some(pool)) = (self.queries.get_mut(&token), pool)
            && query.awaited.remove(&pid)
        {
            query
                .gathered
                .extend(requests.into_iter().map(|request| RequestInfo {
                    pid: pid.0,
                    application_pool: pool.clone(),
                    request,
                }));
            self.finish_query(token);
        }
    }

    /// A worker has exited: nobody waits for its answer any more.
    pub(super) fn worker_gone(&mut self, pid: ProcessId) {
        let tokens: Vec<u64> = self.queries.keys().copied().collect();
        for token in tokens {
            if let Some(query) = self.queries.get_mut(&token) {
                query.awaited.remove(&pid);
            }
            self.finish_query(token);
        }
    }

    pub(super) fn query_overdue(&mut self, token: u64) {
        if let Some(query) = self.queries.get_mut(&token) {
            self.silent.append(&mut query.awaited);
        }
        self.finish_query(token);
    }

    fn finish_query(&mut self, token: u64) {
        if self
            .queries
            .get(&token)
            .is_some_and(|q| q.awaited.is_empty())
            && let Some(query) = self.queries.remove(&token)
        {
            self.fx.timers.clear(Timer::Query(token));
            self.fx
                .answer(query.client, Answer::Requests(query.gathered));
        }
    }
}
