//! What WAS measures of this machine: CPU time of workers, memory, NUMA nodes, the time zone.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sim_httpsys::api::ProcessId;
use sim_worker::local_time::TimeZone;

use crate::model::{CpuUse, MachineMemory};
use sim_httpsys::live::clock::utc_now;

/// The time zone is known for so many years.
const YEARS: u16 = 10;

/// Counters of the kernel as they were when they were read last.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// All that every processor has done, and what it has idled; ticks.
    total: u64,
    idle: u64,
    /// What the workers in question had used then.
    own: Duration,
}

impl Machine {
    /// The CPU time that workers have used, and whether others want the processor too: it is busy, and a
    /// good part of that is not theirs.
    pub(super) fn cpu_of(&mut self, pids: &[ProcessId]) -> io::Result<CpuUse> {
        let tick = Duration::from_secs(1) / ticks_per_second();
        let mut used = Vec::new();
        for pid in pids {
            used.extend(ticks_of(*pid)?.map(|ticks| (*pid, tick * ticks)));
        }
        let own: Duration = used.iter().map(|(_, used)| *used).sum();
        let stat = fs::read_to_string("/proc/stat")?;
        let (total, idle) = all_ticks(&stat).unwrap_or((self.total, self.idle));
        let (span, idled) = (
            total.saturating_sub(self.total),
            idle.saturating_sub(self.idle),
        );
        let busy = tick * u32::try_from(span.saturating_sub(idled)).unwrap_or(u32::MAX);
        let others = busy.saturating_sub(own.saturating_sub(self.own));
        let whole = tick * u32::try_from(span).unwrap_or(u32::MAX);
        let is_contended = idled * 10 < span && others * 20 > whole;
        *self = Self { total, idle, own };
        Ok(CpuUse { used, is_contended })
    }
}

/// The processors of this thread, which its children inherit, are others for a while.
pub(super) struct Affinity(CpuSet);

impl Affinity {
    /// Binds this thread to the processors of a mask.
    pub(super) fn bind(mask: u64) -> rustix::io::Result<Self> {
        let before = sched_getaffinity(None)?;
        let mut wanted = CpuSet::new();
        for cpu in (0..64).filter(|cpu| mask & (1 << cpu) != 0) {
            wanted.set(cpu);
        }
        sched_setaffinity(None, &wanted)?;
        Ok(Self(before))
    }

    /// Binds it to those that it had.
    pub(super) fn release(self) {
        if let Err(error) = sched_setaffinity(None, &self.0) {
            tracing::warn!(%error, "was stays bound to the processors of a worker");
        }
    }
}

fn ticks_per_second() -> u32 {
    u32::try_from(rustix::param::clock_ticks_per_second())
        .unwrap_or(100)
        .max(1)
}

/// User and system time of a process, ticks; nothing if it is gone.
fn ticks_of(pid: ProcessId) -> io::Result<Option<u32>> {
    match fs::read_to_string(format!("/proc/{}/stat", pid.0)) {
        Ok(stat) => Ok(ticks_in(&stat)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(NO_SUCH_PROCESS) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `ESRCH`: the process has gone between the opening of its file and the reading.
const NO_SUCH_PROCESS: i32 = 3;

fn ticks_in(stat: &str) -> Option<u32> {
    // The name in parentheses may hold spaces; the 14th and 15th fields count from the pid.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    u32::try_from(user + system).ok()
}

fn all_ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .take(8)
        .collect();
    Some((fields.iter().sum(), fields.get(3)? + fields.get(4)?))
}

/// The memory of the machine.
pub(super) fn memory() -> Option<MachineMemory> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kb: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kb << 10)
    };
    Some(MachineMemory {
        committed: bytes("Committed_AS:")?,
        physical: bytes("MemTotal:")?,
        free: bytes("MemAvailable:")?,
    })
}

/// How many NUMA nodes there are.
pub(super) fn numa_nodes() -> u32 {
    let Ok(entries) = fs::read_dir("/sys/devices/system/node") else {
        return 1;
    };
    let is_node = |name: &str| {
        name.strip_prefix("node")
            .is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let nodes = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_node));
    u32::try_from(nodes.count()).unwrap_or(1).max(1)
}

/// The time zone of this machine, or the one that the variable `TZ` names.
pub(super) fn time_zone() -> TimeZone {
    TimeZone::of(&jiff::tz::TimeZone::system(), utc_now(), YEARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_cpu_time() {
        let pid = ProcessId(std::process::id());
        let used = || Machine::default().cpu_of(&[pid]).unwrap().used[0].1;
        let before = used();
        let mut x = 1_u64;
        while used() < before + Duration::from_millis(20) {
            for _ in 0..100_000 {
                x = std::hint::black_box(x.wrapping_mul(3));
            }
        }
        assert!(
            Machine::default()
                .cpu_of(&[ProcessId(u32::MAX)])
                .unwrap()
                .used
                .is_empty()
        );
    }

    #[test]
    fn this_machine_has_memory_and_a_node() {
        assert!(memory().is_some_and(|memory| memory.physical > 1 << 20));
        assert!(numa_nodes() >= 1);
    }
}
