//! Many seeds, with faults, all invariants checked. The release build runs far more of them.

use std::collections::BTreeSet;

use iis_sim::virtual_world::swarm::{self, Plan};

#[test]
fn a_swarm_with_faults_keeps_every_invariant_and_comes_to_rest() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        match swarm::run(seed, 10_000) {
            Ok(outcome) => seen.extend(outcome.sometimes.into_keys()),
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    for wanted in [
        "a queue was full",
        "rapid-fail protection was tripped by a crash",
        "the new worker failed in an overlap",
    ] {
        assert!(seen.contains(wanted), "{wanted} was not reached: {seen:?}");
    }
}

#[test]
fn a_plan_is_plain_data_and_means_the_same_after_it_was_stored() {
    for seed in 0..5 {
        let plan = swarm::draw(seed, 3_000);
        let stored = serde_json::to_string(&plan).unwrap();
        let read: Plan = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, plan);
        let digest = |plan: &Plan| swarm::run_plan(plan).unwrap().digest;
        assert_eq!(digest(&read), digest(&plan));
    }
}
