//! Many seeds, with faults, all invariants checked. The release build runs far more of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use iis_sim::virtual_world::faults::Faults;
use iis_sim::virtual_world::record::{Record, Subject};
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

#[test]
fn what_was_lost_is_asked_for_once_more_by_clients_that_do_so() {
    let attempts = |resend: f64| {
        let mut plan = swarm::draw(0, 10_000);
        plan.load.rate = 100.0;
        (plan.faults.crash, plan.faults.crash_when) = (0.01, None);
        plan.faults.resend = resend;
        let outcome = swarm::run_plan(&plan).expect("every invariant holds");
        (outcome.size.attempts, outcome.failed)
    };
    let ((once, lost), (again, _)) = (attempts(0.0), attempts(1.0));
    assert!(lost > 0, "nothing was lost of {once}");
    assert!(again > once, "{again} attempts, {once} without");
}

#[test]
fn the_digest_of_a_seed_depends_on_no_other_seed_and_on_no_number_of_jobs() {
    let digests = |seeds: &str, jobs: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iis-sim"));
        command.args(["swarm", "--seeds", seeds, "--jobs", jobs]);
        let output = command.args(["--seconds", "5", "--digests"]).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let of_seeds = text.lines().take_while(|line| !line.contains("seeds,"));
        of_seeds.map(str::to_owned).collect::<Vec<_>>()
    };
    let together = digests("0..8", "4");
    assert_eq!(together.len(), 8);
    let alone = (0..8).flat_map(|seed| digests(&format!("{seed}..{}", seed + 1), "1"));
    assert_eq!(alone.collect::<Vec<_>>(), together);
}

#[test]
fn a_seed_is_recorded_and_replayed_and_a_changed_plan_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("seed.json");
    let mut record = Record::of_seed(&swarm::draw(4, 5_000));
    record.write(&path).expect("it can be written");
    let replay = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iis-sim"));
        let output = command.arg("replay").arg(&path).output();
        let output = output.expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    };
    assert_eq!(replay().0, Some(0));
    let Subject::Swarm { plan } = &mut record.subject else {
        panic!("a seed was recorded");
    };
    plan.load.rate += 1.0;
    record.write(&path).expect("it can be written");
    let (code, text) = replay();
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("the first fact that differs is number"),
        "{text}"
    );
}

#[test]
fn a_place_for_what_fails_is_made_before_anything_has_failed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, store) = (folder.path().join("file"), folder.path().join("a/store"));
    std::fs::write(&file, "").expect("it can be written");
    let swarm = |store: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iis-sim"));
        command.args(["swarm", "--seeds", "1..2", "--seconds", "1", "--store"]);
        let output = command.arg(store).output().expect("it runs");
        (output.status.code(), output.stdout)
    };
    assert_eq!(swarm(&store).0, Some(0));
    assert!(store.is_dir());
    assert_eq!(swarm(&file), (Some(2), Vec::new()));
}

#[test]
fn clients_hang_up_before_they_ask_however_long_a_run_is() {
    // By then the driver has closed every connection that was opened and never used.
    let mut plan = swarm::draw(0, 130_000);
    plan.pools.truncate(1);
    plan.other_sites.clear();
    plan.operations.clear();
    plan.faults = Faults::default();
    plan.faults.client_abort = 0.5;
    (plan.load.rate, plan.load.one_shot_share) = (5.0, 0.5);
    let outcome = swarm::run_plan(&plan).expect("every invariant holds");
    let reached = outcome.coverage.reached();
    let of_connections = reached
        .iter()
        .find(|reached| reached.machine == "connection");
    let missing = &of_connections.expect("it is a machine").missing;
    assert!(
        !missing.contains(&("new", "is closed by the client")),
        "{missing:?}"
    );
}

#[test]
fn a_run_says_whether_everything_had_to_be_seen_and_what_was_not() {
    let swarm = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iis-sim"));
        command.args(["swarm", "--seeds", "1..2", "--seconds", "1"]);
        let output = command.args(more).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, out, _) = swarm(&[]);
    assert_eq!(code, Some(0));
    assert!(out.contains("what must be seen: not asked for"), "{out}");
    let (code, out, err) = swarm(&["--require-sometimes"]);
    assert_eq!(code, Some(1));
    assert!(
        out.contains("what must be seen: not all of it was"),
        "{out}"
    );
    for what in ["never was: a queue was full", "a pool was seen in"] {
        assert!(err.contains(what), "{err}");
    }
}
