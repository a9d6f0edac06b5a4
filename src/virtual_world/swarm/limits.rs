//! What the numbers of a plan may be: all that is ever drawn, and a good deal more.
//!
//! A plan is also read from a file that anybody may have written. With a number that no server and no
//! clock can have, its run would never end: it is refused instead, by the name of the field.

use std::fmt::Display;

use super::plan::{LoadPlan, Plan, PoolPlan, SitePlan};
use super::sites::{FIRST_SITE, OtherSite};
use crate::scenario::ATTEMPTS_MAX;
use crate::virtual_world::faults::Faults;

/// The longest times in milliseconds. Assumed: a day for what a run waits for, and as long as IIS's own
/// 29 hours for a few times over for what it does not.
const DAY: u64 = 86_400_000;
const TIMER_MAX: u64 = 1_000_000_000;
/// The shortest time after which something is done again, milliseconds.
const AGAIN_MIN: u64 = 10;

/// A number of a plan that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} must lie between {least} and {most}{}, not {value}", if *.or_never { ", or be 0 for never" } else { "" })]
pub struct OutOfRange {
    /// Where it stands, e.g. `pools[0].startup_limit`.
    pub field: String,
    /// What it is.
    pub value: String,
    /// The least that can be used.
    pub least: String,
    /// The most.
    pub most: String,
    /// Whether 0 can be used too.
    pub or_never: bool,
}

impl Plan {
    /// Whether it can be run.
    pub fn check(&self) -> Result<(), OutOfRange> {
        within("millis", self.millis, 1, DAY)?;
        within("pools", self.pools.len() as u64, 1, 64)?;
        for (index, pool) in self.pools.iter().enumerate() {
            check_pool(pool).map_err(|wrong| wrong.below(&format!("pools[{index}].")))?;
        }
        check_site(&self.site).map_err(|wrong| wrong.below("site."))?;
        within("other_sites", self.other_sites.len() as u64, 0, 64)?;
        let mut least = FIRST_SITE + 1;
        for (index, site) in self.other_sites.iter().enumerate() {
            let checked = check_other_site(site, least);
            checked.map_err(|wrong| wrong.below(&format!("other_sites[{index}].")))?;
            least = site.number + 1;
        }
        check_load(&self.load).map_err(|wrong| wrong.below("load."))?;
        within("operations", self.operations.len() as u64, 0, 10_000)?;
        let end = self.load_span().as_nanos();
        for (index, operation) in self.operations.iter().enumerate() {
            let end = u64::try_from(end).unwrap_or(u64::MAX);
            within(&format!("operations[{index}].at"), operation.at, 0, end)?;
        }
        check_faults(&self.faults).map_err(|wrong| wrong.below("faults."))?;
        let attempts = self.profile().attempts_in(self.load_span());
        between("the number of attempts", attempts, 0.0, ATTEMPTS_MAX)
    }
}

impl OutOfRange {
    fn below(self, path: &str) -> Self {
        let field = format!("{path}{}", self.field);
        Self { field, ..self }
    }
}

fn check_pool(pool: &PoolPlan) -> Result<(), OutOfRange> {
    // Source: IIS_schema.xml, queueLength and cpu/limit: their ranges.
    within("queue_length", pool.queue_length.into(), 10, 65_535)?;
    within("cpu_limit", pool.cpu_limit.into(), 0, 100_000)?;
    within("max_processes", pool.max_processes.into(), 1, 64)?;
    within("startup_limit", pool.startup_limit, AGAIN_MIN, DAY)?;
    within("shutdown_limit", pool.shutdown_limit, AGAIN_MIN, DAY)?;
    or_never("ping_interval", pool.ping_interval, AGAIN_MIN, DAY)?;
    within("ping_response", pool.ping_response, AGAIN_MIN, DAY)?;
    or_never("idle_timeout", pool.idle_timeout, AGAIN_MIN, TIMER_MAX)?;
    or_never("restart_time", pool.restart_time, AGAIN_MIN, TIMER_MAX)?;
    within("crash_interval", pool.crash_interval, 1, TIMER_MAX)?;
    let schedule = &pool.restart_schedule;
    within("restart_schedule", schedule.len() as u64, 0, 1_000)?;
    for (index, time) in schedule.iter().enumerate() {
        within(&format!("restart_schedule[{index}]"), *time, 0, DAY - 1)?;
    }
    Ok(())
}

fn check_site(site: &SitePlan) -> Result<(), OutOfRange> {
    within(
        "connection_timeout",
        site.connection_timeout,
        AGAIN_MIN,
        DAY,
    )?;
    or_never("header_wait", site.header_wait, AGAIN_MIN, DAY)?;
    within("cache_bytes", site.cache_bytes, 0, 1 << 40)?;
    within("cache_seconds", site.cache_seconds, 0, TIMER_MAX)
}

/// Numbers go upwards, so that no two sites have the same; ports are made of them.
fn check_other_site(site: &OtherSite, least: u32) -> Result<(), OutOfRange> {
    let timeout = site.connection_timeout;
    within("number", site.number.into(), least.into(), 999)?;
    within("pools", site.pools.len() as u64, 0, 64)?;
    within("connection_timeout", timeout, AGAIN_MIN, DAY)?;
    within("cache_seconds", site.cache_seconds, 0, TIMER_MAX)
}

fn check_load(load: &LoadPlan) -> Result<(), OutOfRange> {
    between("rate", load.rate, 0.0, 100_000.0)?;
    let connections = load.keep_alive_connections;
    within("keep_alive_connections", connections.into(), 1, 100_000)?;
    between("one_shot_share", load.one_shot_share, 0.0, 1.0)?;
    between("tls_share", load.tls_share, 0.0, 1.0)?;
    within("deadline", load.deadline, AGAIN_MIN, DAY)?;
    within("wait", load.wait, 0, DAY)?;
    within("cpu", load.cpu, 0, DAY)?;
    within("wait_weight", load.wait_weight.into(), 0, 1_000_000)?;
    within("file_weight", load.file_weight.into(), 0, 1_000_000)?;
    within("probe_interval", load.probe_interval, 1, DAY)?;
    within("body_bytes", load.body_bytes.into(), 0, 1_000_000)
}

/// Every one is named here, so that a new fault does not go unchecked.
fn check_faults(faults: &Faults) -> Result<(), OutOfRange> {
    let Faults {
        crash,
        crash_when: _,
        crash_at_input: _,
        hang,
        zombie,
        crash_at_start,
        never_ready,
        slow_start,
        slow_pong,
        last_moment,
        ipm_delay,
        ipm_stall,
        ipm_duplicate,
        ipm_garble,
        ipm_cut,
        device_stall,
        late_death,
        lie,
        client_abort,
        half_close,
        trickle,
        slow_read,
        resend,
    } = faults;
    let chances = [
        ("crash", crash),
        ("hang", hang),
        ("zombie", zombie),
        ("crash_at_start", crash_at_start),
        ("never_ready", never_ready),
        ("slow_pong", slow_pong),
        ("last_moment", last_moment),
        ("ipm_stall", ipm_stall),
        ("ipm_duplicate", ipm_duplicate),
        ("ipm_garble", ipm_garble),
        ("ipm_cut", ipm_cut),
        ("device_stall", device_stall),
        ("lie", lie),
        ("client_abort", client_abort),
        ("half_close", half_close),
        ("trickle", trickle),
        ("slow_read", slow_read),
        ("resend", resend),
    ];
    for (name, chance) in chances {
        between(name, *chance, 0.0, 1.0)?;
    }
    for (name, millis) in [
        ("slow_start", slow_start),
        ("ipm_delay", ipm_delay),
        ("late_death", late_death),
    ] {
        between(name, *millis, 0.0, 1_000_000.0)?;
    }
    Ok(())
}

fn between(field: &str, value: f64, least: f64, most: f64) -> Result<(), OutOfRange> {
    // What is no number lies nowhere.
    lies_in(field, &value, &least, &most)
}

fn within(field: &str, value: u64, least: u64, most: u64) -> Result<(), OutOfRange> {
    lies_in(field, &value, &least, &most)
}

fn lies_in<T: PartialOrd + Display>(
    field: &str,
    value: &T,
    least: &T,
    most: &T,
) -> Result<(), OutOfRange> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(OutOfRange {
        field: field.to_owned(),
        value: value.to_string(),
        least: least.to_string(),
        most: most.to_string(),
        or_never: false,
    })
}

fn or_never(field: &str, value: u64, least: u64, most: u64) -> Result<(), OutOfRange> {
    if value == 0 {
        return Ok(());
    }
    within(field, value, least, most).map_err(|wrong| OutOfRange {
        or_never: true,
        ..wrong
    })
}

#[cfg(test)]
mod tests {
    use super::super::draw;
    use super::*;

    #[test]
    fn every_plan_that_is_drawn_can_be_run() {
        for (seed, millis) in (0..2_000).flat_map(|seed| [(seed, 1_000), (seed, DAY)]) {
            assert_eq!(draw(seed, millis).check(), Ok(()), "seed {seed}");
        }
    }

    #[test]
    fn a_number_that_no_run_ends_with_is_named() {
        let mut plan = draw(1, 60_000);
        plan.pools[0].startup_limit = 0;
        let said = plan.check().unwrap_err().to_string();
        let wanted = "pools[0].startup_limit must lie between 10 and 86400000, not 0";
        assert_eq!(said, wanted);
        let mut plan = draw(1, 60_000);
        plan.faults.hang = f64::NAN;
        let said = plan.check().unwrap_err().to_string();
        assert_eq!(said, "faults.hang must lie between 0 and 1, not NaN");
        let mut plan = draw(1, 60_000);
        plan.other_sites = vec![OtherSite::default(), OtherSite::default()];
        let said = plan.check().unwrap_err().to_string();
        assert_eq!(
            said,
            "other_sites[1].number must lie between 3 and 999, not 2"
        );
        let mut plan = draw(1, 60_000);
        plan.pools[0].ping_interval = 3;
        let said = plan.check().unwrap_err().to_string();
        assert!(said.contains("or be 0 for never, not 3"), "{said}");
    }
}
