//! Whatever happens in whatever order: nothing panics, every invariant holds (they are checked after
//! every input), every command gets one answer, and a server that is told to quit ends.

use std::time::Duration;

use proptest::prelude::*;
use sim_httpsys::api::ProcessId;
use sim_worker::ipm::{FromWorker, RecycleReason, StartFailure};

use super::Input;
use super::bench::{POOL, pool, server, site};
use crate::control::{Command, Service};
use crate::event_log::WorkerExit;

#[derive(Clone, Debug)]
enum Step {
    Request(bool),
    Command(Command),
    Tell(u32, FromWorker),
    Garbled(u32),
    PipeClosed(u32),
    Exit(u32, i32),
    Pass(u64),
    WorkersStart(bool),
    WorkersStop(bool),
    Spawns(bool),
}

fn services() -> impl Strategy<Value = Vec<Service>> {
    prop::sample::subsequence(vec![Service::Was, Service::W3svc], 0..=2)
}

fn command() -> impl Strategy<Value = Command> {
    let name = || prop::sample::select(vec![POOL.to_owned(), "Other".to_owned(), "No".to_owned()]);
    prop_oneof![
        4 => name().prop_map(|name| Command::RecycleApplicationPool { name }),
        1 => name().prop_map(|name| Command::StartApplicationPool { name }),
        1 => name().prop_map(|name| Command::StopApplicationPool { name }),
        1 => name().prop_map(|name| Command::StartSite { name }),
        1 => name().prop_map(|name| Command::StopSite { name }),
        1 => (services(), 0..30_000_u64, any::<bool>()).prop_map(|(services, timeout_ms, force)| {
            Command::StopServices { services, timeout_ms, force, reset_by: None }
        }),
        2 => services().prop_map(|services| Command::StartServices { services }),
        1 => Just(Command::ListRequests),
        1 => Just(Command::ListWorkerProcesses),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let pid = || 1..12_u32;
    let said = prop_oneof![
        4 => Just(FromWorker::Ready),
        1 => (0..4_u64).prop_map(|sequence| FromWorker::PingReply { sequence }),
        2 => Just(FromWorker::RequestRecycle { reason: RecycleReason::Time }),
        1 => Just(FromWorker::Idle),
        1 => Just(FromWorker::StartFailed { failure: StartFailure::RequestQueue, message: String::new() }),
    ];
    prop_oneof![
        6 => any::<bool>().prop_map(Step::Request),
        6 => command().prop_map(Step::Command),
        6 => (pid(), said).prop_map(|(pid, said)| Step::Tell(pid, said)),
        1 => pid().prop_map(Step::Garbled),
        1 => pid().prop_map(Step::PipeClosed),
        4 => (pid(), 0..2).prop_map(|(pid, code)| Step::Exit(pid, code)),
        4 => (0..100_u64).prop_map(Step::Pass),
        2 => any::<bool>().prop_map(Step::WorkersStart),
        2 => any::<bool>().prop_map(Step::WorkersStop),
        1 => any::<bool>().prop_map(Step::Spawns),
    ]
}

proptest! {
    #[test]
    fn no_order_of_events_breaks_an_invariant(
        steps in prop::collection::vec(step(), 1..120),
        overlap in any::<bool>(),
        always_running in any::<bool>(),
        size in 1..3_u32,
    ) {
        let mut server = server().with_pool(|p| {
            p.recycling.disallow_overlapping_rotation = !overlap;
            p.always_running = always_running;
            p.process_model.max_processes = size;
        });
        server.configuration.application_pools.push(pool("Other"));
        server.configuration.sites.push(site("Other", 2, 81, "Other"));
        let mut server = server.up();
        for step in steps {
            match step {
                Step::Request(first) => server.request(if first { POOL } else { "Other" }),
                Step::Command(command) => drop(server.ask(command)),
                Step::Tell(pid, message) => server.tell(pid, message),
                Step::Garbled(pid) => server.input(Input::Garbled { pid: ProcessId(pid) }),
                Step::PipeClosed(pid) => server.input(Input::PipeClosed { pid: ProcessId(pid) }),
                Step::Exit(pid, code) if server.pids().contains(&pid) => {
                    server.exit(pid, WorkerExit::Code(code));
                }
                Step::Exit(..) => {}
                Step::Pass(seconds) => server.pass(Duration::from_secs(seconds)),
                Step::WorkersStart(yes) => server.starts = yes,
                Step::WorkersStop(yes) => server.stops = yes,
                Step::Spawns(yes) => server.spawns = yes,
            }
        }
        server.ask(Command::Quit);
        server.pass(Duration::from_secs(2));
        prop_assert!(server.stopped, "it ends");
        prop_assert!(server.pids().is_empty(), "nothing is left");
        prop_assert!(server.every_command_was_answered());
    }
}
