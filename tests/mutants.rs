//! The check of the checks, in a build with `--features mutants`: faults that are put into the models
//! on purpose are found, and what found them is made small.
#![cfg(feature = "mutants")]

use iis_sim::virtual_world::swarm::mutation::{check, shrink_caught};
use iis_sim::virtual_world::swarm::{self, run_caught};
use sim_httpsys::clockwork::mutants::{Mutant, choose};

const MILLIS: u64 = 20_000;

#[test]
fn a_queue_that_gives_out_its_newest_request_first_is_found_and_made_small() {
    let verdicts = check(&[Mutant::LifoQueue], &(0..100), MILLIS, 1, &|_| true);
    let caught = verdicts[0].caught.as_ref().expect("it is found");
    assert_eq!(caught.by, "Q2");

    let plan = swarm::draw(caught.seed, MILLIS);
    let small = shrink_caught(Mutant::LifoQueue, &plan, 200).expect("it is found again");
    assert_eq!(small.error.name(), "Q2");
    assert!(small.plan.operations.len() <= plan.operations.len());
    assert!(small.plan.pools.len() <= plan.pools.len());
    assert_ne!(small.plan, plan, "nothing could be left out");
    run_caught(&small.plan).expect("without the mutant everything holds");
}

#[test]
fn a_mutant_of_one_thread_is_none_of_another() {
    choose(Some(Mutant::LifoQueue));
    let other = std::thread::spawn(|| swarm::run(3, 2_000).map(|outcome| outcome.digest));
    let other = other.join().expect("it ends");
    choose(None);
    let same = swarm::run(3, 2_000).map(|outcome| outcome.digest);
    assert_eq!(other.expect("it holds"), same.expect("it holds"));
}

#[test]
fn a_worker_that_calls_itself_idle_and_has_a_request_is_found_by_its_own_word() {
    let verdicts = check(&[Mutant::IdleWithRequest], &(110..120), MILLIS, 1, &|_| {
        true
    });
    let caught = verdicts[0].caught.as_ref().expect("it is found");
    assert_eq!(caught.by, "W8");
}

#[test]
fn an_application_that_does_not_leave_as_it_should_is_found() {
    let mutants = [Mutant::MoveLeavesRoute, Mutant::KeepUrlOfApplication];
    let verdicts = check(&mutants, &(0..80), MILLIS, 1, &|_| true);
    for (verdict, mutant) in verdicts.iter().zip(mutants) {
        let caught = verdict.caught.as_ref();
        let caught = caught.unwrap_or_else(|| panic!("{mutant:?} is not found"));
        // The driver itself may find that a group has gone whose route it has.
        let by = caught.by;
        assert!(matches!(by, "N6" | "panic"), "{mutant:?}: {caught:?}");
    }
}

#[test]
fn what_goes_to_another_site_or_is_counted_for_it_is_found() {
    let wanted = [
        (Mutant::RouteToFirstPool, "N6"),
        (Mutant::HostIgnored, "N6"),
        (Mutant::FirstSiteNamed, "N6"),
        (Mutant::CacheKeyWithoutSite, "N6"),
        (Mutant::NoFlushAtUrlRemoval, "K2"),
        (Mutant::ConnectionsOfAllSites, "N5"),
        (Mutant::CountForFirstSite, "M1"),
        (Mutant::CountBytesShort, "C4"),
    ];
    let mutants = wanted.map(|(mutant, _)| mutant);
    let verdicts = check(&mutants, &(0..40), MILLIS, 1, &|_| true);
    for (verdict, (mutant, by)) in verdicts.iter().zip(wanted) {
        let caught = verdict.caught.as_ref();
        let caught = caught.unwrap_or_else(|| panic!("{mutant:?} is not found"));
        assert_eq!(caught.by, by, "{mutant:?}: {caught:?}");
    }
}
