//! Which registration a request belongs to: four buckets, then the longest path by segment.

use std::net::IpAddr;

use super::url_prefix::UrlPrefix;
use crate::api::{UrlContext, UrlGroupId, Win32Error};

/// All registered prefixes of the driver.
#[derive(Debug, Default)]
pub struct RoutingTable {}

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
    /// The host is known and no registration covers the path: 404 NotFound.
    NoPath,
    /// The best match is a reservation without a registration: 503 N/A.
    ReservedOnly,
}

impl RoutingTable {
    /// Registers a prefix. `AlreadyExists` if it is registered, in whatever group.
    pub fn add(&mut self, _prefix: UrlPrefix, _to: Registration) -> Result<(), Win32Error> {
        Ok(())
    }

    /// Reserves a prefix without registering it (`netsh http add urlacl`).
    pub fn reserve(&mut self, _prefix: UrlPrefix) -> Result<(), Win32Error> {
        Ok(())
    }

    /// Removes a prefix. `FileNotFound` if it is not registered for that group.
    pub fn remove(&mut self, _prefix: &UrlPrefix, _group: UrlGroupId) -> Result<(), Win32Error> {
        Ok(())
    }

    /// Finds the registration of a request.
    pub fn route(&self, _by: RouteBy<'_>) -> Route {
        Route::NoHost
    }
}
