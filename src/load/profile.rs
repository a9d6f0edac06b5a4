//! What a scenario file says about the load: rates, shares, the mix of URLs, time-outs, probes.
//!
//! A profile is plain data with a default for every part; [`Profile::check`] says what cannot be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much load of which kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Attempts a second, probes not counted.
    pub rate: f64,
    /// How the attempts are spread over time.
    pub arrivals: Arrivals,
    /// How many kept-alive connections the users share, both schemes together.
    pub keep_alive_connections: u32,
    /// The share of attempts that open a connection of their own and close it.
    pub one_shot_share: f64,
    /// The share of attempts (and of kept-alive connections) that speak TLS.
    pub tls_share: f64,
    /// How many users there are; each keeps its session cookie.
    pub users: u32,
    /// The URLs and how often each is asked for.
    pub mix: Vec<MixEntry>,
    /// Requests that take long, beside the mix.
    pub long: Option<Long>,
    /// Requests that are in flight when the operation begins, a fixed number of them.
    pub held: Option<Held>,
    /// An attempt that has no whole response so long after its planned time is a `timeout`.
    #[serde(with = "duration_text")]
    pub deadline: Duration,
    /// A success later than this is `slow`. Assumed: the usual threshold T of Apdex for web pages.
    #[serde(with = "duration_text")]
    pub slow: Duration,
    /// If 99.9 % of the attempts were not begun within this time of their plan, the trial is
    /// invalid.
    #[serde(with = "duration_text")]
    pub late_bound: Duration,
    /// When nobody comes: neither load nor probes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pauses: Vec<Pause>,
    /// The two streams of probes.
    pub probes: Probes,
}

/// A time in which nobody comes, counted from the start of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// It begins.
    #[serde(with = "duration_text")]
    pub from: Duration,
    /// It ends.
    #[serde(with = "duration_text")]
    pub to: Duration,
}

impl Pause {
    /// Whether a moment, in nanoseconds from the start of the load, lies in it.
    pub fn covers(&self, at: u64) -> bool {
        (self.from.as_nanos()..self.to.as_nanos()).contains(&u128::from(at))
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            rate: 500.0,
            arrivals: Arrivals::Poisson,
            keep_alive_connections: 64,
            one_shot_share: 0.1,
            tls_share: 0.25,
            users: 200,
            mix: vec![MixEntry::default()],
            long: None,
            held: None,
            deadline: Duration::from_secs(10),
            slow: Duration::from_millis(500),
            late_bound: Duration::from_millis(2),
            pauses: Vec::new(),
            probes: Probes::default(),
        }
    }
}

/// How attempts are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Independent users: exponential gaps.
    Poisson,
    /// Equal gaps.
    Uniform,
}

/// One kind of URL in the mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixEntry {
    /// Path and query. `{n}`, here or in the host, stands for a number below `catalogue`.
    pub url: String,
    /// How often it is asked for, relative to the other entries.
    pub weight: f64,
    /// How many different pages `{n}` makes of it.
    pub catalogue: u32,
    /// The exponent of Zipf's law for the popularity of the pages; 0 makes them equal.
    pub zipf: f64,
    /// Whether the user's session cookie goes with it.
    pub session: bool,
    /// The host name that is asked for; the plan's default host if there is none.
    pub host: Option<String>,
}

impl Default for MixEntry {
    fn default() -> Self {
        Self {
            url: "/".to_owned(),
            weight: 1.0,
            catalogue: 1,
            zipf: 0.9,
            session: false,
            host: None,
        }
    }
}

/// Requests that take long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Long {
    /// Path and query.
    pub url: String,
    /// The share of all attempts.
    pub share: f64,
    /// The host name that is asked for.
    #[serde(default)]
    pub host: Option<String>,
}

/// Requests that are begun together, each on a connection of its own, and are meant to be still in
/// flight when the operation begins: what becomes of them does not depend on chance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Path and query of a page that takes long enough, e.g. `/wait.aspx?time=3000`. Nothing else may
    /// ask for it, so that these attempts are known by it.
    pub url: String,
    /// How many.
    pub count: u32,
    /// When they are begun, from the start of the load.
    #[serde(with = "duration_text", default = "held_at")]
    pub at: Duration,
    /// The host name that is asked for.
    #[serde(default)]
    pub host: Option<String>,
}

fn held_at() -> Duration {
    Duration::from_millis(500)
}

/// The two streams of probes: one opens a connection for each probe, one uses kept-alive ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probes {
    /// From one probe of a stream to the next: the grain of every downtime figure.
    #[serde(with = "duration_text")]
    pub interval: Duration,
    /// A probe without a whole answer so long after its planned time has failed.
    #[serde(with = "duration_text")]
    pub deadline: Duration,
    /// Path and query.
    pub url: String,
    /// Text that the body must contain.
    pub marker: Option<String>,
    /// The host name that is asked for.
    pub host: Option<String>,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(10),
            deadline: Duration::from_secs(10),
            url: "/".to_owned(),
            marker: None,
            host: None,
        }
    }
}

/// Nothing serves a host that the load asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no {scheme} binding of the server takes the host {host}: add one, or set load.tls_share (the share of \
     attempts over https) to {other}",
    scheme = if *.secure { "https" } else { "http" },
    other = u8::from(!*.secure)
)]
pub struct NoTarget {
    /// The host.
    pub host: String,
    /// Whether TLS was wanted.
    pub secure: bool,
}

/// Why a profile cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProfileError {
    /// A share outside of 0 to 1.
    #[error("{name} is a share and must lie between 0 and 1, not {value}")]
    Share {
        /// Its name.
        name: &'static str,
        /// What was given.
        value: f64,
    },
    /// A rate or weight that is not a positive number.
    #[error("{name} must be more than 0, not {value}")]
    NotPositive {
        /// Its name.
        name: &'static str,
        /// What was given.
        value: f64,
    },
    /// A pause that ends before it begins.
    #[error("a pause must end after it begins, not from {from:?} to {to:?}")]
    Pause {
        /// When it begins.
        from: Duration,
        /// When it ends.
        to: Duration,
    },
    /// A rate that no plan can hold.
    #[error("rate must be at most 100000 attempts a second, not {0}")]
    RateTooHigh(f64),
    /// No URL to ask for.
    #[error("the mix has no entry")]
    NoMix,
    /// A URL that is not a path.
    #[error("url must begin with / and have no blanks or control characters, not {0:?}")]
    Url(String),
    /// What is held could not be told from the rest.
    #[error("held.url {0:?} is asked for by the mix, long or the probes too; add a query to it")]
    HeldUrl(String),
    /// More than one page, but nowhere to put its number.
    #[error("catalogue is {catalogue}, but neither the url {url:?} nor the host has a {{n}}")]
    NoPlace {
        /// The URL.
        url: String,
        /// The number of pages.
        catalogue: u32,
    },
}

impl Profile {
    /// Says what is impossible in it.
    pub fn check(&self) -> Result<(), ProfileError> {
        positive("rate", self.rate)?;
        if self.rate > 100_000.0 {
            return Err(ProfileError::RateTooHigh(self.rate));
        }
        share("one_shot_share", self.one_shot_share)?;
        share("tls_share", self.tls_share)?;
        positive("users", f64::from(self.users))?;
        positive("probes.interval", self.probes.interval.as_secs_f64())?;
        positive("deadline", self.deadline.as_secs_f64())?;
        positive("probes.deadline", self.probes.deadline.as_secs_f64())?;
        if let Some(Pause { from, to }) = self.pauses.iter().find(|pause| pause.from >= pause.to) {
            let (from, to) = (*from, *to);
            return Err(ProfileError::Pause { from, to });
        }
        url(&self.probes.url)?;
        if let Some(long) = &self.long {
            share("long.share", long.share)?;
            url(&long.url)?;
        }
        if let Some(held) = &self.held {
            positive("held.count", f64::from(held.count))?;
            url(&held.url)?;
            let long = self.long.iter().map(|long| &long.url);
            let mut others = self.mix.iter().map(|entry| &entry.url).chain(long);
            if self.probes.url == held.url || others.any(|url| *url == held.url) {
                return Err(ProfileError::HeldUrl(held.url.clone()));
            }
        }
        if self.mix.is_empty() {
            return Err(ProfileError::NoMix);
        }
        self.mix.iter().try_for_each(MixEntry::check)
    }

    /// How many kept-alive connections a destination of this kind (for probes, over TLS) should have,
    /// if it has so many siblings, itself included.
    pub(crate) fn kept_alive(&self, (probe, secure): (bool, bool), siblings: usize) -> u32 {
        // Probes: one would do while the server is quick, a few more spare handshakes while it is not.
        const PROBES: u32 = 4;
        if probe {
            return PROBES;
        }
        let share = if secure {
            self.tls_share
        } else {
            1.0 - self.tls_share
        };
        let wanted = f64::from(self.keep_alive_connections) * share;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a u32"
        )]
        let wanted = wanted.round() as u32;
        wanted.div_ceil(u32::try_from(siblings.max(1)).unwrap_or(u32::MAX))
    }
}

impl MixEntry {
    /// Whether its URL or its host has a place for a number.
    pub(crate) fn is_numbered(&self) -> bool {
        self.url.contains("{n}") || self.host.as_ref().is_some_and(|host| host.contains("{n}"))
    }

    fn check(&self) -> Result<(), ProfileError> {
        positive("weight", self.weight)?;
        positive("catalogue", f64::from(self.catalogue))?;
        if !self.zipf.is_finite() || self.zipf < 0.0 {
            return Err(ProfileError::NotPositive {
                name: "zipf",
                value: self.zipf,
            });
        }
        url(&self.url)?;
        if self.catalogue > 1 && !self.is_numbered() {
            return Err(ProfileError::NoPlace {
                url: self.url.clone(),
                catalogue: self.catalogue,
            });
        }
        Ok(())
    }
}

fn positive(name: &'static str, value: f64) -> Result<(), ProfileError> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(ProfileError::NotPositive { name, value })
    }
}

fn share(name: &'static str, value: f64) -> Result<(), ProfileError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(ProfileError::Share { name, value })
    }
}

fn url(text: &str) -> Result<(), ProfileError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.starts_with('/') && plain {
        Ok(())
    } else {
        Err(ProfileError::Url(text.to_owned()))
    }
}

/// Durations as people write them: `"10s"`, `"500ms"`, `"1.5m"`.
pub mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Reads `"10s"`.
    pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(source)?;
        parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is not a duration such as \"10s\" or \"500ms\""
            ))
        })
    }

    /// Writes `"10s"`, in the largest unit that leaves no fraction.
    pub fn serialize<S: Serializer>(span: &Duration, sink: S) -> Result<S::Ok, S::Error> {
        sink.collect_str(&format_args!("{}", text(*span)))
    }

    /// The duration that a text means.
    pub fn parse(text: &str) -> Option<Duration> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = text.split_at(digits);
        let seconds_per_unit = match unit.trim() {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds_per_unit).ok()
    }

    fn text(span: Duration) -> String {
        let nanos = span.as_nanos();
        let fits = |unit: u128| nanos.is_multiple_of(unit);
        match nanos {
            0 => "0s".to_owned(),
            _ if fits(1_000_000_000) => format!("{}s", nanos / 1_000_000_000),
            _ if fits(1_000_000) => format!("{}ms", nanos / 1_000_000),
            _ if fits(1_000) => format!("{}us", nanos / 1_000),
            _ => format!("{nanos}ns"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_profile_is_the_default_one() {
        let profile: Profile = toml::from_str("").unwrap();
        assert_eq!(profile, Profile::default());
        assert_eq!(profile.check(), Ok(()));
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        let profile: Profile = toml::from_str("deadline = '1.5m'\nslow = '250ms'").unwrap();
        assert_eq!(profile.deadline, Duration::from_secs(90));
        assert_eq!(profile.slow, Duration::from_millis(250));
        let again: Profile = toml::from_str(&toml::to_string(&profile).unwrap()).unwrap();
        assert_eq!(again, profile);
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_line() {
        let error = toml::from_str::<Profile>("rate = 5\nkeep_alive = 3\n").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("line 2") && text.contains("keep_alive"),
            "{text}"
        );
    }

    #[test]
    fn a_duration_without_unit_is_refused() {
        let error = toml::from_str::<Profile>("deadline = '10'").unwrap_err();
        assert!(error.to_string().contains("not a duration"), "{error}");
    }

    #[test]
    fn impossible_numbers_are_refused_by_name() {
        let refused = |text: &str| {
            toml::from_str::<Profile>(text)
                .unwrap()
                .check()
                .unwrap_err()
        };
        assert_eq!(
            refused("tls_share = 2.0"),
            ProfileError::Share {
                name: "tls_share",
                value: 2.0
            }
        );
        assert_eq!(refused("mix = []"), ProfileError::NoMix);
        assert_eq!(
            refused("rate = 0"),
            ProfileError::NotPositive {
                name: "rate",
                value: 0.0
            }
        );
        assert_eq!(
            refused("[[mix]]\nurl = 'x y'"),
            ProfileError::Url("x y".to_owned())
        );
        let pages = refused("[[mix]]\nurl = '/a'\ncatalogue = 3");
        assert_eq!(
            pages,
            ProfileError::NoPlace {
                url: "/a".to_owned(),
                catalogue: 3
            }
        );
    }
}
