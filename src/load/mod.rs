//! The load generator: an open loop from a seeded plan, with two streams of probes beside it.
//!
//! * [`profile`] – what a scenario file says about the load
//! * [`plan`] – the attempts that are drawn from it, each with its planned time
//! * [`plan_file`] – what the load process is told
//! * [`outcome`] – how an attempt can end: exactly one way each
//! * [`book`] – what was observed, attempt by attempt and connection by connection
//! * [`live`] – the process that makes the attempts over real sockets (feature `live`)
//!
//! Open loop means that an attempt never waits for another: when the server stalls, requests keep
//! coming at their planned times, and latency is counted from those. Nothing is retried.

pub mod book;
pub mod mix;
pub mod outcome;
pub mod plan;
pub mod plan_file;
pub mod profile;
pub mod progress;
pub(crate) mod table;

#[cfg(feature = "live")]
pub mod live;
#[cfg(feature = "live")]
pub use live::{LoadError, run};

pub use book::{
    AttemptRecord, Book, BookHeader, BookLine, BookSummary, ConnectionEnded, ConnectionKind,
    ConnectionRecord, SessionSeen, TlsKind,
};
pub use outcome::Outcome;
pub use plan::{Plan, PlannedAttempt, Stream};
pub use plan_file::{PlanFile, Target};
pub use profile::{Arrivals, Long, MixEntry, NoTarget, Probes, Profile, ProfileError};
pub use progress::Progress;
