//! When endpoints and connections were closed.

use std::collections::{BTreeMap, BTreeSet};

use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{ConnectionEnd, Fact, Traced};

use super::{DriverConnection, SLACK};

/// Spans in which at least one endpoint was closed: of those that are ever opened, and of those that are to be.
pub(super) fn closed_spans(
    facts: &[Traced<Fact>],
    ports: &BTreeSet<u16>,
) -> Vec<(Instant, Instant)> {
    let begin = ports.iter().map(|port| (*port, Instant::SWITCHED_ON));
    let mut closed_since: BTreeMap<u16, Instant> = begin.collect();
    let mut spans = Vec::new();
    for traced in facts {
        if let Fact::EndpointOpen { port } = traced.fact {
            let since = closed_since.remove(&port).unwrap_or(Instant::SWITCHED_ON);
            spans.push((since, traced.at));
        } else if let Fact::EndpointClose { port, .. } = traced.fact {
            closed_since.insert(port, traced.at);
        }
    }
    spans.extend(
        closed_since
            .into_values()
            .map(|since| (since, Instant(u64::MAX))),
    );
    spans
}

impl DriverConnection {
    /// Whether it was over before a client's connection from the same port was opened, and an attempt sent on that.
    ///
    /// A port is used again later: a connection that the client opened after the driver's last one from it had
    /// ended is one that the driver never took. Of an end by the server a slow client may not know yet.
    pub(super) fn is_older(&self, opened: Option<Instant>, sent: Instant) -> bool {
        let Some((end, how)) = self.end else {
            return false;
        };
        let is_known = !matches!(how, ConnectionEnd::ServerFin | ConnectionEnd::ServerReset);
        let since = if is_known { self.from } else { end };
        end.0.saturating_add(SLACK) < sent.0 && opened.is_none_or(|opened| opened > since)
    }
}
