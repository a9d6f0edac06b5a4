//! What the driver's machine costs a request that the response cache answers.

use criterion::Criterion;
use sim_httpsys::api::CachePolicy;

mod stage;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut stage = stage::Stage::new(true);
    let request = stage.receive();
    stage.respond(request.id, CachePolicy::UserInvalidates);
    criterion.bench_function("a GET answered from the response cache", |bencher| {
        bencher.iter(|| stage.hit());
    });
    criterion.final_summary();
}
