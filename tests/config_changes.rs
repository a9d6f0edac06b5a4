//! The configuration changes under a running server: which processes are new, which connections live,
//! and what a broken file does.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test ends when something is not as it should be, takes a port for itself and writes slowly"
)]

mod support;

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use support::{Browser, IIS_SIM, Up, config, config_of_two};

/// Where the configuration lies that a server was given.
fn file_of(up: &Up) -> PathBuf {
    up.root.with_file_name("applicationHost.config")
}

fn read(up: &Up) -> String {
    std::fs::read_to_string(file_of(up)).unwrap()
}

fn write(up: &Up, text: &str) {
    std::fs::write(file_of(up), text).unwrap();
}

/// Two sites, each with a pool of its own.
fn two_sites() -> String {
    config_of_two(" queueLength=\"1000\">")
}

/// The address of a site's binding, by the port that the file says.
fn address(up: &Up, port: u16) -> std::net::SocketAddr {
    let endpoints = up.ready["endpoints"].as_array().unwrap();
    let binding = format!("http/*:{port}:");
    let found = endpoints
        .iter()
        .find(|e| e["binding"] == binding.as_str())
        .unwrap();
    found["address"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_pool_setting_recycles_its_pool_only_and_the_connection_lives() {
    let up = Up::with_config(Some(&two_sites()));
    let mut first = Browser::connect(address(&up, 80));
    let mut second = Browser::connect(address(&up, 81));
    let (old, other) = (
        first.get("/default.aspx").unwrap().worker(),
        second.get("/default.aspx").unwrap().worker(),
    );
    let text = read(&up).replace(
        " queueLength=\"1000\">",
        "><processModel idleTimeout=\"00:10:00\" />",
    );
    write(&up, &text);
    up.until("the recycle", || up.events().contains("\"EventID\":5080,"));
    up.until("the new worker", || !up.workers().contains(&old));
    assert_ne!(first.get("/default.aspx").unwrap().worker(), old);
    assert_eq!(second.get("/default.aspx").unwrap().worker(), other);
}

#[test]
fn no_connection_is_cut_where_an_application_moves_and_where_a_binding_changes() {
    let up = Up::with_config(Some(&two_sites()));
    let site = address(&up, 80);
    let mut idle = Browser::connect(site);
    let old = idle.get("/default.aspx").unwrap().worker();
    let (sent, is_sent) = std::sync::mpsc::channel();
    let running = std::thread::spawn(move || {
        let mut browser = Browser::connect(site);
        browser
            .send("GET /wait.aspx?time=3000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        sent.send(()).unwrap();
        browser.receive(true)
    });
    is_sent.recv().unwrap();
    up.until("the request to run", || {
        up.said(&["appcmd", "list", "request"])
            .contains("wait.aspx")
    });
    let moved = read(&up).replacen(
        "applicationPool=\"DefaultAppPool\"",
        "applicationPool=\"Other\"",
        1,
    );
    write(&up, &moved);
    up.until("the other pool to answer", || {
        up.get("/default.aspx").worker() != old
    });
    write(&up, &moved.replace("\"*:80:\"", "\"*:80:localhost\""));
    up.until("the new binding", || {
        up.said(&["appcmd", "list", "site"])
            .contains("*:80:localhost")
    });
    let page = running.join().unwrap().unwrap();
    assert_eq!((page.status, page.worker()), (200, old));
    assert_eq!(idle.get("/default.aspx").unwrap().status, 200);
    let endpoints = up.facts("httpsys", "EndpointClose");
    assert!(endpoints.is_empty(), "{endpoints:?}");
}

#[test]
fn the_queue_length_is_taken_live_and_no_process_is_new() {
    let up = Up::with_config(Some(&two_sites()));
    let mut browser = Browser::connect(address(&up, 80));
    let worker = browser.get("/default.aspx").unwrap().worker();
    write(
        &up,
        &read(&up).replace("queueLength=\"1000\"", "queueLength=\"2000\""),
    );
    let trace = up.root.join("trace/was.jsonl");
    up.until("the change", || {
        std::fs::read_to_string(&trace)
            .unwrap()
            .contains("ConfigurationChanged")
    });
    assert_eq!(browser.get("/default.aspx").unwrap().worker(), worker);
    assert!(!up.events().contains("\"EventID\":5080,"));
}

#[test]
fn a_broken_file_is_logged_with_its_line_and_the_server_goes_on_until_it_is_repaired() {
    let up = Up::with_config(Some(&two_sites()));
    let mut browser = Browser::connect(address(&up, 80));
    let worker = browser.get("/default.aspx").unwrap().worker();
    let good = read(&up);
    write(&up, &good[..good.len() / 2]);
    up.until("the events", || up.events().contains("\"EventID\":5053"));
    assert!(
        up.events()
            .contains("applicationHost.config', line number '"),
        "{}",
        up.events()
    );
    assert_eq!(browser.get("/default.aspx").unwrap().worker(), worker);
    let reset = up.tool(&["iisreset"]);
    assert!(
        !reset.status.success(),
        "an iisreset cannot start with a broken file"
    );
    std::fs::remove_file(file_of(&up)).unwrap();
    let missing = String::from_utf8(up.tool(&["iisreset", "/start"]).stdout).unwrap();
    assert!(
        missing.contains("The system cannot find the file specified. (2147942402, 80070002)"),
        "{missing}"
    );
    write(&up, &good);
    let start = up.tool(&["iisreset", "/start"]);
    assert!(start.status.success(), "{start:?}");
    assert_eq!(
        Browser::connect(address(&up, 80))
            .get("/default.aspx")
            .unwrap()
            .status,
        200
    );
}

#[test]
fn what_is_wrong_with_one_pool_leaves_the_others_alone() {
    let up = Up::with_config(Some(&two_sites()));
    let mut second = Browser::connect(address(&up, 81));
    let other = second.get("/default.aspx").unwrap().worker();
    let too_long = "x".repeat(65);
    write(
        &up,
        &read(&up).replace("\"DefaultAppPool\"", &format!("\"{too_long}\"")),
    );
    up.until("the event", || up.events().contains("\"EventID\":5050,"));
    // Its application has no pool any more, so its site has no URL.
    up.until("the site without a pool", || {
        TcpStream::connect(address(&up, 80)).is_err()
    });
    assert_eq!(second.get("/default.aspx").unwrap().worker(), other);
}

#[test]
fn a_port_in_use_stops_its_site_with_an_event_and_the_others_run() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("applicationHost.config");
    std::fs::write(&file, two_sites().replace("*:80:", &format!("*:{port}:"))).unwrap();
    let words = [
        "--config".to_owned(),
        file.display().to_string(),
        "--port-map".to_owned(),
        format!("{port}:{port}"),
    ];
    let up = Up::with_words(&folder.path().join("root"), &words);
    up.until("the event", || {
        up.events().contains("\"EventID\":1007,") || up.events().contains("\"EventID\":1004,")
    });
    let sites = up.said(&["appcmd", "list", "site"]);
    assert!(
        sites.contains("\"Default Web Site\"") && sites.contains("state:Stopped"),
        "{sites}"
    );
    assert_eq!(
        Browser::connect(address(&up, 81))
            .get("/default.aspx")
            .unwrap()
            .status,
        200
    );
    drop(taken);
    let start = up.tool(&["appcmd", "start", "site", "Default Web Site"]);
    assert!(start.status.success(), "{start:?}");
    let answer = Browser::connect(([127, 0, 0, 1], port).into()).get("/default.aspx");
    assert_eq!(answer.unwrap().status, 200);
}

#[test]
fn a_site_that_is_added_serves_and_the_first_one_does_not_notice() {
    let up = Up::with_config(Some(&config(">")));
    let mut browser = Browser::connect(up.address("http/"));
    let worker = browser.get("/default.aspx").unwrap().worker();
    let more = r#"<site name="New" id="7"><application path="/"><virtualDirectory path="/" physicalPath="C:\inetpub\wwwroot" /></application><bindings><binding protocol="http" bindingInformation="*:80:new.example" /></bindings></site></sites>"#;
    write(&up, &read(&up).replace("</sites>", more));
    let asks = "GET /default.aspx HTTP/1.1\r\nHost: new.example\r\n\r\n";
    up.until("the new site", || {
        std::fs::read_to_string(up.root.join("trace/was.jsonl"))
            .unwrap()
            .contains("ConfigurationChanged")
    });
    assert_eq!(browser.exchange(asks).unwrap().worker(), worker);
    assert!(up.said(&["appcmd", "list", "site"]).contains("\"New\""));
    assert!(!up.events().contains("\"EventID\":5080,"));
}

#[test]
fn a_mistake_in_a_section_that_requests_need_is_500_19_until_it_is_repaired() {
    let up = Up::with_config(Some(&two_sites()));
    assert_eq!(up.get("/default.aspx").status, 200);
    let good = read(&up);
    let wrong = good.replace(
        "</configuration>",
        "<system.webServer><staticContent foo=\"1\" /></system.webServer></configuration>",
    );
    assert_ne!(wrong, good);
    write(&up, &wrong);
    up.until("500.19", || up.get("/default.aspx").status == 500);
    let page = up.get("/default.aspx").text();
    assert!(page.contains("unknown attribute"), "{page}");
    write(&up, &good);
    up.until("service", || up.get("/default.aspx").status == 200);
}

#[test]
fn a_pool_that_breaks_serves_also_with_its_next_worker() {
    let up = Up::with_config(Some(&two_sites()));
    let worker = up.get("/default.aspx").worker();
    let wrong = read(&up).replacen(
        "<add name=\"DefaultAppPool\"",
        "<add name=\"DefaultAppPool\" foo=\"5\"",
        1,
    );
    write(&up, &wrong);
    up.until("the events", || up.events().contains("\"EventID\":5085"));
    assert!(up.events().contains("\"EventID\":5172"));
    Up::signal("-KILL", up.workers()[0]);
    up.until("the end of the worker", || up.workers().is_empty());
    let after = up.get("/default.aspx");
    assert_eq!(after.status, 200);
    assert_ne!(after.worker(), worker);
}

#[test]
fn touching_a_web_config_restarts_the_application_in_its_process_and_a_broken_one_is_500_19() {
    let up = Up::start();
    let mut browser = Browser::connect(up.address("http/"));
    let first = browser.get("/session.aspx").unwrap();
    let worker = first.worker();
    let cookie = first
        .header("Set-Cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let visit =
        format!("GET /session.aspx HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
    let again = browser.exchange(&visit).unwrap();
    assert_eq!(again.header("X-Sim-Session"), Some("found"));
    let file = up.root.join("inetpub/wwwroot/Web.config");
    let trace = up.root.join("trace/was.jsonl");
    let restarts = || {
        let text = std::fs::read_to_string(&trace).unwrap();
        text.matches("\"restarted\":[\"Default Web Site/\"]")
            .count()
    };
    std::fs::write(&file, "<configuration />").unwrap();
    up.until("the restart", || restarts() == 1);
    // What WAS has said, the worker may hear after a request that comes at the same time.
    let visited = || {
        let mut browser = Browser::connect(up.address("http/"));
        browser.exchange(&visit).unwrap()
    };
    up.until("the loss of the session", || {
        visited().header("X-Sim-Session") == Some("lost")
    });
    assert_eq!(visited().worker(), worker);
    std::fs::write(&file, "<configuration>\n<system.webServer><caching enabld='x'/></system.webServer></configuration>").unwrap();
    up.until("the second restart", || restarts() == 2);
    up.until("an error of the configuration", || visited().status == 500);
    let broken = browser.get("/session.aspx").unwrap();
    assert_eq!(broken.status, 500);
    assert!(broken.text().contains("line 2"), "{}", broken.text());
    std::fs::remove_file(&file).unwrap();
    up.until("the third restart", || restarts() == 3);
    up.until("the page", || visited().status == 200);
    let repaired = browser.get("/session.aspx").unwrap();
    assert_eq!((repaired.status, repaired.worker()), (200, worker));
    assert!(!up.events().contains("\"EventID\":5080,"));
}

const BROKEN: &str =
    "<configuration><system.webServer><caching enabld='x'/></system.webServer></configuration>";

#[test]
fn a_web_config_is_noticed_in_a_folder_that_was_made_after_its_application() {
    let up = Up::start();
    let added = up.tool(&[
        "appcmd",
        "add",
        "app",
        "/site.name:Default Web Site",
        "/path:/new",
        r"/physicalPath:C:\apps\New",
    ]);
    assert!(added.status.success(), "{added:?}");
    let folder = up.root.join("apps/New");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("web.config"), BROKEN).unwrap();
    up.until("500.19", || up.get("/new/default.aspx").status == 500);
    std::fs::remove_file(folder.join("web.config")).unwrap();
    up.until("service", || up.get("/new/default.aspx").status == 200);
}

#[test]
fn a_web_config_is_noticed_where_the_folder_of_a_site_was_replaced() {
    let up = Up::start();
    let folder = up.root.join("inetpub/wwwroot");
    let is = |status| move |up: &Up| up.get("/default.aspx").status == status;
    assert!(is(200)(&up));
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("web.config"), BROKEN).unwrap();
    up.until("500.19 of the new folder", || is(500)(&up));
    let next = up.root.join("inetpub/next");
    std::fs::create_dir(&next).unwrap();
    std::fs::write(next.join("web.config"), "<configuration />").unwrap();
    std::fs::rename(&folder, up.root.join("inetpub/old")).unwrap();
    std::fs::rename(&next, &folder).unwrap();
    up.until("service after the swap", || is(200)(&up));
    std::fs::write(folder.join("web.config"), BROKEN).unwrap();
    up.until("500.19 of what was swapped in", || is(500)(&up));
}

#[test]
fn a_folder_that_is_no_application_has_a_web_config_of_its_own() {
    let up = Up::start();
    let folder = up.root.join("inetpub/wwwroot/Images/old");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("welcome.txt"), "welcome").unwrap();
    assert_eq!(up.get("/images/old/").status, 403);
    let section = "<configuration><system.webServer><defaultDocument><files><clear /><add value='welcome.txt' /></files></defaultDocument></system.webServer></configuration>";
    std::fs::write(folder.parent().unwrap().join("web.config"), section).unwrap();
    up.until("its document", || up.get("/images/old/").status == 200);
    assert_eq!(up.get("/images/old/").text(), "welcome");
    std::fs::write(folder.join("Web.config"), BROKEN).unwrap();
    up.until("500.19", || up.get("/images/old/").status == 500);
    assert_eq!(up.get("/images/welcome.txt").status, 404);
    assert_eq!(up.get("/default.aspx").status, 200);
    std::fs::rename(&folder, up.root.join("old")).unwrap();
    up.until("nothing", || up.get("/images/old/").status == 404);
    std::fs::rename(up.root.join("old"), &folder).unwrap();
    up.until("500.19 again", || up.get("/images/old/").status == 500);
}

#[test]
fn a_new_worker_goes_by_what_is_on_the_disk_when_it_starts() {
    let up = Up::start();
    let folder = up.root.join("inetpub/wwwroot");
    let worker = up.get("/default.aspx").worker();
    std::fs::write(folder.join("welcome.txt"), "welcome").unwrap();
    Up::signal("-KILL", worker);
    up.until("the end of the worker", || up.workers().is_empty());
    let text = "<configuration><system.webServer><defaultDocument><files><clear /><add value='welcome.txt' /></files></defaultDocument></system.webServer></configuration>";
    std::fs::write(folder.join("web.config"), text).unwrap();
    // Long before the change is told.
    assert_eq!(up.get("/").text(), "welcome");
}

#[test]
fn a_web_config_that_is_written_in_place_again_and_again_fails_no_request() {
    let up = Up::start();
    assert_eq!(up.get("/default.aspx").status, 200);
    let file = up.root.join("inetpub/wwwroot/web.config");
    // A busy machine may hold the writer up for so long that the file counts as broken, and rightly so.
    let was_late = Arc::new(AtomicBool::new(false));
    let late = Arc::clone(&was_late);
    let writer = std::thread::spawn(move || {
        for round in 0..100 {
            // As a tool does that opens it, and writes a moment later.
            let begun = std::time::Instant::now();
            std::fs::write(&file, "").unwrap();
            std::thread::sleep(std::time::Duration::from_millis(40));
            std::fs::write(
                &file,
                format!("<configuration><!-- {round} --></configuration>"),
            )
            .unwrap();
            let took = begun.elapsed();
            late.fetch_or(took > std::time::Duration::from_millis(150), Relaxed);
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        file
    });
    let mut browser = Browser::connect(up.address("http/"));
    let mut failed = None;
    while !writer.is_finished() {
        let page = browser.get("/default.aspx").unwrap();
        if page.status != 200 {
            failed = Some(page.text());
        }
    }
    let file = writer.join().unwrap();
    assert!(failed.is_none() || was_late.load(Relaxed), "{failed:?}");
    std::fs::write(file, "").unwrap();
    up.until("500.19 of a file that stays empty", || {
        up.get("/default.aspx").status == 500
    });
}

#[test]
fn a_filter_that_is_added_recycles_as_explain_change_says() {
    let up = Up::with_config(Some(&two_sites()));
    let worker = up.get("/default.aspx").worker();
    let old = read(&up);
    let filter = r#"<system.webServer><isapiFilters><filter name="a" path="a.dll" /></isapiFilters></system.webServer></configuration>"#;
    let new = old.replace("</configuration>", filter);
    let said = String::from_utf8(explain(&old, &new, &[]).stdout).unwrap();
    assert!(
        said.contains("pool-recycle of DefaultAppPool, Other"),
        "{said}"
    );
    write(&up, &new);
    up.until("the recycle", || up.events().contains("\"EventID\":5080,"));
    up.until("the new worker", || {
        up.get("/default.aspx").worker() != worker
    });
}

#[test]
fn a_copy_of_the_configuration_is_kept_in_the_history() {
    let up = Up::start();
    let copy = up
        .root
        .join("inetpub/history/CFGHISTORY_0000000001/applicationHost.config");
    up.until("the copy", || copy.exists());
}

// ---- explain-change --------------------------------------------------------------------------------

fn explain(old: &str, new: &str, words: &[&str]) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (
        folder.path().join("old.config"),
        folder.path().join("new.config"),
    );
    std::fs::write(&a, old).unwrap();
    std::fs::write(&b, new).unwrap();
    Command::new(IIS_SIM)
        .arg("explain-change")
        .args(words)
        .args([&a, &b])
        .output()
        .unwrap()
}

#[test]
fn explain_change_names_what_it_causes_where_and_why() {
    let old = two_sites();
    let new = old.replace(
        "queueLength=\"1000\"",
        "queueLength=\"1000\" managedRuntimeVersion=\"v4.0\"",
    );
    let said = String::from_utf8(explain(&old, &new, &[]).stdout).unwrap();
    assert!(
        said.contains("application pool 'DefaultAppPool': managedRuntimeVersion"),
        "{said}"
    );
    assert!(
        said.contains("new.config:3") && said.contains("pool-recycle of DefaultAppPool"),
        "{said}"
    );
    assert!(said.contains("no iisreset is needed"), "{said}");
    let json = explain(&old, &new, &["--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["worst"], "pool-recycle");
    assert_eq!(json["effects"][0]["pools"][0], "DefaultAppPool");
}

#[test]
fn explain_change_refuses_a_broken_file_with_its_line() {
    let said = explain(&two_sites(), "<configuration>\n<x></y>", &[]);
    assert_eq!(said.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&said.stderr).contains("new.config: line 2"),
        "{said:?}"
    );
}

#[test]
fn explain_change_says_which_entry_is_no_good() {
    let old = two_sites();
    let new = old.replacen("<add name=", "<add foo=\"5\" name=", 1);
    let output = explain(&old, &new, &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("application pool 'DefaultAppPool' is no good: ")
            && said.contains("unknown attribute \"foo\"")
            && said.ends_with("1 no good; no iisreset is needed\n"),
        "{said}"
    );
}

#[test]
fn explain_change_exits_with_2_for_a_part_that_is_ignored() {
    let old = two_sites();
    let pool = "applicationPool=\"DefaultAppPool\"";
    for (from, to, event) in [
        (pool, "applicationPool=\"Nowhere\"", "event 5179"),
        ("queueLength=\"1000\"", "queueLength=\"5\"", "event 5041"),
    ] {
        let new = old.replacen(from, to, 1);
        assert_ne!(new, old);
        let output = explain(&old, &new, &[]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(event), "{said}");
        let code = if event == "event 5179" { 2 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{said}");
    }
}

#[test]
fn explain_change_is_silent_about_what_was_wrong_before() {
    let pool = "applicationPool=\"DefaultAppPool\"";
    let old = two_sites().replacen(pool, "applicationPool=\"Nowhere\"", 1);
    let moved = old.replacen("<configuration>", "<configuration>\n<!-- new -->", 1);
    assert_ne!(moved, old);
    let output = explain(&old, &moved, &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "no difference that matters\n");
    assert_eq!(output.status.code(), Some(0));
}
