//! `run/endpoints.json`: where each endpoint really is, for those who want to reach it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::clock::clock_now;
use crate::api::Endpoint;
use crate::clockwork::Instant;

/// How long until a file that could not be written is tried again.
/// Assumed: often enough that nobody waits for an address, seldom enough that a full disk costs nothing.
const RETRY: Duration = Duration::from_millis(500);

/// A line of it.
#[derive(Serialize)]
struct Line<'a> {
    endpoint: &'a Endpoint,
    address: SocketAddr,
}

/// The file; it goes with the driver.
#[derive(Debug)]
pub(super) struct EndpointsFile {
    path: PathBuf,
    /// When it is tried again to write it, if that has failed.
    due: Option<Instant>,
}

impl EndpointsFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, due: None }
    }

    /// When it is to be written again, because it could not be.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Says where endpoints are, in one step. On a disk that is full readers know what they knew.
    pub(super) fn write<'a>(&mut self, open: impl Iterator<Item = (&'a Endpoint, SocketAddr)>) {
        let line = |(endpoint, address)| {
            serde_json::to_string(&Line { endpoint, address }).expect("an endpoint is plain data")
        };
        let lines: Vec<String> = open.map(line).collect();
        match replace(&self.path, &format!("[{}]\n", lines.join(",\n "))) {
            Ok(()) => self.due = None,
            Err(error) => {
                if self.due.is_none() {
                    let file = self.path.display();
                    tracing::warn!(%error, %file, "endpoints are not published");
                }
                self.due = Some(clock_now() + RETRY);
            }
        }
    }
}

impl Drop for EndpointsFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Writes a file so that readers see the old one or the new one.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let replaced =
        std::fs::write(&unfinished, content).and_then(|()| std::fs::rename(&unfinished, path));
    if replaced.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    replaced
}
