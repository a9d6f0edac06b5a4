//! X2: an iisreset costs at least what a recycle costs, with the same server, load and random numbers.

use std::fmt;
use std::time::Duration;

use super::plan::{Act, Plan, PlannedOperation};
use super::sites::FIRST_SITE;
use super::{SwarmError, run_plan};
use crate::virtual_world::faults::Faults;

/// So many nanoseconds of a gap say nothing. Assumed: a few hops, since answers are under way for different
/// times.
const HOPS: u64 = 1_000_000;

/// What one operation has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Attempts that failed.
    pub failed: u64,
    /// The longest gap between two successes of a probe, nanoseconds.
    pub gap: u64,
}

/// What nothing, and what both have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paired {
    /// Nothing at all, on the same server.
    pub none: Loss,
    /// The recycle of the first pool, as it is configured.
    pub recycle: Loss,
    /// The iisreset at the same moment.
    pub iisreset: Loss,
    /// From one probe to the next, nanoseconds.
    pub probe_interval: u64,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = Duration::from_nanos(self.gap);
        write!(f, "{} failed attempt(s) and a gap of {gap:?}", self.failed)
    }
}

impl fmt::Display for Paired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (recycle, iisreset, none) = (self.recycle, self.iisreset, self.none);
        write!(
            f,
            "the recycle cost {recycle}, the iisreset {iisreset}; without either there were {none}"
        )
    }
}

impl Paired {
    /// Whether the server does all that it is asked for if nobody touches it.
    ///
    /// One that does not says nothing about X2: an iisreset empties the queue of an overloaded server, and on
    /// one that stands still by itself the probes of a run are lucky or not.
    pub fn is_fair(&self) -> bool {
        self.none.failed == 0 && self.none.gap <= 2 * self.probe_interval
    }

    /// Whether X2 holds.
    pub fn holds(&self) -> bool {
        self.iisreset.gap + HOPS >= self.recycle.gap && self.iisreset.failed >= self.recycle.failed
    }
}

/// Runs the plan of a seed three times, without faults and with one operation each, or none. What a seed has of its own
/// operations is left out, and so is what a worker would do of its own accord, and rapid-fail protection.
pub fn paired(plan: &Plan) -> Result<Paired, SwarmError> {
    let loss = |act: Option<Act>| {
        let mut plan = Plan {
            millis: 20_000,
            faults: Faults::default(),
            operations: act
                .map(|act| PlannedOperation {
                    at: 10_000_000_000,
                    act,
                    pool: plan.pools[0].name.clone(),
                    site: FIRST_SITE,
                    set: String::new(),
                    application: String::new(),
                })
                .into_iter()
                .collect(),
            ..plan.clone()
        };
        for pool in &mut plan.pools {
            pool.restart_time = 0;
            pool.restart_requests = 0;
            pool.restart_schedule.clear();
            pool.idle_timeout = 0;
            // Each plan ends with recycles for all: two that cut requests would trip it.
            pool.rapid_fail = false;
        }
        let outcome = run_plan(&plan)?;
        Ok::<Loss, SwarmError>(Loss {
            failed: outcome.failed,
            gap: outcome.gap,
        })
    };
    Ok(Paired {
        probe_interval: plan.load.probe_interval * 1_000_000,
        none: loss(None)?,
        recycle: loss(Some(Act::Recycle))?,
        iisreset: loss(Some(Act::Iisreset))?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::draw;
    use super::*;

    #[test]
    fn a_server_that_stands_still_by_itself_is_not_fair() {
        for seed in [918_274_020, 18_446_744_073_709_549_140] {
            let mut plan = draw(seed, 60_000);
            // With another site, or posts, what is slow is asked for less often.
            plan.other_sites.clear();
            plan.load.body_bytes = 0;
            let pair = paired(&plan).unwrap();
            assert_eq!(pair.none.failed, 0, "seed {seed}");
            assert!(!pair.is_fair(), "seed {seed}: {pair:?}");
        }
    }

    #[test]
    fn a_server_that_does_what_it_is_asked_for_is_fair() {
        let fair = (0..100).filter(|seed| {
            let plan = draw(*seed, 1_000);
            plan.load.rate < 10.0 && paired(&plan).unwrap().is_fair()
        });
        assert!(fair.count() > 5);
    }
}
