//! The workers' part of the world: birth and death of processes, what reaches a worker, and what becomes
//! of its outputs.

use sim_httpsys::api::{Call, ProcessId, RequestId};
use sim_httpsys::clockwork::StateMachine;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};
use sim_was::event_log::WorkerExit;
use sim_was::model::{Input as ToWasModel, Spawn};
use sim_worker::ipm::FromWorker;
use sim_worker::model::{
    Death, Input as ToWorkerModel, Outcome, Output as FromWorkerModel, Work, WorkId, WorkerProcess,
};

use super::{Event, World, is_due};
use crate::virtual_world::costs::Cost;
use crate::virtual_world::faults::{Garble, Strike};
use crate::virtual_world::processes::{Life, ToDriver, ToWas};

impl World {
    // --- processes ----------------------------------------------------------------------------------

    pub(super) fn spawn(&mut self, order: Spawn) -> ToWasModel {
        let memory = self.worker_memory;
        let id = self.processes.create(order.configuration, memory);
        self.memory_grew();
        let took = self.timeline.draw(Cost::Spawn) + self.fate.delay_of_start();
        self.timeline.after(took, Event::Boot(id));
        ToWasModel::Spawned {
            spawn: order.spawn,
            result: Ok(id),
        }
    }

    pub(super) fn boot(&mut self, id: ProcessId) {
        let (now, clock) = (self.timeline.now, self.clock);
        let Some(process) = self.processes.find(id) else {
            return;
        };
        if !matches!(process.life, Life::Booting(_)) {
            return;
        }
        match self.fate.of_start() {
            Some(Strike::Crash) => return self.end_process(id, WorkerExit::Signal(11)),
            Some(Strike::Hang | Strike::Zombie) => {
                process.hangs = true;
                if let Some(checkers) = &mut self.chronicle.checkers {
                    checkers.struck(id);
                }
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

    pub(super) fn at_worker(&mut self, id: ProcessId) {
        let Some(process) = self.processes.find(id) else {
            return;
        };
        match process.life {
            Life::Booting(_) => process.unheard += 1,
            Life::Running(_) if process.frozen => process.unheard += 1,
            Life::Running(_) => {
                if let Some(message) = process.from_was.take() {
                    self.tell_worker(id, ToWorkerModel::Told(message));
                }
            }
            Life::Dead => {}
        }
    }

    /// A process does not run: what reaches it waits.
    pub(super) fn freeze(&mut self, id: ProcessId) {
        if let Some(process) = self.processes.find(id).filter(|p| p.is_alive()) {
            process.frozen = true;
            self.cores.freeze(id, &mut self.timeline);
            if let Some(checkers) = &mut self.chronicle.checkers {
                checkers.worker_frozen(id);
            }
        }
    }

    /// A process runs again: what has waited reaches it now, and what was due is due.
    pub(super) fn thaw(&mut self, id: ProcessId) {
        let now = self.timeline.now;
        let Some(process) = self.processes.find(id).filter(|p| p.frozen) else {
            return;
        };
        process.frozen = false;
        if matches!(process.life, Life::Booting(_) | Life::Dead) {
            return;
        }
        for _ in 0..std::mem::take(&mut process.unheard) {
            self.timeline.at(now, Event::FromWas(id));
        }
        for _ in 0..std::mem::take(&mut process.undelivered) {
            self.timeline.at(now, Event::FromDriver(id));
        }
        for work in std::mem::take(&mut process.files_read) {
            self.timeline.at(now, Event::FileRead { process: id, work });
        }
        if std::mem::take(&mut process.overslept) {
            let wake = Event::WakeWorker(id);
            process.alarm.set(Some(now), wake, &mut self.timeline);
        }
        self.cores.thaw(id, &mut self.timeline);
    }

    /// A process ends. What it has said still arrives, and then the news of its death.
    pub(super) fn end_process(&mut self, id: ProcessId, exit: WorkerExit) {
        let Some(process) = self.processes.find(id).filter(|p| p.is_alive()) else {
            return;
        };
        process.die();
        if process.busy_until > self.timeline.now {
            // It was about to say something, and has not: nobody hears it.
            process.to_driver.clear();
        }
        if exit != WorkerExit::Code(0)
            && let Some(checkers) = &mut self.chronicle.checkers
        {
            checkers.struck(id);
        }
        let (hang_up, reap) = (
            self.timeline.draw(Cost::HangUp),
            self.timeline.draw(Cost::Reap) + self.fate.delay_of_death(),
        );
        let (wire, timeline) = (&mut process.to_driver, &mut self.timeline);
        if !mutated(Mutant::LostHangUp) {
            wire.send(ToDriver::HangUp, hang_up, Event::AtDriver(id), timeline);
        }
        // Source: wait(2) and the kernel's exit path: a process can be reaped once its files are closed, so
        // the driver's end is hung up first.
        let reap = reap.max(wire.arrives().saturating_since(timeline.now));
        let exited = ToWas::Exited(exit);
        process
            .to_was
            .send(exited, reap, Event::AtWas(id), timeline);
        self.cores.end(id, timeline);
    }

    // --- workers ------------------------------------------------------------------------------------

    pub(super) fn tell_worker(&mut self, id: ProcessId, input: ToWorkerModel) {
        let now = self.timeline.now;
        if !self.is_spared(id, &input) {
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
    fn is_spared(&mut self, id: ProcessId, input: &ToWorkerModel) -> bool {
        let Some(process) = self.processes.find(id) else {
            return false;
        };
        if process.hangs || !process.is_alive() {
            return false;
        }
        process.inputs += 1;
        match self.fate.of_input(process.inputs, input) {
            None => true,
            Some(Strike::Zombie) => {
                process.is_zombie = true;
                if let Some(checkers) = &mut self.chronicle.checkers {
                    checkers.struck(id);
                }
                true
            }
            Some(Strike::Hang) => {
                process.hangs = true;
                if let Some(checkers) = &mut self.chronicle.checkers {
                    checkers.struck(id);
                }
                false
            }
            Some(Strike::Crash) => {
                self.end_process(id, WorkerExit::Signal(11));
                false
            }
        }
    }

    pub(super) fn wake_worker(&mut self, id: ProcessId) {
        let now = self.timeline.now;
        if self.processes.find(id).is_none_or(|process| process.hangs) {
            return;
        }
        if let Some(process) = self.processes.find(id).filter(|p| p.frozen) {
            process.overslept |= process.alarm.is_it(now);
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

    pub(super) fn carry_out_worker(&mut self, id: ProcessId) {
        let now = self.timeline.now;
        while let Some(process) = self.processes.find(id)
            && let Life::Running(worker) = &mut process.life
        {
            match worker.poll_output() {
                Some(FromWorkerModel::Fact(ref fact)) => self.chronicle.worker(id, now, fact),
                Some(FromWorkerModel::Call(call)) => self.call_of_worker(id, call),
                Some(FromWorkerModel::Tell(message)) => self.word_of_worker(id, message),
                Some(FromWorkerModel::StartWork { work, cost }) => self.start_work(id, work, cost),
                Some(FromWorkerModel::Exit { code }) if process.busy_until > now => {
                    let event = Event::Exit { process: id, code };
                    self.timeline.at(process.busy_until, event);
                }
                Some(FromWorkerModel::MeasureMemory) => {
                    let kb = (process.memory + worker.held()) >> 10;
                    let sampled = ToWorkerModel::MemorySampled {
                        private_kb: kb,
                        virtual_kb: kb,
                    };
                    worker.handle_input(sampled, now);
                }
                Some(FromWorkerModel::Exit { code }) => {
                    self.end_process(id, WorkerExit::Code(code));
                }
                None => {
                    let due = worker.next_deadline().map(|deadline| deadline.at);
                    let event = Event::WakeWorker(id);
                    process.alarm.set(due, event, &mut self.timeline);
                    let held = worker.held();
                    if std::mem::replace(&mut process.held_before, held) < held {
                        self.memory_grew();
                    }
                    return;
                }
            }
        }
    }

    /// A worker asks the driver for something.
    fn call_of_worker(&mut self, id: ProcessId, call: Call) {
        let now = self.timeline.now;
        let Some(process) = self.processes.find(id) else {
            return;
        };
        let answers = matches!(
            call,
            Call::SendResponse { .. } | Call::SendEntityBody { .. }
        );
        if answers && process.is_zombie {
            return;
        }
        let mut delay = self.timeline.draw(Cost::DeviceHop);
        if let Some(lie) = self.fate.of_response(&call)
            && let Call::SendResponse { response, .. } = &call
        {
            if let Some(checkers) = &mut self.chronicle.checkers {
                checkers.lied(id, RequestId(lie));
            }
            let lie = Call::SendResponse {
                request: RequestId(lie),
                response: response.clone(),
                more: false,
            };
            let wire = &mut process.to_driver;
            wire.send(
                ToDriver::Call(lie),
                delay,
                Event::AtDriver(id),
                &mut self.timeline,
            );
        }
        if let Some(due) = process.end_due.filter(|_| answers)
            && let Some(late) = self.fate.of_last_moment(now, due)
        {
            if let Some(checkers) = &mut self.chronicle.checkers {
                checkers.struck(id);
            }
            delay = late;
            process.busy_until = now + late;
        }
        let wire = &mut process.to_driver;
        wire.send(
            ToDriver::Call(call),
            delay,
            Event::AtDriver(id),
            &mut self.timeline,
        );
    }

    /// A worker says something to WAS.
    fn word_of_worker(&mut self, id: ProcessId, message: FromWorker) {
        let now = self.timeline.now;
        let Some(process) = self.processes.find(id) else {
            return;
        };
        if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.said(id, now, &message);
        }
        let mut delay = self.timeline.draw(Cost::IpmHop) + self.fate.delay_of_word();
        if let FromWorker::PingReply { .. } = message
            && let Some(due) = process.pong_due.take()
        {
            delay = self.fate.of_pong(now, due).unwrap_or(delay);
        }
        let words = match self.fate.of_word() {
            Garble::Not => vec![ToWas::Word(message)],
            Garble::Twice => vec![ToWas::Word(message.clone()), ToWas::Word(message)],
            Garble::Nonsense => vec![ToWas::Nonsense],
            Garble::Cut => vec![ToWas::Cut],
        };
        if !matches!(words.as_slice(), [ToWas::Word(_)])
            && let Some(checkers) = &mut self.chronicle.checkers
        {
            checkers.struck(id);
        }
        for word in words {
            let wire = &mut process.to_was;
            wire.send(word, delay, Event::AtWas(id), &mut self.timeline);
        }
    }

    fn start_work(&mut self, id: ProcessId, work: WorkId, cost: Work) {
        match cost {
            Work::Run { cpu, allocate } => {
                if allocate > 0 {
                    self.memory_grew();
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
            // No file comes to a virtual machine, and none goes.
            Work::WatchFile { .. } => {}
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

    pub(super) fn file_read(&mut self, id: ProcessId, work: WorkId) {
        if let Some(process) = self.processes.find(id).filter(|p| p.frozen) {
            return process.files_read.push(work);
        }
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
