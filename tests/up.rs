//! `iis-sim up`: what a user sees first, and that nothing is left when it ends.

mod support;

use support::{Up, is_alive, processes_that_name};

#[test]
fn the_welcome_page_is_served_by_a_worker_that_was_started_on_demand() {
    let up = Up::start();
    assert!(
        up.workers().is_empty(),
        "no worker runs before the first request"
    );
    let page = up.get("/");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("iis-sim is running"));
    assert_eq!(page.header("Server"), Some("Microsoft-IIS/10.0"));
    assert_eq!(up.workers().len(), 1);
}

#[test]
fn ps_shows_the_programs_under_their_names() {
    let up = Up::start();
    up.get("/default.aspx");
    let pids = up.pids();
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    let names: Vec<String> = pids[1..]
        .iter()
        .map(|pid| name(*pid).trim().to_owned())
        .collect();
    assert_eq!(names, ["httpsys", "was", "w3wp"]);
    let of_this_root = processes_that_name(up.root.to_str().unwrap());
    assert!(of_this_root.len() >= 3, "{of_this_root:?}");
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", pids[3])).unwrap();
    assert!(line.starts_with("w3wp\0-ap\0DefaultAppPool\0"), "{line:?}");
}

#[test]
fn everything_ends_with_the_launcher_however_that_ends() {
    for signal in ["-TERM", "-INT", "-KILL"] {
        let up = Up::start();
        up.get("/default.aspx");
        let pids = up.pids();
        assert_eq!(pids.len(), 4);
        up.end(signal);
        let deadline = std::time::Duration::from_secs(2);
        let step = std::time::Duration::from_millis(20);
        let mut left = pids.clone();
        for _ in 0..deadline.as_millis() / step.as_millis() {
            left.retain(|pid| is_alive(*pid));
            if left.is_empty() {
                break;
            }
            std::thread::park_timeout(step);
        }
        assert!(left.is_empty(), "after {signal}: {left:?} of {pids:?}");
    }
}

#[test]
fn the_logs_are_where_an_administrator_looks_for_them() {
    let up = Up::start();
    up.get("/default.aspx?a=1");
    up.get("/nothing.htm");
    let folder = up.root.join("inetpub/logs/LogFiles/W3SVC1");
    let log = || {
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let text = files.map(|file| {
            let name = file.file_name().into_string().unwrap();
            assert!(
                name.starts_with("u_ex") && name.len() == "u_ex261122.log".len(),
                "{name}"
            );
            std::fs::read_to_string(file.path()).unwrap()
        });
        text.collect::<String>()
    };
    up.until("two lines in the log", || log().contains(" 404 0 2 "));
    let text = log();
    assert!(text.starts_with("#Software: Microsoft Internet Information Services 10.0\r\n"));
    assert!(
        text.contains("GET /default.aspx a=1 80 - 127.0.0.1"),
        "{text}"
    );
}

#[test]
fn a_second_server_on_the_same_root_is_refused() {
    let up = Up::start();
    let second = std::process::Command::new(support::IIS_SIM)
        .args(["up", "--port-map", "*:0", "--root"])
        .arg(&up.root)
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("runs on this root already"));
    assert_eq!(up.get("/").status, 200);
}

#[test]
fn a_broken_configuration_is_refused_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.config");
    let pool = "<applicationPoolDefaults queueLenght=\"10\" />";
    std::fs::write(
        &path,
        format!(
            "<configuration>\n<system.applicationHost>\n<applicationPools>\n{pool}\n\
             </applicationPools>\n</system.applicationHost>\n</configuration>"
        ),
    )
    .unwrap();
    let output = std::process::Command::new(support::IIS_SIM)
        .args(["up", "--port-map", "*:0", "--config"])
        .arg(&path)
        .arg("--root")
        .arg(folder.path().join("root"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    for part in ["broken.config", "line 4", "queueLenght"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn a_pool_that_breaks_the_schema_gives_503_and_all_others_serve() {
    let config = support::config("></add><add name=\"Broken\" queueLenght=\"10\">").replace(
        "<bindings>",
        "<application path=\"/broken\" applicationPool=\"Broken\"><virtualDirectory path=\"/\" \
         physicalPath=\"C:\\inetpub\\wwwroot\" /></application>\n<bindings>",
    );
    assert!(config.contains("/broken"), "{config}");
    let up = Up::with_config(Some(&config));
    assert_eq!(up.get("/broken/default.aspx").status, 503);
    assert_eq!(up.get("/default.aspx").status, 200);
    let events = up.events();
    let event = events.lines().find(|line| line.contains("5172"));
    let event = event.unwrap_or_else(|| panic!("no event 5172: {events}"));
    assert!(
        event.contains("queueLenght") && event.contains("line "),
        "{event}"
    );
    let said = up.tool(&["appcmd", "start", "apppool", "Broken"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("queueLenght"), "{said}");
    // appcmd does not read or write a section of which it does not understand a part.
    for words in [
        vec!["list", "apppool"],
        vec!["list", "config", "/section:applicationPools"],
        vec!["set", "apppool", "DefaultAppPool", "/queueLength:77"],
        vec!["add", "apppool", "/name:New"],
        vec![
            "set",
            "config",
            "/section:applicationPools",
            "/-[name='Broken']",
        ],
    ] {
        let said = up.said(&[vec!["appcmd"], words.clone()].concat());
        let whole = said.starts_with("ERROR ( message:Configuration error\nFilename: ")
            && said.contains("\nLine Number: 3\nDescription: unknown attribute \"queueLenght\"")
            && said.ends_with("\n. )\n");
        assert!(whole, "{words:?}: {said}");
    }
    let sites = up.said(&["appcmd", "list", "site"]);
    assert!(sites.contains("Default Web Site"), "{sites}");
    let set = [
        "appcmd",
        "set",
        "site",
        "Default Web Site",
        "/limits.maxConnections:9",
    ];
    assert!(up.tool(&set).status.success(), "another section");
}

#[test]
fn the_last_good_copy_takes_the_place_of_a_broken_file_if_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let up = Up::at(&root);
    up.until("a copy in the history", || {
        root.join("inetpub/history/CFGHISTORY_0000000001/applicationHost.config")
            .exists()
    });
    up.end("-TERM");
    let config = root.join("Windows/System32/inetsrv/config/applicationHost.config");
    let good = std::fs::read(&config).unwrap();
    // Whoever keeps the file elsewhere finds it there afterwards.
    let elsewhere = folder.path().join("mine.config");
    std::fs::write(&elsewhere, &good[..good.len() / 2]).unwrap();
    std::fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &config).unwrap();
    let refused = std::process::Command::new(support::IIS_SIM)
        .args(["up", "--port-map", "*:0", "--root"])
        .arg(&root)
        .output()
        .unwrap();
    assert!(!refused.status.success(), "never unasked");
    let up = Up::with_words(&root, &["--last-good".to_owned()]);
    assert_eq!(up.get("/").status, 200);
    assert_eq!(std::fs::read(&config).unwrap(), good);
    assert!(config.is_symlink());
    let kept = elsewhere.with_extension("config.broken-1");
    assert_eq!(std::fs::read(kept).unwrap(), good[..good.len() / 2]);
}

#[test]
fn a_root_that_cannot_be_made_is_named_and_none_is_made_for_a_file_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let refused = |words: &[&std::ffi::OsStr]| {
        let output = std::process::Command::new(support::IIS_SIM)
            .args(["up", "--port-map", "*:0", "--root"])
            .args(words)
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let missing = folder.path().join("nosuch.config");
    let words = [root.as_os_str(), "--config".as_ref(), missing.as_os_str()];
    let text = refused(&words);
    assert!(text.contains(missing.to_str().unwrap()), "{text}");
    assert!(!root.exists());
    let text = refused(&["/proc/foo/bar".as_ref()]);
    assert!(
        text.starts_with("iis-sim: cannot make the folder /proc/foo: "),
        "{text}"
    );
}

#[test]
fn a_copy_of_a_root_has_a_configuration_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (root, given, outside) = (path("root"), path("given"), path("mine.config"));
    Up::at(&root).end("-TERM");
    std::fs::write(&outside, support::config(">")).unwrap();
    let word = outside.to_str().unwrap().to_owned();
    Up::with_words(&given, &["--config".to_owned(), word]).end("-TERM");
    let own = |root: &str| {
        let config = "Windows/System32/inetsrv/config/applicationHost.config";
        std::fs::read_to_string(path(root).join(config)).unwrap()
    };
    let before = own("root");
    for (from, to, how) in [
        ("root", "copy", "-r"),
        ("root", "deep", "-rL"),
        ("given", "given2", "-r"),
    ] {
        let copied = std::process::Command::new("cp")
            .args([how, from, to])
            .current_dir(folder.path())
            .status()
            .unwrap();
        assert!(copied.success());
        let set = std::process::Command::new(support::IIS_SIM)
            .args(["appcmd", "set", "apppool", "DefaultAppPool"])
            .args([&format!("/queueLength:{}", 1000 + to.len()), "--root", to])
            .current_dir(folder.path())
            .status()
            .unwrap();
        assert!(set.success(), "{to}");
    }
    assert_eq!(own("root"), before);
    assert!(own("copy").contains("queueLength=\"1004\""));
    assert!(own("deep").contains("queueLength=\"1004\""));
    let text = std::fs::read_to_string(&outside).unwrap();
    assert!(
        text.contains("queueLength=\"1006\""),
        "what was given stays"
    );
    assert_eq!(Up::at(&path("deep")).get("/").status, 200);
}

/// What `up` says to a configuration that it refuses.
#[expect(clippy::unwrap_used, reason = "part of a test")]
fn refusal(config: &str, port_map: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("applicationHost.config");
    std::fs::write(&path, config).unwrap();
    let output = std::process::Command::new(support::IIS_SIM)
        .args(["up", "--port-map", port_map, "--config"])
        .arg(&path)
        .arg("--root")
        .arg(folder.path().join("root"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[expect(clippy::disallowed_types, reason = "a real port is taken")]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = refusal(&support::config(">"), &format!("*:{}", address.port()));
    for part in [&address.to_string(), "Address already in use", "--port-map"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn a_server_whose_only_site_cannot_start_runs_and_says_why() {
    let pool = "applicationPool=\"DefaultAppPool\"";
    let good = support::config(">");
    for (config, why) in [
        (
            good.replace(pool, "applicationPool=\"Nowhere\""),
            "'Nowhere', which does not exist",
        ),
        (
            good.replace("<application path=\"/\"", "<application path=\"/x\""),
            "no root application",
        ),
        (good.replace("<bindings>", "<limitz /><bindings>"), "limitz"),
    ] {
        assert_ne!(config, good);
        let up = Up::with_config(Some(&config));
        let refusal = up.ready["endpoints"][0]["refusal"].as_str();
        let refusal = refusal.unwrap_or_default();
        assert!(refusal.contains(why), "{why}: {refusal}");
        assert!(up.events().contains(why), "{why}");
        let sites = up.said(&["appcmd", "list", "site"]);
        let is_broken = why == "limitz";
        let wanted = if is_broken { "limitz" } else { "state:Stopped" };
        assert!(sites.contains(wanted), "{sites}");
    }
}

#[test]
fn a_file_that_cannot_be_read_at_the_start_is_event_5172() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    Up::at(&root).end("-TERM");
    let own = root.join("Windows/System32/inetsrv/config/applicationHost.config");
    let other = folder.path().join("other.config");
    let new = folder.path().join("new");
    for (root, path, words) in [
        (&root, &own, Vec::new()),
        (&root, &other, vec!["--config".as_ref(), other.as_os_str()]),
        (&new, &other, vec!["--config".as_ref(), other.as_os_str()]),
    ] {
        std::fs::write(path, "<configuration>\n<a></b>").unwrap();
        let output = std::process::Command::new(support::IIS_SIM)
            .args(["up", "--port-map", "*:0", "--root"])
            .arg(root)
            .args(words)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let log = std::fs::read_to_string(root.join("Windows/System32/winevt/System.jsonl"));
        let log = log.unwrap();
        let last = log.lines().last().unwrap();
        let place = format!("'{}', line number '2'", path.display());
        assert!(
            last.contains("\"EventID\":5172") && last.contains(&place),
            "{last}"
        );
    }
}

#[test]
fn of_every_binding_that_is_not_open_it_is_said_why() {
    let site = |name: &str, id: u32, more: &str, binding: &str| {
        format!(
            r#"<site name="{name}" id="{id}"{more}><application path="/" applicationPool="DefaultAppPool">
            <virtualDirectory path="/" physicalPath="C:\inetpub\wwwroot" /></application>
            <bindings><binding protocol="http" bindingInformation="{binding}" /></bindings></site>"#
        )
    };
    let more = [
        site("Rival", 2, "", "*:80:"),
        site("Asleep", 3, r#" serverAutoStart="false""#, "*:80:asleep"),
        site("Awake", 4, "", "*:80:awake"),
    ];
    let config = support::config(">").replace("</sites>", &format!("{}</sites>", more.concat()));
    let up = Up::with_config(Some(&config));
    let endpoints = up.ready["endpoints"].as_array().unwrap();
    let refusals: Vec<_> = endpoints.iter().map(|e| e["refusal"].as_str()).collect();
    let taken = "stopped: site 'Default Web Site' has this binding (event 1004)";
    let asleep = "stopped: serverAutoStart is false";
    assert_eq!(refusals, [None, Some(taken), Some(asleep), None]);
    for endpoint in endpoints {
        assert_eq!(
            endpoint["address"].is_null(),
            !endpoint["refusal"].is_null()
        );
    }
    assert!(up.events().contains("\"EventID\":1004"));
    let refused = up.said(&["appcmd", "start", "site", "Rival"]);
    assert_eq!(
        refused,
        "ERROR ( hresult:800700b7, message:Command execution failed.\n\
         Cannot create a file when that file already exists.\n. )\n"
    );
}

#[test]
fn a_site_that_is_left_out_is_listed_with_the_reason() {
    let site = |name: &str, id: u32, bindings: &str| {
        format!(
            r#"<site name="{name}" id="{id}"><application path="/" applicationPool="DefaultAppPool">
            <virtualDirectory path="/" physicalPath="C:\inetpub\wwwroot" /></application>
            <bindings>{bindings}</bindings></site>"#
        )
    };
    let bad = "<binding protocol=\"http\" bindingInformation=\"*:x:\" />";
    let good = "<binding protocol=\"http\" bindingInformation=\"*:80:good\" />";
    let more = [
        site("Bad", 2, bad),
        site("Half", 3, &format!("{good}{bad}")),
        site("Zero", 0, good),
        site("Bare", 4, ""),
    ];
    let config = support::config(">").replace("</sites>", &format!("{}</sites>", more.concat()));
    let up = Up::with_config(Some(&config));
    let endpoints = up.ready["endpoints"].as_array().unwrap();
    let text = |endpoint: &serde_json::Value, what: &str| {
        endpoint[what].as_str().unwrap_or_default().to_owned()
    };
    let listed: Vec<_> = endpoints
        .iter()
        .map(|e| [text(e, "site"), text(e, "binding"), text(e, "refusal")].join("|"))
        .collect();
    let port = "http/*:x:|ignored: its port 'x' is not between 1 and 65535";
    assert_eq!(
        listed,
        [
            "Default Web Site|http/*:80:|",
            &format!("Bad|{port}"),
            "Half|http/*:80:good|",
            &format!("Half|{port}"),
            "Bare||stopped: site 'Bare' has no valid binding",
            "Zero||ignored: its id 0 is not valid",
        ]
    );
}

#[test]
fn a_server_none_of_whose_sites_is_to_start_runs_all_the_same() {
    let config = support::config(">").replace("id=\"1\"", "id=\"1\" serverAutoStart=\"false\"");
    let up = Up::with_config(Some(&config));
    assert!(up.ready["endpoints"][0]["address"].is_null());
    let started = up.said(&["appcmd", "start", "site", "Default Web Site"]);
    assert_eq!(started, "\"Default Web Site\" successfully started.\n");
}

#[test]
fn what_is_ignored_in_the_file_is_said_at_the_start() {
    let config = support::config(">").replace("*:80:", "*:80:not a host");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("applicationHost.config");
    std::fs::write(&path, config).unwrap();
    let mut child = std::process::Command::new(support::IIS_SIM)
        .args(["up", "--json", "--port-map", "*:0", "--config"])
        .arg(&path)
        .arg("--root")
        .arg(folder.path().join("root"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut warnings = std::io::BufReader::new(child.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut warnings, &mut line).unwrap();
    Up::signal("-INT", child.id());
    assert!(child.wait().unwrap().success());
    for part in ["warning", "applicationHost.config: line", "not a host name"] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
}

#[test]
fn a_root_with_a_very_long_name_works_as_any_other() {
    let up = Up::below(&"a long name ".repeat(12), None);
    assert_eq!(up.get("/default.aspx").status, 200);
    let said = up.said(&["appcmd", "list", "wp"]);
    assert!(said.contains("DefaultAppPool"), "{said}");
}

#[test]
fn a_frozen_was_does_not_outlive_its_launcher() {
    let up = Up::start();
    let was = up.pids()[2];
    Up::signal("-STOP", was);
    up.end("-KILL");
    for _ in 0..100 {
        if !is_alive(was) {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    Up::signal("-KILL", was);
    panic!("was is still there two seconds after its launcher");
}

#[test]
fn nothing_of_a_server_that_had_to_be_killed_looks_as_if_it_ran() {
    let up = Up::start();
    let run = up.root.join("run");
    let running_files = || {
        let names = ["control.sock", "httpsys.sock", "endpoints.json"];
        names.into_iter().filter(|name| run.join(name).exists())
    };
    assert_eq!(running_files().count(), 3);
    Up::signal("-STOP", up.pids()[2]);
    let code = up.end_and("-TERM", || {
        let left: Vec<&str> = running_files().collect();
        assert!(left.is_empty(), "{left:?} are left");
    });
    assert_eq!(code, Some(0));
}

#[test]
fn what_cannot_be_printed_is_told_in_one_line_and_fails() {
    let root = tempfile::tempdir().unwrap();
    let root_word = root.path().to_str().unwrap();
    for words in [
        vec!["appcmd", "help"],
        vec!["--help"],
        vec!["swarm", "--seeds", "0..1", "--seconds", "1"],
        vec!["up", "--port-map", "*:0", "--root", root_word],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_iis-sim"))
            .args(&words)
            .stdout(full.unwrap())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
        assert!(said.contains("No space left"), "{words:?}: {said}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly_and_all_that_it_started() {
    let root = tempfile::tempdir().unwrap();
    let root_word = root.path().to_str().unwrap();
    for words in [
        vec!["appcmd", "help"],
        vec!["up", "--port-map", "*:0", "--root", root_word],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_iis-sim"))
            .args(&words)
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(141), "{words:?}: {said}");
        assert!(!said.contains("panicked"), "{words:?}: {said}");
    }
    let step = std::time::Duration::from_millis(20);
    for _ in 0..100 {
        if processes_that_name(root_word).is_empty() {
            break;
        }
        std::thread::park_timeout(step);
    }
    let left = processes_that_name(root_word);
    assert!(left.is_empty(), "{left:?} still run");
}
