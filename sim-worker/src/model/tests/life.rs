//! How a worker starts, drains and ends.

use std::time::Duration;

use super::super::{Input, Output, Work, WorkerProcess};
use super::bench::{Bench, configuration, starting, worker, worker_with};
use crate::facts::Fact;
use crate::ipm::{FromWorker, RecycleReason, StartFailure, ToWorker};
use sim_httpsys::api::{CallId, Completion, ProcessId, UrlContext, Win32Error};
use sim_httpsys::clockwork::{Instant, StateMachine as _, UtcClock, UtcTime};

#[test]
fn a_worker_says_that_it_is_ready_and_posts_its_receives() {
    let worker = worker(&[]);
    assert_eq!(worker.told, [FromWorker::Ready]);
    assert_eq!(worker.credits, 100);
}

#[test]
fn a_preloaded_application_is_warm_before_the_worker_is_ready() {
    let mut configuration = configuration();
    configuration.applications[0].preload = true;
    let simulation = "[start]\ncpu = \"150ms\"\nwait = \"50ms\"\n[[page]]\npath = \"/default.aspx\"\ncompile = \"120ms\"\n";
    let mut worker = starting(configuration, &[("simulation.toml", simulation)]);
    assert!(worker.told.is_empty());
    worker.finish_work();
    worker.pass(Duration::from_millis(50));
    assert!(worker.told.is_empty());
    assert_eq!(
        worker.finish_work(),
        Work::Run {
            cpu: Duration::from_millis(120),
            allocate: 0
        }
    );
    assert_eq!(worker.told, [FromWorker::Ready]);
    assert_eq!(worker.get("/default.aspx").status(), (200, 0));
}

#[test]
fn an_application_that_is_auto_started_is_started_and_asked_for_nothing() {
    let mut configuration = configuration();
    configuration.applications[0].auto_start = true;
    let simulation =
        "[start]\ncpu = \"150ms\"\n[[page]]\npath = \"/default.aspx\"\ncompile = \"120ms\"\n";
    let mut worker = starting(configuration, &[("simulation.toml", simulation)]);
    assert!(worker.told.is_empty());
    worker.finish_work();
    assert_eq!(worker.told, [FromWorker::Ready]);
}

#[test]
fn all_requests_wait_for_one_start_of_their_application() {
    let mut worker =
        worker_with("[start]\ncpu = \"150ms\"\nwait = \"50ms\"\n[[page]]\npath = \"/a.aspx\"\n");
    let first = worker.send("GET /a.aspx");
    let second = worker.send("GET /a.aspx");
    assert_eq!(worker.running.len(), 1);
    worker.finish_work();
    assert!(worker.answer(first).is_none());
    worker.pass(Duration::from_millis(50));
    assert!(worker.answer(first).is_some() && worker.answer(second).is_some());
    let started = |fact: &&Fact| {
        matches!(fact, Fact::ApplicationStarted { application, took }
        if application == "/LM/W3SVC/1/ROOT" && *took == 50_000_000)
    };
    assert_eq!(worker.facts.iter().filter(started).count(), 1);
}

#[test]
fn a_drain_finishes_what_is_in_flight_and_then_ends_the_application() {
    let mut worker =
        worker_with("[stop]\ncpu = \"20ms\"\n[[page]]\npath = \"/slow.aspx\"\nwait = \"5s\"\n");
    let slow = worker.send("GET /slow.aspx");
    worker.order_to_stop(true);
    worker.queue_is_shut();
    assert!(worker.told.contains(&FromWorker::Draining));
    worker.pass(Duration::from_secs(4));
    assert!(worker.answer(slow).is_none() && worker.exit.is_none());
    worker.pass(Duration::from_secs(1));
    assert_eq!(worker.answer(slow).unwrap().status(), (200, 0));
    assert_eq!(
        worker.finish_work(),
        Work::Run {
            cpu: Duration::from_millis(20),
            allocate: 0
        }
    );
    assert_eq!(worker.exit, Some(0));
    assert!(worker.facts.iter().any(|fact| matches!(
        fact,
        Fact::StopOrdered {
            drain: true,
            in_flight: 1,
            ..
        }
    )));
}

#[test]
fn a_request_that_arrives_before_the_queue_is_shut_is_served() {
    let mut worker = worker(&[]);
    worker.order_to_stop(true);
    assert_eq!(worker.get("/default.aspx").status(), (200, 0));
    worker.queue_is_shut();
    assert_eq!(worker.exit, Some(0));
    assert_eq!(worker.credits, 99, "a worker that drains posts no receives");
}

#[test]
fn an_order_without_drain_drops_what_is_in_flight() {
    let mut worker = worker(&[]);
    let slow = worker.send("GET /wait.aspx?time=5000");
    worker.order_to_stop(false);
    assert_eq!(worker.exit, Some(0));
    assert!(worker.answer(slow).is_none());
    assert!(worker.facts.contains(&Fact::RequestAborted {
        request: slow,
        activity: sim_httpsys::api::ActivityId(1)
    }));
}

#[test]
fn a_worker_that_drains_can_be_told_to_hurry() {
    let mut worker = worker(&[]);
    worker.send("GET /hang.aspx");
    worker.order_to_stop(true);
    worker.queue_is_shut();
    assert_eq!(worker.exit, None);
    worker.order_to_stop(false);
    assert_eq!(worker.exit, Some(0));
}

#[test]
fn a_ping_is_answered() {
    let mut worker = worker(&[]);
    worker.input(Input::Told(ToWorker::Ping { sequence: 7 }));
    assert!(worker.told.contains(&FromWorker::PingReply { sequence: 7 }));
}

#[test]
fn an_idle_worker_asks_to_be_shut_down() {
    let mut worker = worker(&[]);
    worker.pass(Duration::from_mins(19));
    worker.get("/default.aspx");
    worker.pass(Duration::from_secs(20 * 60 - 1));
    assert!(!worker.told.contains(&FromWorker::Idle));
    worker.pass(Duration::from_secs(61));
    assert!(worker.told.contains(&FromWorker::Idle));
}

#[test]
fn a_worker_is_idle_from_the_end_of_its_last_request() {
    let pages = "[[page]]\npath = \"/long.aspx\"\nwait = \"30m\"\n";
    let mut worker = starting(configuration(), &[("simulation.toml", pages)]);
    let long = worker.send("GET /long.aspx");
    worker.pass(Duration::from_mins(31));
    assert!(worker.answer(long).is_some());
    worker.pass(Duration::from_mins(17));
    assert!(!worker.told.contains(&FromWorker::Idle));
    worker.pass(Duration::from_mins(4));
    assert!(worker.told.contains(&FromWorker::Idle));
}

#[test]
fn a_worker_asks_to_be_recycled_at_its_last_request_and_again_after_as_many_more() {
    let mut configuration = configuration();
    configuration.periodic_restart.requests = 3;
    let mut worker = starting(configuration, &[]);
    let asked = |told: &[FromWorker]| {
        let reason = RecycleReason::Requests;
        let ask = FromWorker::RequestRecycle { reason };
        told.iter().filter(|told| **told == ask).count()
    };
    for (request, asks) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 2)] {
        worker.get("/default.aspx");
        assert_eq!(asked(&worker.told), asks, "after {request} requests");
    }
}

#[test]
fn memory_is_checked_once_a_minute_if_there_is_a_limit_and_not_otherwise() {
    let mut bounded = configuration();
    bounded.periodic_restart.private_memory_kb = 1000;
    let mut worker = starting(bounded, &[]);
    worker.pass(Duration::from_mins(10));
    assert_eq!(worker.measurements, 10);
    let mut unbounded = starting(configuration(), &[]);
    unbounded.pass(Duration::from_mins(10));
    assert_eq!(unbounded.measurements, 0);
}

#[test]
fn exactly_the_limit_of_memory_is_not_above_it() {
    let mut configuration = configuration();
    configuration.periodic_restart.private_memory_kb = 1000;
    let mut worker = starting(configuration, &[]);
    let reason = RecycleReason::PrivateMemory;
    let ask = FromWorker::RequestRecycle { reason };
    for (private_kb, asks) in [(1000, false), (1001, true)] {
        let virtual_kb = 9000;
        worker.input(Input::MemorySampled {
            private_kb,
            virtual_kb,
        });
        assert_eq!(worker.told.contains(&ask), asks);
    }
}

#[test]
fn an_isapi_that_is_unhealthy_makes_its_worker_ask_for_a_recycle_and_still_answers() {
    let mut worker = worker(&[]);
    assert_eq!(worker.get("/unhealthy.aspx").status(), (200, 0));
    let reason = RecycleReason::IsapiUnhealthy;
    assert!(worker.told.contains(&FromWorker::RequestRecycle { reason }));
}

#[test]
fn a_zombie_takes_requests_and_is_silent_but_answers_pings() {
    let mut worker = worker(&[]);
    worker.send("GET /zombie.aspx");
    let other = worker.send("GET /default.aspx");
    worker.pass(Duration::from_mins(10));
    assert!(worker.answer(other).is_none());
    worker.input(Input::Told(ToWorker::Ping { sequence: 7 }));
    assert!(worker.told.contains(&FromWorker::PingReply { sequence: 7 }));
}

#[test]
fn a_deaf_worker_answers_requests_but_no_ping() {
    let mut worker = worker(&[]);
    worker.get("/deaf.aspx");
    worker.input(Input::Told(ToWorker::Ping { sequence: 7 }));
    assert!(!worker.told.contains(&FromWorker::PingReply { sequence: 7 }));
    assert_eq!(worker.get("/default.aspx").status(), (200, 0));
}

// ---- symptoms -----------------------------------------------------------------------------------

fn with_variable(name: &str, value: &str) -> Bench {
    let mut configuration = configuration();
    let variable = (name.to_owned(), value.to_owned());
    configuration.environment.extend([variable]);
    starting(configuration, &[])
}

#[test]
fn a_slow_start_is_ready_when_its_time_is_over_and_not_before() {
    let mut worker = with_variable("IIS_SIM_START_WAIT", "30s");
    worker.pass(Duration::from_millis(29_999));
    assert!(worker.told.is_empty());
    worker.pass(Duration::from_millis(1));
    assert_eq!(worker.told, [FromWorker::Ready]);
}

#[test]
fn the_start_of_a_process_costs_cpu_time() {
    let mut worker = with_variable("IIS_SIM_START_CPU", "200ms");
    assert!(worker.told.is_empty());
    let cpu = Duration::from_millis(200);
    assert_eq!(worker.finish_work(), Work::Run { cpu, allocate: 0 });
    assert_eq!(worker.told, [FromWorker::Ready]);
}

#[test]
fn a_worker_that_is_never_ready_still_answers_pings_and_can_be_told_to_stop() {
    let mut worker = with_variable("IIS_SIM_START", "never");
    worker.pass(Duration::from_hours(1));
    assert!(worker.told.is_empty());
    worker.order_to_stop(true);
    assert_eq!(worker.exit, Some(0));
}

#[test]
fn a_variable_that_makes_no_sense_fails_the_start_and_says_why() {
    let worker = with_variable("IIS_SIM_START", "sometimes");
    assert_eq!(worker.exit, Some(1));
    let [
        FromWorker::StartFailed {
            failure: StartFailure::Configuration,
            message,
        },
    ] = &worker.told[..]
    else {
        panic!("{:?}", worker.told);
    };
    assert!(message.contains("IIS_SIM_START: `sometimes`"), "{message}");
}

#[test]
fn a_worker_that_is_given_no_queue_says_so_and_ends() {
    let clock = UtcClock::reading(UtcTime(0), Instant(0));
    let mut worker = WorkerProcess::new(configuration(), ProcessId(4711), clock, Instant(1));
    let refused = Completion::Called {
        id: CallId(1),
        result: Err(Win32Error::FileNotFound),
    };
    worker.handle_input(Input::Completed(refused), Instant(2));
    let outputs: Vec<Output> = std::iter::from_fn(|| worker.poll_output()).collect();
    let says_so = |output: &Output| {
        let failure = StartFailure::RequestQueue;
        matches!(output, Output::Tell(FromWorker::StartFailed { failure: f, .. }) if *f == failure)
    };
    assert!(outputs.iter().any(says_so), "{outputs:?}");
    assert!(matches!(outputs.last(), Some(Output::Exit { code: 1 })));
}

// ---- suspension ---------------------------------------------------------------------------------

#[test]
fn a_worker_that_is_to_be_frozen_gives_its_receives_back_first() {
    let mut worker = worker(&[]);
    worker.input(Input::Told(ToWorker::Suspend));
    let suspended = |worker: &Bench| {
        let said = |said: &FromWorker| matches!(said, FromWorker::Suspended { .. });
        worker.told.iter().any(said)
    };
    assert!(!suspended(&worker));
    worker.queue_is_shut();
    assert!(suspended(&worker));
    worker.pass(Duration::from_hours(1));
    assert!(!worker.told.contains(&FromWorker::Idle), "it is no news");
    let before = worker.credits;
    worker.input(Input::Told(ToWorker::Resume));
    assert_eq!(worker.credits, before + 100);
    assert_eq!(worker.told.last(), Some(&FromWorker::Resumed));
}

#[test]
fn a_worker_that_is_to_be_frozen_says_when_it_has_to_be_awake() {
    let mut configuration = configuration();
    configuration.periodic_restart.time = Duration::from_hours(29);
    configuration.periodic_restart.schedule = vec![Duration::from_hours(7)];
    let mut worker = starting(configuration, &[]);
    worker.pass(Duration::from_hours(1));
    worker.input(Input::Told(ToWorker::Suspend));
    worker.queue_is_shut();
    let Some(FromWorker::Suspended { wake_in }) = worker.told.last() else {
        panic!("{:?}", worker.told);
    };
    // The bench begins one second after midnight.
    let expected = Duration::from_hours(6) - Duration::from_secs(1);
    assert_eq!(*wake_in, Some(expected));
}

#[test]
fn a_request_that_comes_before_the_receives_are_back_keeps_the_worker_awake() {
    let mut worker = worker(&[]);
    worker.input(Input::Told(ToWorker::Suspend));
    let request = worker.send("GET /wait.aspx?time=100");
    worker.queue_is_shut();
    assert_eq!(worker.told.last(), Some(&FromWorker::Resumed));
    worker.pass(Duration::from_millis(100));
    assert!(worker.answer(request).is_some());
}

#[test]
fn a_suspended_worker_can_be_told_to_stop() {
    let mut worker = worker(&[]);
    worker.input(Input::Told(ToWorker::Suspend));
    worker.queue_is_shut();
    worker.order_to_stop(true);
    assert_eq!(worker.exit, Some(0));
}

#[test]
fn a_wall_clock_that_is_set_moves_the_schedule() {
    let mut configuration = configuration();
    configuration.periodic_restart.schedule = vec![Duration::from_hours(12)];
    let mut worker = starting(configuration, &[]);
    let reason = RecycleReason::Schedule;
    let ask = FromWorker::RequestRecycle { reason };
    let asked = |worker: &Bench| worker.told.iter().filter(|told| **told == ask).count();
    worker.pass(Duration::from_hours(11));
    let half_past_eleven = UtcTime(41_400 * 1_000_000_000);
    let clock = UtcClock::reading(half_past_eleven, worker.now);
    worker.input(Input::ClockSet(clock));
    worker.pass(Duration::from_secs(30 * 60 - 1));
    assert_eq!(asked(&worker), 0);
    worker.pass(Duration::from_secs(1));
    assert_eq!(asked(&worker), 1);
    let clock = UtcClock::reading(half_past_eleven, worker.now);
    worker.input(Input::ClockSet(clock));
    worker.pass(Duration::from_hours(1));
    assert_eq!(asked(&worker), 1, "each date has its noon once");
    worker.pass(Duration::from_hours(24));
    assert_eq!(asked(&worker), 2);
}

#[test]
fn a_worker_asks_to_be_recycled_by_age_by_the_clock_and_by_memory() {
    let ask = |change: fn(&mut crate::configuration::PeriodicRestart), reason| {
        let mut configuration = configuration();
        change(&mut configuration.periodic_restart);
        let mut worker = starting(configuration, &[]);
        worker.pass(Duration::from_hours(1));
        worker.input(Input::MemorySampled {
            private_kb: 2000,
            virtual_kb: 3000,
        });
        assert!(
            worker.told.contains(&FromWorker::RequestRecycle { reason }),
            "{reason:?}"
        );
    };
    ask(|r| r.time = Duration::from_mins(30), RecycleReason::Time);
    ask(
        |r| r.schedule = vec![Duration::from_mins(30)],
        RecycleReason::Schedule,
    );
    ask(|r| r.private_memory_kb = 1000, RecycleReason::PrivateMemory);
    ask(|r| r.memory_kb = 2500, RecycleReason::Memory);
}

#[test]
fn a_broken_simulation_file_is_shown_with_its_line() {
    let mut worker = worker_with("[start]\ncpu = 5\n");
    let answer = worker.get("/default.aspx");
    assert_eq!(answer.status(), (500, 19));
    assert!(
        answer.body().contains("simulation.toml:2"),
        "{}",
        answer.body()
    );
}

#[test]
fn executing_requests_are_listed_with_their_stage() {
    let mut worker = worker(&[]);
    worker.send("GET /wait.aspx?time=5000");
    worker.pass(Duration::from_secs(2));
    worker.input(Input::Told(ToWorker::ListRequests { token: 1 }));
    let Some(FromWorker::Requests { requests, .. }) = worker.told.last() else {
        panic!("no list")
    };
    assert_eq!(
        (requests[0].stage.as_str(), requests[0].elapsed_ms),
        ("ExecuteRequestHandler", 2000)
    );
}

#[test]
fn a_client_that_leaves_the_queue_for_threads_is_forgotten() {
    let mut configuration = configuration();
    configuration.threads_max = 1;
    let mut worker = starting(configuration, &[]);
    let first = worker.send("GET /wait.aspx?time=1000");
    let second = worker.send("GET /wait.aspx?time=1000");
    let third = worker.send("GET /default.aspx");
    worker.input(Input::Completed(Completion::Disconnected {
        request: second,
    }));
    worker.pass(Duration::from_secs(1));
    assert!(worker.answer(first).is_some() && worker.answer(third).is_some());
    assert!(worker.answer(second).is_none());
    assert_eq!(worker.model.in_flight(), 0);
}

#[test]
fn a_request_whose_client_has_gone_is_handed_back_for_the_log_without_a_body() {
    let mut worker = starting(configuration(), &[]);
    let request = worker.send("GET /wait.aspx?time=1000");
    worker.input(Input::Completed(Completion::Disconnected { request }));
    assert!(worker.answer(request).is_none(), "its handler still runs");
    worker.pass(Duration::from_secs(1));
    let answer = worker.answer(request).expect("it is handed back");
    assert_eq!((answer.status(), answer.body()), ((200, 0), ""));
    assert_eq!(worker.model.in_flight(), 0);
}

#[test]
fn an_application_that_moves_away_while_its_worker_starts_answers_who_has_waited_for_that() {
    let mut worker = with_variable("IIS_SIM_START_WAIT", "30s");
    worker.input(Input::Told(ToWorker::ApplicationRemoved {
        url_context: UrlContext(1),
    }));
    worker.pass(Duration::from_secs(31));
    assert_eq!(worker.get("/session.aspx").status(), (200, 0));
    worker.pass(Duration::from_secs(2));
    let late = worker.send("GET /session.aspx");
    worker.pass(Duration::from_secs(2));
    let answer = worker.answer(late);
    assert!(answer.is_some_and(|answer| answer.status().0 == 500));
}

#[test]
fn a_worker_that_exits_says_what_it_has_counted() {
    let mut worker = worker(&[]);
    assert_eq!(worker.get("/default.aspx").status(), (200, 0));
    worker.order_to_stop(true);
    worker.queue_is_shut();
    assert_eq!(worker.exit, Some(0));
    let Some(FromWorker::Exiting { counters }) = worker.told.last() else {
        panic!("{:?}", worker.told);
    };
    assert_eq!(counters.total_http_requests_served, 1);
}
