//! w3wp: a worker process of iis-sim.
//!
//! It attaches to its pool's request queue, pulls requests, runs them through the pipeline and
//! answers. Everything that a recycle loses is held here: caches, compiled pages, sessions.
//!
//! * [`ipm`] – what WAS may say to a worker and what it answers
//! * [`configuration`] – what WAS writes down for a worker before it starts it
//! * [`application`] – what a simulated application costs and does: its `simulation.toml`
//! * [`facts`] – what a worker states
//! * [`local_time`] – the server's time zone as data, for recycles by the clock
//! * [`symptoms`] – how a pool's workers misbehave, for experiments
//! * [`model`] – the worker itself, pure
//! * [`live`] – the device, the pipe to WAS, threads that burn and wait (feature `live`)

pub mod application;
pub mod configuration;
pub mod counters;
pub mod facts;
pub mod ipm;
#[cfg(feature = "live")]
pub mod live;
pub mod local_time;
pub mod model;
pub mod symptoms;
