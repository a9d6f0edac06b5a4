//! What a worker was started with changes: its identity, and the limit of its CPU time.

use std::time::Duration;

use sim_httpsys::api::ProcessId;

use super::*;

#[test]
fn an_identity_that_becomes_invalid_is_told_at_once_and_leaves_the_old_worker_where_it_is() {
    let mut bench = up();
    let change = |type_| Change::pool("A", "processModel.identityType", type_);
    bench.set(change("SpecificUser"));
    assert_eq!(bench.events(), [5021, 5080, 5093]);
    assert_eq!(bench.pids(), [1, 2, 3]);
    bench.ask(Command::RecycleApplicationPool { name: "A".into() });
    assert_eq!(bench.events()[3..], [5079, 5093]);
    assert_eq!(bench.pids(), [1, 2, 3]);
    bench.set(change("LocalSystem"));
    assert_eq!(bench.events()[5..], [5080]);
    assert_eq!(bench.pids(), [2, 3, 4]);
}

#[test]
fn a_cpu_limit_waits_for_the_next_worker_where_a_change_does_not_rotate() {
    let mut bench = up();
    for (name, value) in [
        ("cpu.limit", "1000"),
        ("cpu.action", "KillW3wp"),
        ("cpu.resetInterval", "00:01:00"),
    ] {
        bench.set(Change::pool("C", name, value));
    }
    let measure = |bench: &mut Bench, worker: u32| {
        for used in [0, 50] {
            let used = Duration::from_secs(used);
            bench.cpu.insert(ProcessId(worker), used);
            bench.pass(Duration::from_secs(10));
        }
    };
    measure(&mut bench, 3);
    assert_eq!(bench.pids(), [1, 2, 3], "it knows nothing of a limit");
    bench.ask(Command::RecycleApplicationPool { name: "C".into() });
    assert_eq!(bench.pids(), [1, 2, 4]);
    measure(&mut bench, 4);
    assert!(bench.events().contains(&5025), "{:?}", bench.events());
}
