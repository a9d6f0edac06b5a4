//! The plumbing of a worker: the device, the pipe to WAS, threads that burn, files, the trace.
//!
//! One thread owns the model and both sockets (`event_loop.rs`); other threads only burn CPU time,
//! touch memory and read large files (`work.rs`).
use std::io;
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};
use sim_httpsys::api::ProcessId;

use crate::configuration::WorkerConfiguration;

mod clock;
mod code;
mod event_loop;
mod files;
mod pipe;
mod trace;
mod watch;
mod work;

/// How the program `w3wp` is started.
///
/// Source: the command line of w3wp.exe: `-ap "DefaultAppPool" -v "v4.0" -l "webengine4.dll"
/// -a \\.\pipe\iisipm… -h "…\DefaultAppPool.config" -w "" -m 0 -t 20 -ta 0`. `-device`, `-trace`
/// and `-record` are ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// `-ap`: the pool.
    pub pool: String,
    /// `-a`: where WAS listens for its workers.
    pub ipm: PathBuf,
    /// `-h`: what WAS wrote down for the pool.
    pub configuration: PathBuf,
    /// `-device`: where the driver is opened.
    pub device: PathBuf,
    /// `-trace`: the folder for the worker's facts, if they are wanted.
    pub trace: Option<PathBuf>,
    /// `-record`: the folder for a recording of the worker's inputs, if one is wanted.
    pub record: Option<PathBuf>,
}

/// Why a command line was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// There is no such switch.
    #[error("unknown switch `{0}`")]
    Unknown(String),
    /// A switch has no value.
    #[error("the switch {0} wants a value")]
    NoValue(String),
    /// A switch is missing.
    #[error("the switch {0} is missing")]
    Missing(&'static str),
}

impl Args {
    /// Reads a command line, without the program's name.
    pub fn parse(args: &[String]) -> Result<Self, ArgsError> {
        let (mut pool, mut ipm, mut configuration, mut device) = (None, None, None, None);
        let (mut trace, mut record) = (None, None);
        let mut args = args.iter();
        while let Some(switch) = args.next() {
            let Some(value) = args.next() else {
                return Err(ArgsError::NoValue(switch.clone()));
            };
            match switch.as_str() {
                "-ap" => pool = Some(value.clone()),
                "-a" => ipm = Some(PathBuf::from(value)),
                "-h" => configuration = Some(PathBuf::from(value)),
                "-device" => device = Some(PathBuf::from(value)),
                "-trace" => trace = Some(PathBuf::from(value)),
                "-record" => record = Some(PathBuf::from(value)),
                // What `ps` shows of a real worker, and a simulated one has no use for.
                "-v" | "-l" | "-w" | "-m" | "-t" | "-ta" => {}
                unknown => return Err(ArgsError::Unknown(unknown.to_owned())),
            }
        }
        Ok(Self {
            pool: pool.ok_or(ArgsError::Missing("-ap"))?,
            ipm: ipm.ok_or(ArgsError::Missing("-a"))?,
            configuration: configuration.ok_or(ArgsError::Missing("-h"))?,
            device: device.ok_or(ArgsError::Missing("-device"))?,
            trace,
            record,
        })
    }
}

/// Why a worker could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// WAS is gone.
    #[error("nobody has started this")]
    Orphaned(#[source] io::Error),
    /// The configuration file cannot be read.
    #[error("cannot read {path}")]
    ReadConfiguration {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration file makes no sense.
    #[error("cannot understand {path}")]
    Configuration {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The configuration is another pool's.
    #[error("{path} belongs to the pool {found}, not to {wanted}")]
    OtherPool {
        /// The file.
        path: PathBuf,
        /// Its pool.
        found: String,
        /// The pool of the command line.
        wanted: String,
    },
    /// A socket cannot be opened.
    #[error("cannot connect to {path}")]
    Connect {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The event loop failed.
    #[error("the event loop failed")]
    Poll(#[source] io::Error),
    /// A peer sent something that is no message.
    #[error("{peer} sent a message that cannot be understood")]
    Peer {
        /// Who.
        peer: &'static str,
        /// What was wrong.
        source: sim_httpsys::api::wire::WireError,
    },
}

/// Runs a worker to its end: its exit code.
///
/// It dies with the thread that started it, and ends when the device or the pipe to WAS is closed.
pub fn run(args: Args) -> Result<i32, RunError> {
    sim_httpsys::live::die_with_launcher(None).map_err(RunError::Orphaned)?;
    // A simulated crash is no reason to fill the disk with core files.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).ok();
    let_faults_kill();
    let configuration = read_configuration(&args)?;
    let process = ProcessId(std::process::id());
    event_loop::run(args, configuration, process)
}

/// A fault signal that somebody sends kills this process, as the first one kills any other.
///
/// Rust's own handler, which tells overflows of the stack from other faults, returns from the first that is
/// none and restores the default action for the next. Here it gets that first one at once.
fn let_faults_kill() {
    for signal in [Signal::SEGV, Signal::BUS] {
        // A signal to the own process is taken by the time that the call returns, or soon after by another
        // thread.
        for _ in 0..TAKEN_MAX {
            if !is_caught(signal) {
                break;
            }
            kill_process(getpid(), signal).ok();
            for _ in 0..YIELDS_MAX {
                if !is_pending(signal) {
                    break;
                }
                std::thread::yield_now();
            }
        }
    }
}

/// How often a signal is offered to a handler at most.
const TAKEN_MAX: u32 = 3;
/// How often it is looked whether it was taken: whoever started this process may have blocked it.
const YIELDS_MAX: u32 = 1_000;

/// Whether this process has a handler for a signal.
fn is_caught(signal: Signal) -> bool {
    in_mask("SigCgt:", signal)
}

fn is_pending(signal: Signal) -> bool {
    in_mask("ShdPnd:", signal)
}

/// Source: proc(5), `/proc/self/status`: masks in hexadecimal, signal 1 is the lowest bit.
fn in_mask(mask: &str, signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(mask));
    let bits = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> (signal.as_raw() - 1) & 1 == 1)
}

fn read_configuration(args: &Args) -> Result<WorkerConfiguration, RunError> {
    let path = args.configuration.clone();
    let text = std::fs::read(&path).map_err(|source| RunError::ReadConfiguration {
        path: path.clone(),
        source,
    })?;
    let configuration: WorkerConfiguration =
        serde_json::from_slice(&text).map_err(|source| RunError::Configuration {
            path: path.clone(),
            source,
        })?;
    if configuration.pool != args.pool {
        let (found, wanted) = (configuration.pool, args.pool.clone());
        return Err(RunError::OtherPool {
            path,
            found,
            wanted,
        });
    }
    Ok(configuration)
}

/// Opens a pipe of frames: the device, or WAS's; both are nonblocking Unix sockets.
fn connect(path: PathBuf) -> Result<std::os::unix::net::UnixStream, RunError> {
    let opened = sim_httpsys::live::open_device(&path);
    opened.map_err(|source| RunError::Connect { path, source })
}

#[cfg(test)]
mod tests;
