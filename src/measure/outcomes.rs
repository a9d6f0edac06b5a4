//! How attempts ended, counted.

use serde::{Deserialize, Serialize};

use crate::load::book::AttemptRecord;
use crate::load::outcome::Outcome;

/// How attempts ended. Each is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the fields are the names of `Outcome`, documented there"
)]
pub struct Outcomes {
    pub ok: u64,
    pub slow: u64,
    pub http_503: u64,
    pub http_5xx: u64,
    pub http_4xx: u64,
    pub refused: u64,
    pub reset_idle: u64,
    pub reset_inflight: u64,
    pub truncated: u64,
    pub timeout: u64,
    pub abandoned: u64,
    pub not_sent: u64,
}

impl Outcomes {
    /// Counts the outcomes of attempts.
    pub fn of<'a>(attempts: impl Iterator<Item = &'a AttemptRecord>) -> Self {
        let mut counts = Self::default();
        for attempt in attempts {
            *counts.count_mut(attempt.outcome) += 1;
        }
        counts
    }

    fn count_mut(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::Slow => &mut self.slow,
            Outcome::Http503 => &mut self.http_503,
            Outcome::Http5xx => &mut self.http_5xx,
            Outcome::Http4xx => &mut self.http_4xx,
            Outcome::Refused => &mut self.refused,
            Outcome::ResetIdle => &mut self.reset_idle,
            Outcome::ResetInflight => &mut self.reset_inflight,
            Outcome::Truncated => &mut self.truncated,
            Outcome::Timeout => &mut self.timeout,
            Outcome::Abandoned => &mut self.abandoned,
            Outcome::NotSent => &mut self.not_sent,
        }
    }

    /// Every outcome with its count.
    pub fn each(mut self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL
            .into_iter()
            .map(move |outcome| (outcome, *self.count_mut(outcome)))
    }

    /// Attempts in all.
    pub fn total(self) -> u64 {
        self.each().map(|(_, count)| count).sum()
    }

    /// Those whose user got nothing.
    pub fn failed(self) -> u64 {
        let is_failure =
            |(outcome, _): &(Outcome, u64)| outcome.is_verdict() && !outcome.is_success();
        self.each().filter(is_failure).map(|(_, count)| count).sum()
    }
}

impl std::iter::Sum for Outcomes {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        let mut sum = Self::default();
        for (outcome, count) in all.flat_map(Self::each) {
            *sum.count_mut(outcome) += count;
        }
        sum
    }
}
