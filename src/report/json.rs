//! The report as JSON, schema `iis-sim/compare/1`.

use serde_json::{Value, json};

use super::{Arm, Comparison};
use crate::measure::TrialResult;

/// The name and version of the schema.
pub const SCHEMA: &str = "iis-sim/compare/1";

/// Everything that was measured, as one JSON object.
///
/// # Panics
///
/// Never: a report is plain data, which can be written.
pub fn render(comparison: &Comparison) -> String {
    let value = value(comparison);
    let mut text = serde_json::to_string_pretty(&value).expect("a report is plain data");
    text.push('\n');
    text
}

/// The same as a value.
pub fn value(comparison: &Comparison) -> Value {
    json!({
        "schema": SCHEMA,
        "seed": comparison.scenario.seed,
        "clock": comparison.clock,
        "profile": comparison.profile,
        "scenario": comparison.scenario,
        "environment": comparison.environment,
        "operations": comparison.arms.iter().map(arm).collect::<Vec<_>>(),
    })
}

fn arm(arm: &Arm) -> Value {
    json!({
        "name": arm.name,
        "operation": arm.operation,
        "trials": arm.trials.iter().map(trial).collect::<Vec<_>>(),
        "repeated": arm.repeated.iter().map(trial).collect::<Vec<_>>(),
        "summary": arm.summary,
    })
}

fn trial(trial: &TrialResult) -> Value {
    json!({
        "seed": trial.seed,
        "valid": trial.invalid.is_none(),
        "invalid_because": trial.invalid,
        "metrics": trial.metrics,
        "unexplained": trial.unexplained,
        "digest": trial.digest.map(|digest| format!("{digest:016x}")),
    })
}
