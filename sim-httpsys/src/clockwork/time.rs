//! The time that models see: nanoseconds since the machine was switched on.
//!
//! Live, an `Instant` is `CLOCK_MONOTONIC`, so moments taken in different processes of one machine
//! compare; virtually it starts at zero. Models never ask for the time, they are told it.
//! Civil time (log lines, `Date` headers) is the same instant seen through a [`UtcClock`].

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment: nanoseconds since the machine was switched on.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Instant(pub u64);

impl Instant {
    /// The moment at which the machine was switched on.
    pub const SWITCHED_ON: Self = Self(0);

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Milliseconds from `earlier` to `self`; negative if `earlier` is later.
    #[expect(
        clippy::cast_precision_loss,
        reason = "reports need microseconds, not exact nanoseconds"
    )]
    pub fn millis_since(self, earlier: Self) -> f64 {
        if self >= earlier {
            (self.0 - earlier.0) as f64 / 1e6
        } else {
            -((earlier.0 - self.0) as f64 / 1e6)
        }
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time (584 years), so that an absurd limit cannot wrap into the past.
    fn add(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        debug_assert!(
            self >= earlier,
            "time went backwards: {earlier} is after {self}"
        );
        self.saturating_since(earlier)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:06} s",
            self.0 / 1_000_000_000,
            self.0 / 1_000 % 1_000_000
        )
    }
}

/// A civil time: nanoseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UtcTime(pub u64);

impl UtcTime {
    /// Whole seconds since 1970-01-01T00:00:00Z.
    pub fn unix_seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// What a wall clock shows that is so many seconds ahead, or behind if they are negative.
    #[must_use]
    pub fn ahead(self, seconds: i32) -> Self {
        let nanos = u64::from(seconds.unsigned_abs()) * 1_000_000_000;
        Self(if seconds < 0 {
            self.0.saturating_sub(nanos)
        } else {
            self.0.saturating_add(nanos)
        })
    }

    /// The same as a [`jiff::Timestamp`], for calendars and formats.
    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(jiff::Timestamp::MAX)
    }
}

/// Translates moments to civil time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtcClock {
    /// The civil time at [`Instant::SWITCHED_ON`].
    pub switched_on: UtcTime,
}

impl UtcClock {
    /// A clock that reads `utc` at the moment `at`.
    pub fn reading(utc: UtcTime, at: Instant) -> Self {
        Self {
            switched_on: UtcTime(utc.0.saturating_sub(at.0)),
        }
    }

    /// The civil time at `now`.
    pub fn utc(self, now: Instant) -> UtcTime {
        UtcTime(self.switched_on.0.saturating_add(now.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absurd_limit_does_not_wrap_into_the_past() {
        assert_eq!(Instant(5) + Duration::MAX, Instant(u64::MAX));
    }

    #[test]
    fn a_clock_reads_what_it_was_set_to() {
        let clock = UtcClock::reading(UtcTime(1_000), Instant(400));
        assert_eq!(clock.utc(Instant(401)), UtcTime(1_001));
    }
}
