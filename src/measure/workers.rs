//! What the workers tell: their lives, and the sessions that lived and died in them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sim_httpsys::api::{ProcessId, UrlContext};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw;
use sim_was::event_log::{self, WorkerExit};
use sim_worker::facts;

use super::cache::Times;
use super::read::Observation;
use crate::load::book::{AttemptRecord, SessionSeen};
use crate::load::plan::Stream;

/// Sessions in the workers' memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Sessions that were alive when the operation began, of clients who were seen to come back to them. A
    /// visitor who never does has no session to lose; nor has a probe, which begins a new one each time.
    pub live: Option<u64>,
    /// Of these, the ones whose next request found no state: users who were signed out.
    pub lost: Option<u64>,
    /// Attempts of the load that were told that their session's state is gone.
    pub attempts_told: u64,
}

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

/// See [`Metrics::workers_replaced_ms`](super::Metrics::workers_replaced_ms).
pub(super) fn replaced_ms(observation: &Observation, lives: &[WorkerLife]) -> Option<f64> {
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
    let is_ended =
        |life: &&WorkerLife| (life.stop_ordered_ms.is_some() || is_killed(life)) && !asked(life);
    let mut done: Option<f64> = None;
    for old in lives.iter().filter(is_old).filter(is_ended) {
        let Some(exited) = old.exited_ms else {
            continue;
        };
        let new = lives
            .iter()
            .filter(|life| !is_old(life) && life.pool == old.pool);
        let ready = new.filter_map(|life| life.ready_ms).min_by(f64::total_cmp);
        let latest = match ready {
            Some(ready) => exited.max(ready),
            // What was killed was to go on: nobody has replaced it.
            None if old.stop_ordered_ms.is_none() => return None,
            None => exited,
        };
        done = Some(done.map_or(latest, |done| done.max(latest)));
    }
    done
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
            event_log::Fact::WorkerExited { process, exit } => life(*process, &|life| {
                life.exited_ms = ms;
                life.exit = Some(match exit {
                    WorkerExit::Code(code) => format!("code {code}"),
                    WorkerExit::Signal(signal) => format!("signal {signal}"),
                });
            }),
            event_log::Fact::Event(_)
            | event_log::Fact::WorkerKilled { .. }
            | event_log::Fact::WorkerOrphaned { .. }
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

/// A session of an application: one cookie serves all applications of a host, and each keeps a state of its own,
/// in whatever pool it is.
type SessionKey<'a> = (UrlContext, &'a str);

/// The sessions that were alive when the operation began, and those of them that were lost.
pub(super) fn sessions(observation: &Observation, operation: Instant) -> Sessions {
    let told = |a: &&AttemptRecord| {
        a.session == Some(SessionSeen::Lost) && a.finished >= operation && a.stream == Stream::Load
    };
    let attempts_told = observation.book.attempts.iter().filter(told).count() as u64;
    let Some(workers) = &observation.workers else {
        return Sessions {
            attempts_told,
            ..Sessions::default()
        };
    };
    let exits = exits(observation);
    let mut live: BTreeSet<SessionKey<'_>> = BTreeSet::new();
    let mut missing: BTreeSet<SessionKey<'_>> = BTreeSet::new();
    let mut timed_out: BTreeSet<SessionKey<'_>> = BTreeSet::new();
    let mut asked: BTreeSet<SessionKey<'_>> = BTreeSet::new();
    for (process, facts) in workers {
        let mut here: BTreeSet<SessionKey<'_>> = BTreeSet::new();
        for traced in facts {
            let is_before = traced.at < operation;
            if let facts::Fact::SessionStart {
                application,
                session,
            } = &traced.fact
                && is_before
            {
                here.insert((*application, session.as_ref()));
            } else if let facts::Fact::SessionEnd {
                application,
                session,
                expired,
            } = &traced.fact
            {
                let key = (*application, session.as_ref());
                if is_before {
                    here.remove(&key);
                } else if *expired {
                    timed_out.insert(key);
                }
            } else if let facts::Fact::SessionFound {
                application,
                session,
            } = &traced.fact
            {
                asked.insert((*application, session.as_ref()));
            } else if let facts::Fact::SessionMissing {
                application,
                session,
            } = &traced.fact
            {
                let key = (*application, session.as_ref());
                asked.insert(key);
                if !is_before {
                    missing.insert(key);
                }
            }
        }
        if exits.get(process).is_none_or(|exit| *exit >= operation) {
            live.extend(here);
        }
    }
    live.retain(|session| asked.contains(session));
    // What nobody has asked for in time no operation has taken.
    let missed = live.intersection(&missing);
    let lost = missed
        .filter(|session| !timed_out.contains(*session))
        .count() as u64;
    Sessions {
        live: Some(live.len() as u64),
        lost: Some(lost),
        attempts_told,
    }
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
        let replaced = |lives: &[WorkerLife]| replaced_ms(&observation, lives);
        let crashed = old(2, None, 800.0, "signal 11");
        let aged = old(3, Some(950.0), 1_000.0, "code 0");
        assert_eq!(replaced(&[crashed.clone(), aged.clone()]), None);
        let recycled = old(1, Some(5.0), 50.0, "code 0");
        assert_eq!(replaced(&[recycled, crashed, aged]), Some(50.0));
    }

    #[test]
    fn until_a_killed_worker_is_replaced_is_unknown_if_none_ever_was() {
        let observation = Observation::default();
        let replaced = |lives: &[WorkerLife]| replaced_ms(&observation, lives);
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

    const SHOP: UrlContext = UrlContext(1);
    const API: UrlContext = UrlContext(2);

    #[test]
    fn a_session_is_lost_when_its_next_request_finds_nothing() {
        let session = |name: &str| name.into();
        let old = vec![
            Traced {
                at: at(-9.0),
                fact: facts::Fact::SessionStart {
                    application: SHOP,
                    session: session("a"),
                },
            },
            Traced {
                at: at(-8.0),
                fact: facts::Fact::SessionStart {
                    application: SHOP,
                    session: session("b"),
                },
            },
            Traced {
                at: at(-7.0),
                fact: facts::Fact::SessionStart {
                    application: SHOP,
                    session: session("c"),
                },
            },
            Traced {
                at: at(-6.5),
                fact: facts::Fact::SessionFound {
                    application: SHOP,
                    session: session("b"),
                },
            },
            Traced {
                at: at(-6.2),
                fact: facts::Fact::SessionStart {
                    application: SHOP,
                    session: session("probe"),
                },
            },
            Traced {
                at: at(-6.0),
                fact: facts::Fact::SessionEnd {
                    application: SHOP,
                    session: session("c"),
                    expired: true,
                },
            },
        ];
        let new = vec![
            Traced {
                at: at(9.0),
                fact: facts::Fact::SessionMissing {
                    application: SHOP,
                    session: session("a"),
                },
            },
            Traced {
                at: at(9.5),
                fact: facts::Fact::SessionMissing {
                    application: SHOP,
                    session: session("a"),
                },
            },
            Traced {
                at: at(9.5),
                fact: facts::Fact::SessionMissing {
                    application: SHOP,
                    session: session("c"),
                },
            },
        ];
        let observation = Observation {
            workers: Some(BTreeMap::from([(ProcessId(1), old), (ProcessId(2), new)])),
            ..Observation::default()
        };
        let sessions = sessions(&observation, OPERATION);
        assert_eq!((sessions.live, sessions.lost), (Some(2), Some(1)));
    }

    fn fact(ms: f64, fact: facts::Fact) -> Traced<facts::Fact> {
        Traced { at: at(ms), fact }
    }

    /// A session of the shop that somebody came back to before the operation.
    fn visited() -> Vec<Traced<facts::Fact>> {
        let (application, session) = (SHOP, || "a".into());
        let start = facts::Fact::SessionStart {
            application,
            session: session(),
        };
        let found = facts::Fact::SessionFound {
            application,
            session: session(),
        };
        vec![fact(-9.0, start), fact(-8.0, found)]
    }

    #[test]
    fn a_session_that_nobody_asked_for_in_time_is_not_lost_but_over() {
        let session = || "a".into();
        let mut facts = visited();
        facts.extend([
            fact(
                1_200_000.0,
                facts::Fact::SessionEnd {
                    application: SHOP,
                    session: session(),
                    expired: true,
                },
            ),
            fact(
                2_000_000.0,
                facts::Fact::SessionMissing {
                    application: SHOP,
                    session: session(),
                },
            ),
        ]);
        let observation = Observation {
            workers: Some(BTreeMap::from([(ProcessId(1), facts)])),
            ..Observation::default()
        };
        let sessions = sessions(&observation, OPERATION);
        assert_eq!((sessions.live, sessions.lost), (Some(1), Some(0)));
    }

    #[test]
    fn a_session_is_lost_with_its_application_in_whatever_pool_it_is_missed() {
        let missed_by = |application| {
            let missing = facts::Fact::SessionMissing {
                application,
                session: "a".into(),
            };
            let after = vec![fact(9.0, missing)];
            let workers = [(ProcessId(1), visited()), (ProcessId(2), after)];
            let observation = Observation {
                workers: Some(BTreeMap::from(workers)),
                ..Observation::default()
            };
            let sessions = sessions(&observation, OPERATION);
            (sessions.live, sessions.lost)
        };
        assert_eq!(missed_by(API), (Some(1), Some(0)), "it never was there");
        assert_eq!(
            missed_by(SHOP),
            (Some(1), Some(1)),
            "the pool is another one"
        );
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
                    reason: sim_worker::ipm::ShutdownReason::Recycle,
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
