//! Where requests can go: when a queue had no worker that receives from it.
//!
//! A worker is a delivery target from the moment it opens its queue until it has stopped receiving, or is gone, or
//! its queue is closed: that is how the services stop, and the worker may live on for long. One that hangs, stands
//! still or is suspended is a target all the same: requests go to it.

use std::collections::BTreeMap;

use sim_httpsys::api::{ProcessId, RequestQueueName};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{Fact, Traced};

/// Times without a delivery target, from the first one that a queue had. One that has not ended ends at
/// [`Instant`]'s last moment.
pub(crate) type Gaps<'a> = BTreeMap<&'a RequestQueueName, Vec<(Instant, Instant)>>;

const NEVER: Instant = Instant(u64::MAX);

/// Every time in which a queue had no delivery target.
pub(crate) fn gaps(facts: &[Traced<Fact>]) -> Gaps<'_> {
    let mut receives: BTreeMap<ProcessId, &RequestQueueName> = BTreeMap::new();
    let mut gaps: Gaps<'_> = BTreeMap::new();
    for traced in facts {
        if let Fact::ProcessAttach { process, queue } = &traced.fact {
            let of_queue = gaps.entry(queue).or_default();
            if let Some(last) = of_queue.last_mut() {
                last.1 = last.1.min(traced.at);
            }
            receives.insert(*process, queue);
        }
        let gone = if let Fact::CloseRequestQueue { queue, .. } = &traced.fact {
            let before = receives.len();
            receives.retain(|_, other| *other != queue);
            (receives.len() < before).then_some(queue)
        } else if let Fact::ProcessShutdown { process } | Fact::ProcessDetach { process, .. } =
            &traced.fact
        {
            receives.remove(process)
        } else {
            None
        };
        if let Some(queue) = gone
            && !receives.values().any(|other| *other == queue)
        {
            gaps.entry(queue).or_default().push((traced.at, NEVER));
        }
    }
    gaps
}

/// Of the queues that had a target when the operation began the one that was without for the longest time in
/// all, up to `end`; milliseconds. `None` if none had one.
pub(super) fn without_target_ms(
    facts: &[Traced<Fact>],
    operation: Instant,
    end: Instant,
) -> Option<f64> {
    let had_one = |of_queue: &&Vec<(Instant, Instant)>, since: Instant| {
        since <= operation
            && of_queue
                .iter()
                .all(|(from, to)| *from > operation || *to <= operation)
    };
    let mut since: BTreeMap<&RequestQueueName, Instant> = BTreeMap::new();
    for traced in facts {
        if let Fact::ProcessAttach { queue, .. } = &traced.fact {
            since.entry(queue).or_insert(traced.at);
        }
    }
    let gaps = gaps(facts);
    let served = gaps.iter().filter(|(queue, of_queue)| {
        let since = since.get(*queue).copied().unwrap_or(NEVER);
        had_one(of_queue, since)
    });
    let without = served.map(|(_, of_queue)| {
        let within = of_queue
            .iter()
            .filter(|(from, _)| *from > operation && *from < end);
        let sum: f64 = within
            .map(|(from, to)| (*to).min(end).millis_since(*from))
            .sum();
        // The sum of none is -0.
        sum + 0.0
    });
    without.max_by(f64::total_cmp)
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

    fn without(facts: &[Traced<Fact>]) -> Option<f64> {
        without_target_ms(facts, Instant(100_000_000), Instant(1_000_000_000))
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
        assert_eq!(gaps(&facts).len(), 2);
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
    }
}
