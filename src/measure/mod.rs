//! What an operation cost, folded from the client's book and the server's facts and logs.
//!
//! * [`read`] – book, traces and logs from their files; the only part that touches any
//! * [`metrics`] – the figures of one trial, with their definitions
//! * [`downtime`], [`steady`], [`cache`], [`connections`], [`workers`], [`latencies`] – how the harder ones are worked out
//! * [`balancer`] – what a balancer in front of a farm saw
//! * `apart` – what takes long, so that Ctrl-C does not
//! * `targets` – when a queue had no worker to deliver to
//! * [`outcomes`] – how attempts ended
//! * [`events`] – the event log
//! * [`ledger`] – the client's story against the server's, attempt by attempt
//! * [`statistics`], [`summary`] – figures over several trials
//!
//! What is not known is `None`, never a made-up number: a trace that is missing leaves holes.

pub(crate) mod apart;
pub mod balancer;
pub mod cache;
pub mod connections;
pub mod downtime;
pub mod events;
pub mod latencies;
pub mod ledger;
pub mod log_gap;
mod looks;
pub mod metrics;
pub mod outcomes;
pub mod read;
pub mod sessions;
pub mod statistics;
pub mod steady;
pub mod summary;
#[cfg(test)]
mod synthetic;
pub(crate) mod targets;
mod trial_result;
pub mod workers;

pub use ledger::Ledger;
pub use looks::{Looks, Steady};
pub use metrics::Metrics;
pub use outcomes::Outcomes;
pub use read::{Observation, ReadError};
pub use summary::{Estimate, Summary, figures_of, summarise, unknown_figure};
pub use trial_result::TrialResult;
