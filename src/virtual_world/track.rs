//! What is kept of a run so that another one can be held against it: the digest over all facts, and a
//! trail of what it was on the way.
//!
//! The digest is a chain: once two runs differ in a fact, everything after it differs too. So the first
//! hash of their trails that differs names the first fact that does.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::Instant;

/// Hashes that a trail keeps at most; a longer run keeps every second one, then every fourth …
/// Assumed: 2 MiB of text are a file that one can keep.
const HASHES_MAX: usize = 1 << 18;

/// What is kept of a run besides its digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// Nothing.
    #[default]
    Digest,
    /// What the digest was on the way.
    Trail,
    /// The text of some facts, by their number in the run; the first is 0.
    Facts(Range<u64>),
}

/// What was kept of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// The digest over all facts.
    pub digest: u64,
    /// How many facts there were.
    pub facts: u64,
    /// What the digest was on the way, if that was asked for.
    pub trail: Trail,
    /// The facts that were asked for.
    pub lines: Vec<Line>,
}

/// A fact as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the run; the first is 0.
    pub number: u64,
    /// When.
    pub at: Instant,
    /// Who has stated it.
    pub by: Witness,
    /// The fact, as a line of a trace.
    pub fact: String,
}

/// Who states a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// HTTP.sys.
    HttpSys,
    /// WAS.
    Was,
    /// A worker process.
    Worker(ProcessId),
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HttpSys => f.write_str("httpsys"),
            Self::Was => f.write_str("was"),
            Self::Worker(process) => write!(f, "w3wp {}", process.0),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            at,
            by,
            fact,
        } = self;
        write!(f, "fact {number} at {at}, {by}: {fact}")
    }
}

/// What the digest was after every so many facts: the lower 32 bits of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trail {
    /// From one hash to the next, facts: a power of two.
    #[serde(deserialize_with = "power_of_two")]
    pub stride: u64,
    /// The hashes; in text, eight hexadecimal digits each.
    #[serde(with = "hex")]
    pub hashes: Vec<u32>,
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            stride: 1,
            hashes: Vec::new(),
        }
    }
}

impl Trail {
    fn note(&mut self, facts: u64, hash: u64) {
        if !facts.is_multiple_of(self.stride) {
            return;
        }
        if self.hashes.len() == HASHES_MAX {
            *self = self.thinned();
            if !facts.is_multiple_of(self.stride) {
                return;
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
        self.hashes.push(hash as u32);
    }

    /// Every second hash.
    fn thinned(&self) -> Self {
        Self {
            stride: self.stride * 2,
            hashes: self.hashes.iter().skip(1).step_by(2).copied().collect(),
        }
    }

    /// Where the first fact is that differs from another run's: its number, or several if the trails do
    /// not keep every hash. `None` if nothing differs as far as both go.
    pub fn parting(&self, other: &Self) -> Option<Range<u64>> {
        let (mut left, mut right) = (self.clone(), other.clone());
        while left.stride < right.stride {
            left = left.thinned();
        }
        while right.stride < left.stride {
            right = right.thinned();
        }
        let mut pairs = left.hashes.iter().zip(&right.hashes);
        let first = pairs.position(|(one, other)| one != other)? as u64;
        Some(first * left.stride..(first + 1) * left.stride)
    }
}

fn power_of_two<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(from)?;
    if number.is_power_of_two() {
        Ok(number)
    } else {
        Err(de::Error::custom(format!(
            "a stride of {number}: it is a power of two"
        )))
    }
}

mod hex {
    use super::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(hashes: &[u32], sink: S) -> Result<S::Ok, S::Error> {
        let texts: Vec<String> = hashes.iter().map(|hash| format!("{hash:08x}")).collect();
        sink.serialize_str(&texts.concat())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
        let text = String::deserialize(from)?;
        let digits = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok()?;
            u32::from_str_radix(digits, 16)
                .ok()
                .filter(|_| digits.len() == 8)
        };
        let hashes = text.as_bytes().chunks(8).map(digits).collect();
        let wrong = || de::Error::custom("a trail has eight hexadecimal digits for each hash");
        Option::ok_or_else(hashes, wrong)
    }
}

/// Keeps what was asked for while a run goes on.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    watch: Watch,
    track: Track,
}

impl Tracker {
    pub(super) fn new(watch: Watch) -> Self {
        Self {
            watch,
            track: Track::default(),
        }
    }

    /// A fact was stated; `digest` has taken it in.
    #[inline]
    pub(super) fn note(&mut self, digest: u64, by: Witness, at: Instant, fact: &impl Serialize) {
        let number = self.track.facts;
        self.track.facts += 1;
        if self.watch != Watch::Digest {
            self.keep(number, digest, by, at, fact);
        }
    }

    fn keep(&mut self, number: u64, digest: u64, by: Witness, at: Instant, fact: &impl Serialize) {
        match &self.watch {
            Watch::Digest => {}
            Watch::Trail => self.track.trail.note(self.track.facts, digest),
            Watch::Facts(wanted) => {
                if wanted.contains(&number) {
                    let fact = serde_json::to_string(fact).expect("a fact is plain data");
                    self.track.lines.push(Line {
                        number,
                        at,
                        by,
                        fact,
                    });
                }
            }
        }
    }

    pub(super) fn close(mut self, digest: u64) -> Track {
        self.track.digest = digest;
        self.track
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(hashes: impl IntoIterator<Item = u64>) -> Trail {
        let mut trail = Trail::default();
        for (facts, hash) in (1..).zip(hashes) {
            trail.note(facts, hash);
        }
        trail
    }

    #[test]
    fn the_first_hash_that_differs_names_the_fact() {
        let one = trail([1, 2, 3, 4]);
        assert_eq!(one.parting(&trail([1, 2, 9, 9])), Some(2..3));
        assert_eq!(one.parting(&one), None);
        assert_eq!(one.parting(&trail([1, 2])), None);
    }

    #[test]
    fn a_long_trail_is_thinned_and_still_compares_with_a_short_one() {
        let many = HASHES_MAX as u64 + 2;
        let long = trail(1..=many);
        assert_eq!(long.stride, 2);
        assert_eq!(long.hashes[..2], [2, 4]);
        let short = trail([1, 2, 3, 9]);
        assert_eq!(long.parting(&short), Some(2..4));
        assert_eq!(short.parting(&long), Some(2..4));
    }

    #[test]
    fn a_trail_survives_its_text() {
        let one = trail([1, 0xdead_beef, u64::MAX]);
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(text, r#"{"stride":1,"hashes":"00000001deadbeefffffffff"}"#);
        assert_eq!(serde_json::from_str::<Trail>(&text).unwrap(), one);
        let cut = text.replace("ffffffff", "ff");
        assert!(serde_json::from_str::<Trail>(&cut).is_err());
    }
}
