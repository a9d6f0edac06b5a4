//! What is left of the old configuration where the new one is no good.

use std::collections::BTreeSet;

use super::Configuration;
use super::settings::Scope;

/// The pools and sites that cannot be read any more, and stay as they were: also a worker process that is
/// started later, or a site that is started again, goes by the last good configuration. One that never was
/// good cannot be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Names of pools, in lower case.
    pub(crate) pools: BTreeSet<String>,
    /// Numbers of sites.
    pub(crate) sites: BTreeSet<u32>,
}

/// Puts what was known in the place of whole sections that cannot be used, so that nothing of them has changed.
///
/// Source: IIS: what runs goes on with the configuration that it has. Assumed: that is so section by section.
pub(crate) fn keep_sections(old: &Configuration, new: &mut Configuration) {
    let of_pools = |scope: &Scope| matches!(scope, Scope::Pool(_));
    let of_sites = |scope: &Scope| {
        matches!(
            scope,
            Scope::Site(_) | Scope::Application(..) | Scope::VirtualDirectory(..)
        )
    };
    for broken in std::mem::take(&mut new.broken_sections) {
        match broken.section.as_str() {
            "system.applicationHost/applicationPools" => {
                new.application_pools.clone_from(&old.application_pools);
                new.settings.keep(&old.settings, of_pools);
            }
            "system.applicationHost/sites" => {
                new.sites.clone_from(&old.sites);
                new.settings.keep(&old.settings, of_sites);
            }
            "system.applicationHost/webLimits" => new.web_limits = old.web_limits.clone(),
            "system.applicationHost/log" => new.central_log.clone_from(&old.central_log),
            "system.applicationHost/configHistory" => {
                new.config_history = old.config_history.clone();
            }
            // Nothing of the others is acted on.
            _ => {}
        }
        new.broken_sections.push(broken);
    }
}

impl Kept {
    /// Puts what was known in the place of what breaks.
    pub fn of(old: &Configuration, new: &mut Configuration) -> Self {
        let (mut pools, mut sites) = (BTreeSet::new(), BTreeSet::new());
        for pool in &mut new.application_pools {
            let Some(fault) = pool.fault.clone() else {
                continue;
            };
            let mut known = old.application_pools.iter();
            if let Some(known) = known.find(|known| known.name.eq_ignore_ascii_case(&pool.name)) {
                pools.insert(pool.name.to_lowercase());
                *pool = known.clone();
                pool.fault = known.fault.is_some().then_some(fault);
            }
        }
        for site in &mut new.sites {
            let Some(fault) = site.fault.clone() else {
                continue;
            };
            if let Some(known) = old.sites.iter().find(|known| known.id == site.id) {
                sites.insert(site.id);
                *site = known.clone();
                site.fault = known.fault.is_some().then_some(fault);
            }
        }
        let kept = Self { pools, sites };
        // So that the change that repairs it is compared with what is in effect.
        new.settings.keep(&old.settings, |scope| kept.has(scope));
        kept
    }

    fn has(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Pool(name) => self.pools.contains(&name.to_lowercase()),
            Scope::Site(id) | Scope::Application(id, _) | Scope::VirtualDirectory(id, _, _) => {
                self.sites.contains(id)
            }
            Scope::Location(_) | Scope::WebConfig(_) => false,
        }
    }
}
