//! Which scenario, operations, trials and seed: the arguments that measuring commands share.

use std::path::{Path, PathBuf};

use crate::scenario::{Operation, Scenario, ScenarioError};
use crate::virtual_world::costs::Costs;

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
    #[error("{}: {source}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// What is wrong, with its line.
        source: toml::de::Error,
    },
}

impl ProfileArgument {
    /// The costs, and what a report calls them.
    pub(super) fn costs(&self) -> Result<(Costs, String), ProfileError> {
        let path = self.profile.as_deref();
        let costs = path.map_or(Ok(Costs::default()), read)?;
        let name = path.map_or("the default profile".to_owned(), |p| {
            p.display().to_string()
        });
        let name = match &costs.measured {
            Some(measured) => format!("{name} (measured {}, {})", measured.when, measured.on),
            None => name,
        };
        Ok((costs, name))
    }
}

fn read(path: &Path) -> Result<Costs, ProfileError> {
    let text = std::fs::read_to_string(path).map_err(|source| ProfileError::Read {
        path: path.to_owned(),
        source,
    })?;
    Costs::parse(&text).map_err(|source| ProfileError::Parse {
        path: path.to_owned(),
        source,
    })
}
