//! Attempts that have begun and not ended: slots that are used again.

use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

use sim_httpsys::api::ConnectionId;
use sim_httpsys::clockwork::Instant;

use crate::load::book::{AttemptRecord, SessionSeen, TlsKind};
use crate::load::outcome::Outcome;
use crate::load::plan::PlannedAttempt;

/// Attempts of one chunk. A power of two, so that finding one takes no division.
const CHUNK: usize = 64;

/// Which attempt, as long as it has not ended; counted from one, so that having none takes no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::virtual_world) struct Slot(NonZeroU32);

impl Slot {
    /// That of the attempt behind so many others; `None` beyond what can be counted.
    fn behind(others: usize) -> Option<Self> {
        let number = u32::try_from(others).ok()?.checked_add(1)?;
        NonZeroU32::new(number).map(Self)
    }

    /// Its chunk, and its place in that.
    #[inline]
    fn place(self) -> (usize, usize) {
        let place = self.0.get() as usize - 1;
        (place / CHUNK, place % CHUNK)
    }
}

/// An attempt, and what is known of it so far.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) planned: PlannedAttempt,
    pub(super) began: Instant,
    /// The connection that it waits for.
    pub(super) carrier: Option<ConnectionId>,
    pub(super) first_byte: Option<Instant>,
    pub(super) bytes: u64,
    /// The number of its connection.
    pub(super) connection: Option<u32>,
    pub(super) worker: Option<u32>,
    pub(super) status: Option<u16>,
    pub(super) session: Option<SessionSeen>,
    pub(super) tls: TlsKind,
}

impl Attempt {
    /// Its id: its number in the plan, counted from one.
    pub(super) fn id(&self) -> u64 {
        1 + u64::from(self.planned.number)
    }

    /// What is written down of it when it ends. The book itself knows its URL.
    pub(super) fn record(
        &self,
        outcome: Outcome,
        detail: Option<&str>,
        finished: Instant,
    ) -> AttemptRecord {
        AttemptRecord {
            id: self.id(),
            stream: self.planned.stream,
            planned: self.began,
            sent: self.began,
            first_byte: self.first_byte,
            finished,
            outcome,
            status: self.status,
            url: String::new(),
            user: self.planned.user,
            keeps_session: self.planned.session,
            session: self.session,
            worker: self.worker,
            bytes: self.bytes,
            connection: self.connection,
            tls: self.tls,
            detail: detail.map(str::to_owned),
        }
    }
}

/// All attempts in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// In chunks that are never moved, so that growing copies nothing and wastes at most a chunk.
    chunks: Vec<Box<[Option<Attempt>; CHUNK]>>,
    /// Slots that were ever used.
    used: usize,
    free: Vec<Slot>,
    begun: usize,
}

impl InFlight {
    /// An attempt of the plan begins.
    pub(super) fn begin(&mut self, planned: PlannedAttempt, now: Instant) -> Slot {
        self.begun += 1;
        self.begin_again(planned, now)
    }

    /// An attempt begins that is in no plan.
    pub(super) fn begin_again(&mut self, planned: PlannedAttempt, now: Instant) -> Slot {
        let attempt = Some(Attempt {
            planned,
            began: now,
            carrier: None,
            first_byte: None,
            bytes: 0,
            connection: None,
            worker: None,
            status: None,
            session: None,
            tls: TlsKind::None,
        });
        let slot = self.free.pop().unwrap_or_else(|| self.grow());
        *self.place(slot) = attempt;
        slot
    }

    /// An attempt ends.
    pub(super) fn end(&mut self, slot: Slot) {
        self.free.push(slot);
        let attempt = self.place(slot);
        debug_assert!(attempt.is_some(), "an attempt ends once");
        *attempt = None;
    }

    /// The attempt with that number, if it is (still) in that slot.
    pub(super) fn find(&self, slot: Slot, number: u32) -> Option<&Attempt> {
        let (chunk, place) = slot.place();
        let attempt = self.chunks.get(chunk)?[place].as_ref();
        attempt.filter(|attempt| attempt.planned.number == number)
    }

    /// Attempts of the plan that have begun, whether they have ended or not.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    pub(super) fn len(&self) -> usize {
        self.used - self.free.len()
    }

    /// Ends all of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Attempt> {
        self.free.clear();
        self.used = 0;
        self.chunks.drain(..).flat_map(|chunk| *chunk).flatten()
    }

    fn place(&mut self, slot: Slot) -> &mut Option<Attempt> {
        let (chunk, place) = slot.place();
        &mut self.chunks[chunk][place]
    }

    /// A slot that was never used.
    fn grow(&mut self) -> Slot {
        if self.used == self.chunks.len() * CHUNK {
            self.chunks.push(Box::new([const { None }; CHUNK]));
        }
        self.used += 1;
        Slot::behind(self.used - 1).expect("fewer attempts are in flight than slots can be")
    }
}

impl Index<Slot> for InFlight {
    type Output = Attempt;

    fn index(&self, slot: Slot) -> &Attempt {
        let (chunk, place) = slot.place();
        let attempt = self.chunks[chunk][place].as_ref();
        attempt.expect("a slot is known only while its attempt is in flight")
    }
}

impl IndexMut<Slot> for InFlight {
    fn index_mut(&mut self, slot: Slot) -> &mut Attempt {
        let attempt = self.place(slot).as_mut();
        attempt.expect("a slot is known only while its attempt is in flight")
    }
}
