//! W1–W8: how many workers there are, how they come and go, and that nobody outlives a limit.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use sim_httpsys::api::{ProcessId, RequestId};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::Fact as DriverFact;
use sim_was::event_log::{Event, Fact};
use sim_worker::facts;
use sim_worker::ipm::{FromWorker, ShutdownReason, ToWorker};

use super::book::{Book, Move, PoolIndex, Worker};
use super::sometimes::{Seen, Sometimes};
use super::{Verdict, broken, pid_of, words};

/// The pings of one worker.
#[derive(Debug)]
struct Pings {
    /// When the next one is due.
    next: Instant,
    sent: Option<Instant>,
    /// WAS stood still meanwhile: the limit of the answer may have begun anew, the next round too.
    late: bool,
}

#[derive(Debug, Default)]
pub(super) struct Workers {
    last: ProcessId,
    spawned: u64,
    exited: u64,
    pings: BTreeMap<ProcessId, Pings>,
}

/// How long a worker that has nothing left may take to exit.
/// Assumed: more than stopping its applications takes; those of the swarm have no `Application_End`.
const EXIT_MAX: Duration = Duration::from_secs(1);

impl Workers {
    /// WAS has died, and so many workers with it.
    pub(super) fn was_died(&mut self, workers: usize) {
        self.exited += u64::try_from(workers).unwrap_or(u64::MAX);
        self.pings.clear();
    }

    /// A fact of WAS.
    pub(super) fn was(&mut self, book: &mut Book, fact: &Fact, seen: &mut Sometimes) -> Verdict {
        match fact {
            Fact::WorkerSpawned { process, pool } => self.spawned(book, *process, pool),
            Fact::WorkerReady { process } => self.ready(book, *process),
            Fact::WorkerStopOrdered { process, reason } => {
                self.pings.remove(process);
                ordered(book, *process, *reason, seen)
            }
            Fact::WorkerKilled { process } => {
                self.pings.remove(process);
                let now = book.now;
                match book.workers.get_mut(process) {
                    Some(worker) if worker.killed.is_none() => worker.killed = Some(now),
                    other => {
                        let was = words::of(other.as_deref());
                        return broken("W3", format!("{process:?} was killed, and was {was}"));
                    }
                }
                Ok(())
            }
            Fact::WorkerExited { process, .. } => {
                self.pings.remove(process);
                self.exited += 1;
                let Some(worker) = book.workers.remove(*process) else {
                    return broken("W7", format!("{process:?} has exited twice"));
                };
                went(book, &worker, seen);
                Ok(())
            }
            Fact::WorkerOrphaned { process } => {
                self.exited += 1;
                self.pings.remove(process);
                book.workers.remove(*process);
                book.let_go.insert(*process, false);
                seen.note(Seen::Orphaned);
                Ok(())
            }
            Fact::WorkerSuspended { process } => {
                seen.note(Seen::Suspended);
                if let Some(pings) = self.pings.get_mut(process) {
                    pings.next = Instant(u64::MAX);
                }
                if let Some(worker) = book.workers.get_mut(process) {
                    worker.suspended = true;
                }
                Ok(())
            }
            Fact::WorkerResumed { process } => {
                let now = book.now;
                let worker = book.workers.get_mut(process);
                let ping = worker.and_then(|worker| {
                    worker.suspended = false;
                    worker.awake_since = now;
                    worker.terms.ping
                });
                if let (Some((interval, _)), Some(pings)) = (ping, self.pings.get_mut(process)) {
                    pings.next = book.now + interval;
                }
                Ok(())
            }
            Fact::Event(event) => self.event(book, event),
            _other => Ok(()),
        }
    }

    fn spawned(&mut self, book: &mut Book, process: ProcessId, name: &str) -> Verdict {
        if process <= self.last {
            return broken("W3", format!("{process:?} was used before"));
        }
        self.last = process;
        self.spawned += 1;
        let Some(pool) = book.pool_named(name) else {
            return broken(
                "W1",
                format!("{process:?} was started for {name}, which is no pool"),
            );
        };
        let now = book.now;
        let worker = Worker {
            pool,
            terms: Rc::clone(&book.pool(pool).terms),
            spawned: now,
            ready: None,
            ordered: None,
            hurried: false,
            killed: None,
            failed: false,
            attached: false,
            shut_down: false,
            held: 0,
            credits: 0,
            struck: false,
            slowed: false,
            suspended: false,
            awake_since: now,
            said_ready: false,
            stopped_receiving: false,
            began: 0,
            last_began: now,
            last_ended: now,
            busy_with: BTreeSet::new(),
            said_idle: false,
        };
        book.workers.insert(process, worker);
        let entry = book.pool(pool);
        let all = book.workers_of(pool).count();
        let most = entry.may_have();
        if all > most {
            return broken(
                "W1",
                format!("{all} workers of {name}, which may have {most}"),
            );
        }
        Ok(())
    }

    fn ready(&mut self, book: &mut Book, process: ProcessId) -> Verdict {
        let now = book.now;
        let ping = match book.workers.get_mut(&process) {
            Some(worker) if worker.is_starting() => {
                worker.ready = Some(now);
                worker.terms.ping
            }
            other => {
                let was = words::of(other.as_deref());
                return broken("W3", format!("{process:?} is ready, and was {was}"));
            }
        };
        if let Some((interval, _)) = ping {
            let next = now + interval;
            let pings = Pings {
                next,
                sent: None,
                late: false,
            };
            self.pings.insert(process, pings);
        }
        Ok(())
    }

    /// WAS says something to a worker.
    pub(super) fn tell(&mut self, book: &Book, process: ProcessId, message: &ToWorker) -> Verdict {
        let ToWorker::Ping { .. } = message else {
            return Ok(());
        };
        let interval = book.workers.get(&process).and_then(|worker| {
            let (interval, _) = worker.terms.ping?;
            worker.serves().then_some(interval)
        });
        let (Some(pings), Some(interval)) = (self.pings.get_mut(&process), interval) else {
            return broken("W5", format!("{process:?} is pinged, and does not serve"));
        };
        if let Some(sent) = pings.sent {
            return broken(
                "W5",
                format!("{process:?} is pinged again, and owes an answer since {sent}"),
            );
        }
        // A round is left out while an answer is owed.
        let late = book.now.saturating_since(pings.next).as_nanos();
        let slowed = book
            .workers
            .get(&process)
            .is_some_and(|worker| worker.slowed);
        let excused = std::mem::take(&mut pings.late) || slowed;
        let is_due = pings.next <= book.now && late.is_multiple_of(interval.as_nanos());
        if !is_due && !excused {
            let what = format!(
                "{process:?} is pinged, and its ping was due at {}",
                pings.next
            );
            return broken("W5", what);
        }
        pings.sent = Some(book.now);
        pings.next = book.now + interval;
        Ok(())
    }

    /// WAS hears a worker.
    pub(super) fn told(
        &mut self,
        book: &Book,
        process: ProcessId,
        message: &FromWorker,
        seen: &mut Sometimes,
    ) {
        if let FromWorker::PingReply { .. } = message
            && let Some(pings) = self.pings.get_mut(&process)
            && let Some(sent) = pings.sent.take()
        {
            let worker = book.workers.get(&process);
            let limit = worker.and_then(|worker| worker.terms.ping);
            // The rounds that were left out while it was owed.
            let interval = limit.map(|(interval, _)| interval).unwrap_or_default();
            while !interval.is_zero() && pings.next < book.now {
                pings.next += interval;
            }
            if limit.is_some_and(|(_, response)| book.now == sent + response) {
                seen.note(Seen::PingReplyAtLimit);
            }
        }
    }

    fn event(&self, book: &Book, event: &Event) -> Verdict {
        let process = pid_of(event);
        let worker = process.and_then(|process| book.workers.get(&process));
        let (Some(process), Some(worker)) = (process, worker) else {
            return Ok(());
        };
        let pool = book.pool(worker.pool);
        let wrong = match event.id {
            5010 => {
                let limit = worker
                    .terms
                    .ping
                    .map(|(_, response)| response)
                    .unwrap_or_default();
                let sent = self.pings.get(&process).and_then(|pings| pings.sent);
                // The answer that comes at the limit is in time: it is missed a nanosecond later.
                let missed = sent.map(|sent| sent + limit + Duration::from_nanos(1));
                // While it stood still it could not answer: its limit has begun anew.
                let late = worker.slowed || self.pings.get(&process).is_some_and(|p| p.late);
                (missed != Some(book.now) && !late).then(|| ("W5", format!("pinged at {sent:?}")))
            }
            5012 => {
                let (age, limit) = (book.now - worker.spawned, worker.terms.startup_limit);
                let is_due = age == limit || (book.excused() && age > limit);
                (!is_due).then(|| ("W4", format!("cut at the age of {age:?}")))
            }
            5013 => {
                let since = worker.ordered.map(|(at, _)| book.now - at);
                let limit = Some(worker.terms.shutdown_limit);
                let is_due = since == limit || (book.excused() && since > limit);
                (!is_due).then(|| ("W6", format!("cut {since:?} after its order to stop")))
            }
            5186 => {
                // Whether it was right to say so is checked when it does: what WAS hears is older.
                (!worker.said_idle).then(|| ("W8", "it never said that it is idle".to_owned()))
            }
            _other => None,
        };
        match wrong {
            Some((invariant, what)) => {
                let name = &pool.name;
                broken(
                    invariant,
                    format!("{process:?} of {name}, event {}: {what}", event.id),
                )
            }
            None => Ok(()),
        }
    }

    /// A worker's own word.
    pub(super) fn own(book: &mut Book, process: ProcessId, fact: &facts::Fact) -> Verdict {
        let now = book.now;
        let Some(worker) = book.workers.get_mut(&process) else {
            return Ok(());
        };
        match fact {
            facts::Fact::Ready => worker.said_ready = true,
            facts::Fact::StoppedReceiving => worker.stopped_receiving = true,
            facts::Fact::RequestBegan { request, .. } => {
                if worker.stopped_receiving {
                    let what = format!("{process:?} began {request:?} and had stopped receiving");
                    return broken("W2", what);
                }
                worker.began += 1;
                worker.last_began = now;
                worker.busy_with.insert(*request);
            }
            facts::Fact::RequestEnded { request, .. }
            | facts::Fact::RequestAborted { request, .. } => {
                worker.busy_with.remove(request);
                worker.last_ended = now;
            }
            _other => {}
        }
        Ok(())
    }

    /// W8: a worker that says that it is idle has no request, and has begun and ended none for its idle timeout
    /// since it began itself.
    pub(super) fn said_idle(book: &mut Book, process: ProcessId, begun: Instant) -> Verdict {
        let now = book.now;
        let Some(worker) = book.workers.get_mut(&process) else {
            return Ok(());
        };
        worker.said_idle = true;
        let idle = now.saturating_since(worker.last_began.max(worker.last_ended).max(begun));
        let busy_with = worker.busy_with.first().copied();
        let timeout = worker.terms.idle_timeout;
        // Source: IIS docs, `dynamicIdleThreshold`: at most by 32.
        let least = timeout / if book.is_idle_divided { 32 } else { 1 };
        if let Some(request) = busy_with {
            let what = format!("{process:?} says that it is idle, and has {request:?}");
            return broken("W8", what);
        }
        if timeout.is_zero() || idle < least {
            let what = format!("{process:?} says that it is idle after {idle:?}, not {timeout:?}");
            return broken("W8", what);
        }
        Ok(())
    }

    /// A fact of the driver.
    pub(super) fn httpsys(
        book: &mut Book,
        fact: &DriverFact,
        step: &Move,
        seen: &mut Sometimes,
    ) -> Verdict {
        match fact {
            DriverFact::ProcessAttach { process, .. } => {
                if let Some(worker) = book.workers.get_mut(process) {
                    worker.attached = true;
                }
            }
            DriverFact::ProcessShutdown { process } => {
                if let Some(worker) = book.workers.get_mut(process) {
                    worker.shut_down = true;
                    worker.credits = 0;
                }
            }
            DriverFact::ProcessDetach { process, .. } => {
                if let Some(worker) = book.workers.get_mut(process) {
                    worker.attached = false;
                    worker.credits = 0;
                }
            }
            DriverFact::SendComplete { process, .. } => {
                let limit = book.workers.get(process).and_then(|worker| {
                    let (at, _) = worker.ordered?;
                    Some(at + worker.terms.shutdown_limit)
                });
                if limit == Some(book.now) {
                    seen.note(Seen::FinishedAtShutdownLimit);
                }
            }
            _other => {}
        }
        match step {
            Move::Delivered(request, process, _) => may_take(book, *request, *process),
            _other => Ok(()),
        }
    }

    /// W4, W5, W6: nobody is beyond a limit. Those of a WAS that has died are nobody's to cut: they end
    /// by themselves, and stay in the book until the driver knows.
    pub(super) fn look(&self, book: &Book, orphans: &BTreeMap<ProcessId, bool>) -> Verdict {
        if book.excused() {
            return Ok(());
        }
        for (process, worker) in book.workers.iter() {
            if worker.killed.is_some() || orphans.contains_key(process) {
                continue;
            }
            let (pool, terms) = (book.pool(worker.pool), &worker.terms);
            let age = book.now.saturating_since(worker.spawned);
            if worker.is_starting() && age > terms.startup_limit {
                return broken(
                    "W4",
                    format!("{process:?} of {} starts since {age:?}", pool.name),
                );
            }
            if let Some((at, _)) = worker.ordered {
                let since = book.now.saturating_since(at);
                if since > terms.shutdown_limit {
                    return broken("W6", format!("{process:?} stops since {since:?}"));
                }
                let excused = worker.struck || worker.slowed;
                let is_done = worker.stopped_receiving && worker.held == 0 && !excused;
                let quiet = book.now.saturating_since(worker.last_began.max(at));
                if is_done && quiet > terms.shutdown_limit.max(EXIT_MAX) {
                    return broken("W6", format!("{process:?} has nothing left, and stays"));
                }
            }
        }
        for (process, pings) in &self.pings {
            let steady = book.workers.get(process).filter(|worker| !worker.slowed);
            let limits = steady.and_then(|worker| worker.terms.ping);
            let Some((interval, response)) = limits else {
                continue;
            };
            if let Some(sent) = pings.sent
                && book.now.saturating_since(sent) > response + EXIT_MAX
            {
                return broken("W5", format!("{process:?} owes an answer since {sent}"));
            }
            if pings.sent.is_none() && pings.next + interval < book.now {
                let what = format!("{process:?} was to be pinged at {}", pings.next);
                return broken("W5", what);
            }
        }
        Ok(())
    }

    /// WAS has carried out an input: W1.
    pub(super) fn settled(book: &Book, pool: PoolIndex) -> Verdict {
        let serving = book
            .workers_of(pool)
            .filter(|(_, worker)| worker.serves())
            .count();
        let entry = book.pool(pool);
        if serving > entry.may_serve() {
            let (name, most) = (&entry.name, entry.may_serve());
            return broken(
                "W1",
                format!("{serving} workers serve {name}, which may have {most}"),
            );
        }
        Ok(())
    }

    /// WAS goes on after it stood still.
    pub(super) fn thawed(&mut self, now: Instant) {
        for pings in self.pings.values_mut() {
            pings.late = true;
            pings.next = pings.next.max(now);
            pings.sent = pings.sent.map(|_| now);
        }
    }

    /// W7: everybody who was started has ended, but for those who were orphaned.
    pub(super) fn after_the_end(&self, book: &Book, alive: usize) -> Verdict {
        if alive > book.let_go.len() {
            return broken("W7", format!("{alive} worker(s) have outlived WAS"));
        }
        if self.spawned != self.exited {
            let (spawned, exited) = (self.spawned, self.exited);
            return broken(
                "W7",
                format!("{spawned} were started, {exited} were reaped"),
            );
        }
        Ok(())
    }
}

/// W2: a worker takes requests from when it says that it is ready until the driver has stopped it.
fn may_take(book: &Book, request: RequestId, process: ProcessId) -> Verdict {
    if book.let_go.get(&process) == Some(&false) {
        return Ok(());
    }
    let Some(worker) = book.workers.get(&process) else {
        return broken(
            "W2",
            format!("{request:?} was delivered to {process:?}, which is gone"),
        );
    };
    if !worker.attached || worker.shut_down || !worker.said_ready {
        let is = words::of(Some(worker));
        let what = format!("{request:?} was delivered to {process:?}, which is {is}");
        return broken("W2", what);
    }
    Ok(())
}

/// W3: an order to stop, once; once more if it no longer waits for requests.
fn ordered(
    book: &mut Book,
    process: ProcessId,
    reason: ShutdownReason,
    seen: &mut Sometimes,
) -> Verdict {
    let now = book.now;
    let hurried = reason == ShutdownReason::ServiceStop;
    let Some(worker) = book.workers.get_mut(&process) else {
        return broken("W3", format!("{process:?} was told to stop after its end"));
    };
    if worker.killed.is_some() || (worker.ordered.is_some() && !hurried) {
        return broken(
            "W3",
            format!(
                "{process:?} was told to stop, and was {}",
                words::of(Some(worker))
            ),
        );
    }
    let first = worker.ordered.is_none();
    if first {
        worker.ordered = Some((now, reason));
    }
    if reason == ShutdownReason::Idle && worker.held > 0 {
        seen.note(Seen::IdleStopRacesArrival);
    }
    if reason == ShutdownReason::ServiceStop && !first {
        seen.note(Seen::IisresetInOverlap);
    }
    worker.hurried |= hurried;
    Ok(())
}

/// What a worker's end was, among its siblings.
fn went(book: &mut Book, worker: &Worker, seen: &mut Sometimes) {
    let siblings = || book.workers_of(worker.pool).map(|(_, other)| other);
    let replaces = worker.ready.is_none() && siblings().any(Worker::serves);
    let failed = worker.failed || !worker.is_leaving();
    if replaces && failed {
        seen.note(Seen::NewWorkerFailsInOverlap);
    }
    let of_old = worker.ready.is_some() && failed && worker.ordered.is_none();
    if of_old
        && siblings().any(|other| other.ready.is_none() && (other.failed || other.is_leaving()))
    {
        seen.note(Seen::BothFailInOverlap);
    }
    if matches!(worker.ordered, Some((_, ShutdownReason::Recycle))) {
        book.recycles += 1;
    }
}
