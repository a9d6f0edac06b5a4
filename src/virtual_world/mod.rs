//! The virtual clock: the same models on one event queue, seeded, days in seconds.
//!
//! * [`event_queue`] – what happens next: exact nanoseconds, first in, first out among equal times

pub mod event_queue;
