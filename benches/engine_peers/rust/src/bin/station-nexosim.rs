//! The station in nexosim: one model that schedules its own events, one thread.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use engine_peers::{LOAD, PLACES, Random, SERVERS, arguments, processor_time, report};
use nexosim::model::{Context, Model, schedulable};
use nexosim::simulation::{Mailbox, SimInit};
use nexosim::time::MonotonicTime;
use serde::{Deserialize, Serialize};

/// Mean service time, seconds.
const SERVICE: f64 = 1e-3;

/// What was seen, once the last customer has gone.
static SEEN: Mutex<(u64, u64, u64)> = Mutex::new((0, 0, 0));

#[derive(Serialize, Deserialize)]
struct Station {
    random: u64,
    left: u64,
    idle: u32,
    waiting: VecDeque<u64>,
    served: u64,
    refused: u64,
    waited: u64,
}

#[Model]
impl Station {
    #[nexosim(init)]
    async fn init(&mut self, cx: &Context<Self>) {
        self.expect_next(cx);
    }

    #[nexosim(schedulable)]
    fn arrives(&mut self, (): (), cx: &Context<Self>) {
        if self.idle > 0 {
            self.idle -= 1;
            self.begin(0, cx);
        } else if self.waiting.len() < PLACES {
            self.waiting.push_back(now(cx));
        } else {
            self.refused += 1;
        }
        self.expect_next(cx);
    }

    #[nexosim(schedulable)]
    fn done(&mut self, (): (), cx: &Context<Self>) {
        match self.waiting.pop_front() {
            Some(arrived) => self.begin(now(cx) - arrived, cx),
            None => self.idle += 1,
        }
        if self.left == 0 && self.idle == SERVERS {
            *SEEN.lock().unwrap() = (self.served, self.refused, self.waited);
        }
    }

    fn begin(&mut self, waited: u64, cx: &Context<Self>) {
        self.served += 1;
        self.waited += waited;
        let service = self.draw(SERVICE);
        cx.schedule_event(service, schedulable!(Self::done), ())
            .unwrap();
    }

    fn expect_next(&mut self, cx: &Context<Self>) {
        if self.left > 0 {
            self.left -= 1;
            let gap = self.draw(SERVICE / LOAD);
            cx.schedule_event(gap, schedulable!(Self::arrives), ())
                .unwrap();
        }
    }

    /// At least a nanosecond: nexosim refuses an event that is not later than now.
    fn draw(&mut self, mean: f64) -> Duration {
        let mut random = Random(self.random);
        let time = Duration::from_secs_f64(mean * random.exponential());
        self.random = random.0;
        time.max(Duration::from_nanos(1))
    }
}

fn now(cx: &Context<Station>) -> u64 {
    cx.time().duration_since(MonotonicTime::EPOCH).as_nanos() as u64
}

fn main() {
    let (customers, seed) = arguments();
    let start = processor_time();
    let station = Station {
        random: seed,
        left: customers,
        idle: SERVERS,
        waiting: VecDeque::with_capacity(PLACES),
        served: 0,
        refused: 0,
        waited: 0,
    };
    let bench = SimInit::with_num_threads(1).add_model(station, Mailbox::new(), "station");
    let mut simulation = bench.init(MonotonicTime::EPOCH).unwrap();
    simulation.run().unwrap();
    let took = processor_time() - start;
    let (served, refused, waited) = *SEEN.lock().unwrap();
    report(served, refused, waited as f64 * 1e-9 / SERVICE, took);
}
