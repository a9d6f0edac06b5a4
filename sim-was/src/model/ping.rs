//! Health: every `pingInterval` a worker is asked whether it lives; it must say so within
//! `pingResponseTime`.
//!
//! At most one ping is outstanding. If WAS itself did not run for a while, the answer may lie unread
//! in the pipe: a limit that is found overdue by more than [`STALL`] begins anew instead of killing
//! a healthy worker.

use std::time::Duration;

use sim_httpsys::clockwork::Instant;

/// Assumed: a supervisor that is woken so much too late has itself been stopped.
const STALL: Duration = Duration::from_secs(1);

/// The pings of one worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Ping {
    sequence: u64,
    reply_due: Option<Instant>,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The worker lives.
    Alive,
    /// Nobody asked that.
    Untrusted,
}

/// What an expired limit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The worker hangs.
    Hangs,
    /// WAS itself was late: wait until then.
    AskAgain(Instant),
}

impl Ping {
    /// Sends a ping: its number, and when the answer is due.
    pub(super) fn send(&mut self, response_time: Duration, now: Instant) -> (u64, Instant) {
        self.sequence += 1;
        let due = now + response_time;
        self.reply_due = Some(due);
        (self.sequence, due)
    }

    /// Whether an answer is awaited.
    pub(super) fn is_outstanding(&self) -> bool {
        self.reply_due.is_some()
    }

    /// An answer has come.
    pub(super) fn reply(&mut self, sequence: u64) -> Reply {
        if self.is_outstanding() && sequence == self.sequence {
            self.reply_due = None;
            Reply::Alive
        } else {
            Reply::Untrusted
        }
    }

    /// The worker could not answer for a while: an outstanding answer is due later.
    pub(super) fn ask_again(&mut self, response_time: Duration, now: Instant) -> Option<Instant> {
        self.reply_due.as_mut().map(|due| {
            *due = now + response_time;
            *due
        })
    }

    /// No answer has come in time.
    pub(super) fn overdue(&mut self, response_time: Duration, now: Instant) -> Overdue {
        match self.reply_due {
            Some(due) if now.saturating_since(due) > STALL => {
                let due = now + response_time;
                self.reply_due = Some(due);
                Overdue::AskAgain(due)
            }
            Some(_) | None => Overdue::Hangs,
        }
    }
}
