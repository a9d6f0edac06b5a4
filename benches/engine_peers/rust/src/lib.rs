//! What the stations have in common: random numbers, and what is printed at the end.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Arrivals per mean service time.
pub const LOAD: f64 = 7.2;
/// Servers.
pub const SERVERS: u32 = 8;
/// Places to wait.
pub const PLACES: usize = 20;

/// A small generator. Source: Steele, Lea, Flood, 2014: splitmix64.
pub struct Random(pub u64);

impl Random {
    /// An exponential time with mean 1.
    pub fn exponential(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        -(((z >> 11) + 1) as f64 / (1_u64 << 53) as f64).ln()
    }
}

/// Customers and seed, from the command line.
pub fn arguments() -> (u64, u64) {
    let mut words = std::env::args().skip(1);
    let mut number = || words.next().and_then(|word| word.parse().ok());
    (number().unwrap_or(100_000), number().unwrap_or(1))
}

/// Processor time of this process so far.
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What all stations print: served, refused, waited (in mean service times), seconds of processor time.
pub fn report(served: u64, refused: u64, waited: f64, took: Duration) {
    println!("{served} {refused} {waited} {}", took.as_secs_f64());
}
