//! Workers that fail: at their start, their pings, their pipe; and rapid-fail protection.

use std::time::Duration;

use sim_httpsys::api::{DisabledReason, ProcessId, QueueState};
use sim_worker::ipm::FromWorker;

use super::Input;
use super::bench::{POOL, queue_state, seconds, server};
use crate::control::{Answer, Command};
use crate::event_log::WorkerExit;

#[test]
fn a_worker_that_is_not_ready_in_time_is_killed() {
    let mut server = server().up();
    server.starts = false;
    server.request(POOL);
    server.pass(seconds(89));
    assert_eq!(server.events(), Vec::<u16>::new());
    server.pass(seconds(1));
    assert_eq!(server.events(), [5012]);
    assert!(server.has("kill 1"));
}

#[test]
fn a_worker_that_fails_is_orphaned_where_that_is_asked_for_but_not_before_it_has_come_to_be() {
    let orphaning = || server().with_pool(|p| p.failure.orphan_worker_process = true);
    let mut slow = orphaning().up();
    slow.starts = false;
    slow.request(POOL);
    slow.pass(seconds(90));
    assert!(slow.has("kill 1"), "it would take requests when it has");
    assert!(!slow.has("orphan 1"));
    let mut deaf = orphaning().up();
    deaf.request(POOL);
    deaf.pass(seconds(121));
    assert!(deaf.has("orphan 1") && !deaf.has("kill 1"));
}

#[test]
fn a_process_that_cannot_be_created_disables_the_pool() {
    let mut server = server().up();
    server.spawns = false;
    server.request(POOL);
    assert_eq!(server.events(), [5022, 5059]);
    assert_eq!(
        queue_state(&server),
        QueueState::Inactive(DisabledReason::AppOffline)
    );
}

#[test]
fn a_pool_whose_configuration_cannot_be_written_is_off_with_one_event_until_it_can_be() {
    let mut server = server().up();
    server.unwritable = Some("No space left on device".to_owned());
    for _ in 0..3 {
        server.request(POOL);
        let off = QueueState::Inactive(DisabledReason::AppOffline);
        assert_eq!(queue_state(&server), off);
        server.pass(seconds(1) + Duration::from_nanos(1));
    }
    assert_eq!(server.events(), [5189]);
    assert_eq!(queue_state(&server), QueueState::Active);
    server.unwritable = None;
    server.request(POOL);
    assert_eq!(server.pids(), [1]);
    assert_eq!(server.events(), [5189]);
}

#[test]
fn a_worker_that_answers_its_pings_lives() {
    let mut server = server().up_with_worker();
    for sequence in 1..=20 {
        server.pass(seconds(30));
        server.tell(1, FromWorker::PingReply { sequence });
    }
    assert_eq!(server.pids(), [1]);
    assert!(server.events().is_empty());
}

#[test]
fn a_worker_that_does_not_answer_a_ping_is_killed_after_interval_and_limit() {
    let mut server = server().up_with_worker();
    server.pass(Duration::from_mins(2));
    assert_eq!(
        server.pids(),
        [1],
        "the last moment is still within the limit"
    );
    server.pass(Duration::from_nanos(1));
    assert_eq!(server.events(), [5010]);
    assert!(server.pids().is_empty());
}

#[test]
fn a_ping_answered_exactly_at_the_limit_is_in_time() {
    let mut server = server().up_with_worker();
    server.pass(Duration::from_mins(2));
    server.tell(1, FromWorker::PingReply { sequence: 1 });
    server.pass(Duration::from_millis(1));
    assert_eq!(server.pids(), [1]);
}

#[test]
fn a_supervisor_that_was_stopped_itself_blames_no_worker() {
    let mut server = server().up_with_worker();
    server.pass(seconds(31));
    server.now += seconds(120);
    server.pass(Duration::ZERO);
    assert_eq!(server.pids(), [1]);
    server.tell(1, FromWorker::PingReply { sequence: 1 });
    server.pass(seconds(29));
    assert!(server.events().is_empty());
}

#[test]
fn a_broken_pipe_is_a_crash_and_the_exit_after_it_is_not_a_second_one() {
    let mut server = server().up_with_worker();
    let pid = ProcessId(1);
    server.input(Input::PipeClosed { pid });
    server.exit(1, WorkerExit::Signal(11));
    assert_eq!(server.events(), [5011]);
    assert_eq!(server.was.pools[0].recent_failures(), 1);
}

#[test]
fn a_worker_that_leaves_without_an_error_is_written_down_and_does_not_count() {
    let mut server = server().up_with_worker();
    server.exit(1, WorkerExit::Code(0));
    assert_eq!(server.events(), [5009]);
    assert_eq!(server.was.pools[0].recent_failures(), 0);
    server.request(POOL);
    assert_eq!(server.pids(), [2], "the next request brings another one");
}

#[test]
fn a_worker_that_sends_nonsense_is_no_longer_trusted() {
    let mut server = server().up_with_worker();
    server.ready(1);
    assert_eq!(server.events(), [5127]);
    assert!(server.pids().is_empty());
}

#[test]
fn the_fifth_failure_in_five_minutes_takes_the_pool_off() {
    let mut server = server().up();
    for pid in 1..=4 {
        server.request(POOL);
        server.exit(pid, WorkerExit::Code(1));
        server.pass(seconds(60));
    }
    server.request(POOL);
    server.pass(Duration::from_millis(59_999));
    server.exit(5, WorkerExit::Code(1));
    assert_eq!(server.events(), [5009, 5009, 5009, 5009, 5009, 5002]);
    assert_eq!(
        queue_state(&server),
        QueueState::Inactive(DisabledReason::AppOffline)
    );
    server.request(POOL);
    assert!(server.pids().is_empty(), "nothing starts any more");
}

#[test]
fn five_failures_in_exactly_five_minutes_do_not() {
    let mut server = server().up();
    for pid in 1..=5 {
        server.request(POOL);
        server.exit(pid, WorkerExit::Code(1));
        server.pass(seconds(75));
    }
    assert!(!server.events().contains(&5002));
    assert_eq!(queue_state(&server), QueueState::Active);
}

#[test]
fn starting_a_pool_that_was_taken_off_forgets_its_failures() {
    let mut server = server().up();
    for pid in 1..=5 {
        server.request(POOL);
        server.exit(pid, WorkerExit::Code(1));
    }
    let name = POOL.to_owned();
    assert_eq!(
        server.ask(Command::StartApplicationPool { name }),
        Some(Answer::Done)
    );
    assert_eq!(queue_state(&server), QueueState::Active);
    server.request(POOL);
    server.exit(6, WorkerExit::Code(1));
    assert_eq!(queue_state(&server), QueueState::Active);
}

#[test]
fn an_always_running_worker_that_dies_at_once_is_started_five_times() {
    let mut server = server().with_pool(|p| p.always_running = true);
    server.starts = false;
    let mut server = server.up();
    for pid in 1..=5 {
        server.exit(pid, WorkerExit::Code(1));
    }
    assert!(server.pids().is_empty());
    assert_eq!(
        server
            .lines
            .iter()
            .filter(|l| l.starts_with("spawn"))
            .count(),
        4
    );
}

#[test]
fn rapid_fail_runs_the_program_that_the_pool_names() {
    let mut server = server()
        .with_pool(|p| {
            p.failure.rapid_fail_protection_max_crashes = 1;
            p.failure.auto_shutdown_exe = "page-admin".to_owned();
        })
        .up_with_worker();
    server.exit(1, WorkerExit::Signal(9));
    assert!(server.has("run page-admin"));
}

#[test]
fn an_idle_worker_ends_without_counting_as_a_failure() {
    let mut server = server().up_with_worker();
    server.tell(1, FromWorker::Idle);
    assert_eq!(server.events(), [5186]);
    assert!(server.has("stop 1 Idle drain"));
    assert_eq!(server.was.pools[0].recent_failures(), 0);
    server.request(POOL);
    assert_eq!(server.pids(), [2]);
}
