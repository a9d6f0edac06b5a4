//! `iis-sim compare --quick`: the main job, measured and reconciled.

mod support;

use serde_json::Value;

#[test]
fn compare_tells_a_recycle_from_an_iisreset_and_explains_every_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("result.json");
    let output = std::process::Command::new(support::IIS_SIM)
        .args(["compare", "--quick", "--json"])
        .arg(&json)
        .arg("--out")
        .arg(folder.path().join("out"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // 3 says that the generator was late: a busy machine, not a wrong program.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    let result: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(result["schema"], "iis-sim/compare/1");
    assert_eq!(result["clock"], "live");
    let of = |operation: &str| {
        let operations = result["operations"].as_array().unwrap();
        let found = operations.iter().find(|o| o["operation"] == operation);
        found.unwrap_or_else(|| panic!("no {operation} in {text}"))["trials"][0]["metrics"].clone()
    };
    for operation in ["none", "iisreset", "recycle"] {
        let ledger = &of(operation)["ledger"];
        assert_eq!(ledger["unexplained"], 0, "{operation}: {text}");
        assert_eq!(ledger["explained"], ledger["attempts"]);
        assert!(ledger["attempts"].as_u64().unwrap() > 1_000, "{operation}");
    }
    if output.status.code() == Some(3) {
        // The machine was too busy to make the load punctual: the report says so and gives no
        // verdict, and figures of such a trial prove nothing.
        assert!(text.contains("No verdict"), "{text}");
        return;
    }
    let (none, reset, recycle) = (of("none"), of("iisreset"), of("recycle"));
    for kind in [
        "refused",
        "reset_idle",
        "reset_inflight",
        "truncated",
        "http_503",
        "http_5xx",
    ] {
        assert_eq!(none["outcomes"][kind], 0, "none: {kind}");
        assert_eq!(recycle["outcomes"][kind], 0, "recycle: {kind}");
    }
    assert!(reset["outcomes"]["refused"].as_u64().unwrap() > 0);
    let open = reset["connections"]["open_before"].as_u64().unwrap();
    // A client that makes a connection for each request may be done with one at just that moment.
    let gone = ["lost_rst", "lost_fin", "closed_by_client"]
        .map(|how| reset["connections"][how].as_u64().unwrap());
    assert!(open >= 64);
    assert_eq!(gone.iter().sum::<u64>(), open, "every open connection ends");
    assert!(gone[0] + gone[1] >= 60, "each that is kept open is lost");
    for layer in ["file", "output", "application", "compiled"] {
        let lost = |metrics: &Value| metrics["cache"][layer]["entries_lost"].as_u64().unwrap();
        assert_eq!(lost(&none), 0, "none: {layer}");
        assert!(lost(&reset) > 0, "iisreset: {layer}");
    }
    assert!(
        recycle["cache"]["compiled"]["entries_lost"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert!(recycle["sessions"]["lost"].as_u64().unwrap() > 0);
    assert!(reset["sessions"]["lost"].as_u64().unwrap() > 0);
    let gap = |metrics: &Value| metrics["downtime_max_gap_ms"]["value"].as_f64().unwrap();
    assert!(
        gap(&reset) > gap(&recycle),
        "{} > {}",
        gap(&reset),
        gap(&recycle)
    );
}

#[test]
fn a_scenario_with_a_misspelt_key_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    std::fs::write(&path, "name = \"x\"\n\n[load]\nrat = 5\n").unwrap();
    let output = std::process::Command::new(support::IIS_SIM)
        .arg("compare")
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    for part in ["wrong.toml", "line 4", "rat"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn a_result_that_could_not_be_written_is_refused_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("not/there/out.json");
    let words = [
        vec!["compare"],
        vec!["run", "examples/scenarios/long-requests.toml"],
        vec!["agree"],
        vec!["merge", "nowhere"],
    ];
    for words in &words {
        for wrong in [missing.as_path(), folder.path(), "-".as_ref()] {
            let mut command = std::process::Command::new(support::IIS_SIM);
            let output = command.args(words).arg("--json").arg(wrong).output();
            let output = output.unwrap();
            assert_eq!(output.status.code(), Some(2), "{words:?} {output:?}");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(text.contains("'--json <FILE>'"), "{text}");
        }
    }
    let at_noon = "examples/scenarios/long-requests.toml";
    let file = folder.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    for (words, option, wrong) in [
        (
            vec!["compare", "--clock", "virtual"],
            "--record <FILE>",
            &missing,
        ),
        (
            vec!["run", at_noon, "--clock", "virtual"],
            "--record <FILE>",
            &missing,
        ),
        (vec!["compare"], "--out <DIR>", &file),
        (vec!["run", at_noon], "--out <DIR>", &file),
        (vec!["agree"], "--out <DIR>", &file),
        (vec!["calibrate", "--quick"], "--out <FILE>", &missing),
        (vec!["merge", "nowhere"], "--out <FILE>", &missing),
        (vec!["swarm"], "--trace <FILE>", &missing),
        (vec!["swarm"], "--record <FILE>", &missing),
        (vec!["swarm"], "--store <DIR>", &file),
    ] {
        let name = option.split(' ').next().unwrap();
        let mut command = std::process::Command::new(support::IIS_SIM);
        let output = command.args(&words).arg(name).arg(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?} {output:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(&format!("'{option}'")), "{text}");
    }
}

#[test]
fn a_load_that_comes_to_its_end_before_the_watch_does_is_measured_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("early.toml");
    let text = "name = 'early'\noperations = ['none']\ntrials = 1\n\
        [timing]\nwarm-up-min = '2s'\nwarm-up-max = '2s'\nwatch-min = '3s'\nwatch-max = '3s'\n\
        [load]\nrate = 50\nlate_bound = '1s'\ntls_share = 0\n\
        pauses = [{ from = '3s', to = '100h' }]\n";
    std::fs::write(&file, text).unwrap();
    let mut command = std::process::Command::new(support::IIS_SIM);
    let output = command.arg("compare").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("unexplained 0"), "{said}");
}

/// `was` of a trial that keeps everything below a folder, once it has a worker.
fn was_below(folder: &std::path::Path) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let root = folder.to_string_lossy().into_owned();
    let is_it = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let has_worker = !children.unwrap_or_default().trim().is_empty();
        line.starts_with("was\0") && line.contains(&root) && has_worker
    };
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    pids.into_iter().find(is_it)
}

#[test]
fn a_trial_whose_was_dies_by_itself_is_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("short.toml");
    let text = "name = 'short'\noperations = ['none']\ntrials = 1\n\
        [timing]\nwarm-up-min = '2s'\nwarm-up-max = '2s'\nwatch-min = '1s'\nwatch-max = '1s'\nrepeats-max = 0\n\
        [load]\nrate = 20\ntls_share = 0\n";
    std::fs::write(&scenario, text).unwrap();
    let out = folder.path().join("out");
    let mut compare = std::process::Command::new(support::IIS_SIM);
    compare.arg("compare").arg(&scenario).arg("--out").arg(&out);
    let compare = std::thread::spawn(move || compare.output().unwrap());
    let was = loop {
        if let Some(was) = was_below(&out) {
            break was;
        }
        assert!(!compare.is_finished(), "it had no worker");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    };
    support::Up::signal("-KILL", was);
    let output = compare.join().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(
        said.contains("was died 1 time(s), and not by the operation"),
        "{said}"
    );
}
