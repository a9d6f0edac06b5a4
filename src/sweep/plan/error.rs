//! What can be wrong with a plan, and where.

use std::path::PathBuf;

use crate::scenario::ScenarioError;

/// Why a plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be. The message names the line and shows it.
    #[error("{file}: {message}")]
    Parse {
        /// Which.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// The scenario that the plan names.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Something in the plan that cannot be.
    #[error("{file}:{line}: {message}")]
    Wrong {
        /// The plan.
        file: String,
        /// The line.
        line: usize,
        /// What is wrong, and what would be valid.
        message: String,
    },
    /// A key that the scenario does not have.
    #[error("{file}:{line}: key = {key:?}: {message}{}", meant.as_ref().map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default())]
    Key {
        /// The plan.
        file: String,
        /// The line.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong.
        message: String,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// A value that the key cannot have.
    #[error("{file}:{line}: {key} = {value}: {message}")]
    Value {
        /// The plan.
        file: String,
        /// The line.
        line: usize,
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is wrong, and what would be valid.
        message: String,
    },
    /// More rows than can be.
    #[error("{file}: {rows} rows are too many, at most {max}: fewer seeds, values or operations")]
    TooMany {
        /// The plan.
        file: String,
        /// How many it has.
        rows: u64,
        /// How many are allowed.
        max: u64,
    },
}

/// A place in a plan.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub(super) file: String,
    pub(super) line: usize,
}

impl At {
    pub(super) fn new(file: &str, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
        }
    }

    pub(super) fn says(&self, message: &str) -> PlanError {
        PlanError::Wrong {
            file: self.file.clone(),
            line: self.line,
            message: message.to_owned(),
        }
    }
}
