//! A trial in virtual time: the same phases, rules and measurement as a live one.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sim_httpsys::clockwork::{Instant, UtcClock};
use sim_was::config::physical_path;
use sim_was::control::{Answer, Command, Service};
use sim_was::model::ClientId;

use super::checkers::Broken;
use super::chronicle::Keeping;
use super::clients::{Clients, Load};
use super::costs::Costs;
use super::destinations::Destinations;
use super::faults::Faults;
use super::interruption;
use super::machine::Files;
use super::track::{Track, Watch};
use super::world::{Notice, Reader, SWITCHED_ON, Setting, World};
use crate::load::plan::Plan;
use crate::load::profile::{NoTarget, ProfileError};
use crate::measure::metrics::Trial as Measured;
use crate::measure::{Looks, Metrics, Observation, Steady, TrialResult};
use crate::scenario::{Operation, Scenario, ScenarioError, Served, Step, timing};

/// The shortest time from one look to the next.
const LOOK_LEAST: Duration = Duration::from_millis(100);

/// The simulated `C:\`. Nothing is there but what the scenario brings along.
pub(super) const ROOT: &str = "/virtual";

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The operation.
    pub operation: Operation,
    /// From which everything random is drawn: the same for every operation of one round.
    pub seed: u64,
    /// What things cost.
    pub costs: &'a Costs,
}

/// What has come of it.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was measured, with the digest.
    pub result: TrialResult,
    /// What it was measured from.
    pub observation: Observation,
    /// When the operation began.
    pub operation: Instant,
    /// How much was simulated.
    pub size: Size,
}

/// How much was simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Events.
    pub events: u64,
    /// Attempts of load and probes.
    pub attempts: u64,
    /// Nanoseconds of virtual time.
    pub nanos: u64,
}

/// Why a trial could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// It needs a program that is no model.
    #[error(
        "{0}: a [farm] stands behind a real HAProxy, so it runs under the live clock only; leave out --clock virtual"
    )]
    Farm(String),
    /// The load.
    #[error("load profile: {0}")]
    Profile(#[from] ProfileError),
    /// The load asks for what nobody serves.
    #[error("{scenario}: {source}")]
    Target {
        /// The scenario's file.
        scenario: String,
        /// What it asks for.
        source: NoTarget,
    },
    /// A file of the scenario.
    #[error("{0}")]
    Content(#[from] std::io::Error),
    /// The services did not do what they were asked.
    #[error("{0}")]
    Refused(String),
    /// An invariant does not hold.
    #[error("{broken} (event {event})")]
    Broken {
        /// Which, and how.
        broken: Broken,
        /// Events until then.
        event: u64,
    },
    /// Somebody wants an end.
    #[error("interrupted")]
    Interrupted,
    /// The world came to rest before the trial was over.
    #[error("nothing will ever happen again at {0}")]
    Silence(Instant),
}

impl TrialError {
    /// The load of a scenario asks for what nobody serves.
    pub(super) fn target(scenario: &Scenario, source: NoTarget) -> Self {
        let scenario = scenario.label().to_owned();
        Self::Target { scenario, source }
    }
}

impl Trial<'_> {
    /// Runs it.
    pub fn run(&self) -> Result<Run, TrialError> {
        self.run_watched(Watch::Digest).0
    }

    /// Runs it, and keeps what is asked for; that is there also if the trial could not be finished.
    pub fn run_watched(&self, watch: Watch) -> (Result<Run, TrialError>, Track) {
        if self.scenario.farm.is_some() {
            let farm = TrialError::Farm(self.scenario.name.clone());
            return (Err(farm), Track::default());
        }
        let begun = self.scenario.served(self.operation);
        let begun = begun.map_err(TrialError::from).and_then(|served| {
            let world = self.world(&served, watch)?;
            Ok((served, world))
        });
        let (served, world) = match begun {
            Ok(begun) => begun,
            Err(error) => return (Err(error), Track::default()),
        };
        let mut stage = Stage {
            world,
            looks: Looks::default(),
        };
        let played = self.play(&mut stage, &served);
        let (observation, track) = stage.world.close();
        let run = played.and_then(|played| self.measure(played, observation, track.digest));
        (run, track)
    }

    /// From the start of the services to their end.
    fn play(&self, stage: &mut Stage, served: &Served) -> Result<Played, TrialError> {
        let (warm, operation, not_done) = self.drive(stage, served)?;
        let book = stage.stop_load()?;
        stage.shut_down()?;
        let size = Size {
            events: stage.world.timeline.events,
            attempts: book.attempts.len() as u64,
            nanos: stage.world.now().0,
        };
        let measured = Measured {
            operation,
            pool: self.operation.pool(&served.pool),
            baseline_from: warm,
            workers_peak_bytes: Some(stage.world.memory_peak()),
            clock: Some(UtcClock {
                switched_on: SWITCHED_ON,
            }),
        };
        Ok(Played {
            book,
            measured,
            size,
            not_done,
            ports: served.ports(),
            logs_all: served.log_gap().is_none(),
        })
    }

    fn measure(
        &self,
        played: Played,
        observation: Observation,
        digest: u64,
    ) -> Result<Run, TrialError> {
        let observation = Observation {
            book: played.book,
            ports: played.ports,
            w3c: observation.w3c.filter(|_| played.logs_all),
            ..observation
        };
        let measured = played.measured;
        let operation = measured.operation;
        let worked_out = interruption::unless_raised(move || {
            let metrics = Metrics::of(&observation, &measured);
            (metrics, observation)
        });
        let (metrics, observation) = worked_out.ok_or(TrialError::Interrupted)?;
        let mut result = TrialResult::new(self.operation, self.seed, metrics);
        result.digest = Some(digest);
        if let Some(why) = self.scenario.nobody_came(&result.metrics) {
            result.invalid = Some(why);
        }
        if let Some(why) = played.not_done {
            result.invalid = Some(why);
        }
        Ok(Run {
            result,
            observation,
            operation,
            size: played.size,
        })
    }

    fn world(&self, served: &Served, watch: Watch) -> Result<World, TrialError> {
        let profile = &self.scenario.load;
        let plan = Plan::draw_unless(
            &interruption::flag(),
            profile,
            self.seed,
            self.scenario.load_planned(served).span,
        )?;
        let plan = plan.ok_or(TrialError::Interrupted)?;
        let to = Destinations::of(&plan.urls, &plan.attempts, profile, &served.configuration)
            .map_err(|source| TrialError::target(self.scenario, source))?;
        Ok(World::new(Setting {
            costs: self.costs,
            seed: self.seed,
            httpsys: self.scenario.server.httpsys.clone(),
            configuration: served.configuration.clone(),
            configuration_text: served.text.clone(),
            reader: Reader::default(),
            root: ROOT.into(),
            files: files(self.scenario, served)?,
            clients: Clients::new(profile.clone(), self.seed, Load::Plan(plan), to),
            faults: Faults::default(),
            watch,
            keeping: Keeping::Everything,
            personality: self.scenario.server.personality,
        }))
    }

    /// Services up, load, operation, load: until everything is steady again. Gives from when on the
    /// server counts as warm, when the operation began, and why it was not done, or not watched, if it was not.
    fn drive(
        &self,
        stage: &mut Stage,
        served: &Served,
    ) -> Result<(Instant, Instant, Option<String>), TrialError> {
        let services = vec![Service::Was, Service::W3svc];
        stage.ask(Command::StartServices { services })?;
        let load_started = stage.world.now() + timing::LEAD;
        stage.world.go(load_started);
        let timing = &self.scenario.timing;
        let begun = stage.world.now();
        stage.until_steady((timing.warm_up_min, timing.warm_up_max), None, begun)?;
        let phase = timing::phase(self.seed, self.scenario.load.probes.interval);
        stage.until_steady((phase, phase), None, stage.world.now())?;
        let baseline = stage.looks.p95();
        let workers = stage.world.workers();
        stage.looks.clear();
        let operation = stage.world.now();
        stage.world.measure_memory_anew();
        let not_done = match self.operate(stage, served) {
            Err(TrialError::Refused(why)) => {
                Some(format!("{} was not done: {why}", self.operation))
            }
            other => {
                other?;
                None
            }
        };
        let steady = Steady {
            p95_us: baseline,
            workers,
        };
        if timing.watch_min == timing.watch_max {
            // Nobody asks whether it is steady: over days, ten looks a second would be most of the work.
            stage
                .world
                .look_every((timing.watch_max / 100).max(LOOK_LEAST));
        }
        let watch = (timing.watch_min, timing.watch_max);
        stage.until_steady(watch, Some(steady), operation)?;
        let planned = self.scenario.load_planned(served);
        let not_done =
            not_done.or_else(|| planned.ran_out(load_started, operation, stage.world.now()));
        let warm = timing::baseline_from(load_started, operation);
        Ok((warm, operation, not_done))
    }

    /// Does what is to be done, step by step.
    fn operate(&self, stage: &mut Stage, served: &Served) -> Result<(), TrialError> {
        for step in self
            .operation
            .steps(&served.pool, served.site(), &served.changes)
        {
            match step {
                Step::Ask(command) => stage.ask(command)?,
                Step::KillWorkers(pool) | Step::HangWorkers(pool) => {
                    let struck = if self.operation == Operation::HangW3wp {
                        stage.world.hang_workers(&pool)
                    } else {
                        stage.world.kill_workers(&pool)
                    };
                    if struck == 0 {
                        let why = format!("the pool \"{pool}\" has no worker process then");
                        return Err(TrialError::Refused(why));
                    }
                }
                Step::KillWas => {
                    stage.world.kill_was();
                }
                Step::FreezeWas(span) => {
                    stage.world.freeze_was(span);
                }
            }
        }
        Ok(())
    }
}

/// What a live trial writes to a disk.
pub(super) fn files(scenario: &Scenario, served: &Served) -> Result<Files, TrialError> {
    let root = Path::new(ROOT);
    let mut files = Files::default();
    for part in &scenario.applications {
        let folder = physical_path::to_unix(served.folder_of(part)?, root);
        for content in &part.content {
            for file in content.files(&folder) {
                let (path, contents) = file?;
                files.put(&path, SWITCHED_ON.0, contents);
            }
        }
        if let Some(behaviour) = &part.behaviour {
            let path = folder.join(sim_worker::application::FILE_NAME);
            files.put(&path, SWITCHED_ON.0, behaviour.to_string().into_bytes());
        }
    }
    let welcome = physical_path::to_unix(r"%SystemDrive%\inetpub\wwwroot", root);
    if !files.has_folder(&welcome) {
        let page = include_bytes!("../live_world/iisstart.htm");
        files.put(&welcome.join("iisstart.htm"), SWITCHED_ON.0, page.to_vec());
    }
    Ok(files)
}

/// A trial that has come to its end and is still to be measured.
struct Played {
    book: crate::load::Book,
    measured: Measured,
    size: Size,
    /// Why the operation was not done, or not watched, if it was not.
    not_done: Option<String>,
    /// The ports that the server is to listen on.
    ports: BTreeSet<u16>,
    /// Whether its logs have a line for every answered request.
    logs_all: bool,
}

/// A world, and what is known of it while it runs.
struct Stage {
    world: World,
    looks: Looks,
}

impl Stage {
    /// Lets time pass until there is something other than a look.
    fn next(&mut self) -> Result<Option<Told>, TrialError> {
        match self.world.run() {
            Notice::Look => {
                let now = self.world.now();
                let look = self.world.clients.progress(now);
                self.looks.extend([look]);
                Ok(None)
            }
            Notice::Answered(client, answer) => Ok(Some(Told::Answer(client, answer))),
            Notice::Reached => Ok(Some(Told::Reached)),
            Notice::Stopped => Ok(Some(Told::Stopped)),
            Notice::Broken(broken) => Err(self.broken(broken)),
            Notice::Interrupted => Err(TrialError::Interrupted),
            Notice::Silence => Err(TrialError::Silence(self.world.now())),
        }
    }

    /// Asks the services something and waits until they have done it.
    fn ask(&mut self, command: Command) -> Result<(), TrialError> {
        let asked = command.clone();
        self.world.remind_of_command();
        while !matches!(self.next()?, Some(Told::Reached)) {}
        let client = self.world.command(command);
        loop {
            match self.next()? {
                Some(Told::Answer(of, Answer::Done)) if of == client => return Ok(()),
                Some(Told::Answer(of, answer)) if of == client => {
                    return Err(TrialError::Refused(asked.not_done(&answer)));
                }
                Some(Told::Answer(..) | Told::Reached | Told::Stopped) | None => {}
            }
        }
    }

    /// Looks until all has been steady for a second: at least until `min` after `begun`, at most for `max`.
    /// If they are equal it is to that moment.
    fn until_steady(
        &mut self,
        (min, max): (Duration, Duration),
        steady: Option<Steady>,
        begun: Instant,
    ) -> Result<(), TrialError> {
        let started = if min == max { begun } else { self.world.now() };
        self.world.remind((started + max).max(self.world.now()));
        loop {
            self.next()?;
            let now = self.world.now();
            if now - started >= max {
                return Ok(());
            }
            if now - begun >= min {
                let workers = self.world.workers();
                if self.looks.are_steady(steady, workers) {
                    return Ok(());
                }
            }
        }
    }

    /// Ends the plan; what is in flight has its grace. Gives the book.
    fn stop_load(&mut self) -> Result<crate::load::Book, TrialError> {
        self.world.clients.stop();
        let grace = self.world.now() + timing::GRACE;
        self.world.remind(grace);
        while self.world.clients.in_flight() > 0 && self.world.now() < grace {
            self.next()?;
        }
        Ok(self.world.close_book())
    }

    fn broken(&self, broken: Broken) -> TrialError {
        let event = self.world.timeline.events;
        TrialError::Broken { broken, event }
    }

    /// Ends the server in order; what has not ended after two seconds is not waited for.
    fn shut_down(&mut self) -> Result<(), TrialError> {
        let end = self.world.now() + timing::STOP_MAX;
        self.world.command(Command::Quit);
        self.world.remind(end);
        loop {
            match self.next()? {
                Some(Told::Answer(..) | Told::Reached) | None if self.world.now() < end => {}
                Some(Told::Stopped | Told::Answer(..) | Told::Reached) | None => return Ok(()),
            }
        }
    }
}

/// What a world tells, looks aside.
enum Told {
    Answer(ClientId, Answer),
    Reached,
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_nobody_serves_is_told_with_the_scenario() {
        let text = "name = 'x'\n[load]\ntls_share = 1";
        let scenario = Scenario::parse(text, "test.toml", Path::new(".")).unwrap();
        let trial = Trial {
            scenario: &scenario,
            operation: Operation::None,
            seed: 1,
            costs: &Costs::default(),
        };
        let said = trial.run().err().map(|error| error.to_string());
        let wanted = "test.toml: no https binding of the server takes the host localhost";
        assert!(
            said.as_ref().is_some_and(|said| said.starts_with(wanted)),
            "{said:?}"
        );
    }

    /// The most bytes that workers held since the operation.
    fn workers_peak(scenario: &str, operation: Operation) -> u64 {
        let scenario = Scenario::parse(scenario, "test.toml", Path::new(".")).unwrap();
        let trial = Trial {
            scenario: &scenario,
            operation,
            seed: 1,
            costs: &Costs::default(),
        };
        let metrics = trial.run().unwrap().result.metrics;
        metrics.memory.workers_peak_bytes.unwrap()
    }

    #[test]
    fn the_peak_of_the_workers_memory_is_that_since_the_operation() {
        // Who comes while the application starts waits for it, and then all hold memory at a time.
        let text = r#"
name = "x"
[timing]
warm-up-min = "4s"
warm-up-max = "4s"
watch-min = "2s"
watch-max = "2s"
[[application]]
site = "Default Web Site"
path = "/"
[application.behaviour.start]
wait = "2s"
allocate = "8MiB"
[[application.behaviour.page]]
path = "/a.aspx"
allocate = "4MiB"
[load]
rate = 50
tls_share = 0
mix = [{ url = "/a.aspx" }]
probes.url = "/a.aspx"
"#;
        let peak = |operation| workers_peak(text, operation) >> 20;
        let (nothing, recycle) = (peak(Operation::None), peak(Operation::Recycle));
        assert!(nothing < recycle, "{nothing} MiB, {recycle} MiB");
    }

    #[test]
    fn a_worker_holds_what_is_cached_and_what_sessions_keep() {
        let text = r#"
name = "x"
[timing]
warm-up-min = "2s"
warm-up-max = "2s"
watch-min = "4s"
watch-max = "4s"
[[application]]
site = "Default Web Site"
[[application.behaviour.page]]
path = "/s.aspx"
session = "write"
session_bytes = 1000000
[load]
rate = 50
users = 20
tls_share = 0
mix = [{ url = "/s.aspx", session = true }]
probes.url = "/x.htm"
"#;
        let peak = workers_peak(text, Operation::None);
        let sessions = peak - Costs::default().worker_memory;
        assert_eq!(sessions / 1_000_000, 20, "{sessions} bytes");
    }
}
