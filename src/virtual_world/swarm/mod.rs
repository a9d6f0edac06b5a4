//! A swarm: many short runs, each with a server, a load, operations and faults drawn from its seed.
//!
//! Each fault and each feature is on in half of the runs, because a run in which everything is on hides
//! what only some of it does (Groce et al., "Swarm testing", ISSTA 2012). Faults end, then the load
//! does, and then everything must come to rest; the client's book must agree with the server's to the
//! last attempt.
//!
//! * [`plan`], [`sites`], `applications` – what a seed stands for, as plain data
//! * `draw` – from the seed to the plan
//! * `limits` – what its numbers may be
//! * `drive` – from the plan to its outcome; `many` – many of them on every core
//! * [`paired`] – X2: the same server and load, once recycled and once reset
//! * [`shrink`] – from a plan that fails to a small one
//! * `mutation` – whether the swarm finds faults that were put in on purpose

use std::collections::BTreeMap;

use sim_httpsys::clockwork::Instant;
use sim_was::config::ConfigError;

use super::checkers::Broken;
use super::checkers::coverage::Coverage;
use super::trial::Size;
use crate::load::profile::{NoTarget, ProfileError};

mod applications;
mod draw;
mod drive;
mod limits;
mod many;
#[cfg(feature = "mutants")]
pub mod mutation;
pub mod paired;
pub mod plan;
pub mod shrink;
pub mod sites;

pub use draw::draw;
pub use drive::{run_plan, run_watched};
pub use limits::OutOfRange;
pub use many::{run_caught, run_many};
pub use plan::Plan;

/// What has come of one plan.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The digest over all facts.
    pub digest: u64,
    /// How much was simulated.
    pub size: Size,
    /// Attempts whose clients did not get what they asked for, through no fault of their own.
    pub failed: u64,
    /// The longest time between two successes of the probes that open connections, nanoseconds.
    pub gap: u64,
    /// What was seen, and how often.
    pub sometimes: BTreeMap<&'static str, u64>,
    /// Which events have met which states of the machines.
    pub coverage: Coverage,
}

/// Why a plan has failed.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// A number of it cannot be used.
    #[error(transparent)]
    Range(#[from] OutOfRange),
    /// Its configuration is none: a fault of whoever made the plan.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// Its load is none.
    #[error("load: {0}")]
    Load(#[from] ProfileError),
    /// Its load asks for what nobody serves.
    #[error(transparent)]
    Target(#[from] NoTarget),
    /// An invariant does not hold.
    #[error("{broken} (event {event})")]
    Broken {
        /// Which, and how.
        broken: Broken,
        /// Events until then.
        event: u64,
    },
    /// Somebody wants an end.
    #[error("interrupted")]
    Interrupted,
    /// The world came to rest before the run was over.
    #[error("nothing will ever happen again at {0}")]
    Silence(Instant),
    /// A model or the world has panicked: an assertion does not hold.
    #[error("panic: {0}")]
    Panic(String),
}

impl SwarmError {
    /// The name of what is broken: that of an invariant, or a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Range(_) | Self::Configuration(_) | Self::Load(_) | Self::Target(_) => "plan",
            Self::Broken { broken, .. } => broken.invariant,
            Self::Interrupted => "interrupted",
            Self::Silence(_) => "silence",
            Self::Panic(_) => "panic",
        }
    }
}

/// Runs one seed with `millis` of virtual time for load and faults.
pub fn run(seed: u64, millis: u64) -> Result<Outcome, SwarmError> {
    run_plan(&draw(seed, millis))
}
