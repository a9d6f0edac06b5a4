//! The endpoints that listen, and a short number for each that ever did: what a connection remembers.

use std::collections::BTreeMap;

use super::url_group::EndpointState;
use crate::api::Endpoint;

/// The number of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndpointIndex(u32);

/// All endpoints.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    states: BTreeMap<Endpoint, EndpointState>,
    /// With how many connections each has. Never forgotten: there are no more than ports and addresses that
    /// somebody has named.
    numbered: Vec<(Endpoint, u32)>,
}

impl Endpoints {
    pub(super) fn get(&self, endpoint: &Endpoint) -> Option<&EndpointState> {
        self.states.get(endpoint)
    }

    pub(super) fn get_mut(&mut self, endpoint: &Endpoint) -> Option<&mut EndpointState> {
        self.states.get_mut(endpoint)
    }

    pub(super) fn get_or_insert_with(
        &mut self,
        endpoint: Endpoint,
        state: impl FnOnce() -> EndpointState,
    ) -> &mut EndpointState {
        self.states.entry(endpoint).or_insert_with(state)
    }

    pub(super) fn remove(&mut self, endpoint: &Endpoint) -> Option<EndpointState> {
        self.states.remove(endpoint)
    }

    /// Those that have a state, in their order.
    pub(super) fn open(&self) -> impl Iterator<Item = Endpoint> {
        self.states.keys().copied()
    }

    /// A connection comes in; gives the number of its endpoint.
    pub(super) fn enter(&mut self, endpoint: Endpoint) -> EndpointIndex {
        let known = self.place(endpoint);
        let place = known.unwrap_or_else(|| {
            self.numbered.push((endpoint, 0));
            self.numbered.len() - 1
        });
        self.numbered[place].1 += 1;
        index(place)
    }

    /// A connection has gone.
    pub(super) fn leave(&mut self, number: EndpointIndex) {
        self.numbered[number.0 as usize].1 -= 1;
    }

    /// The number of an endpoint, if there is a connection.
    pub(super) fn with_connections(&self, endpoint: Endpoint) -> Option<EndpointIndex> {
        let place = self.place(endpoint)?;
        (self.numbered[place].1 > 0).then(|| index(place))
    }

    /// The endpoint of a number.
    pub(super) fn of(&self, number: EndpointIndex) -> Endpoint {
        self.numbered[number.0 as usize].0
    }

    fn place(&self, endpoint: Endpoint) -> Option<usize> {
        let mut numbered = self.numbered.iter();
        numbered.position(|(other, _)| *other == endpoint)
    }
}

fn index(place: usize) -> EndpointIndex {
    let place = u32::try_from(place).expect("fewer than 2^32 endpoints are ever opened");
    EndpointIndex(place)
}
