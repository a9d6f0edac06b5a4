//! Processor time of processes and of the machine, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::Outcome;

/// Processor time that the processes below some roots have used so far, by program name.
///
/// User and system time, to the nanosecond, from every living thread's `schedstat`. A thread that
/// ends takes its time with it; servers keep theirs for a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    by_program: BTreeMap<String, Duration>,
}

impl Usage {
    /// What the trees below `roots` have used.
    pub(crate) fn of(roots: &[u32]) -> Self {
        let mut usage = Self::default();
        for process in tree(roots) {
            *usage.by_program.entry(program(process)).or_default() += time_of(process);
        }
        usage
    }

    /// All of it, since an earlier look.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        self.by_program
            .keys()
            .map(|program| self.of_program_since(program, earlier))
            .sum()
    }

    /// That of one program, since an earlier look.
    pub(crate) fn of_program_since(&self, program: &str, earlier: &Self) -> Duration {
        let at = |usage: &Self| usage.by_program.get(program).copied().unwrap_or_default();
        at(self).saturating_sub(at(earlier))
    }
}

/// The processes `roots` and all of their descendants.
pub(crate) fn tree(roots: &[u32]) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = processes().filter_map(|p| Some((p, parent(p)?))).collect();
    let mut found = roots.to_vec();
    let mut next = 0;
    while let Some(&process) = found.get(next) {
        let children = parents
            .iter()
            .filter(|&&(_, parent)| parent == process)
            .map(|&(p, _)| p);
        let new: Vec<u32> = children.filter(|child| !found.contains(child)).collect();
        found.extend(new);
        next += 1;
    }
    found
}

/// The name of a process: that of `argv[0]`, under which iis-sim starts its programs.
pub(crate) fn program(process: u32) -> String {
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let first = line
        .split(|&byte| byte == 0 || byte == b' ')
        .next()
        .unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    first
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .trim_end_matches(':')
        .to_owned()
}

/// Resident memory of a process, bytes.
pub(crate) fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    let kib = line
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// The processor's name, for the record.
pub(crate) fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find(|line| line.starts_with("model name"));
    let name = name
        .and_then(|line| line.split_once(':'))
        .map_or("unknown", |(_, name)| name.trim());
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{count} × {name}")
}

/// The machine's clock ticks so far.
#[derive(Debug)]
pub(crate) struct Machine {
    stolen: u64,
    all: u64,
}

impl Machine {
    /// As of now.
    pub(crate) fn now() -> Outcome<Self> {
        let stat =
            fs::read_to_string("/proc/stat").map_err(|error| format!("/proc/stat: {error}"))?;
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|tick| tick.parse().ok())
            .collect();
        Ok(Self {
            stolen: ticks.get(7).copied().unwrap_or(0),
            all: ticks.iter().sum(),
        })
    }

    /// The share of the machine that others took from it since an earlier look.
    #[expect(clippy::cast_precision_loss, reason = "clock ticks of a few seconds")]
    pub(crate) fn steal_since(&self, earlier: &Self) -> f64 {
        (self.stolen - earlier.stolen) as f64 / (self.all - earlier.all).max(1) as f64
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

fn time_of(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let time = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace()
            .next()?
            .parse()
            .ok()
            .map(Duration::from_nanos)
    };
    threads.filter_map(time).sum()
}
