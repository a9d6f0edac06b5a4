//! N1–N5: connections are closed once and for a reason, carry one request at a time, and are counted.

use std::collections::BTreeMap;

use sim_httpsys::api::{ConnectionId, SiteId};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{ConnectionEnd, Fact};
use sim_httpsys::model::ReasonPhrase;

use super::book::{Book, Connection, End, Limits, Move};
use super::sites::Wanted;
use super::sometimes::{Seen, Sometimes};
use super::{Verdict, broken};

/// Recycles that a kept-alive connection should be seen to survive.
const RECYCLES_SURVIVED: u64 = 3;

/// What is known of the input under way.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// Connections of which something was said that explains their end.
    excused: Vec<ConnectionId>,
    /// Connections whose request ended without a whole response of its worker.
    spoilt: Vec<ConnectionId>,
    /// Connections that the server has ended, and nothing explains it so far.
    suspects: Vec<(ConnectionId, u16)>,
    /// Ports whose endpoint was closed.
    closing: Vec<u16>,
    /// Ports whose endpoint is open.
    open_ports: Vec<u16>,
    /// Connections that count, by their site.
    counted: BTreeMap<SiteId, u32>,
}

impl Connections {
    pub(super) fn httpsys(
        &mut self,
        book: &mut Book,
        fact: &Fact,
        step: &Move,
        seen: &mut Sometimes,
    ) -> Verdict {
        self.count(book, fact, step)?;
        match fact {
            Fact::ConnError { connection, reason } => {
                self.excused.push(*connection);
                timer(book, *connection, *reason)
            }
            Fact::ConnCleanup {
                connection, end, ..
            } => self.ended(book, *connection, *end, seen),
            Fact::EndpointOpen { port } => {
                self.open_ports.push(*port);
                Ok(())
            }
            Fact::EndpointClose { port, .. } => {
                self.open_ports.retain(|open| open != port);
                self.closing.push(*port);
                Ok(())
            }
            _other => {
                if let Move::Ended(_, entry, end) = step {
                    self.excused.push(entry.connection);
                    if matches!(end, End::Refused(_) | End::Dropped(_)) {
                        self.spoilt.push(entry.connection);
                    }
                }
                Ok(())
            }
        }
    }

    fn ended(
        &mut self,
        book: &mut Book,
        id: ConnectionId,
        end: ConnectionEnd,
        seen: &mut Sometimes,
    ) -> Verdict {
        let Some(connection) = book.connections.remove(id.0) else {
            return broken("N1", format!("{id:?} ended, and was not open"));
        };
        book.closed += 1;
        if let Some(counted) = connection.site.and_then(|site| self.counted.get_mut(&site)) {
            *counted -= 1;
        }
        if let Some(request) = connection.request {
            return broken("N2", format!("{id:?} ended before its {request:?}"));
        }
        if book.recycles >= connection.recycles + RECYCLES_SURVIVED {
            seen.note(Seen::ConnectionSurvivedRecycles);
        }
        let by_server = matches!(end, ConnectionEnd::ServerFin | ConnectionEnd::ServerReset);
        if by_server && !self.excused.contains(&id) && !has_drained_long(book.now, &connection) {
            self.suspects.push((id, connection.port));
        }
        Ok(())
    }

    /// N5: no more connections than its limit count for a site.
    fn count(&mut self, book: &Book, fact: &Fact, step: &Move) -> Verdict {
        if let Move::Ended(_, entry, End::Refused(reason) | End::Dropped(reason)) = step
            && *reason == ReasonPhrase::ConnLimit
            && let Some(site) = site_of(book, entry.wanted)
            && let Some(terms) = book.sites.of(site)
        {
            let counted = self.counted.get(&site).copied().unwrap_or_default();
            let limit = terms.connections_max;
            if limit.is_none_or(|limit| counted < limit) {
                let what =
                    format!("refused for the limit {limit:?} of {site:?} with {counted} open");
                return broken("N5", what);
            }
        }
        if let Fact::ConnCounted { site, .. } = fact {
            let counted = self.counted.entry(*site).or_default();
            *counted += 1;
            let terms = book.sites.of(*site);
            let limit = terms.and_then(|terms| terms.connections_max);
            if limit.is_some_and(|limit| *counted > limit) {
                let what = format!("{counted} connections count for {site:?}, and {limit:?} may");
                return broken("N5", what);
            }
        }
        Ok(())
    }

    /// The driver has carried out an input: N3, N1, C4.
    pub(super) fn settled(&mut self, book: &Book) -> Verdict {
        self.excused.clear();
        for id in self.spoilt.drain(..) {
            if book.connections.get(id.0).is_some() {
                return broken("C4", format!("{id:?} stays open behind half a response"));
            }
        }
        for (id, port) in self.suspects.drain(..) {
            let is_gone = self.closing.contains(&port) || !self.open_ports.contains(&port);
            if !is_gone {
                return broken(
                    "N3",
                    format!("{id:?} was idle, and was closed for no reason"),
                );
            }
        }
        self.closing.clear();
        let open = book.connections.len() as u64;
        if book.accepted != open + book.closed {
            let (accepted, closed) = (book.accepted, book.closed);
            return broken(
                "N1",
                format!("{accepted} accepted, {open} open, {closed} closed"),
            );
        }
        Ok(())
    }

    /// N4: no timer is overdue.
    pub(super) fn scan(book: &Book) -> Verdict {
        for (id, connection) in book.connections.iter() {
            let Some(limits) = limits(connection) else {
                continue;
            };
            let (since, limit, what) = match connection.head_since {
                _ if connection.request.is_some() => continue,
                Some(since) => (since, limits.header, "its head"),
                None if let Some(since) = connection.draining_since => {
                    (since, limits.idle, "the rest of a body")
                }
                None => (connection.idle_since, limits.idle, "a request"),
            };
            if book.now.saturating_since(since) > limit {
                let what = format!("connection {id} waits for {what} since {since}");
                return broken("N4", what);
            }
        }
        Ok(())
    }
}

/// The site that a request is for, if that is known.
fn site_of(book: &Book, wanted: Wanted) -> Option<SiteId> {
    match wanted {
        Wanted::To(site, ..) => Some(site),
        Wanted::Unknown => book.sites.only(),
        Wanted::Nowhere => None,
    }
}

/// The limits of a connection, if they are known.
fn limits(connection: &Connection) -> Option<Limits> {
    match connection.times_of {
        _ if connection.is_unsure => None,
        Some(_) => connection.limits,
        None => Some(Limits::OF_DRIVER),
    }
}

/// N3: whether a body that nobody wants has been coming for as long as it may.
fn has_drained_long(now: Instant, connection: &Connection) -> bool {
    connection.draining_since.is_some_and(|since| {
        limits(connection).is_none_or(|limits| now.saturating_since(since) == limits.idle)
    })
}

/// N4: a timer fires when its own limit is over, and not for an older wait.
fn timer(book: &Book, id: ConnectionId, reason: ReasonPhrase) -> Verdict {
    let Some(connection) = book.connections.get(id.0) else {
        return broken("N4", format!("{id:?} timed out after its end"));
    };
    let Some(limits) = limits(connection) else {
        return Ok(());
    };
    let (since, limit) = match reason {
        ReasonPhrase::TimerConnectionIdle if connection.head_since.is_some() => {
            return broken("N4", format!("{id:?} was idle while a head came in"));
        }
        ReasonPhrase::TimerConnectionIdle if connection.draining_since.is_some() => {
            return broken("N4", format!("{id:?} was idle while a body came in"));
        }
        ReasonPhrase::TimerConnectionIdle => (connection.idle_since, limits.idle),
        ReasonPhrase::TimerHeaderWait => match connection.head_since {
            Some(since) => (since, limits.header),
            None => return broken("N4", format!("{id:?} has no head to wait for")),
        },
        _other => return Ok(()),
    };
    let waited = book.now.saturating_since(since);
    if waited != limit {
        let what = format!("{id:?} was cut for {reason} after {waited:?}, and has {limit:?}");
        return broken("N4", what);
    }
    Ok(())
}
