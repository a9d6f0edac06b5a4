//! Deadlines of attempts: one pending event for each of two lines of them.

use std::collections::VecDeque;

use sim_httpsys::clockwork::Instant;

use super::Clients;
use super::in_flight::Slot;
use crate::load::book::ConnectionEnded;
use crate::load::outcome::Outcome;
use crate::load::plan::{PlannedAttempt, Stream};
use crate::virtual_world::network::{ClientSide, Network};
use crate::virtual_world::wires::Timeline;
use crate::virtual_world::world::Event;

/// A line of attempts with one deadline, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Patience {
    line: VecDeque<(Instant, Slot, u32)>,
    /// An event is pending, for the first of the line or one before it.
    armed: bool,
}

impl Clients {
    pub(super) fn watch_patience(
        &mut self,
        planned: &PlannedAttempt,
        slot: Slot,
        timeline: &mut Timeline,
    ) {
        let probe = planned.stream != Stream::Load;
        let allowed = if probe {
            self.profile.probes.deadline
        } else {
            self.profile.deadline
        };
        let due = timeline.now + allowed;
        let Patience { line, armed } = &mut self.patience[usize::from(probe)];
        // Most have ended long before: the line is no longer than what is in flight.
        while line
            .pop_front_if(|(_, slot, number)| self.attempts.find(*slot, *number).is_none())
            .is_some()
        {}
        line.push_back((due, slot, planned.number));
        if !*armed {
            *armed = true;
            timeline.at(due, Event::PatienceOver { probe });
        }
    }

    /// The oldest attempts may have waited for too long.
    pub(in crate::virtual_world) fn patience_over(
        &mut self,
        probe: bool,
        network: &mut Network,
        timeline: &mut Timeline,
    ) {
        let class = usize::from(probe);
        self.patience[class].armed = false;
        while let Some(&(due, slot, number)) = self.patience[class].line.front() {
            let attempt = self.attempts.find(slot, number);
            let carrier = attempt.and_then(|attempt| attempt.carrier);
            if carrier.is_some() && due > timeline.now {
                self.patience[class].armed = true;
                return timeline.at(due, Event::PatienceOver { probe });
            }
            self.patience[class].line.pop_front();
            if let Some(id) = carrier {
                let connection = network.find(id);
                let is_busy = connection.is_some_and(|connection| {
                    connection.attempt = None;
                    connection.client == ClientSide::Ready
                });
                self.close(id, ConnectionEnded::Client, is_busy, network, timeline);
                self.finish(slot, Outcome::Timeout, None, timeline.now);
            }
        }
    }
}
