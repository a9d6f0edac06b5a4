//! Civil time by the calendar, UTC: what log lines and `Date` headers are made of.
//!
//! Only the arithmetic that every request needs lies here, without allocation. Time zones, and
//! calendars in local time, are the business of `jiff`.

use super::UtcTime;

/// A civil time, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// The year, e.g. 2026.
    pub year: u32,
    /// The month, 1–12.
    pub month: u32,
    /// The day of the month, 1–31.
    pub day: u32,
    /// The day of the week, 0 (Sunday) – 6.
    pub weekday: u32,
    /// The hour, 0–23.
    pub hour: u32,
    /// The minute, 0–59.
    pub minute: u32,
    /// The second, 0–59.
    pub second: u32,
}

impl From<UtcTime> for Civil {
    fn from(utc: UtcTime) -> Self {
        let seconds = utc.unix_seconds();
        let narrow = |n: u64| u32::try_from(n).unwrap_or(0); // fits: UtcTime ends in the year 2554
        let (days, of_day) = (seconds / 86_400, seconds % 86_400);
        // Years are counted from the first of March, so that the leap day is a year's last:
        // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        Self {
            year: narrow(year_of_era + era * 400 + u64::from(month <= 2)),
            month: narrow(month),
            day: narrow(day_of_year - (153 * march_month + 2) / 5 + 1),
            weekday: narrow((days + 4) % 7),
            hour: narrow(of_day / 3_600),
            minute: narrow(of_day / 60 % 60),
            second: narrow(of_day % 60),
        }
    }
}

impl Civil {
    /// The week of the month, 1–6, weeks beginning on Sunday.
    pub fn week_of_month(self) -> u32 {
        let weekday_of_the_first = (self.weekday + 35 - (self.day - 1)) % 7;
        (self.day - 1 + weekday_of_the_first) / 7 + 1
    }
}

/// The two digits of a number below 100.
pub fn two_digits(n: u32) -> [u8; 2] {
    let digit = |d: u32| b'0' + u8::try_from(d % 10).unwrap_or(0); // a digit always fits
    [digit(n / 10), digit(n)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weeks_of_a_month_begin_on_sunday() {
        let on = |seconds: u64| Civil::from(UtcTime(seconds * 1_000_000_000)).week_of_month();
        assert_eq!(on(1_793_491_200), 1, "2026-11-01 was a Sunday");
        assert_eq!(on(1_793_491_200 + 6 * 86_400), 1);
        assert_eq!(on(1_793_491_200 + 7 * 86_400), 2);
        assert_eq!(
            on(1_796_083_200 + 4 * 86_400),
            1,
            "2026-12-05 was a Saturday"
        );
        assert_eq!(on(1_796_083_200 + 5 * 86_400), 2);
    }

    proptest! {
        #[test]
        fn the_calendar_agrees_with_jiff(nanos in any::<u64>()) {
            let civil = Civil::from(UtcTime(nanos));
            let theirs = UtcTime(nanos).timestamp().to_zoned(jiff::tz::TimeZone::UTC);
            prop_assert_eq!(i64::from(civil.year), i64::from(theirs.year()));
            prop_assert_eq!(i64::from(civil.month), i64::from(theirs.month()));
            prop_assert_eq!(i64::from(civil.day), i64::from(theirs.day()));
            prop_assert_eq!(i64::from(civil.hour), i64::from(theirs.hour()));
            prop_assert_eq!(i64::from(civil.minute), i64::from(theirs.minute()));
            prop_assert_eq!(i64::from(civil.second), i64::from(theirs.second()));
            prop_assert_eq!(
                i64::from(civil.weekday),
                i64::from(theirs.weekday().to_sunday_zero_offset())
            );
        }
    }
}
