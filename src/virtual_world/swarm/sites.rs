//! The sites besides the first one: where they are bound, which pools serve them, what is asked of them.
//!
//! One has the ports of the first site and a host name of its own, or ports of its own and any host.
//! Pools may serve several sites.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sim_httpsys::api::Endpoint;
use sim_was::config;

use super::plan::{Plan, PoolPlan, application, profiles};

/// The number of the first site, which is that of IIS.
pub const FIRST_SITE: u32 = 1;

/// A site besides the first one. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtherSite {
    /// `id`; its name, host and ports are made of it.
    pub number: u32,
    /// How requests find it.
    pub bound: Bound,
    /// The pools of its applications, some of the plan's. The first one serves `/`, each also `/` and its
    /// own name; without any it is the plan's first one.
    pub pools: Vec<String>,
    /// `limits/@maxConnections`
    pub connections_max: Option<u32>,
    /// `limits/@connectionTimeout`
    pub connection_timeout: u64,
    /// For how long files are kept in the response cache, seconds; 0 is until they change.
    pub cache_seconds: u64,
}

/// What a site's bindings differ in from those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// A host name, on the ports of the first site.
    Host,
    /// Ports, for any host name.
    Port,
}

impl Default for OtherSite {
    fn default() -> Self {
        Self {
            number: FIRST_SITE + 1,
            bound: Bound::Host,
            pools: Vec::new(),
            connections_max: None,
            connection_timeout: 120_000,
            cache_seconds: 0,
        }
    }
}

impl OtherSite {
    /// What its clients ask for.
    pub(super) fn host(&self) -> String {
        format!("site{}.test", self.number)
    }

    /// Where they ask, with TLS or without.
    pub(super) fn endpoint(&self, secure: bool) -> Endpoint {
        let own = u16::try_from(self.number).unwrap_or(u16::MAX);
        let port = match (self.bound, secure) {
            (Bound::Host, false) => 80,
            (Bound::Host, true) => 443,
            (Bound::Port, false) => own.saturating_add(8_000),
            (Bound::Port, true) => own.saturating_add(9_000),
        };
        Endpoint {
            address: None,
            port,
            secure,
        }
    }

    /// Its part of the configuration.
    pub(super) fn write(&self, plan: &Plan, text: &mut String) {
        let name = site_name(self.number);
        let _ = writeln!(text, "<site name=\"{name}\" id=\"{}\">", self.number);
        for (path, pool) in self.applications(plan) {
            let path = if path.is_empty() { "/" } else { &path };
            let folder = folder(self.number, path);
            text.push_str(&application(path, &folder, pool));
        }
        text.push_str("<bindings>");
        let host = match self.bound {
            Bound::Host => self.host(),
            Bound::Port => String::new(),
        };
        for secure in [false, true] {
            let scheme = if secure { "https" } else { "http" };
            let port = self.endpoint(secure).port;
            let _ = write!(
                text,
                "<binding protocol=\"{scheme}\" bindingInformation=\"*:{port}:{host}\" />"
            );
        }
        text.push_str("</bindings></site>\n");
    }

    /// What the text of a configuration does not say exactly.
    pub(super) fn set(&self, site: &mut config::Site) {
        site.limits.max_connections = self.connections_max;
        site.limits.connection_timeout = Duration::from_millis(self.connection_timeout);
        for application in &mut site.applications {
            application.settings.caching.profiles = profiles(self.cache_seconds);
        }
    }

    /// Its folders with pages.
    pub(super) fn folders(&self, plan: &Plan) -> BTreeSet<String> {
        let applications = self.applications(plan);
        let paths = applications.iter().map(|(path, _)| path);
        paths.map(|path| folder(self.number, path)).collect()
    }

    /// The paths of its applications, the root's without its `/`, and their pools.
    pub(super) fn applications<'a>(&self, plan: &'a Plan) -> Vec<(String, &'a PoolPlan)> {
        let named = |name: &String| plan.pools.iter().find(|pool| pool.name == *name);
        let mut pools: Vec<&PoolPlan> = self.pools.iter().filter_map(named).collect();
        if pools.is_empty() {
            pools.extend(plan.pools.first());
        }
        let root = pools.first().map(|pool| (String::new(), *pool));
        let below = pools.iter().map(|pool| (format!("/{}", pool.name), *pool));
        root.into_iter().chain(below).collect()
    }
}

/// The name of a site in the configuration.
pub(super) fn site_name(number: u32) -> String {
    match number {
        FIRST_SITE => "Default Web Site".to_owned(),
        _ => format!("Site {number}"),
    }
}

/// The folder of an application, below `inetpub`.
pub(super) fn folder(number: u32, path: &str) -> String {
    match (number, path.trim_start_matches('/')) {
        (FIRST_SITE, "") => "wwwroot".to_owned(),
        (FIRST_SITE, pool) => pool.to_owned(),
        (_, "") => format!("site{number}"),
        (_, pool) => format!("site{number}-{pool}"),
    }
}
