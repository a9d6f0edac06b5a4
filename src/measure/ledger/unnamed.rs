//! Refusals of what had no name yet, joined with their attempts by the connection.
//!
//! A head that is refused for its length ends before the header that names its attempt, so the driver's facts
//! have no activity. Its connection does one thing at a time: the attempt is the one that was under way on
//! the same client port, and of which the driver knows nothing else. What cannot be joined is unexplained, on
//! both sides.

use std::collections::{BTreeMap, BTreeSet};

use sim_httpsys::api::{ActivityId, ConnectionId};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{Fact, Traced};

use super::end::End;
use super::{Request, SLACK, Server};
use crate::load::book::AttemptRecord;
use crate::load::outcome::Outcome;

/// What facts say without a name.
const NOBODY: ActivityId = ActivityId(0);

/// What the driver refused without a name.
#[derive(Default)]
pub(super) struct Unnamed {
    /// For whom no attempt has been found. A refusal closes its connection, so there is one on each.
    left: BTreeMap<ConnectionId, (Instant, End)>,
    /// The connections of the others.
    joined: BTreeSet<ConnectionId>,
}

impl Unnamed {
    pub(super) fn of(facts: &[Traced<Fact>]) -> Self {
        let mut unnamed = Self::default();
        for traced in facts {
            if let Some((connection, end)) = refusal(&traced.fact) {
                let left = unnamed.left.entry(connection);
                left.or_insert((traced.at, end));
            }
        }
        unnamed
    }

    /// Whether this fact tells of one of them, so that it is not to be filed under a name.
    pub(super) fn has(&self, traced: &Traced<Fact>) -> bool {
        if let Fact::Parse {
            activity: NOBODY,
            connection,
            ..
        } = &traced.fact
        {
            return self.left.contains_key(connection);
        }
        refusal(&traced.fact)
            .is_some_and(|(connection, end)| self.left.get(&connection) == Some(&(traced.at, end)))
    }

    /// What was refused and has no attempt.
    pub(super) fn left_over(&self) -> impl Iterator<Item = (u64, String)> {
        self.left.values().map(|(_, end)| {
            let why = format!("{}, but no client attempted it", end.name());
            (NOBODY.0, why)
        })
    }

    /// The URL that the error log names: of one without a name not all was read, perhaps nothing.
    pub(super) fn url_read<'a>(
        &self,
        connection: ConnectionId,
        attempt: &'a AttemptRecord,
    ) -> Option<&'a str> {
        (!self.is_joined(connection)).then_some(attempt.url.as_str())
    }

    /// Whether an attempt was found for what was refused on this connection.
    pub(super) fn is_joined(&self, connection: ConnectionId) -> bool {
        self.joined.contains(&connection)
    }
}

impl Server<'_> {
    /// Takes what the driver says about an attempt: under its name, or else by its connection.
    pub(super) fn request_of(&mut self, attempt: &AttemptRecord) -> Request {
        if let Some(request) = self.requests.remove(&attempt.id) {
            return request;
        }
        let found = self.between_its_ends(attempt).find_map(|connection| {
            let (at, end) = *self.unnamed.left.get(connection)?;
            let (from, to) = (attempt.sent.0, attempt.finished.0);
            let is_within = (from.saturating_sub(SLACK)..=to.saturating_add(SLACK)).contains(&at.0);
            (is_within && may_end(attempt, end)).then_some((*connection, at, end))
        });
        let Some((connection, at, end)) = found else {
            return Request::default();
        };
        self.unnamed.left.remove(&connection);
        self.unnamed.joined.insert(connection);
        Request {
            parsed: vec![connection],
            ends: vec![(at, end)],
        }
    }
}

/// A refusal without a name.
fn refusal(fact: &Fact) -> Option<(ConnectionId, End)> {
    let (Fact::FastResp { connection, .. } | Fact::Dropped { connection, .. }) = fact else {
        return None;
    };
    let (activity, end) = End::of(fact)?;
    (activity == NOBODY).then_some((*connection, end))
}

/// Whether what its client saw may be this end; of a response it is known exactly.
fn may_end(attempt: &AttemptRecord, end: End) -> bool {
    match attempt.outcome {
        Outcome::Http503 | Outcome::Http5xx | Outcome::Http4xx => {
            end.status().is_some() && end.status() == attempt.status
        }
        Outcome::ResetInflight | Outcome::Truncated | Outcome::Timeout | Outcome::Abandoned => true,
        Outcome::Ok | Outcome::Slow | Outcome::Refused | Outcome::ResetIdle | Outcome::NotSent => {
            false
        }
    }
}
