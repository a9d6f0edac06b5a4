//! Processes that hold the device open: which queue they receive from, which requests they hold.

use super::id_map::IdMap;
use super::request_queue::QueueIndex;
use super::{CacheOnWorkerExit, HttpSys, ReasonPhrase};
use crate::api::{
    CallResult, ConnectionId, ProcessId, RequestId, RequestQueueName, UrlGroupId, Win32Error,
};
use crate::clockwork::Instant;
use crate::clockwork::mutants::{Mutant, mutated};
use crate::etw::{CacheRemoval, Fact, UntrustedCall};

/// One process.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// The queue that it has opened.
    pub(super) queue: Option<QueueIndex>,
    /// It has stopped receiving.
    pub(super) shut_down: bool,
    /// The requests that it holds, and the connections that they came on.
    pub(super) held: IdMap<RequestId, ConnectionId>,
}

impl Process {
    /// The queue that its receives are posted on.
    pub(super) fn receives_from(&self) -> Option<QueueIndex> {
        self.queue.filter(|_| !self.shut_down)
    }
}

impl HttpSys {
    /// The connection of a request that a process holds. A request that it may have held before its
    /// client went away is nothing; one that was never its own makes it untrusted.
    pub(super) fn held_by(&mut self, by: ProcessId, request: RequestId) -> Option<ConnectionId> {
        if mutated(Mutant::WrongConnection)
            && let Some(other) = self.another_held(by, request)
        {
            return Some(other);
        }
        if let Some(connection) = self.processes.get(&by).and_then(|p| p.held.get(&request)) {
            return Some(*connection);
        }
        let never_issued = request.0 == 0 || request.0 > self.tally.parsed;
        let is_foreign = never_issued
            || self
                .processes
                .values()
                .any(|process| process.held.contains_key(&request))
            || self.queues.open().any(|(_, queue)| queue.may_hold(request));
        if is_foreign {
            let what = UntrustedCall::ForeignRequest;
            self.fact(Fact::Untrusted {
                process: by,
                request,
                what,
            });
        }
        None
    }

    /// A process no longer holds a request.
    pub(super) fn release(&mut self, process: ProcessId, queue: QueueIndex, request: RequestId) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.held.remove(&request);
        }
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.active = queue.active.saturating_sub(1);
        }
    }

    pub(super) fn open_request_queue(
        &mut self,
        by: ProcessId,
        name: RequestQueueName,
    ) -> Result<CallResult, Win32Error> {
        let index = self.queues.find(&name).ok_or(Win32Error::FileNotFound)?;
        let queue = self.queues.get_mut(index).ok_or(Win32Error::FileNotFound)?;
        let process = self.processes.entry(by).or_default();
        // Source: win32, process isolation: a controller cannot do I/O on the queue.
        if process.queue.is_some() || queue.controller == by {
            return Err(Win32Error::InvalidParameter);
        }
        process.queue = Some(index);
        process.shut_down = false;
        queue.processes.insert(by);
        self.fact(Fact::ProcessAttach {
            process: by,
            queue: name,
        });
        Ok(CallResult::Done)
    }

    /// Source: `HttpShutdownRequestQueue`: requests not yet received go to another process of the
    /// queue or are kept; responses already begun complete.
    pub(super) fn shutdown_request_queue(
        &mut self,
        by: ProcessId,
    ) -> Result<CallResult, Win32Error> {
        let process = self
            .processes
            .get_mut(&by)
            .ok_or(Win32Error::InvalidParameter)?;
        let index = process.queue.ok_or(Win32Error::InvalidParameter)?;
        process.shut_down = true;
        if let Some(queue) = self.queues.get_mut(index)
            && !mutated(Mutant::DeliverAfterDrain)
        {
            queue.take_back_receives(by);
        }
        self.fact(Fact::ProcessShutdown { process: by });
        Ok(CallResult::Done)
    }

    /// What a process has posted is taken back; it may post again.
    pub(super) fn cancel_receives(&mut self, by: ProcessId) -> Result<CallResult, Win32Error> {
        let queue = self.processes.get(&by).and_then(|process| process.queue);
        let index = queue.ok_or(Win32Error::InvalidParameter)?;
        if let Some(queue) = self.queues.get_mut(index) {
            queue.take_back_receives(by);
        }
        Ok(CallResult::Done)
    }

    /// A controller keeps a process away from its queue.
    pub(super) fn disown_process(
        &mut self,
        by: ProcessId,
        process: ProcessId,
    ) -> Result<CallResult, Win32Error> {
        let queue = self.processes.get(&process).and_then(|p| p.queue);
        let index = queue.ok_or(Win32Error::FileNotFound)?;
        match self.queues.get(index) {
            Some(queue) if queue.controller == by => self.shutdown_request_queue(process),
            Some(_) | None => Err(Win32Error::InvalidIdAuthority),
        }
    }

    /// A process has let go of the device: what it held dies, what it controlled is closed.
    pub(super) fn process_gone(&mut self, process: ProcessId, now: Instant) {
        if !self.processes.contains_key(&process) {
            return;
        }
        let reason = ReasonPhrase::ConnectionAbandonedByReqQueue;
        let abandoned = self.abort_held(process, reason, false, now);
        let zombies: Vec<RequestId> = self
            .zombies
            .iter()
            .filter(|(_, z)| z.process == process)
            .map(|(id, _)| *id)
            .collect();
        for zombie in zombies {
            self.bury_zombie(zombie, now);
        }
        if let Some(index) = self.processes.remove(&process).and_then(|gone| gone.queue)
            && let Some(queue) = self.queues.get_mut(index)
        {
            queue.take_back_receives(process);
            queue.processes.remove(&process);
        }
        if mutated(Mutant::CloseIdleAtDetach) {
            self.cut_all_idle(now);
        }
        if self.parameters.kernel_cache_on_worker_exit == CacheOnWorkerExit::FlushOwned
            && !mutated(Mutant::NoFlushAtDetach)
        {
            self.remove_cached(CacheRemoval::OwnerGone, |entry| entry.process == process);
        }
        self.fact(Fact::ProcessDetach { process, abandoned });
        self.controller_gone(process, now);
    }

    /// Queues first, so that waiting clients may get an answer before their endpoint closes.
    fn controller_gone(&mut self, process: ProcessId, now: Instant) {
        let queues: Vec<QueueIndex> = self
            .queues
            .open()
            .filter(|(_, queue)| queue.controller == process)
            .map(|(index, _)| index)
            .collect();
        for queue in queues {
            self.close_queue(queue, now);
        }
        let groups: Vec<UrlGroupId> = self
            .groups
            .iter()
            .filter(|(_, g)| g.owner == process)
            .map(|(id, _)| *id)
            .collect();
        for group in groups {
            self.close_group(group, now);
        }
    }

    /// Drops every request that a process holds, in the order in which they were parsed, and resets
    /// their connections. How many there were.
    pub(super) fn abort_held(
        &mut self,
        process: ProcessId,
        reason: ReasonPhrase,
        tell: bool,
        now: Instant,
    ) -> u32 {
        let Some(holder) = self.processes.get(&process) else {
            return 0;
        };
        let mut held: Vec<(RequestId, ConnectionId)> = holder.held.clone().into_iter().collect();
        held.sort_unstable();
        for &(_, connection) in &held {
            if mutated(Mutant::ReplayAfterCrash) && !tell {
                self.offer(connection, now);
            } else if tell {
                self.abort_request(connection, reason, now);
            } else {
                self.drop_and_reset(connection, reason, now);
            }
        }
        u32::try_from(held.len()).unwrap_or(u32::MAX)
    }
}
