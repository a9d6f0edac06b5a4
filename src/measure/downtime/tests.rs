//! Gaps and totals of made-up books.

use super::*;
use crate::measure::synthetic::{OPERATION, at, book_with_outage};

const DELTA: u64 = 10_000_000;

fn measured(outage_ms: u64, outcome: Outcome) -> Downtime {
    Downtime::of(
        &book_with_outage(outage_ms, outcome).attempts,
        OPERATION,
        DELTA,
    )
}

#[test]
fn known_outages_are_measured_within_one_probe_interval() {
    for outage in [0, 50, 500, 5_000] {
        for outcome in [Outcome::ResetInflight, Outcome::Http503, Outcome::Refused] {
            let downtime = measured(outage, outcome);
            let truth = f64::from(u32::try_from(outage).unwrap());
            for stream in downtime.streams() {
                let gap = stream.max_gap_ms;
                assert!(
                    (gap.value - truth).abs() <= 10.0,
                    "{outage} {outcome}: {gap:?}"
                );
                assert!(
                    gap.lower <= truth && truth <= gap.upper.unwrap(),
                    "{outage}: {gap:?}"
                );
                assert!(
                    (stream.total_ms - truth).abs() <= 10.0,
                    "{}",
                    stream.total_ms
                );
            }
        }
    }
}

#[test]
fn a_stream_without_an_outage_has_no_time_to_its_end() {
    let mut downtime = measured(0, Outcome::Refused);
    assert_eq!(downtime.time_to_first_success_ms(), None);
    downtime.new = measured(500, Outcome::Refused).new;
    assert!(
        downtime
            .time_to_first_success_ms()
            .is_some_and(|ms| ms > 499.0)
    );
}

#[test]
fn the_time_to_first_success_spans_the_outage() {
    let spanned = measured(500, Outcome::Refused)
        .time_to_first_success_ms()
        .unwrap();
    assert!((500.0..=615.0).contains(&spanned), "{spanned}");
}

#[test]
fn seconds_with_a_failed_probe_are_counted_once() {
    assert_eq!(measured(0, Outcome::Refused).disruption_seconds, 0);
    assert_eq!(measured(50, Outcome::Refused).disruption_seconds, 1);
    assert_eq!(measured(5_000, Outcome::Refused).disruption_seconds, 6);
    assert_eq!(
        measured(5_000, Outcome::Refused).windows.len(),
        2,
        "one for each stream"
    );
}

#[test]
fn an_outage_that_never_ends_has_no_upper_bound() {
    let downtime = measured(60_000, Outcome::Refused);
    assert_eq!(downtime.max_gap_ms().unwrap().upper, None);
    assert_eq!(downtime.time_to_first_success_ms(), None);
}

#[test]
fn the_gap_of_two_streams_is_open_if_that_of_one_is() {
    let (open, ended) = (
        measured(60_000, Outcome::Refused),
        measured(500, Outcome::Refused),
    );
    let mut shorter = open.new.clone().unwrap();
    shorter.max_gap_ms.value = 10.0;
    shorter.max_gap_ms.lower = 0.0;
    let longest = ended.reused.clone().unwrap().max_gap_ms;
    let mut equal = shorter.clone();
    equal.max_gap_ms.value = longest.value;
    for open in [shorter, equal] {
        for (new, reused) in [
            (&open, &ended.reused),
            (ended.new.as_ref().unwrap(), &Some(open.clone())),
        ] {
            let downtime = Downtime {
                new: Some(new.clone()),
                reused: reused.clone(),
                ..Downtime::default()
            };
            let gap = downtime.max_gap_ms().unwrap();
            assert_eq!(gap.upper, None);
            assert!(gap.value >= longest.value - 1e-9 && gap.lower >= longest.lower - 1e-9);
        }
    }
    assert!(ended.max_gap_ms().unwrap().upper.is_some());
}

#[test]
fn an_outage_at_the_end_counts_in_the_total_as_long_as_it_is() {
    let mut attempts = book_with_outage(60_000, Outcome::Refused).attempts;
    // Whoever came in the outage waits until the run ends; every hundredth is refused.
    let probes = attempts
        .iter_mut()
        .filter(|a| a.outcome == Outcome::Refused);
    for (number, probe) in probes.enumerate() {
        if number % 100 > 1 {
            probe.outcome = Outcome::Abandoned;
        }
    }
    let downtime = Downtime::of(&attempts, OPERATION, DELTA);
    for stream in downtime.streams() {
        let (gap, total) = (stream.max_gap_ms.value, stream.total_ms);
        assert!(total >= gap && gap > 11_800.0, "{stream:?}");
        assert!(stream.failed < 50 && stream.undecided > 1_100, "{stream:?}");
        assert_eq!(stream.max_gap_ms.upper, None);
    }
    let of_windows: u64 = downtime.windows.iter().map(|w| w.undecided).sum();
    let of_streams: u64 = downtime.streams().map(|s| s.undecided).sum();
    assert_eq!(of_windows, of_streams);
}

#[test]
fn who_is_undecided_among_successes_is_no_outage() {
    let mut attempts = book_with_outage(0, Outcome::Refused).attempts;
    for probe in attempts.iter_mut().skip(2_000).step_by(7) {
        probe.outcome = Outcome::Abandoned;
    }
    let downtime = Downtime::of(&attempts, OPERATION, DELTA);
    assert_eq!(downtime.total_ms(), Some(0.0));
    assert!(downtime.windows.is_empty());
    assert!(downtime.streams().all(|stream| stream.undecided > 0));
}

#[test]
fn when_all_hang_to_the_end_those_that_timed_out_make_an_outage_and_the_others_leave_it_open() {
    // Whoever comes from 100 ms on hangs; a probe may take ten seconds, and the run lasts twelve.
    let mut attempts = book_with_outage(60_000, Outcome::Timeout).attempts;
    let hangs = |outage: &AttemptRecord| outage.outcome == Outcome::Timeout;
    for probe in attempts.iter_mut().filter(|probe| hangs(probe)) {
        if probe.planned > OPERATION + Duration::from_secs(2) {
            probe.outcome = Outcome::Abandoned;
        }
    }
    let downtime = Downtime::of(&attempts, OPERATION, DELTA);
    for stream in downtime.streams() {
        let (gap, total) = (stream.max_gap_ms, stream.total_ms);
        assert!(gap.value > 11_800.0 && total > 11_800.0, "{stream:?}");
        assert!(gap.lower > 1_800.0 && gap.upper.is_none(), "{stream:?}");
    }
    for probe in attempts.iter_mut().filter(|probe| hangs(probe)) {
        probe.outcome = Outcome::Abandoned;
    }
    let downtime = Downtime::of(&attempts, OPERATION, DELTA);
    for stream in downtime.streams() {
        let gap = stream.max_gap_ms;
        assert!(stream.failed == 0 && stream.undecided > 1_100);
        assert!(gap.value < 1e-9 && gap.upper.is_none(), "{gap:?}");
    }
}

#[test]
fn what_was_in_flight_and_is_cut_belongs_to_the_operation() {
    let mut attempts = book_with_outage(0, Outcome::Refused).attempts;
    // Whoever has come in the last second waits, and is reset half a second after the operation began.
    let began = Instant(OPERATION.0 - 1_000_000_000);
    for attempt in &mut attempts {
        if attempt.planned >= began && attempt.planned < OPERATION {
            attempt.finished = OPERATION + Duration::from_millis(500);
            attempt.outcome = Outcome::ResetInflight;
        }
    }
    let downtime = Downtime::of(&attempts, OPERATION, DELTA);
    for stream in downtime.streams() {
        assert!(
            (stream.max_gap_ms.value - 1_000.0).abs() <= 10.0,
            "{stream:?}"
        );
        assert!((99..=101).contains(&stream.failed), "{stream:?}");
        assert!(stream.time_to_first_success_ms.is_some_and(|ms| ms > 0.0));
    }
    assert_eq!(downtime.disruption_seconds, 1);
    assert!(downtime.windows[0].from_ms <= -990.0);
}

#[test]
fn a_late_answer_is_no_downtime() {
    let downtime = measured(500, Outcome::Slow);
    assert!(downtime.max_gap_ms().unwrap().value < 1e-9);
}

#[test]
fn without_probes_nothing_is_claimed() {
    let downtime = Downtime::of(&[], OPERATION, DELTA);
    assert_eq!((downtime.max_gap_ms(), downtime.total_ms()), (None, None));
}

/// What the probes of [`book_with_outage`] tell if those between two moments end so, and take so long.
fn failing(from_ms: f64, to_ms: f64, outcome: Outcome, takes_ms: u64) -> Downtime {
    let mut attempts = book_with_outage(0, Outcome::Ok).attempts;
    for attempt in &mut attempts {
        if attempt.planned >= at(from_ms) && attempt.planned < at(to_ms) {
            attempt.outcome = outcome;
            attempt.finished = Instant(attempt.planned.0 + takes_ms * 1_000_000);
        }
    }
    Downtime::of(&attempts, OPERATION, DELTA)
}

#[test]
fn of_an_outage_that_was_under_way_only_what_came_since_the_operation_counts() {
    let refused = (Outcome::Refused, 1);
    // All that come in the last four seconds before hang, and so do some that come later.
    let hanging = (Outcome::Timeout, 10_000);
    for (outcome, takes_ms) in [refused, hanging] {
        let downtime = failing(-4_000.0, 250.0, outcome, takes_ms);
        for stream in downtime.streams() {
            assert!(stream.was_failing);
            assert_eq!((stream.failed, stream.probes), (25, 1_200), "{outcome}");
            assert!((stream.total_ms - 250.0).abs() < 1e-6, "{stream:?}");
            let gap = stream.max_gap_ms;
            assert!((gap.value - 250.0).abs() < 1e-6, "{gap:?}");
            assert!(gap.lower <= 250.0 && gap.upper.is_some_and(|upper| upper >= 250.0));
        }
        assert!(downtime.windows.iter().all(|window| window.from_ms >= 0.0));
        assert_eq!(downtime.disruption_seconds, 1);
    }
}

#[test]
fn what_waited_no_longer_than_others_when_the_operation_began_was_caught_by_it() {
    let mut attempts = book_with_outage(0, Outcome::Ok).attempts;
    for attempt in &mut attempts {
        let hangs = attempt.planned >= at(-90.0) && attempt.planned < at(1_000.0);
        let (outcome, takes_ms) = if hangs {
            (Outcome::Timeout, 5_000)
        } else {
            (Outcome::Ok, 100)
        };
        attempt.outcome = outcome;
        attempt.finished = Instant(attempt.planned.0 + takes_ms * 1_000_000);
    }
    let downtime = Downtime::of(&attempts, OPERATION, DELTA);
    assert!(!downtime.streams().any(|stream| stream.was_failing));
    let gap = downtime.max_gap_ms().unwrap();
    assert!((gap.value - 1_090.0).abs() < 1e-6, "{gap:?}");
}

#[test]
fn an_outage_from_before_the_operation_to_the_end_is_no_longer_than_was_watched() {
    let downtime = failing(-4_000.0, 20_000.0, Outcome::Http503, 1);
    let gap = downtime.max_gap_ms().unwrap();
    assert_eq!(gap.upper, None);
    assert!((11_980.0..=12_000.0).contains(&gap.value), "{gap:?}");
    assert!(gap.lower <= gap.value);
}

#[test]
fn an_outage_that_was_over_before_the_operation_is_none_of_it() {
    let downtime = failing(-4_000.0, -10.0, Outcome::Refused, 1);
    assert_eq!(
        (downtime.total_ms(), downtime.disruption_seconds),
        (Some(0.0), 0)
    );
    assert!(downtime.windows.is_empty());
    assert!(!downtime.streams().any(|stream| stream.was_failing));
    let downtime = failing(-4_000.0, -10.0, Outcome::Timeout, 10_000);
    assert_eq!(
        (downtime.total_ms(), downtime.disruption_seconds),
        (Some(0.0), 0)
    );
}
