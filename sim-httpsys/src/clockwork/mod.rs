//! Time and the contract of a machine: what every model of this workspace is built on.

pub mod civil;
mod deadlines;
mod machine;
pub mod mutants;
mod time;

pub use deadlines::Deadlines;
pub use machine::{Deadline, StateMachine};
pub use time::{Instant, UtcClock, UtcTime};
