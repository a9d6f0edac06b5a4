//! Which part of a sweep is ours: from the command line, or from what started us.

use std::fmt;
use std::ops::Range;

/// One of so many equal parts. The first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u64,
    of: u64,
}

/// Why it is not known which part is ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// Not `I/N`.
    #[error("{0:?} is not a shard: write I/N, counted from 1, e.g. 1/4 … 4/4")]
    Malformed(String),
    /// There is no such part.
    #[error("there is no shard {index}/{of}: they are counted from 1/{of} to {of}/{of}")]
    Outside {
        /// Which was asked for.
        index: u64,
        /// Of how many.
        of: u64,
    },
    /// A variable that does not say a number.
    #[error("{name} is {value:?}, which is no whole number")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What it is.
        value: String,
    },
    /// An index, but nothing says of how many.
    #[error("{name} = {value} says which shard, but not of how many: add --of N")]
    OfHowMany {
        /// The variable with the index.
        name: &'static str,
        /// What it is.
        value: u64,
    },
    /// A number of shards, but nothing says which is ours.
    #[error(
        "--of {of}, but nothing says which of them: give --shard I/{of}, or set one of {}",
        names()
    )]
    Which {
        /// The given number.
        of: u64,
    },
    /// An index that is there and empty.
    #[error("{0} is empty: whoever sets it means a shard, so say which")]
    Empty(&'static str),
    /// The indexes of an array are not as far from each other as it says.
    #[error(
        "{name} = {value} is no task of an array of {of} from {least} in steps of {step}: give one with gaps \
         its number of shards by --of N"
    )]
    Sparse {
        /// The variable with the index.
        name: &'static str,
        /// What it is.
        value: u64,
        /// How many tasks there are.
        of: u64,
        /// The least index.
        least: u64,
        /// Their distance.
        step: u64,
    },
    /// An index that is too large for the number that was given.
    #[error("{name} = {value}, but --of {of} allows {first} to {last}")]
    TooLarge {
        /// The variable with the index.
        name: &'static str,
        /// What it is.
        value: u64,
        /// The given number.
        of: u64,
        /// The least index.
        first: u64,
        /// The largest index.
        last: u64,
    },
}

/// A variable that says which shard is ours.
struct Source {
    index: &'static str,
    /// Variable with the least index, if it is not `first`.
    least: Option<&'static str>,
    /// Variable with the distance of two indexes, if it is not 1.
    step: Option<&'static str>,
    /// Variable with how many there are.
    count: Option<&'static str>,
    /// Where the index begins.
    first: u64,
}

/// In this order. Sources: Slurm's sbatch(1), OUTPUT ENVIRONMENT VARIABLES; Kubernetes, "Indexed Job";
/// AWS Batch, "Array job environment variables": each child has a unique index, from 0; parallel(1),
/// `PARALLEL_SEQ`; PBS Professional User's Guide, "Job Arrays": `PBS_ARRAY_INDEX` is the subjob's index, and nothing
/// says of how many; Open MPI's mpirun(1), ENVIRONMENT VARIABLES.
const SOURCES: [Source; 6] = [
    Source {
        index: "SLURM_ARRAY_TASK_ID",
        least: Some("SLURM_ARRAY_TASK_MIN"),
        step: Some("SLURM_ARRAY_TASK_STEP"),
        count: Some("SLURM_ARRAY_TASK_COUNT"),
        first: 0,
    },
    Source {
        index: "JOB_COMPLETION_INDEX",
        least: None,
        step: None,
        count: None,
        first: 0,
    },
    Source {
        index: "AWS_BATCH_JOB_ARRAY_INDEX",
        least: None,
        step: None,
        count: None,
        first: 0,
    },
    Source {
        index: "PBS_ARRAY_INDEX",
        least: None,
        step: None,
        count: None,
        first: 0,
    },
    Source {
        index: "PARALLEL_SEQ",
        least: None,
        step: None,
        count: None,
        first: 1,
    },
    Source {
        index: "OMPI_COMM_WORLD_RANK",
        least: None,
        step: None,
        count: Some("OMPI_COMM_WORLD_SIZE"),
        first: 0,
    },
];

/// The variables that say which shard is ours.
fn names() -> String {
    SOURCES.map(|source| source.index).join(", ")
}

impl Shard {
    /// All of it.
    pub const WHOLE: Self = Self { index: 1, of: 1 };

    /// The part `index` of `of`, counted from 1.
    pub fn new(index: u64, of: u64) -> Result<Self, ShardError> {
        if (1..=of).contains(&index) {
            Ok(Self { index, of })
        } else {
            Err(ShardError::Outside { index, of })
        }
    }

    /// Understands `I/N`.
    pub fn parse(text: &str) -> Result<Self, ShardError> {
        let malformed = || ShardError::Malformed(text.to_owned());
        let (index, of) = text.split_once('/').ok_or_else(malformed)?;
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| malformed());
        match number(of)? {
            0 => Err(malformed()),
            of => Self::new(number(index)?, of),
        }
    }

    /// The part that whoever started us means; all of it if nobody says. With `of` the index counts as
    /// it is (from 0; for `PARALLEL_SEQ` from 1), so that a single lost part can be started again.
    ///
    /// Assumed: an index that is set and empty is a mistake in what sets it, and running everything would
    /// hide it. Those that come with a count of their own are emptied by whoever wants them out of the way.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
        of: Option<u64>,
    ) -> Result<Self, ShardError> {
        let number = |name: &'static str| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.map_or(Ok(None), |value| {
                let parsed = value.trim().parse::<u64>();
                parsed
                    .map(Some)
                    .map_err(|_| ShardError::Variable { name, value })
            })
        };
        let optional = |name: Option<&'static str>| name.map_or(Ok(None), number);
        for source in &SOURCES {
            let Some(value) = number(source.index)? else {
                if source.count.is_none() && variable(source.index).is_some() {
                    return Err(ShardError::Empty(source.index));
                }
                continue;
            };
            let (name, first) = (source.index, source.first);
            if let Some(of) = of {
                let last = (of + first).saturating_sub(1);
                if !(first..=last).contains(&value) {
                    return Err(ShardError::TooLarge {
                        name,
                        value,
                        of,
                        first,
                        last,
                    });
                }
                return Self::new(value - first + 1, of);
            }
            let of = optional(source.count)?.ok_or(ShardError::OfHowMany { name, value })?;
            let least = optional(source.least)?.unwrap_or(first);
            let step = optional(source.step)?.unwrap_or(1).max(1);
            let after = value.checked_sub(least);
            let index = after.filter(|after| after.is_multiple_of(step) && after / step < of);
            let index = index.ok_or(ShardError::Sparse {
                name,
                value,
                of,
                least,
                step,
            })?;
            return Self::new(index / step + 1, of);
        }
        match of {
            None | Some(1) => Ok(Self::WHOLE),
            Some(of) => Err(ShardError::Which { of }),
        }
    }

    /// Its part of so many things: contiguous, and none is longer by more than one than another.
    pub fn part_of(self, count: u64) -> Range<u64> {
        let cut = |index: u64| {
            let cut = u128::from(count) * u128::from(index) / u128::from(self.of);
            // At most `count`, so it is a u64.
            u64::try_from(cut).unwrap_or(count)
        };
        cut(self.index - 1)..cut(self.index)
    }

    /// How many parts there are.
    pub fn of(self) -> u64 {
        self.of
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)], of: Option<u64>) -> Result<Shard, ShardError> {
        let look = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Shard::from_environment(look, of)
    }

    #[test]
    fn shards_of_a_sweep_are_contiguous_and_together_all_of_it() {
        for (count, of) in [(10, 3), (3, 10), (0, 2), (1_000_000, 7), (5, 5)] {
            let mut next = 0;
            for index in 1..=of {
                let part = Shard::new(index, of).unwrap().part_of(count);
                assert_eq!(part.start, next);
                assert!(part.end - part.start <= count.div_ceil(of));
                next = part.end;
            }
            assert_eq!(next, count);
        }
    }

    #[test]
    fn a_shard_is_written_as_i_of_n_counted_from_one() {
        assert_eq!(Shard::parse("2/3"), Shard::new(2, 3));
        for wrong in ["0/3", "4/3", "1/0", "2", "a/b", "-1/3", ""] {
            assert!(Shard::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Shard::parse("0/3").unwrap_err().to_string().contains("1/3"));
    }

    #[test]
    fn nobody_says_which_shard_and_it_is_all() {
        assert_eq!(from(&[], None), Ok(Shard::WHOLE));
    }

    #[test]
    fn slurm_says_which_task_of_its_array() {
        let array = |id| {
            [
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_MIN", "5"),
                ("SLURM_ARRAY_TASK_STEP", "2"),
                ("SLURM_ARRAY_TASK_COUNT", "4"),
            ]
        };
        assert_eq!(from(&array("5"), None), Shard::new(1, 4));
        assert_eq!(from(&array("11"), None), Shard::new(4, 4));
        assert_eq!(
            from(&array("3"), Some(8)),
            Shard::new(4, 8),
            "one task again"
        );
    }

    #[test]
    fn a_slurm_array_with_gaps_is_told_by_its_variable() {
        let array = |id, of| {
            let variables = [
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_MIN", "1"),
                ("SLURM_ARRAY_TASK_COUNT", "3"),
            ];
            from(&variables, of).map_err(|error| error.to_string())
        };
        for outside in ["7", "0"] {
            let said = array(outside, None).unwrap_err();
            assert!(
                said.contains(&format!("SLURM_ARRAY_TASK_ID = {outside}")),
                "{said}"
            );
            assert!(said.contains("--of N"), "{said}");
        }
        assert_eq!(array("7", Some(8)), Ok(Shard::new(8, 8).unwrap()));
    }

    #[test]
    fn a_number_of_shards_needs_somebody_who_says_which_is_ours() {
        let said = from(&[], Some(2)).unwrap_err().to_string();
        assert!(said.contains("--of 2, but nothing says which"), "{said}");
        assert!(said.contains("AWS_BATCH_JOB_ARRAY_INDEX"), "{said}");
        assert_eq!(from(&[], Some(1)), Ok(Shard::WHOLE));
        let batch = [("AWS_BATCH_JOB_ARRAY_INDEX", "1")];
        assert_eq!(from(&batch, Some(2)), Shard::new(2, 2));
        let empty = [("JOB_COMPLETION_INDEX", "")];
        assert_eq!(
            from(&empty, Some(2)),
            Err(ShardError::Empty("JOB_COMPLETION_INDEX"))
        );
    }

    #[test]
    fn kubernetes_and_parallel_do_not_say_of_how_many() {
        let indexed = [("JOB_COMPLETION_INDEX", "0")];
        assert!(matches!(
            from(&indexed, None),
            Err(ShardError::OfHowMany { .. })
        ));
        assert_eq!(from(&indexed, Some(4)), Shard::new(1, 4));
        assert_eq!(from(&[("PBS_ARRAY_INDEX", "3")], Some(4)), Shard::new(4, 4));
        let unknown = from(&[("PBS_ARRAY_INDEX", "3")], None).unwrap_err();
        assert!(unknown.to_string().contains("add --of N"), "{unknown}");
        assert_eq!(from(&[("PARALLEL_SEQ", "4")], Some(4)), Shard::new(4, 4));
        assert!(from(&[("PARALLEL_SEQ", "5")], Some(4)).is_err());
        assert!(from(&[("PARALLEL_SEQ", "0")], Some(4)).is_err());
    }

    #[test]
    fn mpi_says_rank_and_size_and_slurm_comes_first() {
        let both = [
            ("OMPI_COMM_WORLD_RANK", "1"),
            ("OMPI_COMM_WORLD_SIZE", "2"),
            ("SLURM_ARRAY_TASK_ID", ""),
        ];
        assert_eq!(from(&both, None), Shard::new(2, 2));
        let slurm = [("SLURM_ARRAY_TASK_ID", "x")];
        assert!(
            from(&slurm, None)
                .unwrap_err()
                .to_string()
                .contains("\"x\"")
        );
    }
}
