//! The program `was`: one thread that owns the machine [`Was`](crate::model::Was), and tasks that
//! bring it what happens: the driver's completions, the words and ends of workers, commands, signals.
//!
//! ```text
//!  httpsys device ◄─► device.rs ──┐
//!  w3wp's pipes   ◄─► worker.rs ──┤ Input            Output
//!  child processes ◄► worker.rs ──┼──────► Was ──────────────► supervisor.rs carries it out
//!  appcmd …       ◄─► control.rs ─┤
//!  SIGTERM, SIGINT ───────────────┘
//! ```

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::model::Personality;

mod audit_log;
mod command_line;
mod config_file;
mod config_lock;
mod content_folders;
mod control;
mod device;
mod event_log_file;
mod journal;
mod machine;
mod on_disk;
mod orders;
mod program;
pub mod replaced_file;
mod supervisor;
mod watch;
mod worker;

#[cfg(test)]
mod tests;

pub use audit_log::{Asker, AuditLog};
pub use config_file::LocalDisk;
pub use config_lock::ConfigLock;
pub use event_log_file::{EventLogFile, event_log_path, read_event_log};
pub use on_disk::on_disk;

/// How the program `was` is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The driver's device.
    pub device: PathBuf,
    /// The simulated `C:\`.
    pub root: PathBuf,
    /// applicationHost.config.
    pub config: PathBuf,
    /// What is started as `w3wp` (its `argv[0]`).
    pub executable: PathBuf,
    /// Arguments before those of w3wp.
    pub leading_arguments: Vec<OsString>,
    /// Whether facts are written to `ROOT/trace/was.jsonl`, and workers told to write theirs.
    pub trace: bool,
    /// Whether every input is recorded in `ROOT/record`, and workers told to record theirs.
    pub record: bool,
    /// The process whose end ends this one; checked against the parent.
    pub die_with: Option<u32>,
    /// Receives that each worker keeps posted; `None` for the default of
    /// [`Parameters`](crate::model::Parameters).
    pub receives: Option<u32>,
    /// What becomes of the services at the start.
    pub boot: Boot,
    /// Which version of IIS they are.
    pub personality: Personality,
}

/// What becomes of the services when the program starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boot {
    /// They are started; if they cannot be, the program ends.
    #[default]
    Start,
    /// They are started; if they cannot be, the program stays and they are stopped. So the service
    /// control manager starts a service that has died: somebody may repair the configuration.
    Restart,
    /// They are stopped until somebody starts them.
    Stopped,
}

impl Options {
    /// Where everything is by default below `root`: the device `run/httpsys.sock`, the
    /// configuration in `Windows/System32/inetsrv/config`, workers from this executable.
    pub fn new(root: PathBuf) -> io::Result<Self> {
        Ok(Self {
            device: root.join("run/httpsys.sock"),
            config: root.join("Windows/System32/inetsrv/config/applicationHost.config"),
            executable: std::env::current_exe()?,
            leading_arguments: Vec::new(),
            trace: false,
            record: false,
            die_with: None,
            receives: None,
            boot: Boot::default(),
            personality: Personality::default(),
            root,
        })
    }
}

/// Why the program has ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The driver's device could not be opened.
    #[error("cannot open the device of httpsys at {path}: {source}", path = .path.display())]
    Device {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The driver has gone away.
    #[error("httpsys has gone away")]
    DeviceLost,
    /// Another server runs at this root.
    #[error("another server runs at {}", .0.display())]
    AlreadyRunning(PathBuf),
    /// The services could not be started, mostly because of the configuration.
    #[error("the services did not start: {0}")]
    NotStarted(String),
    /// The process that was to be lived with is gone already.
    #[error("the process that started this one is gone")]
    ParentGone,
    /// A file, folder or socket below the root could not be made.
    #[error("cannot make {what}: {source}")]
    Io {
        /// What.
        what: String,
        /// What the system says.
        source: io::Error,
    },
}

impl RunError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Runs until it is told to quit (`Quit`, SIGTERM, SIGINT) or the driver goes away.
pub fn run(options: Options) -> Result<(), RunError> {
    die_with_parent(options.die_with)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::io("an event loop"))?;
    runtime.block_on(supervisor::run(options))
}

/// Asks the kernel to end this process with its parent, however that ends.
fn die_with_parent(parent: Option<u32>) -> Result<(), RunError> {
    let Some(parent) = parent else { return Ok(()) };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| RunError::io("a parent-death signal")(error.into()))?;
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
    if now == Some(parent) {
        Ok(())
    } else {
        Err(RunError::ParentGone)
    }
}
