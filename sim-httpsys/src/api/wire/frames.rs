//! Frames: pieces of a stream of bytes, each with its length before it.

use bytes::{Bytes, BytesMut};

use super::{FRAME_MAX, WireError};

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
