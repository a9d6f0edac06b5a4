//! A trial: a fresh server, warmed up, one operation, watched until steady again, reconciled.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{self, Traced};
use sim_httpsys::live::clock::{clock_now, utc_clock};
use sim_was::config::physical_path;

use super::balancer::BalancerError;
use super::bound_endpoint::Closed;
use super::closed_port::ClosedPort;
use super::farm::{Farm, Left};
use super::generator::{Generator, GeneratorError};
use super::memory_peak::MemoryPeak;
use super::operate::perform;
use super::processes::children;
use super::server::{BoundEndpoint, Departure, Server, ServerError, ServerOptions, config_path};
use crate::load::plan_file::{PlanFile, Target};
use crate::measure::apart::unless_stopped;
use crate::measure::metrics::Trial as Measured;
use crate::measure::{Looks, Metrics, Observation, ReadError, Steady, TrialResult};
use crate::scenario::{ApplicationPart, Operation, Scenario, ScenarioError, Served, timing};

/// What is to be done.
#[derive(Debug)]
pub struct Trial<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The operation.
    pub operation: Operation,
    /// From which the plan is drawn: the same for every operation of one round.
    pub seed: u64,
    /// An empty folder; everything that the trial writes stays in it.
    pub folder: &'a Path,
    /// Whether every input of every program is recorded there, for a replay.
    pub record: bool,
}

/// What the load generator has to say, below the trial's folder.
const LOAD_LOG: &str = "load.log";
/// Why a trial is invalid after which the driver did not end by itself.
const TRACE_LOST: &str = "httpsys did not end in time and was killed, and its trace is incomplete";
/// How long a look at the load and at the memory waits for the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Why a trial could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The load generator.
    #[error(transparent)]
    Generator(#[from] GeneratorError),
    /// The load generator ended early and said why.
    #[error("{scenario}: {said}")]
    Load {
        /// The scenario's file.
        scenario: String,
        /// Its words.
        said: String,
    },
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The balancer of a farm.
    #[error(transparent)]
    Balancer(#[from] BalancerError),
    /// A farm whose servers have no http binding.
    #[error("a [farm] needs an http binding, and its configuration has none that is open")]
    NothingToBalance,
    /// A file of the trial.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its books could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It was interrupted.
    #[error("interrupted")]
    Interrupted,
}

/// Where a trial is, for whoever shows progress. Returning `false` interrupts it.
pub type Watcher<'a> = &'a mut dyn FnMut(Stage) -> bool;

/// A stage of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The server starts.
    Starting,
    /// Load runs, caches fill.
    WarmingUp,
    /// The operation is performed.
    Operating,
    /// Load runs until all is steady again.
    Watching,
    /// The books are read and joined.
    Reconciling,
}

/// When things happened, for the measurement.
#[derive(Clone, Debug)]
struct Times {
    /// From when on the server counts as warm: the last second before the operation.
    warm: Instant,
    operation: Instant,
    /// Why the operation was not done, or not watched, if it was not.
    not_done: Option<String>,
}

impl Trial<'_> {
    /// Runs it; gives what was measured, and what it was measured from.
    pub fn run(&self, watcher: Watcher<'_>) -> Result<(TrialResult, Observation), TrialError> {
        tell(watcher, Stage::Starting)?;
        let root = self.folder.join("root");
        let on = self.lay_out(&root)?;
        let mut server = Server::start(&self.options(&root))?;
        let mut options = |root: &Path| self.lay_out(root).map(|_| self.options(root));
        let farm = self.scenario.farm.as_ref();
        let mut farm = farm
            .map(|farm| Farm::start(farm, &server, self.folder, &mut options))
            .transpose()?;
        let book = self.folder.join("book.jsonl");
        let closed = ClosedPort::new().map_err(|source| TrialError::File {
            path: PathBuf::from("a port that nobody listens on"),
            source,
        })?;
        let (targets, host) = match &farm {
            Some(farm) => (vec![Target::any(farm.address())], "localhost".to_owned()),
            None => targets(&server.endpoints(), closed.address),
        };
        let mut generator = self
            .start_generator(targets, host, &book, &on)
            .map_err(|error| self.with_last_words(error))?;
        let (times, memory) = self
            .drive(&mut server, farm.as_mut(), &on, &mut generator, watcher)
            .map_err(|error| self.with_last_words(error))?;
        tell(watcher, Stage::Reconciling)?;
        generator.stop()?;
        let left = farm.map(Farm::stop).transpose()?;
        let root = server.root.clone();
        let of_farm = left.as_ref().map(|left| left.departure);
        let departures = [Some(server.stop()), of_farm];
        let (mut result, observation) =
            self.reconcile((root, book), left, (times, memory), watcher)?;
        if departures.contains(&Some(Departure::Killed)) {
            result.invalid = Some(TRACE_LOST.to_owned());
        }
        Ok((result, observation))
    }

    fn options(&self, root: &Path) -> ServerOptions {
        ServerOptions {
            trace: true,
            record: self.record,
            parameters: self.scenario.server.httpsys.clone(),
            personality: self.scenario.server.personality,
            ..ServerOptions::on_any_port(root)
        }
    }

    /// Writes the configuration, the content and the applications below the root; gives what is served.
    fn lay_out(&self, root: &Path) -> Result<Served, TrialError> {
        let server = self.scenario.served(self.operation)?;
        write(&config_path(root), server.text.as_bytes())?;
        for part in &self.scenario.applications {
            let folder = server.folder_of(part)?;
            lay_out_application(part, &physical_path::to_unix(folder, root))?;
        }
        Ok(server)
    }

    fn start_generator(
        &self,
        targets: Vec<Target>,
        host: String,
        book: &Path,
        on: &Served,
    ) -> Result<Generator, TrialError> {
        let duration = self.scenario.load_planned(on).span;
        let plan = PlanFile {
            profile: self.scenario.load.clone(),
            seed: self.seed,
            duration,
            targets,
            host,
            first_id: 1,
            book: book.to_owned(),
        };
        let path = self.folder.join("plan.json");
        let text = serde_json::to_vec(&plan).expect("a plan is plain data and can be written");
        write(&path, &text)?;
        Ok(Generator::start(&path, &self.folder.join(LOAD_LOG))?)
    }

    /// What the generator said before it ended early, if it did.
    fn with_last_words(&self, error: TrialError) -> TrialError {
        // Whoever speaks to it first meets a broken pipe.
        if !matches!(
            error,
            TrialError::Generator(GeneratorError::EndedEarly | GeneratorError::Io(_))
        ) {
            return error;
        }
        let said = fs::read_to_string(self.folder.join(LOAD_LOG)).unwrap_or_default();
        match said.trim().lines().last() {
            Some(last) => TrialError::Load {
                scenario: self.scenario.label().to_owned(),
                said: last.trim_start_matches("iis-sim: ").to_owned(),
            },
            None => error,
        }
    }

    /// Load, operation, load: until everything is steady again.
    fn drive(
        &self,
        server: &mut Server,
        farm: Option<&mut Farm>,
        on: &Served,
        generator: &mut Generator,
        watcher: Watcher<'_>,
    ) -> Result<(Times, u64), TrialError> {
        let timing = &self.scenario.timing;
        let load_started = clock_now() + timing::LEAD;
        generator.go(load_started)?;
        let mut watch = Watch {
            server,
            farm,
            generator,
            memory: None,
            looks: Looks::default(),
        };
        tell(watcher, Stage::WarmingUp)?;
        let warm_up = (timing.warm_up_min, timing.warm_up_max);
        watch.until_steady(warm_up, None, clock_now(), watcher)?;
        let phase = timing::phase(self.seed, self.scenario.load.probes.interval);
        watch.until_steady((phase, phase), None, clock_now(), watcher)?;
        let baseline = watch.looks.p95();
        let workers = children(watch.server.was_pid()).len();
        tell(watcher, Stage::Operating)?;
        watch.looks.clear();
        // What was held while it warmed up is no price of the operation.
        watch.memory = Some(MemoryPeak::watch(watch.server.was_pid()));
        let operation = clock_now();
        let not_done = perform(watch.server, self.operation, on)?;
        tell(watcher, Stage::Watching)?;
        let steady = Steady {
            p95_us: baseline,
            workers,
        };
        let watching = (timing.watch_min, timing.watch_max);
        watch.until_steady(watching, Some(steady), operation, watcher)?;
        let memory = watch.memory.map_or(0, |memory| memory.bytes());
        let planned = self.scenario.load_planned(on);
        let ran_out = || planned.ran_out(load_started, operation, clock_now());
        let not_done = not_done
            .or_else(|| self.died(watch.server))
            .or_else(ran_out);
        let warm = timing::baseline_from(load_started, operation);
        let times = Times {
            warm,
            operation,
            not_done,
        };
        Ok((times, memory))
    }

    /// Why a trial tells nothing in which `was` has died, and not by its operation.
    fn died(&self, server: &Server) -> Option<String> {
        let killed = u32::from(self.operation == Operation::KillWas);
        let died = server.terminations().saturating_sub(killed);
        (died > 0).then(|| format!("was died {died} time(s), and not by the operation"))
    }

    fn reconcile(
        &self,
        (root, book): (PathBuf, PathBuf),
        farm: Option<Left>,
        (times, memory): (Times, u64),
        watcher: Watcher<'_>,
    ) -> Result<(TrialResult, Observation), TrialError> {
        let served = self.scenario.served(self.operation)?;
        let (ports, pool) = (served.ports(), self.operation.pool(&served.pool));
        let logs_all = served.log_gap().is_none();
        let measured = Measured {
            operation: times.operation,
            pool,
            baseline_from: times.warm,
            workers_peak_bytes: Some(memory),
            clock: Some(utc_clock()),
        };
        let mut goes_on = || tell(watcher, Stage::Reconciling).is_ok();
        let worked_out = unless_stopped(&mut goes_on, move || {
            let mut observation = observe(&root, &book, logs_all)?;
            observation.ports = ports;
            let metrics = match farm {
                None => Metrics::of(&observation, &measured),
                Some(left) => {
                    let servers = facts_of_servers(&mut observation, &left.roots)?;
                    Metrics::of_farm(&observation, &measured, &left.log, &servers)
                }
            };
            Ok::<_, TrialError>((metrics, observation))
        });
        let (metrics, observation) = worked_out.ok_or(TrialError::Interrupted)??;
        let mut result = TrialResult::new(self.operation, self.seed, metrics);
        if let Some(why) = self.scenario.nobody_came(&result.metrics) {
            result.invalid = Some(why);
        }
        if let Some(why) = times.not_done {
            result.invalid = Some(why);
        }
        Ok((result, observation))
    }
}

/// The facts of every driver of a farm, those of the observed server first. They leave the observation,
/// and the logs do too: its book is about all servers.
fn facts_of_servers(
    observation: &mut Observation,
    others: &[PathBuf],
) -> Result<Vec<Vec<Traced<etw::Fact>>>, TrialError> {
    let mut servers = vec![observation.httpsys.take().unwrap_or_default()];
    (observation.w3c, observation.httperr) = (None, None);
    for root in others {
        let mut other = Observation::default();
        other.read_httpsys(&root.join("trace/httpsys.jsonl"))?;
        servers.push(other.httpsys.unwrap_or_default());
    }
    Ok(servers)
}

/// Reads everything that a trial has written, the sites' logs only if they have a line for every answer.
fn observe(root: &Path, book: &Path, logs_all: bool) -> Result<Observation, TrialError> {
    let mut observation = Observation::default();
    observation.read_book(book)?;
    let trace = root.join("trace");
    observation.read_httpsys(&trace.join("httpsys.jsonl"))?;
    observation.read_was(&trace.join("was.jsonl"))?;
    for path in files_in(&trace)?
        .iter()
        .filter(|path| file_name(path).starts_with("w3wp-"))
    {
        observation.read_worker(path)?;
    }
    let logs = root.join("inetpub/logs/LogFiles");
    let folders = if logs_all {
        files_in(&logs)?
    } else {
        Vec::new()
    };
    for site in folders {
        for path in files_in(&site)?
            .iter()
            .filter(|path| file_name(path).starts_with("u_ex"))
        {
            observation.read_w3c(path)?;
        }
    }
    for path in files_in(&root.join("Windows/System32/LogFiles/HTTPERR"))? {
        observation.read_httperr(&path)?;
    }
    Ok(observation)
}

/// What lies in a folder, by name; nothing if there is no such folder.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, TrialError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(TrialError::File {
                path: folder.to_owned(),
                source,
            });
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("")
}

/// Looks at the load and at the workers' memory.
struct Watch<'a> {
    server: &'a mut Server,
    farm: Option<&'a mut Farm>,
    generator: &'a mut Generator,
    memory: Option<MemoryPeak>,
    looks: Looks,
}

impl Watch<'_> {
    /// Looks until all has been steady for a second: at least until `min` after `begun`, at most for `max`.
    /// If they are equal it is to that moment.
    fn until_steady(
        &mut self,
        (min, max): (Duration, Duration),
        steady: Option<Steady>,
        begun: Instant,
        watcher: Watcher<'_>,
    ) -> Result<(), TrialError> {
        let started = if min == max { begun } else { clock_now() };
        let stage = if steady.is_some() {
            Stage::Watching
        } else {
            Stage::WarmingUp
        };
        loop {
            let left = max.saturating_sub(clock_now() - started);
            // A service that ends is started again at once, not at the next look.
            self.server.watch(left.min(LOOK_INTERVAL))?;
            while let Some(progress) = self.generator.progress()? {
                self.looks.extend([progress]);
            }
            if let Some(farm) = &mut self.farm {
                farm.check()?;
            }
            let workers = children(self.server.was_pid());
            if let Some(memory) = &self.memory {
                memory.follow(self.server.was_pid());
            }
            tell(watcher, stage)?;
            let now = clock_now();
            let is_steady = now - begun >= min && self.looks.are_steady(steady, workers.len());
            if is_steady || now - started >= max {
                return Ok(());
            }
        }
    }
}

fn tell(watcher: Watcher<'_>, stage: Stage) -> Result<(), TrialError> {
    if watcher(stage) {
        Ok(())
    } else {
        Err(TrialError::Interrupted)
    }
}

/// Where every host of the configuration is reached, and the host of entries that name none.
fn targets(endpoints: &[BoundEndpoint], closed: SocketAddr) -> (Vec<Target>, String) {
    let target = |endpoint: &BoundEndpoint| {
        let host = Some(endpoint.host.clone()).filter(|host| !host.is_empty());
        // Who asks for a site that is not started is refused; where another one answers, that one does.
        let address = match endpoint.reached {
            Ok(address) => address,
            Err(Closed::NotToStart) => closed,
            Err(_) => return None,
        };
        let seen_as = endpoint
            .named
            .map(|(ip, port)| SocketAddr::new(ip.unwrap_or_else(|| address.ip()), port));
        Some(Target {
            host,
            secure: endpoint.secure,
            address,
            seen_as,
        })
    };
    let mut targets: Vec<Target> = endpoints.iter().filter_map(target).collect();
    targets.sort_by_key(|target| target.address == closed);
    let any = targets.iter().any(|target| target.host.is_none());
    let named = targets.iter().find_map(|target| target.host.clone());
    let host = named
        .filter(|_| !any)
        .unwrap_or_else(|| "localhost".to_owned());
    (targets, host)
}

fn lay_out_application(part: &ApplicationPart, folder: &Path) -> Result<(), TrialError> {
    fs::create_dir_all(folder).map_err(|source| TrialError::File {
        path: folder.to_owned(),
        source,
    })?;
    for content in &part.content {
        content.make(folder).map_err(|source| TrialError::File {
            path: folder.to_owned(),
            source,
        })?;
    }
    if let Some(behaviour) = &part.behaviour {
        let path = folder.join(sim_worker::application::FILE_NAME);
        write(&path, behaviour.to_string().as_bytes())?;
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> Result<(), TrialError> {
    let at = |source| TrialError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(at)?;
    }
    fs::write(path, content).map_err(at)
}
