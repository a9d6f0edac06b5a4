//! The load process: `iis-sim load --plan plan.json`.
//!
//! Its parent speaks to it in lines. On stdout the process says `{"ready":true}`, then one line of
//! [`Progress`] every 100 ms. On stdin it is told `go <nanoseconds of CLOCK_MONOTONIC>` and, if it
//! is to end early, `stop`. The end of stdin means that the parent is gone: the process ends at
//! once. When the plan is through, the book is written and the process exits.

use std::fs::File;
use std::io::{self, BufRead, BufWriter, Write};
use std::path::PathBuf;

use rustix::process::{Signal, set_parent_process_death_signal, setpriority_process};
use sim_httpsys::clockwork::Instant;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::plan_file::PlanFile;
use super::profile::{NoTarget, ProfileError};
pub use super::progress::Progress;
pub(crate) use connection::client_config;

mod attempt;
mod clock;
mod connection;
mod generator;
#[cfg(test)]
mod tests;
mod wire;

/// Why a load could not be generated.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The profile is impossible.
    #[error("load profile")]
    Profile(#[from] ProfileError),
    /// A URL that HTTP does not allow.
    #[error("{0:?} is no path of a URL")]
    Url(String),
    /// A host name that HTTP or TLS does not allow.
    #[error("{0:?} is no host name")]
    Host(String),
    /// Nobody said where a host is.
    #[error(transparent)]
    NoTarget(#[from] NoTarget),
    /// TLS could not be set up.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
    /// The event loop or a timer could not be made.
    #[error("start the event loop")]
    Runtime(#[source] io::Error),
    /// The book could not be written.
    #[error("write {}", path.display())]
    Book {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The parent ended before the plan did.
    #[error("the parent process is gone")]
    ParentGone,
}

/// What the parent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    /// Begin at this moment.
    Go(Instant),
    /// Make no more attempts.
    Stop,
    /// Nothing more: it has ended.
    ParentGone,
}

impl Command {
    fn parse(line: &str) -> Option<Self> {
        match line.trim() {
            "stop" => Some(Self::Stop),
            other => Some(Self::Go(Instant(
                other.strip_prefix("go ")?.trim().parse().ok()?,
            ))),
        }
    }
}

/// The nice value that the load process asks for where it gets no real-time priority.
const NICENESS: i32 = -10;

/// The load stands for other machines: what the server computes must not make it late. Only a
/// privileged user may ask for this; without it, a busy server may make a trial invalid.
fn step_forward() {
    let real_time = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let lowest = ThreadPriority::Crossplatform(ThreadPriorityValue::MIN);
    if set_thread_priority_and_policy(thread_native_id(), lowest, real_time).is_err() {
        let _ = setpriority_process(None, NICENESS);
    }
}

/// Runs the load process to its end.
///
/// The kernel kills this process when the *thread* that spawned it ends, so the parent spawns it
/// from a thread that lives as long as the run.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the whole business of the process"
)]
pub fn run(plan: PlanFile) -> Result<(), LoadError> {
    // Not every parent closes its end of stdin when it is killed; this works without its help.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| LoadError::Runtime(e.into()))?;
    step_forward();
    let lines = stdout_lines();
    let mut commands = stdin_commands();
    let runtime = Builder::new_current_thread()
        .enable_all()
        // The timer is looked at after every step of a task: a burst of handshakes must not hold up
        // the plan for as long as 61 of them take, which is tokio's default.
        .event_interval(1)
        .build_local(LocalOptions::default())
        .map_err(LoadError::Runtime)?;
    // A parent that does not read loses lines of progress, nothing else.
    let say = |line: String| drop(lines.send(line));
    say(r#"{"ready":true}"#.to_owned());
    let tell = |progress: Progress| {
        // Numbers are always written; a line that were not would only be missing.
        serde_json::to_string(&progress).map_or_else(|_| (), say);
    };
    let book = runtime.block_on(generator::generate(&plan, &mut commands, tell))?;
    let failed = |source| LoadError::Book {
        path: plan.book.clone(),
        source,
    };
    let mut file = BufWriter::new(File::create(&plan.book).map_err(failed)?);
    book.write(&mut file)
        .and_then(|()| file.flush())
        .map_err(failed)
}

/// Commands from stdin, read by a thread of their own so that the loop never blocks.
fn stdin_commands() -> UnboundedReceiver<Command> {
    let (sender, receiver): (UnboundedSender<Command>, _) = unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let Some(command) = Command::parse(&line) else {
                tracing::warn!(line, "not a command of a load process");
                continue;
            };
            if sender.send(command).is_err() {
                return;
            }
        }
        let _ = sender.send(Command::ParentGone);
    });
    receiver
}

/// Lines for stdout, written by a thread of their own: a full pipe must not delay an attempt.
fn stdout_lines() -> std::sync::mpsc::Sender<String> {
    let (sender, receiver) = std::sync::mpsc::channel::<String>();
    std::thread::spawn(move || {
        for line in receiver {
            let mut stdout = io::stdout().lock();
            if writeln!(stdout, "{line}")
                .and_then(|()| stdout.flush())
                .is_err()
            {
                return;
            }
        }
    });
    sender
}
