//! Types and validators of the configuration schema: text in, a typed value or a fault out.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use super::schema::Attribute;

/// The type of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    /// true or false.
    Bool,
    /// One of some names.
    Enum,
    /// Names with commas between them.
    Flags,
    /// 32 bits.
    Uint,
    /// 32 bits with a sign.
    Int,
    /// 64 bits with a sign.
    Int64,
    /// Text.
    String,
    /// `[d.]hh:mm:ss[.fff]`.
    TimeSpan,
}

/// How a timeSpan is written (`timeSpanFormat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum TimeFormat {
    /// `[d.]hh:mm:ss[.fff]`.
    #[default]
    Text,
    /// A number of seconds.
    Seconds,
    /// A number of minutes.
    Minutes,
}

/// A rule for texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Validator {
    /// Forbids what cannot be in a pool's name.
    ApplicationPoolName,
    /// Forbids `/` and `?`.
    SiteName,
    /// `/`, or `/a/b`.
    ApplicationPath,
    /// `/`, or `/a/b`.
    VirtualDirectoryPath,
    /// Some text.
    NonEmptyString,
    /// No white space around it.
    RequireTrimmedString,
}

/// `min,max[,exclude]` of numbers, `min,max,granularity[,exclude]` of times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Range {
    pub(super) min: i64,
    pub(super) max: i64,
    /// Granularity; 1 for numbers.
    pub(super) step: i64,
    /// Whether the value must lie outside.
    pub(super) exclude: bool,
}

impl TryFrom<String> for Range {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut range = Self {
            min: 0,
            max: 0,
            step: 1,
            exclude: false,
        };
        for (position, part) in text.split(',').enumerate() {
            let number = part.parse::<i64>().map_err(|_| format!("bad range {text}"));
            match (position, part) {
                (_, "exclude") => range.exclude = true,
                (0, _) => range.min = number?,
                (1, _) => range.max = number?,
                (2.., _) => range.step = number?.max(1),
            }
        }
        Ok(range)
    }
}

/// A checked value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    /// Numbers, enums and flags.
    Number(i64),
    Text(String),
    /// [`Duration::MAX`] for `Infinite`.
    Time(Duration),
}

/// Why a value is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not of the type, or breaks a rule; the text goes after "is ".
    Malformed(String),
    /// It is of the type, and outside its range or between the steps.
    OutOfRange {
        min: String,
        max: String,
        step: Option<String>,
        exclude: bool,
    },
}

impl Attribute {
    /// Understands a text.
    pub(super) fn check(&self, text: &str) -> Result<Value, Fault> {
        match self.kind {
            Kind::Bool => match text {
                _ if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
                _ if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
                _ => malformed("not true or false"),
            },
            Kind::Enum => self.name(text).map(Value::Number),
            Kind::Flags => text
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .try_fold(0, |all, name| Ok(all | self.name(name)?))
                .map(Value::Number),
            // Source: IIS schema: the type `uint` has no sign, and comes before any range. So `-1` breaks the schema
            // (event 5172), while a number out of range is the default instead (event 5041).
            Kind::Uint => self.number(text, 0, i64::from(u32::MAX)),
            Kind::Int => self.number(text, i64::from(i32::MIN), i64::from(i32::MAX)),
            Kind::Int64 => self.number(text, i64::MIN, i64::MAX),
            Kind::String => self.text(text),
            Kind::TimeSpan => self.time(text),
        }
    }

    /// The default, typed; a text without one is empty.
    pub(super) fn default_value(&self) -> Option<Value> {
        self.default.as_ref().and_then(|text| self.check(text).ok())
    }

    fn name(&self, text: &str) -> Result<i64, Fault> {
        let known = self
            .values
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        // Assumed: a number that the schema gives to a name stands for that name.
        let numbered = || {
            let number = text.parse::<i64>().ok()?;
            self.values.values().copied().find(|&value| value == number)
        };
        if let Some(value) = known.map(|(_, &value)| value).or_else(numbered) {
            return Ok(value);
        }
        let mut names: Vec<_> = self.values.iter().collect();
        names.sort_by_key(|(_, value)| **value);
        let names: Vec<_> = names.into_iter().map(|(name, _)| name.as_str()).collect();
        malformed(&format!("not one of {}", names.join(", ")))
    }

    /// The names of a number of an enum or of flags; of an enum that has two for one number (`UseUri` and `true`),
    /// the one that is no bool.
    pub(super) fn names(&self, number: i64) -> String {
        let mut values: Vec<_> = self.values.iter().collect();
        let is_set = |value: i64| {
            let is_flag = self.kind == Kind::Flags && value != 0 && number & value == value;
            is_flag || value == number
        };
        let count = if self.kind == Kind::Enum {
            1
        } else {
            values.len()
        };
        values.sort_by_key(|(name, value)| (**value, ["true", "false"].contains(&name.as_str())));
        let named = values.into_iter().filter(|(_, value)| is_set(**value));
        named
            .take(count)
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// A value as it counts, in IIS's form: one that is refused counts as not written.
    pub(super) fn effective(&self, text: &str) -> Option<String> {
        match self.check(text) {
            Ok(_) => Some(self.canonical(text).into_owned()),
            Err(_) => self
                .default
                .as_deref()
                .map(|default| self.canonical(default).into_owned()),
        }
    }

    fn number(&self, text: &str, least: i64, most: i64) -> Result<Value, Fault> {
        let trimmed = text.trim();
        let hexadecimal = trimmed
            .strip_prefix("0x")
            .or_else(|| trimmed.strip_prefix("0X"));
        let number = match hexadecimal {
            Some(digits) if digits.starts_with(['+', '-']) => None,
            Some(digits) => i128::from_str_radix(digits, 16).ok(),
            None => trimmed.parse::<i128>().ok(),
        };
        let Some(number) = number else {
            return malformed("not a whole number");
        };
        match i64::try_from(number)
            .ok()
            .filter(|n| (least..=most).contains(n))
        {
            Some(number) => match &self.range {
                Some(range) if !range.has(number) => Err(range.fault(|n| n.to_string())),
                Some(_) | None => Ok(Value::Number(number)),
            },
            None => match &self.range {
                Some(range) if number >= 0 => Err(range.fault(|n| n.to_string())),
                Some(_) | None => malformed(&format!("not between {least} and {most}")),
            },
        }
    }

    fn text(&self, text: &str) -> Result<Value, Fault> {
        let complaint = match self.validate {
            Some(Validator::ApplicationPoolName) => text
                .contains(|c| "|<>&\"/\\[]+=;:,?*@".contains(c))
                .then_some("not a pool's name: none of |<>&\"/\\[]+=;:,?*@ may be in it"),
            Some(Validator::SiteName) => text
                .contains(['/', '?'])
                .then_some("not a site's name: neither / nor ? may be in it"),
            Some(Validator::ApplicationPath | Validator::VirtualDirectoryPath) => (!is_path(text))
                .then_some(
                    "not a path: it begins with /, does not end in / and has no . or .. in it",
                ),
            Some(Validator::NonEmptyString) => text.is_empty().then_some("empty"),
            Some(Validator::RequireTrimmedString) => (text.is_empty() || text.trim() != text)
                .then_some("empty or has white space around it"),
            None => None,
        };
        complaint.map_or_else(|| Ok(Value::Text(text.to_owned())), malformed)
    }

    /// A value as IIS writes it: `29:00:00` is `1.05:00:00`, ten minutes are `10` where minutes are counted,
    /// enums and flags have the names that the schema gives them, flags in its order (`Time, Memory`), and a
    /// bool is `true` or `false`.
    pub(super) fn canonical<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.kind == Kind::Bool
            && let Ok(Value::Bool(is_set)) = self.check(text)
        {
            return Cow::Borrowed(if is_set { "true" } else { "false" });
        }
        if matches!(self.kind, Kind::Uint | Kind::Int | Kind::Int64)
            && let Ok(Value::Number(number)) = self.check(text)
        {
            return Cow::Owned(number.to_string());
        }
        if matches!(self.kind, Kind::Enum | Kind::Flags)
            && let Ok(Value::Number(number)) = self.check(text)
        {
            return Cow::Owned(self.names(number));
        }
        let time = (self.kind == Kind::TimeSpan)
            .then(|| parse_time(text))
            .flatten();
        let Some(time) = time.filter(|time| time.subsec_nanos() == 0) else {
            return Cow::Borrowed(text);
        };
        Cow::Owned(match self.format {
            TimeFormat::Text => print_time(time.as_secs()),
            TimeFormat::Seconds => time.as_secs().to_string(),
            TimeFormat::Minutes if time.as_secs().is_multiple_of(60) => {
                (time.as_secs() / 60).to_string()
            }
            TimeFormat::Minutes => return Cow::Borrowed(text),
        })
    }

    fn time(&self, text: &str) -> Result<Value, Fault> {
        let time = match self.format {
            TimeFormat::Text => parse_time(text),
            TimeFormat::Seconds | TimeFormat::Minutes if text == "Infinite" => {
                return Ok(Value::Time(Duration::MAX));
            }
            TimeFormat::Seconds => parse_number(text).map(Duration::from_secs),
            TimeFormat::Minutes => parse_number(text)
                .and_then(|n| n.checked_mul(60))
                .map(Duration::from_secs),
        };
        let Some(time) = time.or_else(|| parse_time(text)) else {
            return malformed(match self.format {
                TimeFormat::Text => "not a time; write [d.]hh:mm:ss",
                TimeFormat::Seconds => "not a number of seconds",
                TimeFormat::Minutes => "not a number of minutes",
            });
        };
        let Some(range) = &self.range else {
            return Ok(Value::Time(time));
        };
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let on_a_step = time.subsec_nanos() == 0 && seconds % range.step == 0;
        if on_a_step && range.has(seconds) {
            return Ok(Value::Time(time));
        }
        Err(range.fault(|n| print_time(u64::try_from(n).unwrap_or(0))))
    }
}

impl Range {
    fn has(&self, number: i64) -> bool {
        (self.min..=self.max).contains(&number) != self.exclude
    }

    fn fault(&self, print: impl Fn(i64) -> String) -> Fault {
        Fault::OutOfRange {
            min: print(self.min),
            max: print(self.max),
            step: (self.step > 1).then(|| print(self.step)),
            exclude: self.exclude,
        }
    }
}

fn malformed<T>(why: &str) -> Result<T, Fault> {
    Err(Fault::Malformed(why.to_owned()))
}

/// Source: IIS schema, `applicationPath` and `virtualDirectoryPath`: begins with `/`, no `/` at the
/// end except of the root, no segment `.` or `..`.
fn is_path(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('/') else {
        return false;
    };
    rest.is_empty()
        || rest
            .split('/')
            .all(|segment| !["", ".", ".."].contains(&segment))
}

/// Digits only; no sign.
fn parse_number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `[d.]hh:mm[:ss[.fff]]`. The hours may pass 23: `29:00:00` is `1.05:00:00`.
pub(super) fn parse_time(text: &str) -> Option<Duration> {
    let mut parts = text.trim().split(':');
    let (hours, minutes) = (parts.next()?, parse_number(parts.next()?)?);
    let seconds = parts.next().unwrap_or("0");
    let (days, hours) = match hours.split_once('.') {
        Some((days, hours)) => (parse_number(days)?, parse_number(hours)?),
        None => (0, parse_number(hours)?),
    };
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let seconds = parse_number(seconds)?;
    if parts.next().is_some() || minutes > 59 || seconds > 59 || fraction.len() > 9 {
        return None;
    }
    parse_number(fraction)?;
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    let hours = days.checked_mul(24)?.checked_add(hours)?;
    let total = hours
        .checked_mul(3600)?
        .checked_add(minutes * 60 + seconds)?;
    Some(Duration::new(total, nanos))
}

/// `[d.]hh:mm:ss`, as appcmd prints it.
pub(super) fn print_time(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match days {
        0 => format!("{hours:02}:{minutes:02}:{seconds:02}"),
        days => format!("{days}.{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_past_a_day_are_days() {
        assert_eq!(parse_time("29:00:00"), parse_time("1.05:00:00"));
        assert_eq!(print_time(104_400), "1.05:00:00");
    }

    #[test]
    fn times_are_read_in_all_their_forms() {
        for (text, millis) in [
            ("00:00:00", Some(0)),
            ("03:00", Some(10_800_000)),
            ("00:00:01.5", Some(1500)),
            ("1.00:00:00", Some(86_400_000)),
            ("10", None),
            ("", None),
            ("-00:01:00", None),
            ("00:60:00", None),
            ("00:00:60", None),
            ("1:2:3:4", None),
            ("99999999999999999999:00:00", None),
            ("999999999999999999.00:00:00", None),
            ("00:00:00.12345678901", None),
            ("\u{661}:00:00", None),
        ] {
            assert_eq!(parse_time(text).map(|d| d.as_millis()), millis, "{text}");
        }
    }

    #[test]
    fn paths_are_rooted_and_end_without_a_slash() {
        for (text, good) in [
            ("/", true),
            ("/app", true),
            ("/_vti_bin/a.b", true),
            ("", false),
            ("app", false),
            ("/app/", false),
            ("/a//b", false),
            ("/a/../b", false),
        ] {
            assert_eq!(is_path(text), good, "{text}");
        }
    }
}
