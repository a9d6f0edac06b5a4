//! Where requests can go: when a queue had no worker that receives from it.
//!
//! A worker is a delivery target from the moment it is ready (one that starts has opened its queue, and receives
//! nothing) until it has stopped receiving, or is gone, or its queue is closed: that is how the services stop, and the
//! worker may live on for long. One that hangs, stands still or is suspended is a target all the same: requests go to
//! it.

use std::collections::{BTreeMap, BTreeSet};

use sim_httpsys::api::{ProcessId, RequestQueueName};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{Fact, Traced};
use sim_was::event_log;
use sim_worker::facts;

use super::read::Observation;

/// Times, in order.
type Times = Vec<(Instant, Instant)>;

/// Times without a delivery target, from the first one that a queue had. One that has not ended ends at
/// [`Instant`]'s last moment.
pub(crate) type Gaps<'a> = BTreeMap<&'a RequestQueueName, Times>;

const NEVER: Instant = Instant(u64::MAX);

/// When workers have said that they are ready.
#[derive(Debug)]
pub(crate) struct Ready(Option<BTreeSet<(ProcessId, Instant)>>);

/// When workers have said that they are ready, and when WAS has heard it. If neither has written anything down, the
/// driver alone tells: whoever opens its queue counts as ready.
pub(crate) fn ready(observation: &Observation) -> Ready {
    let said = observation.workers.as_ref().map(|workers| {
        let ready = |(process, facts): (&ProcessId, &Vec<Traced<facts::Fact>>)| {
            let said = facts.iter().find(|t| t.fact == facts::Fact::Ready)?;
            Some((*process, said.at))
        };
        workers.iter().filter_map(ready)
    });
    let heard = observation.was.as_ref().map(|facts| {
        facts.iter().filter_map(|traced| {
            let event_log::Fact::WorkerReady { process } = traced.fact else {
                return None;
            };
            Some((process, traced.at))
        })
    });
    if said.is_none() && heard.is_none() {
        return Ready(None);
    }
    let said = said.into_iter().flatten();
    Ready(Some(said.chain(heard.into_iter().flatten()).collect()))
}

impl Ready {
    /// When one that has opened its queue then was ready.
    fn after(&self, process: ProcessId, opened: Instant) -> Instant {
        let Some(ready) = &self.0 else {
            return opened;
        };
        let mut since = ready.range((process, opened)..=(process, NEVER));
        since.next().map_or(NEVER, |(_, at)| *at)
    }
}

/// Every time in which a queue had a delivery target.
fn served<'a>(facts: &'a [Traced<Fact>], ready: &Ready) -> BTreeMap<&'a RequestQueueName, Times> {
    let mut targets: BTreeMap<ProcessId, (&RequestQueueName, Instant)> = BTreeMap::new();
    let mut served: BTreeMap<&RequestQueueName, Times> = BTreeMap::new();
    let mut serve = |(queue, from): (&'a RequestQueueName, Instant), to: Instant| {
        if from < to {
            served.entry(queue).or_default().push((from, to));
        }
    };
    for traced in facts {
        if let Fact::ProcessAttach { process, queue } = &traced.fact {
            targets.insert(*process, (queue, ready.after(*process, traced.at)));
        } else if let Fact::Deliver { process, .. } = &traced.fact {
            if let Some((_, from)) = targets.get_mut(process) {
                *from = (*from).min(traced.at);
            }
        } else if let Fact::CloseRequestQueue { queue, .. } = &traced.fact {
            let gone = targets.extract_if(.., |_, (other, _)| *other == queue);
            gone.for_each(|(_, target)| serve(target, traced.at));
        } else if let Fact::ProcessShutdown { process } | Fact::ProcessDetach { process, .. } =
            &traced.fact
            && let Some(target) = targets.remove(process)
        {
            serve(target, traced.at);
        }
    }
    for target in targets.into_values() {
        serve(target, NEVER);
    }
    for times in served.values_mut() {
        times.sort_unstable();
    }
    served
}

/// What lies between these times, and after the last one.
fn between(served: &Times) -> Times {
    let mut gaps = Vec::new();
    let mut until = served.first().map_or(NEVER, |(from, _)| *from);
    for (from, to) in served {
        if *from > until {
            gaps.push((until, *from));
        }
        until = until.max(*to);
    }
    if until < NEVER {
        gaps.push((until, NEVER));
    }
    gaps
}

/// Every time in which a queue had no delivery target.
pub(crate) fn gaps<'a>(facts: &'a [Traced<Fact>], ready: &Ready) -> Gaps<'a> {
    let served = served(facts, ready).into_iter();
    served
        .map(|(queue, times)| (queue, between(&times)))
        .collect()
}

/// How long a queue was without a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Without {
    /// In all.
    pub(super) ms: f64,
    /// Whether one was without at the end, for however long.
    pub(super) lasts: bool,
}

/// Of the queues that had a target when the operation began the one that was without for the longest time in
/// all, up to `end`. `None` if none had one.
pub(super) fn without_target(
    facts: &[Traced<Fact>],
    ready: &Ready,
    operation: Instant,
    end: Instant,
) -> Option<Without> {
    let served = served(facts, ready);
    let had_one = served.values().filter(|times| {
        let mut times = times.iter();
        times.any(|(from, to)| *from <= operation && operation < *to)
    });
    let without = had_one.map(|times| {
        let gaps = between(times).into_iter();
        let within: Times = gaps
            .filter(|(from, _)| *from > operation && *from < end)
            .collect();
        let long = within
            .iter()
            .map(|(from, to)| to.min(&end).millis_since(*from));
        // The sum of none is -0.
        let ms = long.sum::<f64>() + 0.0;
        let lasts = within.iter().any(|(_, to)| *to > end);
        Without { ms, lasts }
    });
    without.reduce(|a, b| Without {
        ms: a.ms.max(b.ms),
        lasts: a.lasts || b.lasts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<F>(ms: u64, fact: F) -> Traced<F> {
        Traced {
            at: Instant(ms * 1_000_000),
            fact,
        }
    }

    fn attach(process: u32, queue: &str) -> Fact {
        Fact::ProcessAttach {
            process: ProcessId(process),
            queue: RequestQueueName(queue.into()),
        }
    }

    fn shutdown(process: u32) -> Fact {
        Fact::ProcessShutdown {
            process: ProcessId(process),
        }
    }

    fn detach(process: u32) -> Fact {
        Fact::ProcessDetach {
            process: ProcessId(process),
            abandoned: 0,
        }
    }

    fn close(queue: &str) -> Fact {
        Fact::CloseRequestQueue {
            queue: RequestQueueName(queue.into()),
            waiting: 0,
        }
    }

    fn told(facts: &[Traced<Fact>]) -> Option<Without> {
        let (operation, end) = (Instant(100_000_000), Instant(1_000_000_000));
        without_target(facts, &Ready(None), operation, end)
    }

    fn without(facts: &[Traced<Fact>]) -> Option<f64> {
        told(facts).map(|without| without.ms)
    }

    #[test]
    fn an_overlapped_recycle_leaves_no_time_without_a_target() {
        let facts = [
            at(1, attach(1, "P")),
            at(110, attach(2, "P")),
            at(111, shutdown(1)),
            at(150, detach(1)),
        ];
        assert_eq!(without(&facts), Some(0.0));
        assert!(without(&facts).unwrap().is_sign_positive());
    }

    #[test]
    fn a_worker_whose_queue_is_closed_is_no_target_while_it_stops() {
        let facts = [
            at(1, attach(1, "P")),
            at(2, attach(7, "Q")),
            at(110, close("P")),
            at(400, detach(1)),
            at(420, attach(2, "P")),
        ];
        assert_eq!(without(&facts), Some(310.0));
        assert_eq!(gaps(&facts, &Ready(None)).len(), 2);
    }

    #[test]
    fn from_the_end_of_receiving_to_the_next_worker_there_is_none() {
        let facts = [
            at(1, attach(1, "P")),
            at(2, attach(7, "Q")),
            at(110, shutdown(1)),
            at(150, detach(1)),
            at(310, attach(2, "P")),
            at(400, detach(2)),
            at(500, attach(3, "P")),
        ];
        assert_eq!(without(&facts), Some(300.0), "the worst queue counts");
    }

    #[test]
    fn who_had_no_worker_before_has_lost_none_and_who_gets_none_lacks_it_to_the_end() {
        let idle = [at(1, attach(1, "P")), at(50, detach(1))];
        assert_eq!(without(&idle), None);
        let gone = [at(1, attach(1, "P")), at(200, detach(1))];
        assert_eq!(without(&gone), Some(800.0));
        assert!(told(&gone).unwrap().lasts, "nobody knows how much longer");
        let back = [
            at(1, attach(1, "P")),
            at(200, detach(1)),
            at(900, attach(2, "P")),
        ];
        assert!(!told(&back).unwrap().lasts);
    }

    #[test]
    fn a_worker_that_starts_is_no_target_before_it_is_ready() {
        let facts = [
            at(1, attach(1, "P")),
            at(2, attach(8, "never ready")),
            at(110, detach(1)),
            at(120, attach(2, "P")),
        ];
        let said = |process, ms| {
            let process = ProcessId(process);
            at(ms, event_log::Fact::WorkerReady { process })
        };
        let observation = Observation {
            was: Some(vec![said(1, 20), said(2, 700)]),
            ..Observation::default()
        };
        let (operation, end) = (Instant(100_000_000), Instant(1_000_000_000));
        let without = |facts: &[Traced<Fact>], observation: &Observation| {
            without_target(facts, &ready(observation), operation, end).map(|it| it.ms)
        };
        assert_eq!(without(&facts, &observation), Some(590.0));
        let said = vec![at(690, facts::Fact::Ready)];
        let observation = Observation {
            workers: Some(BTreeMap::from([(ProcessId(2), said)])),
            ..observation
        };
        assert_eq!(
            without(&facts, &observation),
            Some(580.0),
            "WAS hears it later"
        );
        assert_eq!(without(&facts[1..2], &observation), None);
        assert_eq!(gaps(&facts, &ready(&observation)).len(), 1);
    }
}
