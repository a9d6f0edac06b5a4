//! What a worker sends: the head of a response, more of its body, or that it gives up.

use bytes::{BufMut, Bytes};

use super::exchange::Answer;
use super::response_head::{ResponseHead, append_length, append_status_line};
use super::{HttpSys, ReasonPhrase};
use crate::api::{ConnectionId, ProcessId, RequestId, Response};
use crate::clockwork::Instant;
use crate::etw::UntrustedCall;

/// Bodies up to this many bytes are copied behind their head, so that a response is one piece; longer
/// ones are sent as they came.
/// Assumed: below some kilobytes a copy costs less than a second piece in the write.
pub(super) const INLINE_BODY_MAX: usize = 16 << 10;

impl HttpSys {
    pub(super) fn send_response(
        &mut self,
        by: ProcessId,
        request: RequestId,
        response: Response,
        more: bool,
        now: Instant,
    ) {
        let log = Some((response.status, response.log));
        if !self.zombies.is_empty() && self.answer_zombie(by, request, log, more, now) {
            return;
        }
        let Some(id) = self.held_by(by, request) else {
            return;
        };
        let head =
            ResponseHead::read_again(response.status, &response.headers, &mut self.response_heads);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(exchange) = connection.exchange() else {
            return;
        };
        let (Ok(head), None) = (head, exchange.answer) else {
            return self.distrust(by, id, request, now);
        };
        // Source: RFC 9110: no body to HEAD, and none with 204 and 304.
        let has_body = !exchange.is_head && response.status != 204 && response.status != 304;
        let is_framed = head.content_length.is_some() || head.chunked || !has_body;
        let length = response.body.len() as u64;
        let close = !exchange.keep_alive
            || response.disconnect
            || head.close
            // The driver does not chunk: the end of such a body is the end of the connection.
            || (more && !is_framed)
            // Whether the body that the client held back will come is not known.
            || (exchange.continue_wanted && exchange.entity.is_some())
            || head.content_length.is_some_and(|declared| has_body && length > declared);
        let (_, date) = self.date.line(now);
        let inline = has_body && response.body.len() <= INLINE_BODY_MAX;
        let body_room = if inline { response.body.len() } else { 0 };
        let room = response.headers.len() + 192 + body_room;
        let mut out = self.answer_memory.piece(room);
        append_status_line(response.status, &mut out);
        head.append_lines(&response.headers, &mut out);
        out.put_slice(date);
        if close && !head.close {
            out.put_slice(b"Connection: close\r\n");
        }
        if !more && !is_framed {
            append_length(length, &mut out);
        }
        out.put_slice(b"\r\n");
        let mut bytes = out.len() as u64;
        if inline {
            out.put_slice(&response.body);
        }
        if has_body {
            bytes += length;
        }
        exchange.answer = Some(Answer {
            status: response.status,
            log: response.log,
            bytes,
            body: if has_body { length } else { 0 },
            declared: head.content_length.filter(|_| !head.chunked),
            has_body,
            close,
        });
        if !more {
            self.store_in_cache(id, by, &response, &head, now);
        }
        self.send(id, out.freeze());
        if has_body && !inline {
            self.send(id, response.body);
        }
        if !more {
            self.response_whole(id, by, now);
        }
    }

    pub(super) fn send_entity_body(
        &mut self,
        by: ProcessId,
        request: RequestId,
        body: Bytes,
        more: bool,
        now: Instant,
    ) {
        if !self.zombies.is_empty() && self.answer_zombie(by, request, None, more, now) {
            return;
        }
        let Some(id) = self.held_by(by, request) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(exchange) = connection.exchange() else {
            return;
        };
        let Some(answer) = &mut exchange.answer else {
            return self.distrust(by, id, request, now);
        };
        if answer.has_body && !body.is_empty() {
            answer.bytes += body.len() as u64;
            answer.body += body.len() as u64;
            // More than was declared: what follows on this connection could not be told apart.
            answer.close |= answer
                .declared
                .is_some_and(|declared| answer.body > declared);
            self.send(id, body);
        }
        if !more {
            self.response_whole(id, by, now);
        }
    }

    /// Source: aspnetcore's tests of http.sys: when an application aborts, the client sees a reset.
    pub(super) fn cancel_request(&mut self, by: ProcessId, request: RequestId, now: Instant) {
        if self
            .zombies
            .get(&request)
            .is_some_and(|zombie| zombie.process == by)
        {
            return self.bury_zombie(request, now);
        }
        if let Some(id) = self.held_by(by, request) {
            self.drop_and_reset(id, ReasonPhrase::ConnectionAbandonedByReqQueue, now);
        }
    }

    /// A process sent what is not a response: the request that it named dies.
    fn distrust(&mut self, process: ProcessId, id: ConnectionId, request: RequestId, now: Instant) {
        self.state_distrust(process, request, UntrustedCall::MalformedResponse);
        self.drop_and_reset(id, ReasonPhrase::ConnectionAbandonedByReqQueue, now);
    }
}
