//! One sentence of verdict, made of nothing but measured figures.

use super::notes::fails_anyway;
use super::{Arm, Comparison};
use crate::load::Outcome;
use crate::measure::Metrics;
use crate::measure::statistics::upper_bound_of_none;
use crate::scenario::Operation;

/// Attempts before the operation from which it is told how many fail without it.
///
/// Assumed: of fewer the share is no share of anything; 30 is where textbooks begin to trust one.
const BASELINE_MIN: u64 = 30;

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
    let probed = |arm: &Arm| {
        let probes = &comparison.load_of(arm).probes;
        match &probes.host {
            Some(host) => format!("{} of {host}", probes.url),
            // That of the first binding, or whoever is behind it.
            None => format!("{} of the default host", probes.url),
        }
    };
    if arms.is_empty() {
        return of_nothing(&nothing, &probed);
    }
    let clause = |arm: &Arm| {
        let head = format!("{} {} cost", article(arm.operation), arm.operation);
        clause(arm, without.filter(|_| is_plain(&arm)), &head, &probed(arm))
    };
    let clauses: Vec<String> = arms.into_iter().map(clause).collect();
    format!("Verdict: {}.", clauses.join("; "))
}

/// What is said if nobody has operated on the server; it may have done something of itself.
fn of_nothing(arms: &[&Arm], probed: &dyn Fn(&Arm) -> String) -> String {
    let done: Vec<(&Arm, Vec<String>)> = arms.iter().map(|arm| (*arm, own_doings(arm))).collect();
    if done.iter().all(|(_, doings)| doings.is_empty()) {
        return "Nothing was done to the server, and this is what measuring it costs.".to_owned();
    }
    let clauses = done.iter().map(|(arm, doings)| {
        let head = match &doings[..] {
            [] => "nothing happened, with".to_owned(),
            some => format!("{}, with", some.join(", ")),
        };
        clause(arm, None, &head, &probed(arm))
    });
    format!(
        "Verdict: nobody did anything to the server, and this is what it did of itself: {}.",
        clauses.collect::<Vec<_>>().join("; ")
    )
}

/// What a server does of itself, over all trials: recycles on a schedule or at a limit, what failures and limits do
/// to a pool, idle stops, and workers that end in any other way.
fn own_doings(arm: &Arm) -> Vec<String> {
    let sum = |count: &dyn Fn(&Metrics) -> u64| -> u64 {
        arm.used().map(|trial| count(&trial.metrics)).sum()
    };
    let logged = |id: &str| sum(&|metrics| events(metrics, id));
    let gone = sum(&|metrics| {
        let lives = metrics.workers.iter().flatten();
        lives.filter(|life| life.exited_ms.is_some()).count() as u64
    });
    let recycles = sum(&|metrics| metrics.recycles.map_or(0, |recycles| recycles.logged));
    [
        (recycles, "recycle(s)"),
        (
            logged("5002"),
            "stop(s) of a pool by rapid-fail protection (event 5002)",
        ),
        (logged("5025"), "time(s) the CPU limit passed (event 5025)"),
        (logged("5186"), "idle stop(s) (event 5186)"),
        (gone, "worker(s) gone"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

fn events(metrics: &Metrics, id: &str) -> u64 {
    let counts = metrics.events.as_ref();
    counts
        .and_then(|counts| counts.get(id))
        .copied()
        .unwrap_or(0)
}

/// What an operation cost, or a server without one; `without` it some of that happens too, and is said beside it. A
/// gap of nothing is that of what is `probed`, and if much else fails it must not read as that of everything.
fn clause(arm: &Arm, without: Option<&Arm>, head: &str, probed: &str) -> String {
    let counted = |figure: &dyn Fn(&Arm) -> Option<f64>| {
        let also = without.and_then(figure).filter(|also| *also >= 0.5);
        let also = also.map(|also| format!(" ({also:.0} without it)"));
        format!("{}{}", count(figure(arm)), also.unwrap_or_default())
    };
    let sum = |arm: &Arm, paths: &[&str]| paths.iter().map(|path| arm.median(path)).sum();
    let who = if arm.name == arm.operation.name() {
        String::new()
    } else {
        format!("{}: ", arm.name)
    };
    let gap = match longest_gap(arm) {
        None => "a gap that no probe could tell".to_owned(),
        Some((_, gap)) if gap < 0.5 && fails_elsewhere(arm, without) => {
            format!("no gap of the probes, which ask only for {probed}")
        }
        Some((least, gap)) => {
            let also = without.and_then(longest_gap);
            let also = also.filter(|(least, also)| !least.is_empty() || *also >= 0.5);
            let also = also.map(|(least, also)| format!(" ({least}{also:.0} without it)"));
            format!(
                "a longest gap of {least}{gap:.0} ms{}",
                also.unwrap_or_default()
            )
        }
    };
    let lost = |path: &str| arm.median(path).unwrap_or_default();
    let later = match (lost("sessions.lost"), lost("sessions.lost_in_all")) {
        // Sessions that began later, and those of which each worker of a web garden had a state.
        (live, all) if all > live => {
            format!(" ({all:.0} times in all that a user came back and the state was gone)")
        }
        _ => String::new(),
    };
    format!(
        "{who}{head} {gap}, {}, {} of {} open connections, {} cache entries and {} of {} sessions{later}",
        failures(arm, without),
        counted(&|arm| sum(arm, &["connections.lost_rst", "connections.lost_fin"])),
        count(arm.median("connections.open_before")),
        counted(&|arm| sum(arm, &LAYERS)),
        counted(&|arm| arm.median("sessions.lost")),
        count(arm.median("sessions.live")),
    )
}

/// The longest gap, if the probes can tell one, and whether it is told as "at least".
fn longest_gap(arm: &Arm) -> Option<(&'static str, f64)> {
    let gap = arm.median("downtime_max_gap_ms.value")?;
    let told = arm.open_gap().map_or(("", gap), |gap| ("at least ", gap));
    (!arm.is_blind()).then_some(told)
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

/// What an attempt can end in that a user calls a failure.
fn failures_of(arm: &Arm) -> impl Iterator<Item = (Outcome, u64)> {
    Outcome::ALL
        .into_iter()
        .filter(|outcome| outcome.is_verdict() && !outcome.is_success())
        .map(|outcome| (outcome, arm.count(outcome.name())))
}

fn failed(arm: &Arm) -> u64 {
    failures_of(arm).map(|(_, count)| count).sum()
}

/// How many failed attempts are none of the operation's, and when else they fail: as many of all attempts as without
/// it, however they fail. Of those that fail in any case some only fail in another way while it goes on.
fn failed_anyway(arm: &Arm, without: Option<&Arm>) -> (u64, &'static str) {
    // Neither the trials nor the attempts need be as many.
    let as_many = |also: u64, of: u64| -> u64 {
        let expected = u128::from(also) * u128::from(arm.attempts());
        let expected = expected.div_ceil(of.max(1).into());
        failed(arm).min(u64::try_from(expected).unwrap_or(u64::MAX))
    };
    let as_without = without.map_or(0, |without| as_many(failed(without), without.attempts()));
    let before = arm.before();
    let as_before = if before.total() >= BASELINE_MIN && fails_anyway(before) {
        as_many(before.failed(), before.total())
    } else {
        0
    };
    if as_before > as_without {
        (as_before, "before it as well")
    } else {
        (as_without, "without it as well")
    }
}

/// Whether the operation made a tenth of all attempts fail, or more.
fn fails_elsewhere(arm: &Arm, without: Option<&Arm>) -> bool {
    let (anyway, _) = failed_anyway(arm, without);
    let caused = failed(arm) - anyway;
    caused > 0 && caused * 10 >= arm.attempts()
}

/// Failed attempts over all trials, which the other figures are medians of; none is said with how many were
/// tried and what that proves. What fails in any case is no cost.
fn failures(arm: &Arm, without: Option<&Arm>) -> String {
    let trials = match arm.trials_used() {
        0 | 1 => String::new(),
        trials => format!(" in all {trials} trials"),
    };
    let attempts = format!("{} attempts{trials}", arm.attempts());
    let before = arm.before();
    let beside = [
        (without.map_or(0, failed), " without it".to_owned()),
        (before.failed(), format!(" of {} before it", before.total())),
    ];
    let beside: Vec<String> = beside
        .into_iter()
        .filter(|(also, _)| *also > 0)
        .map(|(also, when)| format!("{also}{when}"))
        .collect();
    let beside = beside.join(", ");
    let open = match arm.count(Outcome::Abandoned.name()) {
        0 => String::new(),
        open => format!(", {open} more still open at the end"),
    };
    let failed = failed(arm);
    let ended = arm.attempts() - arm.count(Outcome::Abandoned.name());
    let (anyway, when) = failed_anyway(arm, without);
    match upper_bound_of_none(ended) {
        Some(share) if failed == 0 => {
            format!("0 of {attempts} (at most {:.3} %){open}", share * 100.0)
        }
        _ if failed > 0 && anyway == failed => {
            format!("no attempts that do not fail anyway ({failed} of {attempts}; {beside}){open}")
        }
        _ if anyway > 0 => format!("{failed} of {attempts} ({anyway} of which fail {when}){open}"),
        _ if beside.is_empty() => format!("{failed} of {attempts}{open}"),
        _ => format!("{failed} of {attempts} ({beside}){open}"),
    }
}
