//! The driver's behaviour, told in the words of the story.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one fact among many"
)]

mod bench;
mod cache;
mod connections;
mod interleavings;
mod queues;
mod registrations;
mod responses;
mod workers;
