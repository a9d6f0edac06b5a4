//! Which settings hold for whom, while the configuration changes.
//!
//! ```text
//! WAS is given a configuration ─► pools: what it looks at when it decides holds from now on
//!                                        what a worker is started with holds for the next ones
//! a call reaches the driver    ─► queues and sites: it goes by them from now on, and a connection has the
//!                                 times that its site had when its last request was routed
//! ```
//!
//! Source: IIS configuration reference and WAS event 5080: which change recycles, and which is live.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use sim_httpsys::api::{ControlCall, SiteId, UrlGroupId, UrlGroupProperties};
use sim_httpsys::clockwork::Instant;
use sim_was::config::{ApplicationPool, Configuration, Site, WebLimits};
use sim_was::model::{Input as ToWas, Personality};
use sim_worker::configuration::PeriodicRestart;

use super::book::{Book, Limits, Pool, PoolIndex, Worker};
use super::{Checkers, Verdict, broken};

/// What a worker is started with and keeps, whatever its pool is set to later.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Terms {
    pub(super) startup_limit: Duration,
    pub(super) shutdown_limit: Duration,
    /// How often it is pinged, and how soon it has to answer.
    pub(super) ping: Option<(Duration, Duration)>,
    pub(super) idle_timeout: Duration,
    pub(super) restart: PeriodicRestart,
    /// Places of its pool.
    pub(super) places: usize,
}

impl Terms {
    pub(super) fn of(settings: &ApplicationPool) -> Rc<Self> {
        let model = &settings.process_model;
        Rc::new(Self {
            startup_limit: model.startup_time_limit,
            shutdown_limit: model.shutdown_time_limit,
            ping: model
                .pinging_enabled
                .then_some((model.ping_interval, model.ping_response_time)),
            idle_timeout: model.idle_timeout,
            restart: settings.recycling.periodic_restart.clone(),
            places: model.max_processes.max(1) as usize,
        })
    }

    /// After so long a worker that hangs is found, its successor has failed to start, and both have stopped.
    pub(super) fn all_limits(&self) -> Duration {
        let (interval, response) = self.ping.unwrap_or_default();
        interval + response + self.startup_limit + 2 * self.shutdown_limit
    }
}

/// What a site allows, as the driver is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SiteTerms {
    pub(super) connections_max: Option<u32>,
    pub(super) url_segments_max: u32,
    pub(super) limits: Limits,
}

fn seconds(seconds: u64) -> Duration {
    match seconds {
        0 => Duration::from_mins(2),
        seconds => Duration::from_secs(seconds),
    }
}

impl SiteTerms {
    fn configured(site: &Site, limits: &WebLimits) -> Self {
        let header = limits.header_wait_timeout;
        Self {
            connections_max: site.limits.max_connections,
            url_segments_max: site.limits.max_url_segments,
            limits: Limits {
                idle: seconds(site.limits.connection_timeout.as_secs()),
                header: seconds(header.as_secs()),
            },
        }
    }

    fn told(properties: &UrlGroupProperties) -> Self {
        let timeouts = &properties.timeouts;
        Self {
            connections_max: properties.connections_max,
            url_segments_max: properties.url_segments_max,
            limits: Limits {
                idle: seconds(timeouts.idle_connection.into()),
                header: seconds(timeouts.header_wait.into()),
            },
        }
    }
}

/// The sites: what was ever configured, and what the driver goes by.
#[derive(Debug, Default)]
pub(super) struct SitesInForce {
    /// Their numbers, in the configuration as it is.
    numbers: Vec<SiteId>,
    configured: Vec<(SiteId, SiteTerms)>,
    /// What the driver was told of each group of URLs.
    told: BTreeMap<UrlGroupId, (SiteId, SiteTerms)>,
}

impl SitesInForce {
    pub(super) fn new(configuration: &Configuration) -> Self {
        let mut sites = Self::default();
        sites.take(configuration, &configuration.web_limits);
        sites
    }

    fn take(&mut self, configuration: &Configuration, limits: &WebLimits) {
        let sites = &configuration.sites;
        self.numbers = sites.iter().map(|site| SiteId(site.id)).collect();
        for site in sites {
            let terms = (SiteId(site.id), SiteTerms::configured(site, limits));
            // The last one is what holds.
            self.configured.retain(|known| *known != terms);
            self.configured.push(terms);
        }
    }

    /// The only site, if there is one.
    pub(super) fn only(&self) -> Option<SiteId> {
        match self.numbers.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// What a site allows; nothing is known while the driver is being told of a change.
    pub(super) fn of(&self, site: SiteId) -> Option<SiteTerms> {
        let mut told = self.told.values().filter(|(of, _)| *of == site);
        let (_, first) = *told.next()?;
        told.all(|(_, terms)| *terms == first).then_some(first)
    }

    /// The controller has gone, and its groups with it.
    pub(super) fn controller_gone(&mut self) {
        self.told.clear();
    }

    /// N4, N5: the driver is told what the configuration says, or has said.
    pub(super) fn called(&mut self, call: &ControlCall) -> Verdict {
        let (ControlCall::CreateUrlGroup { group, properties }
        | ControlCall::SetUrlGroupProperties { group, properties }) = call
        else {
            if let ControlCall::CloseUrlGroup { group } = call {
                self.told.remove(group);
            }
            return Ok(());
        };
        let (site, told) = (properties.site, SiteTerms::told(properties));
        self.told.insert(*group, (site, told));
        // A timer that is longer than a number of the driver has room for is as long as that allows.
        let fits = |(known, terms): &(SiteId, SiteTerms)| {
            let longest = Duration::from_secs(u16::MAX.into());
            let idle = terms.limits.idle.min(longest);
            let header = terms.limits.header.min(longest);
            let same = terms.connections_max == told.connections_max
                && terms.url_segments_max == told.url_segments_max;
            *known == site && same && told.limits == Limits { idle, header }
        };
        if self.configured.iter().any(fits) {
            return Ok(());
        }
        let (idle, most) = (told.limits.idle, told.connections_max);
        let invariant =
            if self.configured.iter().any(|(known, terms)| {
                *known == site && terms.connections_max == told.connections_max
            }) {
                "N4"
            } else {
                "N5"
            };
        let what = format!(
            "the driver is told to end idle connections of site {} after {idle:?} and to allow {most:?}, which \
             the configuration never said",
            site.0
        );
        broken(invariant, what)
    }

    /// N4, N5: everything has come to rest, and the driver goes by the configuration as it is.
    pub(super) fn at_rest(&self) -> Verdict {
        for site in &self.numbers {
            let mut of_site = self.configured.iter().rev().filter(|(of, _)| of == site);
            let last = of_site.next().map(|(_, terms)| *terms);
            if let (Some(now), Some(last)) = (self.of(*site), last)
                && now != last
            {
                let what = format!(
                    "the driver goes by {now:?} for {site:?}, and the configuration says {last:?}"
                );
                return broken("N4", what);
            }
        }
        Ok(())
    }
}

/// What WAS has let be, because a change is not through yet: places may be taken that there are not any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) workers_max: usize,
    overlapped: bool,
    at: Instant,
}

impl Pool {
    /// Workers that may serve at once.
    pub(super) fn may_serve(&self) -> usize {
        let before = self.before.map_or(0, |before| before.workers_max);
        self.workers_max.max(before)
    }

    /// Whether workers may have to go whose place is not there any more.
    pub(super) fn has_surplus(&self) -> bool {
        self.may_serve() > self.workers_max
    }

    /// Processes that may be there at once.
    pub(super) fn may_have(&self) -> usize {
        // In a place that stays a new one may come while those of before still go.
        let overlapped = self.overlapped || self.before.is_some_and(|before| before.overlapped);
        self.may_serve() * (1 + usize::from(overlapped))
    }

    /// Takes what it is set to from now on; true if failures are counted by another rule.
    fn take(&mut self, settings: &ApplicationPool, workers: usize, now: Instant) -> bool {
        let mut new = Self::new(settings);
        let is_less = new.workers_max < self.workers_max || (self.overlapped && !new.overlapped);
        if workers > 0 && is_less {
            self.before = Some(Before {
                workers_max: self.may_serve(),
                at: now,
                overlapped: self.overlapped || self.before.is_some_and(|b| b.overlapped),
            });
        }
        let is_other_rule = self.rapid_fail != new.rapid_fail;
        self.workers_max = new.workers_max;
        self.overlapped = new.overlapped;
        self.auto_start = new.auto_start;
        self.rapid_fail = new.rapid_fail;
        if self.terms != new.terms {
            std::mem::swap(&mut self.terms, &mut new.terms);
        }
        is_other_rule
    }
}

/// The limits of the whole server that hold.
#[derive(Debug)]
pub(super) struct LimitsInForce {
    personality: Personality,
    limits: WebLimits,
}

impl LimitsInForce {
    pub(super) fn new(configuration: &Configuration, personality: Personality) -> Self {
        Self {
            personality,
            limits: configuration.web_limits.clone(),
        }
    }

    /// Source: `TechNet` cc780868: in IIS 6 a change of them waits until the services start again.
    fn take(&mut self, configuration: &Configuration, at_start: bool) {
        let holds = match self.personality {
            Personality::Iis10 => true,
            Personality::Iis6 => at_start,
        };
        if holds {
            self.limits = configuration.web_limits.clone();
        }
    }
}

impl Checkers {
    /// WAS is given something: it goes by a configuration from the moment that it has it.
    pub(in super::super) fn was_given(&mut self, input: &ToWas) {
        let (configuration, at_start) = match input {
            ToWas::ConfigRead(Ok(configuration)) => (configuration, true),
            ToWas::ConfigEdited {
                result: Ok(configuration),
                ..
            } => (configuration, false),
            _ => return,
        };
        self.limits.take(configuration, at_start);
        let others = self.book.take(configuration, &self.limits.limits);
        let book = &self.book;
        self.sites.take(configuration, |name| book.pool_named(name));
        let pools = self.book.pools.len();
        self.rapid_fail.recount(pools, &others);
        self.queues.grow(pools);
    }
}

impl Book {
    /// WAS is given a configuration, and these limits of the whole server hold. Gives the pools whose failures are counted by another rule from now on.
    ///
    /// Source: WAS features: a part that cannot be read leaves what was known in force.
    fn take(&mut self, configuration: &Configuration, limits: &WebLimits) -> Vec<PoolIndex> {
        self.sites.take(configuration, limits);
        self.is_idle_divided |= limits.dynamic_idle_threshold > 0;
        self.workers_limit = limits.demand_start_threshold;
        let mut others = Vec::new();
        for pool in &mut self.pools {
            pool.is_configured = false;
        }
        for settings in &configuration.application_pools {
            let Some(index) = self.pool_named(&settings.name) else {
                self.pools.push(Pool::new(settings));
                continue;
            };
            let (workers, now) = (self.workers_of(index).count(), self.now);
            let pool = &mut self.pools[index.0];
            pool.is_configured = true;
            if settings.fault.is_none() && pool.take(settings, workers, now) {
                others.push(index);
            }
        }
        others
    }

    /// A change is through when nobody is left from before it. Where places have only become narrower it is so as
    /// soon as nobody comes or goes: then each has a place of its own.
    pub(super) fn settle(&mut self) {
        for index in (0..self.pools.len()).map(PoolIndex) {
            let pool = self.pool(index);
            let Some(before) = pool.before else {
                continue;
            };
            let workers = || self.workers_of(index).map(|(_, worker)| worker);
            let is_new = workers().all(|worker| worker.spawned > before.at);
            let is_calm = workers().all(Worker::serves) && workers().count() <= pool.workers_max;
            if is_new || (is_calm && !pool.has_surplus()) {
                self.pools[index.0].before = None;
            }
        }
    }
}
