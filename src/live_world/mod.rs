//! Starts the real programs and runs scenarios against them.
//!
//! * [`server`] – one running server: httpsys and was below a root folder
//! * [`last_good`] – a readable copy in the place of a configuration that is none
//! * [`service_manager`] – starts `was` again when it has died
//! * [`balancer`] – HAProxy in front of several servers
//! * [`loopback`] – small HTTP servers for administrators
//! * `memory_peak` – the most memory that workers hold together
//! * [`metrics_server`] – where Prometheus scrapes
//! * `ports` – where bindings really listen, and who has a port that is taken
//! * [`generator`] – the load generator's process
//! * [`story`], [`page`] – what the examples are told with
//! * [`trial`] – one operation on one warmed server, measured
//! * [`recordings`] – what live programs were told, handed to their models again
//! * [`calibrate`] – what virtual time needs to know of this machine
//! * [`compare`] – all operations and trials of a scenario
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is where processes, clocks and waiting live"
)]

pub mod balancer;
mod bound_endpoint;
pub mod calibrate;
mod closed_port;
pub mod compare;
mod departure;
mod farm;
pub mod generator;
pub mod last_good;
pub mod loopback;
mod memory_peak;
pub mod metrics_server;
mod operate;
pub mod page;
mod ports;
pub(crate) mod processes;
pub mod recordings;
pub mod server;
mod server_options;
pub mod service_manager;
pub mod story;
pub mod trial;
