//! What it costs to parse the head of a request.

use std::hint::black_box;

use criterion::Criterion;
use sim_httpsys::model::Parameters;
use sim_httpsys::model::http1::{Head, HeadMemory, parse_head};

mod stage;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let parameters = Parameters::default();
    let mut memory = HeadMemory::default();
    assert!(matches!(
        parse_head(stage::REQUEST, &parameters, &mut memory),
        Head::Complete(_)
    ));
    criterion.bench_function("parse a head of 300 B", |bencher| {
        bencher.iter(|| parse_head(black_box(stage::REQUEST), &parameters, &mut memory));
    });
    criterion.final_summary();
}
