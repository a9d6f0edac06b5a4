//! `iis-sim merge`: all results of a sweep together, or what is missing.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use super::fail;
use super::output_file::output_file;
use super::sweep::cores;
use super::up::stop_flag;
use crate::sweep::merge::{Figure, Figures, Group, Merge, MergeError, Merged};

/// Exit code when a row's numbers cannot be trusted.
const NOT_TRUSTED: u8 = 3;
/// Exit code after Ctrl-C. Source: the shell's convention, 128 + SIGINT.
const INTERRUPTED: u8 = 130;
/// Rows of the printed table, at most.
const LINES_MAX: usize = 200;

/// What is summed up if nobody asks for something else: path in the metrics, and heading.
const FIGURES: [(&str, &str); 7] = [
    ("downtime_max_gap_ms.value", "longest gap, ms"),
    ("downtime_total_ms", "all failed probes, ms"),
    ("time_to_steady_state_ms", "to steady state, ms"),
    ("latency_ms.during.p99", "latency p99, ms"),
    ("failed", "failed"),
    ("connections.lost_rst", "connections lost by RST"),
    ("sessions.lost", "sessions lost"),
];

/// Arguments of `iis-sim merge`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The digest is one over all rows in the order of the plan: the same however the sweep was sharded,
interrupted or repeated. A merged file is itself a result that can be merged.

Exit codes: 0 complete; 1 refused (something is missing, damaged, of another plan or build, or twice
and not alike) or failed; 2 wrong arguments; 3 a row's numbers cannot be trusted; 130 interrupted")]
pub(super) struct Arguments {
    /// Folders that sweeps wrote into, or single files of them
    #[arg(value_name = "DIR or FILE", required = true)]
    folders: Vec<PathBuf>,
    /// Write all rows, in the order of the plan, to FILE (Parquet)
    #[arg(long, value_name = "FILE", value_parser = output_file())]
    out: Option<PathBuf>,
    /// A figure to sum up, by its path in the metrics, e.g. `latency_ms.during.p50`; repeat for more; or all
    #[arg(long = "figure", value_name = "PATH")]
    figures: Vec<String>,
    /// Write the summary to FILE (schema iis-sim/sweep/1)
    #[arg(long, value_name = "FILE", value_parser = output_file())]
    json: Option<PathBuf>,
}

/// Merges and prints.
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let usual = FIGURES.map(|(path, _)| path);
    let figures = match &arguments.figures[..] {
        [] => Figures::Known(&usual),
        [all] if all == "all" => Figures::All,
        some => Figures::Named(some),
    };
    let merged = match merge(arguments, figures) {
        Ok(merged) => merged,
        Err(MergeError::Interrupted) => {
            eprintln!("iis-sim: interrupted; nothing was written");
            return ExitCode::from(INTERRUPTED);
        }
        Err(error) => return fail(&error),
    };
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&merged).map_err(std::io::Error::from);
        let written = text.and_then(|text| std::fs::write(path, format!("{text}\n")));
        if let Err(error) = written {
            eprintln!("iis-sim: {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    println!("{}", render(&merged));
    if merged.invalid + merged.unexplained > 0 {
        return ExitCode::from(NOT_TRUSTED);
    }
    ExitCode::SUCCESS
}

fn merge(arguments: &Arguments, figures: Figures<'_>) -> Result<Merged, MergeError> {
    let stop = stop_flag().map_err(|source| crate::sweep::folder::FolderError::Io {
        path: PathBuf::from("signals"),
        source,
    })?;
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files  {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    let merge = Merge {
        folders: &arguments.folders,
        out: arguments.out.as_deref(),
        figures,
        jobs: cores(),
    };
    let merged = merge.run(&mut |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    merged
}

fn render(merged: &Merged) -> String {
    let mut text = format!(
        "{}: {} rows in {} files, {} of them more than once and alike; plan {}, build {}\ndigest {}\n",
        merged.name,
        merged.rows,
        merged.files,
        merged.repeated,
        merged.plan,
        merged.build,
        merged.digest
    );
    if merged.invalid > 0 {
        let _ = writeln!(
            text,
            "{} rows are invalid, and in no figure",
            merged.invalid
        );
    }
    if merged.unexplained > 0 {
        let _ = writeln!(text, "{} attempts are unexplained", merged.unexplained);
    }
    let _ = write!(text, "\n{}\n", table(merged));
    if merged.groups.len() > LINES_MAX {
        let more = merged.groups.len() - LINES_MAX;
        let _ = writeln!(text, "… and {more} more lines; --json has all");
    }
    text.push_str(
        "medians over seeds with their 95 % intervals by rank; none for fewer than six seeds",
    );
    text
}

fn table(merged: &Merged) -> Table {
    let mut names: Vec<&String> = merged
        .groups
        .iter()
        .flat_map(|g| g.figures.keys())
        .collect();
    names.sort_unstable();
    names.dedup();
    // In the order of the list above; others after them by name.
    names.sort_by_key(|name| {
        FIGURES
            .iter()
            .position(|(path, _)| path == name)
            .unwrap_or(99)
    });
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let keys = merged.groups.first().map_or(&[][..], |group| &group.values);
    let mut header = vec![Cell::new("point")];
    header.extend(keys.iter().map(|(key, _)| right(key)));
    header.push(Cell::new("operation"));
    header.push(right("seeds"));
    header.extend(names.iter().map(|name| right(heading(name))));
    table.set_header(header);
    for group in merged.groups.iter().take(LINES_MAX) {
        table.add_row(line(group, &names));
    }
    table
}

fn line(group: &Group, names: &[&String]) -> Vec<Cell> {
    let mut cells = vec![right(&group.point.to_string())];
    cells.extend(group.values.iter().map(|(_, value)| right(value)));
    cells.push(Cell::new(&group.operation));
    cells.push(right(&group.seeds.to_string()));
    cells.extend(names.iter().map(|name| {
        let figure = group.figures.get(*name);
        let write = |figure| write_figure(figure, group.seeds);
        right(&figure.map_or_else(|| "–".to_owned(), write))
    }));
    cells
}

fn heading(path: &str) -> &str {
    let known = FIGURES.iter().find(|(known, _)| *known == path);
    known.map_or(path, |(_, heading)| heading)
}

fn right(text: &str) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// The median and its interval; where it is unknown for some of the seeds, for how many it is known.
fn write_figure(figure: &Figure, seeds: usize) -> String {
    let number = |value: f64| {
        if value.fract() == 0.0 || value.abs() >= 100.0 {
            format!("{value:.0}")
        } else {
            format!("{value:.2}")
        }
    };
    let median = number(figure.median);
    let mut text = match (figure.lower, figure.upper) {
        (Some(lower), Some(upper)) => format!("{median} [{}, {}]", number(lower), number(upper)),
        _ => median,
    };
    if figure.known < seeds {
        let _ = write!(text, " in {} of {seeds}", figure.known);
    }
    text
}
