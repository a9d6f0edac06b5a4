//! What those mutants do that take more than a line; see `clockwork/mutants.rs`. Nothing of it runs
//! unless one of them is switched on.

use super::connection::ConnectionState;
use super::url_group::UrlGroup;
use super::{HttpSys, ReasonPhrase};
use crate::api::{ConnectionId, ProcessId, RequestId};
use crate::clockwork::Instant;

impl HttpSys {
    /// The connection of another request that a process holds, the oldest.
    pub(super) fn another_held(&self, by: ProcessId, than: RequestId) -> Option<ConnectionId> {
        let held = self.processes.get(&by)?.held.clone();
        let others = held.into_iter().filter(|(request, _)| *request != than);
        others.min().map(|(_, connection)| connection)
    }

    /// The URL group with the least number: that of the first site and its first pool.
    pub(super) fn first_group(&self) -> Option<&UrlGroup> {
        self.groups.values().next()
    }

    /// Cuts every connection that has no request.
    pub(super) fn cut_all_idle(&mut self, now: Instant) {
        let endpoints = self.endpoints.open();
        let all: Vec<ConnectionId> = endpoints.flat_map(|e| self.connections_of(e)).collect();
        for id in all {
            let connection = self.connections.get(id);
            if connection.is_some_and(|c| matches!(c.state, ConnectionState::Idle)) {
                self.cut_idle(id, ReasonPhrase::TimerConnectionIdle, now);
            }
        }
    }
}
