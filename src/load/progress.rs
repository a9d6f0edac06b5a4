//! How a run is going, told every 100 ms.

use serde::{Deserialize, Serialize};
use sim_httpsys::clockwork::Instant;

/// How the run is going: live, a line on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// When.
    pub at: Instant,
    /// Attempts that have ended since the beginning, probes included.
    pub done: u64,
    /// Those that succeeded.
    pub ok: u64,
    /// Those that did not.
    pub failed: u64,
    /// The 95th percentile of the latency of the load's attempts that ended since the last line,
    /// in microseconds; `None` if none did.
    pub p95_us_last: Option<u64>,
    /// The worst lateness of the generator since the last line, in microseconds.
    pub late_us: u64,
}
