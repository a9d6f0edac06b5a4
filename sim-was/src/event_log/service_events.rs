//! Events of services: what the service control manager says of them, and what iisreset was told.

use std::path::Path;

use super::{Event, HTTP, IISRESET, IisReset, Level, SCM, WAS};
use crate::control::{Service, ServiceStatus};

impl Event {
    /// 7036: a service has entered a state.
    /// Source: "The World Wide Web Publishing Service service entered the stopped state."
    pub fn service_state(service: Service, status: ServiceStatus) -> Option<Self> {
        let state = match status {
            ServiceStatus::Running => "running",
            ServiceStatus::Stopped => "stopped",
            ServiceStatus::StartPending | ServiceStatus::StopPending => return None,
        };
        let message = format!(
            "The {} service entered the {state} state.",
            service.display_name()
        );
        let event = Self::new(7036, Level::Information, SCM, message)
            .with("param1", &service.display_name())
            .with("param2", &state);
        Some(event)
    }

    /// 7031: the process of a service has ended without having been told to, for the nth time.
    /// Source: the service control manager's message 7031.
    pub fn service_terminated(service: Service, times: u32) -> Self {
        let name = service.display_name();
        let message = format!(
            "The {name} service terminated unexpectedly.  It has done this {times} time(s).  The following corrective action will be taken in 0 milliseconds: Restart the service."
        );
        Self::new(7031, Level::Error, SCM, message)
            .with("param1", &name)
            .with("param2", &times)
            .with("param3", &0)
            .with("param4", &1)
            .with("param5", &"Restart the service")
    }

    /// 7034: the process of a service has ended for the nth time, and is not started again for it.
    /// Source: the service control manager's message 7034.
    pub fn service_given_up(service: Service, times: u32) -> Self {
        let name = service.display_name();
        let message = format!(
            "The {name} service terminated unexpectedly.  It has done this {times} time(s)."
        );
        Self::new(7034, Level::Error, SCM, message)
            .with("param1", &name)
            .with("param2", &times)
    }

    /// 5030: WAS has ended, and is not started again for it.
    /// Assumed: it goes with 7034; whose recovery is off, and who has failed too often, is in the same case.
    pub fn was_not_restarted() -> Self {
        let message = "The Windows Process Activation Service terminated unexpectedly and the system is not configured to restart it.";
        Self::new(5030, Level::Warning, WAS, message.to_owned())
    }

    /// 15000 or 15002: a log file could not be made, or not be written.
    /// Assumed: the numbers and the texts, from memory of HTTP.sys's messages, which lie before 15005 (no transport) and
    /// 15007 (a reservation was added).
    pub fn log_file_failed(path: &Path, is_open: bool) -> Self {
        let file = path.display();
        let (id, message) = if is_open {
            let text = format!(
                "Unable to write to the log file {file}. Disk may be full. If this is a network path, make sure that network connectivity is not broken."
            );
            (15002, text)
        } else {
            let text = format!(
                "Unable to create log file {file}. Make sure that the logging directory is correct and this computer has write access to that directory."
            );
            (15000, text)
        };
        Self::new(id, Level::Error, HTTP, message).with("LogFile", &file)
    }

    /// 3201 to 3204: what iisreset was told to do, by whom, and what came of it.
    /// Source: `TechNet` "IIS Reset Activity": 3201, 3202, 3203, 3206; Assumed: which is which, from
    /// the order start, stop, reboot, kill.
    pub fn iisreset(activity: IisReset, user: &str, status: u32) -> Self {
        let (id, word) = match activity {
            IisReset::Start => (3201, "start"),
            IisReset::Stop => (3202, "stop"),
            IisReset::Reboot => (3203, "reboot"),
            IisReset::Kill => (3204, "kill"),
        };
        let message = format!(
            "IIS {word} command received from user {user}. The logged data is the status code."
        );
        Self::new(id, Level::Information, IISRESET, message)
            .with("User", &user)
            .with("Status", &format!("{status:08x}"))
    }
}
