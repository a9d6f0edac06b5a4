//! A trial: a fresh server, warmed up, one operation, watched until steady again, reconciled.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use sim_httpsys::clockwork::Instant;
use sim_httpsys::live::clock::clock_now;
use sim_was::config::{edit, physical_path};

use super::generator::{Generator, GeneratorError};
use super::operate::perform;
use super::processes::{children, resident_bytes};
use super::server::{BoundEndpoint, Server, ServerError, ServerOptions, config_path};
use crate::load::live::Progress;
use crate::load::plan::{PlanFile, Target};
use crate::measure::metrics::Trial as Measured;
use crate::measure::{Metrics, Observation, ReadError, TrialResult};
use crate::scenario::{ApplicationPart, Operation, Scenario, ScenarioError};

/// From the command `go` to the first planned attempt.
const LEAD: Duration = Duration::from_millis(30);
/// How much of the warm-up is the baseline, ns.
const BASELINE: u64 = 1_000_000_000;
/// How long the load goes on at most; the plan is drawn for so long.
const SLACK: Duration = Duration::from_secs(30);

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
}

/// Why a trial could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The load generator.
    #[error(transparent)]
    Generator(#[from] GeneratorError),
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
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
#[derive(Clone, Copy, Debug)]
struct Times {
    /// From when on the server counts as warm: the last second before the operation.
    warm: Instant,
    operation: Instant,
}

impl Trial<'_> {
    /// Runs it.
    pub fn run(&self, watcher: Watcher<'_>) -> Result<TrialResult, TrialError> {
        tell(watcher, Stage::Starting)?;
        let root = self.folder.join("root");
        self.lay_out(&root)?;
        let mut options = ServerOptions::on_any_port(&root);
        options.trace = true;
        options.parameters = self.scenario.server.httpsys.clone();
        let server = Server::start(&options)?;
        let book = self.folder.join("book.jsonl");
        let mut generator = self.start_generator(&server, &book)?;
        let (times, memory) = self.drive(&server, &mut generator, watcher)?;
        tell(watcher, Stage::Reconciling)?;
        generator.stop()?;
        let root = server.root.clone();
        server.stop();
        self.reconcile(&root, &book, times, memory)
    }

    /// The pool that the operation acts on.
    fn pool(&self, server: &Server) -> String {
        let first = || {
            server
                .configuration()
                .application_pools
                .first()
                .map(|p| p.name.clone())
        };
        self.scenario
            .server
            .pool
            .clone()
            .or_else(first)
            .unwrap_or_default()
    }

    /// Writes the configuration, the content and the applications below the root.
    fn lay_out(&self, root: &Path) -> Result<(), TrialError> {
        let invalid = |message: String| {
            TrialError::Scenario(ScenarioError::Invalid {
                name: self.scenario.name.clone(),
                message,
            })
        };
        let own_text = sim_was::config::default_config::DEFAULT_CONFIG;
        let text = self
            .scenario
            .server
            .config_text
            .as_deref()
            .unwrap_or(own_text)
            .trim_start();
        let name = "the scenario's applicationHost.config";
        let configuration =
            sim_was::config::load(text, name).map_err(|error| invalid(error.to_string()))?;
        let text = if self.operation == Operation::RecycleNonoverlapped {
            let first = configuration
                .application_pools
                .first()
                .map(|pool| pool.name.clone());
            let pool = self
                .scenario
                .server
                .pool
                .clone()
                .or(first)
                .unwrap_or_default();
            edit::disallow_overlapping_rotation(text, &pool).map_err(invalid)?
        } else {
            text.to_owned()
        };
        write(&config_path(root), text.as_bytes())?;
        for part in &self.scenario.applications {
            let folder = application_folder(&configuration, part, root).ok_or_else(|| {
                invalid(format!(
                    "[[application]] names {:?} of site {:?}, which the configuration does not have",
                    part.path, part.site
                ))
            })?;
            lay_out_application(part, &folder)?;
        }
        Ok(())
    }

    fn start_generator(&self, server: &Server, book: &Path) -> Result<Generator, TrialError> {
        let timing = &self.scenario.timing;
        let duration = timing.warm_up_max + timing.watch_max + SLACK;
        let (targets, host) = targets(&server.endpoints());
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
        Ok(Generator::start(&path, &self.folder.join("load.log"))?)
    }

    /// Load, operation, load: until everything is steady again.
    fn drive(
        &self,
        server: &Server,
        generator: &mut Generator,
        watcher: Watcher<'_>,
    ) -> Result<(Times, u64), TrialError> {
        let timing = &self.scenario.timing;
        let load_started = clock_now() + LEAD;
        generator.go(load_started)?;
        let mut watch = Watch {
            server,
            generator,
            memory_peak: 0,
            recent: Vec::new(),
        };
        tell(watcher, Stage::WarmingUp)?;
        watch.until_steady(timing.warm_up_min, timing.warm_up_max, None, watcher)?;
        let baseline = watch.p95();
        let workers = children(server.was_pid()).len();
        tell(watcher, Stage::Operating)?;
        watch.recent.clear();
        let operation = clock_now();
        perform(server, self.operation, &self.pool(server))?;
        tell(watcher, Stage::Watching)?;
        let steady = Steady {
            p95_us: baseline,
            workers,
        };
        watch.until_steady(timing.watch_min, timing.watch_max, Some(steady), watcher)?;
        let memory = watch.memory_peak;
        let warm = Instant(operation.0.saturating_sub(BASELINE)).max(load_started);
        Ok((Times { warm, operation }, memory))
    }

    fn reconcile(
        &self,
        root: &Path,
        book: &Path,
        times: Times,
        memory: u64,
    ) -> Result<TrialResult, TrialError> {
        let observation = observe(root, book)?;
        let measured = Measured {
            operation: times.operation,
            baseline_from: times.warm,
            workers_peak_bytes: Some(memory),
        };
        let metrics = Metrics::of(&observation, &measured);
        Ok(TrialResult::of(self.operation, self.seed, metrics))
    }
}

/// Reads everything that a trial has written.
fn observe(root: &Path, book: &Path) -> Result<Observation, TrialError> {
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
    for site in files_in(&logs)? {
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

/// What counts as steady after the operation.
#[derive(Clone, Copy, Debug)]
struct Steady {
    /// The 95th percentile of latency before it, µs.
    p95_us: u64,
    /// Worker processes before it.
    workers: usize,
}

/// Looks at the load and at the workers' memory.
struct Watch<'a> {
    server: &'a Server,
    generator: &'a mut Generator,
    memory_peak: u64,
    recent: Vec<Progress>,
}

impl Watch<'_> {
    /// Looks until all has been steady for a second, at least `min` and at most `max`.
    fn until_steady(
        &mut self,
        min: Duration,
        max: Duration,
        steady: Option<Steady>,
        watcher: Watcher<'_>,
    ) -> Result<(), TrialError> {
        let started = clock_now();
        let stage = if steady.is_some() {
            Stage::Watching
        } else {
            Stage::WarmingUp
        };
        loop {
            let progress = self.generator.progress(Duration::from_millis(50))?;
            self.recent.extend(progress);
            let workers = children(self.server.was_pid());
            self.memory_peak = self.memory_peak.max(resident_bytes(&workers));
            tell(watcher, stage)?;
            let elapsed = clock_now() - started;
            if elapsed >= max || (elapsed >= min && self.is_steady(steady, workers.len())) {
                return Ok(());
            }
        }
    }

    /// Source: steady is p95 within 1.25 of the baseline, for a while, without failures.
    fn is_steady(&self, steady: Option<Steady>, workers: usize) -> bool {
        let last = self.recent.len().saturating_sub(LOOKS);
        let window = &self.recent[last..];
        let (Some(first), Some(end)) = (window.first(), window.last()) else {
            return false;
        };
        let limit = steady.map_or(self.p95(), |steady| steady.p95_us);
        // A millisecond is allowed on top: at that size a percentile is the machine's noise.
        let calm = |look: &Progress| {
            look.p95_us_last
                .is_some_and(|p95| p95 <= limit + limit / 4 + 1_000)
        };
        window.len() == LOOKS
            && first.failed == end.failed
            && window.iter().filter(|look| calm(look)).count() * 10 >= LOOKS * 8
            && steady.is_none_or(|steady| workers <= steady.workers)
    }

    /// The median of the last second's 95th percentiles, µs.
    fn p95(&self) -> u64 {
        let last = self.recent.len().saturating_sub(LOOKS);
        let mut values: Vec<u64> = self.recent[last..]
            .iter()
            .filter_map(|p| p.p95_us_last)
            .collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    }
}

/// Looks (one every 100 ms) that make a second.
const LOOKS: usize = 10;

fn tell(watcher: Watcher<'_>, stage: Stage) -> Result<(), TrialError> {
    if watcher(stage) {
        Ok(())
    } else {
        Err(TrialError::Interrupted)
    }
}

/// Where every host of the configuration is reached, and the host of entries that name none.
fn targets(endpoints: &[BoundEndpoint]) -> (Vec<Target>, String) {
    let target = |endpoint: &BoundEndpoint| {
        let host = Some(endpoint.host.clone()).filter(|host| !host.is_empty());
        Some(Target {
            host,
            secure: endpoint.secure,
            address: endpoint.address?,
        })
    };
    let targets: Vec<Target> = endpoints.iter().filter_map(target).collect();
    let any = targets.iter().any(|target| target.host.is_none());
    let named = targets.iter().find_map(|target| target.host.clone());
    let host = named
        .filter(|_| !any)
        .unwrap_or_else(|| "localhost".to_owned());
    (targets, host)
}

fn application_folder(
    configuration: &sim_was::config::Configuration,
    part: &ApplicationPart,
    root: &Path,
) -> Option<PathBuf> {
    let site = configuration
        .sites
        .iter()
        .find(|site| site.name == part.site)?;
    let application = site.applications.iter().find(|app| app.path == part.path)?;
    let directory = application
        .virtual_directories
        .iter()
        .find(|vdir| vdir.path == "/")?;
    Some(physical_path::to_unix(&directory.physical_path, root))
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
