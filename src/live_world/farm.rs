//! The servers of a farm that nothing is done to, and the balancer in front of all.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::balancer::Balancer;
use super::server::{BoundEndpoint, Departure, Server, ServerOptions};
use super::trial::TrialError;
use crate::measure::balancer::Stamped;
use crate::scenario;

/// A running farm, without the server that is operated on.
#[derive(Debug)]
pub(super) struct Farm {
    others: Vec<Server>,
    balancer: Balancer,
}

/// What a farm has left behind.
pub(super) struct Left {
    /// The root folders of the servers that were left alone.
    pub(super) roots: Vec<PathBuf>,
    /// The balancer's log.
    pub(super) log: Vec<Stamped>,
    /// Whether the drivers of all of them ended by themselves.
    pub(super) departure: Departure,
}

impl Farm {
    /// Starts the other servers and the balancer; `options` makes the options of the next server, below
    /// `folder`.
    pub(super) fn start(
        farm: &scenario::Farm,
        operated: &Server,
        folder: &Path,
        options: &mut dyn FnMut(&Path) -> Result<ServerOptions, TrialError>,
    ) -> Result<Self, TrialError> {
        let mut others = Vec::new();
        for number in 2..=farm.servers {
            let root = folder.join(format!("root-{number}"));
            others.push(Server::start(&options(&root)?)?);
        }
        let all = std::iter::once(operated).chain(&others);
        let addresses: Option<Vec<SocketAddr>> = all.map(address).collect();
        let addresses = addresses.ok_or(TrialError::NothingToBalance)?;
        let balancer = Balancer::start(farm, &addresses, folder)?;
        Ok(Self { others, balancer })
    }

    /// Where clients reach it.
    pub(super) fn address(&self) -> SocketAddr {
        self.balancer.address()
    }

    /// Fails if a part of it has ended.
    pub(super) fn check(&mut self) -> Result<(), TrialError> {
        for server in &mut self.others {
            server.check()?;
        }
        Ok(self.balancer.check()?)
    }

    /// Ends it, the balancer first: it must not see the servers go.
    pub(super) fn stop(self) -> Result<Left, TrialError> {
        let log = self.balancer.stop()?;
        let (mut roots, mut departure) = (Vec::new(), Departure::Ended);
        for server in self.others {
            roots.push(server.root.clone());
            if server.stop() == Departure::Killed {
                departure = Departure::Killed;
            }
        }
        Ok(Left {
            roots,
            log,
            departure,
        })
    }
}

/// Where the first http binding of a server is reached.
fn address(server: &Server) -> Option<SocketAddr> {
    let endpoints = server.endpoints();
    let mut plain = endpoints.iter().filter(|endpoint| !endpoint.secure);
    plain.find_map(BoundEndpoint::address)
}
