//! What has arrived on a connection and was not taken yet. Mostly nothing, and then it needs no memory.

use bytes::{Buf, BytesMut};

use crate::clockwork::Instant;

/// Bytes that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Unread(Option<Box<Waiting>>);

#[derive(Debug)]
struct Waiting {
    bytes: BytesMut,
    /// When the first byte of the head that is being read arrived.
    head_began: Instant,
}

impl Unread {
    /// Keeps more bytes.
    pub(super) fn keep(&mut self, bytes: &[u8], now: Instant) {
        if bytes.is_empty() {
            return;
        }
        let waiting = self.0.get_or_insert_with(|| {
            Box::new(Waiting {
                bytes: BytesMut::new(),
                head_began: now,
            })
        });
        waiting.bytes.extend_from_slice(bytes);
    }

    /// All of them.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |waiting| &waiting.bytes)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The first of them were taken.
    pub(super) fn advance(&mut self, taken: usize) {
        if let Some(waiting) = &mut self.0 {
            waiting.bytes.advance(taken);
            if waiting.bytes.is_empty() {
                self.0 = None;
            }
        }
    }

    /// The request before them has ended: if there are any, they begin the next head.
    pub(super) fn begin_head(&mut self, now: Instant) {
        if let Some(waiting) = &mut self.0 {
            waiting.head_began = now;
        }
    }

    /// When the first byte of the head that is being read arrived.
    pub(super) fn head_began(&self) -> Option<Instant> {
        self.0.as_ref().map(|waiting| waiting.head_began)
    }
}
