//! Responses: what the driver adds to a worker's head, and what it does with its body.

use bytes::Bytes;

use super::super::*;
use super::bench::*;
use crate::api::Response;

fn answered_with(response: Response) -> (Bench, ConnectionId, String) {
    let mut server = server().with_worker();
    let client = server.request("/");
    server.answer(W3WP, response);
    let heard = server.heard(client);
    (server, client, heard)
}

#[test]
fn the_driver_adds_date_server_and_length() {
    let (.., heard) = answered_with(with_headers("", ""));
    let expected = "HTTP/1.1 200 OK\r\nServer: Microsoft-HTTPAPI/2.0\r\n\
                    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(heard, expected);
}

#[test]
fn a_date_is_replaced_and_a_server_kept() {
    let headers = "date: yesterday\r\nServer: Microsoft-IIS/10.0\r\nX: 1\r\n";
    let (.., heard) = answered_with(with_headers(headers, "hi"));
    let expected = "HTTP/1.1 200 OK\r\nServer: Microsoft-IIS/10.0\r\nX: 1\r\n\
                    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(heard, expected);
}

#[test]
fn a_response_that_says_less_than_it_declared_is_aborted() {
    let (server, client, _) = answered_with(with_headers("Content-Length: 6\r\n", "five!"));
    assert_eq!(server.closed(client), Some(CloseHow::Reset));
    assert_eq!(
        server.count(|f| matches!(f, Fact::Dropped { partial: true, .. })),
        1
    );
}

#[test]
fn a_response_that_says_more_goes_out_as_it_is_and_the_connection_closes() {
    let (server, client, heard) = answered_with(with_headers("Content-Length: 6\r\n", "12345678"));
    assert!(heard.contains("Content-Length: 6\r\n") && heard.ends_with("12345678"));
    assert_eq!(server.closed(client), Some(CloseHow::AfterSending));
}

#[test]
fn head_gets_no_body_and_no_length_of_the_drivers() {
    let mut server = server().with_worker();
    let client = server.connect();
    for _ in 0..2 {
        server.say(client, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
        server.answer(W3WP, page("body"));
        let heard = server.heard(client);
        assert!(
            heard.ends_with("\r\n\r\n") && !heard.contains("Content-Length"),
            "{heard}"
        );
    }
    assert_eq!(server.closed(client), None);
}

#[test]
fn head_gets_of_a_page_of_the_driver_its_head_alone() {
    let whole = |verb: &str, rest: &str| {
        let mut server = server().connections_max(0).without_worker();
        let client = server.connect();
        server.say(client, &format!("{verb}{rest}"));
        assert_eq!(server.closed(client), Some(CloseHow::AfterSending));
        assert_eq!(server.reasons().len(), 1, "{rest}");
        server.heard(client)
    };
    for rest in [
        " /% HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
        " / HTTP/1.1\r\nHost: www.example.com\r\nX Y: z\r\n\r\n",
        " / HTTP/3.0\r\nHost: www.example.com\r\n\r\n",
        " / HTTP/1.1\r\nHost: www.example.com\r\nTransfer-Encoding: gzip\r\n\r\n",
        " / HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
    ] {
        let (head, page) = (whole("HEAD", rest), whole("GET", rest));
        let (wanted, body) = page.split_once("\r\n\r\n").unwrap();
        assert_eq!(head, format!("{wanted}\r\n\r\n"), "{rest}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
    let lower = whole("head", " / HTTP/1.1\r\n\r\n");
    assert!(lower.ends_with("</HTML>\r\n"), "it is no verb: {lower}");
}

#[test]
fn no_content_and_not_modified_have_no_body_and_no_length() {
    for status in [204, 304] {
        let (server, client, heard) = answered_with(Response {
            status,
            ..with_headers("", "")
        });
        assert!(!heard.contains("Content-Length") && heard.ends_with("\r\n\r\n"));
        assert_eq!(server.closed(client), None);
    }
}

#[test]
fn a_response_in_parts_is_complete_with_its_last_part() {
    let mut server = server().with_worker();
    let client = server.request("/");
    let request = server.receive(W3WP).unwrap().id;
    let response = with_headers("Content-Length: 4\r\n", "ab");
    server.call(
        W3WP,
        Call::SendResponse {
            request,
            response,
            more: true,
        },
    );
    assert_eq!(server.count(|f| matches!(f, Fact::SendComplete { .. })), 0);
    server.call(
        W3WP,
        Call::SendEntityBody {
            request,
            body: Bytes::from("cd"),
            more: false,
        },
    );
    assert_eq!(server.count(|f| matches!(f, Fact::SendComplete { .. })), 1);
    assert!(server.heard(client).ends_with("\r\n\r\nabcd"));
    assert_eq!(server.closed(client), None);
}

#[test]
fn a_response_in_parts_without_a_length_ends_with_the_connection() {
    let mut server = server().with_worker();
    let client = server.request("/");
    let request = server.receive(W3WP).unwrap().id;
    server.call(
        W3WP,
        Call::SendResponse {
            request,
            response: page("ab"),
            more: true,
        },
    );
    server.call(
        W3WP,
        Call::SendEntityBody {
            request,
            body: Bytes::new(),
            more: false,
        },
    );
    assert!(server.heard(client).contains("Connection: close\r\n"));
    assert_eq!(server.closed(client), Some(CloseHow::AfterSending));
}

#[test]
fn a_large_body_is_sent_as_it_came_without_a_copy() {
    let body = Bytes::from(vec![b'x'; 100_000]);
    let mut driver = server().with_worker();
    let client = driver.request("/");
    let request = driver.receive(W3WP).unwrap().id;
    let response = Response {
        body: body.clone(),
        ..page("")
    };
    let call = Call::SendResponse {
        request,
        response,
        more: false,
    };
    let now = driver.now;
    driver
        .machine
        .handle_input(Input::Called { by: W3WP, call }, now);
    let shared = std::iter::from_fn(|| driver.machine.poll_output()).any(|output| {
        matches!(output, Output::Send { bytes, connection } if connection == client && bytes.as_ptr() == body.as_ptr())
    });
    assert!(shared);
}

#[test]
fn a_worker_may_have_its_connection_closed() {
    let (server, client, heard) = answered_with(Response {
        disconnect: true,
        ..page("bye")
    });
    assert!(heard.contains("Connection: close\r\n"));
    assert_eq!(server.closed(client), Some(CloseHow::AfterSending));
}

#[test]
fn time_taken_runs_from_the_first_byte_to_the_last_send() {
    let mut server = server().with_worker();
    server.writes = false;
    let client = server.connect();
    server.say(client, "GET / HTTP/1.1\r\n");
    server.wait_seconds(1);
    server.say(client, "Host: h\r\n\r\n");
    server.answer(W3WP, page("x"));
    server.wait(core::time::Duration::from_millis(500));
    server.write_all();
    let took = server.facts.iter().find_map(|f| match f {
        Fact::SendComplete { took, .. } => Some(*took),
        _ => None,
    });
    assert_eq!(took, Some(1_500_000_000));
    assert_eq!(server.site_log(), [(200, 0)]);
}

#[test]
fn a_client_that_resets_while_the_response_is_on_the_way_has_64_in_the_log() {
    let mut server = server().with_worker();
    server.writes = false;
    let client = server.request("/");
    server.answer(W3WP, page("x"));
    server.input(Input::Reset { connection: client });
    assert_eq!(server.site_log(), [(200, 64)]);
    assert_eq!(server.reasons(), [ReasonPhrase::ConnectionDropped]);
}
