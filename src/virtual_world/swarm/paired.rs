//! X2: an iisreset costs at least what a recycle costs, with the same server, load and random numbers.

use super::plan::{Act, Plan, PlannedOperation};
use super::{SwarmError, run_plan};
use crate::virtual_world::faults::Faults;

/// What one operation has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Attempts that failed.
    pub failed: u64,
    /// The longest gap between two successes of a probe, nanoseconds.
    pub gap: u64,
}

/// What both have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paired {
    /// The recycle of the first pool, as it is configured.
    pub recycle: Loss,
    /// The iisreset at the same moment.
    pub iisreset: Loss,
}

impl Paired {
    /// Whether X2 holds.
    pub fn holds(&self) -> bool {
        self.iisreset.gap >= self.recycle.gap && self.iisreset.failed >= self.recycle.failed
    }
}

/// Runs the plan of a seed twice, without faults and with one operation each. What a seed has of its own
/// operations is left out, and so is what a worker would do of its own accord.
pub fn paired(plan: &Plan) -> Result<Paired, SwarmError> {
    let loss = |act: Act| {
        let mut plan = Plan {
            millis: 20_000,
            faults: Faults::default(),
            operations: vec![PlannedOperation {
                at: 10_000_000_000,
                act,
                pool: plan.pools[0].name.clone(),
            }],
            ..plan.clone()
        };
        for pool in &mut plan.pools {
            pool.restart_time = 0;
            pool.restart_requests = 0;
            pool.restart_schedule.clear();
            pool.idle_timeout = 0;
        }
        let outcome = run_plan(&plan)?;
        Ok::<Loss, SwarmError>(Loss {
            failed: outcome.failed,
            gap: outcome.gap,
        })
    };
    Ok(Paired {
        recycle: loss(Act::Recycle)?,
        iisreset: loss(Act::Iisreset)?,
    })
}
