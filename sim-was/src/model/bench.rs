//! The test bench: a driver, a machine and workers that do at once what they are told, unless a test
//! says otherwise. What happens is written down as short lines, e.g. `stop 1 Recycle drain`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use sim_httpsys::api::{
    Call, CallId, CallResult, Completion, ControlCall, ProcessId, QueueState, RequestQueueName,
    Win32Error,
};
use sim_httpsys::clockwork::{Instant, StateMachine};
use sim_worker::configuration::WorkerConfiguration;
use sim_worker::ipm::{FromWorker, ToWorker};

use super::{ClientId, CpuUse, Input, MachineMemory, Output, Parameters, SpawnError, Was};
use crate::config::edit::{self, Change};
use crate::config::{ApplicationPool, Configuration, load};
use crate::control::{Answer, Command, Service};
use crate::event_log::{Event, Fact, WorkerExit};

mod objects;

pub(super) use objects::{pool, site};

pub(super) const POOL: &str = "DefaultAppPool";

/// One server and everything around it.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch that tests turn"
)]
pub(super) struct Bench {
    pub(super) was: Was,
    pub(super) configuration: Configuration,
    /// Of which the configuration was read, if it was.
    pub(super) text: String,
    pub(super) now: Instant,
    /// What has happened, in order.
    pub(super) lines: Vec<String>,
    pub(super) answers: BTreeMap<u64, Answer>,
    /// Workers that live.
    pub(super) alive: BTreeMap<ProcessId, String>,
    /// Whether new workers say at once that they are ready.
    pub(super) starts: bool,
    /// Whether workers exit as soon as they are told to.
    pub(super) stops: bool,
    /// Whether workers tell their counters.
    pub(super) counts: bool,
    /// Whether workers say at once what is expected when they are suspended and resumed.
    pub(super) suspends: bool,
    /// In how long a worker that is suspended is to be woken.
    pub(super) wake_in: Option<Duration>,
    /// Whether processes can be created.
    pub(super) spawns: bool,
    /// Why the configuration of a pool cannot be written, if it cannot.
    pub(super) unwritable: Option<String>,
    /// How many lines there were at the last answer.
    pub(super) lines_at_answer: usize,
    /// What the last process was ordered with.
    pub(super) ordered: Option<WorkerConfiguration>,
    pub(super) refused_urls: BTreeSet<String>,
    /// Names of calls that the driver refuses.
    pub(super) refused_calls: BTreeSet<&'static str>,
    /// The events that were logged, in order.
    pub(super) said: Vec<Event>,
    pub(super) queues: BTreeMap<RequestQueueName, QueueState>,
    pub(super) armed: BTreeSet<RequestQueueName>,
    pub(super) stopped: bool,
    /// Whether programs of the administrator can be run.
    pub(super) runs: bool,
    /// Workers that WAS has abandoned.
    pub(super) orphans: BTreeSet<ProcessId>,
    /// Workers that do not run.
    pub(super) frozen: BTreeSet<ProcessId>,
    /// CPU time that workers have used.
    pub(super) cpu: BTreeMap<ProcessId, Duration>,
    /// Whether others want the processor.
    pub(super) contended: bool,
    pub(super) memory: MachineMemory,
    pids: u32,
    clients: u64,
}

pub(super) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What the driver was told of the queue of [`POOL`].
pub(super) fn queue_state(bench: &Bench) -> QueueState {
    bench.queues[&RequestQueueName(POOL.to_owned())]
}

/// A server with one site and [`POOL`].
pub(super) fn server() -> Bench {
    let configuration = Configuration {
        application_pools: vec![pool(POOL)],
        sites: vec![site("Default Web Site", 1, 80, POOL)],
        ..Configuration::default()
    };
    Bench {
        was: Was::new(Parameters::new(PathBuf::from("/c"), 2)),
        configuration,
        text: String::new(),
        now: Instant(1_000_000_000),
        lines: Vec::new(),
        answers: BTreeMap::new(),
        alive: BTreeMap::new(),
        starts: true,
        stops: true,
        counts: true,
        suspends: true,
        wake_in: None,
        spawns: true,
        unwritable: None,
        lines_at_answer: 0,
        ordered: None,
        refused_urls: BTreeSet::new(),
        refused_calls: BTreeSet::new(),
        said: Vec::new(),
        queues: BTreeMap::new(),
        armed: BTreeSet::new(),
        stopped: false,
        runs: true,
        orphans: BTreeSet::new(),
        frozen: BTreeSet::new(),
        cpu: BTreeMap::new(),
        contended: true,
        memory: MachineMemory {
            committed: 0,
            physical: 8 << 30,
            free: 8 << 30,
        },
        pids: 0,
        clients: 0,
    }
}

/// A server with this configuration.
pub(super) fn server_of(text: &str) -> Bench {
    Bench {
        configuration: load(text, "f").unwrap(),
        text: text.to_owned(),
        ..server()
    }
}

impl Bench {
    /// Changes the (first) pool before the server is started.
    pub(super) fn with_pool(mut self, change: impl FnOnce(&mut ApplicationPool)) -> Self {
        change(&mut self.configuration.application_pools[0]);
        self
    }

    /// Behaves like another version of IIS.
    pub(super) fn with_personality(mut self, personality: super::Personality) -> Self {
        let mut parameters = Parameters::new(PathBuf::from("/c"), 2);
        parameters.personality = personality;
        self.was = Was::new(parameters);
        self
    }

    /// Starts both services.
    pub(super) fn up(mut self) -> Self {
        let services = vec![Service::Was, Service::W3svc];
        let answer = self.ask(Command::StartServices { services });
        assert_eq!(answer, Some(Answer::Done));
        self.lines.clear();
        self
    }

    /// A server whose first request has brought worker 1.
    pub(super) fn up_with_worker(self) -> Self {
        let mut bench = self.up();
        bench.request(POOL);
        bench.lines.clear();
        bench
    }

    /// Gives a command; the answer, if it came at once.
    pub(super) fn ask(&mut self, command: Command) -> Option<Answer> {
        self.clients += 1;
        let client = ClientId(self.clients);
        self.input(Input::Commanded { client, command });
        self.answers.get(&self.clients).cloned()
    }

    /// The answer to the latest command, if it has come by now.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answers.get(&self.clients).cloned()
    }

    pub(super) fn every_command_was_answered(&self) -> bool {
        self.answers.len() as u64 == self.clients
    }

    pub(super) fn recycle(&mut self, pool: &str) -> Option<Answer> {
        let name = pool.to_owned();
        self.ask(Command::RecycleApplicationPool { name })
    }

    pub(super) fn iisreset(&mut self) -> (Option<Answer>, Option<Answer>) {
        let services = vec![Service::Was, Service::W3svc];
        let stop = self.ask(Command::StopServices {
            services: services.clone(),
            timeout_ms: 20_000,
            force: true,
            reset_by: None,
        });
        (stop, self.ask(Command::StartServices { services }))
    }

    /// Edits the configuration, as appcmd does.
    fn edit(&mut self, changes: &[Change]) -> Result<Configuration, String> {
        let text = edit::apply(&self.text, changes).map_err(|error| error.to_string())?;
        self.configuration = load(&text, "f").map_err(|error| error.to_string())?;
        self.text = text;
        Ok(self.configuration.clone())
    }

    /// A request arrives for which no worker has a receive.
    pub(super) fn request(&mut self, pool: &str) {
        let queue = RequestQueueName(pool.to_owned());
        if self.armed.remove(&queue) {
            self.input(Input::Completed(Completion::DemandStart { queue }));
        }
    }

    pub(super) fn tell(&mut self, pid: u32, message: FromWorker) {
        let pid = ProcessId(pid);
        self.input(Input::Told { pid, message });
    }

    pub(super) fn ready(&mut self, pid: u32) {
        self.tell(pid, FromWorker::Ready);
    }

    /// A worker ends.
    pub(super) fn exit(&mut self, pid: u32, exit: WorkerExit) {
        let pid = ProcessId(pid);
        self.alive.remove(&pid);
        self.input(Input::Exited { pid, exit });
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(deadline) = self.was.next_deadline().filter(|d| d.at <= end) {
            self.now = self.now.max(deadline.at);
            self.was.handle_deadline(self.now);
            self.drive();
        }
        self.now = end;
    }

    pub(super) fn input(&mut self, input: Input) {
        self.was.handle_input(input, self.now);
        self.drive();
    }

    /// The ids of the events that were logged.
    pub(super) fn events(&self) -> Vec<u16> {
        let ids = self
            .lines
            .iter()
            .filter_map(|line| line.strip_prefix("event "));
        ids.filter_map(|id| id.parse().ok()).collect()
    }

    /// The place of a line in what has happened.
    pub(super) fn place(&self, line: &str) -> usize {
        self.lines
            .iter()
            .position(|l| l == line)
            .unwrap_or_else(|| panic!("{line:?} is not in {:#?}", self.lines))
    }

    pub(super) fn has(&self, line: &str) -> bool {
        self.lines.iter().any(|l| l == line)
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.alive.keys().map(|pid| pid.0).collect()
    }

    fn drive(&mut self) {
        loop {
            let mut outputs = Vec::new();
            while let Some(output) = self.was.poll_output() {
                outputs.push(output);
            }
            if outputs.is_empty() {
                return;
            }
            let mut inputs = Vec::new();
            for output in outputs {
                self.carry_out(output, &mut inputs);
            }
            for input in inputs {
                self.was.handle_input(input, self.now);
            }
        }
    }

    fn carry_out(&mut self, output: Output, inputs: &mut Vec<Input>) {
        match output {
            Output::Call(Call::Control { id, call }) => {
                self.called(id, call, inputs);
            }
            Output::Call(call) => panic!("a controller never makes the call {call:?}"),
            Output::Tell { pid, message } => self.told(pid, &message, inputs),
            Output::Spawn(spawn) => {
                self.ordered = Some(spawn.configuration.clone());
                self.lines.push(format!("spawn {}", spawn.arguments.pool));
                if let Some(error) = self.unwritable.clone() {
                    let (spawn, result) = (spawn.spawn, Err(SpawnError::Configuration(error)));
                    return inputs.push(Input::Spawned { spawn, result });
                }
                if !self.spawns {
                    let error = SpawnError::Process("no memory".to_owned());
                    let (spawn, result) = (spawn.spawn, Err(error));
                    return inputs.push(Input::Spawned { spawn, result });
                }
                self.pids += 1;
                let pid = ProcessId(self.pids);
                self.alive.insert(pid, spawn.arguments.pool);
                let (spawn, result) = (spawn.spawn, Ok(pid));
                inputs.push(Input::Spawned { spawn, result });
                if self.starts {
                    let message = FromWorker::Ready;
                    inputs.push(Input::Told { pid, message });
                }
            }
            Output::Terminate { pid } => {
                self.lines.push(format!("kill {}", pid.0));
                if self.alive.remove(&pid).is_some() {
                    let exit = WorkerExit::Signal(9);
                    inputs.push(Input::Exited { pid, exit });
                }
            }
            Output::ReadConfig => {
                self.lines.push("read configuration".to_owned());
                inputs.push(Input::ConfigRead(Ok(self.configuration.clone())));
            }
            Output::EditConfig { client, changes } => {
                let result = self.edit(&changes);
                inputs.push(Input::ConfigEdited { client, result });
            }
            Output::Answer { client, answer } => {
                self.lines_at_answer = self.lines.len();
                let before = self.answers.insert(client.0, answer);
                assert!(before.is_none(), "one answer for {client:?}");
            }
            Output::Run(program) => {
                let line = format!("run {} {}", program.executable, program.parameters);
                self.lines.push(line.trim_end().to_owned());
                if !self.runs {
                    inputs.push(Input::RunFailed(program));
                }
            }
            Output::Orphan { pid } => {
                self.lines.push(format!("orphan {}", pid.0));
                self.orphans.insert(pid);
            }
            Output::Freeze { pid, reason } => {
                self.lines.push(format!("freeze {} {reason:?}", pid.0));
                self.frozen.insert(pid);
            }
            Output::Thaw { pid } => {
                self.lines.push(format!("thaw {}", pid.0));
                self.frozen.remove(&pid);
            }
            Output::MeasureCpu { pool, pids } => {
                let used = |pid: ProcessId| (pid, self.cpu.get(&pid).copied().unwrap_or_default());
                let cpu = CpuUse {
                    used: pids.into_iter().map(used).collect(),
                    is_contended: self.contended,
                };
                inputs.push(Input::CpuMeasured { pool, cpu });
            }
            Output::MeasureMachine => {
                inputs.push(Input::MachineMeasured(self.memory));
            }
            Output::Fact(fact) => {
                self.stated(&fact);
                if let Fact::Event(event) = fact {
                    self.said.push(event);
                }
            }
            Output::Stopped => self.stopped = true,
        }
    }

    fn called(&mut self, id: CallId, call: ControlCall, inputs: &mut Vec<Input>) {
        let text = format!("{call:?}");
        let word = text.split_whitespace().next().unwrap_or_default();
        if self.refused_calls.contains(word) {
            let result = Err(Win32Error::InvalidIdAuthority);
            return inputs.push(Input::Completed(Completion::Called { id, result }));
        }
        let mut result = Ok(CallResult::Done);
        match call {
            ControlCall::CreateRequestQueue { name, properties } => {
                self.lines.push(format!("create queue {name}"));
                self.queues.insert(name, properties.state);
            }
            ControlCall::SetRequestQueueProperties { queue, properties } => {
                self.lines
                    .push(format!("queue {queue} {:?}", properties.state));
                self.queues.insert(queue, properties.state);
            }
            ControlCall::CloseRequestQueue { queue } => {
                self.lines.push(format!("close queue {queue}"));
                self.queues.remove(&queue);
                self.armed.remove(&queue);
            }
            ControlCall::CloseUrlGroup { group } => {
                self.lines
                    .push(format!("close group of site {}", group.0 >> 32));
            }
            ControlCall::AddUrl { url, .. } if self.refused_urls.contains(&url) => {
                result = Err(Win32Error::SharingViolation);
            }
            ControlCall::AddUrl { url, .. } => self.lines.push(format!("add {url}")),
            ControlCall::MoveUrl { url, .. } => self.lines.push(format!("move {url}")),
            ControlCall::WaitForDemandStart { queue } => {
                if !self.armed.insert(queue) {
                    result = Err(Win32Error::AlreadyExists);
                }
            }
            ControlCall::CreateUrlGroup { properties, .. }
            | ControlCall::SetUrlGroupProperties { properties, .. } => {
                let (site, header_wait) = (properties.site.0, properties.timeouts.header_wait);
                if header_wait > 0 {
                    let line = format!("site {site} waits {header_wait} s for headers");
                    self.lines.push(line);
                }
            }
            ControlCall::RemoveUrl { .. }
            | ControlCall::FlushResponseCache { .. }
            | ControlCall::QueryServiceState
            | ControlCall::QueryCounters
            | ControlCall::OpenRequestQueue { .. }
            | ControlCall::ShutdownRequestQueue
            | ControlCall::CancelReceives => {}
            ControlCall::DisownProcess { process } => {
                self.lines.push(format!("disown {}", process.0));
            }
        }
        inputs.push(Input::Completed(Completion::Called { id, result }));
    }

    fn told(&mut self, pid: ProcessId, message: &ToWorker, inputs: &mut Vec<Input>) {
        match *message {
            ToWorker::Ping { sequence } => {
                self.lines.push(format!("ping {} {sequence}", pid.0));
            }
            ToWorker::Shutdown { reason, drain } => {
                let drain = if drain { "drain" } else { "at once" };
                self.lines
                    .push(format!("stop {} {reason:?} {drain}", pid.0));
                if self.stops && self.alive.remove(&pid).is_some() {
                    inputs.push(Input::PipeClosed { pid });
                    let exit = WorkerExit::Code(0);
                    inputs.push(Input::Exited { pid, exit });
                }
            }
            ToWorker::Suspend => {
                self.lines.push(format!("suspend {}", pid.0));
                if self.suspends {
                    let wake_in = self.wake_in;
                    let message = FromWorker::Suspended { wake_in };
                    inputs.push(Input::Told { pid, message });
                }
            }
            ToWorker::Resume => {
                self.lines.push(format!("resume {}", pid.0));
                if self.suspends {
                    let message = FromWorker::Resumed;
                    inputs.push(Input::Told { pid, message });
                }
            }
            ToWorker::SetIdleTimeout { timeout } => {
                self.lines
                    .push(format!("idle timeout {} {timeout:?}", pid.0));
            }
            ToWorker::ApplicationChanged {
                ref application,
                restart,
            } => {
                let word = if restart { "restart" } else { "change" };
                let path = &application.path;
                self.lines
                    .push(format!("{word} {} {}{path}", pid.0, application.site_name));
            }
            ToWorker::ApplicationRemoved { url_context } => {
                self.lines
                    .push(format!("remove {} {}", pid.0, url_context.0 & 0xFFFF_FFFF));
            }
            ToWorker::ListRequests { token } => {
                self.lines.push(format!("list {} {token}", pid.0));
            }
            ToWorker::QueryCounters { token } => {
                let counters = Box::default();
                let message = FromWorker::Counters { token, counters };
                if self.counts {
                    inputs.push(Input::Told { pid, message });
                }
            }
        }
    }

    fn stated(&mut self, fact: &Fact) {
        self.lines.push(match fact {
            Fact::Event(event) => format!("event {}", event.id),
            Fact::WorkerReady { process } => format!("ready {}", process.0),
            Fact::WorkerExited { process, .. } => format!("exited {}", process.0),
            Fact::ServiceState { service, status } => format!("{} {status:?}", service.name()),
            Fact::ConfigurationChanged {
                recycled,
                restarted,
                ..
            } => format!("changed, recycles {recycled:?}, restarts {restarted:?}"),
            Fact::PoolState { pool, state } => format!("pool {pool} {state}"),
            Fact::WorkerSpawned { .. }
            | Fact::WorkerStopOrdered { .. }
            | Fact::WorkerKilled { .. }
            | Fact::WorkerOrphaned { .. }
            | Fact::WorkerSuspended { .. }
            | Fact::WorkerResumed { .. }
            | Fact::CommandAccepted { .. } => format!("{fact:?}"),
        });
    }
}
