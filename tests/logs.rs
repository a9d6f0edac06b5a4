//! Which requests a site logs, where, and in which format.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails when something is not as it should be"
)]

mod support;

use support::{Browser, Up, config, config_of_two};

/// The text of the files in a folder of logs, and the name of the last.
fn log(up: &Up, folder: &str) -> (String, String) {
    let folder = up.root.join("inetpub/logs/LogFiles").join(folder);
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let (mut text, mut name) = (String::new(), String::new());
    for file in files {
        text += &std::fs::read_to_string(file.path()).unwrap();
        name = file.file_name().into_string().unwrap();
    }
    (text, name)
}

fn with(config: &str, log: &str, section: &str) -> String {
    let config = config.replace(
        "</sites>",
        &format!("<siteDefaults><logFile {log}</logFile></siteDefaults></sites>"),
    );
    config.replace(
        "</system.applicationHost>",
        &format!("{section}</system.applicationHost>"),
    )
}

#[test]
fn an_ncsa_log_changes_to_an_iis_log_while_the_site_runs() {
    let up = Up::with_config(Some(&with(&config(">"), "logFormat=\"NCSA\">", "")));
    up.get("/default.aspx?a=1");
    up.until("an NCSA line", || {
        log(&up, "W3SVC1")
            .0
            .contains("\"GET /default.aspx?a=1 HTTP/1.1\" 200 ")
    });
    let (text, name) = log(&up, "W3SVC1");
    assert!(
        name.starts_with("u_nc") && text.starts_with("127.0.0.1 - - ["),
        "{name}: {text}"
    );
    let pids = up.workers();
    let (code, said) = up.appcmd(&["set", "site", "Default Web Site", "/logFile.logFormat:IIS"]);
    assert_eq!(code, Some(0), "{said}");
    up.get("/default.aspx?b=2");
    up.until("an IIS line", || {
        log(&up, "W3SVC1")
            .0
            .contains(", GET, /default.aspx, b=2,\r\n")
    });
    assert_eq!(up.workers(), pids, "nothing is recycled");
    assert!(
        !log(&up, "W3SVC1").0.contains('#'),
        "neither has directives"
    );
}

#[test]
fn a_header_of_the_request_is_a_column_of_its_own() {
    let custom = "><customFields><add logFieldName=\"X-Forwarded-For\" sourceName=\"X-Forwarded-For\" \
                  sourceType=\"RequestHeader\" /></customFields>";
    let up = Up::with_config(Some(&with(&config(">"), custom, "")));
    let mut browser = Browser::connect(up.address("http/"));
    let head = "GET /default.aspx HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.0.0.77\r\n\r\n";
    assert_eq!(browser.exchange(head).unwrap().status, 200);
    up.until("its column", || {
        log(&up, "W3SVC1").0.contains(" 10.0.0.77\r\n")
    });
    let (text, name) = log(&up, "W3SVC1");
    assert!(name.ends_with("_x.log"), "{name}");
    assert!(text.contains(" time-taken X-Forwarded-For\r\n"), "{text}");
}

#[test]
fn all_sites_have_one_log_from_the_next_start_of_w3svc_on() {
    let up = Up::with_config(Some(&with(&config_of_two(">"), ">", "")));
    let (code, said) = up.appcmd(&[
        "set",
        "config",
        "/section:log",
        "/centralLogFileMode:CentralW3C",
    ]);
    assert_eq!(code, Some(0), "{said}");
    up.get("/?early");
    up.until("a line of its own", || {
        log(&up, "W3SVC1").0.contains(" / early ")
    });
    assert_eq!(log(&up, "W3SVC").0, "");
    up.said(&["iisreset"]);
    up.get("/?late");
    Browser::connect(up.address("http/*:81"))
        .get("/?second")
        .unwrap();
    up.until("both lines", || {
        let text = log(&up, "W3SVC").0;
        text.contains(" W3SVC1 ") && text.contains(" W3SVC2 ")
    });
    assert!(!log(&up, "W3SVC1").0.contains("late"));
}

#[test]
fn requests_that_are_not_to_be_logged_are_not() {
    let up = Up::with_config(Some(&config(">")));
    let set = |value: &str| {
        let value = format!("/{value}");
        let words = [
            "set",
            "config",
            "Default Web Site",
            "/section:httpLogging",
            &value,
            "/commit:apphost",
        ];
        let (code, said) = up.appcmd(&words);
        assert_eq!(code, Some(0), "{said}");
    };
    set("selectiveLogging:LogError");
    up.until("that it goes by it", || {
        up.get("/default.aspx");
        up.get("/nothing.htm");
        let text = log(&up, "W3SVC1").0;
        text.rmatches(" 404 ").count() > 1
            && text
                .lines()
                .next_back()
                .is_some_and(|line| line.contains(" 404 "))
    });
    set("dontLog:true");
    // A line is kept back for a second at most; the error log gets one later than what came before it.
    let lines = || log(&up, "W3SVC1").0.lines().count();
    up.until("that nothing is logged", || {
        let (before, refused) = (lines(), up.httperr().lines().count());
        up.get("/nothing.htm");
        up.get("/%zz");
        up.until("what is refused in the error log", || {
            up.httperr().lines().count() > refused
        });
        lines() == before
    });
}
