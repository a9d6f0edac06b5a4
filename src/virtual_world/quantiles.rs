//! The quantiles of a distribution, most of them read off a table.
//!
//! Every message is a draw, and the quantile function of a lognormal distribution costs more than all else that is
//! done for one. Between neighbours among 1,024 quantiles it is straight enough: what is read between them differs from
//! what would be computed by a few nanoseconds. Near its ends, where it is not, it is computed.

use std::time::Duration;

use sim_worker::application::Distribution;

/// Parts of equal probability. A power of two, so that a draw begins with its part's number.
const PARTS: usize = 1 << PART_BITS;
const PART_BITS: u32 = 10;

/// So many parts at either end are computed, and not read off.
const ENDS: usize = PARTS / 32;

/// What stands for a quantile that was not computed yet.
const UNKNOWN: u64 = u64::MAX;

/// A distribution, and what is known of it.
#[derive(Debug)]
pub(super) struct Quantiles {
    distribution: Distribution,
    /// Where each part begins, and where the last one ends, in nanoseconds; empty before the first draw.
    bounds: Vec<u64>,
}

impl Quantiles {
    pub(super) fn new(distribution: Distribution) -> Self {
        Self {
            distribution,
            bounds: Vec::new(),
        }
    }

    /// The quantile at `draw / 2^64`.
    #[inline]
    pub(super) fn at(&mut self, draw: u64) -> Duration {
        let part = part_of(draw);
        match self.bounds.get(part..part + 2) {
            Some(&[begin, end]) if begin != UNKNOWN && end != UNKNOWN => between(begin, end, draw),
            Some(_) | None => self.computed(draw),
        }
    }

    /// As [`Self::at`], of a part that lies at an end or was not asked for yet.
    #[cold]
    fn computed(&mut self, draw: u64) -> Duration {
        let part = part_of(draw);
        if !(ENDS..PARTS - ENDS).contains(&part) {
            return self.distribution.at(draw);
        }
        if self.bounds.is_empty() {
            self.bounds = vec![UNKNOWN; PARTS + 1];
        }
        between(self.bound(part), self.bound(part + 1), draw)
    }

    /// Where a part begins.
    fn bound(&mut self, part: usize) -> u64 {
        if self.bounds[part] == UNKNOWN {
            let quantile = self
                .distribution
                .at((part as u64) << (u64::BITS - PART_BITS));
            self.bounds[part] = u64::try_from(quantile.as_nanos()).unwrap_or(UNKNOWN - 1);
        }
        self.bounds[part]
    }
}

#[inline]
fn part_of(draw: u64) -> usize {
    (draw >> (u64::BITS - PART_BITS)) as usize
}

/// As far from a part's begin to its end as a draw lies within it.
#[inline]
fn between(begin: u64, end: u64, draw: u64) -> Duration {
    let within = u128::from(draw << PART_BITS);
    let beyond = (u128::from(end.saturating_sub(begin)) * within) >> u64::BITS;
    Duration::from_nanos(begin + u64::try_from(beyond).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_world::random::Random;

    fn differences(distribution: Distribution) -> impl Iterator<Item = Duration> {
        let mut quantiles = Quantiles::new(distribution);
        let mut random = Random::stream(1, "draws");
        (0..100_000).map(move |_| {
            let draw = random.bits();
            quantiles.at(draw).abs_diff(distribution.at(draw))
        })
    }

    #[test]
    fn what_is_read_off_is_what_would_be_computed_to_a_few_nanoseconds() {
        let median = Duration::from_micros(30);
        let hop = Distribution::Lognormal { median, sigma: 0.3 };
        assert!(differences(hop).all(|by| by <= Duration::from_nanos(4)));
        let mean = Duration::from_micros(30);
        let exponential = Distribution::Exponential { mean };
        assert!(differences(exponential).all(|by| by <= Duration::from_nanos(4)));
    }

    #[test]
    fn what_is_straight_anyway_is_not_bent() {
        let (low, high) = (Duration::from_nanos(7), Duration::from_millis(3));
        let uniform = Distribution::Uniform { low, high };
        assert!(differences(uniform).all(|by| by <= Duration::from_nanos(1)));
        let always = Distribution::Constant(Duration::from_hours(1));
        assert!(differences(always).all(|by| by.is_zero()));
    }
}
