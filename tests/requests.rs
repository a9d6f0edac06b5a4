//! Requests as they come: hostile ones, static files, pipelining, TLS by a foreign client.

mod support;

use support::{Browser, Up};

#[test]
fn what_is_not_http_gets_the_page_of_http_sys_and_a_closed_connection() {
    let up = Up::start();
    for (bytes, status, length) in [
        ("GET / HTTP/1.1\r\n\r\n", 400, 334),
        ("foo\r\n", 400, 326),
        ("POST / HTTP/1.1\r\nHost: x\r\n\r\n", 411, 344),
        ("GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, 324),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
            400,
            374,
        ),
    ] {
        let mut browser = Browser::connect(up.address("http/"));
        let page = browser.exchange(bytes).unwrap();
        assert_eq!(
            (page.status, page.body.len()),
            (status, length),
            "{bytes:?}"
        );
        assert_eq!(page.header("Server"), Some("Microsoft-HTTPAPI/2.0"));
        assert!(browser.is_over(), "{bytes:?}");
    }
    assert!(up.workers().is_empty(), "none of them reached a queue");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let up = Up::start();
    let mut browser = Browser::connect(up.address("http/"));
    let one = "GET /wait.aspx?time=50 HTTP/1.1\r\nHost: x\r\n\r\n";
    let two = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    browser.send(&format!("{one}{two}")).unwrap();
    assert!(
        browser
            .receive(true)
            .unwrap()
            .header("X-Sim-Worker")
            .is_some()
    );
    assert!(
        browser
            .receive(true)
            .unwrap()
            .text()
            .contains("iis-sim is running")
    );
}

#[test]
fn a_static_file_is_found_without_regard_to_case_and_revalidated() {
    let up = Up::start();
    let page = up.get("/IISSTART.HTM");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("Content-Type"), Some("text/html"));
    let etag = page.header("ETag").unwrap();
    let request = format!("GET /iisstart.htm HTTP/1.1\r\nHost: x\r\nIf-None-Match: {etag}\r\n\r\n");
    let again = Browser::connect(up.address("http/"))
        .exchange(&request)
        .unwrap();
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[test]
fn a_folder_of_the_configuration_is_found_without_regard_to_case() {
    let root = tempfile::tempdir().unwrap();
    let host = "Windows/System32/inetsrv/config/applicationHost.config";
    let host = root.path().join(host);
    let folder = root.path().join("inetpub/wwwroot");
    for folder in [&*folder, host.parent().unwrap()] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let config = support::config(">").replace(r"\inetpub\wwwroot", r"\Inetpub\WWWRoot");
    std::fs::write(host, config).unwrap();
    let up = Up::at(root.path());
    let page = |path: &str| up.get(path).status;
    std::fs::write(folder.join("a.txt"), "a").unwrap();
    assert_eq!(page("/a.txt"), 200);
    let set = [
        "set",
        "config",
        "Default Web Site",
        "/section:caching",
        "/enabled:false",
    ];
    let (code, said) = up.appcmd(&set);
    assert_eq!(code, Some(0), "{said}");
    assert!(folder.join("web.config").exists(), "{said}");
    // It is watched there too.
    std::fs::write(folder.join("web.config"), "<configuration><").unwrap();
    up.until("500.19", || page("/a.txt") == 500);
}

#[test]
fn no_byte_from_outside_the_site_is_served() {
    let up = Up::start();
    let wwwroot = up.root.join("inetpub/wwwroot");
    std::fs::write(up.root.join("inetpub/secret.txt"), "SECRET").unwrap();
    std::fs::write(wwwroot.join("web.config"), "SECRET").unwrap();
    std::os::unix::fs::symlink(up.root.join("inetpub"), wwwroot.join("out")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", wwwroot.join("passwd.txt")).unwrap();
    for path in [
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/..\\secret.txt",
        "/..%5csecret.txt",
        "/x/../../secret.txt",
        "/out/secret.txt",
        "/passwd.txt",
        "/web.config",
    ] {
        let page = up.get(path);
        assert!(
            matches!(page.status, 400 | 403 | 404),
            "{path}: {}",
            page.status
        );
        assert!(
            !page.text().contains("SECRET") && !page.text().contains("root:"),
            "{path}"
        );
    }
}

#[test]
fn a_hot_static_file_is_answered_by_the_kernel_cache_while_its_worker_is_frozen() {
    let up = Up::start();
    let mut browser = Browser::connect(up.address("http/"));
    for _ in 0..4 {
        assert_eq!(browser.get("/iisstart.htm").unwrap().status, 200);
    }
    let worker = up.workers()[0];
    Up::signal("-STOP", worker);
    let page = browser.get("/iisstart.htm").unwrap();
    Up::signal("-CONT", worker);
    assert!(page.text().contains("iis-sim is running"));
}

#[test]
fn curl_speaks_tls_to_it_and_resumes() {
    let config = support::config(">").replace(
        "</bindings>",
        r#"<binding protocol="https" bindingInformation="*:443:" /></bindings>"#,
    );
    let up = Up::with_config(Some(&config));
    let url = format!("https://{}/default.aspx", up.address("https"));
    let output = std::process::Command::new("curl")
        .args(["-sk", "-o", "/dev/null", "-w", "%{http_code} ", &url, &url])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).starts_with("200"),
        "{output:?}"
    );
}

#[test]
fn a_site_of_the_address_that_all_stand_for_wins_there_while_it_runs() {
    let up = Up::start();
    let mut early = Browser::connect(up.address("http/"));
    assert_eq!(early.get("/iisstart.htm").unwrap().status, 200);
    let add = |name: &str, binding: &str| {
        let words = [
            "appcmd",
            "add",
            "site",
            &format!("/name:{name}"),
            &format!("/bindings:http/{binding}"),
            "/physicalPath:C:\\inetpub\\nothing",
        ];
        assert!(up.said(&words).contains("added"), "{binding}");
    };
    add("One", "127.0.0.1:80:");
    add("Named", "127.0.0.1:80:named.example");
    add("Other", "10.0.0.1:80:");
    up.until("all to be started", || {
        up.said(&["appcmd", "list", "site"])
            .matches("state:Started")
            .count()
            == 4
    });
    assert_eq!(early.get("/iisstart.htm").unwrap().status, 404);
    assert_eq!(up.get("/iisstart.htm").status, 404);
    up.said(&["appcmd", "stop", "site", "One"]);
    assert_eq!(early.get("/iisstart.htm").unwrap().status, 200);
    assert_eq!(up.get("/iisstart.htm").status, 200);
    assert!(
        !up.events().contains("\"EventID\":1007,"),
        "{}",
        up.events()
    );
}

#[test]
fn an_application_whose_path_has_a_blank_is_served_and_so_is_its_site() {
    let up = Up::start();
    for path in ["/my app", "/c#", "/50%"] {
        let path = format!("/path:{path}");
        let site = "/site.name:Default Web Site";
        let folder = "/physicalPath:C:\\inetpub\\wwwroot";
        let added = up.said(&["appcmd", "add", "app", site, &path, folder]);
        assert!(added.contains("added"), "{added}");
    }
    up.until("the site to be started", || {
        let sites = up.said(&["appcmd", "list", "site"]);
        sites.contains("state:Started")
    });
    for path in [
        "/",
        "/my%20app/iisstart.htm",
        "/C%23/iisstart.htm",
        "/50%25/",
    ] {
        assert_eq!(up.get(path).status, 200, "{path}");
    }
}

#[test]
fn a_chunk_that_is_none_is_400_whatever_the_page() {
    let up = Up::start();
    let head =
        "POST /wait.aspx?time=2000 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (with_head, later) in [("zz\r\nhello", ""), ("2\r\nhe\r\n", "zz\r\nhello")] {
        let mut browser = Browser::connect(up.address("http/"));
        browser.send(&format!("{head}{with_head}")).unwrap();
        if !later.is_empty() {
            up.until("the request to run", || {
                up.said(&["appcmd", "list", "request"]).contains("wait")
            });
            browser.send(later).unwrap();
        }
        let page = browser.receive(true).unwrap();
        assert_eq!((page.status, page.body.len()), (400, 374), "{later}");
        assert!(browser.is_over());
    }
    up.until("HTTPERR", || {
        up.httperr().matches(" 400 1 Number DefaultAppPool").count() == 2
    });
}

#[test]
fn a_body_that_does_not_come_is_cut_after_the_sites_time_though_the_page_runs() {
    let up = Up::start();
    let limit = "/limits.connectionTimeout:00:00:01";
    up.said(&["appcmd", "set", "site", "Default Web Site", limit]);
    up.get("/");
    let mut browser = Browser::connect(up.address("http/"));
    browser
        .send("POST /wait.aspx?time=20000 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        .unwrap();
    assert!(browser.is_over());
    up.until("HTTPERR", || {
        up.httperr()
            .contains(" - 1 Timer_EntityBody DefaultAppPool")
    });
}

#[test]
fn a_client_that_asks_for_continue_and_does_not_wait_keeps_its_connection() {
    let up = Up::start();
    let mut browser = Browser::connect(up.address("http/"));
    let post =
        "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello";
    let page = browser.exchange(post).unwrap();
    assert_eq!(page.header("Connection"), None);
    assert_eq!(browser.get("/").unwrap().status, 200);
}

#[test]
fn a_version_that_is_not_served_is_in_the_error_log() {
    let up = Up::start();
    for version in ["HTTP/9.9", "HTTP/2.0"] {
        let mut browser = Browser::connect(up.address("http/"));
        let page = browser.exchange(&format!("GET / {version}\r\nHost: x\r\n\r\n"));
        assert_eq!(page.unwrap().status, 505);
        let line = format!(" {version} GET / - - 505 - Version_N/S - TCP");
        up.until("HTTPERR", || up.httperr().contains(&line));
    }
}

#[test]
fn app_offline_htm_takes_an_application_offline_in_the_same_process() {
    let up = Up::start();
    let file = up.root.join("inetpub/wwwroot/App_Offline.htm");
    let mut browser = Browser::connect(up.address("http/"));
    let worker = browser.get("/default.aspx").unwrap().worker();
    std::fs::write(&file, "back soon").unwrap();
    let offline = || up.get("/default.aspx").status == 503;
    up.until("the application to be offline", offline);
    let page = browser.get("/default.aspx").unwrap();
    assert_eq!((page.status, page.worker()), (503, worker));
    assert_eq!(page.text(), "back soon");
    assert_eq!(page.header("Retry-After"), Some("3600"));
    assert_eq!(browser.get("/iisstart.htm").unwrap().status, 200);
    std::fs::remove_file(&file).unwrap();
    let online = || up.get("/default.aspx").status == 200;
    up.until("the application to be back", online);
    assert_eq!(browser.get("/default.aspx").unwrap().worker(), worker);
}

#[test]
fn code_that_changes_restarts_its_application_in_the_same_process() {
    let up = Up::start();
    let root = up.root.join("inetpub/wwwroot");
    let worker = up.get("/default.aspx").worker();
    let restarts = || {
        up.facts(&format!("w3wp-{worker}"), "ApplicationRestarted")
            .len()
    };
    std::fs::create_dir_all(root.join("images/bin")).unwrap();
    std::fs::write(root.join("images/bin/a.dll"), "x").unwrap();
    for (count, file) in [
        (1, "Bin/Shop.dll"),
        (2, "App_Code/a.cs"),
        (3, "global.asax"),
    ] {
        let file = root.join(file);
        let staged = root.join("images/staged");
        std::fs::create_dir_all(&staged).unwrap();
        // All at once, so that it is one change.
        let folder = file.parent().unwrap();
        if folder == root {
            std::fs::write(&file, "x").unwrap();
        } else {
            std::fs::write(staged.join(file.file_name().unwrap()), "x").unwrap();
            std::fs::rename(&staged, folder).unwrap();
        }
        up.until("the application to restart", || restarts() == count);
        assert_eq!(up.get("/default.aspx").worker(), worker);
    }
    std::fs::write(root.join("Bin/Shop.dll"), "another").unwrap();
    up.until("the application to restart", || restarts() == 4);
}

#[test]
fn a_mistake_in_simulation_toml_is_mended_without_another_process() {
    let up = Up::start();
    let worker = up.get("/default.aspx").worker();
    let file = up.root.join("inetpub/wwwroot/simulation.toml");
    let status = |path: &str| up.get(path).status;
    std::fs::write(&file, "[[page]]\npath = \"/new.aspx\"\nwaits = \"1ms\"\n").unwrap();
    up.until("the mistake to be told", || status("/new.aspx") == 500);
    assert!(up.get("/new.aspx").text().contains("unknown field `waits`"));
    std::fs::write(&file, "[[page]]\npath = \"/new.aspx\"\nwait = \"1ms\"\n").unwrap();
    up.until("the page to be there", || status("/new.aspx") == 200);
    assert_eq!(up.get("/new.aspx").worker(), worker);
}

#[test]
fn a_handler_that_gives_up_closes_the_connection_after_what_it_has_sent() {
    let up = Up::start();
    let mut reset = Browser::connect(up.address("http/"));
    assert!(reset.get("/reset.aspx").is_err(), "no status");
    let mut cut = Browser::connect(up.address("http/"));
    let begun = cut.get("/cut.aspx").unwrap();
    assert_eq!(begun.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(cut.rest(), b"5\r\nbegun\r\n", "and not the last chunk");
    assert_eq!(up.get("/default.aspx").status, 200);
}

#[test]
fn a_site_that_wants_no_server_named_gets_none_and_a_denied_query_is_refused() {
    let up = Up::start();
    let named = |path: &str| up.get(path).header("Server").map(str::to_owned);
    assert_eq!(named("/").as_deref(), Some("Microsoft-IIS/10.0"));
    let section = "/section:requestFiltering";
    for change in [
        "/removeServerHeader:true",
        "/+denyQueryStringSequences.[sequence='drop']",
        "/+filteringRules.[name='R',scanQueryString='true']",
        "/+filteringRules.[name='R'].denyStrings.[string='evil']",
    ] {
        up.said(&["appcmd", "set", "config", section, change]);
    }
    up.until("the worker goes by it", || named("/").is_none());
    // From the driver's cache, too.
    for _ in 0..4 {
        assert_eq!((up.get("/").status, named("/")), (200, None));
    }
    assert_eq!((up.get("/nope").status, named("/nope")), (404, None));
    for (query, sentence) in [
        ("?q=Drop", "a sequence in the query string"),
        ("?q=EVIL", "because of a filtering rule"),
    ] {
        let page = up.get(&format!("/default.aspx{query}"));
        assert_eq!(page.status, 404);
        assert!(page.text().contains(sentence), "{}", page.text());
    }
    assert_eq!(up.get("/default.aspx?q=good").status, 200);
}
