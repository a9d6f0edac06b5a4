//! WAS and W3SVC as services: starting, stopping, and what an iisreset makes of both.
//!
//! ```text
//!                read config            queues, groups, URLs
//!  Stopped ─► ReadingConfiguration ─► StartingW3svc ─► Running
//!     ▲                    │  (WAS only)  ▲              │ stop
//!     │                    ▼              │              ▼
//!     └──── stop WAS ─── WasRunning ──────┘ ◄─ StoppingWorkers ◄─ ClosingUrls
//! ```
//!
//! IIS 6 stops in another order (`stop ─► StoppingRouting ─► Draining ─► ClosingUrls`): queues refuse,
//! workers finish what they have, and URLs and connections go last.
//!
//! Order of a stop: URL groups and queues are closed (the driver resets what is connected), then
//! workers are told to stop without draining, then, when all have exited, W3SVC is stopped, then WAS.
//!
//! Source: IIS docs and `TechNet` 3201–3206: W3SVC depends on WAS; the HTTP driver is never restarted.

use std::time::Duration;

use super::ClientId;
use crate::control::{Service, ServiceStatus};

/// Where the two services are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Neither runs.
    #[default]
    Stopped,
    /// WAS starts.
    ReadingConfiguration,
    /// WAS runs alone.
    WasRunning,
    /// W3SVC sets the driver up.
    StartingW3svc,
    /// Both run.
    Running,
    /// IIS 6: W3SVC has the queues refuse.
    StoppingRouting,
    /// IIS 6: W3SVC waits for the workers to finish their requests.
    Draining,
    /// W3SVC takes its URLs and queues back.
    ClosingUrls,
    /// W3SVC waits for the workers to exit.
    StoppingWorkers,
}

impl Phase {
    /// What the service control manager says about a service. A service whose dependents stop runs.
    pub(super) fn status(self, service: Service) -> ServiceStatus {
        match (service, self) {
            (_, Self::Stopped)
            | (Service::W3svc, Self::ReadingConfiguration | Self::WasRunning) => {
                ServiceStatus::Stopped
            }
            (Service::Was, Self::ReadingConfiguration) | (Service::W3svc, Self::StartingW3svc) => {
                ServiceStatus::StartPending
            }
            (
                Service::W3svc,
                Self::StoppingRouting | Self::Draining | Self::ClosingUrls | Self::StoppingWorkers,
            ) => ServiceStatus::StopPending,
            (
                Service::Was,
                Self::WasRunning
                | Self::StartingW3svc
                | Self::Running
                | Self::StoppingRouting
                | Self::Draining
                | Self::ClosingUrls
                | Self::StoppingWorkers,
            )
            | (Service::W3svc, Self::Running) => ServiceStatus::Running,
        }
    }

    /// Whether it is on its way from one state to another.
    pub(super) fn is_pending(self) -> bool {
        match self {
            Self::Stopped | Self::WasRunning | Self::Running => false,
            Self::ReadingConfiguration
            | Self::StartingW3svc
            | Self::StoppingRouting
            | Self::Draining
            | Self::ClosingUrls
            | Self::StoppingWorkers => true,
        }
    }
}

/// An order to stop that is being carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StopOrder {
    /// Who waits; `None` when nobody does (any more).
    pub(super) client: Option<ClientId>,
    /// Whether WAS stops as well.
    pub(super) was: bool,
    /// Whether what has not stopped in time is killed.
    pub(super) force: bool,
    /// Whether the program ends afterwards.
    pub(super) quit: bool,
    /// Whose iisreset it is, if it is one.
    pub(super) reset_by: Option<String>,
}

/// An order to start that is being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartOrder {
    /// Who waits.
    pub(super) client: ClientId,
    /// Whether W3SVC is wanted.
    pub(super) w3svc: bool,
}

/// How long workers have at [`crate::control::Command::Quit`] before they are killed.
/// Assumed: nothing of the server may be left two seconds after its end was ordered.
pub(super) const QUIT_MAX: Duration = Duration::from_millis(1500);

/// The phase, the orders under way, and what was said about the services last.
#[derive(Debug, Default)]
pub(super) struct Services {
    pub(super) phase: Phase,
    pub(super) start: Option<StartOrder>,
    pub(super) stop: Option<StopOrder>,
    stated: Option<[ServiceStatus; 2]>,
}

impl Services {
    pub(super) fn status(&self, service: Service) -> ServiceStatus {
        self.phase.status(service)
    }

    /// The states that differ from what was said last.
    pub(super) fn changes(&mut self) -> Vec<(Service, ServiceStatus)> {
        let now = [self.status(Service::Was), self.status(Service::W3svc)];
        let before = self
            .stated
            .replace(now)
            .unwrap_or([ServiceStatus::Stopped; 2]);
        let mut changes = Vec::new();
        for (index, service) in [Service::Was, Service::W3svc].into_iter().enumerate() {
            if before[index] != now[index] {
                changes.push((service, now[index]));
            }
        }
        changes
    }
}
