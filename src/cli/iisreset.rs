//! `iisreset`: stops and starts the services of a running server.
//!
//! Source: the usage text, console lines and limits of iisreset.exe: 20 s for a restart, 60 s for a
//! stop; without /NOFORCE what did not stop in time is killed. HTTP.sys is not restarted.

use std::path::Path;
use std::process::ExitCode;

use sim_was::control::client::ask;
use sim_was::control::{Answer, Command, Refusal, Service, ServiceStatus};

use super::take_root;

const HELP: &str = "IISRESET.EXE (c) iis-sim, after the tool of the same name

Usage:
iisreset [--root DIR]

    /RESTART            Stop and then restart all Internet services.
    /START              Start all Internet services.
    /STOP               Stop all Internet services.
    /REBOOT             Reboot the computer (not supported since IIS 7).
    /REBOOTONERROR      Reboot the computer if an error occurs (not supported since IIS 7).
    /NOFORCE            Do not forcefully terminate Internet services if
                        attempting to stop them gracefully fails.
    /TIMEOUT:val        Specify the timeout value ( in seconds ) to wait for
                        a successful stop of Internet services. On expiration
                        of this timeout the services are killed, unless the
                        /NOFORCE parameter is specified.
                        The default value is 20s for restart, 60s for stop.
    /STATUS             Display the status of all Internet services.
    /ENABLE, /DISABLE   Enable or disable restarting of Internet Services (not simulated).";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Restart,
    Stop,
    Start,
    Status,
    Help,
}

/// A command line, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    action: Action,
    force: bool,
    timeout_s: Option<u64>,
}

/// The services that iisreset stops; it starts them in reverse.
const SERVICES: [Service; 2] = [Service::W3svc, Service::Was];

/// Runs `iisreset` with the words after its name.
pub(super) fn main(mut words: Vec<String>) -> ExitCode {
    let parsed = take_root(&mut words).and_then(|root| Ok((root, parse(&words)?)));
    let (root, wish) = match parsed {
        Ok(both) => both,
        Err(message) => {
            println!("{message}\n\n{HELP}");
            return ExitCode::FAILURE;
        }
    };
    match wish.action {
        Action::Help => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Action::Status => status(&root),
        Action::Stop => run(&root, &[Phase::Stop], &wish, "Stop"),
        Action::Start => run(&root, &[Phase::Start], &wish, "Start"),
        Action::Restart => run(&root, &[Phase::Stop, Phase::Start], &wish, "Restart"),
    }
}

fn parse(words: &[String]) -> Result<Wish, String> {
    let mut wish = Wish {
        action: Action::Restart,
        force: true,
        timeout_s: None,
    };
    for word in words {
        let upper = word.to_ascii_uppercase().replacen('-', "/", 1);
        match upper.as_str() {
            "/RESTART" => wish.action = Action::Restart,
            "/STOP" => wish.action = Action::Stop,
            "/START" => wish.action = Action::Start,
            "/STATUS" => wish.action = Action::Status,
            "/NOFORCE" => wish.force = false,
            "/?" | "//HELP" | "/HELP" => wish.action = Action::Help,
            "/REBOOT" | "/REBOOTONERROR" => {
                return Err(format!(
                    "{upper}: restarting the computer is not supported since IIS 7"
                ));
            }
            "/ENABLE" | "/DISABLE" => return Err(format!("{upper} is not simulated")),
            other => {
                let seconds = other.strip_prefix("/TIMEOUT:").and_then(|s| s.parse().ok());
                wish.timeout_s = Some(seconds.ok_or_else(|| {
                    format!(
                        "invalid switch: {word}; /TIMEOUT takes whole seconds, e.g. /TIMEOUT:30"
                    )
                })?);
            }
        }
    }
    Ok(wish)
}

/// A half of a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Stop,
    Start,
}

fn run(root: &Path, phases: &[Phase], wish: &Wish, whole: &str) -> ExitCode {
    // Source: iisreset usage: 20 s for a restart, 60 s for a stop.
    let timeout_s = wish
        .timeout_s
        .unwrap_or(if phases.len() == 2 { 20 } else { 60 });
    let last = phases.len() - 1;
    for (at, phase) in phases.iter().enumerate() {
        println!("{}{}", if at == 0 { "\n" } else { "" }, attempting(*phase));
        let command = match phase {
            Phase::Stop => Command::StopServices {
                services: SERVICES.to_vec(),
                timeout_ms: timeout_s.saturating_mul(1000),
                force: wish.force,
            },
            Phase::Start => Command::StartServices {
                services: SERVICES.iter().rev().copied().collect(),
            },
        };
        match ask(root, &command) {
            Ok(Answer::Done) => println!("{}", success(*phase, at == last && last == 1)),
            Ok(Answer::Refused(refusal)) => return failed(whole, &refusal, wish.force),
            Ok(other) => {
                println!("{whole} attempt failed.\nunexpected answer: {other:?}");
                return ExitCode::FAILURE;
            }
            Err(error) => {
                println!("{whole} attempt failed.\n{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn attempting(phase: Phase) -> &'static str {
    match phase {
        Phase::Stop => "Attempting stop...",
        Phase::Start => "Attempting start...",
    }
}

fn success(phase: Phase, restarted: bool) -> &'static str {
    match phase {
        Phase::Stop => "Internet services successfully stopped",
        Phase::Start if restarted => "Internet services successfully restarted",
        Phase::Start => "Internet services successfully started",
    }
}

/// Source: iisreset's failure lines: `<system message> (<decimal>, <hex>)`.
fn failed(whole: &str, refusal: &Refusal, force: bool) -> ExitCode {
    if !force {
        println!("There was an error while performing this operation.");
    }
    println!("{whole} attempt failed.");
    let (message, hresult) = match refusal {
        Refusal::Failed { hresult, message } => (message.as_str(), *hresult),
        Refusal::TimedOut => {
            // Source: winerror.h, ERROR_SERVICE_REQUEST_TIMEOUT (1053) as an HRESULT.
            (
                "The service did not respond to the start or control request in a timely fashion.",
                0x8007_041D,
            )
        }
        Refusal::NotFound { identifier, .. } => (identifier.as_str(), 0x8007_0002),
    };
    println!("{message} ({hresult}, {hresult:x})");
    ExitCode::FAILURE
}

fn status(root: &Path) -> ExitCode {
    let services = match ask(root, &Command::ServiceStatus) {
        Ok(Answer::Services(services)) => services,
        Ok(other) => {
            println!("unexpected answer: {other:?}");
            return ExitCode::FAILURE;
        }
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    for (service, status) in services {
        let name = match service {
            Service::Was => "Windows Process Activation Service ( WAS )",
            Service::W3svc => "World Wide Web Publishing Service ( W3SVC )",
        };
        let status = match status {
            ServiceStatus::Stopped => "Stopped",
            ServiceStatus::StartPending => "Start Pending",
            ServiceStatus::StopPending => "Stop Pending",
            ServiceStatus::Running => "Running",
        };
        println!("Status for {name} : {status}");
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> Result<Wish, String> {
        parse(
            &text
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_restart_forces_by_default() {
        assert_eq!(
            wish(""),
            Ok(Wish {
                action: Action::Restart,
                force: true,
                timeout_s: None
            })
        );
    }

    #[test]
    fn switches_are_read_in_any_case() {
        assert_eq!(
            wish("/stop /NoForce /timeout:5"),
            Ok(Wish {
                action: Action::Stop,
                force: false,
                timeout_s: Some(5)
            })
        );
    }

    #[test]
    fn a_wrong_switch_is_named() {
        assert!(wish("/timeout:x").is_err_and(|message| message.contains("/timeout:x")));
        assert!(wish("/reboot").is_err());
    }
}
