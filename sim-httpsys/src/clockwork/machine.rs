//! The contract of a state machine, and how to drive one.
//!
//! ```text
//!            handle_input(input, now)                  poll_output() -> Some(output) … None
//!  driver ──────────────────────────────► machine ──────────────────────────────────────────► driver
//!            handle_deadline(now)                      next_deadline() -> Option<Deadline>
//! ```
//!
//! The drive loop, the same under both clocks:
//!
//! 1. wait for an input or for `next_deadline`, whichever comes first;
//! 2. hand it over with the time;
//! 3. poll outputs until `None`, and do what each one says;
//! 4. go to 1.
//!
//! The **single-mutation rule**: between two `handle_*` calls every output is polled. Time never
//! goes backwards. A machine never asks for the time, never blocks, never draws a random number.

use super::time::Instant;

/// A pure state machine: inputs and time in, outputs out.
pub trait StateMachine {
    /// What can happen to it. Inputs may borrow bytes from the driver's read buffer.
    type Input<'a>;
    /// What it wants done, and what it says has happened.
    type Output;
    /// Why it wants to be woken.
    type Timer: Copy;

    /// Something happened at `now`.
    fn handle_input(&mut self, input: Self::Input<'_>, now: Instant);

    /// The time is `now`, at or after [`next_deadline`](Self::next_deadline).
    fn handle_deadline(&mut self, now: Instant);

    /// The next thing to do, in order; `None` when there is nothing left.
    fn poll_output(&mut self) -> Option<Self::Output>;

    /// When it wants [`handle_deadline`](Self::handle_deadline) to be called, and why.
    fn next_deadline(&self) -> Option<Deadline<Self::Timer>>;
}

/// A wake-up that a machine asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline<T> {
    /// When.
    pub at: Instant,
    /// Why.
    pub timer: T,
}
