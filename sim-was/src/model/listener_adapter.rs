//! W3SVC as listener adapter: what the driver is to be, and the calls that make it so.
//!
//! [`DriverState`] is a value: queues, URL groups, URLs. Everything that changes the driver (service
//! start and stop, site start and stop, a pool taken off) is the difference between two of them.
//!
//! Source: HTTP Server API as IIS uses it: one request queue per pool, one URL group per site and
//! pool, one URL per binding and application.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sim_httpsys::api::{
    CallId, ControlCall, DisabledReason, Endpoint, LogSettings, QueueState, RequestQueueName,
    RequestQueueProperties, ResponseVerbosity, SiteId, Timeouts, UrlContext, UrlGroupId,
    UrlGroupProperties,
};

use sim_httpsys::clockwork::mutants::{Mutant, mutated};
use sim_httpsys::model::url_prefix::UrlPrefix;

use super::effects::Effects;
use super::site_log::log_settings;
use super::worker_configuration::same_name;
use crate::config::{Application, ApplicationPool, Configuration, HttpBinding, Site, WebLimits};
use crate::event_log::QueueChange;

/// What is set up in the driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverState {
    queues: BTreeMap<RequestQueueName, RequestQueueProperties>,
    groups: BTreeMap<UrlGroupId, UrlGroupProperties>,
    urls: BTreeMap<(UrlGroupId, String), UrlContext>,
}

impl DriverState {
    /// What a configuration asks for, given the states of pools and of sites.
    ///
    /// Applications that name no pool of the file get no URL; the configuration's reader warns.
    pub fn of(
        configuration: &Configuration,
        limits: &WebLimits,
        log: impl Fn(&Site) -> Option<LogSettings>,
        pool_state: impl Fn(&ApplicationPool) -> QueueState,
        site_started: impl Fn(&Site) -> bool,
    ) -> Self {
        let mut state = Self::default();
        for pool in &configuration.application_pools {
            state.add_queue(pool, pool_state(pool));
        }
        let sites = configuration.sites.iter().filter(|site| site_started(site));
        for site in sites {
            for (index, app) in site.applications.iter().enumerate() {
                let pool = configuration
                    .application_pools
                    .iter()
                    .find(|pool| same_name(&pool.name, &app.application_pool));
                if let Some(pool) = pool.filter(|_| serves_http(app)) {
                    state.add_application(site, index, pool, limits, &log);
                }
            }
        }
        state
    }

    /// The calls that turn `self` into `next`. Closing a group removes its URLs.
    ///
    /// An endpoint lives as long as one URL is registered for it, and its connections with it. So URLs that
    /// move from group to group, and those that come where an endpoint is open, come before anything goes;
    /// the others, which may want the port of one that goes, come last.
    pub fn calls_to(&self, next: &Self) -> Vec<ControlCall> {
        let mut calls = Vec::new();
        self.new_groups(next, &mut calls);
        let moves = self.moves(next);
        calls.extend(moves.iter().map(|(from, group, url, context)| {
            let (from, group, context) = (*from, *group, *context);
            let url = url.clone();
            ControlCall::MoveUrl {
                from,
                group,
                url,
                context,
            }
        }));
        let is_moved = |key: &(UrlGroupId, String)| {
            let mut moves = moves.iter();
            moves.any(|(_, group, url, _)| (*group, url) == (key.0, &key.1))
        };
        let open: BTreeSet<Endpoint> = self.urls.keys().filter_map(endpoint).collect();
        let new = next
            .urls
            .iter()
            .filter(|(key, context)| self.urls.get(*key) != Some(*context) && !is_moved(key));
        let add =
            |((group, url), context): (&(UrlGroupId, String), &UrlContext)| ControlCall::AddUrl {
                group: *group,
                url: url.clone(),
                context: *context,
            };
        let (early, late): (Vec<_>, Vec<_>) =
            new.partition(|(key, _)| endpoint(key).is_some_and(|e| open.contains(&e)));
        calls.extend(early.into_iter().map(add));
        self.changes(next, &mut calls);
        self.closings(next, &moves, &mut calls);
        calls.extend(late.into_iter().map(add));
        calls
    }

    /// URLs that go to another group, or come with another context: from where, to where, and what.
    fn moves(&self, next: &Self) -> Vec<(UrlGroupId, UrlGroupId, String, UrlContext)> {
        let is_kept = |key, context| next.urls.get(key) == Some(context);
        let gone = self
            .urls
            .iter()
            .filter(|(key, context)| !is_kept(*key, *context));
        let gone: BTreeMap<String, UrlGroupId> = gone
            .map(|((group, url), _)| (url.to_lowercase(), *group))
            .collect();
        let new = next.urls.iter();
        let new = new.filter(|(key, context)| self.urls.get(*key) != Some(*context));
        new.filter_map(|((group, url), context)| {
            let from = gone.get(&url.to_lowercase())?;
            Some((*from, *group, url.clone(), *context))
        })
        .collect()
    }

    /// Queues first, so that who waits in one gets its answer before the endpoint closes.
    ///
    /// Assumed: the order; no document says whether W3SVC closes its queues or its URLs first, nor what
    /// the waiting see. Lost they are either way, and 503 is what HTTP.sys has to say.
    fn closings(
        &self,
        next: &Self,
        moves: &[(UrlGroupId, UrlGroupId, String, UrlContext)],
        calls: &mut Vec<ControlCall>,
    ) {
        for queue in self.queues.keys() {
            if !next.queues.contains_key(queue) {
                calls.push(ControlCall::CloseRequestQueue {
                    queue: queue.clone(),
                });
            }
        }
        for &group in self.groups.keys() {
            if !next.groups.contains_key(&group) {
                calls.push(ControlCall::CloseUrlGroup { group });
            }
        }
        for ((group, url), context) in &self.urls {
            let key = (*group, url.clone());
            let has_moved = moves.iter().any(|(from, _, moved, _)| {
                from == group && moved.to_lowercase() == url.to_lowercase()
            });
            let is_gone = next.urls.get(&key) != Some(context) && !has_moved;
            let is_kept = mutated(Mutant::KeepUrlOfApplication);
            if next.groups.contains_key(group) && is_gone && !is_kept {
                calls.push(ControlCall::RemoveUrl {
                    group: *group,
                    url: url.clone(),
                });
            }
        }
    }

    fn changes(&self, next: &Self, calls: &mut Vec<ControlCall>) {
        for (queue, properties) in &next.queues {
            if self.queues.get(queue).is_some_and(|old| old != properties) {
                calls.push(ControlCall::SetRequestQueueProperties {
                    queue: queue.clone(),
                    properties: properties.clone(),
                });
            }
        }
        for (&group, properties) in &next.groups {
            if self.groups.get(&group).is_some_and(|old| old != properties) {
                calls.push(ControlCall::SetUrlGroupProperties {
                    group,
                    properties: Box::new(properties.clone()),
                });
            }
        }
    }

    fn new_groups(&self, next: &Self, calls: &mut Vec<ControlCall>) {
        for (name, properties) in &next.queues {
            if !self.queues.contains_key(name) {
                calls.push(ControlCall::CreateRequestQueue {
                    name: name.clone(),
                    properties: properties.clone(),
                });
            }
        }
        for (&group, properties) in &next.groups {
            if !self.groups.contains_key(&group) {
                calls.push(ControlCall::CreateUrlGroup {
                    group,
                    properties: Box::new(properties.clone()),
                });
            }
        }
    }

    /// Source: IIS docs, `loadBalancerCapabilities`: `HttpLevel` answers 503, `TcpLevel` resets.
    pub(super) fn add_queue(&mut self, pool: &ApplicationPool, state: QueueState) {
        let verbosity = if pool.failure.tcp_level {
            ResponseVerbosity::Basic
        } else {
            ResponseVerbosity::Limited
        };
        let properties = RequestQueueProperties {
            length: pool.queue_length,
            verbosity,
            state,
        };
        self.queues
            .insert(RequestQueueName(pool.name.clone()), properties);
    }

    fn add_application(
        &mut self,
        site: &Site,
        index: usize,
        pool: &ApplicationPool,
        limits: &WebLimits,
        log: impl Fn(&Site) -> Option<LogSettings>,
    ) {
        let group = url_group(site, pool);
        let path = &site.applications[index].path;
        for binding in site.bindings.iter().filter_map(|b| b.http.as_ref()) {
            self.groups
                .entry(group)
                .or_insert_with(|| group_properties(site, pool, limits, log(site)));
            let url = url_prefix(binding, path);
            self.urls.insert((group, url), url_context(site.id, path));
        }
    }
}

/// Where connections for a URL arrive.
fn endpoint((_, url): &(UrlGroupId, String)) -> Option<Endpoint> {
    UrlPrefix::parse(url).ok().map(|prefix| prefix.endpoint())
}

/// The calls that set the driver up for `new`, or change it from `old` to `new`, when every pool and
/// site is in the state in which its configuration starts it.
pub fn plan(old: Option<&Configuration>, new: &Configuration, root: &Path) -> Vec<ControlCall> {
    let started = |configuration: &Configuration| {
        DriverState::of(
            configuration,
            &configuration.web_limits,
            |site| log_settings(site, configuration.central_log.as_ref(), root),
            |pool| {
                if pool.auto_start {
                    QueueState::Active
                } else {
                    QueueState::Inactive(DisabledReason::Disabled)
                }
            },
            |site| site.server_auto_start,
        )
    };
    old.map(started).unwrap_or_default().calls_to(&started(new))
}

/// The prefix that a binding and an application's path make.
///
/// Source: `netsh http show servicestate` prints URLs bound to an address as `HOST:PORT:IP`; IIS
/// never registers `+`.
pub fn url_prefix(binding: &HttpBinding, application_path: &str) -> String {
    let scheme = if binding.secure { "https" } else { "http" };
    let port = binding.port;
    let address = binding.address.map(|ip| match ip {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    });
    let path = application_path.trim_matches('/');
    let path = if path.is_empty() {
        "/".to_owned()
    } else {
        format!("/{path}/")
    };
    let host = binding.host.as_str();
    match address {
        None if host.is_empty() => format!("{scheme}://*:{port}{path}"),
        None => format!("{scheme}://{host}:{port}{path}"),
        Some(ip) if host.is_empty() => format!("{scheme}://{ip}:{port}:{ip}{path}"),
        Some(ip) => format!("{scheme}://{host}:{port}:{ip}{path}"),
    }
}

/// The number that comes with the requests of an application, the same in every version of the
/// configuration: its site's number and 1 for the root, else a hash of site and path.
pub fn url_context(site: u32, path: &str) -> UrlContext {
    let path = path.trim_matches('/').to_lowercase();
    if path.is_empty() {
        return UrlContext((u64::from(site) << 32) | 1);
    }
    let bytes = site.to_le_bytes().into_iter().chain(path.bytes());
    let hash = bytes.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    UrlContext(hash)
}

/// The number of the URL group of a site and a pool: the site's, then a hash of the pool's name, so
/// that it is the same in every version of the configuration.
fn url_group(site: &Site, pool: &ApplicationPool) -> UrlGroupId {
    let hash = pool.name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    });
    UrlGroupId((u64::from(site.id) << 32) | u64::from(hash))
}

fn serves_http(app: &Application) -> bool {
    app.enabled_protocols
        .split(',')
        .any(|protocol| protocol.trim().eq_ignore_ascii_case("http"))
}

/// Source: `site/limits` documentation: connectionTimeout is the idle and the entity body timer;
/// observed servicestate dumps: the queue timer of IIS groups is off.
fn group_properties(
    site: &Site,
    pool: &ApplicationPool,
    limits: &WebLimits,
    log: Option<LogSettings>,
) -> UrlGroupProperties {
    let seconds = |span: std::time::Duration| u16::try_from(span.as_secs()).unwrap_or(u16::MAX);
    let connection_timeout = seconds(site.limits.connection_timeout);
    UrlGroupProperties {
        queue: RequestQueueName(pool.name.clone()),
        site: SiteId(site.id),
        connections_max: site.limits.max_connections,
        url_segments_max: site.limits.max_url_segments,
        timeouts: Timeouts {
            entity_body: connection_timeout,
            drain_entity_body: connection_timeout,
            idle_connection: connection_timeout,
            header_wait: seconds(limits.header_wait_timeout),
            min_send_rate: limits.min_bytes_per_second,
            ..Timeouts::default()
        },
        log,
    }
}

/// What W3SVC has told the driver, and which answers it waits for.
#[derive(Debug, Default)]
pub(super) struct ListenerAdapter {
    applied: DriverState,
    subjects: BTreeMap<CallId, Subject>,
}

/// What a call was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A URL of a site.
    Url {
        /// The site.
        site: SiteId,
        /// The URL.
        url: String,
    },
    /// A queue, which W3SVC cannot do without.
    NewQueue(RequestQueueName),
    /// A URL group, which W3SVC cannot do without.
    SetUp,
    /// Changes of a queue.
    Queue(RequestQueueName, Vec<QueueChange>),
    /// Something that goes away; it does not matter if it was not there.
    Closing,
}

impl ListenerAdapter {
    /// Makes the driver what it is to be; gives back the calls whose answers have to come.
    pub(super) fn apply(&mut self, next: DriverState, fx: &mut Effects) -> Vec<CallId> {
        let calls = self.applied.calls_to(&next);
        let ids = calls
            .into_iter()
            .map(|call| {
                let subject = subject(&call, &self.applied, &next);
                let id = fx.call(call);
                self.subjects.insert(id, subject);
                id
            })
            .collect();
        self.applied = next;
        ids
    }

    /// What the call was about that was answered now.
    pub(super) fn answered(&mut self, id: CallId) -> Option<Subject> {
        self.subjects.remove(&id)
    }
}

fn subject(call: &ControlCall, before: &DriverState, next: &DriverState) -> Subject {
    match call {
        ControlCall::AddUrl { group, url, .. } | ControlCall::MoveUrl { group, url, .. } => {
            Subject::Url {
                site: next.groups.get(group).map_or(SiteId(0), |group| group.site),
                url: url.clone(),
            }
        }
        ControlCall::SetRequestQueueProperties { queue, properties } => {
            let before = before.queues.get(queue);
            let changes = before.map_or_else(Vec::new, |before| queue_changes(before, properties));
            Subject::Queue(queue.clone(), changes)
        }
        ControlCall::CreateRequestQueue { name, .. } => Subject::NewQueue(name.clone()),
        ControlCall::CreateUrlGroup { .. } => Subject::SetUp,
        ControlCall::SetUrlGroupProperties { .. }
        | ControlCall::CloseRequestQueue { .. }
        | ControlCall::CloseUrlGroup { .. }
        | ControlCall::RemoveUrl { .. }
        | ControlCall::WaitForDemandStart { .. }
        | ControlCall::FlushResponseCache { .. }
        | ControlCall::QueryServiceState
        | ControlCall::QueryCounters
        | ControlCall::OpenRequestQueue { .. }
        | ControlCall::CancelReceives
        | ControlCall::DisownProcess { .. }
        | ControlCall::ShutdownRequestQueue => Subject::Closing,
    }
}

fn queue_changes(
    before: &RequestQueueProperties,
    after: &RequestQueueProperties,
) -> Vec<QueueChange> {
    let state = match after.state {
        QueueState::Active => QueueChange::Enable,
        QueueState::Inactive(_) => QueueChange::Disable,
    };
    let all = [
        (before.state != after.state, state),
        (
            before.verbosity != after.verbosity,
            QueueChange::LoadBalancerCapabilities,
        ),
        (before.length != after.length, QueueChange::Length),
    ];
    let changed = all.into_iter().filter(|(changed, _)| *changed);
    changed.map(|(_, change)| change).collect()
}

#[cfg(test)]
mod tests {
    use super::super::bench::{POOL, pool, site};
    use super::*;

    fn prefix(address: Option<&str>, host: &str, path: &str) -> String {
        let binding = HttpBinding {
            secure: false,
            address: address.map(|ip| ip.parse().unwrap()),
            port: 80,
            host: host.to_owned(),
        };
        url_prefix(&binding, path)
    }

    #[test]
    fn bindings_become_prefixes_as_netsh_shows_them() {
        assert_eq!(prefix(None, "", "/"), "http://*:80/");
        assert_eq!(prefix(None, "", "/app"), "http://*:80/app/");
        assert_eq!(prefix(None, "www.x.com", "/"), "http://www.x.com:80/");
        assert_eq!(
            prefix(Some("10.0.0.1"), "", "/"),
            "http://10.0.0.1:80:10.0.0.1/"
        );
        assert_eq!(prefix(Some("10.0.0.1"), "x", "/"), "http://x:80:10.0.0.1/");
        assert_eq!(prefix(Some("::1"), "", "/"), "http://[::1]:80:[::1]/");
    }

    fn configuration() -> Configuration {
        Configuration {
            application_pools: vec![pool(POOL)],
            sites: vec![site("Default Web Site", 1, 80, POOL)],
            ..Configuration::default()
        }
    }

    #[test]
    fn queues_come_before_groups_and_groups_before_urls() {
        let calls = plan(None, &configuration(), Path::new("/c"));
        assert!(matches!(
            calls.as_slice(),
            [
                ControlCall::CreateRequestQueue { .. },
                ControlCall::CreateUrlGroup { .. },
                ControlCall::AddUrl { .. }
            ]
        ));
    }

    #[test]
    fn what_has_not_changed_is_left_alone() {
        let old = configuration();
        let mut new = configuration();
        assert!(plan(Some(&old), &new, Path::new("/c")).is_empty());
        new.sites.push(site("Second", 2, 81, POOL));
        new.application_pools[0].queue_length = 10;
        let calls = plan(Some(&old), &new, Path::new("/c"));
        assert!(matches!(
            calls.as_slice(),
            [
                ControlCall::CreateUrlGroup { .. },
                ControlCall::SetRequestQueueProperties { .. },
                ControlCall::AddUrl { .. }
            ]
        ));
    }

    #[test]
    fn a_port_keeps_a_url_while_its_application_moves_and_its_binding_changes() {
        let mut old = configuration();
        old.application_pools.push(pool("Other"));
        let mut new = old.clone();
        new.sites[0].applications[0].application_pool = "Other".to_owned();
        let calls = plan(Some(&old), &new, Path::new("/c"));
        assert!(
            matches!(
                calls.as_slice(),
                [
                    ControlCall::CreateUrlGroup { .. },
                    ControlCall::MoveUrl { .. },
                    ControlCall::CloseUrlGroup { .. },
                ]
            ),
            "{calls:?}"
        );
        let mut named = old.clone();
        let http = named.sites[0].bindings[0].http.as_mut();
        http.unwrap().host = "www.x.com".to_owned();
        let calls = plan(Some(&old), &named, Path::new("/c"));
        assert!(
            matches!(
                calls.as_slice(),
                [ControlCall::AddUrl { .. }, ControlCall::RemoveUrl { .. }]
            ),
            "{calls:?}"
        );
        let mut secure = old.clone();
        let http = secure.sites[0].bindings[0].http.as_mut();
        http.unwrap().secure = true;
        let calls = plan(Some(&old), &secure, Path::new("/c"));
        assert!(
            matches!(
                calls.as_slice(),
                [ControlCall::RemoveUrl { .. }, ControlCall::AddUrl { .. }]
            ),
            "one port cannot carry both: {calls:?}"
        );
    }

    #[test]
    fn queues_are_closed_before_the_endpoints_of_those_who_wait_in_them() {
        let mut next = DriverState::default();
        for call in plan(None, &configuration(), Path::new("/c")) {
            if let ControlCall::CreateRequestQueue { name, properties } = call {
                next.queues.insert(name, properties);
            } else if let ControlCall::CreateUrlGroup { group, properties } = call {
                next.groups.insert(group, *properties);
            }
        }
        let calls = next.calls_to(&DriverState::default());
        assert!(
            matches!(
                calls.as_slice(),
                [
                    ControlCall::CloseRequestQueue { .. },
                    ControlCall::CloseUrlGroup { .. }
                ]
            ),
            "{calls:?}"
        );
    }

    #[test]
    fn a_tcp_level_pool_refuses_by_reset() {
        let mut new = configuration();
        new.application_pools[0].failure.tcp_level = true;
        let calls = plan(None, &new, Path::new("/c"));
        let ControlCall::CreateRequestQueue { properties, .. } = &calls[0] else {
            panic!("the queue is made first");
        };
        assert_eq!(properties.verbosity, ResponseVerbosity::Basic);
    }
}
