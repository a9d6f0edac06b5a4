//! Statistics over trials. The trial is the unit: requests inside one are not independent.
//!
//! Distributions of downtime have two humps and many zeros, so nothing here assumes a normal one:
//! medians, bootstrap intervals, ranks. What cannot be said with so few trials is `None`.

use rand::Rng;
use statrs::distribution::{Beta, Binomial, ContinuousCDF, DiscreteCDF, Normal};

use crate::load::plan::random_stream;

/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 10_000;

/// The fewest trials for which an interval is given.
pub const TRIALS_MIN: usize = 3;

/// An interval that holds the truth with a stated confidence.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub lower: f64,
    /// Its upper end.
    pub upper: f64,
}

/// The quantile of sorted data, interpolated as R's type 7 and numpy do.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index into a slice"
)]
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64))
}

/// The median of data in any order.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The 95 % interval of the median: `BCa` bootstrap, 10,000 resamples, the same for the same seed.
/// `None` for fewer than [`TRIALS_MIN`] values. Values that are all equal give that value twice.
pub fn median_interval(values: &[f64], seed: u64) -> Option<Interval> {
    bca(values, seed, median_in_place)
}

/// The 95 % interval of the median by ranks, whatever the distribution: quick also for many values.
/// `None` for fewer than six, of which no two ranks hold the median so surely.
///
/// Source: Conover, Practical Nonparametric Statistics, 3.2: of `n` values as many lie below the median
/// as a fair coin shows heads in `n` throws.
pub fn median_interval_by_rank(values: &[f64]) -> Option<Interval> {
    let throws = Binomial::new(0.5, values.len() as u64).ok()?;
    if values.len() < 6 || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let rank = usize::try_from(throws.inverse_cdf(0.025)).ok()?;
    let sorted = sorted(values);
    Some(Interval {
        lower: *sorted.get(rank.checked_sub(1)?)?,
        upper: *sorted.get(sorted.len().checked_sub(rank)?)?,
    })
}

/// The 95 % interval of the median of paired differences `b − a`.
pub fn paired_difference_interval(a: &[f64], b: &[f64], seed: u64) -> Option<Interval> {
    median_interval(&differences(a, b)?, seed)
}

/// `b − a`, pair by pair; `None` if they are no pairs.
pub fn differences(a: &[f64], b: &[f64]) -> Option<Vec<f64>> {
    (a.len() == b.len()).then(|| a.iter().zip(b).map(|(a, b)| b - a).collect())
}

fn median_in_place(sample: &mut [f64]) -> f64 {
    sample.sort_by(f64::total_cmp);
    quantile(sample, 0.5).unwrap_or(f64::NAN)
}

/// Bias-corrected and accelerated bootstrap (Efron 1987) of a statistic, 95 %.
#[expect(clippy::cast_precision_loss, reason = "numbers of resamples")]
fn bca(values: &[f64], seed: u64, statistic: impl Fn(&mut [f64]) -> f64) -> Option<Interval> {
    let n = values.len();
    if n < TRIALS_MIN || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let observed = statistic(&mut values.to_vec());
    let mut dice = random_stream(seed, "bootstrap");
    let mut sample = vec![0.0; n];
    let mut resampled: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for place in &mut sample {
                *place = values[below(&mut dice, n)];
            }
            statistic(&mut sample)
        })
        .collect();
    resampled.sort_by(f64::total_cmp);
    if resampled.first() == resampled.last() {
        return Some(Interval {
            lower: observed,
            upper: observed,
        });
    }
    let normal = Normal::standard();
    // Ties are shared between both sides, as scipy does; a median of few values has many.
    let less = resampled.partition_point(|r| *r < observed);
    let up_to = resampled.partition_point(|r| *r <= observed);
    let share = (less + up_to) as f64 / (2 * RESAMPLES) as f64;
    let edge = 1.0 / RESAMPLES as f64;
    let bias = normal.inverse_cdf(share.clamp(edge, 1.0 - edge));
    let acceleration = acceleration(values, &statistic);
    let end = |alpha: f64| {
        let z = bias + normal.inverse_cdf(alpha);
        let adjusted = normal.cdf(bias + z / (1.0 - acceleration * z));
        quantile(&resampled, adjusted).expect("there are resamples")
    };
    Some(Interval {
        lower: end(0.025),
        upper: end(0.975),
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an index below n, which is a usize"
)]
fn below(dice: &mut impl Rng, n: usize) -> usize {
    // Multiply and shift: the bias for so few values is below 2^-50.
    ((u128::from(dice.next_u64()) * n as u128) >> 64) as usize
}

/// The acceleration by the jackknife; 0 where it has no spread.
#[expect(clippy::cast_precision_loss, reason = "numbers of trials")]
fn acceleration(values: &[f64], statistic: impl Fn(&mut [f64]) -> f64) -> f64 {
    let without = |left_out: usize| {
        let others = values
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != left_out);
        statistic(&mut others.map(|(_, value)| *value).collect::<Vec<_>>())
    };
    let left_out: Vec<f64> = (0..values.len()).map(without).collect();
    let mean = left_out.iter().sum::<f64>() / left_out.len() as f64;
    let power = |n: i32| {
        left_out
            .iter()
            .map(|value| (mean - value).powi(n))
            .sum::<f64>()
    };
    let spread = power(2).powf(1.5);
    if spread > 0.0 {
        power(3) / (6.0 * spread)
    } else {
        0.0
    }
}

/// The Clopper–Pearson interval of a share at confidence `level`, two-sided.
#[expect(clippy::cast_precision_loss, reason = "counts of attempts")]
pub fn clopper_pearson(hits: u64, of: u64, level: f64) -> Option<Interval> {
    if of == 0 || hits > of || !(0.0..1.0).contains(&level) {
        return None;
    }
    let tail = (1.0 - level) / 2.0;
    let (k, n) = (hits as f64, of as f64);
    let beta = |a: f64, b: f64| Beta::new(a, b).ok();
    let lower = if hits == 0 {
        0.0
    } else {
        beta(k, n - k + 1.0)?.inverse_cdf(tail)
    };
    let upper = if hits == of {
        1.0
    } else {
        beta(k + 1.0, n - k)?.inverse_cdf(1.0 - tail)
    };
    Some(Interval { lower, upper })
}

/// What a share is at most, with 95 % confidence, when none of `of` was hit: the exact form of the
/// rule of three (3 ÷ n).
#[expect(clippy::cast_precision_loss, reason = "counts of attempts")]
pub fn upper_bound_of_none(of: u64) -> Option<f64> {
    // 1 − 0.05^(1/n), without losing digits for large n.
    (of > 0).then(|| -(0.05_f64.ln() / of as f64).exp_m1())
}

/// The Hodges–Lehmann estimate of a shift: the median of all averages of two (Walsh averages) of
/// the paired differences.
pub fn hodges_lehmann(differences: &[f64]) -> Option<f64> {
    let pairs = differences.iter().enumerate();
    let averages: Vec<f64> = pairs
        .flat_map(|(index, a)| {
            differences[index..]
                .iter()
                .map(move |b| f64::midpoint(*a, *b))
        })
        .collect();
    median(&averages)
}

/// The two-sided p-value of Wilcoxon's signed-rank test. Differences of zero are left out, ties
/// share their ranks; exact up to 50 differences, by the normal approximation beyond. `None` if no
/// difference is left.
#[expect(clippy::cast_precision_loss, reason = "ranks and counts of trials")]
pub fn wilcoxon_signed_rank(differences: &[f64]) -> Option<f64> {
    const EXACT_MAX: usize = 50;
    let mut kept: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    kept.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    if kept.is_empty() || kept.iter().any(|d| !d.is_finite()) {
        return None;
    }
    // Twice the rank is a whole number even when ties share ranks.
    let mut doubled_ranks = Vec::with_capacity(kept.len());
    for tied in kept.chunk_by(|a, b| a.abs().total_cmp(&b.abs()).is_eq()) {
        let first = doubled_ranks.len() + 1;
        let last = first + tied.len() - 1;
        doubled_ranks.extend(tied.iter().map(|_| first + last));
    }
    let plus: usize = kept
        .iter()
        .zip(&doubled_ranks)
        .filter(|(d, _)| **d > 0.0)
        .map(|(_, rank)| rank)
        .sum();
    let total: usize = doubled_ranks.iter().sum();
    let smaller = plus.min(total - plus);
    if kept.len() <= EXACT_MAX {
        return Some(exact_tail(&doubled_ranks, smaller));
    }
    let mean = total as f64 / 4.0;
    let variance: f64 = doubled_ranks
        .iter()
        .map(|r| (*r as f64 / 2.0).powi(2))
        .sum::<f64>()
        / 4.0;
    let z = (smaller as f64 / 2.0 - mean) / variance.sqrt();
    Some((2.0 * Normal::standard().cdf(z)).min(1.0))
}

/// Twice the probability that the sum of randomly chosen ranks is at most `sum`.
fn exact_tail(doubled_ranks: &[usize], sum: usize) -> f64 {
    let total: usize = doubled_ranks.iter().sum();
    let mut probability = vec![0.0_f64; total + 1];
    probability[0] = 1.0;
    for rank in doubled_ranks {
        for index in (0..=total).rev() {
            let with = index
                .checked_sub(*rank)
                .map_or(0.0, |rest| probability[rest]);
            probability[index] = f64::midpoint(probability[index], with);
        }
    }
    (2.0 * probability[..=sum].iter().sum::<f64>()).min(1.0)
}

/// Cliff's δ: how much likelier a value of `b` is above one of `a` than below. From −1 to 1.
#[expect(clippy::cast_precision_loss, reason = "counts of trials")]
pub fn cliffs_delta(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let dominance: i64 = a
        .iter()
        .flat_map(|x| b.iter().map(move |y| i64::from(y > x) - i64::from(y < x)))
        .sum();
    Some(dominance as f64 / (a.len() * b.len()) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(value: Option<f64>, expected: f64) {
        let value = value.unwrap();
        assert!((value - expected).abs() < 1e-4, "{value} is not {expected}");
    }

    #[test]
    fn quantiles_interpolate_as_numpy_does() {
        close(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.5);
        close(quantile(&[1.0, 2.0, 3.0, 4.0], 0.95), 3.85);
        close(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn an_interval_of_two_trials_is_not_given() {
        assert_eq!(median_interval(&[1.0, 2.0], 1), None);
        assert_eq!(median_interval(&[1.0, f64::NAN, 3.0], 1), None);
    }

    #[test]
    fn equal_trials_give_an_interval_without_width() {
        let interval = median_interval(&[7.0; 5], 1);
        assert_eq!(
            interval,
            Some(Interval {
                lower: 7.0,
                upper: 7.0
            })
        );
    }

    #[test]
    fn an_interval_holds_the_median_and_is_the_same_for_the_same_seed() {
        let values: Vec<f64> = (1..=21).map(f64::from).collect();
        let interval = median_interval(&values, 3).unwrap();
        assert_eq!(median_interval(&values, 3), Some(interval));
        // The exact interval of the median by order statistics, 95 %: ranks 6 to 16.
        assert!((5.0..=8.0).contains(&interval.lower), "{interval:?}");
        assert!((14.0..=17.0).contains(&interval.upper), "{interval:?}");
    }

    #[test]
    fn an_interval_by_rank_is_that_of_the_tables() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        let interval = median_interval_by_rank(&values).unwrap();
        // n = 20: ranks 6 and 15.
        assert!((interval.lower - 6.0).abs() < 1e-9 && (interval.upper - 15.0).abs() < 1e-9);
        let six = median_interval_by_rank(&values[..6]).unwrap();
        assert!((six.lower - 1.0).abs() < 1e-9 && (six.upper - 6.0).abs() < 1e-9);
        assert_eq!(median_interval_by_rank(&values[..5]), None);
    }

    #[test]
    fn an_interval_of_paired_differences_needs_pairs() {
        assert_eq!(paired_difference_interval(&[1.0], &[1.0, 2.0], 1), None);
        let interval =
            paired_difference_interval(&[1.0, 2.0, 3.0], &[11.0, 12.0, 13.0], 1).unwrap();
        assert_eq!(
            interval,
            Interval {
                lower: 10.0,
                upper: 10.0
            }
        );
    }

    #[test]
    fn clopper_pearson_agrees_with_published_values() {
        // scipy.stats.binomtest(1, 10).proportion_ci(): 0.002529, 0.445016.
        let interval = clopper_pearson(1, 10, 0.95).unwrap();
        close(Some(interval.lower), 0.002_529);
        close(Some(interval.upper), 0.445_016);
        // None of 10: 1 − 0.025^(1/10) = 0.308497.
        close(clopper_pearson(0, 10, 0.95).map(|i| i.upper), 0.308_497);
        close(clopper_pearson(10, 10, 0.95).map(|i| i.upper), 1.0);
        assert_eq!(clopper_pearson(1, 0, 0.95), None);
    }

    #[test]
    fn none_of_many_is_bounded_by_the_rule_of_three() {
        let bound = upper_bound_of_none(30_000).unwrap();
        assert!((bound * 30_000.0 - 2.9957).abs() < 1e-3, "{bound}");
        close(upper_bound_of_none(1), 0.95);
        assert_eq!(upper_bound_of_none(0), None);
    }

    #[test]
    fn hodges_lehmann_is_the_median_of_walsh_averages() {
        // 1, 2, 6 have the averages 1, 1.5, 3.5, 2, 4, 6.
        close(hodges_lehmann(&[1.0, 2.0, 6.0]), 2.75);
    }

    #[test]
    fn wilcoxon_is_exact_for_few_pairs() {
        // All of five positive: 2 / 2^5. scipy.stats.wilcoxon([1,2,3,4,5]): 0.0625.
        close(wilcoxon_signed_rank(&[1.0, 2.0, 3.0, 4.0, 5.0]), 0.0625);
        // One negative with the smallest rank: 2 · 2 / 2^5.
        close(wilcoxon_signed_rank(&[-1.0, 2.0, 3.0, 4.0, 5.0]), 0.125);
        close(wilcoxon_signed_rank(&[1.0, -1.0]), 1.0);
        // The example of scipy's manual: W = 24, p = 0.041259765625.
        let darwin = [
            6.0, 8.0, 14.0, 16.0, 23.0, 24.0, 28.0, 29.0, 41.0, -48.0, 49.0, 56.0, 60.0, -67.0,
            75.0,
        ];
        close(wilcoxon_signed_rank(&darwin), 0.041_259_8);
        assert_eq!(wilcoxon_signed_rank(&[0.0, 0.0]), None);
    }

    #[test]
    fn cliffs_delta_is_one_when_every_value_is_larger() {
        close(cliffs_delta(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
        close(cliffs_delta(&[3.0, 4.0], &[1.0, 2.0]), -1.0);
        close(cliffs_delta(&[1.0, 2.0], &[2.0, 1.0]), 0.0);
        close(cliffs_delta(&[1.0, 2.0, 3.0], &[2.0]), 0.0);
    }
}
