//! HTTP/1.x framing: a request's head and body, as strict and as lenient as HTTP.sys is.

use bytes::Bytes;

use super::{Parameters, ReasonPhrase};
use crate::api::{ActivityId, EntityLength, RequestText, Version};

/// What came of looking at the bytes that a connection has sent.
#[derive(Debug)]
pub enum Head {
    /// More bytes are needed.
    Incomplete,
    /// A request's head.
    Complete(Box<ParsedHead>),
    /// Not a request: refuse it and close.
    Refused(RefusedHead),
}

/// A request's head, understood.
#[derive(Debug)]
pub struct ParsedHead {
    /// How many bytes it took.
    pub consumed: usize,
    /// Its text, copied out.
    pub text: RequestText,
    /// Its version.
    pub version: Version,
    /// Its body.
    pub entity: EntityLength,
    /// Whether the client wants the connection kept.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The client's name for the attempt.
    pub activity: ActivityId,
    /// The port in the host that counts, if one was given.
    pub host_port: Option<u16>,
}

/// Why a head was refused, and what of it was understood, for the error log.
#[derive(Debug)]
pub struct RefusedHead {
    /// Why.
    pub reason: ReasonPhrase,
    /// The version, if it was understood.
    pub version: Option<Version>,
    /// The verb, if it was understood.
    pub verb: Option<String>,
    /// The raw URL, if it was understood.
    pub url: Option<String>,
    /// The client's name for the attempt, if that header was seen.
    pub activity: ActivityId,
}

/// Looks for a request's head at the beginning of `buffer`.
///
/// Pure and restartable: called again with more bytes it starts over.
pub fn parse_head(_buffer: &[u8], _parameters: &Parameters) -> Head {
    Head::Incomplete
}

/// Takes a request's body out of the bytes of a connection.
#[derive(Clone, Debug)]
pub struct EntityReader {
    left: u64,
}

/// What came of giving bytes to an [`EntityReader`].
#[derive(Debug)]
pub struct EntityPiece {
    /// How many bytes it took.
    pub consumed: usize,
    /// Body bytes among them, without chunk framing.
    pub body: Bytes,
    /// Whether the body ends here.
    pub last: bool,
}

impl EntityReader {
    /// A reader for a body of that length, which is not [`EntityLength::None`].
    pub fn new(length: EntityLength) -> Self {
        let left = match length {
            EntityLength::None | EntityLength::Chunked => 0,
            EntityLength::Known(left) => left,
        };
        Self { left }
    }

    /// Takes what it can from `bytes`. On an error the request is refused with that reason.
    pub fn read(&mut self, bytes: &[u8]) -> Result<EntityPiece, ReasonPhrase> {
        Ok(EntityPiece { consumed: bytes.len(), body: Bytes::new(), last: self.left == 0 })
    }
}
