//! The services' part of the world: what reaches `Was`, and what becomes of its outputs.

use std::collections::VecDeque;

use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::StateMachine;
use sim_was::config::Configuration;
use sim_was::config::edit::{Change, apply};
use sim_was::event_log::WorkerExit;
use sim_was::model::{Input as ToWasModel, MachineMemory, Output as FromWas};
use sim_worker::ipm::ToWorker;

use super::{Event, Notice, World};
use crate::virtual_world::costs::Cost;

impl World {
    pub(super) fn tell_was(&mut self, input: ToWasModel) {
        if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.was_given(&input);
        }
        self.was.handle_input(input, self.timeline.now);
        self.carry_out_was();
    }

    pub(super) fn carry_out_was(&mut self) {
        let now = self.timeline.now;
        if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.pass(now);
        }
        let mut answers = VecDeque::new();
        loop {
            while let Some(output) = self.was.poll_output() {
                match output {
                    FromWas::Call(call) => {
                        self.controller.call(call, &mut self.timeline);
                    }
                    FromWas::Tell { pid, message } => {
                        if let Some(checkers) = &mut self.chronicle.checkers {
                            checkers.tell(pid, &message);
                        }
                        self.tell_process(pid, message);
                    }
                    FromWas::Spawn(order) => answers.push_back(self.spawn(*order)),
                    FromWas::Terminate { pid } => self.end_process(pid, WorkerExit::Signal(9)),
                    FromWas::ReadConfig => {
                        let configuration = self.configuration.clone();
                        answers.push_back(ToWasModel::ConfigRead(Ok(configuration)));
                    }
                    FromWas::EditConfig { client, changes } => {
                        let result = self.edit_configuration(&changes);
                        answers.push_back(ToWasModel::ConfigEdited { client, result });
                    }
                    FromWas::Answer { client, answer } => {
                        self.controller.answered(client);
                        self.notices.push_back(Notice::Answered(client, answer));
                    }
                    // No program of an administrator exists here.
                    FromWas::Run(program) => answers.push_back(ToWasModel::RunFailed(program)),
                    // It lives on; nobody is told of its end.
                    FromWas::Orphan { .. } => {}
                    FromWas::Freeze { pid, .. } => self.freeze(pid),
                    FromWas::Thaw { pid } => self.thaw(pid),
                    FromWas::MeasureCpu { pool, pids } => {
                        let cpu = self.cores.cpu_of(&pids, now);
                        answers.push_back(ToWasModel::CpuMeasured { pool, cpu });
                    }
                    FromWas::MeasureMachine => {
                        let memory = self.machine_memory();
                        answers.push_back(ToWasModel::MachineMeasured(memory));
                    }
                    FromWas::Fact(fact) => self.chronicle.was(now, fact),
                    FromWas::Stopped => self.notices.push_back(Notice::Stopped),
                }
            }
            let Some(answer) = answers.pop_front() else {
                break;
            };
            if let Some(checkers) = &mut self.chronicle.checkers {
                checkers.was_given(&answer);
            }
            self.was.handle_input(answer, now);
        }
        if let Some(checkers) = &mut self.chronicle.checkers {
            checkers.was_settled();
        }
        let due = self.was.next_deadline().map(|deadline| deadline.at);
        self.was_alarm.set(due, Event::WakeWas, &mut self.timeline);
    }

    /// WAS says something to a worker, whose limits begin to count.
    fn tell_process(&mut self, pid: ProcessId, message: ToWorker) {
        let now = self.timeline.now;
        let Some(process) = self.processes.find(pid).filter(|p| p.is_alive()) else {
            return;
        };
        let pools = &self.configuration.application_pools;
        let pool = pools.iter().find(|pool| pool.name == process.pool);
        if let Some(limits) = pool.map(|pool| &pool.process_model) {
            if let ToWorker::Ping { .. } = message {
                process.pong_due = Some(now + limits.ping_response_time);
            } else if let ToWorker::Shutdown { .. } = message {
                let due = now + limits.shutdown_time_limit;
                process.end_due.get_or_insert(due);
            }
        }
        let delay = self.timeline.draw(Cost::IpmHop) + self.fate.delay_of_word();
        let wire = &mut process.from_was;
        wire.send(message, delay, Event::FromWas(pid), &mut self.timeline);
    }

    /// Assumed: the machine of the virtual world has 8 GiB, of which only workers commit any.
    fn machine_memory(&mut self) -> MachineMemory {
        const PHYSICAL: u64 = 8 << 30;
        let committed = self.memory_held();
        MachineMemory {
            committed,
            physical: PHYSICAL,
            free: PHYSICAL.saturating_sub(committed),
        }
    }

    /// The file is edited as appcmd would, and read again.
    fn edit_configuration(&mut self, changes: &[Change]) -> Result<Configuration, String> {
        let edited = apply(&self.configuration_text, changes).map_err(|error| error.to_string())?;
        let read = self.reader.read(&edited);
        let configuration = read.map_err(|error| error.to_string())?;
        self.configuration_text = edited;
        self.configuration = configuration.clone();
        Ok(configuration)
    }
}
