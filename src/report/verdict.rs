//! One sentence of verdict, made of nothing but measured figures.

use super::{Arm, Comparison};
use crate::measure::statistics::upper_bound_of_none;
use crate::scenario::Operation;

/// What an attempt can end in that a user calls a failure.
const FAILURES: [&str; 8] = [
    "refused",
    "reset_idle",
    "reset_inflight",
    "truncated",
    "http_503",
    "http_5xx",
    "http_4xx",
    "timeout",
];

/// One sentence: what each operation cost.
pub(super) fn verdict(comparison: &Comparison) -> String {
    if !comparison.is_trusted() {
        return "No verdict: a trial is invalid, or an attempt is unexplained, or none was made (see above)."
            .to_owned();
    }
    let arms = comparison
        .arms
        .iter()
        .filter(|arm| arm.operation != Operation::None);
    let clauses: Vec<String> = arms.map(clause).collect();
    if clauses.is_empty() {
        return "Nothing was done to the server, and this is what measuring it costs.".to_owned();
    }
    format!("Verdict: {}.", clauses.join("; "))
}

fn clause(arm: &Arm) -> String {
    let figure = |path: &str| arm.median(path);
    let lost = ["connections.lost_rst", "connections.lost_fin"];
    let severed: Option<f64> = lost.iter().map(|path| figure(path)).sum();
    let caches: Option<f64> = ["kernel", "file", "output", "application", "compiled"]
        .iter()
        .map(|layer| arm.median(&format!("cache.{layer}.entries_lost")))
        .sum();
    let who = if arm.name == arm.operation.name() {
        String::new()
    } else {
        format!("{}: ", arm.name)
    };
    let gap = match figure("downtime_max_gap_ms.value") {
        Some(gap) if !arm.is_blind() => format!("a longest gap of {gap:.0} ms"),
        Some(_) | None => "a gap that no probe could tell".to_owned(),
    };
    format!(
        "{who}{} {} cost {gap}, {}, {} of {} open connections, {} cache entries and {} of {} sessions",
        article(arm.operation),
        arm.operation,
        failures(arm),
        count(severed),
        count(figure("connections.open_before")),
        count(caches),
        count(figure("sessions.lost")),
        count(figure("sessions.live")),
    )
}

/// A count, if it is known.
fn count(value: Option<f64>) -> String {
    value.map_or("unknown".to_owned(), |value| format!("{value:.0}"))
}

fn article(operation: Operation) -> &'static str {
    if operation.name().starts_with("iis") {
        "an"
    } else {
        "a"
    }
}

/// Failed attempts over all trials; none is said with how many were tried and what that proves.
fn failures(arm: &Arm) -> String {
    let failed: u64 = FAILURES.iter().map(|outcome| arm.count(outcome)).sum();
    let attempts = arm.attempts();
    match upper_bound_of_none(attempts) {
        Some(share) if failed == 0 => {
            format!("0 of {attempts} attempts (at most {:.3} %)", share * 100.0)
        }
        _ => format!("{failed} of {attempts} attempts"),
    }
}
