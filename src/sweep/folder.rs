//! A folder of results: whole files only, each of which says what it holds.
//!
//! A file is written under another name, `….parquet.tmp.PID.HOST`, and renamed when it is whole and on
//! the disk. Many processes on many machines may share a folder; they need not know of each other.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};

use super::FNV_START;
use super::output::{Output, host};
use super::plan::{Plan, ROWS_MAX};
use super::row::{BUILD, PLAN};
use super::table::{Kind, Reader, Table, mix};

/// The schema of [`Header`].
const SCHEMA: &str = "iis-sim/sweep-rows/1";
/// How the names of files begin that a sweep writes.
const PREFIX: &str = "units-";
/// How the names of whole files end.
const SUFFIX: &str = ".parquet";
/// What follows the name of a file that is being written.
const TEMPORARY: &str = ".parquet.tmp.";

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The name and version of this header.
    pub schema: String,
    /// Hash of the plan, 16 hexadecimal digits.
    pub plan: String,
    /// The plan's name.
    pub name: String,
    /// The plan's file, as it was named when the sweep was started.
    pub file: String,
    /// Identity of the build.
    pub build: String,
    /// Units of the whole sweep.
    pub units: u64,
    /// The seeds of the whole sweep: from, and up to but without.
    pub seeds: [u64; 2],
    /// The operations of each unit, in their order.
    pub operations: Vec<String>,
    /// The keys that are varied, and their values as text.
    pub vary: Vec<(String, Vec<String>)>,
    /// The shard that wrote it, `I/N`.
    pub shard: String,
    /// The units it holds: from, and up to but without.
    pub holds: [u64; 2],
    /// Digest of its rows, 16 hexadecimal digits.
    pub rows: String,
}

/// A whole file.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// What it says of itself.
    pub header: Header,
}

/// What a folder holds.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Whole files of results, by name.
    pub files: Vec<Found>,
    /// The columns of all files.
    pub columns: BTreeMap<String, Kind>,
    /// Files that should be results and cannot be read, with the reason.
    pub damaged: Vec<(PathBuf, String)>,
    /// Files that are being written, or were when somebody died.
    pub temporary: Vec<PathBuf>,
}

/// Why a folder of results cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A file could not be made or understood.
    #[error("{}: {source}", path.display())]
    Parquet {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: ParquetError,
    },
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { path, source }
}

pub(super) fn with(path: &Path) -> impl Fn(ParquetError) -> FolderError {
    let path = path.to_owned();
    move |source| {
        let path = path.clone();
        // What the disk said (full, read-only) is said by the disk.
        if let ParquetError::External(error) = source {
            return match error.downcast::<io::Error>() {
                Ok(source) => FolderError::Io {
                    path,
                    source: *source,
                },
                Err(error) => FolderError::Parquet {
                    path,
                    source: ParquetError::External(error),
                },
            };
        }
        FolderError::Parquet { path, source }
    }
}

impl Header {
    /// What a file of this plan says, whatever it holds.
    pub fn of(plan: &Plan, build: &str, shard: &str) -> Self {
        let text = |value: &toml::Value| {
            let text = value.as_str().map(str::to_owned);
            text.unwrap_or_else(|| value.to_string())
        };
        let vary = plan.axes.iter().map(|axis| {
            let values = axis.values.iter().map(text).collect();
            (axis.key.text().to_owned(), values)
        });
        Self {
            schema: SCHEMA.to_owned(),
            plan: format!("{:016x}", plan.hash()),
            name: plan.name.clone(),
            file: plan.file.clone(),
            build: build.to_owned(),
            units: plan.units(),
            seeds: [plan.seeds.start, plan.seeds.end],
            operations: plan.operations.iter().map(ToString::to_string).collect(),
            vary: vary.collect(),
            shard: shard.to_owned(),
            holds: [0, 0],
            rows: String::new(),
        }
    }

    /// Seeds of each point.
    pub fn seeds_count(&self) -> u64 {
        self.seeds[1].saturating_sub(self.seeds[0]).max(1)
    }

    /// The value of every key at a point, as text.
    pub fn values_at(&self, point: u64) -> Vec<(&str, &str)> {
        let mut rest = point;
        let mut values = Vec::with_capacity(self.vary.len());
        for (key, of_key) in self.vary.iter().rev() {
            let count = of_key.len().max(1) as u64;
            let index = usize::try_from(rest % count).unwrap_or(0);
            values.push((key.as_str(), of_key.get(index).map_or("", String::as_str)));
            rest /= count;
        }
        values.reverse();
        values
    }

    fn parse(text: &str, rows: usize) -> Result<Self, String> {
        let header: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if header.schema != SCHEMA {
            return Err(format!("its rows are {:?}, not {SCHEMA:?}", header.schema));
        }
        let [first, end] = header.holds;
        let operations = header.operations.len() as u64;
        let fits = header.units.saturating_mul(operations) <= ROWS_MAX;
        if first > end || end > header.units || operations == 0 || !fits {
            return Err(format!("it holds units {first}..{end} of {}", header.units));
        }
        // Who believes what a file says of itself sees that it is so.
        if rows as u64 != (end - first) * operations {
            return Err(format!(
                "it has {rows} rows, not {operations} for each unit of {first}..{end}"
            ));
        }
        Ok(header)
    }
}

impl Scan {
    /// Looks into a folder, or at a single file. What does not exist is empty.
    pub fn of(folder: &Path) -> Result<Self, FolderError> {
        let mut scan = Self::default();
        if folder.is_file() {
            if !scan.look_at(folder.to_owned())? {
                return Err(no_sweep(folder));
            }
            return Ok(scan);
        }
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(scan),
            entries => entries.map_err(at(folder))?,
        };
        let mut whole = Vec::new();
        for entry in entries {
            let path = entry.map_err(at(folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.contains(TEMPORARY) {
                scan.temporary.push(path);
            } else if name.ends_with(SUFFIX) {
                whole.push(path);
            }
        }
        scan.look_at_all(&whole)?;
        scan.files.sort_by(|a, b| a.path.cmp(&b.path));
        scan.damaged.sort();
        scan.temporary.sort();
        Ok(scan)
    }

    /// Reads the files with units of a part to their end, on so many threads: one whose rows are not what was
    /// written is no result, however whole it looks.
    pub fn verify(&mut self, part: &Range<u64>, jobs: usize) -> Result<(), FolderError> {
        let is_asked = |found: &Found| {
            let [first, end] = found.header.holds;
            first < part.end && part.start < end
        };
        let (asked, others) = std::mem::take(&mut self.files)
            .into_iter()
            .partition(is_asked);
        self.files = others;
        let asked: Vec<Found> = asked;
        let share = asked.len().div_ceil(jobs.max(1)).max(1);
        let mut outcomes: Vec<Result<(), FolderError>> = asked.iter().map(|_| Ok(())).collect();
        std::thread::scope(|scope| {
            for (some, outcomes) in asked.chunks(share).zip(outcomes.chunks_mut(share)) {
                scope.spawn(move || {
                    for (found, outcome) in some.iter().zip(outcomes) {
                        *outcome = read(&found.path).map(|_| ());
                    }
                });
            }
        });
        for (found, outcome) in asked.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => self.files.push(found),
                Err(FolderError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                }
                Err(error @ FolderError::Io { .. }) => return Err(error),
                Err(error @ FolderError::Parquet { .. }) => {
                    self.damaged.push((found.path, error.to_string()));
                }
            }
        }
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    /// Opens files that should be results, on all cores: of many small files the ends are much to understand.
    fn look_at_all(&mut self, paths: &[PathBuf]) -> Result<(), FolderError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let share = paths.len().div_ceil(cores).max(1);
        let look = |paths: &[PathBuf]| {
            let mut scan = Self::default();
            for path in paths {
                // What is somebody else's stays out of it.
                scan.look_at(path.clone())?;
            }
            Ok(scan)
        };
        let looks: Vec<Result<Self, FolderError>> = std::thread::scope(|scope| {
            let threads = paths
                .chunks(share)
                .map(|some| scope.spawn(move || look(some)));
            let threads: Vec<_> = threads.collect();
            let ends = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            ends.map(|end| end.expect("whoever looks does not panic"))
                .collect()
        });
        for look in looks {
            let look = look?;
            self.files.extend(look.files);
            self.damaged.extend(look.damaged);
            self.columns.extend(look.columns);
        }
        Ok(())
    }

    /// Opens a file that should be results; `false` if it is whole and not a sweep's.
    fn look_at(&mut self, path: PathBuf) -> Result<bool, FolderError> {
        match open(&path) {
            Ok((reader, Some(header))) => match reader.columns() {
                Ok(columns) => {
                    self.columns.extend(columns);
                    self.files.push(Found { path, header });
                }
                Err(error) => self
                    .damaged
                    .push((path.clone(), with(&path)(error).to_string())),
            },
            Ok((_, None)) => return Ok(false),
            Err(FolderError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error @ FolderError::Io { .. }) => return Err(error),
            Err(error @ FolderError::Parquet { .. }) => {
                self.damaged.push((path, error.to_string()));
            }
        }
        Ok(true)
    }
}

fn no_sweep(path: &Path) -> FolderError {
    FolderError::Parquet {
        path: path.to_owned(),
        source: ParquetError::General("it is no file of a sweep".to_owned()),
    }
}

/// Opens a file of results and reads its end. `None` for one that is not a sweep's.
pub fn open(path: &Path) -> Result<(Reader, Option<Header>), FolderError> {
    let file = File::open(path).map_err(at(path))?;
    let reader = Reader::open(file).map_err(with(path))?;
    let header = reader.header();
    let header = header.map(|header| Header::parse(header, reader.rows()));
    let header = header.transpose();
    let header = header.map_err(|message| FolderError::Parquet {
        path: path.to_owned(),
        source: ParquetError::General(message),
    })?;
    Ok((reader, header))
}

/// Reads all rows of a file, build and plan aside, and checks that they are as they were written.
pub fn read(path: &Path) -> Result<(Header, Table, Vec<u64>), FolderError> {
    let (reader, header) = open(path)?;
    let wrong = |message: String| FolderError::Parquet {
        path: path.to_owned(),
        source: ParquetError::General(message),
    };
    let header = header.ok_or_else(|| no_sweep(path))?;
    let table = reader.read(&[BUILD, PLAN]).map_err(with(path))?;
    let digests = table.digests();
    let (is, was) = (digest_of(&digests), &header.rows);
    if is != *was {
        return Err(wrong(format!(
            "its rows are not what was written (digest {is}, not {was})"
        )));
    }
    Ok((header, table, digests))
}

/// One digest of many rows, in their order.
pub fn digest_of(digests: &[u64]) -> String {
    let all = digests.iter().fold(FNV_START, |all, row| mix(all, *row));
    format!("{all:016x}")
}

/// Puts rows of these units into the folder, whole or not at all.
pub fn put(
    folder: &Path,
    header: &Header,
    units: &Range<u64>,
    table: &Table,
) -> Result<PathBuf, FolderError> {
    let name = format!("{PREFIX}{:08}-{:08}{SUFFIX}", units.start, units.end);
    let path = folder.join(name);
    let columns = table.columns.iter();
    let columns = columns.map(|(name, column)| (name.clone(), column.kind()));
    let mut output = Output::begin(&path, columns.collect())?;
    output.add(table)?;
    let header = Header {
        holds: [units.start, units.end],
        rows: digest_of(&table.digests()),
        ..header.clone()
    };
    output.finish(&header)?;
    Ok(path)
}

/// Removes what is damaged and bears our name, and what dead processes of this machine were writing.
/// Those of other machines are left alone.
pub fn tidy(scan: &Scan) {
    for (path, _) in &scan.damaged {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(PREFIX) {
            let _ = fs::remove_file(path);
        }
    }
    for path in &scan.temporary {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((_, owner)) = name.rsplit_once(".tmp.") else {
            continue;
        };
        let (pid, on) = owner.split_once('.').unwrap_or((owner, ""));
        let is_dead = pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists();
        if on == host() && is_dead {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::row::{Cell, Row};

    fn header() -> Header {
        let plan = Plan::parse("seeds = '0..9'", "plan.toml", Path::new(".")).unwrap();
        Header::of(&plan, "build", "1/1")
    }

    /// A row for each operation of so many units.
    fn table(units: i64) -> Table {
        let row = |unit| Row::from([("unit".to_owned(), Cell::Whole(unit))]);
        let rows: Vec<Row> = (0..units * 3).map(row).collect();
        Table::of(&rows)
    }

    #[test]
    fn a_file_says_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = put(folder.path(), &header(), &(3..5), &table(2)).unwrap();
        assert!(path.ends_with("units-00000003-00000005.parquet"));
        let scan = Scan::of(folder.path()).unwrap();
        assert_eq!(scan.files.len(), 1);
        assert_eq!(scan.files[0].header.holds, [3, 5]);
        assert!(scan.temporary.is_empty() && scan.damaged.is_empty());
        assert_eq!(read(&path).unwrap().1, table(2));
    }

    #[test]
    fn a_file_that_has_not_the_rows_it_claims_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), &header(), &(0..2), &table(1)).unwrap();
        let scan = Scan::of(folder.path()).unwrap();
        assert!(scan.damaged[0].1.contains("3 rows"), "{:?}", scan.damaged);
    }

    #[test]
    fn a_file_that_was_cut_short_is_damaged_and_no_result() {
        let folder = tempfile::tempdir().unwrap();
        let path = put(folder.path(), &header(), &(0..1), &table(1)).unwrap();
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        let scan = Scan::of(folder.path()).unwrap();
        assert_eq!((scan.files.len(), scan.damaged.len()), (0, 1));
    }

    #[test]
    fn what_a_dead_process_was_writing_is_removed_and_what_another_machine_writes_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let dead = folder
            .path()
            .join(format!("a.parquet.tmp.4294967295.{}", host()));
        let elsewhere = folder.path().join("a.parquet.tmp.4294967295.elsewhere!");
        fs::write(&dead, "x").unwrap();
        fs::write(&elsewhere, "x").unwrap();
        tidy(&Scan::of(folder.path()).unwrap());
        assert!(!dead.exists() && elsewhere.exists());
    }

    #[test]
    fn a_folder_that_does_not_exist_is_empty_and_cannot_be_written_to() {
        let nowhere = Path::new("/nowhere/at/all");
        assert!(Scan::of(nowhere).unwrap().files.is_empty());
        let error = put(nowhere, &header(), &(0..1), &table(1)).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
