//! Q1–Q6: queues keep their limit and their order, lose nothing silently, and wait for nobody who is free.

use std::time::Duration;

use sim_httpsys::api::{
    Call, ControlCall, DisabledReason, ProcessId, QueueState, RequestId, RequestQueueProperties,
    ResponseVerbosity,
};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::Fact;
use sim_httpsys::model::ReasonPhrase;

use super::book::{Book, End, Move, Place, PoolIndex};
use super::sometimes::{Seen, Sometimes};
use super::{Verdict, broken};

/// How long a pool that may run may have requests waiting and no worker on its way.
/// Assumed: far more than the hops from the driver to WAS and back take.
const UNSERVED_MAX: Duration = Duration::from_secs(1);

/// What is known of each queue besides the book.
#[derive(Debug, Default)]
struct Queue {
    /// Whether the controller was promised to be told of the next request that waits.
    demand_armed: bool,
    /// It holds or held as many as it may since it was empty.
    was_full: bool,
    /// Since when requests wait and no worker is there or on its way.
    unserved: Option<Instant>,
}

/// All queues, and the input under way.
#[derive(Debug)]
pub(super) struct Queues {
    queues: Vec<Queue>,
    /// The queue that this input shuts or closes, and what those who wait in it are told.
    shutting: Vec<(PoolIndex, ReasonPhrase)>,
}

impl Queues {
    /// There are more pools.
    pub(super) fn grow(&mut self, pools: usize) {
        self.queues.resize_with(pools, Queue::default);
    }

    pub(super) fn new(pools: usize) -> Self {
        Self {
            queues: (0..pools).map(|_| Queue::default()).collect(),
            shutting: Vec::new(),
        }
    }

    /// A call has reached the driver.
    pub(super) fn called(
        &mut self,
        book: &mut Book,
        by: ProcessId,
        call: &Call,
        seen: &mut Sometimes,
    ) {
        match call {
            Call::ReceiveRequest { credits } => {
                if let Some(worker) = book.workers.get_mut(&by)
                    && worker.attached
                    && !worker.shut_down
                {
                    worker.credits = worker.credits.saturating_add(*credits);
                }
            }
            Call::Control { call, .. } => self.controlled(book, by, call, seen),
            Call::SendResponse { .. }
            | Call::SendEntityBody { .. }
            | Call::ReceiveEntityBody { .. }
            | Call::CancelRequest { .. } => {}
        }
    }

    /// The controller has gone, and its queues with it.
    pub(super) fn controller_gone(&mut self, book: &Book) {
        for index in (0..book.pools.len()).map(PoolIndex) {
            if book.pool(index).queue.is_some() {
                self.shutting.push((index, ReasonPhrase::NotAvailable));
            }
            self.queues[index.0].demand_armed = false;
        }
    }

    fn controlled(
        &mut self,
        book: &mut Book,
        by: ProcessId,
        call: &ControlCall,
        seen: &mut Sometimes,
    ) {
        match call {
            ControlCall::CancelReceives => {
                if let Some(worker) = book.workers.get_mut(&by) {
                    worker.credits = 0;
                }
            }
            ControlCall::DisownProcess { process } => {
                if let Some(is_known) = book.let_go.get_mut(process) {
                    *is_known = true;
                }
            }
            ControlCall::CreateRequestQueue { name, properties }
            | ControlCall::SetRequestQueueProperties {
                queue: name,
                properties,
            } => {
                if let Some(pool) = book.pool_of(name) {
                    let waiting = book.pool(pool).waiting_count;
                    if properties.length > 0 && waiting > properties.length as usize {
                        seen.note(Seen::QueueShortened);
                    }
                    self.set(book, pool, properties);
                }
            }
            ControlCall::CloseRequestQueue { queue } => {
                if let Some(pool) = book.pool_of(queue) {
                    self.shutting.push((pool, ReasonPhrase::NotAvailable));
                    self.queues[pool.0].demand_armed = false;
                }
            }
            ControlCall::WaitForDemandStart { queue } => {
                if let Some(pool) = book.pool_of(queue)
                    && book.pool(pool).queue.is_some()
                {
                    self.queues[pool.0].demand_armed = true;
                }
            }
            ControlCall::CreateUrlGroup { .. }
            | ControlCall::SetUrlGroupProperties { .. }
            | ControlCall::CloseUrlGroup { .. }
            | ControlCall::AddUrl { .. }
            | ControlCall::MoveUrl { .. }
            | ControlCall::RemoveUrl { .. }
            | ControlCall::FlushResponseCache { .. }
            | ControlCall::QueryServiceState
            | ControlCall::OpenRequestQueue { .. }
            | ControlCall::QueryCounters
            | ControlCall::ShutdownRequestQueue => {}
        }
    }

    fn set(&mut self, book: &mut Book, pool: PoolIndex, properties: &RequestQueueProperties) {
        let entry = &mut book.pools[pool.0];
        entry.queue_length = properties.length;
        entry.tcp_level = properties.verbosity == ResponseVerbosity::Basic;
        entry.queue = Some(match properties.state {
            QueueState::Active => Ok(()),
            QueueState::Inactive(reason) => {
                self.shutting.push((pool, phrase(reason)));
                Err(reason)
            }
        });
    }

    /// A fact of the driver, when the book has followed it.
    pub(super) fn httpsys(
        &mut self,
        book: &mut Book,
        fact: &Fact,
        step: &Move,
        seen: &mut Sometimes,
    ) -> Verdict {
        match fact {
            Fact::DemandStart { queue } => {
                if let Some(pool) = book.pool_of(queue) {
                    self.queues[pool.0].demand_armed = false;
                    if book.pool(pool).waiting_count >= 1_000 {
                        seen.note(Seen::DemandStartWithThousand);
                    }
                }
            }
            Fact::CloseRequestQueue { queue, .. } => {
                if let Some(pool) = book.pool_of(queue) {
                    book.pools[pool.0].queue = None;
                }
            }
            _other => {}
        }
        match *step {
            Move::Queued(request, pool) => {
                let entry = book.pool(pool);
                let (waiting, limit) = (entry.waiting_count, entry.queue_length);
                if limit > 0 && waiting > limit as usize {
                    let what = format!("{waiting} wait in {}, limit {limit}", entry.name);
                    return broken("Q1", what);
                }
                if entry.queue != Some(Ok(())) {
                    return broken(
                        "Q6",
                        format!("{request:?} waits in {}, which is off", entry.name),
                    );
                }
                if limit > 0 && waiting == limit as usize {
                    self.queues[pool.0].was_full = true;
                }
                Ok(())
            }
            Move::Delivered(request, process, before) => {
                self.delivered(book, request, process, before.place, seen)
            }
            Move::Ended(request, entry, end) => match (entry.place, entry.pool) {
                (Place::Queued(pool), _) => self.left(book, request, pool, end),
                (Place::Parsed, Some(pool)) => refused(book, pool, end, seen),
                (Place::Parsed | Place::Delivered(_), _) => Ok(()),
            },
            Move::Parsed(_) | Move::None => Ok(()),
        }
    }

    /// Q2: first come, first served. I2: nobody gets more than was asked for.
    fn delivered(
        &mut self,
        book: &mut Book,
        request: RequestId,
        process: ProcessId,
        from: Place,
        seen: &mut Sometimes,
    ) -> Verdict {
        if book.let_go.contains_key(&process) {
            return Ok(());
        }
        let Some(pool) = book.workers.get(&process).map(|worker| worker.pool) else {
            return broken(
                "W2",
                format!("{request:?} was delivered to {process:?}, which is gone"),
            );
        };
        match from {
            Place::Queued(queue) if queue != pool => {
                let what = format!("{request:?} waited in another queue than that of {process:?}");
                return broken("Q5", what);
            }
            Place::Parsed | Place::Queued(_) | Place::Delivered(_) => {}
        }
        // It has left; whoever is first now must not have come before it.
        if let Some(first) = book.first_waiting(pool)
            && (first < request || from == Place::Parsed)
        {
            return broken(
                "Q2",
                format!("{request:?} was delivered, and {first:?} waits"),
            );
        }
        let entry = book.pool(pool);
        if entry.waiting_count == 0 && std::mem::take(&mut self.queues[pool.0].was_full) {
            seen.note(Seen::QueueFullThenDrained);
        }
        let Some(worker) = book.workers.get_mut(&process) else {
            return Ok(());
        };
        worker.held += 1;
        if worker.credits == 0 {
            return broken(
                "I2",
                format!("{process:?} got {request:?} and had asked for none"),
            );
        }
        worker.credits -= 1;
        Ok(())
    }

    /// Q2, Q6: who leaves a queue otherwise has a reason to.
    fn left(&self, book: &Book, request: RequestId, pool: PoolIndex, end: End) -> Verdict {
        let name = &book.pool(pool).name;
        let reason = match end {
            End::Refused(reason) | End::Dropped(reason) => reason,
            End::Answered | End::FromCache => {
                return broken(
                    "Q2",
                    format!("{request:?} was answered while it waited in {name}"),
                );
            }
        };
        let shutting = self.shutting.iter().find(|(shutting, _)| *shutting == pool);
        if let Some(&(_, wanted)) = shutting {
            let tcp_level = book.pool(pool).tcp_level;
            let is_reset = matches!(end, End::Dropped(_));
            if reason != wanted || is_reset != tcp_level {
                let what = format!("{request:?} left {name} by {end:?} instead of {wanted}");
                return broken("Q6", what);
            }
            return Ok(());
        }
        match reason {
            ReasonPhrase::ClientReset
            | ReasonPhrase::TimerReqQueue
            // Its endpoint was closed under it.
            | ReasonPhrase::RequestCancelled => Ok(()),
            _other => broken("Q2", format!("{request:?} left {name} by {end:?}")),
        }
    }

    /// The driver has carried out an input: Q3, Q4, Q6.
    pub(super) fn settled(&mut self, book: &Book) -> Verdict {
        let shut = std::mem::take(&mut self.shutting);
        let left = |(pool, _): &&(PoolIndex, ReasonPhrase)| book.pool(*pool).waiting_count > 0;
        if let Some(&(pool, _)) = shut.iter().find(left) {
            let (name, waiting) = (&book.pool(pool).name, book.pool(pool).waiting_count);
            return broken(
                "Q6",
                format!("{waiting} still wait in {name}, which is off"),
            );
        }
        if book.tally.queued == 0 {
            return Ok(());
        }
        for (index, pool) in book.pools.iter().enumerate() {
            if pool.waiting_count == 0 {
                continue;
            }
            if self.queues[index].demand_armed {
                return broken(
                    "Q4",
                    format!("requests wait in {}, and WAS was not told", pool.name),
                );
            }
            let free = book
                .workers_of(PoolIndex(index))
                .find(|(_, worker)| worker.attached && !worker.shut_down && worker.credits > 0);
            if let Some((process, worker)) = free {
                let what = format!(
                    "{} wait in {}, and {process:?} has asked for {}",
                    pool.waiting_count, pool.name, worker.credits
                );
                return broken("Q3", what);
            }
        }
        Ok(())
    }

    /// Q4: requests that wait bring a worker.
    pub(super) fn look(&mut self, book: &Book) -> Verdict {
        // Source: IIS docs, `demandStartThreshold`: a demand start is refused then, and requests go on waiting.
        let has_room = book.workers.len() < book.workers_limit as usize;
        for (index, pool) in book.pools.iter().enumerate() {
            let is_unserved = has_room
                && pool.waiting_count > 0
                && pool.may_run()
                && book.serving
                && pool.queue == Some(Ok(()))
                && book
                    .workers_of(PoolIndex(index))
                    .all(|(_, worker)| worker.suspended);
            let unserved = &mut self.queues[index].unserved;
            if !is_unserved || book.excused() {
                *unserved = None;
            } else if book.now.saturating_since(*unserved.get_or_insert(book.now)) > UNSERVED_MAX {
                let what = format!(
                    "{} wait in {}, and no worker is started or resumed",
                    pool.waiting_count, pool.name
                );
                return broken("Q4", what);
            }
        }
        Ok(())
    }
}

/// Q1, Q6: a request that is not taken is not taken for a reason that holds.
fn refused(book: &Book, pool: PoolIndex, end: End, seen: &mut Sometimes) -> Verdict {
    let (End::Refused(reason) | End::Dropped(reason)) = end else {
        return Ok(());
    };
    let entry = book.pool(pool);
    let holds = match reason {
        ReasonPhrase::QueueFull => {
            let is_full =
                entry.queue_length > 0 && entry.waiting_count >= entry.queue_length as usize;
            if !is_full {
                let what = format!("{} was full with {}", entry.name, entry.waiting_count);
                return broken("Q1", what);
            }
            seen.note(Seen::QueueFull);
            let recycles =
                |worker: &super::book::Worker| worker.is_starting() || worker.is_leaving();
            if book.workers_of(pool).any(|(_, worker)| recycles(worker)) {
                seen.note(Seen::QueueFullInRecycle);
            }
            true
        }
        ReasonPhrase::Disabled => entry.queue == Some(Err(DisabledReason::Disabled)),
        ReasonPhrase::AppOffline => entry.queue == Some(Err(DisabledReason::AppOffline)),
        ReasonPhrase::AppShutdown => entry.queue == Some(Err(DisabledReason::AppShutdown)),
        _other => true,
    };
    if !holds {
        let what = format!(
            "{} refused for {reason}, and is {:?}",
            entry.name, entry.queue
        );
        return broken("Q6", what);
    }
    Ok(())
}

fn phrase(reason: DisabledReason) -> ReasonPhrase {
    match reason {
        DisabledReason::Disabled => ReasonPhrase::Disabled,
        DisabledReason::AppOffline => ReasonPhrase::AppOffline,
        DisabledReason::AppShutdown => ReasonPhrase::AppShutdown,
    }
}
