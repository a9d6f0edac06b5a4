//! Requests with a body, and how long requests may be.

use std::time::Duration;

use sim_httpsys::api::Completion;

use super::super::Input;
use super::bench::{Bench, configuration, starting, worker, worker_with};
use crate::configuration::RequestLimits;
use crate::facts::Fact;

const POST: &str = "POST /default.aspx\nContent-Length: 10";
const CHUNKED: &str = "POST /default.aspx\nTransfer-Encoding: chunked";

fn limited(limits: RequestLimits) -> Bench {
    let mut configuration = configuration();
    configuration.applications[0].settings.request_limits = limits;
    starting(configuration, &[("a.htm", "<a>")])
}

#[test]
fn a_page_reads_the_whole_body_before_it_runs() {
    let mut worker = worker_with("[[page]]\npath = \"/default.aspx\"\ncpu = \"1ms\"\n");
    let request = worker.send(POST);
    worker.body(request, 4, false);
    assert!(worker.running.is_empty() && worker.answer(request).is_none());
    worker.body(request, 6, true);
    worker.finish_work();
    assert_eq!(worker.answer(request).unwrap().status(), (200, 0));
    assert!(worker.reads.is_empty());
}

#[test]
fn what_has_no_body_or_no_reader_is_not_read() {
    let simulation =
        "[[page]]\npath = \"/deaf.aspx\"\nreads_body = false\n[[page]]\npath = \"/a.aspx\"\n";
    let mut worker = worker(&[("simulation.toml", simulation), ("a.htm", "<a>")]);
    for head in [
        "GET /a.aspx",
        "POST /deaf.aspx\nContent-Length: 10",
        "GET /a.htm\nContent-Length: 10",
    ] {
        assert_eq!(worker.request(head).status(), (200, 0), "{head}");
    }
    assert!(worker.reads.is_empty());
}

#[test]
fn a_body_that_does_not_come_keeps_its_request_in_flight() {
    let mut worker = worker(&[]);
    let request = worker.send(POST);
    worker.pass(Duration::from_mins(10));
    assert_eq!(
        (worker.model.in_flight(), worker.answer(request).is_some()),
        (1, false)
    );
}

#[test]
fn a_client_that_goes_while_its_body_is_read_is_answered_for_the_log_only() {
    let mut worker = worker(&[]);
    let request = worker.send(POST);
    worker.body(request, 4, false);
    worker.input(Input::Completed(Completion::Disconnected { request }));
    let answer = worker.answer(request).unwrap();
    assert_eq!((answer.status(), answer.body()), ((500, 0), ""));
    assert_eq!(worker.model.in_flight(), 0);
    let aborted = |fact: &&Fact| matches!(fact, Fact::RequestAborted { .. });
    assert_eq!(worker.facts.iter().filter(aborted).count(), 1);
    assert_eq!(
        worker.get("/default.aspx").status(),
        (200, 0),
        "its thread is free"
    );
}

#[test]
fn a_reader_holds_its_session() {
    let mut worker = worker(&[]);
    let id = worker.get("/session.aspx").session();
    let cookie = format!("Cookie: ASP.NET_SessionId={id}");
    let slow = worker.send(&format!("POST /session.aspx\nContent-Length: 10\n{cookie}"));
    let other = worker.send(&format!("GET /session.aspx\n{cookie}"));
    worker.pass(Duration::from_secs(10));
    assert!(worker.answer(other).is_none());
    worker.body(slow, 10, true);
    worker.pass(Duration::from_secs(1));
    assert!(worker.answer(slow).is_some() && worker.answer(other).is_some());
}

#[test]
fn bodies_that_are_on_their_way_when_the_worker_drains_still_count() {
    let mut worker = worker(&[]);
    let posts = [worker.send(POST), worker.send(POST)];
    let get = worker.send("GET /wait.aspx?time=100");
    worker.order_to_stop(true);
    worker.queue_is_shut();
    worker.pass(Duration::from_secs(1));
    assert!(worker.answer(get).is_some() && worker.exit.is_none());
    for post in posts {
        worker.body(post, 10, true);
        assert_eq!(worker.answer(post).unwrap().status(), (200, 0));
    }
    assert_eq!(worker.exit, Some(0));
}

#[test]
fn a_body_of_exactly_the_limit_passes_and_a_longer_one_is_not_even_read() {
    let mut worker = limited(RequestLimits {
        content_length_max: 10,
        ..RequestLimits::default()
    });
    let request = worker.send(POST);
    worker.body(request, 10, true);
    assert_eq!(worker.answer(request).unwrap().status(), (200, 0));
    let eleven = worker.request("POST /default.aspx\nContent-Length: 11");
    assert_eq!(eleven.status(), (413, 1));
}

#[test]
fn a_chunked_body_fails_when_the_limit_is_passed() {
    let mut worker = limited(RequestLimits {
        content_length_max: 10,
        ..RequestLimits::default()
    });
    let request = worker.send(CHUNKED);
    worker.body(request, 10, false);
    assert!(worker.answer(request).is_none());
    worker.body(request, 1, false);
    assert_eq!(worker.answer(request).unwrap().status(), (413, 1));
    assert!(worker.reads.is_empty());
}

#[test]
fn the_lengths_of_path_and_query_are_the_applications_own() {
    let mut worker = limited(RequestLimits {
        url_max: 6,
        query_string_max: 3,
        ..RequestLimits::default()
    });
    for (url, status) in [
        ("/a.htm?abc", (200, 0)),
        ("/a.htm?abcd", (404, 15)),
        ("/aa.htm", (404, 14)),
    ] {
        assert_eq!(worker.get(url).status(), status, "{url}");
    }
}
