//! C1–C4: every request ends exactly once, in one place at a time, with its line in a log.
//!
//! C1 and Q5 are found by the book as it follows a request. Here are C2 (the numbers balance at every
//! instant), C3 (each end has its line) and the server's side of C4. C5 is the ledger's.

use std::collections::BTreeSet;

use sim_httpsys::api::{Call, ControlCall, RequestId};
use sim_httpsys::etw::Fact;
use sim_httpsys::logging::LogEntry;
use sim_httpsys::model::ReasonPhrase;

use super::book::{Book, End, Move, Place};
use super::sometimes::{Seen, Sometimes};
use super::{Verdict, broken};

/// Lines that are owed, and the numbers.
#[derive(Debug, Default)]
pub(super) struct Conservation {
    /// Ends within this input whose line in a site's log has to follow.
    w3c_owed: Vec<RequestId>,
    /// Ends within this input whose line in the error log has to follow.
    httperr_owed: Vec<ReasonPhrase>,
    /// Requests whose client has gone before their worker was done: their line comes later, in
    /// whichever log.
    zombies: BTreeSet<RequestId>,
    httperr_of_zombies: u64,
    /// A site logs nothing, or a response was not to be logged: from then on a line may be missing.
    is_logged_in_part: bool,
}

impl Conservation {
    /// The driver is told something.
    pub(super) fn called(&mut self, call: &Call) {
        self.is_logged_in_part |= match call {
            Call::SendResponse { response, .. } => response.log.is_none_or(|log| log.is_unlogged),
            Call::Control {
                call:
                    ControlCall::CreateUrlGroup { properties, .. }
                    | ControlCall::SetUrlGroupProperties { properties, .. },
                ..
            } => properties.log.is_none(),
            _ => false,
        };
    }

    pub(super) fn httpsys(&mut self, fact: &Fact, step: &Move, seen: &mut Sometimes) -> Verdict {
        if let Fact::ConnError { reason, .. } = fact {
            self.httperr_owed.push(*reason);
        }
        let Move::Ended(request, entry, end) = *step else {
            return Ok(());
        };
        match end {
            End::Answered | End::FromCache => self.w3c_owed.push(request),
            End::Refused(reason) => {
                if reason.status().is_none() {
                    let what = format!("{request:?} was refused with a page for {reason}");
                    return broken("C1", what);
                }
                self.httperr_owed.push(reason);
            }
            End::Dropped(ReasonPhrase::ConnectionDropped) => {
                match entry.place {
                    Place::Delivered(_) if entry.answered => seen.note(Seen::AbortResponding),
                    Place::Delivered(_) => seen.note(Seen::AbortDelivered),
                    Place::Parsed | Place::Queued(_) => {}
                }
                self.zombies.insert(request);
            }
            End::Dropped(reason) => {
                if reason == ReasonPhrase::ClientReset && matches!(entry.place, Place::Queued(_)) {
                    seen.note(Seen::AbortQueued);
                }
                self.httperr_owed.push(reason);
            }
        }
        Ok(())
    }

    /// A line of a log.
    pub(super) fn log(&mut self, entry: &LogEntry) -> Verdict {
        match entry {
            LogEntry::W3c(record) => {
                let request = record.request.id;
                if let Some(at) = self.w3c_owed.iter().position(|owed| *owed == request) {
                    self.w3c_owed.swap_remove(at);
                    return Ok(());
                }
                if self.zombies.remove(&request) {
                    return Ok(());
                }
                broken(
                    "C3",
                    format!("{request:?} has a line in the site's log too many"),
                )
            }
            LogEntry::HttpErr(record) => {
                let reason = record.reason;
                if let Some(at) = self.httperr_owed.iter().position(|owed| *owed == reason) {
                    self.httperr_owed.swap_remove(at);
                    return Ok(());
                }
                self.httperr_of_zombies += 1;
                if reason == ReasonPhrase::ConnectionDropped
                    && self.httperr_of_zombies <= self.zombies.len() as u64
                {
                    return Ok(());
                }
                broken(
                    "C3",
                    format!("the error log has a line too many, for {reason}"),
                )
            }
        }
    }

    /// The driver has carried out an input.
    pub(super) fn settled(&mut self, book: &Book) -> Verdict {
        if self.is_logged_in_part {
            self.w3c_owed.clear();
        }
        if let Some(request) = self.w3c_owed.first() {
            return broken("C3", format!("{request:?} has no line in its site's log"));
        }
        if let Some(reason) = self.httperr_owed.first() {
            return broken(
                "C3",
                format!("an end for {reason} has no line in the error log"),
            );
        }
        let tally = &book.tally;
        let ended = tally.responded + tally.refused + tally.dropped;
        let live = tally.parsing + tally.queued + tally.delivered;
        if tally.received != ended + live {
            return broken("C2", format!("the numbers do not balance: {tally:?}"));
        }
        Ok(())
    }

    /// Counts everything anew.
    pub(super) fn scan(book: &Book) -> Verdict {
        let mut counted = [0_u64; 3];
        for (_, request) in book.requests.iter() {
            counted[match request.place {
                Place::Parsed => 0,
                Place::Queued(_) => 1,
                Place::Delivered(_) => 2,
            }] += 1;
        }
        let tally = &book.tally;
        if counted != [tally.parsing, tally.queued, tally.delivered] {
            return broken(
                "C2",
                format!("{counted:?} were counted, and {tally:?} booked"),
            );
        }
        let of_pools = |count: fn(&super::book::Pool) -> usize| {
            book.pools
                .iter()
                .map(|pool| count(pool) as u64)
                .sum::<u64>()
        };
        let (queued, delivered) = (
            of_pools(|pool| pool.waiting_count),
            of_pools(|pool| pool.delivered_count),
        );
        if queued != tally.queued || delivered > tally.delivered {
            let what = format!("pools have {queued} + {delivered}, and {tally:?} is booked");
            return broken("C2", what);
        }
        Ok(())
    }

    /// Every zombie has found its line.
    pub(super) fn at_rest(&self) -> Verdict {
        let left =
            self.zombies.len() as u64 - self.httperr_of_zombies.min(self.zombies.len() as u64);
        if left > 0 {
            return broken(
                "C3",
                format!("{left} request(s) whose client went have no line"),
            );
        }
        Ok(())
    }
}
