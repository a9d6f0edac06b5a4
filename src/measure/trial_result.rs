//! What came of one trial, under either clock.

use super::{Ledger, Metrics};
use crate::scenario::Operation;

/// What came of a trial.
#[derive(Clone, Debug)]
pub struct TrialResult {
    /// The operation.
    pub operation: Operation,
    /// The seed of its plan.
    pub seed: u64,
    /// Why its numbers cannot be trusted; `None` if they can.
    pub invalid: Option<String>,
    /// Whether it was invalid and has been run again.
    pub is_repeated: bool,
    /// Its numbers.
    pub metrics: Metrics,
    /// Attempts that the ledger could not explain, with the reason, at most a few.
    pub unexplained: Vec<String>,
    /// The digest over every fact of the run; only under the virtual clock, where it repeats.
    pub digest: Option<u64>,
}

impl TrialResult {
    /// A result, with what speaks against it.
    pub fn new(operation: Operation, seed: u64, mut metrics: Metrics) -> Self {
        if matches!(operation, Operation::None | Operation::FreezeWas) {
            // Whatever ends meanwhile does so by itself.
            metrics.workers_replaced_ms = None;
        }
        Self {
            operation,
            seed,
            invalid: doubt(&metrics),
            is_repeated: false,
            unexplained: metrics.ledger.iter().flat_map(examples).collect(),
            metrics,
            digest: None,
        }
    }

    /// Attempts that the ledger could not explain; without a ledger, all of them.
    pub fn unexplained_count(&self) -> u64 {
        self.metrics
            .ledger
            .as_ref()
            .map_or(self.metrics.attempts, |ledger| ledger.unexplained)
    }
}

/// Why the numbers of a trial cannot be trusted.
fn doubt(metrics: &Metrics) -> Option<String> {
    let Some(lateness) = &metrics.lateness else {
        return Some("the generator did not say how punctual it was".to_owned());
    };
    (!lateness.valid).then(|| {
        format!(
            "the generator was {:.2} ms late at p99.9 (bound {:.2} ms), or did not make an attempt",
            lateness.p999_us / 1e3,
            lateness.bound_us / 1e3
        )
    })
}

/// The ledger's examples of what it cannot explain, in words.
fn examples(ledger: &Ledger) -> Vec<String> {
    let word = |example: &super::ledger::Unexplained| {
        let (attempt, why) = (example.attempt, &example.why);
        match example.outcome {
            Some(outcome) => format!("attempt {attempt} ({outcome}): {why}"),
            None => format!("attempt {attempt}: {why}"),
        }
    };
    ledger.examples.iter().take(5).map(word).collect()
}
