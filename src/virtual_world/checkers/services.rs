//! X1, X3, X4: services stop and start in their order, and clients see what the phase says. X2 compares
//! two runs, and is the business of whoever makes both.

use sim_httpsys::api::{Call, ControlCall, ProcessId};
use sim_httpsys::etw::Fact as DriverFact;
use sim_httpsys::model::ReasonPhrase;
use sim_was::control::{Service, ServiceStatus};
use sim_was::event_log::Fact;

use super::book::{Book, End, Move, Place, PoolState};
use super::{Verdict, broken};

/// What is known of the services and of what they have set up.
#[derive(Debug)]
pub(super) struct Services {
    was: ServiceStatus,
    w3svc: ServiceStatus,
    urls: usize,
    /// So many URLs are registered when all sites are up.
    urls_most: usize,
    endpoints: usize,
    /// WAS has begun: each pool has to state what it is.
    started: bool,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            was: ServiceStatus::Stopped,
            w3svc: ServiceStatus::Stopped,
            urls: 0,
            urls_most: 0,
            endpoints: 0,
            started: false,
        }
    }
}

impl Services {
    /// WAS has died: nobody says that it stops, and its URLs are still there for a moment.
    pub(super) fn was_died(&mut self, book: &mut Book) {
        self.was = ServiceStatus::Stopped;
        self.w3svc = ServiceStatus::Stopped;
        self.started = false;
        book.serving = false;
        for pool in &mut book.pools {
            pool.state = None;
        }
    }

    /// A fact of WAS, before the others have it.
    pub(super) fn was(&mut self, book: &mut Book, fact: &Fact) -> Verdict {
        match fact {
            Fact::ServiceState { service, status } => self.service(book, *service, *status),
            Fact::PoolState { pool, state } => {
                let Some(index) = book.pool_named(pool) else {
                    return Ok(());
                };
                let entry = &book.pools[index.0];
                let state = match state.as_str() {
                    "Started" => PoolState::Started,
                    "Stopping" => PoolState::Stopping,
                    _other => PoolState::Stopped,
                };
                if entry.state == Some(PoolState::Stopping)
                    && state == PoolState::Stopped
                    && let Some((process, _)) = book.workers_of(index).next()
                {
                    let what = format!("{pool} has stopped, and {process:?} has not");
                    return broken("W6", what);
                }
                let entry = &mut book.pools[index.0];
                // A pool that WAS has just made is what its configuration says.
                if entry.state.is_none() && (state == PoolState::Started) != entry.auto_start {
                    let what = format!("{pool} is {state:?} after the start of WAS");
                    return broken("X3", what);
                }
                entry.state = Some(state);
                Ok(())
            }
            _other => Ok(()),
        }
    }

    fn service(&mut self, book: &mut Book, service: Service, status: ServiceStatus) -> Verdict {
        match service {
            Service::Was => {
                let stops = matches!(status, ServiceStatus::StopPending | ServiceStatus::Stopped);
                if stops && self.w3svc != ServiceStatus::Stopped {
                    return broken(
                        "X1",
                        format!("WAS is {status:?}, and W3SVC is {:?}", self.w3svc),
                    );
                }
                self.was = status;
                if status == ServiceStatus::Stopped {
                    for pool in &mut book.pools {
                        pool.state = None;
                    }
                }
                self.started |= status == ServiceStatus::Running;
            }
            Service::W3svc => {
                if status == ServiceStatus::StartPending && self.was != ServiceStatus::Running {
                    return broken("X1", format!("W3SVC starts, and WAS is {:?}", self.was));
                }
                self.w3svc = status;
                book.serving = status == ServiceStatus::Running;
                if status == ServiceStatus::Stopped {
                    return self.w3svc_stopped(book);
                }
            }
        }
        Ok(())
    }

    /// X1: nothing is registered, nothing waits, nobody serves, and what is still connected is being sent a response
    /// that is whole.
    fn w3svc_stopped(&self, book: &Book) -> Verdict {
        let waiting: usize = book.pools.iter().map(|pool| pool.waiting_count).sum();
        let is_being_sent = |request| {
            book.requests.get(request).is_some_and(|request| {
                // One that nobody was given is sent from the cache.
                request.answered || request.place == Place::Parsed
            })
        };
        let connections = book.connections.iter();
        let connections = connections.filter(|(_, connection)| {
            let request = connection.request;
            !request.is_some_and(|request| is_being_sent(request.0))
        });
        let (workers, connections) = (book.workers.len(), connections.count());
        let left = [waiting, self.urls, self.endpoints, workers, connections];
        if left == [0; 5] {
            return Ok(());
        }
        let what = format!(
            "W3SVC has stopped, and {waiting} requests wait, {} URLs, {} endpoints, {workers} workers and \
             {connections} connections are left",
            self.urls, self.endpoints
        );
        broken("X1", what)
    }

    /// X3: every pool has said what it is.
    pub(super) fn settled(&mut self, book: &Book) -> Verdict {
        if std::mem::take(&mut self.started)
            && let Some(pool) = book
                .pools
                .iter()
                .find(|p| p.is_configured && p.state.is_none())
        {
            return broken(
                "X3",
                format!("{} is unknown after the start of WAS", pool.name),
            );
        }
        Ok(())
    }

    /// A call of the controller.
    pub(super) fn called(by: ProcessId, call: &Call, book: &Book) -> Verdict {
        let is_worker = book.workers.contains_key(&by);
        match call {
            Call::Control {
                call: ControlCall::AddUrl { .. },
                ..
            } if is_worker => broken("X4", format!("{by:?} registers a URL")),
            _other => Ok(()),
        }
    }

    /// A fact of the driver.
    pub(super) fn httpsys(&mut self, fact: &DriverFact, step: &Move) -> Verdict {
        match fact {
            DriverFact::AddUrl { .. } => {
                self.urls += 1;
                self.urls_most = self.urls_most.max(self.urls);
            }
            DriverFact::RemoveUrl { url } => match self.urls.checked_sub(1) {
                Some(urls) => self.urls = urls,
                None => return broken("X4", format!("{url} was removed, and was not there")),
            },
            DriverFact::EndpointOpen { .. } => self.endpoints += 1,
            DriverFact::EndpointClose { .. } => {
                self.endpoints = self.endpoints.saturating_sub(1);
            }
            _other => {}
        }
        let Move::Ended(request, _, End::Refused(reason)) = step else {
            return Ok(());
        };
        let unregistered = matches!(reason, ReasonPhrase::NotFound | ReasonPhrase::Hostname);
        if unregistered && self.urls == self.urls_most {
            let what = format!("{request:?} was refused for {reason}, and all URLs are there");
            return broken("X4", what);
        }
        Ok(())
    }
}
