//! Events a second of the engine: `cargo bench --bench engine`.
//!
//! A station of 8 servers at a load of 90 % with 20 places to wait (M/M/8/28): event queue, random
//! numbers, line and bookkeeping, two events a customer.

#![expect(clippy::print_stdout, reason = "the figure is the result")]

use criterion::{Criterion, Throughput};
use iis_sim::virtual_world::station::{Customers, Line, Observation, ServiceTimes, Station};
use rustix::time::{ClockId, clock_gettime};

/// Million events a second that one core should reach.
const GOAL: f64 = 15.0;

fn run(counted: u64, seed: u64) -> Observation {
    let customers = Customers {
        load: 7.2,
        service_times: ServiceTimes::Exponential,
        warm_up: 0,
        counted,
        seed,
    };
    Station::new(Line::new(8, Some(20)), customers).run()
}

fn bounded_station(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("M/M/8/28");
    group.throughput(Throughput::Elements(run(100_000, 1).events));
    group.bench_function("100000 customers", |bencher| {
        bencher.iter(|| run(100_000, 1))
    });
    group.finish();
}

/// Processor time of this process, in seconds.
#[expect(clippy::cast_precision_loss, reason = "a rate is wanted")]
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "a rate is wanted")]
fn events_a_second() {
    let mut rates: Vec<f64> = (0..9)
        .map(|seed| {
            let start = processor_time();
            let seen = run(1_000_000, seed);
            seen.events as f64 / (processor_time() - start) / 1e6
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    let (median, best) = (rates[rates.len() / 2], rates[rates.len() - 1]);
    println!(
        "\nM/M/8/28, 9 seeds of 1 M customers: median {median:.1}, best {best:.1} million events \
         a second of processor time (goal {GOAL})"
    );
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    bounded_station(&mut criterion);
    criterion.final_summary();
    if !std::env::args().any(|argument| argument == "--test") {
        events_a_second();
    }
}
