//! Sessions: found, new, lost, locked, expired.

use std::time::Duration;

use sim_httpsys::api::UrlContext;

use super::bench::{configuration, starting, worker, worker_with};
use crate::facts::Fact;

fn visit(session: &str) -> String {
    format!("GET /session.aspx\nCookie: a=b; ASP.NET_SessionId={session}; c=d")
}

#[test]
fn a_client_keeps_its_session() {
    let mut worker = worker(&[]);
    let first = worker.get("/session.aspx");
    let id = first.session();
    assert_eq!(first.header("X-Sim-Session"), Some("new"));
    assert!(first.header("Set-Cookie").unwrap().contains("; HttpOnly"));
    assert_eq!(id.len(), 24);
    let second = worker.request(&visit(&id));
    assert_eq!(second.header("X-Sim-Session"), Some("found"));
    assert_eq!(second.header("Set-Cookie"), None);
    assert!(second.body().contains("visit 2"));
}

#[test]
fn a_session_ends_after_the_time_that_its_application_gives_it() {
    let mut configuration = configuration();
    configuration.applications[0].session_state.timeout = Duration::from_mins(5);
    let mut worker = starting(configuration, &[]);
    let id = worker.get("/session.aspx").session();
    for (minutes, found) in [(4, "found"), (4, "found"), (6, "lost")] {
        worker.pass(Duration::from_mins(minutes));
        let answer = worker.request(&visit(&id));
        assert_eq!(answer.header("X-Sim-Session"), Some(found));
    }
}

#[test]
fn an_application_without_sessions_begins_none() {
    let mut configuration = configuration();
    configuration.applications[0].session_state.enabled = false;
    let mut worker = starting(configuration, &[]);
    let answer = worker.get("/session.aspx");
    assert_eq!(answer.status(), (200, 0));
    assert_eq!(answer.header("Set-Cookie"), None);
    let begun = |fact: &Fact| matches!(fact, Fact::SessionStart { .. });
    assert!(!worker.facts.iter().any(begun));
}

#[test]
fn a_session_is_lost_with_its_worker() {
    let id = worker(&[]).get("/session.aspx").session();
    let mut successor = worker(&[]);
    let answer = successor.request(&visit(&id));
    assert_eq!(answer.header("X-Sim-Session"), Some("lost"));
    assert!(successor.facts.contains(&Fact::SessionMissing {
        application: UrlContext(1),
        session: id.as_str().into()
    }));
    assert_eq!(
        successor.request(&visit(&id)).header("X-Sim-Session"),
        Some("found")
    );
}

#[test]
fn a_session_ends_after_twenty_idle_minutes() {
    let mut worker = worker(&[]);
    let id = worker.get("/session.aspx").session();
    worker.pass(Duration::from_mins(19));
    assert_eq!(
        worker.request(&visit(&id)).header("X-Sim-Session"),
        Some("found")
    );
    worker.pass(Duration::from_mins(19));
    assert_eq!(
        worker.request(&visit(&id)).header("X-Sim-Session"),
        Some("found")
    );
    worker.pass(Duration::from_mins(20));
    assert!(worker.facts.contains(&Fact::SessionEnd {
        application: UrlContext(1),
        session: id.as_str().into(),
        expired: true,
    }));
    let timeouts = worker.facts.iter().filter_map(|fact| {
        if let Fact::SessionStart { timeout, .. } | Fact::SessionFound { timeout, .. } = fact {
            Some(*timeout)
        } else {
            None
        }
    });
    let twenty_minutes = 1_200_000_000_000;
    assert_eq!(timeouts.collect::<Vec<u64>>(), [twenty_minutes; 3]);
    assert_eq!(
        worker.request(&visit(&id)).header("X-Sim-Session"),
        Some("lost")
    );
}

#[test]
fn requests_of_one_session_run_one_after_the_other() {
    let mut worker = worker_with(
        "[[page]]\npath = \"/session.aspx\"\nsession = \"write\"\nwait = \"600ms\"\nsession_bytes = 100\n",
    );
    let first = worker.send("GET /session.aspx");
    worker.pass(Duration::from_millis(600));
    let id = worker.answer(first).unwrap().session();
    let second = worker.send(&visit(&id));
    let third = worker.send(&visit(&id));
    worker.pass(Duration::from_millis(600));
    assert!(worker.answer(second).is_some() && worker.answer(third).is_none());
    // It polls every 500 ms: free at 600, seen at 1000, answered at 1600.
    worker.pass(Duration::from_millis(999));
    assert!(worker.answer(third).is_none());
    worker.pass(Duration::from_millis(1));
    assert!(worker.answer(third).is_some());
}

#[test]
fn the_fifty_first_waiter_of_a_session_is_refused() {
    let mut worker =
        worker_with("[[page]]\npath = \"/session.aspx\"\nsession = \"write\"\nwait = \"10s\"\n");
    let first = worker.send("GET /session.aspx");
    worker.pass(Duration::from_secs(10));
    let id = worker.answer(first).unwrap().session();
    for _ in 0..51 {
        worker.send(&visit(&id));
    }
    assert_eq!(worker.request(&visit(&id)).status(), (500, 0));
}

#[test]
fn a_made_up_session_id_is_not_taken() {
    let mut worker = worker(&[]);
    assert_eq!(
        worker
            .request(&visit("'; drop table"))
            .header("X-Sim-Session"),
        Some("new")
    );
}
