//! Performs an operation on a running server, the way an administrator would.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use sim_was::control::{Answer, Command};

use super::server::{Server, ServerError};
use crate::scenario::{Operation, Served, Step};

/// Performs `operation`; returns when the tool that an administrator would use has returned. Gives why it was not
/// done, if it was not.
pub(super) fn perform(
    server: &Server,
    operation: Operation,
    on: &Served,
) -> Result<Option<String>, ServerError> {
    for step in operation.steps(&on.pool, on.site(), &on.changes) {
        let not_done = match step {
            Step::Ask(command) => {
                let answer = server.ask(&command)?;
                (answer != Answer::Done).then(|| command.not_done(&answer))
            }
            Step::KillWorkers(pool) => signal_workers(server, &pool, Signal::KILL)?,
            Step::HangWorkers(pool) => signal_workers(server, &pool, Signal::STOP)?,
            Step::KillWas => {
                signal_was(server, Signal::KILL)?;
                None
            }
            Step::FreezeWas(span) => {
                signal_was(server, Signal::STOP)?;
                std::thread::sleep(span);
                signal_was(server, Signal::CONT)?;
                None
            }
        };
        if let Some(why) = not_done {
            return Ok(Some(format!("{operation} was not done: {why}")));
        }
    }
    Ok(None)
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

/// Nobody else gets the signal: a process is taken hold of, and is a worker of the pool after that. Gives why
/// nobody gets it, if so.
fn signal_workers(
    server: &Server,
    pool: &str,
    signal: Signal,
) -> Result<Option<String>, ServerError> {
    let held: Vec<(u32, Option<OwnedFd>)> = workers(server, pool)?
        .into_iter()
        .map(|pid| {
            let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
            (
                pid,
                raw.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()),
            )
        })
        .collect();
    let now = workers(server, pool)?;
    let mut sent = 0;
    for (pid, process) in held {
        let Some(process) = process.filter(|_| now.contains(&pid)) else {
            continue;
        };
        pidfd_send_signal(process, signal)
            .map_err(|error| ServerError::Control(format!("{signal:?} to pid {pid}: {error}")))?;
        sent += 1;
    }
    Ok((sent == 0).then(|| format!("the pool \"{pool}\" has no worker process then")))
}

/// The pids of a pool's workers.
fn workers(server: &Server, pool: &str) -> Result<Vec<u32>, ServerError> {
    let Answer::WorkerProcesses(workers) = server.ask(&Command::ListWorkerProcesses)? else {
        return Err(ServerError::Control(
            "no list of worker processes".to_owned(),
        ));
    };
    let of_pool = workers.iter().filter(|w| w.application_pool == pool);
    Ok(of_pool.map(|worker| worker.pid).collect())
}
