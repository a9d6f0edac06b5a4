//! Connections: pipelining, bodies, timers, half-closing.

use super::super::*;
use super::bench::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_pipelined_request_is_delivered_after_the_response_to_the_one_before() {
    let mut server = server().with_worker();
    let client = server.connect();
    server.say(client, &[GET, GET].concat());
    let first = server.receive(W3WP).unwrap();
    assert!(server.receive(W3WP).is_none());
    server.respond(W3WP, first.id, page("1"));
    server.answer(W3WP, page("2"));
    let heard = server.heard(client);
    assert!(heard.find("\r\n\r\n1") < heard.find("\r\n\r\n2"));
}

#[test]
fn a_head_may_arrive_byte_by_byte() {
    let mut server = server().with_worker();
    let client = server.connect();
    for byte in GET.chars() {
        server.say(client, &byte.to_string());
    }
    server.answer(W3WP, page("whole"));
    assert_eq!(server.status(client), Some(200));
}

#[test]
fn a_client_that_sends_fin_still_gets_its_answers() {
    let mut server = server().with_worker();
    let client = server.connect();
    server.say(client, &[GET, GET].concat());
    server.input(Input::HalfClosed { connection: client });
    server.answer(W3WP, page("1"));
    assert_eq!(server.closed(client), None);
    server.answer(W3WP, page("2"));
    assert_eq!(server.closed(client), Some(CloseHow::AfterSending));
    assert_eq!(server.count(|f| matches!(f, Fact::SendComplete { .. })), 2);
}

#[test]
fn an_idle_connection_is_closed_by_its_clients_fin() {
    let mut server = server().with_worker();
    let client = server.connect();
    server.input(Input::HalfClosed { connection: client });
    assert_eq!(server.closed(client), Some(CloseHow::AfterSending));
    assert!(server.logs.is_empty());
}

#[test]
fn http_1_0_is_answered_and_closed_even_if_it_asks_to_be_kept() {
    let mut server = server().with_worker();
    let client = server.connect();
    server.say(
        client,
        "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
    );
    server.answer(W3WP, page("old"));
    let heard = server.heard(client);
    assert!(
        heard.starts_with("HTTP/1.1 200 OK\r\n") && heard.contains("\r\nConnection: close\r\n")
    );
    assert_eq!(server.closed(client), Some(CloseHow::AfterSending));
}

#[test]
fn what_is_not_a_request_gets_a_page_and_a_fin() {
    let mut server = server().with_worker();
    let client = server.connect();
    server.say(client, "foo\r\n\r\n");
    assert_eq!(server.status(client), Some(400));
    assert_eq!(server.closed(client), Some(CloseHow::AfterSending));
    assert_eq!(server.count(|f| matches!(f, Fact::Parse { .. })), 1);
}

fn body_of(server: &mut Bench, request: RequestId) -> Option<(String, bool)> {
    server.call(W3WP, Call::ReceiveEntityBody { request });
    next_body(server)
}

fn next_body(server: &mut Bench) -> Option<(String, bool)> {
    match server.next_completion(W3WP) {
        Some(Completion::EntityBody { bytes, last, .. }) => {
            Some((String::from_utf8_lossy(&bytes).into_owned(), last))
        }
        _ => None,
    }
}

fn post(server: &mut Bench, client: ConnectionId, headers: &str, body: &str) -> RequestId {
    server.say(
        client,
        &format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n{body}"),
    );
    server.receive(W3WP).unwrap().id
}

#[test]
fn a_body_is_passed_on_as_it_comes() {
    let mut server = server().with_worker();
    let client = server.connect();
    let request = post(&mut server, client, "Content-Length: 5\r\n", "he");
    assert_eq!(body_of(&mut server, request), Some(("he".into(), false)));
    assert_eq!(body_of(&mut server, request), None);
    server.say(client, "llo");
    assert_eq!(next_body(&mut server), Some(("llo".into(), true)));
    assert_eq!(body_of(&mut server, request), Some((String::new(), true)));
}

#[test]
fn a_chunked_body_loses_its_chunks() {
    let mut server = server().with_worker();
    let client = server.connect();
    let request = post(
        &mut server,
        client,
        "Transfer-Encoding: chunked\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    );
    let mut body = String::new();
    while let Some((piece, last)) = body_of(&mut server, request) {
        body.push_str(&piece);
        if last {
            break;
        }
    }
    assert_eq!(body, "hello");
}

#[test]
fn continue_is_said_when_the_worker_first_asks_for_the_body() {
    let mut server = server().with_worker();
    let client = server.connect();
    let headers = "Content-Length: 2\r\nExpect: 100-continue\r\n";
    let request = post(&mut server, client, headers, "");
    assert_eq!(server.heard(client), "");
    assert_eq!(body_of(&mut server, request), None);
    assert_eq!(server.heard(client), "HTTP/1.1 100 Continue\r\n\r\n");
    server.say(client, "ok");
    assert_eq!(next_body(&mut server), Some(("ok".into(), true)));
}

#[test]
fn a_body_nobody_read_is_drained_before_the_next_request() {
    let mut server = server().with_worker();
    let client = server.connect();
    let request = post(&mut server, client, "Content-Length: 5\r\n", "he");
    server.respond(W3WP, request, page("1"));
    server.say(client, &format!("llo{GET}"));
    server.answer(W3WP, page("2"));
    assert_eq!(server.heard(client).matches("200 OK").count(), 2);
}

#[test]
fn a_body_that_is_never_drained_is_cut_without_a_line() {
    let mut server = server().with_worker();
    let client = server.connect();
    let request = post(&mut server, client, "Content-Length: 5\r\n", "he");
    server.respond(W3WP, request, page("1"));
    server.wait_seconds(121);
    assert_eq!(server.closed(client), Some(CloseHow::Reset));
    assert!(server.error_log().is_empty());
}

#[test]
fn a_late_body_is_cut_and_every_piece_gives_it_more_time() {
    let mut server = server().with_worker();
    let client = server.connect();
    let request = post(&mut server, client, "Content-Length: 5\r\n", "");
    assert_eq!(body_of(&mut server, request), None);
    server.wait_seconds(100);
    server.say(client, "he");
    assert_eq!(next_body(&mut server), Some(("he".into(), false)));
    assert_eq!(body_of(&mut server, request), None);
    server.wait_seconds(100);
    assert_eq!(server.closed(client), None);
    server.wait_seconds(21);
    assert_eq!(server.closed(client), Some(CloseHow::Reset));
    assert_eq!(server.error_log(), [(None, ReasonPhrase::TimerEntityBody)]);
}

#[test]
fn a_late_body_is_cut_whether_a_worker_wants_it_or_not() {
    for credits in [0, 1] {
        let mut server = server().without_worker();
        server.worker(W3WP, credits);
        let client = server.connect();
        server.say(
            client,
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc",
        );
        server.wait_seconds(100);
        server.say(client, "d");
        server.wait_seconds(119);
        assert_eq!(server.closed(client), None);
        server.wait_seconds(2);
        assert_eq!(server.closed(client), Some(CloseHow::Reset));
        assert_eq!(server.error_log(), [(None, ReasonPhrase::TimerEntityBody)]);
    }
}

#[test]
fn a_body_that_has_arrived_is_never_late_and_neither_is_one_that_we_do_not_read() {
    let mut server = server().with_worker();
    let (whole, chunked, flood) = (server.connect(), server.connect(), server.connect());
    post(&mut server, whole, "Content-Length: 5\r\n", "hello");
    let coded = "Transfer-Encoding: chunked\r\n";
    post(&mut server, chunked, coded, "5\r\nhello\r\n");
    server.say(chunked, "0\r\n\r\n");
    let request = post(&mut server, flood, "Content-Length: 100001\r\n", "");
    server.say(flood, &"x".repeat(100_000));
    server.wait_seconds(1000);
    for client in [whole, chunked, flood] {
        assert_eq!(server.closed(client), None);
    }
    // From here on it is the client's turn again.
    while body_of(&mut server, request).is_some() {}
    server.wait_seconds(121);
    assert_eq!(server.closed(flood), Some(CloseHow::Reset));
}

#[test]
fn a_client_that_waits_for_continue_is_not_late() {
    let mut server = server().with_worker();
    let client = server.connect();
    let headers = "Content-Length: 2\r\nExpect: 100-continue\r\n";
    let request = post(&mut server, client, headers, "");
    server.wait_seconds(1000);
    assert_eq!(server.closed(client), None);
    assert_eq!(body_of(&mut server, request), None);
    server.wait_seconds(121);
    assert_eq!(server.closed(client), Some(CloseHow::Reset));
}

#[test]
fn a_client_that_did_not_wait_for_continue_keeps_its_connection() {
    for (with_head, later) in [("hello", ""), ("", "hello"), ("he", "llo")] {
        let mut server = server().with_worker();
        let client = server.connect();
        let headers = "Content-Length: 5\r\nExpect: 100-continue\r\n";
        let request = post(&mut server, client, headers, with_head);
        server.say(client, later);
        server.respond(W3WP, request, page("1"));
        assert!(!server.heard(client).contains("Connection: close"));
        assert_eq!(server.closed(client), None);
    }
}

#[test]
fn a_malformed_chunk_is_refused_whether_a_worker_wants_it_or_not() {
    let coded = "Transfer-Encoding: chunked\r\n";
    let refused = [(Some(400), ReasonPhrase::Number)];
    let mut at_once = server().with_worker();
    let client = at_once.connect();
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{coded}\r\n");
    at_once.say(client, &format!("{head}zz\r\nhello"));
    assert!(at_once.receive(W3WP).is_none());
    assert_eq!(at_once.status(client), Some(400));
    assert_eq!(at_once.error_log(), refused);

    let mut later = server().with_worker();
    let client = later.connect();
    let request = post(&mut later, client, coded, "2\r\nhe\r\n");
    later.say(client, "zz\r\n");
    let told = later.next_completion(W3WP);
    assert!(matches!(told, Some(Completion::Disconnected { request: r }) if r == request));
    assert_eq!(later.status(client), Some(400));
    assert_eq!(later.closed(client), Some(CloseHow::AfterSending));
    assert_eq!(later.error_log(), refused);
}

#[test]
fn a_malformed_trailer_is_refused_as_a_header_is() {
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n";
    for (trailer, reason) in [
        ("no colon", ReasonPhrase::Header),
        ("A : b", ReasonPhrase::Header),
        ("A: b\rc", ReasonPhrase::InvalidCrLf),
    ] {
        let mut server = server().with_worker();
        let client = server.connect();
        server.say(client, &format!("{head}{trailer}\r\n\r\n"));
        assert_eq!(server.status(client), Some(400), "{trailer}");
        assert_eq!(server.error_log(), [(Some(400), reason)], "{trailer}");
    }
}

#[test]
fn a_body_cut_short_by_fin_ends_its_request() {
    let mut server = server().with_worker();
    let client = server.connect();
    let request = post(&mut server, client, "Content-Length: 5\r\n", "");
    assert_eq!(body_of(&mut server, request), None);
    server.input(Input::HalfClosed { connection: client });
    assert_eq!(server.closed(client), Some(CloseHow::Reset));
    assert_eq!(server.reasons(), [ReasonPhrase::ConnectionDropped]);
}

#[test]
fn an_idle_connection_is_cut_after_its_time() {
    let mut server = server().with_worker();
    let client = server.request("/");
    server.wait_seconds(300);
    server.answer(W3WP, page("slow handlers are not idle"));
    server.wait_seconds(119);
    assert_eq!(server.closed(client), None);
    server.wait_seconds(2);
    assert_eq!(server.closed(client), Some(CloseHow::Reset));
    assert_eq!(
        server.error_log(),
        [(None, ReasonPhrase::TimerConnectionIdle)]
    );
}

#[test]
fn half_a_head_is_cut_after_its_time_however_it_trickles() {
    let mut server = server().with_worker();
    let client = server.connect();
    for byte in GET.chars().take(13) {
        server.say(client, &byte.to_string());
        server.wait_seconds(10);
    }
    assert_eq!(server.closed(client), Some(CloseHow::Reset));
    assert_eq!(server.error_log(), [(None, ReasonPhrase::TimerHeaderWait)]);
}

#[test]
fn a_client_may_read_what_it_has_asked_for_at_once_as_slowly_as_the_whole_of_it_may_take() {
    let mut server = server().with_worker();
    server.writes = false;
    let client = server.connect();
    server.say(client, &"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(101));
    for _ in 0..100 {
        server.answer(W3WP, page("small"));
        server.write_all();
    }
    server.answer(W3WP, page("the last"));
    server.wait_seconds(50);
    assert_eq!(server.closed(client), None, "all of it may take longer");
    server.wait_seconds(100);
    assert_eq!(server.closed(client), Some(CloseHow::Reset));
}

#[test]
fn a_client_that_reads_too_slowly_is_cut() {
    let mut server = server().with_worker();
    server.writes = false;
    let client = server.request("/");
    server.answer(W3WP, page(&"x".repeat(1500)));
    server.wait_seconds(5);
    assert_eq!(server.closed(client), None);
    server.wait_seconds(20);
    assert_eq!(server.closed(client), Some(CloseHow::Reset));
    assert_eq!(
        server.error_log(),
        [(None, ReasonPhrase::TimerMinBytesPerSecond)]
    );
}

#[test]
fn a_flood_behind_a_slow_request_stops_the_reading_until_there_is_room() {
    let mut server = server().with_worker();
    let client = server.connect();
    let request = post(&mut server, client, "Content-Length: 100000\r\n", "");
    server.say(client, &"x".repeat(100_000));
    assert_eq!(server.reading.get(&client), Some(&false));
    while body_of(&mut server, request).is_some_and(|(_, last)| !last) {}
    assert_eq!(server.reading.get(&client), Some(&true));
}

#[test]
fn a_connection_costs_less_than_a_kibibyte() {
    assert!(
        size_of::<Connection>() <= 512,
        "{} bytes",
        size_of::<Connection>()
    );
}

#[test]
fn what_comes_after_the_end_is_ignored() {
    let mut server = server().with_worker();
    let client = server.request("/");
    server.input(Input::Reset { connection: client });
    server.say(client, GET);
    server.input(Input::Sent { connection: client });
    server.input(Input::HalfClosed { connection: client });
    server.input(Input::Reset { connection: client });
    assert_eq!(server.count(|f| matches!(f, Fact::ConnCleanup { .. })), 1);
}
