//! How IPM messages travel: postcard in the frames of [`sim_httpsys::api::wire`].

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use sim_httpsys::api::wire::{WireError, write_frame};

/// Appends the frame of a message ([`super::ToWorker`] or [`super::FromWorker`]).
pub fn encode<M: Serialize>(message: &M, out: &mut Vec<u8>) {
    write_frame(out, |out| {
        let bytes =
            postcard::to_allocvec(message).expect("messages hold nothing that cannot be written");
        out.extend_from_slice(&bytes);
    });
}

/// Reads a message from a frame.
pub fn decode<M: DeserializeOwned>(frame: &Bytes) -> Result<M, WireError> {
    postcard::from_bytes(frame).map_err(|_| WireError::Malformed)
}
