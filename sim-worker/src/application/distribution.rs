//! Costs as distributions, evaluated by quantile: the same draw always costs the same.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use sim_httpsys::api::{ActivityId, RequestId};

use super::text;

/// How long something takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Always the same: `"5ms"`.
    Constant(Duration),
    /// `{ exponential_mean = "2ms" }`.
    Exponential {
        /// The mean.
        mean: Duration,
    },
    /// `{ uniform = ["1ms", "3ms"] }`.
    Uniform {
        /// The least.
        low: Duration,
        /// The most.
        high: Duration,
    },
    /// `{ lognormal_median = "2ms", sigma = 0.5 }`.
    Lognormal {
        /// The median.
        median: Duration,
        /// The standard deviation of the logarithm.
        sigma: f64,
    },
}

impl Distribution {
    /// Costs nothing.
    pub const ZERO: Self = Self::Constant(Duration::ZERO);

    /// Whether it is always zero.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// The quantile at `draw / 2^64`.
    pub fn at(&self, draw: u64) -> Duration {
        let u = unit(draw);
        let seconds = match *self {
            Self::Constant(duration) => return duration,
            Self::Exponential { mean } => -mean.as_secs_f64() * (1.0 - u).ln(),
            Self::Uniform { low, high } => {
                low.as_secs_f64() + u * high.saturating_sub(low).as_secs_f64()
            }
            Self::Lognormal { median, sigma } => median.as_secs_f64() * (sigma * probit(u)).exp(),
        };
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(text::DURATION_MAX)
            .min(text::DURATION_MAX)
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Self::ZERO
    }
}

/// The upper 53 bits as a number in `[0, 1)`.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
pub(crate) fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}

/// The quantile function of the normal distribution.
/// Source: P. J. Acklam's rational approximation, relative error below 1.15e-9.
fn probit(u: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    let polynomial = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, c| sum * x + c);
    let u = u.clamp(f64::EPSILON / 2.0, 1.0 - f64::EPSILON / 2.0);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        polynomial(&C, q) / polynomial(&D, q)
    };
    if u < 0.024_25 {
        tail(u)
    } else if u > 1.0 - 0.024_25 {
        -tail(1.0 - u)
    } else {
        let q = u - 0.5;
        let r = q * q;
        polynomial(&A, r) * q / polynomial(&B, r)
    }
}

/// Where the draws of one request on one page come from.
///
/// Nothing is random: a draw is `splitmix64` of the attempt (the client's activity id, or the
/// driver's request id if it gave none), the page and the purpose. The same attempt therefore costs
/// the same in every arm of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    seed: u64,
}

/// What a draw is for: draws for different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The handler's CPU time.
    Cpu = 1,
    /// The handler's wait.
    Wait = 2,
    /// Which entry of the application's cache it wants.
    CacheKey = 3,
    /// CPU time after a miss.
    MissCpu = 4,
    /// Wait after a miss.
    MissWait = 5,
    /// Compiling, loading, JIT.
    Compile = 6,
    /// Application start and stop.
    Start = 7,
}

impl Draws {
    /// The draws of an attempt on a page, which is named by its hash.
    pub fn of(activity: ActivityId, request: RequestId, page: u64) -> Self {
        let attempt = if activity.0 == 0 {
            request.0
        } else {
            activity.0
        };
        Self {
            seed: splitmix64(splitmix64(attempt) ^ page),
        }
    }

    /// The draw for a purpose.
    pub fn draw(self, purpose: Purpose) -> u64 {
        splitmix64(self.seed ^ purpose as u64)
    }
}

/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", the mix of `SplitMix64`.
pub fn splitmix64(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// FNV-1a, for names: stable across versions and machines.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(DistributionVisitor)
    }
}

struct DistributionVisitor;

const KEYS: &[&str] = &["exponential_mean", "uniform", "lognormal_median", "sigma"];

impl<'de> Visitor<'de> for DistributionVisitor {
    type Value = Distribution;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a cost: \"5ms\", { exponential_mean = \"2ms\" }, { uniform = [\"1ms\", \"3ms\"] } or \
             { lognormal_median = \"2ms\", sigma = 0.5 }",
        )
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        text::duration(value)
            .map(Distribution::Constant)
            .map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let read = |text: String| text::duration(&text).map_err(A::Error::custom);
        let (mut shape, mut sigma) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            let value = match key.as_str() {
                "exponential_mean" => Distribution::Exponential {
                    mean: read(map.next_value()?)?,
                },
                "uniform" => {
                    let [low, high] = map.next_value::<[String; 2]>()?;
                    Distribution::Uniform {
                        low: read(low)?,
                        high: read(high)?,
                    }
                }
                "lognormal_median" => Distribution::Lognormal {
                    median: read(map.next_value()?)?,
                    sigma: 0.0,
                },
                "sigma" => {
                    sigma = Some(map.next_value::<f64>()?);
                    continue;
                }
                unknown => return Err(A::Error::unknown_field(unknown, KEYS)),
            };
            if shape.replace(value).is_some() {
                return Err(A::Error::custom("a cost has one shape"));
            }
        }
        match (shape, sigma) {
            (Some(Distribution::Lognormal { median, .. }), Some(sigma))
                if (0.0..=5.0).contains(&sigma) =>
            {
                Ok(Distribution::Lognormal { median, sigma })
            }
            (Some(Distribution::Lognormal { .. }), Some(_)) => {
                Err(A::Error::custom("sigma lies between 0 and 5"))
            }
            (Some(Distribution::Lognormal { .. }), None) => Err(A::Error::missing_field("sigma")),
            (_, Some(_)) => Err(A::Error::custom("sigma belongs to lognormal_median")),
            (Some(Distribution::Uniform { low, high }), None) if low > high => {
                Err(A::Error::custom("uniform wants the smaller duration first"))
            }
            (Some(shape), None) => Ok(shape),
            (None, None) => Err(A::Error::custom("a cost without a shape")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_ms(cost: Distribution) -> f64 {
        let draws = (0..20_000).map(|i| cost.at(splitmix64(i)).as_secs_f64() * 1e3);
        draws.sum::<f64>() / 20_000.0
    }

    #[test]
    fn an_exponential_cost_has_its_mean() {
        let mean = mean_ms(Distribution::Exponential {
            mean: Duration::from_millis(2),
        });
        assert!((mean - 2.0).abs() < 0.1, "{mean}");
    }

    #[test]
    fn a_uniform_cost_lies_between_its_ends() {
        let (low, high) = (Duration::from_millis(1), Duration::from_millis(3));
        let cost = Distribution::Uniform { low, high };
        assert_eq!(cost.at(0), low);
        assert!(cost.at(u64::MAX) <= high);
        assert!((mean_ms(cost) - 2.0).abs() < 0.05);
    }

    #[test]
    fn half_of_a_lognormal_cost_lies_below_its_median() {
        let median = Duration::from_millis(2);
        let cost = Distribution::Lognormal { median, sigma: 0.5 };
        assert_eq!(cost.at(1 << 63).as_micros(), 2000);
        // The quantile of one standard deviation: exp(0.5) medians.
        let above = cost
            .at((0.841_344_746 * 2f64.powi(64)) as u64)
            .as_secs_f64()
            / median.as_secs_f64();
        assert!((above - 0.5f64.exp()).abs() < 1e-4, "{above}");
    }

    #[test]
    fn the_same_attempt_draws_the_same_in_another_process() {
        let draw = |request| Draws::of(ActivityId(7), RequestId(request), 1).draw(Purpose::Cpu);
        assert_eq!(draw(1), draw(2));
        let unnamed = |request| Draws::of(ActivityId(0), RequestId(request), 1).draw(Purpose::Cpu);
        assert_ne!(unnamed(1), unnamed(2));
    }
}
