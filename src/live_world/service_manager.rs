//! The service control manager's part: `was`, the process that hosts the services, is started, and
//! started again when it ends without having been told to.
//!
//! ```text
//!   running ── killed ──► started again (7031)
//!      ▲  └── says that it cannot go on ──► started again (7031), the third time in a row: given up (7034, 5030)
//!      │                                                                         │
//!      └────────────── it stays ◄── started now and then, its services stopped ◄─┘
//! ```
//!
//! Source: the recovery settings of WAS and W3SVC, "restart the service", and events 7031, 7034 and 5030. Assumed:
//! the delay before the restart, 0 ms; and that a process which says again and again that it cannot run is
//! given up. The rest of the server goes on without it: the driver is no service of this process.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use sim_httpsys::live::clock::utc_now;
use sim_was::control::{Service, ServiceStatus};
use sim_was::event_log::Event;
use sim_was::event_record::Channel;
use sim_was::live::{EventLogFile, event_log_path};

use super::server::{ServerError, log_of, spawn};

/// Below the root: iisreset has killed the process, and leaves this so that it stays stopped.
pub const KILLED_FILE: &str = "run/was.killed";

/// Whoever ends by itself so soon after the start cannot run, nor who is killed so soon by a signal before a service
/// of it ran: that is a fault of its own, not somebody with a signal. Assumed: longer than it looks for what it needs.
const RUN_MIN: Duration = Duration::from_secs(10);
/// So many such ends in a row, and it is given up. Assumed: as the recovery settings have three failures.
const QUICK_ENDS_MAX: u32 = 3;
/// How often a process that was given up is tried again, with its services stopped (assumed): somebody may want to start
/// them when what was wrong is mended.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// The process `was`, and how often it has ended by itself.
#[derive(Debug)]
pub(super) struct ServiceManager {
    root: PathBuf,
    arguments: Vec<String>,
    process: Child,
    started: Instant,
    /// How long the event log was then, in bytes.
    log_length: u64,
    terminations: u32,
    quick_ends: u32,
    is_given_up: bool,
}

impl ServiceManager {
    /// Starts the process with both services.
    pub(super) fn start(root: &Path, arguments: Vec<String>) -> Result<Self, ServerError> {
        Ok(Self {
            log_length: log_length(root),
            process: spawn("was", root, &arguments)?,
            root: root.to_owned(),
            arguments,
            started: Instant::now(),
            terminations: 0,
            quick_ends: 0,
            is_given_up: false,
        })
    }

    pub(super) fn process(&mut self) -> &mut Child {
        &mut self.process
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether it cannot run, and is not started again for its services.
    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    /// How often the process has ended by itself.
    pub(super) fn terminations(&self) -> u32 {
        self.terminations
    }

    /// Starts the process again if it has died. If it has ended in order, that is an end: how it went.
    pub(super) fn keep_running(&mut self) -> Result<Option<ExitStatus>, ServerError> {
        let Ok(Some(status)) = self.process.try_wait() else {
            self.is_given_up &= self.started.elapsed() < RUN_MIN;
            return Ok(None);
        };
        if status.success() {
            return Ok(Some(status));
        }
        if self.is_given_up {
            if self.started.elapsed() >= RETRY_INTERVAL {
                self.start_again("stopped")?;
            }
            return Ok(None);
        }
        let was_killed = status.signal().is_some() && self.has_run().unwrap_or(false);
        let cannot_run = self.started.elapsed() < RUN_MIN && !was_killed;
        let by_iisreset = fs::remove_file(self.root.join(KILLED_FILE)).is_ok();
        self.quick_ends = if cannot_run && !by_iisreset {
            self.quick_ends + 1
        } else {
            0
        };
        self.is_given_up = self.quick_ends >= QUICK_ENDS_MAX;
        if !by_iisreset {
            self.terminations += 1;
        }
        self.log_end(by_iisreset);
        let boot = if by_iisreset || self.is_given_up {
            "stopped"
        } else {
            "restart"
        };
        self.start_again(boot)?;
        Ok(None)
    }

    fn start_again(&mut self, boot: &str) -> Result<(), ServerError> {
        let mut arguments = self.arguments.clone();
        arguments.extend(["--boot".to_owned(), boot.to_owned()]);
        self.log_length = log_length(&self.root);
        self.process = spawn("was", &self.root, &arguments)?;
        self.started = Instant::now();
        Ok(())
    }

    /// Whether a service has entered the running state since the process was started. The event log says so, which the
    /// process writes before it says it to anybody.
    fn has_run(&self) -> io::Result<bool> {
        let mut log = File::open(event_log_path(&self.root, Channel::System))?;
        log.seek(SeekFrom::Start(self.log_length))?;
        let mut since = Vec::new();
        log.read_to_end(&mut since)?;
        let since = String::from_utf8_lossy(&since);
        let services = [Service::Was, Service::W3svc].into_iter();
        Ok(services
            .filter_map(|service| Event::service_state(service, ServiceStatus::Running))
            .any(|event| since.contains(&event.message)))
    }

    /// One event for each service, as both live in one process. Assumed: of those that were told to stop, and
    /// whose process iisreset has ended then, the service control manager says that they are stopped.
    fn log_end(&self, by_iisreset: bool) {
        let Ok(mut log) = EventLogFile::open(&self.root) else {
            return;
        };
        for service in [Service::W3svc, Service::Was] {
            let event = if by_iisreset {
                Event::service_state(service, ServiceStatus::Stopped)
            } else if self.is_given_up {
                Some(Event::service_given_up(service, self.terminations))
            } else {
                Some(Event::service_terminated(service, self.terminations))
            };
            if let Some(event) = event {
                log.write(&event, utc_now()).ok();
            }
        }
        if self.is_given_up && !by_iisreset {
            log.write(&Event::was_not_restarted(), utc_now()).ok();
        }
    }

    /// Where the process writes its diagnostics.
    pub(super) fn log(&self) -> PathBuf {
        log_of(&self.root, "was")
    }
}

/// How long the event log of a root is, in bytes.
fn log_length(root: &Path) -> u64 {
    let metadata = fs::metadata(event_log_path(root, Channel::System));
    metadata.map_or(0, |metadata| metadata.len())
}
