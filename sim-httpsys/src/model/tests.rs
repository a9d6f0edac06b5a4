//! The driver's behaviour, told in the words of the story.

mod bench;
mod cache;
mod connections;
mod interleavings;
mod queues;
mod registrations;
mod responses;
mod workers;
