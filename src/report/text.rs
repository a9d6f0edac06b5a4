//! The report as a table for people, and one sentence of verdict.
#![expect(
    clippy::print_stdout,
    reason = "examples talk to their reader through this file"
)]

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::verdict::verdict;
use super::{Arm, Comparison, notes};
use crate::measure::Estimate;
use crate::measure::statistics::TRIALS_MIN;
use crate::scenario::Scenario;

/// A row of the table: what it is called, where it is in the metrics, and its unit.
pub(super) struct Row {
    pub(super) label: &'static str,
    pub(super) path: &'static str,
    unit: Unit,
}

/// How a figure is written.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Millis,
    Count,
    MiB,
    Percent,
}

/// A part of the table.
pub(super) struct Part {
    pub(super) title: &'static str,
    pub(super) rows: &'static [Row],
}

const fn row(label: &'static str, path: &'static str, unit: Unit) -> Row {
    Row { label, path, unit }
}

/// The whole table. The rows below `attempts` are all ways in which one ends, so that they sum up to it.
const PARTS: [Part; 6] = [
    Part {
        title: "what users meet",
        rows: &[
            row(
                "downtime, longest gap, ms",
                "downtime_max_gap_ms.value",
                Unit::Millis,
            ),
            row(
                "downtime, all failed probes, ms",
                "downtime_total_ms",
                Unit::Millis,
            ),
            row(
                "time to first success, ms",
                "time_to_first_success_ms",
                Unit::Millis,
            ),
            row(
                "time to steady state, ms",
                "time_to_steady_state_ms",
                Unit::Millis,
            ),
            row(
                "latency p99 before, ms",
                "latency_ms.before.p99",
                Unit::Millis,
            ),
            row(
                "latency p99 until steady, ms",
                "latency_ms.during.p99",
                Unit::Millis,
            ),
            row(
                "latency, longest until steady, ms",
                "latency_ms.during.max",
                Unit::Millis,
            ),
            row(
                "latency, longest to the end, ms",
                "latency_ms.since.max",
                Unit::Millis,
            ),
        ],
    },
    Part {
        title: "attempts",
        rows: &[
            row("attempts", "attempts", Unit::Count),
            row("ok", "outcomes.ok", Unit::Count),
            row("ok but slow", "outcomes.slow", Unit::Count),
            row("503", "outcomes.http_503", Unit::Count),
            row("other 5xx", "outcomes.http_5xx", Unit::Count),
            row("4xx", "outcomes.http_4xx", Unit::Count),
            row("refused", "outcomes.refused", Unit::Count),
            row("reset, nothing sent", "outcomes.reset_idle", Unit::Count),
            row("reset in flight", "outcomes.reset_inflight", Unit::Count),
            row("truncated", "outcomes.truncated", Unit::Count),
            row("timed out", "outcomes.timeout", Unit::Count),
            row("still open at the end", "outcomes.abandoned", Unit::Count),
            row("never sent", "outcomes.not_sent", Unit::Count),
        ],
    },
    Part {
        title: "connections",
        rows: &[
            row("open before", "connections.open_before", Unit::Count),
            row("lost by RST", "connections.lost_rst", Unit::Count),
            row("lost by FIN", "connections.lost_fin", Unit::Count),
            row(
                "closed by the idle timer",
                "connections.timed_out",
                Unit::Count,
            ),
            row(
                "closed by their client",
                "connections.closed_by_client",
                Unit::Count,
            ),
            row("full TLS handshakes", "tls.full_handshakes", Unit::Count),
            row("resumed TLS sessions", "tls.resumed", Unit::Count),
        ],
    },
    Part {
        title: "what must be built again",
        rows: &[
            row("sessions live", "sessions.live", Unit::Count),
            row("sessions lost", "sessions.lost", Unit::Count),
            row(
                "times a session was found gone",
                "sessions.lost_in_all",
                Unit::Count,
            ),
            row(
                "kernel cache entries lost",
                "cache.kernel.entries_lost",
                Unit::Count,
            ),
            row(
                "file cache entries lost",
                "cache.file.entries_lost",
                Unit::Count,
            ),
            row(
                "output cache entries lost",
                "cache.output.entries_lost",
                Unit::Count,
            ),
            row(
                "application cache entries lost",
                "cache.application.entries_lost",
                Unit::Count,
            ),
            row(
                "compiled pages lost",
                "cache.compiled.entries_lost",
                Unit::Count,
            ),
            row(
                "application cache, lowest hit ratio, %",
                "cache.application.hit_ratio_min",
                Unit::Percent,
            ),
            row(
                "application cache, excess misses",
                "cache.application.excess_misses",
                Unit::Count,
            ),
        ],
    },
    Part {
        title: "the price of overlap",
        rows: &[
            row(
                "workers' memory, peak, MiB",
                "memory.workers_peak_bytes",
                Unit::MiB,
            ),
            row(
                "until the workers are replaced, ms",
                "workers_replaced_ms",
                Unit::Millis,
            ),
            row(
                "a pool without a worker to deliver to, ms",
                "no_delivery_target_ms",
                Unit::Millis,
            ),
        ],
    },
    Part {
        title: BALANCER,
        rows: &[
            row(
                "failed health checks",
                "balancer.checks_failed",
                Unit::Count,
            ),
            row("server taken out", "balancer.taken_out", Unit::Count),
            row("until that, ms", "balancer.noticed_ms", Unit::Millis),
            row("until it is back, ms", "balancer.back_ms", Unit::Millis),
            row(
                "failed attempts until it was out",
                "balancer.failed_unnoticed",
                Unit::Count,
            ),
            row(
                "failed attempts while it was out",
                "balancer.failed_while_out",
                Unit::Count,
            ),
            row(
                "sent to another server",
                "balancer.redispatched",
                Unit::Count,
            ),
            row(
                "answered by the balancer",
                "balancer.answered_itself",
                Unit::Count,
            ),
        ],
    },
];

/// The title of the part about the balancer, which only a farm has.
const BALANCER: &str = "what the balancer sees of the server";

/// The parts that this comparison has.
pub(super) fn parts(comparison: &Comparison) -> impl Iterator<Item = &'static Part> {
    let mut stories = comparison.stories.iter();
    let is_farm = stories.any(|story| story.scenario.farm.is_some());
    PARTS
        .iter()
        .filter(move |part| is_farm || part.title != BALANCER)
}

/// The whole report.
pub fn render(comparison: &Comparison) -> String {
    let mut text = heading(comparison);
    text.push_str(&table(comparison));
    text.push('\n');
    text.push_str(&footer(comparison));
    text.push('\n');
    text.push_str(&verdict(comparison));
    text
}

/// Tells a line of a story (the examples').
pub fn tell(line: &str) {
    println!("{line}");
}

pub(super) fn heading(comparison: &Comparison) -> String {
    let scenario = &comparison.scenario;
    let environment = &comparison.environment;
    let each = |what: &dyn Fn(&Scenario) -> String| comparison.each(what);
    let profile = comparison.profile.as_ref();
    let profile = profile.map(|profile| format!("\nvirtual time; costs: {profile}"));
    format!(
        "\n{}: {}\n{} trial(s) of each operation, seed {}, {} attempts/s, {} kept-alive connections, \
         {} users; {} build on {} x {}{}\n\n",
        scenario.name,
        scenario.about,
        each(&|it| it.trials.to_string()),
        each(&|it| it.seed.to_string()),
        each(&|it| it.load.rate.to_string()),
        each(&|it| it.load.keep_alive_connections.to_string()),
        each(&|it| it.load.users.to_string()),
        environment.build,
        environment.cpus,
        environment.cpu,
        profile.unwrap_or_default(),
    )
}

fn table(comparison: &Comparison) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let names = comparison.arms.iter().map(|arm| {
        let mark = if arm.is_invalid() { " (INVALID)" } else { "" };
        right(&format!("{}{mark}", arm.name))
    });
    table.set_header(std::iter::once(Cell::new("")).chain(names));
    for part in parts(comparison) {
        table.add_row([Cell::new(part.title.to_uppercase())]);
        for row in part.rows {
            let cells = comparison.arms.iter().map(|arm| right(&figure(arm, row)));
            let label = Cell::new(format!("  {}", row.label));
            table.add_row(std::iter::once(label).chain(cells));
        }
    }
    table.trim_fmt()
}

fn right(text: &str) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// A figure of an arm, with its interval.
pub(super) fn figure(arm: &Arm, row: &Row) -> String {
    let estimate = arm.summary.figures.get(row.path);
    if row.path == "time_to_first_success_ms" {
        return first_success(arm, estimate);
    }
    let Some(estimate) = estimate else {
        return "unknown".to_owned();
    };
    if row.path == "downtime_max_gap_ms.value" {
        return gap(arm, estimate);
    }
    if row.path == "no_delivery_target_ms"
        && let Some(at_least) = arm.open_without_target()
    {
        return format!("at least {}", write(at_least, Unit::Millis));
    }
    with_interval(estimate, row.unit)
}

/// Only trials in which a probe failed have a time to the first success after that.
fn first_success(arm: &Arm, estimate: Option<&Estimate>) -> String {
    let failed = arm.summary.figures.get("downtime_total_ms");
    match (estimate, failed) {
        (Some(estimate), _) if estimate.unknown > 0 => {
            let median = write(estimate.median, Unit::Millis);
            format!("{median} in {} of {}", estimate.known, arm.summary.trials)
        }
        (Some(estimate), _) => with_interval(estimate, Unit::Millis),
        (None, Some(failed)) if failed.max == 0.0 => "no outage".to_owned(),
        (None, Some(_) | None) => "unknown".to_owned(),
    }
}

/// The longest gap carries the interval that probing leaves open, also when there is one trial.
fn gap(arm: &Arm, estimate: &Estimate) -> String {
    if let Some(at_least) = arm.open_gap() {
        return format!("at least {}", write(at_least, Unit::Millis));
    }
    let end = |path: &str| arm.median(path).map(|value| write(value, Unit::Millis));
    let probing = (
        end("downtime_max_gap_ms.lower"),
        end("downtime_max_gap_ms.upper"),
    );
    match (estimate.lower, estimate.upper, probing) {
        (None, _, (Some(lower), Some(upper))) | (_, None, (Some(lower), Some(upper))) => {
            format!(
                "{} [{lower}, {upper}]",
                write(estimate.median, Unit::Millis)
            )
        }
        _ => with_interval(estimate, Unit::Millis),
    }
}

fn with_interval(estimate: &Estimate, unit: Unit) -> String {
    let median = write(estimate.median, unit);
    match (estimate.lower, estimate.upper) {
        (Some(lower), Some(upper)) => {
            format!("{median} [{}, {}]", write(lower, unit), write(upper, unit))
        }
        _ => median,
    }
}

fn write(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Millis if value > 0.0 && value < 100.0 => format!("{value:.1}"),
        Unit::Millis | Unit::Count => format!("{value:.0}"),
        Unit::MiB => format!("{:.1}", value / f64::from(1 << 20)),
        Unit::Percent => format!("{:.0}", value * 100.0),
    }
}

/// What can be said about trust: the ledger, validity, and how to read the brackets.
fn footer(comparison: &Comparison) -> String {
    let mut lines = Vec::new();
    let ledgers = || {
        comparison
            .trials()
            .filter_map(|trial| trial.metrics.ledger.as_ref())
    };
    let attempts: u64 = ledgers().map(|ledger| ledger.attempts).sum();
    let explained: u64 = ledgers().map(|ledger| ledger.explained).sum();
    let unexplained: u64 = ledgers().map(|ledger| ledger.unexplained).sum();
    lines.push(format!(
        "ledger: {attempts} attempts, {explained} explained on both sides, unexplained {unexplained}"
    ));
    for trial in comparison.arms.iter().flat_map(|arm| &arm.repeated) {
        let why = trial.invalid.as_deref().unwrap_or_default();
        lines.push(format!(
            "run again: {} {}: {why}",
            trial.operation, trial.seed
        ));
    }
    for trial in comparison.trials() {
        for example in &trial.unexplained {
            lines.push(format!(
                "  unexplained in {} {}: {example}",
                trial.operation, trial.seed
            ));
        }
        if let Some(why) = &trial.invalid {
            lines.push(format!(
                "INVALID trial {} {}: {why}",
                trial.operation, trial.seed
            ));
        }
    }
    for arm in comparison.arms.iter().filter(|arm| arm.is_empty()) {
        lines.push(format!(
            "no attempt of {} was made once the operation had begun: load.rate, load.pauses and timing leave none",
            arm.name
        ));
    }
    for arm in comparison.arms.iter().filter(|arm| arm.is_blind()) {
        let probes = &comparison.load_of(arm).probes;
        let marker = probes
            .marker
            .as_ref()
            .map(|marker| format!(" with {marker:?} in it"));
        lines.push(format!(
            "no probe of {} succeeded before the operation, so they tell no downtime: load.probes asks for {}{}",
            arm.name,
            probes.url,
            marker.unwrap_or_default(),
        ));
    }
    lines.extend(comparison.arms.iter().flat_map(notes::of));
    let bound = comparison.each(&|it| format!("{} ms", it.load.late_bound.as_secs_f64() * 1e3));
    lines.push(format!(
        "a trial is invalid if its generator was more than {bound} late at p99.9; times count \
         from the start of the operation"
    ));
    lines.push(
        "\"until steady\" ends with the first two seconds in which all was as quick and warm as before; \
         what has no such word counts to the end of the run; a failed probe is downtime of one interval"
            .to_owned(),
    );
    lines.push(intervals(comparison));
    lines.join("\n") + "\n"
}

/// What the brackets are: the bounds of a median, or what probing leaves open.
fn intervals(comparison: &Comparison) -> String {
    let has_none = |arm: &&Arm| arm.summary.trials < TRIALS_MIN;
    let without: Vec<&str> = comparison
        .arms
        .iter()
        .filter(has_none)
        .map(|arm| arm.name.as_str())
        .collect();
    let medians = "medians over trials with their 95 % bootstrap intervals";
    let no_intervals = "measured once or twice: no intervals over trials; the gap's brackets are what probing \
         leaves open";
    match without.len() {
        0 => medians.to_owned(),
        some if some == comparison.arms.len() => no_intervals.to_owned(),
        _ => format!("{medians}, but {}: {no_intervals}", without.join("; ")),
    }
}
