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
use crate::clockwork::mutants::{Mutant, mutated};

/// All registered prefixes of the driver.
#[derive(Debug, Default)]
pub struct RoutingTable {
    ports: BTreeMap<(u16, bool), PortTable>,
    /// How often it was changed.
    version: u64,
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
    /// The address that it came in on, as a binding would name it, if that is known.
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
    /// How often it was changed: a route holds as long as this is the same.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

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
        self.version += 1;
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
        let host = if mutated(Mutant::HostIgnored) {
            ""
        } else {
            by.host
        };
        search
            .in_port(port, by.local, &fold_case(host))
            .unwrap_or(if search.host_known {
                Route::NoPath
            } else {
                Route::NoHost
            })
    }

    fn paths_mut(&mut self, prefix: &UrlPrefix) -> &mut PathTable {
        self.version += 1;
        self.ports
            .entry((prefix.port, prefix.secure))
            .or_default()
            .paths_mut(&prefix.host)
    }
}

/// So many entries are looked at one by one faster than the segments of a path are searched for.
const FEW: usize = 16;

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

impl PathEntry {
    /// Whether its path is this one, or its first whole segments.
    fn covers(&self, path: &str) -> bool {
        let length = self.path.len();
        let goes_on = path.as_bytes().get(length);
        goes_on.is_none_or(|&next| next == b'/') && path.starts_with(&*self.path)
    }
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
        if self.entries.len() <= FEW {
            // Of those that cover one path, a longer one stands behind a shorter one.
            return self.entries.iter().rev().find(|entry| entry.covers(path));
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
#[path = "routing_tests.rs"]
mod tests;
