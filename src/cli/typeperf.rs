//! `typeperf`: reads the counters of a running server, a line a sample, as the real tool prints them.
//!
//! Source: typeperf.exe: `(PDH-CSV 4.0)`, times as `MM/DD/YYYY HH:MM:SS.mmm`, values with six decimals.
//! Times are UTC. Left out: files of counters (`-cf`), binary and SQL output, other machines.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sim_httpsys::clockwork::{Instant, UtcTime};
use sim_httpsys::live::clock::{clock_now, utc_now};
use sim_was::control::client::ask_telling;
use sim_was::control::{Answer, Command};

use super::up::stop_flag;
use super::{say_waiting, take_root};
use crate::perfmon::{Counter, OF_WORKERS, counters};

const HELP: &str = "Typeperf writes performance data to the command window or to a file.

Usage:
typeperf { <counter [counter ...]> | -q [object] | -qx [object] } [options] [--root DIR]

  <counter>      \\Object(Instance)\\Counter; * stands for every instance or counter, e.g.
                 \"\\APP_POOL_WAS(DefaultAppPool)\\Current Worker Processes\"
  -sc <samples>  Number of samples to collect. Default is to sample until CTRL+C.
  -si <[[hh:]mm:]ss>  Time between samples. Default is 1 second.
  -f <CSV|TSV>   Output file format. Default is CSV.
  -o <filename>  Path of output file; the command window otherwise.
  -q [object]    List installed counters (no instances).
  -qx [object]   List installed counters with instances.
  -y             Answer yes to all questions without prompting.";

/// A command line, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    paths: Vec<CounterPath>,
    samples: Option<u64>,
    interval: Duration,
    tabs: bool,
    file: Option<PathBuf>,
    list: Option<List>,
}

/// What is listed instead of read.
#[derive(Debug, PartialEq, Eq)]
struct List {
    object: Option<String>,
    instances: bool,
}

/// `\Object(Instance)\Counter`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CounterPath {
    object: String,
    instance: Option<String>,
    name: String,
}

impl fmt::Display for CounterPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\\{}", self.object)?;
        if let Some(instance) = &self.instance {
            write!(f, "({instance})")?;
        }
        write!(f, "\\{}", self.name)
    }
}

/// Runs `typeperf` with the words after its name.
pub(super) fn main(mut words: Vec<String>) -> ExitCode {
    let parsed = take_root(&mut words).and_then(|root| Ok((root, Wish::parse(&words)?)));
    let (root, wish) = match parsed {
        Ok((root, Some(wish))) => (root, wish),
        Ok((_, None)) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => return wrong(&format!("{message}\n\n{HELP}")),
    };
    let done = match &wish.list {
        Some(list) => read(&root, true).map(|counters| print_list(list, &counters)),
        None => sample(&root, &wish),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => wrong(&message),
    }
}

fn wrong(message: &str) -> ExitCode {
    println!("\nError:\n{message}");
    ExitCode::FAILURE
}

impl Wish {
    /// `None` asks for help.
    fn parse(words: &[String]) -> Result<Option<Self>, String> {
        let mut wish = Self {
            paths: Vec::new(),
            samples: None,
            interval: Duration::from_secs(1),
            tabs: false,
            file: None,
            list: None,
        };
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| format!("{word}: its value is missing"))
            };
            match word.to_ascii_lowercase().replacen('/', "-", 1).as_str() {
                "-?" | "--help" => return Ok(None),
                "-sc" => {
                    let count = value()?;
                    let samples = count.parse().ok().filter(|samples| *samples > 0);
                    wish.samples = Some(samples.ok_or_else(|| {
                        format!("-sc {count}: a number of samples from 1 is valid")
                    })?);
                }
                "-si" => wish.interval = interval(value()?)?,
                "-f" => {
                    let format = value()?;
                    wish.tabs = match format.to_ascii_uppercase().as_str() {
                        "CSV" => false,
                        "TSV" => true,
                        _ => return Err(format!("-f {format}: CSV and TSV are valid")),
                    };
                }
                "-o" => wish.file = Some(PathBuf::from(value()?)),
                "-y" => {}
                "-q" | "-qx" => {
                    let object = words.next_if(|next| !next.starts_with('-'));
                    wish.list = Some(List {
                        object: object.map(|object| object.trim_start_matches('\\').to_owned()),
                        instances: word.ends_with('x') || word.ends_with('X'),
                    });
                }
                option if option.starts_with('-') && !word.starts_with("/\\") => {
                    return Err(format!("{word}: no such option"));
                }
                _ => wish.paths.push(CounterPath::parse(word)?),
            }
        }
        if wish.paths.is_empty() && wish.list.is_none() {
            return Err("No valid counters.".to_owned());
        }
        Ok(Some(wish))
    }
}

/// `[[hh:]mm:]ss`.
fn interval(text: &str) -> Result<Duration, String> {
    let parts: Option<Vec<u64>> = text.split(':').map(|part| part.parse().ok()).collect();
    let seconds = parts.filter(|parts| parts.len() <= 3).map(|parts| {
        parts.iter().fold(0_u64, |sum, part| {
            sum.saturating_mul(60).saturating_add(*part)
        })
    });
    match seconds {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("-si {text}: [[hh:]mm:]ss from one second is valid")),
    }
}

impl CounterPath {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: no counter; one is written \\Object(Instance)\\Counter");
        // \\machine\object\counter: the machine is this one, whatever it is called.
        let path = match text.strip_prefix("\\\\") {
            Some(rest) => rest.split_once('\\').ok_or_else(wrong)?.1,
            None => text.strip_prefix('\\').ok_or_else(wrong)?,
        };
        // An instance may hold a backslash, the counter does not.
        let (object, name) = path.rsplit_once('\\').ok_or_else(wrong)?;
        let (object, instance) = match object.split_once('(') {
            Some((object, rest)) => {
                let instance = rest.strip_suffix(')').ok_or_else(wrong)?;
                (object, Some(instance.to_owned()))
            }
            None => (object, None),
        };
        Ok(Self {
            object: object.to_owned(),
            instance,
            name: name.to_owned(),
        })
    }

    /// Source: PDH: names are compared without case.
    fn means(&self, counter: &Counter) -> bool {
        let same = |pattern: &str, text: &str| pattern == "*" || pattern.eq_ignore_ascii_case(text);
        let instance = match (&self.instance, &counter.instance) {
            (Some(wanted), Some(instance)) => same(wanted, instance),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        instance && same(&self.object, counter.object) && same(&self.name, counter.name)
    }
}

/// The path of a counter without the machine.
fn path_of(counter: &Counter, with_instance: bool) -> String {
    let instance = match &counter.instance {
        Some(instance) if with_instance => format!("({instance})"),
        Some(_) => "(*)".to_owned(),
        None => String::new(),
    };
    format!("\\{}{instance}\\{}", counter.object, counter.name)
}

fn read(root: &Path, of_workers: bool) -> Result<Vec<Counter>, String> {
    let question = Command::QueryCounters { of_workers };
    match ask_telling(root, &question, say_waiting) {
        Ok(Answer::Counters(readings)) => Ok(counters(&readings)),
        Ok(other) => Err(format!("unexpected answer: {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

fn print_list(list: &List, counters: &[Counter]) {
    let is_wanted = |counter: &&Counter| {
        let object = list.object.as_ref();
        object.is_none_or(|object| object.eq_ignore_ascii_case(counter.object))
    };
    let mut paths: Vec<String> = counters
        .iter()
        .filter(is_wanted)
        .map(|counter| path_of(counter, list.instances))
        .collect();
    paths.sort();
    paths.dedup();
    for path in paths {
        println!("{path}");
    }
    println!("\nThe command completed successfully.");
}

// ---- sampling -----------------------------------------------------------------------------------

/// One look at the counters.
struct Look {
    at: Instant,
    utc: UtcTime,
    counters: Vec<Counter>,
}

impl Look {
    fn take(root: &Path, of_workers: bool) -> Result<Self, String> {
        let counters = read(root, of_workers)?;
        Ok(Self {
            at: clock_now(),
            utc: utc_now(),
            counters,
        })
    }

    fn find(&self, like: &Counter) -> Option<&Counter> {
        let same = |c: &&Counter| {
            (c.object, &c.instance, c.name) == (like.object, &like.instance, like.name)
        };
        self.counters.iter().find(same)
    }

    /// What PDH computes: a counter as it is, a rate from two looks.
    fn value(&self, like: &Counter, before: Option<&Self>) -> Option<f64> {
        let now = self.find(like)?;
        if !now.is_rate {
            return Some(now.value);
        }
        let before = before?;
        let seconds = self.at.saturating_since(before.at).as_secs_f64();
        // A worker or a service that was started anew counts from 0.
        let change = now.value - before.find(like)?.value;
        (seconds > 0.0 && change >= 0.0).then_some(change / seconds)
    }
}

fn sample(root: &Path, wish: &Wish) -> Result<(), String> {
    let is_of_workers = |path: &CounterPath| {
        let mut objects = OF_WORKERS.iter();
        path.object == "*" || objects.any(|object| object.eq_ignore_ascii_case(&path.object))
    };
    let of_workers = wish.paths.iter().any(is_of_workers);
    let first = Look::take(root, of_workers)?;
    let mut columns: Vec<Counter> = Vec::new();
    for path in &wish.paths {
        let before = columns.len();
        columns.extend(first.counters.iter().filter(|c| path.means(c)).cloned());
        if columns.len() == before {
            return Err(format!(
                "No valid counters. ({path} is none of what `typeperf -qx` lists)"
            ));
        }
    }
    let stop = stop_flag().map_err(|error| error.to_string())?;
    let mut out: Box<dyn Write> = match &wish.file {
        Some(path) => {
            let file = File::create(path);
            Box::new(file.map_err(|error| format!("{}: {error}", path.display()))?)
        }
        None => Box::new(io::stdout()),
    };
    let gone = |error: io::Error| error.to_string();
    writeln!(out, "\n{}", header(&columns, wish.tabs)).map_err(gone)?;
    let has_rates = columns.iter().any(|column| column.is_rate);
    let mut before = has_rates.then_some(first);
    let mut taken = 0;
    while wish.samples.is_none_or(|samples| taken < samples) {
        // A rate needs two looks; without one the first sample is taken at once.
        if (before.is_some() || taken > 0) && !pause(wish.interval, &stop) {
            break;
        }
        let look = Look::take(root, of_workers)?;
        let line = line(&look, before.as_ref(), &columns, wish.tabs);
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .map_err(gone)?;
        before = Some(look);
        taken += 1;
    }
    println!("\nExiting, please wait...\nThe command completed successfully.");
    Ok(())
}

/// Waits; `false` if Ctrl-C came in between.
fn pause(interval: Duration, stop: &std::sync::atomic::AtomicBool) -> bool {
    let end = clock_now() + interval;
    while clock_now() < end {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let left = end.saturating_since(clock_now());
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
    true
}

fn joined(cells: &[String], tabs: bool) -> String {
    let quoted: Vec<String> = cells
        .iter()
        .map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")))
        .collect();
    quoted.join(if tabs { "\t" } else { "," })
}

fn header(columns: &[Counter], tabs: bool) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let kind = if tabs { "TSV" } else { "CSV" };
    let mut cells = vec![format!("(PDH-{kind} 4.0)")];
    let path = |column: &Counter| format!("\\\\{}{}", host.trim(), path_of(column, true));
    cells.extend(columns.iter().map(path));
    joined(&cells, tabs)
}

fn line(look: &Look, before: Option<&Look>, columns: &[Counter], tabs: bool) -> String {
    let utc = look.utc.timestamp().to_zoned(jiff::tz::TimeZone::UTC);
    let millis = utc.millisecond();
    let mut cells = vec![format!("{}.{millis:03}", utc.strftime("%m/%d/%Y %H:%M:%S"))];
    // Source: typeperf: a counter whose instance has gone leaves its place empty.
    let cell = |column: &Counter| {
        look.value(column, before)
            .map_or_else(|| " ".to_owned(), |value| format!("{value:.6}"))
    };
    cells.extend(columns.iter().map(cell));
    joined(&cells, tabs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(value: f64, is_rate: bool) -> Counter {
        Counter {
            object: "W3SVC_W3WP",
            instance: Some("7_A\\B".to_owned()),
            name: "Requests / Sec",
            value,
            is_rate,
        }
    }

    #[test]
    fn a_path_names_machine_object_instance_and_counter() {
        let path = CounterPath::parse("\\\\HOST\\w3svc_w3wp(7_A\\B)\\requests / sec").unwrap();
        assert!(path.means(&counter(0.0, true)));
        let any = CounterPath::parse("\\W3SVC_W3WP(*)\\*").unwrap();
        assert!(any.means(&counter(0.0, true)));
        let other = CounterPath::parse("\\W3SVC_W3WP(8_A)\\Requests / Sec").unwrap();
        assert!(!other.means(&counter(0.0, true)));
        assert!(CounterPath::parse("Requests").is_err());
    }

    #[test]
    fn a_rate_is_the_change_in_a_second() {
        let look = |at: u64, value: f64| Look {
            at: Instant(at * 1_000_000_000),
            utc: UtcTime(1_767_225_600_250_000_000),
            counters: vec![counter(value, true)],
        };
        let (before, now) = (look(1, 10.0), look(3, 16.0));
        assert_eq!(now.value(&counter(0.0, true), Some(&before)), Some(3.0));
        assert_eq!(
            line(&now, Some(&before), &[counter(0.0, true)], false),
            "\"01/01/2026 00:00:00.250\",\"3.000000\""
        );
    }

    #[test]
    fn intervals_are_written_as_clocks_show_them() {
        assert_eq!(interval("5"), Ok(Duration::from_secs(5)));
        assert_eq!(interval("1:00:05"), Ok(Duration::from_secs(3605)));
        assert!(interval("0").is_err() && interval("x").is_err() && interval("1:1:1:1").is_err());
    }
}
