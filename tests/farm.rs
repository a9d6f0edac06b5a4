//! A farm behind a real HAProxy: what a balancer sees of an iisreset and of a recycle.

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

const SCENARIO: &str = "examples/scenarios/farm-behind-haproxy.toml";

#[test]
fn the_balancer_sees_an_iisreset_and_cannot_see_a_recycle() {
    let runs = |program: &&str| Command::new(program).arg("-v").output().is_ok();
    if !["haproxy", "/usr/sbin/haproxy"].iter().any(runs) {
        eprintln!("skipped: haproxy is not installed (apt-get install haproxy)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("farm.json");
    let out = folder.path().join("out");
    let (code, text) = support::run_scenario(
        Path::new(SCENARIO),
        &[
            "--json",
            json.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ],
    );
    assert_eq!(
        support::processes_that_name(&out.to_string_lossy()),
        Vec::<String>::new(),
        "every server and the balancer end with the run"
    );
    let result: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let of = |operation: &str| {
        let operations = &result["scenarios"][0]["comparison"]["operations"];
        let operations = operations.as_array().unwrap();
        let found = operations.iter().find(|o| o["operation"] == operation);
        found.unwrap()["trials"][0]["metrics"].clone()
    };
    for operation in ["none", "recycle", "iisreset", "hang-w3wp"] {
        let metrics = of(operation);
        assert_eq!(metrics["ledger"]["unexplained"], 0, "{operation}: {text}");
        assert!(metrics["ledger"]["attempts"].as_u64().unwrap() > 500);
        assert_eq!(metrics["balancer"]["servers"], 3);
    }
    if code == Some(3) {
        // The machine was too busy to make the load punctual: such figures prove nothing.
        assert!(text.contains("INVALID"), "{text}");
        return;
    }
    // Handlers are nice to everybody: beside programs that keep every core busy, a page that takes 90 ms to be compiled
    // takes a second, and so does the check that waits for it.
    let longest = of("recycle")["latency_ms"]["since"]["max"]
        .as_f64()
        .unwrap();
    if longest > 500.0 {
        eprintln!("the machine was so busy that a cold page took {longest} ms");
        let wrong: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("DOES NOT"))
            .collect();
        let is_of_recycle = |line: &&str| line.contains("a recycle cannot be seen");
        assert!(wrong.iter().all(is_of_recycle), "{text}");
        return;
    }
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("4 of 4 sentences hold"), "{text}");
}

#[test]
fn a_wrong_farm_is_refused_with_what_would_be_valid() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(SCENARIO));
    let text = text.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    for (from, to, said) in [
        ("servers = 3", "servers = 1", "2 to 16"),
        ("fall = 2", "fall = 0", "1 to 100"),
        (
            "check-url = \"/default.aspx\"",
            "check-url = \"/a b\\nserver x\"",
            "a path with / in front",
        ),
        ("rise = 2", "rice = 2", "unknown field `rice`"),
    ] {
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let (code, error) = support::run_scenario(&path, &[]);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(said), "{to}: {error}");
    }
}
