//! Every scenario in the repository shows what it says it shows.

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use support::run_scenario as run;

/// Scenarios without sentences, which `compare` measures; and the farm, which needs a real HAProxy.
const NOT_VIRTUAL: [&str; 4] = [
    "agree",
    "farm-behind-haproxy",
    "periodic-restart",
    "reset-vs-recycle",
];

/// Two weeks three times over: five seconds of an optimised build, a minute and a half of another. The gate
/// runs it with the former.
const TOO_LONG_TO_DEBUG: &str = "scheduled-recycle-at-noon";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scenarios")
}

fn scenarios() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder())
        .expect("a folder of scenarios")
        .flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    files
}

fn name(path: &Path) -> &str {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .expect("a name in ASCII")
}

#[test]
fn under_the_virtual_clock_every_sentence_of_every_scenario_holds() {
    let with_sentences: Vec<PathBuf> = scenarios()
        .into_iter()
        .filter(|path| !NOT_VIRTUAL.contains(&name(path)))
        .filter(|path| !cfg!(debug_assertions) || name(path) != TOO_LONG_TO_DEBUG)
        .collect();
    let failure = |scenario: &PathBuf| {
        let (code, text) = run(scenario, &["--clock", "virtual", "--trials", "1"]);
        let holds = code == Some(0) && text.contains("sentences hold");
        (!holds).then(|| format!("{}: {code:?}\n{text}", name(scenario)))
    };
    // Each run computes on one processor for most of its time.
    let next = AtomicUsize::new(0);
    let some_of_them = || {
        let mine = std::iter::from_fn(|| with_sentences.get(next.fetch_add(1, Ordering::Relaxed)));
        mine.filter_map(failure).collect::<Vec<String>>()
    };
    let failed = std::thread::scope(|scope| {
        let other = scope.spawn(some_of_them);
        [some_of_them(), other.join().unwrap()].concat()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// `cargo test --release --test scenarios -- --ignored`
#[test]
#[ignore = "a quarter of an hour on a machine that does nothing else"]
fn the_sentences_of_the_first_five_hold_live() {
    let mut failed = Vec::new();
    for scenario in [
        "every-way-to-restart",
        "long-requests",
        "crash-loop-rapid-fail",
        "hang-and-ping",
        "memory-leak",
    ] {
        let (code, text) = run(&scenarios_file(scenario), &["--clock", "live"]);
        if code != Some(0) {
            failed.push(format!("{scenario}: {code:?}\n{text}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_claims_of_the_article_are_decided_in_one_table() {
    let virtual_ones = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder().join("article")).unwrap() {
        // The farm behind HAProxy, which decides A19, runs under the live clock: tests/farm.rs.
        let path = entry.unwrap().path();
        if !path.is_symlink() {
            std::fs::copy(&path, virtual_ones.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let (code, text) = run(virtual_ones.path(), &["--trials", "1"]);
    assert_eq!(code, Some(0), "{text}");
    for claim in [
        "A4", "A5", "A6", "A7", "A8", "A9", "A10", "A11", "A12", "A13", "A14", "A15", "A16", "A17",
        "A18", "A20", "A21",
    ] {
        let row = |line: &str| line.trim_start().starts_with(&format!("{claim} "));
        assert!(text.lines().any(row), "no row for {claim}: {text}");
    }
}

#[test]
fn a_sentence_that_does_not_hold_is_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    let text = std::fs::read_to_string(scenarios_file("long-requests")).unwrap();
    let wrong = "[[expect]]\nthat = 'nothing is ever lost'\nchecks = [{ arm = 'limit 10 s', \
                 figure = 'failed', equals = 0 }]\n";
    std::fs::write(&path, format!("{text}\n{wrong}")).unwrap();
    let (code, text) = run(&path, &["--clock", "virtual", "--trials", "1"]);
    assert_eq!(code, Some(4), "{text}");
    assert!(
        text.contains("DOES NOT HOLD  nothing is ever lost"),
        "{text}"
    );
}

#[test]
fn a_sentence_about_an_arm_that_is_not_there_is_refused_with_the_arms_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    let text = std::fs::read_to_string(scenarios_file("long-requests")).unwrap();
    let text = text.replace("arm = \"limit 90 s\"", "arm = \"limit 9 s\"");
    std::fs::write(&path, text).unwrap();
    let (code, text) = run(&path, &["--clock", "virtual"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("limit 9 s") && text.contains("limit 90 s; limit 10 s"),
        "{text}"
    );
}

fn scenarios_file(name: &str) -> PathBuf {
    folder().join(format!("{name}.toml"))
}

#[test]
fn a_host_that_nobody_serves_is_told_with_the_scenario_under_both_clocks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    std::fs::write(&path, "name = 'x'\n[load]\ntls_share = 1").unwrap();
    for clock in ["live", "virtual"] {
        let (code, text) = run(&path, &["--clock", clock, "--trials", "1"]);
        assert_eq!(code, Some(1), "{text}");
        let wanted = "wrong.toml: no https binding of the server takes the host localhost";
        assert!(text.contains(wanted), "{clock}: {text}");
    }
}
