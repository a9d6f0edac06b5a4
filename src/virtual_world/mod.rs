//! The virtual clock: the same models on one event queue, seeded, days in seconds.
//!
//! * [`event_queue`] – what happens next: exact nanoseconds, first in, first out among equal times
//! * [`random`] – one named stream of random numbers for each purpose
//! * [`station`] – servers, a line before them, random customers: the engine at its smallest
//! * [`theory`] – what mathematics says of a station, to check the engine against

pub mod event_queue;
pub mod random;
pub mod station;
pub mod theory;
