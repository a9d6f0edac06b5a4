//! Dynamic idle: when memory gets short, idle timeouts shrink.
//!
//! Source: IIS docs, `webLimits`, `dynamicIdleThreshold`: the percentage of physical memory that may be
//! committed; idle timeouts are divided by 2, 4, 8, 16 and 32 at 80, 85, 90, 95 and 100 percent of it.

use std::time::Duration;

use crate::event_log::{DynamicIdleLoad, DynamicIdleStep, Event};

/// How often memory is measured. Assumed: Microsoft documents no period; idleness itself is checked by
/// the minute.
pub(super) const CHECK: Duration = Duration::from_secs(30);

/// From so many percent of the threshold on, timeouts are divided by so much.
const STEPS: [(u64, u32); 5] = [(80, 2), (85, 4), (90, 8), (95, 16), (100, 32)];
/// From this divisor on the reduction is aggressive (event 5193). Assumed: the middle of the scale.
const AGGRESSIVE: u32 = 8;

/// The memory of the machine, bytes.
#[derive(serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineMemory {
    /// Committed.
    pub committed: u64,
    /// Physical.
    pub physical: u64,
    /// Free.
    pub free: u64,
}

/// The state of dynamic idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct DynamicIdle {
    /// `dynamicIdleThreshold`, percent; 0 for never.
    threshold: u32,
    divisor: u32,
}

impl Default for DynamicIdle {
    fn default() -> Self {
        Self::new(0)
    }
}

impl DynamicIdle {
    pub(super) fn new(threshold: u32) -> Self {
        Self {
            threshold,
            divisor: 1,
        }
    }

    /// Whether memory is to be measured.
    pub(super) fn is_active(self) -> bool {
        self.threshold > 0
    }

    /// What idle timeouts are divided by.
    pub(super) fn divisor(self) -> u32 {
        self.divisor
    }

    /// Memory was measured: the event to log, if something begins or ends, and whether the divisor is
    /// another one.
    pub(super) fn measured(
        &mut self,
        memory: MachineMemory,
        processes: u32,
    ) -> (bool, Option<Event>) {
        let allowed = u128::from(memory.physical) * u128::from(self.threshold);
        let percent = u128::from(memory.committed) * 10_000 / allowed.max(1);
        let percent = u64::try_from(percent).unwrap_or(u64::MAX);
        let reached = STEPS.iter().rev().find(|(from, _)| percent >= *from);
        let divisor = reached.map_or(1, |(_, divisor)| *divisor);
        let before = std::mem::replace(&mut self.divisor, divisor);
        let step = match (before, divisor) {
            (1, 1) => None,
            (_, 1) => Some(DynamicIdleStep::Return),
            (before, now) if before < AGGRESSIVE && now >= AGGRESSIVE => {
                Some(DynamicIdleStep::ReduceAggressively)
            }
            (1, _) => Some(DynamicIdleStep::Reduce),
            (_, _) => None,
        };
        let load = DynamicIdleLoad {
            percent,
            processes,
            commit: memory.committed >> 20,
            physical: memory.physical >> 20,
            free: memory.free >> 20,
        };
        let event = step.map(|step| Event::dynamic_idle(step, load));
        (before != divisor, event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_shrink_with_the_load_and_return() {
        let mut idle = DynamicIdle::new(50);
        let mut steps = Vec::new();
        for committed in [39, 40, 42, 43, 45, 48, 60, 10] {
            let memory = MachineMemory {
                committed: committed << 30,
                physical: 100 << 30,
                free: 0,
            };
            let (_, event) = idle.measured(memory, 3);
            steps.push((idle.divisor(), event.map(|event| event.id)));
        }
        assert_eq!(
            steps,
            [
                (1, None),
                (2, Some(5192)),
                (2, None),
                (4, None),
                (8, Some(5193)),
                (16, None),
                (32, None),
                (1, Some(5194))
            ]
        );
    }
}
