//! An application restarts, comes or goes, and the process stays.

use std::time::Duration;

use sim_httpsys::api::UrlContext;

use super::super::Input;
use super::bench::{Bench, application, configuration, starting, worker, worker_with};
use crate::configuration::Application;
use crate::facts::{CacheLayer, Fact};
use crate::ipm::ToWorker;

fn change(worker: &mut Bench, application: Application, restart: bool) {
    worker.input(Input::Told(ToWorker::ApplicationChanged {
        application: Box::new(application),
        restart,
    }));
}

fn restart(worker: &mut Bench) {
    change(worker, application("/srv/www"), true);
}

fn visit(session: &str) -> String {
    format!("GET /session.aspx\nCookie: ASP.NET_SessionId={session}")
}

#[test]
fn a_restarted_application_has_lost_its_sessions_and_its_process_goes_on() {
    let mut worker = worker(&[]);
    let id = worker.get("/session.aspx").session();
    restart(&mut worker);
    assert!(worker.facts.contains(&Fact::SessionEnd {
        application: UrlContext(1),
        session: id.as_str().into(),
        expired: false,
    }));
    assert_eq!(
        worker.request(&visit(&id)).header("X-Sim-Session"),
        Some("lost")
    );
    assert_eq!(worker.exit, None);
    let restarted = Fact::ApplicationRestarted {
        application: "/LM/W3SVC/1/ROOT".to_owned(),
    };
    assert!(worker.facts.contains(&restarted));
    assert_eq!(worker.flushed, ["/"], "the driver keeps nothing of before");
    worker.pass(Duration::from_hours(2));
}

#[test]
fn a_restarted_application_sends_the_files_that_are_kept_as_its_settings_say_now() {
    let mut worker = worker(&[("a.txt", "hello"), ("b.htm", "b"), ("default.htm", "d")]);
    for url in ["/a.txt", "/b.htm", "/"] {
        worker.get(url);
        worker.get(url);
    }
    let mut changed = application("/srv/www");
    changed.settings.mime_map = [(".txt".to_owned(), "text/new".to_owned())].into();
    changed.settings.client_cache.lines = "Cache-Control: no-cache\r\n".to_owned();
    changed.settings.client_cache.set_etag = false;
    changed.settings.default_documents = vec!["a.txt".to_owned()];
    change(&mut worker, changed, true);
    let is_lost = |fact: &&Fact| {
        matches!(
            fact,
            Fact::CacheLost {
                layer: CacheLayer::File,
                ..
            }
        )
    };
    let lost = worker.facts.iter().filter(is_lost).count();
    assert_eq!(lost, 2, "what is not served as it was, and no other");
    let before = worker.look_ups(CacheLayer::File).len();
    let answer = worker.get("/a.txt");
    assert_eq!(answer.header("Content-Type"), Some("text/new"));
    assert_eq!(answer.header("Cache-Control"), Some("no-cache"));
    assert_eq!((answer.header("ETag"), answer.body()), (None, "hello"));
    assert_eq!(worker.get("/").body(), "hello");
    assert_eq!(worker.look_ups(CacheLayer::File)[before..], [true, false]);
    assert_eq!(worker.get("/b.htm").status(), (404, 3));
}

#[test]
fn what_is_in_flight_completes_in_the_old_domain_and_the_new_one_starts_beside_it() {
    let mut worker = worker_with(
        "[start]\nwait = \"100ms\"\n[stop]\nwait = \"50ms\"\n[[page]]\npath = \"/a.aspx\"\nwait = \"1s\"\n",
    );
    let first = worker.send("GET /a.aspx");
    worker.pass(Duration::from_millis(500));
    restart(&mut worker);
    let second = worker.send("GET /a.aspx");
    worker.pass(Duration::from_millis(600));
    assert!(
        worker
            .answer(first)
            .is_some_and(|answer| answer.status() == (200, 0))
    );
    assert!(worker.answer(second).is_none());
    worker.pass(Duration::from_millis(600));
    assert!(
        worker
            .answer(second)
            .is_some_and(|answer| answer.status() == (200, 0))
    );
    let starts = worker.facts.iter();
    let starts = starts.filter(|fact| matches!(fact, Fact::ApplicationStarted { .. }));
    assert_eq!(starts.count(), 2);
}

#[test]
fn requests_that_wait_for_a_start_wait_for_the_new_one() {
    let mut worker = worker_with("[start]\nwait = \"100ms\"\n[[page]]\npath = \"/a.aspx\"\n");
    let request = worker.send("GET /a.aspx");
    worker.pass(Duration::from_millis(60));
    restart(&mut worker);
    worker.pass(Duration::from_millis(60));
    assert!(worker.answer(request).is_none());
    worker.pass(Duration::from_millis(60));
    assert!(worker.answer(request).is_some());
}

#[test]
fn pages_are_compiled_again_after_a_restart() {
    let mut worker = worker_with("[[page]]\npath = \"/a.aspx\"\ncompile = \"10ms\"\ncode = 100\n");
    let first = worker.send("GET /a.aspx");
    worker.finish_work();
    assert!(worker.answer(first).is_some());
    restart(&mut worker);
    let lost = |fact: &Fact| {
        matches!(
            fact,
            Fact::CacheRemove {
                layer: CacheLayer::Compiled,
                bytes: 100,
                ..
            }
        )
    };
    assert!(worker.facts.iter().any(lost));
    let second = worker.send("GET /a.aspx");
    assert!(worker.answer(second).is_none());
    worker.finish_work();
    assert!(worker.answer(second).is_some());
    assert_eq!(worker.look_ups(CacheLayer::Compiled), [false, false]);
}

#[test]
fn a_request_that_waits_for_a_thread_still_finds_the_page_of_the_old_domain() {
    let mut configuration = configuration();
    configuration.threads_max = 1;
    let pages = "[[page]]\npath = \"/a.aspx\"\nwait = \"1m\"\n";
    let mut worker = starting(configuration, &[("simulation.toml", pages)]);
    worker.send("GET /a.aspx");
    let waits = worker.send("GET /a.aspx");
    restart(&mut worker);
    let is_gone = |worker: &Bench| {
        let mut facts = worker.facts.iter();
        let layer = CacheLayer::Compiled;
        facts.any(|fact| matches!(fact, Fact::CacheRemove { layer: of, .. } if *of == layer))
    };
    worker.pass(Duration::from_mins(1));
    assert_eq!(worker.look_ups(CacheLayer::Compiled), [false, true]);
    assert!(!is_gone(&worker), "the second one runs in it");
    worker.pass(Duration::from_mins(1));
    assert!(worker.answer(waits).is_some());
    assert!(is_gone(&worker));
}

#[test]
fn a_compilation_under_way_ends_in_its_own_domain() {
    let mut worker = worker_with("[[page]]\npath = \"/a.aspx\"\ncompile = \"10ms\"\n");
    let first = worker.send("GET /a.aspx");
    restart(&mut worker);
    let second = worker.send("GET /a.aspx");
    worker.finish_work();
    assert!(worker.answer(first).is_some() && worker.answer(second).is_none());
    worker.finish_work();
    assert!(worker.answer(second).is_some());
}

#[test]
fn a_setting_changes_without_a_restart() {
    let mut worker = worker(&[("x.html", "x")]);
    let id = worker.get("/session.aspx").session();
    let mut changed = application("/srv/www");
    changed.settings.default_documents = vec!["x.html".to_owned()];
    change(&mut worker, changed, false);
    assert_eq!(worker.flushed, ["/"], "the driver keeps nothing of before");
    assert_eq!(
        worker.request(&visit(&id)).header("X-Sim-Session"),
        Some("found")
    );
}

#[test]
fn a_request_for_an_application_that_is_not_known_yet_waits_for_news_of_it() {
    let mut worker = worker(&[]);
    let mut second = application("/srv/www");
    second.url_context = UrlContext(2);
    worker.input(Input::Told(ToWorker::ApplicationRemoved {
        url_context: UrlContext(1),
    }));
    worker.pass(Duration::from_secs(2));
    let early = worker.send("GET /session.aspx");
    assert!(worker.answer(early).is_none());
    restart(&mut worker);
    assert!(
        worker
            .answer(early)
            .is_some_and(|answer| answer.status() == (200, 0))
    );
    worker.input(Input::Told(ToWorker::ApplicationRemoved {
        url_context: UrlContext(1),
    }));
    worker.pass(Duration::from_secs(2));
    let lost = worker.send("GET /session.aspx");
    worker.pass(Duration::from_secs(2));
    assert!(
        worker
            .answer(lost)
            .is_some_and(|answer| answer.status().0 == 500)
    );
}

#[test]
fn an_application_that_moves_away_answers_what_was_still_waiting_for_it_here() {
    let mut worker = worker(&[]);
    let id = worker.get("/session.aspx").session();
    worker.input(Input::Told(ToWorker::ApplicationRemoved {
        url_context: UrlContext(1),
    }));
    let ended = |worker: &Bench| {
        let mut facts = worker.facts.iter();
        facts.any(|fact| matches!(fact, Fact::SessionEnd { .. }))
    };
    for _ in 0..3 {
        worker.pass(Duration::from_millis(1500));
        let answer = worker.request(&visit(&id));
        assert_eq!(answer.header("X-Sim-Session"), Some("found"));
    }
    assert!(!ended(&worker));
    worker.pass(Duration::from_secs(2));
    assert!(ended(&worker), "nobody came for two seconds");
    // It comes back as a new one.
    worker.input(Input::Told(ToWorker::ApplicationRemoved {
        url_context: UrlContext(1),
    }));
    restart(&mut worker);
    let answer = worker.request(&visit(&id));
    assert_eq!(answer.header("X-Sim-Session"), Some("lost"));
}

#[test]
fn an_application_that_had_moved_before_it_started_answers_what_waited_for_it_and_leaves() {
    let mut configuration = configuration();
    configuration.departed = std::mem::take(&mut configuration.applications);
    let mut worker = starting(configuration, &[]);
    assert_eq!(worker.get("/session.aspx").status(), (200, 0));
    worker.pass(Duration::from_secs(4));
    let lost = worker.send("GET /session.aspx");
    worker.pass(Duration::from_secs(2));
    assert_eq!(worker.answer(lost).unwrap().status().0, 500);
}

#[test]
fn a_configuration_that_cannot_be_used_is_a_500_19_until_it_is_repaired() {
    let mut worker = worker(&[]);
    let mut broken = application("/srv/www");
    broken.settings.error = Some("web.config: line 3: unknown element".to_owned());
    change(&mut worker, broken, true);
    assert_eq!(worker.get("/session.aspx").status(), (500, 19));
    restart(&mut worker);
    assert_eq!(worker.get("/session.aspx").status(), (200, 0));
    // A section that is locked for it, and unlocked, restarts nothing.
    let mut locked = application("/srv/www");
    locked.settings.error = Some("web.config: line 3: locked".to_owned());
    change(&mut worker, locked, false);
    assert_eq!(worker.get("/session.aspx").status(), (500, 19));
    change(&mut worker, application("/srv/www"), false);
    assert_eq!(worker.get("/session.aspx").status(), (200, 0));
}

#[test]
fn a_worker_that_is_told_to_stop_while_a_domain_unloads_still_exits_once() {
    let mut worker = worker_with("[stop]\nwait = \"500ms\"\n[[page]]\npath = \"/a.aspx\"\n");
    worker.get("/a.aspx");
    restart(&mut worker);
    worker.get("/a.aspx");
    worker.order_to_stop(true);
    worker.queue_is_shut();
    worker.pass(Duration::from_secs(1));
    assert_eq!(worker.exit, Some(0));
}

#[test]
fn what_an_application_kept_is_lost_when_it_restarts_although_an_old_request_goes_on() {
    let mut worker = worker_with(
        "[[page]]\npath = \"/a.aspx\"\ncode = 100\noutput_cache = \"1h\"\n\
         [page.application_cache]\nkeys = 1\nbytes = 4096\nttl = \"1h\"\n\
         [[page]]\npath = \"/long.aspx\"\nwait = \"1m\"\n",
    );
    worker.send("GET /a.aspx");
    worker.finish_work();
    worker.send("GET /long.aspx");
    worker.facts.clear();
    restart(&mut worker);
    let of = |facts: &[Fact], wanted: CacheLayer| {
        let is_lost =
            |fact: &&Fact| matches!(fact, Fact::CacheLost { layer, .. } if *layer == wanted);
        let is_gone =
            |fact: &&Fact| matches!(fact, Fact::CacheRemove { layer, .. } if *layer == wanted);
        let mut facts = facts.iter();
        let lost = facts.clone().filter(is_lost).count();
        (lost, facts.any(|fact| is_gone(&fact)))
    };
    assert_eq!(of(&worker.facts, CacheLayer::Application), (1, false));
    assert_eq!(of(&worker.facts, CacheLayer::Output), (1, true));
    assert_eq!(of(&worker.facts, CacheLayer::Compiled).0, 2);
    assert_eq!(of(&worker.facts, CacheLayer::File), (0, false));
    worker.pass(Duration::from_mins(1));
    assert_eq!(of(&worker.facts, CacheLayer::Application), (1, true));
}
