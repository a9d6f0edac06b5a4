//! What is cached, where, and what forgets it.

use std::time::Duration;

use super::super::Input;
use super::bench::{application, worker_with};
use crate::facts::{CacheLayer, Fact};
use crate::ipm::ToWorker;
use sim_httpsys::api::CachePolicy;

#[test]
fn the_output_cache_answers_until_it_expires() {
    let mut worker =
        worker_with("[[page]]\npath = \"/a.aspx\"\noutput_cache = \"30s\"\ncpu = \"1ms\"\n");
    worker.send("GET /a.aspx");
    worker.finish_work();
    assert_eq!(worker.get("/A.aspx").status(), (200, 0));
    worker.send("GET /a.aspx?x=1");
    worker.finish_work();
    worker.pass(Duration::from_secs(30));
    worker.send("GET /a.aspx");
    worker.finish_work();
    assert_eq!(
        worker.look_ups(CacheLayer::Output),
        [false, true, false, false]
    );
    let removed = |fact: &&Fact| {
        matches!(
            fact,
            Fact::CacheRemove {
                layer: CacheLayer::Output,
                ..
            }
        )
    };
    assert_eq!(worker.facts.iter().filter(removed).count(), 1);
}

#[test]
fn the_driver_is_asked_to_keep_a_page_that_says_so() {
    let mut worker = worker_with("[[page]]\npath = \"/a.aspx\"\nkernel_cache = \"30s\"\n");
    assert_eq!(
        worker.get("/a.aspx").0.cache_policy,
        CachePolicy::TimeToLive(30)
    );
    assert_eq!(
        worker.request("POST /a.aspx").0.cache_policy,
        CachePolicy::Nocache
    );
}

#[test]
fn a_page_with_a_session_is_kept_nowhere() {
    let mut worker = worker_with(
        "[[page]]\npath = \"/a.aspx\"\nkernel_cache = \"30s\"\noutput_cache = \"30s\"\nsession = \"read\"\n",
    );
    assert_eq!(worker.get("/a.aspx").0.cache_policy, CachePolicy::Nocache);
    assert!(worker.look_ups(CacheLayer::Output).is_empty());
}

#[test]
fn a_miss_in_the_applications_cache_costs_once() {
    let mut worker = worker_with(
        "[[page]]\npath = \"/a.aspx\"\n[page.application_cache]\nkeys = 1\nbytes = 4096\nmiss_wait = \"5ms\"\nttl = \"10m\"\n",
    );
    let first = worker.send("GET /a.aspx");
    assert!(worker.answer(first).is_none());
    worker.pass(Duration::from_millis(5));
    assert!(worker.answer(first).unwrap().body().contains("miss"));
    assert!(worker.get("/a.aspx").body().contains("hit"));
    assert_eq!(worker.look_ups(CacheLayer::Application), [false, true]);
    let inserted = |fact: &&Fact| {
        matches!(
            fact,
            Fact::CacheInsert {
                layer: CacheLayer::Application,
                bytes: 4096,
                ..
            }
        )
    };
    assert_eq!(worker.facts.iter().filter(inserted).count(), 1);
}

#[test]
fn what_is_kept_for_applications_is_held_until_it_goes() {
    let mut worker = worker_with(
        "[start]\nallocate = 50\n\
         [[page]]\npath = \"/a.aspx\"\n[page.application_cache]\nkeys = 1\nbytes = 4096\nttl = \"10m\"\n\
         [[page]]\npath = \"/o.aspx\"\noutput_cache = \"30s\"\nbytes = 5000\n\
         [[page]]\npath = \"/s.aspx\"\nsession = \"write\"\nsession_bytes = 7000\n",
    );
    worker.send("GET /a.aspx");
    worker.finish_work();
    let start_and_value = worker.model.held();
    assert_eq!(start_and_value, 50 + 4096);
    worker.get("/a.aspx");
    assert_eq!(worker.model.held(), start_and_value, "it was there");
    worker.get("/o.aspx");
    let with_output = worker.model.held();
    assert!(with_output >= start_and_value + 5000);
    let session = worker.get("/s.aspx").session();
    assert_eq!(worker.model.held(), with_output + 7000);
    worker.request(&format!("GET /s.aspx\nCookie: ASP.NET_SessionId={session}"));
    assert_eq!(worker.model.held(), with_output + 7000, "it has grown once");
    worker.pass(Duration::from_mins(21));
    worker.send("GET /o.aspx");
    worker.send("GET /a.aspx");
    assert_eq!(
        worker.model.held(),
        with_output,
        "the session has timed out, and what was too old was made anew"
    );
    let restart = ToWorker::ApplicationChanged {
        application: Box::new(application("/srv/www")),
        restart: true,
    };
    worker.input(Input::Told(restart));
    assert_eq!(worker.model.held(), 0, "all of it was the application's");
}
