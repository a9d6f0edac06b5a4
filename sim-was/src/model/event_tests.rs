//! Events that no story elsewhere tells: each from its cause. Where the others are told:
//!
//! | events | test |
//! |---|---|
//! | 1003, 1004, 1007 | `event_log.rs`; live: `tests/host_faults.rs`, `tests/config_changes.rs` |
//! | 1037, 1173, 5005, 5036 | `live/tests.rs` |
//! | 3201 to 3204, 5030, 7031, 7034 | live: `tests/service_control.rs` |
//! | 5002, 5009 to 5012, 5022, 5059, 5127, 5186, 5189 | `failure_tests.rs`; live: `tests/worker_faults.rs` |
//! | 5013, 5138, 7036 | `service_tests.rs` |
//! | 5041, 5050, 5051, 5067, 5152, 5174, 5179, 5180 | `sim-was/tests/config/warnings.rs` |
//! | 5053, 5080, 5085, 5172, 5196 | `config_change/tests.rs`; live: `tests/config_changes.rs` |
//! | 5060, 5063 | live: `tests/host_faults.rs` |
//! | 5079, 5093 | `tests.rs` |
//! | 5192 to 5194 | `dynamic_idle.rs` |

use std::time::Duration;

use sim_httpsys::api::{ProcessId, SiteId, Win32Error};
use sim_worker::ipm::{FromWorker, RecycleReason, StartFailure};

use super::Input;
use super::bench::{Bench, POOL, seconds, server, server_of};
use crate::config::load;
use crate::config::{Cpu, CpuAction, Identity};
use crate::control::{Command, Service};
use crate::event_log::{
    DynamicIdleLoad, DynamicIdleStep, Event, IisReset, Level, QueueChange, WorkerExit,
    WorkerFailure,
};
use crate::event_record::Channel;

/// The insertion strings of the event that was logged last.
fn last_data(server: &Bench) -> Vec<(&str, &str)> {
    let event = server.said.last().expect("an event");
    let data = event.data.iter();
    data.map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

// ---- workers ------------------------------------------------------------------------------------

#[test]
fn a_worker_that_cannot_start_says_why_in_its_own_log_and_fails_once() {
    for (failure, said) in [
        (StartFailure::Configuration, [2276, 5039]),
        (StartFailure::RequestQueue, [2269, 5139]),
    ] {
        let mut server = server().up();
        server.starts = false;
        server.request(POOL);
        let message = String::new();
        server.tell(1, FromWorker::StartFailed { failure, message });
        server.exit(1, WorkerExit::Code(1));
        assert_eq!(server.events(), said);
        assert_eq!(server.was.pools[0].recent_failures(), 1);
        let channels = server.said[server.said.len() - 2..].iter();
        let channels: Vec<_> = channels.map(|e| Channel::of_source(&e.source)).collect();
        assert_eq!(channels, [Channel::Application, Channel::System]);
    }
}

#[test]
fn each_reason_of_a_recycle_has_its_event() {
    for (reason, id) in [
        (RecycleReason::Time, 5074),
        (RecycleReason::Requests, 5075),
        (RecycleReason::Schedule, 5076),
        (RecycleReason::Memory, 5077),
        (RecycleReason::PrivateMemory, 5117),
    ] {
        let wanted = move |p: &mut crate::config::ApplicationPool| {
            p.recycling.log_event_on_recycle = vec![reason];
        };
        let mut server = server().with_pool(wanted).up_with_worker();
        server.tell(1, FromWorker::RequestRecycle { reason });
        assert_eq!(server.events(), [id]);
        assert_eq!(
            last_data(&server),
            [("ProcessID", "1"), ("AppPoolID", POOL)]
        );
    }
}

#[test]
fn an_isapi_that_is_unhealthy_is_told_by_its_worker_whether_or_not_its_recycle_is_logged() {
    let reason = RecycleReason::IsapiUnhealthy;
    for (flags, said) in [(vec![], vec![2263]), (vec![reason], vec![2263, 5078])] {
        let mut server = server()
            .with_pool(|p| p.recycling.log_event_on_recycle = flags)
            .up_with_worker();
        server.tell(1, FromWorker::RequestRecycle { reason });
        assert_eq!(server.events(), said);
        assert_eq!(server.pids(), [2]);
    }
}

#[test]
fn a_recycle_of_all_of_which_some_cannot_be_replaced_says_so_once() {
    let mut server = server()
        .with_pool(|p| p.process_model.max_processes = 2)
        .up_with_worker();
    server.request(POOL);
    assert_eq!(server.pids(), [1, 2]);
    server.spawns = false;
    server.recycle(POOL);
    assert_eq!(server.events(), [5079, 5022, 5093, 5070, 5022, 5093]);
    server.lines.clear();
    let reason = RecycleReason::Time;
    server.tell(1, FromWorker::RequestRecycle { reason });
    assert_eq!(server.events(), [5074, 5022, 5093], "it is one of them");
}

#[test]
fn a_program_that_cannot_be_run_for_an_orphan_is_named() {
    let mut server = server()
        .with_pool(|p| {
            p.failure.orphan_worker_process = true;
            p.failure.orphan_action_exe = "dump".to_owned();
        })
        .up_with_worker();
    server.runs = false;
    server.input(Input::Garbled { pid: ProcessId(1) });
    assert_eq!(server.events(), [5127, 5015]);
    assert_eq!(
        last_data(&server),
        [("AppPoolID", POOL), ("ProcessID", "1"), ("Action", "dump")]
    );
}

// ---- pools --------------------------------------------------------------------------------------

#[test]
fn a_program_that_cannot_be_run_when_a_pool_is_taken_off_is_said() {
    let mut server = server()
        .with_pool(|p| {
            p.failure.rapid_fail_protection_max_crashes = 1;
            p.failure.auto_shutdown_exe = "page-admin".to_owned();
        })
        .up_with_worker();
    server.runs = false;
    server.exit(1, WorkerExit::Signal(9));
    assert_eq!(server.events(), [5009, 5002, 5054]);
}

#[test]
fn an_identity_without_a_name_is_told_at_the_start_and_again_when_it_matters() {
    let nobody = Identity::SpecificUser(String::new());
    let mut server = server().with_pool(|p| p.process_model.identity = nobody);
    let services = vec![Service::Was, Service::W3svc];
    server.ask(Command::StartServices { services });
    server.request(POOL);
    let said = server.events();
    let said: Vec<u16> = said.into_iter().filter(|id| *id != 7036).collect();
    assert_eq!(said, [5021, 5057]);
}

#[test]
fn a_pool_beyond_its_cpu_limit_is_told_and_so_is_one_that_cannot_be_measured() {
    let limited = |action| {
        server()
            .with_pool(move |p| {
                p.cpu = Cpu {
                    limit: 1_000,
                    action,
                    reset_interval: Duration::from_mins(1),
                    ..Cpu::default()
                };
            })
            .up_with_worker()
    };
    for action in [CpuAction::NoAction, CpuAction::KillW3wp] {
        let mut server = limited(action);
        server.pass(seconds(1));
        server.cpu.insert(ProcessId(1), seconds(2));
        server.pass(seconds(2));
        assert_eq!(server.events(), [5025]);
        assert_eq!(server.pids().is_empty(), action == CpuAction::KillW3wp);
    }
    let mut server = limited(CpuAction::Throttle);
    server.pass(Duration::from_millis(50));
    server.cpu.insert(ProcessId(1), seconds(2));
    server.pass(Duration::from_millis(50));
    assert!(server.has("freeze 1 Throttled"));
    let pool = super::PoolId(1);
    server.input(Input::CpuUnknown { pool });
    server.input(Input::CpuUnknown { pool });
    assert_eq!(server.events(), [5025, 5060]);
    assert!(server.has("thaw 1"), "nobody knows what it uses");
    server.pass(Duration::from_millis(50));
    server.input(Input::CpuUnknown { pool });
    assert_eq!(
        server.events(),
        [5025, 5060, 5060],
        "it was measured between"
    );
}

#[test]
fn a_worker_that_cannot_be_bound_to_its_processors_is_told() {
    let mut server = server().up_with_worker();
    let pool = POOL.to_owned();
    server.input(Input::AffinityRefused { pool });
    assert_eq!(server.events(), [5058]);
}

#[test]
fn a_worker_that_ends_early_for_want_of_memory_says_how_early() {
    let mut server = server();
    server.configuration.web_limits.dynamic_idle_threshold = 50;
    server.memory.committed = 4 << 30;
    let mut server = server.up_with_worker();
    server.pass(seconds(60));
    server.tell(1, FromWorker::Idle);
    let data = last_data(&server);
    assert!(data.contains(&("Minutes", "20")) && data.contains(&("DecreasedMinutes", "0")));
    assert_eq!(server.events().last(), Some(&5195));
}

// ---- configuration ------------------------------------------------------------------------------

#[test]
fn a_server_that_nobody_tells_of_changes_says_so() {
    let mut server = server().up();
    server.input(Input::ConfigNotWatched);
    assert_eq!(server.events(), [5063]);
}

#[test]
fn a_pool_that_cannot_be_read_is_told_once_wherever_in_the_file_it_moves() {
    let mut server = server_of(ONE).up();
    let change = |above: &str| {
        let text = ONE.replace(" />", " bogus=\"1\" />");
        let text = text.replace("<applicationPools>", &format!("{above}<applicationPools>"));
        Input::ConfigChanged(load(&text, "f").map_err(|error| error.to_string()))
    };
    server.input(change(""));
    let told = server.events();
    assert!(!told.is_empty());
    server.input(change("<!--\n\n-->"));
    assert_eq!(server.events(), told);
}

// ---- W3SVC --------------------------------------------------------------------------------------

const ONE: &str = r#"<configuration><system.applicationHost>
  <applicationPools><add name="DefaultAppPool" /></applicationPools>
</system.applicationHost></configuration>"#;

#[test]
fn what_the_driver_does_not_change_of_a_queue_is_told_apart() {
    let mut server = server_of(ONE).up();
    server.refused_calls.insert("SetRequestQueueProperties");
    let said = |server: &mut Bench| {
        let events = server.events();
        server.lines.clear();
        events
    };
    let name = POOL.to_owned();
    server.ask(Command::StopApplicationPool { name: name.clone() });
    assert_eq!(said(&mut server).first(), Some(&1084));
    server.ask(Command::StartApplicationPool { name });
    assert_eq!(said(&mut server), [1027]);
    let change = |attributes: &str| {
        let text = ONE.replace(" />", &format!(" {attributes}</add>"));
        Input::ConfigChanged(load(&text, "f").map_err(|error| error.to_string()))
    };
    server.input(change("queueLength=\"77\">"));
    assert_eq!(said(&mut server), [1087]);
    let failure = "queueLength=\"78\"><failure loadBalancerCapabilities=\"TcpLevel\" />";
    server.input(change(failure));
    assert_eq!(said(&mut server), [1086, 1087]);
}

#[test]
fn without_a_queue_for_a_pool_w3svc_ends() {
    let mut server = server();
    server.refused_calls.insert("CreateRequestQueue");
    let services = vec![Service::Was, Service::W3svc];
    server.ask(Command::StartServices { services });
    assert_eq!(server.events(), [7036, 1026, 1005, 7036]);
}

#[test]
fn a_demand_start_that_is_refused_is_told() {
    let mut server = server();
    server.refused_calls.insert("WaitForDemandStart");
    let server = server.up();
    assert_eq!(server.said.last().map(|event| event.id), Some(1089));
}

#[test]
fn a_driver_that_goes_away_takes_w3svc_along() {
    let mut server = server().up_with_worker();
    server.input(Input::DeviceLost);
    assert_eq!(server.events(), [1005, 7036, 7036]);
    assert!(server.stopped);
}

// ---- all ----------------------------------------------------------------------------------------

/// Every event that can be made, once.
fn all() -> Vec<Event> {
    let pid = ProcessId(7);
    let url = |error| Event::url_not_registered(error, "http://*:80/", SiteId(1));
    let failures = [
        WorkerFailure::Terminated(WorkerExit::Signal(9)),
        WorkerFailure::Ping,
        WorkerFailure::Pipe,
        WorkerFailure::StartupTime,
        WorkerFailure::ShutdownTime,
        WorkerFailure::Reported,
        WorkerFailure::Untrusted,
        WorkerFailure::ListenerChannel,
    ];
    let recycles = [
        RecycleReason::Time,
        RecycleReason::Requests,
        RecycleReason::Schedule,
        RecycleReason::Memory,
        RecycleReason::IsapiUnhealthy,
        RecycleReason::OnDemand,
        RecycleReason::ConfigChange,
        RecycleReason::PrivateMemory,
    ];
    let load = DynamicIdleLoad {
        percent: 81,
        processes: 3,
        commit: 1,
        physical: 2,
        free: 1,
    };
    let steps = [
        DynamicIdleStep::Reduce,
        DynamicIdleStep::ReduceAggressively,
        DynamicIdleStep::Return,
    ];
    let changes = [
        QueueChange::Enable,
        QueueChange::Disable,
        QueueChange::LoadBalancerCapabilities,
        QueueChange::Length,
    ];
    let resets = [
        IisReset::Start,
        IisReset::Stop,
        IisReset::Reboot,
        IisReset::Kill,
    ];
    let mut all = vec![
        url(Win32Error::InvalidParameter),
        url(Win32Error::AlreadyExists),
        url(Win32Error::SharingViolation),
        Event::w3svc_stopping_on_error(),
        Event::queue_not_created("P"),
        Event::control_channel_not_opened(),
        Event::demand_start_not_issued("P"),
        Event::driver_missing(),
        Event::isapi_unhealthy(),
        Event::worker_without_http(),
        Event::worker_not_initialized(),
        Event::rapid_fail("P"),
        Event::was_stopping_on_error(),
        Event::orphan_action_not_run("P", pid, "x"),
        Event::identity_invalid("P"),
        Event::process_not_created("P"),
        Event::job_limit_exceeded("P"),
        Event::was_not_restarted(),
        Event::configuration_manager_not_initialized(),
        Event::change_not_processed(),
        Event::auto_shutdown_not_run("P"),
        Event::identity_disables("P"),
        Event::affinity_not_set("P"),
        Event::worker_not_created("P"),
        Event::job_not_queried("P"),
        Event::changes_not_notified(),
        Event::recycle_not_issued_to_all("P"),
        Event::changes_not_applied("P"),
        Event::overlap_failed("P", pid),
        Event::listener_channel_not_stopped("P", pid),
        Event::configuration_unreadable("f: line 3: no"),
        Event::idle("P", pid, 20),
        Event::pool_config_not_written("P", "full"),
        Event::idle_under_load("P", pid, 20, 10),
        Event::too_many_workers("P", 3),
    ];
    all.extend(failures.map(|failure| Event::worker_failed("P", pid, failure)));
    all.extend(recycles.map(|reason| Event::recycle(reason, "P", pid)));
    all.extend(steps.map(|step| Event::dynamic_idle(step, load)));
    all.extend(changes.map(|change| Event::queue_not_changed("P", change)));
    all.extend(resets.map(|reset| Event::iisreset(reset, "me", 0)));
    all.sort_by_key(|event| event.id);
    all
}

#[test]
fn events_have_the_levels_that_are_published() {
    use Level::{Error, Information, Warning};
    let ids = |level| -> Vec<u16> {
        let all = all().into_iter();
        let of_level = all.filter(|event| event.level == level);
        of_level.map(|event| event.id).collect()
    };
    assert_eq!(
        ids(Error),
        [
            1003, 1004, 1005, 1007, 1026, 1027, 1037, 1084, 1089, 1173, 2269, 2276, 5002, 5005,
            5015, 5022, 5036, 5059, 5063, 5172, 5189
        ]
    );
    assert_eq!(
        ids(Warning),
        [
            1086, 1087, 2263, 5009, 5010, 5011, 5012, 5013, 5021, 5025, 5030, 5039, 5053, 5054,
            5057, 5058, 5060, 5070, 5085, 5093, 5127, 5138, 5139, 5192, 5193, 5196
        ]
    );
    assert_eq!(
        ids(Information),
        [
            3201, 3202, 3203, 3204, 5074, 5075, 5076, 5077, 5078, 5079, 5080, 5117, 5186, 5194,
            5195
        ]
    );
}

#[test]
fn what_an_event_says_of_its_pool_and_process_is_in_its_data() {
    for event in all() {
        let has = |name: &str, value: &str| {
            let mut data = event.data.iter();
            data.any(|(n, v)| n == name && v == value)
        };
        let of_process = event.message.contains("'7'");
        assert_eq!(has("ProcessID", "7"), of_process, "{event:?}");
        let words = event.message.replace(['.', '\''], " ");
        let names_pool = words.split_whitespace().any(|word| word == "P");
        assert_eq!(event.pool.is_some(), names_pool, "{event:?}");
    }
}
