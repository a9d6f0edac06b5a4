//! The sessions that lived and died in the workers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sim_httpsys::api::{ActivityId, ProcessId, UrlContext};
use sim_httpsys::clockwork::Instant;
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
    Begun,
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
    let mut sessions: BTreeMap<SessionKey<'_>, Changes> = BTreeMap::new();
    let mut known = Known::of(&observation.book.attempts, operation);
    for (process, facts) in workers {
        for traced in facts {
            let Some((key, change)) = change(&traced.fact) else {
                continue;
            };
            if let Fact::SessionStart { activity, .. } = &traced.fact {
                known.begun(key, traced.at, *activity);
            }
            match change {
                None => known.found(key, traced.at),
                Some(change) => {
                    let changes = sessions.entry(key).or_default();
                    changes.push((traced.at, *process, change));
                }
            }
        }
    }
    let exits = exits(observation);
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

/// What a fact says of a session; no change if somebody came back to it and it was there.
fn change(fact: &Fact) -> Option<(SessionKey<'_>, Option<Change>)> {
    let (application, session, change) = if let Fact::SessionStart {
        application,
        session,
        activity: _,
    } = fact
    {
        (application, session, Some(Change::Begun))
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
        (application, session, Some(change))
    } else if let Fact::SessionFound {
        application,
        session,
    } = fact
    {
        (application, session, None)
    } else if let Fact::SessionMissing {
        application,
        session,
    } = fact
    {
        (application, session, Some(Change::Missed))
    } else {
        return None;
    };
    Some(((*application, session.as_ref()), change))
}

/// Follows a session through its changes, in the order of time. A state that is missed was lost if it had not
/// expired before: what nobody has asked for in time no operation has taken.
fn fate(changes: &Changes, operation: Instant, exits: &BTreeMap<ProcessId, Instant>) -> Fate {
    let mut fate = Fate::default();
    let (before, since) = changes.split_at(changes.partition_point(|(at, ..)| *at < operation));
    let mut held: BTreeSet<ProcessId> = BTreeSet::new();
    for (_, process, change) in before {
        match change {
            Change::Begun => {
                held.insert(*process);
            }
            Change::Expired | Change::Ended => {
                held.remove(process);
            }
            Change::Missed => {}
        }
    }
    held.retain(|process| exits.get(process).is_none_or(|exit| *exit >= operation));
    fate.is_live = !held.is_empty();
    let mut is_the_live_one = fate.is_live;
    for (_, process, change) in since {
        match change {
            Change::Begun => {
                held.insert(*process);
            }
            Change::Expired => {
                held.remove(process);
            }
            // By the operation, or by what else happened since; its user will miss it.
            Change::Ended => {}
            Change::Missed => {
                if !held.is_empty() {
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
mod tests {
    use sim_httpsys::etw::Traced;

    use super::*;
    use crate::load::outcome::Outcome;
    use crate::measure::synthetic::{OPERATION, at, attempt};

    const SHOP: UrlContext = UrlContext(1);
    const API: UrlContext = UrlContext(2);

    fn start(ms: f64, session: &str, activity: u64) -> Traced<Fact> {
        let fact = Fact::SessionStart {
            application: SHOP,
            session: session.into(),
            activity: ActivityId(activity),
        };
        Traced { at: at(ms), fact }
    }

    fn found(ms: f64, session: &str) -> Traced<Fact> {
        let fact = Fact::SessionFound {
            application: SHOP,
            session: session.into(),
        };
        Traced { at: at(ms), fact }
    }

    fn missing(ms: f64, session: &str) -> Traced<Fact> {
        let fact = Fact::SessionMissing {
            application: SHOP,
            session: session.into(),
        };
        Traced { at: at(ms), fact }
    }

    /// An attempt of a user who keeps the cookie, and which ends then.
    fn by(id: u64, user: u32, ms: f64) -> AttemptRecord {
        AttemptRecord {
            user,
            finished: at(ms),
            keeps_session: true,
            ..attempt(id, Stream::Load, at(-50.0), Outcome::Ok)
        }
    }

    #[test]
    fn a_session_is_lost_when_its_next_request_finds_nothing() {
        let expired = Fact::SessionEnd {
            application: SHOP,
            session: "c".into(),
            expired: true,
        };
        let old = vec![
            start(-9.0, "a", 1),
            start(-8.0, "b", 2),
            start(-7.0, "c", 3),
            found(-6.5, "b"),
            start(-6.2, "probe", 4),
            fact(-6.0, expired),
        ];
        let new = vec![missing(9.0, "a"), missing(9.5, "a"), missing(9.5, "c")];
        let mut observation = Observation {
            workers: Some(BTreeMap::from([(ProcessId(1), old), (ProcessId(2), new)])),
            ..Observation::default()
        };
        observation.book.attempts = vec![by(1, 1, -8.5), by(3, 3, -6.5)];
        let sessions = sessions(&observation, OPERATION);
        assert_eq!((sessions.live, sessions.lost), (Some(2), Some(1)));
    }

    #[test]
    fn as_many_sessions_are_live_whoever_comes_back_afterwards() {
        let facts = |later: Vec<Traced<Fact>>| {
            let mut facts = vec![
                // Given twice, as both requests went without a cookie: the one that arrived last is kept.
                start(-9.0, "early", 1),
                start(-8.9, "late", 2),
                // Nobody has got its cookie when the operation begins, or keeps it.
                start(-1.0, "on its way", 3),
                start(-1.0, "stranger", 4),
                start(-0.9, "probe", 5),
            ];
            facts.extend(later);
            facts
        };
        let stranger = AttemptRecord {
            keeps_session: false,
            ..by(4, 4, -0.5)
        };
        let book = [by(1, 1, -7.0), by(2, 1, -6.0), by(3, 3, 5.0), stranger];
        let sessions = |later| {
            let mut observation = Observation {
                workers: Some(BTreeMap::from([(ProcessId(1), facts(later))])),
                ..Observation::default()
            };
            observation.book.attempts = book.to_vec();
            sessions(&observation, OPERATION)
        };
        let nobody = sessions(vec![]);
        assert_eq!((nobody.live, nobody.lost), (Some(1), Some(0)));
        let all = sessions(vec![missing(9.0, "late"), missing(9.0, "on its way")]);
        assert_eq!((all.live, all.lost), (Some(1), Some(1)));
        assert_eq!(all.lost_in_all, Some(2));
        let found = sessions(vec![found(9.0, "early"), found(9.0, "stranger")]);
        assert_eq!((found.live, found.lost), (Some(1), Some(0)));
    }

    fn fact(ms: f64, fact: Fact) -> Traced<Fact> {
        Traced { at: at(ms), fact }
    }

    /// A session of the shop that somebody came back to before the operation.
    fn visited() -> Vec<Traced<Fact>> {
        vec![start(-9.0, "a", 1), found(-8.0, "a")]
    }

    #[test]
    fn a_session_that_nobody_asked_for_in_time_is_not_lost_but_over() {
        let session = || "a".into();
        let mut facts = visited();
        facts.extend([
            fact(
                1_200_000.0,
                Fact::SessionEnd {
                    application: SHOP,
                    session: session(),
                    expired: true,
                },
            ),
            fact(
                2_000_000.0,
                Fact::SessionMissing {
                    application: SHOP,
                    session: session(),
                },
            ),
        ]);
        let observation = Observation {
            workers: Some(BTreeMap::from([(ProcessId(1), facts)])),
            ..Observation::default()
        };
        let sessions = sessions(&observation, OPERATION);
        assert_eq!((sessions.live, sessions.lost), (Some(1), Some(0)));
    }

    #[test]
    fn a_session_is_lost_with_its_application_in_whatever_pool_it_is_missed() {
        let missed_by = |application| {
            let missing = Fact::SessionMissing {
                application,
                session: "a".into(),
            };
            let after = vec![fact(9.0, missing)];
            let workers = [(ProcessId(1), visited()), (ProcessId(2), after)];
            let observation = Observation {
                workers: Some(BTreeMap::from(workers)),
                ..Observation::default()
            };
            let sessions = sessions(&observation, OPERATION);
            (sessions.live, sessions.lost)
        };
        assert_eq!(missed_by(API), (Some(1), Some(0)), "it never was there");
        assert_eq!(
            missed_by(SHOP),
            (Some(1), Some(1)),
            "the pool is another one"
        );
    }

    fn of_a(change: Change) -> Fact {
        let (application, session) = (SHOP, "a".into());
        match change {
            Change::Begun => Fact::SessionStart {
                application,
                session,
                activity: ActivityId(0),
            },
            Change::Expired | Change::Ended => Fact::SessionEnd {
                application,
                session,
                expired: change == Change::Expired,
            },
            Change::Missed => Fact::SessionMissing {
                application,
                session,
            },
        }
    }

    #[test]
    fn a_session_that_was_lost_stays_lost_when_the_next_one_expires() {
        let new = vec![
            fact(9.0, of_a(Change::Missed)),
            fact(9.1, of_a(Change::Begun)),
            fact(1_200_000.0, of_a(Change::Expired)),
            fact(2_000_000.0, of_a(Change::Missed)),
        ];
        let workers = [(ProcessId(1), visited()), (ProcessId(2), new)];
        let observation = Observation {
            workers: Some(BTreeMap::from(workers)),
            ..Observation::default()
        };
        let sessions = sessions(&observation, OPERATION);
        assert_eq!((sessions.live, sessions.lost), (Some(1), Some(1)));
        assert_eq!(sessions.lost_in_all, Some(1), "the other one expired");
    }

    #[test]
    fn a_session_that_began_later_and_is_taken_is_lost_but_none_of_the_live_ones() {
        let mut first = visited();
        first.extend([
            fact(1_200_000.0, of_a(Change::Expired)),
            fact(2_000_000.0, of_a(Change::Missed)),
            fact(2_000_000.1, of_a(Change::Begun)),
            fact(2_100_000.0, of_a(Change::Ended)),
        ]);
        let second = vec![fact(2_200_000.0, of_a(Change::Missed))];
        let workers = [(ProcessId(1), first), (ProcessId(2), second)];
        let observation = Observation {
            workers: Some(BTreeMap::from(workers)),
            ..Observation::default()
        };
        let sessions = sessions(&observation, OPERATION);
        assert_eq!((sessions.live, sessions.lost), (Some(1), Some(0)));
        assert_eq!(sessions.lost_in_all, Some(1));
    }
}
