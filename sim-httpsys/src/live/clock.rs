//! What time it is: the one clock that all programs of a machine share.

use rustix::time::{ClockId, clock_gettime};

use crate::clockwork::{Instant, UtcClock, UtcTime};

/// The time since the machine was switched on (`CLOCK_MONOTONIC`): moments taken in different
/// processes compare.
pub fn clock_now() -> Instant {
    Instant(nanos(ClockId::Monotonic))
}

/// The civil time.
pub fn utc_now() -> UtcTime {
    UtcTime(nanos(ClockId::Realtime))
}

/// Translates this machine's moments to civil time, as its clocks stand now.
pub fn utc_clock() -> UtcClock {
    UtcClock::reading(utc_now(), clock_now())
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_go_backwards_and_knows_the_century() {
        let earlier = clock_now();
        assert!(clock_now() >= earlier);
        assert!(utc_now().unix_seconds() > 1_700_000_000);
    }
}
