//! All results of a sweep together: every row exactly once, of one plan and one build, or why not.
//!
//! Files are taken in the order of their units, so that little is held at a time. A row that is there
//! twice (a lost machine's shard was run again) must be there twice alike.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::folder::{self, FolderError, Found, Header, Scan};
use super::output::Output;
use super::row::{BUILD, INVALID, OPERATION, PLAN, UNEXPLAINED, UNIT};
use super::shard::Shard;
use super::table::{Column, Kind, Table};
use crate::measure::statistics::{median, median_interval_by_rank};

mod incomplete;
mod ordered;

pub use incomplete::Incomplete;

/// Rows of a merged file in one row group.
const GROUP_ROWS: usize = 65_536;

/// What is to be merged.
#[derive(Clone, Debug)]
pub struct Merge<'a> {
    /// Folders of results.
    pub folders: &'a [PathBuf],
    /// Where to put all rows as one file, if anywhere.
    pub out: Option<&'a Path>,
    /// The figures to sum up.
    pub figures: Figures<'a>,
    /// Threads that read.
    pub jobs: usize,
}

/// Figures, by their paths in the metrics.
#[derive(Clone, Copy, Debug)]
pub enum Figures<'a> {
    /// Every one there is.
    All,
    /// Those of these that are known in any row.
    Known(&'a [&'a str]),
    /// These; it is an error if no row has one.
    Named(&'a [String]),
}

/// What has come of it.
#[derive(Clone, Debug, Serialize)]
pub struct Merged {
    /// Name and version of the schema.
    pub schema: &'static str,
    /// The plan's name.
    pub name: String,
    /// Its hash.
    pub plan: String,
    /// The identity of the build.
    pub build: String,
    /// One digest over all rows, in the order of the plan: however they were sharded.
    pub digest: String,
    /// Rows.
    pub rows: u64,
    /// Of them, those that were there more than once.
    pub repeated: u64,
    /// Rows whose numbers cannot be trusted; they are in no figure.
    pub invalid: u64,
    /// Attempts of all rows without an explanation.
    pub unexplained: u64,
    /// Files.
    pub files: usize,
    /// Each operation at each point.
    pub groups: Vec<Group>,
}

/// One operation at one point, over its seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// The point.
    pub point: u64,
    /// The value of every key there.
    pub values: Vec<(String, String)>,
    /// The operation.
    pub operation: String,
    /// Seeds whose numbers are trusted.
    pub seeds: usize,
    /// The figures by their path in the metrics.
    pub figures: BTreeMap<String, Figure>,
}

/// A figure over the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// The median.
    pub median: f64,
    /// The lower end of its 95 % interval; `None` for fewer than six seeds.
    pub lower: Option<f64>,
    /// The upper end.
    pub upper: Option<f64>,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Seeds in which it is known.
    pub known: usize,
}

/// Why results are not merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A folder or a file.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// There is nothing.
    #[error("{0}: no results of a sweep; make some with iis-sim sweep PLAN.toml --out {0}")]
    Nothing(String),
    /// Files that cannot be read.
    #[error(
        "damaged: {first}{}; remove it and run the sweep again, which does only what is missing",
        if *count > 1 { format!(" (and {} more)", count - 1) } else { String::new() }
    )]
    Damaged {
        /// How many.
        count: usize,
        /// The first, and why.
        first: String,
    },
    /// Results of more than one plan or build.
    #[error("results of different {what}s do not belong together:{list}")]
    Mixed {
        /// `plan` or `build`.
        what: &'static str,
        /// Each, with how many files, and one of them.
        list: String,
    },
    /// Something is missing.
    #[error("{0}")]
    Incomplete(Box<Incomplete>),
    /// A row is there twice, and not alike.
    #[error(
        "{operation} with seed {seed} at point {point} is there twice and differs: {} and {}{}; \
         the same build gives the same rows, so one machine or one disk is at fault",
        first.display(), second.display(), column.as_ref().map(|column| format!(" (first in column {column})")).unwrap_or_default()
    )]
    Conflict {
        /// The operation.
        operation: String,
        /// The seed.
        seed: u64,
        /// The point.
        point: u64,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// The first column that differs.
        column: Option<String>,
    },
    /// A file does not hold what it says.
    #[error("{}: {message}", path.display())]
    Rows {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// No row has such a figure.
    #[error("no row has a figure {name:?}{}", meant.as_ref().map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default())]
    NoFigure {
        /// What was asked for.
        name: String,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// Somebody wanted an end.
    #[error("interrupted")]
    Interrupted,
}

impl Merge<'_> {
    /// Merges. `watcher` is told how many files of how many are done, and says whether to go on.
    pub fn run(&self, watcher: &mut dyn FnMut(usize, usize) -> bool) -> Result<Merged, MergeError> {
        let scan = self.scan()?;
        let header = one_sweep(&scan.files)?;
        incomplete::check(&header, &scan.files, self.folder())?;
        let figures = self.figures_of(&scan.columns)?;
        let mut output = self
            .out
            .map(|path| Output::begin(path, columns(&scan)))
            .transpose()?;
        let mut rows = Rows::new(&header, &scan.files);
        let mut groups = Groups::new(&header, &figures);
        let mut pending = Table::default();
        ordered::read(&scan.files, self.jobs, &mut |index, (_, table, digests)| {
            if !watcher(index, scan.files.len()) {
                return Err(MergeError::Interrupted);
            }
            let found = &scan.files[index];
            let (table, order) = rows.take(index, found, table, &digests)?;
            groups.take(&table, &order);
            if let Some(output) = &mut output {
                let differ = |error: parquet::errors::ParquetError| MergeError::Rows {
                    path: found.path.clone(),
                    message: error.to_string(),
                };
                pending.append(table).map_err(differ)?;
                if pending.rows >= GROUP_ROWS {
                    flush(&mut pending, &header, output)?;
                }
            }
            Ok(())
        })?;
        let digests = rows.finish();
        let digest = folder::digest_of(&digests);
        if let Some(mut output) = output {
            flush(&mut pending, &header, &mut output)?;
            output.finish(&Header {
                holds: [0, header.units],
                rows: digest.clone(),
                shard: Shard::WHOLE.to_string(),
                ..header.clone()
            })?;
        }
        Ok(Merged {
            schema: "iis-sim/sweep/1",
            digest,
            rows: digests.len() as u64,
            repeated: rows.repeated,
            invalid: groups.invalid,
            unexplained: groups.unexplained,
            files: scan.files.len(),
            groups: groups.finish(),
            name: header.name,
            plan: header.plan,
            build: header.build,
        })
    }

    /// The folder in which more results would be found: the first that was named, or that of the first file.
    fn folder(&self) -> &Path {
        let first = self
            .folders
            .first()
            .map_or(Path::new("."), PathBuf::as_path);
        let parent = first.parent().filter(|_| first.is_file());
        match parent {
            Some(parent) if parent == Path::new("") => Path::new("."),
            Some(parent) => parent,
            None => first,
        }
    }

    fn scan(&self) -> Result<Scan, MergeError> {
        let mut all = Scan::default();
        for folder in self.folders {
            let scan = Scan::of(folder)?;
            all.files.extend(scan.files);
            all.damaged.extend(scan.damaged);
            all.columns.extend(scan.columns);
        }
        if let Some((_, first)) = all.damaged.first() {
            return Err(MergeError::Damaged {
                count: all.damaged.len(),
                first: first.clone(),
            });
        }
        if all.files.is_empty() {
            return Err(MergeError::Nothing(self.folder().display().to_string()));
        }
        all.files.sort_by(|a, b| {
            let key = |found: &Found| (found.header.holds, found.path.clone());
            key(a).cmp(&key(b))
        });
        Ok(all)
    }

    /// The figures to sum up, each of which some row must have.
    fn figures_of(&self, columns: &BTreeMap<String, Kind>) -> Result<Vec<String>, MergeError> {
        let numbers = || columns.iter().filter(|(_, kind)| **kind == Kind::Number);
        let has = |name: &str| columns.get(name) == Some(&Kind::Number);
        let named = match self.figures {
            Figures::All => return Ok(numbers().map(|(name, _)| name.clone()).collect()),
            Figures::Known(names) => {
                let known = names.iter().filter(|name| has(name));
                return Ok(known.map(|name| (*name).to_owned()).collect());
            }
            Figures::Named(names) => names,
        };
        if let Some(name) = named.iter().find(|name| !has(name)) {
            let there = numbers().map(|(name, _)| name.as_str());
            return Err(MergeError::NoFigure {
                name: name.clone(),
                meant: super::path::suggestion(name, there).map(str::to_owned),
            });
        }
        Ok(named.to_vec())
    }
}

/// What all files agree on.
fn one_sweep(files: &[Found]) -> Result<Header, MergeError> {
    type Question = (&'static str, fn(&Header) -> &String);
    let questions: [Question; 2] = [
        ("plan", |header| &header.plan),
        ("build", |header| &header.build),
    ];
    for (what, of) in questions {
        let mut seen: BTreeMap<&String, (usize, &Path)> = BTreeMap::new();
        for found in files {
            let entry = seen.entry(of(&found.header)).or_insert((0, &found.path));
            entry.0 += 1;
        }
        if seen.len() > 1 {
            let line = |(id, (count, path)): (&&String, &(usize, &Path))| {
                format!("\n  {what} {id}: {count} file(s), e.g. {}", path.display())
            };
            let list = seen.iter().map(line).collect();
            return Err(MergeError::Mixed { what, list });
        }
    }
    Ok(files[0].header.clone())
}

fn columns(scan: &Scan) -> Vec<(String, Kind)> {
    let columns = scan.columns.iter();
    columns.map(|(name, kind)| (name.clone(), *kind)).collect()
}

fn flush(pending: &mut Table, header: &Header, output: &mut Output) -> Result<(), FolderError> {
    let mut table = std::mem::take(pending);
    if table.rows == 0 {
        return Ok(());
    }
    table.put_text(BUILD, &header.build);
    table.put_text(PLAN, &header.plan);
    output.add(&table)
}

/// Which rows there are, and their digests.
struct Rows<'a> {
    operations: BTreeMap<String, u64>,
    header: &'a Header,
    files: &'a [Found],
    /// By row: its digest, and the file it came from.
    seen: Vec<Option<(u64, u32)>>,
    repeated: u64,
}

/// Of each row that is kept: its unit and the number of its operation.
type Order = Vec<(u64, usize)>;

impl<'a> Rows<'a> {
    fn new(header: &'a Header, files: &'a [Found]) -> Self {
        let numbered = header.operations.iter().cloned().zip(0..);
        let rows = header.units * header.operations.len() as u64;
        Self {
            operations: numbered.collect(),
            header,
            files,
            seen: vec![None; usize::try_from(rows).unwrap_or(usize::MAX)],
            repeated: 0,
        }
    }

    /// Takes the rows of a file, and gives those that are new.
    fn take(
        &mut self,
        index: usize,
        found: &Found,
        mut table: Table,
        digests: &[u64],
    ) -> Result<(Table, Order), MergeError> {
        let wrong = |message: &str| MergeError::Rows {
            path: found.path.clone(),
            message: message.to_owned(),
        };
        let [first, end] = found.header.holds;
        let per_unit = self.operations.len() as u64;
        if digests.len() as u64 != (end - first) * per_unit {
            return Err(wrong("it has not one row for each operation of each unit"));
        }
        let names = table
            .texts(OPERATION)
            .ok_or_else(|| wrong("no column operation"))?;
        let units = table.wholes(UNIT).ok_or_else(|| wrong("no column unit"))?;
        let mut keep = Vec::with_capacity(digests.len());
        let mut order = Vec::with_capacity(digests.len());
        let mut here = BTreeSet::new();
        for ((name, unit), digest) in names.iter().zip(units).zip(digests) {
            let unit = unit.and_then(|unit| u64::try_from(unit).ok());
            let unit = unit.filter(|unit| (first..end).contains(unit));
            let unit = unit.ok_or_else(|| wrong("a row of a unit that it should not hold"))?;
            let operation = name.as_ref().and_then(|name| self.operations.get(name));
            let operation = *operation.ok_or_else(|| wrong("a row of an unknown operation"))?;
            let row = unit * per_unit + operation;
            if !here.insert(row) {
                return Err(wrong("it has a row twice"));
            }
            let place = usize::try_from(row).expect("there is a vector that long");
            let file = u32::try_from(index).unwrap_or(u32::MAX);
            match self.seen[place] {
                Some((earlier, of)) if earlier != *digest => {
                    return Err(self.conflict(row, of, index));
                }
                Some(_) => {
                    self.repeated += 1;
                    keep.push(false);
                }
                None => {
                    self.seen[place] = Some((*digest, file));
                    keep.push(true);
                    order.push((unit, usize::try_from(operation).unwrap_or(0)));
                }
            }
        }
        if order.len() < keep.len() {
            table.retain(&keep);
        }
        Ok((table, order))
    }

    fn conflict(&self, row: u64, first: u32, second: usize) -> MergeError {
        let per_unit = self.operations.len() as u64;
        let unit = row / per_unit;
        let operation = usize::try_from(row % per_unit).unwrap_or(0);
        let path = |index: usize| self.files[index].path.clone();
        let (first, second) = (path(first as usize), path(second));
        let name = &self.header.operations[operation];
        MergeError::Conflict {
            operation: name.clone(),
            seed: self.header.seeds[0] + unit % self.header.seeds_count(),
            point: unit / self.header.seeds_count(),
            column: differing(&first, &second, unit, name),
            first,
            second,
        }
    }

    /// The digests of all rows; there are all, because each file holds what it says.
    fn finish(&self) -> Vec<u64> {
        self.seen
            .iter()
            .flatten()
            .map(|(digest, _)| *digest)
            .collect()
    }
}

/// The first column in which a row of two files differs, if the files can still be read.
fn differing(first: &Path, second: &Path, unit: u64, operation: &str) -> Option<String> {
    let row = |path: &Path| {
        let (_, table, _) = folder::read(path).ok()?;
        let units = table.wholes(UNIT)?;
        let names = table.texts(OPERATION)?;
        let is_it = |at: &usize| {
            units[*at] == i64::try_from(unit).ok() && names[*at].as_deref() == Some(operation)
        };
        let at = (0..table.rows).find(is_it)?;
        let cells = table.columns.iter().filter_map(|(name, column)| {
            let text = match column {
                Column::Whole(cells) => cells[at].map(|cell| cell.to_string()),
                Column::Number(cells) => cells[at].map(|cell| cell.to_bits().to_string()),
                Column::Text(cells) => cells[at].clone(),
            };
            Some((name.clone(), text?))
        });
        Some(cells.collect::<BTreeMap<String, String>>())
    };
    let (one, other) = (row(first)?, row(second)?);
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differs = |name: &&&String| one.get(**name) != other.get(**name);
    names.iter().find(differs).map(|name| (*name).clone())
}

/// Sums up point by point: rows come in the order of their units.
struct Groups<'a> {
    header: &'a Header,
    figures: &'a [String],
    point: u64,
    /// Of the point at hand, by operation: trusted seeds, and the values of each figure.
    open: Vec<(usize, Vec<Vec<f64>>)>,
    done: Vec<Group>,
    invalid: u64,
    unexplained: u64,
}

impl<'a> Groups<'a> {
    fn new(header: &'a Header, figures: &'a [String]) -> Self {
        Self {
            header,
            figures,
            point: 0,
            open: vec![(0, vec![Vec::new(); figures.len()]); header.operations.len()],
            done: Vec::new(),
            invalid: 0,
            unexplained: 0,
        }
    }

    fn take(&mut self, table: &Table, order: &[(u64, usize)]) {
        let invalid = table.texts(INVALID).unwrap_or_default();
        let unexplained = table.wholes(UNEXPLAINED).unwrap_or_default();
        let unexplained = unexplained.iter().flatten();
        self.unexplained += unexplained.map(|count| count.unsigned_abs()).sum::<u64>();
        let columns: Vec<&[Option<f64>]> = self
            .figures
            .iter()
            .map(|name| match table.columns.get(name) {
                Some(Column::Number(cells)) => cells.as_slice(),
                Some(Column::Whole(_) | Column::Text(_)) | None => &[],
            })
            .collect();
        for (row, (unit, operation)) in order.iter().enumerate() {
            let point = unit / self.header.seeds_count();
            if point != self.point {
                self.close();
                self.point = point;
            }
            if invalid.get(row).is_some_and(Option::is_some) {
                self.invalid += 1;
                continue;
            }
            let (seeds, values) = &mut self.open[*operation];
            *seeds += 1;
            for (values, column) in values.iter_mut().zip(&columns) {
                values.extend(column.get(row).copied().flatten());
            }
        }
    }

    fn close(&mut self) {
        let values = self.header.values_at(self.point).into_iter();
        let values: Vec<(String, String)> = values
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        for (operation, (seeds, of_figures)) in self.header.operations.iter().zip(&mut self.open) {
            let mut figures = BTreeMap::new();
            for (name, values) in self.figures.iter().zip(of_figures) {
                if let Some(figure) = Figure::of(values) {
                    figures.insert(name.clone(), figure);
                }
                values.clear();
            }
            self.done.push(Group {
                point: self.point,
                values: values.clone(),
                operation: operation.clone(),
                seeds: std::mem::take(seeds),
                figures,
            });
        }
    }

    fn finish(mut self) -> Vec<Group> {
        self.close();
        self.done
    }
}

impl Figure {
    fn of(values: &[f64]) -> Option<Self> {
        let interval = median_interval_by_rank(values);
        Some(Self {
            median: median(values)?,
            lower: interval.map(|interval| interval.lower),
            upper: interval.map(|interval| interval.upper),
            min: values.iter().copied().min_by(f64::total_cmp)?,
            max: values.iter().copied().max_by(f64::total_cmp)?,
            known: values.len(),
        })
    }
}
