//! Services as IIS 6 stopped them, and what is logged when a stop takes too long.

use std::time::Duration;

use super::bench::{Bench, server};
use super::{Input, Personality};
use crate::control::{Answer, Command, ObjectState, Refusal, Service};
use crate::event_log::WorkerExit;

fn stop(server: &mut Bench, force: bool) -> Option<Answer> {
    server.ask(Command::StopServices {
        services: vec![Service::Was, Service::W3svc],
        timeout_ms: 20_000,
        force,
        reset_by: None,
    })
}

/// An iisreset's stop; nobody is told how it ends if it was interrupted.
fn reset(server: &mut Bench, force: bool) -> Option<Answer> {
    server.ask(Command::StopServices {
        services: vec![Service::Was, Service::W3svc],
        timeout_ms: 20_000,
        force,
        reset_by: Some("admin".to_owned()),
    })
}

#[test]
fn a_reset_tells_of_a_kill_if_something_was_killed() {
    let mut server = server().up_with_worker();
    server.stops = false;
    reset(&mut server, true);
    server.pass(Duration::from_secs(20));
    let is_reset = |id: &u16| (3201..=3204).contains(id);
    let told: Vec<u16> = server.events().into_iter().filter(is_reset).collect();
    assert_eq!(told, [3204, 3202]);

    let mut slow = iis6();
    reset(&mut slow, true);
    slow.pass(Duration::from_secs(24));
    slow.exit(1, WorkerExit::Code(0));
    let told: Vec<u16> = slow.events().into_iter().filter(is_reset).collect();
    assert_eq!(told, [3202]);
}

#[test]
fn a_reset_that_may_not_kill_tells_that_it_has_failed_and_nothing_later() {
    let mut server = server().up_with_worker();
    server.stops = false;
    reset(&mut server, false);
    server.pass(Duration::from_secs(20));
    assert_eq!(server.answer(), Some(Answer::Refused(Refusal::TimedOut)));
    server.exit(1, WorkerExit::Code(0));
    let told = server.events().into_iter().filter(|id| *id == 3202);
    assert_eq!(told.count(), 1);
    assert!(server.has("WAS Stopped"));
}

fn iis6() -> Bench {
    let mut server = server()
        .with_personality(Personality::Iis6)
        .up_with_worker();
    server.stops = false;
    server
}

#[test]
fn iis_6_refuses_first_lets_running_requests_finish_and_then_takes_the_urls() {
    let mut server = iis6();
    assert_eq!(stop(&mut server, true), None);
    assert!(server.has("stop 1 ServiceStop drain"));
    assert!(!server.has("close group of site 1"), "connections are open");
    server.pass(Duration::from_secs(50));
    assert_eq!(server.answer(), None, "a request of 50 s is waited for");
    server.exit(1, WorkerExit::Code(0));
    assert_eq!(server.answer(), Some(Answer::Done));
    let order = [
        "W3SVC StopPending",
        "queue DefaultAppPool Inactive(Disabled)",
        "stop 1 ServiceStop drain",
        "exited 1",
        "close queue DefaultAppPool",
        "close group of site 1",
        "W3SVC Stopped",
        "WAS Stopped",
    ];
    let places: Vec<usize> = order.iter().map(|line| server.place(line)).collect();
    assert!(places.is_sorted(), "{:#?}", server.lines);
}

#[test]
fn sites_are_stopping_while_w3svc_is() {
    let mut server = iis6();
    let states = |server: &mut Bench| -> Vec<ObjectState> {
        match server.ask(Command::ListSites) {
            Some(Answer::Sites(sites)) => sites.iter().map(|site| site.state).collect(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(states(&mut server), [ObjectState::Started]);
    stop(&mut server, true);
    assert_eq!(states(&mut server), [ObjectState::Stopping]);
    server.exit(1, WorkerExit::Code(0));
    assert_eq!(states(&mut server), [ObjectState::Unknown]);
}

#[test]
fn a_forced_stop_ends_one_that_was_given_up() {
    let mut server = server().up_with_worker();
    server.stops = false;
    assert_eq!(stop(&mut server, false), None);
    let refused = stop(&mut server, true);
    assert!(
        matches!(refused, Some(Answer::Refused(_))),
        "somebody waits for the first: {refused:?}"
    );
    server.pass(Duration::from_secs(20));
    assert_eq!(server.pids(), [1], "it hangs, and nobody waits any more");
    assert!(matches!(stop(&mut server, false), Some(Answer::Refused(_))));
    assert_eq!(stop(&mut server, true), None);
    server.pass(Duration::from_secs(20));
    assert_eq!(server.answer(), Some(Answer::Done));
    assert!(server.pids().is_empty(), "it was killed");
}

#[test]
fn what_iis_6_waits_for_has_the_workers_own_limit() {
    let mut server = iis6();
    stop(&mut server, false);
    server.pass(Duration::from_secs(90));
    assert_eq!(server.events(), [5013, 7036, 7036]);
    assert_eq!(server.answer(), Some(Answer::Done));
}

#[test]
fn quitting_does_not_wait_as_iis_6_does() {
    let mut server = iis6();
    stop(&mut server, true);
    server.ask(Command::Quit);
    assert!(server.has("stop 1 ServiceStop at once"));
    server.pass(Duration::from_secs(2));
    assert!(server.stopped && server.pids().is_empty());
}

#[test]
fn a_worker_that_holds_up_a_stop_is_named_before_it_is_killed() {
    let mut server = server().up_with_worker();
    server.stops = false;
    stop(&mut server, true);
    server.pass(Duration::from_secs(20));
    assert!(server.place("event 5138") < server.place("kill 1"));
    assert!(!server.events().contains(&5013), "its own limit is longer");
}

#[test]
fn in_iis_6_the_limits_of_the_server_wait_until_w3svc_starts_again() {
    for (personality, at_once) in [(Personality::Iis10, true), (Personality::Iis6, false)] {
        for services in [vec![Service::W3svc], vec![Service::Was, Service::W3svc]] {
            let mut server = server().with_personality(personality).up_with_worker();
            let holds = |server: &Bench| {
                let limits = &server.was.web_limits;
                let is_told = server.has("site 1 waits 5 s for headers");
                assert_eq!(limits.demand_start_threshold == 7, is_told);
                is_told
            };
            let limits = &mut server.configuration.web_limits;
            limits.header_wait_timeout = Duration::from_secs(5);
            limits.demand_start_threshold = 7;
            let changed = server.configuration.clone();
            server.input(Input::ConfigChanged(Ok(changed)));
            assert_eq!(holds(&server), at_once, "{personality}");
            // Nor does the next change of something else bring it.
            server.configuration.sites[0].limits.max_connections = Some(9);
            let changed = server.configuration.clone();
            server.input(Input::ConfigChanged(Ok(changed)));
            assert_eq!(holds(&server), at_once, "{personality}");
            server.ask(Command::StopServices {
                services: services.clone(),
                timeout_ms: 20_000,
                force: true,
                reset_by: None,
            });
            server.ask(Command::StartServices { services });
            assert!(holds(&server), "{personality}");
        }
    }
}
