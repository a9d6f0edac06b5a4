//! The station in tokio with a paused clock: a task for each customer, one thread.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use engine_peers::{LOAD, PLACES, Random, SERVERS, arguments, processor_time, report};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

/// Mean service time, seconds: long, because tokio's timers have a grain of a millisecond.
const SERVICE: f64 = 10.0;

#[derive(Default)]
struct Seen {
    waiting: Cell<usize>,
    served: Cell<u64>,
    refused: Cell<u64>,
    waited: Cell<f64>,
    random: Cell<u64>,
}

impl Seen {
    fn draw(&self, mean: f64) -> Duration {
        let mut random = Random(self.random.get());
        let time = Duration::from_secs_f64(mean * random.exponential());
        self.random.set(random.0);
        time
    }
}

async fn customer(seen: Rc<Seen>, servers: Rc<Semaphore>) {
    let arrived = Instant::now();
    seen.waiting.set(seen.waiting.get() + 1);
    let _server = servers.acquire().await.unwrap();
    seen.waiting.set(seen.waiting.get() - 1);
    seen.served.set(seen.served.get() + 1);
    seen.waited
        .set(seen.waited.get() + arrived.elapsed().as_secs_f64());
    sleep(seen.draw(SERVICE)).await;
}

async fn station(customers: u64, seen: Rc<Seen>) {
    let servers = Rc::new(Semaphore::new(SERVERS as usize));
    for _ in 0..customers {
        sleep(seen.draw(SERVICE / LOAD)).await;
        if servers.available_permits() == 0 && seen.waiting.get() >= PLACES {
            seen.refused.set(seen.refused.get() + 1);
        } else {
            tokio::task::spawn_local(customer(Rc::clone(&seen), Rc::clone(&servers)));
        }
    }
    let _all = servers.acquire_many(SERVERS).await.unwrap();
}

fn main() {
    let (customers, seed) = arguments();
    let start = processor_time();
    let seen = Rc::new(Seen::default());
    seen.random.set(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, station(customers, Rc::clone(&seen)));
    let took = processor_time() - start;
    report(
        seen.served.get(),
        seen.refused.get(),
        seen.waited.get() / SERVICE,
        took,
    );
}
