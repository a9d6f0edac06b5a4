//! Which scenario, operations, trials and seed: the arguments that measuring commands share.

use std::path::PathBuf;

use crate::scenario::{Operation, Scenario, ScenarioError, in_words};
use crate::virtual_world::costs::{Costs, DEFAULT_PROFILE};

/// What is to be measured.
#[derive(Debug, clap::Args)]
pub(super) struct Selection {
    /// The scenario [default: reset-vs-recycle, built in]
    #[arg(value_name = "SCENARIO.toml")]
    scenario: Option<PathBuf>,
    /// An operation to measure; repeat for more [default: the scenario's]
    #[arg(long = "op", value_name = "NAME")]
    operations: Vec<Operation>,
    /// Trials of each operation, each on a fresh server [default: the scenario's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    trials: Option<u32>,
    /// From which the load is drawn [default: the scenario's]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// One short trial of each operation
    #[arg(long)]
    quick: bool,
}

impl Selection {
    /// The scenario, as the arguments want it.
    pub(super) fn scenario(&self) -> Result<Scenario, ScenarioError> {
        let mut scenario = match &self.scenario {
            Some(path) => Scenario::read(path)?,
            None => Scenario::reset_vs_recycle()?,
        };
        if !scenario.variants.is_empty() {
            let (count, name) = (scenario.variants.len(), scenario.label());
            eprintln!(
                "note: the {count} variants of {name} are left out here; iis-sim run measures them"
            );
        }
        if self.quick {
            scenario.quick();
        }
        if !self.operations.is_empty() {
            scenario.operations.clone_from(&self.operations);
            let mut seen = Vec::new();
            scenario.operations.retain(|op| {
                !seen.contains(op) && {
                    seen.push(*op);
                    true
                }
            });
        }
        scenario.trials = self.trials.unwrap_or(scenario.trials);
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        Ok(scenario)
    }
}

/// What things cost in virtual time: the argument that says so.
#[derive(Debug, clap::Args)]
pub(super) struct ProfileArgument {
    /// What things cost in virtual time, as `iis-sim calibrate` writes it [default: built in,
    /// src/virtual_world/default-profile.toml]
    #[arg(long, value_name = "PROFILE.toml", alias = "costs")]
    profile: Option<PathBuf>,
}

/// Why a profile could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProfileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is none.
    #[error("{}: {}", path.display(), in_words(&source.to_string()))]
    Parse {
        /// Which.
        path: PathBuf,
        /// What is wrong, with its line.
        source: toml::de::Error,
    },
}

/// A profile, ready to be used.
pub(super) struct Profile {
    /// Its text.
    pub(super) text: String,
    /// What the text means.
    pub(super) costs: Costs,
    /// What a report calls it.
    pub(super) name: String,
}

impl ProfileArgument {
    /// Whether there is one.
    pub(super) fn is_given(&self) -> bool {
        self.profile.is_some()
    }

    /// Reads the profile.
    pub(super) fn read(&self) -> Result<Profile, ProfileError> {
        let (text, path) = match &self.profile {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| ProfileError::Read {
                    path: path.clone(),
                    source,
                })?;
                (text, path.clone())
            }
            None => (DEFAULT_PROFILE.to_owned(), "the default profile".into()),
        };
        let costs = Costs::parse(&text).map_err(|source| ProfileError::Parse {
            path: path.clone(),
            source,
        })?;
        let name = match &costs.measured {
            Some(measured) => {
                let (when, on) = (&measured.when, &measured.on);
                format!("{} (measured {when} on {on})", path.display())
            }
            None => path.display().to_string(),
        };
        Ok(Profile { text, costs, name })
    }
}
