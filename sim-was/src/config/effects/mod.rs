//! Which change needs what: the difference between two configurations, and what each part of it makes
//! WAS, W3SVC and the workers do. Nothing is done here.
//!
//! ```text
//! old ─┐  settings::differences     rules: what the setting belongs to, and its name
//!      ├───────────────────────► difference ───────────────────────► Effect { kind, pools, why }
//! new ─┘
//! ```

mod renamed;
mod rules;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Configuration;
use super::settings::{Difference, Key, Scope, Settings};
use crate::model::Personality;
use crate::secrets::{hidden, is_secret_setting, words_without_secrets};
use rules::Rule;

/// What a change makes the server do, from the cheapest to the dearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EffectKind {
    /// Nothing that the simulated parts of IIS read.
    None,
    /// It holds at once; no process and no connection notices.
    Live,
    /// It holds for the next worker process.
    NextWorkerStart,
    /// Bindings, sites or applications come and go in HTTP.sys; other sites are not touched.
    SiteRebind,
    /// Application domains are unloaded and started again in the same worker process.
    ApplicationRestart,
    /// The pool's worker processes are replaced.
    PoolRecycle,
    /// It holds when the services are started again (iisreset).
    ServiceRestart,
}

impl EffectKind {
    /// As it is written in JSON: `pool-recycle`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Live => "live",
            Self::NextWorkerStart => "next-worker-start",
            Self::SiteRebind => "site-rebind",
            Self::ApplicationRestart => "application-restart",
            Self::PoolRecycle => "pool-recycle",
            Self::ServiceRestart => "service-restart",
        }
    }
}

/// One difference, and what comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// What has changed: `application pool 'P': queueLength`.
    pub what: String,
    /// The old value, hidden if it is secret; `None` if there was none.
    pub old: Option<String>,
    /// The line of the old value, if it was written.
    pub old_line: Option<u32>,
    /// The new value, hidden if it is secret; `None` if there is none.
    pub new: Option<String>,
    /// The line of the new value, if it is written.
    pub new_line: Option<u32>,
    /// What it makes the server do.
    pub kind: EffectKind,
    /// The pools whose workers it concerns.
    pub pools: Vec<String>,
    /// The site that it concerns, by its number.
    pub site: Option<u32>,
    /// The applications that are restarted: site and path.
    pub applications: Vec<(u32, String)>,
    /// Why, as a sentence.
    pub why: String,
    /// Where that is written.
    pub source: String,
}

/// Everything that the change from `old` to `new` causes, in the order of what it belongs to.
pub fn effects_of(
    old: &Configuration,
    new: &Configuration,
    personality: Personality,
) -> Vec<Effect> {
    let settings = renamed::settings(old, new);
    let differences = settings.differences(&new.settings).into_iter();
    let differences = differences.filter(|difference| !is_named_elsewhere(&difference.key));
    let mut found: Vec<Found> = Vec::new();
    let mut places = BTreeMap::<(String, Place, Place), Vec<usize>>::new();
    for difference in differences {
        let effect = effect(&difference, old, new, personality);
        let path = difference.key.path.clone();
        let place = (path, difference.old_place, difference.new_place);
        let here = places.entry(place).or_default();
        let mut same = here.iter().copied();
        if let Some(same) = same.find(|at| found[*at].is_inherited(&difference, &effect)) {
            found[same].others.push(effect);
        } else {
            here.push(found.len());
            found.push(Found {
                difference,
                effect,
                others: Vec::new(),
            });
        }
    }
    let found = found.into_iter().map(Found::together);
    found.chain(renamed::effects(old, new)).collect()
}

/// Line and column, of what is written.
type Place = Option<(u32, u32)>;

/// A difference, and what comes of it for the first pool or site that has it and for others.
struct Found {
    difference: Difference,
    effect: Effect,
    others: Vec<Effect>,
}

impl Found {
    /// Whether another pool or another site has it from the same place in the file, their defaults, and the same
    /// comes of it: an administrator has changed one thing.
    fn is_inherited(&self, other: &Difference, effect: &Effect) -> bool {
        let own = &self.difference;
        let is_of_both = match (&own.key.scope, &other.key.scope) {
            (Scope::Pool(one), Scope::Pool(other)) => one != other,
            (Scope::Site(one), Scope::Site(other)) => one != other,
            _ => false,
        };
        is_of_both
            && !own.key.path.is_empty()
            && (own.old_place, own.new_place) != (None, None)
            && (&own.old, &own.new) == (&other.old, &other.new)
            && (self.effect.kind, &self.effect.why) == (effect.kind, &effect.why)
    }

    /// What comes of it for all: `application pools 'A', 'B': queueLength`.
    fn together(self) -> Effect {
        let mut all = self.effect;
        if self.others.is_empty() {
            return all;
        }
        let whose = |what: &str| {
            let from = what.find('\'').unwrap_or(0);
            let to = what.find("': ").map_or(what.len(), |at| at + 1);
            (from, to.max(from))
        };
        let (from, to) = whose(&all.what);
        let mut names = vec![all.what[from..to].to_owned()];
        names.extend(self.others.iter().map(|other| {
            let (from, to) = whose(&other.what);
            other.what[from..to].to_owned()
        }));
        let kind = all.what[..from].trim_end();
        all.what = format!("{kind}s {}{}", names.join(", "), &all.what[to..]);
        for other in self.others {
            all.pools.extend(other.pools);
            all.applications.extend(other.applications);
        }
        all.pools.sort();
        all.pools.dedup();
        all.applications.sort();
        all.applications.dedup();
        all.site = None;
        all
    }
}

/// The name of a pool or a site is told by its coming and going, and a path too.
fn is_named_elsewhere(key: &Key) -> bool {
    match &key.scope {
        Scope::Pool(_) | Scope::Site(_) => ["name", "id"].contains(&key.path.as_str()),
        Scope::Application(..) | Scope::VirtualDirectory(..) => key.path == "path",
        Scope::Location(_) | Scope::WebConfig(_) => false,
    }
}

fn effect(
    difference: &Difference,
    old: &Configuration,
    new: &Configuration,
    personality: Personality,
) -> Effect {
    let key = &difference.key;
    let pool = match &key.scope {
        Scope::Pool(name) => new.application_pools.iter().find(|pool| pool.name == *name),
        Scope::Site(_)
        | Scope::Application(..)
        | Scope::VirtualDirectory(..)
        | Scope::Location(_)
        | Scope::WebConfig(_) => None,
    };
    let is_own = is_own(key, old, new);
    let mut rule = rules::rule(difference, pool, is_own, personality);
    let concerned = |location: &str| {
        if is_own {
            applications_around(new, location)
        } else {
            applications_below(new, location)
        }
    };
    let mut applications = Vec::new();
    let mut pools = Vec::new();
    let mut site = None;
    match &key.scope {
        Scope::Pool(name) => {
            pools.push(name.clone());
            rule = unless_disallowed(rule, new, name);
            if let Some(rule_of_case) = respelled(difference, new) {
                rule = rule_of_case;
                applications = applications_of(old, name);
            }
            let stopped = stopped_with(name, old, new);
            if key.path.is_empty() && !stopped.is_empty() {
                rule.kind = EffectKind::SiteRebind;
                let sites = stopped.join("', '");
                rule.why = format!(
                    "{} Stopped is '{sites}': its root application belongs to the pool, and a site cannot run without.",
                    rule.why
                );
            }
        }
        Scope::Site(id) => site = Some(*id),
        Scope::Application(id, path) | Scope::VirtualDirectory(id, path, _) => {
            site = Some(*id);
            applications.push((*id, path.clone()));
            pools.extend(pool_of(old, *id, path));
            pools.extend(pool_of(new, *id, path));
            rule = unless_nowhere(rule, difference, old, new);
        }
        Scope::Location(path) if rule.kind == EffectKind::PoolRecycle => {
            let below = concerned(path);
            pools.extend(
                below
                    .iter()
                    .filter_map(|(id, path)| pool_of(new, *id, path)),
            );
            rule = unless_all_disallowed(rule, new, &mut pools);
        }
        Scope::Location(path) => applications = concerned(path),
        Scope::WebConfig(folder) => {
            applications = with_web_config(old, folder);
            applications.extend(with_web_config(new, folder));
        }
    }
    if rule.kind == EffectKind::ApplicationRestart {
        pools.extend(
            applications
                .iter()
                .filter_map(|(id, path)| pool_of(new, *id, path)),
        );
    } else {
        applications.clear();
    }
    pools.sort();
    pools.dedup();
    applications.sort();
    applications.dedup();
    let name = |id: u32| {
        let mut sites = new.sites.iter().chain(&old.sites);
        sites
            .find(|site| site.id == id)
            .map(|site| site.name.clone())
    };
    let mut what = key.to_string();
    if let Some(site) = site
        && let Some(name) = name(site)
    {
        what = what.replacen(&format!("site {site}"), &format!("site '{name}'"), 1);
    }
    let shown = |value: &Option<String>| {
        let is_secret = is_secret_setting(&key.path);
        value
            .clone()
            .map(|value| if is_secret { hidden() } else { value })
    };
    Effect {
        // The name of an entry without a schema is all that is written in it.
        what: words_without_secrets([what.as_str()]),
        old: shown(&difference.old),
        old_line: difference.old_place.map(|(line, _)| line),
        new: shown(&difference.new),
        new_line: difference.new_place.map(|(line, _)| line),
        kind: rule.kind,
        pools,
        site,
        applications,
        why: rule.why,
        source: rule.source.to_owned(),
    }
}

/// Source: IIS configuration reference, `disallowRotationOnConfigChange`: the pool does not rotate its
/// worker processes when its configuration changes.
fn unless_disallowed(rule: Rule, new: &Configuration, name: &str) -> Rule {
    if rule.kind == EffectKind::PoolRecycle && is_disallowed(new, name) {
        Rule {
            kind: EffectKind::NextWorkerStart,
            why:
                "It would recycle the pool, but disallowRotationOnConfigChange is true: workers go \
                  on with what they know, and the next one is started with it."
                    .to_owned(),
            source: "IIS configuration reference, recycling: disallowRotationOnConfigChange",
        }
    } else {
        rule
    }
}

fn is_disallowed(configuration: &Configuration, name: &str) -> bool {
    let mut pools = configuration.application_pools.iter();
    let pool = pools.find(|pool| pool.name == name);
    pool.is_some_and(|pool| pool.recycling.disallow_rotation_on_config_change)
}

/// The same for what several pools have in common, native modules: the others are recycled.
fn unless_all_disallowed(rule: Rule, new: &Configuration, pools: &mut Vec<String>) -> Rule {
    let is_recycled = |name: &String| !is_disallowed(new, name);
    if pools.iter().any(is_recycled) {
        pools.retain(is_recycled);
        return rule;
    }
    match pools.first() {
        Some(name) => unless_disallowed(rule, new, name),
        None => rule,
    }
}

fn pool_of(configuration: &Configuration, site: u32, path: &str) -> Option<String> {
    let site = configuration.sites.iter().find(|s| s.id == site)?;
    let application = site.applications.iter().find(|a| a.path == path)?;
    Some(application.application_pool.clone())
}

/// The applications at a location and below it; all of them for the empty one. A location below an
/// application concerns that application.
fn applications_below(configuration: &Configuration, location: &str) -> Vec<(u32, String)> {
    let mut found = applications_around(configuration, location);
    for site in &configuration.sites {
        for application in &site.applications {
            let here = (site.id, application.path.clone());
            if is_below(&place_of(site, application), location) && !found.contains(&here) {
                found.push(here);
            }
        }
    }
    found
}

/// The applications that a location lies in: of each site, the innermost.
fn applications_around(configuration: &Configuration, location: &str) -> Vec<(u32, String)> {
    let around = |site: &super::Site| {
        let applications = site.applications.iter();
        let around = applications.filter(|app| is_below(location, &place_of(site, app)));
        let innermost = around.max_by_key(|app| app.path.trim_end_matches('/').len())?;
        Some((site.id, innermost.path.clone()))
    };
    configuration.sites.iter().filter_map(around).collect()
}

/// Where an application is, as locations name it, in lower case.
fn place_of(site: &super::Site, application: &super::Application) -> String {
    let path = application.path.trim_end_matches('/');
    format!("{}{path}", site.name).to_lowercase()
}

fn is_below(path: &str, above: &str) -> bool {
    above.is_empty()
        || path == above
        || path.strip_prefix(above).is_some_and(|p| p.starts_with('/'))
}

/// Whether what differs in a section is, and was, kept from the applications below its place.
fn is_own(key: &Key, old: &Configuration, new: &Configuration) -> bool {
    let both = [&old.settings, &new.settings];
    let is_kept = |settings: &&Settings| {
        settings.is_own(&key.scope, &key.section) || !settings.has_section(&key.scope, &key.section)
    };
    let is_location = matches!(key.scope, Scope::Location(_));
    is_location
        && both.iter().all(is_kept)
        && both.iter().any(|s| s.has_section(&key.scope, &key.section))
}

fn has_pool(configuration: &Configuration, pool: &str) -> bool {
    let mut pools = configuration.application_pools.iter();
    pools.any(|known| known.name.eq_ignore_ascii_case(pool))
}

/// An application needs a pool to come from or to go to.
fn unless_nowhere(
    rule: Rule,
    difference: &Difference,
    old: &Configuration,
    new: &Configuration,
) -> Rule {
    let Scope::Application(id, path) = &difference.key.scope else {
        return rule;
    };
    if difference.key.path != "applicationPool" {
        return rule;
    }
    let (from, to) = (pool_of(old, *id, path), pool_of(new, *id, path));
    if let Some(to) = to.filter(|to| !has_pool(new, to)) {
        let mut sites = new.sites.iter();
        let site = sites.find(|site| site.id == *id && path == "/");
        return rules::moved_nowhere(&to, site.map(|site| site.name.as_str()));
    }
    match from.filter(|from| !has_pool(old, from)) {
        Some(from) => rules::moved_from_nowhere(&from),
        None => rule,
    }
}

/// What it means that a pool is gone, and that there is one of the same name in other letters.
/// Assumed: a pool is its name as it is written, because its queue in HTTP.sys is.
fn respelled(difference: &Difference, new: &Configuration) -> Option<Rule> {
    let Scope::Pool(name) = &difference.key.scope else {
        return None;
    };
    let is_gone = difference.key.path.is_empty() && difference.new.is_none();
    (is_gone && has_pool(new, name)).then(|| Rule {
        kind: EffectKind::ApplicationRestart,
        why: "Written in other letters it is another pool, with another queue: the workers of the old one \
              finish and go, and its applications start in the new one, without their sessions and caches."
            .to_owned(),
        source: "Assumed: a request queue is its name as it is written",
    })
}

/// The applications of a pool.
fn applications_of(configuration: &Configuration, pool: &str) -> Vec<(u32, String)> {
    let sites = configuration.sites.iter();
    let all = sites.flat_map(|site| site.applications.iter().map(move |app| (site.id, app)));
    let of_pool = all.filter(|(_, app)| app.application_pool.eq_ignore_ascii_case(pool));
    of_pool.map(|(id, app)| (id, app.path.clone())).collect()
}

/// The sites that could run, and cannot without a pool.
fn stopped_with(pool: &str, old: &Configuration, new: &Configuration) -> Vec<String> {
    if has_pool(new, pool) {
        return Vec::new();
    }
    let stops = |site: &&super::Site| {
        let mut root = site.applications.iter().filter(|app| app.path == "/");
        let is_its = root.any(|app| app.application_pool.eq_ignore_ascii_case(pool));
        let mut before = old.sites.iter().filter(|before| before.id == site.id);
        let ran = before.any(|before| old.obstacle(before).is_none());
        is_its && ran && new.obstacle(site).is_some()
    };
    let sites = new.sites.iter().filter(stops);
    sites.map(|site| site.name.clone()).collect()
}

/// The applications that read the web.config of a folder.
fn with_web_config(configuration: &Configuration, folder: &str) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for site in &configuration.sites {
        for application in &site.applications {
            if application.web_configs.iter().any(|read| read == folder) {
                found.push((site.id, application.path.clone()));
            }
        }
    }
    found
}

#[cfg(test)]
mod pool_tests;
#[cfg(test)]
mod tests;
