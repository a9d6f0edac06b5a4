//! Both clocks side by side: what was held together, and every other figure next to it.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::Environment;
use super::text::{figure, parts};
use crate::agreement::{Agreement, Judged, TIMES, Verdict};

/// The name and version of the schema.
pub const SCHEMA: &str = "iis-sim/agree/1";

/// The tables of all operations, and the verdict.
pub fn render(agreement: &Agreement) -> String {
    let profile = agreement.virtual_.profile.as_deref();
    let mut lines = vec![
        super::text::heading(&agreement.live).trim_end().to_owned(),
        format!(
            "virtual costs: {}",
            profile.unwrap_or("the default profile")
        ),
    ];
    for judged in &agreement.operations {
        lines.push(format!("\n{}", title(judged)));
        lines.push(table(agreement, judged).trim_fmt());
        let differences = judged.rows.iter().filter_map(|row| {
            let difference = row.difference.as_ref()?;
            Some(format!("  {}: {difference}", row.what.words()))
        });
        lines.extend(differences);
        let invalid = judged.invalid.iter();
        lines.extend(invalid.map(|why| format!("  invalid live trial, left out: {why}")));
    }
    lines.push(format!("\n{}", sentence(agreement)));
    lines.join("\n")
}

fn title(judged: &Judged) -> String {
    let verdict = if judged.rows.is_empty() {
        "NOT JUDGED: no valid live trial"
    } else if judged.rows.iter().all(|row| row.agrees) {
        "agrees"
    } else {
        "DISAGREES"
    };
    format!(
        "{}: {verdict} ({} live trial(s))",
        judged.operation.name().to_uppercase(),
        judged.live_trials
    )
}

/// What is judged first, then the rest of the figures for reading.
fn table(agreement: &Agreement, judged: &Judged) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let right = |text: &str| Cell::new(text).set_alignment(CellAlignment::Right);
    let heads = ["live", "virtual", "allowed", "verdict"].map(right);
    table.set_header(std::iter::once(Cell::new("")).chain(heads));
    for row in &judged.rows {
        let verdict = if row.agrees { "agrees" } else { "DISAGREES" };
        let cells = [&row.live, &row.virtual_, &row.allowed].map(|text| right(text));
        let label = Cell::new(format!("  {}", row.what.words()));
        table.add_row(std::iter::once(label).chain(cells).chain([right(verdict)]));
    }
    let arms = (
        agreement.live.arm(judged.operation),
        agreement.virtual_.arm(judged.operation),
    );
    let (Some(live), Some(virtual_)) = arms else {
        return table;
    };
    for part in parts(&agreement.live) {
        table.add_row([Cell::new(part.title.to_uppercase())]);
        for row in part.rows.iter().filter(|row| !TIMES.contains(&row.path)) {
            let label = Cell::new(format!("  {}", row.label));
            table.add_row([
                label,
                right(&figure(live, row)),
                right(&figure(virtual_, row)),
            ]);
        }
    }
    table
}

fn sentence(agreement: &Agreement) -> String {
    let rows = || agreement.operations.iter().flat_map(|judged| &judged.rows);
    let judged = rows().count();
    let open: Vec<&str> = agreement
        .operations
        .iter()
        .filter(|judged| judged.rows.is_empty())
        .map(|judged| judged.operation.name())
        .collect();
    match agreement.verdict() {
        Verdict::Agree => {
            format!("Verdict: both clocks agree in all {judged} things that were held together.")
        }
        Verdict::Disagree => {
            let wrong = rows().filter(|row| !row.agrees).count();
            let besides = if open.is_empty() {
                String::new()
            } else {
                format!(
                    " {} had no valid live trial, and is not judged.",
                    open.join(", ")
                )
            };
            format!(
                "Verdict: the clocks DISAGREE in {wrong} of {judged} things that were held together.{besides}{}",
                busy(&agreement.live.environment)
            )
        }
        Verdict::NotJudged => {
            format!(
                "No verdict: {} had no valid live trial (the machine was too busy for a punctual load); \
                 the {judged} things that could be held together agree.",
                open.join(", ")
            )
        }
    }
}

/// What is to be said if more ran on the machine than the trials.
fn busy(environment: &Environment) -> String {
    let averages = environment.load_average.as_deref().unwrap_or_default();
    let minute = averages
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok());
    let cpus = u32::try_from(environment.cpus).unwrap_or(u32::MAX);
    if minute.is_none_or(|minute: f64| minute <= f64::from(cpus)) {
        return String::new();
    }
    format!(
        " The machine was busy (load average {averages} on {cpus} cores), which stretches the times of live trials."
    )
}

/// Everything as one JSON object.
///
/// # Panics
///
/// Never: a report is plain data, which can be written.
pub fn json(agreement: &Agreement) -> String {
    let clock = |comparison: &super::Comparison| -> Value {
        serde_json::from_str(&super::json::render(comparison)).expect("a report is an object")
    };
    let value = json!({
        "schema": SCHEMA,
        "verdict": agreement.verdict(),
        "operations": agreement.operations,
        "live": clock(&agreement.live),
        "virtual": clock(&agreement.virtual_),
    });
    let mut text = serde_json::to_string_pretty(&value).expect("a report is plain data");
    text.push('\n');
    text
}
