//! One connection after another: what arrives on it, what is sent on it, how it ends.

use std::time::Duration;

use sim_httpsys::api::{ConnectionId, Endpoint};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::runs;

use super::in_flight::Slot;
use super::{Clients, TICKETS};
use crate::load::book::{ConnectionEnded, ConnectionKind, ConnectionRecord, TlsKind};
use crate::load::outcome::{NO_MARKER, Outcome};
use crate::load::plan::{PlannedAttempt, Stream};
use crate::virtual_world::network::{ClientSide, Connection, Down, Network, ServerSide, Up};
use crate::virtual_world::wires::Timeline;

impl Clients {
    /// What the driver sends has arrived.
    pub(in crate::virtual_world) fn received(
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
                self.give_up_place(connection);
                network.forget_if_over(id);
                if let Some(index) = attempt {
                    let detail = Some("connection refused");
                    self.finish(index, Outcome::Refused, detail, timeline.now);
                }
            }
            (_, Down::Secured { resumed }) => self.secured(connection, resumed),
            (_, Down::Bytes(bytes)) => {
                let attempt = connection.attempt;
                let traffic = connection.traffic();
                let is_whole = traffic.response.take(&bytes, &mut self.known_heads);
                if let Some(index) = attempt {
                    if traffic.gives_up_reading {
                        return self.give_up(id, network, timeline);
                    }
                    let attempt = &mut self.attempts[index];
                    attempt.first_byte.get_or_insert(timeline.now);
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
        let number = self.connected;
        self.connected = self.connected.wrapping_add(1);
        connection.record = Some(number);
        let (Endpoint { secure, .. }, ends) = self.ends(connection.pool, connection.port);
        if let Some(notes) = &mut self.book {
            notes.connections.push(ConnectionRecord {
                number,
                kind: connection.kind,
                secure,
                opened: timeline.now,
                local_port: connection.port,
                server: ends.local,
                tls: TlsKind::None,
                requests: 0,
                closed: None,
                how: None,
                in_flight: false,
            });
        }
        if let Some(slot) = connection.attempt {
            let attempt = &mut self.attempts[slot];
            attempt.connection = Some(number);
        }
        if !secure {
            connection.client = ClientSide::Ready;
            return;
        }
        connection.client = ClientSide::Securing;
        let tickets = &mut self.to.pools[connection.pool as usize].tickets;
        let resume = *tickets > 0;
        *tickets = tickets.saturating_sub(1);
        connection.send_up(Up::Hello { resume }, timeline);
    }

    fn secured(&mut self, connection: &mut Connection, resumed: bool) {
        connection.client = ClientSide::Ready;
        let tickets = &mut self.to.pools[connection.pool as usize].tickets;
        *tickets = (*tickets + TICKETS.0).min(TICKETS.1);
        let tls = if resumed {
            TlsKind::Resumed
        } else {
            TlsKind::Full
        };
        if let Some(record) = self.note_of(connection.record) {
            record.tls = tls;
        }
        if let Some(slot) = connection.attempt {
            self.attempts[slot].tls = tls;
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
            None => self.to.pools[connection.pool as usize].idle.push(id),
        }
    }

    pub(super) fn send_request(
        &mut self,
        id: ConnectionId,
        index: Slot,
        network: &mut Network,
        timeline: &mut Timeline,
    ) {
        let mut request = network.texts.pop().unwrap_or_default();
        let connection = network
            .find_for_traffic(id)
            .expect("a connection in use is there");
        if let Some(record) = self.note_of(connection.record) {
            record.requests += 1;
        }
        let attempt = &mut self.attempts[index];
        attempt.connection = connection.record;
        let planned = &attempt.planned;
        let route = &self.to.routes[planned.url as usize];
        let jar = self.cookies.get(planned.user as usize);
        let cookie = jar
            .filter(|_| planned.session)
            .and_then(|jar| jar.iter().find(|(host, _)| *host == route.host_number));
        request.clear();
        request.extend_from_slice(&route.opening);
        let number = request.len();
        runs::decimal(attempt.id(), |digits| request.extend_from_slice(digits));
        let number = number..request.len();
        request.extend_from_slice(b"\r\nuser-agent: iis-sim-load/");
        request.extend_from_within(number);
        request.extend_from_slice(b"\r\n");
        if let Some((_, cookie)) = cookie {
            request.extend_from_slice(b"cookie: ");
            request.extend_from_slice(cookie);
            request.extend_from_slice(b"\r\n");
        }
        if planned.one_shot {
            request.extend_from_slice(b"connection: close\r\n");
        }
        let body = route.body;
        if body > 0 {
            request.extend_from_slice(b"content-length: ");
            runs::decimal(body.into(), |digits| request.extend_from_slice(digits));
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let wants_marker = planned.stream != Stream::Load && self.profile.probes.marker.is_some();
        connection.attempt = Some(index);
        let traffic = connection.traffic();
        traffic.request = request;
        traffic.response.begin(wants_marker);
        self.send_as_liked(id, body, network, timeline);
    }

    /// A whole response has arrived.
    fn answered(
        &mut self,
        id: ConnectionId,
        index: Slot,
        network: &mut Network,
        timeline: &mut Timeline,
    ) {
        let Some(connection) = network.find(id) else {
            return;
        };
        let (kind, has_sent_fin) = (connection.kind, connection.has_sent_fin);
        let pool = connection.pool as usize;
        connection.attempt = None;
        let traffic = connection.traffic();
        let head = traffic.response.head.take().unwrap_or_default();
        let is_overrun = traffic.response.is_overrun(&head);
        let attempt = &mut self.attempts[index];
        let planned = attempt.planned;
        attempt.status = Some(head.status);
        attempt.session = head.session;
        attempt.worker = head.worker;
        attempt.bytes = traffic.response.bytes;
        let marker = self.profile.probes.marker.as_deref();
        let marker = marker.filter(|_| planned.stream != Stream::Load);
        let is_marked = marker.is_none_or(|marker| traffic.response.has(marker));
        traffic.slow_read = Duration::ZERO;
        if let Some(cookie) = &head.cookie {
            self.keep_cookie(&planned, cookie.clone());
        }
        let outcome = Outcome::of_status(head.status);
        let (outcome, detail) = if outcome == Outcome::Ok && !is_marked {
            (Outcome::Truncated, Some(NO_MARKER))
        } else if is_overrun {
            (
                Outcome::Truncated,
                Some("more came than Content-Length says"),
            )
        } else {
            (outcome, None)
        };
        let farewell = if planned.one_shot || has_sent_fin {
            Some(ConnectionEnded::Client)
        } else if head.closes {
            Some(ConnectionEnded::Announced)
        } else if kind == ConnectionKind::Extra || outcome == Outcome::Truncated {
            Some(ConnectionEnded::Client)
        } else {
            None
        };
        match farewell {
            Some(how) => self.close(id, how, false, network, timeline),
            None => self.to.pools[pool].idle.push(id),
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
        let Some(connection) = network.find_for_traffic(id) else {
            return;
        };
        let is_established = connection.client == ClientSide::Ready;
        let Some(index) = connection.attempt else {
            return self.close(id, how, false, network, timeline);
        };
        let traffic = connection.traffic();
        if how == ConnectionEnded::Fin && traffic.response.ends_with_stream() {
            self.answered(id, index, network, timeline);
            return self.close(id, how, false, network, timeline);
        }
        let has_begun = traffic.response.head.as_ref();
        let attempt = &mut self.attempts[index];
        attempt.status = has_begun.map(|head| head.status);
        let (outcome, detail) = match (is_established, how, has_begun) {
            (false, _, _) => (Outcome::ResetIdle, "before the request"),
            (true, ConnectionEnded::Rst, _) => (Outcome::ResetInflight, "connection reset"),
            (true, _, None) => (Outcome::ResetInflight, "closed before a response"),
            (true, _, Some(_)) => {
                attempt.bytes = traffic.response.bytes;
                (Outcome::Truncated, "closed within a response")
            }
        };
        connection.attempt = None;
        self.close(id, how, is_established, network, timeline);
        let planned = self.attempts[index].planned;
        self.finish(index, outcome, Some(detail), timeline.now);
        // What was posted may have been done: clients ask once more only for what they only ask for.
        let is_safe = self.to.routes[planned.url as usize].body == 0;
        if !self.stopped && is_safe && self.wants_to_resend() {
            self.resend(&planned, network, timeline);
        }
    }

    /// This end of a connection is closed; `how` says who began it.
    pub(super) fn close(
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
        if connection.server != ServerSide::Closed && !connection.has_sent_fin {
            connection.send_up(Up::Fin, timeline);
        }
        self.to.pools[connection.pool as usize]
            .idle
            .retain(|idle| *idle != id);
        self.give_up_place(connection);
        let number = connection.record;
        if let Some(record) = self.note_of(number) {
            record.closed = Some(timeline.now);
            record.how = Some(how);
            record.in_flight = in_flight;
        }
        network.forget_if_over(id);
    }

    fn give_up_place(&mut self, connection: &mut Connection) {
        if std::mem::take(&mut connection.has_place) {
            self.to.pools[connection.pool as usize].open -= 1;
        }
    }

    /// What is noted of a connection.
    fn note_of(&mut self, number: Option<u32>) -> Option<&mut ConnectionRecord> {
        let notes = self.book.as_mut()?;
        notes.connections.get_mut(number? as usize)
    }

    pub(super) fn finish(
        &mut self,
        slot: Slot,
        outcome: Outcome,
        detail: Option<&str>,
        now: Instant,
    ) {
        let attempt = &self.attempts[slot];
        let took = now.saturating_since(attempt.began);
        let outcome = if outcome == Outcome::Ok && took > self.profile.slow {
            Outcome::Slow
        } else {
            outcome
        };
        self.done += 1;
        self.window.done += 1;
        if outcome.is_success() {
            self.window.ok += 1;
        } else {
            self.window.failed += 1;
        }
        if attempt.planned.stream == Stream::Load {
            self.window.latencies.push(now.0 - attempt.began.0);
        }
        if let Some(notes) = &mut self.book {
            let record = attempt.record(outcome, detail, now);
            notes.attempts.push((attempt.planned.url, record));
        }
        self.attempts.end(slot);
    }
}
