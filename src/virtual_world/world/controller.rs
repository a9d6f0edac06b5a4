//! The process that hosts WAS: it dies and is started again, it stands still and goes on.
//!
//! ```text
//!            kill -9            the service control manager
//!   Alive ────────────► Dead ───────────────────────────────► Alive, as another process
//!     │  ▲
//!     ▼  │ thaw
//!   Frozen: what would have reached it waits, words before alarms
//! ```
//!
//! Its workers are its children and die with it; what it has said before still arrives at the driver,
//! with the end of the stream behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sim_httpsys::api::{Call, Completion, ProcessId};
use sim_httpsys::clockwork::StateMachine;
use sim_httpsys::model::Input as ToHttpSys;
use sim_was::control::{Answer, Command, Refusal, Service};
use sim_was::event_log::{Event as Record, Fact, WorkerExit};
use sim_was::model::{ClientId, Input as ToWasModel, Was};

use super::{Event, Notice, World, is_due};
use crate::virtual_world::costs::Cost;
use crate::virtual_world::processes::ToDriver;
use crate::virtual_world::wires::{Alarm, Timeline, Wire};

/// The first process that hosts WAS. Assumed: its id, as Windows gives low ones to services; each that
/// is started again has the next.
const FIRST: ProcessId = ProcessId(4);

/// Who waits for the start of the services after a crash: nobody.
const SERVICE_MANAGER: ClientId = ClientId(0);

#[derive(Debug)]
enum Life {
    Alive,
    Dead,
    /// It stands still, and this has come meanwhile.
    Frozen(Vec<Event>),
}

/// The process, and its wires to the driver.
#[derive(Debug)]
pub(super) struct Controller {
    pub(super) id: ProcessId,
    pub(super) completions: Wire<Completion>,
    /// What it has said to the driver; of those that have died, what has not arrived yet.
    calls: BTreeMap<ProcessId, Wire<ToDriver>>,
    life: Life,
    /// Commands that have come while it stands still.
    commands: Vec<(ClientId, Command)>,
    /// Whoever waits for an answer.
    waiting: BTreeSet<ClientId>,
    terminations: u32,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            id: FIRST,
            completions: Wire::default(),
            calls: BTreeMap::from([(FIRST, Wire::default())]),
            life: Life::Alive,
            commands: Vec::new(),
            waiting: BTreeSet::new(),
            terminations: 0,
        }
    }
}

impl Controller {
    /// It makes a call of the driver.
    pub(super) fn call(&mut self, call: Call, timeline: &mut Timeline) {
        self.say(ToDriver::Call(call), timeline);
    }

    /// Gives how long it takes to be heard.
    fn say(&mut self, word: ToDriver, timeline: &mut Timeline) -> Duration {
        let delay = timeline.draw(match word {
            ToDriver::HangUp => Cost::WasHangUp,
            ToDriver::Attach | ToDriver::Call(_) => Cost::ControlHop,
        });
        let wire = self.calls.entry(self.id).or_default();
        wire.send(word, delay, Event::AtDriver(self.id), timeline);
        delay
    }

    /// Somebody has his answer.
    pub(super) fn answered(&mut self, client: ClientId) {
        self.waiting.remove(&client);
    }

    /// Whether an event is kept for when it goes on.
    pub(super) fn keeps(&mut self, event: Event) -> bool {
        let id = self.id;
        let Life::Frozen(kept) = &mut self.life else {
            return false;
        };
        let is_word = matches!(event, Event::WakeWas | Event::AtWas(_));
        let is_for_it = is_word || event == Event::FromDriver(id);
        if is_for_it {
            kept.push(event);
        }
        is_for_it
    }
}

impl World {
    /// Asks the services something; the answer is a notice.
    pub(in crate::virtual_world) fn command(&mut self, command: Command) -> ClientId {
        self.commands += 1;
        let client = ClientId(self.commands);
        match self.controller.life {
            Life::Alive => {
                self.controller.waiting.insert(client);
                self.tell_was(ToWasModel::Commanded { client, command });
            }
            Life::Frozen(_) => self.controller.commands.push((client, command)),
            Life::Dead => self.leave_unanswered(client),
        }
        client
    }

    /// Source: winerror.h, `RPC_S_CALL_FAILED` (1726): the server has gone.
    fn leave_unanswered(&mut self, client: ClientId) {
        let refusal = Refusal::failed(0x8007_06BE, "The remote procedure call failed.");
        let answer = Answer::Refused(refusal);
        self.notices.push_back(Notice::Answered(client, answer));
    }

    /// Something of a controller has arrived at the driver; `false` if it is another process.
    pub(super) fn controller_at_driver(&mut self, id: ProcessId) -> bool {
        let Some(wire) = self.controller.calls.get_mut(&id) else {
            return false;
        };
        match wire.take() {
            Some(ToDriver::Attach) => self.tell_httpsys(ToHttpSys::Attached { process: id }),
            Some(ToDriver::Call(call)) => self.tell_httpsys(ToHttpSys::Called { by: id, call }),
            Some(ToDriver::HangUp) => {
                self.controller.calls.remove(&id);
                self.tell_httpsys(ToHttpSys::Gone { process: id });
            }
            None => {}
        }
        true
    }

    /// kill -9 of WAS. `false` if it is dead already.
    pub(in crate::virtual_world) fn kill_was(&mut self) -> bool {
        if matches!(self.controller.life, Life::Dead) {
            return false;
        }
        let now = self.timeline.now;
        let children: Vec<ProcessId> = self.processes.alive().map(|p| p.id).collect();
        let exit = WorkerExit::Signal(9);
        for &process in &children {
            self.end_process(process, exit);
            // Nobody is left to be told.
            if let Some(process) = self.processes.find(process) {
                process.to_was.cut();
            }
        }
        self.chronicle.was_died(now);
        let controller = &mut self.controller;
        controller.life = Life::Dead;
        controller.completions.cut();
        let hang_up = controller.say(ToDriver::HangUp, &mut self.timeline);
        let unanswered = controller.commands.drain(..).map(|(client, _)| client);
        let unanswered: Vec<ClientId> = unanswered
            .chain(std::mem::take(&mut controller.waiting))
            .collect();
        controller.id = ProcessId(controller.id.0 + 1);
        controller.terminations += 1;
        for client in unanswered {
            self.leave_unanswered(client);
        }
        self.was = Was::new(self.parameters.clone());
        self.was_alarm = Alarm::default();
        let took = hang_up + self.timeline.draw(Cost::Boot);
        self.timeline.after(took, Event::ReviveWas);
        true
    }

    /// The service control manager starts WAS again.
    pub(super) fn revive_was(&mut self) {
        let now = self.timeline.now;
        if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.pass(now);
        }
        for service in [Service::W3svc, Service::Was] {
            let record = Record::service_terminated(service, self.controller.terminations);
            self.chronicle.was(now, Fact::Event(record));
        }
        self.controller.life = Life::Alive;
        self.controller.say(ToDriver::Attach, &mut self.timeline);
        self.tell_was(ToWasModel::Commanded {
            client: SERVICE_MANAGER,
            command: Command::StartServices {
                services: vec![Service::Was, Service::W3svc],
            },
        });
    }

    /// WAS stands still for a while. `false` if it is dead or does so already.
    pub(in crate::virtual_world) fn freeze_was(&mut self, span: Duration) -> bool {
        if !matches!(self.controller.life, Life::Alive) {
            return false;
        }
        self.controller.life = Life::Frozen(Vec::new());
        if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.was_frozen();
        }
        self.timeline
            .after(span, Event::ThawWas(self.controller.id));
        true
    }

    /// WAS goes on, if it has not died meanwhile: what was said to it comes before what it wanted to
    /// be woken for, as in the live one.
    pub(super) fn thaw_was(&mut self, id: ProcessId) {
        if id != self.controller.id {
            return;
        }
        let Life::Frozen(kept) = std::mem::replace(&mut self.controller.life, Life::Alive) else {
            return;
        };
        if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.was_thawed(self.timeline.now);
        }
        let words = kept.iter().filter(|event| **event != Event::WakeWas);
        for &event in words {
            self.handle(event);
        }
        for (client, command) in std::mem::take(&mut self.controller.commands) {
            self.controller.waiting.insert(client);
            self.tell_was(ToWasModel::Commanded { client, command });
        }
        if kept.contains(&Event::WakeWas) {
            let now = self.timeline.now;
            self.was_alarm = Alarm::default();
            if is_due(&self.was, now) {
                self.was.handle_deadline(now);
            }
            self.carry_out_was();
        }
    }
}
