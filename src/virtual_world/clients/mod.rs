//! The clients: the same plan as the live load generator's, and the same rules.
//!
//! They write real HTTP/1.1 requests and read real responses. An attempt takes an idle connection of its
//! kind or opens one, and never waits for a busy one. TLS is a handshake that takes its time and can be
//! resumed; what follows is clear text. They are never late.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use sim_httpsys::api::{ConnectionId, Endpoint, Ends};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::remembered::Remembered;

use super::destinations::{Destinations, Pool};
use super::network::{Connection, Network};
use super::response::Head;
use super::wires::Timeline;
use super::world::Event;
use crate::load::book::{AttemptRecord, ConnectionKind, ConnectionRecord};
use crate::load::plan::{Attempts, Plan, PlannedAttempt, Stream};
use crate::load::profile::Profile;

mod exchange;
mod in_flight;
mod mischief;
mod patience;
mod record;

use in_flight::InFlight;
pub(super) use in_flight::Slot;
use mischief::Mischief;
pub(super) use mischief::SLOW_READ_MAX;
use patience::Patience;

/// Tickets that a server hands out with each handshake, and most that a client keeps for a server.
/// Source: rustls, `ServerConfig::send_tls13_tickets` 2, `ClientSessionMemoryCache` 8 a server.
const TICKETS: (u32, u32) = (2, 8);

/// Ports of clients. Assumed: all but the reserved ones, so that one is used again late.
const PORTS: std::ops::RangeInclusive<u16> = 10_000..=65_535;

/// Attempts that are made once more have numbers from here on.
const RESENT: u32 = 1 << 31;

/// All clients of a run.
#[derive(Debug)]
pub(super) struct Clients {
    profile: Profile,
    seed: u64,
    load: Load,
    /// The attempt that is due next.
    next: Option<PlannedAttempt>,
    start: Instant,
    stopped: bool,
    to: Destinations,
    /// By user: the session cookie for each host.
    cookies: Vec<Vec<(u32, Box<[u8]>)>>,
    attempts: InFlight,
    /// What has ended; nothing is written down if there is none.
    book: Option<Notes>,
    done: u64,
    /// Connections that were established.
    connected: u32,
    /// Attempts that may still end by their deadline: those of the load, and the probes.
    patience: [Patience; 2],
    window: Window,
    mischief: Option<Mischief>,
    port: u16,
    /// Heads of responses that were read before.
    known_heads: Remembered<Rc<Head>>,
}

/// What is to be attempted.
#[derive(Debug)]
pub(super) enum Load {
    /// All of a plan.
    Plan(Plan),
    /// Whatever comes, for ever; nothing is written down of it.
    Endless(Box<Attempts>),
}

/// Attempts and connections that have ended, and those connections that are still there.
#[derive(Debug, Default)]
struct Notes {
    attempts: Vec<(u32, AttemptRecord)>,
    connections: Vec<ConnectionRecord>,
}

/// What has happened since progress was told.
#[derive(Debug, Default)]
struct Window {
    done: u64,
    ok: u64,
    failed: u64,
    latencies: Vec<u64>,
}

impl Clients {
    pub(super) fn new(profile: Profile, seed: u64, load: Load, to: Destinations) -> Self {
        Self {
            cookies: vec![Vec::new(); profile.users as usize],
            profile,
            seed,
            book: matches!(load, Load::Plan(_)).then(Notes::default),
            load,
            next: None,
            start: Instant::SWITCHED_ON,
            stopped: false,
            to,
            attempts: InFlight::default(),
            done: 0,
            connected: 0,
            patience: Default::default(),
            window: Window::default(),
            mischief: None,
            port: *PORTS.start(),
            known_heads: Remembered::default(),
        }
    }

    /// Opens the kept-alive connections now, and begins the plan at `start`.
    pub(super) fn go(&mut self, start: Instant, network: &mut Network, timeline: &mut Timeline) {
        self.start = start;
        for index in 0..self.to.pools.len() {
            for _ in 0..self.to.pools[index].nominal {
                let kind = self.to.pools[index].kind();
                self.to.pools[index].open += 1;
                let connection = self.connect(index, kind, network, timeline);
                connection.has_place = true;
            }
        }
        self.schedule_launch(timeline);
    }

    /// No more attempts.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(super) fn in_flight(&self) -> usize {
        self.attempts.len()
    }

    /// Attempts that have ended.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    fn schedule_launch(&mut self, timeline: &mut Timeline) {
        self.next = match &mut self.load {
            Load::Plan(plan) => plan.attempts.get(self.attempts.begun()).copied(),
            Load::Endless(attempts) => attempts.next(),
        };
        if let Some(next) = self.next {
            timeline.at(self.start + Duration::from_nanos(next.at), Event::Launch);
        }
    }

    /// The next attempt is due.
    pub(super) fn launch(&mut self, network: &mut Network, timeline: &mut Timeline) {
        let Some(planned) = self.next.filter(|_| !self.stopped) else {
            return;
        };
        let slot = self.attempts.begin(planned, timeline.now);
        self.schedule_launch(timeline);
        self.carry(planned, slot, network, timeline);
    }

    /// A client asks once more for what it did not get. Nobody does so twice.
    fn resend(&mut self, lost: &PlannedAttempt, network: &mut Network, timeline: &mut Timeline) {
        let Some(number) = lost.number.checked_add(RESENT) else {
            return;
        };
        let planned = PlannedAttempt { number, ..*lost };
        let slot = self.attempts.begin_again(planned, timeline.now);
        self.carry(planned, slot, network, timeline);
    }

    /// Finds a connection for an attempt, or opens one.
    fn carry(
        &mut self,
        planned: PlannedAttempt,
        slot: Slot,
        network: &mut Network,
        timeline: &mut Timeline,
    ) {
        self.watch_patience(&planned, slot, timeline);
        let pool = self.to.pool_of(&planned);
        let idle = (!planned.one_shot)
            .then(|| self.to.pools[pool].take(planned.connection))
            .flatten();
        if let Some(id) = idle {
            self.attempts[slot].carrier = Some(id);
            return self.send_request(id, slot, network, timeline);
        }
        let (kind, has_place) = match planned.stream {
            Stream::ProbeNew => (ConnectionKind::ProbeNew, false),
            Stream::Load if planned.one_shot => (ConnectionKind::OneShot, false),
            Stream::Load | Stream::ProbeReused => {
                let at = &mut self.to.pools[pool];
                if at.open < at.nominal {
                    at.open += 1;
                    (at.kind(), true)
                } else {
                    (ConnectionKind::Extra, false)
                }
            }
        };
        let connection = self.connect(pool, kind, network, timeline);
        connection.has_place = has_place;
        connection.attempt = Some(slot);
        let id = connection.id;
        self.attempts[slot].carrier = Some(id);
    }

    fn connect<'a>(
        &mut self,
        pool: usize,
        kind: ConnectionKind,
        network: &'a mut Network,
        timeline: &mut Timeline,
    ) -> &'a mut Connection {
        let port = self.port;
        self.port = port.checked_add(1).unwrap_or(*PORTS.start());
        let pool = u32::try_from(pool).expect("fewer pools than numbers for them");
        network.connect(port, (kind, pool), timeline)
    }

    /// Where a connection of a pool leads from that port, and its ends.
    pub(super) fn ends(&self, pool: u32, port: u16) -> (Endpoint, Ends) {
        let endpoint = self.to.pools[pool as usize].endpoint;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let ends = Ends {
            client: SocketAddr::new(loopback, port),
            local: SocketAddr::new(endpoint.address.unwrap_or(loopback), endpoint.port),
        };
        (endpoint, ends)
    }
}

impl Pool {
    /// An idle connection: the one that the plan would like, so that work is spread over all.
    fn take(&mut self, wish: u32) -> Option<ConnectionId> {
        let count = self.idle.len();
        (count > 0).then(|| self.idle.swap_remove(wish as usize % count))
    }

    fn kind(&self) -> ConnectionKind {
        if self.is_for_probes {
            ConnectionKind::ProbeReused
        } else {
            ConnectionKind::KeepAlive
        }
    }
}
