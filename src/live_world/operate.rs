//! Performs an operation on a running server, the way an administrator would.

use rustix::process::{Pid, Signal, kill_process};
use sim_was::control::{Answer, Command};

use super::server::{Server, ServerError};
use crate::scenario::{Operation, Served, Step};

/// Performs `operation`; returns when the tool that an administrator would use has returned.
pub(super) fn perform(
    server: &Server,
    operation: Operation,
    on: &Served,
) -> Result<(), ServerError> {
    for step in operation.steps(&on.pool, on.site(), &on.changes) {
        match step {
            Step::Ask(command) => done(server, &command)?,
            Step::KillWorkers(pool) => signal_workers(server, &pool, Signal::KILL)?,
            Step::HangWorkers(pool) => signal_workers(server, &pool, Signal::STOP)?,
            Step::KillWas => signal_was(server, Signal::KILL)?,
            Step::FreezeWas(span) => {
                signal_was(server, Signal::STOP)?;
                std::thread::sleep(span);
                signal_was(server, Signal::CONT)?;
            }
        }
    }
    Ok(())
}

/// Whoever is watched for its end by this process is its child, and nobody else has its pid.
fn signal_was(server: &Server, signal: Signal) -> Result<(), ServerError> {
    let pid = i32::try_from(server.was_pid()).ok().and_then(Pid::from_raw);
    let sent = pid.map(|pid| kill_process(pid, signal));
    match sent {
        Some(Ok(())) => Ok(()),
        other => Err(ServerError::Control(format!(
            "{signal:?} to was: {other:?}"
        ))),
    }
}

fn signal_workers(server: &Server, pool: &str, signal: Signal) -> Result<(), ServerError> {
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
            "pool {pool} has no worker process to send {signal:?} to"
        )));
    }
    for pid in pids {
        kill_process(pid, signal)
            .map_err(|error| ServerError::Control(format!("{signal:?} to {pid:?}: {error}")))?;
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
