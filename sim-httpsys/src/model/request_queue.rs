//! Request queues: they belong to the pool's controller, and workers pull from them.
//!
//! A queue holds the requests that wait and the receives that are pending; never both. Who has posted
//! the oldest receive gets the oldest request, whichever process that is: overlapped recycles and web
//! gardens need nothing else.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::exchange::Stage;
use super::processes::Process;
use super::timeouts::TimerKind;
use super::{HttpSys, ReasonPhrase};
use crate::api::{
    CallId, CallResult, Completion, ConnectionId, DisabledReason, ProcessId, QueueState, RequestId,
    RequestQueueName, RequestQueueProperties, SharedRequest, Win32Error,
};
use crate::clockwork::Instant;
use crate::clockwork::mutants::{Mutant, mutated};
use crate::etw::{CacheRemoval, Fact};

/// Where a queue stands in the driver; never used again after it was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueIndex(u32);

/// One queue.
#[derive(Debug)]
pub(super) struct RequestQueue {
    pub(super) name: RequestQueueName,
    pub(super) properties: RequestQueueProperties,
    pub(super) controller: ProcessId,
    /// Processes that have it open.
    pub(super) processes: BTreeSet<ProcessId>,
    /// Pending receives, oldest first: who, and how many in a row.
    receives: VecDeque<(ProcessId, u32)>,
    /// Requests in order of arrival. An entry whose request has left otherwise is skipped.
    entries: VecDeque<(ConnectionId, RequestId)>,
    /// How many of the entries still wait.
    pub(super) waiting: u32,
    /// Who wants to be told when a request waits.
    demand_start: Option<ProcessId>,
    /// Requests that its processes hold.
    pub(super) active: u32,
    pub(super) arrived: u64,
    pub(super) rejected: u64,
    pub(super) cache_hits: u64,
}

/// What a queue does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offered {
    /// Its oldest receive takes it.
    To(ProcessId),
    /// It waits.
    Waits,
    /// It is not taken.
    Refused(ReasonPhrase),
}

impl RequestQueue {
    fn new(name: RequestQueueName, properties: RequestQueueProperties, by: ProcessId) -> Self {
        Self {
            name,
            properties,
            controller: by,
            processes: BTreeSet::new(),
            receives: VecDeque::new(),
            entries: VecDeque::new(),
            waiting: 0,
            demand_start: None,
            active: 0,
            arrived: 0,
            rejected: 0,
            cache_hits: 0,
        }
    }

    /// Offers a request to the queue.
    ///
    /// Source: `HttpServerQueueLengthProperty`: requests over the limit are rejected with 503. Only
    /// waiting requests count, and 0 is no limit (`TechNet`, "Configuring Application Pool
    /// Queue-Length Limits").
    fn offer(&mut self, connection: ConnectionId, request: RequestId) -> Offered {
        self.arrived += 1;
        let limit = self.properties.length + u32::from(mutated(Mutant::QueueLimitOffByOne));
        let offered = match self.properties.state {
            QueueState::Inactive(reason) => Offered::Refused(phrase_of(reason)),
            QueueState::Active => match self.take_receive() {
                Some(process) => Offered::To(process),
                None if self.properties.length > 0 && self.waiting >= limit => {
                    Offered::Refused(ReasonPhrase::QueueFull)
                }
                None => Offered::Waits,
            },
        };
        match offered {
            Offered::To(_) => {}
            Offered::Waits => {
                if mutated(Mutant::LifoQueue) {
                    self.entries.push_front((connection, request));
                } else {
                    self.entries.push_back((connection, request));
                }
                self.waiting += 1;
            }
            Offered::Refused(_) => self.rejected += 1,
        }
        offered
    }

    fn take_receive(&mut self) -> Option<ProcessId> {
        let (process, count) = self.receives.front_mut()?;
        let process = *process;
        *count -= 1;
        if *count == 0 {
            self.receives.pop_front();
        }
        Some(process)
    }

    fn post_receives(&mut self, by: ProcessId, credits: u32) {
        match self.receives.back_mut() {
            Some((process, count)) if *process == by => *count = count.saturating_add(credits),
            Some(_) | None => self.receives.push_back((by, credits)),
        }
    }

    /// Takes back what a process has posted.
    pub(super) fn take_back_receives(&mut self, of: ProcessId) {
        self.receives.retain(|(process, _)| *process != of);
    }

    /// Whether an entry of that request may still be among the waiting.
    pub(super) fn may_hold(&self, request: RequestId) -> bool {
        self.entries.iter().any(|(_, waiting)| *waiting == request)
    }

    pub(super) fn check_invariants(&self) {
        debug_assert!(
            self.waiting == 0 || self.receives.is_empty(),
            "a request waits although a receive is pending"
        );
        debug_assert!(
            self.waiting == 0 || self.demand_start.is_none(),
            "a request waits and the controller was not told"
        );
        debug_assert!(
            self.waiting == 0 || self.properties.state == QueueState::Active,
            "a request waits in a queue that is off"
        );
        debug_assert!(
            self.waiting as usize <= self.entries.len(),
            "a waiting request has an entry"
        );
    }
}

/// The `s-reason` of a queue that is off.
fn phrase_of(reason: DisabledReason) -> ReasonPhrase {
    match reason {
        DisabledReason::Disabled => ReasonPhrase::Disabled,
        DisabledReason::AppOffline => ReasonPhrase::AppOffline,
        DisabledReason::AppShutdown => ReasonPhrase::AppShutdown,
    }
}

/// All queues.
#[derive(Debug, Default)]
pub(super) struct RequestQueues {
    all: Vec<Option<RequestQueue>>,
    by_name: BTreeMap<RequestQueueName, QueueIndex>,
}

impl RequestQueues {
    pub(super) fn find(&self, name: &RequestQueueName) -> Option<QueueIndex> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get(&self, index: QueueIndex) -> Option<&RequestQueue> {
        self.all.get(index.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: QueueIndex) -> Option<&mut RequestQueue> {
        self.all.get_mut(index.0 as usize)?.as_mut()
    }

    pub(super) fn name(&self, index: QueueIndex) -> Option<RequestQueueName> {
        self.get(index).map(|queue| queue.name.clone())
    }

    /// The open queues, by name.
    pub(super) fn open(&self) -> impl Iterator<Item = (QueueIndex, &RequestQueue)> {
        self.by_name
            .values()
            .filter_map(|&index| Some((index, self.get(index)?)))
    }

    fn add(&mut self, queue: RequestQueue) {
        let index = QueueIndex(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        self.by_name.insert(queue.name.clone(), index);
        self.all.push(Some(queue));
    }

    fn remove(&mut self, index: QueueIndex) -> Option<RequestQueue> {
        let queue = self.all.get_mut(index.0 as usize)?.take()?;
        self.by_name.remove(&queue.name);
        Some(queue)
    }
}

impl HttpSys {
    /// Offers a connection's request to its queue.
    pub(super) fn offer(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(exchange) = connection.exchange() else {
            return;
        };
        let (index, request) = (exchange.queue, exchange.request.id);
        let activity = exchange.request.activity;
        let Some(queue) = self.queues.get_mut(index) else {
            return self.refuse_request(id, ReasonPhrase::NotAvailable, now);
        };
        match queue.offer(id, request) {
            Offered::To(process) => {
                // Source: HttpWaitForDemandStart: it ends when a request arrives that a new process could
                // serve. Assumed: also if another one takes it, because a web garden grows on demand.
                let wanted = queue.demand_start.take().map(|by| (by, queue.name.clone()));
                self.deliver(id, process, Duration::ZERO, now);
                if let Some((controller, name)) = wanted
                    && !mutated(Mutant::LoseDemandStart)
                {
                    self.start_on_demand(controller, name);
                }
            }
            Offered::Waits => {
                exchange.stage = Stage::Queued { since: now };
                let (name, controller) = (queue.name.clone(), queue.demand_start.take());
                self.fact(Fact::Queued {
                    request,
                    activity,
                    queue: name.clone(),
                });
                self.arm(id, TimerKind::RequestQueue, now);
                if let Some(controller) = controller
                    && !mutated(Mutant::LoseDemandStart)
                {
                    self.start_on_demand(controller, name);
                }
            }
            Offered::Refused(reason) => self.refuse_request(id, reason, now),
        }
    }

    fn start_on_demand(&mut self, controller: ProcessId, queue: RequestQueueName) {
        self.fact(Fact::DemandStart {
            queue: queue.clone(),
        });
        self.complete(controller, Completion::DemandStart { queue });
    }

    /// Hands a request to a process.
    fn deliver(&mut self, id: ConnectionId, process: ProcessId, waited: Duration, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let has_waited = connection.timer.kind() == Some(TimerKind::RequestQueue);
        if has_waited {
            connection.timer.disarm();
        }
        let Some(exchange) = connection.exchange() else {
            return;
        };
        exchange.stage = Stage::Delivered { process };
        let (request, activity) = (exchange.request.id, exchange.request.activity);
        // The log line needs the request after the worker is done with it.
        let shared = SharedRequest::clone(&exchange.request);
        if let Some(queue) = self.queues.get_mut(exchange.queue) {
            queue.active += 1;
        }
        if let Some(holder) = self.processes.get_mut(&process) {
            holder.held.insert(request, id);
        }
        let waited = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.fact(Fact::Deliver {
            request,
            activity,
            process,
            waited,
        });
        self.complete(process, Completion::Request(shared));
        if has_waited {
            self.await_entity(id, now);
        }
    }

    pub(super) fn receive_request(&mut self, by: ProcessId, credits: u32, now: Instant) {
        let Some(mut index) = self.processes.get(&by).and_then(Process::receives_from) else {
            return;
        };
        if mutated(Mutant::OtherPoolsRequest)
            && let Some((other, _)) = self.queues.open().find(|(_, queue)| queue.waiting > 0)
        {
            index = other;
        }
        let mut credits = credits;
        while credits > 0 {
            let Some((id, since)) = self.next_waiting(index) else {
                break;
            };
            credits -= 1;
            self.deliver(id, by, now.saturating_since(since), now);
        }
        if let Some(queue) = self.queues.get_mut(index)
            && credits > 0
        {
            queue.post_receives(by, credits);
        }
    }

    /// Takes the oldest request that still waits out of its queue, with the moment it entered.
    fn next_waiting(&mut self, index: QueueIndex) -> Option<(ConnectionId, Instant)> {
        let queue = self.queues.get_mut(index)?;
        if mutated(Mutant::SkipWaiting) && queue.entries.len() > 1 {
            queue.entries.pop_front();
        }
        while let Some((id, request)) = queue.entries.pop_front() {
            let Some(exchange) = self.connections.get_mut(id).and_then(|c| c.exchange()) else {
                continue;
            };
            if let Stage::Queued { since } = exchange.stage
                && exchange.request.id == request
            {
                queue.waiting -= 1;
                exchange.stage = Stage::Arrived;
                return Some((id, since));
            }
        }
        None
    }

    /// A waiting request leaves otherwise than by being delivered. Its entry stays until it comes up
    /// or too many such entries have gathered.
    pub(super) fn leave_queue(&mut self, index: QueueIndex, request: RequestId) {
        let Some(queue) = self.queues.get_mut(index) else {
            return;
        };
        queue.waiting = queue.waiting.saturating_sub(1);
        if queue
            .entries
            .back()
            .is_some_and(|(_, last)| *last == request)
        {
            queue.entries.pop_back();
        }
        if queue.entries.len() > 2 * queue.waiting as usize + 64 {
            let connections = &mut self.connections;
            queue.entries.retain(|(id, waiting)| {
                let exchange = connections.get_mut(*id).and_then(|c| c.exchange());
                exchange.is_some_and(|exchange| exchange.request.id == *waiting)
            });
        }
    }

    pub(super) fn create_request_queue(
        &mut self,
        by: ProcessId,
        name: RequestQueueName,
        properties: RequestQueueProperties,
    ) -> Result<CallResult, Win32Error> {
        if name.0.is_empty() {
            return Err(Win32Error::InvalidParameter);
        }
        if self.queues.find(&name).is_some() {
            return Err(Win32Error::AlreadyExists);
        }
        self.fact(Fact::CreateRequestQueue {
            queue: name.clone(),
        });
        self.queues.add(RequestQueue::new(name, properties, by));
        Ok(CallResult::Done)
    }

    /// Source: aspnetcore's tests of http.sys: a worker that sets the limit is ignored, without an
    /// error.
    pub(super) fn set_request_queue_properties(
        &mut self,
        by: ProcessId,
        name: &RequestQueueName,
        properties: RequestQueueProperties,
        now: Instant,
    ) -> Result<CallResult, Win32Error> {
        let index = self.queues.find(name).ok_or(Win32Error::FileNotFound)?;
        let queue = self.queues.get_mut(index).ok_or(Win32Error::FileNotFound)?;
        if queue.controller != by {
            return Ok(CallResult::Done);
        }
        queue.properties = properties;
        if let QueueState::Inactive(reason) = queue.properties.state {
            // Assumed: a stopped pool answers nothing from the cache either.
            if !mutated(Mutant::NoFlushAtPoolStop) {
                self.remove_cached(CacheRemoval::Flushed, |entry| entry.queue == index);
            }
            if !mutated(Mutant::KeepWaitingAtPoolStop) {
                self.refuse_waiting(index, phrase_of(reason), now);
            }
        }
        Ok(CallResult::Done)
    }

    fn refuse_waiting(&mut self, index: QueueIndex, reason: ReasonPhrase, now: Instant) {
        while let Some((id, _)) = self.next_waiting(index) {
            if let Some(queue) = self.queues.get_mut(index) {
                queue.rejected += 1;
            }
            self.refuse_request(id, reason, now);
        }
    }

    pub(super) fn wait_for_demand_start(
        &mut self,
        by: ProcessId,
        name: RequestQueueName,
        id: CallId,
    ) {
        let index = self.queues.find(&name);
        let queue = index.and_then(|index| self.queues.get_mut(index));
        let (result, fires) = match queue {
            None => (Err(Win32Error::FileNotFound), false),
            Some(queue) if queue.controller != by => (Err(Win32Error::InvalidIdAuthority), false),
            Some(queue) if queue.demand_start.is_some() => (Err(Win32Error::AlreadyExists), false),
            Some(queue) if queue.waiting > 0 => (Ok(CallResult::Done), true),
            Some(queue) => {
                queue.demand_start = Some(by);
                (Ok(CallResult::Done), false)
            }
        };
        self.complete(by, Completion::Called { id, result });
        if fires {
            self.start_on_demand(by, name);
        }
    }

    pub(super) fn close_request_queue(
        &mut self,
        by: ProcessId,
        name: &RequestQueueName,
        now: Instant,
    ) -> Result<CallResult, Win32Error> {
        let index = self.queues.find(name).ok_or(Win32Error::FileNotFound)?;
        if self
            .queues
            .get(index)
            .is_some_and(|queue| queue.controller != by)
        {
            return Err(Win32Error::InvalidIdAuthority);
        }
        self.close_queue(index, now);
        Ok(CallResult::Done)
    }

    /// Closes a queue: what waits is refused, what its processes hold is dropped, its cache goes.
    ///
    /// Assumed: no document says what a waiting client sees; 503 N/A is what HTTP.sys says when it has
    /// nobody to ask, or a reset where the queue refuses by reset.
    pub(super) fn close_queue(&mut self, index: QueueIndex, now: Instant) {
        let Some(queue) = self.queues.get(index) else {
            return;
        };
        let (name, waiting) = (queue.name.clone(), queue.waiting);
        let processes: Vec<ProcessId> = queue.processes.iter().copied().collect();
        self.refuse_waiting(index, ReasonPhrase::NotAvailable, now);
        for process in processes {
            self.abort_held(process, ReasonPhrase::RequestCancelled, true, now);
            if let Some(process) = self.processes.get_mut(&process) {
                process.queue = None;
            }
        }
        if !mutated(Mutant::NoFlushAtQueueClose) {
            self.remove_cached(CacheRemoval::QueueClosed, |entry| entry.queue == index);
        }
        self.queues.remove(index);
        self.fact(Fact::CloseRequestQueue {
            queue: name,
            waiting,
        });
    }
}
