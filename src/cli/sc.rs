//! `sc query` and `sc queryex`: what the service control manager says about the services of a running server.
//!
//! Source: the layout of sc.exe. Left out: everything that changes services; `net` and `iisreset` do.

use std::process::ExitCode;

use sim_was::control::client::{AskError, services_process};
use sim_was::control::{CALL_FAILED, REQUEST_TIMEOUT, ServiceStatus};

use super::net::{self, Installed};
use super::take_root;

const HELP: &str = "USAGE: sc query|queryex [service] [type= TYPE] [state= STATE] [--root DIR]

  service   WAS, W3SVC or HTTP, the driver
  type=     service (the default without a name), driver or all
  state=    active, inactive or all (the default)";

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    name: Option<String>,
    types: Option<Types>,
    states: States,
}

/// `type=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Types {
    Service,
    Driver,
    All,
}

/// `state=`. Assumed: without it all are listed, as there are so few; sc.exe lists the active ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum States {
    Active,
    Inactive,
    #[default]
    All,
}

impl Wish {
    /// Source: sc.exe: the name of an option ends with `=`, and its value is the next word.
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut wish = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some((option, joined)) = word.split_once('=') else {
                if let Some(first) = wish.name.replace(word.clone()) {
                    return Err(format!("one service at most: {first}, and what is {word}?"));
                }
                continue;
            };
            let value = match joined {
                "" => words.next().map_or("", String::as_str),
                value => value,
            };
            let invalid = || format!("invalid option: {option}= {value}");
            match (
                option.to_ascii_lowercase().as_str(),
                value.to_ascii_lowercase().as_str(),
            ) {
                ("type", "service") => wish.types = Some(Types::Service),
                ("type", "driver") => wish.types = Some(Types::Driver),
                ("type", "all") => wish.types = Some(Types::All),
                ("state", "active") => wish.states = States::Active,
                ("state", "inactive") => wish.states = States::Inactive,
                ("state", "all") => wish.states = States::All,
                _ => return Err(invalid()),
            }
        }
        Ok(wish)
    }

    fn wants(&self, of: Installed, status: ServiceStatus) -> bool {
        let named = self.name.as_deref().map(Installed::of);
        let types = self.types.unwrap_or(if named.is_some() {
            Types::All
        } else {
            Types::Service
        });
        let of_type = match types {
            Types::Service => of != Installed::Driver,
            Types::Driver => of == Installed::Driver,
            Types::All => true,
        };
        let in_state = match self.states {
            States::Active => status != ServiceStatus::Stopped,
            States::Inactive => status == ServiceStatus::Stopped,
            States::All => true,
        };
        of_type && in_state && named.is_none_or(|named| named == Some(of))
    }
}

/// Runs `sc` with the words after its name.
pub(super) fn main(mut words: Vec<String>) -> ExitCode {
    let root = match take_root(&mut words) {
        Ok(root) => root,
        Err(message) => return wrong(&message),
    };
    let verb = words.first().map(|word| word.to_ascii_lowercase());
    let asks_help = |word: &String| ["/?", "-?", "--help"].contains(&word.as_str());
    match verb.as_deref() {
        _ if words.is_empty() || words.iter().any(asks_help) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some("query" | "queryex") => {}
        verb => {
            let verb = verb.unwrap_or_default();
            return wrong(&format!("sc {verb}: only query is simulated"));
        }
    }
    let wish = match Wish::parse(&words[1..]) {
        Ok(wish) => wish,
        Err(message) => return wrong(&message),
    };
    if wish
        .name
        .as_ref()
        .is_some_and(|name| Installed::of(name).is_none())
    {
        // Source: winerror.h, ERROR_SERVICE_DOES_NOT_EXIST (1060).
        println!(
            "[SC] EnumQueryServicesStatus:OpenService FAILED 1060:\n\nThe specified service does not exist as an installed service.\n"
        );
        return ExitCode::FAILURE;
    }
    let is_extended = verb.as_deref() == Some("queryex");
    match net::states(&root).and_then(|states| Ok((states, services_process(&root)?))) {
        Ok((states, pid)) => {
            let services = states
                .into_iter()
                .map(|(service, status)| (Installed::Service(service), status));
            // Whoever answers has a driver that runs.
            let all = std::iter::once((Installed::Driver, ServiceStatus::Running)).chain(services);
            for (of, status) in all.filter(|(of, status)| wish.wants(*of, *status)) {
                print!("{}", entry(of, status));
                if is_extended {
                    print!("{}", process(of, status, pid));
                }
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}", failure(&error));
            ExitCode::FAILURE
        }
    }
}

/// Source: sc.exe: `[SC] FUNCTION FAILED NUMBER:`, then the system message.
fn failure(error: &AskError) -> String {
    let failed =
        |number, text| format!("[SC] EnumQueryServicesStatus FAILED {number}:\n\n{text}\n");
    match error {
        AskError::TimedOut { .. } => failed(1053, REQUEST_TIMEOUT),
        AskError::Denied { .. } => failed(5, "Access is denied."),
        AskError::NotRunning { .. } => error.to_string(),
        AskError::NoAnswer { .. } => failed(1726, CALL_FAILED),
    }
}

fn wrong(message: &str) -> ExitCode {
    println!("{message}\n\n{HELP}");
    ExitCode::FAILURE
}

fn entry(of: Installed, status: ServiceStatus) -> String {
    let (number, word) = match status {
        ServiceStatus::Stopped => (1, "STOPPED"),
        ServiceStatus::StartPending => (2, "START_PENDING"),
        ServiceStatus::StopPending => (3, "STOP_PENDING"),
        ServiceStatus::Running => (4, "RUNNING"),
    };
    // The driver cannot be stopped alone here.
    let accepts = if status == ServiceStatus::Running && of != Installed::Driver {
        "(STOPPABLE, NOT_PAUSABLE, ACCEPTS_SHUTDOWN)"
    } else {
        "(NOT_STOPPABLE, NOT_PAUSABLE, IGNORES_SHUTDOWN)"
    };
    let types = match of {
        Installed::Service(_) => "20  WIN32_SHARE_PROCESS",
        Installed::Driver => "1  KERNEL_DRIVER",
    };
    let indent = " ".repeat(32);
    format!(
        "\nSERVICE_NAME: {}\nDISPLAY_NAME: {}\n        TYPE               : {types}  \n        STATE              : {number}  {word} \n{indent}{accepts}\n        WIN32_EXIT_CODE    : 0  (0x0)\n        SERVICE_EXIT_CODE  : 0  (0x0)\n        CHECKPOINT         : 0x0\n        WAIT_HINT          : 0x0\n",
        of.name(),
        of.display_name(),
    )
}

/// Source: sc.exe, `queryex`: the process id and the flags behind what `query` says; 0 for what stands still and for
/// a driver. Both services live in one process, as in one svchost.exe.
fn process(of: Installed, status: ServiceStatus, pid: u32) -> String {
    let has_process = of != Installed::Driver && status != ServiceStatus::Stopped;
    let pid = if has_process { pid } else { 0 };
    format!("        PID                : {pid}\n        FLAGS              : \n")
}

#[cfg(test)]
mod tests {
    use sim_was::control::Service;

    use super::*;

    fn wish(text: &str) -> Result<Wish, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Wish::parse(&words)
    }

    fn found(text: &str) -> Vec<&'static str> {
        let wish = wish(text).unwrap();
        let status = |of| match of {
            Installed::Service(Service::W3svc) => ServiceStatus::Stopped,
            Installed::Service(Service::Was) | Installed::Driver => ServiceStatus::Running,
        };
        let wanted = Installed::ALL
            .into_iter()
            .filter(|of| wish.wants(*of, status(*of)));
        wanted.map(Installed::name).collect()
    }

    #[test]
    fn services_are_listed_by_name_type_and_state() {
        assert_eq!(found(""), ["WAS", "W3SVC"]);
        assert_eq!(found("state= all"), ["WAS", "W3SVC"]);
        assert_eq!(found("state= inactive"), ["W3SVC"]);
        assert_eq!(found("type= all state=active"), ["HTTP", "WAS"]);
        assert_eq!(found("http"), ["HTTP"]);
    }

    #[test]
    fn a_second_name_and_a_wrong_option_are_told() {
        assert!(wish("WAS W3SVC").is_err_and(|message| message.contains("W3SVC")));
        assert!(wish("state= frozen").is_err_and(|message| message.contains("state= frozen")));
        assert!(wish("state=").is_err());
    }

    #[test]
    fn the_driver_is_a_kernel_driver() {
        let text = entry(Installed::Driver, ServiceStatus::Running);
        assert!(text.starts_with("\nSERVICE_NAME: HTTP\n"));
        assert!(text.contains("\n        TYPE               : 1  KERNEL_DRIVER  \n"));
    }

    #[test]
    fn the_process_of_a_service_is_told_and_what_stands_still_has_none() {
        let w3svc = Installed::Service(Service::W3svc);
        let pid = |of, status| process(of, status, 4702);
        assert_eq!(
            pid(w3svc, ServiceStatus::StopPending),
            "        PID                : 4702\n        FLAGS              : \n"
        );
        assert!(pid(w3svc, ServiceStatus::Stopped).contains(": 0\n"));
        assert!(pid(Installed::Driver, ServiceStatus::Running).contains(": 0\n"));
    }

    #[test]
    fn an_entry_is_laid_out_as_by_sc() {
        let w3svc = Installed::Service(Service::W3svc);
        let text = entry(w3svc, ServiceStatus::Running);
        assert!(text.starts_with("\nSERVICE_NAME: W3SVC\nDISPLAY_NAME: World Wide Web"));
        assert!(text.contains("\n        STATE              : 4  RUNNING \n"));
    }

    #[test]
    fn a_server_that_stands_still_is_a_request_timeout() {
        let root = "iis-sim-root".into();
        let text = failure(&AskError::TimedOut { root });
        assert!(
            text.starts_with("[SC] EnumQueryServicesStatus FAILED 1053:\n\nThe service did not")
        );
    }
}
