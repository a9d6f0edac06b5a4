//! How `Was` carries out orders to start and stop services; the picture is in `services.rs`.

use std::time::Duration;

use sim_httpsys::api::{DisabledReason, QueueState, SiteId, Win32Error};
use sim_httpsys::clockwork::Instant;

use super::app_pool::AppPool;
use super::listener_adapter::DriverState;
use super::services::{Phase, QUIT_MAX, StartOrder, StopOrder};
use super::was::{SiteState, Then};
use super::worker_configuration::worker_configuration;
use super::{ClientId, Output, Personality, Timer, Was};
use crate::config::Configuration;
use crate::control::{Answer, REQUEST_TIMEOUT_HRESULT, Refusal, Service, ServiceStatus};
use crate::event_log::{Event, Fact, IisReset};

impl Was {
    // ---- start ----------------------------------------------------------------------------------

    /// Starts services, what they depend on first.
    pub(super) fn start_services(&mut self, client: ClientId, services: &[Service], now: Instant) {
        let w3svc = services.contains(&Service::W3svc);
        match self.services.phase {
            Phase::Stopped if !services.is_empty() => {
                self.services.start = Some(StartOrder { client, w3svc });
                self.services.phase = Phase::ReadingConfiguration;
                self.state_services();
                self.fx.push(Output::ReadConfig);
            }
            Phase::WasRunning if w3svc => {
                self.services.start = Some(StartOrder { client, w3svc });
                self.start_w3svc(now);
            }
            Phase::Stopped | Phase::WasRunning | Phase::Running => {
                self.fx.answer(client, Answer::Done);
            }
            Phase::ReadingConfiguration
            | Phase::StartingW3svc
            | Phase::StoppingRouting
            | Phase::Draining
            | Phase::ClosingUrls
            | Phase::StoppingWorkers => self.fx.refuse(client, Refusal::cannot_accept_control()),
        }
    }

    /// WAS starts with a fresh configuration: pools begin as it says, without failures.
    pub(super) fn config_read(&mut self, result: Result<Configuration, String>, now: Instant) {
        if self.services.phase != Phase::ReadingConfiguration {
            return;
        }
        match result {
            Ok(configuration) => {
                self.was_started(configuration, now);
                if self.services.start.is_some_and(|start| start.w3svc) {
                    self.start_w3svc(now);
                } else {
                    self.start_done();
                }
            }
            Err(error) => {
                self.fx.event(Event::configuration_unreadable(&error));
                self.fx
                    .event(Event::configuration_manager_not_initialized());
                self.fx.event(Event::was_stopping_on_error());
                self.services.phase = Phase::Stopped;
                self.start_refused(Refusal::unreadable(&error));
            }
        }
    }

    fn was_started(&mut self, configuration: Configuration, now: Instant) {
        for warning in &configuration.warnings {
            let event = Event::configuration_warning(warning);
            self.fx.event(event);
        }
        self.pools.clear();
        for pool in &configuration.application_pools {
            let worker = worker_configuration(pool, &configuration, &self.parameters);
            let pool = AppPool::new(self.next_pool(), pool.clone(), worker, &self.parameters);
            self.pools.push(pool);
        }
        self.unreadable = None;
        for pool in &self.pools {
            pool.state_itself(&mut self.fx);
            if !pool.settings().process_model.identity.is_valid() {
                let event = Event::identity_invalid(&pool.settings().name);
                self.fx.event(event);
            }
        }
        self.take_limits(&configuration.web_limits, now);
        self.configuration = Some(configuration);
        self.services.phase = Phase::WasRunning;
        self.state_services();
    }

    /// Source: IIS docs, `serverAutoStart`: whether a site starts when the service starts.
    fn start_w3svc(&mut self, now: Instant) {
        self.services.phase = Phase::StartingW3svc;
        self.state_services();
        let configured = self.configuration.as_ref();
        self.central_log = configured.and_then(|all| all.central_log.clone());
        let limits = configured.map(|all| all.web_limits.clone());
        if let Some(limits) = limits.filter(|limits| *limits != self.web_limits) {
            self.take_limits(&limits, now);
        }
        let configured = self.configuration.iter();
        let sites = configured.flat_map(|all| all.sites.iter().map(move |site| (all, site)));
        self.sites = sites
            .map(|(all, site)| {
                let state = if site.server_auto_start && all.obstacle(site).is_none() {
                    SiteState::Started
                } else {
                    SiteState::Stopped
                };
                (SiteId(site.id), state)
            })
            .collect();
        self.configure_driver(Then::W3svcStarted, now);
    }

    pub(super) fn w3svc_started(&mut self) {
        if self.services.phase != Phase::StartingW3svc {
            return;
        }
        self.services.phase = Phase::Running;
        self.state_services();
        for pool in &mut self.pools {
            pool.serve();
        }
        self.start_done();
    }

    fn start_done(&mut self) {
        if let Some(start) = self.services.start.take() {
            self.fx.answer(start.client, Answer::Done);
        }
    }

    fn start_refused(&mut self, refusal: Refusal) {
        if let Some(start) = self.services.start.take() {
            self.fx.refuse(start.client, refusal);
        }
    }

    /// A queue or a URL group could not be made: W3SVC cannot run.
    pub(super) fn set_up_refused(&mut self, error: Win32Error, now: Instant) {
        self.fx.event(Event::w3svc_stopping_on_error());
        let hresult = 0x8007_0000 | error as u32;
        self.start_refused(Refusal::failed(hresult, &error.to_string()));
        if matches!(self.services.phase, Phase::StartingW3svc | Phase::Running) {
            let order = StopOrder {
                client: None,
                was: false,
                force: true,
                quit: false,
                reset_by: None,
            };
            self.stop_w3svc(order, now + QUIT_MAX, now);
        }
    }

    // ---- stop -----------------------------------------------------------------------------------

    /// Stops services, dependents first; the client is answered when they are stopped, or at `due`.
    pub(super) fn stop_services(&mut self, order: StopOrder, due: Instant, now: Instant) {
        match self.services.phase {
            Phase::Stopped => self.stopped(&order),
            Phase::WasRunning => {
                self.services.stop = Some(order);
                self.w3svc_stopped();
            }
            Phase::Running => self.stop_w3svc(order, due, now),
            Phase::StartingW3svc if order.quit => self.stop_w3svc(order, due, now),
            Phase::ReadingConfiguration if order.quit => {
                self.services.phase = Phase::Stopped;
                self.start_refused(Refusal::cannot_accept_control());
                self.stopped(&order);
            }
            Phase::StoppingRouting | Phase::Draining if order.quit => {
                self.give_up_waiting();
                self.stop_w3svc(order, due, now);
            }
            Phase::ClosingUrls | Phase::StoppingWorkers if order.quit => {
                self.give_up_waiting();
                self.services.stop = Some(order);
                self.fx.timers.set(Timer::ServiceStop, due);
            }
            Phase::StoppingRouting
            | Phase::Draining
            | Phase::ClosingUrls
            | Phase::StoppingWorkers
                if order.force && self.is_stop_given_up() =>
            {
                self.take_over_stop(order, due);
            }
            Phase::ReadingConfiguration
            | Phase::StartingW3svc
            | Phase::StoppingRouting
            | Phase::Draining
            | Phase::ClosingUrls
            | Phase::StoppingWorkers => {
                if let Some(client) = order.client {
                    self.fx.refuse(client, Refusal::cannot_accept_control());
                }
            }
        }
    }

    /// Whether a stop is under way that nobody waits for any more.
    fn is_stop_given_up(&self) -> bool {
        let order = self.services.stop.as_ref();
        order.is_some_and(|order| order.client.is_none() && !order.quit)
    }

    /// A stop is under way that took longer than its client would wait: this order sees to it that it ends.
    ///
    /// Source: iisreset without `/NOFORCE`: what does not stop in time is terminated. Assumed: that is so as well
    /// where it was told to stop before, without force.
    fn take_over_stop(&mut self, order: StopOrder, due: Instant) {
        let before = self.services.stop.take();
        let was = order.was || before.is_some_and(|before| before.was);
        self.services.stop = Some(StopOrder { was, ..order });
        self.fx.timers.set(Timer::ServiceStop, due);
    }

    fn stop_w3svc(&mut self, order: StopOrder, due: Instant, now: Instant) {
        self.start_refused(Refusal::cannot_accept_control());
        self.batches
            .retain(|batch| batch.then != Then::W3svcStarted);
        let waits = self.parameters.personality == Personality::Iis6 && !order.quit;
        self.services.stop = Some(order);
        for pool in &mut self.pools {
            pool.stop_serving();
        }
        if waits {
            let due = due + self.longest_shutdown();
            self.fx.timers.set(Timer::ServiceStop, due);
            self.stop_routing(now);
        } else {
            self.fx.timers.set(Timer::ServiceStop, due);
            self.close_urls(now);
        }
    }

    /// Under IIS 6 the time-out of a stop counts from where the workers' own limit ends.
    ///
    /// Source: the article: an iisreset "kills nothing at first", and a request of 50 s makes it last
    /// 50 s longer. Assumed: so the 20 s of a restart, after which iisreset kills, begin when
    /// its workers are beyond their shutdown time limit; until then W3SVC reports that it is stopping.
    fn longest_shutdown(&self) -> Duration {
        let limits = self
            .pools
            .iter()
            .map(|pool| pool.settings().process_model.shutdown_time_limit);
        limits.max().unwrap_or_default()
    }

    /// IIS 6: requests that come now are refused, those that wait too; URLs and connections stay.
    fn stop_routing(&mut self, now: Instant) {
        self.services.phase = Phase::StoppingRouting;
        self.state_services();
        let next = self.driver_state(|pool| match pool.queue_state() {
            QueueState::Active => QueueState::Inactive(DisabledReason::Disabled),
            off @ QueueState::Inactive(_) => off,
        });
        self.apply(next.unwrap_or_default(), Then::RoutingStopped, now);
    }

    /// IIS 6: workers finish what they have.
    pub(super) fn routing_stopped(&mut self, now: Instant) {
        if self.services.phase == Phase::StoppingRouting {
            self.services.phase = Phase::Draining;
            for pool in &mut self.pools {
                pool.service_drain(&mut self.fx, now);
            }
        }
    }

    fn close_urls(&mut self, now: Instant) {
        self.services.phase = Phase::ClosingUrls;
        self.state_services();
        self.apply(DriverState::default(), Then::UrlsClosed, now);
    }

    /// URLs and queues are gone: workers are told to end, without finishing what they have.
    pub(super) fn urls_closed(&mut self, now: Instant) {
        if self.services.phase != Phase::ClosingUrls {
            return;
        }
        self.services.phase = Phase::StoppingWorkers;
        for pool in &mut self.pools {
            pool.service_stop(&mut self.fx, now);
        }
    }

    /// Goes on when the last worker has exited.
    pub(super) fn advance_stop(&mut self, now: Instant) {
        if self.pools.iter().any(AppPool::has_workers) {
            return;
        }
        match self.services.phase {
            Phase::Draining => self.close_urls(now),
            Phase::StoppingWorkers => {
                self.fx.timers.clear(Timer::ServiceStop);
                self.sites.clear();
                self.w3svc_stopped();
            }
            Phase::Stopped
            | Phase::ReadingConfiguration
            | Phase::WasRunning
            | Phase::StartingW3svc
            | Phase::Running
            | Phase::StoppingRouting
            | Phase::ClosingUrls => {}
        }
    }

    fn w3svc_stopped(&mut self) {
        self.services.phase = Phase::WasRunning;
        self.state_services();
        let Some(order) = self.services.stop.take() else {
            return;
        };
        if order.was {
            self.fx.fact(Fact::ServiceState {
                service: Service::Was,
                status: ServiceStatus::StopPending,
            });
            self.pools.clear();
            self.fx.timers.clear(Timer::Machine);
            self.services.phase = Phase::Stopped;
            self.state_services();
        }
        self.stopped(&order);
    }

    fn stopped(&mut self, order: &StopOrder) {
        self.tell_reset(order.reset_by.as_deref(), IisReset::Stop, 0);
        if let Some(client) = order.client {
            self.fx.answer(client, Answer::Done);
        }
        if order.quit {
            self.fx.push(Output::Stopped);
        }
    }

    /// The time for a stop is over.
    ///
    /// Source: iisreset: "/NOFORCE: do not forcefully terminate Internet services if attempting to
    /// stop them gracefully fails"; without it their processes are terminated.
    pub(super) fn stop_overdue(&mut self, now: Instant) {
        if let Some(order) = self.services.stop.as_ref().filter(|stop| stop.force) {
            let reset_by = order.reset_by.clone();
            self.batches.retain(|batch| batch.then != Then::UrlsClosed);
            self.urls_closed(now);
            let kills = self.pools.iter().any(AppPool::has_workers);
            for pool in &mut self.pools {
                pool.log_channels_not_stopped(&mut self.fx);
            }
            if kills {
                self.tell_reset(reset_by.as_deref(), IisReset::Kill, 0);
            }
            for pool in &mut self.pools {
                pool.kill_all(&mut self.fx);
            }
        } else {
            self.give_up_waiting();
        }
    }

    fn give_up_waiting(&mut self) {
        let Some(order) = self.services.stop.as_mut() else {
            return;
        };
        let (waiting, reset_by) = (order.client.take(), order.reset_by.take());
        self.tell_reset(reset_by.as_deref(), IisReset::Stop, REQUEST_TIMEOUT_HRESULT);
        if let Some(client) = waiting {
            self.fx.refuse(client, Refusal::TimedOut);
        }
    }

    /// What came of an iisreset, if it was one.
    ///
    /// Source: `TechNet` "IIS Reset Activity". Assumed: it is told by who has done it (there a service, whose client
    /// iisreset.exe is), also if the tool has been ended meanwhile.
    fn tell_reset(&mut self, by: Option<&str>, activity: IisReset, status: u32) {
        if let Some(user) = by {
            self.fx.event(Event::iisreset(activity, user, status));
        }
    }

    /// The driver is gone: the machine is down, nothing can be put in order any more.
    pub(super) fn device_lost(&mut self, now: Instant) {
        self.fx.event(Event::w3svc_stopping_on_error());
        self.start_refused(Refusal::cannot_accept_control());
        self.give_up_waiting();
        self.services.stop = None;
        self.services.phase = Phase::Stopped;
        self.fx.timers.clear(Timer::ServiceStop);
        for pool in &mut self.pools {
            pool.service_stop(&mut self.fx, now);
            pool.kill_all(&mut self.fx);
        }
        self.fx.push(Output::Stopped);
    }
}
