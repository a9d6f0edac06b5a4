//! The fault matrix, live, where it is the machine or its administrator: a port that is taken, files that may
//! not be read, a storm of recycles, a pid that is used again.
//!
//! For figures: see `support::figures`.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test waits for real processes and ends when something is not as it should be"
)]

mod support;

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, geteuid, getrlimit, prlimit};
use serde_json::Value;
use sim_was::control::client::ask;
use sim_was::control::{Answer, Command as Control};
use support::crowd::Crowd;
use support::figures::{Runs, ms, now, signal};
use support::{Browser, IIS_SIM, Up, config_of_two, is_alive};

const MS: Duration = Duration::from_millis(1);

#[test]
fn row_19_a_site_whose_port_is_taken_is_stopped_and_the_others_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("applicationHost.config");
    std::fs::write(&path, config_of_two(">")).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let map = format!("81:{port}");
    let words = ["--config", path.to_str().unwrap(), "--port-map", &map];
    let up = Up::with_words(&folder.path().join("root"), &words.map(str::to_owned));
    assert_eq!(up.get("/default.aspx").status, 200);
    let sites = up.said(&["appcmd", "list", "site"]);
    let state = |site: &str| {
        let line = sites.lines().find(|line| line.contains(site)).unwrap();
        line.rsplit("state:").next().unwrap().to_owned()
    };
    assert_eq!(state("Default Web Site"), "Started)");
    assert_eq!(state("Second"), "Stopped)");
    assert!(up.events().contains("\"EventID\":1007"), "{}", up.events());
    let refusal = up.ready["endpoints"][1]["refusal"].as_str().unwrap();
    let me = format!("pid {} (", std::process::id());
    for part in [&port.to_string(), "Address already in use", &me] {
        assert!(refusal.contains(part), "{part:?} is not in {refusal}");
    }
    let refused = up.said(&["appcmd", "start", "site", "Second"]);
    let wanted = "ERROR ( hresult:80070020, message:Command execution failed.\n\
                  The process cannot access the file because it is being used by another process.\n. )\n";
    assert_eq!(refused, wanted);
    let diagnostics = std::fs::read_to_string(up.root.join("run/httpsys.log")).unwrap();
    assert!(diagnostics.contains(&me), "{me} is not in {diagnostics}");
    drop(taken);
    let begun = now();
    let started = up.said(&["appcmd", "start", "site", "Second"]);
    Runs::or(1).close(
        "row 19, started on command after",
        vec![now() - begun],
        (100 * MS, 100 * MS),
    );
    assert!(started.contains("successfully started"), "{started}");
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    let page = Browser::connect(address).get("/default.aspx").unwrap();
    assert_eq!(page.status, 200);
}

/// A user whom permissions hold back, as far as there is one.
const NOBODY: u32 = 65534;

fn permit(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// `iis-sim` as a user who is not root.
fn as_nobody() -> Command {
    let mut command = Command::new(IIS_SIM);
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

#[test]
fn row_26_what_may_not_be_read_is_named_and_brings_nobody_down() {
    let folder = tempfile::tempdir().unwrap();
    if geteuid().is_root() {
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let root = folder.path().join("root");
    let up = Up::launched(&mut as_nobody(), &root, &[]);
    let pids = up.pids();
    let site = root.join("inetpub/wwwroot");
    let denied = site.join("denied.txt");
    std::fs::write(&denied, "secret").unwrap();
    permit(&denied, 0o000);
    let page = up.get("/denied.txt");
    assert_eq!(page.status, 401);
    let log = root.join("inetpub/logs/LogFiles/W3SVC1");
    let logged = |line: &str| {
        let files = std::fs::read_dir(&log).into_iter().flatten().flatten();
        let mut texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        texts.any(|text| text.contains(line))
    };
    up.until("401.3 in the log", || logged(" - 401 3 5 "));
    assert_eq!(up.get("/default.aspx").status, 200);
    let settings = site.join("web.config");
    std::fs::write(&settings, "<configuration />").unwrap();
    permit(&settings, 0o000);
    up.until("500.19", || up.get("/default.aspx").status == 500);
    up.until("500.19 in the log", || logged(" - 500 19 "));
    let told = format!("{}: Permission denied", settings.display());
    assert!(up.get("/default.aspx").text().contains(&told));
    assert!(up.events().contains(&told), "{}", up.events());
    std::fs::remove_file(&settings).unwrap();
    up.until("service again", || up.get("/default.aspx").status == 200);
    assert!(pids.iter().all(|pid| is_alive(*pid)), "nobody went down");
    assert_eq!(up.end("-INT"), Some(0));

    // Log files that cannot be opened are no reason not to serve.
    permit(&log, 0o000);
    let up = Up::launched(&mut as_nobody(), &root, &[]);
    assert_eq!(up.get("/default.aspx").status, 200);
    let diagnostics = || std::fs::read_to_string(root.join("run/httpsys.log")).unwrap();
    let told = log.display().to_string();
    up.until("the folder to be named", || diagnostics().contains(&told));
    let event = || {
        let events = up.events();
        let line = events
            .lines()
            .find(|line| line.contains("\"EventID\":15000"));
        line.map(str::to_owned)
    };
    up.until("event 15000", || event().is_some());
    let event = event().unwrap();
    for part in [&*told, "Unable to create log file", "HttpEvent"] {
        assert!(event.contains(part), "{part:?} is not in {event}");
    }
    assert_eq!(up.end("-INT"), Some(0));
    permit(&log, 0o700);

    permit(&root, 0o000);
    let refused = as_nobody()
        .args(["up", "--root"])
        .arg(&root)
        .output()
        .unwrap();
    permit(&root, 0o700);
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        told.contains(&root.display().to_string()) && told.contains("denied"),
        "{told}"
    );
}

#[test]
fn row_26_a_pool_whose_identity_is_invalid_is_off_with_its_events() {
    let up = Up::with_pool(r#"><processModel identityType="SpecificUser" userName="" />"#);
    assert_eq!(up.get("/").status, 503);
    for id in [5021, 5057] {
        assert!(up.events().contains(&format!("\"EventID\":{id}")), "{id}");
    }
    assert!(up.workers().is_empty());
}

#[test]
fn row_27_a_storm_of_recycles_overlaps_once_and_loses_nothing() {
    // A start that takes longer than the commands are apart.
    let slow = r#"><environmentVariables><add name="IIS_SIM_START_WAIT" value="50ms" /></environmentVariables>"#;
    let up = Up::with_pool(slow);
    let crowd = Crowd::at(up.address("http/"), "/default.aspx", (4, 2));
    crowd.until_answered(&up, 20);
    let command = Control::RecycleApplicationPool {
        name: "DefaultAppPool".to_owned(),
    };
    for _ in 0..200 {
        assert_eq!(ask(&up.root, &command).unwrap(), Answer::Done);
        std::thread::sleep(10 * MS);
    }
    crowd.until_answered(&up, 20);
    let (answered, failures) = crowd.leave();
    assert_eq!(failures, Vec::<String>::new(), "of {answered}");
    up.until("one worker", || up.workers().len() == 1);
    let moments = |kind| up.facts("was", kind).into_iter().map(|(at, _)| at);
    let (starts, ends) = (moments("WorkerSpawned"), moments("WorkerExited"));
    let mut changes: Vec<(u64, i32)> = starts.map(|at| (at, 1)).collect();
    let spawned = changes.len();
    changes.extend(ends.map(|at| (at, -1)));
    changes.sort_unstable();
    let alive = changes.iter().scan(0, |alive, (_, change)| {
        *alive += change;
        Some(*alive)
    });
    let most = alive.max().unwrap();
    assert_eq!(most, 2, "at once, in the one slot of the pool");
    assert!(
        spawned < 100,
        "{spawned} workers: what comes during a recycle is part of it"
    );
}

/// What row 29 runs in a pid namespace of its own, where the next pid can be chosen.
const PID_NAMESPACE: &str = "row_29_in_a_pid_namespace";

#[test]
fn row_29_nobody_who_gets_the_pid_of_a_dead_worker_gets_its_signals() {
    if !geteuid().is_root() {
        eprintln!("not run: only root may have a pid namespace");
        return;
    }
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", PID_NAMESPACE, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    if told.contains("Operation not permitted") {
        eprintln!("not run: {told}");
        return;
    }
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}"
    );
}

#[test]
#[ignore = "run by row 29 in a pid namespace"]
fn row_29_in_a_pid_namespace() {
    let limits = r#"><processModel shutdownTimeLimit="00:00:01" pingInterval="00:00:01" pingResponseTime="00:00:01" />"#;
    let up = Up::with_pool(limits);
    let worker = up.get("/default.aspx").worker();
    let mut held = Browser::connect(up.address("http/"));
    held.send("GET /wait.aspx?time=60000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    up.until("the request to run", || {
        up.said(&["appcmd", "list", "request"]).contains("wait")
    });
    // WAS will kill it in a second, and pings it; it dies before that, and somebody else gets its pid.
    up.said(&["appcmd", "recycle", "apppool", "DefaultAppPool"]);
    signal(worker, Signal::KILL);
    let died = |(_, exit): &(u64, Value)| exit["process"] == worker;
    up.until("the death to be noticed", || {
        up.facts("was", "WorkerExited").iter().any(died)
    });
    let mut stranger = loop {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (worker - 1).to_string()).unwrap();
        let mut process = Command::new("sleep").arg("60").spawn().unwrap();
        if process.id() == worker {
            break process;
        }
        process.kill().unwrap();
        process.wait().unwrap();
    };
    let begun = now();
    up.until("every limit to pass", || now() - begun > ms(3_500));
    assert_eq!(stranger.try_wait().unwrap(), None, "it still sleeps");
    let state = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
    assert!(state.contains(") S "), "and was not stopped: {state}");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// A small disk of its own for a server; unmounted with the test.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None` where nobody may mount one.
    fn of(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", size, "tmpfs"])
            .arg(folder.path())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(())?;
        Some(Self(folder))
    }

    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.0.path().join("fill")).unwrap();
        while file.write_all(&[0; 1024]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.path().join("fill")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn row_15_a_full_disk_costs_the_pool_that_has_to_start_and_nobody_else() {
    let Some(disk) = Disk::of("size=600k") else {
        eprintln!("not run: nothing may be mounted");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("applicationHost.config");
    std::fs::write(&config, config_of_two(">")).unwrap();
    let words = ["--config", config.to_str().unwrap()].map(str::to_owned);
    let up = Up::with_words(disk.0.path(), &words);
    let pids = up.pids();
    let other = up.ready["endpoints"][1]["address"].as_str().unwrap();
    let mut other = Browser::connect(other.parse().unwrap());
    let served = other.get("/default.aspx").unwrap().worker();
    disk.fill();
    for _ in 0..20 {
        assert_eq!(up.get("/default.aspx").status, 503);
        assert_eq!(other.get("/default.aspx").unwrap().worker(), served);
    }
    up.said(&["appcmd", "recycle", "apppool", "Other"]);
    assert_eq!(other.get("/default.aspx").unwrap().status, 200);
    // Endpoints come and go although nobody can be told where they are.
    up.said(&["appcmd", "stop", "site", "Second"]);
    up.said(&["appcmd", "start", "site", "Second"]);
    disk.make_room();
    up.until("the pool to serve again", || {
        up.get("/default.aspx").status == 200
    });
    // One of the pool, and one of the recycle, however often it was tried.
    let events = up.events().matches("\"EventID\":5189").count();
    assert_eq!(events, 2, "{}", up.events());
    let endpoints = || std::fs::read_to_string(up.root.join("run/endpoints.json")).unwrap();
    up.until("both endpoints to be known", || {
        endpoints().matches("address").count() >= 4
    });
    assert!(pids.iter().all(|pid| is_alive(*pid)), "nobody went down");
    let told = std::fs::read_to_string(up.root.join("run/was.log")).unwrap();
    let is_told = told.contains("is written again") && told.contains("messages were lost");
    assert!(is_told, "{told}");
    assert_eq!(up.end("-INT"), Some(0));
}

fn pid_of(up: &Up, program: &str) -> Pid {
    let pid = up.ready["pids"][program].as_i64().unwrap();
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

/// From now on a process can open nothing more.
fn limit_descriptors(pid: Pid) {
    let number = pid.as_raw_nonzero();
    let is_open = |fd: &usize| Path::new(&format!("/proc/{number}/fd/{fd}")).is_symlink();
    set_descriptors(pid, (0..4096).find(|fd| !is_open(fd)).unwrap());
}

fn allow_descriptors(pid: Pid) {
    set_descriptors(pid, 4096);
}

fn set_descriptors(pid: Pid, most: usize) {
    let limit = Rlimit {
        current: Some(most as u64),
        ..getrlimit(Resource::Nofile)
    };
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
}

#[test]
fn a_worker_that_came_while_the_driver_had_no_descriptors_is_let_in_when_it_has() {
    let up = Up::start();
    let mut browser = Browser::connect(up.address("http/"));
    assert_eq!(browser.get("/missing.txt").unwrap().status, 404);
    signal(up.workers()[0], Signal::KILL);
    up.until("the end of the worker", || up.workers().is_empty());
    let pid = pid_of(&up, "httpsys");
    limit_descriptors(pid);
    let asked = std::thread::spawn(move || browser.get("/default.aspx").unwrap().status);
    up.until("the worker", || up.workers().len() == 1);
    std::thread::sleep(500 * MS);
    assert!(!asked.is_finished(), "it has no driver yet");
    allow_descriptors(pid);
    assert_eq!(asked.join().unwrap(), 200);
}

#[test]
fn a_pool_whose_cpu_time_cannot_be_measured_is_told_and_goes_on() {
    let up = Up::with_pool(r#"><cpu limit="50000" action="Throttle" />"#);
    let mut browser = Browser::connect(up.address("http/"));
    assert_eq!(browser.get("/default.aspx").unwrap().status, 200);
    let was = pid_of(&up, "was");
    let told = || up.events().matches("\"EventID\":5060").count();
    up.until("the event", || {
        // Again, as it may have had one open for a moment, to measure.
        limit_descriptors(was);
        told() == 1
    });
    assert_eq!(browser.get("/default.aspx").unwrap().status, 200);
    allow_descriptors(was);
    std::thread::sleep(200 * MS);
    assert_eq!(told(), 1, "once while it lasts");
}

#[test]
fn a_machine_that_cannot_tell_of_changes_runs_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let without = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "sh", "-c", without]);
        unshare
    };
    if !unshare()
        .arg("true")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        eprintln!("not run: nobody may have a user namespace here");
        return;
    }
    let up = Up::launched(unshare().arg(IIS_SIM), &folder.path().join("root"), &[]);
    assert_eq!(up.get("/default.aspx").status, 200);
    let told = || up.events().matches("\"EventID\":5063").count();
    assert_eq!(told(), 1, "{}", up.events());
    assert!(up.tool(&["iisreset"]).status.success());
    assert_eq!(told(), 2, "it is tried whenever WAS starts");
}
