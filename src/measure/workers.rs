//! What the workers tell of their lives.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sim_httpsys::api::{ProcessId, RequestQueueName};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw;
use sim_was::event_log::{self, WorkerExit};
use sim_worker::facts;
use sim_worker::ipm::ShutdownReason;

use super::cache::Times;
use super::read::Observation;

/// The life of a worker process, in milliseconds since the operation began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerLife {
    /// Its pid.
    pub pid: u32,
    /// Its pool.
    pub pool: Option<String>,
    /// When it was created; negative if before the operation.
    pub spawned_ms: Option<f64>,
    /// When it said that it is ready.
    pub ready_ms: Option<f64>,
    /// When it was told to stop.
    pub stop_ordered_ms: Option<f64>,
    /// When WAS gave it up; it lives on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphaned_ms: Option<f64>,
    /// When it was gone: as WAS saw it, or else the driver.
    pub exited_ms: Option<f64>,
    /// How it went: `code 0`, `signal 9`; `None` also if WAS did not live to see it.
    pub exit: Option<String>,
}

/// When each worker that ended did so: as WAS saw it, or as it said itself.
pub(super) fn exits(observation: &Observation) -> BTreeMap<ProcessId, Instant> {
    let mut exits = BTreeMap::new();
    for (process, facts) in observation.workers.iter().flatten() {
        let exiting = facts
            .iter()
            .find(|t| matches!(t.fact, facts::Fact::Exiting { .. }));
        exits.extend(exiting.map(|traced| (*process, traced.at)));
    }
    for traced in observation.httpsys.iter().flatten() {
        if let etw::Fact::ProcessDetach { process, .. } = traced.fact {
            exits.insert(process, traced.at);
        }
    }
    for traced in observation.was.iter().flatten() {
        if let event_log::Fact::WorkerExited { process, .. } = traced.fact {
            exits.insert(process, traced.at);
        }
    }
    exits
}

/// From when on each worker gets no more requests: the driver has stopped delivering to it, or it was told to stop,
/// given up, or gone.
pub(super) fn served_until(observation: &Observation) -> BTreeMap<ProcessId, Instant> {
    let mut served_until = exits(observation);
    let mut until = |process: ProcessId, at: Instant| {
        let until = served_until.entry(process).or_insert(at);
        *until = (*until).min(at);
    };
    let mut attached: BTreeMap<ProcessId, &RequestQueueName> = BTreeMap::new();
    for traced in observation.httpsys.iter().flatten() {
        if let etw::Fact::ProcessAttach { process, queue } = &traced.fact {
            attached.insert(*process, queue);
        } else if let etw::Fact::ProcessShutdown { process } = &traced.fact {
            until(*process, traced.at);
        } else if let etw::Fact::CloseRequestQueue { queue, .. } = &traced.fact {
            let of_queue = attached.iter().filter(|(_, other)| *other == &queue);
            of_queue.for_each(|(process, _)| until(*process, traced.at));
        }
    }
    for traced in observation.was.iter().flatten() {
        if let event_log::Fact::WorkerStopOrdered { process, .. }
        | event_log::Fact::WorkerOrphaned { process } = &traced.fact
        {
            until(*process, traced.at);
        }
    }
    served_until
}

/// See [`Metrics::workers_replaced_ms`](super::Metrics::workers_replaced_ms). `pool` is the one that was operated on.
pub(super) fn replaced_ms(
    observation: &Observation,
    lives: &[WorkerLife],
    pool: Option<&str>,
) -> Option<f64> {
    let is_old = |life: &&WorkerLife| life.spawned_ms.is_none_or(|spawned| spawned < 0.0);
    // One that asked for its recycle, or crashed, has not been ended by what was done to the server.
    let asked = |life: &WorkerLife| {
        let mut facts = observation
            .workers
            .iter()
            .filter_map(|workers| workers.get(&ProcessId(life.pid)))
            .flatten();
        facts.any(|traced| matches!(traced.fact, facts::Fact::RecycleRequested { .. }))
    };
    // Nor has one that was idle, or one of another pool that hung or did not come to be.
    let by_was = OwnAccord::of(observation);
    let is_ended = |life: &&WorkerLife| {
        let gone = life.orphaned_ms.is_some() || is_killed(life);
        let is_struck =
            gone && (!by_was.killed.contains(&life.pid) || life.pool.as_deref() == pool);
        let by_order = life.stop_ordered_ms.is_some() && !by_was.idle.contains(&life.pid);
        (by_order || (life.stop_ordered_ms.is_none() && is_struck)) && !asked(life)
    };
    let mut done: Option<f64> = None;
    for old in lives.iter().filter(is_old).filter(is_ended) {
        let Some(gone) = old.orphaned_ms.or(old.exited_ms) else {
            continue;
        };
        let new = lives
            .iter()
            .filter(|life| !is_old(life) && life.pool == old.pool);
        let ready = new.filter_map(|life| life.ready_ms).min_by(f64::total_cmp);
        let latest = match ready {
            Some(ready) => gone.max(ready),
            // What was killed was to go on: nobody has replaced it.
            None if old.stop_ordered_ms.is_none() => return None,
            None => gone,
        };
        done = Some(done.map_or(latest, |done| done.max(latest)));
    }
    done
}

/// Workers that WAS ended of its own accord.
#[derive(Default)]
struct OwnAccord {
    /// Killed or given up: they missed their ping, or a limit.
    killed: BTreeSet<u32>,
    /// Stopped because they were idle.
    idle: BTreeSet<u32>,
}

impl OwnAccord {
    fn of(observation: &Observation) -> Self {
        let mut all = Self::default();
        for traced in observation.was.iter().flatten() {
            if let event_log::Fact::WorkerKilled { process }
            | event_log::Fact::WorkerOrphaned { process } = &traced.fact
            {
                all.killed.insert(process.0);
            } else if let event_log::Fact::WorkerStopOrdered {
                process,
                reason: ShutdownReason::Idle,
            } = &traced.fact
            {
                all.idle.insert(process.0);
            }
        }
        all
    }
}

/// Whether somebody has killed it: WAS saw the signal, or has died and seen nothing of its end.
fn is_killed(life: &WorkerLife) -> bool {
    match life.exit.as_deref() {
        Some(exit) => exit == "signal 9",
        None => life.exited_ms.is_some(),
    }
}

/// The lives of the workers that lived at or after the start of the operation.
pub(super) fn worker_lives(observation: &Observation, times: Times) -> Option<Vec<WorkerLife>> {
    let mut lives: BTreeMap<ProcessId, WorkerLife> = BTreeMap::new();
    let watched = observation
        .was
        .as_ref()?
        .iter()
        .filter(|traced| traced.at <= times.end);
    for traced in watched {
        let ms = Some(traced.at.millis_since(times.operation));
        let mut life = |process: ProcessId, change: &dyn Fn(&mut WorkerLife)| {
            change(lives.entry(process).or_insert_with(|| WorkerLife {
                pid: process.0,
                pool: None,
                spawned_ms: None,
                ready_ms: None,
                stop_ordered_ms: None,
                orphaned_ms: None,
                exited_ms: None,
                exit: None,
            }));
        };
        match &traced.fact {
            event_log::Fact::WorkerSpawned { process, pool } => life(*process, &|life| {
                life.pool = Some(pool.clone());
                life.spawned_ms = ms;
            }),
            event_log::Fact::WorkerReady { process } => life(*process, &|life| life.ready_ms = ms),
            event_log::Fact::WorkerStopOrdered { process, .. } => {
                life(*process, &|life| life.stop_ordered_ms = ms);
            }
            event_log::Fact::WorkerOrphaned { process } => {
                life(*process, &|life| life.orphaned_ms = ms);
            }
            event_log::Fact::WorkerExited { process, exit } => life(*process, &|life| {
                life.exited_ms = ms;
                life.exit = Some(match exit {
                    WorkerExit::Code(code) => format!("code {code}"),
                    WorkerExit::Signal(signal) => format!("signal {signal}"),
                });
            }),
            event_log::Fact::Event(_)
            | event_log::Fact::WorkerKilled { .. }
            | event_log::Fact::WorkerSuspended { .. }
            | event_log::Fact::WorkerResumed { .. }
            | event_log::Fact::CommandAccepted { .. }
            | event_log::Fact::ServiceState { .. }
            | event_log::Fact::ConfigurationChanged { .. }
            | event_log::Fact::PoolState { .. } => {}
        }
    }
    // Of one that dies with WAS, only the driver tells when it was gone.
    for traced in observation.httpsys.iter().flatten() {
        if let etw::Fact::ProcessDetach { process, .. } = traced.fact
            && traced.at <= times.end
            && let Some(life) = lives.get_mut(&process)
            && life.exited_ms.is_none()
        {
            life.exited_ms = Some(traced.at.millis_since(times.operation));
        }
    }
    let end = times.end.millis_since(times.operation);
    let is_of_trial = |life: &WorkerLife| {
        life.exited_ms.is_none_or(|exited| exited >= 0.0)
            && life.spawned_ms.is_none_or(|spawned| spawned <= end)
    };
    let mut lives: Vec<WorkerLife> = lives.into_values().filter(is_of_trial).collect();
    lives.sort_by(|a, b| {
        a.spawned_ms
            .partial_cmp(&b.spawned_ms)
            .unwrap_or(a.pid.cmp(&b.pid))
    });
    Some(lives)
}

#[cfg(test)]
mod tests {
    use sim_httpsys::etw::Traced;

    use super::*;
    use crate::load::outcome::Outcome;
    use crate::measure::synthetic::{OPERATION, at, book_with_outage};

    const TIMES: Times = Times {
        operation: OPERATION,
        baseline_from: Instant(95_000_000_000),
        end: Instant(112_000_000_000),
    };

    /// A worker that was there before the operation, and when it was told to stop and went.
    fn old(pid: u32, told: Option<f64>, gone: f64, exit: &str) -> WorkerLife {
        WorkerLife {
            pid,
            pool: Some("A".to_owned()),
            spawned_ms: Some(-100.0),
            ready_ms: Some(-90.0),
            stop_ordered_ms: told,
            orphaned_ms: None,
            exited_ms: Some(gone),
            exit: Some(exit.to_owned()),
        }
    }

    #[test]
    fn a_worker_that_ends_by_itself_is_not_replaced_by_the_operation() {
        let asked = Traced {
            at: at(900.0),
            fact: facts::Fact::RecycleRequested {
                reason: sim_worker::ipm::RecycleReason::Time,
            },
        };
        let observation = Observation {
            workers: Some(BTreeMap::from([(ProcessId(3), vec![asked])])),
            ..Observation::default()
        };
        let replaced = |lives: &[WorkerLife]| replaced_ms(&observation, lives, Some("A"));
        let crashed = old(2, None, 800.0, "signal 11");
        let aged = old(3, Some(950.0), 1_000.0, "code 0");
        assert_eq!(replaced(&[crashed.clone(), aged.clone()]), None);
        let recycled = old(1, Some(5.0), 50.0, "code 0");
        assert_eq!(replaced(&[recycled, crashed, aged]), Some(50.0));
    }

    #[test]
    fn until_a_killed_worker_is_replaced_is_unknown_if_none_ever_was() {
        let observation = Observation::default();
        let replaced = |lives: &[WorkerLife]| replaced_ms(&observation, lives, Some("A"));
        let killed = old(4, None, 0.3, "signal 9");
        let new = WorkerLife {
            pid: 5,
            spawned_ms: Some(1.0),
            ready_ms: None,
            exited_ms: None,
            exit: None,
            ..killed.clone()
        };
        assert_eq!(replaced(&[killed.clone(), new.clone()]), None);
        let ready = WorkerLife {
            ready_ms: Some(7.0),
            ..new
        };
        assert_eq!(replaced(&[killed.clone(), ready.clone()]), Some(7.0));
        let died_with_was = WorkerLife {
            exit: None,
            ..killed
        };
        assert_eq!(replaced(&[died_with_was, ready]), Some(7.0));
        let stopped = old(6, Some(5.0), 50.0, "code 0");
        assert_eq!(replaced(&[stopped]), Some(50.0));
    }

    fn was(fact: event_log::Fact) -> Traced<event_log::Fact> {
        Traced {
            at: at(900.0),
            fact,
        }
    }

    #[test]
    fn a_worker_of_another_pool_that_was_kills_or_stops_itself_is_none_of_the_operation() {
        let process = ProcessId(8);
        let killed = was(event_log::Fact::WorkerKilled { process });
        let idle = was(event_log::Fact::WorkerStopOrdered {
            process: ProcessId(9),
            reason: ShutdownReason::Idle,
        });
        let observation = Observation {
            was: Some(vec![killed, idle]),
            ..Observation::default()
        };
        let recycled = old(1, Some(5.0), 50.0, "code 0");
        let of_b = |life: WorkerLife| WorkerLife {
            pool: Some("B".to_owned()),
            ..life
        };
        let hung = of_b(old(8, None, 900.0, "signal 9"));
        let idle = of_b(old(9, Some(900.0), 950.0, "code 0"));
        let lives = [recycled, hung.clone(), idle];
        assert_eq!(replaced_ms(&observation, &lives, Some("A")), Some(50.0));
        let next = WorkerLife {
            spawned_ms: Some(901.0),
            ready_ms: Some(930.0),
            ..of_b(old(10, None, 0.0, "code 0"))
        };
        let lives = [hung, next];
        assert_eq!(replaced_ms(&observation, &lives, Some("A")), None);
        assert_eq!(
            replaced_ms(&observation, &lives, Some("B")),
            Some(930.0),
            "it was made to hang"
        );
    }

    #[test]
    fn a_worker_that_was_gives_up_serves_nobody_any_more_and_is_replaced_though_it_lives() {
        let process = ProcessId(8);
        let observation = Observation {
            was: Some(vec![was(event_log::Fact::WorkerOrphaned { process })]),
            ..Observation::default()
        };
        assert_eq!(served_until(&observation)[&process], at(900.0));
        let given_up = WorkerLife {
            orphaned_ms: Some(900.0),
            exited_ms: None,
            exit: None,
            ..old(8, None, 0.0, "")
        };
        let next = WorkerLife {
            spawned_ms: Some(901.0),
            ready_ms: Some(930.0),
            ..old(10, None, 0.0, "code 0")
        };
        let replaced = replaced_ms(&observation, &[given_up, next], Some("A"));
        assert_eq!(replaced, Some(930.0));
        let lives = worker_lives(&observation, TIMES).unwrap();
        assert_eq!(lives[0].orphaned_ms, Some(900.0));
    }

    #[test]
    fn a_worker_serves_until_it_or_its_queue_receives_no_more() {
        let name = RequestQueueName("A".to_owned());
        let fact = |ms, fact| Traced { at: at(ms), fact };
        let attach = |process| {
            let queue = name.clone();
            let process = ProcessId(process);
            fact(-9.0, etw::Fact::ProcessAttach { process, queue })
        };
        let process = ProcessId(1);
        let queue = name.clone();
        let httpsys = vec![
            attach(1),
            attach(2),
            fact(3.0, etw::Fact::ProcessShutdown { process }),
            fact(5.0, etw::Fact::CloseRequestQueue { queue, waiting: 0 }),
            fact(
                90.0,
                etw::Fact::ProcessDetach {
                    process,
                    abandoned: 0,
                },
            ),
        ];
        let observation = Observation {
            httpsys: Some(httpsys),
            ..Observation::default()
        };
        let until = served_until(&observation);
        assert_eq!((until[&process], until[&ProcessId(2)]), (at(3.0), at(5.0)));
    }

    #[test]
    fn the_driver_tells_the_end_of_a_worker_that_dies_with_was() {
        let pid = ProcessId(7);
        let spawned = Traced {
            at: at(-500.0),
            fact: event_log::Fact::WorkerSpawned {
                process: pid,
                pool: "A".to_owned(),
            },
        };
        let gone = Traced {
            at: at(12.0),
            fact: etw::Fact::ProcessDetach {
                process: pid,
                abandoned: 0,
            },
        };
        let observation = Observation {
            was: Some(vec![spawned]),
            httpsys: Some(vec![gone]),
            ..Observation::default()
        };
        let lives = worker_lives(&observation, TIMES).unwrap();
        assert_eq!(lives[0].exited_ms, Some(12.0));
        assert_eq!(lives[0].exit, None);
    }

    #[test]
    fn the_life_of_a_worker_is_told_relative_to_the_operation() {
        let pid = ProcessId(7);
        let was = vec![
            Traced {
                at: at(-500.0),
                fact: event_log::Fact::WorkerSpawned {
                    process: pid,
                    pool: "A".to_owned(),
                },
            },
            Traced {
                at: at(-400.0),
                fact: event_log::Fact::WorkerReady { process: pid },
            },
            Traced {
                at: at(10.0),
                fact: event_log::Fact::WorkerStopOrdered {
                    process: pid,
                    reason: ShutdownReason::Recycle,
                },
            },
            Traced {
                at: at(20.0),
                fact: event_log::Fact::WorkerExited {
                    process: pid,
                    exit: WorkerExit::Signal(9),
                },
            },
        ];
        let observation = Observation {
            book: book_with_outage(0, Outcome::Ok),
            was: Some(was),
            ..Observation::default()
        };
        let lives = worker_lives(&observation, TIMES).unwrap();
        assert_eq!(lives[0].spawned_ms, Some(-500.0));
        assert_eq!(lives[0].exited_ms, Some(20.0));
        assert_eq!(lives[0].exit.as_deref(), Some("signal 9"));
    }
}
