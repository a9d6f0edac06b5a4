//! All cores on what is missing of a shard.
//!
//! Units are taken in their order, one by each thread. When the last unit of a file is done the file is
//! written, so that whoever is killed loses a few units and not a shard. Which thread did what has no
//! influence on what is written.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::folder::{self, FolderError, Header, Scan};
use super::plan::{Plan, PlanError, Setting};
use super::row::{Row, row};
use super::shard::Shard;
use super::table::Table;
use crate::scenario::Operation;
use crate::virtual_world::trial::{Size, Trial, TrialError};

/// How often it is looked whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Which part of it.
    pub shard: Shard,
    /// Where results go.
    pub folder: &'a Path,
    /// Units in a file, at most.
    pub file_units: u64,
    /// Threads.
    pub jobs: usize,
    /// The identity of the build.
    pub build: &'a str,
    /// Raised by whoever wants an end.
    pub stop: &'a AtomicBool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Units of the shard.
    pub units: u64,
    /// Of them, those that were there already.
    pub skipped: u64,
    /// Of them, those that were run now.
    pub done: u64,
    /// Of those, the ones that are in a whole file.
    pub kept: u64,
    /// How much was simulated.
    pub size: Size,
}

/// Why a sweep ended early.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder holds results of something else.
    #[error(
        "{} holds results of {what} {theirs}, and this is {what} {ours}: use another folder",
        folder.display()
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// `plan` or `build`.
        what: &'static str,
        /// What is there.
        theirs: String,
        /// What would be put there.
        ours: String,
    },
    /// A point does not make sense.
    #[error("point {point} ({values}): {source}")]
    Point {
        /// Which.
        point: u64,
        /// Its values.
        values: String,
        /// Why.
        source: Box<PlanError>,
    },
    /// A run failed.
    #[error("{operation} with seed {seed} at point {point} ({values}): {source}")]
    Trial {
        /// The operation.
        operation: Operation,
        /// The seed.
        seed: u64,
        /// The point.
        point: u64,
        /// Its values.
        values: String,
        /// Why.
        source: Box<TrialError>,
    },
}

impl Work<'_> {
    /// Runs what is missing. `watcher` is told about every unit. Ends early if `stop` is raised; what is
    /// done by then is kept.
    pub fn run(&self, watcher: &mut dyn FnMut(&Progress)) -> Result<Progress, SweepError> {
        if self.folder.is_file() {
            let what = "it is a file, and results go into a folder";
            let source = std::io::Error::new(std::io::ErrorKind::NotADirectory, what);
            let path = self.folder.to_owned();
            return Err(FolderError::Io { path, source }.into());
        }
        std::fs::create_dir_all(self.folder).map_err(|source| FolderError::Io {
            path: self.folder.to_owned(),
            source,
        })?;
        let mut scan = Scan::of(self.folder)?;
        self.check(&scan)?;
        let part = self.shard.part_of(self.plan.units());
        scan.verify(&part, self.jobs)?;
        folder::tidy(&scan);
        let todo = missing(&scan, &part);
        let mut progress = Progress {
            units: part.end - part.start,
            skipped: part.end - part.start - todo.len() as u64,
            ..Progress::default()
        };
        watcher(&progress);
        let next = AtomicUsize::new(0);
        let halt = AtomicBool::new(false);
        let (sender, receiver) = sync_channel(2 * self.jobs.max(1));
        std::thread::scope(|scope| {
            let (todo, next, halt) = (&todo, &next, &halt);
            for _ in 0..self.jobs.max(1) {
                let sender = sender.clone();
                scope.spawn(move || self.work(todo, next, halt, &sender));
            }
            drop(sender);
            let mut files = Files::new(self, todo);
            let ended = loop {
                if self.stop.load(Ordering::Relaxed) {
                    halt.store(true, Ordering::Relaxed);
                }
                let done = match receiver.recv_timeout(LOOK) {
                    Ok(Ok(done)) => done,
                    Ok(Err(error)) => break Err(error),
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => break Ok(()),
                };
                progress.add(&done);
                match files.take(done) {
                    Ok(kept) => progress.kept += kept,
                    Err(error) => break Err(error.into()),
                }
                watcher(&progress);
            };
            halt.store(true, Ordering::Relaxed);
            drop(receiver);
            let rest = files.put_rest();
            ended?;
            progress.kept += rest?;
            Ok(progress)
        })
    }

    /// Refuses a folder with results that could not be merged with ours.
    fn check(&self, scan: &Scan) -> Result<(), SweepError> {
        let plan = format!("{:016x}", self.plan.hash());
        for found in &scan.files {
            let pairs = [
                ("plan", &found.header.plan, plan.as_str()),
                ("build", &found.header.build, self.build),
            ];
            for (what, theirs, ours) in pairs {
                if theirs != ours {
                    return Err(SweepError::Foreign {
                        folder: self.folder.to_owned(),
                        what,
                        theirs: theirs.clone(),
                        ours: ours.to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    /// One thread: a unit after another until there is none.
    fn work(
        &self,
        todo: &[u64],
        next: &AtomicUsize,
        halt: &AtomicBool,
        sender: &SyncSender<Result<Done, SweepError>>,
    ) {
        let mut setting: Option<(u64, Setting)> = None;
        while let Some(&unit) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
            match self.unit(unit, &mut setting, halt) {
                Ok(None) => return,
                Ok(Some(done)) => {
                    if sender.send(Ok(done)).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let _ = sender.send(Err(error));
                    return;
                }
            }
        }
    }

    /// All operations of a unit; `None` if it is time to stop.
    fn unit(
        &self,
        unit: u64,
        cached: &mut Option<(u64, Setting)>,
        halt: &AtomicBool,
    ) -> Result<Option<Done>, SweepError> {
        let (point, seed) = (self.plan.point_of(unit), self.plan.seed_of(unit));
        let (_, setting) = match cached {
            Some(known) if known.0 == point => known,
            cached => {
                let setting = self.plan.setting(point);
                let setting = setting.map_err(|source| SweepError::Point {
                    point,
                    values: self.values_at(point),
                    source: Box::new(source),
                })?;
                cached.insert((point, setting))
            }
        };
        setting.scenario.seed = seed;
        let mut done = Done {
            unit,
            rows: Vec::with_capacity(self.plan.operations.len()),
            size: Size::default(),
        };
        for &operation in &self.plan.operations {
            if halt.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let trial = Trial {
                scenario: &setting.scenario,
                operation,
                seed: setting.scenario.seed_of_round(0),
                costs: &setting.costs,
            };
            let run = match trial.run() {
                Ok(run) => run,
                Err(TrialError::Interrupted) => return Ok(None),
                Err(source) => {
                    return Err(SweepError::Trial {
                        operation,
                        seed,
                        point,
                        values: self.values_at(point),
                        source: Box::new(source),
                    });
                }
            };
            done.size.events += run.size.events;
            done.size.attempts += run.size.attempts;
            done.size.nanos += run.size.nanos;
            done.rows
                .push(row(self.plan, self.build, unit, operation, &run));
        }
        Ok(Some(done))
    }

    fn values_at(&self, point: u64) -> String {
        let values = self.plan.values_at(point).into_iter();
        let values: Vec<String> = values
            .map(|(axis, value)| format!("{} = {value}", axis.key))
            .collect();
        if values.is_empty() {
            "nothing varied".to_owned()
        } else {
            values.join(", ")
        }
    }
}

impl Progress {
    fn add(&mut self, done: &Done) {
        self.done += 1;
        self.size.events += done.size.events;
        self.size.attempts += done.size.attempts;
        self.size.nanos += done.size.nanos;
    }
}

/// The units of a part that no file holds.
fn missing(scan: &Scan, part: &Range<u64>) -> Vec<u64> {
    let mut held: Vec<[u64; 2]> = scan.files.iter().map(|found| found.header.holds).collect();
    held.sort_unstable();
    let mut missing = Vec::new();
    let mut next = part.start;
    for [first, end] in held {
        missing.extend(next..first.min(part.end).max(next));
        next = next.max(end);
    }
    missing.extend(next..part.end.max(next));
    missing
}

/// A unit that was run.
struct Done {
    unit: u64,
    rows: Vec<Row>,
    size: Size,
}

/// Results on their way into files.
struct Files<'a> {
    folder: &'a Path,
    header: Header,
    /// The units of each file to come, by its first unit.
    planned: BTreeMap<u64, Range<u64>>,
    waiting: BTreeMap<u64, Vec<Row>>,
}

impl<'a> Files<'a> {
    /// Files of neighbouring units, cut at multiples of the size of a file, so that every shard cuts at
    /// the same places.
    fn new(work: &Work<'a>, todo: &[u64]) -> Self {
        let size = work.file_units.max(1);
        let mut planned: BTreeMap<u64, Range<u64>> = BTreeMap::new();
        for &unit in todo {
            match planned.last_entry() {
                Some(mut last) if last.get().end == unit && !unit.is_multiple_of(size) => {
                    last.get_mut().end += 1;
                }
                Some(_) | None => {
                    planned.insert(unit, unit..unit + 1);
                }
            }
        }
        Self {
            folder: work.folder,
            header: Header::of(work.plan, work.build, &work.shard.to_string()),
            planned,
            waiting: BTreeMap::new(),
        }
    }

    /// Takes a unit, and writes its file if it was the last. Gives how many units are whole now.
    fn take(&mut self, done: Done) -> Result<u64, FolderError> {
        let unit = done.unit;
        self.waiting.insert(unit, done.rows);
        let Some((_, units)) = self.planned.range(..=unit).next_back() else {
            return Ok(0);
        };
        let units = units.clone();
        let count = units.end - units.start;
        if self.waiting.range(units.clone()).count() as u64 == count {
            self.put(&units)?;
            return Ok(count);
        }
        Ok(0)
    }

    fn put(&mut self, units: &Range<u64>) -> Result<(), FolderError> {
        let rows: Vec<Row> = units
            .clone()
            .filter_map(|unit| self.waiting.remove(&unit))
            .flatten()
            .collect();
        folder::put(self.folder, &self.header, units, &Table::of(&rows)).map(|_| ())
    }

    /// Writes what is there although its file is not full.
    fn put_rest(&mut self) -> Result<u64, FolderError> {
        let mut kept = 0;
        while let Some((&first, _)) = self.waiting.first_key_value() {
            let mut end = first;
            while self.waiting.contains_key(&end) {
                end += 1;
            }
            self.put(&(first..end))?;
            kept += end - first;
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::folder::Found;

    fn holding(ranges: &[[u64; 2]]) -> Scan {
        let plan = Plan::parse("seeds = '0..100'", "plan.toml", Path::new(".")).unwrap();
        let header = Header::of(&plan, "build", "1/1");
        let found = |holds: &[u64; 2]| Found {
            path: PathBuf::new(),
            header: Header {
                holds: *holds,
                ..header.clone()
            },
        };
        Scan {
            files: ranges.iter().map(found).collect(),
            ..Scan::default()
        }
    }

    #[test]
    fn what_files_hold_is_not_missing() {
        let missing = |ranges: &[[u64; 2]]| missing(&holding(ranges), &(10..16));
        assert_eq!(missing(&[]), [10, 11, 12, 13, 14, 15]);
        assert_eq!(missing(&[[0, 11], [12, 14]]), [11, 14, 15]);
        assert_eq!(missing(&[[0, 12], [5, 11], [15, 99]]), [12, 13, 14]);
        assert_eq!(missing(&[[20, 30]]), [10, 11, 12, 13, 14, 15]);
        assert!(missing(&[[0, 100]]).is_empty());
    }
}
