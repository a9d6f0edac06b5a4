//! The engine against queueing theory: 24 seeds of each station, compared with the closed form.
//!
//! `cargo test --release --test theory -- --nocapture` prints the table. `z` is how many standard
//! errors the mean over the seeds lies from the prediction; chance alone stays within 3 nearly always,
//! and the seeds are fixed. Each station runs with the plain line of the engine and, with fewer
//! customers, with the request queue of HTTP.sys, driven through its own protocol.

#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::fmt::Write as _;

use iis_sim::virtual_world::station::{
    Customers, Line, Observation, ServiceTimes, Station, WaitingLine,
};
use iis_sim::virtual_world::theory::{Prediction, m_d_1, m_g_1, m_m_c, m_m_c_k};

mod http_sys;

use http_sys::HttpSysLine;

const SEEDS: u64 = 24;
/// How many customers a seed counts on the engine's own line.
const CUSTOMERS: u64 = if cfg!(debug_assertions) {
    10_000
} else {
    200_000
};
/// And with HTTP.sys, which does more for each.
const HTTP_SYS_CUSTOMERS: u64 = if cfg!(debug_assertions) {
    4_000
} else {
    20_000
};

/// A station that theory knows.
struct Case {
    name: &'static str,
    servers: u32,
    places: Option<u32>,
    load: f64,
    service_times: ServiceTimes,
    prediction: Prediction,
}

fn cases() -> Vec<Case> {
    let case = |name, servers, places, load, service_times, prediction| Case {
        name,
        servers,
        places,
        load,
        service_times,
        prediction,
    };
    let exponential = ServiceTimes::Exponential;
    let mixed = ServiceTimes::ShortAndLong { short: 0.9 };
    let of = |times: ServiceTimes| m_g_1(0.7, times.variation_squared());
    vec![
        case("M/M/1", 1, None, 0.7, exponential, m_m_c(1, 0.7)),
        case("M/M/8", 8, None, 7.2, exponential, m_m_c(8, 7.2)),
        case(
            "M/M/8/28",
            8,
            Some(20),
            7.2,
            exponential,
            m_m_c_k(8, 20, 7.2),
        ),
        case(
            "M/M/8/8 +50 %",
            8,
            Some(8),
            12.0,
            exponential,
            m_m_c_k(8, 8, 12.0),
        ),
        case("M/D/1", 1, None, 0.7, ServiceTimes::Equal, m_d_1(0.7)),
        case(
            "M/G/1 uniform",
            1,
            None,
            0.7,
            ServiceTimes::Uniform,
            of(ServiceTimes::Uniform),
        ),
        case("M/G/1 short, long", 1, None, 0.7, mixed, of(mixed)),
    ]
}

impl Case {
    fn customers(&self, counted: u64, seed: u64) -> Customers {
        Customers {
            load: self.load,
            service_times: self.service_times,
            warm_up: counted.div_ceil(10).max(1_000),
            counted,
            seed,
        }
    }

    fn plain(&self, counted: u64, seed: u64) -> Observation {
        self.run(Line::new(self.servers, self.places), counted, seed)
    }

    fn http_sys(&self, counted: u64, seed: u64) -> Observation {
        let line = HttpSysLine::new(self.servers, self.places.unwrap_or(0));
        self.run(line, counted, seed)
    }

    fn run(&self, line: impl WaitingLine, counted: u64, seed: u64) -> Observation {
        Station::new(line, self.customers(counted, seed)).run()
    }
}

/// One line of the table.
struct Row {
    what: String,
    predicted: f64,
    mean: f64,
    z: f64,
}

impl Row {
    #[expect(clippy::cast_precision_loss, reason = "a few seeds")]
    fn new(what: String, predicted: f64, seen: &[f64]) -> Self {
        let count = seen.len() as f64;
        let mean = seen.iter().sum::<f64>() / count;
        let variance = seen.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self {
            what,
            predicted,
            mean,
            z: (mean - predicted) / (variance / count).sqrt(),
        }
    }
}

fn rows(case: &Case, line: &str, seen: &[Observation]) -> Vec<Row> {
    let of = |figure: fn(&Observation) -> f64| seen.iter().map(figure).collect::<Vec<f64>>();
    let name = |figure| format!("{:<18} {line:<9} {figure:<8}", case.name);
    let mut rows = vec![Row::new(
        name("wait"),
        case.prediction.wait,
        &of(Observation::wait_mean),
    )];
    if case.places.is_some() {
        rows.push(Row::new(
            name("refused"),
            case.prediction.refused,
            &of(Observation::refused_share),
        ));
    }
    rows
}

/// Prints the table and fails if theory and engine disagree.
fn hold_together(rows: &[Row]) {
    let mut table = format!(
        "{:<37} {:>10} {:>10} {:>6}\n",
        "station, line, figure", "theory", "mean", "z"
    );
    for Row {
        what,
        predicted,
        mean,
        z,
    } in rows
    {
        writeln!(table, "{what:<37} {predicted:>10.6} {mean:>10.6} {z:>6.2}")
            .expect("a string takes it");
    }
    println!("{SEEDS} seeds\n{table}");
    assert!(
        rows.iter().all(|row| row.z.abs() < 3.0),
        "seeds 0..{SEEDS} disagree with theory\n{table}"
    );
}

#[test]
fn the_engine_agrees_with_queueing_theory() {
    let mut table = Vec::new();
    for case in cases() {
        let seen: Vec<Observation> = (0..SEEDS).map(|seed| case.plain(CUSTOMERS, seed)).collect();
        table.extend(rows(&case, "engine", &seen));
    }
    hold_together(&table);
}

#[test]
fn the_request_queue_of_http_sys_agrees_with_queueing_theory() {
    let mut table = Vec::new();
    for case in cases() {
        let seeds = 0..SEEDS;
        let seen: Vec<Observation> = seeds
            .map(|seed| case.http_sys(HTTP_SYS_CUSTOMERS, seed))
            .collect();
        table.extend(rows(&case, "HTTP.sys", &seen));
        for (seed, seen) in (0..SEEDS).zip(&seen) {
            let plain = case.plain(HTTP_SYS_CUSTOMERS, seed);
            assert_eq!(
                *seen, plain,
                "{}, seed {seed}: same customers, other line",
                case.name
            );
        }
    }
    hold_together(&table);
}
