//! Application initialization, and the limit of requests at the same time.

use std::time::Duration;

use super::bench::{Bench, application, configuration, starting};
use crate::configuration::{Initialization, WorkerConfiguration};
use crate::facts::{CacheLayer, Fact};
use crate::ipm::{FromWorker, ToWorker};

const PAGES: &str = "[start]\ncpu = \"100ms\"\n\
    [[page]]\npath = \"/default.aspx\"\nwait = \"1s\"\n\
    [[page]]\npath = \"/warm.aspx\"\nwait = \"3s\"\n\
    [page.application_cache]\nkeys = 1\nttl = \"1h\"\nmiss_wait = \"2s\"\nbytes = 100\n";

fn with(change: impl Fn(&mut Initialization), preload: bool) -> Bench {
    let mut configuration = configuration();
    let application = &mut configuration.applications[0];
    application.preload = preload;
    application.initialization.pages = vec!["/warm.aspx?a=1".to_owned()];
    change(&mut application.initialization);
    let files = [("simulation.toml", PAGES), ("splash.htm", "one moment")];
    starting(configuration, &files)
}

#[test]
fn a_worker_is_ready_when_the_root_and_all_pages_have_answered() {
    let mut worker = with(|_| {}, true);
    worker.finish_work();
    worker.pass(Duration::from_millis(4_999));
    assert!(worker.told.is_empty());
    worker.pass(Duration::from_millis(1));
    assert_eq!(worker.told, [FromWorker::Ready]);
    assert_eq!(worker.look_ups(CacheLayer::Application), [false]);
    let nobody =
        |fact: &Fact| matches!(fact, Fact::RequestBegan { .. } | Fact::RequestEnded { .. });
    assert!(!worker.facts.iter().any(nobody), "they are no client's");
    let visitor = worker.send("GET /warm.aspx");
    worker.pass(Duration::from_secs(3));
    assert!(
        worker.answer(visitor).is_some(),
        "the value is in the cache"
    );
}

#[test]
fn without_preload_the_first_visitor_begins_the_initialization() {
    let mut worker = with(|_| {}, false);
    assert_eq!(worker.told, [FromWorker::Ready]);
    let visitor = worker.send("GET /default.aspx");
    worker.finish_work();
    worker.pass(Duration::from_secs(1));
    assert!(
        worker.answer(visitor).is_some(),
        "it does not wait for the pages"
    );
    assert_eq!(worker.look_ups(CacheLayer::Application), [false]);
    worker.pass(Duration::from_secs(10));
    let second = worker.send("GET /default.aspx");
    worker.pass(Duration::from_secs(1));
    assert!(worker.answer(second).is_some());
    assert_eq!(worker.look_ups(CacheLayer::Application), [false], "once");
}

#[test]
fn a_splash_page_is_served_until_the_pages_have_answered() {
    let splash = |i: &mut Initialization| i.remap_managed_requests_to = "Splash.htm".to_owned();
    let mut worker = with(splash, false);
    let starting = worker.get("/default.aspx");
    assert_eq!(
        (starting.status(), starting.body()),
        ((200, 0), "one moment")
    );
    worker.finish_work();
    assert_eq!(worker.get("/warm.aspx").body(), "one moment");
    worker.pass(Duration::from_secs(5));
    let real = worker.send("GET /default.aspx");
    assert!(
        worker.answer(real).is_none(),
        "the page itself waits a second"
    );
    worker.pass(Duration::from_secs(1));
    assert!(worker.answer(real).is_some());
}

#[test]
fn an_application_that_restarts_is_initialized_again_only_if_it_is_asked_for() {
    for after_restart in [false, true] {
        let mut worker = with(|i| i.after_restart = after_restart, true);
        worker.finish_work();
        worker.pass(Duration::from_secs(5));
        let mut changed = application("/srv/www");
        changed.initialization.pages = vec!["warm.aspx".to_owned()];
        changed.initialization.after_restart = after_restart;
        worker.input(super::super::Input::Told(ToWorker::ApplicationChanged {
            application: Box::new(changed),
            restart: true,
        }));
        assert_eq!(worker.running.len(), usize::from(after_restart));
        if after_restart {
            worker.finish_work();
            worker.pass(Duration::from_secs(5));
        }
        let asked = worker.look_ups(CacheLayer::Application).len();
        assert_eq!(asked, 1 + usize::from(after_restart));
    }
}

#[test]
fn a_worker_that_drains_does_not_wait_for_its_initialization() {
    let mut worker = with(|_| {}, false);
    let visitor = worker.send("GET /default.aspx");
    worker.finish_work();
    worker.order_to_stop(true);
    worker.queue_is_shut();
    worker.pass(Duration::from_secs(1));
    assert!(worker.answer(visitor).is_some());
    assert_eq!(worker.exit, Some(0));
}

#[test]
fn one_request_more_than_the_limit_of_its_application_gets_503_2() {
    let mut configuration: WorkerConfiguration = configuration();
    configuration.applications[0].concurrent_requests_max = 2;
    let mut worker = starting(configuration, &[]);
    let first = worker.send("GET /wait.aspx?time=1000");
    worker.send("GET /wait.aspx?time=5000");
    assert_eq!(worker.get("/default.aspx").status(), (503, 2));
    worker.pass(Duration::from_secs(1));
    assert!(worker.answer(first).is_some());
    assert_eq!(worker.get("/default.aspx").status(), (200, 0));
}
