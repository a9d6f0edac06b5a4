//! The processes that have the device open: how they come, call, are told, and go.

use std::time::Duration;

use mio::Token;

use super::super::device::{Parting, Process};
use super::{Again, EventLoop, PROCESS, READS_MAX};
use crate::api::ProcessId;
use crate::clockwork::StateMachine;
use crate::model::{Input, Output};

/// Handles of one process get ids of their own above all process ids (Linux has at most 2²²).
const HANDLE_BITS: u32 = 22;

/// What epoll calls a process.
/// A process that could not be let in is let in so much later, if that is possible then: nobody tells.
/// Assumed: soon enough for a worker that has a startup limit of seconds, and nothing beside a busy loop.
const ATTACH_AGAIN: Duration = Duration::from_millis(100);

fn token_of(id: ProcessId) -> Token {
    Token(PROCESS | id.0 as usize)
}

impl<M> EventLoop<M>
where
    M: for<'a> StateMachine<Input<'a> = Input<'a>, Output = Output>,
{
    pub(super) fn attach(&mut self) {
        self.attach_due = None;
        loop {
            match self.device.accept() {
                Ok(Some((stream, pid))) => self.attach_process(stream, pid),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "a process could not open the device");
                    self.attach_due = Some(self.now + ATTACH_AGAIN);
                    return;
                }
            }
        }
    }

    fn attach_process(&mut self, stream: mio::net::UnixStream, pid: u32) {
        // A process may open the device more than once.
        let ids = (0..1 << (u32::BITS - HANDLE_BITS)).map(|n| ProcessId(pid | n << HANDLE_BITS));
        let Some(id) = ids.into_iter().find(|id| !self.processes.contains_key(id)) else {
            return;
        };
        let mut process = Process::new(id, stream);
        if let Err(error) = process.register(self.poll.registry(), token_of(id)) {
            tracing::warn!(%error, "a process cannot be watched");
            return;
        }
        self.processes.insert(id, process);
        self.tell(Input::Attached { process: id });
    }

    /// Reads a process's calls and carries them out; to the end of them if that has come.
    pub(super) fn hear(&mut self, id: ProcessId, ended: bool) {
        if let Some(process) = self.processes.get_mut(&id) {
            process.ended |= ended;
        }
        for _ in 0..READS_MAX {
            let Some(process) = self.processes.get_mut(&id) else {
                return;
            };
            let read = process.read(&mut self.buffer);
            let mut parting = None;
            loop {
                let Some(process) = self.processes.get_mut(&id) else {
                    return;
                };
                match process.next_call() {
                    Ok(Some(call)) => self.tell(Input::Called { by: id, call }),
                    Ok(None) => break,
                    Err(malformed) => {
                        parting = Some(malformed);
                        break;
                    }
                }
            }
            match (parting, read) {
                (None, Ok(true)) => {}
                (None, Ok(false)) => return,
                (Some(parting), _) | (None, Err(parting)) => return self.part(id, &parting),
            }
        }
        self.lists.again.push(Again::Process(id));
    }

    pub(super) fn touch_process(&mut self, id: ProcessId) {
        if let Some(process) = self.processes.get_mut(&id)
            && !process.dirty
        {
            process.dirty = true;
            self.lists.dirty_processes.push(id);
        }
    }

    pub(super) fn flush_process(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        process.dirty = false;
        let flushed = process.flush();
        if let Err(parting) =
            flushed.and_then(|()| process.watch(self.poll.registry(), token_of(id)))
        {
            self.part(id, &parting);
        }
    }

    fn part(&mut self, id: ProcessId, why: &Parting) {
        let Some(process) = self.processes.remove(&id) else {
            return;
        };
        match why {
            Parting::Closed => tracing::debug!(process = process.id.0, "{why}"),
            Parting::Io(_) | Parting::Malformed(_) | Parting::NotReading => {
                tracing::warn!(
                    process = process.id.0,
                    error = why as &dyn std::error::Error,
                    "a process is let go"
                );
            }
        }
        self.tell(Input::Gone { process: id });
    }
}
