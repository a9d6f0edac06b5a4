//! Performs an operation on a running server, the way an administrator would.

use rustix::process::{Pid, Signal, kill_process};
use sim_was::control::{Answer, Command, Service};

use super::server::{Server, ServerError};
use crate::scenario::Operation;

/// Source: iisreset usage: 20 s for a restart.
const RESTART_TIMEOUT_MS: u64 = 20_000;
/// Assumed: `net stop` waits for the service manager's 30 s.
const NET_STOP_TIMEOUT_MS: u64 = 30_000;

/// Performs `operation`; returns when the tool that an administrator would use has returned.
pub(super) fn perform(
    server: &Server,
    operation: Operation,
    pool: &str,
) -> Result<(), ServerError> {
    let name = pool.to_owned();
    match operation {
        Operation::None => Ok(()),
        Operation::Iisreset => restart(server, &[Service::W3svc, Service::Was], true),
        Operation::IisresetNoforce => restart(server, &[Service::W3svc, Service::Was], false),
        Operation::RestartWas => {
            let services = vec![Service::W3svc, Service::Was];
            stop(server, services, NET_STOP_TIMEOUT_MS, false)?;
            start(server, vec![Service::Was, Service::W3svc])
        }
        Operation::RestartW3svc => {
            stop(server, vec![Service::W3svc], NET_STOP_TIMEOUT_MS, false)?;
            start(server, vec![Service::W3svc])
        }
        Operation::StopStart => {
            done(server, &Command::StopApplicationPool { name: name.clone() })?;
            done(server, &Command::StartApplicationPool { name })
        }
        Operation::Recycle | Operation::RecycleNonoverlapped => {
            done(server, &Command::RecycleApplicationPool { name })
        }
        Operation::KillW3wp => kill_workers(server, pool),
    }
}

fn restart(server: &Server, services: &[Service], force: bool) -> Result<(), ServerError> {
    stop(server, services.to_vec(), RESTART_TIMEOUT_MS, force)?;
    start(server, services.iter().rev().copied().collect())
}

fn stop(
    server: &Server,
    services: Vec<Service>,
    timeout_ms: u64,
    force: bool,
) -> Result<(), ServerError> {
    done(
        server,
        &Command::StopServices {
            services,
            timeout_ms,
            force,
        },
    )
}

fn start(server: &Server, services: Vec<Service>) -> Result<(), ServerError> {
    done(server, &Command::StartServices { services })
}

fn kill_workers(server: &Server, pool: &str) -> Result<(), ServerError> {
    let Answer::WorkerProcesses(workers) = server.ask(&Command::ListWorkerProcesses)? else {
        return Err(ServerError::Control(
            "no list of worker processes".to_owned(),
        ));
    };
    let of_pool = workers
        .iter()
        .filter(|worker| worker.application_pool == pool);
    let pids: Vec<Pid> = of_pool
        .filter_map(|w| i32::try_from(w.pid).ok().and_then(Pid::from_raw))
        .collect();
    if pids.is_empty() {
        return Err(ServerError::Control(format!(
            "pool {pool} has no worker process to kill"
        )));
    }
    for pid in pids {
        kill_process(pid, Signal::KILL)
            .map_err(|error| ServerError::Control(format!("kill -9: {error}")))?;
    }
    Ok(())
}

fn done(server: &Server, command: &Command) -> Result<(), ServerError> {
    let answer = server.ask(command)?;
    if answer == Answer::Done {
        return Ok(());
    }
    Err(ServerError::Control(format!(
        "{command:?} was answered by {answer:?}"
    )))
}
