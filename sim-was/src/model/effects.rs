//! What the parts of WAS write their outputs and timers into.

use std::collections::VecDeque;

use sim_httpsys::api::{Call, CallId, ControlCall, ProcessId};
use sim_httpsys::clockwork::{Deadlines, Instant};

use super::census::Census;
use super::{ClientId, Output, PoolId, SpawnId, Timer};
use crate::control::{Answer, Refusal};
use crate::counters::Counters;
use crate::event_log::{Event, Fact};

/// Outputs in their order, timers, and the numbers that are given out.
#[derive(Debug, Default)]
pub(super) struct Effects {
    outputs: VecDeque<Output>,
    pub(super) timers: Deadlines<Timer>,
    /// The driver is to be something else than it was told last.
    pub(super) driver_changed: bool,
    /// Whose worker each order is; the router takes them from here.
    pub(super) ordered: Vec<(SpawnId, PoolId)>,
    /// Processes that were abandoned; the router forgets them.
    pub(super) orphaned: Vec<ProcessId>,
    /// Worker processes of the whole server.
    pub(super) census: Census,
    /// Folded from the facts that were stated.
    pub(super) counters: Counters,
    /// The moment of the input that is being handled.
    pub(super) now: Instant,
    spawns: u64,
    calls: u32,
}

impl Effects {
    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn fact(&mut self, fact: Fact) {
        self.counters.record(&fact, self.now);
        self.push(Output::Fact(fact));
    }

    pub(super) fn event(&mut self, event: Event) {
        self.fact(Fact::Event(event));
    }

    pub(super) fn answer(&mut self, client: ClientId, answer: Answer) {
        self.push(Output::Answer { client, answer });
    }

    pub(super) fn refuse(&mut self, client: ClientId, refusal: Refusal) {
        self.answer(client, Answer::Refused(refusal));
    }

    /// Makes a call of the driver; its number comes back with the completion.
    pub(super) fn call(&mut self, call: ControlCall) -> CallId {
        self.calls = self.calls.wrapping_add(1);
        let id = CallId(self.calls);
        self.push(Output::Call(Call::Control { id, call }));
        id
    }

    pub(super) fn next_spawn(&mut self) -> SpawnId {
        self.spawns += 1;
        SpawnId(self.spawns)
    }

    /// Notes which pool has ordered a process.
    pub(super) fn spawned_by(&mut self, spawn: SpawnId, pool: PoolId) {
        self.ordered.push((spawn, pool));
    }

    /// Disarms every timer of a worker.
    pub(super) fn clear_timers(&mut self, worker: SpawnId) {
        self.timers.clear(Timer::Startup(worker));
        self.timers.clear(Timer::Shutdown(worker));
        self.timers.clear(Timer::PingDue(worker));
        self.timers.clear(Timer::PingReply(worker));
        self.timers.clear(Timer::Wake(worker));
    }
}
