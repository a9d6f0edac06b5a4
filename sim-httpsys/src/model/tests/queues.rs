//! Queues: limits, order, demand start, states.

use super::super::*;
use super::bench::*;
use crate::api::{ControlCall, DisabledReason, QueueState};
use crate::counters::Counters;

#[test]
fn a_full_queue_answers_503() {
    let mut server = server().queue_length(10).without_worker();
    server.requests(10);
    let eleventh = server.request("/");
    assert!(
        server
            .heard(eleventh)
            .starts_with("HTTP/1.1 503 Service Unavailable\r\n")
    );
    assert_eq!(server.closed(eleventh), Some(CloseHow::AfterSending));
    assert_eq!(server.error_log(), [(Some(503), ReasonPhrase::QueueFull)]);
}

#[test]
fn a_full_queue_with_basic_verbosity_resets() {
    let mut server = server().queue_length(1).resetting().without_worker();
    server.request("/");
    let second = server.request("/");
    assert_eq!(server.heard(second), "");
    assert_eq!(server.closed(second), Some(CloseHow::Reset));
    assert_eq!(server.error_log(), [(None, ReasonPhrase::QueueFull)]);
}

#[test]
fn a_rejected_request_is_one_that_its_queue_refused() {
    let read = |server: &Bench| {
        let mut counters = Counters::default();
        for fact in &server.facts {
            counters.record(fact, server.now);
        }
        let reading = counters.snapshot(server.now).request_queues.remove(0);
        let state = &server.machine.service_state().request_queues[0];
        assert_eq!(reading.rejected_requests, state.rejected);
        (reading.rejected_requests, reading.max_delivered_age_ms)
    };
    for setup in [server(), server().resetting()] {
        let mut server = setup.queue_length(1).without_worker();
        server.requests(2);
        assert_eq!(read(&server).0, 1, "a full queue");
        server.queue_state(QueueState::Inactive(DisabledReason::Disabled));
        assert_eq!(read(&server).0, 2, "a stopped pool refuses who waits");
    }
    let coded = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, rest) in [("zz\r\n", ""), ("2\r\nhe\r\n", "zz\r\n")] {
        let mut server = server().with_worker();
        let client = server.connect();
        server.say(client, &format!("{coded}{body}"));
        server.say(client, rest);
        assert_eq!(server.reasons(), [ReasonPhrase::Number]);
        server.wait_seconds(2);
        assert_eq!(read(&server), (0, 0), "a bad body, and nobody holds it now");
    }
}

#[test]
fn lowering_the_limit_evicts_nobody_and_refuses_until_there_is_room() {
    let mut server = server().queue_length(10).without_worker();
    server.requests(5);
    server.setup.queue.length = 3;
    server.queue_state(QueueState::Active);
    assert_eq!(server.machine.service_state().request_queues[0].queued, 5);
    server.request("/");
    assert_eq!(server.reasons(), [ReasonPhrase::QueueFull]);
    server.worker(W3WP, 3);
    server.request("/");
    assert_eq!(server.machine.service_state().request_queues[0].queued, 3);
}

#[test]
fn a_limit_of_0_is_no_limit() {
    let mut server = server().queue_length(0).without_worker();
    server.requests(2000);
    assert!(server.reasons().is_empty());
}

#[test]
fn requests_are_delivered_in_the_order_in_which_they_came() {
    let mut server = server().without_worker();
    let clients = server.requests(5);
    server.worker(W3WP, 10);
    for client in clients {
        assert_eq!(server.receive(W3WP).unwrap().connection, client);
    }
}

#[test]
fn two_workers_take_turns_by_who_posted_first() {
    let mut server = server().without_worker();
    server.worker(W3WP, 1);
    server.worker(W3WP_2, 1);
    let (first, second) = (server.request("/1"), server.request("/2"));
    assert_eq!(server.receive(W3WP).unwrap().connection, first);
    assert_eq!(server.receive(W3WP_2).unwrap().connection, second);
    let third = server.request("/3");
    server.call(W3WP_2, Call::ReceiveRequest { credits: 1 });
    assert_eq!(server.receive(W3WP_2).unwrap().connection, third);
}

#[test]
fn a_demand_start_fires_once_when_a_request_waits() {
    let mut server = server().without_worker();
    server.wait_for_demand_start().unwrap();
    assert_eq!(server.demand_starts(), 0);
    server.requests(3);
    assert_eq!(server.demand_starts(), 1);
}

#[test]
fn a_demand_start_fires_at_once_if_a_request_waits_already() {
    let mut server = server().without_worker();
    server.request("/");
    server.wait_for_demand_start().unwrap();
    assert_eq!(server.demand_starts(), 1);
}

#[test]
fn a_demand_start_fires_also_while_a_worker_has_a_receive_so_that_a_web_garden_grows() {
    let mut server = server().without_worker();
    server.worker(W3WP, 2);
    server.request("/");
    assert_eq!(server.demand_starts(), 0, "nobody waits for one");
    server.wait_for_demand_start().unwrap();
    server.request("/");
    assert_eq!(server.demand_starts(), 1);
}

#[test]
fn only_one_demand_start_may_be_outstanding_and_only_the_controllers() {
    let mut server = server().with_worker();
    server.wait_for_demand_start().unwrap();
    assert_eq!(
        server.wait_for_demand_start(),
        Err(Win32Error::AlreadyExists)
    );
    let by_worker = server.control(W3WP, ControlCall::WaitForDemandStart { queue: pool() });
    assert_eq!(by_worker, Err(Win32Error::InvalidIdAuthority));
}

#[test]
fn a_stopped_pool_answers_503_to_those_who_wait_and_those_who_come() {
    let mut server = server().without_worker();
    let waiting = server.request("/");
    server.queue_state(QueueState::Inactive(DisabledReason::Disabled));
    let coming = server.request("/");
    assert_eq!(server.status(waiting), Some(503));
    assert_eq!(server.status(coming), Some(503));
    assert_eq!(server.reasons(), [ReasonPhrase::Disabled; 2]);
}

#[test]
fn the_error_log_says_why_a_pool_is_off() {
    let mut server = server().without_worker();
    for (disabled, reason) in [
        (DisabledReason::AppOffline, ReasonPhrase::AppOffline),
        (DisabledReason::AppShutdown, ReasonPhrase::AppShutdown),
    ] {
        server.queue_state(QueueState::Inactive(disabled));
        server.request("/");
        assert_eq!(server.error_log().last(), Some(&(Some(503), reason)));
    }
}

#[test]
fn a_closed_queue_answers_503_to_those_who_wait_and_drops_what_is_held() {
    let mut server = server().without_worker();
    server.worker(W3WP, 1);
    let held = server.request("/");
    let waiting = server.request("/");
    server
        .control(W3SVC, ControlCall::CloseRequestQueue { queue: pool() })
        .unwrap();
    assert_eq!(server.status(waiting), Some(503));
    assert_eq!(server.closed(held), Some(CloseHow::Reset));
    assert_eq!(
        server.reasons(),
        [ReasonPhrase::NotAvailable, ReasonPhrase::RequestCancelled]
    );
    let later = server.request("/");
    assert_eq!(server.status(later), Some(503));
}

#[test]
fn a_closed_queue_with_basic_verbosity_resets_those_who_wait() {
    let mut server = server().resetting().without_worker();
    let waiting = server.request("/");
    server
        .control(W3SVC, ControlCall::CloseRequestQueue { queue: pool() })
        .unwrap();
    assert_eq!(server.closed(waiting), Some(CloseHow::Reset));
    assert_eq!(server.heard(waiting), "");
}

#[test]
fn only_the_controller_closes_or_changes_a_queue() {
    let mut server = server().with_worker();
    let close = ControlCall::CloseRequestQueue { queue: pool() };
    assert_eq!(
        server.control(W3WP, close),
        Err(Win32Error::InvalidIdAuthority)
    );
    let mut properties = server.setup.queue.clone();
    properties.length = 1;
    let change = ControlCall::SetRequestQueueProperties {
        queue: pool(),
        properties,
    };
    server.control(W3WP, change).unwrap();
    assert_eq!(
        server.machine.service_state().request_queues[0].length_max,
        1000
    );
}

#[test]
fn a_request_waits_for_ever_under_iis_and_for_its_time_otherwise() {
    let mut patient = server().without_worker();
    let client = patient.request("/");
    patient.wait_seconds(100_000);
    assert_eq!(patient.closed(client), None);

    let mut impatient = server().queue_time(30).without_worker();
    let client = impatient.request("/");
    impatient.wait_seconds(31);
    assert_eq!(impatient.closed(client), Some(CloseHow::Reset));
    assert_eq!(impatient.error_log(), [(None, ReasonPhrase::TimerReqQueue)]);
}

#[test]
fn a_client_that_leaves_the_queue_is_never_delivered() {
    let mut server = server().without_worker();
    let gone = server.request("/");
    let stays = server.request("/");
    server.input(Input::Reset { connection: gone });
    server.worker(W3WP, 10);
    assert_eq!(server.receive(W3WP).unwrap().connection, stays);
    assert_eq!(server.error_log(), [(None, ReasonPhrase::ClientReset)]);
}
