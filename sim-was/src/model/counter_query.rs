//! What all counters read: WAS knows its own, asks every worker and the driver for theirs, and answers
//! when all have spoken or the time for it is over.

use std::collections::BTreeSet;

use sim_httpsys::api::{CallId, CallResult, ControlCall, ProcessId};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::counters::Snapshot;
use sim_worker::counters::WorkerCounters;
use sim_worker::ipm::ToWorker;

use super::app_pool::AppPool;
use super::lists::{QUERY_MAX, worker_processes};
use super::{ClientId, Output, Timer, Was};
use crate::control::{Answer, CounterReadings, Service, WorkerReading};

/// A question for counters that is under way.
#[derive(Debug)]
pub(super) struct CounterQuery {
    client: ClientId,
    workers: BTreeSet<ProcessId>,
    /// The call of the driver that is not answered yet.
    driver: Option<CallId>,
    readings: CounterReadings,
}

impl Was {
    /// Asks everybody for their counters.
    pub(super) fn query_counters(&mut self, client: ClientId, now: Instant) {
        self.queries_asked += 1;
        let token = self.queries_asked;
        let workers = self.pools.iter().flat_map(AppPool::workers);
        let workers: BTreeSet<ProcessId> = workers
            .filter(|worker| worker.answers_questions())
            .filter_map(|worker| worker.pid)
            .collect();
        for &pid in &workers {
            let message = ToWorker::QueryCounters { token };
            self.fx.push(Output::Tell { pid, message });
        }
        let driver = Some(self.fx.call(ControlCall::QueryCounters));
        self.fx.timers.set(Timer::Query(token), now + QUERY_MAX);
        let query = CounterQuery {
            client,
            workers,
            driver,
            readings: CounterReadings::default(),
        };
        self.counter_queries.insert(token, query);
    }

    /// A worker has answered.
    pub(super) fn worker_counters(
        &mut self,
        pid: ProcessId,
        token: u64,
        counters: WorkerCounters,
        now: Instant,
    ) {
        let application_pool = self.worker_counted(pid, counters);
        if let (Some(query), Some(application_pool)) =
            (self.counter_queries.get_mut(&token), application_pool)
            && query.workers.remove(&pid)
        {
            query.readings.workers.push(WorkerReading {
                pid: pid.0,
                application_pool,
                counters,
            });
        }
        self.finish_counter_queries(now);
    }

    /// A worker has told its counters, because it was asked or because it exits; gives back its pool.
    pub(super) fn worker_counted(
        &mut self,
        pid: ProcessId,
        counters: WorkerCounters,
    ) -> Option<String> {
        let mut workers = worker_processes(self).into_iter();
        let pool = workers.find(|worker| worker.pid == pid.0)?.application_pool;
        self.counted.told(pid, &pool, counters);
        Some(pool)
    }

    /// The driver has answered a call; `true` if it was one for counters.
    pub(super) fn driver_counters(
        &mut self,
        id: CallId,
        result: Option<&CallResult>,
        now: Instant,
    ) -> bool {
        let asked = |query: &&mut CounterQuery| query.driver == Some(id);
        let Some(query) = self.counter_queries.values_mut().find(asked) else {
            return false;
        };
        query.driver = None;
        query.readings.driver = result.and_then(snapshot_of);
        self.finish_counter_queries(now);
        true
    }

    /// A worker has exited: nobody waits for its counters any more.
    pub(super) fn worker_counts_no_more(&mut self, pid: ProcessId, now: Instant) {
        self.counted.gone(pid);
        for query in self.counter_queries.values_mut() {
            query.workers.remove(&pid);
        }
        self.finish_counter_queries(now);
    }

    /// The time for answers is over.
    pub(super) fn counter_query_overdue(&mut self, token: u64, now: Instant) {
        if let Some(query) = self.counter_queries.get_mut(&token) {
            query.workers.clear();
            query.driver = None;
        }
        self.finish_counter_queries(now);
    }

    fn finish_counter_queries(&mut self, now: Instant) {
        let is_complete = |query: &CounterQuery| query.workers.is_empty() && query.driver.is_none();
        while let Some(token) = self
            .counter_queries
            .iter()
            .find_map(|(token, query)| is_complete(query).then_some(*token))
        {
            let Some(query) = self.counter_queries.remove(&token) else {
                return;
            };
            self.fx.timers.clear(Timer::Query(token));
            let mut readings = Box::new(query.readings);
            self.counted.complete(&mut readings);
            self.own_readings(&mut readings, now);
            self.fx.answer(query.client, Answer::Counters(readings));
        }
    }

    fn own_readings(&self, readings: &mut CounterReadings, now: Instant) {
        let status = |service| (service, self.services.status(service));
        readings.services = [Service::Was, Service::W3svc].map(status).to_vec();
        readings.service_uptime_s = self.fx.counters.service_uptime(now).as_secs();
        let of_pool = |pool: &AppPool| {
            let name = &pool.settings().name;
            let mut counters = self.fx.counters.reading(name, now);
            let recent = pool.failures_within(now);
            counters.recent_worker_process_failures = u64::try_from(recent).unwrap_or(u64::MAX);
            (name.clone(), counters)
        };
        readings.app_pools = self.pools.iter().map(of_pool).collect();
        let sites = self.configuration.iter().flat_map(|c| &c.sites);
        readings.sites = sites.map(|site| (site.id, site.name.clone())).collect();
    }
}

fn snapshot_of(result: &CallResult) -> Option<Snapshot> {
    match result {
        CallResult::Counters(snapshot) => Some((**snapshot).clone()),
        CallResult::Done | CallResult::ServiceState(_) => None,
    }
}
