//! Recycles, seen from the clients: overlapped, at the shutdown limit, and killed workers.

mod support;

use support::crowd::Crowd;
use support::{Browser, Up};

const RECYCLE: [&str; 4] = [
    "appcmd",
    "recycle",
    "apppool",
    "/apppool.name:DefaultAppPool",
];

#[test]
fn twenty_recycles_under_load_lose_no_request_and_no_connection() {
    let up = Up::start();
    let crowd = Crowd::gather(&up, 8);
    crowd.until_answered(&up, 8);
    for _ in 0..20 {
        let before = up.workers();
        assert_eq!(
            up.said(&RECYCLE),
            "\"DefaultAppPool\" successfully recycled\n"
        );
        up.until("a new worker", || {
            let now = up.workers();
            now.len() == 1 && now != before
        });
        crowd.until_answered(&up, 8);
    }
    let (answered, failures) = crowd.leave();
    assert_eq!(failures, Vec::<String>::new(), "of {answered} requests");
}

#[test]
fn a_long_request_completes_on_the_old_worker_while_the_new_one_serves() {
    let up = Up::start();
    let old = up.get("/default.aspx").worker();
    let mut browser = Browser::connect(up.address("http/"));
    browser
        .send("GET /wait.aspx?time=1500 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    up.until("the request to run", || {
        up.said(&["appcmd", "list", "request"]).contains("wait")
    });
    up.said(&RECYCLE);
    up.until("two workers", || up.workers().len() == 2);
    up.until("the new one to serve", || {
        up.get("/default.aspx").worker() != old
    });
    assert_eq!(up.workers().len(), 2, "the old one still drains");
    let page = browser.receive(true).unwrap();
    assert_eq!((page.status, page.worker()), (200, old));
    up.until("the old one to end", || up.workers().len() == 1);
    up.until("the driver to have missed it", || {
        let gone = up.facts("httpsys", "ProcessDetach");
        gone.iter().any(|(_, fact)| fact["process"] == old)
    });
    assert_eq!(
        browser.get("/default.aspx").unwrap().status,
        200,
        "the connection is kept"
    );
}

#[test]
fn a_request_longer_than_the_limit_is_cut_there_with_event_5013() {
    let up = Up::with_pool(r#"><processModel shutdownTimeLimit="00:00:01" />"#);
    up.get("/default.aspx");
    let mut browser = Browser::connect(up.address("http/"));
    browser
        .send("GET /wait.aspx?time=20000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    up.until("the request to run", || {
        up.said(&["appcmd", "list", "request"]).contains("wait")
    });
    up.said(&RECYCLE);
    assert!(browser.is_over(), "no byte of an answer comes");
    up.until("event 5013", || {
        up.events()
            .contains("exceeded time limits during shut down")
    });
    assert!(up.events().contains("\"EventID\":5013,"));
    up.until("the line in HTTPERR", || {
        up.httperr().contains("/wait.aspx?time=20000")
            && up
                .httperr()
                .contains("Connection_Abandoned_By_ReqQueue DefaultAppPool")
    });
}

#[test]
fn a_killed_worker_loses_only_what_it_held() {
    let up = Up::start();
    let worker = up.get("/default.aspx").worker();
    let mut idle = Browser::connect(up.address("http/"));
    idle.get("/default.aspx").unwrap();
    let mut held = Browser::connect(up.address("http/"));
    held.send("GET /wait.aspx?time=20000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    up.until("the request to run", || {
        up.said(&["appcmd", "list", "request"]).contains("wait")
    });
    Up::signal("-KILL", worker);
    assert!(held.is_over());
    let page = idle.get("/default.aspx").unwrap();
    assert_eq!(
        page.status, 200,
        "an idle connection lives, and a new worker answers"
    );
    assert_ne!(page.worker(), worker);
    up.until("HTTPERR", || {
        up.httperr().contains("Connection_Abandoned_By_ReqQueue")
    });
    assert_eq!(up.httperr().matches("Connection_Abandoned").count(), 1);
}

#[test]
fn without_overlap_requests_wait_and_none_is_lost() {
    let up = Up::with_pool(r#"><recycling disallowOverlappingRotation="true" />"#);
    let old = up.get("/default.aspx").worker();
    let crowd = Crowd::gather(&up, 4);
    crowd.until_answered(&up, 4);
    up.said(&RECYCLE);
    up.until("a new worker", || {
        up.workers().first().is_some_and(|pid| *pid != old)
    });
    crowd.until_answered(&up, 4);
    let (_, failures) = crowd.leave();
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn a_recycle_of_a_pool_without_a_worker_succeeds_and_starts_none() {
    let up = Up::start();
    assert_eq!(
        up.said(&RECYCLE),
        "\"DefaultAppPool\" successfully recycled\n"
    );
    assert!(up.workers().is_empty());
}

#[test]
fn five_crashes_take_the_pool_off_line() {
    let up = Up::start();
    for _ in 0..5 {
        let mut browser = Browser::connect(up.address("http/"));
        browser
            .send("GET /crash.aspx HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        assert!(browser.is_over());
    }
    up.until("event 5002", || up.events().contains("\"EventID\":5002,"));
    let page = up.get("/");
    assert_eq!((page.status, page.body.len()), (503, 326));
    up.until("AppOffline", || {
        up.httperr().contains("503 1 AppOffline DefaultAppPool")
    });
    assert!(
        up.said(&["appcmd", "list", "apppool"])
            .contains("state:Stopped")
    );
    up.said(&["appcmd", "start", "apppool", "DefaultAppPool"]);
    assert_eq!(up.get("/").status, 200);
}

#[test]
fn a_worker_that_is_unhealthy_says_so_in_its_own_log_and_one_that_cannot_start_why() {
    let up = Up::with_pool(
        r#"><environmentVariables><add name="IIS_SIM_START" value="ready" /></environmentVariables>"#,
    );
    let application = |id: u16| {
        let query = format!("/q:*[System[EventID={id}]]");
        let said = up.said(&["wevtutil", "qe", "Application", &query, "/f:text"]);
        said.contains("Source: Microsoft-Windows-IIS-W3SVC-WP") && said.contains("Event[0]")
    };
    let old = up.get("/unhealthy.aspx").worker();
    up.until("a new worker", || up.get("/default.aspx").worker() != old);
    assert!(application(2263) && up.events().contains("\"EventID\":5078"));
    let path = up.root.with_file_name("applicationHost.config");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"ready\"", "\"sometimes\"")).unwrap();
    up.until("its last word", || application(2276));
    up.until("what WAS says", || up.events().contains("\"EventID\":5039"));
    assert_eq!(up.get("/default.aspx").status, 200, "the old one serves");
}
