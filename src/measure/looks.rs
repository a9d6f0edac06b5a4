//! Looks at a run while it goes on: whether the server is calm, so that the next phase may begin.
//!
//! This decides only when a trial goes on; the figure in the report is worked out afterwards, by
//! [`steady`](super::steady), from the whole book.

use crate::load::Progress;

/// Looks (one every 100 ms) that make a second.
const LOOKS: usize = 10;

/// What counts as steady after the operation.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    /// The 95th percentile of latency before it, µs.
    pub p95_us: u64,
    /// Worker processes before it.
    pub workers: usize,
}

/// The looks of the last second.
#[derive(Clone, Debug, Default)]
pub struct Looks {
    recent: Vec<Progress>,
}

impl Looks {
    /// Takes looks, and forgets what is older than a second.
    pub fn extend(&mut self, looks: impl IntoIterator<Item = Progress>) {
        self.recent.extend(looks);
        let old = self.recent.len().saturating_sub(LOOKS);
        self.recent.drain(..old);
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.recent.clear();
    }

    /// Source: steady is p95 within 1.25 of the baseline, for a while, without failures.
    pub fn are_steady(&self, steady: Option<Steady>, workers: usize) -> bool {
        let window = &self.recent;
        let (Some(first), Some(end)) = (window.first(), window.last()) else {
            return false;
        };
        let limit = steady.map_or_else(|| self.p95(), |steady| steady.p95_us);
        // A millisecond is allowed on top: at that size a percentile is the machine's noise.
        let calm = |look: &Progress| {
            look.p95_us_last
                .is_some_and(|p95| p95 <= limit + limit / 4 + 1_000)
        };
        window.len() == LOOKS
            && first.failed == end.failed
            && window.iter().filter(|look| calm(look)).count() * 10 >= LOOKS * 8
            && steady.is_none_or(|steady| workers <= steady.workers)
    }

    /// The median of the last second's 95th percentiles, µs.
    pub fn p95(&self) -> u64 {
        let mut values: Vec<u64> = self.recent.iter().filter_map(|p| p.p95_us_last).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    }
}
