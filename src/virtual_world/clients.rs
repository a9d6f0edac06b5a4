//! The clients: the same plan as the live load generator's, and the same rules.
//!
//! They write real HTTP/1.1 requests and read real responses. An attempt takes an idle connection of its
//! kind or opens one, and never waits for a busy one. TLS is a handshake that takes its time and can be
//! resumed; what follows is clear text. They are never late.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use sim_httpsys::api::{ConnectionId, Endpoint, Ends};
use sim_httpsys::clockwork::Instant;

use super::destinations::{Destinations, Pool};
use super::network::{ClientSide, Connection, Down, Network, ServerSide, Up};
use super::wires::Timeline;
use super::world::Event;
use crate::load::Progress;
use crate::load::book::{
    AttemptRecord, Book, BookHeader, ConnectionEnded, ConnectionKind, ConnectionRecord, TlsKind,
};
use crate::load::outcome::Outcome;
use crate::load::plan::{Plan, PlannedAttempt, Stream};
use crate::load::profile::Profile;

/// Tickets that a server hands out with each handshake, and most that a client keeps for a server.
/// Source: rustls, `ServerConfig::send_tls13_tickets` 2, `ClientSessionMemoryCache` 8 a server.
const TICKETS: (u32, u32) = (2, 8);

/// Ports of clients. Assumed: all but the reserved ones, so that one is used again late.
const PORTS: std::ops::RangeInclusive<u16> = 10_000..=65_535;

/// All clients of a run.
#[derive(Debug)]
pub(super) struct Clients {
    profile: Profile,
    seed: u64,
    plan: Plan,
    start: Instant,
    next: usize,
    stopped: bool,
    to: Destinations,
    /// By user: the session cookie for each host.
    cookies: Vec<Vec<(u32, Box<[u8]>)>>,
    attempts: Vec<AttemptRecord>,
    /// By attempt: the connection that it waits for; `None` once it has ended.
    carriers: Vec<Option<ConnectionId>>,
    connections: Vec<ConnectionRecord>,
    in_flight: usize,
    /// Attempts that may still end by their deadline: those of the load, and the probes.
    patience: [VecDeque<(Instant, usize)>; 2],
    window: Window,
    port: u16,
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
    pub(super) fn new(profile: Profile, seed: u64, plan: Plan, to: Destinations) -> Self {
        Self {
            cookies: vec![Vec::new(); profile.users as usize],
            profile,
            seed,
            plan,
            start: Instant::SWITCHED_ON,
            next: 0,
            stopped: false,
            to,
            attempts: Vec::new(),
            carriers: Vec::new(),
            connections: Vec::new(),
            in_flight: 0,
            patience: [VecDeque::new(), VecDeque::new()],
            window: Window::default(),
            port: *PORTS.start(),
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
                connection.place = Some(index);
            }
        }
        self.schedule_launch(timeline);
    }

    /// No more attempts.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn schedule_launch(&self, timeline: &mut Timeline) {
        if let Some(next) = self.plan.attempts.get(self.next) {
            timeline.at(self.start + Duration::from_nanos(next.at), Event::Launch);
        }
    }

    /// The next attempt is due.
    pub(super) fn launch(&mut self, network: &mut Network, timeline: &mut Timeline) {
        if self.stopped {
            return;
        }
        let planned = self.plan.attempts[self.next];
        self.next += 1;
        self.schedule_launch(timeline);
        let index = self.attempts.len();
        self.attempts.push(begun(&planned, timeline.now));
        self.carriers.push(None);
        self.in_flight += 1;
        self.watch_patience(&planned, index, timeline);
        let pool = self.to.pool_of(&planned);
        let idle = (!planned.one_shot)
            .then(|| self.to.pools[pool].take(planned.connection))
            .flatten();
        if let Some(id) = idle {
            self.carriers[index] = Some(id);
            return self.send_request(id, index, network, timeline);
        }
        let (kind, place) = match planned.stream {
            Stream::ProbeNew => (ConnectionKind::ProbeNew, None),
            Stream::Load if planned.one_shot => (ConnectionKind::OneShot, None),
            Stream::Load | Stream::ProbeReused => {
                let at = &mut self.to.pools[pool];
                if at.open < at.nominal {
                    at.open += 1;
                    (at.kind(), Some(pool))
                } else {
                    (ConnectionKind::Extra, None)
                }
            }
        };
        let connection = self.connect(pool, kind, network, timeline);
        connection.place = place;
        connection.attempt = Some(index);
        let id = connection.id;
        self.carriers[index] = Some(id);
    }

    fn connect<'a>(
        &mut self,
        pool: usize,
        kind: ConnectionKind,
        network: &'a mut Network,
        timeline: &mut Timeline,
    ) -> &'a mut Connection {
        let endpoint = self.to.pools[pool].endpoint;
        let ends = self.ends(endpoint);
        network.connect((endpoint, ends), (kind, pool), timeline)
    }

    fn ends(&mut self, endpoint: Endpoint) -> Ends {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let client = SocketAddr::new(loopback, self.port);
        self.port = self.port.checked_add(1).unwrap_or(*PORTS.start());
        let local = SocketAddr::new(endpoint.address.unwrap_or(loopback), endpoint.port);
        Ends { client, local }
    }

    /// What the driver sends has arrived.
    pub(super) fn received(
        &mut self,
        id: ConnectionId,
        message: Down,
        network: &mut Network,
        timeline: &mut Timeline,
    ) {
        let Some(connection) = network.find(id) else {
            return;
        };
        match (connection.client, message) {
            (ClientSide::Closed, Down::Bytes(_)) => connection.send_up(Up::Rst, timeline),
            (ClientSide::Closed, _) => {}
            (_, Down::Accepted) => self.accepted(connection, timeline),
            (_, Down::Refused) => {
                let attempt = connection.attempt.take();
                connection.client = ClientSide::Closed;
                self.give_up_place(connection.place.take());
                network.forget_if_over(id);
                if let Some(index) = attempt {
                    let detail = Some("connection refused");
                    self.finish(index, Outcome::Refused, detail, timeline.now);
                }
            }
            (_, Down::Secured { resumed }) => self.secured(connection, resumed),
            (_, Down::Bytes(bytes)) => {
                let is_whole = connection.response.take(&bytes);
                if let Some(index) = connection.attempt {
                    let record = &mut self.attempts[index];
                    record.first_byte.get_or_insert(timeline.now);
                    if is_whole {
                        self.answered(id, index, network, timeline);
                    }
                }
                return;
            }
            (_, Down::Fin) => return self.ended(id, ConnectionEnded::Fin, network, timeline),
            (_, Down::Rst) => return self.ended(id, ConnectionEnded::Rst, network, timeline),
        }
        self.if_ready(id, network, timeline);
    }

    fn accepted(&mut self, connection: &mut Connection, timeline: &mut Timeline) {
        let number = u32::try_from(self.connections.len()).unwrap_or(u32::MAX);
        connection.record = Some(number);
        connection.opened = timeline.now;
        self.connections.push(ConnectionRecord {
            number,
            kind: connection.kind,
            secure: connection.endpoint.secure,
            opened: timeline.now,
            local_port: connection.ends.client.port(),
            tls: TlsKind::None,
            requests: 0,
            closed: None,
            how: None,
            in_flight: false,
        });
        if let Some(index) = connection.attempt {
            self.attempts[index].connection = Some(number);
            self.attempts[index].local_port = Some(connection.ends.client.port());
        }
        if !connection.endpoint.secure {
            connection.client = ClientSide::Ready;
            return;
        }
        connection.client = ClientSide::Securing;
        let tickets = &mut self.to.pools[connection.pool].tickets;
        let resume = *tickets > 0;
        *tickets = tickets.saturating_sub(1);
        connection.send_up(Up::Hello { resume }, timeline);
    }

    fn secured(&mut self, connection: &mut Connection, resumed: bool) {
        connection.client = ClientSide::Ready;
        let tickets = &mut self.to.pools[connection.pool].tickets;
        *tickets = (*tickets + TICKETS.0).min(TICKETS.1);
        let tls = if resumed {
            TlsKind::Resumed
        } else {
            TlsKind::Full
        };
        if let Some(number) = connection.record {
            self.connections[number as usize].tls = tls;
        }
        if let Some(index) = connection.attempt {
            self.attempts[index].tls = tls;
        }
    }

    /// A connection that has come to be carries what it was opened for, or waits for work.
    fn if_ready(&mut self, id: ConnectionId, network: &mut Network, timeline: &mut Timeline) {
        let Some(connection) = network.find(id) else {
            return;
        };
        if connection.client != ClientSide::Ready {
            return;
        }
        match connection.attempt {
            Some(index) => self.send_request(id, index, network, timeline),
            None => self.to.pools[connection.pool].idle.push(id),
        }
    }

    fn send_request(
        &mut self,
        id: ConnectionId,
        index: usize,
        network: &mut Network,
        timeline: &mut Timeline,
    ) {
        let connection = network.find(id).expect("a connection in use is there");
        connection.attempt = Some(index);
        let planned = &self.plan.attempts[index];
        let record = &mut self.attempts[index];
        let number = connection.record.expect("it is established");
        record.connection = Some(number);
        record.local_port = Some(connection.ends.client.port());
        self.connections[number as usize].requests += 1;
        let route = &self.to.routes[planned.url as usize];
        let jar = self.cookies.get(planned.user as usize);
        let cookie = jar
            .filter(|_| planned.session)
            .and_then(|jar| jar.iter().find(|(host, _)| *host == route.host_number));
        let request = &mut connection.request;
        request.clear();
        request.extend_from_slice(&route.opening);
        // A vector takes every write.
        let _ = write!(
            request,
            "x-attempt-id: {0}\r\nuser-agent: iis-sim-load/{0}\r\n",
            record.id
        );
        if let Some((_, cookie)) = cookie {
            request.extend_from_slice(b"cookie: ");
            request.extend_from_slice(cookie);
            request.extend_from_slice(b"\r\n");
        }
        if planned.one_shot {
            request.extend_from_slice(b"connection: close\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let wants_marker = planned.stream != Stream::Load && self.profile.probes.marker.is_some();
        connection.response.begin(wants_marker);
        connection.send_up(Up::Request, timeline);
    }

    /// A whole response has arrived.
    fn answered(
        &mut self,
        id: ConnectionId,
        index: usize,
        network: &mut Network,
        timeline: &mut Timeline,
    ) {
        let Some(connection) = network.find(id) else {
            return;
        };
        let planned = self.plan.attempts[index];
        let head = connection.response.head.take().unwrap_or_default();
        let record = &mut self.attempts[index];
        record.status = Some(head.status);
        record.session = head.session;
        record.worker = head.worker;
        record.bytes = connection.response.bytes;
        let marker = self.profile.probes.marker.as_deref();
        let marker = marker.filter(|_| planned.stream != Stream::Load);
        let is_marked = marker.is_none_or(|marker| connection.response.has(marker));
        connection.attempt = None;
        if let Some(cookie) = head.cookie {
            self.keep_cookie(&planned, cookie);
        }
        let outcome = Outcome::of_status(head.status);
        let (outcome, detail) = if outcome == Outcome::Ok && !is_marked {
            (Outcome::Truncated, Some("the body has no marker"))
        } else {
            (outcome, None)
        };
        let farewell = if planned.one_shot {
            Some(ConnectionEnded::Client)
        } else if head.closes {
            Some(ConnectionEnded::Announced)
        } else if connection.kind == ConnectionKind::Extra || outcome == Outcome::Truncated {
            Some(ConnectionEnded::Client)
        } else {
            None
        };
        match farewell {
            Some(how) => self.close(id, how, false, network, timeline),
            None => self.to.pools[connection.pool].idle.push(id),
        }
        self.finish(index, outcome, detail, timeline.now);
    }

    fn keep_cookie(&mut self, planned: &PlannedAttempt, cookie: Box<[u8]>) {
        let host = self.to.routes[planned.url as usize].host_number;
        let Some(jar) = self.cookies.get_mut(planned.user as usize) else {
            return;
        };
        if !planned.session {
            return;
        }
        match jar.iter_mut().find(|(of, _)| *of == host) {
            Some((_, kept)) => *kept = cookie,
            None => jar.push((host, cookie)),
        }
    }

    /// The server has ended a connection.
    fn ended(
        &mut self,
        id: ConnectionId,
        how: ConnectionEnded,
        network: &mut Network,
        timeline: &mut Timeline,
    ) {
        let Some(connection) = network.find(id) else {
            return;
        };
        let is_established = connection.client == ClientSide::Ready;
        let Some(index) = connection.attempt else {
            return self.close(id, how, false, network, timeline);
        };
        if how == ConnectionEnded::Fin && connection.response.ends_with_stream() {
            self.answered(id, index, network, timeline);
            return self.close(id, how, false, network, timeline);
        }
        let has_begun = connection.response.head.as_ref();
        let record = &mut self.attempts[index];
        record.status = has_begun.map(|head| head.status);
        let (outcome, detail) = match (is_established, how, has_begun) {
            (false, _, _) => (Outcome::ResetIdle, "before the request"),
            (true, ConnectionEnded::Rst, _) => (Outcome::ResetInflight, "connection reset"),
            (true, _, None) => (Outcome::ResetInflight, "closed before a response"),
            (true, _, Some(_)) => {
                record.bytes = connection.response.bytes;
                (Outcome::Truncated, "closed within a response")
            }
        };
        connection.attempt = None;
        self.close(id, how, is_established, network, timeline);
        self.finish(index, outcome, Some(detail), timeline.now);
    }

    /// This end of a connection is closed; `how` says who began it.
    fn close(
        &mut self,
        id: ConnectionId,
        how: ConnectionEnded,
        in_flight: bool,
        network: &mut Network,
        timeline: &mut Timeline,
    ) {
        let Some(connection) = network.find(id) else {
            return;
        };
        if connection.client == ClientSide::Closed {
            return;
        }
        connection.client = ClientSide::Closed;
        if connection.server != ServerSide::Closed {
            connection.send_up(Up::Fin, timeline);
        }
        self.to.pools[connection.pool]
            .idle
            .retain(|idle| *idle != id);
        self.give_up_place(connection.place.take());
        if let Some(number) = connection.record {
            let record = &mut self.connections[number as usize];
            record.closed = Some(timeline.now);
            record.how = Some(how);
            record.in_flight = in_flight;
        }
        network.forget_if_over(id);
    }

    fn give_up_place(&mut self, place: Option<usize>) {
        if let Some(pool) = place {
            self.to.pools[pool].open -= 1;
        }
    }

    fn finish(&mut self, index: usize, outcome: Outcome, detail: Option<&str>, now: Instant) {
        let record = &mut self.attempts[index];
        let took = now.saturating_since(record.planned);
        record.outcome = if outcome == Outcome::Ok && took > self.profile.slow {
            Outcome::Slow
        } else {
            outcome
        };
        record.finished = now;
        record.detail = detail.map(str::to_owned);
        self.carriers[index] = None;
        self.window.done += 1;
        if record.outcome.is_success() {
            self.window.ok += 1;
        } else {
            self.window.failed += 1;
        }
        if record.stream == Stream::Load {
            self.window.latencies.push(now.0 - record.planned.0);
        }
        self.in_flight -= 1;
    }

    // --- deadlines: one pending event for each of two lines of attempts -------------------------

    fn watch_patience(&mut self, planned: &PlannedAttempt, index: usize, timeline: &mut Timeline) {
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
    pub(super) fn patience_over(
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

    // --- what is told -----------------------------------------------------------------------------

    /// How it goes, since this was asked last.
    pub(super) fn progress(&mut self, now: Instant) -> Progress {
        let window = &mut self.window;
        window.latencies.sort_unstable();
        let rank = (window.latencies.len() * 95)
            .div_ceil(100)
            .saturating_sub(1);
        let p95 = window.latencies.get(rank).map(|nanos| nanos / 1_000);
        window.latencies.clear();
        Progress {
            at: now,
            done: window.done,
            ok: window.ok,
            failed: window.failed,
            p95_us_last: p95,
            late_us: 0,
        }
    }

    /// The book of the run that ends now.
    pub(super) fn close_book(&mut self, now: Instant) -> Book {
        let mut attempts = std::mem::take(&mut self.attempts);
        for ((record, carrier), planned) in attempts
            .iter_mut()
            .zip(&self.carriers)
            .zip(&self.plan.attempts)
        {
            record
                .url
                .clone_from(&self.plan.urls[planned.url as usize].url);
            if carrier.is_some() {
                record.finished = now;
            }
        }
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let mut book = Book {
            header: BookHeader {
                seed: self.seed,
                start: self.start,
                probe_interval: nanos(self.profile.probes.interval),
                late_bound: nanos(self.profile.late_bound),
            },
            attempts,
            connections: std::mem::take(&mut self.connections),
            summary: None,
        };
        self.carriers.clear();
        self.patience = Default::default();
        let is_cut = self.next < self.plan.attempts.len();
        book.sum_up(self.plan.attempts.len() as u64, is_cut);
        book
    }
}

/// A record of an attempt that begins now, as planned.
fn begun(planned: &PlannedAttempt, now: Instant) -> AttemptRecord {
    AttemptRecord {
        id: 1 + u64::from(planned.number),
        stream: planned.stream,
        planned: now,
        sent: now,
        first_byte: None,
        finished: now,
        outcome: Outcome::Abandoned,
        status: None,
        url: String::new(),
        user: planned.user,
        session: None,
        worker: None,
        bytes: 0,
        connection: None,
        local_port: None,
        tls: TlsKind::None,
        detail: None,
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
