//! How long WAS is away when it dies: a server of its own, whose WAS is killed again and again.

use std::path::Path;
use std::time::Duration;

use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw;
use sim_httpsys::live::clock::clock_now;
use sim_was::event_log::Fact;

use super::{
    CalibrateError, PATIENCE, Samples, between, kill_9, observe, open_endpoint, page, start,
};

/// A process that ends sooner than this after its start counts as one that cannot run, and is given up.
const RUN: Duration = Duration::from_millis(1_100);

/// Kills WAS so many times; the samples of `was_hang_up` and `boot`. `begin` is called before each.
pub(super) fn boots(
    root: &Path,
    count: u64,
    mut begin: impl FnMut() -> Result<(), CalibrateError>,
) -> Result<[Samples; 2], CalibrateError> {
    let mut server = start(root)?;
    let http = open_endpoint(&server, false)?;
    let mut killed = Vec::new();
    for _ in 0..count {
        begin()?;
        let runs_since = clock_now();
        while clock_now() - runs_since < RUN {
            server.watch(RUN.saturating_sub(clock_now() - runs_since))?;
        }
        let old = server.was_pid();
        let at = clock_now();
        kill_9(old)?;
        while server.was_pid() == old {
            if clock_now() - at > PATIENCE {
                return Err(CalibrateError::NoSample("a WAS that is started again"));
            }
            server.watch(PATIENCE)?;
        }
        killed.push((ProcessId(old), at));
        let refused_until = clock_now() + PATIENCE;
        while page::get(http, "/default.aspx").is_err() {
            if clock_now() > refused_until {
                return Err(CalibrateError::NoSample("a server after the death of WAS"));
            }
            server.watch(Duration::from_millis(5))?;
        }
    }
    server.stop();
    let seen = observe(root)?;
    let noticed = |killed: ProcessId| {
        let mut facts = seen.httpsys.iter().flatten();
        let is_it = |fact: &etw::Fact| matches!(fact, etw::Fact::ProcessDetach { process, .. } if *process == killed);
        Some(facts.find(|traced| is_it(&traced.fact))?.at)
    };
    let starts = |after: Instant| {
        let mut facts = seen.was.iter().flatten();
        let is_it = |fact: &Fact| matches!(fact, Fact::CommandAccepted { .. });
        let starts = facts.find(|traced| traced.at > after && is_it(&traced.fact));
        Some(starts?.at)
    };
    let hang_up = |&(was, at): &(ProcessId, Instant)| between(at, noticed(was)?);
    let boot = |&(was, _): &(ProcessId, Instant)| {
        let noticed = noticed(was)?;
        between(noticed, starts(noticed)?)
    };
    Ok([
        Samples::new(
            "was_hang_up",
            "from kill -9 of WAS to the driver's notice",
            killed.iter().filter_map(hang_up).collect(),
        )?,
        Samples::new(
            "boot",
            "from there to where the next one starts the services",
            killed.iter().filter_map(boot).collect(),
        )?,
    ])
}
