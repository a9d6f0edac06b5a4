//! Both clocks on one scenario: what happens is the same, how long it takes about so.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails when something is not there"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const SCENARIO: &str = "name = 'both'
trials = 1
[timing]
warm-up-min = '1500ms'
warm-up-max = '1500ms'
watch-min = '2500ms'
watch-max = '2500ms'
[load]
rate = 50
tls_share = 0
keep_alive_connections = 8
users = 8
late_bound = '5ms'
mix = [
    { url = '/default.aspx' },
    { url = '/session.aspx', session = true },
    { url = '/default.aspx', body_bytes = 200000 },
    # A file cannot be posted to.
    { url = '/iisstart.htm', body_bytes = 200000 },
]
held = { url = '/wait.aspx?time=2500', count = 5, at = '300ms' }
[load.probes]
interval = '20ms'
url = '/default.aspx'
";

fn iis_sim(words: &[&str], scenario: &Path, json: &Path) -> Output {
    let mut command = Command::new(support::IIS_SIM);
    command.args(words).arg(scenario).arg("--json").arg(json);
    command.output().unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn both_clocks_lose_the_same_requests_and_lead_the_same_workers_lives() {
    let folder = tempfile::tempdir().unwrap();
    let (scenario, json) = (
        folder.path().join("both.toml"),
        folder.path().join("agree.json"),
    );
    std::fs::write(&scenario, SCENARIO).unwrap();
    let words = [
        "agree",
        "--retries",
        "2",
        "--op",
        "iisreset",
        "--op",
        "recycle",
        "--op",
        "kill-w3wp",
    ];
    let output = iis_sim(&words, &scenario, &json);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // 3: the machine was too busy for a punctual load. 4 is looked into below: on such a machine times are
    // longer than on the one that the profile describes, and everything else is the same all the same.
    assert!(
        matches!(output.status.code(), Some(0 | 3 | 4)),
        "{output:?}"
    );
    let report = read(&json);
    assert_eq!(report["schema"], "iis-sim/agree/1");
    let expected = [
        ("iisreset", "5 reset in flight"),
        ("recycle", "5 answered"),
        ("kill-w3wp", "5 reset in flight"),
    ];
    for (operation, fate) in expected {
        let operations = report["operations"].as_array().unwrap();
        let judged = operations
            .iter()
            .find(|o| o["operation"] == operation)
            .unwrap();
        let rows = judged["rows"].as_array().unwrap();
        if rows.is_empty() {
            assert!(!judged["invalid"].as_array().unwrap().is_empty(), "{text}");
            continue;
        }
        let row = |what: &str| rows.iter().find(|row| row["what"] == what).unwrap();
        assert_eq!(row("held_requests")["live"], fate, "{text}");
        for clock in ["live", "virtual"] {
            let classes = row("outcome_classes")[clock].as_str().unwrap();
            assert!(classes.starts_with("4xx, answered"), "{clock}: {classes}");
        }
        for what in ["held_requests", "lifecycle", "unexplained"] {
            assert_eq!(row(what)["agrees"], true, "{operation}, {what}: {text}");
        }
        assert!(
            row("longest_gap")["allowed"]
                .as_str()
                .unwrap()
                .starts_with('±')
        );
    }
    let verdict = match output.status.code() {
        Some(0) => "agree",
        Some(3) => "not_judged",
        _ => "disagree",
    };
    assert_eq!(report["verdict"], verdict);
}

/// The names of all figures; those of lists are left out, since their length is a figure itself.
fn names(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
    if let Value::Object(parts) = value {
        for (name, part) in parts {
            let path = format!("{prefix}.{name}");
            names(&path, part, found);
            found.insert(path);
        }
    }
}

#[test]
fn a_virtual_report_has_the_names_of_a_live_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.toml");
    std::fs::write(&path, SCENARIO).unwrap();
    let of = |clock: &str| {
        let json = folder.path().join(format!("{clock}.json"));
        let words = ["compare", "--clock", clock, "--op", "recycle"];
        let output = iis_sim(&words, &path, &json);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
        let report = read(&json);
        assert_eq!(report["clock"], clock);
        let trial = &report["operations"][0]["trials"][0];
        let mut found = BTreeSet::new();
        names("trial", trial, &mut found);
        names("worker", &trial["metrics"]["workers"][0], &mut found);
        names("summary", &report["operations"][0]["summary"], &mut found);
        names("environment", &report["environment"], &mut found);
        found
    };
    let (live, virtual_) = (of("live"), of("virtual"));
    // A figure that is unknown in every trial has no summary: these depend on what was seen.
    let fixed = |names: &BTreeSet<String>| -> BTreeSet<String> {
        names
            .iter()
            .filter(|name| !name.starts_with("summary.figures."))
            .cloned()
            .collect()
    };
    assert_eq!(fixed(&live), fixed(&virtual_));
    assert!(
        live.contains("trial.metrics.downtime_max_gap_ms.value"),
        "{live:?}"
    );
    assert!(
        live.contains("worker.pool") || live.iter().any(|name| name.starts_with("worker.")),
        "{live:?}"
    );
}

#[test]
fn a_scenario_that_would_hold_requests_after_the_operation_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("late.toml");
    std::fs::write(&path, SCENARIO.replace("at = '300ms'", "at = '1500ms'")).unwrap();
    let output = iis_sim(&["agree"], &path, &folder.path().join("x.json"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in ["late.toml", "load.held.at", "warm-up-min"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}
