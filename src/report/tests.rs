use std::path::Path;

use super::{Clock, Comparison, Operation, Scenario, text};
use crate::virtual_world::costs::Costs;
use crate::virtual_world::trial::Trial;

/// A recycle under a small load, with these lines of `[load]` and below it.
fn recycled(load: &str) -> Comparison {
    let text = format!(
        "name = 'test'
        operations = ['recycle']
        trials = 1
        [timing]
        warm-up-min = '2s'
        warm-up-max = '2s'
        watch-min = '3s'
        watch-max = '3s'
        [[expect]]
        that = 'nothing fails'
        checks = [{{ arm = 'recycle', figure = 'failed', equals = 0 }}]
        [load]
        rate = 50
        tls_share = 0
        {load}"
    );
    let scenario = Scenario::parse(&text, "test.toml", Path::new(".")).unwrap();
    let trial = Trial {
        scenario: &scenario,
        operation: Operation::Recycle,
        seed: 1,
        costs: &Costs::default(),
    };
    let result = trial.run().unwrap().result;
    Comparison::new(&scenario, Clock::Virtual, vec![result])
}

#[test]
fn a_gap_without_probes_is_not_told_as_a_number() {
    let said = text::render(&recycled("probes.interval = '1m'"));
    assert!(
        said.contains("cost a gap that no probe could tell"),
        "{said}"
    );
    assert!(!said.contains("NaN"), "{said}");
}
