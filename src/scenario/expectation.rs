//! What a scenario is meant to show: sentences, each with the checks that decide whether it holds.
//!
//! ```toml
//! [[expect]]
//! that = "a recycle loses no request"
//! checks = [
//!     { arm = "recycle", figure = "failed", at-most = 0 },
//!     { arm = "iisreset", figure = "failed", more-than = { arm = "recycle" } },
//! ]
//! ```
//!
//! A figure is a path in the metrics of a trial (`iis-sim compare --json` shows them all), or a sum of
//! some, joined by ` + `. `events.5074` counts the events of that id since the operation began.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::measure::unknown_figure;

/// A sentence, and what must be true for it to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expectation {
    /// The sentence.
    pub that: String,
    /// Which claim of a longer argument it decides, e.g. `A12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// All of these must hold.
    pub checks: Vec<Check>,
}

/// Compares one figure of one arm, the median over its trials, with bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Check {
    /// The arm: an operation, a variant, or `variant, operation`.
    pub arm: String,
    /// The figure.
    pub figure: String,
    /// It is this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<Bound>,
    /// It is this or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Bound>,
    /// It is this or less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Bound>,
    /// It is more than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_than: Option<Bound>,
    /// It is less than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub less_than: Option<Bound>,
}

/// What a figure is compared with.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Bound {
    /// A number.
    Number(f64),
    /// Another figure, times something, plus something.
    Figure(Other),
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NumberOrFigure)
    }
}

struct NumberOrFigure;

impl<'de> Visitor<'de> for NumberOrFigure {
    type Value = Bound;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a number, or another figure: { arm = \"recycle\", figure = \"failed\", times = 2, plus = 1 }",
        )
    }

    fn visit_f64<E>(self, number: f64) -> Result<Bound, E> {
        Ok(Bound::Number(number))
    }

    #[expect(clippy::cast_precision_loss, reason = "no figure is that large")]
    fn visit_i64<E>(self, number: i64) -> Result<Bound, E> {
        Ok(Bound::Number(number as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "no figure is that large")]
    fn visit_u64<E>(self, number: u64) -> Result<Bound, E> {
        Ok(Bound::Number(number as f64))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Bound, A::Error> {
        Other::deserialize(MapAccessDeserializer::new(map)).map(Bound::Figure)
    }
}

/// A figure that another one is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Other {
    /// Its arm.
    pub arm: String,
    /// The figure; the same one if it is not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figure: Option<String>,
    /// Times this.
    #[serde(default = "one")]
    pub times: f64,
    /// Plus this.
    #[serde(default)]
    pub plus: f64,
}

fn one() -> f64 {
    1.0
}

/// How a figure is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same.
    Equals,
    /// The same or more.
    AtLeast,
    /// The same or less.
    AtMost,
    /// More.
    MoreThan,
    /// Less.
    LessThan,
}

impl Relation {
    /// Whether `left` stands in this relation to `right`.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equals => (left - right).abs() < 1e-9,
            Self::AtLeast => left >= right,
            Self::AtMost => left <= right,
            Self::MoreThan => left > right,
            Self::LessThan => left < right,
        }
    }

    /// Its words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Equals => "exactly",
            Self::AtLeast => "at least",
            Self::AtMost => "at most",
            Self::MoreThan => "more than",
            Self::LessThan => "less than",
        }
    }
}

impl Check {
    /// Everything that it demands.
    pub fn bounds(&self) -> impl Iterator<Item = (Relation, &Bound)> {
        [
            (Relation::Equals, &self.equals),
            (Relation::AtLeast, &self.at_least),
            (Relation::AtMost, &self.at_most),
            (Relation::MoreThan, &self.more_than),
            (Relation::LessThan, &self.less_than),
        ]
        .into_iter()
        .filter_map(|(relation, bound)| Some((relation, bound.as_ref()?)))
    }

    /// The figures that it speaks of.
    fn figures(&self) -> impl Iterator<Item = &str> {
        let others = self.bounds().filter_map(|(_, bound)| match bound {
            Bound::Number(_) => None,
            Bound::Figure(other) => other.figure.as_deref(),
        });
        std::iter::once(self.figure.as_str()).chain(others)
    }

    /// The arms that it speaks of.
    fn arms(&self) -> impl Iterator<Item = &str> {
        let others = self.bounds().filter_map(|(_, bound)| match bound {
            Bound::Number(_) => None,
            Bound::Figure(other) => Some(other.arm.as_str()),
        });
        std::iter::once(self.arm.as_str()).chain(others)
    }
}

impl Expectation {
    /// Says what is wrong with it, if the report has these arms.
    pub(super) fn check(&self, arms: &[String]) -> Result<(), String> {
        let wrong = |what: String| Err(format!("[[expect]] {:?}: {what}", self.that));
        if self.checks.is_empty() {
            return wrong("checks is empty: nothing would decide it".to_owned());
        }
        for check in &self.checks {
            if check.bounds().next().is_none() {
                return wrong(format!(
                    "{} of {} is compared with nothing: give equals, at-least, at-most, more-than or \
                     less-than",
                    check.figure, check.arm
                ));
            }
            if let Some(unknown) = check.figures().find_map(no_figure) {
                return wrong(format!("{unknown}; iis-sim compare --json shows them all"));
            }
            let is_finite = |bound: &Bound| match bound {
                Bound::Number(number) => number.is_finite(),
                Bound::Figure(other) => other.times.is_finite() && other.plus.is_finite(),
            };
            if !check.bounds().all(|(_, bound)| is_finite(bound)) {
                return wrong(format!(
                    "{} is compared with no finite number",
                    check.figure
                ));
            }
            if let Some(unknown) = check.arms().find(|arm| !arms.iter().any(|a| a == arm)) {
                return wrong(format!(
                    "there is no arm {unknown:?}, only {}",
                    arms.join("; ")
                ));
            }
        }
        Ok(())
    }
}

/// What is wrong with a figure: there can never be such a one.
fn no_figure(figure: &str) -> Option<String> {
    // An event that never happened counts as none, so that one that cannot happen would decide something.
    let no_event = figure.split(" + ").map(str::trim).find_map(|path| {
        let id = path.strip_prefix("events.")?;
        let number = id.parse::<u16>().ok().filter(|number| *number > 0);
        if number.is_some_and(|number| number.to_string() == id) {
            return None;
        }
        Some(format!(
            "there is no figure {path:?}: {id:?} is none of the numbers of events, 1 to 65535"
        ))
    });
    no_event.or_else(|| unknown_figure(figure))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why a sentence about the recycle is refused.
    fn refused(check: &str) -> Option<String> {
        let text = format!("that = 's'\nchecks = [{{ arm = 'recycle', {check} }}]");
        let expectation: Expectation = toml::from_str(&text).unwrap();
        expectation.check(&["recycle".to_owned()]).err()
    }

    #[test]
    fn what_a_figure_can_be_compared_with_is_told() {
        let parsed = |bound: &str| {
            let text = format!("arm = 'recycle'\nfigure = 'failed'\nat-most = {bound}");
            toml::from_str::<Check>(&text).map_err(|error| error.to_string())
        };
        for good in ["7", "-7", "7.5", "{ arm = 'none', times = 2 }"] {
            assert!(parsed(good).is_ok(), "{good}");
        }
        let said = parsed("'0'").unwrap_err();
        let wanted = "expected a number, or another figure: { arm = \"recycle\"";
        assert!(said.contains(wanted), "{said}");
        let said = parsed("{ arm = 'none', time = 2 }").unwrap_err();
        assert!(said.contains("unknown field `time`"), "{said}");
    }

    #[test]
    fn events_have_numbers() {
        let of = |id: &str| refused(&format!("figure = 'failed + events.{id}', equals = 0"));
        for good in ["1", "5074", "65535"] {
            assert_eq!(of(good), None, "{good}");
        }
        for bad in ["abc", "999999", "0", "-1", "+5", "05074", "5074.count", ""] {
            let said = of(bad).unwrap_or_else(|| panic!("{bad} passed"));
            assert!(
                said.contains("is none of the numbers of events, 1 to 65535"),
                "{said}"
            );
        }
        let other = "figure = 'failed', equals = { arm = 'recycle', figure = 'events.abc' }";
        assert!(refused(other).is_some());
    }
}
