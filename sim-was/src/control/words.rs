//! Commands and answers in words, for whoever is told that something was not done.

use std::fmt;

use super::{Answer, Command, Refusal, Service};

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |services: &[Service]| {
            let names: Vec<&str> = services.iter().map(|service| service.name()).collect();
            names.join(" and ")
        };
        match self {
            Self::ListApplicationPools => f.write_str("listing the application pools"),
            Self::ListSites => f.write_str("listing the sites"),
            Self::ListApplications => f.write_str("listing the applications"),
            Self::ListVirtualDirectories => f.write_str("listing the virtual directories"),
            Self::ListWorkerProcesses => f.write_str("listing the worker processes"),
            Self::ListRequests => f.write_str("listing the requests"),
            Self::StartApplicationPool { name } => write!(f, "starting the pool \"{name}\""),
            Self::StopApplicationPool { name } => write!(f, "stopping the pool \"{name}\""),
            Self::RecycleApplicationPool { name } => write!(f, "recycling the pool \"{name}\""),
            Self::ChangeConfiguration { changes } => {
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                write!(f, "changing {}", changes.join(", "))
            }
            Self::KillWorkerProcess { pid } => write!(f, "killing the worker process {pid}"),
            Self::StartSite { name } => write!(f, "starting the site \"{name}\""),
            Self::StopSite { name } => write!(f, "stopping the site \"{name}\""),
            Self::StopServices { services, .. } => write!(f, "stopping {}", listed(services)),
            Self::StartServices { services } => write!(f, "starting {}", listed(services)),
            Self::QueryCounters { .. } => f.write_str("reading the counters"),
            Self::ServiceStatus => f.write_str("asking for the state of the services"),
            Self::Quit => f.write_str("ending the server"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { object, identifier } => {
                write!(f, "there is no {object} \"{identifier}\"")
            }
            Self::Failed { hresult, message } => {
                write!(f, "{} (0x{hresult:08x})", message.trim_end_matches('.'))
            }
            Self::TimedOut => f.write_str("the services did not stop in time"),
        }
    }
}

impl Command {
    /// What is to be said if it was answered by something else than that it is done.
    pub fn not_done(&self, answer: &Answer) -> String {
        match answer {
            Answer::Refused(refusal) => format!("{self} was refused: {refusal}"),
            Answer::Done
            | Answer::ApplicationPools(_)
            | Answer::Sites(_)
            | Answer::Applications(_)
            | Answer::VirtualDirectories(_)
            | Answer::WorkerProcesses(_)
            | Answer::Requests(_)
            | Answer::Counters(_)
            | Answer::Services(_) => format!("{self} was answered by something else"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_told_in_words() {
        let name = "DefaultAppPool".to_owned();
        let said = Command::RecycleApplicationPool { name }
            .not_done(&Answer::Refused(Refusal::not_started()));
        let wanted = "recycling the pool \"DefaultAppPool\" was refused: The service has not been started \
                      (0x80070426)";
        assert_eq!(said, wanted);
    }
}
