//! The ledger of a farm: the client, the balancer's log and the drivers, attempt by attempt.
//!
//! | client | balancer | drivers |
//! |---|---|---|
//! | an answer | the same status, session ended in order | that server, and no other, sent that status |
//! | an answer | its own response, 502 to 504 | at most one, and it did not answer in full |
//! | `truncated`, `reset_inflight` | the server cut it | at most one |
//! | `reset_inflight` on a connection that had served before | nothing | at most one, and it was dropped |
//! | `timeout`, `abandoned` | the client went, or nothing yet | at most one |
//! | `not_sent` | nothing | nothing |
//!
//! Requests without an attempt are the balancer's health checks.

use std::collections::{BTreeMap, BTreeSet};

use sim_httpsys::etw::{Fact, Traced};

use super::Ledger;
use super::end::End;
use crate::load::book::{AttemptRecord, Book};
use crate::load::outcome::{NO_MARKER, Outcome};
use crate::measure::balancer::{Relayed, Said, Stamped};

/// How an attempt ended in which server.
type Ends = BTreeMap<u64, Vec<(usize, End)>>;

impl Ledger {
    /// Reconciles a trial against a farm; `servers` are the facts of each driver.
    pub fn reconcile_farm(
        book: &Book,
        balancer: &[Stamped],
        servers: &[Vec<Traced<Fact>>],
    ) -> Self {
        let mut lines: BTreeMap<u64, Vec<&Relayed>> = BTreeMap::new();
        for stamped in balancer {
            if let Said::Relayed(relayed) = &stamped.said
                && let Some(attempt) = relayed.attempt
            {
                lines.entry(attempt).or_default().push(relayed);
            }
        }
        let mut ends = Ends::new();
        for (server, facts) in servers.iter().enumerate() {
            for (activity, end) in facts.iter().filter_map(|traced| End::of(&traced.fact)) {
                ends.entry(activity.0).or_default().push((server, end));
            }
        }
        let mut ledger = Self {
            attempts: book.attempts.len() as u64,
            ..Self::default()
        };
        let mut known = BTreeSet::from([0]);
        for attempt in &book.attempts {
            if !known.insert(attempt.id) {
                ledger.unexplained(attempt.id, Some(attempt.outcome), "its id was used twice");
                continue;
            }
            let of = |id: &u64| ends.get(id).map(Vec::as_slice).unwrap_or_default();
            let lines = lines.get(&attempt.id).map(Vec::as_slice);
            let ends = of(&attempt.id);
            let explained = match lines.unwrap_or_default() {
                [] => without_line(attempt, ends, is_reused(book, attempt)),
                lines => with_line(attempt, lines, ends),
            };
            ledger.enter(attempt, explained);
        }
        for id in lines.keys().filter(|id| !known.contains(id)) {
            ledger.unexplained(
                *id,
                None,
                "the balancer relayed it, but no client attempted it",
            );
        }
        for id in ends.keys().filter(|id| !known.contains(id)) {
            ledger.unexplained(
                *id,
                None,
                "a driver answered it, but no client attempted it",
            );
        }
        ledger
    }
}

/// The way in which the three agree, or why they do not.
fn with_line(
    attempt: &AttemptRecord,
    lines: &[&Relayed],
    ends: &[(usize, End)],
) -> Result<&'static str, String> {
    let end = at_most_one(ends)?;
    let [line] = lines else {
        return Err(format!("the balancer logged it {} times", lines.len()));
    };
    match attempt.outcome {
        Outcome::Ok | Outcome::Slow | Outcome::Http503 | Outcome::Http5xx | Outcome::Http4xx => {
            if attempt.status != Some(line.status) {
                let seen = attempt.status.unwrap_or(0);
                return Err(format!(
                    "the client saw {seen}, the balancer logged {}",
                    line.status
                ));
            }
            answered(line, end)
        }
        // The response was whole, and not what the probe looks for.
        Outcome::Truncated
            if attempt.detail.as_deref() == Some(NO_MARKER)
                && attempt.status == Some(line.status) =>
        {
            answered(line, end)
        }
        Outcome::Truncated | Outcome::ResetInflight if line.cut_by_server() => Ok("cut_by_server"),
        Outcome::Timeout | Outcome::Abandoned => Ok("client_gone"),
        Outcome::Truncated
        | Outcome::ResetInflight
        | Outcome::ResetIdle
        | Outcome::Refused
        | Outcome::NotSent => Err(format!(
            "the client saw {}, the balancer logged {} ({})",
            attempt.outcome, line.status, line.termination
        )),
    }
}

fn answered(line: &Relayed, end: Option<(usize, End)>) -> Result<&'static str, String> {
    if line.is_in_order() {
        return match end {
            Some((server, end))
                if line.server == Some(server) && end.status() == Some(line.status) =>
            {
                Ok("answered")
            }
            other => Err(format!(
                "relayed with {} from server {:?}, but the drivers say {other:?}",
                line.status, line.server
            )),
        };
    }
    if !line.is_own_answer() {
        return Err(format!(
            "answered, but the balancer logged {} ({})",
            line.status, line.termination
        ));
    }
    // What a driver had sent may be lost on the way when the connection is reset behind it.
    Ok("answered_by_balancer")
}

fn at_most_one(ends: &[(usize, End)]) -> Result<Option<(usize, End)>, String> {
    match ends {
        [] => Ok(None),
        [end] => Ok(Some(*end)),
        more => Err(format!("the drivers ended it {} times", more.len())),
    }
}

/// Whether the attempt's connection had served another one.
fn is_reused(book: &Book, attempt: &AttemptRecord) -> bool {
    let number = attempt.connection.map(|number| number as usize);
    let connection = number.and_then(|number| book.connections.get(number));
    connection.is_some_and(|connection| connection.requests > 1)
}

fn without_line(
    attempt: &AttemptRecord,
    ends: &[(usize, End)],
    is_reused: bool,
) -> Result<&'static str, String> {
    match (attempt.outcome, at_most_one(ends)?) {
        (Outcome::Timeout | Outcome::Abandoned, _) | (Outcome::NotSent, None) => Ok("not_relayed"),
        // Source: HAProxy, `retry-on`: when a server ends a connection that both sides kept alive before it
        // answers, the client's is closed too, without a word and without a line: the client may try again.
        (Outcome::ResetInflight, None | Some((_, End::Dropped { .. }))) if is_reused => {
            Ok("cut_by_server_unlogged")
        }
        (outcome, None) => Err(format!("{outcome}, but the balancer never relayed it")),
        (outcome, Some((server, end))) => Err(format!(
            "{outcome}, {} by server {server}, but the balancer has no line",
            end.name()
        )),
    }
}

#[cfg(test)]
#[path = "farm_tests.rs"]
mod tests;
