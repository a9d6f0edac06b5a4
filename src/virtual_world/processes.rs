//! Worker processes of the virtual world: their birth, their wires, their death.
//!
//! ```text
//!   ordered ─► Booting ─► Running ─► Dead
//!                 └── killed ─────────┘
//! ```
//!
//! A process that dies takes with it what is on its way to it and what it computes. What it has written
//! before is in the hands of the kernel and still arrives, with the end of the stream behind it; so do
//! WAS and the driver learn of its death, each in its own time.

use std::collections::{BTreeMap, VecDeque};

use sim_httpsys::api::{Call, Completion, ProcessId};
use sim_httpsys::clockwork::Instant;
use sim_was::event_log::WorkerExit;
use sim_worker::configuration::WorkerConfiguration;
use sim_worker::ipm::{FromWorker, ToWorker};
use sim_worker::model::{Work, WorkId, WorkerProcess};

use super::wires::{Alarm, Wire};

/// What a process says to the driver.
#[derive(Debug)]
pub(super) enum ToDriver {
    Attach,
    Call(Call),
    HangUp,
}

/// What WAS hears of a process.
#[derive(Debug)]
pub(super) enum ToWas {
    Word(FromWorker),
    /// A word that nobody understands.
    Nonsense,
    /// The end of its pipe.
    Cut,
    Exited(WorkerExit),
}

/// A state of a process.
#[derive(Debug)]
pub(super) enum Life {
    Booting(Box<WorkerConfiguration>),
    Running(Box<WorkerProcess>),
    Dead,
}

/// A process.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a way of its own to fall ill, and they may meet in one process"
)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    pub(super) pool: String,
    pub(super) life: Life,
    /// Bytes of a process that has loaded nothing.
    pub(super) memory: u64,
    pub(super) to_driver: Wire<ToDriver>,
    pub(super) from_driver: Wire<Completion>,
    pub(super) to_was: Wire<ToWas>,
    pub(super) from_was: Wire<ToWorker>,
    /// Words of WAS that have arrived and wait for the process to listen.
    pub(super) unheard: u32,
    pub(super) reads: BTreeMap<WorkId, Work>,
    /// It does not run for now (SIGSTOP); what has come for it meanwhile.
    pub(super) frozen: bool,
    pub(super) undelivered: u32,
    pub(super) files_read: Vec<WorkId>,
    pub(super) overslept: bool,
    /// It has stopped for good, and is still there.
    pub(super) hangs: bool,
    /// It answers pings, and no requests.
    pub(super) is_zombie: bool,
    /// Inputs that it was given.
    pub(super) inputs: u32,
    /// By when its ping has to be answered.
    pub(super) pong_due: Option<Instant>,
    /// By when it has to have ended.
    pub(super) end_due: Option<Instant>,
    /// It is still writing a response until then.
    pub(super) busy_until: Instant,
    pub(super) alarm: Alarm,
    /// What its worker held when that was last looked at.
    pub(super) held_before: u64,
}

impl Process {
    pub(super) fn new(id: ProcessId, configuration: WorkerConfiguration, memory: u64) -> Self {
        Self {
            id,
            pool: configuration.pool.clone(),
            life: Life::Booting(Box::new(configuration)),
            memory,
            to_driver: Wire::default(),
            from_driver: Wire::default(),
            to_was: Wire::default(),
            from_was: Wire::default(),
            unheard: 0,
            reads: BTreeMap::new(),
            frozen: false,
            undelivered: 0,
            files_read: Vec::new(),
            overslept: false,
            hangs: false,
            is_zombie: false,
            inputs: 0,
            pong_due: None,
            end_due: None,
            busy_until: Instant::SWITCHED_ON,
            alarm: Alarm::default(),
            held_before: 0,
        }
    }

    /// The bytes that it holds.
    pub(super) fn held(&self) -> u64 {
        match &self.life {
            Life::Running(worker) => self.memory + worker.held(),
            Life::Booting(_) | Life::Dead => self.memory,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        match self.life {
            Life::Booting(_) | Life::Running(_) => true,
            Life::Dead => false,
        }
    }

    /// It is dead, and everybody has heard of it: nothing will ever be asked of it.
    fn is_over(&self) -> bool {
        !self.is_alive() && self.to_driver.is_empty() && self.to_was.is_empty()
    }

    /// It is dead: nothing reaches it any more.
    pub(super) fn die(&mut self) {
        self.life = Life::Dead;
        self.from_driver.cut();
        self.from_was.cut();
        self.reads.clear();
    }
}

/// The id of the first worker; later ones count up, and none is used twice. Whoever hosts WAS has a
/// lower one.
pub(super) const FIRST_WORKER: ProcessId = ProcessId(1_000);

/// Processes, by their ids: all but those that were forgotten.
#[derive(Debug, Default)]
pub(super) struct Processes {
    all: VecDeque<Process>,
    /// How many were forgotten: the oldest ones.
    forgotten: u32,
}

impl Processes {
    pub(super) fn create(&mut self, configuration: WorkerConfiguration, memory: u64) -> ProcessId {
        while self.all.pop_front_if(|oldest| oldest.is_over()).is_some() {
            self.forgotten += 1;
        }
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX - FIRST_WORKER.0);
        let id = ProcessId(FIRST_WORKER.0 + self.forgotten + number);
        self.all.push_back(Process::new(id, configuration, memory));
        id
    }

    pub(super) fn find(&mut self, id: ProcessId) -> Option<&mut Process> {
        let number =
            id.0.checked_sub(FIRST_WORKER.0)?
                .checked_sub(self.forgotten)?;
        self.all.get_mut(number as usize)
    }

    pub(super) fn alive(&mut self) -> impl Iterator<Item = &Process> {
        self.all.iter().filter(|process| process.is_alive())
    }
}
