//! What clients do to a server: they go away at any moment, say that they have nothing more to say, send
//! by the drop, read late. One number for each attempt decides, from a stream of its own.

use std::time::Duration;

use sim_httpsys::api::ConnectionId;

use super::Clients;
use crate::load::book::ConnectionEnded;
use crate::load::outcome::Outcome;
use crate::virtual_world::faults::Faults;
use crate::virtual_world::network::{ClientSide, Network, Up};
use crate::virtual_world::random::{Random, times};
use crate::virtual_world::wires::Timeline;
use crate::virtual_world::world::Event;

/// How long after it was sent a client that reads late takes a response at most.
pub(in crate::virtual_world) const SLOW_READ_MAX: Duration = Duration::from_secs(20);

/// What a client does with one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whim {
    /// It closes its connection instead of sending its request.
    HangUp,
    /// It resets its connection within its request.
    AbortWithin,
    /// It resets its connection so long after its request.
    AbortAfter(Duration),
    /// It reads late, and resets its connection with the first byte.
    AbortReading,
    /// It sends FIN behind its request.
    HalfClose,
    /// It sends its request in pieces, with such pauses.
    Trickle(Duration),
    /// It takes its response so much later.
    SlowRead(Duration),
}

/// The moods of all clients.
#[derive(Debug)]
pub(super) struct Mischief {
    faults: Faults,
    random: Random,
    resends: Random,
    is_quiet: bool,
}

impl Mischief {
    pub(super) fn new(faults: &Faults, seed: u64) -> Self {
        let within = faults.client_abort + faults.half_close + faults.trickle + faults.slow_read;
        let chances = within + faults.resend;
        Self {
            faults: faults.clone(),
            random: Random::stream(seed, "faults of clients"),
            resends: Random::stream(seed, "clients that ask once more"),
            is_quiet: chances == 0.0,
        }
    }

    fn draw(&mut self) -> Option<Whim> {
        if self.is_quiet {
            return None;
        }
        let (draw, kind, part) = (self.random.unit(), self.random.below(4), self.random.unit());
        let faults = &self.faults;
        let mut upto = faults.client_abort;
        if draw < upto {
            // Soon enough to find the request on its way, or late enough to find it answered.
            let longest = [1_000_000, 100_000_000, 6_000_000_000];
            return Some(match kind {
                0 if part < 0.25 => Whim::HangUp,
                0 => Whim::AbortWithin,
                1 => Whim::AbortReading,
                _later => {
                    let index = usize::try_from(self.random.below(3)).unwrap_or(0);
                    Whim::AbortAfter(times(Duration::from_nanos(longest[index]), part))
                }
            });
        }
        upto += faults.half_close;
        if draw < upto {
            return Some(Whim::HalfClose);
        }
        upto += faults.trickle;
        if draw < upto {
            return Some(Whim::Trickle(times(Duration::from_secs(2), part)));
        }
        upto += faults.slow_read;
        let millis = Duration::from_millis;
        let latest = [millis(200), millis(2_000), SLOW_READ_MAX, millis(1)];
        let latest = latest[usize::try_from(kind).unwrap_or(0)];
        (draw < upto).then(|| Whim::SlowRead(times(latest, part)))
    }
}

impl Clients {
    /// The server has broken off: whether the client asks once more.
    pub(super) fn wants_to_resend(&mut self) -> bool {
        let mischief = self.mischief.as_mut().filter(|mischief| !mischief.is_quiet);
        mischief.is_some_and(|mischief| mischief.resends.chance(mischief.faults.resend))
    }

    /// From now on clients make this mischief.
    pub(in crate::virtual_world) fn misbehave(&mut self, faults: &Faults, seed: u64) {
        self.mischief = Some(Mischief::new(faults, seed));
    }

    /// No more of it.
    pub(in crate::virtual_world) fn behave(&mut self) {
        if let Some(mischief) = &mut self.mischief {
            mischief.is_quiet = true;
        }
    }

    /// Sends the request of a connection and a body of so many bytes, in the way that its client likes.
    pub(super) fn send_as_liked(
        &mut self,
        id: ConnectionId,
        body: u32,
        network: &mut Network,
        timeline: &mut Timeline,
    ) {
        let whim = self.mischief.as_mut().and_then(Mischief::draw);
        let Some(connection) = network.find(id) else {
            return;
        };
        let traffic = connection.traffic();
        let length = traffic.request.len();
        traffic.slow_read = match whim {
            Some(Whim::SlowRead(late)) => late,
            Some(Whim::AbortReading) => Duration::from_secs(1),
            Some(
                Whim::HangUp
                | Whim::AbortWithin
                | Whim::AbortAfter(_)
                | Whim::HalfClose
                | Whim::Trickle(_),
            )
            | None => Duration::ZERO,
        };
        traffic.gives_up_at = None;
        traffic.gives_up_reading = whim == Some(Whim::AbortReading);
        match whim {
            None | Some(Whim::SlowRead(_) | Whim::AbortReading) => {
                connection.send_up(Up::Request, timeline);
                connection.send_body(body, timeline);
            }
            Some(Whim::HangUp) => {
                if let Some(slot) = connection.attempt.take() {
                    self.close(id, ConnectionEnded::Client, false, network, timeline);
                    let detail = Some("given up by its client");
                    self.finish(slot, Outcome::Abandoned, detail, timeline.now);
                }
            }
            Some(Whim::AbortWithin) if body > 0 => {
                connection.send_up(Up::Request, timeline);
                connection.send_body(body / 2, timeline);
                self.give_up(id, network, timeline);
            }
            Some(Whim::AbortWithin) => {
                connection.send_up(Up::Part(0, length / 2), timeline);
                self.give_up(id, network, timeline);
            }
            Some(Whim::AbortAfter(wait)) => {
                connection.send_up(Up::Request, timeline);
                connection.send_body(body, timeline);
                connection.traffic().gives_up_at = Some(timeline.now + wait);
                timeline.after(wait, Event::GiveUp(id));
            }
            Some(Whim::HalfClose) => {
                connection.send_up(Up::Request, timeline);
                connection.send_body(body, timeline);
                connection.send_up(Up::Fin, timeline);
                connection.has_sent_fin = true;
            }
            Some(Whim::Trickle(pause)) => {
                for piece in 0..4 {
                    let part = Up::Part(piece * length / 4, (piece + 1) * length / 4);
                    connection.send_up_later(part, pause, timeline);
                }
                for part in [body / 3, body / 3, body - 2 * (body / 3)] {
                    if part > 0 {
                        connection.send_up_later(Up::Body(part), pause, timeline);
                    }
                }
            }
        }
    }

    /// A client has had enough of an attempt, if it is still the one that it was tired of.
    pub(in crate::virtual_world) fn give_up_in_time(
        &mut self,
        id: ConnectionId,
        network: &mut Network,
        timeline: &mut Timeline,
    ) {
        let is_due = |at: Option<_>| at == Some(timeline.now);
        if network.find(id).is_some_and(|c| is_due(c.gives_up_at())) {
            self.give_up(id, network, timeline);
        }
    }

    /// A client gives an attempt up, and resets its connection.
    pub(super) fn give_up(
        &mut self,
        id: ConnectionId,
        network: &mut Network,
        timeline: &mut Timeline,
    ) {
        let Some(connection) = network.find(id) else {
            return;
        };
        if connection.client != ClientSide::Ready {
            return;
        }
        let Some(slot) = connection.attempt.take() else {
            return;
        };
        connection.has_sent_fin = true;
        connection.send_up(Up::Rst, timeline);
        self.close(id, ConnectionEnded::Client, true, network, timeline);
        let detail = Some("given up by its client");
        self.finish(slot, Outcome::Abandoned, detail, timeline.now);
    }
}
