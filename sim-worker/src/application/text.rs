//! Durations and sizes as people write them: `250us`, `1.5s`, `00:01:30`; `64KiB`, `2MiB`, `4096`.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// The longest duration that is accepted: a day. A simulated cost above it is a mistake.
pub(crate) const DURATION_MAX: Duration = Duration::from_hours(24);

/// Reads a duration.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let seconds = if text.contains(':') {
        clock(text)
    } else {
        with_unit(text)
    };
    let seconds = seconds.ok_or_else(|| {
        format!("`{text}` is not a duration (write 250us, 5ms, 1.5s, 10m, 2h or hh:mm:ss)")
    })?;
    let duration = Duration::try_from_secs_f64(seconds)
        .map_err(|_| format!("`{text}` is negative or too long"))?;
    if duration > DURATION_MAX {
        return Err(format!("`{text}` is longer than a day"));
    }
    Ok(duration)
}

fn with_unit(text: &str) -> Option<f64> {
    let digits = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number = decimal(number.trim())?;
    let scale = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "" if number == 0.0 => 1.0,
        _ => return None,
    };
    Some(number * scale)
}

/// `hh:mm:ss` with an optional fraction.
fn clock(text: &str) -> Option<f64> {
    let mut parts = text.splitn(3, ':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let (minutes, seconds) = (decimal(minutes)?, decimal(seconds)?);
    if minutes >= 60.0 || seconds >= 60.0 {
        return None;
    }
    Some(decimal(hours)? * 3600.0 + minutes * 60.0 + seconds)
}

/// A plain decimal number: digits with at most one point.
fn decimal(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

/// Reads a size in bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        _ => return Err(format!("`{text}` is not a size (write 4096, 64KiB, 2MiB)")),
    };
    let number: u64 = number
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is not a size (write 4096, 64KiB, 2MiB)"))?;
    number
        .checked_mul(scale)
        .ok_or_else(|| format!("`{text}` is too large"))
}

/// For `#[serde(deserialize_with)]`.
pub(crate) fn deserialize_duration<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Duration, D::Error> {
    from.deserialize_any(DurationVisitor)
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, e.g. \"5s\" or \"250ms\"")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        duration(value).map_err(E::custom)
    }
}

/// For `#[serde(deserialize_with)]`.
pub(crate) fn deserialize_duration_maybe<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    deserialize_duration(from).map(Some)
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a size: a number of bytes, or text like \"64KiB\""
)]
enum Size {
    Bytes(u64),
    Text(String),
}

/// Reads a size in bytes, for `#[serde(deserialize_with)]`.
pub fn deserialize_size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match Size::deserialize(from)? {
        Size::Bytes(bytes) => Ok(bytes),
        Size::Text(text) => size(&text).map_err(D::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("00:01:30"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
        for wrong in [
            "",
            "5",
            "ms",
            "1e3s",
            "-1s",
            "00:60:00",
            "25h",
            "inf s",
            "5 parsecs",
        ] {
            assert!(duration(wrong).is_err(), "{wrong} was accepted");
        }
    }

    #[test]
    fn a_duration_without_a_unit_is_told_how_one_is_written() {
        #[derive(Debug, Deserialize)]
        struct Page {
            #[serde(deserialize_with = "deserialize_duration")]
            ttl: Duration,
        }
        let said = toml::from_str::<Page>("ttl = 5").unwrap_err().to_string();
        assert!(said.contains("expected a duration with its unit"), "{said}");
        let page: Page = toml::from_str("ttl = '5s'").unwrap();
        assert_eq!(page.ttl, Duration::from_secs(5));
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(size("64KiB"), Ok(65536));
        assert_eq!(size("0"), Ok(0));
        assert!(size("64kb").is_err());
        assert!(size("99999999999GiB").is_err());
    }
}
