//! Where clients send their attempts: hosts, endpoints, and the kept-alive connections to each.

use std::collections::BTreeMap;

use sim_httpsys::api::{ConnectionId, Endpoint};
use sim_was::config::Configuration;

use crate::load::mix::PlannedUrl;
use crate::load::plan::{PlannedAttempt, Stream};
use crate::load::profile::{NoTarget, Profile};

/// Where a URL is asked for.
#[derive(Debug)]
pub(super) struct Route {
    /// The request line and the host, and the name of the header that the attempt is told in.
    pub(super) opening: Vec<u8>,
    /// Bytes of its body.
    pub(super) body: u32,
    pub(super) host_number: u32,
    plain: Option<usize>,
    secure: Option<usize>,
    probe: Option<usize>,
}

/// The kept-alive connections to one endpoint for one host, for load or for probes.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) endpoint: Endpoint,
    pub(super) is_for_probes: bool,
    /// How many there should be; more are opened only while all are busy.
    pub(super) nominal: u32,
    pub(super) open: u32,
    pub(super) idle: Vec<ConnectionId>,
    /// TLS sessions that can be taken up.
    pub(super) tickets: u32,
}

/// Everything that clients need to know about the server.
#[derive(Debug)]
pub(super) struct Destinations {
    pub(super) routes: Vec<Route>,
    pub(super) pools: Vec<Pool>,
}

impl Destinations {
    /// Looks up where attempts go: one for each URL, kind and whether it is secure will do.
    pub(super) fn of<'a>(
        urls: &[PlannedUrl],
        attempts: impl IntoIterator<Item = &'a PlannedAttempt>,
        profile: &Profile,
        configuration: &Configuration,
    ) -> Result<Self, NoTarget> {
        Self::reached(urls, attempts, profile, &targets(configuration))
    }

    /// As [`Destinations::of`], with these hosts and their endpoints.
    pub(super) fn reached<'a>(
        urls: &[PlannedUrl],
        attempts: impl IntoIterator<Item = &'a PlannedAttempt>,
        profile: &Profile,
        targets: &[(String, Endpoint)],
    ) -> Result<Self, NoTarget> {
        let default_host = default_host(targets);
        let host_of = |url: u32| {
            let host = urls[url as usize].host.as_deref();
            host.unwrap_or(&default_host)
        };
        let mut host_numbers: BTreeMap<&str, u32> = BTreeMap::new();
        let mut routes = Vec::with_capacity(urls.len());
        for (url, planned) in (0..).zip(urls) {
            let host = host_of(url);
            let next = u32::try_from(host_numbers.len()).unwrap_or(u32::MAX);
            routes.push(Route {
                opening: format!(
                    "{} {} HTTP/1.1\r\nhost: {host}\r\nx-attempt-id: ",
                    planned.method(),
                    planned.url
                )
                .into_bytes(),
                body: planned.body_bytes,
                host_number: *host_numbers.entry(host).or_insert(next),
                plain: None,
                secure: None,
                probe: None,
            });
        }
        let mut pools: Vec<Pool> = Vec::new();
        let mut number_of = BTreeMap::new();
        for planned in attempts {
            let host = host_of(planned.url);
            let slot = routes[planned.url as usize].slot(planned);
            if slot.is_some() {
                continue;
            }
            let endpoint = endpoint(targets, host, planned.secure)?;
            let is_for_probes = planned.stream != Stream::Load;
            let key = (is_for_probes, endpoint, host);
            *slot = Some(*number_of.entry(key).or_insert_with(|| {
                pools.push(Pool {
                    endpoint,
                    is_for_probes,
                    nominal: 0,
                    open: 0,
                    idle: Vec::new(),
                    tickets: 0,
                });
                pools.len() - 1
            }));
        }
        let kinds: Vec<(bool, bool)> = pools
            .iter()
            .map(|pool| (pool.is_for_probes, pool.endpoint.secure))
            .collect();
        for (pool, kind) in pools.iter_mut().zip(&kinds) {
            let siblings = kinds.iter().filter(|other| *other == kind).count();
            pool.nominal = profile.kept_alive(*kind, siblings);
        }
        Ok(Self { routes, pools })
    }

    /// The pool of an attempt.
    pub(super) fn pool_of(&mut self, planned: &PlannedAttempt) -> usize {
        let slot = self.routes[planned.url as usize].slot(planned);
        slot.expect("targets were looked up for every attempt of the plan")
    }
}

impl Route {
    fn slot(&mut self, planned: &PlannedAttempt) -> &mut Option<usize> {
        match (planned.stream, planned.secure) {
            (Stream::ProbeNew | Stream::ProbeReused, _) => &mut self.probe,
            (Stream::Load, true) => &mut self.secure,
            (Stream::Load, false) => &mut self.plain,
        }
    }
}

/// Every host and endpoint of the configuration; an empty host is any.
pub(super) fn targets(configuration: &Configuration) -> Vec<(String, Endpoint)> {
    let bindings = configuration.sites.iter().flat_map(|site| &site.bindings);
    let http = bindings.filter_map(|binding| binding.http.as_ref());
    let target = |binding: &sim_was::config::HttpBinding| {
        let endpoint = Endpoint {
            address: binding.address,
            port: binding.port,
            secure: binding.secure,
        };
        (binding.host.clone(), endpoint)
    };
    http.map(target).collect()
}

/// The host of entries that name none.
fn default_host(targets: &[(String, Endpoint)]) -> String {
    let any = targets.iter().any(|(host, _)| host.is_empty());
    let named = targets.iter().find(|(host, _)| !host.is_empty());
    named
        .filter(|_| !any)
        .map_or_else(|| "localhost".to_owned(), |(host, _)| host.clone())
}

fn endpoint(
    targets: &[(String, Endpoint)],
    host: &str,
    secure: bool,
) -> Result<Endpoint, NoTarget> {
    let of_kind = || targets.iter().filter(|(_, to)| to.secure == secure);
    let named = of_kind().find(|(of, _)| of == host);
    named
        .or_else(|| of_kind().find(|(of, _)| of.is_empty()))
        .map(|(_, endpoint)| *endpoint)
        .ok_or_else(|| NoTarget {
            host: host.to_owned(),
            secure,
        })
}
