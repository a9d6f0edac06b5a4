//! The lab of iis-sim: users of the three programs.
//!
//! * [`load`] – the load generator: arrivals, users, mix, probes, the outcome of each attempt
//! * [`measure`] – downtime, dropped work, cache loss, the ledger, statistics over trials

pub mod load;
pub mod measure;
