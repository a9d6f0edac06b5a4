//! One key of a plan, and the values it takes.

use serde::Deserialize;
use sim_was::config::edit::EditError;
use toml::{Spanned, Value};

use super::error::{At, PlanError};
use super::target::Target;
use super::{KeyPath, OWN_KEYS};
use crate::sweep::path::{Step, suggestion};

/// More values of one key than anybody means.
const VALUES_MAX: usize = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    key: Spanned<String>,
    values: Option<Spanned<Vec<Value>>>,
    range: Option<Spanned<RangePart>>,
}

/// From one number to another, both included.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct RangePart {
    from: Number,
    to: Number,
    step: Option<Number>,
    factor: Option<f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Number {
    Whole(i64),
    Broken(f64),
}

impl Number {
    #[expect(
        clippy::cast_precision_loss,
        reason = "steps of a plan are small numbers"
    )]
    fn float(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Broken(number) => number,
        }
    }
}

/// A key and its values.
#[derive(Clone, Debug)]
pub struct Axis {
    /// The key.
    pub key: KeyPath,
    /// The values, in the order of the plan.
    pub values: Vec<Value>,
    pub(super) target: Target,
    at: At,
    values_at: At,
}

/// The keys of a plan, none twice.
pub(super) fn axes(parts: Vec<Part>, at: &impl Fn(usize) -> At) -> Result<Vec<Axis>, PlanError> {
    let mut known: Vec<Axis> = Vec::with_capacity(parts.len());
    for part in parts {
        let axis = axis(part, at)?;
        if let Some(earlier) = known.iter().find(|earlier| earlier.key == axis.key) {
            let message = format!("it is varied already, in line {}", earlier.at.line);
            return Err(axis.wrong_key(&message, &[]));
        }
        known.push(axis);
    }
    Ok(known)
}

fn axis(part: Part, at: &impl Fn(usize) -> At) -> Result<Axis, PlanError> {
    let key_at = at(part.key.span().start);
    let text = part.key.into_inner();
    let wrong = |message: &str| PlanError::Key {
        file: key_at.file.clone(),
        line: key_at.line,
        key: text.clone(),
        message: message.to_owned(),
        meant: None,
    };
    let key = KeyPath::parse(&text).map_err(|error| wrong(&error.to_string()))?;
    if let [Step::Key(word)] = key.steps()
        && OWN_KEYS.contains(&word.as_str())
    {
        return Err(wrong(
            "the plan itself says that: seeds, operations and variant stand at its top",
        ));
    }
    if let [Step::Key(word)] = key.steps()
        && word == "clock"
    {
        return Err(wrong("a sweep has no other clock than the virtual one"));
    }
    let target = Target::of(&key).map_err(|error| wrong(&error.to_string()))?;
    let (values, values_at) = match (part.values, part.range) {
        (Some(values), None) => {
            let values_at = at(values.span().start);
            (values.into_inner(), values_at)
        }
        (None, Some(range)) => {
            let values_at = at(range.span().start);
            let values = numbers(*range.get_ref()).map_err(|message| values_at.says(message))?;
            (values, values_at)
        }
        (Some(_), Some(_)) => return Err(wrong("it has values and a range; keep one")),
        (None, None) => {
            return Err(wrong(
                "it has no values: add values = […] or range = { from = …, to = …, step = … }",
            ));
        }
    };
    if values.is_empty() {
        return Err(values_at.says(&format!("{text} has no values: name at least one")));
    }
    if values.len() > VALUES_MAX {
        let message = format!("{text} has more than {VALUES_MAX} values");
        return Err(values_at.says(&message));
    }
    for (index, value) in values.iter().enumerate() {
        if values[..index].iter().any(|other| are_same(other, value)) {
            return Err(values_at.says(&format!("{text} has the value {value} twice")));
        }
    }
    Ok(Axis {
        key,
        values,
        target,
        at: key_at,
        values_at,
    })
}

/// Whether both are the same value: 10 and 10.0 are.
fn are_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Integer(whole), Value::Float(broken))
        | (Value::Float(broken), Value::Integer(whole)) => {
            let whole = Number::Whole(*whole).float();
            whole.total_cmp(broken).is_eq()
        }
        (one, other) => one == other,
    }
}

/// The numbers of a range.
fn numbers(range: RangePart) -> Result<Vec<Value>, &'static str> {
    const BOTH: &str = "a range has a step or a factor, not both";
    const STEP: &str = "the step must lead from `from` to `to`: more than 0, and from ≤ to";
    const FACTOR: &str = "the factor must lead from `from` to `to`: more than 1, and 0 < from ≤ to";
    const MANY: &str = "the range has too many values";
    if let (Number::Whole(from), Number::Whole(to), None) = (range.from, range.to, range.factor) {
        let step = match range.step {
            None => 1,
            Some(Number::Whole(step)) => step,
            Some(Number::Broken(_)) => return floats(range),
        };
        if step < 1 || from > to {
            return Err(STEP);
        }
        if to.abs_diff(from) / step.unsigned_abs() >= VALUES_MAX as u64 {
            return Err(MANY);
        }
        let step = usize::try_from(step).map_err(|_| MANY)?;
        return Ok((from..=to).step_by(step).map(Value::Integer).collect());
    }
    let Some(factor) = range.factor else {
        return floats(range);
    };
    if range.step.is_some() {
        return Err(BOTH);
    }
    let (from, to) = (range.from.float(), range.to.float());
    if !(factor > 1.0 && from > 0.0 && from <= to && to.is_finite() && factor.is_finite()) {
        return Err(FACTOR);
    }
    let is_whole = matches!((range.from, range.to), (Number::Whole(_), Number::Whole(_)))
        && factor.fract() == 0.0;
    let mut values = Vec::new();
    let mut value = from;
    while value <= to * (1.0 + 1e-9) {
        if values.len() >= VALUES_MAX {
            return Err(MANY);
        }
        values.push(number(value, is_whole));
        value *= factor;
    }
    Ok(values)
}

fn floats(range: RangePart) -> Result<Vec<Value>, &'static str> {
    let (from, to) = (range.from.float(), range.to.float());
    let Some(step) = range.step.map(Number::float) else {
        return Err("a range of numbers that are not whole needs a step or a factor");
    };
    if !(step > 0.0 && step.is_finite() && from.is_finite() && to.is_finite() && from <= to) {
        return Err("the step must lead from `from` to `to`: more than 0, and from ≤ to");
    }
    let count = ((to - from) / step + 1e-9).floor();
    #[expect(clippy::cast_precision_loss, reason = "a bound")]
    if count >= VALUES_MAX as f64 {
        return Err("the range has too many values");
    }
    let values = (0..=VALUES_MAX)
        .map(|index| {
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let index = index as f64;
            (index, from + index * step)
        })
        .take_while(|(index, _)| *index <= count)
        .map(|(_, value)| number(value, false));
    Ok(values.collect())
}

/// As people would write it: 0.3, not 0.30000000000000004.
fn number(value: f64, is_whole: bool) -> Value {
    let rounded = format!("{value:.12e}").parse().unwrap_or(value);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be whole and small"
    )]
    if is_whole && rounded.abs() < 9e15 {
        return Value::Integer(rounded as i64);
    }
    Value::Float(rounded)
}

impl Axis {
    /// The line of the plan that its key is in.
    pub(super) fn line(&self) -> usize {
        self.at.line
    }

    pub(super) fn wrong_key(&self, message: &str, keys: &[String]) -> PlanError {
        let meant = suggestion(self.key.text(), keys.iter().map(String::as_str));
        PlanError::Key {
            file: self.at.file.clone(),
            line: self.at.line,
            key: self.key.text().to_owned(),
            message: message.to_owned(),
            meant: meant.map(str::to_owned),
        }
    }

    /// The configuration says whether it is the key or the value that is wrong, and what would be valid.
    pub(super) fn wrong_attribute(&self, value: &Value, error: &EditError) -> PlanError {
        match error {
            EditError::Invalid { why, .. } => PlanError::Value {
                file: self.values_at.file.clone(),
                line: self.values_at.line,
                key: self.key.text().to_owned(),
                value: value.to_string(),
                message: format!("it is {why}"),
            },
            EditError::Unreadable(_)
            | EditError::Syntax { .. }
            | EditError::NoSection(_)
            | EditError::Unknown { .. }
            | EditError::NoEntry { .. }
            | EditError::Duplicate { .. } => self.wrong_key(&error.to_string(), &[]),
        }
    }

    /// What refused the value says whether it is the key that is wrong.
    pub(super) fn wrong_value(&self, value: &Value, message: &str, keys: &[String]) -> PlanError {
        let message = message.trim().replace('\n', " ");
        if message.contains("unknown field") {
            return self.wrong_key(&message, keys);
        }
        PlanError::Value {
            file: self.values_at.file.clone(),
            line: self.values_at.line,
            key: self.key.text().to_owned(),
            value: value.to_string(),
            message,
        }
    }
}
