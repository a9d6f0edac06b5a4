//! What the event log says from the operation's begin to the end of the load: how often each event, and when recycles happened.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use sim_httpsys::clockwork::{Instant, UtcClock};
use sim_was::event_log::{Event, Fact};

use super::read::Observation;

/// Recycles of a span of time, by the clock on the wall (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recycles {
    /// Events that say that a worker process recycles.
    pub logged: u64,
    /// In how many different hours of the day.
    pub hours_of_day: Option<u64>,
    /// How many between 09:00 and 17:00.
    pub in_office_hours: Option<u64>,
}

/// Ids of the events that say that a worker process, or a pool, recycles, each with its reason.
///
/// Source: Microsoft's pages on WAS events: 5074 time limit, 5075 number of requests, 5076 scheduled,
/// 5077 virtual memory, 5078 unhealthy ISAPI, 5079 by an administrator, 5080 and 5081 configuration
/// changes, 5117 private memory.
const RECYCLES: [u16; 9] = [5074, 5075, 5076, 5077, 5078, 5079, 5080, 5081, 5117];

const HOUR: u64 = 3_600_000_000_000;

/// How often each event was logged in a span of time, by its id.
pub(super) fn events(
    observation: &Observation,
    span: Range<Instant>,
) -> Option<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for (_, event) in logged(observation, span)? {
        *counts.entry(event.id.to_string()).or_default() += 1;
    }
    Some(counts)
}

/// The recycles of a span of time; `clock` tells the time of day.
pub(super) fn recycles(
    observation: &Observation,
    span: Range<Instant>,
    clock: Option<UtcClock>,
) -> Option<Recycles> {
    let recycles = logged(observation, span)?.filter(|(_, e)| RECYCLES.contains(&e.id));
    let moments: Vec<Instant> = recycles.map(|(at, _)| at).collect();
    let hours = clock.map(|clock| {
        let hour = |at: &Instant| clock.utc(*at).0 / HOUR % 24;
        moments.iter().map(hour).collect::<Vec<u64>>()
    });
    let office = |hours: &Vec<u64>| hours.iter().filter(|hour| (9..17).contains(*hour)).count();
    Some(Recycles {
        logged: moments.len() as u64,
        hours_of_day: hours
            .as_ref()
            .map(|hours| hours.iter().collect::<BTreeSet<_>>().len() as u64),
        in_office_hours: hours.as_ref().map(|hours| office(hours) as u64),
    })
}

fn logged(
    observation: &Observation,
    span: Range<Instant>,
) -> Option<impl Iterator<Item = (Instant, &Event)>> {
    let facts = observation.was.as_ref()?.iter();
    let within = facts.filter(move |traced| span.contains(&traced.at));
    Some(within.filter_map(|traced| {
        let Fact::Event(event) = &traced.fact else {
            return None;
        };
        Some((traced.at, event))
    }))
}

#[cfg(test)]
mod tests {
    use sim_httpsys::api::ProcessId;
    use sim_httpsys::clockwork::UtcTime;
    use sim_httpsys::etw::Traced;
    use sim_worker::ipm::RecycleReason;

    use super::*;

    #[test]
    fn recycles_are_counted_by_the_hour_of_the_day() {
        let event_at = |hour: u64| Traced {
            at: Instant(hour * HOUR + 1),
            fact: Fact::Event(Event::recycle(RecycleReason::Time, "P", ProcessId(1))),
        };
        let observation = Observation {
            was: Some([1, 30, 59, 83].map(event_at).to_vec()),
            ..Observation::default()
        };
        let clock = UtcClock {
            switched_on: UtcTime(0),
        };
        let span = Instant(2 * HOUR)..Instant(84 * HOUR);
        let seen = recycles(&observation, span, Some(clock)).unwrap();
        assert_eq!(seen.logged, 3, "the first was before the operation");
        assert_eq!(seen.hours_of_day, Some(2), "06:00 and twice 11:00");
        assert_eq!(seen.in_office_hours, Some(2));
        let all = events(&observation, Instant(0)..Instant(84 * HOUR));
        assert_eq!(all.unwrap()["5074"], 4);
        let until_the_end = events(&observation, Instant(0)..Instant(60 * HOUR));
        assert_eq!(until_the_end.unwrap()["5074"], 3);
    }
}
