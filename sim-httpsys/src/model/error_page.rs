//! The pages that the driver answers by itself, byte for byte.

use bytes::Bytes;

use super::ReasonPhrase;

/// The complete response (head and page) for a refusal; `date` is the value of the `Date` header.
/// `None` for reasons that send nothing.
pub fn error_page(_reason: ReasonPhrase, _date: &str) -> Option<Bytes> {
    None
}
