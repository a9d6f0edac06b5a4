//! Figures of the fault matrix: drawn in every run, held against their goals where somebody asks for it.
//!
//! `FAULT_RUNS=50 cargo test --release --test worker_faults -- --nocapture --test-threads 1` draws each figure
//! that often, prints it, and fails if it misses its goal. Otherwise a test draws a few and asserts what
//! happened, not how fast.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

/// How often a fault is injected, and whether its figures are held against their goals.
#[derive(Clone, Copy)]
pub struct Runs {
    /// How often.
    pub count: usize,
    /// Whether figures are held against their goals.
    pub judged: bool,
}

impl Runs {
    /// As often as `FAULT_RUNS` says, or so often.
    pub fn or(count: usize) -> Self {
        match std::env::var("FAULT_RUNS") {
            Ok(text) => Self {
                count: text.parse().expect("FAULT_RUNS is a number"),
                judged: true,
            },
            Err(_) => Self {
                count,
                judged: false,
            },
        }
    }

    /// Prints durations of nanoseconds, and fails if median or 99th percentile is above its goal.
    #[expect(
        clippy::print_stdout,
        reason = "figures are for the one who asks for them"
    )]
    pub fn close(self, what: &str, mut drawn: Vec<u64>, goals: (Duration, Duration)) {
        drawn.sort_unstable();
        let at = |share: f64| {
            let last = drawn.len() - 1;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an index below a small length"
            )]
            let index = (share * last as f64).ceil() as usize;
            Duration::from_nanos(drawn[index])
        };
        let (median, p99) = (at(0.5), at(0.99));
        println!(
            "{what}: p50 {median:?}, p99 {p99:?} of {} (goals {:?} and {:?})",
            drawn.len(),
            goals.0,
            goals.1
        );
        if self.judged {
            assert!(median <= goals.0, "{what}: median {median:?}");
            assert!(p99 <= goals.1, "{what}: 99th percentile {p99:?}");
        }
    }
}

/// The moment it is, as facts have it.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// Sends a signal to a process; gives the moment before.
pub fn signal(pid: u32, signal: Signal) -> u64 {
    let moment = now();
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
    moment
}

/// Milliseconds, as nanoseconds.
pub const fn ms(milliseconds: u64) -> u64 {
    milliseconds * 1_000_000
}
