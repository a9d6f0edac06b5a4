//! The drive loop: inputs and deadlines in, outputs carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::StateMachine;
use sim_httpsys::recording::{Recorded, Tape};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::audit_log::AuditLog;
use super::config_file::ConfigFile;
use super::control::{self, Answered, Commanded};
use super::device::Device;
use super::journal::Journal;
use super::machine::{self, Affinity, Machine};
use super::on_disk::{as_on_disk, on_disk};
use super::orders::Orders;
use super::program;
use super::watch::{SETTLE, Watch};
use super::worker::{Worker, pool_files};
use super::{Boot, Options, RunError};
use crate::config;
use crate::control::wire::socket_path;
use crate::control::{Answer, Command, Refusal, Service, ServiceStatus};
use crate::event_log::{Event, Fact};
use crate::model::{ClientId, Input, Output, Parameters, PoolId, Program, Spawn, SpawnError, Was};
use sim_httpsys::live::clock::{clock_now, utc_now};

/// Where tasks put what has happened.
pub(super) type Inputs = mpsc::Sender<Input>;

/// The command that starts the services when the program begins.
const BOOT: ClientId = ClientId(0);

/// Sets everything up, and drives the machine until it has stopped.
pub(super) async fn run(options: Options) -> Result<(), RunError> {
    let (inputs, mut happened) = mpsc::channel(1024);
    let (commands, mut commanded) = mpsc::channel(64);
    let (news, mut configuration_news) = mpsc::channel(1);
    let mut supervisor = Supervisor::begin(options, inputs, commands, news).await?;
    let mut history = tokio::time::interval(Duration::from_secs(1));
    let mut terminate =
        signal(SignalKind::terminate()).map_err(RunError::io("a signal handler"))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(RunError::io("a signal handler"))?;
    supervisor.boot();
    while !supervisor.stopped {
        let wait = supervisor.time_to_deadline();
        let look_again = supervisor.look_again;
        tokio::select! {
            // What has happened comes before the time: a reply that lies unread is not late.
            biased;
            Some(input) = happened.recv() => supervisor.input(input),
            Some(command) = commanded.recv() => supervisor.commanded(command),
            Some(()) = configuration_news.recv() => supervisor.configuration_changed(),
            () = sleep_until(look_again), if look_again.is_some() => supervisor.configuration_changed(),
            _ = history.tick() => {
                supervisor.finish_orders();
                supervisor.keep_history();
            }
            Some(()) = terminate.recv() => supervisor.command(Command::Quit),
            Some(()) = interrupt.recv() => supervisor.command(Command::Quit),
            () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {
                // If this process itself was stopped for a while, what workers said meanwhile lies
                // unread in their pipes: let the readers bring it first.
                for _ in 0..2 {
                    tokio::task::yield_now().await;
                }
                while let Ok(input) = happened.try_recv() {
                    supervisor.input(input);
                }
                supervisor.deadline();
            }
        }
    }
    supervisor.end().await
}

async fn sleep_until(moment: Option<tokio::time::Instant>) {
    if let Some(moment) = moment {
        tokio::time::sleep_until(moment).await;
    }
}

struct Supervisor {
    was: Recorded<Was>,
    options: Options,
    inputs: Inputs,
    device: Device,
    journal: Journal,
    workers: BTreeMap<ProcessId, Worker>,
    /// Workers that WAS has nothing to do with any more. Their pipes stay open, because a worker whose
    /// pipe closes ends. Assumed: they end with this program, as nothing of a simulation may stay.
    orphans: Vec<Worker>,
    /// What was measured of each pool last.
    machines: BTreeMap<PoolId, Machine>,
    config: ConfigFile,
    /// Pools whose configuration could not be written.
    unwritten: BTreeSet<String>,
    watch: Option<Watch>,
    /// Where it is told that the configuration has changed.
    news: mpsc::Sender<()>,
    /// When the configuration is read again, because a file was being written.
    look_again: Option<tokio::time::Instant>,
    /// When it is looked next whether the configuration has to go into the history.
    history_due: tokio::time::Instant,
    /// Whether that could be done the last time.
    history_kept: bool,
    /// Tools that wait for an answer.
    clients: BTreeMap<ClientId, oneshot::Sender<Answered>>,
    /// Whose change of the configuration is being made.
    editor: Option<ClientId>,
    /// What it has caused.
    consequences: Option<Fact>,
    /// What comes of the other orders.
    orders: Orders,
    audit: Arc<AuditLog>,
    clients_seen: u64,
    stopped: bool,
    failure: Option<RunError>,
}

impl Supervisor {
    async fn begin(
        options: Options,
        inputs: Inputs,
        commands: mpsc::Sender<Commanded>,
        news: mpsc::Sender<()>,
    ) -> Result<Self, RunError> {
        let root = options.root.clone();
        control::make_run_folder(&root).map_err(RunError::io("the folder run"))?;
        let listener = control::bind(&socket_path(&root)).map_err(|error| {
            if error.kind() == std::io::ErrorKind::AddrInUse {
                RunError::AlreadyRunning(root.clone())
            } else {
                RunError::io("the control socket")(error)
            }
        })?;
        let mut journal =
            Journal::open(&root, options.trace).map_err(RunError::io("the event log"))?;
        let device = match Device::open(&options.device, inputs.clone()).await {
            Ok(device) => device,
            Err(source) => {
                let fact = Fact::Event(no_device(&source));
                journal.write(&fact, clock_now(), utc_now());
                journal.flush();
                let path = options.device.clone();
                return Err(RunError::Device { path, source });
            }
        };
        let audit = AuditLog::open(&root).map_err(RunError::io("the audit log"))?;
        let audit = Arc::new(audit);
        tokio::spawn(control::serve(listener, commands, Arc::clone(&audit)));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let processors = u32::try_from(processors).unwrap_or(u32::MAX);
        let mut parameters = Parameters::new(root, processors);
        parameters.receives = options.receives.unwrap_or(parameters.receives);
        parameters.personality = options.personality;
        parameters.numa_nodes = machine::numa_nodes();
        parameters.time_zone = machine::time_zone();
        let folder = options.root.join("record");
        let tape = options
            .record
            .then(|| Tape::begin(&folder, "was", &parameters))
            .transpose();
        let tape = match tape {
            // Services come back without a recording rather than not at all.
            Err(error) if options.boot != Boot::Start => {
                tracing::warn!(%error, "nothing is recorded");
                None
            }
            tape => tape.map_err(RunError::io("a recording"))?,
        };
        Ok(Self {
            was: Recorded::new(Was::new(parameters), tape),
            config: ConfigFile::new(options.config.clone(), options.root.clone()),
            unwritten: BTreeSet::new(),
            watch: None,
            news,
            look_again: None,
            history_due: tokio::time::Instant::now(),
            history_kept: true,
            options,
            inputs,
            device,
            journal,
            workers: BTreeMap::new(),
            orphans: Vec::new(),
            machines: BTreeMap::new(),
            clients: BTreeMap::new(),
            editor: None,
            consequences: None,
            orders: Orders::default(),
            audit,
            clients_seen: BOOT.0,
            stopped: false,
            failure: None,
        })
    }

    /// Starts both services, as the machine does when it is switched on.
    fn boot(&mut self) {
        if self.options.boot == Boot::Stopped {
            return;
        }
        let services = vec![Service::Was, Service::W3svc];
        self.input(Input::Commanded {
            client: BOOT,
            command: Command::StartServices { services },
        });
    }

    fn commanded(&mut self, (command, answer): Commanded) {
        self.clients_seen += 1;
        let client = ClientId(self.clients_seen);
        self.clients.insert(client, answer);
        let was = &self.was;
        self.orders
            .begin(client, &command, || was.standing(), clock_now());
        self.input(Input::Commanded { client, command });
    }

    /// A command for whose answer nobody waits.
    fn command(&mut self, command: Command) {
        self.clients_seen += 1;
        let client = ClientId(self.clients_seen);
        self.input(Input::Commanded { client, command });
    }

    fn time_to_deadline(&self) -> Option<Duration> {
        let deadline = self.was.next_deadline()?;
        Some(deadline.at.saturating_since(clock_now()))
    }

    fn deadline(&mut self) {
        self.was.handle_deadline(clock_now());
        self.carry_out_all();
    }

    fn input(&mut self, input: Input) {
        match &input {
            Input::Exited { pid, exit } => {
                self.workers.remove(pid);
                self.orders.exited(pid.0, *exit);
            }
            Input::DeviceLost => self.failure = Some(RunError::DeviceLost),
            Input::Completed(_)
            | Input::Told { .. }
            | Input::Garbled { .. }
            | Input::Spawned { .. }
            | Input::PipeClosed { .. }
            | Input::Commanded { .. }
            | Input::ConfigRead(_)
            | Input::ConfigChanged(_)
            | Input::ConfigEdited { .. }
            | Input::RunFailed(_)
            | Input::ConfigNotWatched
            | Input::CpuMeasured { .. }
            | Input::CpuUnknown { .. }
            | Input::MachineMeasured(_)
            | Input::AffinityRefused { .. } => {}
        }
        let is_exit = matches!(input, Input::Exited { .. });
        self.was.handle_input(input, clock_now());
        self.carry_out_all();
        if is_exit {
            self.finish_orders();
        }
    }

    fn finish_orders(&mut self) {
        let was = &self.was;
        self.orders.finish(|| was.standing(), clock_now());
    }

    fn carry_out_all(&mut self) {
        loop {
            let outputs: Vec<Output> = std::iter::from_fn(|| self.was.poll_output()).collect();
            if outputs.is_empty() {
                return self.journal.flush();
            }
            for output in outputs {
                if let Some(input) = self.carry_out(output) {
                    self.was.handle_input(input, clock_now());
                    // The outputs of this input follow those that are being carried out.
                }
            }
        }
    }

    /// Does what the machine wants; gives back what comes of it at once.
    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match as_on_disk(output, &self.options.root) {
            Output::Call(call) => self.device.call(&call),
            Output::Tell { pid, message } => {
                if let Some(worker) = self.workers.get(&pid) {
                    worker.tell(&message);
                }
            }
            Output::Spawn(mut order) => {
                self.bring_up_to_date(&mut order);
                let affinity = order.affinity.map(Affinity::bind);
                let spawned = Worker::spawn(&order, &self.options, &self.inputs);
                if let Some(Err(error)) = affinity.map(|bound| bound.map(Affinity::release)) {
                    let pool = order.arguments.pool.clone();
                    tracing::warn!(%pool, %error, "processor affinity not set");
                    self.was
                        .handle_input(Input::AffinityRefused { pool }, clock_now());
                }
                self.say_if_written_again(&order.arguments.pool, spawned.as_ref().err());
                let result = spawned.map(|(pid, worker)| {
                    self.workers.insert(pid, worker);
                    pid
                });
                let spawn = order.spawn;
                return Some(Input::Spawned { spawn, result });
            }
            Output::Terminate { pid } => {
                if let Some(worker) = self.workers.get_mut(&pid) {
                    worker.terminate();
                }
            }
            Output::Orphan { pid } => {
                if let Some(worker) = self.workers.remove(&pid) {
                    self.orphans.push(worker);
                }
            }
            Output::Freeze { pid, .. } => self.signal(pid, Signal::STOP),
            Output::Thaw { pid } => self.signal(pid, Signal::CONT),
            Output::MeasureCpu { pool, pids } => {
                let machine = self.machines.entry(pool).or_default();
                return Some(match machine.cpu_of(&pids) {
                    Ok(cpu) => Input::CpuMeasured { pool, cpu },
                    Err(error) => {
                        tracing::debug!(%error, "CPU time not measured");
                        Input::CpuUnknown { pool }
                    }
                });
            }
            Output::MeasureMachine => return machine::memory().map(Input::MachineMeasured),
            Output::ReadConfig => {
                self.watch();
                let read = self.config.read_whole();
                return Some(Input::ConfigRead(self.noted(read)));
            }
            Output::EditConfig { client, changes } => {
                self.editor = Some(client);
                self.consequences = None;
                let result = self.config.edit(&changes);
                self.look_again_if_unsettled();
                return Some(Input::ConfigEdited { client, result });
            }
            Output::Answer { client, answer } => self.answer(client, answer),
            Output::Run(program) => {
                let Program {
                    executable,
                    parameters,
                    ..
                } = &*program;
                if let Err(error) = program::run(executable, parameters, &self.options.root) {
                    tracing::warn!(%executable, %error, "program not run");
                    return Some(Input::RunFailed(program));
                }
            }
            Output::Fact(fact) => self.fact(&fact),
            Output::Stopped => self.stopped = true,
        }
        None
    }

    /// What is wrong on a full disk is likely not to be in the diagnostics.
    fn say_if_written_again(&mut self, pool: &str, error: Option<&SpawnError>) {
        let is_unwritten = matches!(error, Some(SpawnError::Configuration(_)));
        if !is_unwritten && self.unwritten.remove(pool) {
            tracing::warn!(%pool, "the pool's configuration is written again");
        } else if is_unwritten {
            self.unwritten.insert(pool.to_owned());
        }
    }

    /// Stops or continues a worker. Only a process that has not been reaped is meant: its pid is its own.
    fn signal(&self, pid: ProcessId, signal: Signal) {
        if self.workers.contains_key(&pid)
            && let Some(process) = Pid::from_raw(pid.0.cast_signed())
            && let Err(error) = kill_process(process, signal)
        {
            tracing::warn!(pid = pid.0, ?signal, %error, "worker process not signalled");
        }
    }

    fn read_configuration(&mut self) -> Result<config::Configuration, String> {
        let read = self.config.read();
        self.noted(read)
    }

    fn noted(
        &mut self,
        configuration: Result<config::Configuration, String>,
    ) -> Result<config::Configuration, String> {
        self.look_again_if_unsettled();
        let configuration = configuration?;
        self.watch_folders_of(&configuration);
        Ok(configuration)
    }

    fn look_again_if_unsettled(&mut self) {
        let later = || tokio::time::Instant::now() + SETTLE;
        self.look_again = self.config.is_unsettled().then(later);
    }

    /// A new worker goes by what is on the disk now, whether or not a change of it was told yet.
    fn bring_up_to_date(&mut self, order: &mut Spawn) {
        let pool = order.configuration.pool.clone();
        let Some(configuration) = self.was.configuration() else {
            return;
        };
        let applications = configuration
            .sites
            .iter()
            .flat_map(|site| &site.applications);
        let of_pool = applications.filter(|a| a.application_pool.eq_ignore_ascii_case(&pool));
        let folders = of_pool
            .flat_map(|a| a.web_configs.iter().cloned())
            .collect();
        if !self.config.has_changed_in(&folders) {
            return;
        }
        let result = self.read_configuration();
        if result.is_err() && self.look_again.is_some() {
            return;
        }
        self.was
            .handle_input(Input::ConfigChanged(result), clock_now());
        if let Some(new) = self.was.applications_of(&pool) {
            new.clone_into(&mut order.configuration.applications);
        }
    }

    /// Begins to watch the configuration, if that was not done before; a machine without inotify, or one on which
    /// others have taken all that there is of it, goes on without.
    fn watch(&mut self) {
        if self.watch.is_some() {
            return;
        }
        let changes = self.news.clone();
        match Watch::begin(self.config.path(), &self.options.root, changes) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => {
                tracing::warn!(%error, "the configuration is not watched");
                self.was.handle_input(Input::ConfigNotWatched, clock_now());
            }
        }
    }

    /// A web.config may appear in the folder of any application.
    fn watch_folders_of(&self, configuration: &config::Configuration) {
        let Some(watch) = &self.watch else { return };
        let places = |folders: BTreeSet<String>| {
            let folders = folders.iter();
            folders
                .map(|folder| on_disk(folder, &self.options.root))
                .collect()
        };
        let folders = places(configuration.web_config_folders());
        watch.folders(folders, places(configuration.web_config_trees()));
    }

    fn configuration_changed(&mut self) {
        let result = self.read_configuration();
        if result.is_err() && self.look_again.is_some() {
            return;
        }
        self.input(Input::ConfigChanged(result));
    }

    fn keep_history(&mut self) {
        let now = tokio::time::Instant::now();
        if now < self.history_due {
            return;
        }
        let history = self.was.configuration().map(|c| c.config_history.clone());
        let history = history.unwrap_or_default();
        let kept = self.config.keep_history(&history);
        if let Err(error) = &kept
            && self.history_kept
        {
            tracing::warn!(%error, "no copy of the configuration for its history");
        }
        self.history_kept = kept.is_ok();
        self.history_due = now + history.period.max(Duration::from_secs(10));
    }

    fn answer(&mut self, client: ClientId, answer: Answer) {
        if client == BOOT {
            if let Answer::Refused(refusal) = answer
                && self.options.boot == Boot::Start
            {
                self.failure = Some(RunError::NotStarted(in_words(&refusal)));
                self.stopped = true;
            }
        } else if let Some(waiting) = self.clients.remove(&client) {
            let is_editor = self.editor.take_if(|editor| *editor == client).is_some();
            let consequences = self.consequences.take_if(|_| is_editor);
            let (was, is_refused) = (&self.was, matches!(answer, Answer::Refused(_)));
            let (outcome, later) = self.orders.answered(client, is_refused, || was.standing());
            waiting
                .send(Answered {
                    answer,
                    consequences,
                    outcome,
                    later,
                })
                .ok();
        }
    }

    fn fact(&mut self, fact: &Fact) {
        let was_stopped = Fact::ServiceState {
            service: Service::Was,
            status: ServiceStatus::Stopped,
        };
        if *fact == was_stopped {
            // Source: IIS docs, "Features of WAS": the folder is emptied when WAS stops.
            std::fs::remove_dir_all(pool_files(&self.options.root)).ok();
        }
        if let Fact::WorkerSpawned { process, pool } = fact {
            self.orders.spawned(process.0, pool);
        }
        if let Fact::ConfigurationChanged { .. } = fact {
            if self.editor.is_some() {
                self.consequences = Some(fact.clone());
            } else {
                self.audit.files_changed(fact);
            }
        }
        self.journal.write(fact, clock_now(), utc_now());
    }

    /// Nothing stays behind: sockets are removed, workers that still live are killed and reaped.
    async fn end(mut self) -> Result<(), RunError> {
        std::fs::remove_file(socket_path(&self.options.root)).ok();
        for worker in self.workers.values_mut().chain(&mut self.orphans) {
            worker.terminate();
        }
        self.clients.clear();
        self.orders.end(&self.was.standing());
        // Lets answers go out and killed workers be reaped before the event loop is dropped.
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.journal.flush();
        self.failure.map_or(Ok(()), Err)
    }
}

/// Assumed: W3SVC initializes the driver first (1173), then opens the control channel (1037); here both are one
/// connection, and a driver that was never loaded has no device.
fn no_device(error: &std::io::Error) -> Event {
    if error.kind() == std::io::ErrorKind::NotFound {
        Event::driver_missing()
    } else {
        Event::control_channel_not_opened()
    }
}

fn in_words(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotFound { object, identifier } => format!("there is no {object} {identifier}"),
        Refusal::Failed { hresult, message } => format!("{message} ({hresult:08x})"),
        Refusal::TimedOut => "it took too long".to_owned(),
    }
}
