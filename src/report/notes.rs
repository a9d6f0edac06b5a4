//! What must be known of an arm to read its figures.

use super::Arm;
use crate::load::Outcome;
use crate::measure::Outcomes;

/// One line each.
pub(super) fn of(arm: &Arm) -> impl Iterator<Item = String> {
    let notes = [
        failing_before(arm),
        under_way(arm),
        failing_again(arm),
        waiting(arm),
    ];
    notes.into_iter().flatten()
}

/// Whether nine of ten attempts failed before the operation: they tell nothing of it.
pub(super) fn fails_anyway(before: Outcomes) -> bool {
    before.failed() > 0 && before.failed() * 10 >= before.total() * 9
}

fn failing_before(arm: &Arm) -> Option<String> {
    let before = arm.before();
    if !fails_anyway(before) {
        return None;
    }
    let is_failure = |outcome: &Outcome| outcome.is_verdict() && !outcome.is_success();
    let ways = before
        .each()
        .filter(|(outcome, count)| *count > 0 && is_failure(outcome))
        .map(|(outcome, count)| format!("{outcome} {count}"));
    Some(format!(
        "{} of {} attempts of {} failed before the operation, too ({}): look at the URLs and hosts of load",
        before.failed(),
        before.total(),
        arm.name,
        ways.collect::<Vec<_>>().join(", "),
    ))
}

/// An outage that the operation found there already.
fn under_way(arm: &Arm) -> Option<String> {
    let probes = || arm.used().map(|trial| &trial.metrics.probes);
    let mut streams = probes().flat_map(|probes| probes.new.iter().chain(&probes.reused));
    if arm.is_blind() || !streams.any(|stream| stream.was_failing) {
        return None;
    }
    let before: Outcomes = probes().map(|probes| probes.before).sum();
    let how = if before.failed() == 0 {
        "hung before the operation already".to_owned()
    } else {
        format!(
            "failed before the operation already ({} of {})",
            before.failed(),
            before.total()
        )
    };
    Some(format!(
        "probes of {} {how}, and still did when it began: its downtime counts what came since",
        arm.name
    ))
}

/// The steady state is the first one; what comes later is none of an operation's, as a rule.
fn failing_again(arm: &Arm) -> Option<String> {
    let again: u64 = arm
        .used()
        .filter_map(|trial| {
            let steady = trial.metrics.time_to_steady_state_ms?;
            let windows = trial.metrics.downtime_windows.iter();
            let later = windows.filter(|window| window.from_ms >= steady);
            Some(later.map(|window| window.failed).sum::<u64>())
        })
        .sum();
    (again > 0).then(|| {
        format!(
            "{} was steady and failed again later: {again} probes failed after \"time to steady state\"",
            arm.name
        )
    })
}

/// Probes that hang for as long as anybody looked may be late or lost: where no other one told, nothing is known.
fn waiting(arm: &Arm) -> Option<String> {
    let outcomes = arm.used().find_map(|trial| {
        let metrics = &trial.metrics;
        let outcomes = metrics.probes.outcomes;
        let waits = metrics.downtime_max_gap_ms.is_none() && outcomes.abandoned > 0;
        waits.then_some(outcomes)
    })?;
    Some(format!(
        "{} of {} probes of {} still waited at the end of a trial, so that its gap is unknown: they would be told \
         if timing.watch-min were longer than load.probes.deadline",
        outcomes.abandoned,
        outcomes.total(),
        arm.name,
    ))
}
