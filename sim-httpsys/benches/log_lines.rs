//! What a line of the W3C log costs.

use criterion::Criterion;
use sim_httpsys::clockwork::UtcTime;
use sim_httpsys::logging::{LogEntry, write_w3c_line};

mod stage;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let LogEntry::W3c(record) = stage::Stage::new(true).log_entry() else {
        panic!("an answered request is logged in the site's log");
    };
    let utc = UtcTime(1_700_000_000_000_000_000);
    let mut out = Vec::new();
    criterion.bench_function("write a line of the W3C log", |bencher| {
        bencher.iter(|| {
            out.clear();
            write_w3c_line(&record, "WEB1", &mut out, utc);
        });
    });
    criterion.final_summary();
}
