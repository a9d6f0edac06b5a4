//! URL groups (site × pool under IIS), and the endpoints that their URLs keep open.
//!
//! An endpoint is open as long as a URL is registered on it. When its last URL goes, its socket is
//! closed and so is every connection on it, unless another endpoint is open for the same address
//! and port: `*:80` for what came in on `10.0.0.1:80`, and the other way round.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::connection::ConnectionState;
use super::exchange::Stage;
use super::request_queue::QueueIndex;
use super::routing::Registration;
use super::url_prefix::UrlPrefix;
use super::{CloseHow, EndpointClose, HttpSys, Output, ReasonPhrase};
use crate::api::{
    CallId, CallResult, Completion, ConnectionId, Endpoint, LogSettings, ProcessId, Timeouts,
    UrlContext, UrlGroupId, UrlGroupProperties, Win32Error,
};
use crate::clockwork::Instant;
use crate::clockwork::mutants::{Mutant, mutated};
use crate::etw::{ConnectionEnd, Fact};

/// One URL group.
#[derive(Debug)]
pub(super) struct UrlGroup {
    pub(super) properties: UrlGroupProperties,
    pub(super) queue: QueueIndex,
    pub(super) log: Option<Rc<LogSettings>>,
    pub(super) timeouts: Rc<Timeouts>,
    pub(super) owner: ProcessId,
    pub(super) urls: BTreeMap<UrlPrefix, RegisteredUrl>,
}

/// A URL of a group.
#[derive(Debug)]
pub(super) struct RegisteredUrl {
    /// As it was added.
    pub(super) text: String,
    endpoint: Endpoint,
    context: UrlContext,
}

/// An endpoint, from its first URL to its last.
#[derive(Debug)]
pub(super) struct EndpointState {
    /// Calls that wait for the socket; `None` once it is open.
    opening: Option<Vec<PendingUrl>>,
    urls: u32,
}

#[derive(Debug)]
struct PendingUrl {
    by: ProcessId,
    id: CallId,
    group: UrlGroupId,
    prefix: UrlPrefix,
    text: String,
}

impl EndpointState {
    /// Whether its socket listens.
    pub(super) fn is_open(&self) -> bool {
        self.opening.is_none()
    }
}

impl HttpSys {
    pub(super) fn create_url_group(
        &mut self,
        by: ProcessId,
        id: UrlGroupId,
        properties: UrlGroupProperties,
    ) -> Result<CallResult, Win32Error> {
        if self.groups.contains_key(&id) {
            return Err(Win32Error::AlreadyExists);
        }
        let queue = self
            .queues
            .find(&properties.queue)
            .ok_or(Win32Error::FileNotFound)?;
        let log = properties.log.clone().map(Rc::new);
        let timeouts = Rc::new(properties.timeouts);
        let urls = BTreeMap::new();
        self.groups.insert(
            id,
            UrlGroup {
                properties,
                queue,
                log,
                timeouts,
                owner: by,
                urls,
            },
        );
        Ok(CallResult::Done)
    }

    pub(super) fn set_url_group_properties(
        &mut self,
        by: ProcessId,
        id: UrlGroupId,
        properties: UrlGroupProperties,
    ) -> Result<CallResult, Win32Error> {
        let queue = self
            .queues
            .find(&properties.queue)
            .ok_or(Win32Error::FileNotFound)?;
        let group = self.group_of(by, id)?;
        group.queue = queue;
        group.log = properties.log.clone().map(Rc::new);
        group.timeouts = Rc::new(properties.timeouts);
        group.properties = properties;
        Ok(CallResult::Done)
    }

    fn group_of(&mut self, by: ProcessId, id: UrlGroupId) -> Result<&mut UrlGroup, Win32Error> {
        let group = self.groups.get_mut(&id).ok_or(Win32Error::FileNotFound)?;
        if group.owner == by {
            Ok(group)
        } else {
            Err(Win32Error::InvalidIdAuthority)
        }
    }

    pub(super) fn close_url_group(
        &mut self,
        by: ProcessId,
        id: UrlGroupId,
        now: Instant,
    ) -> Result<CallResult, Win32Error> {
        self.group_of(by, id)?;
        self.close_group(id, now);
        Ok(CallResult::Done)
    }

    pub(super) fn close_group(&mut self, id: UrlGroupId, now: Instant) {
        let Some(group) = self.groups.remove(&id) else {
            return;
        };
        for (prefix, url) in group.urls {
            if !mutated(Mutant::KeepUrlsAtStop) {
                self.forget_url(id, &prefix, url, now);
            }
        }
    }

    pub(super) fn remove_url(
        &mut self,
        by: ProcessId,
        id: UrlGroupId,
        url: &str,
        now: Instant,
    ) -> Result<CallResult, Win32Error> {
        let prefix = UrlPrefix::parse(url)?;
        let removed = self.group_of(by, id)?.urls.remove(&prefix);
        let url = removed.ok_or(Win32Error::FileNotFound)?;
        self.forget_url(id, &prefix, url, now);
        Ok(CallResult::Done)
    }

    fn forget_url(&mut self, id: UrlGroupId, prefix: &UrlPrefix, url: RegisteredUrl, now: Instant) {
        let removed = self.routing.remove(prefix, id);
        debug_assert!(removed.is_ok(), "a group's URLs are in the routing table");
        self.fact(Fact::RemoveUrl { url: url.text });
        self.flush_url(url.endpoint.port, url.context);
        self.release_endpoint(url.endpoint, now);
    }

    pub(super) fn add_url(
        &mut self,
        by: ProcessId,
        id: CallId,
        group: UrlGroupId,
        url: String,
        context: UrlContext,
    ) {
        let answer = match self.register(by, group, &url, context) {
            Err(error) => Err(error),
            Ok((prefix, endpoint)) => {
                let Some(state) = self.endpoints.get_mut(&endpoint) else {
                    return;
                };
                if let Some(waiting) = &mut state.opening {
                    waiting.push(PendingUrl {
                        by,
                        id,
                        group,
                        prefix,
                        text: url,
                    });
                    return;
                }
                self.fact(Fact::AddUrl { url });
                Ok(CallResult::Done)
            }
        };
        self.complete(by, Completion::Called { id, result: answer });
    }

    pub(super) fn move_url(
        &mut self,
        by: ProcessId,
        id: CallId,
        (from, to): (UrlGroupId, UrlGroupId),
        url: String,
        context: UrlContext,
    ) {
        let result = match self.take_over(by, (from, to), &url, context) {
            Ok(false) => return self.add_url(by, id, to, url, context),
            Ok(true) => Ok(CallResult::Done),
            Err(error) => Err(error),
        };
        self.complete(by, Completion::Called { id, result });
    }

    /// Gives a group the URL of another; `false` if the other has none.
    fn take_over(
        &mut self,
        by: ProcessId,
        (from, to): (UrlGroupId, UrlGroupId),
        url: &str,
        context: UrlContext,
    ) -> Result<bool, Win32Error> {
        let prefix = UrlPrefix::parse(url)?;
        self.group_of(by, to)?;
        let Some(mut registered) = self.group_of(by, from)?.urls.remove(&prefix) else {
            return Ok(false);
        };
        self.routing.remove(&prefix, from)?;
        let group = if mutated(Mutant::MoveLeavesRoute) {
            from
        } else {
            to
        };
        let registration = Registration { group, context };
        self.routing.add(prefix.clone(), registration)?;
        let old_context = std::mem::replace(&mut registered.context, context);
        self.flush_url(registered.endpoint.port, old_context);
        let state = self.endpoints.get_mut(&registered.endpoint);
        if let Some(waiting) = state.and_then(|state| state.opening.as_mut()) {
            // Its fact is still to come.
            let mut waiting = waiting.iter_mut();
            if let Some(pending) = waiting.find(|p| p.group == from && p.prefix == prefix) {
                pending.group = to;
            }
        } else {
            let old = std::mem::replace(&mut registered.text, url.to_owned());
            self.fact(Fact::RemoveUrl { url: old });
            let url = url.to_owned();
            self.fact(Fact::AddUrl { url });
        }
        self.group_of(by, to)?.urls.insert(prefix, registered);
        Ok(true)
    }

    /// Puts a prefix into the routing table, and asks for its endpoint if it is not open.
    fn register(
        &mut self,
        by: ProcessId,
        id: UrlGroupId,
        url: &str,
        context: UrlContext,
    ) -> Result<(UrlPrefix, Endpoint), Win32Error> {
        self.group_of(by, id)?;
        let prefix = UrlPrefix::parse(url)?;
        let endpoint = prefix.endpoint();
        // Source: win32, UrlPrefix strings: one port cannot carry both http and https.
        // Assumed: the error is that of a port that somebody else has.
        let is_other =
            |other: Endpoint| other.port == endpoint.port && other.secure != endpoint.secure;
        if self.endpoints.open().any(is_other) {
            return Err(Win32Error::SharingViolation);
        }
        self.routing
            .add(prefix.clone(), Registration { group: id, context })?;
        let registered = RegisteredUrl {
            text: url.to_owned(),
            endpoint,
            context,
        };
        self.group_of(by, id)?
            .urls
            .insert(prefix.clone(), registered);
        let mut is_new = false;
        let state = self.endpoints.get_or_insert_with(endpoint, || {
            is_new = true;
            EndpointState {
                opening: Some(Vec::new()),
                urls: 0,
            }
        });
        state.urls += 1;
        if is_new {
            self.outputs.push_back(Output::Listen { endpoint });
        }
        Ok((prefix, endpoint))
    }

    /// The socket of an endpoint was opened, or could not be.
    pub(super) fn listening(&mut self, endpoint: Endpoint, result: Result<(), Win32Error>) {
        let Some(state) = self.endpoints.get_mut(&endpoint) else {
            return;
        };
        let Some(pending) = state.opening.take() else {
            return;
        };
        let wanted = state.urls > 0;
        if result.is_err() || !wanted {
            self.endpoints.remove(&endpoint);
        }
        match result {
            Ok(()) if wanted => self.fact(Fact::EndpointOpen {
                port: endpoint.port,
            }),
            Ok(()) => self.outputs.push_back(Output::Unlisten { endpoint }),
            Err(_) => {}
        }
        for PendingUrl {
            by,
            id,
            group,
            prefix,
            text,
        } in pending
        {
            match result {
                Ok(()) => self.fact(Fact::AddUrl { url: text }),
                Err(_) => self.unregister_unopened(group, &prefix),
            }
            self.complete(
                by,
                Completion::Called {
                    id,
                    result: result.map(|()| CallResult::Done),
                },
            );
        }
    }

    fn unregister_unopened(&mut self, id: UrlGroupId, prefix: &UrlPrefix) {
        if let Some(group) = self.groups.get_mut(&id)
            && group.urls.remove(prefix).is_some()
        {
            let removed = self.routing.remove(prefix, id);
            debug_assert!(removed.is_ok(), "a group's URLs are in the routing table");
        }
    }

    fn release_endpoint(&mut self, endpoint: Endpoint, now: Instant) {
        let Some(state) = self.endpoints.get_mut(&endpoint) else {
            return;
        };
        state.urls = state.urls.saturating_sub(1);
        // One that is still being opened is closed when it has been.
        if state.urls > 0 || !state.is_open() {
            return;
        }
        self.endpoints.remove(&endpoint);
        let connections = self.connections_of(endpoint);
        self.outputs.push_back(Output::Unlisten { endpoint });
        let connections: Vec<ConnectionId> = connections
            .into_iter()
            .filter(|&connection| !self.inherit(connection))
            .collect();
        let count = u32::try_from(connections.len()).unwrap_or(u32::MAX);
        self.fact(Fact::EndpointClose {
            port: endpoint.port,
            connections: count,
        });
        for connection in connections {
            self.close_for_endpoint(connection, now);
        }
    }

    /// Gives a connection whose endpoint is gone to another one that stands for its address too.
    ///
    /// Assumed: as if another program had a URL there (win32, port sharing): the endpoint is the address
    /// and port, and it is needed still. The next request finds the URLs that are registered then.
    fn inherit(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get_mut(id) else {
            return false;
        };
        let came_in_on = connection.ends.local_ip();
        let number = connection.endpoint;
        let gone = self.endpoints.of(number);
        for address in [Some(came_in_on), None] {
            let endpoint = Endpoint { address, ..gone };
            let heir = self.endpoints.get(&endpoint);
            if heir.is_some_and(EndpointState::is_open) {
                connection.endpoint = self.endpoints.enter(endpoint);
                self.endpoints.leave(number);
                return true;
            }
        }
        false
    }

    /// Every connection of an endpoint, the oldest first.
    pub(super) fn connections_of(&self, endpoint: Endpoint) -> Vec<ConnectionId> {
        let Some(number) = self.endpoints.with_connections(endpoint) else {
            return Vec::new();
        };
        let all = self.connections.iter();
        let of_it = all.filter(|(_, connection)| connection.endpoint == number);
        let mut ids: Vec<ConnectionId> = of_it.map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// Closes a connection whose endpoint is gone. A response that was handed over whole is sent first, and then
    /// comes FIN; any other request dies, and with it the connection is reset; without one the parameters say
    /// how it ends.
    ///
    /// Source: "IISRESET vs Recycling Application Pools": applications that run are allowed to finish. The
    /// worker has finished, and may be gone. KB820129: the driver goes on while IIS stops, so nobody has to
    /// wait for what it still sends.
    pub(super) fn close_for_endpoint(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        match &connection.state {
            ConnectionState::Busy(exchange) => match exchange.stage {
                Stage::Sending(_) => self.close_when_answered(id),
                Stage::Arrived | Stage::Queued { .. } | Stage::Delivered { .. } => {
                    self.abort_request(id, ReasonPhrase::RequestCancelled, now);
                }
            },
            ConnectionState::Idle | ConnectionState::Draining(_) => {
                let (how, end) = match self.parameters.endpoint_close {
                    EndpointClose::Rst => (CloseHow::Reset, ConnectionEnd::ServerReset),
                    EndpointClose::Fin => (CloseHow::AfterSending, ConnectionEnd::ServerFin),
                };
                self.close(id, Some(how), end);
            }
        }
    }
}
