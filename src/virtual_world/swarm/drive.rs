//! From a plan to its outcome: load and faults, then load alone, then nothing until all is at rest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use sim_httpsys::api::Endpoint;
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{Fact, Traced};
use sim_httpsys::model::{CacheOnWorkerExit, Parameters, ZOMBIE_MAX};
use sim_was::config::{ApplicationPool, Configuration, physical_path};
use sim_was::control::{Command, Service};
use sim_was::model::ClientId;

use super::plan::{Act, Plan, PlannedOperation};
use super::sites::site_name;
use super::{Outcome, SwarmError};
use crate::load::Book;
use crate::load::book::AttemptRecord;
use crate::load::plan::{Plan as LoadAttempts, Stream};
use crate::measure::ledger::{Ledger, Unexplained};
use crate::measure::{Observation, targets};
use crate::scenario::{Operation, Step, timing};
use crate::virtual_world::checkers::Broken;
use crate::virtual_world::chronicle::Keeping;
use crate::virtual_world::clients::{Clients, Load, SLOW_READ_MAX};
use crate::virtual_world::costs::Costs;
use crate::virtual_world::destinations::{self, Destinations};
use crate::virtual_world::interruption;
use crate::virtual_world::machine::Files;
use crate::virtual_world::track::{Track, Watch};
use crate::virtual_world::trial::Size;
use crate::virtual_world::world::{Notice, Reader, SWITCHED_ON, Setting, World};

/// The simulated `C:\`. Nothing is there but the pages below.
const ROOT: &str = "/virtual";

/// By how many seconds the clock of the machine is set.
const CLOCK_FORWARD: i64 = 29 * 3_600;
const CLOCK_BACK: i64 = -3_600;

/// What limits that were changed come to at most, in all.
const CHANGED_MAX: Duration = Duration::from_secs(10);

/// For how long at most the load goes on without faults.
const QUIET_LOAD: Duration = Duration::from_secs(10);

/// Runs a plan.
pub fn run_plan(plan: &Plan) -> Result<Outcome, SwarmError> {
    run_watched(plan, Watch::Digest).0
}

/// Runs a plan, and keeps what is asked for until it has ended, well or not.
pub fn run_watched(plan: &Plan, watch: Watch) -> (Result<Outcome, SwarmError>, Track) {
    let begun = plan.check().map_err(SwarmError::from).and_then(|()| {
        let configuration = plan.configuration()?;
        Ok(Run {
            rest: time_to_rest(&configuration, plan),
            world: world(plan, configuration, watch)?,
            scripts: Vec::new(),
        })
    });
    let mut run = match begun {
        Ok(run) => run,
        Err(error) => return (Err(error), Track::default()),
    };
    let book = run.all(plan);
    let (sometimes, coverage) = (run.world.sometimes(), run.world.coverage());
    let (bodies, lied_to) = (run.world.bodies(), run.world.lied_to());
    let root_led_to = run.world.root_led_to();
    let (events, now) = (run.world.timeline.events, run.world.now());
    let (mut observation, track) = run.world.close();
    let outcome = book.and_then(|book| {
        let size = Size {
            events,
            attempts: book.attempts.len() as u64,
            nanos: now.0,
        };
        observation.book = book;
        let breaks = |(invariant, what)| {
            let at = now;
            let broken = Broken {
                invariant,
                what,
                at,
            };
            SwarmError::Broken {
                broken,
                event: events,
            }
        };
        no_success_without_target(plan, &root_led_to, &observation).map_err(breaks)?;
        agree(&observation, &bodies, &lied_to).map_err(breaks)?;
        let (failed, gap) = losses(&observation);
        Ok(Outcome {
            digest: track.digest,
            size,
            failed,
            gap,
            sometimes,
            coverage,
        })
    });
    (outcome, track)
}

/// Attempts that failed, and the longest gap between successes of the probes that open connections.
fn losses(observation: &Observation) -> (u64, u64) {
    let attempts = &observation.book.attempts;
    let is_failed =
        |attempt: &&AttemptRecord| attempt.outcome.is_verdict() && !attempt.outcome.is_success();
    let probes = attempts.iter().filter(|a| a.stream == Stream::ProbeNew);
    let good: Vec<u64> = probes
        .filter(|probe| probe.outcome.is_success())
        .map(|probe| probe.finished.0)
        .collect();
    let gaps = good.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    let failed = attempts.iter().filter(is_failed).count() as u64;
    (failed, gaps.max().unwrap_or_default())
}

/// What the client's book and the server's disagree in: the name of an invariant, and how.
type Disagreement = Result<(), (&'static str, String)>;

/// C5: the client's book and the server's tell the same story of every attempt; C4: of as many bytes; and M2.
///
/// A worker that lies may answer one of its own requests: one that has not reached it yet, which it never
/// knows if it ends before, or one that it is working on, which it ends otherwise by its own record.
fn agree(
    observation: &Observation,
    bodies: &BTreeMap<u64, u64>,
    lied_to: &BTreeSet<u64>,
) -> Disagreement {
    no_success_in_the_dark(observation)?;
    same_bytes(observation, bodies)?;
    let Some(ledger) = Ledger::reconcile(observation).filter(|ledger| ledger.unexplained > 0)
    else {
        return Ok(());
    };
    if ledger.unexplained == lies_among(&ledger.examples, lied_to) {
        return Ok(());
    }
    let examples: Vec<String> = ledger.examples.iter().map(|e| format!("{e:?}")).collect();
    let (count, examples) = (ledger.unexplained, examples.join("; "));
    Err(("C5", format!("{count} unexplained: {examples}")))
}

/// How many disagreements of a worker and the driver are of requests that the worker was made to answer.
fn lies_among(examples: &[Unexplained], lied_to: &BTreeSet<u64>) -> u64 {
    let is_a_lie = |example: &&Unexplained| {
        let why = &example.why;
        let is_of_worker =
            why.ends_with("which does not know it") || why.contains(", the worker answered ");
        is_of_worker && lied_to.contains(&example.attempt)
    };
    examples.iter().filter(is_a_lie).count() as u64
}

/// M2: while no endpoint is open, no new connection has success.
fn no_success_in_the_dark(observation: &Observation) -> Disagreement {
    let mut dark: Vec<(Instant, Instant)> = Vec::new();
    let mut open = 0_u32;
    for traced in observation.httpsys.iter().flatten() {
        if let Fact::EndpointOpen { .. } = traced.fact {
            if let (0, Some(last)) = (open, dark.last_mut()) {
                last.1 = traced.at;
            }
            open += 1;
        } else if let Fact::EndpointClose { .. } = traced.fact {
            open = open.saturating_sub(1);
            if open == 0 {
                dark.push((traced.at, Instant(u64::MAX)));
            }
        }
    }
    let probes = &observation.book.attempts;
    let probes = probes.iter().filter(|a| a.stream == Stream::ProbeNew);
    match success_within(probes, &dark) {
        Some(id) => Err((
            "M2",
            format!("probe {id} had success with no endpoint open"),
        )),
        None => Ok(()),
    }
}

/// M2: while the queue of the pool that is probed has no delivery target, no probe has success. It asks for a
/// page that no cache keeps, unless a worker that lies answered a probe with one that is kept; of the root of the
/// first site, which may move from pool to pool.
fn no_success_without_target(
    plan: &Plan,
    root_led_to: &[(Instant, Option<String>)],
    observation: &Observation,
) -> Disagreement {
    let facts = observation.httpsys.as_deref().unwrap_or_default();
    let gaps = targets::gaps(facts, &targets::ready(observation));
    let may_be_kept = plan.faults.lie > 0.0;
    let from_cache = from_cache(facts);
    let is_kept = |probe: &AttemptRecord| may_be_kept && from_cache.contains(&probe.id);
    for (index, (from, pool)) in root_led_to.iter().enumerate() {
        let next = root_led_to.get(index + 1);
        let to = next.map_or(Instant(u64::MAX), |(to, _)| *to);
        let Some(name) = pool else {
            continue;
        };
        let of_pool = gaps.iter().find(|(queue, _)| queue.0 == *name);
        let gaps = of_pool.map_or(&[][..], |(_, gaps)| gaps.as_slice()).iter();
        let dark: Vec<_> = gaps
            .map(|(begin, end)| (*begin.max(from), *end.min(&to)))
            .collect();
        let probes = &observation.book.attempts;
        let probes = probes.iter().filter(|a| a.stream != Stream::Load);
        let probes = probes.filter(|probe| !is_kept(probe));
        if let Some(id) = success_within(probes, &dark) {
            let what = format!("probe {id} had success, and {name} had no delivery target");
            return Err(("M2", what));
        }
    }
    Ok(())
}

/// Requests that no process saw, by the clients' names for them.
fn from_cache(facts: &[Traced<Fact>]) -> BTreeSet<u64> {
    let served = facts.iter().filter_map(|traced| {
        let Fact::SrvdFrmCache { activity, .. } = traced.fact else {
            return None;
        };
        Some(activity.0)
    });
    served.collect()
}

/// An attempt that was begun, and had success, within one of these times.
fn success_within<'a>(
    attempts: impl Iterator<Item = &'a AttemptRecord>,
    times: &[(Instant, Instant)],
) -> Option<u64> {
    let is_within = |attempt: &&AttemptRecord| {
        let mut times = times.iter();
        times.any(|(from, to)| attempt.sent >= *from && attempt.finished <= *to)
    };
    let mut good = attempts.filter(|attempt| attempt.outcome.is_success());
    good.find(is_within).map(|attempt| attempt.id)
}

/// C4: of a whole response the client has got every byte of the body, and of no response more.
fn same_bytes(observation: &Observation, bodies: &BTreeMap<u64, u64>) -> Disagreement {
    for attempt in &observation.book.attempts {
        let Some(sent) = bodies.get(&attempt.id) else {
            continue;
        };
        let (id, got, outcome) = (attempt.id, attempt.bytes, attempt.outcome);
        if got > *sent || (outcome.is_success() && got < *sent) {
            let what =
                format!("attempt {id} ({outcome}) got a body of {got} bytes, and {sent} were sent");
            return Err(("C4", what));
        }
    }
    Ok(())
}

/// After so long without load and faults nothing may be under way: a worker that hangs is found by its
/// ping, its successor may be at the limit of its start, and the one before it at the limit of its stop.
/// Requests may be at their longest wait, behind others that compute, and their clients may read late.
fn time_to_rest(configuration: &Configuration, plan: &Plan) -> Duration {
    let limit = |pool: &ApplicationPool| {
        let model = &pool.process_model;
        let ping = model.ping_interval + model.ping_response_time;
        ping + model.startup_time_limit + model.shutdown_time_limit
    };
    let limits = configuration.application_pools.iter().map(limit).max();
    let work = Duration::from_millis(2 * plan.load.wait) + Duration::from_secs(2);
    let changed = plan
        .operations
        .iter()
        .any(|operation| operation.act == Act::Set);
    let when = |is, time| if is { time } else { Duration::ZERO };
    let late = when(plan.faults.slow_read > 0.0, SLOW_READ_MAX);
    let rest = limits.unwrap_or_default() + work + late + when(changed, CHANGED_MAX);
    if plan.pools.iter().any(|pool| pool.orphan) {
        // Nobody ends a worker that is orphaned: what it has of a client that went is given up by the driver.
        rest.max(ZOMBIE_MAX + Duration::from_secs(1))
    } else {
        rest
    }
}

fn world(plan: &Plan, configuration: Configuration, watch: Watch) -> Result<World, SwarmError> {
    let profile = plan.profile();
    let stop = interruption::flag();
    let attempts = LoadAttempts::draw_unless(&stop, &profile, plan.seed, plan.load_span())?;
    let attempts = attempts.ok_or(SwarmError::Interrupted)?;
    let to = Destinations::reached(
        &attempts.urls,
        &attempts.attempts,
        &profile,
        &targets(plan, &configuration),
    )?;
    let costs = Costs::default();
    let exact = plan.clone();
    Ok(World::new(Setting {
        costs: &costs,
        seed: plan.seed,
        httpsys: Parameters {
            kernel_cache_on_worker_exit: if plan.site.flush_owned {
                CacheOnWorkerExit::FlushOwned
            } else {
                CacheOnWorkerExit::Keep
            },
            response_cache_bytes_max: plan.site.cache_bytes,
            ..Parameters::default()
        },
        configuration,
        configuration_text: plan.configuration_text(),
        reader: Reader::new(move |text| exact.read(text)),
        root: ROOT.into(),
        files: files(plan),
        clients: Clients::new(profile, plan.seed, Load::Plan(attempts), to),
        faults: plan.faults.clone(),
        keeping: Keeping::Everything,
        watch,
        personality: sim_was::model::Personality::default(),
    }))
}

/// Where hosts are found: in the bindings, and those that no binding names where a client is told.
fn targets(plan: &Plan, configuration: &Configuration) -> Vec<(String, Endpoint)> {
    let told = plan
        .other_sites
        .iter()
        .flat_map(|site| [false, true].map(|secure| (site.host(), site.endpoint(secure))));
    let mut targets = destinations::targets(configuration);
    targets.extend(told);
    targets
}

/// A page for the root of each site and for each of its pools. Those of the sites besides the first one
/// are pages of their own, so that one is not taken for the other.
fn files(plan: &Plan) -> Files {
    const PAGE: &[u8] = include_bytes!("../../live_world/iisstart.htm");
    let mut files = Files::default();
    let mut put = |folder: &str, page: Vec<u8>| {
        let windows = format!("%SystemDrive%\\inetpub\\{folder}");
        let path = physical_path::to_unix(&windows, Path::new(ROOT));
        files.put(&path.join("iisstart.htm"), SWITCHED_ON.0, page);
    };
    let of_its_own = |folder: &str| {
        let mut page = PAGE.to_vec();
        page.extend_from_slice(format!("<!-- {folder} -->\n").as_bytes());
        page
    };
    let others = plan.other_sites.iter().flat_map(|site| site.folders(plan));
    for folder in plan.passing_folders().into_iter().chain(others) {
        put(&folder, of_its_own(&folder));
    }
    let folders = plan.pools.iter().map(|pool| pool.name.as_str());
    for folder in folders.chain(["wwwroot"]) {
        put(folder, PAGE.to_vec());
    }
    files
}

/// A world, and what is being done to it.
struct Run {
    /// After so long without load and faults nothing may be under way.
    rest: Duration,
    world: World,
    scripts: Vec<Script>,
}

/// An operation of several steps, each taken when the one before was answered.
struct Script {
    awaited: ClientId,
    left: VecDeque<Step>,
}

impl Run {
    /// From the start of the services to their end; gives the client's book.
    fn all(&mut self, plan: &Plan) -> Result<Book, SwarmError> {
        self.start()?;
        self.misfortune(plan)?;
        self.recovery(plan)?;
        let book = self.stop_load()?;
        // A replacement may not have come to be: then the worker that hangs is still there.
        let startup = plan.pools.iter().map(|pool| pool.startup_limit).max();
        self.pass(Duration::from_millis(startup.unwrap_or_default()).max(CHANGED_MAX))?;
        self.recycle_all(plan);
        self.world.begin_rest();
        self.pass(self.rest)?;
        while !self.check_rest()? {
            self.pass(self.rest)?;
        }
        self.shut_down()?;
        self.check_end()?;
        Ok(book)
    }

    fn start(&mut self) -> Result<(), SwarmError> {
        let services = vec![Service::Was, Service::W3svc];
        self.begin(vec![Step::Ask(Command::StartServices { services })]);
        while !self.scripts.is_empty() {
            self.next()?;
        }
        let start = self.world.now() + timing::LEAD;
        self.world.go(start);
        self.until(start)
    }

    /// Load, operations and faults.
    fn misfortune(&mut self, plan: &Plan) -> Result<(), SwarmError> {
        let start = self.world.now();
        for operation in &plan.operations {
            self.until(start + Duration::from_nanos(operation.at))?;
            self.perform(operation);
        }
        self.until(start + Duration::from_millis(plan.millis))
    }

    /// The load goes on, and nothing goes wrong any more. Every pool is recycled, because a worker that
    /// hangs and is not pinged is noticed by nobody but the administrator.
    fn recovery(&mut self, plan: &Plan) -> Result<(), SwarmError> {
        self.world.be_quiet();
        self.recycle_all(plan);
        let longest = Duration::from_millis(plan.millis / 2);
        self.pass(QUIET_LOAD.min(longest))
    }

    /// Ends the plan of attempts; what is in flight has its grace. Gives the book.
    fn stop_load(&mut self) -> Result<Book, SwarmError> {
        self.world.clients.stop();
        let grace = self.world.now() + timing::GRACE;
        self.world.remind(grace);
        while self.world.clients.in_flight() > 0 && self.world.now() < grace {
            self.next()?;
        }
        Ok(self.world.close_book())
    }

    /// L1; `false` if the work that is left needs as much time once more.
    fn check_rest(&mut self) -> Result<bool, SwarmError> {
        let event = self.world.timeline.events;
        let rest = self.world.check_rest();
        rest.map_err(|broken| SwarmError::Broken { broken, event })
    }

    fn check_end(&mut self) -> Result<(), SwarmError> {
        let event = self.world.timeline.events;
        let end = self.world.check_end();
        end.map_err(|broken| SwarmError::Broken { broken, event })
    }

    /// Ends the server in order; what has not ended after two seconds is not waited for.
    fn shut_down(&mut self) -> Result<(), SwarmError> {
        let end = self.world.now() + timing::STOP_MAX;
        self.world.command(Command::Quit);
        self.world.remind(end);
        while self.world.now() < end {
            if self.next()? {
                break;
            }
        }
        Ok(())
    }

    /// Lets one thing happen; true if WAS has ended.
    fn next(&mut self) -> Result<bool, SwarmError> {
        match self.world.run() {
            Notice::Answered(client, _) => self.go_on(client),
            Notice::Look | Notice::Reached => {}
            Notice::Stopped => return Ok(true),
            Notice::Broken(broken) => {
                let event = self.world.timeline.events;
                return Err(SwarmError::Broken { broken, event });
            }
            Notice::Interrupted => return Err(SwarmError::Interrupted),
            Notice::Silence => return Err(SwarmError::Silence(self.world.now())),
        }
        Ok(false)
    }

    fn pass(&mut self, span: Duration) -> Result<(), SwarmError> {
        self.until(self.world.now() + span)
    }

    fn until(&mut self, end: Instant) -> Result<(), SwarmError> {
        if self.world.now() < end {
            self.world.remind(end);
        }
        while self.world.now() < end {
            self.next()?;
        }
        Ok(())
    }

    fn recycle_all(&mut self, plan: &Plan) {
        for pool in &plan.pools {
            let name = pool.name.clone();
            self.begin(vec![Step::Ask(Command::RecycleApplicationPool { name })]);
        }
    }

    // --- what administrators do ---------------------------------------------------------------------

    fn perform(&mut self, operation: &PlannedOperation) {
        let name = operation.pool.clone();
        let site = || site_name(operation.site);
        let scenario = |operation: Operation| operation.steps(&name, &site(), &[]);
        let ask = |command| vec![Step::Ask(command)];
        let steps = match operation.act {
            Act::Iisreset => scenario(Operation::Iisreset),
            Act::IisresetNoforce => scenario(Operation::IisresetNoforce),
            Act::RestartWas => scenario(Operation::RestartWas),
            Act::RestartW3svc => scenario(Operation::RestartW3svc),
            Act::StopStart => scenario(Operation::StopStart),
            Act::Recycle => scenario(Operation::Recycle),
            Act::KillW3wp => scenario(Operation::KillW3wp),
            Act::KillWas => scenario(Operation::KillWas),
            Act::FreezeWas => scenario(Operation::FreezeWas),
            Act::StopPool => ask(Command::StopApplicationPool { name }),
            Act::StartPool => ask(Command::StartApplicationPool { name }),
            Act::StopSite => ask(Command::StopSite { name: site() }),
            Act::StartSite => ask(Command::StartSite { name: site() }),
            Act::ChangeContent => return self.world.change_content(),
            Act::ClockForward => return self.world.set_clock(CLOCK_FORWARD),
            Act::ClockBack => return self.world.set_clock(CLOCK_BACK),
            Act::ShortenQueue
            | Act::LengthenQueue
            | Act::To32Bit
            | Act::To64Bit
            | Act::KeepOnChange
            | Act::Set
            | Act::RemoveApplication
            | Act::AddApplication
            | Act::MoveApplication => {
                let changes = operation.changes();
                ask(Command::ChangeConfiguration { changes })
            }
        };
        self.begin(steps);
    }

    fn begin(&mut self, steps: Vec<Step>) {
        self.step(steps.into());
    }

    fn go_on(&mut self, client: ClientId) {
        let awaited = self.scripts.iter().position(|s| s.awaited == client);
        if let Some(index) = awaited {
            let script = self.scripts.remove(index);
            self.step(script.left);
        }
    }

    /// Takes steps until one has to be waited for. One that is refused is not repeated.
    fn step(&mut self, mut left: VecDeque<Step>) {
        while let Some(step) = left.pop_front() {
            match step {
                Step::Ask(command) => {
                    let awaited = self.world.command(command);
                    self.scripts.push(Script { awaited, left });
                    return;
                }
                Step::KillWorkers(pool) => {
                    self.world.kill_workers(&pool);
                }
                Step::HangWorkers(pool) => {
                    self.world.hang_workers(&pool);
                }
                Step::KillWas => {
                    self.world.kill_was();
                }
                Step::FreezeWas(span) => {
                    self.world.freeze_was(span);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lie_excuses_the_request_that_it_named_and_no_other() {
        let of = |attempt, why: &str| Unexplained {
            attempt,
            outcome: None,
            why: why.to_owned(),
        };
        let examples = [
            of(1, "the driver sent 503, the worker answered 200"),
            of(2, "answered by worker 9, which does not know it"),
            of(3, "the driver sent 503, the worker answered 200"),
            of(2, "the driver has no end for it"),
        ];
        assert_eq!(lies_among(&examples, &BTreeSet::from([1, 2])), 2);
        assert_eq!(lies_among(&examples, &BTreeSet::new()), 0);
    }
}
