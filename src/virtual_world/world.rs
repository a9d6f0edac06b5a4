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

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;

use sim_httpsys::api::{Call, Completion, ConnectionId, Endpoint, ProcessId};
use sim_httpsys::clockwork::{Instant, StateMachine, UtcClock, UtcTime};
use sim_httpsys::model::{CloseHow, HttpSys, Input as ToHttpSys, Output as FromHttpSys};
use sim_was::config::Configuration;
use sim_was::control::{Answer, Command};
use sim_was::event_log::WorkerExit;
use sim_was::model::{ClientId, Input as ToWasModel, Output as FromWas, Parameters, Spawn, Was};
use sim_worker::model::{
    Death, Input as ToWorkerModel, Outcome, Output as FromWorkerModel, Work, WorkId, WorkerProcess,
};

use super::checkers::Broken;
use super::chronicle::Chronicle;
use super::clients::Clients;
use super::costs::{Cost, Costs};
use super::faults::{Fate, Faults, Strike};
use super::machine::{Cores, Files};
use super::network::{ClientSide, Connection, Down, Network, ServerSide, Up};
use super::processes::{Life, Processes, ToDriver, ToWas};
use super::track::{Track, Watch};
use super::wires::{Alarm, Timeline, Wire};

/// The process that controls the driver: WAS. Assumed: its id, as Windows gives low ones to services.
const CONTROLLER: ProcessId = ProcessId(4);

/// When the machine was switched on: 2026-01-01T00:00:00Z.
pub(super) const SWITCHED_ON: UtcTime = UtcTime(1_767_225_600_000_000_000);

/// From one look at the run to the next, as the live generator tells its progress.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

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
    /// What the driver sent has gone.
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
    /// The next attempt of the plan is due.
    Launch,
    /// The oldest attempts may have waited for too long.
    PatienceOver {
        probe: bool,
    },
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
}

/// What a world is made of.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub(super) costs: &'a Costs,
    pub(super) seed: u64,
    pub(super) httpsys: sim_httpsys::model::Parameters,
    pub(super) configuration: Configuration,
    pub(super) root: PathBuf,
    pub(super) files: Files,
    pub(super) clients: Clients,
    pub(super) faults: Faults,
    pub(super) watch: Watch,
}

/// The whole server and its clients.
#[derive(Debug)]
pub(super) struct World {
    pub(super) timeline: Timeline,
    pub(super) clients: Clients,
    network: Network,
    httpsys: HttpSys,
    httpsys_alarm: Alarm,
    endpoints: BTreeSet<Endpoint>,
    was: Was,
    was_alarm: Alarm,
    controller_calls: Wire<Call>,
    controller_completions: Wire<Completion>,
    processes: Processes,
    cores: Cores,
    files: Files,
    configuration: Configuration,
    worker_memory: u64,
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
        let mut world = Self {
            timeline: Timeline::new(setting.costs, setting.seed),
            clients: setting.clients,
            network: Network::default(),
            httpsys: HttpSys::new(setting.httpsys, clock),
            httpsys_alarm: Alarm::default(),
            endpoints: BTreeSet::new(),
            was: Was::new(Parameters::new(setting.root, setting.costs.cores)),
            was_alarm: Alarm::default(),
            controller_calls: Wire::default(),
            controller_completions: Wire::default(),
            processes: Processes::default(),
            cores: Cores::new(setting.costs.cores),
            files: setting.files,
            chronicle: Chronicle::new(clock, &setting.configuration, setting.watch),
            configuration: setting.configuration,
            worker_memory: setting.costs.worker_memory,
            clock,
            fate: Fate::new(setting.faults, setting.seed),
            notices: VecDeque::new(),
            commands: 0,
        };
        world.tell_httpsys(ToHttpSys::Attached {
            process: CONTROLLER,
        });
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
            self.handle(event);
            if let Some(broken) = self.chronicle.checkers.broken() {
                return Notice::Broken(broken.clone());
            }
        }
    }

    /// Faults are over.
    pub(super) fn be_quiet(&mut self) {
        self.fate.be_quiet();
    }

    /// Nothing may be under way now.
    pub(super) fn check_rest(&mut self) -> Result<(), Broken> {
        let checkers = &mut self.chronicle.checkers;
        checkers.at_rest(self.timeline.now);
        checkers
            .broken()
            .map_or(Ok(()), |broken| Err(broken.clone()))
    }

    /// What was seen, and how often.
    pub(super) fn sometimes(&self) -> &std::collections::BTreeMap<&'static str, u64> {
        self.chronicle.checkers.sometimes()
    }

    pub(super) fn now(&self) -> Instant {
        self.timeline.now
    }

    /// Asks the services something; the answer is a notice.
    pub(super) fn command(&mut self, command: Command) -> ClientId {
        self.commands += 1;
        let client = ClientId(self.commands);
        self.tell_was(ToWasModel::Commanded { client, command });
        client
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

    /// Worker processes that are alive, and the memory that they hold together.
    pub(super) fn workers(&mut self) -> (usize, u64) {
        let alive = self.processes.alive();
        alive.fold((0, 0), |(count, bytes), process| {
            (count + 1, bytes + process.memory)
        })
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

    /// Everything that was written down, and what was kept to compare it by.
    pub(super) fn close(self) -> (crate::measure::Observation, Track) {
        self.chronicle.close()
    }

    // --- the table ----------------------------------------------------------------------------------

    fn handle(&mut self, event: Event) {
        let now = self.timeline.now;
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
                }
            }
            Event::Sent(connection) => self.sent(connection),
            Event::Secured {
                connection,
                resumed,
            } => self.secured(connection, resumed),
            Event::AtDriver(id) => self.at_driver(id),
            Event::FromDriver(CONTROLLER) => {
                if let Some(completion) = self.controller_completions.take() {
                    self.tell_was(ToWasModel::Completed(completion));
                }
            }
            Event::FromDriver(id) => {
                let message = self.processes.find(id).and_then(|p| p.from_driver.take());
                if let Some(completion) = message {
                    self.tell_worker(id, ToWorkerModel::Completed(completion));
                }
            }
            Event::AtWas(pid) => match self.processes.find(pid).and_then(|p| p.to_was.take()) {
                Some(ToWas::Word(message)) => self.tell_was(ToWasModel::Told { pid, message }),
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
            Event::Launch => self.clients.launch(&mut self.network, &mut self.timeline),
            Event::PatienceOver { probe } => {
                self.clients
                    .patience_over(probe, &mut self.network, &mut self.timeline);
            }
            Event::Look => {
                self.timeline.after(LOOK_EVERY, Event::Look);
                self.notices.push_back(Notice::Look);
            }
            Event::Reached => self.notices.push_back(Notice::Reached),
        }
    }

    // --- the driver ---------------------------------------------------------------------------------

    fn tell_httpsys(&mut self, input: ToHttpSys<'_>) {
        self.httpsys.handle_input(input, self.timeline.now);
        self.carry_out_httpsys();
    }

    fn carry_out_httpsys(&mut self) {
        let now = self.timeline.now;
        let mut listened = Vec::new();
        loop {
            while let Some(output) = self.httpsys.poll_output() {
                match output {
                    FromHttpSys::Listen { endpoint } => {
                        self.endpoints.insert(endpoint);
                        listened.push(endpoint);
                    }
                    FromHttpSys::Unlisten { endpoint } => {
                        self.endpoints.remove(&endpoint);
                    }
                    FromHttpSys::Send { connection, bytes } => {
                        self.send_to_client(connection, Down::Bytes(bytes));
                    }
                    // Requests here are small: what is under way is always taken.
                    FromHttpSys::Reading { .. } => {}
                    FromHttpSys::Close { connection, how } => self.hang_up(connection, how),
                    FromHttpSys::Complete { to, completion } => self.complete(to, completion),
                    FromHttpSys::Log(entry) => self.chronicle.log(&entry),
                    FromHttpSys::Fact(fact) => self.chronicle.httpsys(now, fact),
                }
            }
            let Some(endpoint) = listened.pop() else {
                break;
            };
            let result = Ok(());
            self.httpsys
                .handle_input(ToHttpSys::Listening { endpoint, result }, now);
        }
        let due = self.httpsys.next_deadline().map(|deadline| deadline.at);
        self.httpsys_alarm
            .set(due, Event::WakeHttpSys, &mut self.timeline);
    }

    fn send_to_client(&mut self, id: ConnectionId, message: Down) {
        let Some(connection) = self.network.find(id) else {
            return;
        };
        connection.send_down(message, &mut self.timeline);
        if !connection.owed {
            connection.owed = true;
            self.timeline.at(self.timeline.now, Event::Sent(id));
        }
    }

    fn hang_up(&mut self, id: ConnectionId, how: CloseHow) {
        let Some(connection) = self.network.find(id) else {
            return;
        };
        connection.server = ServerSide::Closed;
        let end = match how {
            CloseHow::AfterSending => Down::Fin,
            CloseHow::Reset => Down::Rst,
        };
        connection.send_down(end, &mut self.timeline);
        self.network.forget_if_over(id);
    }

    fn complete(&mut self, to: ProcessId, completion: Completion) {
        let delay = self.timeline.draw(Cost::DeviceHop);
        let announcement = Event::FromDriver(to);
        if to == CONTROLLER {
            let wire = &mut self.controller_completions;
            wire.send(completion, delay, announcement, &mut self.timeline);
        } else if let Some(process) = self.processes.find(to).filter(|p| p.is_alive()) {
            let wire = &mut process.from_driver;
            wire.send(completion, delay, announcement, &mut self.timeline);
        }
    }

    fn up(&mut self, id: ConnectionId) {
        let Some(connection) = self.network.find(id) else {
            return;
        };
        let Some(message) = connection.take_up() else {
            return;
        };
        let now = self.timeline.now;
        match (connection.server, message) {
            (ServerSide::Unknown, Up::Syn) => {
                let (endpoint, ends) = (connection.endpoint, connection.ends);
                if !self.endpoints.contains(&endpoint) {
                    connection.server = ServerSide::Closed;
                    connection.send_down(Down::Refused, &mut self.timeline);
                    return self.network.forget_if_over(id);
                }
                connection.server = ServerSide::Open;
                connection.send_down(Down::Accepted, &mut self.timeline);
                self.tell_httpsys(ToHttpSys::Opened {
                    connection: id,
                    endpoint,
                    ends,
                });
            }
            (ServerSide::Open, Up::Hello { resume }) => {
                let cost = if resume {
                    Cost::HandshakeResumed
                } else {
                    Cost::HandshakeFull
                };
                let took = self.timeline.draw(cost);
                let secured = Event::Secured {
                    connection: id,
                    resumed: resume,
                };
                self.timeline.after(took, secured);
            }
            (ServerSide::Open, Up::Request) => {
                let bytes = &connection.request;
                let received = ToHttpSys::Received {
                    connection: id,
                    bytes,
                };
                self.httpsys.handle_input(received, now);
                self.carry_out_httpsys();
            }
            (ServerSide::Open, Up::Fin) => {
                self.tell_httpsys(ToHttpSys::HalfClosed { connection: id });
            }
            (ServerSide::Open, Up::Rst) => {
                connection.server = ServerSide::Closed;
                self.network.forget_if_over(id);
                self.tell_httpsys(ToHttpSys::Reset { connection: id });
            }
            (ServerSide::Unknown | ServerSide::Closed, _) | (ServerSide::Open, Up::Syn) => {}
        }
    }

    fn sent(&mut self, id: ConnectionId) {
        let Some(connection) = self.network.find(id) else {
            return;
        };
        connection.owed = false;
        if connection.server == ServerSide::Open {
            self.tell_httpsys(ToHttpSys::Sent { connection: id });
        }
    }

    fn secured(&mut self, id: ConnectionId, resumed: bool) {
        let Some(connection) = self.network.find(id) else {
            return;
        };
        let is_there = connection.client != ClientSide::Closed;
        if connection.server == ServerSide::Open && is_there {
            connection.send_down(Down::Secured { resumed }, &mut self.timeline);
            self.tell_httpsys(ToHttpSys::Secured {
                connection: id,
                resumed,
            });
        }
    }

    fn at_driver(&mut self, id: ProcessId) {
        if id == CONTROLLER {
            if let Some(call) = self.controller_calls.take() {
                self.tell_httpsys(ToHttpSys::Called { by: id, call });
            }
            return;
        }
        match self.processes.find(id).and_then(|p| p.to_driver.take()) {
            Some(ToDriver::Attach) => self.tell_httpsys(ToHttpSys::Attached { process: id }),
            Some(ToDriver::Call(call)) => self.tell_httpsys(ToHttpSys::Called { by: id, call }),
            Some(ToDriver::HangUp) => self.tell_httpsys(ToHttpSys::Gone { process: id }),
            None => {}
        }
    }

    // --- WAS ----------------------------------------------------------------------------------------

    fn tell_was(&mut self, input: ToWasModel) {
        self.was.handle_input(input, self.timeline.now);
        self.carry_out_was();
    }

    fn carry_out_was(&mut self) {
        let now = self.timeline.now;
        let mut answers = VecDeque::new();
        loop {
            while let Some(output) = self.was.poll_output() {
                match output {
                    FromWas::Call(call) => {
                        let delay = self.timeline.draw(Cost::DeviceHop);
                        let announcement = Event::AtDriver(CONTROLLER);
                        let wire = &mut self.controller_calls;
                        wire.send(call, delay, announcement, &mut self.timeline);
                    }
                    FromWas::Tell { pid, message } => {
                        if let Some(process) = self.processes.find(pid).filter(|p| p.is_alive()) {
                            let delay = self.timeline.draw(Cost::IpmHop);
                            let wire = &mut process.from_was;
                            wire.send(message, delay, Event::FromWas(pid), &mut self.timeline);
                        }
                    }
                    FromWas::Spawn(order) => answers.push_back(self.spawn(*order)),
                    FromWas::Terminate { pid } => self.end_process(pid, WorkerExit::Signal(9)),
                    FromWas::ReadConfig => {
                        let configuration = self.configuration.clone();
                        answers.push_back(ToWasModel::ConfigRead(Ok(configuration)));
                    }
                    FromWas::Answer { client, answer } => {
                        self.notices.push_back(Notice::Answered(client, answer));
                    }
                    // No program of an administrator exists here.
                    FromWas::Run { pool, .. } => {
                        answers.push_back(ToWasModel::RunFailed { pool });
                    }
                    FromWas::Fact(fact) => self.chronicle.was(now, fact),
                    FromWas::Stopped => self.notices.push_back(Notice::Stopped),
                }
            }
            let Some(answer) = answers.pop_front() else {
                break;
            };
            self.was.handle_input(answer, now);
        }
        let due = self.was.next_deadline().map(|deadline| deadline.at);
        self.was_alarm.set(due, Event::WakeWas, &mut self.timeline);
    }

    // --- processes ----------------------------------------------------------------------------------

    fn spawn(&mut self, order: Spawn) -> ToWasModel {
        let memory = self.worker_memory;
        let id = self.processes.create(order.configuration, memory);
        let took = self.timeline.draw(Cost::Spawn) + self.fate.delay_of_start();
        self.timeline.after(took, Event::Boot(id));
        ToWasModel::Spawned {
            spawn: order.spawn,
            result: Ok(id),
        }
    }

    fn boot(&mut self, id: ProcessId) {
        let (now, clock) = (self.timeline.now, self.clock);
        let Some(process) = self.processes.find(id) else {
            return;
        };
        if !matches!(process.life, Life::Booting(_)) {
            return;
        }
        match self.fate.of_start() {
            Some(Strike::Crash) => return self.end_process(id, WorkerExit::Signal(11)),
            Some(Strike::Hang) => {
                process.hangs = true;
                return;
            }
            None => {}
        }
        let Life::Booting(configuration) = std::mem::replace(&mut process.life, Life::Dead) else {
            return;
        };
        let model = WorkerProcess::new(*configuration, id, clock, now);
        process.life = Life::Running(Box::new(model));
        let delay = self.timeline.draw(Cost::DeviceHop);
        let (wire, announcement) = (&mut process.to_driver, Event::AtDriver(id));
        wire.send(ToDriver::Attach, delay, announcement, &mut self.timeline);
        for _ in 0..std::mem::take(&mut process.unheard) {
            self.timeline.at(now, Event::FromWas(id));
        }
        self.carry_out_worker(id);
    }

    fn at_worker(&mut self, id: ProcessId) {
        let Some(process) = self.processes.find(id) else {
            return;
        };
        match process.life {
            Life::Booting(_) => process.unheard += 1,
            Life::Running(_) => {
                if let Some(message) = process.from_was.take() {
                    self.tell_worker(id, ToWorkerModel::Told(message));
                }
            }
            Life::Dead => {}
        }
    }

    /// A process ends. What it has said still arrives, and then the news of its death.
    fn end_process(&mut self, id: ProcessId, exit: WorkerExit) {
        let Some(process) = self.processes.find(id).filter(|p| p.is_alive()) else {
            return;
        };
        process.die();
        let (hang_up, reap) = (
            self.timeline.draw(Cost::HangUp),
            self.timeline.draw(Cost::Reap),
        );
        let (wire, timeline) = (&mut process.to_driver, &mut self.timeline);
        wire.send(ToDriver::HangUp, hang_up, Event::AtDriver(id), timeline);
        let exited = ToWas::Exited(exit);
        process
            .to_was
            .send(exited, reap, Event::AtWas(id), timeline);
        self.cores.end(id, timeline);
    }

    // --- workers ------------------------------------------------------------------------------------

    fn tell_worker(&mut self, id: ProcessId, input: ToWorkerModel) {
        let now = self.timeline.now;
        if !self.is_spared(id) {
            return;
        }
        if let Some(process) = self.processes.find(id)
            && let Life::Running(worker) = &mut process.life
        {
            worker.handle_input(input, now);
            self.carry_out_worker(id);
        }
    }

    /// Whether an input reaches a worker, and nothing strikes it.
    fn is_spared(&mut self, id: ProcessId) -> bool {
        let Some(process) = self.processes.find(id) else {
            return false;
        };
        if process.hangs || !process.is_alive() {
            return false;
        }
        match self.fate.of_input() {
            None => true,
            Some(Strike::Hang) => {
                process.hangs = true;
                false
            }
            Some(Strike::Crash) => {
                self.end_process(id, WorkerExit::Signal(11));
                false
            }
        }
    }

    fn wake_worker(&mut self, id: ProcessId) {
        let now = self.timeline.now;
        if self.processes.find(id).is_none_or(|process| process.hangs) {
            return;
        }
        if let Some(process) = self.processes.find(id)
            && process.alarm.is_it(now)
            && let Life::Running(worker) = &mut process.life
        {
            if is_due(&**worker, now) {
                worker.handle_deadline(now);
            }
            self.carry_out_worker(id);
        }
    }

    fn carry_out_worker(&mut self, id: ProcessId) {
        let now = self.timeline.now;
        while let Some(process) = self.processes.find(id)
            && let Life::Running(worker) = &mut process.life
        {
            let Some(output) = worker.poll_output() else {
                let due = worker.next_deadline().map(|deadline| deadline.at);
                let event = Event::WakeWorker(id);
                return process.alarm.set(due, event, &mut self.timeline);
            };
            match output {
                FromWorkerModel::Call(call) => {
                    let delay = self.timeline.draw(Cost::DeviceHop);
                    let (wire, call) = (&mut process.to_driver, ToDriver::Call(call));
                    wire.send(call, delay, Event::AtDriver(id), &mut self.timeline);
                }
                FromWorkerModel::Tell(message) => {
                    let delay = self.timeline.draw(Cost::IpmHop);
                    let (wire, word) = (&mut process.to_was, ToWas::Word(message));
                    wire.send(word, delay, Event::AtWas(id), &mut self.timeline);
                }
                FromWorkerModel::StartWork { work, cost } => self.start_work(id, work, cost),
                FromWorkerModel::Exit { code } => self.end_process(id, WorkerExit::Code(code)),
                FromWorkerModel::Fact(fact) => self.chronicle.worker(id, now, fact),
            }
        }
    }

    fn start_work(&mut self, id: ProcessId, work: WorkId, cost: Work) {
        match cost {
            Work::Run { cpu, allocate } => {
                if let Some(process) = self.processes.find(id) {
                    process.memory = process.memory.saturating_add(allocate);
                }
                self.cores.start(id, work, cpu, &mut self.timeline);
            }
            Work::ReadFile { .. } => {
                let took = self.timeline.draw(Cost::FileRead);
                if let Some(process) = self.processes.find(id) {
                    process.reads.insert(work, cost);
                }
                self.timeline
                    .after(took, Event::FileRead { process: id, work });
            }
            Work::Die(death) => {
                let exit = match death {
                    Death::SegmentationFault => WorkerExit::Signal(11),
                    Death::Abort => WorkerExit::Signal(6),
                    Death::Exit(code) => WorkerExit::Code(code),
                };
                self.end_process(id, exit);
            }
        }
    }

    fn file_read(&mut self, id: ProcessId, work: WorkId) {
        let read = self
            .processes
            .find(id)
            .and_then(|process| process.reads.remove(&work));
        if let Some(Work::ReadFile {
            root,
            candidates,
            unless,
        }) = read
        {
            let outcome = Outcome::File(self.files.read(&root, &candidates, unless));
            self.tell_worker(id, ToWorkerModel::WorkDone { work, outcome });
        }
    }
}

/// Whether a machine wants to be woken by now.
fn is_due<M: StateMachine>(machine: &M, now: Instant) -> bool {
    machine
        .next_deadline()
        .is_some_and(|deadline| deadline.at <= now)
}
