//! The life of the process: how it starts, what WAS tells it, how it is suspended, drains and ends, and
//! when it asks WAS for something itself.

use sim_httpsys::api::{Call, CallId, CallResult, ControlCall, RequestQueueName, Win32Error};
use sim_httpsys::clockwork::Instant;

use super::{Doer, Lifecycle, Output, Timer, Work, WorkerProcess, health};
use crate::counters::WorkerCounters;
use crate::facts::Fact;
use crate::ipm::{FromWorker, RecycleReason, ShutdownReason, StartFailure, ToWorker};
use crate::symptoms::StartEnd;

impl WorkerProcess {
    // ---- start ----------------------------------------------------------------------------------

    /// Opens the queue, and sets the timers that count from the start of the process.
    pub(super) fn open(&mut self, id: CallId, now: Instant) {
        let name = RequestQueueName(self.pool.clone());
        let call = ControlCall::OpenRequestQueue { name };
        self.outputs
            .push_back(Output::Call(Call::Control { id, call }));
        if let Some(lifetime) = self.health.lifetime() {
            self.deadlines.set(Timer::Lifetime, now + lifetime);
        }
        if self.health.watches_memory() {
            self.deadlines
                .set(Timer::MemoryCheck, now + self.symptoms.memory_check);
        }
        self.arm_schedule(now);
    }

    /// It says why it cannot start, and exits.
    pub(super) fn cannot_start(&mut self, failure: StartFailure, message: String) {
        self.tell(FromWorker::StartFailed { failure, message });
        self.exit(1);
    }

    /// Its queue is open: it loads its modules and the CLR, which costs what its pool says.
    fn initialize(&mut self, now: Instant) {
        self.lifecycle = Lifecycle::Initializing;
        let cpu = self.symptoms.start_cpu;
        if cpu.is_zero() {
            self.loaded(now);
        } else {
            self.start_work(Work::Run { cpu, allocate: 0 }, Doer::Initialize);
        }
    }

    /// What a start computes is computed; now it may wait.
    pub(super) fn loaded(&mut self, now: Instant) {
        if self.lifecycle != Lifecycle::Initializing {
            return;
        }
        let wait = self.symptoms.start_wait;
        if wait.is_zero() {
            self.initialized(now);
        } else {
            self.deadlines.set(Timer::Initialize, now + wait);
        }
    }

    /// The process itself is set up, or fails as it was told to.
    pub(super) fn initialized(&mut self, now: Instant) {
        if self.lifecycle != Lifecycle::Initializing {
            return;
        }
        match self.symptoms.start {
            StartEnd::Ready => self.preload(now),
            StartEnd::Never => {}
            StartEnd::Dies(death) => self.start_work(Work::Die(death), Doer::Initialize),
        }
    }

    // ---- what the driver and WAS say -------------------------------------------------------------

    pub(super) fn called(
        &mut self,
        id: CallId,
        result: &Result<CallResult, Win32Error>,
        now: Instant,
    ) {
        match self.lifecycle {
            Lifecycle::Opening(open) if open == id => match result {
                Ok(_) => self.initialize(now),
                Err(error) => {
                    let message = format!("cannot open the request queue {}: {error}", self.pool);
                    self.cannot_start(StartFailure::RequestQueue, message);
                }
            },
            Lifecycle::Draining {
                call,
                stopped: false,
            } if call == id => {
                self.state(Fact::StoppedReceiving);
                self.tell(FromWorker::Draining);
                self.lifecycle = Lifecycle::Draining {
                    call,
                    stopped: true,
                };
            }
            Lifecycle::Suspending(call) if call == id => self.receives_cancelled(now),
            // Answers to flushes say nothing that is needed.
            Lifecycle::Opening(_)
            | Lifecycle::Initializing
            | Lifecycle::Preloading { .. }
            | Lifecycle::Running
            | Lifecycle::Suspending(_)
            | Lifecycle::Suspended
            | Lifecycle::Draining { .. }
            | Lifecycle::Stopping { .. }
            | Lifecycle::Exited => {}
        }
    }

    pub(super) fn told(&mut self, message: &ToWorker, now: Instant) {
        self.counters.told(message);
        match *message {
            // Assumed: IIS answers pings on a native thread, which handlers cannot starve.
            ToWorker::Ping { sequence } => {
                if self.symptoms.answers_pings {
                    self.tell(FromWorker::PingReply { sequence });
                }
            }
            ToWorker::QueryCounters { token } => {
                let counters = self.counters_now();
                self.tell(FromWorker::Counters { token, counters });
            }
            ToWorker::ListRequests { token } => {
                let all = self.contexts.in_order().into_iter();
                let real = all.filter(|(_, context)| !context.simulated);
                let mut requests: Vec<_> = real.map(|(_, c)| c.describe(now)).collect();
                requests.sort_by_key(|request| std::cmp::Reverse(request.elapsed_ms));
                self.tell(FromWorker::Requests { token, requests });
            }
            ToWorker::Shutdown { reason, drain } => self.shutdown(reason, drain, now),
            ToWorker::Suspend => self.suspend(),
            ToWorker::Resume => self.resume_receiving(now),
            ToWorker::SetIdleTimeout { timeout } => self.health.set_idle_timeout(timeout),
            ToWorker::ApplicationChanged {
                ref application,
                restart,
            } => self.application_changed((**application).clone(), restart, now),
            ToWorker::ApplicationRemoved { url_context } => {
                self.application_removed(url_context, now);
            }
        }
    }

    /// Source: native API reference, `DrainRequestsGracefully`: true for a recycle, false for an IIS restart.
    fn shutdown(&mut self, reason: ShutdownReason, drain: bool, now: Instant) {
        let in_flight = u32::try_from(self.in_flight).unwrap_or(u32::MAX);
        let ordered = Fact::StopOrdered {
            reason,
            drain,
            in_flight,
        };
        match (self.lifecycle, drain) {
            (Lifecycle::Running | Lifecycle::Suspending(_), true) => {
                self.state(ordered);
                let call = self.call(ControlCall::ShutdownRequestQueue);
                self.lifecycle = Lifecycle::Draining {
                    call,
                    stopped: false,
                };
            }
            (
                Lifecycle::Opening(_)
                | Lifecycle::Initializing
                | Lifecycle::Preloading { .. }
                | Lifecycle::Suspended,
                true,
            )
            | (
                Lifecycle::Opening(_)
                | Lifecycle::Initializing
                | Lifecycle::Preloading { .. }
                | Lifecycle::Running
                | Lifecycle::Suspending(_)
                | Lifecycle::Suspended
                | Lifecycle::Draining { .. },
                false,
            ) => {
                self.state(ordered);
                self.drop_requests();
                self.stop_applications(now);
            }
            (Lifecycle::Draining { .. }, true)
            | (Lifecycle::Stopping { .. } | Lifecycle::Exited, _) => {}
        }
    }

    /// Everything in flight is dropped; the clients see it when the process exits.
    fn drop_requests(&mut self) {
        let contexts = std::mem::take(&mut self.contexts);
        for (request, context) in contexts.in_order() {
            let activity = context.request.activity;
            if !context.simulated {
                self.state(Fact::RequestAborted { request, activity });
            }
            self.deadlines.clear(Timer::Request(request));
        }
        self.in_flight = 0;
        self.concurrent.clear();
        self.runnable.clear();
    }

    /// It is ready: WAS is told first, then it receives.
    pub(super) fn ready(&mut self, now: Instant) {
        self.lifecycle = Lifecycle::Running;
        self.state(Fact::Ready);
        self.tell(FromWorker::Ready);
        self.post_receives();
        self.deadlines
            .set(Timer::IdleCheck, now + health::IDLE_CHECK);
    }

    pub(super) fn exit(&mut self, code: i32) {
        if self.lifecycle != Lifecycle::Exited {
            let has_begun = !matches!(
                self.lifecycle,
                Lifecycle::Opening(_) | Lifecycle::Initializing
            );
            self.lifecycle = Lifecycle::Exited;
            self.state(Fact::Exiting { code });
            // Whoever has not come to be has counted nothing.
            if has_begun {
                let counters = self.counters_now();
                self.tell(FromWorker::Exiting { counters });
            }
            self.outputs.push_back(Output::Exit { code });
        }
    }

    fn counters_now(&self) -> Box<WorkerCounters> {
        let mut counters = Box::new(self.counters);
        counters.active_threads_count = self.threads.busy() as u64;
        counters.maximum_threads_count = self.threads.threads_max() as u64;
        counters
    }

    // ---- suspension -----------------------------------------------------------------------------

    /// It is to be frozen: what it has posted is taken back first, because a frozen process answers
    /// nothing.
    /// Assumed: a frozen process sees no change of its files, so that what the driver keeps of its responses
    /// may be older than they are until it is awake; nothing says that IIS flushes it before.
    fn suspend(&mut self) {
        if self.lifecycle == Lifecycle::Running && self.in_flight == 0 {
            let call = self.call(ControlCall::CancelReceives);
            self.lifecycle = Lifecycle::Suspending(call);
        } else {
            self.tell(FromWorker::Resumed);
        }
    }

    /// The driver has taken the receives back; a request may have come before.
    fn receives_cancelled(&mut self, now: Instant) {
        self.posted = 0;
        if self.in_flight == 0 {
            self.lifecycle = Lifecycle::Suspended;
            let clocks = [Timer::Lifetime, Timer::Schedule];
            let due = clocks
                .into_iter()
                .filter_map(|timer| self.deadlines.get(timer));
            let wake_in = due.min().map(|due| due.saturating_since(now));
            self.tell(FromWorker::Suspended { wake_in });
        } else {
            self.lifecycle = Lifecycle::Running;
            self.post_receives();
            self.tell(FromWorker::Resumed);
        }
    }

    fn resume_receiving(&mut self, now: Instant) {
        if self.lifecycle == Lifecycle::Suspended {
            self.lifecycle = Lifecycle::Running;
            self.health.busy(now);
            self.post_receives();
            self.tell(FromWorker::Resumed);
        }
    }

    // ---- what it asks for -----------------------------------------------------------------------

    pub(super) fn check_idle(&mut self, now: Instant) {
        if self.lifecycle == Lifecycle::Running && self.health.is_idle(self.in_flight, now) {
            self.tell(FromWorker::Idle);
        }
        self.deadlines
            .set(Timer::IdleCheck, now + health::IDLE_CHECK);
    }

    pub(super) fn check_memory(&mut self, now: Instant) {
        self.outputs.push_back(Output::MeasureMemory);
        self.deadlines
            .set(Timer::MemoryCheck, now + self.symptoms.memory_check);
    }

    pub(super) fn schedule_due(&mut self, now: Instant) {
        if let Some(local) = self.health.run_schedule() {
            self.tell(FromWorker::ScheduleRan { local });
            self.request_recycle(Some(RecycleReason::Schedule));
        }
        self.arm_schedule(now);
    }

    pub(super) fn arm_schedule(&mut self, now: Instant) {
        match self.health.until_schedule(self.clock.utc(now)) {
            Some(wait) => self.deadlines.set(Timer::Schedule, now + wait),
            None => self.deadlines.clear(Timer::Schedule),
        }
    }

    pub(super) fn request_recycle(&mut self, reason: Option<RecycleReason>) {
        if let Some(reason) = reason {
            self.state(Fact::RecycleRequested { reason });
            self.tell(FromWorker::RequestRecycle { reason });
        }
    }
}
