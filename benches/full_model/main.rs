//! Speed and memory of the whole model: `cargo bench --bench full_model`.
//!
//! HTTP.sys, WAS, four pools with their workers, and clients on 1,000 kept-alive connections, of whose
//! requests six of ten are answered from the kernel's cache. Printed are events and requests a second of
//! processor time, beside the bare engine's (M/M/8/28) in the same run, allocations an event and bytes a
//! connection.
//!
//! `-- --soak EVENTS` runs so many events and prints the process's memory on the way; `-- --checked` lets
//! the checkers of the swarm look on; `-- --once EVENTS` runs them and says nothing, for a profiler; `-- --memory` measures bytes only.

#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::path::Path;
use std::time::Duration;

use iis_sim::scenario::Scenario;
use iis_sim::virtual_world::costs::Costs;
use iis_sim::virtual_world::full_model::FullModel;
use iis_sim::virtual_world::station::{Customers, Line, ServiceTimes, Station};
use rustix::time::{ClockId, clock_gettime};

mod counting;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const SCENARIO: &str = include_str!("scenario.toml");
const IN_FLIGHT: &str = include_str!("in_flight.toml");

/// Virtual time until workers run, and everything that is kept is kept.
const WARM_UP: Duration = Duration::from_secs(30);

/// Million events, and million requests, a second that one core should reach.
const GOALS: (f64, f64) = (8.0, 2.5);

/// The share of the bare engine's events a second that should be left.
const SHARE_GOAL: f64 = 0.45;

/// Bytes that an idle connection may take.
const CONNECTION_GOAL: f64 = 256.0;

fn model(connections: u32, rate: f64, checked: bool) -> FullModel {
    model_of(SCENARIO, connections, rate, checked)
}

fn model_of(scenario: &str, connections: u32, rate: f64, checked: bool) -> FullModel {
    let mut scenario = Scenario::parse(scenario, "scenario.toml", Path::new("."))
        .expect("the scenario beside this file is one");
    scenario.load.keep_alive_connections = connections;
    scenario.load.rate = rate;
    FullModel::new(&scenario, 1, &Costs::default(), checked).expect("the scenario can be run")
}

fn warm(checked: bool) -> FullModel {
    let mut model = model(1_000, 10_000.0, checked);
    model.run_for(WARM_UP).expect("the model runs");
    model
}

/// Processor time of this process, in seconds.
#[expect(clippy::cast_precision_loss, reason = "a rate is wanted")]
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Million events a second of the engine alone.
#[expect(clippy::cast_precision_loss, reason = "a rate is wanted")]
fn engine_rate(seed: u64) -> f64 {
    let customers = Customers {
        load: 7.2,
        service_times: ServiceTimes::Exponential,
        warm_up: 0,
        counted: 500_000,
        seed,
    };
    let start = processor_time();
    let observed = Station::new(Line::new(8, Some(20)), customers).run();
    observed.events as f64 / (processor_time() - start) / 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "rates are wanted")]
fn speed(checked: bool) {
    let mut model = warm(checked);
    let (calls, first_event) = (counting::calls(), model.events());
    let (mut events, mut requests, mut engine) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..9 {
        engine.push(engine_rate(round));
        let (start, before) = (processor_time(), (model.events(), model.requests()));
        model.run(500_000).expect("the model runs");
        let took = processor_time() - start;
        events.push((model.events() - before.0) as f64 / took / 1e6);
        requests.push((model.requests() - before.1) as f64 / took / 1e6);
    }
    let allocations = (counting::calls() - calls) as f64 / (model.events() - first_event) as f64;
    let (events, requests, engine) = (median(events), median(requests), median(engine));
    let with = if checked { ", with checkers" } else { "" };
    println!(
        "full model, 1000 connections{with}, medians of 9 rounds of 500 000 events:\n\
         \x20 {events:.2} million events a second of processor time (goal {})\n\
         \x20 {requests:.3} million requests a second of processor time (goal {})\n\
         \x20 {:.3} of the bare engine's {engine:.1} million events a second (goal {SHARE_GOAL})\n\
         \x20 {allocations:.4} allocations an event (goal 0)",
        GOALS.0,
        GOALS.1,
        events / engine,
    );
}

/// What a connection takes that is open, has carried a few requests and waits for the next one.
#[expect(clippy::cast_precision_loss, reason = "a mean is wanted")]
fn bytes_a_connection() {
    let held = |connections| {
        let before = counting::held();
        let mut model = model(connections, 2_000.0, false);
        model
            .run_for(Duration::from_secs(90))
            .expect("the model runs");
        let held = counting::held() - before;
        drop(model);
        held
    };
    let (few, many) = (1_000, 21_000);
    let each = (held(many) - held(few)) as f64 / f64::from(many - few);
    println!("  {each:.0} bytes an idle connection (goal {CONNECTION_GOAL})");
}

/// What a request takes, with its connection, that waits in the driver because its pool is busy.
#[expect(clippy::cast_precision_loss, reason = "a mean is wanted")]
fn bytes_a_request() {
    let held = |connections| {
        let before = counting::held();
        let mut model = model_of(IN_FLIGHT, connections, f64::from(connections), false);
        model
            .run_for(Duration::from_secs(2))
            .expect("the model runs");
        let (held, in_flight) = (counting::held() - before, model.in_flight());
        drop(model);
        (held, in_flight)
    };
    let (few, many) = (held(1_000), held(21_000));
    let each = (many.0 - few.0) as f64 / (many.1 - few.1) as f64;
    println!(
        "  {each:.0} bytes a request in flight and its connection ({} of them, goal {})",
        many.1,
        2.0 * CONNECTION_GOAL
    );
}

/// Kilobytes of memory that the process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn soak(events: u64, checked: bool) {
    let mut model = warm(checked);
    let start = processor_time();
    for part in 0..=20 {
        println!(
            "{:>13} events, {:>12} requests, {:>9.0} virtual s, {:>7.1} s CPU: RSS {} KiB, held {} bytes",
            model.events(),
            model.requests(),
            model.now().0 as f64 / 1e9,
            processor_time() - start,
            resident(),
            counting::held(),
        );
        if part < 20 {
            model.run(events / 20).expect("the model runs");
        }
    }
    println!("digest {:016x}", model.digest());
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let number_behind = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        let number: f64 = arguments.get(at + 1)?.parse().ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "events are counted in whole numbers"
        )]
        Some(number as u64)
    };
    let checked = has("--checked");
    if let Some(events) = number_behind("--soak") {
        return soak(events, checked);
    }
    if let Some(events) = number_behind("--once") {
        warm(checked).run(events).expect("the model runs");
        return;
    }
    if has("--test") {
        model(100, 1_000.0, true)
            .run(100_000)
            .expect("the model runs");
        return;
    }
    if !has("--memory") {
        speed(checked);
    }
    bytes_a_connection();
    bytes_a_request();
}
