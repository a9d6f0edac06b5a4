//! One worker process as WAS sees it.
//!
//! ```text
//!            pid known        Ready            told to stop            exit
//!  Spawned ────────────► Starting ─────► Running ─────────► Stopping ───────► (gone)
//!     │                     │  └────────────┼──────────────────▲  │             ▲
//!     └─────────────────────┴───────────────┴─── kill ──► Killed ◄┘─────────────┘
//!
//!  Running ─ idle ─► Suspending ─► Suspended (frozen) ─ demand ─► Resuming ─► Running
//! ```

use std::time::Duration;

use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::Instant;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};
use sim_worker::ipm::{ShutdownReason, ToWorker};

use super::effects::Effects;
use super::ping::{Overdue, Ping, Reply};
use super::{FreezeReason, Output, SpawnId, Timer};
use crate::config::ProcessModel;
use crate::control::WorkerProcessState;
use crate::event_log::Fact;

/// An answer that comes in the very instant of its limit is in time: the limit is missed just after.
/// Assumed: Microsoft's "within" includes the last moment.
const MISSED: Duration = Duration::from_nanos(1);

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerState {
    /// The process was ordered; there is no pid yet.
    Spawned,
    /// The process exists and has not said that it is ready.
    Starting,
    /// It serves.
    Running,
    /// It was asked to give its receives back, and still serves.
    Suspending,
    /// It takes nothing, and is frozen.
    Suspended,
    /// It was woken, and does not say yet that it serves.
    Resuming,
    /// It was told to stop.
    Stopping,
    /// It was killed (or will be, as soon as its pid is known).
    Killed,
}

/// One worker process.
#[derive(Clone, Debug)]
pub(super) struct SupervisedWorker {
    spawn: SpawnId,
    pub(super) pid: Option<ProcessId>,
    pub(super) slot: usize,
    state: WorkerState,
    /// A failure of this process was counted; no second one is.
    pub(super) failed: bool,
    /// The process does not run.
    frozen: bool,
    ping: Ping,
    /// What it was started with: a change of the pool is for the next one.
    limits: ProcessModel,
}

impl SupervisedWorker {
    /// A worker whose process is ordered now.
    ///
    /// Source: IIS docs, `startupTimeLimit`: the time for a worker to start up and begin processing.
    /// Source: WAS event 5080 and `disallowRotationOnConfigChange`: a change of limits and of pings needs new
    /// processes, and the old ones go on with what they were started with.
    pub(super) fn order(
        slot: usize,
        limits: &ProcessModel,
        fx: &mut Effects,
        now: Instant,
    ) -> Self {
        let spawn = fx.next_spawn();
        if !mutated(Mutant::StartupWithoutLimit) {
            fx.timers
                .set(Timer::Startup(spawn), now + limits.startup_time_limit);
        }
        Self {
            spawn,
            pid: None,
            slot,
            state: WorkerState::Spawned,
            failed: false,
            frozen: false,
            ping: Ping::default(),
            limits: limits.clone(),
        }
    }

    /// Its process exists.
    pub(super) fn created(&mut self, pid: ProcessId, pool: &str, fx: &mut Effects) {
        self.pid = Some(pid);
        fx.fact(Fact::WorkerSpawned {
            process: pid,
            pool: pool.to_owned(),
        });
        match self.state {
            WorkerState::Spawned => self.become_(WorkerState::Starting),
            WorkerState::Killed => self.terminate(fx),
            WorkerState::Starting
            | WorkerState::Running
            | WorkerState::Suspending
            | WorkerState::Suspended
            | WorkerState::Resuming
            | WorkerState::Stopping => {}
        }
    }

    /// It serves from now on.
    pub(super) fn ready(&mut self, fx: &mut Effects, now: Instant) {
        self.become_(WorkerState::Running);
        fx.timers.clear(Timer::Startup(self.spawn));
        self.watch(fx, now);
        if let Some(process) = self.pid {
            fx.fact(Fact::WorkerReady { process });
        }
    }

    /// Begins to ask it whether it lives. A ping that it had not answered when it was frozen is to be
    /// answered now.
    pub(super) fn watch(&mut self, fx: &mut Effects, now: Instant) {
        let limits = &self.limits;
        if limits.pinging_enabled {
            fx.timers
                .set(Timer::PingDue(self.spawn), now + limits.ping_interval);
            if let Some(due) = self.ping.ask_again(limits.ping_response_time, now) {
                fx.timers.set(Timer::PingReply(self.spawn), due);
            }
        }
    }

    /// Lets it not run.
    pub(super) fn freeze(&mut self, reason: FreezeReason, fx: &mut Effects) {
        if let Some(pid) = self.pid
            && !self.frozen
        {
            self.frozen = true;
            fx.push(Output::Freeze { pid, reason });
        }
    }

    /// Lets it run.
    pub(super) fn thaw(&mut self, fx: &mut Effects) {
        if let Some(pid) = self.pid
            && self.frozen
        {
            self.frozen = false;
            fx.push(Output::Thaw { pid });
        }
    }

    /// Tells it to stop, within its limit.
    ///
    /// A worker that drains is told again when the service stops, which does not wait for requests.
    /// One without a pid has served nobody and is killed as soon as it exists.
    /// Assumed: a worker that was told to stop is watched by the shutdown limit alone, not pinged.
    pub(super) fn stop(&mut self, reason: ShutdownReason, fx: &mut Effects, now: Instant) {
        let drain = reason != ShutdownReason::ServiceStop;
        self.stop_with(reason, drain, fx, now);
    }

    /// Tells it to finish its requests and stop within its limit, whatever the reason.
    pub(super) fn stop_draining(&mut self, reason: ShutdownReason, fx: &mut Effects, now: Instant) {
        self.stop_with(reason, true, fx, now);
    }

    fn stop_with(&mut self, reason: ShutdownReason, drain: bool, fx: &mut Effects, now: Instant) {
        match self.state {
            WorkerState::Killed => return,
            WorkerState::Spawned => return self.kill(fx),
            WorkerState::Stopping if drain => return,
            WorkerState::Stopping => {}
            WorkerState::Starting
            | WorkerState::Running
            | WorkerState::Suspending
            | WorkerState::Suspended
            | WorkerState::Resuming => {
                self.become_(WorkerState::Stopping);
                self.thaw(fx);
                fx.clear_timers(self.spawn);
                let half = u32::from(mutated(Mutant::KillBeforeLimit));
                if !mutated(Mutant::DrainWithoutLimit) {
                    let limit = self.limits.shutdown_time_limit;
                    fx.timers
                        .set(Timer::Shutdown(self.spawn), now + limit / (1 + half));
                }
            }
        }
        if let Some(pid) = self.pid {
            fx.fact(Fact::WorkerStopOrdered {
                process: pid,
                reason,
            });
            let message = ToWorker::Shutdown { reason, drain };
            fx.push(Output::Tell { pid, message });
        }
    }

    /// It has said that it will exit by itself; it gets as long for that as for any stop.
    pub(super) fn leaving(&mut self, fx: &mut Effects, now: Instant) {
        self.become_(WorkerState::Stopping);
        fx.clear_timers(self.spawn);
        let due = now + self.limits.shutdown_time_limit;
        fx.timers.set(Timer::Shutdown(self.spawn), due);
    }

    /// Kills it.
    pub(super) fn kill(&mut self, fx: &mut Effects) {
        if self.state == WorkerState::Killed {
            return;
        }
        self.become_(WorkerState::Killed);
        fx.clear_timers(self.spawn);
        self.terminate(fx);
    }

    /// Asks it whether it lives.
    pub(super) fn ping(&mut self, fx: &mut Effects, now: Instant) {
        let watched = matches!(
            self.state,
            WorkerState::Running | WorkerState::Suspending | WorkerState::Resuming
        );
        if !watched || mutated(Mutant::PingNotSent) {
            return;
        }
        fx.timers
            .set(Timer::PingDue(self.spawn), now + self.limits.ping_interval);
        if self.ping.is_outstanding() {
            return;
        }
        let (sequence, due) = self.ping.send(self.limits.ping_response_time, now);
        fx.timers.set(Timer::PingReply(self.spawn), due + MISSED);
        if let Some(pid) = self.pid {
            let message = ToWorker::Ping { sequence };
            fx.push(Output::Tell { pid, message });
        }
    }

    /// It has answered a ping. A late answer of a worker that is on its way out means nothing.
    pub(super) fn ping_reply(&mut self, sequence: u64, fx: &mut Effects) -> Reply {
        if self.is_leaving() {
            return Reply::Alive;
        }
        fx.timers.clear(Timer::PingReply(self.spawn));
        self.ping.reply(sequence)
    }

    /// The time for an answer is over: whether it hangs.
    pub(super) fn ping_overdue(&mut self, fx: &mut Effects, now: Instant) -> bool {
        match self.ping.overdue(self.limits.ping_response_time, now) {
            Overdue::Hangs => !mutated(Mutant::PingTimeoutIgnored),
            Overdue::AskAgain(due) => {
                fx.timers.set(Timer::PingReply(self.spawn), due + MISSED);
                false
            }
        }
    }

    /// What it was started with.
    pub(super) fn limits(&self) -> &ProcessModel {
        &self.limits
    }

    pub(super) fn spawn(&self) -> SpawnId {
        self.spawn
    }

    pub(super) fn state(&self) -> WorkerState {
        self.state
    }

    /// Whether it was told to stop or killed.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.state, WorkerState::Stopping | WorkerState::Killed)
    }

    /// Whether it is up: it serves, or could.
    pub(super) fn is_up(&self) -> bool {
        match self.state {
            WorkerState::Running
            | WorkerState::Suspending
            | WorkerState::Suspended
            | WorkerState::Resuming => true,
            WorkerState::Spawned
            | WorkerState::Starting
            | WorkerState::Stopping
            | WorkerState::Killed => false,
        }
    }

    /// Whether it will serve in a moment.
    pub(super) fn is_coming(&self) -> bool {
        self.is_starting() || self.state == WorkerState::Resuming
    }

    /// Whether it has not said yet that it is ready.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, WorkerState::Spawned | WorkerState::Starting)
    }

    /// Whether it can say what it is executing.
    pub(super) fn answers_questions(&self) -> bool {
        !self.frozen && matches!(self.state, WorkerState::Running | WorkerState::Stopping)
    }

    /// Its state as tools show it.
    pub(super) fn shown(&self) -> WorkerProcessState {
        match self.state {
            WorkerState::Spawned | WorkerState::Starting => WorkerProcessState::Starting,
            // Source: IIS docs: a suspended process still counts as running.
            WorkerState::Running
            | WorkerState::Suspending
            | WorkerState::Suspended
            | WorkerState::Resuming => WorkerProcessState::Running,
            WorkerState::Stopping | WorkerState::Killed => WorkerProcessState::Stopping,
        }
    }

    fn terminate(&self, fx: &mut Effects) {
        if let Some(pid) = self.pid {
            fx.fact(Fact::WorkerKilled { process: pid });
            fx.push(Output::Terminate { pid });
        }
    }

    pub(super) fn become_(&mut self, next: WorkerState) {
        use WorkerState::{
            Killed, Resuming, Running, Spawned, Starting, Stopping, Suspended, Suspending,
        };
        debug_assert!(
            matches!(
                (self.state, next),
                (Spawned, Starting)
                    | (Starting | Resuming, Running)
                    | (Running, Suspending)
                    | (Suspending, Running | Suspended)
                    | (Suspended, Resuming)
                    | (
                        Starting | Running | Suspending | Suspended | Resuming,
                        Stopping
                    )
                    | (
                        Spawned | Starting | Running | Suspending | Suspended | Resuming | Stopping,
                        Killed
                    )
            ),
            "a worker cannot go from {:?} to {next:?}",
            self.state
        );
        self.state = next;
    }
}
