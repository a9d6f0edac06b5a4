//! A result: one operation at one point with one seed, as named cells.
//!
//! | column | what |
//! |---|---|
//! | `unit`, `point`, `seed`, `operation` | which run it is |
//! | a key of the plan, e.g. `load.rate` | its value at the point |
//! | a path in the report's metrics, e.g. `latency_ms.during.p99` | what was measured; null if unknown |
//! | `simulated.events`, `simulated.attempts`, `simulated.seconds` | how much was simulated |
//! | `unexplained`, `invalid` | attempts without an explanation; why the numbers cannot be trusted |
//! | `digest` | of all facts of the run, as `compare --clock virtual` gives it |
//! | `build`, `plan` | of which build and plan it is a result |

use std::collections::BTreeMap;

use toml::Value;

use super::plan::{Axis, Plan};
use crate::measure::figures_of;
use crate::scenario::Operation;
use crate::virtual_world::trial::Run;

/// The columns that say which row it is.
pub const UNIT: &str = "unit";
/// The name of the operation.
pub const OPERATION: &str = "operation";
/// The identity of the build.
pub const BUILD: &str = "build";
/// The hash of the plan.
pub const PLAN: &str = "plan";
/// Attempts without an explanation.
pub const UNEXPLAINED: &str = "unexplained";
/// Why numbers cannot be trusted.
pub const INVALID: &str = "invalid";

/// What stands in one cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A whole number.
    Whole(i64),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

/// A result. A column that is not here is null.
pub type Row = BTreeMap<String, Cell>;

/// The row of a run.
pub fn row(plan: &Plan, build: &str, unit: u64, operation: Operation, run: &Run) -> Row {
    let mut row = Row::new();
    let mut put = |name: &str, cell| {
        row.insert(name.to_owned(), cell);
    };
    put(UNIT, whole(unit));
    put("point", whole(plan.point_of(unit)));
    put("seed", seed(plan, unit));
    put(OPERATION, text(operation.name()));
    for (axis, value) in plan.values_at(plan.point_of(unit)) {
        put(axis.key.text(), cell(axis, value));
    }
    for (path, figure) in figures_of(&run.result.metrics) {
        put(&path, Cell::Number(figure));
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
    let seconds = run.size.nanos as f64 / 1e9;
    put("simulated.events", whole(run.size.events));
    put("simulated.attempts", whole(run.size.attempts));
    put("simulated.seconds", Cell::Number(seconds));
    put(UNEXPLAINED, whole(run.result.unexplained_count()));
    if let Some(why) = &run.result.invalid {
        put(INVALID, text(why));
    }
    if let Some(digest) = run.result.digest {
        put("digest", text(&format!("{digest:016x}")));
    }
    put(BUILD, text(build));
    put(PLAN, text(&format!("{:016x}", plan.hash())));
    row
}

fn whole(number: u64) -> Cell {
    Cell::Whole(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The seed of a unit; all of a plan are of one kind, and a column of signed numbers does not hold the larger half.
fn seed(plan: &Plan, unit: u64) -> Cell {
    if i64::try_from(plan.seeds.end).is_ok() {
        whole(plan.seed_of(unit))
    } else {
        text(&plan.seed_of(unit).to_string())
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

/// A value of a key; of one kind for all values of the key.
fn cell(axis: &Axis, value: &Value) -> Cell {
    let all = |kind: fn(&Value) -> bool| axis.values.iter().all(kind);
    #[expect(
        clippy::cast_precision_loss,
        reason = "the neighbours are no whole numbers"
    )]
    match value {
        Value::Integer(number) if all(Value::is_integer) => Cell::Whole(*number),
        Value::Integer(number) if all(is_number) => Cell::Number(*number as f64),
        Value::Float(number) if all(is_number) => Cell::Number(*number),
        Value::String(text) => Cell::Text(text.clone()),
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_) => Cell::Text(value.to_string()),
    }
}

fn is_number(value: &Value) -> bool {
    value.is_integer() || value.is_float()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_seed_that_no_signed_number_holds_is_written_as_text() {
        let cells = |seeds: &str| {
            let text = format!("seeds = '{seeds}'");
            let plan = Plan::parse(&text, "plan.toml", Path::new(".")).unwrap();
            [seed(&plan, 0), seed(&plan, 1)]
        };
        assert_eq!(cells("5..7"), [Cell::Whole(5), Cell::Whole(6)]);
        assert_eq!(
            cells("9223372036854775807..9223372036854775809"),
            [text("9223372036854775807"), text("9223372036854775808")]
        );
    }
}
