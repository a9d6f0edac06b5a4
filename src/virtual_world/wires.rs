//! Wires: what is under way from one machine to another, in order, with a delay.
//!
//! A message never overtakes an earlier one of the same wire and direction. The event that announces it
//! says only which wire: the message itself waits in the wire, so that events stay small. A wire that is
//! cut loses what is under way; the events that announced it find nothing.

use std::collections::VecDeque;
use std::time::Duration;

use sim_httpsys::clockwork::Instant;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};

use super::costs::{Cost, Costs, Dice};
use super::event_queue::EventQueue;
use super::world::Event;

/// One direction between two machines.
#[derive(Debug)]
pub(super) struct Wire<T> {
    /// The oldest message, unless it has arrived and later ones have not: mostly the only one, so that
    /// wires need no room elsewhere.
    first: Option<T>,
    /// Later messages, once there were any: most wires never have two at once.
    #[expect(
        clippy::box_collection,
        reason = "an empty one is a quarter of its size, and there are very many"
    )]
    rest: Option<Box<VecDeque<T>>>,
    last: Instant,
}

impl<T> Default for Wire<T> {
    fn default() -> Self {
        Self {
            first: None,
            rest: None,
            last: Instant::SWITCHED_ON,
        }
    }
}

impl<T> Wire<T> {
    /// Puts a message on its way, to arrive `delay` from now or with the one before it.
    pub(super) fn send(
        &mut self,
        message: T,
        delay: Duration,
        announcement: Event,
        timeline: &mut Timeline,
    ) {
        self.last = self.last.max(timeline.now + delay);
        if mutated(Mutant::WireReorders) && self.len() == 1 {
            let before = self.first.replace(message);
            self.rest.get_or_insert_default().extend(before);
        } else if self.is_empty() {
            self.first = Some(message);
        } else {
            self.rest.get_or_insert_default().push_back(message);
        }
        timeline.at(self.last, announcement);
    }

    /// When the last message that was sent arrives, or has arrived.
    pub(super) fn arrives(&self) -> Instant {
        self.last
    }

    /// What has arrived.
    pub(super) fn take(&mut self) -> Option<T> {
        self.first
            .take()
            .or_else(|| self.rest.as_mut()?.pop_front())
    }

    /// Forgets everything but its room.
    pub(super) fn clear(&mut self) {
        self.cut();
        self.last = Instant::SWITCHED_ON;
    }

    /// Whether it can be cleared, and nobody would notice.
    pub(super) fn is_at_rest(&self, now: Instant) -> bool {
        self.is_empty() && self.last <= now
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.as_ref().is_none_or(|rest| rest.is_empty())
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    /// Loses what is under way.
    pub(super) fn cut(&mut self) {
        self.first = None;
        if let Some(rest) = &mut self.rest {
            rest.clear();
        }
    }
}

/// The time, what will happen, and what things cost.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) now: Instant,
    /// Events that have happened.
    pub(super) events: u64,
    queue: EventQueue<Event>,
    dice: Dice,
    /// Whether handlers keep every core busy. Set by the cores.
    pub(super) is_contended: bool,
    /// What others have computed meanwhile: the next turn of a handler lasts so much longer.
    pub(super) stolen: Duration,
}

impl Timeline {
    pub(super) fn new(costs: &Costs, seed: u64) -> Self {
        Self {
            now: Instant::SWITCHED_ON,
            events: 0,
            queue: EventQueue::new(),
            dice: Dice::new(costs, seed),
            is_contended: false,
            stolen: Duration::ZERO,
        }
    }

    /// Takes the next event; its moment is now.
    pub(super) fn next(&mut self) -> Option<Event> {
        let (at, event) = self.queue.pop()?;
        debug_assert!(at >= self.now, "time went back");
        self.now = at;
        self.events += 1;
        Some(event)
    }

    /// Lets something happen at a moment; at once if that has passed.
    pub(super) fn at(&mut self, at: Instant, event: Event) {
        self.queue.push(at.max(self.now), event);
    }

    /// Lets something happen after a while.
    pub(super) fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    /// Somebody else computes for so long.
    pub(super) fn steal(&mut self, cpu: Duration) {
        if self.is_contended {
            self.stolen += cpu;
        }
    }

    /// Which of so many cores that are equally good gets a thread.
    pub(super) fn place(&mut self, cores: usize) -> usize {
        self.dice.place(cores)
    }

    pub(super) fn draw(&mut self, cost: Cost) -> Duration {
        let took = self.dice.draw(cost);
        if self.is_contended {
            self.stolen += self.dice.cpu(cost, took);
        }
        took
    }
}

/// One pending wake-up of a machine: moved earlier by another event, moved later when it comes up.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Instant>);

impl Alarm {
    /// Sees to it that `event` happens when the machine wants to be woken.
    pub(super) fn set(&mut self, due: Option<Instant>, event: Event, timeline: &mut Timeline) {
        let Some(due) = due else { return };
        let due = due.max(timeline.now);
        if self.0.is_none_or(|armed| due < armed) {
            self.0 = Some(due);
            timeline.at(due, event);
        }
    }

    /// Whether this is the wake-up that was set last, and not one that was replaced by an earlier one.
    pub(super) fn is_it(&mut self, now: Instant) -> bool {
        let it = self.0 == Some(now);
        if it {
            self.0 = None;
        }
        it
    }
}
