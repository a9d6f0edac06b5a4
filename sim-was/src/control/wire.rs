//! How control messages travel: a 4-byte little-endian length, then JSON.

/// The largest message, bytes.
pub const MESSAGE_MAX: usize = 1 << 20;
