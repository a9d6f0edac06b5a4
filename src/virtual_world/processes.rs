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

use std::collections::BTreeMap;

use sim_httpsys::api::{Call, Completion, ProcessId};
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
    pub(super) alarm: Alarm,
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
            alarm: Alarm::default(),
        }
    }

    /// The bytes that it holds. Left out: sessions and caches.
    pub(super) fn held(&self) -> u64 {
        match &self.life {
            Life::Running(worker) => self.memory + worker.allocated(),
            Life::Booting(_) | Life::Dead => self.memory,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        match self.life {
            Life::Booting(_) | Life::Running(_) => true,
            Life::Dead => false,
        }
    }

    /// It is dead: nothing reaches it any more.
    pub(super) fn die(&mut self) {
        self.life = Life::Dead;
        self.from_driver.cut();
        self.from_was.cut();
        self.reads.clear();
    }
}

/// The id of the first worker; later ones count up, and none is used twice.
const FIRST: u32 = 1_000;

/// All processes that ever were.
#[derive(Debug, Default)]
pub(super) struct Processes {
    all: Vec<Process>,
    /// Of those before this one none is alive.
    first_alive: usize,
}

impl Processes {
    pub(super) fn create(&mut self, configuration: WorkerConfiguration, memory: u64) -> ProcessId {
        let id = ProcessId(FIRST + u32::try_from(self.all.len()).unwrap_or(u32::MAX - FIRST));
        self.all.push(Process::new(id, configuration, memory));
        id
    }

    pub(super) fn find(&mut self, id: ProcessId) -> Option<&mut Process> {
        self.all.get_mut(id.0.checked_sub(FIRST)? as usize)
    }

    pub(super) fn alive(&mut self) -> impl Iterator<Item = &Process> {
        let dead = |process: &&Process| !process.is_alive();
        self.first_alive += self.all[self.first_alive..].iter().take_while(dead).count();
        self.all[self.first_alive..].iter().filter(|p| p.is_alive())
    }
}
