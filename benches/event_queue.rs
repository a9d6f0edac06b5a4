//! The event queue beside `std::collections::BinaryHeap`: `cargo bench --bench event_queue`.
//!
//! The hold model: take the earliest event, push one, so that the number of pending events stays. Two
//! mixes: all spans exponential around 1 ms; and the web mix, where nearly all that is pending is a far
//! timer and nearly all that happens is near. After criterion's figures, both queues run in turns and
//! the ratio of their processor time is printed: it stands on a busy machine, nanoseconds do not.

#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use iis_sim::virtual_world::event_queue::EventQueue;
use iis_sim::virtual_world::random::Random;
use rustix::time::{ClockId, clock_gettime};
use sim_httpsys::clockwork::Instant;

const MILLISECOND: Duration = Duration::from_millis(1);
/// Holds of one turn.
const BATCH: u64 = 1_000;

/// What is pushed.
#[derive(Clone, Copy, Debug)]
enum Mix {
    /// Around 1 ms, exponential.
    Exponential,
    /// A service of about 1 ms, 98.5 times in 100; otherwise a timer of 2 min, 20 min or 29 h.
    Web,
}

impl Mix {
    /// In nanoseconds.
    #[inline]
    fn span(self, random: &mut Random) -> u64 {
        const MINUTE: u64 = 60_000_000_000;
        match self {
            Self::Exponential => service(random),
            Self::Web => match random.below(2_000) {
                0..27 => 2 * MINUTE,
                27..29 => 20 * MINUTE,
                29 => 29 * 60 * MINUTE,
                _ => service(random),
            },
        }
    }

    /// What is left of the span of an event that is pending at some moment: the longer a span, the
    /// likelier it is met.
    fn rest(self, random: &mut Random) -> Duration {
        let span = match self {
            Self::Exponential => return random.exponential_span(MILLISECOND),
            Self::Web => match random.below(27 * 2 + 2 * 20 + 29 * 60) {
                0..54 => Duration::from_mins(2),
                54..94 => Duration::from_mins(20),
                _ => Duration::from_hours(29),
            },
        };
        random.span_between(Duration::ZERO, span)
    }
}

/// About 1 ms, in nanoseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number far below 2^63"
)]
fn service(random: &mut Random) -> u64 {
    (random.exponential() * 1e6) as u64
}

/// What both queues can do.
trait Pending {
    fn push(&mut self, at: Instant, event: u32);
    fn pop(&mut self) -> Option<(Instant, u32)>;
}

impl Pending for EventQueue<u32> {
    fn push(&mut self, at: Instant, event: u32) {
        EventQueue::push(self, at, event);
    }

    fn pop(&mut self) -> Option<(Instant, u32)> {
        EventQueue::pop(self)
    }
}

/// The peer: time, turn and event in one 16-byte key, the quickest that a stable `BinaryHeap` can be.
#[derive(Default)]
struct Heap {
    events: BinaryHeap<Reverse<u128>>,
    turn: u32,
}

impl Pending for Heap {
    fn push(&mut self, at: Instant, event: u32) {
        self.turn = self.turn.wrapping_add(1);
        let key = u128::from(at.0) << 64 | u128::from(self.turn) << 32 | u128::from(event);
        self.events.push(Reverse(key));
    }

    #[expect(clippy::cast_possible_truncation, reason = "the parts of the key")]
    fn pop(&mut self) -> Option<(Instant, u32)> {
        let Reverse(key) = self.events.pop()?;
        Some((Instant((key >> 64) as u64), key as u32))
    }
}

/// A queue that is held at a number of pending events.
struct Hold<Q> {
    queue: Q,
    mix: Mix,
    random: Random,
}

impl<Q: Pending> Hold<Q> {
    fn new(mut queue: Q, mix: Mix, pending: u32) -> Self {
        let mut random = Random::stream(1, "spans");
        for event in 0..pending {
            queue.push(Instant::SWITCHED_ON + mix.rest(&mut random), event);
        }
        let mut hold = Self { queue, mix, random };
        hold.turns(3 * u64::from(pending));
        hold
    }

    fn turns(&mut self, count: u64) {
        for _ in 0..count {
            let (now, event) = self.queue.pop().expect("as many as were pushed");
            let at = Instant(now.0 + self.mix.span(&mut self.random));
            self.queue.push(at, black_box(event));
        }
    }
}

const CASES: [(Mix, u32, f64); 4] = [
    (Mix::Exponential, 1_000, 1.5),
    (Mix::Exponential, 100_000, 2.0),
    (Mix::Web, 1_000, 1.5),
    (Mix::Web, 100_000, 2.0),
];

fn hold_model(criterion: &mut Criterion) {
    for (mix, pending, _) in CASES {
        let mut group = criterion.benchmark_group(format!("hold/{mix:?}"));
        group.throughput(Throughput::Elements(BATCH));
        let mut wheel = Hold::new(EventQueue::new(), mix, pending);
        group.bench_function(BenchmarkId::new("EventQueue", pending), |bencher| {
            bencher.iter(|| wheel.turns(BATCH));
        });
        let mut heap = Hold::new(Heap::default(), mix, pending);
        group.bench_function(BenchmarkId::new("BinaryHeap", pending), |bencher| {
            bencher.iter(|| heap.turns(BATCH));
        });
        group.finish();
    }
}

/// Processor time of this process, in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "a ratio is wanted")]
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn ratios() {
    const ROUNDS: usize = 15;
    const TURNS: u64 = 200_000;
    println!(
        "\n{:<12} {:>8}  {:>12} {:>12} {:>6} {:>6}",
        "mix", "pending", "EventQueue", "BinaryHeap", "ratio", "goal"
    );
    for (mix, pending, goal) in CASES {
        let mut wheel = Hold::new(EventQueue::new(), mix, pending);
        let mut heap = Hold::new(Heap::default(), mix, pending);
        let (mut wheel_times, mut heap_times) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = processor_time();
            wheel.turns(TURNS);
            let between = processor_time();
            heap.turns(TURNS);
            wheel_times.push((between - start) / TURNS as f64);
            heap_times.push((processor_time() - between) / TURNS as f64);
        }
        let pairs = heap_times.iter().zip(&wheel_times);
        let ratio = median(pairs.map(|(heap, wheel)| heap / wheel).collect());
        let (wheel, heap) = (median(wheel_times), median(heap_times));
        let mix = format!("{mix:?}");
        let verdict = if ratio >= goal { "" } else { "  missed" };
        println!(
            "{mix:<12} {pending:>8}  {wheel:>9.1} ns {heap:>9.1} ns {ratio:>6.2} {goal:>6.1}{verdict}"
        );
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    hold_model(&mut criterion);
    criterion.final_summary();
    if !std::env::args().any(|argument| argument == "--test") {
        ratios();
    }
}
