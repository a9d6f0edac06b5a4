//! From a plan that breaks an invariant to a small one that still breaks the same.
//!
//! Greedy: of the ways in which a plan can be made smaller the first one is taken that keeps the fault,
//! and then everything is tried again, until nothing helps or enough was tried. Runs are exact, so
//! what is kept is no chance. Faults, pools and the site are made smaller by what they say as data:
//! every value that is not the default is tried with the default.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::plan::Plan;
use super::{SwarmError, run_caught};

/// A plan that was made smaller.
#[derive(Debug)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// What it breaks.
    pub error: SwarmError,
    /// Plans that were tried.
    pub tried: u32,
}

/// Makes a plan smaller that breaks what `error` says, with at most `tries` runs. `watcher` is told how
/// many plans were tried, and ends it by `false`.
pub fn shrink(
    plan: &Plan,
    error: SwarmError,
    tries: u32,
    watcher: &mut dyn FnMut(u32) -> bool,
) -> Shrunk {
    let name = error.name();
    let mut best = Shrunk {
        plan: plan.clone(),
        error,
        tried: 0,
    };
    loop {
        let mut is_smaller = false;
        for step in STEPS {
            let mut index = 0;
            // After a success the same index means the next part: what was there is gone.
            while let Some(candidate) = step(&best.plan, index) {
                if candidate == best.plan {
                    index += 1;
                    continue;
                }
                if best.tried >= tries || !watcher(best.tried) {
                    return best;
                }
                best.tried += 1;
                match run_caught(&candidate) {
                    Err(error) if error.name() == name => {
                        best.plan = candidate;
                        best.error = error;
                        is_smaller = true;
                    }
                    Ok(_) | Err(_) => index += 1,
                }
            }
        }
        if !is_smaller {
            return best;
        }
    }
}

/// A way to make a plan smaller: the candidate of that number, `None` when there is no further one.
type Step = fn(&Plan, usize) -> Option<Plan>;

/// What removes most comes first.
const STEPS: [Step; 10] = [
    half_of_the_operations,
    one_site_less,
    one_pool_less,
    one_operation_less,
    one_fault_less,
    shorter,
    less_load,
    simpler_pools,
    simpler_site,
    simpler_other_sites,
];

fn half_of_the_operations(plan: &Plan, index: usize) -> Option<Plan> {
    let half = plan.operations.len() / 2;
    if half == 0 || index > 1 {
        return None;
    }
    let mut smaller = plan.clone();
    smaller.operations = if index == 0 {
        plan.operations[..half].to_vec()
    } else {
        plan.operations[half..].to_vec()
    };
    Some(smaller)
}

fn one_operation_less(plan: &Plan, index: usize) -> Option<Plan> {
    let mut smaller = plan.clone();
    (index < plan.operations.len()).then(|| smaller.operations.remove(index))?;
    Some(smaller)
}

/// The last pools first; the first one serves the root of the site and stays.
fn one_pool_less(plan: &Plan, index: usize) -> Option<Plan> {
    let last = plan.pools.len().checked_sub(1 + index)?;
    if last == 0 {
        return None;
    }
    let mut smaller = plan.clone();
    let gone = smaller.pools.remove(last);
    smaller
        .operations
        .retain(|operation| operation.pool != gone.name);
    for site in &mut smaller.other_sites {
        site.pools.retain(|pool| *pool != gone.name);
    }
    Some(smaller)
}

/// The last sites first.
fn one_site_less(plan: &Plan, index: usize) -> Option<Plan> {
    let last = plan.other_sites.len().checked_sub(1 + index)?;
    let mut smaller = plan.clone();
    let gone = smaller.other_sites.remove(last);
    smaller
        .operations
        .retain(|operation| operation.site != gone.number);
    Some(smaller)
}

fn one_fault_less(plan: &Plan, index: usize) -> Option<Plan> {
    let faults = with_default(&plan.faults, index, &[])?;
    Some(Plan {
        faults,
        ..plan.clone()
    })
}

fn simpler_pools(plan: &Plan, index: usize) -> Option<Plan> {
    let (position, pool) = simpler_one(&plan.pools, index, &["name"])?;
    let mut smaller = plan.clone();
    smaller.pools[position] = pool;
    Some(smaller)
}

fn simpler_other_sites(plan: &Plan, index: usize) -> Option<Plan> {
    let (position, site) = simpler_one(&plan.other_sites, index, &["number"])?;
    let mut smaller = plan.clone();
    smaller.other_sites[position] = site;
    Some(smaller)
}

/// One of some records, with one value less that is not the default.
fn simpler_one<T: Serialize + Default + DeserializeOwned>(
    records: &[T],
    index: usize,
    kept: &[&str],
) -> Option<(usize, T)> {
    let mut index = index;
    for (position, record) in records.iter().enumerate() {
        let choices = differences(record, kept).len();
        if index < choices {
            return Some((position, with_default(record, index, kept)?));
        }
        index -= choices;
    }
    None
}

fn simpler_site(plan: &Plan, index: usize) -> Option<Plan> {
    let site = with_default(&plan.site, index, &[])?;
    Some(Plan {
        site,
        ..plan.clone()
    })
}

/// Less time after the last operation, then less before the first.
fn shorter(plan: &Plan, index: usize) -> Option<Plan> {
    /// The load has begun by then, and workers were started.
    const START: u64 = 2_000_000_000;
    let mut smaller = plan.clone();
    match index {
        0 => {
            let last = plan.operations.last().map_or(0, |operation| operation.at);
            smaller.millis = (plan.millis / 2).max(last.div_ceil(1_000_000) + 1);
        }
        1 => {
            let first = plan.operations.first()?.at;
            let early = first.saturating_sub(START);
            for operation in &mut smaller.operations {
                operation.at -= early;
            }
            smaller.millis = plan.millis.saturating_sub(early / 1_000_000).max(1);
        }
        _ => return None,
    }
    (smaller.millis < plan.millis).then_some(smaller)
}

fn less_load(plan: &Plan, index: usize) -> Option<Plan> {
    let mut smaller = plan.clone();
    let load = &mut smaller.load;
    match index {
        0 => load.rate = (load.rate / 2.0).ceil().max(1.0),
        1 => load.keep_alive_connections = (load.keep_alive_connections / 2).max(1),
        2 => load.tls_share = 0.0,
        3 => load.one_shot_share = 0.0,
        4 => load.wait_weight = load.wait_weight.min(1),
        5 => load.file_weight = load.file_weight.min(1),
        6 => load.probe_interval = load.probe_interval.max(2_000),
        _ => return None,
    }
    // What changes nothing is no candidate, but the next ones have to be reached.
    Some(smaller)
}

/// The names of those values of a record that are not the default ones.
fn differences<T: Serialize + Default>(record: &T, kept: &[&str]) -> Vec<String> {
    let (Value::Object(record), Value::Object(default)) = (json(record), json(&T::default()))
    else {
        return Vec::new();
    };
    let differs = |(name, value): &(&String, &Value)| {
        !kept.contains(&name.as_str()) && default.get(name.as_str()) != Some(value)
    };
    let different = record.iter().filter(differs);
    different.map(|(name, _)| name.clone()).collect()
}

/// A record in which the value of that number among those that are not the default is the default.
fn with_default<T: Serialize + Default + DeserializeOwned>(
    record: &T,
    index: usize,
    kept: &[&str],
) -> Option<T> {
    let name = differences(record, kept).into_iter().nth(index)?;
    let (mut changed, default) = (json(record), json(&T::default()));
    *changed.get_mut(&name)? = default.get(&name)?.clone();
    serde_json::from_value(changed).ok()
}

fn json(record: &impl Serialize) -> Value {
    serde_json::to_value(record).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_world::swarm::draw;

    /// Every candidate of every step, of many plans.
    fn candidates(seeds: std::ops::Range<u64>) -> Vec<(Plan, Plan)> {
        let mut all = Vec::new();
        for seed in seeds {
            let plan = draw(seed, 60_000);
            for step in STEPS {
                let of_step = (0..).map_while(|index| step(&plan, index));
                all.extend(of_step.map(|candidate| (plan.clone(), candidate)));
            }
        }
        all
    }

    #[test]
    fn what_is_smaller_is_still_a_plan() {
        for (plan, smaller) in candidates(0..50) {
            assert!(!smaller.pools.is_empty());
            assert_eq!(smaller.pools[0].name, plan.pools[0].name);
            assert!(
                smaller.millis <= plan.millis && smaller.operations.len() <= plan.operations.len()
            );
            smaller.configuration().unwrap();
            smaller.check().unwrap();
            for operation in &smaller.operations {
                assert!(operation.at <= smaller.millis * 1_000_000, "{smaller:?}");
                assert!(smaller.pools.iter().any(|pool| pool.name == operation.pool));
                assert!(smaller.sites().any(|site| site == operation.site));
            }
        }
    }

    #[test]
    fn every_fault_can_be_switched_off_alone() {
        let plans = (0..50).map(|seed| draw(seed, 60_000));
        let most = plans
            .map(|plan| differences(&plan.faults, &[]).len())
            .max()
            .unwrap();
        assert!(most >= 3, "faults are drawn together: {most}");
        let plan = (0..50)
            .map(|seed| draw(seed, 60_000))
            .find(|plan| differences(&plan.faults, &[]).len() == most)
            .unwrap();
        for index in 0..most {
            let smaller = one_fault_less(&plan, index).unwrap();
            assert_eq!(differences(&smaller.faults, &[]).len(), most - 1);
        }
        assert!(one_fault_less(&plan, most).is_none());
    }
}
