//! How calls and completions travel: length-prefixed frames on a Unix stream socket.
//!
//! A frame is a 4-byte little-endian length followed by that many bytes, of which the first says what
//! it is. The frames of a request's path are laid out by hand; control calls are postcard. Many
//! frames travel in one write: batching, not sharing memory, is what makes a hop cheap.
//!
//! Every byte from the other side is hostile until decoded here: lengths are bounded, spans are
//! checked against their text, unknown kinds are errors.

mod frames;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use bytes::Bytes;

use super::{
    ActivityId, CachePolicy, Call, CallId, CallResult, Completion, ConnectionId, Ends,
    EntityLength, LogData, ProcessId, Request, RequestId, RequestQueueName, RequestText, Response,
    SharedRequest, ShortEnds, SiteId, Span, UrlContext, Version, Win32Error,
};
use crate::clockwork::Instant;

pub use frames::{Frames, write_frame};

/// The largest frame that is accepted, bytes.
pub const FRAME_MAX: usize = 4 << 20;

/// The largest body that one [`Call::SendResponse`] or [`Call::SendEntityBody`] should carry, bytes;
/// a longer one goes in pieces (`more`). It leaves room for the headers below [`FRAME_MAX`].
pub const BODY_MAX: usize = 1 << 20;

/// Why a peer's bytes were not understood. Its connection is closed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A frame claims to be larger than [`FRAME_MAX`].
    #[error("a frame of {0} bytes is larger than {FRAME_MAX}")]
    TooLong(usize),
    /// A frame of a kind that does not exist.
    #[error("unknown kind of frame: {0}")]
    UnknownKind(u8),
    /// A frame ends too early, or its parts contradict each other.
    #[error("a malformed frame")]
    Malformed,
}

/// What a frame is: its first byte.
mod kind {
    pub(super) const CONTROL: u8 = 1;
    pub(super) const RECEIVE_REQUEST: u8 = 2;
    pub(super) const SEND_RESPONSE: u8 = 3;
    pub(super) const SEND_ENTITY_BODY: u8 = 4;
    pub(super) const RECEIVE_ENTITY_BODY: u8 = 5;
    pub(super) const CANCEL_REQUEST: u8 = 6;
    pub(super) const CALLED: u8 = 33;
    pub(super) const REQUEST: u8 = 34;
    pub(super) const ENTITY_BODY: u8 = 35;
    pub(super) const DISCONNECTED: u8 = 36;
    pub(super) const DEMAND_START: u8 = 37;
    pub(super) const UNTRUSTED: u8 = 38;
}

/// Bits of a frame's flag byte.
mod flag {
    pub(super) const MORE: u8 = 1;
    pub(super) const DISCONNECT: u8 = 2;
    pub(super) const LOG: u8 = 4;
    pub(super) const FILE: u8 = 8;
    pub(super) const UNLOGGED: u8 = 16;
    pub(super) const SECURE: u8 = 1;
    pub(super) const HTTP11: u8 = 2;
}

/// Appends the frame of a call.
pub fn encode_call(call: &Call, out: &mut Vec<u8>) {
    write_frame(out, |out| match call {
        Call::Control { id, call } => {
            out.push(kind::CONTROL);
            put_u32(out, id.0);
            put_postcard(out, call);
        }
        Call::ReceiveRequest { credits } => {
            out.push(kind::RECEIVE_REQUEST);
            put_u32(out, *credits);
        }
        Call::SendResponse {
            request,
            response,
            more,
        } => {
            put_response(out, *request, response, *more);
        }
        Call::SendEntityBody {
            request,
            body,
            more,
        } => {
            out.push(kind::SEND_ENTITY_BODY);
            put_u64(out, request.0);
            out.push(u8::from(*more));
            out.extend_from_slice(body);
        }
        Call::ReceiveEntityBody { request } => {
            out.push(kind::RECEIVE_ENTITY_BODY);
            put_u64(out, request.0);
        }
        Call::CancelRequest { request } => {
            out.push(kind::CANCEL_REQUEST);
            put_u64(out, request.0);
        }
    });
}

/// Reads a call from a frame.
pub fn decode_call(frame: Bytes) -> Result<Call, WireError> {
    let mut reader = Reader { rest: frame };
    let call = match reader.u8()? {
        kind::CONTROL => {
            let id = CallId(reader.u32()?);
            Call::Control {
                id,
                call: reader.postcard()?,
            }
        }
        kind::RECEIVE_REQUEST => Call::ReceiveRequest {
            credits: reader.u32()?,
        },
        kind::SEND_RESPONSE => reader.response()?,
        kind::SEND_ENTITY_BODY => {
            let request = RequestId(reader.u64()?);
            let more = reader.bool()?;
            Call::SendEntityBody {
                request,
                more,
                body: reader.remainder(),
            }
        }
        kind::RECEIVE_ENTITY_BODY => Call::ReceiveEntityBody {
            request: RequestId(reader.u64()?),
        },
        kind::CANCEL_REQUEST => Call::CancelRequest {
            request: RequestId(reader.u64()?),
        },
        unknown => return Err(WireError::UnknownKind(unknown)),
    };
    reader.end().map(|()| call)
}

/// Appends the frame of a completion.
pub fn encode_completion(completion: &Completion, out: &mut Vec<u8>) {
    write_frame(out, |out| match completion {
        Completion::Called { id, result } => {
            out.push(kind::CALLED);
            put_u32(out, id.0);
            put_postcard(out, result);
        }
        Completion::Request(request) => put_request(out, request),
        Completion::EntityBody {
            request,
            bytes,
            last,
        } => {
            out.push(kind::ENTITY_BODY);
            put_u64(out, request.0);
            out.push(u8::from(*last));
            out.extend_from_slice(bytes);
        }
        Completion::Disconnected { request } => {
            out.push(kind::DISCONNECTED);
            put_u64(out, request.0);
        }
        Completion::DemandStart { queue } => {
            out.push(kind::DEMAND_START);
            out.extend_from_slice(queue.0.as_bytes());
        }
        Completion::Untrusted { process } => {
            out.push(kind::UNTRUSTED);
            out.extend_from_slice(&process.0.to_le_bytes());
        }
    });
}

/// A call inside of another message (a recording), as the content of its frame.
pub mod call_as_frame {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::super::Call;

    /// Writes the frame's content.
    pub fn serialize<S: Serializer>(call: &Call, sink: S) -> Result<S::Ok, S::Error> {
        let mut frame = Vec::new();
        super::encode_call(call, &mut frame);
        sink.serialize_bytes(&frame[4..])
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Call, D::Error> {
        let frame = <&[u8]>::deserialize(source)?;
        super::decode_call(Bytes::copy_from_slice(frame)).map_err(de::Error::custom)
    }
}

/// A completion inside of another message (a recording), as the content of its frame.
pub mod completion_as_frame {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::super::Completion;

    /// Writes the frame's content.
    pub fn serialize<S: Serializer>(completion: &Completion, sink: S) -> Result<S::Ok, S::Error> {
        let mut frame = Vec::new();
        super::encode_completion(completion, &mut frame);
        sink.serialize_bytes(&frame[4..])
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Completion, D::Error> {
        let frame = <&[u8]>::deserialize(source)?;
        super::decode_completion(Bytes::copy_from_slice(frame)).map_err(de::Error::custom)
    }
}

/// Reads a completion from a frame.
pub fn decode_completion(frame: Bytes) -> Result<Completion, WireError> {
    let mut reader = Reader { rest: frame };
    let completion = match reader.u8()? {
        kind::CALLED => {
            let id = CallId(reader.u32()?);
            let result: Result<CallResult, Win32Error> = reader.postcard()?;
            Completion::Called { id, result }
        }
        kind::REQUEST => Completion::Request(SharedRequest::new(reader.request()?)),
        kind::ENTITY_BODY => {
            let request = RequestId(reader.u64()?);
            let last = reader.bool()?;
            Completion::EntityBody {
                request,
                last,
                bytes: reader.remainder(),
            }
        }
        kind::DISCONNECTED => Completion::Disconnected {
            request: RequestId(reader.u64()?),
        },
        kind::DEMAND_START => {
            let name = String::from_utf8(reader.remainder().to_vec());
            let queue = RequestQueueName(name.map_err(|_| WireError::Malformed)?);
            Completion::DemandStart { queue }
        }
        kind::UNTRUSTED => Completion::Untrusted {
            process: ProcessId(reader.u32()?),
        },
        unknown => return Err(WireError::UnknownKind(unknown)),
    };
    reader.end().map(|()| completion)
}

fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_postcard(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    let bytes = postcard::to_allocvec(value).expect("control messages are plain data");
    out.extend_from_slice(&bytes);
}

/// Appends a length and the bytes.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

fn put_span(out: &mut Vec<u8>, span: Span) {
    put_u32(out, span.start);
    put_u32(out, span.len);
}

fn put_address(out: &mut Vec<u8>, address: &SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
    put_u16(out, address.port());
    if let SocketAddr::V6(address) = address {
        put_u32(out, address.flowinfo());
        put_u32(out, address.scope_id());
    }
}

fn put_response(out: &mut Vec<u8>, request: RequestId, response: &Response, more: bool) {
    debug_assert!(
        response.body.len() <= BODY_MAX,
        "a long body goes in pieces"
    );
    out.reserve(64 + response.headers.len() + response.body.len());
    out.push(kind::SEND_RESPONSE);
    put_u64(out, request.0);
    let bit = |set: bool, flag: u8| if set { flag } else { 0 };
    out.push(
        bit(more, flag::MORE)
            | bit(response.disconnect, flag::DISCONNECT)
            | bit(response.log.is_some(), flag::LOG)
            | bit(response.log.is_some_and(|log| log.is_file), flag::FILE)
            | bit(
                response.log.is_some_and(|log| log.is_unlogged),
                flag::UNLOGGED,
            ),
    );
    put_u16(out, response.status);
    let log = response.log.unwrap_or_default();
    put_u16(out, log.substatus);
    put_u32(out, log.win32_status);
    let (policy, seconds) = match response.cache_policy {
        CachePolicy::Nocache => (0, 0),
        CachePolicy::UserInvalidates => (1, 0),
        CachePolicy::TimeToLive(seconds) => (2, seconds),
    };
    out.push(policy);
    put_u32(out, seconds);
    put_bytes(out, &response.headers);
    out.extend_from_slice(&response.body);
}

fn put_request(out: &mut Vec<u8>, request: &Request) {
    let text = &request.text;
    out.reserve(192 + 16 * text.headers.len() + text.text.len());
    out.push(kind::REQUEST);
    put_u64(out, request.id.0);
    put_u64(out, request.connection.0);
    put_u64(out, request.activity.0);
    put_u32(out, request.site.0);
    put_u64(out, request.url_context.0);
    let ends = request.ends.get();
    put_address(out, &ends.client);
    put_address(out, &ends.local);
    let version = match request.version {
        Version::Http10 => 0,
        Version::Http11 => flag::HTTP11,
    };
    out.push(version | if request.secure { flag::SECURE } else { 0 });
    put_u64(out, request.received.0);
    let (entity, length) = match request.entity {
        EntityLength::None => (0, 0),
        EntityLength::Known(length) => (1, length),
        EntityLength::Chunked => (2, 0),
    };
    out.push(entity);
    put_u64(out, length);
    for span in [text.verb, text.raw_url, text.path, text.query, text.host] {
        put_span(out, span);
    }
    put_u32(out, u32::try_from(text.headers.len()).unwrap_or(u32::MAX));
    for &(name, value) in &text.headers {
        put_span(out, name);
        put_span(out, value);
    }
    out.extend_from_slice(&text.text);
}

/// Takes a frame apart from its front.
struct Reader {
    rest: Bytes,
}

impl Reader {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let array = *self.rest.first_chunk::<N>().ok_or(WireError::Malformed)?;
        bytes::Buf::advance(&mut self.rest, N);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Malformed),
        }
    }

    /// A length and that many bytes.
    fn bytes(&mut self) -> Result<Bytes, WireError> {
        let length = self.u32()? as usize;
        if length > self.rest.len() {
            return Err(WireError::Malformed);
        }
        Ok(self.rest.split_to(length))
    }

    fn remainder(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    fn postcard<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, WireError> {
        postcard::from_bytes(&self.remainder()).map_err(|_| WireError::Malformed)
    }

    fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(WireError::Malformed)
        }
    }

    fn address(&mut self) -> Result<SocketAddr, WireError> {
        match self.u8()? {
            4 => {
                let ip = Ipv4Addr::from(self.array::<4>()?);
                Ok(SocketAddrV4::new(ip, self.u16()?).into())
            }
            6 => {
                let ip = Ipv6Addr::from(self.array::<16>()?);
                Ok(SocketAddrV6::new(ip, self.u16()?, self.u32()?, self.u32()?).into())
            }
            _ => Err(WireError::Malformed),
        }
    }

    fn span(&mut self) -> Result<Span, WireError> {
        Ok(Span {
            start: self.u32()?,
            len: self.u32()?,
        })
    }

    fn response(&mut self) -> Result<Call, WireError> {
        let request = RequestId(self.u64()?);
        let flags = self.u8()?;
        let status = self.u16()?;
        let of_log = flag::FILE | flag::UNLOGGED;
        let known = flag::MORE | flag::DISCONNECT | flag::LOG | of_log;
        if flags > known
            || flags & flag::LOG == 0 && flags & of_log != 0
            || !(100..=999).contains(&status)
        {
            return Err(WireError::Malformed);
        }
        let log = LogData {
            substatus: self.u16()?,
            win32_status: self.u32()?,
            is_file: flags & flag::FILE != 0,
            is_unlogged: flags & flag::UNLOGGED != 0,
        };
        let cache_policy = match (self.u8()?, self.u32()?) {
            (0, 0) => CachePolicy::Nocache,
            (1, 0) => CachePolicy::UserInvalidates,
            (2, seconds) => CachePolicy::TimeToLive(seconds),
            _ => return Err(WireError::Malformed),
        };
        let headers = self.bytes()?;
        let response = Response {
            status,
            headers,
            body: self.remainder(),
            cache_policy,
            log: (flags & flag::LOG != 0).then_some(log),
            disconnect: flags & flag::DISCONNECT != 0,
        };
        Ok(Call::SendResponse {
            request,
            response,
            more: flags & flag::MORE != 0,
        })
    }

    fn request(&mut self) -> Result<Request, WireError> {
        let id = RequestId(self.u64()?);
        let connection = ConnectionId(self.u64()?);
        let activity = ActivityId(self.u64()?);
        let site = SiteId(self.u32()?);
        let url_context = UrlContext(self.u64()?);
        let ends = Ends {
            client: self.address()?,
            local: self.address()?,
        };
        let flags = self.u8()?;
        if flags > (flag::SECURE | flag::HTTP11) {
            return Err(WireError::Malformed);
        }
        let received = Instant(self.u64()?);
        let entity = match (self.u8()?, self.u64()?) {
            (0, 0) => EntityLength::None,
            (1, length) if length > 0 => EntityLength::Known(length),
            (2, 0) => EntityLength::Chunked,
            _ => return Err(WireError::Malformed),
        };
        Ok(Request {
            id,
            connection,
            activity,
            site,
            url_context,
            ends: ShortEnds::new(ends),
            secure: flags & flag::SECURE != 0,
            version: if flags & flag::HTTP11 != 0 {
                Version::Http11
            } else {
                Version::Http10
            },
            received,
            entity,
            text: self.request_text()?,
        })
    }

    /// The text last: only then are its spans known to lie in it.
    fn request_text(&mut self) -> Result<RequestText, WireError> {
        let mut text = RequestText {
            text: Vec::new(),
            verb: self.span()?,
            raw_url: self.span()?,
            path: self.span()?,
            query: self.span()?,
            host: self.span()?,
            headers: Vec::new(),
        };
        let headers = self.u32()? as usize;
        if headers > self.rest.len() / 16 {
            return Err(WireError::Malformed);
        }
        text.headers.reserve_exact(headers);
        for _ in 0..headers {
            text.headers.push((self.span()?, self.span()?));
        }
        text.text = self.remainder().to_vec();
        let lies_inside = |span: &Span| {
            (span.start as usize)
                .checked_add(span.len as usize)
                .is_some_and(|end| end <= text.text.len())
        };
        let mut parts = [text.verb, text.raw_url, text.path, text.query, text.host]
            .into_iter()
            .chain(text.headers.iter().flat_map(|&(name, value)| [name, value]));
        if parts.all(|span| lies_inside(&span)) {
            Ok(text)
        } else {
            Err(WireError::Malformed)
        }
    }
}

#[cfg(test)]
mod tests;
