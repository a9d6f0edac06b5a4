//! What tools may ask, one method each.

use std::time::Duration;

use sim_httpsys::api::{ProcessId, SiteId};
use sim_httpsys::clockwork::Instant;

use super::app_pool::AppPool;
use super::services::{Phase, QUIT_MAX, StopOrder};
use super::was::{SiteState, Then};
use super::worker_configuration::same_name;
use super::{ClientId, Output, Was, lists};
use crate::control::{Answer, Command, Refusal, Service};
use crate::event_log::Fact;
use crate::secrets::without_secrets;

impl Was {
    /// Carries out or answers a command.
    pub(super) fn command(&mut self, client: ClientId, command: Command, now: Instant) {
        self.note(&command);
        match command {
            Command::ListApplicationPools => self.list(client, |was| {
                Answer::ApplicationPools(lists::application_pools(was))
            }),
            Command::ListSites => self.list(client, |was| Answer::Sites(lists::sites(was))),
            Command::ListApplications => {
                self.list(client, |was| Answer::Applications(lists::applications(was)));
            }
            Command::ListVirtualDirectories => self.list(client, |was| {
                Answer::VirtualDirectories(lists::virtual_directories(was))
            }),
            Command::ListWorkerProcesses => self.list(client, |was| {
                Answer::WorkerProcesses(lists::worker_processes(was))
            }),
            Command::ListRequests => self.list_requests(client, now),
            Command::QueryCounters { of_workers } => self.query_counters(client, of_workers, now),
            Command::StartApplicationPool { name } => {
                let mut is_started = false;
                self.with_pool(client, &name, |pool, was| {
                    pool.start(&mut was.fx)?;
                    is_started = true;
                    Ok(None)
                });
                // Whoever asks next must find it started, and it is the driver who is asked.
                if is_started && self.w3svc_works() {
                    self.configure_driver(Then::Done(client), now);
                } else if is_started {
                    self.fx.answer(client, Answer::Done);
                }
            }
            Command::StopApplicationPool { name } => self.with_pool(client, &name, |pool, was| {
                pool.stop(client, &mut was.fx).map(|()| None)
            }),
            Command::RecycleApplicationPool { name } => {
                self.with_pool(client, &name, |pool, was| {
                    pool.recycle(&mut was.fx, now).map(|()| Some(Answer::Done))
                });
            }
            Command::ChangeConfiguration { changes } => self.change_configuration(client, changes),
            Command::KillWorkerProcess { pid } => self.kill_worker_process(client, pid),
            Command::StartSite { name } => self.start_site(client, &name, now),
            Command::StopSite { name } => self.stop_site(client, &name, now),
            Command::StopServices {
                services,
                timeout_ms,
                force,
                reset_by,
            } => {
                let order = StopOrder {
                    client: Some(client),
                    was: services.contains(&Service::Was),
                    force,
                    quit: false,
                    reset_by,
                };
                let due = now + Duration::from_millis(timeout_ms);
                self.stop_command(client, &services, order, due, now);
            }
            Command::StartServices { services } => self.start_services(client, &services, now),
            Command::ServiceStatus => {
                let status = |service| (service, self.services.status(service));
                let services = [Service::Was, Service::W3svc].map(status).to_vec();
                self.fx.answer(client, Answer::Services(services));
            }
            Command::Quit => {
                let order = StopOrder {
                    client: Some(client),
                    was: true,
                    force: true,
                    quit: true,
                    reset_by: None,
                };
                self.stop_services(order, now + QUIT_MAX, now);
            }
        }
    }

    /// Source: IIS Administration API: DELETE of a worker process kills it. What WAS sees is a process that
    /// ends without having been told to.
    fn kill_worker_process(&mut self, client: ClientId, pid: u32) {
        let pid = ProcessId(pid);
        let mut workers = self.pools.iter().flat_map(AppPool::workers);
        if workers.any(|worker| worker.pid == Some(pid)) {
            self.fx.push(Output::Terminate { pid });
            self.fx.answer(client, Answer::Done);
        } else {
            let refusal = Refusal::not_found("WP", &pid.0.to_string());
            self.fx.refuse(client, refusal);
        }
    }

    fn list(&mut self, client: ClientId, answer: impl FnOnce(&Self) -> Answer) {
        let answer = answer(self);
        self.fx.answer(client, answer);
    }

    fn stop_command(
        &mut self,
        client: ClientId,
        services: &[Service],
        order: StopOrder,
        due: Instant,
        now: Instant,
    ) {
        let only_w3svc = self.services.phase == Phase::WasRunning && !order.was;
        if services.is_empty() || only_w3svc {
            return self.fx.answer(client, Answer::Done);
        }
        self.stop_services(order, due, now);
    }

    /// Does something with the pool of that name; an answer of `None` comes later.
    fn with_pool(
        &mut self,
        client: ClientId,
        name: &str,
        act: impl FnOnce(&mut AppPool, &mut Self) -> Result<Option<Answer>, Refusal>,
    ) {
        let known = self
            .configuration
            .iter()
            .flat_map(|c| &c.application_pools)
            .any(|pool| same_name(&pool.name, name));
        if !known {
            return self.fx.refuse(client, Refusal::not_found("APPPOOL", name));
        }
        let mut pools = std::mem::take(&mut self.pools);
        let is_it = |pool: &&mut AppPool| same_name(&pool.settings().name, name);
        let result = match pools
            .iter_mut()
            .filter(|pool| !pool.is_leaving())
            .find(is_it)
        {
            Some(pool) => act(pool, self),
            None => Err(Refusal::not_started()),
        };
        self.pools = pools;
        match result {
            Ok(Some(answer)) => self.fx.answer(client, answer),
            Ok(None) => {}
            Err(refusal) => self.fx.refuse(client, refusal),
        }
    }

    fn start_site(&mut self, client: ClientId, name: &str, now: Instant) {
        let site = match self.site(name) {
            Ok((site, _)) if self.obstacle_of(site).is_some() => {
                let obstacle = self.obstacle_of(site).unwrap_or_default();
                Err(Refusal::invalid_data(&obstacle))
            }
            Ok((_, SiteState::Started)) => Err(Refusal::already_running()),
            Ok((site, SiteState::Stopped | SiteState::Failed(_))) => Ok(site),
            Err(refusal) => Err(refusal),
        };
        match site {
            Ok(site) => {
                self.sites.insert(site, SiteState::Started);
                self.configure_driver(Then::SiteStarted { client, site }, now);
            }
            Err(refusal) => self.fx.refuse(client, refusal),
        }
    }

    fn obstacle_of(&self, site: SiteId) -> Option<String> {
        let all = self.configuration.as_ref()?;
        let known = all.sites.iter().find(|known| known.id == site.0)?;
        all.obstacle(known)
    }

    fn stop_site(&mut self, client: ClientId, name: &str, now: Instant) {
        match self.site(name) {
            Ok((site, SiteState::Started)) => {
                self.sites.insert(site, SiteState::Stopped);
                self.configure_driver(Then::Done(client), now);
            }
            Ok((_, SiteState::Stopped | SiteState::Failed(_))) => {
                self.fx.refuse(client, Refusal::not_started());
            }
            Err(refusal) => self.fx.refuse(client, refusal),
        }
    }

    /// A site by its name, if it can be started and stopped now.
    fn site(&self, name: &str) -> Result<(SiteId, SiteState), Refusal> {
        let mut sites = self.configuration.iter().flat_map(|c| &c.sites);
        let Some(site) = sites.find(|site| same_name(&site.name, name)) else {
            return Err(Refusal::not_found("SITE", name));
        };
        let id = SiteId(site.id);
        match (self.services.phase, self.sites.get(&id)) {
            (Phase::Running, Some(&state)) => Ok((id, state)),
            (phase, _) if phase.is_pending() => Err(Refusal::cannot_accept_control()),
            (_, _) => Err(Refusal::not_started()),
        }
    }

    /// Marks where an operation begins; questions are not operations.
    fn note(&mut self, command: &Command) {
        let text = match command {
            Command::ListApplicationPools
            | Command::ListSites
            | Command::ListApplications
            | Command::ListVirtualDirectories
            | Command::ListWorkerProcesses
            | Command::ListRequests
            | Command::QueryCounters { .. }
            | Command::ServiceStatus => return,
            Command::StartApplicationPool { name } => format!("start apppool {name}"),
            Command::StopApplicationPool { name } => format!("stop apppool {name}"),
            Command::RecycleApplicationPool { name } => format!("recycle apppool {name}"),
            Command::ChangeConfiguration { changes } => {
                let words = changes.iter().map(without_secrets);
                let words: Vec<String> = words.map(|change| change.to_string()).collect();
                format!("set config {}", words.join(" "))
            }
            Command::KillWorkerProcess { pid } => format!("kill w3wp {pid}"),
            Command::StartSite { name } => format!("start site {name}"),
            Command::StopSite { name } => format!("stop site {name}"),
            Command::StopServices { services, .. } => format!("stop {}", names(services)),
            Command::StartServices { services } => format!("start {}", names(services)),
            Command::Quit => "quit".to_owned(),
        };
        self.fx.fact(Fact::CommandAccepted { command: text });
    }
}

fn names(services: &[Service]) -> String {
    let names: Vec<&str> = services.iter().map(|service| service.name()).collect();
    names.join(" ")
}
