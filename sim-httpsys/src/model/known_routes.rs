//! Where known heads have led to: the route of their host and path, and their entry in the response cache.
//!
//! Both are functions of the head's request line and host, of where it came in, and of a table. What is
//! remembered here holds as long as the table is as it was, which its version or an entry's number tells.

use std::net::IpAddr;

use super::known_heads::KnownHost;
use super::routing::Route;
use crate::api::SiteId;

/// By known head: where it has led to.
#[derive(Debug, Default)]
pub(super) struct KnownRoutes(Vec<Option<Box<KnownRoute>>>);

/// Besides the head, what a route depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CameIn {
    pub(super) secure: bool,
    pub(super) port: u16,
    pub(super) local: IpAddr,
    /// The version of the routing table.
    pub(super) version: u64,
}

#[derive(Debug)]
struct KnownRoute {
    number: u64,
    came_in: CameIn,
    route: Route,
    cached: Option<(SiteId, Cached)>,
}

/// What was last found in the response cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cached {
    /// Nothing, after so many entries were put in.
    Nothing {
        inserted: u64,
    },
    Entry {
        slot: usize,
        id: u64,
    },
}

impl KnownRoutes {
    /// Where a known head leads to.
    pub(super) fn route(&self, host: KnownHost, came_in: &CameIn) -> Option<Route> {
        let known = self.find(host)?;
        (known.came_in == *came_in).then_some(known.route)
    }

    /// What was found in the response cache for a known head that was routed to a site just now.
    pub(super) fn cached(&self, host: KnownHost, site: SiteId) -> Option<Cached> {
        let (of, cached) = self.find(host)?.cached?;
        (of == site).then_some(cached)
    }

    /// Remembers a route.
    pub(super) fn keep(&mut self, host: KnownHost, came_in: CameIn, route: Route) {
        let slot = host.slot as usize;
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        let known = KnownRoute {
            number: host.number,
            came_in,
            route,
            cached: None,
        };
        match &mut self.0[slot] {
            Some(place) => **place = known,
            none => *none = Some(Box::new(known)),
        }
    }

    /// Remembers what the response cache has.
    pub(super) fn keep_cached(&mut self, host: KnownHost, site: SiteId, cached: Cached) {
        let known = self.0.get_mut(host.slot as usize);
        let known = known.and_then(Option::as_deref_mut);
        if let Some(known) = known.filter(|known| known.number == host.number) {
            known.cached = Some((site, cached));
        }
    }

    fn find(&self, host: KnownHost) -> Option<&KnownRoute> {
        let known = self.0.get(host.slot as usize)?.as_deref();
        known.filter(|known| known.number == host.number)
    }
}
