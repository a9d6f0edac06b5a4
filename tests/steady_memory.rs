//! The whole model under a load without end takes no more memory however long it runs.

use std::path::Path;
use std::time::Duration;

use iis_sim::scenario::Scenario;
use iis_sim::virtual_world::costs::Costs;
use iis_sim::virtual_world::full_model::FullModel;

#[path = "../benches/full_model/counting.rs"]
mod counting;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Allocations in 100 events of the mix, at most. What is left: the head of each request and its copy for
/// the worker, the exchange that holds them, and the pieces of each response.
const ALLOCATIONS_A_HUNDRED_EVENTS: u64 = 165;

/// One test, because the counts are those of the whole process.
#[test]
fn the_whole_model_holds_as_much_after_many_events_as_before() {
    let text = include_str!("../benches/full_model/scenario.toml");
    let mut scenario = Scenario::parse(text, "scenario.toml", Path::new(".")).unwrap();
    scenario.load.keep_alive_connections = 100;
    scenario.load.rate = 1_000.0;
    // Connections that come and go, so that their slots must be used again.
    scenario.load.one_shot_share = 0.1;
    let mut model = FullModel::new(&scenario, 1, &Costs::default(), false).unwrap();
    model.run_for(Duration::from_mins(1)).unwrap();
    let before = (counting::calls(), counting::held(), model.events());
    model.run(300_000).unwrap();
    let events = model.events() - before.2;
    let calls = counting::calls() - before.0;
    assert!(
        calls * 100 <= events * ALLOCATIONS_A_HUNDRED_EVENTS,
        "{calls} allocations in {events} events"
    );
    let grown = counting::held() - before.1;
    assert!(
        grown.unsigned_abs() * 100 < before.1.unsigned_abs(),
        "{grown} bytes more than {} after {events} events",
        before.1
    );
}
