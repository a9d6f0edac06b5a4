//! HTTP.sys: the kernel-style listener of iis-sim.
//!
//! It owns connections, routing, request queues and the response cache, and outlives workers.
//!
//! * [`clockwork`] – time, deadlines, the contract of a machine
//! * [`api`] – what user mode may ask of the driver, and how that travels
//! * [`model`] – the driver itself, pure
//! * [`etw`], [`counters`], [`service_state`], [`logging`] – facts, and what is folded from them
//! * [`byte_ranges`] – parts of a representation, and the 206 of them
//! * [`pieces`] – memory for bytes that soon go
//! * [`runs`] – runs of bytes, looked over eight at a time
//! * [`remembered`] – what short texts were read as
//! * [`recording`] – every input of a machine with its time, and its replay
//! * [`id_slab`] – memory for very many things with ids
//! * [`live`] – sockets, TLS, the device, log files (feature `live`)

pub mod api;
pub mod byte_ranges;
pub mod clockwork;
pub mod counters;
pub mod etw;
pub mod id_slab;
#[cfg(feature = "live")]
pub mod live;
pub mod logging;
pub mod model;
pub mod pieces;
pub mod recording;
pub mod remembered;
pub mod runs;
pub mod service_state;
