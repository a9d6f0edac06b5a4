//! The driver's plumbing: an event loop, sockets, TLS, the device, log files, the trace.
//!
//! [`run`] is the program `httpsys`: one thread that owns one [`HttpSys`]. Others find it through
//! the files below `ROOT/run`, and talk to it through its device ([`open_device`]).
#![expect(clippy::disallowed_types, reason = "this is where sockets live")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::clockwork::{Deadlines, UtcClock};
use crate::counters::Counters;
use crate::model::{HttpSys, MachineSetup, Parameters};
use crate::recording::{Recorded, Tape};

mod certificates;
pub mod clock;
mod connection;
mod device;
mod endpoints;
mod endpoints_file;
mod event_loop;
mod lifetime;
mod line_file;
mod log_files;
mod port_owner;
pub mod regular_file;
mod rolling_file;
mod send_queue;
mod socket_path;
mod tls;
mod trace;

pub use device::open_device;
pub use lifetime::die_with_launcher;
pub use line_file::LineFile;
pub use log_files::Telling;
pub use port_owner::port_owner;
pub use rolling_file::LogFault;
pub use socket_path::SocketPath;
pub use tls::{TlsError, configuration as tls_configuration};

use event_loop::EventLoop;

/// How the program `httpsys` is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where processes open the device: a Unix socket, mode 0600.
    pub device: PathBuf,
    /// The simulated `C:\`: log files, the certificates and the trace lie below it.
    pub root: PathBuf,
    /// On which address an endpoint for all addresses (`*`) really listens.
    pub listen: std::net::IpAddr,
    /// Which ports are really used for a binding's port: (binding's, real; 0 lets the kernel
    /// choose). A `None` key stands for every port that is not named.
    pub port_map: Vec<(Option<u16>, u16)>,
    /// Whether facts are written to `ROOT/trace/httpsys.jsonl`.
    pub trace: bool,
    /// Whether every input is recorded in `ROOT/record`, for a replay.
    pub record: bool,
    /// What the driver reads when it is loaded.
    pub parameters: Parameters,
    /// Who is told of a log file that cannot be written. Assumed: the event log is not the driver's own, as the
    /// kernel does not keep it either.
    pub telling: Telling,
}

/// Where endpoints really listen, below the root: a JSON list of `{endpoint, address}`.
pub const ENDPOINTS_FILE: &str = "run/endpoints.json";

/// Why the program could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its launcher is gone.
    #[error("nobody has started this")]
    Orphaned(#[source] io::Error),
    /// A folder or file of its own cannot be made.
    #[error("{0} cannot be made")]
    File(PathBuf, #[source] io::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// The event loop failed.
    #[error("the event loop failed")]
    Loop(#[from] io::Error),
}

/// The program `httpsys`: serves until SIGTERM or SIGINT, dies with its launcher, prints nothing.
pub fn run(options: Options) -> Result<(), RunError> {
    die_with_launcher(None).map_err(RunError::Orphaned)?;
    lifetime::allow_many_descriptors();
    let ended = lifetime::ended_by_signal()?;
    let clock = clock::utc_clock();
    let tape = tape(&options, clock)?;
    let machine = HttpSys::new(options.parameters.clone(), clock);
    let machine = Recorded::new(machine, tape);
    Ok(assemble(machine, options, clock)?.run(ended)?)
}

/// Where the machine is recorded, if it is to be.
fn tape(options: &Options, clock: UtcClock) -> Result<Option<Tape>, RunError> {
    let folder = options.root.join("record");
    let setup = MachineSetup {
        parameters: options.parameters.clone(),
        clock,
    };
    let tape = options
        .record
        .then(|| Tape::begin(&folder, "httpsys", setup));
    tape.transpose()
        .map_err(|error| RunError::File(folder, error))
}

/// Opens everything that the event loop needs; the device last: when it is there, everything is.
fn assemble<M>(machine: M, options: Options, clock: UtcClock) -> Result<EventLoop<M>, RunError> {
    let run_folder = options.root.join("run");
    make_folder(&run_folder)?;
    if let Some(folder) = options.device.parent() {
        make_folder(folder)?;
    }
    let trace_folder = options.root.join("trace");
    let trace = options
        .trace
        .then(|| trace::Trace::open(&trace_folder))
        .transpose()
        .map_err(|error| RunError::File(trace_folder, error))?;
    let truncate_size = options.parameters.error_log_file_truncate_size;
    let endpoints_file = options.root.join(ENDPOINTS_FILE);
    Ok(EventLoop {
        machine,
        poll: mio::Poll::new()?,
        now: clock::clock_now(),
        connections: connection::Connections::default(),
        processes: BTreeMap::new(),
        endpoints: endpoints::Endpoints::new(options.listen, options.port_map, endpoints_file),
        tls: tls::TlsConfigurations::read(&run_folder)?,
        logs: log_files::LogFiles::new(&options.root, truncate_size, clock, options.telling),
        trace,
        counters: Counters::default(),
        leaving: Deadlines::new(),
        looks: Deadlines::new(),
        lists: event_loop::Lists::default(),
        buffer: event_loop::read_buffer(),
        attach_due: None,
        device: device::Device::create(&options.device)
            .map_err(|error| RunError::File(options.device, error))?,
    })
}

fn make_folder(path: &Path) -> Result<(), RunError> {
    std::fs::create_dir_all(path).map_err(|error| RunError::File(path.to_owned(), error))
}
