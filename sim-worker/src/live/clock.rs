//! What time it is for one thread: the CPU time that it has used. The machine's clocks are the driver's.

use rustix::time::{ClockId, clock_gettime};

pub(super) use sim_httpsys::live::clock::{clock_now, utc_clock};

/// The CPU time that the calling thread has used, nanoseconds.
pub(super) fn thread_cpu() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
