//! N1–N5: connections are closed once and for a reason, carry one request at a time, and are counted.

use sim_httpsys::api::ConnectionId;
use sim_httpsys::etw::{ConnectionEnd, Fact};
use sim_httpsys::model::ReasonPhrase;

use super::book::{Book, Connection, End, Limits, Move};
use super::sometimes::{Seen, Sometimes};
use super::{Verdict, broken};

/// Recycles that a kept-alive connection should be seen to survive.
const RECYCLES_SURVIVED: u64 = 3;

/// What is known of the input under way.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// Connections of which something was said that explains their end.
    excused: Vec<ConnectionId>,
    /// Connections that the server has ended, and nothing explains it so far.
    suspects: Vec<(ConnectionId, u16)>,
    /// Ports whose endpoint was closed.
    closing: Vec<u16>,
    /// Ports whose endpoint is open.
    open_ports: Vec<u16>,
    counted: u32,
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
                if let Move::Ended(_, entry, _) = step {
                    self.excused.push(entry.connection);
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
        if connection.counts {
            self.counted -= 1;
        }
        if let Some(request) = connection.request {
            return broken("N2", format!("{id:?} ended before its {request:?}"));
        }
        if book.recycles >= connection.recycles + RECYCLES_SURVIVED {
            seen.note(Seen::ConnectionSurvivedRecycles);
        }
        let by_server = matches!(end, ConnectionEnd::ServerFin | ConnectionEnd::ServerReset);
        if by_server && !self.excused.contains(&id) {
            self.suspects.push((id, connection.port));
        }
        Ok(())
    }

    /// N5: which connections count, and that no more than the limit do.
    fn count(&mut self, book: &mut Book, fact: &Fact, step: &Move) -> Verdict {
        let limit = book.connections_max;
        let of_limit = matches!(
            step,
            Move::Ended(_, _, End::Refused(ReasonPhrase::ConnLimit))
        ) || matches!(
            step,
            Move::Ended(_, _, End::Dropped(ReasonPhrase::ConnLimit))
        );
        if of_limit {
            return match limit {
                Some(limit) if self.counted >= limit => Ok(()),
                limit => {
                    let counted = self.counted;
                    let what = format!("refused for the limit {limit:?} with {counted} open");
                    broken("N5", what)
                }
            };
        }
        let routed = match (step, fact) {
            (Move::Queued(request, _), _) | (_, Fact::CacheMiss { request, .. }) => {
                book.requests.get(request.0).map(|r| r.connection)
            }
            (Move::Delivered(_, _, entry) | Move::Ended(_, entry, End::FromCache), _) => {
                Some(entry.connection)
            }
            (Move::Ended(_, entry, End::Refused(_) | End::Dropped(_)), _) => {
                entry.pool.map(|_| entry.connection)
            }
            (Move::Parsed(_) | Move::Ended(..) | Move::None, _) => None,
        };
        let connection = routed.and_then(|id| book.connections.get_mut(id.0));
        if let Some(connection @ Connection { counts: false, .. }) = connection {
            connection.counts = true;
            self.counted += 1;
            if limit.is_some_and(|limit| self.counted > limit) {
                let counted = self.counted;
                return broken(
                    "N5",
                    format!("{counted} connections, and {limit:?} may be open"),
                );
            }
        }
        Ok(())
    }

    /// Bytes have come on a connection.
    pub(super) fn received(book: &mut Book, id: ConnectionId) {
        let now = book.now;
        if let Some(connection) = book.connections.get_mut(id.0)
            && connection.request.is_none()
        {
            connection.head_since.get_or_insert(now);
        }
    }

    /// The driver has carried out an input: N3, N1.
    pub(super) fn settled(&mut self, book: &Book) -> Verdict {
        self.excused.clear();
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
            let Some(limits) = limits(book, connection) else {
                continue;
            };
            let (since, limit, what) = match connection.head_since {
                _ if connection.request.is_some() => continue,
                Some(since) => (since, limits.header, "its head"),
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

/// The limits of a connection, if they are known.
fn limits(book: &Book, connection: &Connection) -> Option<Limits> {
    let of_site = book.limits?;
    Some(if connection.counts {
        of_site
    } else {
        Limits::OF_DRIVER
    })
}

/// N4: a timer fires when its own limit is over, and not for an older wait.
fn timer(book: &Book, id: ConnectionId, reason: ReasonPhrase) -> Verdict {
    let Some(connection) = book.connections.get(id.0) else {
        return broken("N4", format!("{id:?} timed out after its end"));
    };
    let Some(limits) = limits(book, connection) else {
        return Ok(());
    };
    let (since, limit) = match reason {
        ReasonPhrase::TimerConnectionIdle if connection.head_since.is_some() => {
            return broken("N4", format!("{id:?} was idle while a head came in"));
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
