//! The configuration changes while the services run: what each difference causes is carried out, and
//! nothing else is touched.
//!
//! ```text
//! new configuration ─► effects_of(old, new)
//!      ├─ pools come, go, take their new settings;  PoolRecycle ─► overlapped, event 5080
//!      ├─ sites come and go ─► the difference becomes calls of the driver (listener_adapter)
//!      └─ applications: running workers are told; ApplicationRestart ─► a fresh domain, same process
//! ```
//!
//! A configuration that cannot be read is logged (5172) and changes nothing: the last good one stays. So it is
//! with a section, and with a pool or a site, of which a part cannot be read.

use std::collections::{BTreeMap, BTreeSet};

use sim_httpsys::api::{SiteId, UrlContext};
use sim_httpsys::clockwork::Instant;
use sim_worker::configuration::Application;
use sim_worker::ipm::ToWorker;

use super::app_pool::AppPool;
use super::listener_adapter::url_context;
use super::services::Phase;
use super::was::{SiteState, Then};
use super::worker_configuration::worker_configuration;
use super::{ClientId, Output, Personality, PoolId, Was};
use crate::config::effects::{Effect, EffectKind, effects_of};
use crate::config::{self, ConfigWarning, Configuration, Kept, Site, without_lines};
use crate::control::{Answer, Refusal};
use crate::event_log::{Event, Fact};

impl Was {
    /// A file has changed and was read.
    pub(super) fn config_changed(&mut self, result: Result<Configuration, String>, now: Instant) {
        match result {
            Ok(new) => {
                self.unreadable = None;
                self.take_configuration(new, now);
            }
            // Source: WAS features: running pools go on with the old data.
            Err(error) => self.configuration_is_unreadable(error),
        }
    }

    /// A tool has edited the configuration.
    pub(super) fn config_edited(
        &mut self,
        client: ClientId,
        result: Result<Configuration, String>,
        now: Instant,
    ) {
        match result {
            Ok(new) => {
                self.take_configuration(new, now);
                self.fx.answer(client, Answer::Done);
            }
            Err(error) => self.fx.refuse(client, Refusal::unreadable(&error)),
        }
    }

    /// Says once what is wrong with the file as it is. While WAS does not run, nobody looks.
    ///
    /// Assumed: 5053, that the notification came to nothing, follows 5172 as 5036 does at a start.
    fn configuration_is_unreadable(&mut self, error: String) {
        if self.was_runs() && self.unreadable.as_ref() != Some(&error) {
            self.fx.event(Event::configuration_unreadable(&error));
            self.fx.event(Event::change_not_processed());
            self.unreadable = Some(error);
        }
    }

    fn was_runs(&self) -> bool {
        match self.services.phase {
            Phase::Stopped | Phase::ReadingConfiguration => false,
            Phase::WasRunning
            | Phase::StartingW3svc
            | Phase::Running
            | Phase::StoppingRouting
            | Phase::Draining
            | Phase::ClosingUrls
            | Phase::StoppingWorkers => true,
        }
    }

    /// Goes from the old configuration to the new one. While WAS does not run there is nothing to do:
    /// it reads the file when it starts.
    fn take_configuration(&mut self, mut new: Configuration, now: Instant) {
        let runs = self.was_runs();
        if let Some(old) = &self.configuration {
            config::keep_sections(old, &mut new);
        }
        let Some(old) = self.configuration.take_if(|old| runs && *old != new) else {
            return;
        };
        let effects = effects_of(&old, &new, self.parameters.personality);
        let broken = broken_pools(&new);
        let kept = Kept::of(&old, &mut new);
        for warning in ConfigWarning::news(&old.warnings, &new.warnings) {
            self.fx.event(Event::configuration_warning(warning));
        }
        // As for the warning that says why: once, however often the file is written.
        for (pool, fault) in broken {
            let fault = without_lines(&fault);
            let mut known = old.warnings.iter();
            let was_said = known.any(|warning| without_lines(&warning.text) == fault);
            if kept.pools.contains(&pool.to_lowercase()) && !was_said {
                self.fx.event(Event::changes_not_applied(&pool));
            }
        }
        let consequences = Consequences::of(&effects, &new, &kept);
        self.change_pools(&new, &consequences);
        self.change_sites(&old, &new);
        let mut causes = BTreeMap::<EffectKind, u32>::new();
        for effect in &effects {
            *causes.entry(effect.kind).or_default() += 1;
        }
        self.fx.fact(Fact::ConfigurationChanged {
            changes: causes.values().sum(),
            causes,
            recycled: consequences.recycled.iter().cloned().collect(),
            restarted: consequences.restarted_names(&new),
        });
        // Source: TechNet cc780868: in IIS 6 some settings of W3SVC itself wait until it starts again.
        let are_taken = match self.parameters.personality {
            Personality::Iis10 => true,
            Personality::Iis6 => false,
        };
        if are_taken && self.web_limits != new.web_limits {
            self.take_limits(&new.web_limits, now);
        }
        self.configuration = Some(new);
        self.fx.driver_changed = true;
        for pool in &mut self.pools {
            let name = &pool.settings().name;
            if consequences.recycled.contains(&name.to_lowercase()) {
                pool.recycle_for_change(&mut self.fx, now);
            }
        }
    }

    fn change_pools(&mut self, new: &Configuration, consequences: &Consequences) {
        let serves = self.services.phase == Phase::Running;
        for settings in &new.application_pools {
            let worker = worker_configuration(settings, new, &self.parameters);
            // By its spelling, which is its queue's: with another one it is another pool.
            let known = self
                .pools
                .iter_mut()
                .find(|pool| pool.settings().name == settings.name);
            let identity = &settings.process_model.identity;
            let before = known
                .as_ref()
                .map(|pool| &pool.settings().process_model.identity);
            if !identity.is_valid() && before != Some(identity) {
                self.fx.event(Event::identity_invalid(&settings.name));
            }
            if let Some(pool) = known {
                let recycles = consequences
                    .recycled
                    .contains(&settings.name.to_lowercase());
                let restarted = |context| !recycles && consequences.restarted.contains(&context);
                pool.tell_of_applications(&worker.applications, restarted, &mut self.fx);
                pool.reconfigure(settings.clone(), worker, &mut self.fx);
            } else {
                let mut pool =
                    AppPool::new(self.next_pool(), settings.clone(), worker, &self.parameters);
                pool.state_itself(&mut self.fx);
                if serves {
                    pool.serve();
                }
                self.pools.push(pool);
            }
        }
        for pool in &mut self.pools {
            let name = pool.settings().name.clone();
            let mut names = new.application_pools.iter().map(|settings| &settings.name);
            if !names.any(|known| *known == name) {
                pool.leave(&mut self.fx);
            }
        }
    }

    /// Source: IIS docs, "Getting started with configuration": sites are added and removed while the
    /// service runs. Assumed: a site that could not listen tries once more when its bindings change.
    fn change_sites(&mut self, old: &Configuration, new: &Configuration) {
        if self.sites.is_empty() && self.services.phase != Phase::Running {
            return;
        }
        let id = |site: &Site| SiteId(site.id);
        let before: BTreeMap<SiteId, &Site> = old.sites.iter().map(|s| (id(s), s)).collect();
        self.sites
            .retain(|known, _| new.sites.iter().any(|site| id(site) == *known));
        for site in &new.sites {
            let begin = if site.server_auto_start && new.obstacle(site).is_none() {
                SiteState::Started
            } else {
                SiteState::Stopped
            };
            let was = before.get(&id(site));
            let rebound = was.is_some_and(|old| old.bindings != site.bindings);
            let repaired =
                was.is_some_and(|was| old.obstacle(was).is_some() && new.obstacle(site).is_none());
            let state = self.sites.entry(id(site)).or_insert(begin);
            if repaired && *state == SiteState::Stopped {
                *state = begin;
            }
            if site.fault.is_none() && new.obstacle(site).is_some() {
                *state = SiteState::Stopped;
            }
            if rebound && matches!(state, SiteState::Failed(_)) {
                *state = SiteState::Started;
            }
        }
    }

    /// A number for a new pool.
    pub(super) fn next_pool(&mut self) -> PoolId {
        self.pools_made += 1;
        PoolId(self.pools_made)
    }

    /// Pools that have left the configuration go when their last worker has.
    pub(super) fn forget_pools_that_left(&mut self, now: Instant) {
        let before = self.pools.len();
        let counters = &mut self.fx.counters;
        self.pools.retain(|pool| {
            if pool.has_left() {
                counters.forget(&pool.settings().name);
            }
            !pool.has_left()
        });
        if self.pools.len() != before && self.services.phase == Phase::Running {
            self.configure_driver(Then::Nothing, now);
        }
    }
}

/// The pools of a configuration that cannot be read, each with the reason.
fn broken_pools(configuration: &Configuration) -> Vec<(String, String)> {
    let pools = configuration.application_pools.iter();
    pools
        .filter_map(|pool| Some((pool.name.clone(), pool.fault.clone()?)))
        .collect()
}

/// What the effects of a change come down to.
struct Consequences {
    /// Names of pools, in lower case.
    recycled: BTreeSet<String>,
    /// Applications.
    restarted: BTreeSet<UrlContext>,
    applications: BTreeSet<(u32, String)>,
}

impl Consequences {
    fn of(effects: &[Effect], new: &Configuration, kept: &Kept) -> Self {
        let of = |kind| effects.iter().filter(move |effect| effect.kind == kind);
        let pools = of(EffectKind::PoolRecycle).flat_map(|effect| &effect.pools);
        let applications = of(EffectKind::ApplicationRestart).flat_map(|e| &e.applications);
        let mut consequences = Self {
            recycled: pools.map(|name| name.to_lowercase()).collect(),
            restarted: applications
                .clone()
                .map(|(site, path)| url_context(*site, path))
                .collect(),
            applications: applications.cloned().collect(),
        };
        // What does not exist any more does not restart, and what cannot be read any more stays as it was.
        consequences.applications.retain(|(id, path)| {
            let site = new.sites.iter().find(|site| site.id == *id);
            site.is_some_and(|site| {
                !kept.sites.contains(id) && site.applications.iter().any(|a| a.path == *path)
            })
        });
        for site in new.sites.iter().filter(|s| kept.sites.contains(&s.id)) {
            for application in &site.applications {
                let context = url_context(site.id, &application.path);
                consequences.restarted.remove(&context);
            }
        }
        consequences
            .recycled
            .retain(|pool| !kept.pools.contains(pool));
        consequences
    }

    /// `Default Web Site/app`.
    fn restarted_names(&self, new: &Configuration) -> Vec<String> {
        let name = |(id, path): &(u32, String)| {
            let site = new.sites.iter().find(|site| site.id == *id)?;
            Some(format!("{}{path}", site.name))
        };
        self.applications.iter().filter_map(name).collect()
    }
}

/// What workers that know `old` have to be told so that they know `new`.
pub(super) fn news_of_applications(
    old: &[Application],
    new: &[Application],
    restarted: impl Fn(UrlContext) -> bool,
) -> Vec<ToWorker> {
    let known: BTreeMap<UrlContext, &Application> =
        old.iter().map(|a| (a.url_context, a)).collect();
    let still: BTreeSet<UrlContext> = new.iter().map(|a| a.url_context).collect();
    let gone = old.iter().filter(|a| !still.contains(&a.url_context));
    let gone = gone.map(|a| ToWorker::ApplicationRemoved {
        url_context: a.url_context,
    });
    let changed = new.iter().filter_map(|application| {
        let before = known.get(&application.url_context);
        let restart = before.is_some() && restarted(application.url_context);
        let differs = before.is_none_or(|before| *before != application);
        (differs || restart).then(|| ToWorker::ApplicationChanged {
            application: Box::new(application.clone()),
            restart,
        })
    });
    gone.chain(changed).collect()
}

impl Was {
    /// Asks for changes in the file.
    pub(super) fn change_configuration(
        &mut self,
        client: ClientId,
        changes: Vec<config::edit::Change>,
    ) {
        self.fx.push(Output::EditConfig { client, changes });
    }
}

#[cfg(test)]
mod tests;
