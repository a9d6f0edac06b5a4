//! The machine that everything runs on: processor cores and files.
//!
//! Each core serves the handlers that were put there in turns of a few milliseconds; a new one goes to the
//! core with the fewest, a core without any takes one from another. So who shares a core with whom is
//! chance, as it is under Linux, and two equal handlers need not be done at the same time. What clients, driver and starting and ending processes compute
//! goes before (handlers are nice to everybody): if no core is free, it makes a handler's turn longer.
//! Assumed: they take it from whichever turn begins next, also if another core is idle a moment later.
//! Absent on purpose: what WAS computes, caches that grow cold, a disk that is slow.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::Instant;
use sim_was::model::CpuUse;
use sim_worker::model::{FileOutcome, FileStamp, WorkId};

use super::wires::Timeline;
use super::world::Event;

/// How long a core serves one thread while others wait.
/// Assumed: 3 ms, the least turn that Linux's scheduler gives on a machine with a few cores.
const TURN: Duration = Duration::from_millis(3);

/// The processor.
#[derive(Debug)]
pub(super) struct Cores {
    all: Vec<Core>,
    /// What processes want to compute that do not run for now.
    frozen: BTreeMap<ProcessId, Vec<Job>>,
    /// What processes have computed.
    used: BTreeMap<ProcessId, Duration>,
}

#[derive(Debug, Default)]
struct Core {
    job: Option<Job>,
    waiting: VecDeque<Job>,
    /// When the turn began.
    began: Instant,
    /// Turns that were begun; the event that ends another one is late.
    turn: u32,
}

#[derive(Clone, Copy, Debug)]
struct Job {
    process: ProcessId,
    work: WorkId,
    left: Duration,
}

impl Cores {
    pub(super) fn new(cores: u32) -> Self {
        Self {
            all: (0..cores.max(1)).map(|_| Core::default()).collect(),
            frozen: BTreeMap::new(),
            used: BTreeMap::new(),
        }
    }

    /// A thread of a process wants to compute.
    pub(super) fn start(
        &mut self,
        process: ProcessId,
        work: WorkId,
        cpu: Duration,
        timeline: &mut Timeline,
    ) {
        let job = Job {
            process,
            work,
            left: cpu,
        };
        if let Some(jobs) = self.frozen.get_mut(&process) {
            return jobs.push(job);
        }
        self.put(job, timeline);
        self.share(timeline);
    }

    /// Puts a thread where the fewest are.
    fn put(&mut self, job: Job, timeline: &mut Timeline) {
        let load = |core: &Core| core.waiting.len() + usize::from(core.job.is_some());
        if let Some(idle) = self.all.iter_mut().find(|core| load(core) == 0) {
            return idle.waiting.push_back(job);
        }
        let least = self.all.iter().map(load).min().unwrap_or(0);
        let best = self.all.iter().filter(|core| load(core) == least).count();
        // No number is drawn where there is no choice.
        let nth = if best > 1 { timeline.place(best) } else { 0 };
        let mut best = self.all.iter_mut().filter(|core| load(core) == least);
        if let Some(core) = best.nth(nth) {
            core.waiting.push_back(job);
        }
    }

    /// A process does not run for now.
    pub(super) fn freeze(&mut self, process: ProcessId, timeline: &mut Timeline) {
        let now = timeline.now;
        let mut jobs: Vec<Job> = Vec::new();
        for core in &mut self.all {
            if let Some(mut job) = core.job.take_if(|job| job.process == process) {
                let ran = now.saturating_since(core.began).min(job.left).min(TURN);
                *self.used.entry(process).or_default() += ran;
                // What is not quite done is done after the thaw, however little is left.
                job.left = job.left.saturating_sub(ran).max(Duration::from_nanos(1));
                core.turn = core.turn.wrapping_add(1);
                jobs.push(job);
            }
            jobs.extend(core.waiting.iter().filter(|job| job.process == process));
            core.waiting.retain(|job| job.process != process);
        }
        self.frozen.insert(process, jobs);
        self.share(timeline);
    }

    /// It runs again.
    pub(super) fn thaw(&mut self, process: ProcessId, timeline: &mut Timeline) {
        for job in self.frozen.remove(&process).unwrap_or_default() {
            self.put(job, timeline);
        }
        self.share(timeline);
    }

    /// What some processes have computed, and whether others want a core and must wait.
    pub(super) fn cpu_of(&self, processes: &[ProcessId], now: Instant) -> CpuUse {
        let running = |process: ProcessId| -> Duration {
            let of_it = self.all.iter().filter_map(|core| {
                Some((core.began, core.job.filter(|job| job.process == process)?))
            });
            of_it
                .map(|(began, job)| now.saturating_since(began).min(job.left).min(TURN))
                .sum()
        };
        let used = |&process: &ProcessId| {
            let done = self.used.get(&process).copied().unwrap_or_default();
            (process, done + running(process))
        };
        let jobs = self
            .all
            .iter()
            .flat_map(|core| core.job.iter().chain(&core.waiting));
        let mut others = jobs.filter(|job| !processes.contains(&job.process));
        CpuUse {
            used: processes.iter().map(used).collect(),
            is_contended: self.all.iter().all(|core| core.job.is_some()) && others.next().is_some(),
        }
    }

    /// A turn is over. Gives the work that is done with it.
    pub(super) fn turn_over(
        &mut self,
        core: u32,
        turn: u32,
        timeline: &mut Timeline,
    ) -> Option<(ProcessId, WorkId)> {
        let at = &mut self.all[core as usize];
        if at.turn != turn {
            return None;
        }
        let mut job = at.job.take()?;
        *self.used.entry(job.process).or_default() += job.left.min(TURN);
        job.left = job.left.saturating_sub(TURN);
        let done = job.left.is_zero();
        if !done {
            at.waiting.push_back(job);
        }
        self.share(timeline);
        done.then_some((job.process, job.work))
    }

    /// A process is gone, and all that it computes.
    pub(super) fn end(&mut self, process: ProcessId, timeline: &mut Timeline) {
        self.frozen.remove(&process);
        self.used.remove(&process);
        for core in &mut self.all {
            core.waiting.retain(|job| job.process != process);
            if core.job.is_some_and(|job| job.process == process) {
                core.job = None;
                core.turn = core.turn.wrapping_add(1);
            }
        }
        self.share(timeline);
    }

    fn share(&mut self, timeline: &mut Timeline) {
        self.fill(timeline);
        timeline.is_contended = self.all.iter().all(|core| core.job.is_some());
        if !timeline.is_contended {
            timeline.stolen = Duration::ZERO;
        }
    }

    /// The next thread of a core: of its own, or else of the core where most wait.
    fn next_of(&mut self, index: usize) -> Option<Job> {
        if let Some(own) = self.all[index].waiting.pop_front() {
            return Some(own);
        }
        let most = self.all.iter_mut().max_by_key(|core| core.waiting.len())?;
        most.waiting.pop_front()
    }

    fn fill(&mut self, timeline: &mut Timeline) {
        for index in 0..self.all.len() {
            if self.all[index].job.is_some() {
                continue;
            }
            let Some(job) = self.next_of(index) else {
                return; // and so it is with every other core
            };
            let core = &mut self.all[index];
            core.job = Some(job);
            core.began = timeline.now;
            core.turn = core.turn.wrapping_add(1);
            let turn = core.turn;
            let core = u32::try_from(index).unwrap_or(0);
            let stolen = std::mem::take(&mut timeline.stolen);
            let ends = job.left.min(TURN) + stolen;
            timeline.after(ends, Event::TurnOver { core, turn });
        }
    }
}

/// The files of the machine, held in memory; names are compared without case, as on Windows.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: BTreeMap<String, (FileStamp, Bytes)>,
}

impl Files {
    /// Puts a file where it belongs.
    pub(super) fn put(&mut self, path: &Path, modified: u64, contents: Vec<u8>) {
        let size = contents.len() as u64;
        let stamp = FileStamp { modified, size };
        self.files
            .insert(name(path), (stamp, Bytes::from(contents)));
    }

    /// Writes to every file, and leaves its contents as they are.
    pub(super) fn write_all(&mut self, modified: u64) {
        for (stamp, _) in self.files.values_mut() {
            stamp.modified = modified;
        }
    }

    /// Whether there is anything below a folder.
    pub(super) fn has_folder(&self, path: &Path) -> bool {
        let folder = format!("{}/", name(path));
        let mut below = self.files.range(folder.clone()..);
        below
            .next()
            .is_some_and(|(file, _)| file.starts_with(&folder))
    }

    /// The first of the candidates that exists, as the live worker finds it.
    pub(super) fn read(
        &self,
        root: &Path,
        candidates: &[String],
        unless: Option<(usize, FileStamp)>,
    ) -> FileOutcome {
        for (candidate, below) in candidates.iter().enumerate() {
            let path: PathBuf = root.join(below);
            match self.files.get(&name(&path)) {
                Some((stamp, _)) if unless == Some((candidate, *stamp)) => {
                    return FileOutcome::Unchanged;
                }
                Some((stamp, contents)) => {
                    return FileOutcome::Contents {
                        candidate,
                        stamp: *stamp,
                        contents: contents.clone(),
                    };
                }
                None if candidate + 1 == candidates.len() && self.has_folder(&path) => {
                    return FileOutcome::Directory;
                }
                None => {}
            }
        }
        FileOutcome::NotFound
    }
}

fn name(path: &Path) -> String {
    path.to_string_lossy()
        .trim_end_matches('/')
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_in_any_case_and_folders_are_folders() {
        let mut files = Files::default();
        files.put(Path::new("/root/site/Default.htm"), 1, b"x".to_vec());
        let read = |candidates: &[&str]| {
            let candidates: Vec<String> = candidates.iter().map(|c| (*c).to_owned()).collect();
            files.read(Path::new("/root/site"), &candidates, None)
        };
        assert!(matches!(
            read(&["nothing", "DEFAULT.HTM"]),
            FileOutcome::Contents { candidate: 1, .. }
        ));
        assert_eq!(read(&[""]), FileOutcome::Directory);
        assert_eq!(read(&["nothing"]), FileOutcome::NotFound);
    }
}
