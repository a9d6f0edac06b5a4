//! Attempts that have begun and not ended: slots that are used again.

use std::ops::{Index, IndexMut};

use sim_httpsys::api::ConnectionId;

use crate::load::book::AttemptRecord;
use crate::load::plan::PlannedAttempt;

/// Which attempt, as long as it has not ended.
pub(in crate::virtual_world) type Slot = u32;

/// An attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) planned: PlannedAttempt,
    pub(super) record: AttemptRecord,
    /// The connection that it waits for.
    pub(super) carrier: Option<ConnectionId>,
}

/// All attempts in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    slots: Vec<Option<Attempt>>,
    free: Vec<Slot>,
    begun: usize,
}

impl InFlight {
    /// An attempt of the plan begins.
    pub(super) fn begin(&mut self, planned: PlannedAttempt, record: AttemptRecord) -> Slot {
        self.begun += 1;
        self.begin_again(planned, record)
    }

    /// An attempt begins that is in no plan.
    pub(super) fn begin_again(&mut self, planned: PlannedAttempt, record: AttemptRecord) -> Slot {
        let attempt = Some(Attempt {
            planned,
            record,
            carrier: None,
        });
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = attempt;
            return slot;
        }
        self.slots.push(attempt);
        Slot::try_from(self.slots.len() - 1)
            .expect("fewer attempts are in flight than slots can be")
    }

    /// An attempt ends.
    pub(super) fn end(&mut self, slot: Slot) -> Attempt {
        let attempt = self.slots[slot as usize].take();
        self.free.push(slot);
        attempt.expect("an attempt ends once")
    }

    /// The attempt with that number, if it is (still) in that slot.
    pub(super) fn find(&self, slot: Slot, number: u32) -> Option<&Attempt> {
        let attempt = self.slots.get(slot as usize)?.as_ref();
        attempt.filter(|attempt| attempt.planned.number == number)
    }

    /// Attempts of the plan that have begun, whether they have ended or not.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Ends all of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Attempt> {
        self.free.clear();
        self.slots.drain(..).flatten()
    }
}

impl Index<Slot> for InFlight {
    type Output = Attempt;

    fn index(&self, slot: Slot) -> &Attempt {
        let attempt = self.slots[slot as usize].as_ref();
        attempt.expect("a slot is known only while its attempt is in flight")
    }
}

impl IndexMut<Slot> for InFlight {
    fn index_mut(&mut self, slot: Slot) -> &mut Attempt {
        let attempt = self.slots[slot as usize].as_mut();
        attempt.expect("a slot is known only while its attempt is in flight")
    }
}
