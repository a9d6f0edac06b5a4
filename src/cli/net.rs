//! `net start` and `net stop`, for the services of a running server.
//!
//! Source: the texts of net.exe: a service that others depend on is stopped after them, and only if
//! `/y` or an answer allows it; dots while it takes long; NET HELPMSG numbers with failures, exit
//! code 2.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use sim_was::control::client::{AskError, Question, ask_telling};
use sim_was::control::{Answer, CALL_FAILED, Command, Refusal, Service, ServiceStatus};

use super::{say_waiting, take_root};

const HELP: &str = "The syntax of this command is:

NET { START [service] | STOP service [/y] } [--root DIR]

  service   W3SVC or \"World Wide Web Publishing Service\",
            WAS or \"Windows Process Activation Service\";
            HTTP is the driver: it runs as long as the server does
  /y        also stop what depends on it, without asking

Exit code 0 when it was done, 2 when not.";

/// Source: help of net.exe: exit code 2 when something was not done.
const NOT_DONE: u8 = 2;

/// Assumed: `net` gives up a start or a stop after the 30 s of the service control manager.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Assumed: how often `net` looks whether a service has started or stopped, and prints a dot.
const DOT: Duration = Duration::from_millis(2500);

/// Why something was not done, in the words of net.exe.
type Failure = String;

/// Runs `net` with the words after its name.
pub(super) fn main(mut words: Vec<String>) -> ExitCode {
    let root = match take_root(&mut words) {
        Ok(root) => root,
        Err(message) => return wrong(&message),
    };
    let (mut switches, words): (Vec<String>, Vec<String>) = words
        .into_iter()
        .partition(|word| word.starts_with('/') || word == "-?");
    for switch in &mut switches {
        switch.make_ascii_lowercase();
    }
    let wrong_switch = |switch: &&String| !["/y", "/?", "-?"].contains(&switch.as_str());
    if let Some(switch) = switches.iter().find(wrong_switch) {
        // Source: net.exe, NET HELPMSG 3506.
        return wrong(&format!("The option {} is unknown.", switch.to_uppercase()));
    }
    let yes = switches.iter().any(|switch| switch == "/y");
    let help = switches.iter().any(|switch| switch != "/y");
    let verb = words.first().map(|word| word.to_ascii_lowercase());
    let name = words.get(1..).unwrap_or_default().join(" ");
    let done = match (verb.as_deref(), name.as_str()) {
        _ if help => return print_help(),
        (Some("help" | "--help"), _) => return print_help(),
        (Some("start"), "") => list(&root),
        (Some("start"), name) => installed(name).and_then(|known| match known {
            Installed::Service(service) => start(&root, service),
            Installed::Driver => start_driver(&root),
        }),
        (Some("stop"), name) if !name.is_empty() => installed(name).and_then(|known| match known {
            Installed::Service(service) => stop(&root, service, yes),
            Installed::Driver => stop_driver(&root),
        }),
        _ => return wrong("net: start or stop, and a service"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("{message}");
            ExitCode::from(NOT_DONE)
        }
    }
}

fn print_help() -> ExitCode {
    println!("{HELP}");
    ExitCode::SUCCESS
}

fn wrong(message: &str) -> ExitCode {
    println!("{message}\n\n{HELP}");
    ExitCode::from(NOT_DONE)
}

/// What the service control manager knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Installed {
    /// A service.
    Service(Service),
    /// HTTP.sys, a kernel driver.
    Driver,
}

impl Installed {
    /// In the order in which they depend on each other.
    pub(super) const ALL: [Self; 3] = [
        Self::Driver,
        Self::Service(Service::Was),
        Self::Service(Service::W3svc),
    ];

    /// The name that the service control manager knows it by.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Service(service) => service.name(),
            Self::Driver => "HTTP",
        }
    }

    /// The name that people read. Assumed: that of the driver as Windows 10 has it.
    pub(super) fn display_name(self) -> &'static str {
        match self {
            Self::Service(service) => service.display_name(),
            Self::Driver => "HTTP Service",
        }
    }

    /// By either of its names.
    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| {
            name.eq_ignore_ascii_case(known.name())
                || name.eq_ignore_ascii_case(known.display_name())
        })
    }
}

fn installed(name: &str) -> Result<Installed, Failure> {
    Installed::of(name).ok_or_else(|| help_message("The service name is invalid.", 2185))
}

fn help_message(text: &str, number: u32) -> Failure {
    format!("{text}\n\nMore help is available by typing NET HELPMSG {number}.\n")
}

/// The states of both services.
pub(super) fn states(root: &Path) -> Result<Vec<(Service, ServiceStatus)>, AskError> {
    let answer = ask_telling(root, &Command::ServiceStatus, say_waiting)?;
    if let Answer::Services(services) = answer {
        return Ok(services);
    }
    Err(AskError::NoAnswer {
        root: root.to_owned(),
        source: io::Error::other(format!("unexpected answer: {answer:?}")).into(),
    })
}

fn state(root: &Path, service: Service) -> Result<ServiceStatus, Failure> {
    let states = states(root).map_err(|error| unreached(&error))?;
    let found = states.into_iter().find(|(of, _)| *of == service);
    Ok(found.map_or(ServiceStatus::Stopped, |(_, status)| status))
}

fn unreached(error: &AskError) -> Failure {
    match error {
        AskError::Denied { .. } => "System error 5 has occurred.\n\nAccess is denied.\n".to_owned(),
        AskError::NotRunning { .. } => error.to_string(),
        AskError::NoAnswer { .. } => {
            format!("System error 1726 has occurred.\n\n{CALL_FAILED}\n")
        }
        AskError::TimedOut { .. } => not_responding(),
    }
}

/// Source: net.exe, NET HELPMSG 2186.
fn not_responding() -> Failure {
    help_message(
        "The service is not responding to the control function.",
        2186,
    )
}

fn list(root: &Path) -> Result<(), Failure> {
    let running = states(root).map_err(|error| unreached(&error))?;
    let running = running.iter().filter(|(_, s)| *s == ServiceStatus::Running);
    println!("These Windows services are started:\n");
    for (service, _) in running {
        println!("   {}", service.display_name());
    }
    println!("\nThe command completed successfully.\n");
    Ok(())
}

// ---- start --------------------------------------------------------------------------------------

fn start(root: &Path, service: Service) -> Result<(), Failure> {
    match state(root, service)? {
        ServiceStatus::Running => return Err(already_started()),
        ServiceStatus::StartPending | ServiceStatus::StopPending => return Err(pending()),
        ServiceStatus::Stopped => {}
    }
    let name = service.display_name();
    print!("The {name} service is starting");
    io::stdout().flush().ok();
    let services = vec![service];
    let answer = wait_with_dots(root, &Command::StartServices { services });
    println!(".");
    let answer = answer.map_err(|error| unreached(&error))?;
    if answer == Some(Answer::Done) {
        println!("The {name} service was started successfully.\n");
        return Ok(());
    }
    println!("The {name} service could not be started.\n");
    match &answer {
        Some(Answer::Refused(refusal)) => Err(system_error(refusal)),
        Some(answer) => Err(format!("unexpected answer: {answer:?}")),
        None => Err(not_responding()),
    }
}

fn already_started() -> Failure {
    help_message("The requested service has already been started.", 2182)
}

/// The driver runs as long as the server does.
fn start_driver(root: &Path) -> Result<(), Failure> {
    states(root).map_err(|error| unreached(&error))?;
    Err(already_started())
}

/// Left out: a driver that is stopped while the server goes on; nothing would be left to simulate.
fn stop_driver(root: &Path) -> Result<(), Failure> {
    states(root).map_err(|error| unreached(&error))?;
    let name = Installed::Driver.display_name();
    Err(format!(
        "The {name} service could not be stopped.\n\n\
         The simulated driver cannot be stopped alone: it ends with the server, iis-sim up.\n"
    ))
}

// ---- stop ---------------------------------------------------------------------------------------

/// Source: W3SVC depends on WAS.
fn dependents(root: &Path, service: Service) -> Result<Vec<Service>, Failure> {
    Ok(match service {
        Service::W3svc => Vec::new(),
        Service::Was if state(root, Service::W3svc)? == ServiceStatus::Stopped => Vec::new(),
        Service::Was => vec![Service::W3svc],
    })
}

fn stop(root: &Path, service: Service, yes: bool) -> Result<(), Failure> {
    let name = service.display_name();
    match state(root, service)? {
        ServiceStatus::Stopped => {
            return Err(help_message(
                &format!("The {name} service is not started."),
                3521,
            ));
        }
        ServiceStatus::StartPending | ServiceStatus::StopPending => return Err(pending()),
        ServiceStatus::Running => {}
    }
    let dependents = dependents(root, service)?;
    if !dependents.is_empty() {
        println!("The following services are dependent on the {name} service.");
        println!("Stopping the {name} service will also stop these services.\n");
        for dependent in &dependents {
            println!("   {}", dependent.display_name());
        }
        println!();
        if !yes {
            confirm()?;
        }
    }
    for service in dependents.into_iter().chain([service]) {
        stop_one(root, service)?;
    }
    Ok(())
}

/// Asks on the terminal; whoever says nothing says no.
fn confirm() -> Result<(), Failure> {
    print!("Do you want to continue this operation? (Y/N) [N]: ");
    io::stdout().flush().ok();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer).unwrap_or(0);
    match answer.trim().chars().next() {
        Some('y' | 'Y') => {
            println!();
            Ok(())
        }
        _ if read == 0 => Err("\nNo valid response was provided.\n".to_owned()),
        _ => Err(String::new()),
    }
}

fn stop_one(root: &Path, service: Service) -> Result<(), Failure> {
    let name = service.display_name();
    print!("The {name} service is stopping");
    io::stdout().flush().ok();
    let timeout_ms = u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    let command = Command::StopServices {
        services: vec![service],
        timeout_ms,
        force: false,
        reset_by: None,
    };
    let answer = wait_with_dots(root, &command);
    println!(".");
    match answer.map_err(|error| unreached(&error))? {
        Some(Answer::Done) => {
            println!("The {name} service was stopped successfully.\n");
            Ok(())
        }
        Some(Answer::Refused(Refusal::TimedOut)) | None => {
            Err(format!("The {name} service could not be stopped.\n"))
        }
        Some(Answer::Refused(refusal)) if refusal == Refusal::cannot_accept_control() => {
            Err(pending())
        }
        Some(Answer::Refused(refusal)) => Err(system_error(&refusal)),
        Some(other) => Err(format!("unexpected answer: {other:?}")),
    }
}

/// `None` if the service control manager's patience ends first.
fn wait_with_dots(root: &Path, command: &Command) -> Result<Option<Answer>, AskError> {
    let mut question = Question::put(root, command)?;
    let mut waited = Duration::ZERO;
    while waited <= TIMEOUT {
        if let Some(answer) = question.answer(DOT)? {
            return Ok(Some(answer));
        }
        waited += DOT;
        print!(".");
        io::stdout().flush().ok();
    }
    Ok(None)
}

fn pending() -> Failure {
    help_message(
        "The service is starting or stopping.  Please try again later.",
        2189,
    )
}

/// Source: net.exe: `System error <number> has occurred.`, then its text.
fn system_error(refusal: &Refusal) -> Failure {
    match refusal {
        Refusal::Failed { hresult, message } => {
            let code = hresult & 0xffff;
            format!("System error {code} has occurred.\n\n{message}\n")
        }
        Refusal::TimedOut => system_error(&Refusal::request_timeout()),
        Refusal::NotFound { object, identifier } => format!("{object} {identifier} is not there\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_two_names() {
        assert_eq!(
            Installed::of("w3svc"),
            Some(Installed::Service(Service::W3svc))
        );
        assert_eq!(
            Installed::of("windows process activation service"),
            Some(Installed::Service(Service::Was))
        );
        assert_eq!(Installed::of("http"), Some(Installed::Driver));
        assert_eq!(
            installed("spooler"),
            Err("The service name is invalid.\n\nMore help is available by typing NET HELPMSG 2185.\n".to_owned())
        );
    }
}
