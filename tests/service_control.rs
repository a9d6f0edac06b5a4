//! The services from outside: net, iisreset's switches and failures, what happens when WAS dies or
//! stands still.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test is a client, waits for real processes and ends when something is not as it should be"
)]

mod support;

use std::io::Read;
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{Browser, IIS_SIM, Up, is_alive};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The `was` of a server now: the child of its launcher that has that name.
fn was_of(up: &Up) -> Option<u32> {
    let launcher = up.launcher();
    let path = format!("/proc/{launcher}/task/{launcher}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let is_was = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "was")
    };
    let mut children = children.split(' ').filter_map(|pid| pid.parse().ok());
    children.find(is_was)
}

/// The pids of all workers, from the kernel.
fn children_of(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split(' ').filter_map(|pid| pid.parse().ok()).collect()
}

fn status(up: &Up) -> String {
    up.said(&["iisreset", "/status"])
}

const RUNNING: &str = "Status for Windows Process Activation Service ( WAS ) : Running\n\
    Status for World Wide Web Publishing Service ( W3SVC ) : Running\n";

#[test]
fn net_stops_dependents_first_and_starts_what_is_depended_on() {
    let up = Up::start();
    let worker = up.get("/default.aspx").worker();
    assert_eq!(
        up.said(&["net", "stop", "was", "/y"]),
        "The following services are dependent on the Windows Process Activation Service service.\n\
         Stopping the Windows Process Activation Service service will also stop these services.\n\n   \
         World Wide Web Publishing Service\n\n\
         The World Wide Web Publishing Service service is stopping.\n\
         The World Wide Web Publishing Service service was stopped successfully.\n\n\
         The Windows Process Activation Service service is stopping.\n\
         The Windows Process Activation Service service was stopped successfully.\n\n"
    );
    assert!(!is_alive(worker));
    assert!(TcpStream::connect(up.address("http/")).is_err());
    let again = up.tool(&["net", "stop", "was"]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(
        stdout(&again),
        "The Windows Process Activation Service service is not started.\n\n\
         More help is available by typing NET HELPMSG 3521.\n\n"
    );
    assert_eq!(
        up.said(&["net", "start", "World Wide Web Publishing Service"]),
        "The World Wide Web Publishing Service service is starting.\n\
         The World Wide Web Publishing Service service was started successfully.\n\n"
    );
    assert_eq!(status(&up), RUNNING);
    assert_eq!(up.get("/").status, 200);
}

#[test]
fn net_says_what_is_wrong_and_that_nothing_was_done() {
    let up = Up::start();
    let refused = |words: &[&str]| {
        let output = up.tool(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        stdout(&output)
    };
    for words in [
        &["net"][..],
        &["net", "stop"],
        &["net", "pause", "w3svc"],
        &["net", "stop", "w3svc", "/z"],
    ] {
        assert!(refused(words).contains("The syntax of this command is:"));
    }
    assert!(refused(&["net", "stop", "w3svc", "/z"]).starts_with("The option /Z is unknown."));
    assert!(refused(&["net", "start", "http"]).contains("already been started"));
    assert!(refused(&["net", "stop", "http", "/y"]).contains("cannot be stopped alone"));
    assert_eq!(status(&up), RUNNING);
}

#[test]
fn without_y_a_stop_of_was_asks_and_silence_is_no() {
    let up = Up::start();
    let asked = up.tool(&["net", "stop", "WAS"]);
    let text = stdout(&asked);
    assert!(
        text.contains("Do you want to continue this operation? (Y/N) [N]: \nNo valid response"),
        "{text}"
    );
    assert!(!asked.status.success());
    assert_eq!(status(&up), RUNNING);
}

#[test]
fn was_goes_on_when_w3svc_alone_is_stopped() {
    let up = Up::start();
    up.get("/");
    up.said(&["net", "stop", "w3svc"]);
    let states = up.said(&["sc", "query"]);
    let place = |text: &str| {
        states
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {states}"))
    };
    assert!(place("SERVICE_NAME: WAS") < place("4  RUNNING"));
    assert!(place("SERVICE_NAME: W3SVC") < place("1  STOPPED"));
    up.said(&["net", "start", "w3svc"]);
    assert_eq!(up.get("/").status, 200);
}

#[test]
fn iisreset_can_be_disabled_and_cannot_reboot_or_reach_another_machine() {
    let up = Up::start();
    let refused = |words: &[&str]| {
        let output = up.tool(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        stdout(&output)
    };
    assert!(up.tool(&["iisreset", "/disable"]).status.success());
    assert_eq!(
        refused(&["iisreset"]),
        "Restart attempt failed.\nThe resource is disabled. (2147946709, 800710d5)\n"
    );
    assert!(up.tool(&["iisreset", "/enable"]).status.success());
    assert!(up.tool(&["iisreset", "localhost"]).status.success());
    assert_eq!(
        refused(&["iisreset", "/reboot"]),
        "Reboot attempt failed.\nThe request is not supported. (2147942450, 80070032)\n"
    );
    assert!(refused(&["iisreset", "WEB02"]).contains("(2147944122, 800706ba)"));
    assert_eq!(status(&up), RUNNING);
    for id in [3201, 3202, 3203] {
        assert!(up.events().contains(&format!("\"EventID\":{id}")), "{id}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_fails_the_restart_until_it_is_repaired() {
    let up = Up::start();
    let path = up.host_path();
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "<configuration>").unwrap();
    let failed = up.tool(&["iisreset"]);
    let text = stdout(&failed);
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        text.contains("Attempting start...\nRestart attempt failed.\n")
            && text.contains("(2147942413, 8007000d)"),
        "{text}"
    );
    assert!(status(&up).contains("( WAS ) : Stopped"));
    let events = up.events();
    let places = [5172, 5036, 5005].map(|id| events.find(&format!("\"EventID\":{id}")).unwrap());
    assert!(places.is_sorted(), "{events}");
    assert!(
        !events.contains("\"EventID\":5053"),
        "WAS did not run: {events}"
    );
    std::fs::write(&path, good).unwrap();
    assert!(up.tool(&["iisreset", "/start"]).status.success());
    assert_eq!(up.get("/").status, 200);
}

#[test]
fn of_two_iisresets_at_once_one_is_told_to_wait_and_both_leave_a_running_server() {
    let up = Up::start();
    for _ in 0..5 {
        let start = || {
            Command::new(IIS_SIM)
                .args(["iisreset", "--root"])
                .arg(&up.root)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
        assert!(both.iter().any(|output| output.status.success()));
        for failed in both.iter().filter(|output| !output.status.success()) {
            assert!(stdout(failed).ends_with(
                "The service cannot accept control messages at this time. (2147943461, 80070425)\n"
            ));
        }
        assert_eq!(status(&up), RUNNING);
    }
    assert_eq!(up.get("/").status, 200);
}

#[test]
fn an_iisreset_that_is_interrupted_leaves_a_state_that_status_tells() {
    let up = Up::start();
    up.get("/");
    for _ in 0..5 {
        let mut child = Command::new(IIS_SIM)
            .args(["iisreset", "--root"])
            .arg(&up.root)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its first line is out: it is in the middle.
        let mut first = [0; 4];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        Up::signal("-INT", child.id());
        child.wait().unwrap();
        up.until("the services to be at rest", || {
            let status = status(&up);
            !status.is_empty() && !status.contains("Pending")
        });
        let whole = [RUNNING.to_owned(), RUNNING.replace("Running", "Stopped")];
        assert!(whole.contains(&status(&up)), "{}", status(&up));
        assert!(up.tool(&["iisreset"]).status.success());
        assert_eq!(up.get("/").status, 200);
    }
}

#[test]
fn a_was_that_dies_takes_its_workers_along_and_is_started_again_beside_the_same_driver() {
    let up = Up::start();
    let worker = up.get("/default.aspx").worker();
    let mut browser = Browser::connect(up.address("http/"));
    browser
        .send("GET /wait.aspx?time=60000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    up.until("the request to run", || {
        up.said(&["appcmd", "list", "request"]).contains("wait")
    });
    let (httpsys, was) = (up.pids()[1], was_of(&up).unwrap());
    let killed = Instant::now();
    Up::signal("-KILL", was);
    up.until("the worker to end", || !is_alive(worker));
    assert!(killed.elapsed() < Duration::from_secs(2), "no orphan");
    assert!(browser.is_over(), "what was in flight is lost");
    up.until("the services to run again", || status(&up) == RUNNING);
    assert_ne!(was_of(&up).unwrap(), was);
    assert!(is_alive(httpsys), "HTTP.sys stays");
    let page = up.get("/default.aspx");
    assert_ne!(page.worker(), worker);
    up.until("the line in HTTPERR", || {
        up.httperr()
            .lines()
            .any(|line| line.contains("/wait.aspx") && line.contains("DefaultAppPool"))
    });
    let events = up.said(&[
        "wevtutil",
        "qe",
        "System",
        "/q:*[System[EventID=7031]]",
        "/f:text",
    ]);
    assert!(
        events.contains("The Windows Process Activation Service service terminated unexpectedly.  It has done this 1 time(s)."),
        "{events}"
    );
}

#[test]
fn services_that_ran_are_started_again_as_often_as_they_are_killed() {
    let up = Up::start();
    let httpsys = up.pids()[1];
    for death in 1..=9 {
        let was = was_of(&up).unwrap();
        Up::signal("-KILL", was);
        let again = || was_of(&up).is_some_and(|pid| pid != was) && status(&up) == RUNNING;
        up.until("the services to run again", again);
        assert!(is_alive(httpsys), "HTTP.sys stays");
        assert_eq!(up.events().matches("\"EventID\":7031").count(), 2 * death);
    }
    assert_eq!(up.get("/default.aspx").status, 200);
}

#[test]
fn services_that_cannot_run_are_given_up_and_may_be_started_when_they_can() {
    let up = Up::start();
    let httpsys = up.pids()[1];
    // A folder where a file should be.
    let trace = up.root.join("trace/was.jsonl");
    std::fs::remove_file(&trace).unwrap();
    std::fs::create_dir(&trace).unwrap();
    Up::signal("-KILL", was_of(&up).unwrap());
    let given_up = || up.events().matches("\"EventID\":7034").count() == 2;
    up.until("the service manager to give up", given_up);
    assert_eq!(up.events().matches("\"EventID\":7031").count(), 2 * 3);
    up.until("the last event of that", || {
        up.events().matches("\"EventID\":5030").count() == 1
    });
    assert!(is_alive(up.launcher()) && is_alive(httpsys));
    std::fs::remove_dir(&trace).unwrap();
    up.until("the services to be there", || {
        status(&up).contains("( WAS ) : Stopped")
    });
    assert!(up.tool(&["iisreset", "/start"]).status.success());
    assert_eq!(up.get("/default.aspx").status, 200);
    assert_eq!(up.pids()[1], httpsys);
}

#[test]
fn after_a_crash_was_reads_the_configuration_afresh_and_stays_stopped_if_it_cannot() {
    let up = Up::start();
    let path = up.host_path();
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "<configuration>").unwrap();
    Up::signal("-KILL", was_of(&up).unwrap());
    up.until("the services to be stopped", || {
        status(&up).contains("( WAS ) : Stopped")
    });
    std::fs::write(&path, good).unwrap();
    up.said(&["net", "start", "w3svc"]);
    assert_eq!(up.get("/").status, 200);
}

#[test]
fn nobody_notices_a_frozen_was_until_something_is_asked_of_it() {
    let up =
        Up::with_pool(r#"><processModel pingInterval="00:00:01" pingResponseTime="00:00:01" />"#);
    let mut browser = Browser::connect(up.address("http/"));
    let worker = browser.get("/default.aspx").unwrap().worker();
    let was = was_of(&up).unwrap();
    Up::signal("-STOP", was);
    // Longer than the ping's interval and its limit together.
    let end = Instant::now() + Duration::from_millis(3500);
    while Instant::now() < end {
        assert_eq!(browser.get("/default.aspx").unwrap().worker(), worker);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(up.get("/default.aspx").status, 200);
    Up::signal("-CONT", was);
    up.until("WAS to answer", || status(&up) == RUNNING);
    assert_eq!(browser.get("/default.aspx").unwrap().worker(), worker);
    assert!(!up.events().contains("\"EventID\":5010"), "{}", up.events());
    assert_eq!(was_of(&up), Some(was));
}

#[test]
fn iisreset_kills_a_was_that_stands_still_unless_it_may_not() {
    let up = Up::start();
    let worker = up.get("/default.aspx").worker();
    let was = was_of(&up).unwrap();
    Up::signal("-STOP", was);
    let refused = up.tool(&["iisreset", "/noforce", "/timeout:0"]);
    assert_eq!(
        stdout(&refused),
        "\nAttempting stop...\nThere was an error while performing this operation.\nRestart attempt failed.\n\
         The service did not respond to the start or control request in a timely fashion. (2147943453, 8007041d)\n"
    );
    assert!(is_alive(worker));
    let stopped = up.tool(&["iisreset", "/stop", "/timeout:0"]);
    assert!(stopped.status.success(), "{}", stdout(&stopped));
    assert!(!is_alive(worker) && !is_alive(was));
    assert!(status(&up).contains("( WAS ) : Stopped"));
    assert!(up.events().contains("\"EventID\":3204"));
    assert!(!up.events().contains("\"EventID\":7031"), "it was meant");
    for service in ["Windows Process Activation", "World Wide Web Publishing"] {
        let stopped = format!("The {service} Service service entered the stopped state.");
        assert!(up.events().contains(&stopped), "{stopped}");
    }
    assert!(up.tool(&["iisreset", "/start"]).status.success());
    assert_eq!(up.get("/").status, 200);
}

#[test]
fn a_was_that_stands_still_is_killed_when_the_time_is_over_and_not_later() {
    let up = Up::start();
    let was = was_of(&up).unwrap();
    Up::signal("-STOP", was);
    let begun = Instant::now();
    let stopped = up.tool(&["iisreset", "/stop", "/timeout:2"]);
    let took = begun.elapsed();
    assert!(stopped.status.success(), "{}", stdout(&stopped));
    assert!(!is_alive(was));
    // What is left is the new process of the services and what this machine does besides.
    let range = Duration::from_secs(2)..Duration::from_millis(4500);
    assert!(range.contains(&took), "{took:?}");
}

#[test]
fn what_a_tool_that_has_given_up_wanted_is_not_done_when_was_goes_on() {
    let up = Up::start();
    let worker = up.get("/default.aspx").worker();
    let was = was_of(&up).unwrap();
    Up::signal("-STOP", was);
    let refused = up.tool(&["iisreset", "/stop", "/noforce", "/timeout:1"]);
    assert!(!refused.status.success(), "{}", stdout(&refused));
    Up::signal("-CONT", was);
    up.until("WAS to answer", || status(&up) == RUNNING);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(status(&up), RUNNING);
    assert_eq!(up.get("/default.aspx").worker(), worker);
}

#[test]
fn a_driver_that_stands_still_fails_the_start_when_its_time_is_over() {
    let up = Up::start();
    let httpsys = up.pids()[1];
    Up::signal("-STOP", httpsys);
    let failed = up.tool(&["iisreset", "/timeout:0"]);
    assert_eq!(
        stdout(&failed),
        "\nAttempting stop...\nInternet services successfully stopped\nAttempting start...\n\
         Restart attempt failed.\n\
         The service did not respond to the start or control request in a timely fashion. (2147943453, 8007041d)\n"
    );
    assert_eq!(failed.status.code(), Some(1));
    Up::signal("-CONT", httpsys);
    up.until("the services to run after all", || status(&up) == RUNNING);
    assert_eq!(up.get("/").status, 200);
}

#[test]
fn a_terminal_that_is_closed_ends_everything_and_a_new_server_starts_at_the_same_root() {
    let up = Up::start();
    up.get("/");
    let mut pids = up.pids();
    pids.extend(children_of(was_of(&up).unwrap()));
    let control = up.root.join("run/control.sock");
    let began = Instant::now();
    let code = up.end("-HUP");
    assert_eq!(code, Some(0));
    assert!(began.elapsed() < Duration::from_secs(4));
    assert!(!control.exists());
    for pid in pids {
        assert!(!is_alive(pid), "{pid} is left");
    }
}

#[test]
fn what_a_kill_of_all_leaves_behind_is_no_hindrance_to_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let start = || Up::at(&root);
    let up = start();
    up.get("/");
    let pids = up.pids();
    for pid in &pids {
        Up::signal("-KILL", *pid);
    }
    up.until("all to be gone", || !pids.iter().any(|pid| is_alive(*pid)));
    drop(up);
    assert!(root.join("run/control.sock").exists(), "it was left behind");
    assert_eq!(start().get("/").status, 200);
}

#[test]
fn under_iis_6_an_iisreset_waits_for_the_request_that_runs_and_refuses_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["--personality", "iis6"].map(str::to_owned);
    let up = Up::with_words(&folder.path().join("root"), &words);
    let mut browser = Browser::connect(up.address("http/"));
    browser
        .send("GET /wait.aspx?time=3000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    up.until("the request to run", || {
        up.said(&["appcmd", "list", "request"]).contains("wait")
    });
    let reset = Command::new(IIS_SIM)
        .args(["iisreset", "--root"])
        .arg(&up.root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    up.until("the stop to be under way", || {
        status(&up).contains("( W3SVC ) : Stop Pending")
    });
    assert_eq!(up.get("/default.aspx").status, 503);
    assert_eq!(
        browser.receive(true).unwrap().status,
        200,
        "it was waited for"
    );
    let output = reset.wait_with_output().unwrap();
    assert!(stdout(&output).ends_with("Internet services successfully restarted\n"));
    assert!(browser.is_over(), "connections are lost all the same");
    assert_eq!(up.get("/default.aspx").status, 200);
}

#[test]
fn sc_queryex_names_the_process_of_both_services() {
    let up = Up::start();
    let said = up.said(&["sc", "queryex"]);
    let pid = |line: &str| -> Option<u32> {
        let pid = line.trim().strip_prefix("PID")?.trim().strip_prefix(':')?;
        pid.trim().parse().ok()
    };
    let pids: Vec<u32> = said.lines().filter_map(pid).collect();
    let [was, w3svc] = pids.as_slice() else {
        panic!("{said}");
    };
    assert!(was == w3svc && up.pids().contains(was), "{said}");
    up.said(&["net", "stop", "w3svc"]);
    let said = up.said(&["sc", "queryex", "w3svc"]);
    let pids: Vec<u32> = said.lines().filter_map(pid).collect();
    assert_eq!(pids, [0], "{said}");
    assert!(!up.said(&["sc", "query"]).contains("PID"));
}
