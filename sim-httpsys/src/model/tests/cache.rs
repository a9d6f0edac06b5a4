//! The kernel response cache.

use bytes::Bytes;

use super::super::*;
use super::bench::*;
use crate::api::{
    CachePolicy, ControlCall, DisabledReason, QueueState, RequestQueueName, Response, UrlContext,
};
use crate::counters::Counters;
use crate::etw::CacheRemoval;

/// A server whose cache holds `/a.htm`.
fn warm() -> (Bench, ConnectionId) {
    warm_with(server(), cacheable("0123456789"))
}

fn warm_with(setup: Setup, response: Response) -> (Bench, ConnectionId) {
    let mut server = setup.with_worker();
    let client = server.request("/a.htm");
    server.answer(W3WP, response);
    server.heard(client);
    (server, client)
}

fn is_hit(server: &mut Bench, client: ConnectionId, headers: &str) -> bool {
    let hits = server.count(|f| matches!(f, Fact::SrvdFrmCache { .. }));
    server.say(
        client,
        &format!("GET /a.htm HTTP/1.1\r\nHost: www.example.com\r\n{headers}\r\n"),
    );
    server.count(|f| matches!(f, Fact::SrvdFrmCache { .. })) > hits
}

fn removals(server: &Bench) -> Vec<CacheRemoval> {
    let why = |f: &Fact| match f {
        Fact::CacheRemove { why, .. } => Some(*why),
        _ => None,
    };
    server.facts.iter().filter_map(why).collect()
}

fn flush(server: &mut Bench, url: Option<&str>, recursive: bool) {
    let url = url.map(str::to_owned);
    server
        .control(
            W3SVC,
            ControlCall::FlushResponseCache {
                queue: pool(),
                url,
                recursive,
            },
        )
        .unwrap();
}

#[test]
fn a_hit_is_the_same_answer_without_the_worker() {
    let mut server = server().with_worker();
    let client = server.request("/a.htm");
    server.answer(W3WP, cacheable("0123456789"));
    let first = server.heard(client);
    assert!(is_hit(&mut server, client, ""));
    assert_eq!(server.heard(client), first);
    assert!(server.receive(W3WP).is_none());
    assert_eq!(server.site_log(), [(200, 0), (200, 0)]);
}

#[test]
fn what_is_asked_for_often_is_looked_up_anew_when_the_cache_has_changed() {
    let (mut server, client) = warm();
    for _ in 0..5 {
        assert!(is_hit(&mut server, client, ""));
    }
    flush(&mut server, None, false);
    for response in [page("x"), page("x"), cacheable("new")] {
        assert!(!is_hit(&mut server, client, ""));
        server.answer(W3WP, response);
    }
    server.heard(client);
    assert!(is_hit(&mut server, client, ""));
    assert!(server.heard(client).ends_with("\r\n\r\nnew"));
}

/// A server with an application below that of its root, and a page of each in its cache.
fn with_application() -> Bench {
    let mut server = server().without_worker();
    server.worker(W3WP, 100);
    let add = ControlCall::AddUrl {
        group: SITE_1,
        url: "http://*:80/app/".into(),
        context: UrlContext(9),
    };
    server.control(W3SVC, add).unwrap();
    for path in ["/app/a.htm", "/b.htm"] {
        server.request(path);
        server.answer(W3WP, cacheable("0123456789"));
    }
    server
}

#[test]
fn what_was_made_under_a_url_goes_with_it() {
    let mut server = with_application();
    let remove = ControlCall::RemoveUrl {
        group: SITE_1,
        url: "http://*:80/app/".into(),
    };
    server.control(W3SVC, remove).unwrap();
    assert_eq!(removals(&server), [CacheRemoval::Flushed]);
    let client = server.request("/b.htm");
    assert_eq!(server.status(client), Some(200));
    server.request("/app/a.htm");
    let request = server.receive(W3WP).expect("no entry is left for it");
    assert_ne!(request.url_context, UrlContext(9));
}

#[test]
fn what_was_made_under_a_url_goes_when_its_group_does_or_another_takes_it() {
    let mut server = with_application();
    let give = ControlCall::MoveUrl {
        from: SITE_1,
        group: SITE_1,
        url: "http://*:80/app/".into(),
        context: UrlContext(10),
    };
    server.control(W3SVC, give).unwrap();
    assert_eq!(removals(&server), [CacheRemoval::Flushed]);
    let close = ControlCall::CloseUrlGroup { group: SITE_1 };
    server.control(W3SVC, close).unwrap();
    assert_eq!(removals(&server), [CacheRemoval::Flushed; 2]);
}

#[test]
fn what_comes_for_a_url_that_has_gone_meanwhile_is_answered_and_not_kept() {
    let mut server = with_application();
    let removed = removals(&server).len();
    let url = || "http://*:80/app/".to_owned();
    let client = server.request("/app/late.htm");
    let remove = ControlCall::RemoveUrl {
        group: SITE_1,
        url: url(),
    };
    server.control(W3SVC, remove).unwrap();
    server.answer(W3WP, cacheable("late"));
    assert_eq!(server.status(client), Some(200));
    // It comes back: nothing of before is there.
    let add = ControlCall::AddUrl {
        group: SITE_1,
        url: url(),
        context: UrlContext(9),
    };
    server.control(W3SVC, add).unwrap();
    server.request("/app/late.htm");
    assert!(server.receive(W3WP).is_some(), "it was kept");
    assert_eq!(removals(&server).len(), removed + 1);
}

#[test]
fn a_page_of_the_application_above_is_not_one_of_that_which_was_added() {
    let mut server = server().without_worker();
    server.worker(W3WP, 100);
    server.request("/app/a.htm");
    server.answer(W3WP, cacheable("0123456789"));
    let add = ControlCall::AddUrl {
        group: SITE_1,
        url: "http://*:80/app/".into(),
        context: UrlContext(9),
    };
    server.control(W3SVC, add).unwrap();
    server.request("/app/a.htm");
    let request = server
        .receive(W3WP)
        .expect("no entry is of that application");
    assert_eq!(request.url_context, UrlContext(9));
}

#[test]
fn the_date_of_a_hit_is_the_present_one() {
    let (mut server, client) = warm();
    server.wait_seconds(3);
    assert!(is_hit(&mut server, client, ""));
    assert!(
        server
            .heard(client)
            .contains("Date: Sun, 06 Nov 1994 08:49:40 GMT\r\n")
    );
}

#[test]
fn a_large_body_is_cached_up_to_the_limit() {
    for (length, cached) in [(262_144, true), (262_145, false)] {
        let (mut server, client) = warm_with(server(), cacheable(&"x".repeat(length)));
        assert_eq!(is_hit(&mut server, client, ""), cached);
        assert_eq!(server.heard(client).len() > length, cached);
    }
}

#[test]
fn no_cache_in_a_request_is_ignored() {
    let (mut server, client) = warm();
    for header in ["Cache-Control: no-cache\r\n", "Pragma: no-cache\r\n"] {
        assert!(is_hit(&mut server, client, header));
    }
}

#[test]
fn authorization_bypasses_and_leaves_the_entry() {
    let (mut server, client) = warm();
    assert!(!is_hit(
        &mut server,
        client,
        "Authorization: Basic eA==\r\n"
    ));
    server.answer(W3WP, cacheable("secret"));
    assert!(is_hit(&mut server, client, ""));
    assert!(server.heard(client).ends_with("0123456789"));
}

#[test]
fn other_verbs_bypass_and_leave_the_entry() {
    let (mut server, client) = warm();
    for range in ["", "Range: bytes=0-1\r\n"] {
        server.say(
            client,
            &format!("HEAD /a.htm HTTP/1.1\r\nHost: www.example.com\r\n{range}\r\n"),
        );
        server.answer(W3WP, cacheable(""));
        assert_eq!(server.status(client), Some(200), "{range}");
    }
    assert!(is_hit(&mut server, client, ""));
}

#[test]
fn the_query_and_the_host_are_part_of_the_key() {
    let (mut server, client) = warm();
    server.get(client, "/a.htm?x=1");
    server.answer(W3WP, page("other query"));
    server.say(client, "GET /a.htm HTTP/1.1\r\nHost: other\r\n\r\n");
    server.answer(W3WP, page("other host"));
    assert!(is_hit(&mut server, client, ""));
}

#[test]
fn a_response_that_may_not_be_kept_is_not() {
    let cases = [
        ("no policy", page("x")),
        (
            "no content type",
            Response {
                headers: Bytes::new(),
                ..cacheable("x")
            },
        ),
        (
            "206",
            Response {
                status: 206,
                ..cacheable("x")
            },
        ),
        (
            "TTL 0",
            Response {
                cache_policy: CachePolicy::TimeToLive(0),
                ..page("x")
            },
        ),
        (
            "long head",
            Response {
                headers: Bytes::from(format!("Content-Type: a/b\r\nX: {}\r\n", "x".repeat(1100))),
                ..cacheable("x")
            },
        ),
    ];
    for (why, response) in cases {
        let (mut server, client) = warm_with(server(), response);
        assert!(!is_hit(&mut server, client, ""), "{why}");
    }
    let off = |p: &mut Parameters| p.uri_enable_cache = false;
    let (mut server, client) = warm_with(server().parameters(off), cacheable("x"));
    assert!(!is_hit(&mut server, client, ""), "UriEnableCache 0");
}

#[test]
fn a_response_in_two_sends_is_not_kept() {
    let mut server = server().with_worker();
    let client = server.request("/a.htm");
    let request = server.receive(W3WP).unwrap().id;
    let headers = Bytes::from_static(b"Content-Type: a/b\r\nContent-Length: 2\r\n");
    let response = Response {
        headers,
        ..cacheable("x")
    };
    server.call(
        W3WP,
        Call::SendResponse {
            request,
            response,
            more: true,
        },
    );
    server.call(
        W3WP,
        Call::SendEntityBody {
            request,
            body: Bytes::from("y"),
            more: false,
        },
    );
    assert!(!is_hit(&mut server, client, ""));
}

#[test]
fn an_error_page_may_be_kept() {
    let (mut server, client) = warm_with(
        server(),
        Response {
            status: 404,
            ..cacheable("none")
        },
    );
    assert!(is_hit(&mut server, client, ""));
    assert_eq!(server.status(client), Some(404));
}

#[test]
fn a_time_to_live_ends() {
    let ttl = Response {
        cache_policy: CachePolicy::TimeToLive(10),
        ..page("x")
    };
    let (mut server, client) = warm_with(server(), ttl);
    server.wait_seconds(9);
    assert!(is_hit(&mut server, client, ""));
    server.wait_seconds(1);
    assert!(!is_hit(&mut server, client, ""));
    assert_eq!(removals(&server), [CacheRemoval::Expired]);
}

#[test]
fn the_scavenger_takes_what_nobody_asked_for() {
    let (mut server, client) = warm();
    server.wait_seconds(100);
    assert!(is_hit(&mut server, client, ""));
    server.wait_seconds(100);
    assert!(removals(&server).is_empty());
    server.wait_seconds(140);
    assert_eq!(removals(&server), [CacheRemoval::Scavenged]);
}

#[test]
fn a_range_of_an_entry_is_206() {
    let (mut server, client) = warm();
    for (range, body, says) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=5-99", "56789", "bytes 5-9/10"),
    ] {
        assert!(is_hit(&mut server, client, &format!("Range: {range}\r\n")));
        let heard = server.heard(client);
        assert!(heard.starts_with("HTTP/1.1 206 Partial Content\r\n"));
        assert!(
            heard.contains(&format!("Content-Range: {says}\r\n")),
            "{heard}"
        );
        assert!(heard.ends_with(&format!("Content-Length: {}\r\n\r\n{body}", body.len())));
    }
    assert!(is_hit(&mut server, client, "Range: bytes=0-1,3-4\r\n"));
    let heard = server.heard(client);
    assert!(heard.starts_with("HTTP/1.1 206 Partial Content\r\n"));
    assert!(heard.contains("Content-Type: multipart/byteranges; boundary="));
    for part in ["bytes 0-1/10\r\n\r\n01\r\n", "bytes 3-4/10\r\n\r\n34\r\n"] {
        assert!(heard.contains(part), "{heard}");
    }
    assert!(
        !is_hit(&mut server, client, "Range: bytes=10-\r\n"),
        "what there is not is the worker's to say"
    );
}

#[test]
fn a_range_that_overflows_is_refused_before_the_cache_is_asked() {
    let (mut server, client) = warm();
    let range = "Range: bytes=3-18446744073709551615\r\n";
    assert!(!is_hit(&mut server, client, range));
    assert_eq!(server.status(client), Some(400));
    assert_eq!(server.error_log(), [(Some(400), ReasonPhrase::Header)]);
}

#[test]
fn a_condition_that_holds_is_304() {
    let headers = "Content-Type: a/b\r\nETag: \"v1\"\r\n\
                   Last-Modified: Sat, 05 Nov 1994 08:49:37 GMT\r\n";
    let response = Response {
        cache_policy: CachePolicy::UserInvalidates,
        ..with_headers(headers, "body")
    };
    let (mut server, client) = warm_with(server(), response);
    for (condition, status) in [
        ("If-None-Match: \"v1\"\r\n", 304),
        ("If-None-Match: \"v0\", W/\"v1\"\r\n", 304),
        ("If-None-Match: \"v2\"\r\n", 200),
        ("If-None-Match: \"v0\"\r\nIf-None-Match: \"v1\"\r\n", 304),
        ("If-Modified-Since: Sat, 05 Nov 1994 08:49:37 GMT\r\n", 304),
        ("If-Modified-Since: Sun, 06 Nov 1994 00:00:00 GMT\r\n", 304),
        ("If-Modified-Since: Fri, 04 Nov 1994 00:00:00 GMT\r\n", 200),
        (
            "If-Modified-Since: Saturday, 05-Nov-94 08:49:37 GMT\r\n",
            304,
        ),
        ("If-Modified-Since: Sat Nov  5 08:49:37 1994\r\n", 304),
        ("If-Modified-Since: Fri Nov  4 00:00:00 1994\r\n", 200),
        ("If-Modified-Since: nonsense\r\n", 200),
    ] {
        assert!(is_hit(&mut server, client, condition));
        assert_eq!(server.status(client), Some(status), "{condition}");
    }
}

#[test]
fn a_precondition_is_the_workers_business() {
    for condition in [
        "If-Match: \"v1\"\r\n",
        "If-Unmodified-Since: Sat, 05 Nov 1994 08:49:37 GMT\r\n",
    ] {
        let (mut server, client) = warm();
        assert!(!is_hit(&mut server, client, condition), "{condition}");
    }
}

#[test]
fn http_1_0_gets_its_hit_with_close() {
    let (mut server, _) = warm();
    let client = server.connect();
    server.say(
        client,
        "GET /a.htm HTTP/1.0\r\nHost: www.example.com\r\n\r\n",
    );
    let heard = server.heard(client);
    assert!(
        heard.contains("Connection: close\r\n") && heard.ends_with("0123456789"),
        "{heard}"
    );
    assert_eq!(server.closed(client), Some(CloseHow::AfterSending));
}

#[test]
fn a_flush_takes_its_url_and_recursively_what_lies_below() {
    for (url, recursive, gone) in [
        (Some("/a.htm"), false, true),
        (Some("/A.HTM"), false, true),
        (Some("http://x:80/a.htm?q"), false, true),
        (Some("/a"), true, false),
        (Some("/"), false, false),
        (Some("/"), true, true),
        (None, false, true),
    ] {
        let (mut server, client) = warm();
        flush(&mut server, url, recursive);
        assert_eq!(
            !is_hit(&mut server, client, ""),
            gone,
            "{url:?} {recursive}"
        );
    }
}

#[test]
fn a_flush_knows_a_path_raw_and_decoded_and_is_not_misled_by_a_query() {
    for flushed in ["/a%20b", "/a b", "/A B"] {
        let mut server = server().with_worker();
        let client = server.request("/a%20b?to=http://x/y");
        server.answer(W3WP, cacheable("x"));
        flush(&mut server, Some("/y"), true);
        server.get(client, "/a%20b?to=http://x/y");
        assert!(server.receive(W3WP).is_none());
        flush(&mut server, Some(flushed), false);
        assert_eq!(removals(&server), [CacheRemoval::Flushed], "{flushed}");
    }
}

#[test]
fn entries_go_with_the_worker_that_made_them_or_stay_as_the_parameters_say() {
    let keep = |p: &mut Parameters| p.kernel_cache_on_worker_exit = CacheOnWorkerExit::Keep;
    for (setup, stays) in [(server(), false), (server().parameters(keep), true)] {
        let (mut server, client) = warm_with(setup, cacheable("x"));
        server.worker(W3WP_2, 10);
        server.input(Input::Gone { process: W3WP });
        assert_eq!(is_hit(&mut server, client, ""), stays);
    }
}

#[test]
fn a_worker_that_drains_keeps_its_entries_until_it_exits() {
    let (mut server, client) = warm();
    server
        .control(W3WP, ControlCall::ShutdownRequestQueue)
        .unwrap();
    assert!(is_hit(&mut server, client, ""));
}

#[test]
fn a_stopped_pool_and_a_closed_queue_lose_their_entries() {
    let (mut server, client) = warm();
    server.queue_state(QueueState::Inactive(DisabledReason::Disabled));
    assert!(!is_hit(&mut server, client, ""));
    assert_eq!(removals(&server), [CacheRemoval::Flushed]);
    let (mut server, _) = warm();
    server
        .control(W3SVC, ControlCall::CloseRequestQueue { queue: pool() })
        .unwrap();
    assert_eq!(removals(&server), [CacheRemoval::QueueClosed]);
}

#[test]
fn a_full_cache_takes_no_more() {
    let tiny = |p: &mut Parameters| p.response_cache_bytes_max = 100;
    let (mut server, client) = warm_with(server().parameters(tiny), cacheable("0123456789"));
    assert!(!is_hit(&mut server, client, ""));
}

#[test]
fn counters_are_a_fold_of_the_facts() {
    let (mut server, client) = warm();
    assert!(is_hit(&mut server, client, ""));
    server.get(client, "/other");
    server.input(Input::Gone { process: W3WP });
    server.request("/waits");
    let mut counters = Counters::default();
    for fact in &server.facts {
        counters.record(fact, server.now);
    }
    let cache = counters.web_service_cache;
    assert_eq!(
        (cache.kernel_uri_cache_hits, cache.kernel_uri_cache_misses),
        (1, 3)
    );
    assert_eq!(
        (
            cache.kernel_current_uris_cached,
            cache.kernel_total_flushed_uris
        ),
        (0, 1)
    );
    let queue = &counters.http_service_request_queues[&pool()];
    let state = &server.machine.service_state().request_queues[0];
    assert_eq!(queue.current_queue_size(), u64::from(state.queued));
    assert_eq!(
        (queue.arrivals, queue.cache_hits),
        (state.arrived, state.cache_hits)
    );
    assert_eq!(counters.web_service[&SiteId(1)].total_method_requests, 2);
    assert_eq!(
        queue
            .max_queue_item_age(server.now + core::time::Duration::from_secs(4))
            .as_secs(),
        4
    );
}

#[test]
fn the_counters_of_a_queue_go_with_it_and_those_of_sites_with_the_last() {
    let (mut server, client) = warm();
    assert!(is_hit(&mut server, client, ""));
    let mut counters = Counters::default();
    for fact in &server.facts {
        counters.record(fact, server.now);
    }
    let created = |name: &str| Fact::CreateRequestQueue {
        queue: RequestQueueName(name.into()),
    };
    let closed = |name: &str| Fact::CloseRequestQueue {
        queue: RequestQueueName(name.into()),
        waiting: 0,
    };
    counters.record(&created("Other"), server.now);
    counters.record(&closed(&pool().0), server.now);
    counters.record(&created(&pool().0), server.now);
    let queue = &counters.http_service_request_queues[&pool()];
    assert_eq!((queue.arrivals, queue.cache_hits), (0, 0));
    assert_eq!(counters.web_service[&SiteId(1)].total_method_requests, 2);
    counters.record(&closed(&pool().0), server.now);
    counters.record(&closed("Other"), server.now);
    let site = counters.web_service[&SiteId(1)];
    assert_eq!(site.total_method_requests, 0);
    assert_eq!(site.total_connection_attempts, 0);
    assert_eq!(site.current_connections, 1, "it is open");
    assert_eq!(
        counters.web_service_cache.kernel_uri_cache_hits, 1,
        "the driver's own"
    );
}
