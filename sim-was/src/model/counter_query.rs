//! What all counters read: WAS knows its own, asks every worker and the driver for theirs, and answers
//! when all have spoken or the time for it is over.

use std::collections::BTreeSet;
use std::time::Duration;

use sim_httpsys::api::{CallId, CallResult, ControlCall, ProcessId};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::counters::Snapshot;
use sim_worker::counters::WorkerCounters;
use sim_worker::ipm::ToWorker;

use super::app_pool::AppPool;
use super::lists::{QUERY_MAX, worker_processes};
use super::{ClientId, Output, Timer, Was};
use crate::control::{Answer, CounterReadings, Service, WorkerReading};

/// How long a worker has to tell its counters. Assumed: on Windows they lie in shared memory, which is read at once
/// whatever the worker does; of one that stands still it keeps what was written last.
const WORKERS_MAX: Duration = Duration::from_millis(500);

/// A question for counters that is under way.
#[derive(Debug)]
pub(super) struct CounterQuery {
    client: ClientId,
    workers: BTreeSet<ProcessId>,
    /// The call of the driver that is not answered yet.
    driver: Option<CallId>,
    /// When nobody is waited for any more.
    overdue: Instant,
    readings: CounterReadings,
}

impl Was {
    /// Asks the driver for its counters, and workers if theirs are asked for.
    pub(super) fn query_counters(&mut self, client: ClientId, of_workers: bool, now: Instant) {
        self.queries_asked += 1;
        let token = self.queries_asked;
        let workers = if of_workers {
            self.workers_to_ask()
        } else {
            BTreeSet::new()
        };
        for &pid in &workers {
            let message = ToWorker::QueryCounters { token };
            self.fx.push(Output::Tell { pid, message });
        }
        let driver = Some(self.fx.call(ControlCall::QueryCounters));
        self.fx.timers.set(Timer::Query(token), now + WORKERS_MAX);
        let query = CounterQuery {
            client,
            workers,
            driver,
            overdue: now + QUERY_MAX,
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
        self.silent.remove(&pid);
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
        self.silent.remove(&pid);
        for query in self.counter_queries.values_mut() {
            query.workers.remove(&pid);
        }
        self.finish_counter_queries(now);
    }

    /// The time for answers is over: first that of the workers, then that of the driver.
    pub(super) fn counter_query_overdue(&mut self, token: u64, now: Instant) {
        if let Some(query) = self.counter_queries.get_mut(&token) {
            self.silent.append(&mut query.workers);
            if query.overdue <= now {
                query.driver = None;
            }
            self.fx.timers.set(Timer::Query(token), query.overdue);
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

#[cfg(test)]
mod tests {
    use sim_worker::ipm::FromWorker;

    use super::super::bench::{Bench, server, server_of};
    use super::*;
    use crate::config::edit::Change;
    use crate::control::Command;
    use crate::event_log::WorkerExit;

    fn ask(bench: &mut Bench, of_workers: bool) -> Option<Box<CounterReadings>> {
        counters(bench.ask(Command::QueryCounters { of_workers }))
    }

    fn counters(answer: Option<Answer>) -> Option<Box<CounterReadings>> {
        answer.map(|answer| {
            let Answer::Counters(readings) = answer else {
                panic!("{answer:?}");
            };
            readings
        })
    }

    #[test]
    fn a_worker_that_stands_still_is_waited_for_once_and_keeps_what_it_has_said() {
        let mut bench = server().up_with_worker();
        let pid = bench.pids()[0];
        let pids = |readings: Box<CounterReadings>| -> Vec<u32> {
            readings.workers.iter().map(|worker| worker.pid).collect()
        };
        assert_eq!(ask(&mut bench, true).map(pids), Some(vec![pid]));
        bench.counts = false;
        assert!(ask(&mut bench, false).is_some(), "it is not asked");
        assert!(ask(&mut bench, true).is_none());
        bench.pass(WORKERS_MAX);
        assert_eq!(counters(bench.answer()).map(pids), Some(vec![pid]));
        assert_eq!(ask(&mut bench, true).map(pids), Some(vec![pid]), "at once");
        // When it goes on it answers what it was asked, and is asked again.
        let (token, counters) = (3, Box::default());
        bench.tell(pid, FromWorker::Counters { token, counters });
        assert!(ask(&mut bench, true).is_none());
    }

    #[test]
    fn a_pool_that_is_added_again_counts_from_0() {
        let text = "<configuration><system.applicationHost><applicationPools><add name=\"P\" />\
                    </applicationPools></system.applicationHost></configuration>";
        let (mut bench, pool) = (server_of(text).up(), "P");
        bench.request(pool);
        bench.exit(bench.pids()[0], WorkerExit::Signal(9));
        let counted = |bench: &mut Bench| {
            let readings = ask(bench, false).unwrap();
            let mut pools = readings.app_pools.into_iter();
            let (_, counters) = pools.find(|(name, _)| name == pool)?;
            let (failures, created) = (
                counters.total_worker_process_failures,
                counters.total_worker_processes_created,
            );
            Some((failures, created))
        };
        assert_eq!(counted(&mut bench).map(|(failures, _)| failures), Some(1));
        for (sign, after) in [('-', None), ('+', Some((0, 0)))] {
            let change = format!("{sign}system.applicationHost/applicationPools.[name='{pool}']");
            let changes: Vec<Change> = vec![change.parse().unwrap()];
            bench.ask(Command::ChangeConfiguration { changes });
            assert_eq!(counted(&mut bench), after, "{sign}");
        }
    }
}
