//! A trial in virtual time: the same phases, rules and measurement as a live one.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sim_httpsys::clockwork::Instant;
use sim_was::config::{ApplicationPool, physical_path};
use sim_was::control::{Answer, Command, Service};
use sim_was::model::ClientId;

use super::checkers::Broken;
use super::chronicle::Keeping;
use super::clients::{Clients, Load};
use super::costs::Costs;
use super::destinations::{Destinations, NoTarget};
use super::faults::Faults;
use super::machine::Files;
use super::world::{Notice, SWITCHED_ON, Setting, World};
use crate::load::plan::Plan;
use crate::load::profile::ProfileError;
use crate::measure::metrics::Trial as Measured;
use crate::measure::{Looks, Metrics, Observation, Steady, TrialResult};
use crate::scenario::{Operation, Scenario, ScenarioError, Served, Step, timing};

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
    /// What goes wrong by itself. With faults, the load is followed by a quiet phase in which everything
    /// must come to rest, and commands that are refused are no failure.
    pub faults: Option<&'a Faults>,
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
    /// What was seen that should be seen sometimes, and how often.
    pub sometimes: BTreeMap<&'static str, u64>,
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
    /// The load.
    #[error("load profile: {0}")]
    Profile(#[from] ProfileError),
    /// The load asks for what nobody serves.
    #[error(transparent)]
    Target(#[from] NoTarget),
    /// A file of the scenario.
    #[error("{0}")]
    Content(#[from] std::io::Error),
    /// The services did not do what they were asked.
    #[error("{command} was answered by {answer}")]
    Refused {
        /// What they were asked.
        command: String,
        /// What they said.
        answer: String,
    },
    /// A pool has no worker to kill.
    #[error("pool {0} has no worker process to kill")]
    NoWorker(String),
    /// An invariant does not hold.
    #[error("{broken} (event {event})")]
    Broken {
        /// Which, and how.
        broken: Broken,
        /// Events until then.
        event: u64,
    },
    /// The world came to rest before the trial was over.
    #[error("nothing will ever happen again at {0}")]
    Silence(Instant),
}

impl Trial<'_> {
    /// Runs it.
    pub fn run(&self) -> Result<Run, TrialError> {
        let served = self.scenario.served(self.operation)?;
        let mut stage = Stage {
            world: self.world(&served)?,
            looks: Looks::default(),
            memory_peak: 0,
            tolerates_refusal: self.faults.is_some(),
        };
        let (warm, operation) = self.drive(&mut stage, &served.pool)?;
        let book = stage.stop_load()?;
        if self.faults.is_some() {
            stage.come_to_rest(&served)?;
        }
        let sometimes = stage.world.sometimes();
        stage.shut_down()?;
        let size = Size {
            events: stage.world.timeline.events,
            attempts: book.attempts.len() as u64,
            nanos: stage.world.now().0,
        };
        let (observation, digest) = stage.world.close();
        let observation = Observation {
            book,
            ..observation
        };
        let measured = Measured {
            operation,
            baseline_from: warm,
            workers_peak_bytes: Some(stage.memory_peak),
        };
        let metrics = Metrics::of(&observation, &measured);
        let mut result = TrialResult::new(self.operation, self.seed, metrics);
        result.digest = Some(digest);
        Ok(Run {
            result,
            observation,
            operation,
            size,
            sometimes,
        })
    }

    fn world(&self, served: &Served) -> Result<World, TrialError> {
        let profile = &self.scenario.load;
        let plan = Plan::draw(profile, self.seed, self.scenario.timing.plan())?;
        let to = Destinations::of(&plan.urls, &plan.attempts, profile, &served.configuration)?;
        Ok(World::new(Setting {
            costs: self.costs,
            seed: self.seed,
            httpsys: self.scenario.server.httpsys.clone(),
            configuration: served.configuration.clone(),
            root: ROOT.into(),
            files: files(self.scenario, served)?,
            clients: Clients::new(profile.clone(), self.seed, Load::Plan(plan), to),
            faults: self.faults.cloned().unwrap_or_default(),
            keeping: Keeping::Everything,
        }))
    }

    /// Services up, load, operation, load: until everything is steady again. Gives from when on the
    /// server counts as warm, and when the operation began.
    fn drive(&self, stage: &mut Stage, pool: &str) -> Result<(Instant, Instant), TrialError> {
        let services = vec![Service::Was, Service::W3svc];
        stage.ask(Command::StartServices { services })?;
        let load_started = stage.world.now() + timing::LEAD;
        stage.world.go(load_started);
        let timing = &self.scenario.timing;
        stage.until_steady(timing.warm_up_min, timing.warm_up_max, None)?;
        let baseline = stage.looks.p95();
        let (workers, _) = stage.world.workers();
        stage.looks.clear();
        let operation = stage.world.now();
        for step in self.operation.steps(pool) {
            match step {
                Step::Ask(command) => stage.ask(command)?,
                Step::KillWorkers(pool) => {
                    let killed = stage.world.kill_workers(&pool);
                    if killed == 0 && !stage.tolerates_refusal {
                        return Err(TrialError::NoWorker(pool));
                    }
                }
            }
        }
        let steady = Steady {
            p95_us: baseline,
            workers,
        };
        stage.until_steady(timing.watch_min, timing.watch_max, Some(steady))?;
        let warm = Instant(operation.0.saturating_sub(timing::BASELINE)).max(load_started);
        Ok((warm, operation))
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

/// A world, and what is known of it while it runs.
struct Stage {
    world: World,
    looks: Looks,
    memory_peak: u64,
    tolerates_refusal: bool,
}

impl Stage {
    /// Lets time pass until there is something other than a look.
    fn next(&mut self) -> Result<Option<Told>, TrialError> {
        match self.world.run() {
            Notice::Look => {
                let now = self.world.now();
                let look = self.world.clients.progress(now);
                self.looks.extend([look]);
                let (_, memory) = self.world.workers();
                self.memory_peak = self.memory_peak.max(memory);
                Ok(None)
            }
            Notice::Answered(client, answer) => Ok(Some(Told::Answer(client, answer))),
            Notice::Reached => Ok(Some(Told::Reached)),
            Notice::Stopped => Ok(Some(Told::Stopped)),
            Notice::Broken(broken) => Err(self.broken(broken)),
            Notice::Silence => Err(TrialError::Silence(self.world.now())),
        }
    }

    /// Asks the services something and waits until they have done it.
    fn ask(&mut self, command: Command) -> Result<(), TrialError> {
        let words = format!("{command:?}");
        let client = self.world.command(command);
        loop {
            match self.next()? {
                Some(Told::Answer(of, Answer::Done)) if of == client => return Ok(()),
                Some(Told::Answer(of, _)) if of == client && self.tolerates_refusal => {
                    return Ok(());
                }
                Some(Told::Answer(of, answer)) if of == client => {
                    return Err(TrialError::Refused {
                        command: words,
                        answer: format!("{answer:?}"),
                    });
                }
                Some(Told::Answer(..) | Told::Reached | Told::Stopped) | None => {}
            }
        }
    }

    /// Looks until all has been steady for a second, at least `min` and at most `max`.
    fn until_steady(
        &mut self,
        min: Duration,
        max: Duration,
        steady: Option<Steady>,
    ) -> Result<(), TrialError> {
        let started = self.world.now();
        loop {
            self.next()?;
            let elapsed = self.world.now() - started;
            if elapsed >= max {
                return Ok(());
            }
            if elapsed >= min {
                let (workers, _) = self.world.workers();
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

    /// No load and no faults, for longer than every limit: then nothing may be under way.
    fn come_to_rest(&mut self, served: &Served) -> Result<(), TrialError> {
        self.world.be_quiet();
        let limit = |pool: &ApplicationPool| {
            let model = &pool.process_model;
            let ping = model.ping_interval + model.ping_response_time;
            // A worker that hangs is found by its ping; its successor may be at its start's limit, and
            // the one before it at the end of its own.
            ping + model.startup_time_limit + model.shutdown_time_limit
        };
        let pools = &served.configuration.application_pools;
        let longest = pools.iter().map(limit).max().unwrap_or_default();
        let end = self.world.now() + longest + Duration::from_secs(1);
        self.world.remind(end);
        while self.world.now() < end {
            self.next()?;
        }
        let rest = self.world.check_rest();
        rest.map_err(|broken| self.broken(broken))
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
