//! Counters from outside: typeperf and /metrics tell what clients have met.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test waits for real processes and ends when something is not as it should be"
)]

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Browser, Up};

struct Server {
    up: Up,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let words = ["--metrics", "127.0.0.1:0"].map(str::to_owned);
        let up = Up::with_words(&folder.path().join("root"), &words);
        Self { up, folder }
    }

    fn metrics_at(&self) -> SocketAddr {
        let url = self.up.ready["metrics"].as_str().unwrap();
        let address = url.strip_prefix("http://").unwrap();
        address.strip_suffix("/metrics").unwrap().parse().unwrap()
    }

    fn metrics(&self) -> String {
        let mut browser = Browser::connect(self.metrics_at());
        let page = browser.get("/metrics").unwrap();
        assert_eq!(page.status, 200);
        assert!(
            page.header("Content-Type")
                .unwrap()
                .starts_with("text/plain; version=0.0.4")
        );
        page.text()
    }
}

/// The sum over the samples of a family whose labels hold all of these.
fn sum(page: &str, family: &str, labels: &[&str]) -> f64 {
    let sample = |line: &&str| {
        line.strip_prefix(family)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    page.lines().filter(sample).map(value).sum()
}

fn is(value: f64, expected: f64) -> bool {
    (value - expected).abs() < 0.5
}

#[test]
fn typeperf_prints_a_counter_in_the_format_of_the_real_tool() {
    let up = Up::start();
    up.get("/default.aspx");
    let said = up.said(&[
        "typeperf",
        r"\APP_POOL_WAS(DefaultAppPool)\Current Worker Processes",
        r"\APP_POOL_WAS(DefaultAppPool)\Total Worker Processes Created",
        "-sc",
        "2",
    ]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "");
    assert!(lines[1].starts_with("\"(PDH-CSV 4.0)\",\"\\\\"), "{said}");
    assert!(
        lines[1].contains(r#"\APP_POOL_WAS(DefaultAppPool)\Current Worker Processes",""#),
        "{said}"
    );
    for line in &lines[2..4] {
        assert!(line.ends_with(r#"","1.000000","1.000000""#), "{said}");
    }
    assert!(said.ends_with("\nExiting, please wait...\nThe command completed successfully.\n"));
    let listed = up.said(&["typeperf", "-q"]);
    for object in [
        "APP_POOL_WAS(*)",
        "W3SVC_W3WP(*)",
        "WAS_W3WP(*)",
        "Web Service(*)",
        "Web Service Cache",
        "HTTP Service",
        "HTTP Service Request Queues(*)",
    ] {
        assert!(listed.contains(&format!("\\{object}\\")), "{object}");
    }
    let wrong = up.tool(&[
        "typeperf",
        r"\Processor(_Total)\% Processor Time",
        "-sc",
        "1",
    ]);
    assert!(!wrong.status.success());
}

#[test]
fn after_a_load_the_counters_agree_with_each_other_and_with_the_clients_book() {
    let server = Server::start();
    let up = &server.up;
    let mut browser = Browser::connect(up.address("http/"));
    let (mut sent, mut not_found) = (0.0, 0.0);
    for round in 0..40 {
        let path = match round % 4 {
            0 => "/default.aspx",
            1 => "/iisstart.htm",
            2 => "/session.aspx",
            _ => "/nothing.htm",
        };
        let page = browser.get(path).unwrap();
        sent += 1.0;
        not_found += if page.status == 404 { 1.0 } else { 0.0 };
    }
    let post = "POST /default.aspx HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    browser.exchange(post).unwrap();
    assert!(is(not_found, 10.0));
    // The last answer is counted when its last byte has been handed to the kernel.
    let total = || sum(&server.metrics(), "windows_iis_requests_total", &[]);
    up.until("all answers to be counted", || is(total(), sent + 1.0));
    let page = server.metrics();
    let site = r#"site="Default Web Site""#;
    let read = |family: &str, labels: &[&str]| sum(&page, family, labels);
    assert!(is(
        read("windows_iis_requests_total", &[site, r#"method="GET""#]),
        sent
    ));
    assert!(is(
        read("windows_iis_requests_total", &[site, r#"method="POST""#]),
        1.0
    ));
    assert!(is(
        read("windows_iis_not_found_errors_total", &[site]),
        not_found
    ));
    let by_workers = read(
        "windows_iis_worker_requests_total",
        &[r#"app="DefaultAppPool""#],
    );
    let hits = read(
        "windows_iis_server_uri_cache_hits_total",
        &[r#"mode="kernel""#],
    );
    assert!(is(by_workers + hits, sent + 1.0), "{by_workers} + {hits}");
    assert!(hits > 0.0, "a hot file is kept by the driver");
    let files = read("windows_iis_files_sent_total", &[site]);
    assert!(is(files + hits, 10.0), "ten times a file: {files} + {hits}");
    assert!(is(read("windows_iis_files_received_total", &[site]), 0.0));
    assert!(is(
        read("windows_iis_logon_attempts_total", &[site]),
        by_workers
    ));
    assert!(is(read("windows_iis_current_connections", &[site]), 1.0));
    assert!(is(
        read(
            "windows_iis_worker_request_errors_total",
            &[r#"status_code="404""#]
        ),
        not_found
    ));
    assert!(is(
        read("windows_iis_total_worker_processes_created", &[]),
        1.0
    ));
    let (lines, bytes) = answered(up);
    assert!(
        is(read("windows_iis_sent_bytes_total", &[site]), bytes),
        "{bytes}"
    );
    assert!(is(lines, sent + 1.0));
    drop(browser);
    let open = || sum(&server.metrics(), "windows_iis_current_connections", &[]);
    up.until("the connection to be gone", || is(open(), 0.0));
}

/// Answers in the book of the driver's facts, and the bytes that they had.
fn answered(up: &Up) -> (f64, f64) {
    let trace = std::fs::read_to_string(up.root.join("trace/httpsys.jsonl")).unwrap();
    let (mut lines, mut bytes) = (0.0, 0.0);
    for line in trace.lines() {
        let fact: serde_json::Value = serde_json::from_str(line).unwrap();
        for kind in ["SendComplete", "SrvdFrmCache"] {
            if let Some(sent) = fact["fact"][kind]["bytes"].as_f64() {
                lines += 1.0;
                bytes += sent;
            }
        }
    }
    (lines, bytes)
}

#[test]
fn totals_over_all_workers_do_not_fall_when_workers_exit_or_their_pool_is_deleted() {
    let server = Server::start();
    let up = &server.up;
    std::fs::write(up.root.join("inetpub/wwwroot/a.txt"), "a").unwrap();
    up.said(&["appcmd", "add", "apppool", "/name:Shop"]);
    let site = [
        "appcmd",
        "add",
        "app",
        "/site.name:Default Web Site",
        "/path:/shop",
    ];
    let folder = [
        "/physicalPath:C:\\inetpub\\wwwroot",
        "/applicationPool:Shop",
    ];
    up.said(&[&site[..], &folder[..]].concat());
    up.until("the new application", || {
        up.get("/shop/a.txt").status == 200
    });
    for number in 0..10 {
        assert_eq!(up.get(&format!("/a.txt?{number}")).status, 200);
        assert_eq!(up.get(&format!("/shop/a.txt?{number}")).status, 200);
    }
    let totals = || {
        let page = server.metrics();
        ["hits", "queries", "items"].map(|of| {
            let family = format!("windows_iis_server_file_cache_{of}_total");
            sum(&page, &family, &[])
        })
    };
    let grown = |before: [f64; 3]| {
        let now = totals();
        let falls = now.iter().zip(before).any(|(now, before)| *now < before);
        assert!(!falls, "{before:?} became {now:?}");
        now
    };
    let before = std::cell::Cell::new(totals());
    let goes_on = || before.set(grown(before.get()));
    assert!(before.get()[0] >= 2.0, "{before:?}");
    let old = up.workers();
    up.said(&["appcmd", "recycle", "apppool", "DefaultAppPool"]);
    up.until("a recycle", || {
        goes_on();
        let now = up.workers();
        now.len() == 2 && now != old
    });
    Up::signal("-KILL", up.get("/default.aspx").worker());
    up.until("one worker less", || {
        goes_on();
        up.workers().len() == 1
    });
    up.said(&[
        "appcmd",
        "set",
        "app",
        "Default Web Site/shop",
        "/applicationPool:DefaultAppPool",
    ]);
    up.said(&["appcmd", "delete", "apppool", "Shop"]);
    up.until("no worker", || {
        goes_on();
        up.workers().is_empty()
    });
    goes_on();
}

#[test]
fn a_recycle_and_an_iisreset_show_in_the_counters() {
    let server = Server::start();
    let up = &server.up;
    up.get("/default.aspx");
    up.said(&["appcmd", "recycle", "apppool", "DefaultAppPool"]);
    let app = [r#"app="DefaultAppPool""#];
    let recycles = || {
        let page = server.metrics();
        sum(&page, "windows_iis_total_application_pool_recycles", &app)
    };
    up.until("the recycle to be counted", || is(recycles(), 1.0));
    let running = [app[0], r#"state="Running""#];
    let page = server.metrics();
    assert!(is(
        sum(
            &page,
            "windows_iis_current_application_pool_state",
            &running
        ),
        1.0
    ));
    up.said(&["appcmd", "stop", "apppool", "DefaultAppPool"]);
    let page = server.metrics();
    let disabled = [app[0], r#"state="Disabled""#];
    assert!(is(
        sum(
            &page,
            "windows_iis_current_application_pool_state",
            &disabled
        ),
        1.0
    ));
    assert!(is(
        sum(&page, "windows_iis_total_worker_processes_created", &app),
        2.0
    ));
    up.said(&["iisreset"]);
    let page = server.metrics();
    assert!(is(
        sum(&page, "windows_iis_total_worker_processes_created", &app),
        0.0
    ));
    let w3svc = [r#"name="w3svc""#, r#"state="running""#];
    assert!(is(sum(&page, "windows_service_state", &w3svc), 1.0));
}

/// What is counted since the services were started.
fn since_the_start(page: &str) -> f64 {
    let families = [
        "windows_iis_requests_total",
        "windows_iis_sent_bytes_total",
        "windows_iis_http_requests_arrival_rate",
    ];
    families.iter().map(|family| sum(page, family, &[])).sum()
}

#[test]
fn the_counters_of_queues_and_sites_begin_anew_with_the_services() {
    let server = Server::start();
    let up = &server.up;
    let answers = || sum(&server.metrics(), "windows_iis_requests_total", &[]);
    let asked = |count: f64| {
        up.get("/default.aspx");
        up.until("the answer to be counted", || is(answers(), count));
    };
    asked(1.0);
    up.said(&["appcmd", "stop", "site", "Default Web Site"]);
    up.said(&["appcmd", "start", "site", "Default Web Site"]);
    asked(2.0);
    up.said(&["iisreset"]);
    assert!(is(since_the_start(&server.metrics()), 0.0));
    asked(1.0);
    Up::signal("-KILL", up.pids()[2]);
    up.until("the services to run again", || {
        let running = [r#"name="w3svc""#, r#"state="running""#];
        let page = server.metrics();
        is(sum(&page, "windows_service_state", &running), 1.0) && is(since_the_start(&page), 0.0)
    });
    asked(1.0);
    up.said(&["net", "stop", "was", "/y"]);
    assert!(is(since_the_start(&server.metrics()), 0.0));
}

#[test]
fn the_start_time_of_a_pool_that_runs_does_not_change() {
    let server = Server::start();
    let times = || -> Vec<String> {
        let page = server.metrics();
        let is_time = |line: &&str| line.contains("application_pool_start_time{");
        page.lines().filter(is_time).map(str::to_owned).collect()
    };
    let first = times();
    assert_eq!(first.len(), 2, "{first:?}");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1_300) {
        assert_eq!(times(), first);
    }
}

#[test]
fn a_was_that_stands_still_is_told_by_the_page_and_not_by_a_scrape_that_never_ends() {
    let server = Server::start();
    let was = server.up.pids()[2];
    Up::signal("-STOP", was);
    let page = server.metrics();
    assert!(
        page.contains("windows_exporter_collector_success{collector=\"iis\"} 0\n"),
        "{page}"
    );
    Up::signal("-CONT", was);
    server.up.until("WAS to answer again", || {
        server
            .metrics()
            .contains("windows_exporter_collector_success{collector=\"iis\"} 1\n")
    });
}

#[test]
fn metrics_are_for_this_machine_alone() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Command::new(support::IIS_SIM)
        .args([
            "up",
            "--port-map",
            "*:0",
            "--metrics",
            "0.0.0.0:0",
            "--root",
        ])
        .arg(folder.path().join("root"))
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("loopback"), "{said}");
}

// ---- real Prometheus ----------------------------------------------------------------------------

/// Where a program of Prometheus is, if it is installed.
fn installed(program: &str) -> Option<PathBuf> {
    let path = Path::new("/usr/bin").join(program);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {program} is not installed (apt-get install prometheus)");
    None
}

#[test]
fn promtool_has_nothing_to_say_but_that_the_exporters_own_names_lack_total() {
    let Some(promtool) = installed("promtool") else {
        return;
    };
    let server = Server::start();
    server.up.get("/default.aspx");
    let file = server.folder.path().join("metrics.txt");
    std::fs::write(&file, server.metrics()).unwrap();
    let check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned()
        + &String::from_utf8_lossy(&check.stdout);
    // The names are windows_exporter's: a counter without _total, a gauge or a unit in the middle.
    let is_name = |line: &str| {
        line.is_empty()
            || line.contains("counter metrics should have \"_total\" suffix")
            || line.contains("non-counter metrics should not have \"_total\" suffix")
    };
    let others: Vec<&str> = said.lines().filter(|line| !is_name(line)).collect();
    assert!(others.is_empty(), "{others:#?}");
}

/// A Prometheus that ends with the test.
struct Prometheus {
    child: Child,
    at: SocketAddr,
}

impl Prometheus {
    fn start(program: &Path, folder: &Path, target: SocketAddr) -> Self {
        let config = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: iis\n    static_configs:\n      - targets: ['{target}']\n"
        );
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let at = free_port();
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={at}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, at }
    }

    /// The value of a query, once there is one.
    fn query(&self, query: &str) -> f64 {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            if let Some(value) = self.ask(query) {
                return value;
            }
            assert!(Instant::now() < deadline, "no answer to {query}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn ask(&self, query: &str) -> Option<f64> {
        let output = Command::new("curl")
            .args(["-s", "-G", "--data-urlencode"])
            .arg(format!("query={query}"))
            .arg(format!("http://{}/api/v1/query", self.at))
            .output()
            .ok()?;
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let value = &answer["data"]["result"][0]["value"][1];
        value.as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listens on: Prometheus cannot be told to choose one and say which.
fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn a_real_prometheus_scrapes_what_dashboards_ask_for() {
    let Some(program) = installed("prometheus") else {
        return;
    };
    let server = Server::start();
    for _ in 0..5 {
        server.up.get("/default.aspx");
    }
    let prometheus = Prometheus::start(&program, server.folder.path(), server.metrics_at());
    assert!(is(prometheus.query("up{job=\"iis\"} == 1"), 1.0));
    let asked = [
        ("sum(windows_iis_requests_total{method=\"GET\"})", 5.0),
        (
            "windows_iis_current_application_pool_state{app=\"DefaultAppPool\",state=\"Running\"}",
            1.0,
        ),
        ("sum(windows_iis_worker_requests_total) by (app)", 5.0),
        (
            "windows_iis_http_requests_current_queue_size{site=\"DefaultAppPool\"}",
            0.0,
        ),
        ("windows_service_state{name=\"was\",state=\"running\"}", 1.0),
        (
            "count(count by (__name__)({__name__=~\"windows_iis_.+\"}))",
            104.0,
        ),
    ];
    for (query, expected) in asked {
        let value = prometheus.query(query);
        assert!(is(value, expected), "{query}: {value}");
    }
}
