//! The virtual clock: the same models on one event queue. No processes, no sockets, no waiting.
#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    clippy::duration_suboptimal_units,
    reason = "a test fails when something is not exactly as it should be"
)]

use std::path::Path;
use std::time::Duration;

use iis_sim::load::Outcome;
use iis_sim::measure::Metrics;
use iis_sim::scenario::{Operation, Scenario};
use iis_sim::virtual_world::costs::Costs;
use iis_sim::virtual_world::trial::{Run, Trial};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{self, Traced};
use sim_was::event_log::Fact;
use sim_worker::facts;
use sim_worker::ipm::RecycleReason;

fn scenario(text: &str) -> Scenario {
    let text = format!("name = 'test'\n{text}");
    Scenario::parse(&text, "test.toml", Path::new(".")).unwrap()
}

/// A small load on the default site.
fn small() -> Scenario {
    scenario(
        "[timing]
        warm-up-min = '2s'
        warm-up-max = '2s'
        watch-min = '3s'
        watch-max = '3s'
        [load]
        rate = 200
        tls_share = 0
        keep_alive_connections = 16
        users = 20
        mix = [
            { url = '/iisstart.htm', weight = 2 },
            { url = '/default.aspx' },
            { url = '/session.aspx', session = true },
        ]",
    )
}

fn run(scenario: &Scenario, operation: Operation, seed: u64) -> Run {
    let trial = Trial {
        scenario,
        operation,
        seed,
        costs: &Costs::default(),
    };
    trial.run().unwrap()
}

fn metrics(run: &Run) -> &Metrics {
    assert_eq!(
        run.result.unexplained_count(),
        0,
        "{:?}",
        run.result.unexplained
    );
    assert_eq!(run.result.invalid, None);
    &run.result.metrics
}

/// When WAS stated the facts that `wanted` picks.
fn moments(run: &Run, wanted: impl Fn(&Fact) -> bool) -> Vec<Instant> {
    let facts = run.observation.was.iter().flatten();
    let picked = facts.filter(|traced| wanted(&traced.fact));
    picked.map(|traced| traced.at).collect()
}

fn events(run: &Run, id: u16) -> Vec<Instant> {
    moments(
        run,
        |fact| matches!(fact, Fact::Event(event) if event.id == id),
    )
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let scenario = small();
    let (one, two) = (
        run(&scenario, Operation::Iisreset, 7),
        run(&scenario, Operation::Iisreset, 7),
    );
    assert!(one.result.digest.is_some());
    assert_eq!(one.result.digest, two.result.digest);
    assert_eq!(one.result.metrics, two.result.metrics);
    assert_eq!(one.size, two.size);
    assert_eq!(one.observation, two.observation);
}

#[test]
fn another_seed_gives_another_run() {
    let scenario = small();
    let (one, two) = (
        run(&scenario, Operation::None, 7),
        run(&scenario, Operation::None, 8),
    );
    assert_ne!(one.result.digest, two.result.digest);
    assert_ne!(one.result.metrics, two.result.metrics);
}

#[test]
fn what_is_posted_is_read_to_its_end_and_more_than_the_driver_reads_ahead() {
    let mut scenario = small();
    scenario.load.one_shot_share = 0.0;
    for (entry, body_bytes) in scenario.load.mix.iter_mut().zip([100_000, 1_000_000, 300]) {
        entry.body_bytes = body_bytes;
    }
    let run = run(&scenario, Operation::None, 7);
    let outcomes = metrics(&run).outcomes;
    // A file cannot be posted to: its body is read all the same, to reach the next request.
    assert!(outcomes.http_4xx > 100 && outcomes.ok > 100, "{outcomes:?}");
    let judged = [Outcome::Ok, Outcome::Http4xx];
    let lost = outcomes
        .each()
        .filter(|(outcome, _)| !judged.contains(outcome));
    assert_eq!(lost.map(|(_, count)| count).sum::<u64>(), 0);
    let facts = run.observation.httpsys.iter().flatten();
    let received = |traced: &Traced<etw::Fact>| {
        if let etw::Fact::SendComplete { received, .. } = &traced.fact {
            Some(*received)
        } else {
            None
        }
    };
    let received: Vec<u64> = facts.filter_map(received).collect();
    let with = |body| received.iter().filter(|bytes| **bytes > body).count();
    assert!(with(1_000_000) > 20, "{received:?}");
    assert!(with(300) > with(1_000_000) + 20, "{received:?}");
}

#[test]
fn a_pool_that_nobody_asks_for_leaves_what_requests_meet_as_it_is() {
    let mut more = small();
    let pool = "+system.applicationHost/applicationPools.[name='Idle']";
    more.server.set.push(pool.to_owned());
    let one = run(&small(), Operation::Recycle, 7);
    let two = run(&more, Operation::Recycle, 7);
    let times = |run: &Run| -> Vec<_> {
        let attempts = run.observation.book.attempts.iter();
        attempts
            .map(|attempt| {
                (
                    attempt.id,
                    attempt.outcome,
                    attempt.finished - attempt.planned,
                )
            })
            .collect()
    };
    let (one, two) = (times(&one), times(&two));
    let mut pairs = one.iter().zip(&two);
    // The first one waits for its worker, and what W3SVC says is dealt with what it has said of the pools.
    assert!(pairs.next().is_some_and(|(one, two)| one.1 == two.1));
    let differ: Vec<_> = pairs.filter(|(one, two)| one != two).collect();
    assert_eq!(differ.len(), 0, "of {}: {differ:?}", one.len());
}

#[test]
fn a_recycle_loses_no_request_and_no_connection() {
    let run = run(&small(), Operation::Recycle, 1);
    let metrics = metrics(&run);
    assert_eq!(metrics.failed, 0);
    assert_eq!(
        metrics.connections.lost_rst + metrics.connections.lost_fin,
        0
    );
    assert!(
        metrics.sessions.lost.unwrap() > 0,
        "sessions were in the worker"
    );
    assert_eq!(metrics.workers.as_ref().unwrap().len(), 2);
}

#[test]
fn an_iisreset_severs_every_connection() {
    let run = run(&small(), Operation::Iisreset, 1);
    let metrics = metrics(&run);
    let connections = &metrics.connections;
    assert!(connections.open_before >= 16);
    assert_eq!(
        connections.lost_rst + connections.lost_fin + connections.closed_by_client,
        connections.open_before
    );
}

#[test]
fn every_operation_is_explained_to_the_last_attempt() {
    let scenario = small();
    for operation in Operation::ALL {
        let run = run(&scenario, operation, 3);
        assert_eq!(metrics(&run).lateness.unwrap().max_us, 0.0, "{operation}");
        if operation == Operation::None {
            assert_eq!(metrics(&run).failed, 0);
        }
    }
}

#[test]
fn a_request_that_outlasts_the_shutdown_time_limit_is_cut_at_exactly_90_seconds() {
    let scenario = scenario(
        "[timing]
        warm-up-min = '10s'
        warm-up-max = '10s'
        watch-min = '150s'
        watch-max = '150s'
        [load]
        rate = 1
        deadline = '300s'
        tls_share = 0
        keep_alive_connections = 4
        users = 4
        mix = [{ url = '/iisstart.htm' }]
        long = { url = '/wait.aspx?time=120000', share = 0.5 }
        [load.probes]
        interval = '1s'",
    );
    let run = run(&scenario, Operation::Recycle, 1);
    let ordered = moments(&run, |fact| matches!(fact, Fact::WorkerStopOrdered { .. }));
    let cut = events(&run, 5013);
    assert_eq!(cut.len(), 1);
    assert_eq!(cut[0] - ordered[0], Duration::from_secs(90));
    let attempts = &run.observation.book.attempts;
    let lost: Vec<_> = attempts
        .iter()
        .filter(|attempt| attempt.outcome == Outcome::ResetInflight)
        .collect();
    assert!(!lost.is_empty());
    for attempt in lost {
        assert!(attempt.planned < ordered[0], "{attempt:?}");
        assert!(attempt.finished >= cut[0], "{attempt:?}");
    }
    metrics(&run);
}

#[test]
fn a_worker_is_recycled_when_it_is_29_hours_old() {
    let scenario = scenario(
        "[timing]
        warm-up-min = '1s'
        warm-up-max = '1s'
        watch-min = '30h'
        watch-max = '30h'
        [load]
        rate = 0.05
        tls_share = 0
        keep_alive_connections = 4
        users = 4
        mix = [{ url = '/default.aspx' }]
        [load.probes]
        interval = '60s'
        url = '/default.aspx'",
    );
    let run = run(&scenario, Operation::None, 1);
    let workers = run.observation.workers.as_ref().unwrap();
    let first = workers.values().next().unwrap();
    let when = |wanted: &dyn Fn(&facts::Fact) -> bool| {
        let found = first
            .iter()
            .find(|traced: &&Traced<_>| wanted(&traced.fact));
        found.unwrap().at
    };
    let started = when(&|fact| matches!(fact, facts::Fact::Started { .. }));
    let asked = when(
        &|fact| matches!(fact, facts::Fact::RecycleRequested { reason } if *reason == RecycleReason::Time),
    );
    assert_eq!(asked - started, Duration::from_secs(104_400));
    assert_eq!(events(&run, 5074).len(), 1);
    assert_eq!(workers.len(), 2);
    assert_eq!(metrics(&run).failed, 0);
}

#[test]
fn the_driver_knows_of_a_death_before_was_has_reaped() {
    let scenario = small();
    for seed in 0..12 {
        let run = run(&scenario, Operation::KillW3wp, seed);
        let reaped = moments(&run, |fact| matches!(fact, Fact::WorkerExited { .. }));
        let facts = run.observation.httpsys.iter().flatten();
        let mut detached =
            facts.filter(|traced| matches!(traced.fact, etw::Fact::ProcessDetach { .. }));
        assert!(detached.next().unwrap().at <= reaped[0], "seed {seed}");
    }
}

#[test]
fn a_killed_worker_loses_what_it_had_and_nothing_else() {
    let run = run(&small(), Operation::KillW3wp, 2);
    let metrics = metrics(&run);
    assert_eq!(metrics.failed, metrics.outcomes.reset_inflight);
    assert_eq!(events(&run, 5009).len(), 1, "WAS has noticed");
}

#[test]
fn was_that_is_killed_is_started_again_and_every_drop_has_a_name() {
    let run = run(&small(), Operation::KillWas, 1);
    let metrics = metrics(&run);
    let connections = &metrics.connections;
    assert_eq!(
        connections.lost_rst + connections.lost_fin + connections.closed_by_client,
        connections.open_before,
        "the driver closes what its controller had set up"
    );
    assert_eq!(events(&run, 7031).len(), 2, "one for each service");
    let driver = run.observation.httpsys.iter().flatten();
    let gone = driver.filter(|traced: &&Traced<etw::Fact>| {
        matches!(traced.fact, etw::Fact::ProcessDetach { .. })
            && traced.at >= run.operation
            && traced.at - run.operation < Duration::from_millis(100)
    });
    assert_eq!(gone.count(), 2, "its worker does not outlive it");
    let attempts = &run.observation.book.attempts;
    let last = attempts
        .iter()
        .max_by_key(|attempt| attempt.planned)
        .unwrap();
    assert_eq!(last.outcome, Outcome::Ok, "it serves again");
}

#[test]
fn nobody_notices_that_was_stands_still_and_no_worker_is_blamed() {
    let run = run(&small(), Operation::FreezeWas, 1);
    assert_eq!(metrics(&run).failed, 0);
    assert_eq!(metrics(&run).workers.as_ref().unwrap().len(), 1);
    assert!(events(&run, 5010).is_empty());
}

#[test]
fn an_iisreset_of_iis_6_takes_as_long_as_the_request_that_it_waits_for() {
    let text = "[timing]
        warm-up-min = '60s'
        warm-up-max = '60s'
        watch-min = '150s'
        watch-max = '150s'
        [load]
        rate = 1
        deadline = '300s'
        tls_share = 0
        keep_alive_connections = 4
        users = 4
        mix = [{ url = '/iisstart.htm' }]
        long = { url = '/wait.aspx?time=50000', share = 0.5 }
        [load.probes]
        interval = '1s'
        [server]
        personality = ";
    let stopping = |personality: &str| {
        let scenario = scenario(&format!("{text}'{personality}'"));
        let run = run(&scenario, Operation::Iisreset, 1);
        let stopped = |fact: &Fact| {
            matches!(
                fact,
                Fact::ServiceState {
                    service: sim_was::control::Service::W3svc,
                    status: sim_was::control::ServiceStatus::Stopped,
                }
            )
        };
        let at = moments(&run, stopped);
        let first = at.into_iter().find(|at| *at >= run.operation).unwrap();
        first - run.operation
    };
    let (iis6, iis10) = (stopping("iis6"), stopping("iis10"));
    let limits = Duration::from_secs(45)..Duration::from_secs(51);
    assert!(limits.contains(&iis6), "{iis6:?}");
    assert!(iis10 < Duration::from_secs(1), "{iis10:?}");
}
