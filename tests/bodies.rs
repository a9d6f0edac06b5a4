//! Bodies of requests, and the limits of their lengths.

mod support;

use support::{Browser, Up};

/// The beginning of a request to the page whose body is `length` bytes long.
fn post(length: usize, more: &str) -> String {
    format!("POST /default.aspx HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n")
}

/// Waits until so many requests are executing.
fn until_executing(up: &Up, requests: usize) {
    up.until("the requests to be executing", || {
        let listed = up.said(&["appcmd", "list", "request"]);
        listed.matches("REQUEST").count() == requests
    });
}

#[test]
fn a_page_that_reads_its_body_says_100_continue_and_one_that_is_refused_is_never_sent_it() {
    let up = Up::start();
    let mut browser = Browser::connect(up.address("http/"));
    let expect = "Expect: 100-continue\r\n";
    let asked = browser.exchange(&post(5, expect)).unwrap();
    assert_eq!(asked.status, 100);
    assert_eq!(browser.exchange("hello").unwrap().status, 200);
    let refused = browser.exchange(&post(30_000_001, expect)).unwrap();
    assert_eq!(refused.status, 413, "before a byte of it is sent");
}

#[test]
fn half_sent_posts_and_a_waiting_get_are_answered_before_a_recycled_worker_exits() {
    let up = Up::start();
    let old = up.get("/default.aspx").worker();
    let mut posts = [(); 2].map(|()| Browser::connect(up.address("http/")));
    for browser in &mut posts {
        browser.send(&(post(10, "") + "01234")).unwrap();
    }
    let mut get = Browser::connect(up.address("http/"));
    get.send("GET /wait.aspx?time=500 HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    until_executing(&up, 3);
    up.said(&["appcmd", "recycle", "apppool", "DefaultAppPool"]);
    assert_eq!(get.receive(true).unwrap().worker(), old);
    up.until("another worker", || up.get("/default.aspx").worker() != old);
    assert!(up.workers().contains(&old), "it waits for the bodies");
    for browser in &mut posts {
        let page = browser.exchange("56789").unwrap();
        assert_eq!((page.status, page.worker()), (200, old));
    }
    up.until("the old worker to exit", || !up.workers().contains(&old));
}

#[test]
fn a_client_that_resets_in_the_middle_of_its_body_ends_its_request() {
    let up = Up::start();
    let mut browser = Browser::connect(up.address("http/"));
    browser.send(&post(10, "Expect: 100-continue\r\n")).unwrap();
    until_executing(&up, 1);
    // What it has not read makes closing a reset.
    drop(browser);
    until_executing(&up, 0);
    up.until("it to be told", || {
        !up.facts("httpsys", "Dropped").is_empty()
    });
    assert_eq!(up.get("/default.aspx").status, 200);
}

#[test]
fn a_body_that_is_too_late_is_cut_by_its_timer() {
    let config = support::config(">").replace(
        "</site>",
        "<limits connectionTimeout=\"00:00:01\" /></site>",
    );
    let up = Up::with_config(Some(&config));
    let mut browser = Browser::connect(up.address("http/"));
    browser.send(&(post(10, "") + "01234")).unwrap();
    assert!(browser.is_over(), "no byte of an answer comes");
    up.until("the line in HTTPERR", || {
        up.httperr().contains("/default.aspx") && up.httperr().contains("Timer_EntityBody")
    });
    until_executing(&up, 0);
}

#[test]
fn a_web_config_limits_the_length_of_requests() {
    let up = Up::start();
    let limits = "<requestLimits maxAllowedContentLength=\"5\" maxQueryString=\"3\" />";
    std::fs::write(
        up.root.join("inetpub/wwwroot/web.config"),
        format!("<configuration><system.webServer><security><requestFiltering>{limits}</requestFiltering></security></system.webServer></configuration>"),
    )
    .unwrap();
    up.until("the web.config", || {
        up.get("/default.aspx?abcd").status == 404
    });
    let mut browser = Browser::connect(up.address("http/"));
    assert_eq!(
        browser.exchange(&(post(5, "") + "01234")).unwrap().status,
        200
    );
    assert_eq!(
        browser.exchange(&(post(6, "") + "012345")).unwrap().status,
        413
    );
    let chunked = "POST /default.aspx HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let within = format!("{chunked}5\r\n01234\r\n0\r\n\r\n");
    assert_eq!(browser.exchange(&within).unwrap().status, 200);
    let above = format!("{chunked}5\r\n01234\r\n1\r\n");
    browser.send(&above).unwrap();
    assert_eq!(
        browser.exchange("5\r\n").unwrap().status,
        413,
        "before it ends"
    );
}
