//! The fault matrix, live, where it is a worker that fails: killed, crashed, stopped, deaf, mute, slow, never
//! ready, crashing at its start. The clients' book decides what was lost.
//!
//! For figures: see `support::figures`.

#![expect(
    clippy::unwrap_used,
    reason = "a test waits for real processes and ends when something is not as it should be"
)]

mod support;

use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::crowd::Crowd;
use support::figures::{Runs, ms, now, signal};
use support::{Browser, Response, Up, config_of_two, is_alive};

const MS: Duration = Duration::from_millis(1);

#[expect(
    clippy::disallowed_methods,
    reason = "what is tested is that time has passed"
)]
fn sleep_until(due: u64) {
    std::thread::sleep(Duration::from_nanos(due.saturating_sub(now())));
}

fn ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap()
}

/// The first fact about a worker of which this is true: when, and which worker.
fn fact_of(up: &Up, kind: &str, wanted: impl Fn(u64, &Value) -> bool) -> Option<(u64, u32)> {
    up.facts("was", kind).into_iter().find_map(|(at, fact)| {
        let pid = u32::try_from(fact["process"].as_u64()?).unwrap();
        wanted(at, &fact).then_some((at, pid))
    })
}

/// When WAS noticed that a worker has ended.
fn exit_of(up: &Up, worker: u32) -> Option<u64> {
    let is_it = |_, fact: &Value| fact["process"] == worker;
    fact_of(up, "WorkerExited", is_it).map(|(at, _)| at)
}

/// The moments of an event of the log, from the trace.
fn events(up: &Up, id: u16) -> Vec<u64> {
    let events = up.facts("was", "Event").into_iter();
    let of_id = events.filter(|(_, event)| event["id"] == id);
    of_id.map(|(at, _)| at).collect()
}

/// Waits for what a look finds.
fn seen<T>(up: &Up, what: &str, look: impl Fn() -> Option<T>) -> T {
    let found = std::cell::RefCell::new(None);
    up.until(what, || {
        *found.borrow_mut() = look();
        found.borrow().is_some()
    });
    found.into_inner().unwrap()
}

/// Requests that died with these workers, as the driver tells it.
fn abandoned(up: &Up, workers: &[u32]) -> u64 {
    let ends = up.facts("httpsys", "ProcessDetach");
    let of = |(_, gone): &(u64, Value)| {
        let pid = gone["process"].as_u64()?;
        let is_it = workers.iter().any(|worker| u64::from(*worker) == pid);
        is_it.then(|| gone["abandoned"].as_u64().unwrap())
    };
    ends.iter().filter_map(of).sum()
}

/// One request from a thread of its own: what came of it, and when.
fn ask(up: &Up, path: &'static str) -> JoinHandle<(Option<Response>, u64)> {
    let address = up.address("http/");
    std::thread::spawn(move || {
        let answer = Browser::connect(address).get(path).ok();
        (answer, now())
    })
}

/// One pool with these environment variables.
fn peculiar(attributes: &str, variables: &[(&str, &str)]) -> Up {
    let variables: Vec<String> = variables
        .iter()
        .map(|(name, value)| format!(r#"<add name="IIS_SIM_{name}" value="{value}" />"#))
        .collect();
    let variables = variables.concat();
    Up::with_pool(&format!(
        "{attributes}<environmentVariables>{variables}</environmentVariables>"
    ))
}

const NO_RAPID_FAIL: &str = r#"><failure rapidFailProtection="false" />"#;

/// Rows 1 and 2: a worker dies under load, again and again, each time of so many more requests.
fn dies(row: &str, own: u64, die: impl Fn(&Up, u32) -> u64) -> (Up, Vec<u32>) {
    let runs = Runs::or(5);
    let up = Up::with_pool(NO_RAPID_FAIL);
    let mut idle = Browser::connect(up.address("http/"));
    idle.get("/default.aspx").unwrap();
    let crowd = Crowd::at(up.address("http/"), "/wait.aspx?time=3", (6, 2));
    let (mut dead, mut detected, mut replaced) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs.count {
        crowd.until_answered(&up, 40);
        let worker = *up.workers().first().unwrap();
        let killed = die(&up, worker);
        let exit = seen(&up, "the death to be noticed", || exit_of(&up, worker));
        let (ready, _) = seen(&up, "a replacement", || {
            fact_of(&up, "WorkerReady", |at, _| at > exit)
        });
        dead.push(worker);
        detected.push(exit - killed);
        replaced.push(ready - killed);
    }
    crowd.until_answered(&up, 40);
    let (_, failures) = crowd.leave();
    assert!(
        failures
            .iter()
            .all(|failure| !failure.starts_with("status")),
        "no 503: {failures:?}"
    );
    let lost = u64::try_from(failures.len()).unwrap();
    let deaths = u64::try_from(dead.len()).unwrap();
    assert!(lost > 0, "a load that was not in flight shows nothing");
    assert_eq!(
        lost + own * deaths,
        abandoned(&up, &dead),
        "exactly what was in flight"
    );
    assert_eq!(idle.get("/default.aspx").unwrap().status, 200);
    runs.close(&format!("{row}, detected"), detected, (MS, 20 * MS));
    runs.close(&format!("{row}, replaced"), replaced, (20 * MS, 100 * MS));
    (up, dead)
}

#[test]
fn row_1_a_worker_is_killed() {
    let (up, dead) = dies("row 1", 0, |_, worker| signal(worker, Signal::KILL));
    assert_eq!(
        events(&up, 5011).len() + events(&up, 5009).len(),
        dead.len()
    );
}

#[test]
fn the_first_segmentation_fault_or_bus_error_that_is_sent_kills_a_worker() {
    for fault in [Signal::SEGV, Signal::BUS] {
        let up = Up::start();
        let worker = up.get("/default.aspx").worker();
        signal(worker, fault);
        up.until("the worker to die", || !is_alive(worker));
    }
}

#[test]
fn row_2_a_worker_crashes() {
    let (up, dead) = dies("row 2", 1, |up, _| {
        let moment = now();
        let mut browser = Browser::connect(up.address("http/"));
        assert!(browser.get("/crash.aspx").is_err());
        moment
    });
    let log = up.events();
    let told = log.matches("The process exit code was '0xc0000005'.");
    assert_eq!(told.count(), dead.len(), "{log}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", up.workers()[0])).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core"));
    assert!(core.unwrap().contains(" 0 "), "no core: {core:?}");
}

const PINGS: &str =
    r#" queueLength="10"><processModel pingInterval="00:00:01" pingResponseTime="00:00:01" />"#;

/// Sends requests on connections of their own until one is refused with 503: those that were sent before it.
/// Not every one is looked at, so that it takes no time: among the last of them may be refused ones.
fn fill(up: &Up) -> Vec<Browser> {
    let mut waiting: Vec<Browser> = Vec::new();
    for sent in 1..8_000 {
        let mut browser = Browser::connect(up.address("http/"));
        browser
            .send("GET /default.aspx HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        if sent % 10 == 0 {
            browser.patience(Duration::from_millis(2));
            if let Ok(refusal) = browser.receive(true) {
                assert_eq!(refusal.status, 503);
                return waiting;
            }
        }
        waiting.push(browser);
    }
    panic!("the queue is never full");
}

/// The 99th percentile of what a page of the second site takes, in nanoseconds.
fn p99_of_the_other_pool(up: &Up) -> u64 {
    let mut browser = Browser::connect(up.address("http/*:81:"));
    let mut took: Vec<u64> = (0..100)
        .map(|_| {
            let before = now();
            let page = browser.get("/wait.aspx?time=5").unwrap();
            assert_eq!(page.status, 200);
            now() - before
        })
        .collect();
    took.sort_unstable();
    took[98]
}

#[test]
fn row_3_a_stopped_worker_is_found_by_its_ping() {
    let runs = Runs::or(1);
    let pool = format!(r#"{PINGS}<failure rapidFailProtection="false" />"#);
    let up = Up::with_config(Some(&config_of_two(&pool)));
    let others = Crowd::at(up.address("http/*:81:"), "/wait.aspx?time=5", (1, 1));
    let (mut late, mut slower) = (Vec::new(), Vec::new());
    for _ in 0..runs.count {
        let worker = up.get("/default.aspx").worker();
        let usual = p99_of_the_other_pool(&up);
        let stopped = signal(worker, Signal::STOP);
        let waiting = fill(&up);
        slower.push(p99_of_the_other_pool(&up).saturating_sub(usual + usual / 5));
        let (killed, _) = seen(&up, "the kill", || {
            fact_of(&up, "WorkerKilled", |_, fact| fact["process"] == worker)
        });
        let after = killed - stopped;
        assert!(after >= ms(995), "not before pingResponseTime: {after}");
        late.push(after.saturating_sub(ms(2000)));
        let mut lost = 0;
        for mut browser in waiting {
            browser.patience(Duration::from_secs(20));
            match browser.receive(true) {
                Ok(page) if page.status == 503 => {}
                Ok(page) => assert_eq!((page.status, page.worker() == worker), (200, false)),
                Err(_) => lost += 1,
            }
        }
        assert_eq!(lost, abandoned(&up, &[worker]), "what it had been given");
    }
    let (answered, failures) = others.leave();
    assert_eq!(
        failures,
        Vec::<String>::new(),
        "of {answered} in the other pool"
    );
    assert!(up.httperr().contains("503 1 QueueFull DefaultAppPool"));
    assert_eq!(events(&up, 5010).len(), runs.count);
    runs.close("row 3, later than both limits", late, (50 * MS, 50 * MS));
    let what = "row 3, other pool's p99 beyond 1.2 times the usual";
    runs.close(what, slower, (Duration::ZERO, MS));
}

#[test]
fn row_4_a_worker_that_fails_its_pings_is_orphaned_where_that_is_asked_for() {
    let runs = Runs::or(1);
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("orphans with blanks");
    let attributes = format!(
        r#"><processModel pingInterval="00:00:01" pingResponseTime="00:00:01" />
           <failure rapidFailProtection="false" orphanWorkerProcess="true" orphanActionExe="/usr/bin/touch" orphanActionParams="&quot;{}.%1%&quot;" />"#,
        mark.display()
    );
    let up = peculiar(&attributes, &[("PINGS", "ignore")]);
    let (mut late, mut orphans) = (Vec::new(), Vec::new());
    for _ in 0..runs.count {
        let worker = up.get("/default.aspx").worker();
        let (ready, _) = seen(&up, "its start", || {
            fact_of(&up, "WorkerReady", |_, fact| fact["process"] == worker)
        });
        let (orphaned, _) = seen(&up, "the orphan", || {
            fact_of(&up, "WorkerOrphaned", |_, fact| fact["process"] == worker)
        });
        late.push((orphaned - ready).saturating_sub(ms(2000)));
        assert!(is_alive(worker), "to be looked at with a debugger");
        let next = up.get("/default.aspx");
        assert_eq!((next.status, next.worker() == worker), (200, false));
        orphans.push(worker);
        let mark = format!("{}.{worker}", mark.display());
        up.until("the action", || std::path::Path::new(&mark).exists());
    }
    runs.close("row 4, later than both limits", late, (50 * MS, 50 * MS));
    up.end("-INT");
    assert!(orphans.iter().all(|orphan| !is_alive(*orphan)));
}

#[test]
fn row_5_nobody_but_a_metric_notices_a_worker_that_answers_its_pings_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("applicationHost.config");
    let pool = format!(
        r#"{PINGS}<environmentVariables><add name="IIS_SIM_REQUESTS" value="ignore" /></environmentVariables>"#
    );
    std::fs::write(&path, support::config(&pool)).unwrap();
    let words = [
        "--metrics",
        "127.0.0.1:0",
        "--config",
        path.to_str().unwrap(),
    ];
    let up = Up::with_words(&folder.path().join("root"), &words.map(str::to_owned));
    let begun = now();
    let _first = ask(&up, "/default.aspx");
    let url = up.ready["metrics"].as_str().unwrap();
    let address = url
        .strip_prefix("http://")
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let age = || {
        let mut browser = Browser::connect(address.parse().unwrap());
        let page = browser.get("/metrics").unwrap().text();
        let name = "iis_sim_oldest_delivered_request_age_seconds{app=\"DefaultAppPool\"} ";
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse::<f64>().unwrap()
    };
    // As long as the ping's interval and its limit together, and then some.
    up.until("the metric to tell", || age() >= 3.0);
    let waited = Duration::from_nanos(now() - begun);
    assert!(waited >= Duration::from_secs(3), "it does not exaggerate");
    Runs::or(1).close(
        "row 5, an age of 3 s is told after",
        vec![now() - begun],
        (5_000 * MS, 5_000 * MS),
    );
    let _waiting = fill(&up);
    let full = || up.httperr().contains("503 1 QueueFull DefaultAppPool");
    up.until("the line in HTTPERR", full);
    assert_eq!(events(&up, 5010), Vec::<u64>::new(), "WAS sees nothing");
}

#[test]
fn row_6_requests_wait_for_a_slow_start_and_none_is_lost() {
    let runs = Runs::or(1);
    let up = peculiar(NO_RAPID_FAIL, &[("START_WAIT", "2s")]);
    let mut late = Vec::new();
    for _ in 0..runs.count {
        let waiting: Vec<_> = (0..20).map(|_| ask(&up, "/default.aspx")).collect();
        let answers: Vec<_> = waiting.into_iter().map(|w| w.join().unwrap()).collect();
        let statuses: Vec<u16> = answers
            .iter()
            .flat_map(|(a, _)| a)
            .map(|a| a.status)
            .collect();
        assert_eq!(statuses, vec![200; 20], "nothing is lost");
        let worker = answers[0].0.as_ref().unwrap().worker();
        let (spawned, _) = seen(&up, "its start", || {
            fact_of(&up, "WorkerSpawned", |_, fact| fact["process"] == worker)
        });
        let first = answers.iter().map(|(_, at)| *at).min().unwrap() - spawned;
        assert!(
            first >= ms(2000),
            "nobody is served by a worker that starts"
        );
        late.push(first - ms(2000));
        // While its successor starts, a recycled worker serves.
        up.said(&["appcmd", "recycle", "apppool", "DefaultAppPool"]);
        let page = up.get("/default.aspx");
        assert_eq!((page.status, page.worker()), (200, worker));
        seen(&up, "the successor", || exit_of(&up, worker));
        let successor = up.get("/default.aspx").worker();
        signal(successor, Signal::KILL);
        seen(&up, "its death", || exit_of(&up, successor));
    }
    runs.close(
        "row 6, first byte after the start",
        late,
        (20 * MS, 100 * MS),
    );
}

#[test]
fn row_7_a_worker_that_is_never_ready_is_killed_at_its_limit_and_five_take_the_pool_away() {
    let limit = r#"><processModel startupTimeLimit="00:00:01" />"#;
    let up = peculiar(limit, &[("START", "never")]);
    let (answer, at) = ask(&up, "/default.aspx").join().unwrap();
    assert_eq!(answer.unwrap().status, 503);
    let [disabled] = events(&up, 5002)[..] else {
        panic!("one event 5002")
    };
    assert_eq!(events(&up, 5012).len(), 5);
    let of = |kind| up.facts("was", kind).into_iter().map(|(at, _)| at);
    let lives = of("WorkerSpawned").zip(of("WorkerKilled"));
    let lives: Vec<u64> = lives.map(|(spawned, killed)| killed - spawned).collect();
    assert_eq!(lives.len(), 5);
    assert!(lives.iter().all(|life| *life >= ms(950)), "{lives:?}");
    let runs = Runs::or(1);
    let late = lives.iter().map(|life| life.saturating_sub(ms(1000)));
    runs.close(
        "row 7, later than the limit",
        late.collect(),
        (50 * MS, 50 * MS),
    );
    let refused = vec![at.saturating_sub(disabled)];
    runs.close("row 7, 503 after the fifth", refused, (10 * MS, 10 * MS));
}

#[test]
fn row_8_a_worker_that_exits_at_once_is_started_five_times() {
    let runs = Runs::or(1);
    let (mut disabled, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..runs.count {
        let up = peculiar(">", &[("START", "exit:1")]);
        let (answer, at) = ask(&up, "/default.aspx").join().unwrap();
        assert_eq!(answer.unwrap().status, 503);
        let started = || up.facts("was", "WorkerSpawned").len();
        assert_eq!(started(), 5, "no storm");
        let [off] = events(&up, 5002)[..] else {
            panic!("one event 5002")
        };
        disabled.push(off - up.facts("was", "WorkerExited")[4].0);
        refused.push(at.saturating_sub(off));
        assert_eq!(up.get("/default.aspx").status, 503);
        assert_eq!(started(), 5, "a pool that is off starts nothing");
    }
    runs.close("row 8, off after the fifth", disabled, (20 * MS, 20 * MS));
    runs.close("row 8, 503 after that", refused, (20 * MS, 20 * MS));
}

/// Five crashes take a pool away if the last comes within the interval of the first, and not if it comes later:
/// the shortest interval that the schema allows, two crashes, and a second (50 ms where figures are judged) to
/// either side.
#[test]
fn row_9_crashes_that_are_further_apart_than_the_interval_do_not_take_the_pool_away() {
    let failure =
        r#"<failure rapidFailProtectionMaxCrashes="2" rapidFailProtectionInterval="00:01:00" />"#;
    let config = config_of_two(&format!(">{failure}"));
    let other = format!(r#"<add name="Other">{failure}</add>"#);
    let config = config.replace(r#"<add name="Other" />"#, &other);
    let up = Up::with_config(Some(&config));
    let sites = ["http/*:80:", "http/*:81:"].map(|site| up.address(site));
    let worker_of = |site: usize| {
        let page = Browser::connect(sites[site]).get("/default.aspx");
        page.ok()
            .filter(|page| page.status == 200)
            .map(|page| page.worker())
    };
    // The death counts from when WAS sees it.
    let die = |site: usize| {
        let worker = seen(&up, "a worker", || worker_of(site));
        signal(worker, Signal::KILL);
        seen(&up, "the death to be noticed", || exit_of(&up, worker))
    };
    let interval = Duration::from_mins(1);
    let first = [die(0), die(1)];
    for site in [0, 1] {
        seen(&up, "a replacement", || worker_of(site));
    }
    let margin = if Runs::or(1).judged {
        50 * MS
    } else {
        1000 * MS
    };
    for (site, due) in [
        (1, first[1] + ns(interval) - ns(margin)),
        (0, first[0] + ns(interval) + ns(margin)),
    ] {
        sleep_until(due);
        die(site);
    }
    up.until("a verdict on both", || {
        worker_of(0).is_some() && worker_of(1).is_none()
    });
    let pools: Vec<String> = up
        .facts("was", "Event")
        .into_iter()
        .filter(|(_, event)| event["id"] == 5002)
        .map(|(_, event)| event.to_string())
        .collect();
    assert!(
        matches!(&pools[..], [only] if only.contains("Other")),
        "{pools:?}"
    );
}
