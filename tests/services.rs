//! iisreset, service control, pools and sites that are stopped: what clients meet.

#![expect(clippy::disallowed_types, reason = "a test is a client")]

mod support;

use std::net::TcpStream;

use support::{Browser, Up, config};

#[test]
fn an_iisreset_severs_every_connection_and_starts_cold() {
    let up = Up::start();
    let first = up.get("/session.aspx");
    let cookie = first
        .header("Set-Cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let mut idle = Browser::connect(up.address("http/"));
    idle.get("/default.aspx").unwrap();
    let httpsys = up.pids()[1];
    assert_eq!(
        up.said(&["iisreset"]),
        "\nAttempting stop...\nInternet services successfully stopped\n\
         Attempting start...\nInternet services successfully restarted\n"
    );
    assert!(idle.is_over(), "an idle connection is lost");
    assert!(up.workers().is_empty());
    let request = format!("GET /session.aspx HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n");
    let page = Browser::connect(up.address("http/"))
        .exchange(&request)
        .unwrap();
    assert_eq!(page.header("X-Sim-Session"), Some("lost"));
    assert_ne!(page.worker(), first.worker());
    assert_eq!(up.pids()[1], httpsys, "HTTP.sys is not restarted");
}

#[test]
fn while_the_services_are_stopped_connections_are_refused() {
    let up = Up::start();
    up.get("/");
    let stopped = up.said(&["iisreset", "/stop"]);
    assert_eq!(
        stopped,
        "\nAttempting stop...\nInternet services successfully stopped\n"
    );
    let refused = TcpStream::connect(up.address("http/")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let status = up.said(&["iisreset", "/status"]);
    assert!(status.contains("( W3SVC ) : Stopped") && status.contains("( WAS ) : Stopped"));
    up.said(&["iisreset", "/start"]);
    assert_eq!(up.get("/").status, 200);
    assert!(
        up.said(&["iisreset", "/status"])
            .contains("( W3SVC ) : Running")
    );
}

#[test]
fn a_request_in_flight_dies_at_an_iisreset() {
    let up = Up::start();
    let mut browser = Browser::connect(up.address("http/"));
    browser
        .send("GET /wait.aspx?time=20000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    up.until("the request to run", || {
        up.said(&["appcmd", "list", "request"]).contains("wait")
    });
    assert!(up.tool(&["iisreset"]).status.success());
    assert!(browser.is_over());
}

/// With this personality, in a folder of its own.
fn up_as(personality: &str) -> (Up, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let words = ["--personality", personality].map(str::to_owned);
    (Up::with_words(&folder.path().join("root"), &words), folder)
}

#[test]
fn what_a_worker_has_handed_over_is_sent_though_everything_stops() {
    /// More than the sockets of both ends take.
    const LARGE: usize = 24 << 20;
    for (personality, stop) in [
        ("iis6", ["iisreset"].as_slice()),
        ("iis6", &["net", "stop", "w3svc"]),
        ("iis10", &["iisreset", "/stop"]),
        ("iis10", &["appcmd", "stop", "site", "Default Web Site"]),
    ] {
        let (up, _folder) = up_as(personality);
        let page = up.root.join("inetpub/wwwroot/large.txt");
        std::fs::write(page, vec![b'x'; LARGE]).unwrap();
        let mut browser = Browser::connect(up.address("http/"));
        browser
            .send("GET /large.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let head = browser.receive(false).unwrap();
        up.until("the worker to be done with it", || {
            up.said(&["appcmd", "list", "request"]).is_empty()
        });
        // What it has written before, the driver has read.
        up.get("/default.aspx");
        assert!(up.tool(stop).status.success());
        let body = browser.rest().len();
        assert_eq!((head.status, body), (200, LARGE), "{personality} {stop:?}");
        assert_eq!(up.httperr(), "");
    }
}

#[test]
fn under_iis_6_a_stop_loses_no_response_however_often() {
    const ROUNDS: usize = 10;
    let (up, _folder) = up_as("iis6");
    for round in 0..ROUNDS {
        up.get("/default.aspx");
        // They end together, so that in one turn the driver hears of the last one and of the end.
        let mut browsers = [(); 4].map(|()| {
            let mut browser = Browser::connect(up.address("http/"));
            let head = "GET /wait.aspx?time=400 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            browser.send(head).unwrap();
            browser
        });
        let delivered = 5 * (round + 1);
        up.until("the requests to run", || {
            up.facts("httpsys", "Deliver").len() >= delivered
        });
        assert!(up.tool(&["iisreset"]).status.success());
        for browser in &mut browsers {
            assert_eq!(browser.receive(true).unwrap().status, 200, "{round}");
            assert!(browser.is_over());
        }
    }
}

#[test]
fn who_waits_in_a_queue_at_an_iisreset_gets_503() {
    let up = Up::with_pool(r#"><recycling disallowOverlappingRotation="true" />"#);
    let mut running = Browser::connect(up.address("http/"));
    running
        .send("GET /wait.aspx?time=20000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    up.until("the request to run", || {
        up.said(&["appcmd", "list", "request"]).contains("wait")
    });
    up.said(&["appcmd", "recycle", "apppool", "DefaultAppPool"]);
    up.until("the worker to take nothing more", || {
        !up.facts("httpsys", "ProcessShutdown").is_empty()
    });
    let before = up.facts("httpsys", "Queued").len();
    let mut waiting = Browser::connect(up.address("http/"));
    waiting
        .send("GET /default.aspx HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    up.until("another to wait", || {
        up.facts("httpsys", "Queued").len() > before
    });
    assert!(up.tool(&["iisreset"]).status.success());
    let page = waiting.receive(true).unwrap();
    assert_eq!((page.status, page.body.len()), (503, 326));
    assert!(waiting.is_over() && running.is_over());
    up.until("HTTPERR", || {
        up.httperr().contains(" 503 1 N/A DefaultAppPool")
    });
}

#[test]
fn an_iisreset_reads_the_configuration_afresh() {
    let up = Up::start();
    up.get("/");
    let path = up.host_path();
    let text = std::fs::read_to_string(&path).unwrap();
    let edited = text.replacen(
        "</applicationPools>",
        "<add name=\"Fresh\" /></applicationPools>",
        1,
    );
    assert_ne!(text, edited);
    std::fs::write(&path, edited).unwrap();
    assert!(up.tool(&["iisreset"]).status.success());
    assert!(
        up.said(&["appcmd", "list", "apppool", "Fresh"])
            .contains("state:Started")
    );
}

#[test]
fn a_stopped_pool_answers_503_and_a_started_one_serves() {
    let up = Up::start();
    up.get("/");
    let stopped = up.said(&["appcmd", "stop", "apppool", "/apppool.name:DefaultAppPool"]);
    assert_eq!(stopped, "\"DefaultAppPool\" successfully stopped\n");
    assert!(up.workers().is_empty());
    let page = up.get("/");
    assert_eq!((page.status, page.body.len()), (503, 326));
    assert!(
        page.text()
            .contains("HTTP Error 503. The service is unavailable.")
    );
    up.until("HTTPERR", || {
        up.httperr().contains(" 503 1 Disabled DefaultAppPool")
    });
    let recycled = up.tool(&["appcmd", "recycle", "apppool", "DefaultAppPool"]);
    assert!(String::from_utf8_lossy(&recycled.stdout).contains("80070426"));
    assert!(!recycled.status.success());
    let started = up.said(&["appcmd", "start", "apppool", "DefaultAppPool"]);
    assert_eq!(started, "\"DefaultAppPool\" successfully started.\n");
    assert_eq!(up.get("/").status, 200);
}

#[test]
fn a_stopped_site_refuses_and_its_pool_lives_on() {
    let up = Up::start();
    up.get("/");
    let workers = up.workers();
    up.said(&["appcmd", "stop", "site", "Default Web Site"]);
    assert!(TcpStream::connect(up.address("http/")).is_err());
    assert_eq!(up.workers(), workers);
    assert!(
        up.said(&["appcmd", "list", "site"])
            .contains("state:Stopped")
    );
    up.said(&["appcmd", "start", "site", "Default Web Site"]);
    assert_eq!(up.get("/").status, 200);
}

#[test]
fn appcmd_lists_in_the_words_of_the_real_tool() {
    let up = Up::with_config(Some(&config(" managedRuntimeVersion=\"v4.0\">")));
    up.get("/");
    let worker = up.workers()[0];
    let expected = [
        (
            "apppool",
            "APPPOOL \"DefaultAppPool\" (MgdVersion:v4.0,MgdMode:Integrated,state:Started)\n",
        ),
        (
            "site",
            "SITE \"Default Web Site\" (id:1,bindings:http/*:80:,state:Started)\n",
        ),
        (
            "app",
            "APP \"Default Web Site/\" (applicationPool:DefaultAppPool)\n",
        ),
        (
            "vdir",
            "VDIR \"Default Web Site/\" (physicalPath:%SystemDrive%\\inetpub\\wwwroot)\n",
        ),
        (
            "wp",
            &format!("WP \"{worker}\" (applicationPool:DefaultAppPool)\n"),
        ),
    ];
    for (object, line) in expected {
        assert_eq!(up.said(&["appcmd", "list", object]), line);
    }
    assert_eq!(
        up.said(&["iisapp"]),
        format!("W3WP.exe PID: {worker}   AppPoolId: DefaultAppPool\n")
    );
    let missing = up.tool(&["appcmd", "recycle", "apppool", "X"]);
    assert_eq!(
        String::from_utf8_lossy(&missing.stdout),
        "ERROR ( message:Cannot find APPPOOL object with identifier \"X\". )\n"
    );
}

#[test]
fn a_tool_without_a_server_says_how_to_start_one() {
    let output = std::process::Command::new(support::IIS_SIM)
        .args(["appcmd", "list", "wp", "--root", "/nonexistent/root"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success());
    assert!(text.contains("iis-sim up"), "{text}");
}
