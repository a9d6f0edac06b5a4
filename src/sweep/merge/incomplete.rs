//! What is missing of a sweep, and how to get it.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use super::MergeError;
use crate::sweep::folder::{Found, Header};
use crate::sweep::shard::Shard;

/// Lines about what is missing, at most.
const LINES_MAX: usize = 10;

/// What is missing.
#[derive(Clone, Debug, PartialEq)]
pub struct Incomplete {
    /// Units that are missing.
    pub missing: Vec<Range<u64>>,
    /// The shards in which they lie, if all files were written as shards of as many.
    pub shards: Vec<Shard>,
    header: Header,
    folder: String,
}

/// Refuses if a unit is in no file.
pub(super) fn check(header: &Header, files: &[Found], folder: &Path) -> Result<(), MergeError> {
    let mut missing = Vec::new();
    let mut next = 0;
    // The files are in the order of what they hold.
    for [first, end] in files.iter().map(|found| found.header.holds) {
        if next < first {
            missing.push(next..first);
        }
        next = next.max(end);
    }
    if next < header.units {
        missing.push(next..header.units);
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(MergeError::Incomplete(Box::new(Incomplete {
        shards: shards_of(&missing, header, files),
        missing,
        header: header.clone(),
        folder: folder.display().to_string(),
    })))
}

fn shards_of(missing: &[Range<u64>], header: &Header, files: &[Found]) -> Vec<Shard> {
    let shards = files
        .iter()
        .map(|found| Shard::parse(&found.header.shard).ok());
    let counts: BTreeSet<Option<u64>> = shards.map(|shard| shard.map(Shard::of)).collect();
    let of = match counts.iter().collect::<Vec<_>>()[..] {
        [Some(of)] if *of > 1 => *of,
        _ => return Vec::new(),
    };
    // Every missing unit, but no more shards than a person reads.
    let shards = (1..=of).filter_map(|index| Shard::new(index, of).ok());
    let is_hit = |shard: &Shard| {
        let part = shard.part_of(header.units);
        let overlaps = |gap: &Range<u64>| gap.start < part.end && part.start < gap.end;
        missing.iter().any(overlaps)
    };
    shards.filter(is_hit).take(LINES_MAX + 1).collect()
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = &self.header;
        let missing: u64 = self.missing.iter().map(|gap| gap.end - gap.start).sum();
        let operations = header.operations.len() as u64;
        write!(
            f,
            "{}: {} of {} rows of {} are missing ({missing} of {} units):",
            self.folder,
            missing * operations,
            header.units * operations,
            header.name,
            header.units
        )?;
        for gap in self.missing.iter().take(LINES_MAX) {
            write!(f, "\n  {}", self.describe(gap))?;
        }
        if self.missing.len() > LINES_MAX {
            write!(f, "\n  … and {} more gaps", self.missing.len() - LINES_MAX)?;
        }
        let (file, folder) = (&header.file, &self.folder);
        write!(
            f,
            "\nTo run what is missing: iis-sim sweep {file} --out {folder}"
        )?;
        if let Some(first) = self.shards.first() {
            let mut names: Vec<String> = self.shards.iter().map(ToString::to_string).collect();
            if names.len() > LINES_MAX {
                names.truncate(LINES_MAX);
                names.push("…".to_owned());
            }
            let names = names.join(", ");
            write!(
                f,
                "\nOr on other machines, shard by shard ({names}): \
                 iis-sim sweep {file} --shard {first} --out {folder}"
            )?;
        }
        Ok(())
    }
}

impl Incomplete {
    /// A gap in words: the points and seeds of its units.
    fn describe(&self, gap: &Range<u64>) -> String {
        let header = &self.header;
        let (seeds, first_seed) = (header.seeds_count(), header.seeds[0]);
        let (first, last) = (gap.start / seeds, (gap.end - 1) / seeds);
        let at = |point| {
            let values = header.values_at(point).into_iter();
            let values: Vec<String> = values
                .map(|(key, value)| format!("{key} = {value}"))
                .collect();
            values.join(", ")
        };
        let seed = |unit: u64| first_seed + unit % seeds;
        let units = format!("units {}..{}", gap.start, gap.end);
        if first == last {
            let seeds = format!("seeds {}..{}", seed(gap.start), seed(gap.end - 1) + 1);
            let values = at(first);
            let comma = if values.is_empty() { "" } else { ", " };
            return format!("{units}: {values}{comma}{seeds}");
        }
        format!(
            "{units}: from {} with seed {} to {} with seed {}",
            at(first),
            seed(gap.start),
            at(last),
            seed(gap.end - 1)
        )
    }
}
