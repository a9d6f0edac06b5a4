//! Whatever clients, workers and controller do, in whatever order: every parsed request ends exactly
//! once, no invariant breaks, nothing panics.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::*;
use super::bench::*;
use crate::api::{ControlCall, DisabledReason, QueueState, Response};
use crate::counters::Counters;

#[derive(Clone, Debug)]
enum Step {
    Connect,
    Say(u8, u8),
    HalfClose(u8),
    Reset(u8),
    Written,
    Attach(u8),
    Receive(u8, u8),
    Respond(u8, u8, u8),
    Body(u8, u8, bool),
    Ask(u8, u8),
    Cancel(u8, u8),
    Shutdown(u8),
    Gone(u8),
    Queue(u8),
    DemandStart,
    Flush(u8),
    Url(u8),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let n = any::<u8>;
    prop_oneof![
        3 => Just(Step::Connect),
        12 => (n(), n()).prop_map(|(c, w)| Step::Say(c, w)),
        1 => n().prop_map(Step::HalfClose),
        1 => n().prop_map(Step::Reset),
        4 => Just(Step::Written),
        2 => n().prop_map(Step::Attach),
        5 => (n(), n()).prop_map(|(p, c)| Step::Receive(p, c)),
        10 => (n(), n(), n()).prop_map(|(p, r, k)| Step::Respond(p, r, k)),
        3 => (n(), n(), any::<bool>()).prop_map(|(p, r, m)| Step::Body(p, r, m)),
        3 => (n(), n()).prop_map(|(p, r)| Step::Ask(p, r)),
        1 => (n(), n()).prop_map(|(p, r)| Step::Cancel(p, r)),
        1 => n().prop_map(Step::Shutdown),
        1 => n().prop_map(Step::Gone),
        1 => n().prop_map(Step::Queue),
        1 => Just(Step::DemandStart),
        1 => n().prop_map(Step::Flush),
        1 => n().prop_map(Step::Url),
        2 => n().prop_map(Step::Wait),
    ]
}

const TEXTS: [&str; 9] = [
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /a HTTP/1.0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    "3\r\nabc\r\n0\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: h\r\nRange: bytes=1-2\r\nIf-None-Match: *\r\n",
    "\r\n",
];

fn responses(kind: u8) -> (Response, bool) {
    match kind % 8 {
        0 => (page("x"), false),
        1 | 2 => (cacheable("xyz"), false),
        3 => (page("part"), true),
        4 => (with_headers("Content-Length: 3\r\n", "ab"), kind >= 128),
        5 => (with_headers("Bad\r\n", ""), false),
        6 => (
            Response {
                status: 304,
                ..page("")
            },
            false,
        ),
        _ => (
            Response {
                disconnect: true,
                ..cacheable(&"y".repeat(20_000))
            },
            false,
        ),
    }
}

fn play(server: &mut Bench, clients: &mut Vec<ConnectionId>, step: &Step) {
    let client = |n: u8, clients: &[ConnectionId]| {
        clients.get(usize::from(n) % clients.len().max(1)).copied()
    };
    let process = |n: u8| ProcessId(100 + u32::from(n % 3));
    let request = |n: u8, server: &Bench| {
        let parsed = server.machine.tally.parsed;
        RequestId(parsed.saturating_sub(u64::from(n % 6)))
    };
    match *step {
        Step::Connect => clients.push(server.connect()),
        Step::Say(n, what) => {
            if let Some(id) = client(n, clients) {
                server.say(id, TEXTS[usize::from(what) % TEXTS.len()]);
            }
        }
        Step::HalfClose(n) => {
            if let Some(connection) = client(n, clients) {
                server.input(Input::HalfClosed { connection });
            }
        }
        Step::Reset(n) => {
            if let Some(connection) = client(n, clients) {
                server.input(Input::Reset { connection });
            }
        }
        Step::Written => server.write_all(),
        Step::Attach(n) => {
            let by = process(n);
            server.input(Input::Attached { process: by });
            let _ = server.control(by, ControlCall::OpenRequestQueue { name: pool() });
        }
        Step::Receive(n, credits) => {
            server.call(
                process(n),
                Call::ReceiveRequest {
                    credits: u32::from(credits % 4),
                },
            );
        }
        Step::Respond(n, r, kind) => {
            let (response, more) = responses(kind);
            let request = request(r, server);
            server.call(
                process(n),
                Call::SendResponse {
                    request,
                    response,
                    more,
                },
            );
        }
        Step::Body(n, r, more) => {
            let request = request(r, server);
            let body = Bytes::from_static(b"z");
            server.call(
                process(n),
                Call::SendEntityBody {
                    request,
                    body,
                    more,
                },
            );
        }
        Step::Ask(n, r) => {
            let request = request(r, server);
            server.call(process(n), Call::ReceiveEntityBody { request });
        }
        Step::Cancel(n, r) => {
            let request = request(r, server);
            server.call(process(n), Call::CancelRequest { request });
        }
        Step::Shutdown(n) => {
            let _ = server.control(process(n), ControlCall::ShutdownRequestQueue);
        }
        Step::Gone(n) if n % 4 == 3 => {
            server.input(Input::Gone { process: W3SVC });
            server.input(Input::Attached { process: W3SVC });
            server.set_up();
        }
        Step::Gone(n) => server.input(Input::Gone {
            process: process(n),
        }),
        Step::Queue(n) if n % 4 == 0 => {
            server.queue_state(QueueState::Inactive(DisabledReason::AppOffline));
        }
        Step::Queue(_) => server.queue_state(QueueState::Active),
        Step::DemandStart => {
            let _ = server.wait_for_demand_start();
        }
        Step::Flush(n) => {
            let url = (n % 2 == 0).then(|| "/a".to_owned());
            let call = ControlCall::FlushResponseCache {
                queue: pool(),
                url,
                recursive: n > 9,
            };
            server.control(W3SVC, call).unwrap();
        }
        Step::Url(n) => {
            let url = "http://*:80/".to_owned();
            let _ = if n % 3 == 0 {
                let call = ControlCall::RemoveUrl { group: SITE_1, url };
                server.control(W3SVC, call).map(|_| ())
            } else {
                server.add_url(SITE_1, &url)
            };
        }
        Step::Wait(n) => server.wait_seconds(u64::from(n)),
    }
}

fn is_end(fact: &Fact) -> Option<RequestId> {
    match fact {
        Fact::SendComplete { request, .. }
        | Fact::FastResp { request, .. }
        | Fact::SrvdFrmCache { request, .. }
        | Fact::Dropped { request, .. } => Some(*request),
        _ => None,
    }
}

fn check_book(server: &Bench, basic_only: bool) {
    let mut ends: BTreeMap<RequestId, u32> = BTreeMap::new();
    for fact in &server.facts {
        if let Fact::Parse { request, .. } = fact {
            assert_eq!(
                ends.insert(*request, 0),
                None,
                "{request:?} was parsed twice"
            );
        } else if let Some(request) = is_end(fact) {
            *ends.get_mut(&request).expect("only parsed requests end") += 1;
        }
    }
    let answered = |counters: &Counters| -> u64 {
        let sites = counters.web_service.values();
        sites.map(|site| site.total_method_requests).sum()
    };
    let mut counters = Counters::default();
    // What was counted before the last queue was closed.
    let mut before = 0;
    for fact in &server.facts {
        let counted = answered(&counters);
        counters.record(fact, server.now);
        before += counted.saturating_sub(answered(&counters));
    }
    assert_eq!(
        before + answered(&counters),
        server.site_log().len() as u64,
        "PerfMon and the site's log agree"
    );
    let once = ends.values().all(|&n| n == 1 || (basic_only && n == 0));
    assert!(once, "every parsed request ends exactly once: {ends:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_parsed_request_ends_exactly_once(
        steps in vec(step(), 1..120),
        writes in any::<bool>(),
        limited in any::<bool>(),
    ) {
        let setup = if limited { server().queue_length(2).connections_max(3) } else { server().resetting() };
        let mut server = setup.without_worker();
        server.writes = writes;
        let mut clients = Vec::new();
        for step in steps {
            play(&mut server, &mut clients, &step);
        }
        check_book(&server, true);
        for &connection in &clients {
            server.input(Input::Reset { connection });
        }
        for process in [W3WP, W3WP_2, ProcessId(102), W3SVC] {
            server.input(Input::Gone { process });
        }
        check_book(&server, false);
        server.wait_seconds(100_000);
        let opened = server.count(|f| matches!(f, Fact::ConnConnect { .. }));
        let cleaned = server.count(|f| matches!(f, Fact::ConnCleanup { .. }));
        prop_assert_eq!(opened, cleaned, "every connection is cleaned up once");
        let cached = server.machine.service_state().cache_entries;
        prop_assert_eq!(cached, 0);
        prop_assert!(server.machine.zombies.is_empty());
    }
}
