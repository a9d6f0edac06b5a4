//! The lab: what uses the three programs of iis-sim.
//!
//! * [`build`] – which build this is
//! * [`cli`] – `iis-sim` and the administrator's tools
//! * [`scenario`] – scenario file → typed plan
//! * [`load`] – arrivals, users, probes, the outcome of one attempt
//! * [`live_world`] – starts the real programs and runs a scenario against them
//! * [`measure`] – downtime, dropped connections, cache loss, the ledger; statistics over trials
//! * [`agreement`] – both clocks held together, trial by trial
//! * [`report`] – text and JSON
//! * [`virtual_world`] – the same models on one event queue, seeded, days in seconds

pub mod agreement;
pub mod build;
#[cfg(feature = "live")]
pub mod cli;
#[cfg(feature = "live")]
pub mod live_world;
pub mod load;
pub mod measure;
pub mod report;
pub mod scenario;
pub mod virtual_world;
