//! What has come of an order, for the audit log: which state resulted, and which workers ended and began.
//!
//! WAS is looked at when an order comes and when it is answered, and what begins and ends in between is noted. A
//! recycle is answered when it is under way: what came of it is told when the workers that it was for are gone.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sim_httpsys::clockwork::Instant;
use tokio::sync::oneshot;

use crate::control::Command;
use crate::event_log::WorkerExit;
use crate::model::{ClientId, Standing};

/// How long workers are waited for that an order has to end. Assumed: longer than the limits of nearly every pool;
/// what has not ended by then is said to live.
const PATIENCE: Duration = Duration::from_mins(10);

/// What an order is about.
#[derive(Debug)]
enum Subject {
    /// A pool, in lower case.
    Pool(String),
    /// A site, in lower case.
    Site(String),
    /// A worker process.
    Worker(u32),
    /// Both services, and so all workers.
    Services,
}

/// An order that is being carried out.
#[derive(Debug)]
struct Order {
    subject: Subject,
    /// Whether it is answered before it is carried out.
    is_answered_early: bool,
    begun: Instant,
    /// The workers that it concerns.
    before: Vec<u32>,
    /// Workers that have begun since, and those that have ended.
    began: Vec<u32>,
    ended: Vec<(u32, WorkerExit)>,
}

/// An order that has been answered, and to whom it is told what comes of it.
type Unfinished = (Order, oneshot::Sender<Value>);

/// The orders that are being carried out.
#[derive(Debug, Default)]
pub(super) struct Orders {
    unanswered: BTreeMap<ClientId, Order>,
    unfinished: Vec<Unfinished>,
}

impl Orders {
    /// An order has come, while things stood so.
    pub(super) fn begin(
        &mut self,
        client: ClientId,
        command: &Command,
        standing: impl FnOnce() -> Standing,
        now: Instant,
    ) {
        let Some(subject) = subject_of(command) else {
            return;
        };
        let before = standing().workers.into_iter();
        let before = before.filter(|worker| subject.has(worker.pid, &worker.application_pool));
        let before = before.map(|worker| worker.pid).collect();
        let is_answered_early = matches!(
            command,
            Command::RecycleApplicationPool { .. } | Command::KillWorkerProcess { .. }
        );
        let order = Order {
            subject,
            is_answered_early,
            begun: now,
            before,
            began: Vec::new(),
            ended: Vec::new(),
        };
        self.unanswered.insert(client, order);
    }

    /// A worker of a pool has begun.
    pub(super) fn spawned(&mut self, pid: u32, pool: &str) {
        for order in self.all().filter(|order| order.subject.has(pid, pool)) {
            if !order.began.contains(&pid) {
                order.began.push(pid);
            }
        }
    }

    /// A worker has ended.
    pub(super) fn exited(&mut self, pid: u32, exit: WorkerExit) {
        for order in self.all().filter(|order| order.concerns(pid)) {
            order.ended.push((pid, exit));
        }
    }

    /// What has come of an order that is answered now; if there is more to come, that is told later.
    pub(super) fn answered(
        &mut self,
        client: ClientId,
        is_refused: bool,
        standing: impl FnOnce() -> Standing,
    ) -> (Value, Option<oneshot::Receiver<Value>>) {
        let Some(order) = self.unanswered.remove(&client) else {
            return (Value::Null, None);
        };
        let standing = standing();
        let outcome = order.outcome(&standing);
        if is_refused || !order.is_answered_early || order.is_finished(&standing) {
            return (outcome, None);
        }
        let (told, later) = oneshot::channel();
        self.unfinished.push((order, told));
        (outcome, Some(later))
    }

    /// Tells what has come of the orders that are carried out by now, or are not waited for any longer.
    pub(super) fn finish(&mut self, standing: impl FnOnce() -> Standing, now: Instant) {
        if self.unfinished.is_empty() {
            return;
        }
        let standing = standing();
        let is_over = |(order, _): &mut Unfinished| {
            order.is_finished(&standing) || now.saturating_since(order.begun) > PATIENCE
        };
        let over: Vec<Unfinished> = self.unfinished.extract_if(.., is_over).collect();
        for (order, told) in over {
            told.send(order.outcome(&standing)).ok();
        }
    }

    /// Tells what has come of all orders: nothing more will.
    pub(super) fn end(&mut self, standing: &Standing) {
        for (order, told) in self.unfinished.drain(..) {
            told.send(order.outcome(standing)).ok();
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Order> {
        let unfinished = self.unfinished.iter_mut().map(|(order, _)| order);
        self.unanswered.values_mut().chain(unfinished)
    }
}

impl Order {
    fn concerns(&self, pid: u32) -> bool {
        self.before.contains(&pid) || self.began.contains(&pid)
    }

    /// Whether all workers are gone that it was for.
    fn is_finished(&self, standing: &Standing) -> bool {
        !self.before.iter().any(|pid| standing.has_worker(*pid))
    }

    fn outcome(&self, standing: &Standing) -> Value {
        let mut outcome = Map::new();
        let state = match &self.subject {
            Subject::Pool(name) => {
                let mut pools = standing.pools.iter();
                let pool = pools.find(|pool| pool.name.to_lowercase() == *name);
                pool.map(|pool| pool.state)
            }
            Subject::Site(name) => {
                let mut sites = standing.sites.iter();
                let site = sites.find(|site| site.name.to_lowercase() == *name);
                site.map(|site| site.state)
            }
            Subject::Worker(_) => None,
            Subject::Services => {
                let states = standing.services.iter();
                let states = states.map(|(service, status)| (service.name(), json!(status)));
                outcome.insert("services".to_owned(), states.collect());
                None
            }
        };
        if let Some(state) = state {
            outcome.insert("state".to_owned(), json!(state));
        }
        self.workers(standing, &mut outcome);
        Value::Object(outcome)
    }

    /// What has become of the workers. One that is gone without an exit was orphaned: it is not WAS's any more.
    fn workers(&self, standing: &Standing, outcome: &mut Map<String, Value>) {
        if matches!(self.subject, Subject::Site(_)) {
            return;
        }
        let gone = self.before.iter().filter(|pid| {
            !standing.has_worker(**pid) && !self.ended.iter().any(|(ended, _)| ended == *pid)
        });
        let orphaned: Vec<u32> = gone.copied().collect();
        let ended = self.ended.iter();
        let ended: Vec<Value> = ended
            .map(|(pid, exit)| json!({"pid": pid, "exit": in_words(*exit)}))
            .collect();
        let mut began = self.began.clone();
        let others = standing.workers.iter().filter(|worker| {
            let is_of_it = self.subject.has(worker.pid, &worker.application_pool);
            is_of_it && !self.concerns(worker.pid)
        });
        began.extend(others.map(|worker| worker.pid));
        let still = self.before.iter().copied();
        let (stopping, running): (Vec<u32>, Vec<u32>) = still
            .filter(|pid| standing.has_worker(*pid))
            .partition(|pid| standing.is_stopping(*pid));
        outcome.insert("workers_ended".to_owned(), json!(ended));
        outcome.insert("workers_started".to_owned(), json!(began));
        for (name, pids) in [
            ("workers_stopping", stopping),
            ("workers_still_running", running),
            ("workers_orphaned", orphaned),
        ] {
            if !pids.is_empty() {
                outcome.insert(name.to_owned(), json!(pids));
            }
        }
    }
}

impl Subject {
    /// Whether a worker of a pool is one that it is about.
    fn has(&self, pid: u32, pool: &str) -> bool {
        match self {
            Self::Pool(name) => pool.to_lowercase() == *name,
            Self::Worker(own) => pid == *own,
            Self::Services => true,
            Self::Site(_) => false,
        }
    }
}

/// What a command is about; nothing for questions and for changes of the configuration, whose consequences WAS states.
fn subject_of(command: &Command) -> Option<Subject> {
    match command {
        Command::StartApplicationPool { name }
        | Command::StopApplicationPool { name }
        | Command::RecycleApplicationPool { name } => Some(Subject::Pool(name.to_lowercase())),
        Command::StartSite { name } | Command::StopSite { name } => {
            Some(Subject::Site(name.to_lowercase()))
        }
        Command::KillWorkerProcess { pid } => Some(Subject::Worker(*pid)),
        Command::StopServices { .. } | Command::StartServices { .. } | Command::Quit => {
            Some(Subject::Services)
        }
        Command::ListApplicationPools
        | Command::ListSites
        | Command::ListApplications
        | Command::ListVirtualDirectories
        | Command::ListWorkerProcesses
        | Command::ListRequests
        | Command::ChangeConfiguration { .. }
        | Command::QueryCounters { .. }
        | Command::ServiceStatus => None,
    }
}

fn in_words(exit: WorkerExit) -> String {
    match exit {
        WorkerExit::Code(code) => format!("code {code}"),
        WorkerExit::Signal(signal) => format!("signal {signal}"),
    }
}
