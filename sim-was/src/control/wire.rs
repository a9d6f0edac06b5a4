//! How control messages travel: a 4-byte little-endian length, then JSON.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Command;

/// The largest message, bytes.
pub const MESSAGE_MAX: usize = 1 << 20;

/// Why a message was not understood.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It claims to be larger than [`MESSAGE_MAX`].
    #[error("a message of {0} bytes is larger than {MESSAGE_MAX}")]
    TooLong(usize),
    /// It is not the JSON that is expected.
    #[error("not a control message: {0}")]
    Malformed(serde_json::Error),
    /// The other side went away.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a tool sends: a command, or one that it gives for somebody else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Order {
    /// For somebody whom the tool knows, and the audit log names.
    For {
        /// Who.
        on_behalf_of: String,
        /// What.
        command: Command,
    },
    /// For whoever runs the tool.
    Own(Command),
}

/// Where the server of `root` listens.
pub fn socket_path(root: &Path) -> PathBuf {
    root.join("run").join("control.sock")
}

/// A message as it travels.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, MessageError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).map_err(MessageError::Malformed)?;
    let length = frame.len() - 4;
    let head = u32::try_from(length)
        .ok()
        .filter(|_| length <= MESSAGE_MAX)
        .ok_or(MessageError::TooLong(length))?;
    frame[..4].copy_from_slice(&head.to_le_bytes());
    Ok(frame)
}

/// How long a message is, from its first four bytes.
pub fn length(head: [u8; 4]) -> Result<usize, MessageError> {
    let length = u32::from_le_bytes(head) as usize;
    if length > MESSAGE_MAX {
        return Err(MessageError::TooLong(length));
    }
    Ok(length)
}

/// Reads a message's JSON.
pub fn decode<M: DeserializeOwned>(json: &[u8]) -> Result<M, MessageError> {
    serde_json::from_slice(json).map_err(MessageError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_out_as_it_went_in() {
        let command = Command::RecycleApplicationPool {
            name: "Ä".to_owned(),
        };
        let frame = encode(&command).unwrap();
        let head = *frame.first_chunk::<4>().unwrap();
        assert_eq!(length(head).unwrap(), frame.len() - 4);
        assert_eq!(decode::<Command>(&frame[4..]).unwrap(), command);
    }

    #[test]
    fn an_http_request_is_not_a_message() {
        assert!(matches!(length(*b"GET "), Err(MessageError::TooLong(_))));
        assert!(decode::<Command>(b"{}").is_err());
    }
}
