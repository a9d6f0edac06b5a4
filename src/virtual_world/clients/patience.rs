//! Deadlines of attempts: one pending event for each of two lines of them.

use super::Clients;
use crate::load::book::ConnectionEnded;
use crate::load::outcome::Outcome;
use crate::load::plan::{PlannedAttempt, Stream};
use crate::virtual_world::network::{ClientSide, Network};
use crate::virtual_world::wires::Timeline;
use crate::virtual_world::world::Event;

impl Clients {
    pub(super) fn watch_patience(
        &mut self,
        planned: &PlannedAttempt,
        index: usize,
        timeline: &mut Timeline,
    ) {
        let probe = planned.stream != Stream::Load;
        let allowed = if probe {
            self.profile.probes.deadline
        } else {
            self.profile.deadline
        };
        let due = timeline.now + allowed;
        let line = &mut self.patience[usize::from(probe)];
        line.push_back((due, index));
        if line.len() == 1 {
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
        while let Some(&(due, index)) = self.patience[class].front() {
            let carrier = self.carriers[index];
            if carrier.is_some() && due > timeline.now {
                return timeline.at(due, Event::PatienceOver { probe });
            }
            self.patience[class].pop_front();
            if let Some(id) = carrier {
                let connection = network.find(id);
                let is_busy = connection.is_some_and(|connection| {
                    connection.attempt = None;
                    connection.client == ClientSide::Ready
                });
                self.close(id, ConnectionEnded::Client, is_busy, network, timeline);
                self.finish(index, Outcome::Timeout, None, timeline.now);
            }
        }
    }
}
