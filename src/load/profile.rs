//! What a scenario file says about the load: rates, shares, the mix of URLs, time-outs, probes.
//!
//! A profile is plain data with a default for every part; [`Profile::check`] says what cannot be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::table;
use asked::asked;
pub use error::{NoTarget, ProfileError};

mod asked;
mod error;

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
    #[serde(deserialize_with = "table::optional")]
    pub long: Option<Long>,
    /// Requests that are in flight when the operation begins, a fixed number of them.
    #[serde(deserialize_with = "table::optional")]
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
    #[serde(deserialize_with = "table::table")]
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
    /// Bytes of a body that is posted to it; with none it is asked for by GET.
    pub body_bytes: u32,
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
            body_bytes: 0,
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

/// The shortest and the longest time that a profile can name.
const TIMES: (Duration, Duration) = (Duration::from_micros(1), Duration::from_hours(8_766));
/// More often than that no generator keeps its times.
const PROBES_LEAST: Duration = Duration::from_micros(100);
/// Assumed: whoever wants more of something means less; each takes memory.
const CONNECTIONS_MAX: f64 = 100_000.0;
const USERS_MAX: f64 = 10_000_000.0;
const PAGES_MAX: f64 = 1_000_000.0;
/// The largest body that is posted. Assumed: enough to be refused by `maxAllowedContentLength`, whose default is
/// 30,000,000.
const BODY_MAX: f64 = 64_000_000.0;
/// The least number that is more than nothing.
const LEAST: f64 = 1e-9;

impl Profile {
    /// Says what is impossible in it.
    pub fn check(&self) -> Result<(), ProfileError> {
        range("rate", self.rate, (LEAST, 100_000.0))?;
        share("one_shot_share", self.one_shot_share)?;
        share("tls_share", self.tls_share)?;
        range("users", f64::from(self.users), (1.0, USERS_MAX))?;
        let connections = f64::from(self.keep_alive_connections);
        range(
            "keep_alive_connections",
            connections,
            (0.0, CONNECTIONS_MAX),
        )?;
        time(
            "probes.interval",
            self.probes.interval,
            (PROBES_LEAST, TIMES.1),
        )?;
        time("deadline", self.deadline, TIMES)?;
        time("probes.deadline", self.probes.deadline, TIMES)?;
        // The default is nobody's mistake: with a short deadline nothing is slow.
        if self.slow > self.deadline && self.slow != Self::default().slow {
            let (slow, deadline) = (self.slow, self.deadline);
            return Err(ProfileError::Slow { slow, deadline });
        }
        self.check_pauses()?;
        asked("probes", &self.probes.url, self.probes.host.as_ref())?;
        if let Some(long) = &self.long {
            share("long.share", long.share)?;
            asked("long", &long.url, long.host.as_ref())?;
        }
        if let Some(held) = &self.held {
            range("held.count", f64::from(held.count), (1.0, CONNECTIONS_MAX))?;
            asked("held", &held.url, held.host.as_ref())?;
            let long = self.long.iter().map(|long| &long.url);
            let mut others = self.mix.iter().map(|entry| &entry.url).chain(long);
            if self.probes.url == held.url || others.any(|url| *url == held.url) {
                return Err(ProfileError::HeldUrl(held.url.clone()));
            }
        }
        if self.mix.is_empty() {
            return Err(ProfileError::NoMix);
        }
        let mut entries = self.mix.iter().enumerate();
        entries.try_for_each(|(number, entry)| entry.check(&format!("mix[{number}]")))
    }

    fn check_pauses(&self) -> Result<(), ProfileError> {
        if let Some(Pause { from, to }) = self.pauses.iter().find(|pause| pause.from >= pause.to) {
            let (from, to) = (*from, *to);
            return Err(ProfileError::Pause { from, to });
        }
        let mut pauses = self.pauses.clone();
        pauses.sort_by_key(|pause| pause.from);
        let mut pairs = pauses.iter().zip(pauses.iter().skip(1));
        match pairs.find(|(first, second)| second.from < first.to) {
            Some((Pause { to: first_to, .. }, second)) => Err(ProfileError::Overlap {
                first_to: *first_to,
                second: *second,
            }),
            None => Ok(()),
        }
    }

    /// Attempts of all streams in so much time, if nobody pauses.
    pub(crate) fn attempts_in(&self, span: Duration) -> f64 {
        (self.rate + 2.0 / self.probes.interval.as_secs_f64()) * span.as_secs_f64()
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

    fn check(&self, name: &str) -> Result<(), ProfileError> {
        range(&format!("{name}.weight"), self.weight, (LEAST, 1e9))?;
        let pages = f64::from(self.catalogue);
        range(&format!("{name}.catalogue"), pages, (1.0, PAGES_MAX))?;
        range(&format!("{name}.zipf"), self.zipf, (0.0, 100.0))?;
        let body = f64::from(self.body_bytes);
        range(&format!("{name}.body_bytes"), body, (0.0, BODY_MAX))?;
        asked(name, &self.url, self.host.as_ref())?;
        if self.catalogue > 1 && !self.is_numbered() {
            return Err(ProfileError::NoPlace {
                name: name.to_owned(),
                url: self.url.clone(),
                catalogue: self.catalogue,
            });
        }
        Ok(())
    }
}

fn range(name: &str, value: f64, (least, most): (f64, f64)) -> Result<(), ProfileError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let name = name.to_owned();
    Err(ProfileError::Range {
        name,
        value,
        least,
        most,
    })
}

fn time(
    name: &'static str,
    value: Duration,
    (least, most): (Duration, Duration),
) -> Result<(), ProfileError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ProfileError::Time {
        name,
        value,
        least,
        most,
    })
}

fn share(name: &'static str, value: f64) -> Result<(), ProfileError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(ProfileError::Share { name, value })
    }
}

/// Durations as people write them: `"10s"`, `"500ms"`, `"1.5m"`.
pub mod duration_text {
    use std::fmt;
    use std::time::Duration;

    use serde::{Deserializer, Serializer, de};

    /// Reads `"10s"`.
    pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
        source.deserialize_any(Text)
    }

    struct Text;

    impl de::Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration with its unit, e.g. \"10s\" or \"500ms\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            let wrong = || format!("{text:?} is not a duration such as \"10s\" or \"500ms\"");
            parse(text).ok_or_else(|| E::custom(wrong()))
        }
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
            _ => return clock(text),
        };
        Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds_per_unit).ok()
    }

    /// `hh:mm:ss`
    fn clock(text: &str) -> Option<Duration> {
        let mut parts = text.splitn(3, ':').map(|part| part.parse::<u64>().ok());
        let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
        let whole = hours
            .checked_mul(3600)?
            .checked_add(minutes * 60 + seconds)?;
        (minutes < 60 && seconds < 60).then(|| Duration::from_secs(whole))
    }

    /// As [`serialize`] writes it.
    pub(super) fn text(span: Duration) -> String {
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
mod tests;
