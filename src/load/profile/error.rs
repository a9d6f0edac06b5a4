//! Why a profile cannot be used.

use std::time::Duration;

use super::asked::URL_MAX;
use super::{Pause, duration_text};

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

/// Why a profile cannot be used. Names are those of the keys below `load`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProfileError {
    /// A share outside of 0 to 1.
    #[error("load.{name} is a share and must lie between 0 and 1, not {value}")]
    Share {
        /// Its name.
        name: &'static str,
        /// What was given.
        value: f64,
    },
    /// A number that is too small or too large.
    #[error("load.{name} must lie between {least} and {most}, not {}", short(*value))]
    Range {
        /// Its name.
        name: String,
        /// What was given.
        value: f64,
        /// The least that can be used.
        least: f64,
        /// The most.
        most: f64,
    },
    /// A time that is too short or too long.
    #[error("load.{name} must lie between {} and {}, not {}", words(*.least), words(*.most), words(*.value))]
    Time {
        /// Its name.
        name: &'static str,
        /// What was given.
        value: Duration,
        /// The shortest that can be used.
        least: Duration,
        /// The longest.
        most: Duration,
    },
    /// A success is called slow only after it has become a time-out.
    #[error(
        "load.slow ({}) is longer than load.deadline ({}): nothing would ever be slow",
        words(*.slow), words(*.deadline)
    )]
    Slow {
        /// From when on a success is slow.
        slow: Duration,
        /// From when on it is none.
        deadline: Duration,
    },
    /// A pause that ends before it begins.
    #[error(
        "load.pauses: a pause must end after it begins, not from {} to {}",
        words(*.from), words(*.to)
    )]
    Pause {
        /// When it begins.
        from: Duration,
        /// When it ends.
        to: Duration,
    },
    /// Two pauses at one time.
    #[error(
        "load.pauses: the one from {} to {} begins before another ends, at {}; make one of them",
        words(.second.from), words(.second.to), words(*.first_to)
    )]
    Overlap {
        /// When the first one ends.
        first_to: Duration,
        /// The second one.
        second: Pause,
    },
    /// No URL to ask for.
    #[error("load.mix has no entry; one is [{{ url = \"/\" }}]")]
    NoMix,
    /// A URL that is not a path.
    #[error("load.{name} must begin with / and have no blanks or control characters, not {url:?}")]
    Url {
        /// Its name.
        name: String,
        /// What was given.
        url: String,
    },
    /// A URL that no client would send.
    #[error("load.{name} has {length} bytes, and at most {URL_MAX} can be asked for: {start:?}…")]
    LongUrl {
        /// Its name.
        name: String,
        /// How long it is.
        length: usize,
        /// How it begins.
        start: String,
    },
    /// A host that no client can ask for.
    #[error(
        "load.{name} must be a host name of letters, digits, dots, dashes and underscores, not {host:?}"
    )]
    Host {
        /// Its name.
        name: String,
        /// What was given.
        host: String,
    },
    /// What is held could not be told from the rest.
    #[error(
        "load.held.url {0:?} is asked for by the mix, long or the probes too; add a query to it"
    )]
    HeldUrl(String),
    /// More than one page, but nowhere to put its number.
    #[error(
        "load.{name}.catalogue is {catalogue}, but neither the url {url:?} nor the host has a {{n}}"
    )]
    NoPlace {
        /// The entry.
        name: String,
        /// The URL.
        url: String,
        /// The number of pages.
        catalogue: u32,
    },
}

/// A time as the keys take it, hours where it has no rest.
fn words(span: Duration) -> String {
    let hours = span.as_secs() / 3_600;
    if hours > 0 && span == Duration::from_hours(hours) {
        format!("{hours}h")
    } else {
        duration_text::text(span)
    }
}

/// A number as people write it, also a very large one.
fn short(value: f64) -> String {
    if value.abs() < 1e15 {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}
