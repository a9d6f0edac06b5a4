//! URL groups, URLs and endpoints.

use super::super::*;
use super::bench::*;
use crate::api::{ControlCall, UrlContext};

fn remove(url: &str) -> ControlCall {
    ControlCall::RemoveUrl {
        group: SITE_1,
        url: url.into(),
    }
}

#[test]
fn the_first_url_opens_the_endpoint_and_the_last_closes_it() {
    let mut server = server().without_worker();
    assert!(server.listening.contains(&PORT_80));
    server.add_url(SITE_1, "http://*:80/app/").unwrap();
    server.control(W3SVC, remove("http://*:80/")).unwrap();
    assert!(server.listening.contains(&PORT_80));
    server.control(W3SVC, remove("http://*:80/app/")).unwrap();
    assert!(server.listening.is_empty());
}

#[test]
fn a_url_goes_to_another_group_without_its_endpoint_being_closed() {
    let mut server = server().without_worker();
    let idle = server.connect();
    let (other, context) = (UrlGroupId(2), UrlContext(9));
    let properties = server.setup.group.clone();
    let create = ControlCall::CreateUrlGroup {
        group: other,
        properties: Box::new(properties),
    };
    server.control(W3SVC, create).unwrap();
    let give = |url: &str| ControlCall::MoveUrl {
        from: SITE_1,
        group: other,
        url: url.into(),
        context,
    };
    server.control(W3SVC, give("http://*:80/")).unwrap();
    assert_eq!(server.closed(idle), None);
    assert!(server.listening.contains(&PORT_80));
    let urls = |server: &Bench| -> Vec<usize> {
        let state = server.machine.service_state();
        state
            .url_groups
            .iter()
            .map(|group| group.urls.len())
            .collect()
    };
    assert_eq!(urls(&server), [0, 1]);
    server.worker(W3WP, 1);
    server.request("/");
    let request = server.receive(W3WP).unwrap();
    assert_eq!(request.url_context, context);
    // One that the first group has not is registered.
    server.control(W3SVC, give("http://*:80/new/")).unwrap();
    assert_eq!(urls(&server), [0, 2]);
    let close = |group| ControlCall::CloseUrlGroup { group };
    server.control(W3SVC, close(SITE_1)).unwrap();
    assert!(server.listening.contains(&PORT_80));
    server.control(W3SVC, close(other)).unwrap();
    assert!(server.listening.is_empty());
}

#[test]
fn what_is_asked_for_often_goes_where_its_url_leads_now() {
    let mut server = server().without_worker();
    server.worker(W3WP, 100);
    let ask = |server: &mut Bench| {
        server.request("/app/page");
        let request = server.receive(W3WP).unwrap();
        server.respond(W3WP, request.id, page("x"));
        request.url_context
    };
    let first = ask(&mut server);
    for _ in 0..5 {
        assert_eq!(ask(&mut server), first);
    }
    let context = UrlContext(9);
    let add = ControlCall::AddUrl {
        group: SITE_1,
        url: "http://*:80/app/".into(),
        context,
    };
    server.control(W3SVC, add).unwrap();
    assert_eq!(ask(&mut server), context);
    assert_eq!(ask(&mut server), context);
    server.control(W3SVC, remove("http://*:80/app/")).unwrap();
    assert_eq!(ask(&mut server), first);
}

#[test]
fn connections_of_a_closed_endpoint_are_reset() {
    let mut server = server().without_worker();
    let idle = server.connect();
    let waiting = server.request("/");
    server
        .control(W3SVC, ControlCall::CloseUrlGroup { group: SITE_1 })
        .unwrap();
    assert_eq!(server.closed(idle), Some(CloseHow::Reset));
    assert_eq!(server.closed(waiting), Some(CloseHow::Reset));
    assert_eq!(server.reasons(), [ReasonPhrase::RequestCancelled]);
}

#[test]
fn idle_connections_of_a_closed_endpoint_may_end_by_fin() {
    let fin = |p: &mut Parameters| p.endpoint_close = EndpointClose::Fin;
    let mut server = server().parameters(fin).without_worker();
    let idle = server.connect();
    server
        .control(W3SVC, ControlCall::CloseUrlGroup { group: SITE_1 })
        .unwrap();
    assert_eq!(server.closed(idle), Some(CloseHow::AfterSending));
}

#[test]
fn a_response_on_its_way_is_sent_whatever_becomes_of_its_endpoint_and_its_worker() {
    for how in [EndpointClose::Rst, EndpointClose::Fin] {
        let closes = |p: &mut Parameters| p.endpoint_close = how;
        let mut server = server().parameters(closes).with_worker();
        server.writes = false;
        let [reads, stalls] = [(); 2].map(|()| {
            let client = server.request("/");
            server.answer(W3WP, page("slow"));
            client
        });
        server.input(Input::Gone { process: W3WP });
        server.input(Input::Gone { process: W3SVC });
        assert_eq!(server.closed(reads), None);
        server.input(Input::Sent { connection: reads });
        assert_eq!(server.closed(reads), Some(CloseHow::AfterSending));
        server.wait_seconds(20);
        assert_eq!(server.closed(stalls), Some(CloseHow::Reset));
        assert_eq!(server.reasons(), [ReasonPhrase::TimerMinBytesPerSecond]);
        let sent = |f: &Fact| matches!(f, Fact::SendComplete { .. });
        assert_eq!(server.count(sent), 1);
    }
}

#[test]
fn when_the_controller_goes_everything_goes() {
    let mut server = server().without_worker();
    server.worker(W3WP, 1);
    let held = server.request("/");
    let waiting = server.request("/");
    let idle = server.connect();
    server.input(Input::Gone { process: W3SVC });
    assert_eq!(server.closed(held), Some(CloseHow::Reset));
    assert_eq!(server.status(waiting), Some(503));
    assert_eq!(server.closed(idle), Some(CloseHow::Reset));
    assert!(server.listening.is_empty());
    let state = server.machine.service_state();
    assert!(state.url_groups.is_empty() && state.request_queues.is_empty());
    assert_eq!(state.connections, 0);
}

#[test]
fn after_the_controller_has_come_back_the_server_serves_again() {
    let mut server = server().with_worker();
    server.input(Input::Gone { process: W3SVC });
    server.input(Input::Gone { process: W3WP });
    server.input(Input::Attached { process: W3SVC });
    server.set_up();
    server.worker(W3WP_2, 1);
    let client = server.request("/");
    server.answer(W3WP_2, page("again"));
    assert_eq!(server.status(client), Some(200));
}

#[test]
fn a_port_that_is_taken_fails_the_call_and_leaves_nothing_registered() {
    let mut server = server().without_worker();
    server.opens = Err(Win32Error::SharingViolation);
    let failed = server.add_url(SITE_1, "http://*:81/");
    assert_eq!(failed, Err(Win32Error::SharingViolation));
    assert_eq!(
        server.machine.service_state().url_groups[0].urls,
        ["http://*:80/"]
    );
    server.opens = Ok(());
    server.add_url(SITE_1, "http://*:81/").unwrap();
}

#[test]
fn an_endpoint_nobody_wants_any_more_is_closed_when_it_opens() {
    let mut server = server().without_worker();
    let port_81 = Endpoint {
        port: 81,
        ..PORT_80
    };
    let call = ControlCall::AddUrl {
        group: SITE_1,
        url: "http://*:81/".into(),
        context: UrlContext(1),
    };
    server.input(Input::Called {
        by: W3SVC,
        call: Call::Control {
            id: CallId(90),
            call,
        },
    });
    let call = remove("http://*:81/");
    server.input(Input::Called {
        by: W3SVC,
        call: Call::Control {
            id: CallId(91),
            call,
        },
    });
    assert!(server.listening.contains(&port_81));
    server.input(Input::Listening {
        endpoint: port_81,
        result: Ok(()),
    });
    assert!(!server.listening.contains(&port_81));
}

#[test]
fn bad_prefixes_and_unknown_ones_are_refused() {
    let mut server = server().without_worker();
    assert_eq!(
        server.add_url(SITE_1, "http://*:80"),
        Err(Win32Error::InvalidParameter)
    );
    assert_eq!(
        server.add_url(SITE_1, "http://*:80/"),
        Err(Win32Error::AlreadyExists)
    );
    assert_eq!(
        server.add_url(UrlGroupId(9), "http://*:82/"),
        Err(Win32Error::FileNotFound)
    );
    assert_eq!(
        server.add_url(SITE_1, "https://*:80/"),
        Err(Win32Error::SharingViolation)
    );
    let unknown = server.control(W3SVC, remove("http://*:83/"));
    assert_eq!(unknown, Err(Win32Error::FileNotFound));
}

#[test]
fn a_stopped_site_answers_404_while_another_keeps_the_port_open() {
    let mut server = server().without_worker();
    server.add_url(SITE_1, "http://*:80/app/").unwrap();
    server.control(W3SVC, remove("http://*:80/")).unwrap();
    let client = server.request("/");
    assert_eq!(server.status(client), Some(404));
    assert_eq!(server.error_log(), [(Some(404), ReasonPhrase::NotFound)]);
}

#[test]
fn a_host_that_nobody_registered_is_400_hostname() {
    let mut server = server().without_worker();
    server.add_url(SITE_1, "http://www.other.com:80/").unwrap();
    server.control(W3SVC, remove("http://*:80/")).unwrap();
    let client = server.request("/");
    assert_eq!(server.status(client), Some(400));
    assert_eq!(server.reasons(), [ReasonPhrase::Hostname]);
}

#[test]
fn the_connection_over_the_sites_limit_gets_503_until_one_closes() {
    let mut server = server().connections_max(2).with_worker();
    let first = server.request("/");
    server.request("/");
    let third = server.request("/");
    assert_eq!(server.status(third), Some(503));
    assert_eq!(server.reasons(), [ReasonPhrase::ConnLimit]);
    server.input(Input::Reset { connection: first });
    let fourth = server.request("/");
    assert_eq!(server.closed(fourth), None);
}

#[test]
fn a_url_with_more_segments_than_its_site_takes_is_400_url_whatever_its_queue_does_with_503() {
    for (limit, path, status) in [
        (3, "/a/b/c", None),
        (3, "/a/b/c/?d/e/f", None),
        (3, "/a/b/c/d/../", None),
        (3, "/a/b/c/d", Some(400)),
        (3, "/a/b/c//", Some(400)),
        (3, "/a/b%5Cc/d", Some(400)),
        (0, &"/a".repeat(255), None),
        (16_383, &"/a".repeat(256), Some(400)),
    ] {
        let mut server = server().url_segments_max(limit).resetting().with_worker();
        let client = server.request(path);
        assert_eq!(server.status(client), status, "{path}");
        if status.is_some() {
            assert_eq!(server.reasons(), [ReasonPhrase::Url], "{path}");
        }
    }
}

#[test]
fn with_basic_verbosity_the_connection_over_the_limit_is_reset() {
    let mut server = server().connections_max(1).resetting().with_worker();
    server.request("/");
    let second = server.request("/");
    assert_eq!(server.heard(second), "");
    assert_eq!(server.closed(second), Some(CloseHow::Reset));
}

#[test]
fn an_application_whose_path_has_a_blank_is_found_by_what_is_escaped_in_a_request() {
    let mut server = server().without_worker();
    server.worker(W3WP, 10);
    for (registered, asked) in [
        ("my app", "/my%20app/x"),
        ("c#", "/C%23/x"),
        ("50%", "/50%25/x"),
        ("%41", "/%2541"),
    ] {
        server.control(W3SVC, remove("http://*:80/")).ok();
        let url = format!("http://*:80/{registered}/");
        server.add_url(SITE_1, &url).unwrap();
        server.request(asked);
        assert!(server.receive(W3WP).is_some(), "{asked}");
    }
}

/// The server's address, and a URL for it and nobody else.
const BOUND: Endpoint = Endpoint {
    address: Some(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 80))),
    ..PORT_80
};
const BOUND_URL: &str = "http://192.0.2.80:80:192.0.2.80/";

#[test]
fn a_url_of_one_address_wins_over_that_of_all_from_the_next_request_on() {
    let mut server = server().without_worker();
    server.worker(W3WP, 10);
    let early = server.connect();
    server.get(early, "/");
    assert_eq!(server.answer(W3WP, page("all")).url_context, UrlContext(7));
    let add = ControlCall::AddUrl {
        group: SITE_1,
        url: BOUND_URL.into(),
        context: UrlContext(8),
    };
    server.control(W3SVC, add).unwrap();
    let late = server.connect_to(BOUND);
    for client in [early, late] {
        server.get(client, "/");
        assert_eq!(server.answer(W3WP, page("one")).url_context, UrlContext(8));
    }
}

#[test]
fn a_connection_stays_as_long_as_any_url_of_its_address_and_port() {
    let mut server = server().without_worker();
    server.worker(W3WP, 10);
    server.add_url(SITE_1, BOUND_URL).unwrap();
    let (one, all) = (server.connect_to(BOUND), server.connect());
    server.control(W3SVC, remove(BOUND_URL)).unwrap();
    server.get(one, "/");
    server.answer(W3WP, page("all"));
    assert_eq!(server.status(one), Some(200));

    server.add_url(SITE_1, BOUND_URL).unwrap();
    server.control(W3SVC, remove("http://*:80/")).unwrap();
    assert_eq!((server.closed(one), server.closed(all)), (None, None));
    server.control(W3SVC, remove(BOUND_URL)).unwrap();
    let reset = Some(CloseHow::Reset);
    assert_eq!((server.closed(one), server.closed(all)), (reset, reset));
}
