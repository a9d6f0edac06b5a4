//! The service control manager's part: `was`, the process that hosts the services, is started, and
//! started again when it ends without having been told to.
//!
//! Source: the recovery settings of WAS and W3SVC, "restart the service", and event 7031. Assumed: the
//! delay before the restart, 0 ms.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use sim_httpsys::live::clock::utc_now;
use sim_was::control::{Service, ServiceStatus};
use sim_was::event_log::Event;
use sim_was::live::EventLogFile;

use super::server::{ServerError, log_of, spawn};

/// Below the root: iisreset has killed the process, and leaves this so that it stays stopped.
pub const KILLED_FILE: &str = "run/was.killed";

/// An end so soon after the start means that the process cannot run.
const RUN_MIN: Duration = Duration::from_secs(1);
/// So many of them in a row, and it is not started again.
const QUICK_ENDS_MAX: u32 = 3;

/// The process `was`, and how often it has ended by itself.
#[derive(Debug)]
pub(super) struct ServiceManager {
    root: PathBuf,
    arguments: Vec<String>,
    process: Child,
    started: Instant,
    terminations: u32,
    quick_ends: u32,
}

impl ServiceManager {
    /// Starts the process with both services.
    pub(super) fn start(root: &Path, arguments: Vec<String>) -> Result<Self, ServerError> {
        Ok(Self {
            process: spawn("was", root, &arguments)?,
            root: root.to_owned(),
            arguments,
            started: Instant::now(),
            terminations: 0,
            quick_ends: 0,
        })
    }

    pub(super) fn process(&mut self) -> &mut Child {
        &mut self.process
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How often the process has ended by itself and was started again.
    pub(super) fn terminations(&self) -> u32 {
        self.terminations
    }

    /// Starts the process again if it has died. If it has ended in order, or cannot run, that is an
    /// end: how it went.
    pub(super) fn keep_running(&mut self) -> Result<Option<ExitStatus>, ServerError> {
        let Ok(Some(status)) = self.process.try_wait() else {
            return Ok(None);
        };
        let by_iisreset = fs::remove_file(self.root.join(KILLED_FILE)).is_ok();
        self.quick_ends = if self.started.elapsed() < RUN_MIN && !by_iisreset {
            self.quick_ends + 1
        } else {
            0
        };
        if status.success() || self.quick_ends >= QUICK_ENDS_MAX {
            return Ok(Some(status));
        }
        if !by_iisreset {
            self.terminations += 1;
        }
        self.log_end(by_iisreset);
        let boot = if by_iisreset { "stopped" } else { "restart" };
        let mut arguments = self.arguments.clone();
        arguments.extend(["--boot".to_owned(), boot.to_owned()]);
        self.process = spawn("was", &self.root, &arguments)?;
        self.started = Instant::now();
        Ok(None)
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
            } else {
                Some(Event::service_terminated(service, self.terminations))
            };
            if let Some(event) = event {
                log.write(&event, utc_now()).ok();
            }
        }
    }

    /// Where the process writes its diagnostics.
    pub(super) fn log(&self) -> PathBuf {
        log_of(&self.root, "was")
    }
}
