//! Applications that come, go, and move to another pool while requests are under way.
//!
//! The operation names the application by its site and its path, and the pool that it comes or moves to. What
//! is asked of one that is not there falls to the application above it, which has a page of its own there.

use std::collections::BTreeSet;

use sim_was::config::edit::{self, Change, Step};

use super::plan::{Act, Plan, PlannedOperation, PoolPlan};
use super::sites::{FIRST_SITE, folder, site_name};

const SITES: &str = "system.applicationHost/sites";

impl PlannedOperation {
    /// What it changes in the configuration; nothing if it is no change.
    pub(super) fn changes(&self) -> Vec<Change> {
        match self.act {
            Act::RemoveApplication => vec![self.of_site(edit::Act::Remove {
                keys: pairs(&[("path", &self.application)]),
            })],
            Act::AddApplication => vec![self.application(), self.root_directory()],
            Act::MoveApplication => {
                let (site, path) = (site_name(self.site), &self.application);
                let change = Change::application(&site, path, "applicationPool", &self.pool);
                vec![change]
            }
            Act::Set => {
                let whose = if self.set.starts_with("limits.") {
                    format!("sites[name='{}']", site_name(self.site))
                } else {
                    format!("applicationPools[name='{}']", self.pool)
                };
                let change = format!("system.applicationHost/{whose}.{}", self.set).parse();
                change.into_iter().collect()
            }
            Act::ShortenQueue => self.of_pool("queueLength", "10"),
            Act::LengthenQueue => self.of_pool("queueLength", "65535"),
            Act::To32Bit => self.of_pool("enable32BitAppOnWin64", "true"),
            Act::To64Bit => self.of_pool("enable32BitAppOnWin64", "false"),
            Act::KeepOnChange => self.of_pool("recycling.disallowRotationOnConfigChange", "true"),
            Act::Iisreset
            | Act::IisresetNoforce
            | Act::RestartWas
            | Act::RestartW3svc
            | Act::StopStart
            | Act::StopPool
            | Act::StartPool
            | Act::Recycle
            | Act::KillW3wp
            | Act::KillWas
            | Act::FreezeWas
            | Act::StopSite
            | Act::StartSite
            | Act::ChangeContent
            | Act::ClockForward
            | Act::ClockBack => Vec::new(),
        }
    }

    /// Whether it is about an application.
    pub(super) fn is_of_application(&self) -> bool {
        matches!(
            self.act,
            Act::RemoveApplication | Act::AddApplication | Act::MoveApplication
        )
    }

    fn of_pool(&self, path: &str, value: &str) -> Vec<Change> {
        vec![Change::pool(&self.pool, path, value)]
    }

    fn of_site(&self, act: edit::Act) -> Change {
        let name = site_name(self.site);
        Change::new(SITES, vec![Step::Entry(pairs(&[("name", &name)]))], act)
    }

    fn application(&self) -> Change {
        self.of_site(edit::Act::Add {
            attributes: pairs(&[("path", &self.application), ("applicationPool", &self.pool)]),
            at: edit::Position::End,
        })
    }

    fn root_directory(&self) -> Change {
        let folder = folder(self.site, &self.application);
        let mut change = self.of_site(edit::Act::Add {
            attributes: pairs(&[
                ("path", "/"),
                ("physicalPath", &format!("%SystemDrive%\\inetpub\\{folder}")),
            ]),
            at: edit::Position::End,
        });
        let entry = Step::Entry(pairs(&[("path", &self.application)]));
        change.element.push(entry);
        change
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

impl Plan {
    /// The paths of a site's applications; that of its root is `/`.
    pub(super) fn paths(&self, site: u32) -> Vec<String> {
        let other = self.other_sites.iter().find(|other| other.number == site);
        let below = |path: &String| !path.is_empty();
        let mut paths = vec!["/".to_owned()];
        match other {
            Some(other) => {
                let applications = other.applications(self).into_iter();
                paths.extend(applications.map(|(path, _)| path).filter(below));
            }
            None => paths.extend(self.pools.iter().map(|pool| format!("/{}", pool.name))),
        }
        paths
    }

    /// The pool that an application has at the beginning.
    pub(super) fn pool_of(&self, site: u32, path: &str) -> Option<String> {
        let of_first = || self.pools.first().map(|pool| pool.name.clone());
        let other = self.other_sites.iter().find(|other| other.number == site);
        match (other, path) {
            (Some(other), "/") => other.pools.first().cloned().or_else(of_first),
            (None, "/") => of_first(),
            (_, path) => {
                let named = |pool: &&PoolPlan| path.strip_prefix('/') == Some(&pool.name);
                self.pools.iter().find(named).map(|pool| pool.name.clone())
            }
        }
    }

    /// Applications below the root that come or go: their sites and their paths.
    pub(super) fn passing(&self) -> BTreeSet<(u32, &str)> {
        let operations = self.operations.iter();
        operations
            .filter(|operation| operation.is_of_application() && operation.application != "/")
            .map(|operation| (operation.site, operation.application.as_str()))
            .collect()
    }

    /// Folders that have a page besides those of the applications that there are at the beginning: those of
    /// applications that come, and what lies at their place in the site's root.
    pub(super) fn passing_folders(&self) -> BTreeSet<String> {
        let folders = self.passing().into_iter().flat_map(|(site, path)| {
            let above = format!("{}{}", folder(site, "/"), path.replace('/', "\\"));
            [folder(site, path), above]
        });
        folders.collect()
    }
}

/// The application that is none at the beginning, in every site.
pub(super) const NEW: &str = "/new";

/// What clients of a site ask for.
pub(super) fn host(plan: &Plan, site: u32) -> Option<String> {
    let mut others = plan.other_sites.iter();
    let other = others.find(|other| other.number == site)?;
    (site != FIRST_SITE).then(|| other.host())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim_was::config::edit::apply;

    fn operation(act: Act, application: &str, pool: &str) -> PlannedOperation {
        PlannedOperation {
            at: 0,
            act,
            pool: pool.to_owned(),
            set: String::new(),
            site: FIRST_SITE,
            application: application.to_owned(),
        }
    }

    #[test]
    fn an_application_moves_and_goes_and_comes_back() {
        let mut plan = super::super::draw(0, 10_000);
        plan.pools.truncate(1);
        let mut other = plan.pools[0].clone();
        other.name = "Other".to_owned();
        plan.pools.push(other);
        let mut text = plan.configuration_text();
        let mut pools_after = |act, path, pool| {
            text = apply(&text, &operation(act, path, pool).changes()).unwrap();
            let read = plan.read(&text).unwrap();
            let applications = read.sites[0].applications.iter();
            let pool = |application: &sim_was::config::Application| {
                (
                    application.path.clone(),
                    application.application_pool.clone(),
                )
            };
            applications.map(pool).collect::<Vec<_>>()
        };
        let first = plan.pools[0].name.clone();
        let is = |path: &str, pool: &str| (path.to_owned(), pool.to_owned());
        let root = is("/", &first);
        let own = is(&format!("/{first}"), &first);
        assert_eq!(
            pools_after(Act::MoveApplication, "/Other", &first),
            [root.clone(), own.clone(), is("/Other", &first)]
        );
        assert_eq!(
            pools_after(Act::RemoveApplication, "/Other", ""),
            [root.clone(), own.clone()]
        );
        assert_eq!(
            pools_after(Act::AddApplication, NEW, "Other"),
            [root, own, is(NEW, "Other")]
        );
    }

    #[test]
    fn what_comes_is_asked_for_and_has_a_page() {
        let mut plan = super::super::draw(0, 10_000);
        plan.operations = vec![operation(Act::AddApplication, NEW, "P0")];
        let urls: Vec<String> = plan.profile().mix.into_iter().map(|m| m.url).collect();
        assert!(urls.contains(&"/new/iisstart.htm".to_owned()), "{urls:?}");
        let folders = plan.passing_folders();
        assert_eq!(
            folders.into_iter().collect::<Vec<_>>(),
            ["new", "wwwroot\\new"]
        );
    }
}
