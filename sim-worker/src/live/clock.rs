//! What time it is.

use rustix::time::{ClockId, Timespec, clock_gettime};
use sim_httpsys::clockwork::{Instant, UtcTime};

/// Now, on the clock that all processes of the machine share.
pub(super) fn clock_now() -> Instant {
    Instant(nanos(clock_gettime(ClockId::Monotonic)))
}

/// Now, in civil time.
pub(super) fn utc_now() -> UtcTime {
    UtcTime(nanos(clock_gettime(ClockId::Realtime)))
}

/// The CPU time that the calling thread has used, nanoseconds.
pub(super) fn thread_cpu() -> u64 {
    nanos(clock_gettime(ClockId::ThreadCPUTime))
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
