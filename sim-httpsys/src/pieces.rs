//! Memory for short-lived pieces of bytes: heads of requests, responses on their way out.
//!
//! Pieces are cut off chunks, and a chunk is used again when nobody holds a piece of it any more, so that
//! in the long run a piece costs no allocation. A piece that is kept pins its whole chunk: what is to
//! stay is copied out.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes of a chunk.
/// Assumed: room for two dozen heads. A request that hangs pins one chunk, so that a thousand of them take 8 MiB.
const CHUNK: usize = 8 << 10;

/// From here on a piece is allocated on its own.
const LARGE: usize = CHUNK / 2;

/// Used chunks that are kept until they are free again.
/// Assumed: more than what is on its way at a time needs on a busy server.
const USED_MAX: usize = 16;

/// Where pieces come from.
#[derive(Debug, Default)]
pub struct Pieces {
    /// What is left of the chunk that pieces are cut off; before the first piece there is none.
    rest: Option<BytesMut>,
    /// What is left of earlier chunks, the oldest first.
    used: VecDeque<BytesMut>,
}

impl Pieces {
    /// An empty buffer with room for so many bytes; more than that moves it elsewhere.
    pub fn piece(&mut self, bytes: usize) -> BytesMut {
        if bytes >= LARGE {
            return BytesMut::with_capacity(bytes);
        }
        let rest = self.rest.take();
        let mut piece = match rest {
            Some(rest) if rest.capacity() >= bytes => rest,
            used_up => {
                self.used.extend(used_up);
                self.free_chunk()
            }
        };
        self.rest = Some(piece.split_off(bytes));
        piece
    }

    /// A copy of these bytes.
    pub fn copy(&mut self, bytes: &[u8]) -> Bytes {
        let mut piece = self.piece(bytes.len());
        piece.extend_from_slice(bytes);
        piece.freeze()
    }

    fn free_chunk(&mut self) -> BytesMut {
        for _ in 0..self.used.len() {
            let Some(mut chunk) = self.used.pop_front() else {
                break;
            };
            if chunk.try_reclaim(CHUNK) {
                return chunk;
            }
            self.used.push_back(chunk);
        }
        if self.used.len() >= USED_MAX {
            self.used.pop_front();
        }
        BytesMut::with_capacity(CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_used_again_when_its_pieces_are_gone_and_only_then() {
        let mut pieces = Pieces::default();
        let kept = pieces.copy(b"kept");
        let first = kept.as_ptr();
        for _ in 0..10 * CHUNK / 1000 {
            let piece = pieces.copy(&[1; 1000]);
            assert_eq!(piece, [1; 1000][..]);
        }
        assert_eq!(kept, b"kept"[..]);
        assert_eq!(pieces.used.len(), 1, "the one that is held");
        drop(kept);
        let mut seen = false;
        for _ in 0..3 * CHUNK / 1000 {
            seen |= pieces.copy(&[2; 1000]).as_ptr() == first;
        }
        assert!(seen, "the first chunk came back");
    }

    #[test]
    fn large_pieces_and_pieces_that_outgrow_their_room_hold_what_was_written() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.copy(&vec![3; 3 * CHUNK]).len(), 3 * CHUNK);
        let mut small = pieces.piece(4);
        let neighbour = pieces.copy(b"neighbour");
        small.extend_from_slice(&[4; 100]);
        assert_eq!(small.freeze(), [4; 100][..]);
        assert_eq!(neighbour, b"neighbour"[..]);
    }

    #[test]
    fn held_chunks_are_let_go_of_when_there_are_too_many() {
        let mut pieces = Pieces::default();
        let bytes = vec![5; LARGE - 1];
        let held: Vec<Bytes> = (0..40).map(|_| pieces.copy(&bytes)).collect();
        assert!(pieces.used.len() <= USED_MAX);
        assert!(held.iter().all(|piece| piece[..] == bytes));
    }
}
