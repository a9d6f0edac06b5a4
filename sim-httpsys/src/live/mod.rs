//! The driver's plumbing: an event loop, sockets, TLS, the device, log files, the trace.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this is where sockets and clocks live"
)]

use std::path::PathBuf;

use crate::model::Parameters;

/// How the program `httpsys` is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where processes open the device: a Unix socket, mode 0600.
    pub device: PathBuf,
    /// The simulated `C:\`: log files, the certificate and the trace lie below it.
    pub root: PathBuf,
    /// On which address an endpoint for all addresses (`*`) really listens.
    pub listen: std::net::IpAddr,
    /// Which ports are really used for a binding's port: (binding's, real; 0 lets the kernel
    /// choose). A `None` key stands for every port that is not named.
    pub port_map: Vec<(Option<u16>, u16)>,
    /// Whether facts are written to `ROOT/trace/httpsys.jsonl`.
    pub trace: bool,
    /// What the driver reads when it is loaded.
    pub parameters: Parameters,
}
