//! Connections that the operation cost.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use sim_httpsys::api::ConnectionId;
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{self, Traced};
use sim_httpsys::model::ReasonPhrase;

use super::read::Observation;
use crate::load::book::{AttemptRecord, ConnectionEnded, ConnectionRecord, TlsKind};
use crate::load::outcome::Outcome;

/// What became of the connections that were open when the operation began, and of new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Connections that were open when the operation began, of load and probes.
    pub open_before: u64,
    /// Of these, those that HTTP.sys reset because nothing had come on them for the `connectionTimeout` of
    /// their site; `None` if nobody kept its facts.
    pub timed_out: Option<u64>,
    /// Of these, those that the server reset for another reason.
    pub lost_rst: u64,
    /// Of these, those that the server closed in order, announced or not.
    pub lost_fin: u64,
    /// Of these, those that their client closed, since it needed them no more.
    pub closed_by_client: u64,
    /// Of these, those that were still open at the end. With the four above, all of `open_before`.
    pub survived: u64,
    /// Of those lost, the ones that had a request on them.
    pub lost_in_flight: u64,
    /// Attempts of load and probes to connect that were refused since the operation began.
    pub refused: u64,
}

/// TLS handshakes since the operation began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Handshakes with everything.
    pub full_handshakes: u64,
    /// Handshakes that took up an earlier session.
    pub resumed: u64,
}

impl Connections {
    /// Counts them in a book; the driver's facts tell which of them an idle timer cut.
    pub fn of(observation: &Observation, operation: Instant) -> Self {
        let book = &observation.book;
        let timers = observation.httpsys.as_deref().map(IdleTimers::of);
        let mut counts = Self {
            timed_out: timers.as_ref().map(|_| 0),
            ..Self::default()
        };
        for connection in &book.connections {
            let was_open = connection.opened < operation
                && connection.closed.is_none_or(|closed| closed >= operation);
            if !was_open {
                continue;
            }
            counts.open_before += 1;
            let (fate, is_lost) = match connection.how {
                None => (&mut counts.survived, false),
                Some(ConnectionEnded::Client) => (&mut counts.closed_by_client, false),
                Some(ConnectionEnded::Rst) => match &mut counts.timed_out {
                    Some(timed_out) if timers.as_ref().is_some_and(|t| t.cut(connection)) => {
                        (timed_out, false)
                    }
                    Some(_) | None => (&mut counts.lost_rst, true),
                },
                Some(ConnectionEnded::Fin | ConnectionEnded::Announced) => {
                    (&mut counts.lost_fin, true)
                }
            };
            *fate += 1;
            counts.lost_in_flight += u64::from(is_lost && connection.in_flight);
        }
        let is_refused =
            |a: &&AttemptRecord| a.outcome == Outcome::Refused && a.finished >= operation;
        counts.refused = book.attempts.iter().filter(is_refused).count() as u64;
        counts
    }
}

/// When idle timers cut connections, by the client's port and the server's address.
struct IdleTimers(BTreeMap<(u16, SocketAddr), Vec<Instant>>);

impl IdleTimers {
    fn of(facts: &[Traced<etw::Fact>]) -> Self {
        let mut open: BTreeMap<ConnectionId, (u16, SocketAddr)> = BTreeMap::new();
        let mut cuts: BTreeMap<(u16, SocketAddr), Vec<Instant>> = BTreeMap::new();
        for Traced { at, fact } in facts {
            if let etw::Fact::ConnConnect {
                connection, ends, ..
            } = fact
            {
                open.insert(*connection, (ends.client.port(), ends.local));
            } else if let etw::Fact::ConnError {
                connection,
                reason: ReasonPhrase::TimerConnectionIdle,
            } = fact
                && let Some(ends) = open.get(connection)
            {
                cuts.entry(*ends).or_default().push(*at);
            } else if let etw::Fact::ConnCleanup { connection, .. } = fact {
                open.remove(connection);
            }
        }
        Self(cuts)
    }

    /// Whether one cut this connection: no other one had its ends while it was open.
    fn cut(&self, connection: &ConnectionRecord) -> bool {
        let closed = connection.closed.unwrap_or(Instant(u64::MAX));
        let cuts = self.0.get(&(connection.local_port, connection.server));
        cuts.is_some_and(|cuts| {
            let later = cuts.partition_point(|at| *at < connection.opened);
            cuts.get(later).is_some_and(|at| *at <= closed)
        })
    }
}

impl Tls {
    /// Counts handshakes in a book.
    pub fn of(connections: &[ConnectionRecord], operation: Instant) -> Self {
        let mut counts = Self::default();
        for connection in connections.iter().filter(|c| c.opened >= operation) {
            match connection.tls {
                TlsKind::Full => counts.full_handshakes += 1,
                TlsKind::Resumed => counts.resumed += 1,
                TlsKind::None => {}
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use sim_httpsys::api::Ends;

    use super::*;
    use crate::measure::synthetic::{self, OPERATION, SERVER, at};

    fn connection(
        opened: f64,
        closed: Option<f64>,
        how: Option<ConnectionEnded>,
    ) -> ConnectionRecord {
        ConnectionRecord {
            closed: closed.map(at),
            how,
            ..synthetic::connection(opened)
        }
    }

    #[test]
    fn only_connections_that_were_open_can_be_lost() {
        let all = [
            connection(-100.0, None, None),
            connection(-100.0, Some(50.0), Some(ConnectionEnded::Rst)),
            connection(-100.0, Some(50.0), Some(ConnectionEnded::Fin)),
            connection(-100.0, Some(50.0), Some(ConnectionEnded::Client)),
            connection(-100.0, Some(-50.0), Some(ConnectionEnded::Rst)),
            connection(10.0, Some(50.0), Some(ConnectionEnded::Rst)),
        ];
        let counts = Connections::of(&observation(all.to_vec()), OPERATION);
        assert_eq!(
            (counts.open_before, counts.lost_rst, counts.lost_fin),
            (4, 1, 1)
        );
        assert_eq!((counts.closed_by_client, counts.survived), (1, 1));
        assert_eq!(counts.timed_out, None, "nobody kept the driver's facts");
    }

    fn observation(connections: Vec<ConnectionRecord>) -> Observation {
        let mut observation = Observation::default();
        observation.book.connections = connections;
        observation
    }

    #[test]
    fn what_an_idle_timer_cut_the_operation_did_not_cost() {
        let on_port = |local_port, opened, closed| ConnectionRecord {
            local_port,
            ..connection(opened, Some(closed), Some(ConnectionEnded::Rst))
        };
        let idle = on_port(7, -100.0, 60.0);
        // The same port, before and after; another port at the same time, and another server.
        let elsewhere = ConnectionRecord {
            server: SocketAddr::from((SERVER.0, 443)),
            ..idle
        };
        let others = [
            on_port(7, -900.0, 10.0),
            on_port(8, -100.0, 60.0),
            elsewhere,
        ];
        let mut seen = observation([vec![idle.clone()], others.to_vec()].concat());
        let client = SocketAddr::from(([127, 0, 0, 1], 7));
        let connect = |number, at_ms| Traced {
            at: at(at_ms),
            fact: etw::Fact::ConnConnect {
                connection: ConnectionId(number),
                ends: Ends {
                    client,
                    local: SERVER.into(),
                },
                secure: false,
            },
        };
        let cut = etw::Fact::ConnError {
            connection: ConnectionId(2),
            reason: ReasonPhrase::TimerConnectionIdle,
        };
        let cut = Traced {
            at: at(59.0),
            fact: cut,
        };
        seen.httpsys = Some(vec![connect(1, -900.0), connect(2, -100.0), cut]);
        let counts = Connections::of(&seen, OPERATION);
        assert_eq!((counts.timed_out, counts.lost_rst), (Some(1), 3));
    }

    #[test]
    fn handshakes_since_the_operation_are_counted_by_kind() {
        let mut resumed = connection(5.0, None, None);
        resumed.tls = TlsKind::Resumed;
        let mut early = connection(-5.0, None, None);
        early.tls = TlsKind::Full;
        let tls = Tls::of(&[resumed, early], OPERATION);
        assert_eq!(
            tls,
            Tls {
                full_handshakes: 0,
                resumed: 1
            }
        );
    }
}
