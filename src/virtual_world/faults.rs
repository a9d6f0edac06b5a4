//! Faults: what may go wrong with worker processes, drawn from streams of their own.
//!
//! Each kind is on or off for a whole run; the rates belong to one run. Absent so far: faults of wires
//! (delay, stall, cut), of clients (abort, half-close, trickle) and of the clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::random::Random;

/// Which faults there are, and how often. Zero is never. Times are milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// A worker dies of SIGSEGV instead of handling what has reached it: the chance for each input.
    pub crash: f64,
    /// A worker stops for good instead, and stays: the chance for each input.
    pub hang: f64,
    /// A worker dies before its first word: the chance for each start.
    pub crash_at_start: f64,
    /// A worker never gets as far as its first word.
    pub never_ready: f64,
    /// A start takes up to so much longer.
    pub slow_start: f64,
}

/// What strikes a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strike {
    Crash,
    Hang,
}

/// Deals out faults until it is told to be quiet.
#[derive(Debug)]
pub(super) struct Fate {
    faults: Faults,
    inputs: Random,
    starts: Random,
    is_quiet: bool,
}

impl Fate {
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        Self {
            is_quiet: faults == Faults::default(),
            faults,
            inputs: Random::stream(seed, "faults of inputs"),
            starts: Random::stream(seed, "faults of starts"),
        }
    }

    /// No more faults.
    pub(super) fn be_quiet(&mut self) {
        self.is_quiet = true;
    }

    /// What happens to a worker instead of its next input.
    pub(super) fn of_input(&mut self) -> Option<Strike> {
        if self.is_quiet {
            return None;
        }
        let (crash, hang) = (self.faults.crash, self.faults.hang);
        strike(self.inputs.unit(), crash, hang)
    }

    /// What happens to a worker instead of its start.
    pub(super) fn of_start(&mut self) -> Option<Strike> {
        if self.is_quiet {
            return None;
        }
        let (crash, hang) = (self.faults.crash_at_start, self.faults.never_ready);
        strike(self.starts.unit(), crash, hang)
    }

    /// How much longer a start takes.
    pub(super) fn delay_of_start(&mut self) -> Duration {
        if self.is_quiet {
            return Duration::ZERO;
        }
        let longest = Duration::from_secs_f64(self.faults.slow_start / 1_000.0);
        longest.mul_f64(self.starts.unit())
    }
}

fn strike(draw: f64, crash: f64, hang: f64) -> Option<Strike> {
    if draw < crash {
        Some(Strike::Crash)
    } else if draw < crash + hang {
        Some(Strike::Hang)
    } else {
        None
    }
}
