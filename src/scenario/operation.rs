//! What is done to a server: the arms of a comparison.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sim_was::config::edit::Change;
use sim_was::config::{ApplicationPool, Configuration};
use sim_was::control::{Command, Service};
use sim_was::model::Personality;

/// An operation.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Nothing: what the measurement itself costs
    None,
    /// Stop W3SVC and WAS, start both again
    Iisreset,
    /// The same, and nothing is killed that does not stop in time
    IisresetNoforce,
    /// net stop was /y, net start w3svc
    RestartWas,
    /// net stop w3svc, net start w3svc; WAS keeps running
    RestartW3svc,
    /// Stop the pool, start it again
    StopStart,
    /// Recycle the pool, as it is configured (overlapped by default)
    Recycle,
    /// Recycle the pool with disallowOverlappingRotation="true"
    RecycleNonoverlapped,
    /// Change the configuration as appcmd does: what the scenario's server.change says, or
    /// recycling.periodicRestart.requests of the pool, which recycles because of it
    ConfigChange,
    /// kill -9 of the pool's worker process
    KillW3wp,
    /// SIGSTOP of the pool's worker process: it hangs, and is still there
    HangW3wp,
    /// kill -9 of was: its workers end with it, it is started again
    KillWas,
    /// was stands still for two seconds
    FreezeWas,
    /// Stop the first site that serves the pool, start it again
    SiteStopStart,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::None,
        Self::Iisreset,
        Self::IisresetNoforce,
        Self::RestartWas,
        Self::RestartW3svc,
        Self::StopStart,
        Self::Recycle,
        Self::RecycleNonoverlapped,
        Self::ConfigChange,
        Self::KillW3wp,
        Self::HangW3wp,
        Self::KillWas,
        Self::FreezeWas,
        Self::SiteStopStart,
    ];

    /// Its name, as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Iisreset => "iisreset",
            Self::IisresetNoforce => "iisreset-noforce",
            Self::RestartWas => "restart-was",
            Self::RestartW3svc => "restart-w3svc",
            Self::StopStart => "stop-start",
            Self::Recycle => "recycle",
            Self::RecycleNonoverlapped => "recycle-nonoverlapped",
            Self::ConfigChange => "config-change",
            Self::KillW3wp => "kill-w3wp",
            Self::HangW3wp => "hang-w3wp",
            Self::KillWas => "kill-was",
            Self::FreezeWas => "freeze-was",
            Self::SiteStopStart => "site-stop-start",
        }
    }
}

/// Source: iisreset usage: 20 s for a restart.
const RESTART_TIMEOUT_MS: u64 = 20_000;
/// Assumed: `net stop` waits for the service manager's 30 s.
const NET_STOP_TIMEOUT_MS: u64 = 30_000;

/// How long `freeze-was` lasts. Assumed: long enough for every kind of request to come by.
const FREEZE: Duration = Duration::from_secs(2);

/// One step of an operation. The next one is taken when it has succeeded.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Ask the services, and wait for the answer.
    Ask(Command),
    /// kill -9 of every worker process of this pool.
    KillWorkers(String),
    /// Every worker process of this pool stops for good, and is still there.
    HangWorkers(String),
    /// kill -9 of `was`.
    KillWas,
    /// `was` stands still for so long (SIGSTOP, SIGCONT).
    FreezeWas(Duration),
}

impl Operation {
    /// The pool that it is done to, if it is done to any; that is one of all for some.
    pub fn pool(self, pool: &str) -> Option<String> {
        (self != Self::None).then(|| pool.to_owned())
    }

    /// What an administrator does for it, to the pool and the site that are operated on; `changes` are
    /// those of [`Operation::ConfigChange`].
    pub fn steps(self, pool: &str, site: &str, changes: &[Change]) -> Vec<Step> {
        let name = pool.to_owned();
        let both = [Service::W3svc, Service::Was];
        match self {
            Self::None => Vec::new(),
            Self::Iisreset => restart(&both, RESTART_TIMEOUT_MS, true),
            Self::IisresetNoforce => restart(&both, RESTART_TIMEOUT_MS, false),
            Self::RestartWas => restart(&both, NET_STOP_TIMEOUT_MS, false),
            Self::RestartW3svc => restart(&[Service::W3svc], NET_STOP_TIMEOUT_MS, false),
            Self::StopStart => vec![
                Step::Ask(Command::StopApplicationPool { name: name.clone() }),
                Step::Ask(Command::StartApplicationPool { name }),
            ],
            Self::Recycle | Self::RecycleNonoverlapped => {
                vec![Step::Ask(Command::RecycleApplicationPool { name })]
            }
            Self::ConfigChange => {
                let changes = changes.to_vec();
                vec![Step::Ask(Command::ChangeConfiguration { changes })]
            }
            Self::KillW3wp => vec![Step::KillWorkers(name)],
            Self::HangW3wp => vec![Step::HangWorkers(name)],
            Self::KillWas => vec![Step::KillWas],
            Self::FreezeWas => vec![Step::FreezeWas(FREEZE)],
            Self::SiteStopStart => {
                let name = site.to_owned();
                vec![
                    Step::Ask(Command::StopSite { name: name.clone() }),
                    Step::Ask(Command::StartSite { name }),
                ]
            }
        }
    }
}

impl Step {
    /// How long it may take until it has succeeded, by the limits that the configuration and its tool set; what else
    /// it takes is short.
    ///
    /// Source: `shutdownTimeLimit`: a worker that has not ended by then is killed, and the pool has stopped. No order
    /// waits for a worker that starts (`startupTimeLimit`).
    pub(crate) fn longest(
        &self,
        configuration: &Configuration,
        personality: Personality,
    ) -> Duration {
        let pools = || configuration.application_pools.iter();
        let limit = |pool: &ApplicationPool| pool.process_model.shutdown_time_limit;
        if let Self::FreezeWas(span) = self {
            return *span;
        }
        let Self::Ask(command) = self else {
            return Duration::ZERO;
        };
        if let Command::StopApplicationPool { name } = command {
            let pool = pools().find(|pool| pool.name.eq_ignore_ascii_case(name));
            return pool.map(limit).unwrap_or_default();
        }
        let Command::StopServices { timeout_ms, .. } = command else {
            return Duration::ZERO;
        };
        let timeout = Duration::from_millis(*timeout_ms);
        match personality {
            Personality::Iis10 => timeout,
            // The time-out begins where the workers' own limit ends.
            Personality::Iis6 => {
                timeout.saturating_add(pools().map(limit).max().unwrap_or_default())
            }
        }
    }
}

/// Stops services, dependents first, and starts them in the opposite order.
fn restart(services: &[Service], timeout_ms: u64, force: bool) -> Vec<Step> {
    let stop = Command::StopServices {
        services: services.to_vec(),
        timeout_ms,
        force,
        reset_by: None,
    };
    let services = services.iter().rev().copied().collect();
    vec![
        Step::Ask(stop),
        Step::Ask(Command::StartServices { services }),
    ]
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_typed_as_it_is_printed() {
        for operation in Operation::ALL {
            let typed = serde_json::to_value(operation).unwrap();
            assert_eq!(typed, operation.name());
            let argument = clap::ValueEnum::to_possible_value(&operation).unwrap();
            assert_eq!(argument.get_name(), operation.name());
        }
    }
}
