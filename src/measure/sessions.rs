//! The sessions that lived and died in the workers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sim_httpsys::api::{ActivityId, ProcessId, UrlContext};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::Traced;
use sim_worker::facts::Fact;

use super::read::Observation;
use super::workers::exits;
use crate::load::book::{AttemptRecord, SessionSeen};
use crate::load::plan::Stream;

/// Sessions in the workers' memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Sessions that were alive when the operation began, of clients who knew them: they had come back to them, or
    /// had been given them, and keep their cookie. A visitor who does not has no session to lose; nor has a probe,
    /// which begins a new one each time.
    pub live: Option<u64>,
    /// Of these, the ones whose next request found no state: users who were signed out.
    pub lost: Option<u64>,
    /// How often since the operation began a session was gone before its time when its user came back: these,
    /// again in each other worker of a web garden that had a state for the same user, and those that began later and
    /// were taken by a recycle on schedule, for instance.
    #[serde(default)]
    pub lost_in_all: Option<u64>,
    /// Attempts of the load that were told that their session's state is gone: it was lost, or had expired.
    pub attempts_told: u64,
}

/// A session of an application: one cookie serves all applications of a host, and each keeps a state of its own,
/// in whatever pool it is.
type SessionKey<'a> = (UrlContext, &'a str);

/// What a worker did with a session's state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It has it from now on, or still, and will keep it until then if nobody comes for it.
    Kept(Instant),
    Expired,
    /// By order, with its application or its worker.
    Ended,
    /// Somebody came back to it, and it was not there.
    Missed,
}

/// When which worker did it.
type Changes = Vec<(Instant, ProcessId, Change)>;

/// What became of one session.
#[derive(Default)]
struct Fate {
    is_live: bool,
    is_lost: bool,
    lost_in_all: u64,
}

/// The sessions that were alive when the operation began, and those that were lost.
pub(super) fn sessions(observation: &Observation, operation: Instant) -> Sessions {
    let told = |a: &&AttemptRecord| {
        a.session == Some(SessionSeen::Lost) && a.finished >= operation && a.stream == Stream::Load
    };
    let attempts_told = observation.book.attempts.iter().filter(told).count() as u64;
    let Some(workers) = &observation.workers else {
        return Sessions {
            attempts_told,
            ..Sessions::default()
        };
    };
    let exits = exits(observation);
    let mut sessions: BTreeMap<SessionKey<'_>, Changes> = BTreeMap::new();
    let mut known = Known::of(&observation.book.attempts, operation);
    for (process, facts) in workers {
        let exit = exits.get(process).copied();
        for (key, at, change) in changes_of(facts, exit, &mut known) {
            let changes = sessions.entry(key).or_default();
            changes.push((at, *process, change));
        }
    }
    let known = known.sessions();
    let (mut live, mut lost, mut lost_in_all) = (0, 0, 0);
    for (key, mut changes) in sessions {
        changes.sort_by_key(|(at, ..)| *at);
        let fate = fate(&changes, operation, &exits);
        let is_known = known.contains(&key);
        live += u64::from(fate.is_live && is_known);
        lost += u64::from(fate.is_lost && is_known);
        lost_in_all += fate.lost_in_all;
    }
    Sessions {
        live: Some(live),
        lost: Some(lost),
        lost_in_all: Some(lost_in_all),
        attempts_told,
    }
}

/// What a worker did with its sessions, in the order of time. One does not time out while a request has it.
fn changes_of<'a>(
    facts: &'a [Traced<Fact>],
    exit: Option<Instant>,
    known: &mut Known<'a>,
) -> Vec<(SessionKey<'a>, Instant, Change)> {
    let mut changes = Vec::new();
    let mut in_hand: BTreeMap<ActivityId, (SessionKey<'a>, u64)> = BTreeMap::new();
    for Traced { at, fact } in facts {
        if let Some((key, timeout)) = ended(fact).and_then(|ended| in_hand.remove(&ended)) {
            changes.push((key, *at, Change::Kept(until(*at, timeout))));
        }
        let Some((key, seen)) = seen(fact) else {
            continue;
        };
        let change = match seen {
            Seen::Begun(activity, timeout) => {
                known.begun(key, *at, activity);
                in_hand.insert(activity, (key, timeout));
                Change::Kept(NEVER)
            }
            Seen::Found(activity, timeout) => {
                known.found(key, *at);
                in_hand.insert(activity, (key, timeout));
                Change::Kept(NEVER)
            }
            Seen::Change(change @ (Change::Ended | Change::Expired)) => {
                // Taken out of a request's hands: it would have been kept for so long at least.
                let of_it = in_hand.extract_if(.., |_, (of, _)| *of == key);
                let last = of_it.map(|(_, (_, timeout))| until(*at, timeout)).max();
                changes.extend(last.map(|until| (key, *at, Change::Kept(until))));
                change
            }
            Seen::Change(change @ (Change::Kept(_) | Change::Missed)) => change,
        };
        changes.push((key, *at, change));
    }
    // Of what it had in hand when it went nothing else tells the end.
    let in_hand = exit.into_iter().flat_map(|exit| {
        let last = in_hand.values();
        last.map(move |(key, timeout)| (*key, exit, Change::Kept(until(exit, *timeout))))
    });
    changes.extend(in_hand);
    changes
}

/// The sessions that clients knew when the operation began. What they do afterwards is no part of it: who does not come
/// back in time, because nobody answers for long, would make a lost session none.
struct Known<'a> {
    operation: Instant,
    /// Of the attempts that had ended by then, and whose user keeps the cookie: whose they were, and when they ended.
    given_by: BTreeMap<u64, (u32, Instant)>,
    /// The last session that each user was given by an application.
    given: BTreeMap<(UrlContext, u32), (Instant, &'a str)>,
    /// Those that somebody came back to.
    found: BTreeSet<SessionKey<'a>>,
}

impl<'a> Known<'a> {
    fn of(attempts: &[AttemptRecord], operation: Instant) -> Self {
        let gave = |a: &&AttemptRecord| a.keeps_session && a.finished < operation;
        let given_by = attempts.iter().filter(gave);
        Self {
            operation,
            given_by: given_by.map(|a| (a.id, (a.user, a.finished))).collect(),
            given: BTreeMap::new(),
            found: BTreeSet::new(),
        }
    }

    /// An attempt found a session.
    fn found(&mut self, key: SessionKey<'a>, at: Instant) {
        if at < self.operation {
            self.found.insert(key);
        }
    }

    /// An attempt was given a session.
    fn begun(&mut self, (application, session): SessionKey<'a>, at: Instant, by: ActivityId) {
        let Some((user, finished)) = self.given_by.get(&by.0).filter(|_| at < self.operation)
        else {
            return;
        };
        // Of two that were given at a time the client keeps the one that arrived later.
        let given = self.given.entry((application, *user));
        let given = given.or_insert((*finished, session));
        *given = (*given).max((*finished, session));
    }

    fn sessions(self) -> BTreeSet<SessionKey<'a>> {
        let given = self.given.into_iter();
        let given = given.map(|((application, _), (_, session))| (application, session));
        self.found.into_iter().chain(given).collect()
    }
}

/// A request may have a session for ever.
const NEVER: Instant = Instant(u64::MAX);

/// When a session ends that nobody comes back to.
fn until(last: Instant, timeout: u64) -> Instant {
    Instant(last.0.saturating_add(timeout))
}

/// What a fact tells of a session.
enum Seen {
    /// It began with a request, and has so many nanoseconds between two of them.
    Begun(ActivityId, u64),
    /// The same of a request that came back to it.
    Found(ActivityId, u64),
    Change(Change),
}

/// What a fact says of a session.
fn seen(fact: &Fact) -> Option<(SessionKey<'_>, Seen)> {
    let (application, session, seen) = if let Fact::SessionStart {
        application,
        session,
        activity,
        timeout,
    } = fact
    {
        (application, session, Seen::Begun(*activity, *timeout))
    } else if let Fact::SessionFound {
        application,
        session,
        activity,
        timeout,
    } = fact
    {
        (application, session, Seen::Found(*activity, *timeout))
    } else if let Fact::SessionEnd {
        application,
        session,
        expired,
    } = fact
    {
        let change = if *expired {
            Change::Expired
        } else {
            Change::Ended
        };
        (application, session, Seen::Change(change))
    } else if let Fact::SessionMissing {
        application,
        session,
    } = fact
    {
        (application, session, Seen::Change(Change::Missed))
    } else {
        return None;
    };
    Some(((*application, session.as_ref()), seen))
}

/// The request that a worker has finished.
fn ended(fact: &Fact) -> Option<ActivityId> {
    if let Fact::RequestEnded { activity, .. } | Fact::RequestAborted { activity, .. } = fact {
        Some(*activity)
    } else {
        None
    }
}

/// Follows a session through its changes, in the order of time. A state that is missed was lost if it would not have
/// expired by then, whatever became of its worker: what nobody has asked for in time no operation has taken.
fn fate(changes: &Changes, operation: Instant, exits: &BTreeMap<ProcessId, Instant>) -> Fate {
    let mut fate = Fate::default();
    let (before, since) = changes.split_at(changes.partition_point(|(at, ..)| *at < operation));
    let mut held: BTreeMap<ProcessId, Instant> = BTreeMap::new();
    for (_, process, change) in before {
        match change {
            Change::Kept(until) => {
                held.insert(*process, *until);
            }
            Change::Expired | Change::Ended => {
                held.remove(process);
            }
            Change::Missed => {}
        }
    }
    held.retain(|process, until| {
        *until > operation && exits.get(process).is_none_or(|exit| *exit >= operation)
    });
    fate.is_live = !held.is_empty();
    let mut is_the_live_one = fate.is_live;
    for (at, process, change) in since {
        match change {
            Change::Kept(until) => {
                held.insert(*process, *until);
            }
            Change::Expired => {
                held.remove(process);
            }
            // By the operation, or by what else happened since; its user will miss it.
            Change::Ended => {}
            Change::Missed => {
                if held.values().any(|until| until > at) {
                    fate.is_lost |= is_the_live_one;
                    fate.lost_in_all += 1;
                }
                held.clear();
            }
        }
        is_the_live_one &= !held.is_empty();
    }
    fate
}

#[cfg(test)]
mod tests;
