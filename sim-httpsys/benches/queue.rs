//! What the driver's machine costs a request: parser, routing, queue, response, log and facts,
//! without any system call.

use criterion::Criterion;
use sim_httpsys::api::CachePolicy;

mod stage;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, log) in [
        ("a GET through the queue and its response back", true),
        (
            "a GET through the queue and its response back, not logged",
            false,
        ),
    ] {
        let mut stage = stage::Stage::new(log);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let request = stage.receive();
                stage.respond(request.id, CachePolicy::Nocache);
            });
        });
    }
    criterion.final_summary();
}
