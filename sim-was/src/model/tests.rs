//! What WAS does, as stories.

use std::time::Duration;

use sim_httpsys::clockwork::{Instant, StateMachine};
use sim_worker::ipm::{FromWorker, RecycleReason};

use super::Input;
use super::bench::{POOL, pool, seconds, server, site};
use crate::control::{
    Answer, Command, ObjectState, Refusal, Service, ServiceStatus, WorkerProcessState,
};
use crate::event_log::WorkerExit;

fn failed(hresult: u32) -> impl Fn(&Option<Answer>) -> bool {
    move |answer| matches!(answer, Some(Answer::Refused(Refusal::Failed { hresult: h, .. })) if *h == hresult)
}

// ---- demand start -------------------------------------------------------------------------------

#[test]
fn no_worker_exists_before_the_first_request() {
    let mut server = server().up();
    assert!(server.pids().is_empty());
    server.request(POOL);
    assert_eq!(server.pids(), [1]);
    server.request(POOL);
    assert_eq!(server.pids(), [1], "one worker per place");
}

#[test]
fn an_always_running_pool_starts_with_the_service() {
    let server = server().with_pool(|p| p.always_running = true).up();
    assert_eq!(server.pids(), [1]);
}

#[test]
fn an_always_running_worker_that_ends_is_started_again() {
    let mut server = server().with_pool(|p| p.always_running = true).up();
    server.tell(1, FromWorker::Idle);
    assert_eq!(server.events(), [5186]);
    assert_eq!(server.pids(), [2]);
}

#[test]
fn a_frozen_worker_is_woken_to_be_recycled_by_the_clock() {
    let mut server = server()
        .with_pool(|p| p.process_model.idle_suspend = true)
        .up_with_worker();
    server.wake_in = Some(seconds(3600));
    server.tell(1, FromWorker::Idle);
    assert!(server.has("suspend 1"));
    server.pass(seconds(3599));
    assert!(!server.has("resume 1"));
    server.pass(seconds(1));
    assert!(server.has("resume 1"));
    let reason = RecycleReason::Schedule;
    server.tell(1, FromWorker::RequestRecycle { reason });
    assert_eq!(server.pids(), [2]);
}

#[test]
fn a_web_garden_grows_with_demand_up_to_its_size() {
    let mut server = server()
        .with_pool(|p| p.process_model.max_processes = 2)
        .up();
    server.request(POOL);
    server.request(POOL);
    server.request(POOL);
    assert_eq!(server.pids(), [1, 2]);
}

// ---- recycle ------------------------------------------------------------------------------------

#[test]
fn an_overlapped_recycle_starts_the_new_worker_before_it_stops_the_old_one() {
    let mut server = server().up_with_worker();
    server.starts = false;
    assert_eq!(server.recycle(POOL), Some(Answer::Done));
    assert_eq!(server.pids(), [1, 2]);
    assert!(!server.has("stop 1 Recycle drain"), "the old one serves on");
    server.ready(2);
    assert!(server.place("ready 2") < server.place("stop 1 Recycle drain"));
    assert_eq!(server.pids(), [2]);
    assert_eq!(server.events(), [5079]);
}

#[test]
fn without_overlap_the_old_worker_goes_first_and_the_new_one_waits_for_work() {
    let mut server = server()
        .with_pool(|p| p.recycling.disallow_overlapping_rotation = true)
        .up_with_worker();
    server.stops = false;
    server.recycle(POOL);
    server.request(POOL);
    assert_eq!(
        server.pids(),
        [1],
        "nothing starts while the old one drains"
    );
    server.exit(1, WorkerExit::Code(0));
    assert!(server.pids().is_empty());
    server.request(POOL);
    assert_eq!(server.pids(), [2]);
}

#[test]
fn an_old_worker_is_killed_at_the_shutdown_limit_and_not_before() {
    let mut server = server().up_with_worker();
    server.stops = false;
    server.recycle(POOL);
    server.pass(Duration::from_millis(89_999));
    assert!(!server.events().contains(&5013));
    server.pass(Duration::from_millis(1));
    assert!(server.place("event 5013") < server.place("kill 1"));
    assert_eq!(server.pids(), [2]);
}

#[test]
fn the_old_worker_keeps_serving_if_its_replacement_does_not_start() {
    let mut server = server().up_with_worker();
    server.starts = false;
    server.recycle(POOL);
    server.exit(2, WorkerExit::Code(1));
    assert_eq!(server.pids(), [1]);
    assert!(!server.has("stop 1 Recycle drain"));
    assert_eq!(server.events(), [5079, 5009]);
    assert_eq!(server.was.pools[0].recent_failures(), 1);
}

#[test]
fn the_old_worker_keeps_serving_if_no_replacement_can_be_created() {
    let mut server = server().up_with_worker();
    server.spawns = false;
    server.recycle(POOL);
    assert_eq!(server.pids(), [1]);
    assert_eq!(server.events(), [5079, 5022, 5093, 5070]);
}

#[test]
fn recycles_ordered_during_a_recycle_are_one() {
    let mut server = server().up_with_worker();
    server.starts = false;
    for _ in 0..50 {
        assert_eq!(server.recycle(POOL), Some(Answer::Done));
    }
    assert_eq!(server.pids(), [1, 2]);
    assert_eq!(server.events(), [5079]);
}

#[test]
fn a_recycle_ordered_while_the_old_worker_drains_follows_when_it_has_gone() {
    let mut server = server().up_with_worker();
    server.stops = false;
    server.recycle(POOL);
    server.recycle(POOL);
    server.recycle(POOL);
    assert_eq!(server.pids(), [1, 2], "never three processes in one place");
    server.exit(1, WorkerExit::Code(0));
    assert_eq!(server.pids(), [2, 3]);
    server.exit(2, WorkerExit::Code(0));
    assert_eq!(server.pids(), [3], "and once only");
}

#[test]
fn recycling_a_pool_without_a_worker_succeeds_and_does_nothing() {
    let mut server = server().up();
    assert_eq!(server.recycle(POOL), Some(Answer::Done));
    assert!(server.pids().is_empty());
    assert!(server.events().is_empty());
}

#[test]
fn an_administrators_recycle_replaces_every_worker_of_a_web_garden() {
    let mut server = server()
        .with_pool(|p| p.process_model.max_processes = 2)
        .up();
    server.request(POOL);
    server.request(POOL);
    server.recycle(POOL);
    assert_eq!(server.pids(), [3, 4]);
}

#[test]
fn a_worker_that_asks_is_recycled_alone_and_its_reason_is_logged_if_wanted() {
    let mut server = server()
        .with_pool(|p| p.process_model.max_processes = 2)
        .up();
    server.request(POOL);
    server.request(POOL);
    let reason = RecycleReason::PrivateMemory;
    server.tell(1, FromWorker::RequestRecycle { reason });
    assert_eq!(server.pids(), [2, 3]);
    let reason = RecycleReason::Requests;
    server.tell(2, FromWorker::RequestRecycle { reason });
    assert_eq!(server.pids(), [3, 4]);
    let recycles: Vec<u16> = server
        .events()
        .into_iter()
        .filter(|id| *id > 5050)
        .collect();
    assert_eq!(recycles, [5117], "Requests is not in logEventOnRecycle");
}

#[test]
fn if_the_old_worker_crashes_during_the_overlap_the_new_one_has_its_place() {
    let mut server = server().up_with_worker();
    server.starts = false;
    server.recycle(POOL);
    server.exit(1, WorkerExit::Signal(11));
    server.ready(2);
    assert_eq!(server.pids(), [2]);
    server.request(POOL);
    assert_eq!(server.pids(), [2]);
}

#[test]
fn recycling_one_pool_does_not_touch_another() {
    let mut server = server();
    server.configuration.application_pools.push(pool("Other"));
    server
        .configuration
        .sites
        .push(site("Other", 2, 81, "Other"));
    let mut server = server.up_with_worker();
    server.request("Other");
    server.lines.clear();
    server.recycle(POOL);
    assert_eq!(server.pids(), [2, 3]);
    assert!(!server.lines.iter().any(|line| line.contains("Other")));
}

// ---- pools and sites ----------------------------------------------------------------------------

#[test]
fn a_pool_is_stopped_when_its_last_worker_has_gone() {
    let mut server = server().up_with_worker();
    server.stops = false;
    let name = POOL.to_owned();
    let stop = Command::StopApplicationPool { name };
    assert_eq!(server.ask(stop.clone()), None);
    let off = "queue DefaultAppPool Inactive(Disabled)";
    assert!(server.place(off) < server.place("stop 1 PoolStop drain"));
    server.exit(1, WorkerExit::Code(0));
    assert_eq!(server.answer(), Some(Answer::Done));
    assert!(failed(0x8007_0426)(&server.ask(stop)));
}

#[test]
fn start_stop_and_recycle_are_refused_where_they_make_no_sense() {
    let mut server = server().up();
    let name = || POOL.to_owned();
    let start = || Command::StartApplicationPool { name: name() };
    assert!(failed(0x8007_0420)(&server.ask(start())));
    server.ask(Command::StopApplicationPool { name: name() });
    assert!(failed(0x8007_0426)(&server.recycle(POOL)));
    assert_eq!(
        server.recycle("Nope"),
        Some(Answer::Refused(Refusal::not_found("APPPOOL", "Nope")))
    );
    assert_eq!(server.ask(start()), Some(Answer::Done));
    let on = server.place("queue DefaultAppPool Active");
    assert!(
        on < server.lines_at_answer,
        "who asks next finds it started"
    );
    server.request("DefaultAppPool");
    assert_eq!(server.pids(), [1]);
}

#[test]
fn a_site_whose_url_is_taken_is_stopped_and_the_others_start() {
    let mut server = server();
    server.configuration.sites.push(site("Second", 2, 81, POOL));
    server.refused_urls.insert("http://*:80/".to_owned());
    let services = vec![Service::Was, Service::W3svc];
    server.ask(Command::StartServices { services });
    assert!(server.events().contains(&1007));
    assert!(server.has("add http://*:81/"));
    let Some(Answer::Sites(sites)) = server.ask(Command::ListSites) else {
        panic!("sites are listed");
    };
    let states: Vec<ObjectState> = sites.iter().map(|site| site.state).collect();
    assert_eq!(states, [ObjectState::Stopped, ObjectState::Started]);

    let name = "Default Web Site".to_owned();
    let start = Command::StartSite { name };
    assert!(failed(0x8007_0020)(&server.ask(start.clone())));
    server.refused_urls.clear();
    assert_eq!(server.ask(start), Some(Answer::Done));
}

#[test]
fn stopping_a_site_takes_its_urls_and_leaves_the_pool() {
    let mut server = server().up_with_worker();
    let name = || "default web site".to_owned();
    assert_eq!(
        server.ask(Command::StopSite { name: name() }),
        Some(Answer::Done)
    );
    assert!(server.has("close group of site 1"));
    assert_eq!(server.pids(), [1]);
    assert!(failed(0x8007_0426)(
        &server.ask(Command::StopSite { name: name() })
    ));
    assert_eq!(
        server.ask(Command::StartSite { name: name() }),
        Some(Answer::Done)
    );
    assert!(failed(0x8007_0420)(
        &server.ask(Command::StartSite { name: name() })
    ));
}

#[test]
fn both_workers_of_an_overlap_are_listed() {
    let mut server = server().up_with_worker();
    server.stops = false;
    server.recycle(POOL);
    let Some(Answer::WorkerProcesses(list)) = server.ask(Command::ListWorkerProcesses) else {
        panic!("workers are listed");
    };
    let shown: Vec<(u32, WorkerProcessState)> = list.iter().map(|w| (w.pid, w.state)).collect();
    assert_eq!(
        shown,
        [
            (1, WorkerProcessState::Stopping),
            (2, WorkerProcessState::Running)
        ]
    );
}

#[test]
fn a_worker_that_hangs_does_not_hang_the_list_of_requests() {
    let mut server = server().up_with_worker();
    assert_eq!(server.ask(Command::ListRequests), None);
    server.pass(seconds(2));
    assert_eq!(server.answer(), Some(Answer::Requests(Vec::new())));
}

// ---- services -----------------------------------------------------------------------------------

#[test]
fn iisreset_closes_urls_ends_workers_without_draining_and_starts_afresh() {
    let mut server = server().up_with_worker();
    let (stop, start) = server.iisreset();
    assert_eq!((stop, start), (Some(Answer::Done), Some(Answer::Done)));
    let order = [
        "W3SVC StopPending",
        "close queue DefaultAppPool",
        "close group of site 1",
        "stop 1 ServiceStop at once",
        "exited 1",
        "W3SVC Stopped",
        "WAS StopPending",
        "WAS Stopped",
        "WAS StartPending",
        "read configuration",
        "WAS Running",
        "W3SVC StartPending",
        "create queue DefaultAppPool",
        "add http://*:80/",
        "W3SVC Running",
    ];
    let places: Vec<usize> = order.iter().map(|line| server.place(line)).collect();
    assert!(places.is_sorted(), "{:#?}", server.lines);
    assert!(server.pids().is_empty(), "no worker before a request");
    server.request(POOL);
    assert_eq!(server.pids(), [2]);
}

#[test]
fn iisreset_kills_what_does_not_stop_in_time() {
    let mut server = server().up_with_worker();
    server.stops = false;
    let (stop, start) = server.iisreset();
    assert_eq!(stop, None);
    assert!(failed(0x8007_0425)(&start), "not while it stops");
    server.pass(seconds(20));
    assert!(server.has("kill 1"));
    assert_eq!(
        server.answers.get(&2),
        Some(&Answer::Done),
        "the stop succeeds"
    );
    assert!(server.has("WAS Stopped"));
}

#[test]
fn without_force_a_stop_that_takes_too_long_is_given_up_and_goes_on() {
    let mut server = server().up_with_worker();
    server.stops = false;
    let services = vec![Service::Was, Service::W3svc];
    let stop = Command::StopServices {
        services,
        timeout_ms: 20_000,
        force: false,
        reset_by: None,
    };
    assert_eq!(server.ask(stop), None);
    server.pass(seconds(20));
    assert_eq!(server.answer(), Some(Answer::Refused(Refusal::TimedOut)));
    assert_eq!(server.pids(), [1]);
    server.exit(1, WorkerExit::Code(0));
    assert!(server.has("WAS Stopped"));
}

#[test]
fn iisreset_during_an_overlap_ends_both_workers() {
    let mut server = server().up_with_worker();
    server.starts = false;
    server.recycle(POOL);
    server.starts = true;
    server.iisreset();
    assert!(server.pids().is_empty());
    assert!(server.has("stop 1 ServiceStop at once"));
    assert!(server.has("stop 2 ServiceStop at once"));
}

#[test]
fn restarting_was_forgets_failures_and_restarting_w3svc_does_not() {
    let mut server = server().up_with_worker();
    server.exit(1, WorkerExit::Code(1));
    let services = || vec![Service::W3svc];
    server.request(POOL);
    let stop = Command::StopServices {
        services: services(),
        timeout_ms: 1000,
        force: true,
        reset_by: None,
    };
    assert_eq!(server.ask(stop), Some(Answer::Done));
    assert!(
        server.pids().is_empty(),
        "workers end with their listener channel"
    );
    assert!(!server.has("WAS Stopped"));
    server.ask(Command::StartServices {
        services: services(),
    });
    assert_eq!(server.was.pools[0].recent_failures(), 1);
    server.iisreset();
    assert_eq!(server.was.pools[0].recent_failures(), 0);
}

#[test]
fn w3svc_alone_brings_was_with_it() {
    let mut server = server();
    let services = vec![Service::W3svc];
    assert_eq!(
        server.ask(Command::StartServices { services }),
        Some(Answer::Done)
    );
    assert_eq!(
        server.ask(Command::ServiceStatus),
        Some(Answer::Services(vec![
            (Service::Was, ServiceStatus::Running),
            (Service::W3svc, ServiceStatus::Running),
        ]))
    );
}

#[test]
fn a_configuration_that_cannot_be_read_stops_was_with_an_event() {
    let mut was = super::Was::new(super::Parameters::new("/c".into(), 1));
    let client = super::ClientId(1);
    let command = Command::StartServices {
        services: vec![Service::W3svc],
    };
    was.handle_input(Input::Commanded { client, command }, Instant(1));
    was.handle_input(
        Input::ConfigRead(Err("/c: line 3: no".to_owned())),
        Instant(2),
    );
    let outputs: Vec<String> = std::iter::from_fn(|| was.poll_output())
        .map(|output| format!("{output:?}"))
        .collect();
    let text = outputs.join("\n");
    assert!(
        text.contains("id: 5172")
            && text.contains("from file '/c', line number '3'.  The error message is: 'no'."),
        "{text}"
    );
    let places = [5172, 5036, 5005].map(|id| text.find(&format!("id: {id}")).unwrap());
    assert!(places.is_sorted(), "{text}");
    assert!(text.contains("Refused"));
}

#[test]
fn quitting_ends_everything_within_its_time() {
    let mut server = server().up_with_worker();
    server.stops = false;
    assert_eq!(server.ask(Command::Quit), None);
    server.pass(Duration::from_millis(1500));
    assert_eq!(server.answer(), Some(Answer::Done));
    assert!(server.stopped && server.pids().is_empty());
}

#[test]
fn a_service_stop_overtakes_a_drain() {
    let mut server = server().up_with_worker();
    server.stops = false;
    server.recycle(POOL);
    server.stops = true;
    server.iisreset();
    assert!(server.has("stop 1 ServiceStop at once"));
    assert!(server.pids().is_empty());
}
