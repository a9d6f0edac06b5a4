//! Sweeps: one scenario under many parameters and seeds on the virtual clock, on one machine or many.
//!
//! ```text
//!   plan ──► points × seeds = units ──► shards ──► files of rows (Parquet) ──► merge ──► table, digest
//! ```
//!
//! A unit is all operations at one point with one seed; a shard is a contiguous part of the units, one
//! for each machine. A run is a function of plan and build, so doing a unit twice does no harm, and
//! whichever engine starts the shards (Slurm, Kubernetes, a loop in a shell) need not be exact.
//!
//! * [`plan`] – the plan file: what is varied, and the scenario of each point
//! * [`path`] – dotted keys into a scenario, and what was probably meant by a wrong one
//! * [`shard`] – which part is ours: from the command line, Slurm, Kubernetes …
//! * [`row`], [`table`] – a result, and files of them
//! * [`folder`] – what a folder of results holds
//! * [`output`] – how a file comes to be, whole or not at all
//! * [`run`] – all cores on what is missing
//! * [`merge`] – every row exactly once, or why not; the figures of all

pub mod folder;
pub mod merge;
pub mod output;
pub mod path;
pub mod plan;
pub mod row;
pub mod run;
pub mod shard;
pub mod table;

/// A number that differs if any of the bytes does, carried on from `hash`.
///
/// Source: Fowler, Noll, Vo: FNV-1a, 64 bits. Written out, because the standard library does not promise
/// that its hash stays the same.
pub(crate) fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Where [`fnv`] begins.
pub(crate) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
