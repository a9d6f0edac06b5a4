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

/// What the caches' layers lost.
const LAYERS: [&str; 5] = [
    "cache.kernel.entries_lost",
    "cache.file.entries_lost",
    "cache.output.entries_lost",
    "cache.application.entries_lost",
    "cache.compiled.entries_lost",
];

/// One sentence: what each operation cost.
pub(super) fn verdict(comparison: &Comparison) -> String {
    if !comparison.is_trusted() {
        return "No verdict: a trial is invalid, or an attempt is unexplained, or none was made (see above)."
            .to_owned();
    }
    let (nothing, arms): (Vec<&Arm>, Vec<&Arm>) = comparison
        .arms
        .iter()
        .partition(|arm| arm.operation == Operation::None);
    // An arm with a name of its own may be another server.
    let is_plain = |arm: &&Arm| arm.name == arm.operation.name();
    let without = nothing.first().copied().filter(is_plain);
    let probed = &comparison.scenario.load.probes.url;
    let clause = |arm: &Arm| clause(arm, without.filter(|_| is_plain(&arm)), probed);
    let clauses: Vec<String> = arms.into_iter().map(clause).collect();
    if clauses.is_empty() {
        return "Nothing was done to the server, and this is what measuring it costs.".to_owned();
    }
    format!("Verdict: {}.", clauses.join("; "))
}

/// What an operation cost; `without` it some of that happens too, and is said beside it. A gap of nothing is that
/// of what is `probed`, and if much else fails it must not read as that of everything.
fn clause(arm: &Arm, without: Option<&Arm>, probed: &str) -> String {
    let with = |figure: &dyn Fn(&Arm) -> Option<f64>| {
        let also = without.and_then(figure).filter(|also| *also >= 0.5);
        let also = also.map(|also| format!(" ({also:.0} without it)"));
        (figure(arm), also.unwrap_or_default())
    };
    let counted = |figure: &dyn Fn(&Arm) -> Option<f64>| {
        let (figure, also) = with(figure);
        format!("{}{also}", count(figure))
    };
    let sum = |arm: &Arm, paths: &[&str]| paths.iter().map(|path| arm.median(path)).sum();
    let who = if arm.name == arm.operation.name() {
        String::new()
    } else {
        format!("{}: ", arm.name)
    };
    let gap = match with(&|arm| arm.median("downtime_max_gap_ms.value")) {
        (Some(gap), _) if gap < 0.5 && !arm.is_blind() && fails_elsewhere(arm, without) => {
            format!("no gap of the probes, which ask only for {probed}")
        }
        (Some(gap), also) if !arm.is_blind() => format!("a longest gap of {gap:.0} ms{also}"),
        (Some(_) | None, _) => "a gap that no probe could tell".to_owned(),
    };
    format!(
        "{who}{} {} cost {gap}, {}, {} of {} open connections, {} cache entries and {} of {} sessions",
        article(arm.operation),
        arm.operation,
        failures(arm, without),
        counted(&|arm| sum(arm, &["connections.lost_rst", "connections.lost_fin"])),
        count(arm.median("connections.open_before")),
        counted(&|arm| sum(arm, &LAYERS)),
        counted(&|arm| arm.median("sessions.lost")),
        count(arm.median("sessions.live")),
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

fn failed(arm: &Arm) -> u64 {
    FAILURES.iter().map(|outcome| arm.count(outcome)).sum()
}

/// Whether the operation made a tenth of all attempts fail, or more.
fn fails_elsewhere(arm: &Arm, without: Option<&Arm>) -> bool {
    let caused = failed(arm).saturating_sub(without.map_or(0, failed));
    caused > 0 && caused * 10 >= arm.attempts()
}

/// Failed attempts over all trials, which the other figures are medians of; none is said with how many were
/// tried and what that proves.
fn failures(arm: &Arm, without: Option<&Arm>) -> String {
    let trials = match arm.trials_used() {
        0 | 1 => String::new(),
        trials => format!(" in all {trials} trials"),
    };
    let attempts = format!("{} attempts{trials}", arm.attempts());
    let also = without.map(failed).filter(|also| *also > 0);
    let also = also.map(|also: u64| format!(" ({also} without it)"));
    let also = also.unwrap_or_default();
    let failed = failed(arm);
    match upper_bound_of_none(arm.attempts()) {
        Some(share) if failed == 0 => {
            format!("0 of {attempts} (at most {:.3} %)", share * 100.0)
        }
        _ => format!("{failed} of {attempts}{also}"),
    }
}
