//! Applications that `app_offline.htm` takes offline.

use super::bench::{Answer, Bench, configuration, starting, worker};
use crate::facts::Fact;

const SIMULATION: &str = "[[page]]\npath = \"/a.aspx\"\nsession = \"write\"\nkernel_cache = \"1h\"\n\
    [[page]]\npath = \"/slow.aspx\"\ncpu = \"1s\"\n[stop]\ncpu = \"1ms\"\n";
const FILES: [(&str, &str); 2] = [("simulation.toml", SIMULATION), ("a.htm", "<a>")];

fn go_offline(worker: &mut Bench, text: &'static str) {
    worker.files.insert("App_Offline.htm".into(), (7, text));
    worker.look_at_watched_file();
}

fn come_back(worker: &mut Bench) {
    worker.files.remove("App_Offline.htm");
    worker.look_at_watched_file();
}

fn is_offline(answer: &Answer, text: &str) -> bool {
    answer.status() == (503, 0)
        && answer.body() == text
        && answer.header("Retry-After") == Some("3600")
        && answer.header("Content-Type") == Some("text/html")
}

#[test]
fn an_application_is_offline_while_the_file_is_there() {
    let mut worker = worker(&FILES);
    assert_eq!(worker.get("/a.aspx").status(), (200, 0));
    go_offline(&mut worker, "back soon");
    for _ in 0..2 {
        assert!(is_offline(&worker.get("/a.aspx"), "back soon"));
    }
    come_back(&mut worker);
    assert_eq!(worker.get("/a.aspx").status(), (200, 0));
    assert_eq!(worker.exit, None, "the process stays");
}

#[test]
fn static_files_are_served_meanwhile() {
    let mut worker = worker(&FILES);
    worker.get("/a.aspx");
    go_offline(&mut worker, "back soon");
    assert_eq!(worker.get("/a.htm").body(), "<a>");
    assert_eq!(worker.get("/none.htm").status(), (404, 0));
}

#[test]
fn an_application_that_is_offline_when_it_is_wanted_first_does_not_start() {
    let files = [FILES[0], FILES[1], ("app_offline.htm", "closed")];
    let mut configuration = configuration();
    configuration.applications[0].preload = true;
    let mut worker = starting(configuration, &files);
    assert!(is_offline(&worker.get("/a.aspx"), "closed"));
    let started = |fact: &Fact| matches!(fact, Fact::ApplicationStarted { .. });
    assert!(!worker.facts.iter().any(started));
    worker.order_to_stop(true);
    worker.queue_is_shut();
    assert_eq!(worker.exit, Some(0), "and so there is nothing to end");
}

#[test]
fn sessions_are_lost_and_the_driver_forgets_its_pages() {
    let mut worker = worker(&FILES);
    let id = worker.get("/a.aspx").session();
    go_offline(&mut worker, "back soon");
    assert_eq!(worker.flushed, ["/"]);
    worker.files.remove("App_Offline.htm");
    worker.finish_work();
    let answer = worker.request(&format!("GET /a.aspx\nCookie: ASP.NET_SessionId={id}"));
    assert_eq!(answer.header("X-Sim-Session"), Some("lost"));
}

#[test]
fn what_is_in_flight_completes() {
    let mut worker = worker(&FILES);
    let slow = worker.send("GET /slow.aspx");
    go_offline(&mut worker, "back soon");
    assert!(is_offline(&worker.get("/slow.aspx"), "back soon"));
    worker.finish_work();
    assert_eq!(worker.answer(slow).unwrap().status(), (200, 0));
}

#[test]
fn a_file_that_cannot_be_read_leaves_the_page_empty() {
    let mut worker = worker(&FILES);
    worker.get("/a.aspx");
    worker.locked.push("app_offline.htm");
    worker.look_at_watched_file();
    assert!(is_offline(&worker.get("/a.aspx"), ""));
    worker.locked.clear();
    worker.look_at_watched_file();
    assert_eq!(worker.get("/a.aspx").status(), (200, 0));
}

#[test]
fn code_that_is_being_written_meanwhile_does_not_matter() {
    let mut worker = worker(&FILES);
    worker.get("/a.aspx");
    worker.files.insert("simulation.toml".into(), (8, "[[pa"));
    go_offline(&mut worker, "back soon");
    assert!(is_offline(&worker.get("/a.aspx"), "back soon"));
    worker
        .files
        .insert("simulation.toml".into(), (9, SIMULATION));
    come_back(&mut worker);
    assert_eq!(worker.get("/a.aspx").status(), (200, 0));
}

#[test]
fn code_that_cannot_be_read_is_not_taken_for_the_file() {
    let mut worker = worker(&FILES);
    worker.locked.push("simulation.toml");
    for _ in 0..2 {
        assert_eq!(worker.get("/a.aspx").status(), (500, 19));
        worker.look_at_watched_file();
    }
}

#[test]
fn code_that_can_be_read_again_is_read_without_a_new_process() {
    for locked in [
        &["simulation.toml"][..],
        &["simulation.toml", "app_offline.htm"],
    ] {
        let mut worker = worker(&FILES);
        worker.locked.extend(locked);
        assert_eq!(worker.get("/a.aspx").status(), (500, 19));
        worker.look_at_watched_file();
        assert_eq!(worker.get("/a.aspx").status(), (500, 19));
        worker.locked.clear();
        worker.look_at_watched_file();
        assert_eq!(worker.get("/a.aspx").status(), (200, 0));
    }
}

#[test]
fn another_text_is_shown_as_soon_as_it_is_there() {
    let mut worker = worker(&FILES);
    worker.get("/a.aspx");
    go_offline(&mut worker, "back soon");
    worker.get("/a.aspx");
    go_offline(&mut worker, "back later");
    assert!(is_offline(&worker.get("/a.aspx"), "back later"));
}

#[test]
fn whatever_comes_and_goes_a_page_is_answered_with_200_or_503() {
    let mut worker = worker(&FILES);
    worker.get("/a.aspx");
    for round in 0..100 {
        let slow = worker.send("GET /slow.aspx");
        if round % 2 == 0 {
            go_offline(&mut worker, "back soon");
        } else {
            come_back(&mut worker);
        }
        let status = worker.get("/a.aspx").status().0;
        assert_eq!(status, if round % 2 == 0 { 503 } else { 200 });
        while !worker.running.is_empty() {
            worker.finish_work();
        }
        assert!(matches!(worker.answer(slow).unwrap().status().0, 200 | 503));
    }
    assert_eq!(worker.model.in_flight(), 0);
}
