//! What counts as a session that an operation took.

use sim_httpsys::api::RequestId;

use super::*;
use crate::load::outcome::Outcome;
use crate::measure::synthetic::{OPERATION, at, attempt};

const SHOP: UrlContext = UrlContext(1);
const API: UrlContext = UrlContext(2);
/// Twenty minutes.
const TIMEOUT: u64 = 1_200_000_000_000;

fn start(ms: f64, session: &str, activity: u64) -> Traced<Fact> {
    let fact = Fact::SessionStart {
        application: SHOP,
        session: session.into(),
        activity: ActivityId(activity),
        timeout: TIMEOUT,
    };
    Traced { at: at(ms), fact }
}

fn found(ms: f64, session: &str) -> Traced<Fact> {
    let fact = Fact::SessionFound {
        application: SHOP,
        session: session.into(),
        activity: ActivityId(0),
        timeout: TIMEOUT,
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
        Change::Kept(_) => Fact::SessionStart {
            application,
            session,
            activity: ActivityId(0),
            timeout: TIMEOUT,
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
        fact(9.1, of_a(Change::Kept(NEVER))),
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
        fact(2_000_000.1, of_a(Change::Kept(NEVER))),
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

/// A session that was asked for at -8 ms, and then: the worker ends it at 5 ms, and another one misses it.
fn lost_if_missed_at(
    ms: f64,
    meanwhile: Vec<Traced<Fact>>,
) -> (Option<u64>, Option<u64>, Option<u64>) {
    let mut first = vec![start(-9.0, "a", 1), answered(-8.9, 1)];
    first.push(found(-8.0, "a"));
    first.extend(meanwhile);
    let second = vec![missing(ms, "a")];
    let observation = Observation {
        workers: Some(BTreeMap::from([
            (ProcessId(1), first),
            (ProcessId(2), second),
        ])),
        ..Observation::default()
    };
    let sessions = sessions(&observation, OPERATION);
    (sessions.live, sessions.lost, sessions.lost_in_all)
}

fn answered(ms: f64, activity: u64) -> Traced<Fact> {
    let (request, activity) = (RequestId(activity), ActivityId(activity));
    let status = 200;
    fact(
        ms,
        Fact::RequestEnded {
            request,
            activity,
            status,
        },
    )
}

#[test]
fn whom_the_operation_signed_out_came_back_before_the_session_would_have_timed_out() {
    let lost = (Some(1), Some(1), Some(1));
    let over = (Some(1), Some(0), Some(0));
    let ended = || vec![answered(-7.0, 0), fact(5.0, of_a(Change::Ended))];
    assert_eq!(lost_if_missed_at(1_199_990.0, ended()), lost);
    assert_eq!(lost_if_missed_at(1_199_994.0, ended()), over);
    let killed = || vec![answered(-7.0, 0)];
    assert_eq!(lost_if_missed_at(1_199_990.0, killed()), lost);
    assert_eq!(lost_if_missed_at(1_199_994.0, killed()), over);
}

#[test]
fn a_session_lasts_from_the_end_of_the_last_request_that_had_it_while_its_worker_drains_too() {
    let drained = || vec![answered(3_000.0, 0), fact(3_001.0, of_a(Change::Ended))];
    let lost = (Some(1), Some(1), Some(1));
    let over = (Some(1), Some(0), Some(0));
    assert_eq!(lost_if_missed_at(1_202_900.0, drained()), lost);
    assert_eq!(lost_if_missed_at(1_203_100.0, drained()), over);
    // A worker that ends with the request in hand ends the session then.
    let cut = || vec![fact(3_000.0, of_a(Change::Ended)), answered(3_001.0, 0)];
    assert_eq!(lost_if_missed_at(1_202_900.0, cut()), lost);
    assert_eq!(lost_if_missed_at(1_203_100.0, cut()), over);
}
