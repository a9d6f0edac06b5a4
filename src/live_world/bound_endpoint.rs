//! Where the bindings of a running server are really reached, and why one of them is not.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::Deserialize;
use sim_httpsys::api::Endpoint;
use sim_was::config::{ConfigWarning, Configuration, HttpBinding, Site};
use sim_was::control::{ObjectState, SiteInfo};

use super::ports::Ports;

/// A binding of the configuration and where it is really reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundEndpoint {
    /// The site's name.
    pub site: String,
    /// `protocol/bindingInformation`.
    pub binding: String,
    /// The host that the binding names, empty for any.
    pub host: String,
    /// Whether it is https.
    pub secure: bool,
    /// The address and the port that the binding names, `None` for one that names none.
    pub named: Option<(Option<IpAddr>, u16)>,
    /// Where it is reached, or why it is not.
    pub reached: Result<SocketAddr, Closed>,
}

impl BoundEndpoint {
    /// Where it is reached, if it is.
    pub fn address(&self) -> Option<SocketAddr> {
        self.reached.as_ref().ok().copied()
    }
}

/// Why a binding is not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its site is not meant to start.
    NotToStart,
    /// Its site cannot start.
    Obstacle(String),
    /// It is invalid and left out, or its site is.
    Ignored(String),
    /// Another site has the same binding.
    Taken {
        /// That site.
        by: String,
    },
    /// The port cannot be had: what the system says if it is tried again.
    Refused(String),
    /// Only the event log knows.
    Unknown,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotToStart => write!(f, "stopped: serverAutoStart is false"),
            Self::Obstacle(text) => write!(f, "stopped: {text}"),
            Self::Ignored(why) => write!(f, "ignored: {why}"),
            Self::Taken { by } => write!(f, "stopped: site '{by}' has this binding (event 1004)"),
            Self::Refused(text) => write!(f, "not open: {text}"),
            Self::Unknown => write!(
                f,
                "not open: see the event log (Windows/System32/winevt/System.jsonl)"
            ),
        }
    }
}

/// Every http and https binding of a configuration, with those that are left out. A site that has none is there once,
/// with an empty binding. `sites` is what the server says of its sites; nothing if
/// it has not answered.
pub(super) fn bound_endpoints(
    root: &Path,
    configuration: &Configuration,
    sites: &[SiteInfo],
    ports: &Ports,
) -> Vec<BoundEndpoint> {
    let open = open_endpoints(root);
    let is_stopped = |site: &Site| {
        let state = sites.iter().find(|info| info.id == site.id);
        state.is_some_and(|info| info.state == ObjectState::Stopped)
    };
    let reached = |site: &Site, binding: &HttpBinding| {
        let address = real_address(&open, binding);
        if let Some(address) = address.filter(|_| !is_stopped(site)) {
            return Ok(address);
        }
        if !site.server_auto_start {
            return Err(Closed::NotToStart);
        }
        if let Some(obstacle) = configuration.obstacle(site) {
            return Err(Closed::Obstacle(obstacle));
        }
        let mut others = configuration.sites.iter();
        let has_it =
            |other: &&Site| other.id != site.id && !is_stopped(other) && has(other, binding);
        if let Some(other) = others.find(has_it).filter(|_| is_stopped(site)) {
            let by = other.name.clone();
            return Err(Closed::Taken { by });
        }
        // A port that is open for another site is not asked for: it would be said to be in use.
        let refusal = || ports.refusal(binding.address, binding.port);
        let refused = address.is_none().then(refusal).flatten();
        Err(refused.map_or(Closed::Unknown, Closed::Refused))
    };
    let of_site = |site: &Site| {
        let endpoints = site.bindings.iter().filter_map(|binding| {
            let http = binding.http.as_ref()?;
            Some(BoundEndpoint {
                site: site.name.clone(),
                binding: format!("{}/{}", binding.protocol, binding.information),
                host: http.host.clone(),
                secure: http.secure,
                named: Some((http.address, http.port)),
                reached: reached(site, http),
            })
        });
        let mut endpoints = endpoints.collect::<Vec<_>>();
        endpoints.extend(ignored(configuration, &site.name));
        let obstacle = configuration.obstacle(site).map(Closed::Obstacle);
        if let Some(closed) = obstacle.filter(|_| endpoints.is_empty()) {
            endpoints.push(nowhere(&site.name, "", closed));
        }
        endpoints
    };
    let mut endpoints: Vec<_> = configuration.sites.iter().flat_map(of_site).collect();
    // Sites that are left out altogether have no place among the others.
    let named: BTreeSet<&str> = configuration.sites.iter().map(|site| &*site.name).collect();
    let warnings = configuration.warnings.iter();
    let left_out: BTreeSet<&str> = warnings.filter_map(|w| w.data("SiteName")).collect();
    let left_out = left_out.difference(&named);
    endpoints.extend(left_out.flat_map(|name| ignored(configuration, name)));
    endpoints
}

/// What the reader of the configuration has left out of a site, or the site itself.
fn ignored(configuration: &Configuration, site: &str) -> Vec<BoundEndpoint> {
    let warnings = configuration.warnings.iter();
    let of_site = warnings.filter(|warning| warning.data("SiteName") == Some(site));
    let endpoint = |warning: &ConfigWarning| {
        let why = Closed::Ignored(warning.data("Reason")?.to_owned());
        Some(nowhere(
            site,
            warning.data("Binding").unwrap_or_default(),
            why,
        ))
    };
    of_site.filter_map(endpoint).collect()
}

/// What is not reached, and cannot be.
fn nowhere(site: &str, binding: &str, closed: Closed) -> BoundEndpoint {
    BoundEndpoint {
        site: site.to_owned(),
        binding: binding.to_owned(),
        host: String::new(),
        secure: binding.starts_with("https"),
        named: None,
        reached: Err(closed),
    }
}

/// Whether a site has this binding too. Host names compare without case.
fn has(site: &Site, wanted: &HttpBinding) -> bool {
    let mut bindings = site.bindings.iter().filter_map(|b| b.http.as_ref());
    bindings.any(|http| {
        let endpoint = |http: &HttpBinding| (http.secure, http.address, http.port);
        endpoint(http) == endpoint(wanted) && http.host.eq_ignore_ascii_case(&wanted.host)
    })
}

/// A line of the driver's `run/endpoints.json`: where an endpoint really listens.
#[derive(Debug, Deserialize)]
struct OpenEndpoint {
    endpoint: Endpoint,
    address: SocketAddr,
}

fn open_endpoints(root: &Path) -> Vec<OpenEndpoint> {
    let text = fs::read(root.join("run/endpoints.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn real_address(open: &[OpenEndpoint], http: &HttpBinding) -> Option<SocketAddr> {
    let wanted = Endpoint {
        address: http.address,
        port: http.port,
        secure: http.secure,
    };
    open.iter()
        .find(|e| e.endpoint == wanted)
        .map(|e| e.address)
}
