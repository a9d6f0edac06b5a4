//! The audit log: who has changed what, by whatever way, and what came of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::api::Api;
use support::{IIS_SIM, Up};

fn path_of(root: &Path) -> PathBuf {
    root.join("Windows/System32/LogFiles/iis-sim/audit.jsonl")
}

/// All entries about a deed of this name.
fn entries(root: &Path, deed: &str) -> Vec<Value> {
    let log = std::fs::read_to_string(path_of(root)).unwrap_or_default();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let is_it = |entry: &Value| {
        let command = &entry["command"];
        command == deed || command.get(deed).is_some()
    };
    lines.filter(is_it).collect()
}

fn only(root: &Path, deed: &str) -> Value {
    let mut found = entries(root, deed);
    assert_eq!(found.len(), 1, "{deed}: {found:?}");
    found.remove(0)
}

#[test]
fn what_a_change_has_made_was_do_is_its_effect() {
    let up = Up::start();
    assert_eq!(up.get("/default.aspx").status, 200);
    let set = |attribute: &str| {
        up.said(&["appcmd", "set", "apppool", "DefaultAppPool", attribute]);
        entries(&up.root, "ChangeConfiguration").pop().unwrap()
    };
    let live = set("/queueLength:5000");
    assert_eq!(live["effect"]["causes"], json!({"live": 1}), "{live}");
    let recycled = set("/managedRuntimeVersion:v2.0");
    assert_eq!(
        recycled["effect"]["recycled"],
        json!(["defaultapppool"]),
        "{recycled}"
    );
    let nothing = set("/queueLength:5000");
    assert!(
        nothing["effect"].as_str().unwrap().contains("nothing"),
        "{nothing}"
    );

    let config = up.host_path();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("5000", "6000")).unwrap();
    up.until("what was edited by hand", || {
        !entries(&up.root, "ConfigurationFilesChanged").is_empty()
    });
    let by_hand = only(&up.root, "ConfigurationFilesChanged");
    assert_eq!(
        (&by_hand["uid"], &by_hand["effect"]["changes"]),
        (&Value::Null, &json!(1))
    );
    let mode = path_of(&up.root).metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_tools_do_in_files_they_write_down_themselves() {
    let up = Up::start();
    up.said(&["appcmd", "add", "backup", "One"]);
    up.said(&["appcmd", "restore", "backup", "One"]);
    up.said(&["appcmd", "delete", "backup", "One"]);
    for deed in ["AddBackup", "RestoreBackup", "DeleteBackup"] {
        let entry = only(&up.root, deed);
        assert_eq!(entry["command"][deed]["name"], "One", "{entry}");
        assert_eq!(entry["effect"], "done");
    }
    let section = "/section:defaultDocument";
    up.said(&[
        "appcmd",
        "set",
        "config",
        "Default Web Site",
        section,
        "/enabled:false",
    ]);
    up.said(&["appcmd", "clear", "config", "Default Web Site", section]);
    let changed = entries(&up.root, "ChangeFile");
    assert_eq!(changed.len(), 2, "{changed:?}");
    let file = changed[0]["command"]["ChangeFile"]["file"]
        .as_str()
        .unwrap();
    assert!(file.ends_with("wwwroot/web.config"), "{file}");
    up.said(&["iisreset", "/disable"]);
    up.said(&["iisreset", "/enable"]);
    let allowed: Vec<Value> = entries(&up.root, "AllowRestart")
        .iter()
        .map(|entry| entry["command"]["AllowRestart"]["allowed"].clone())
        .collect();
    assert_eq!(allowed, [json!(false), json!(true)]);
    up.said(&["appcmd", "list", "config"]);
    up.said(&["appcmd", "set", "apppool", "Nope", "/queueLength:50"]);
    up.said(&[
        "appcmd",
        "set",
        "apppool",
        "DefaultAppPool",
        "/queueLength:5",
    ]);
    let refused = entries(&up.root, "Appcmd");
    assert_eq!(refused.len(), 2, "{refused:?}");
    let why = |at: usize| refused[at]["effect"]["refused"].as_str().unwrap();
    assert!(
        why(0).contains("Nope") && why(1).contains("queueLength"),
        "{refused:?}"
    );
}

#[test]
fn a_torn_backup_that_stops_the_services_says_so() {
    let up = Up::start();
    up.said(&["appcmd", "add", "backup", "Torn"]);
    let copy = "Windows/System32/inetsrv/backup/Torn/applicationHost.config";
    let copy = up.root.join(copy);
    let text = std::fs::read_to_string(&copy).unwrap();
    std::fs::write(&copy, &text[..text.len() / 2]).unwrap();
    let (code, said) = up.appcmd(&["restore", "backup", "Torn"]);
    assert_ne!(code, Some(0));
    let last = "The Windows Process Activation Service and the World Wide Web Publishing Service are stopped.";
    assert_eq!(said.lines().last(), Some(last), "{said}");
    let effect = &only(&up.root, "RestoreBackup")["effect"];
    assert_eq!(effect["services"], "stopped", "{effect}");
    assert!(effect["not_started"].is_string(), "{effect}");
    std::fs::write(&copy, &text).unwrap();
    up.said(&["appcmd", "restore", "backup", "Torn"]);
    up.said(&["net", "start", "w3svc"]);
}

#[test]
fn what_is_edited_while_no_server_runs_is_written_down_and_values_of_variables_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let up = Up::at(&root);
    let variable =
        "/+[name='DefaultAppPool'].environmentVariables.[name='DB_PASSWORD',value='hunter2']";
    let set = [
        "appcmd",
        "set",
        "config",
        "/section:applicationPools",
        variable,
    ];
    up.said(&set);
    assert_eq!(entries(&root, "ChangeConfiguration").len(), 1);
    let refused =
        "-[name='DefaultAppPool'].environmentVariables.[name='DB_PASSWORD',value='hunter4']";
    up.said(&[
        "appcmd",
        "set",
        "config",
        "-section:applicationPools",
        refused,
    ]);
    let entry = only(&root, "Appcmd");
    assert!(entry["effect"]["refused"].is_string(), "{entry}");
    up.end("-TERM");
    let pool = [
        "appcmd",
        "add",
        "apppool",
        "/name:Shop",
        "/processModel.password:hunter3",
    ];
    let output = Command::new(IIS_SIM)
        .args(pool)
        .arg("--root")
        .arg(&root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let entry = only(&root, "ChangeFile");
    assert!(
        entry["process"].as_str().unwrap().contains("/name:Shop"),
        "{entry}"
    );
    let log = std::fs::read_to_string(path_of(&root)).unwrap();
    assert!(log.contains("DB_PASSWORD"), "{log}");
    assert!(!log.contains("hunter"), "{log}");
    let trace = std::fs::read_to_string(root.join("trace/was.jsonl")).unwrap();
    assert!(trace.contains("DB_PASSWORD") && !trace.contains("hunter"));
}

#[test]
fn which_state_resulted_and_which_workers_ended_and_began_is_the_effect_of_an_order() {
    let up = Up::start();
    let effect = |deed: &str| entries(&up.root, deed).pop().unwrap()["effect"].clone();
    let worker = || -> u32 {
        let list = up.said(&["appcmd", "list", "wp"]);
        let (_, rest) = list.split_once("WP \"").unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let recycle = ["appcmd", "recycle", "apppool", "DefaultAppPool"];
    up.said(&recycle);
    let nothing = json!({"state": "Started", "workers_ended": [], "workers_started": []});
    assert_eq!(effect("RecycleApplicationPool"), nothing);

    assert_eq!(up.get("/default.aspx").status, 200);
    let first = worker();
    up.said(&recycle);
    let ordered = effect("RecycleApplicationPool");
    assert_eq!(
        ordered["workers_still_running"],
        json!([first]),
        "{ordered}"
    );
    up.until("the old worker has gone", || {
        !entries(&up.root, "OutcomeOf").is_empty()
    });
    let second = worker();
    assert_ne!(second, first);
    let outcome = only(&up.root, "OutcomeOf");
    assert_eq!(
        outcome["command"]["OutcomeOf"]["RecycleApplicationPool"]["name"],
        "DefaultAppPool"
    );
    assert!(
        outcome["process"].as_str().unwrap().contains("recycle"),
        "{outcome}"
    );
    let ended = |pid: u32| json!([{"pid": pid, "exit": "code 0"}]);
    let replaced = json!({
        "state": "Started", "workers_ended": ended(first), "workers_started": [second],
    });
    assert_eq!(outcome["effect"], replaced, "{outcome}");
    assert_eq!(ordered["workers_started"], json!([second]), "{ordered}");

    up.said(&["appcmd", "stop", "apppool", "DefaultAppPool"]);
    let stopped = json!({
        "state": "Stopped", "workers_ended": ended(second), "workers_started": [],
    });
    assert_eq!(effect("StopApplicationPool"), stopped);
    up.said(&["appcmd", "start", "apppool", "DefaultAppPool"]);
    assert_eq!(effect("StartApplicationPool"), nothing);
    up.said(&["appcmd", "stop", "site", "Default Web Site"]);
    assert_eq!(effect("StopSite"), json!({"state": "Stopped"}));
    up.said(&["appcmd", "start", "site", "Default Web Site"]);
    assert_eq!(effect("StartSite"), json!({"state": "Started"}));

    assert_eq!(up.get("/default.aspx").status, 200);
    let third = worker();
    up.said(&["iisreset"]);
    let stopped = effect("StopServices");
    let services = |state: &str| json!({"WAS": state, "W3SVC": state});
    assert_eq!(stopped["services"], services("Stopped"), "{stopped}");
    assert_eq!(stopped["workers_ended"], ended(third), "{stopped}");
    assert_eq!(effect("StartServices")["services"], services("Running"));
}

#[test]
fn a_wrong_token_and_what_the_rest_api_refuses_are_written_down() {
    let up = Up::administered();
    let api = Api::of(&up);
    let pools = "/webserver/application-pools";
    api.curl(&[], pools, Some("0000"));
    let entry = only(&up.root, "Rest");
    assert_eq!(
        entry["command"]["Rest"]["request"],
        "GET /api/webserver/application-pools"
    );
    assert!(
        entry["effect"]["refused"]
            .as_str()
            .unwrap()
            .contains("token"),
        "{entry}"
    );
    let own = api.pool("DefaultAppPool");
    api.send("PATCH", &own, &json!({"queue_length": 5}));
    let refused = entries(&up.root, "Rest");
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(
        refused[1]["command"]["Rest"]["request"]
            .as_str()
            .unwrap()
            .starts_with("PATCH")
    );
    assert_eq!(
        refused[1]["command"]["Rest"]["body"],
        json!({"queue_length": 5})
    );
}

#[test]
fn what_a_rest_request_asks_for_is_written_down_without_its_secrets() {
    let up = Up::administered();
    let api = Api::of(&up);
    let own = api.pool("DefaultAppPool");
    let identity = json!({"identity": {"username": "u", "password": "hunter2"}});
    let said = api.send("PATCH", &own, &identity);
    assert_eq!(said.status, 400, "{}", said.body);
    let number = json!({"name": "x", "managed_runtime_version": "v4.0", "password": 77123});
    assert_eq!(
        api.send("POST", "/webserver/application-pools", &number)
            .status,
        400
    );
    let words = ["-X", "PATCH", "-d", "{\"password\": hunter3"];
    let said = api.curl(&words, &own, Some(&api.token));
    assert_eq!(said.status, 400, "{}", said.body);
    let asked: Vec<Value> = entries(&up.root, "Rest")
        .iter()
        .map(|entry| entry["command"]["Rest"]["body"].clone())
        .collect();
    let hidden = json!({"identity": {"username": "u", "password": "*"}});
    let number = json!({"name": "x", "managed_runtime_version": "v4.0", "password": "*"});
    assert_eq!(asked, [hidden, number, Value::Null]);
    let log = std::fs::read_to_string(path_of(&up.root)).unwrap();
    assert!(!log.contains("hunter") && !log.contains("77123"), "{log}");
}
