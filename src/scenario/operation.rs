//! What is done to a server: the arms of a comparison.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    /// kill -9 of the pool's worker process
    KillW3wp,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Iisreset,
        Self::IisresetNoforce,
        Self::RestartWas,
        Self::RestartW3svc,
        Self::StopStart,
        Self::Recycle,
        Self::RecycleNonoverlapped,
        Self::KillW3wp,
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
            Self::KillW3wp => "kill-w3wp",
        }
    }
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
