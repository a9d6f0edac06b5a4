//! The server's time zone, as plain data: from when on which offset holds. `schedule` is in local time.
//!
//! A time of day that a change of the clocks skips runs at the moment of the change; one that comes
//! twice runs at its first coming. So every date has each of its times exactly once.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sim_httpsys::clockwork::UtcTime;

const DAY: i64 = 24 * 60 * 60;

/// A moment of local time: seconds since 1970-01-01T00:00:00 on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LocalTime(pub i64);

/// A time zone. The default is UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeZone {
    /// From this second of 1970 on, so many seconds east of UTC; ascending.
    offsets: Vec<(i64, i32)>,
}

impl TimeZone {
    /// The rules of a zone from two days before `from` on, for `years`.
    pub fn of(zone: &jiff::tz::TimeZone, from: UtcTime, years: u16) -> Self {
        let begin = i64::try_from(from.unix_seconds()).unwrap_or(0) - 2 * DAY;
        let end = begin + i64::from(years) * 366 * DAY;
        let begins = jiff::Timestamp::from_second(begin).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let mut offsets = vec![(i64::MIN, zone.to_offset(begins).seconds())];
        let changes = zone
            .following(begins)
            .map(|change| (change.timestamp().as_second(), change.offset().seconds()))
            .take_while(|(at, _)| *at < end);
        for (at, offset) in changes {
            if offsets.last().is_none_or(|(_, before)| *before != offset) {
                offsets.push((at, offset));
            }
        }
        Self { offsets }
    }

    /// What the wall clock shows.
    pub fn local(&self, utc: UtcTime) -> LocalTime {
        let utc = i64::try_from(utc.unix_seconds()).unwrap_or(i64::MAX);
        let past = self.offsets.iter().rev().find(|(from, _)| *from <= utc);
        LocalTime(utc.saturating_add(past.map_or(0, |(_, offset)| i64::from(*offset))))
    }

    /// When the wall clock first shows `local`, or has just skipped it: seconds since 1970.
    fn first_moment(&self, local: LocalTime) -> i64 {
        if self.offsets.is_empty() {
            return local.0;
        }
        for (index, &(from, offset)) in self.offsets.iter().enumerate() {
            let until = self.offsets.get(index + 1).map_or(i64::MAX, |next| next.0);
            let moment = local.0 - i64::from(offset);
            if moment < from {
                // Skipped: the zone's clocks went past it when this offset began.
                return from;
            }
            if moment < until {
                return moment;
            }
        }
        local.0
    }

    /// The next of some times of day after `now`, on a date and at a time later than `ran`: the moment,
    /// and what the wall clock shows then.
    pub fn next_of(
        &self,
        schedule: &[Duration],
        now: UtcTime,
        ran: Option<LocalTime>,
    ) -> Option<(UtcTime, LocalTime)> {
        let date = |local: LocalTime| local.0.div_euclid(DAY);
        let today = date(self.local(now));
        let dates = ran.map_or(today - 1..=today + 2, |ran| {
            // A wall clock that was set back must not bring a date's times again.
            date(ran).max(today - 1)..=date(ran).max(today) + 2
        });
        let times = dates.flat_map(|date| {
            let of_day = |time: &Duration| i64::try_from(time.as_secs()).unwrap_or(0) % DAY;
            schedule
                .iter()
                .map(move |time| LocalTime(date * DAY + of_day(time)))
        });
        let moments = times
            .filter(|local| ran.is_none_or(|ran| *local > ran))
            .map(|local| {
                let seconds = u64::try_from(self.first_moment(local)).unwrap_or(0);
                (UtcTime(seconds.saturating_mul(1_000_000_000)), local)
            });
        moments.filter(|(moment, _)| *moment > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Duration = Duration::from_hours(12);

    fn utc(text: &str) -> UtcTime {
        let at: jiff::Timestamp = text.parse().unwrap();
        UtcTime(u64::try_from(at.as_nanosecond()).unwrap())
    }

    /// Central Europe: one hour east of UTC, two in summer.
    fn berlin() -> TimeZone {
        let rules = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        TimeZone::of(&rules, utc("2026-01-01T00:00:00Z"), 10)
    }

    fn runs(zone: &TimeZone, times: &[Duration], from: &str, count: usize) -> Vec<String> {
        let mut now = utc(from);
        let mut runs = Vec::new();
        for _ in 0..count {
            now = zone.next_of(times, now, None).unwrap().0;
            runs.push(now.timestamp().to_string());
        }
        runs
    }

    #[test]
    fn noon_is_at_local_noon_in_winter_and_in_summer() {
        let runs = runs(&berlin(), &[NOON], "2026-03-28T00:00:00Z", 3);
        assert_eq!(
            runs,
            [
                "2026-03-28T11:00:00Z",
                "2026-03-29T10:00:00Z",
                "2026-03-30T10:00:00Z"
            ]
        );
    }

    #[test]
    fn a_time_that_the_clocks_skip_runs_when_they_change() {
        let half_past_two = Duration::from_mins(150);
        let runs = runs(&berlin(), &[half_past_two], "2026-03-28T12:00:00Z", 2);
        assert_eq!(runs, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    }

    #[test]
    fn a_time_that_comes_twice_runs_once() {
        let half_past_two = Duration::from_mins(150);
        let runs = runs(&berlin(), &[half_past_two], "2026-10-24T12:00:00Z", 2);
        assert_eq!(runs, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_bring_the_same_time_of_a_date_again() {
        let zone = berlin();
        let (first, shown) = zone
            .next_of(&[NOON], utc("2026-05-01T09:59:00Z"), None)
            .unwrap();
        assert_eq!(first, utc("2026-05-01T10:00:00Z"));
        let set_back = utc("2026-05-01T09:00:00Z");
        let (next, _) = zone.next_of(&[NOON], set_back, Some(shown)).unwrap();
        assert_eq!(next, utc("2026-05-02T10:00:00Z"));
    }
}
