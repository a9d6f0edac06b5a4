//! What the kernel says about a server's worker processes: how many there are, what they hold.

use std::fs;

use crate::exporter::ProcessReading;

/// The size of a page of memory, bytes.
fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

/// The children of a process.
pub(super) fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Bytes of memory that processes hold resident, all together; one that has gone holds none.
pub(super) fn resident_bytes(pids: &[u32]) -> u64 {
    let pages = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        text.split_whitespace()
            .nth(1)
            .and_then(|word| word.parse::<u64>().ok())
            .unwrap_or(0)
    };
    pids.iter().map(pages).sum::<u64>() * page_size()
}

/// How long the threads that a process has now have computed, nanoseconds; 0 if it has gone.
pub(super) fn computed(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let of_thread = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    let threads = threads.into_iter().flatten().flatten();
    threads.filter_map(of_thread).sum()
}

/// What the kernel says about one worker process; `None` if it has gone.
pub(crate) fn process_reading(pid: u32) -> Option<ProcessReading> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks; it ends with the last parenthesis.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
    let ticks = rustix::param::clock_ticks_per_second();
    let ticks = f64::from(u32::try_from(ticks).ok()?);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(ProcessReading {
        pid,
        parent: number(1)?,
        user_s: f64::from(number(11)?) / ticks,
        privileged_s: f64::from(number(12)?) / ticks,
        working_set: kilobytes("VmRSS:")? << 10,
        private_bytes: kilobytes("RssAnon:")? << 10,
    })
}

/// What a process has read and written so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IoReading {
    /// Reads, of whatever there is to read.
    pub(crate) reads: u64,
    /// Writes.
    pub(crate) writes: u64,
}

/// What the kernel counts of a process's reads and writes; `None` if it has gone, or may not be asked.
pub(crate) fn io_reading(pid: u32) -> Option<IoReading> {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let count = |name: &str| {
        let line = io.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    Some(IoReading {
        reads: count("syscr:")?,
        writes: count("syscw:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_memory() {
        assert!(resident_bytes(&[std::process::id()]) > 100_000);
        assert!(computed(std::process::id()) > 0);
        let reading = process_reading(std::process::id()).unwrap();
        assert!(reading.working_set >= reading.private_bytes && reading.parent > 0);
        assert!(io_reading(std::process::id()).unwrap().reads > 0);
    }
}
