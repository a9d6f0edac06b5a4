//! The world: the machines, and the table that says whose output is whose input.
//!
//! ```text
//!             Up ──────────►           Called ◄──────── Call
//!   clients                  HttpSys                             WorkerProcess (each)
//!             ◄──────── Down           Complete ──────► Completed    │  ▲
//!                              ▲ │                                   │  │
//!                              │ └─ Completed ─► Was ◄──── Told ─────┘  │
//!                              └────── Called ──     ──── Tell ─────────┘
//! ```
//!
//! One event is handled at a time; every output of a machine is carried out before its next input.
//! Between machines everything travels on a wire; what a machine asks of its own plumbing (open a
//! socket, read the configuration, create a process) is answered at once, as it is live.
//!
//! * `driver` – what reaches `HttpSys`, and what becomes of its outputs
//! * `services` – the same of `Was`
//! * `workers` – the same of each `WorkerProcess`, and how processes come and go

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use sim_httpsys::api::{ConnectionId, Endpoint, ProcessId};
use sim_httpsys::clockwork::{Instant, StateMachine, UtcClock, UtcTime};
use sim_httpsys::model::{HttpSys, Input as ToHttpSys};
use sim_was::config::{ConfigError, Configuration, load};
use sim_was::control::Answer;
use sim_was::event_log::WorkerExit;
use sim_was::model::{ClientId, Input as ToWasModel, Parameters, Personality, Was};
use sim_worker::model::{Input as ToWorkerModel, Outcome, WorkId};

use super::checkers::Broken;
use super::checkers::coverage::Coverage;
use super::chronicle::{Chronicle, Keeping};
use super::clients::Clients;
use super::costs::{Cost, Costs};
use super::faults::{Fate, Faults};
use super::interruption::is_seen_at;
use super::machine::{Cores, Files};
use super::network::{Connection, Network};
use super::processes::{Processes, ToWas};
use super::track::{Track, Watch};
use super::wires::{Alarm, Timeline};

mod controller;
mod driver;
mod reading;
mod services;
mod workers;

use controller::Controller;

/// When the machine was switched on: 2026-01-01T00:00:00Z.
pub(super) const SWITCHED_ON: UtcTime = UtcTime(1_767_225_600_000_000_000);

/// From one look at the run to the next, as the live generator tells its progress.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What happens at a moment. Messages wait in their wires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    WakeHttpSys,
    WakeWas,
    WakeWorker(ProcessId),
    /// Something has arrived at the driver's end of a connection.
    Up(ConnectionId),
    /// Something has arrived at the client's end.
    Down(ConnectionId),
    /// What the driver sent has gone, to a client that reads late. To others it has gone at once.
    Sent(ConnectionId),
    /// The driver's end of a TLS handshake is through.
    Secured {
        connection: ConnectionId,
        resumed: bool,
    },
    /// Something of a process has arrived at the driver.
    AtDriver(ProcessId),
    /// Something of the driver has arrived at a process.
    FromDriver(ProcessId),
    /// Something of a worker has arrived at WAS.
    AtWas(ProcessId),
    /// Something of WAS has arrived at a worker.
    FromWas(ProcessId),
    /// A process begins to run.
    Boot(ProcessId),
    /// A core's turn is over.
    TurnOver {
        core: u32,
        turn: u32,
    },
    /// A file was read.
    FileRead {
        process: ProcessId,
        work: WorkId,
    },
    /// A process that was told to stop ends at last.
    Exit {
        process: ProcessId,
        code: i32,
    },
    /// A client has had enough of an attempt.
    GiveUp(ConnectionId),
    /// The next attempt of the plan is due.
    Launch,
    /// The oldest attempts may have waited for too long.
    PatienceOver {
        probe: bool,
    },
    /// The service control manager starts WAS again.
    ReviveWas,
    /// WAS, that process of it, goes on.
    ThawWas(ProcessId),
    /// It is time to look at the run.
    Look,
    /// A moment that somebody outside waits for.
    Reached,
}

/// What somebody outside of the world is told.
#[derive(Debug)]
pub(super) enum Notice {
    /// It is time to look.
    Look,
    /// A command was answered.
    Answered(ClientId, Answer),
    /// The moment has come that was asked for.
    Reached,
    /// WAS has ended.
    Stopped,
    /// Nothing will ever happen again.
    Silence,
    /// An invariant does not hold.
    Broken(Broken),
    /// Somebody wants an end of all worlds.
    Interrupted,
}

/// How an applicationHost.config is read.
pub(super) struct Reader(ReadText);

type ReadText = Box<dyn Fn(&str) -> Result<Configuration, ConfigError>>;

impl Reader {
    /// As `read` says.
    pub(super) fn new(read: impl Fn(&str) -> Result<Configuration, ConfigError> + 'static) -> Self {
        Self(Box::new(read))
    }

    fn read(&self, text: &str) -> Result<Configuration, ConfigError> {
        (self.0)(text)
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new(|text| load(text, "applicationHost.config"))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

/// What a world is made of.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub(super) costs: &'a Costs,
    pub(super) seed: u64,
    pub(super) httpsys: sim_httpsys::model::Parameters,
    pub(super) configuration: Configuration,
    /// The file that says so, for those who edit it.
    pub(super) configuration_text: String,
    /// How that file is read when it was edited.
    pub(super) reader: Reader,
    pub(super) root: PathBuf,
    pub(super) files: Files,
    pub(super) clients: Clients,
    pub(super) faults: Faults,
    pub(super) keeping: Keeping,
    pub(super) watch: Watch,
    pub(super) personality: Personality,
}

/// The whole server and its clients.
#[derive(Debug)]
pub(super) struct World {
    pub(super) timeline: Timeline,
    pub(super) clients: Clients,
    network: Network,
    httpsys: HttpSys,
    httpsys_alarm: Alarm,
    /// Connections whose client has taken at once what was sent on them, and of which the driver is still to hear so.
    gone: VecDeque<ConnectionId>,
    /// Connections that the driver reads from again.
    readable: VecDeque<ConnectionId>,
    endpoints: BTreeSet<Endpoint>,
    was: Was,
    was_alarm: Alarm,
    parameters: Parameters,
    controller: Controller,
    processes: Processes,
    cores: Cores,
    hop_cpu: Duration,
    connection_cpu: Duration,
    files: Files,
    configuration: Configuration,
    configuration_text: String,
    reader: Reader,
    worker_memory: u64,
    memory_peak: u64,
    look_every: Duration,
    clock: UtcClock,
    chronicle: Chronicle,
    fate: Fate,
    notices: VecDeque<Notice>,
    commands: u64,
}

impl World {
    pub(super) fn new(setting: Setting<'_>) -> Self {
        let clock = UtcClock {
            switched_on: SWITCHED_ON,
        };
        let mut parameters = Parameters::new(setting.root, setting.costs.cores);
        parameters.personality = setting.personality;
        let mut world = Self {
            timeline: Timeline::new(setting.costs, setting.seed),
            clients: misbehaving(setting.clients, &setting.faults, setting.seed),
            network: Network::default(),
            httpsys_alarm: Alarm::default(),
            gone: VecDeque::new(),
            readable: VecDeque::new(),
            endpoints: BTreeSet::new(),
            was: Was::new(parameters.clone()),
            was_alarm: Alarm::default(),
            parameters,
            controller: Controller::default(),
            processes: Processes::default(),
            cores: Cores::new(setting.costs.cores),
            hop_cpu: setting.costs.hop_cpu,
            connection_cpu: setting.costs.connection_cpu,
            files: setting.files,
            chronicle: Chronicle::new(
                clock,
                &setting.configuration,
                &setting.httpsys,
                setting.personality,
                setting.watch,
                setting.keeping,
            ),
            httpsys: HttpSys::new(setting.httpsys, clock),
            configuration: setting.configuration,
            configuration_text: setting.configuration_text,
            reader: setting.reader,
            worker_memory: setting.costs.worker_memory,
            memory_peak: 0,
            look_every: LOOK_EVERY,
            clock,
            fate: Fate::new(setting.faults, setting.seed),
            notices: VecDeque::new(),
            commands: 0,
        };
        let process = world.controller.id;
        world.tell_httpsys(ToHttpSys::Attached { process });
        world
    }

    // --- what somebody outside may do ---------------------------------------------------------------

    /// Lets time pass until there is something to be told.
    pub(super) fn run(&mut self) -> Notice {
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return notice;
            }
            let Some(event) = self.timeline.next() else {
                return Notice::Silence;
            };
            if is_seen_at(self.timeline.events) {
                return Notice::Interrupted;
            }
            self.handle(event);
            if let Some(broken) = self.chronicle.broken() {
                return Notice::Broken(broken.clone());
            }
        }
    }

    /// Faults are over.
    pub(super) fn be_quiet(&mut self) {
        self.fate.be_quiet();
        self.clients.behave();
        if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.be_quiet(self.timeline.now);
        }
    }

    /// Everything has to come to rest from now on.
    pub(super) fn begin_rest(&mut self) {
        if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.begin_rest();
        }
    }

    /// Nothing may be under way now; `false` if more time is needed for what there is to do.
    pub(super) fn check_rest(&mut self) -> Result<bool, Broken> {
        let checkers = self.chronicle.checkers.as_mut();
        let is_over = checkers.is_none_or(|checkers| checkers.at_rest(&self.httpsys));
        self.check().map(|()| is_over)
    }

    /// WAS has ended: nothing of it may be left.
    pub(super) fn check_end(&mut self) -> Result<(), Broken> {
        let alive = self.processes.alive().count();
        self.chronicle.check_end(alive);
        self.check()
    }

    fn check(&self) -> Result<(), Broken> {
        let broken = self.chronicle.broken();
        broken.map_or(Ok(()), |broken| Err(broken.clone()))
    }

    /// What was seen, and how often.
    pub(super) fn sometimes(&self) -> BTreeMap<&'static str, u64> {
        let checkers = self.chronicle.checkers.as_ref();
        checkers.map_or_else(BTreeMap::new, |checkers| checkers.sometimes().clone())
    }

    /// Bytes of the bodies that were sent as whole responses, by the clients' names for their requests.
    pub(super) fn bodies(&self) -> BTreeMap<u64, u64> {
        let checkers = self.chronicle.checkers.as_ref();
        checkers.map_or_else(BTreeMap::new, |checkers| checkers.bodies().clone())
    }

    /// Since when which pool had the root of the first site; none while the driver was being told of a change.
    pub(super) fn root_led_to(&self) -> Vec<(Instant, Option<String>)> {
        let checkers = self.chronicle.checkers.as_ref();
        checkers.map_or_else(Vec::new, |checkers| checkers.root_led_to())
    }

    /// Requests that were answered by a worker that was made to, by the clients' names for them.
    pub(super) fn lied_to(&self) -> BTreeSet<u64> {
        let checkers = self.chronicle.checkers.as_ref();
        checkers.map_or_else(BTreeSet::new, |checkers| checkers.lied_to().clone())
    }

    /// Which events have met which states.
    pub(super) fn coverage(&self) -> Coverage {
        let checkers = self.chronicle.checkers.as_ref();
        checkers.map_or_else(Coverage::default, |checkers| checkers.coverage().clone())
    }

    /// The digest of all facts so far.
    pub(super) fn digest(&self) -> u64 {
        self.chronicle.digest()
    }

    pub(super) fn now(&self) -> Instant {
        self.timeline.now
    }

    /// Begins the load at `start`, and the looks.
    pub(super) fn go(&mut self, start: Instant) {
        self.clients
            .go(start, &mut self.network, &mut self.timeline);
        self.timeline.at(start, Event::Look);
    }

    /// Ends the clients; gives their book.
    pub(super) fn close_book(&mut self) -> crate::load::Book {
        let book = self.clients.close_book(self.timeline.now);
        self.network.hang_up_clients(&mut self.timeline);
        book
    }

    /// A notice at that moment.
    pub(super) fn remind(&mut self, at: Instant) {
        self.timeline.at(at, Event::Reached);
    }

    /// Notices [`Notice::Reached`] when an administrator's tool could give its next command.
    pub(super) fn remind_of_command(&mut self) {
        let hop = self.timeline.draw(Cost::CommandHop);
        self.timeline.after(hop, Event::Reached);
    }

    /// From one look to the next: seldom, where nobody waits for a steady state.
    pub(super) fn look_every(&mut self, interval: Duration) {
        self.look_every = interval;
    }

    /// How many worker processes are alive.
    pub(super) fn workers(&mut self) -> usize {
        self.processes.alive().count()
    }

    /// The most memory that all worker processes have held together, since it is measured.
    pub(super) fn memory_peak(&self) -> u64 {
        self.memory_peak
    }

    /// What was held before is of no account any more.
    pub(super) fn measure_memory_anew(&mut self) {
        self.memory_peak = self.memory_held();
    }

    /// A worker process holds more memory than before.
    fn memory_grew(&mut self) {
        self.memory_peak = self.memory_peak.max(self.memory_held());
    }

    /// The memory that all worker processes hold together.
    fn memory_held(&mut self) -> u64 {
        self.processes
            .alive()
            .map(super::processes::Process::held)
            .sum()
    }

    /// kill -9 of every worker of a pool; gives how many there were.
    pub(super) fn kill_workers(&mut self, pool: &str) -> usize {
        let of_pool = self.processes.alive().filter(|p| p.pool == pool);
        let ids: Vec<ProcessId> = of_pool.map(|process| process.id).collect();
        for id in &ids {
            self.end_process(*id, WorkerExit::Signal(9));
        }
        ids.len()
    }

    /// SIGSTOP of every worker of a pool; gives how many there were.
    pub(super) fn hang_workers(&mut self, pool: &str) -> usize {
        let of_pool = self.processes.alive().filter(|p| p.pool == pool);
        let ids: Vec<ProcessId> = of_pool.map(|process| process.id).collect();
        for id in &ids {
            if let Some(process) = self.processes.find(*id) {
                process.hangs = true;
            }
        }
        ids.len()
    }

    /// Every file is written to, now.
    pub(super) fn change_content(&mut self) {
        self.files.write_all(self.clock.utc(self.timeline.now).0);
        if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.content_changed(self.timeline.now);
        }
    }

    /// The clock of the machine is set by so many seconds. Only workers ask for the time of day; logs keep
    /// the time that they began with.
    pub(super) fn set_clock(&mut self, seconds: i64) {
        let by = Duration::from_secs(seconds.unsigned_abs());
        let now = self.clock.utc(self.timeline.now).0;
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let utc = if seconds < 0 {
            now.saturating_sub(nanos)
        } else {
            now.saturating_add(nanos)
        };
        self.clock = UtcClock::reading(UtcTime(utc), self.timeline.now);
        let alive: Vec<ProcessId> = self.processes.alive().map(|process| process.id).collect();
        for process in alive {
            self.tell_worker(process, ToWorkerModel::ClockSet(self.clock));
        }
    }

    /// Everything that was written down, and what was kept to compare it by.
    pub(super) fn close(self) -> (crate::measure::Observation, Track) {
        self.chronicle.close()
    }

    // --- the table ----------------------------------------------------------------------------------

    fn handle(&mut self, event: Event) {
        let now = self.timeline.now;
        if self.controller.keeps(event) {
            return;
        }
        match event {
            Event::WakeHttpSys => {
                if self.httpsys_alarm.is_it(now) {
                    if is_due(&self.httpsys, now) {
                        self.httpsys.handle_deadline(now);
                    }
                    self.carry_out_httpsys();
                }
            }
            Event::WakeWas => {
                if self.was_alarm.is_it(now) {
                    if is_due(&self.was, now) {
                        self.was.handle_deadline(now);
                    }
                    self.carry_out_was();
                }
            }
            Event::WakeWorker(id) => self.wake_worker(id),
            Event::Up(connection) => self.up(connection),
            Event::Down(id) => {
                let message = self.network.find(id).and_then(Connection::take_down);
                if let Some(message) = message {
                    self.clients
                        .received(id, message, &mut self.network, &mut self.timeline);
                    self.network.settle(id, now);
                }
            }
            Event::Sent(connection) => self.sent(connection),
            Event::Secured {
                connection,
                resumed,
            } => self.secured(connection, resumed),
            Event::AtDriver(id) => self.at_driver(id),
            Event::FromDriver(id) if id == self.controller.id => {
                if let Some(completion) = self.controller.completions.take() {
                    self.tell_was(ToWasModel::Completed(completion));
                }
            }
            Event::FromDriver(id) => {
                if let Some(process) = self.processes.find(id).filter(|p| p.frozen) {
                    process.undelivered += 1;
                    return;
                }
                let message = self.processes.find(id).and_then(|p| p.from_driver.take());
                if let Some(completion) = message {
                    self.tell_worker(id, ToWorkerModel::Completed(completion));
                }
            }
            Event::AtWas(pid) => match self.processes.find(pid).and_then(|p| p.to_was.take()) {
                Some(ToWas::Word(message)) => {
                    if let Some(checkers) = &mut self.chronicle.checkers {
                        checkers.told(pid, &message);
                    }
                    self.tell_was(ToWasModel::Told { pid, message });
                }
                Some(ToWas::Nonsense) => self.tell_was(ToWasModel::Garbled { pid }),
                Some(ToWas::Cut) => self.tell_was(ToWasModel::PipeClosed { pid }),
                Some(ToWas::Exited(exit)) => self.tell_was(ToWasModel::Exited { pid, exit }),
                None => {}
            },
            Event::FromWas(id) => self.at_worker(id),
            Event::Boot(id) => self.boot(id),
            Event::TurnOver { core, turn } => {
                if let Some((id, work)) = self.cores.turn_over(core, turn, &mut self.timeline) {
                    let outcome = Outcome::Done { memory: Vec::new() };
                    self.tell_worker(id, ToWorkerModel::WorkDone { work, outcome });
                }
            }
            Event::FileRead { process, work } => self.file_read(process, work),
            Event::Exit { process, code } => self.end_process(process, WorkerExit::Code(code)),
            Event::GiveUp(id) => {
                let (network, timeline) = (&mut self.network, &mut self.timeline);
                self.clients.give_up_in_time(id, network, timeline);
            }
            Event::Launch => self.clients.launch(&mut self.network, &mut self.timeline),
            Event::PatienceOver { probe } => {
                self.clients
                    .patience_over(probe, &mut self.network, &mut self.timeline);
            }
            Event::ReviveWas => self.revive_was(),
            Event::ThawWas(id) => self.thaw_was(id),
            Event::Look => {
                self.timeline.after(self.look_every, Event::Look);
                if let Some(checkers) = &mut self.chronicle.checkers {
                    checkers.look(now);
                }
                self.notices.push_back(Notice::Look);
            }
            Event::Reached => self.notices.push_back(Notice::Reached),
        }
    }
}

fn misbehaving(mut clients: Clients, faults: &Faults, seed: u64) -> Clients {
    clients.misbehave(faults, seed);
    clients
}

/// Whether a machine wants to be woken by now.
fn is_due<M: StateMachine>(machine: &M, now: Instant) -> bool {
    machine
        .next_deadline()
        .is_some_and(|deadline| deadline.at <= now)
}
