//! `sc query`: what the service control manager says about the services of a running server.
//!
//! Source: the layout of sc.exe. Left out: everything that changes services; `net` and `iisreset` do.

use std::process::ExitCode;

use sim_was::control::client::AskError;
use sim_was::control::{REQUEST_TIMEOUT, Service, ServiceStatus};

use super::{net, take_root};

const HELP: &str = "USAGE: sc query [WAS | W3SVC] [--root DIR]";

/// Runs `sc` with the words after its name.
pub(super) fn main(mut words: Vec<String>) -> ExitCode {
    let root = match take_root(&mut words) {
        Ok(root) => root,
        Err(message) => return wrong(&message),
    };
    let wanted = match words
        .first()
        .map(|word| word.to_ascii_lowercase())
        .as_deref()
    {
        Some("query" | "queryex") => words.get(1),
        Some("/?" | "-?" | "--help") | None => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(other) => return wrong(&format!("sc {other}: only query is simulated")),
    };
    let service = wanted.map(|name| net::service(name));
    if service == Some(None) {
        // Source: winerror.h, ERROR_SERVICE_DOES_NOT_EXIST (1060).
        println!(
            "[SC] EnumQueryServicesStatus:OpenService FAILED 1060:\n\nThe specified service does not exist as an installed service.\n"
        );
        return ExitCode::FAILURE;
    }
    match net::states(&root) {
        Ok(states) => {
            let wanted = |of: &Service| service.flatten().is_none_or(|service| service == *of);
            for (service, status) in states.into_iter().filter(|(of, _)| wanted(of)) {
                print!("{}", entry(service, status));
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
        AskError::NoAnswer { source, .. } => format!("{error}: {source}"),
    }
}

fn wrong(message: &str) -> ExitCode {
    println!("{message}\n\n{HELP}");
    ExitCode::FAILURE
}

fn entry(service: Service, status: ServiceStatus) -> String {
    let (number, word) = match status {
        ServiceStatus::Stopped => (1, "STOPPED"),
        ServiceStatus::StartPending => (2, "START_PENDING"),
        ServiceStatus::StopPending => (3, "STOP_PENDING"),
        ServiceStatus::Running => (4, "RUNNING"),
    };
    let accepts = if status == ServiceStatus::Running {
        "(STOPPABLE, NOT_PAUSABLE, ACCEPTS_SHUTDOWN)"
    } else {
        "(NOT_STOPPABLE, NOT_PAUSABLE, IGNORES_SHUTDOWN)"
    };
    let indent = " ".repeat(32);
    format!(
        "\nSERVICE_NAME: {}\nDISPLAY_NAME: {}\n        TYPE               : 20  WIN32_SHARE_PROCESS  \n        STATE              : {number}  {word} \n{indent}{accepts}\n        WIN32_EXIT_CODE    : 0  (0x0)\n        SERVICE_EXIT_CODE  : 0  (0x0)\n        CHECKPOINT         : 0x0\n        WAIT_HINT          : 0x0\n",
        service.name(),
        service.display_name(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_laid_out_as_by_sc() {
        let text = entry(Service::W3svc, ServiceStatus::Running);
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
