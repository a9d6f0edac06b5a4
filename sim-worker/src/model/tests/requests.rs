//! Requests through the pipeline.

use std::time::Duration;

use super::super::{Death, Work};
use super::bench::{configuration, starting, worker, worker_with};
use crate::facts::CacheLayer;

#[test]
fn a_managed_response_names_its_worker() {
    let mut worker = worker(&[]);
    let answer = worker.get("/DEFAULT.aspx");
    assert_eq!(answer.header("X-Sim-Worker"), Some("4711"));
    assert_eq!(answer.header("Server"), Some("Microsoft-IIS/10.0"));
    assert_eq!(answer.header("Cache-Control"), Some("private"));
    assert_eq!(answer.header("Content-Length"), Some("1024"));
    assert!(answer.body().starts_with("<!-- iis-sim w3wp 4711 -->\n"));
    assert_eq!(answer.body().len(), 1024);
}

#[test]
fn the_first_request_of_a_page_compiles_it_and_others_wait() {
    let mut worker = worker_with(
        "[[page]]\npath = \"/a.aspx\"\ncompile = \"120ms\"\njit = \"15ms\"\ncode = \"200KiB\"\n",
    );
    let (first, second) = (worker.send("GET /a.aspx"), worker.send("GET /a.aspx"));
    assert_eq!(
        worker.finish_work(),
        Work::Run {
            cpu: Duration::from_millis(135),
            allocate: 200 << 10
        }
    );
    assert!(worker.answer(first).is_some() && worker.answer(second).is_some());
    worker.get("/a.aspx");
    assert_eq!(worker.look_ups(CacheLayer::Compiled), [false, false, true]);
}

#[test]
fn a_page_that_is_compiled_on_disk_is_only_loaded() {
    let mut worker = worker_with(
        "[[page]]\npath = \"/a.aspx\"\ncompile = \"1s\"\nload = \"10ms\"\ncompiled_on_disk = true\njit = \"5ms\"\n",
    );
    worker.send("GET /a.aspx");
    assert_eq!(
        worker.finish_work(),
        Work::Run {
            cpu: Duration::from_millis(15),
            allocate: 0
        }
    );
}

#[test]
fn a_handler_burns_then_waits_and_holds_its_thread() {
    let mut configuration = configuration();
    configuration.threads_max = 1;
    let simulation =
        "[[page]]\npath = \"/a.aspx\"\ncpu = \"2ms\"\nwait = \"10ms\"\nallocate = \"1MiB\"\n";
    let mut worker = starting(configuration, &[("simulation.toml", simulation)]);
    let (first, second) = (worker.send("GET /a.aspx"), worker.send("GET /a.aspx"));
    assert_eq!(
        worker.finish_work(),
        Work::Run {
            cpu: Duration::from_millis(2),
            allocate: 1 << 20
        }
    );
    assert!(
        worker.running.is_empty(),
        "the second request has no thread"
    );
    worker.pass(Duration::from_millis(10));
    assert!(worker.answer(first).is_some());
    worker.finish_work();
    worker.pass(Duration::from_millis(10));
    assert!(worker.answer(second).is_some());
}

#[test]
fn the_same_attempt_costs_the_same_in_every_worker() {
    let cost = || {
        let mut worker =
            worker_with("[[page]]\npath = \"/a.aspx\"\ncpu = { exponential_mean = \"1ms\" }\n");
        worker.send("GET /a.aspx");
        worker.finish_work()
    };
    assert_eq!(cost(), cost());
}

#[test]
fn the_root_answers_with_the_page_if_no_default_document_is_a_file() {
    let mut worker = worker(&[]);
    assert!(worker.get("/").body().contains("/default.aspx"));
    let mut worker = super::bench::worker(&[("index.html", "hello")]);
    assert_eq!(worker.get("/").body(), "hello");
}

#[test]
fn faults_are_what_they_say() {
    let mut worker = worker(&[]);
    assert_eq!(worker.get("/error.aspx").status(), (500, 0));
    let hangs = worker.send("GET /hang.aspx");
    worker.pass(Duration::from_hours(1));
    assert!(worker.answer(hangs).is_none());
    worker.send("GET /exit.aspx?code=3");
    assert_eq!(
        worker.running.pop_front().unwrap().1,
        Work::Die(Death::Exit(3))
    );
    worker.send("GET /crash.aspx");
    assert_eq!(
        worker.running.pop_front().unwrap().1,
        Work::Die(Death::SegmentationFault)
    );
}

#[test]
fn a_handler_gives_up_before_its_response_or_after_a_first_chunk() {
    let mut worker = worker(&[]);
    let reset = worker.send("GET /reset.aspx");
    assert_eq!(worker.cancelled, [reset]);
    assert!(worker.answer(reset).is_none());
    let cut = worker.send("GET /cut.aspx");
    assert_eq!(worker.answer(cut).unwrap().body(), "5\r\nbegun\r\n");
    worker.pass(Duration::from_secs(1));
    assert_eq!(worker.cancelled, [reset, cut]);
    assert_eq!(worker.model.in_flight(), 0);
}

#[test]
fn parameters_are_bounded() {
    let mut worker = worker(&[]);
    for url in [
        "/wait.aspx?time=-1",
        "/wait.aspx?time=999999999",
        "/leak.aspx?bytes=999999999999",
        "/exit.aspx?code=x",
    ] {
        assert_eq!(worker.get(url).status(), (400, 0), "{url}");
    }
}

#[test]
fn what_leaks_stays() {
    let mut worker = worker(&[]);
    worker.send("GET /leak.aspx?bytes=5000");
    worker.finish_work();
    assert_eq!(
        worker.model.leaked.iter().map(Vec::len).sum::<usize>(),
        5000
    );
}

#[test]
fn receives_are_posted_again_before_the_driver_runs_out() {
    let mut configuration = configuration();
    configuration.receives = 3;
    let mut worker = starting(configuration, &[]);
    for _ in 0..1000 {
        worker.get("/default.aspx");
    }
    assert!(worker.credits >= 1);
}

#[test]
fn other_verbs_are_refused() {
    let mut worker = worker(&[("a.txt", "a")]);
    let answer = worker.request("DELETE /a.txt");
    assert_eq!(answer.status(), (405, 0));
    assert_eq!(answer.header("Allow"), Some("GET, HEAD, OPTIONS, TRACE"));
    assert_eq!(worker.request("DELETE /default.aspx").status(), (405, 0));
    assert_eq!(worker.request("OPTIONS /a.txt").status(), (200, 0));
}
