//! A stored run: it repeats in another process, and where it does not, the first fact is named.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails when something is not there"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use iis_sim::scenario::Scenario;
use iis_sim::virtual_world::costs::Costs;
use iis_sim::virtual_world::record::{Record, Subject};
use iis_sim::virtual_world::swarm::{self, Plan};
use iis_sim::virtual_world::track::Watch;
use iis_sim::virtual_world::trial::Trial;

const SCENARIO: &str = "name = 'stored'
operations = ['recycle', 'iisreset']
trials = 1
seed = 7
[timing]
warm-up-min = '1500ms'
warm-up-max = '1500ms'
watch-min = '2s'
watch-max = '2s'
[load]
rate = 73.31
tls_share = 0
keep_alive_connections = 8
users = 20
mix = [
    { url = '/iisstart.htm', weight = 2 },
    { url = '/default.aspx' },
    { url = '/session.aspx', session = true },
]";

/// What is wrong afterwards, and what makes it so.
type Change<T> = (&'static str, fn(&mut T));

fn iis_sim(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iis-sim"));
    command.args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Records the scenario in a process of its own.
fn record_in(folder: &Path, name: &str) -> PathBuf {
    let (scenario, record) = (folder.join("stored.toml"), folder.join(name));
    std::fs::write(&scenario, SCENARIO).unwrap();
    let output = iis_sim(&[
        "compare",
        scenario.to_str().unwrap(),
        "--clock",
        "virtual",
        "--record",
        record.to_str().unwrap(),
    ]);
    assert!(record.exists(), "{}", text(&output.stderr));
    record
}

fn replay(record: &Path) -> (Option<i32>, String, String) {
    let output = iis_sim(&["replay", record.to_str().unwrap()]);
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn two_processes_record_the_same_bytes_and_a_third_replays_them() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (
        record_in(folder.path(), "one.json"),
        record_in(folder.path(), "other.json"),
    );
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&other).unwrap());
    let (code, told, errors) = replay(&one);
    assert_eq!(code, Some(0), "{told}{errors}");
    assert_eq!(told.matches("the same, digest").count(), 2, "{told}");
}

#[test]
fn a_replay_that_does_something_else_names_the_first_fact() {
    let folder = tempfile::tempdir().unwrap();
    let path = record_in(folder.path(), "changed.json");
    let mut record = Record::read(&path).unwrap();
    let Subject::Compare { scenario, costs } = &mut record.subject else {
        panic!("a comparison was recorded");
    };
    let before = all_facts(scenario, &record.runs[0], costs);
    *costs = costs.replacen("\nreap = ", "\nreap = \"1ms\" # ", 1);
    let after = all_facts(scenario, &record.runs[0], costs);
    record.write(&path).unwrap();

    let first = before.iter().zip(&after).find(|(one, other)| one != other);
    let (_, first) = first.expect("a process that is reaped later is a difference");
    let (code, told, errors) = replay(&path);
    assert_eq!(code, Some(1), "{told}{errors}");
    assert!(
        told.contains(&format!("\n  > {first}\n")),
        "{first}\n{told}"
    );
}

#[test]
fn a_record_whose_figures_are_not_those_of_its_run_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = record_in(folder.path(), "figures.json");
    let good = Record::read(&path).unwrap();
    let mut record = good.clone();
    record.runs[0].metrics["failed"] = 4_000.into();
    record.write(&path).unwrap();
    let (code, told, _) = replay(&path);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("metrics.failed was recorded as 4000, and is "),
        "{told}"
    );
    let mut record = good.clone();
    record.runs[0].broke = Some("C1".to_owned());
    record.write(&path).unwrap();
    let (code, told, _) = replay(&path);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("it broke C1 when it was recorded, and nothing now"),
        "{told}"
    );
    let mut record = good;
    record.runs[0].trail.stride = 0;
    record.write(&path).unwrap();
    let (code, _, errors) = replay(&path);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("a power of two"), "{errors}");
}

#[test]
fn a_record_that_lacks_a_figure_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = record_in(folder.path(), "figures.json");
    let mut record = Record::read(&path).unwrap();
    let metrics = record.runs[0].metrics.as_object_mut().unwrap();
    metrics.remove("attempts").unwrap();
    record.runs[1].metrics = serde_json::Value::Null;
    record.write(&path).unwrap();
    let (code, told, _) = replay(&path);
    assert_eq!(code, Some(1), "{told}");
    for wanted in [
        "metrics.attempts is not in the record, and is ",
        "metrics is not in the record",
    ] {
        assert!(told.contains(wanted), "{told}");
    }
}

#[test]
fn a_digest_that_is_not_of_its_own_trail_blames_no_fact() {
    let folder = tempfile::tempdir().unwrap();
    let path = record_in(folder.path(), "digest.json");
    let mut record = Record::read(&path).unwrap();
    record.runs[0].digest ^= 1;
    record.runs[1].facts += 1;
    record.write(&path).unwrap();
    let (code, told, _) = replay(&path);
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told.matches("  no fact differs: ").count(), 2, "{told}");
    assert!(!told.contains("the first fact that differs"), "{told}");
}

fn all_facts(
    scenario: &Scenario,
    run: &iis_sim::virtual_world::record::Recorded,
    costs: &str,
) -> Vec<String> {
    let trial = Trial {
        scenario,
        operation: run.operation.unwrap(),
        seed: run.seed,
        costs: &Costs::parse(costs).unwrap(),
    };
    let (ran, track) = trial.run_watched(Watch::Facts(0..u64::MAX));
    ran.unwrap();
    track.lines.iter().map(ToString::to_string).collect()
}

#[test]
fn another_build_is_a_warning_and_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = record_in(folder.path(), "older.json");
    let mut record = Record::read(&path).unwrap();
    record.build = "another".to_owned();
    record.write(&path).unwrap();
    let (code, told, errors) = replay(&path);
    assert_eq!(code, Some(0), "{told}");
    assert!(errors.contains("recorded by build another"), "{errors}");
}

#[test]
fn inputs_are_recorded_of_live_programs_only() {
    let folder = tempfile::tempdir().unwrap();
    let (scenario, out) = (folder.path().join("stored.toml"), folder.path().join("out"));
    std::fs::write(&scenario, SCENARIO).unwrap();
    let (scenario, out) = (scenario.to_str().unwrap(), out.to_str().unwrap());
    let words = ["compare", scenario, "--clock", "virtual", "--out", out];
    let output = iis_sim(&[&words[..], &["--record-inputs"]].concat());
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(
        errors.contains("--record-inputs needs --clock live"),
        "{errors}"
    );
}

#[test]
fn a_record_that_cannot_be_run_is_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let path = record_in(folder.path(), "changed.json");
    let recorded = Record::read(&path).unwrap();
    let mut empty = recorded.clone();
    empty.runs.clear();
    empty.write(&path).unwrap();
    let (code, _, errors) = replay(&path);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("holds no run"), "{errors}");
    let mut impossible = recorded;
    let Subject::Compare { scenario, .. } = &mut impossible.subject else {
        panic!("a comparison was recorded");
    };
    scenario.load.rate = -5.0;
    impossible.write(&path).unwrap();
    let (code, told, errors) = replay(&path);
    assert_eq!(code, Some(2), "{told}{errors}");
    let wanted = "its scenario cannot be run: stored: load.rate must lie between";
    assert!(errors.contains(wanted), "{errors}");
}

#[test]
fn what_is_no_record_is_refused_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.json");
    for (content, wanted) in [
        ("{\n  \"schema\": 3\n}", "line 2 column 13"),
        ("{", "EOF"),
        ("\u{0}\u{1}", "line 1 column 1"),
    ] {
        std::fs::write(&path, content).unwrap();
        let (code, _, errors) = replay(&path);
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains("broken.json"), "{errors}");
        assert!(errors.contains(wanted), "{errors}");
    }
    let (code, _, errors) = replay(&folder.path().join("absent.json"));
    assert_eq!(code, Some(2));
    assert!(errors.contains("absent.json"), "{errors}");
}

#[test]
fn a_virtual_trial_leaves_the_traces_that_a_live_one_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let (scenario, out) = (folder.path().join("stored.toml"), folder.path().join("out"));
    std::fs::write(&scenario, SCENARIO).unwrap();
    let (scenario, out_word) = (scenario.to_str().unwrap(), out.to_str().unwrap());
    let output = iis_sim(&["compare", scenario, "--clock", "virtual", "--out", out_word]);
    let trace = out.join("iisreset-1/root/trace");
    let was = std::fs::read_to_string(trace.join("was.jsonl"));
    let was = was.unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    let orders = was
        .lines()
        .filter(|line| line.contains("\"stop W3SVC WAS\""));
    assert_eq!(orders.count(), 1, "{was}");
    assert!(trace.join("httpsys.jsonl").exists());
    assert!(out.join("recycle-1/root/trace/was.jsonl").exists());
    let (code, told, errors) = replay(&out);
    assert_eq!(code, Some(0), "{told}{errors}");
    assert_eq!(told.matches("the same, digest").count(), 2, "{told}");
}

#[test]
fn a_record_that_would_never_end_is_refused_with_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let path = record_in(folder.path(), "long.json");
    let mut record = Record::read(&path).unwrap();
    let Subject::Compare { scenario, .. } = &mut record.subject else {
        panic!("a comparison was recorded");
    };
    scenario.timing.watch_max = Duration::from_hours(9_999_999);
    record.write(&path).unwrap();
    let (code, _, errors) = replay(&path);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("can be planned"), "{errors}");

    let changes: [Change<Plan>; 4] = [
        ("millis", |plan| plan.millis = 1 << 62),
        ("pools[0].startup_limit", |plan| {
            plan.pools[0].startup_limit = 0;
        }),
        ("pools[0].ping_response", |plan| {
            plan.pools[0].ping_response = 1 << 63;
        }),
        ("operations[0].at", |plan| plan.operations[0].at = 1 << 63),
    ];
    let seed = (0..100).find(|seed| !swarm::draw(*seed, 1_000).operations.is_empty());
    for (field, change) in changes {
        let mut record = Record::of_seed(&swarm::draw(seed.unwrap(), 1_000));
        let Subject::Swarm { plan } = &mut record.subject else {
            panic!("a seed was recorded");
        };
        change(plan);
        record.write(&path).unwrap();
        let (code, _, errors) = replay(&path);
        assert_eq!(code, Some(2), "{field}: {errors}");
        let wanted = format!("its plan cannot be run: {field} must lie between");
        assert!(errors.contains(&wanted), "{field}: {errors}");
    }
}

#[test]
fn a_record_has_the_runs_that_its_scenario_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = record_in(folder.path(), "runs.json");
    let good = Record::read(&path).unwrap();
    assert!(good.strays().is_empty());
    let changes: [Change<Record>; 5] = [
        ("iisreset, seed 7000021 is asked for", |record| {
            record.runs.pop();
        }),
        ("recycle, seed 7000021 is recorded twice", |record| {
            record.runs.push(record.runs[0].clone());
        }),
        ("seed 7000021 is recorded, and nobody asked", |record| {
            scenario(record).seed = 8;
        }),
        ("seed 7000022 is asked for", |record| {
            scenario(record).trials = 3;
        }),
        ("iisreset, seed 7000021 is recorded, and nobody", |record| {
            scenario(record).operations.pop();
        }),
    ];
    for (wanted, change) in changes {
        let mut record = good.clone();
        change(&mut record);
        record.write(&path).unwrap();
        let (code, told, errors) = replay(&path);
        assert_eq!(code, Some(1), "{wanted}: {told}{errors}");
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
}

fn scenario(record: &mut Record) -> &mut Scenario {
    let Subject::Compare { scenario, .. } = &mut record.subject else {
        panic!("a comparison was recorded");
    };
    scenario
}
