//! The workers' part of the world: birth and death of processes, what reaches a worker, and what becomes
//! of its outputs.

use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::StateMachine;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};
use sim_was::event_log::WorkerExit;
use sim_was::model::{Input as ToWasModel, Spawn};
use sim_worker::model::{
    Death, Input as ToWorkerModel, Outcome, Output as FromWorkerModel, Work, WorkId, WorkerProcess,
};

use super::{Event, World, is_due};
use crate::virtual_world::costs::Cost;
use crate::virtual_world::faults::Strike;
use crate::virtual_world::processes::{Life, ToDriver, ToWas};

impl World {
    // --- processes ----------------------------------------------------------------------------------

    pub(super) fn spawn(&mut self, order: Spawn) -> ToWasModel {
        let memory = self.worker_memory;
        let id = self.processes.create(order.configuration, memory);
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
            Some(Strike::Hang) => {
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
        if exit != WorkerExit::Code(0)
            && let Some(checkers) = &mut self.chronicle.checkers
        {
            checkers.struck(id);
        }
        let (hang_up, reap) = (
            self.timeline.draw(Cost::HangUp),
            self.timeline.draw(Cost::Reap),
        );
        let (wire, timeline) = (&mut process.to_driver, &mut self.timeline);
        if !mutated(Mutant::LostHangUp) {
            wire.send(ToDriver::HangUp, hang_up, Event::AtDriver(id), timeline);
        }
        let exited = ToWas::Exited(exit);
        process
            .to_was
            .send(exited, reap, Event::AtWas(id), timeline);
        self.cores.end(id, timeline);
    }

    // --- workers ------------------------------------------------------------------------------------

    pub(super) fn tell_worker(&mut self, id: ProcessId, input: ToWorkerModel) {
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
                FromWorkerModel::MeasureMemory => {
                    let kb = (process.memory + worker.allocated()) >> 10;
                    let sampled = ToWorkerModel::MemorySampled {
                        private_kb: kb,
                        virtual_kb: kb,
                    };
                    worker.handle_input(sampled, now);
                }
                FromWorkerModel::Exit { code } => self.end_process(id, WorkerExit::Code(code)),
                FromWorkerModel::Fact(fact) => self.chronicle.worker(id, now, fact),
            }
        }
    }

    fn start_work(&mut self, id: ProcessId, work: WorkId, cost: Work) {
        match cost {
            Work::Run { cpu, .. } => {
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
