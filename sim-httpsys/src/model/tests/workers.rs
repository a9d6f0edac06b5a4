//! Worker processes: attaching, shutting down, dying, cheating.

use super::super::*;
use super::bench::*;
use crate::api::{ControlCall, LogData, RequestQueueName, Response, Verb};
use crate::counters::Counters;
use crate::etw::UntrustedCall;

#[test]
fn a_worker_that_dies_takes_down_what_it_held_and_nothing_else() {
    let mut server = server().without_worker();
    server.worker(W3WP, 1);
    let held = server.request("/");
    let waiting = server.request("/");
    let idle = server.connect();
    server.input(Input::Gone { process: W3WP });
    assert_eq!(server.closed(held), Some(CloseHow::Reset));
    assert_eq!(server.closed(waiting), None);
    assert_eq!(server.closed(idle), None);
    assert_eq!(
        server.error_log(),
        [(None, ReasonPhrase::ConnectionAbandonedByReqQueue)]
    );
    server.wait_for_demand_start().unwrap();
    assert_eq!(server.demand_starts(), 1);
    server.worker(W3WP_2, 1);
    server.answer(W3WP_2, page("late"));
    assert_eq!(server.status(waiting), Some(200));
}

#[test]
fn a_worker_that_shuts_down_finishes_what_it_holds_and_gets_no_more() {
    let mut server = server().without_worker();
    server.worker(W3WP, 10);
    let before = server.request("/");
    server
        .control(W3WP, ControlCall::ShutdownRequestQueue)
        .unwrap();
    let after = server.request("/");
    server.call(W3WP, Call::ReceiveRequest { credits: 10 });
    server.answer(W3WP, page("old"));
    assert_eq!(server.status(before), Some(200));
    assert!(server.receive(W3WP).is_none());
    server.worker(W3WP_2, 10);
    server.answer(W3WP_2, page("new"));
    assert_eq!(server.status(after), Some(200));
}

#[test]
fn a_kept_alive_connection_goes_on_with_the_next_worker() {
    let mut server = server().with_worker();
    let client = server.request("/");
    server.answer(W3WP, page("old"));
    server.worker(W3WP_2, 10);
    server
        .control(W3WP, ControlCall::ShutdownRequestQueue)
        .unwrap();
    server.input(Input::Gone { process: W3WP });
    server.get(client, "/");
    server.answer(W3WP_2, page("new"));
    assert_eq!(server.closed(client), None);
    assert!(server.heard(client).ends_with("new"));
}

#[test]
fn a_response_already_handed_over_outlives_its_worker() {
    let mut server = server().with_worker();
    server.writes = false;
    let client = server.request("/");
    server.answer(W3WP, page("done"));
    server.input(Input::Gone { process: W3WP });
    server.write_all();
    assert_eq!(server.closed(client), None);
    assert_eq!(server.count(|f| matches!(f, Fact::SendComplete { .. })), 1);
}

#[test]
fn a_cancelled_request_resets_its_connection() {
    let mut server = server().with_worker();
    let client = server.request("/");
    let request = server.receive(W3WP).unwrap().id;
    server.call(W3WP, Call::CancelRequest { request });
    assert_eq!(server.closed(client), Some(CloseHow::Reset));
    assert_eq!(
        server.reasons(),
        [ReasonPhrase::ConnectionAbandonedByReqQueue]
    );
}

#[test]
fn a_worker_is_told_that_its_client_has_gone_and_its_line_is_still_written() {
    let mut server = server().with_worker();
    let client = server.request("/");
    let request = server.receive(W3WP).unwrap().id;
    server.input(Input::Reset { connection: client });
    let told = std::iter::from_fn(|| server.next_completion(W3WP))
        .any(|c| matches!(c, Completion::Disconnected { request: r } if r == request));
    assert!(told);
    assert_eq!(server.reasons(), [ReasonPhrase::ConnectionDropped]);
    server.respond(W3WP, request, page("too late"));
    assert_eq!(server.site_log(), [(200, 64)]);
    assert!(server.error_log().is_empty());
}

#[test]
fn a_request_whose_client_has_gone_is_counted_when_its_line_is_written() {
    let mut server = server().with_worker();
    let counted = |server: &Bench| {
        let mut counters = Counters::default();
        for fact in &server.facts {
            counters.record(fact, server.now);
        }
        let site = counters.web_service.get(&SiteId(1)).copied();
        site.map_or((0, 0, 0), |site| {
            let gets = site.total_requests_by_verb[Verb::Get as usize];
            (site.total_method_requests, gets, site.total_logon_attempts)
        })
    };
    let (late, silent) = (server.request("/"), server.request("/"));
    let (late_request, _) = (server.receive(W3WP).unwrap().id, server.receive(W3WP));
    server.input(Input::Reset { connection: late });
    server.input(Input::Reset { connection: silent });
    assert_eq!(counted(&server), (0, 0, 0));
    server.respond(W3WP, late_request, page("too late"));
    assert_eq!(counted(&server), (1, 1, 1));
    server.wait_seconds(61);
    assert_eq!(counted(&server), (1, 1, 1), "nobody answered the other one");
    assert_eq!(server.site_log().len(), 1);
}

#[test]
fn a_worker_that_never_finishes_for_a_lost_client_leaves_a_line_in_the_error_log() {
    let mut server = server().with_worker();
    let client = server.request("/");
    server.input(Input::Reset { connection: client });
    server.wait_seconds(61);
    assert_eq!(
        server.error_log(),
        [(None, ReasonPhrase::ConnectionDropped)]
    );
    assert!(server.site_log().is_empty());
}

#[test]
fn a_worker_without_log_data_leaves_no_line() {
    let mut server = server().with_worker();
    server.request("/");
    server.answer(
        W3WP,
        Response {
            log: None,
            ..page("quiet")
        },
    );
    assert!(server.logs.is_empty());
    server.request("/");
    let log = Some(LogData {
        substatus: 3,
        win32_status: 5,
        ..LogData::default()
    });
    server.answer(
        W3WP,
        Response {
            log,
            ..page("told")
        },
    );
    assert_eq!(server.site_log(), [(200, 5)]);
}

#[test]
fn answering_somebody_elses_request_answers_nothing() {
    let mut server = server().without_worker();
    server.worker(W3WP, 1);
    server.worker(W3WP_2, 1);
    let client = server.request("/");
    let request = server.receive(W3WP).unwrap().id;
    server.respond(W3WP_2, request, page("stolen"));
    server.respond(W3WP_2, RequestId(999), page("invented"));
    assert_eq!(server.heard(client), "");
    let foreign = |f: &Fact| {
        matches!(
            f,
            Fact::Untrusted {
                process: W3WP_2,
                what: UntrustedCall::ForeignRequest,
                ..
            }
        )
    };
    assert_eq!(server.count(foreign), 2);
    server.respond(W3WP, request, page("mine"));
    assert_eq!(server.status(client), Some(200));
}

#[test]
fn a_response_that_splits_its_head_kills_only_its_own_request() {
    let mut server = server().with_worker();
    let other = server.request("/");
    let other_request = server.receive(W3WP).unwrap().id;
    let client = server.request("/");
    let evil = "X: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
    server.answer(W3WP, with_headers(evil, ""));
    assert_eq!(server.heard(client), "");
    assert_eq!(server.closed(client), Some(CloseHow::Reset));
    let malformed = |f: &Fact| {
        matches!(
            f,
            Fact::Untrusted {
                what: UntrustedCall::MalformedResponse,
                ..
            }
        )
    };
    assert_eq!(server.count(malformed), 1);
    server.respond(W3WP, other_request, page("fine"));
    assert_eq!(server.status(other), Some(200));
}

#[test]
fn a_queue_must_exist_to_be_opened_and_a_process_opens_one() {
    let mut server = server().without_worker();
    let name = RequestQueueName("NoSuchPool".into());
    let missing = server.control(W3WP, ControlCall::OpenRequestQueue { name });
    assert_eq!(missing, Err(Win32Error::FileNotFound));
    server
        .control(W3WP, ControlCall::OpenRequestQueue { name: pool() })
        .unwrap();
    let again = server.control(W3WP, ControlCall::OpenRequestQueue { name: pool() });
    assert_eq!(again, Err(Win32Error::InvalidParameter));
}
