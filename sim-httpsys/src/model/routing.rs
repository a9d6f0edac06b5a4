//! Which registration a request belongs to: four buckets, then the longest path by segment.
//!
//! ```text
//! (port, scheme) ─► +  ─► explicit host ─► address, any host ─► *        the first bucket with a match wins
//!                        exact, *.b.c, *.c                               and within it the longest path
//! ```
//!
//! Reservations take part: one that matches best, without a registration, hides what lies below it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::url_prefix::{PrefixHost, UrlPrefix, fold_case};
use crate::api::{UrlContext, UrlGroupId, Win32Error};

/// All registered prefixes of the driver.
#[derive(Debug, Default)]
pub struct RoutingTable {
    ports: BTreeMap<(u16, bool), PortTable>,
}

/// What a prefix leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The URL group.
    pub group: UrlGroupId,
    /// What comes with every request.
    pub context: UrlContext,
}

/// What a request asks to be routed by.
#[derive(Clone, Copy, Debug)]
pub struct RouteBy<'a> {
    /// Whether it came over TLS.
    pub secure: bool,
    /// The binding's port that it came in on.
    pub port: u16,
    /// The local address of its endpoint, as a binding names it; `None` on an endpoint for all.
    pub local: Option<IpAddr>,
    /// The host that counts, any case, without port; empty if there is none (HTTP/1.0).
    pub host: &'a str,
    /// The decoded path, any case.
    pub path: &'a str,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To this registration.
    To(Registration),
    /// The host is in no bucket: 400 Hostname.
    NoHost,
    /// The host is known and no registration covers the path: 404 `NotFound`.
    NoPath,
    /// The best match is a reservation without a registration: 503 N/A.
    ReservedOnly,
}

impl RoutingTable {
    /// Registers a prefix. `AlreadyExists` if it is registered, in whatever group;
    /// `InvalidParameter` if its port carries the other scheme.
    ///
    /// Source: win32, one port cannot carry both http and https. Assumed: the error's number.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a table takes over what it is given"
    )]
    pub fn add(&mut self, prefix: UrlPrefix, to: Registration) -> Result<(), Win32Error> {
        let other_scheme = self.ports.get(&(prefix.port, !prefix.secure));
        if other_scheme.is_some_and(PortTable::has_registrations) {
            return Err(Win32Error::InvalidParameter);
        }
        let is_new = self.paths_mut(&prefix).register(&prefix.path, to);
        is_new.then_some(()).ok_or(Win32Error::AlreadyExists)
    }

    /// Reserves a prefix without registering it (`netsh http add urlacl`).
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a table takes over what it is given"
    )]
    pub fn reserve(&mut self, prefix: UrlPrefix) -> Result<(), Win32Error> {
        let is_new = self.paths_mut(&prefix).reserve(&prefix.path);
        is_new.then_some(()).ok_or(Win32Error::AlreadyExists)
    }

    /// Removes a prefix. `FileNotFound` if it is not registered for that group.
    pub fn remove(&mut self, prefix: &UrlPrefix, group: UrlGroupId) -> Result<(), Win32Error> {
        let key = (prefix.port, prefix.secure);
        let port = self.ports.get_mut(&key).ok_or(Win32Error::FileNotFound)?;
        let removed = port.paths_mut(&prefix.host).remove(&prefix.path, group);
        port.prune(&prefix.host);
        if port.is_empty() {
            self.ports.remove(&key);
        }
        removed.then_some(()).ok_or(Win32Error::FileNotFound)
    }

    /// Finds the registration of a request.
    ///
    /// Source: win32, routing incoming requests: the buckets' order, and that the first with a match
    /// wins; field reports for reservations (503, where the documents say 400).
    /// Assumed: among explicit hosts an address-bound one comes before one for all addresses, an exact
    /// one before a wildcard, and a longer wildcard before a shorter.
    pub fn route(&self, by: RouteBy<'_>) -> Route {
        let Some(port) = self.ports.get(&(by.port, by.secure)) else {
            return Route::NoHost;
        };
        let mut search = Search {
            path: &fold_case(by.path),
            host_known: false,
        };
        search
            .in_port(port, by.local, &fold_case(by.host))
            .unwrap_or(if search.host_known {
                Route::NoPath
            } else {
                Route::NoHost
            })
    }

    fn paths_mut(&mut self, prefix: &UrlPrefix) -> &mut PathTable {
        self.ports
            .entry((prefix.port, prefix.secure))
            .or_default()
            .paths_mut(&prefix.host)
    }
}

/// A search for one request.
struct Search<'a> {
    path: &'a str,
    /// Whether a bucket knew the host, whatever the path.
    host_known: bool,
}

impl Search<'_> {
    fn in_port(&mut self, port: &PortTable, local: Option<IpAddr>, host: &str) -> Option<Route> {
        let by_address = || port.by_address.get(&local?);
        self.in_paths(Some(&port.strong))
            .or_else(|| self.in_hosts(port, local, host))
            .or_else(|| self.in_paths(by_address()))
            .or_else(|| self.in_paths(Some(&port.weak)))
    }

    fn in_hosts(&mut self, port: &PortTable, local: Option<IpAddr>, host: &str) -> Option<Route> {
        if let Some(found) = self.in_host(port.hosts.get(host), local) {
            return Some(found);
        }
        if port.wildcards.is_empty() {
            return None;
        }
        host.match_indices('.').find_map(|(dot, _)| {
            let parent = host.get(dot + 1..).filter(|_| dot > 0)?;
            self.in_host(port.wildcards.get(parent), local)
        })
    }

    fn in_host(&mut self, table: Option<&HostTable>, local: Option<IpAddr>) -> Option<Route> {
        let table = table?;
        let bound = local.and_then(|local| table.bound.get(&local));
        self.in_paths(bound)
            .or_else(|| self.in_paths(Some(&table.unbound)))
    }

    fn in_paths(&mut self, table: Option<&PathTable>) -> Option<Route> {
        let table = table?;
        self.host_known |= table.has_registrations();
        table
            .longest(self.path)
            .map(|entry| entry.registration.map_or(Route::ReservedOnly, Route::To))
    }
}

/// The prefixes of one port and scheme, by bucket.
#[derive(Debug, Default)]
struct PortTable {
    strong: PathTable,
    /// By name.
    hosts: BTreeMap<Box<str>, HostTable>,
    /// By what follows the star and its dot.
    wildcards: BTreeMap<Box<str>, HostTable>,
    by_address: BTreeMap<IpAddr, PathTable>,
    weak: PathTable,
}

/// The prefixes of one host name.
#[derive(Debug, Default)]
struct HostTable {
    bound: BTreeMap<IpAddr, PathTable>,
    unbound: PathTable,
}

impl PortTable {
    fn paths_mut(&mut self, host: &PrefixHost) -> &mut PathTable {
        match host {
            PrefixHost::StrongWildcard => &mut self.strong,
            PrefixHost::Explicit { name, bound } => {
                let (hosts, name) = self.hosts_mut(name);
                let table = hosts.entry(name.into()).or_default();
                match bound {
                    Some(address) => table.bound.entry(*address).or_default(),
                    None => &mut table.unbound,
                }
            }
            PrefixHost::IpBoundWeakWildcard(address) => {
                self.by_address.entry(*address).or_default()
            }
            PrefixHost::WeakWildcard => &mut self.weak,
        }
    }

    fn hosts_mut<'n>(&mut self, name: &'n str) -> (&mut BTreeMap<Box<str>, HostTable>, &'n str) {
        match name.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcards, parent),
            None => (&mut self.hosts, name),
        }
    }

    /// Drops what has become empty for a host.
    fn prune(&mut self, host: &PrefixHost) {
        match host {
            PrefixHost::StrongWildcard | PrefixHost::WeakWildcard => {}
            PrefixHost::Explicit { name, .. } => {
                let (hosts, name) = self.hosts_mut(name);
                if let Some(table) = hosts.get_mut(name) {
                    table.bound.retain(|_, paths| !paths.entries.is_empty());
                    if table.bound.is_empty() && table.unbound.entries.is_empty() {
                        hosts.remove(name);
                    }
                }
            }
            PrefixHost::IpBoundWeakWildcard(_) => {
                self.by_address.retain(|_, paths| !paths.entries.is_empty());
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.strong.entries.is_empty()
            && self.hosts.is_empty()
            && self.wildcards.is_empty()
            && self.by_address.is_empty()
            && self.weak.entries.is_empty()
    }

    fn has_registrations(&self) -> bool {
        let hosts = self.hosts.values().chain(self.wildcards.values());
        let of_hosts = hosts.flat_map(|host| host.bound.values().chain([&host.unbound]));
        [&self.strong, &self.weak]
            .into_iter()
            .chain(self.by_address.values())
            .chain(of_hosts)
            .any(PathTable::has_registrations)
    }
}

/// The paths of one host, sorted.
#[derive(Debug, Default)]
struct PathTable {
    entries: Vec<PathEntry>,
    registrations: usize,
    /// Most segments of any path.
    segments_max: usize,
}

#[derive(Debug)]
struct PathEntry {
    /// Without its last `/`, so that `/app` and `/app/` both find `/app/`.
    path: Box<str>,
    registration: Option<Registration>,
    reserved: bool,
}

impl PathTable {
    /// Whether the path was not registered before.
    fn register(&mut self, path: &str, to: Registration) -> bool {
        let entry = self.entry(path);
        let is_new = entry.registration.is_none();
        if is_new {
            entry.registration = Some(to);
            self.registrations += 1;
        }
        is_new
    }

    /// Whether the path was not reserved before.
    fn reserve(&mut self, path: &str) -> bool {
        !std::mem::replace(&mut self.entry(path).reserved, true)
    }

    /// Whether the path was registered for that group.
    fn remove(&mut self, path: &str, group: UrlGroupId) -> bool {
        let Ok(at) = self.find(without_last_slash(path)) else {
            return false;
        };
        let entry = &mut self.entries[at];
        if entry
            .registration
            .is_none_or(|registration| registration.group != group)
        {
            return false;
        }
        entry.registration = None;
        self.registrations -= 1;
        if !entry.reserved {
            self.entries.remove(at);
        }
        true
    }

    fn has_registrations(&self) -> bool {
        self.registrations > 0
    }

    /// The entry of the longest path that covers this one, by whole segments.
    fn longest(&self, path: &str) -> Option<&PathEntry> {
        if self.entries.is_empty() {
            return None;
        }
        let ends = path
            .match_indices('/')
            .map(|(slash, _)| slash)
            .chain([path.len()]);
        let candidates = ends.take(self.segments_max + 1);
        candidates
            .filter_map(|end| self.find(&path[..end]).ok())
            .last()
            .map(|at| &self.entries[at])
    }

    /// The entry of a path, made if it is not there.
    fn entry(&mut self, path: &str) -> &mut PathEntry {
        let path = without_last_slash(path);
        self.segments_max = self.segments_max.max(path.matches('/').count());
        let at = self.find(path).unwrap_or_else(|at| {
            let entry = PathEntry {
                path: path.into(),
                registration: None,
                reserved: false,
            };
            self.entries.insert(at, entry);
            at
        });
        &mut self.entries[at]
    }

    fn find(&self, path: &str) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| (*entry.path).cmp(path))
    }
}

fn without_last_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn registration(number: u64) -> Registration {
        Registration {
            group: UrlGroupId(number),
            context: UrlContext(number),
        }
    }

    fn table(urls: &[&str]) -> RoutingTable {
        let mut table = RoutingTable::default();
        for (number, url) in (0..).zip(urls) {
            table
                .add(UrlPrefix::parse(url).unwrap(), registration(number))
                .unwrap();
        }
        table
    }

    fn by<'a>(host: &'a str, path: &'a str) -> RouteBy<'a> {
        RouteBy {
            secure: false,
            port: 80,
            local: None,
            host,
            path,
        }
    }

    #[test]
    fn every_published_route_is_found() {
        for line in include_str!("../../tests/vectors/routing.jsonl").lines() {
            let vector: serde_json::Value = serde_json::from_str(line).unwrap();
            let id = &vector["id"];
            if let Some(url) = vector["register"].as_str() {
                let refused = UrlPrefix::parse(url).err().map(|error| error as u32);
                let expected = vector["expect"].as_str().unwrap();
                assert!(
                    refused.is_some_and(|n| expected.ends_with(&format!("({n})"))),
                    "{id}"
                );
                continue;
            }
            let mut table = RoutingTable::default();
            let mut names = Vec::new();
            for (name, url) in vector["registrations"].as_object().unwrap() {
                let prefix = UrlPrefix::parse(url.as_str().unwrap()).unwrap();
                if name == "RESERVED" {
                    table.reserve(prefix).unwrap();
                } else {
                    table.add(prefix, registration(names.len() as u64)).unwrap();
                    names.push(name.as_str());
                }
            }
            let request = &vector["request"];
            let local = request["local_ip"].as_str().map(|ip| ip.parse().unwrap());
            let route = table.route(RouteBy {
                secure: request["secure"].as_bool().unwrap_or(false),
                port: request["port"]
                    .as_u64()
                    .map_or(80, |port| u16::try_from(port).unwrap()),
                local,
                host: request["host"].as_str().unwrap_or(""),
                path: request["path"].as_str().unwrap(),
            });
            match route {
                Route::To(to) => {
                    let winner = names[usize::try_from(to.context.0).unwrap()];
                    assert_eq!(vector["winner"], winner, "{id}");
                }
                Route::NoHost => assert_eq!(vector["winner"], 400, "{id}"),
                Route::NoPath => assert_eq!(vector["winner"], 404, "{id}"),
                Route::ReservedOnly => assert_eq!(vector["winner"], 503, "{id}"),
            }
        }
    }

    #[test]
    fn a_path_matches_by_whole_segments() {
        let table = table(&["http://a:80/dir/sna/"]);
        assert_eq!(table.route(by("a", "/dir/sna")), Route::To(registration(0)));
        assert_eq!(table.route(by("a", "/dir/snafoo")), Route::NoPath);
        assert_eq!(table.route(by("b", "/dir/sna")), Route::NoHost);
    }

    #[test]
    fn wildcard_hosts_match_labels_and_longer_ones_win() {
        let table = table(&[
            "http://*.x.com:80/",
            "http://*.b.x.com:80/",
            "http://a.b.x.com:80/",
            "http://a.b.x.com:80:10.0.0.1/",
        ]);
        assert_eq!(
            table.route(by("A.B.X.com", "/")),
            Route::To(registration(2))
        );
        assert_eq!(
            table.route(by("c.b.x.com", "/")),
            Route::To(registration(1))
        );
        assert_eq!(table.route(by("b.x.com", "/")), Route::To(registration(0)));
        assert_eq!(table.route(by("x.com", "/")), Route::NoHost);
        assert_eq!(table.route(by(".x.com", "/")), Route::NoHost);
        let local = RouteBy {
            local: "10.0.0.1".parse().ok(),
            ..by("a.b.x.com", "/")
        };
        assert_eq!(table.route(local), Route::To(registration(3)));
    }

    #[test]
    fn a_request_without_host_goes_to_a_wildcard() {
        assert_eq!(
            table(&["http://*:80/"]).route(by("", "/")),
            Route::To(registration(0))
        );
        assert_eq!(table(&["http://a:80/"]).route(by("", "/")), Route::NoHost);
    }

    #[test]
    fn options_of_the_whole_server_go_to_the_root() {
        assert_eq!(
            table(&["http://*:80/"]).route(by("a", "")),
            Route::To(registration(0))
        );
    }

    #[test]
    fn a_reservation_hides_what_lies_below_until_it_is_used() {
        let mut table = table(&["http://*:80/"]);
        let reserved = UrlPrefix::parse("http://+:80/app/").unwrap();
        table.reserve(reserved.clone()).unwrap();
        assert_eq!(
            table.reserve(reserved.clone()),
            Err(Win32Error::AlreadyExists)
        );
        assert_eq!(table.route(by("a", "/app/x")), Route::ReservedOnly);
        assert_eq!(table.route(by("a", "/")), Route::To(registration(0)));
        table.add(reserved.clone(), registration(7)).unwrap();
        assert_eq!(table.route(by("a", "/app/x")), Route::To(registration(7)));
        table.remove(&reserved, UrlGroupId(7)).unwrap();
        assert_eq!(table.route(by("a", "/app/x")), Route::ReservedOnly);
    }

    #[test]
    fn a_prefix_is_registered_once_and_removed_by_its_owner() {
        let mut table = table(&["http://a:80/"]);
        let prefix = UrlPrefix::parse("http://A:80/").unwrap();
        assert_eq!(
            table.add(prefix.clone(), registration(1)),
            Err(Win32Error::AlreadyExists)
        );
        assert_eq!(
            table.remove(&prefix, UrlGroupId(1)),
            Err(Win32Error::FileNotFound)
        );
        assert_eq!(table.remove(&prefix, UrlGroupId(0)), Ok(()));
        assert_eq!(
            table.remove(&prefix, UrlGroupId(0)),
            Err(Win32Error::FileNotFound)
        );
        assert!(table.ports.is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_port_carries_one_scheme() {
        let mut table = table(&["http://a:80/"]);
        let secure = UrlPrefix::parse("https://b:80/").unwrap();
        assert_eq!(
            table.add(secure, registration(1)),
            Err(Win32Error::InvalidParameter)
        );
    }

    /// The same question, asked of every prefix in turn.
    fn slowly(entries: &[(UrlPrefix, Option<u64>)], by: RouteBy<'_>) -> Route {
        let host = by.host.to_lowercase();
        let path = format!("{}/", by.path.to_lowercase());
        // The bucket, then how specific the host is within it; smaller is looked at first.
        let rank = |prefix: &UrlPrefix| -> Option<(u32, usize, bool)> {
            match &prefix.host {
                PrefixHost::StrongWildcard => Some((0, 0, false)),
                PrefixHost::Explicit { name, bound } => {
                    let here = bound.is_none() || *bound == by.local;
                    let exact = *name == host;
                    let within = name.strip_prefix('*').is_some_and(|parent| {
                        host.strip_suffix(parent)
                            .is_some_and(|labels| !labels.is_empty())
                    });
                    let specific = if exact { 0 } else { 1000 - name.len() };
                    (here && (exact || within)).then_some((1, specific, bound.is_none()))
                }
                PrefixHost::IpBoundWeakWildcard(address) => {
                    (by.local == Some(*address)).then_some((2, 0, false))
                }
                PrefixHost::WeakWildcard => Some((3, 0, false)),
            }
        };
        let known = entries
            .iter()
            .filter(|(p, _)| p.port == by.port && p.secure == by.secure);
        let known: Vec<_> = known
            .filter_map(|(p, to)| Some((rank(p)?, p, to)))
            .collect();
        let covering = known
            .iter()
            .filter(|(_, prefix, _)| path.starts_with(&prefix.path));
        let best = covering
            .min_by_key(|(rank, prefix, to)| (*rank, usize::MAX - prefix.path.len(), to.is_none()));
        match best {
            Some((_, _, Some(to))) => Route::To(registration(*to)),
            Some((_, _, None)) => Route::ReservedOnly,
            None if known.iter().any(|(_, _, to)| to.is_some()) => Route::NoPath,
            None => Route::NoHost,
        }
    }

    proptest! {
        #[test]
        fn routing_equals_a_slow_linear_search(
            urls in prop::collection::vec(
                ("(\\+|\\*|a|\\*\\.a|(b\\.|\\*\\.)b\\.a|1\\.1\\.1\\.1):80(:1\\.1\\.1\\.[12])?/([xyÄ]/){0,3}", 0..4_u8),
                0..20,
            ),
            requests in prop::collection::vec(
                ("(|A|a|b\\.a|B\\.b\\.a|c\\.b\\.a|1\\.1\\.1\\.1)", "(/[xyXzäÄ]){0,4}/?", 0..3_u8),
                1..20,
            ),
        ) {
            let mut table = RoutingTable::default();
            let mut entries: Vec<(UrlPrefix, Option<u64>)> = Vec::new();
            for (number, (url, kind)) in (0..).zip(&urls) {
                let Ok(prefix) = UrlPrefix::parse(&format!("http://{url}")) else { continue };
                let group = (*kind > 0).then_some(number);
                let done = match group {
                    Some(group) => table.add(prefix.clone(), registration(group)),
                    None => table.reserve(prefix.clone()),
                };
                let is_new = !entries.iter().any(|(p, to)| *p == prefix && to.is_some() == group.is_some());
                prop_assert_eq!(done.is_ok(), is_new);
                if is_new {
                    entries.push((prefix, group));
                }
                if *kind == 3 && number % 2 == 0 {
                    let Some((removed, Some(group))) = entries.pop() else { continue };
                    table.remove(&removed, UrlGroupId(group)).unwrap();
                }
            }
            for (host, path, local) in &requests {
                let local = (*local > 0).then(|| IpAddr::from([1, 1, 1, *local]));
                let by = RouteBy { local, ..by(host, path) };
                prop_assert_eq!(table.route(by), slowly(&entries, by), "{:?} {:?}", by, entries);
            }
        }
    }
}
