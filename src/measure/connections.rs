//! Connections that the operation cost.

use serde::{Deserialize, Serialize};
use sim_httpsys::clockwork::Instant;

use crate::load::book::{AttemptRecord, ConnectionEnded, ConnectionRecord, TlsKind};
use crate::load::outcome::Outcome;

/// What became of the connections that were open when the operation began, and of new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Connections that were open when the operation began, of load and probes.
    pub open_before: u64,
    /// Of these, those that the server reset.
    pub lost_rst: u64,
    /// Of these, those that the server closed in order, announced or not.
    pub lost_fin: u64,
    /// Of these, those that their client closed, since it needed them no more.
    pub closed_by_client: u64,
    /// Of these, those that were still open at the end. With the three above, all of `open_before`.
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
    /// Counts them in a book.
    pub fn of(
        connections: &[ConnectionRecord],
        attempts: &[AttemptRecord],
        operation: Instant,
    ) -> Self {
        let mut counts = Self::default();
        for connection in connections {
            let was_open = connection.opened < operation
                && connection.closed.is_none_or(|closed| closed >= operation);
            if !was_open {
                continue;
            }
            counts.open_before += 1;
            let (fate, is_lost) = match connection.how {
                None => (&mut counts.survived, false),
                Some(ConnectionEnded::Client) => (&mut counts.closed_by_client, false),
                Some(ConnectionEnded::Rst) => (&mut counts.lost_rst, true),
                Some(ConnectionEnded::Fin | ConnectionEnded::Announced) => {
                    (&mut counts.lost_fin, true)
                }
            };
            *fate += 1;
            counts.lost_in_flight += u64::from(is_lost && connection.in_flight);
        }
        let is_refused =
            |a: &&AttemptRecord| a.outcome == Outcome::Refused && a.finished >= operation;
        counts.refused = attempts.iter().filter(is_refused).count() as u64;
        counts
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
    use super::*;
    use crate::load::book::ConnectionKind;
    use crate::measure::synthetic::{OPERATION, at};

    fn connection(
        opened: f64,
        closed: Option<f64>,
        how: Option<ConnectionEnded>,
    ) -> ConnectionRecord {
        ConnectionRecord {
            number: 0,
            kind: ConnectionKind::KeepAlive,
            secure: false,
            opened: at(opened),
            local_port: 1,
            tls: TlsKind::None,
            requests: 1,
            closed: closed.map(at),
            how,
            in_flight: false,
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
        let counts = Connections::of(&all, &[], OPERATION);
        assert_eq!(
            (counts.open_before, counts.lost_rst, counts.lost_fin),
            (4, 1, 1)
        );
        assert_eq!((counts.closed_by_client, counts.survived), (1, 1));
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
