//! How calls and completions travel: length-prefixed frames on a Unix stream socket.
//!
//! A frame is a 4-byte little-endian length followed by that many bytes, of which the first says what
//! it is. The frames of a request's path are laid out by hand; control calls are postcard. Many
//! frames travel in one write: batching, not sharing memory, is what makes a hop cheap.
//!
//! Every byte from the other side is hostile until decoded here: lengths are bounded, spans are
//! checked against their text, unknown kinds are errors.

use bytes::{Bytes, BytesMut};

use super::{Call, Completion};

/// The largest frame that is accepted, bytes.
pub const FRAME_MAX: usize = 4 << 20;

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

/// Cuts a stream of bytes into frames. Read into [`Frames::buffer`], then take frames until `None`.
#[derive(Debug, Default)]
pub struct Frames {
    /// Bytes that arrived and were not taken yet.
    pub buffer: BytesMut,
}

impl Frames {
    /// The next whole frame, without its length.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some(head) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*head) as usize;
        if length > FRAME_MAX {
            return Err(WireError::TooLong(length));
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        let frame = self.buffer.split_to(4 + length).freeze();
        Ok(Some(frame.slice(4..)))
    }
}

/// Appends a frame whose content `write` appends; fills in its length.
pub fn write_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends the frame of a call.
pub fn encode_call(_call: &Call, _out: &mut Vec<u8>) {}

/// Reads a call from a frame.
pub fn decode_call(_frame: Bytes) -> Result<Call, WireError> {
    Err(WireError::Malformed)
}

/// Appends the frame of a completion.
pub fn encode_completion(_completion: &Completion, _out: &mut Vec<u8>) {}

/// Reads a completion from a frame.
pub fn decode_completion(_frame: Bytes) -> Result<Completion, WireError> {
    Err(WireError::Malformed)
}
