//! The loop that drives the model: wait, read, handle, write. One thread.
//!
//! In each turn every socket is read once and written once, however many frames there are. Facts are
//! flushed before the turn's answers leave.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use rustix::process::{Signal, getpid, kill_process};
use sim_httpsys::api::ProcessId;
use sim_httpsys::api::wire::{decode_completion, encode_call};
use sim_httpsys::clockwork::{Instant, StateMachine as _, UtcClock};
use sim_httpsys::recording::{Recorded, Tape};

use super::clock::{clock_now, utc_clock};
use super::files::{self, Found};
use super::pipe::Pipe;
use super::trace::Trace;
use super::watch::{Watch, Watches};
use super::work::{Job, Threads};
use super::{Args, RunError, connect};
use crate::configuration::WorkerConfiguration;
use crate::ipm;
use crate::model::{Death, Input, MachineSetup, Outcome, Output, Work, WorkId, WorkerProcess};

const DEVICE: Token = Token(0);
const IPM: Token = Token(1);
const WAKER: Token = Token(2);

/// How often the wall clock is looked at, if something is to be done by it.
const WALL_CLOCK_PERIOD: Duration = Duration::from_secs(10);
/// A wall clock that differs from what it should show by more was set.
const CLOCK_SET: Duration = Duration::from_millis(500);
/// How long the last messages may take to leave when the process exits.
const FAREWELL: Duration = Duration::from_secs(2);
/// Most threads that really burn at once, whatever the simulated pool has.
const THREADS_MAX: usize = 256;

struct EventLoop {
    model: Recorded<WorkerProcess>,
    device: Pipe,
    ipm: Pipe,
    threads: Threads,
    watches: Watches,
    trace: Trace,
    /// What came at once of an output, for when all outputs of this step are polled.
    done: VecDeque<Input>,
    exit: Option<i32>,
    /// When the wall clock is looked at next, if ever, and what it is to show.
    wall_clock: Option<Instant>,
    clock: UtcClock,
}

/// Runs the loop to its end: the exit code.
pub(super) fn run(
    args: Args,
    configuration: WorkerConfiguration,
    process: ProcessId,
) -> Result<i32, RunError> {
    let Args {
        ipm,
        device,
        trace,
        record,
        ..
    } = args;
    let trace = Trace::open(trace.as_deref(), process);
    let mut poll = Poll::new().map_err(RunError::Poll)?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(RunError::Poll)?);
    // WAS first: if it is gone, nothing is to be done.
    let mut ipm = Pipe::new(connect(ipm)?);
    let mut device = Pipe::new(connect(device)?);
    ipm.register(poll.registry(), IPM).map_err(RunError::Poll)?;
    device
        .register(poll.registry(), DEVICE)
        .map_err(RunError::Poll)?;
    let now = clock_now();
    let threads_max = usize::try_from(configuration.threads_max)
        .unwrap_or(THREADS_MAX)
        .min(THREADS_MAX);
    let scheduled = !configuration.periodic_restart.schedule.is_empty();
    let wall_clock = scheduled.then(|| now + WALL_CLOCK_PERIOD);
    let clock = utc_clock();
    let setup = MachineSetup {
        configuration: configuration.clone(),
        process,
        clock,
        begun: now,
    };
    let tape = record.and_then(|folder| record_in(&folder, setup));
    let mut this = EventLoop {
        model: Recorded::new(WorkerProcess::new(configuration, process, clock, now), tape),
        device,
        ipm,
        threads: Threads::new(threads_max, waker),
        watches: Watches::default(),
        trace,
        done: VecDeque::new(),
        exit: None,
        wall_clock,
        clock,
    };
    this.act(now);
    let mut events = Events::with_capacity(16);
    loop {
        this.send();
        if let Some(code) = this.exit {
            this.ipm.write_all(FAREWELL);
            this.device.write_all(FAREWELL);
            return Ok(code);
        }
        if this.device.closed || this.ipm.closed {
            return Ok(0);
        }
        for (pipe, token) in [(&mut this.ipm, IPM), (&mut this.device, DEVICE)] {
            pipe.watch(poll.registry(), token).map_err(RunError::Poll)?;
        }
        if let Err(error) = poll.poll(&mut events, this.patience()) {
            if error.kind() == std::io::ErrorKind::Interrupted {
                continue;
            }
            return Err(RunError::Poll(error));
        }
        let (mut device, mut ipm) = (this.device.more, this.ipm.more);
        for event in &events {
            let (pipe, news) = match event.token() {
                DEVICE => (&mut this.device, &mut device),
                IPM => (&mut this.ipm, &mut ipm),
                _ => continue,
            };
            pipe.ended |= event.is_read_closed() || event.is_error();
            *news |= event.is_readable() || pipe.ended;
        }
        this.turn(device, ipm)?;
    }
}

/// A recording of this process. What cannot be recorded is worked off nevertheless.
fn record_in(folder: &Path, setup: MachineSetup) -> Option<Tape> {
    let tape = Tape::begin(folder, "w3wp", setup);
    tape.inspect_err(
        |error| tracing::warn!(%error, folder = %folder.display(), "nothing is recorded"),
    )
    .ok()
}

impl EventLoop {
    /// How long to wait for something to happen.
    fn patience(&self) -> Option<Duration> {
        if self.device.more || self.ipm.more {
            return Some(Duration::ZERO);
        }
        let deadline = self.model.next_deadline().map(|deadline| deadline.at);
        let others = [self.wall_clock, self.watches.next_look()];
        let until = deadline
            .into_iter()
            .chain(others.into_iter().flatten())
            .min()?;
        Some(until.saturating_since(clock_now()))
    }

    /// Handles everything that has happened.
    fn turn(&mut self, device: bool, ipm: bool) -> Result<(), RunError> {
        if ipm {
            self.ipm.read();
            let understood = |source| RunError::Peer {
                peer: "WAS",
                source,
            };
            while let Some(frame) = self.ipm.next_frame().map_err(understood)? {
                let message = ipm::wire::decode(&frame).map_err(understood)?;
                self.handle(Input::Told(message), clock_now());
            }
        }
        if device {
            self.device.read();
            let understood = |source| RunError::Peer {
                peer: "the driver",
                source,
            };
            let now = clock_now();
            while let Some(frame) = self.device.next_frame().map_err(understood)? {
                let completion = decode_completion(frame).map_err(understood)?;
                self.handle(Input::Completed(completion), now);
            }
        }
        while let Some((work, outcome)) = self.threads.next_result() {
            self.handle(Input::WorkDone { work, outcome }, clock_now());
        }
        let now = clock_now();
        if self
            .model
            .next_deadline()
            .is_some_and(|deadline| deadline.at <= now)
        {
            self.model.handle_deadline(now);
            self.act(now);
        }
        for work in self.watches.look(now) {
            let outcome = Outcome::Changed;
            self.handle(Input::WorkDone { work, outcome }, now);
        }
        if self.wall_clock.is_some_and(|at| at <= now) {
            self.wall_clock = Some(now + WALL_CLOCK_PERIOD);
            self.look_at_wall_clock(now);
        }
        Ok(())
    }

    fn look_at_wall_clock(&mut self, now: Instant) {
        let clock = utc_clock();
        let moved = clock.switched_on.0.abs_diff(self.clock.switched_on.0);
        if u128::from(moved) > CLOCK_SET.as_nanos() {
            self.clock = clock;
            self.handle(Input::ClockSet(clock), now);
        }
    }

    fn handle(&mut self, input: Input, now: Instant) {
        self.model.handle_input(input, now);
        self.act(now);
    }

    /// Does what the model wants, and tells it what was done at once.
    fn act(&mut self, now: Instant) {
        loop {
            while let Some(output) = self.model.poll_output() {
                match output {
                    Output::Call(call) => encode_call(&call, &mut self.device.out),
                    Output::Tell(message) => ipm::wire::encode(&message, &mut self.ipm.out),
                    Output::StartWork { work, cost } => self.start_work(work, cost, now),
                    Output::MeasureMemory => self.done.extend(memory()),
                    Output::Exit { code } => self.exit = Some(code),
                    Output::Fact(fact) => self.trace.write(now, fact),
                }
            }
            let Some(input) = self.done.pop_front() else {
                return;
            };
            self.model.handle_input(input, now);
        }
    }

    fn start_work(&mut self, work: WorkId, cost: Work, now: Instant) {
        match cost {
            Work::Run { cpu, allocate } => self.threads.start(work, Job::Run { cpu, allocate }),
            Work::ReadFile {
                root,
                candidates,
                unless,
            } => match files::read(&root, &candidates, unless) {
                Found::Outcome(outcome) => self.done.push_back(Input::WorkDone {
                    work,
                    outcome: Outcome::File(outcome),
                }),
                Found::Large {
                    candidate,
                    stamp,
                    file,
                } => {
                    self.threads.start(
                        work,
                        Job::Read {
                            candidate,
                            stamp,
                            file,
                        },
                    );
                }
            },
            Work::WatchFile {
                application,
                root,
                file,
                seen,
            } => {
                let watch = Watch::new(work, root, file, seen);
                self.watches.begin(application, watch, now);
            }
            Work::Die(death) => self.die(death),
        }
    }

    /// Writes what this turn has to say.
    fn send(&mut self) {
        self.trace.flush();
        if !self.ipm.out.is_empty() {
            self.ipm.write();
        }
        if !self.device.out.is_empty() {
            self.device.write();
        }
    }

    /// The process dies as its application's code wants it. Facts and answers that were given before
    /// are on their way already or leave now.
    fn die(&mut self, death: Death) -> ! {
        self.send();
        self.model.end_recording();
        match death {
            Death::Exit(code) => std::process::exit(code),
            Death::Abort => std::process::abort(),
            Death::SegmentationFault => {
                // Another thread may have to take it first.
                let until = clock_now() + FAREWELL;
                kill_process(getpid(), Signal::SEGV).ok();
                while clock_now() < until {
                    std::thread::yield_now();
                }
                std::process::abort()
            }
        }
    }
}

/// Private and virtual memory of this process.
///
/// Private bytes are what Windows has committed for the process alone; here the anonymous memory that
/// it has touched, in memory or paged out.
fn memory() -> Option<Input> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    };
    Some(Input::MemorySampled {
        private_kb: field("RssAnon").or_else(|| field("VmRSS"))? + field("VmSwap").unwrap_or(0),
        virtual_kb: field("VmSize")?,
    })
}
