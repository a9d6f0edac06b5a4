//! When endpoints were closed.

use std::collections::{BTreeMap, BTreeSet};

use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{Fact, Traced};

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
