//! The lab: what uses the three programs of iis-sim.
//!
//! * [`administration`] – what appcmd and the REST API do to a running server
//! * [`build`] – which build this is
//! * [`cli`] – `iis-sim` and the administrator's tools
//! * [`scenario`] – scenario file → typed plan
//! * [`load`] – arrivals, users, probes, the outcome of one attempt
//! * [`live_world`] – starts the real programs and runs a scenario against them
//! * [`measure`] – downtime, dropped connections, cache loss, the ledger; statistics over trials
//! * [`agreement`] – both clocks held together, trial by trial
//! * [`report`] – text and JSON
//! * [`perfmon`] – what the counters read, under their `PerfMon` names
//! * [`exporter`] – the same for Prometheus
//! * [`sweep`] – many parameters and seeds, on many machines, and all of it put together
//! * [`virtual_world`] – the same models on one event queue, seeded, days in seconds

#[cfg(feature = "live")]
pub mod administration;
pub mod agreement;
pub mod build;
#[cfg(feature = "live")]
pub mod cli;
pub mod exporter;
#[cfg(feature = "live")]
pub mod live_world;
pub mod load;
pub mod measure;
pub mod perfmon;
pub mod report;
pub mod scenario;
#[cfg(feature = "live")]
pub mod sweep;
pub mod virtual_world;
