//! Worker processes: how many there are, when they are cut, what rapid-fail protection counts.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::Instant;
use sim_was::config::{ApplicationPool, Configuration};
use sim_was::control::{Service, ServiceStatus};
use sim_was::event_log::{Event, Fact};
use sim_worker::facts;
use sim_worker::ipm::RecycleReason;

use super::Verdict;

/// A worker process, as its facts show it.
#[derive(Debug)]
struct Worker {
    pool: String,
    spawned: Instant,
    ready: Option<Instant>,
    ordered: Option<Instant>,
    is_killed: bool,
}

/// What is known of a pool.
#[derive(Debug, Default)]
struct Pool {
    workers_max: usize,
    startup_limit: Duration,
    shutdown_limit: Duration,
    lifetime: Duration,
    crashes_max: usize,
    crash_interval: Duration,
    failures: VecDeque<Instant>,
    disabled: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Workers {
    pools: BTreeMap<String, Pool>,
    alive: BTreeMap<ProcessId, Worker>,
    begun: BTreeMap<ProcessId, Instant>,
}

impl Workers {
    pub(super) fn new(configuration: &Configuration) -> Self {
        let pool = |pool: &ApplicationPool| {
            let book = Pool {
                workers_max: pool.process_model.max_processes.max(1) as usize,
                startup_limit: pool.process_model.startup_time_limit,
                shutdown_limit: pool.process_model.shutdown_time_limit,
                lifetime: pool.recycling.periodic_restart.time,
                crashes_max: pool.failure.rapid_fail_protection_max_crashes as usize,
                crash_interval: pool.failure.rapid_fail_protection_interval,
                ..Pool::default()
            };
            (pool.name.clone(), book)
        };
        Self {
            pools: configuration.application_pools.iter().map(pool).collect(),
            alive: BTreeMap::new(),
            begun: BTreeMap::new(),
        }
    }

    pub(super) fn take(
        &mut self,
        at: Instant,
        fact: &Fact,
        sometimes: &mut BTreeMap<&'static str, u64>,
    ) -> Verdict {
        match fact {
            Fact::WorkerSpawned { process, pool } => return self.spawned(*process, pool, at),
            Fact::WorkerReady { process } => match self.alive.get_mut(process) {
                Some(worker) if worker.ready.is_none() => worker.ready = Some(at),
                other => return Err(("W3", format!("{process:?} is ready, and was {other:?}"))),
            },
            Fact::WorkerStopOrdered { process, .. } => match self.alive.get_mut(process) {
                Some(worker) => worker.ordered = worker.ordered.or(Some(at)),
                None => return Err(("W3", format!("{process:?} was told to stop after its end"))),
            },
            Fact::WorkerKilled { process } => match self.alive.get_mut(process) {
                Some(worker) => worker.is_killed = true,
                None => return Err(("W3", format!("{process:?} was killed after its end"))),
            },
            Fact::WorkerExited { process, .. } => {
                let Some(worker) = self.alive.remove(process) else {
                    return Err(("W7", format!("{process:?} has exited twice")));
                };
                let mut seen = |what: &'static str| *sometimes.entry(what).or_default() += 1;
                let has_sibling = self.alive.values().any(|other| other.pool == worker.pool);
                match (worker.ready, worker.ordered) {
                    (None, _) if has_sibling => seen("a worker died that was to replace another"),
                    (None, _) => seen("a worker died before it was ready"),
                    (Some(_), Some(_)) if has_sibling => seen("a worker went after its successor"),
                    (Some(_), _) => {}
                }
            }
            Fact::Event(event) => return self.event(at, event, sometimes),
            Fact::PoolState { pool, state } => {
                if let Some(pool) = self.pools.get_mut(pool)
                    && state == "Started"
                {
                    pool.disabled = None;
                    pool.failures.clear();
                }
            }
            // A pool of another WAS is another pool; W3SVC alone changes nothing here.
            Fact::ServiceState {
                service: Service::Was,
                status: ServiceStatus::Stopped,
            } => {
                for pool in self.pools.values_mut() {
                    pool.disabled = None;
                    pool.failures.clear();
                }
            }
            Fact::ServiceState { .. }
            | Fact::CommandAccepted { .. }
            | Fact::ConfigurationChanged { .. } => {}
        }
        Ok(())
    }

    /// What a worker says of itself.
    pub(super) fn own(&mut self, process: ProcessId, at: Instant, fact: &facts::Fact) -> Verdict {
        if let facts::Fact::Started { .. } = fact {
            self.begun.insert(process, at);
        }
        let by_age = facts::Fact::RecycleRequested {
            reason: RecycleReason::Time,
        };
        if *fact == by_age
            && let Some(begun) = self.begun.get(&process)
            && let Some(worker) = self.alive.get(&process)
            && let Some(pool) = self.pools.get(&worker.pool)
            && at - *begun != pool.lifetime
        {
            let age = at - *begun;
            let what = format!("{process:?} asks to be recycled at the age of {age:?}");
            return Err(("R6", what));
        }
        Ok(())
    }

    /// Nobody may be starting, stopping or about to die.
    pub(super) fn at_rest(&self) -> Verdict {
        let restless = self.alive.iter().find(|(_, worker)| {
            worker.ready.is_none() || worker.ordered.is_some() || worker.is_killed
        });
        restless.map_or(Ok(()), |(process, worker)| {
            Err(("L1", format!("{process:?} is not at rest: {worker:?}")))
        })
    }

    fn spawned(&mut self, process: ProcessId, name: &str, at: Instant) -> Verdict {
        let worker = Worker {
            pool: name.to_owned(),
            spawned: at,
            ready: None,
            ordered: None,
            is_killed: false,
        };
        self.alive.insert(process, worker);
        let Some(pool) = self.pools.get(name) else {
            return Err((
                "W1",
                format!("{process:?} was started for no pool of the file"),
            ));
        };
        // A process that was ordered in the same instant may be there a moment later.
        if pool.disabled.is_some_and(|disabled| at > disabled) {
            let what = format!("{process:?} was started for {name}, which has failed too often");
            return Err(("F3", what));
        }
        let serving = self
            .alive
            .values()
            .filter(|worker| worker.pool == name && worker.ordered.is_none() && !worker.is_killed);
        let count = serving.count();
        if count > 2 * pool.workers_max {
            let what = format!(
                "{count} workers serve {name}, which may have {}",
                pool.workers_max
            );
            return Err(("W1", what));
        }
        Ok(())
    }

    fn event(
        &mut self,
        at: Instant,
        event: &Event,
        sometimes: &mut BTreeMap<&'static str, u64>,
    ) -> Verdict {
        let mut seen = |what: &'static str| *sometimes.entry(what).or_default() += 1;
        let pool = event.pool.as_ref();
        let Some(pool) = pool.and_then(|name| self.pools.get_mut(name)) else {
            return Ok(());
        };
        let process = pid_of(&event.message);
        let worker = process.and_then(|process| self.alive.get(&process));
        match event.id {
            5010 => seen("a worker did not answer a ping"),
            5012 => {
                seen("a worker was not ready in time");
                let age = worker.map(|worker| at - worker.spawned);
                if age.is_some_and(|age| age != pool.startup_limit) {
                    let what = format!("{process:?} was cut {age:?} after its start");
                    return Err(("W4", what));
                }
            }
            5013 => {
                seen("a worker did not stop in time");
                let since = worker.and_then(|worker| worker.ordered);
                let since = since.map(|ordered| at - ordered);
                if since.is_some_and(|since| since != pool.shutdown_limit) {
                    let what = format!("{process:?} was cut {since:?} after its order to stop");
                    return Err(("W6", what));
                }
            }
            5002 => {
                seen("rapid-fail protection tripped");
                let interval = pool.crash_interval;
                let counts = |failure: &&Instant| at.saturating_since(**failure) < interval;
                let recent = pool.failures.iter().filter(counts).count();
                if recent < pool.crashes_max {
                    let what = format!("a pool was disabled after {recent} failures");
                    return Err(("F2", what));
                }
                pool.disabled = Some(at);
            }
            5074 => seen("a worker was recycled for its age"),
            5075 => seen("a worker was recycled for its requests"),
            5186 => seen("a worker was stopped because it was idle"),
            _ => {}
        }
        if matches!(event.id, 5009..=5013 | 5039 | 5127) {
            pool.failures.push_back(at);
        }
        Ok(())
    }
}

/// The process that an event names.
fn pid_of(message: &str) -> Option<ProcessId> {
    let (_, rest) = message.split_once("process id was '")?;
    let (pid, _) = rest.split_once('\'')?;
    pid.parse().ok().map(ProcessId)
}
