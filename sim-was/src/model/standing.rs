//! How things stand: the states of everything that an order may concern, at one moment.

use super::{Was, lists};
use crate::control::{
    ApplicationPoolInfo, Service, ServiceStatus, SiteInfo, WorkerProcessInfo, WorkerProcessState,
};

/// The states of everything that an order may concern.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The services.
    pub services: [(Service, ServiceStatus); 2],
    /// The pools.
    pub pools: Vec<ApplicationPoolInfo>,
    /// The sites.
    pub sites: Vec<SiteInfo>,
    /// The worker processes.
    pub workers: Vec<WorkerProcessInfo>,
}

impl Standing {
    /// Whether a worker process is one of WAS's.
    pub fn has_worker(&self, pid: u32) -> bool {
        self.workers.iter().any(|worker| worker.pid == pid)
    }

    /// Whether a worker process has been told to stop.
    pub fn is_stopping(&self, pid: u32) -> bool {
        let mut workers = self.workers.iter();
        let worker = workers.find(|worker| worker.pid == pid);
        worker.is_some_and(|worker| worker.state == WorkerProcessState::Stopping)
    }
}

impl Was {
    /// How things stand now.
    pub fn standing(&self) -> Standing {
        let status = |service| (service, self.services.status(service));
        Standing {
            services: [Service::Was, Service::W3svc].map(status),
            pools: lists::application_pools(self),
            sites: lists::sites(self),
            workers: lists::worker_processes(self),
        }
    }
}
