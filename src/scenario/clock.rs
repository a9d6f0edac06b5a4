//! Which time something runs in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Under which clock something runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// Real processes, sockets and time
    #[default]
    Live,
    /// The same models on one event queue, in simulated time
    Virtual,
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Live => "live",
            Self::Virtual => "virtual",
        })
    }
}
