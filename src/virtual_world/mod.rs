//! The virtual clock: the same models on one event queue, seeded, days in seconds.
//!
//! No threads, no sockets, no files, no clock: a run is a function of the scenario, the seed, the costs
//! and the build.
//!
//! * [`event_queue`] – what happens next: exact nanoseconds, first in, first out among equal times
//! * [`random`] – one named stream of random numbers for each purpose
//! * [`station`] – servers, a line before them, random customers: the engine at its smallest
//! * [`theory`] – what mathematics says of a station, to check the engine against
//! * `world` – the machines, and whose output is whose input
//! * `wires`, `network`, `processes`, `machine` – what lies between them and below them
//! * `clients`, `destinations`, `response` – the load, by the same plan as live
//! * [`costs`], `quantiles` – what things cost, and the dice
//! * `chronicle` – facts, logs and the digest over them
//! * [`faults`], [`checkers`], [`swarm`] – what goes wrong, what must hold all the same, many seeds
//! * [`full_model`] – all of it under a load without end, for its speed and its memory
//! * [`track`], [`record`] – what is kept of a run, so that it can be held against another; [`trace`] – its facts
//! * [`interruption`] – Ctrl-C
//! * [`trial`], [`compare`] – one operation measured; all operations of a scenario

pub mod checkers;
mod chronicle;
mod clients;
pub mod compare;
pub mod costs;
mod destinations;
mod digest;
pub mod event_queue;
pub mod faults;
pub mod full_model;
pub mod interruption;
mod machine;
mod network;
mod processes;
mod quantiles;
pub mod random;
pub mod record;
mod response;
pub mod station;
pub mod swarm;
pub mod theory;
pub mod trace;
pub mod track;
pub mod trial;
mod wires;
mod world;
