//! Random numbers: one named stream for each purpose, the same on every machine.
//!
//! Each question ("how long does this take?", "does the worker crash now?") has a stream of its own, so
//! that changing one parameter does not deal the answers to all other questions anew, and two runs that
//! differ in one setting can be compared pair by pair.
//!
//! The generator is the one of the load plans ([`random_stream`]): a multiply and a rotation, about a
//! nanosecond a number. What it deals, and what is made of it, is pinned by tests: a stored seed must
//! mean the same run for ever.

use core::time::Duration;

use rand::Rng as _;
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;

use crate::load::plan::random_stream;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(Pcg64Mcg);

impl Random {
    /// The stream for a purpose. Equal seeds and purposes give equal numbers.
    pub fn stream(seed: u64, purpose: &str) -> Self {
        Self(random_stream(seed, purpose))
    }

    /// Any number of 64 bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 up to but without 1.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Yes with that probability: always at 1, never at 0. Draws one number whatever comes of it.
    #[inline]
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A whole number below `bound`; 0 if `bound` is 0.
    ///
    /// The product of a 64-bit number and the bound leans towards some numbers by at most
    /// `bound` / 2^64, which nobody can measure; in return each call draws exactly one number.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.bits()) * u128::from(bound);
        (product >> 64) as u64
    }

    /// A number with the exponential distribution of mean 1 (by ziggurat).
    #[inline]
    pub fn exponential(&mut self) -> f64 {
        Exp1.sample(&mut self.0)
    }

    /// A span with the exponential distribution of that mean, to the nanosecond.
    #[inline]
    pub fn exponential_span(&mut self, mean: Duration) -> Duration {
        times(mean, self.exponential())
    }

    /// A span from `shortest` to `longest`, each as likely.
    pub fn span_between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        shortest + times(longest.saturating_sub(shortest), self.unit())
    }

    /// A number with that distribution.
    pub fn sample<T>(&mut self, distribution: &impl Distribution<T>) -> T {
        distribution.sample(&mut self.0)
    }
}

/// A span times a number, to the nanosecond; spans over 584 years are cut there.
#[inline]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a random span needs no more than 53 bits, and a cast to u64 saturates"
)]
pub fn times(span: Duration, factor: f64) -> Duration {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    // Half a nanosecond and the cut of the cast are rounding, without a call.
    Duration::from_nanos((nanos as f64 * factor + 0.5) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_these_for_ever() {
        let mut random = Random::stream(1, "service times");
        let bits: [u64; 4] = core::array::from_fn(|_| random.bits());
        let pinned = [
            16_298_902_168_959_812_260,
            11_185_661_749_307_302_834,
            3_124_187_063_914_166_219,
            6_286_500_905_019_598_253,
        ];
        assert_eq!(bits, pinned);
        let exponential: [f64; 3] = core::array::from_fn(|_| random.exponential());
        let pinned: [f64; 3] = [
            0.053_365_038_522_515_03,
            0.179_586_027_981_881_22,
            1.223_546_133_521_591_1,
        ];
        assert_eq!(exponential.map(f64::to_bits), pinned.map(f64::to_bits));
        assert_eq!(random.below(1_000_000), 463_865);
        assert_eq!(
            random.exponential_span(Duration::from_millis(1)).as_nanos(),
            77_745
        );
    }

    #[test]
    fn purposes_and_seeds_have_streams_of_their_own() {
        let first = |seed, purpose| Random::stream(seed, purpose).bits();
        let streams = [
            first(1, "arrivals"),
            first(1, "crashes"),
            first(2, "arrivals"),
            first(2, "crashes"),
        ];
        for (index, stream) in streams.iter().enumerate() {
            assert!(
                !streams[..index].contains(stream),
                "two streams begin alike"
            );
        }
        assert_eq!(first(1, "arrivals"), streams[0]);
    }

    #[test]
    fn exponential_numbers_have_mean_and_variance_one() {
        let mut random = Random::stream(3, "test");
        let numbers: Vec<f64> = (0..200_000).map(|_| random.exponential()).collect();
        let mean = numbers.iter().sum::<f64>() / 200_000.0;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 200_000.0;
        assert!((mean - 1.0).abs() < 4.0 / 200_000_f64.sqrt(), "mean {mean}");
        let error = (8.0 / 200_000.0_f64).sqrt();
        assert!((variance - 1.0).abs() < 4.0 * error, "variance {variance}");
        assert!(numbers.iter().all(|x| *x >= 0.0));
    }

    #[test]
    fn certain_and_impossible_are_what_they_say() {
        let mut random = Random::stream(4, "test");
        assert!((0..1_000).all(|_| random.chance(1.0)));
        assert!(!(0..1_000).any(|_| random.chance(0.0)));
        assert!((0..1_000).all(|_| random.below(3) < 3));
        assert_eq!(random.below(0), 0);
    }
}
