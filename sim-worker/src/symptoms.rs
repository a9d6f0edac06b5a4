//! How a pool's workers misbehave, or how long they take to start: chosen by environment variables of the
//! pool (`environmentVariables` in applicationHost.config), so that it is the same under both clocks.
//!
//! | variable | values | meaning |
//! |---|---|---|
//! | `IIS_SIM_START_CPU` | a duration | CPU time of a start: loading modules, the CLR |
//! | `IIS_SIM_START_WAIT` | a duration | time that a start waits, after that |
//! | `IIS_SIM_START` | `ready`, `never`, `crash`, `abort`, `exit:CODE` | how a start ends |
//! | `IIS_SIM_PINGS` | `answer`, `ignore` | whether pings are answered |
//! | `IIS_SIM_REQUESTS` | `answer`, `ignore` | whether requests are (a zombie takes them and is silent) |
//! | `IIS_SIM_MEMORY_CHECK` | a duration | how often memory limits are checked |

use std::collections::BTreeMap;
use std::time::Duration;

use crate::application::duration;
use crate::model::Death;

/// Variables with this prefix are for the simulated worker.
const PREFIX: &str = "IIS_SIM_";

/// How often a worker looks at its memory, if there is a limit on it.
///
/// Assumed: one minute, the granularity of every other check of a worker; Microsoft documents no
/// period. `IIS_SIM_MEMORY_CHECK` changes it for a pool.
const MEMORY_CHECK: Duration = Duration::from_mins(1);

/// What is peculiar about a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symptoms {
    /// CPU time of its start.
    pub start_cpu: Duration,
    /// What its start waits for after that.
    pub start_wait: Duration,
    /// How its start ends.
    pub start: StartEnd,
    /// Whether it answers pings.
    pub answers_pings: bool,
    /// Whether it answers requests.
    pub answers_requests: bool,
    /// How often it looks at its memory.
    pub memory_check: Duration,
}

/// How a start ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartEnd {
    /// The worker is ready.
    Ready,
    /// It never says so.
    Never,
    /// It dies.
    Dies(Death),
}

impl Default for Symptoms {
    /// A healthy worker that starts at once.
    fn default() -> Self {
        Self {
            start_cpu: Duration::ZERO,
            start_wait: Duration::ZERO,
            start: StartEnd::Ready,
            answers_pings: true,
            answers_requests: true,
            memory_check: MEMORY_CHECK,
        }
    }
}

/// Why a variable was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {name}: {reason}")]
pub struct SymptomError {
    /// Its name.
    pub name: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Symptoms {
    /// Reads a pool's environment variables; those of other programs mean nothing here.
    pub fn of(environment: &BTreeMap<String, String>) -> Result<Self, SymptomError> {
        let mut symptoms = Self::default();
        for (name, value) in environment {
            if let Some(which) = name.strip_prefix(PREFIX) {
                symptoms.set(which, value).map_err(|reason| SymptomError {
                    name: name.clone(),
                    reason,
                })?;
            }
        }
        Ok(symptoms)
    }

    fn set(&mut self, which: &str, value: &str) -> Result<(), String> {
        match which {
            "START_CPU" => self.start_cpu = duration(value)?,
            "START_WAIT" => self.start_wait = duration(value)?,
            "START" => self.start = start_end(value)?,
            "PINGS" => self.answers_pings = answers(value)?,
            "REQUESTS" => self.answers_requests = answers(value)?,
            "MEMORY_CHECK" => {
                self.memory_check = duration(value)?;
                if self.memory_check < Duration::from_millis(10) {
                    return Err(format!("`{value}` is shorter than 10ms"));
                }
            }
            _ => {
                return Err("unknown; there are START_CPU, START_WAIT, START, PINGS, REQUESTS and MEMORY_CHECK after IIS_SIM_".to_owned());
            }
        }
        Ok(())
    }
}

fn start_end(value: &str) -> Result<StartEnd, String> {
    let wrong = || format!("`{value}` is none of ready, never, crash, abort, exit:CODE");
    Ok(match value {
        "ready" => StartEnd::Ready,
        "never" => StartEnd::Never,
        "crash" => StartEnd::Dies(Death::SegmentationFault),
        "abort" => StartEnd::Dies(Death::Abort),
        _ => {
            let code = value.strip_prefix("exit:").ok_or_else(wrong)?;
            let code: u8 = code.parse().map_err(|_| wrong())?;
            StartEnd::Dies(Death::Exit(code.into()))
        }
    })
}

fn answers(value: &str) -> Result<bool, String> {
    match value {
        "answer" => Ok(true),
        "ignore" => Ok(false),
        _ => Err(format!("`{value}` is neither answer nor ignore")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Symptoms, SymptomError> {
        Symptoms::of(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn variables_of_the_application_are_not_ours() {
        assert_eq!(read("ASPNETCORE_ENVIRONMENT", "x"), Ok(Symptoms::default()));
    }

    #[test]
    fn a_mistake_names_the_variable_the_value_and_what_would_be_right() {
        let wrong = |name, value| read(name, value).unwrap_err().to_string();
        assert!(
            wrong("IIS_SIM_START_WAIT", "soon")
                .starts_with("environment variable IIS_SIM_START_WAIT: `soon` is not a duration")
        );
        assert!(wrong("IIS_SIM_START", "exit:999").contains("exit:CODE"));
        assert!(wrong("IIS_SIM_PING", "ignore").contains("PINGS"));
    }

    #[test]
    fn a_start_can_end_with_an_exit_code() {
        let symptoms = read("IIS_SIM_START", "exit:3").unwrap();
        assert_eq!(symptoms.start, StartEnd::Dies(Death::Exit(3)));
    }
}
