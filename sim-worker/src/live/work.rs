//! Threads that burn CPU time, touch memory and read large files.
//!
//! A thread is started when work arrives and none is idle, up to the pool's limit; beyond it work
//! waits here. Time is burnt against the thread's own CPU clock, so that a busy machine makes a
//! request slower and not cheaper.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use mio::Waker;

use super::clock::thread_cpu;
use super::files;
use crate::model::{FileStamp, Outcome, WorkId};

/// How far handlers step back behind the driver and the main thread.
const HANDLER_NICENESS: i32 = 10;

/// What a thread does.
#[derive(Debug)]
pub(super) enum Job {
    Run {
        cpu: Duration,
        allocate: u64,
    },
    Read {
        candidate: usize,
        stamp: FileStamp,
        file: std::fs::File,
    },
}

/// The threads.
#[derive(Debug)]
pub(super) struct Threads {
    limit: usize,
    started: usize,
    busy: usize,
    jobs: Sender<(WorkId, Job)>,
    waiting: Arc<Mutex<Receiver<(WorkId, Job)>>>,
    results: Receiver<(WorkId, Outcome)>,
    report: Sender<(WorkId, Outcome)>,
    waker: Arc<Waker>,
}

impl Threads {
    pub(super) fn new(threads_max: usize, waker: Arc<Waker>) -> Self {
        let (jobs, waiting) = mpsc::channel();
        let (report, results) = mpsc::channel();
        Self {
            limit: threads_max.max(1),
            started: 0,
            busy: 0,
            jobs,
            waiting: Arc::new(Mutex::new(waiting)),
            results,
            report,
            waker,
        }
    }

    /// Gives work to a thread.
    pub(super) fn start(&mut self, work: WorkId, job: Job) {
        if self.busy >= self.started && self.started < self.limit {
            self.add_thread();
        }
        self.busy += 1;
        self.jobs
            .send((work, job))
            .expect("we hold the other end too");
    }

    /// The next result.
    pub(super) fn next_result(&mut self) -> Option<(WorkId, Outcome)> {
        let result = self.results.try_recv().ok()?;
        self.busy -= 1;
        Some(result)
    }

    fn add_thread(&mut self) {
        let (waiting, report, waker) = (
            self.waiting.clone(),
            self.report.clone(),
            self.waker.clone(),
        );
        let work = move || {
            // Assumed: HTTP.sys runs in kernel mode and interrupts what user mode computes. Here it is
            // a process like any other, so what computes steps back. On an idle machine it changes
            // nothing.
            let _ = rustix::process::setpriority_process(None, HANDLER_NICENESS);
            loop {
                let next = waiting.lock().map(|jobs| jobs.recv());
                let Ok(Ok((work, job))) = next else { return };
                if report.send((work, perform(job))).is_err() || waker.wake().is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("w3tp".to_owned())
            .stack_size(256 << 10);
        match thread.spawn(work) {
            Ok(_) => self.started += 1,
            // With one thread at least the work is done, only later.
            Err(error) => {
                tracing::warn!(%error, threads = self.started, "no more threads can be started");
                assert!(
                    self.started > 0,
                    "a worker needs at least one thread: {error}"
                );
            }
        }
    }
}

fn perform(job: Job) -> Outcome {
    match job {
        Job::Run { cpu, allocate } => {
            let begun = thread_cpu();
            // Every page is written to, so the memory is really there.
            let memory = vec![0x5A; usize::try_from(allocate).unwrap_or(usize::MAX)];
            burn_until(begun, cpu);
            Outcome::Done { memory }
        }
        Job::Read {
            candidate,
            stamp,
            file,
        } => Outcome::File(files::contents(candidate, stamp, file)),
    }
}

/// Burns CPU time until the thread has used so much since `begun`.
fn burn_until(begun: u64, cpu: Duration) {
    let until = begun.saturating_add(u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX));
    let rounds_per_us = calibration();
    loop {
        let left = until.saturating_sub(thread_cpu());
        if left == 0 {
            return;
        }
        // Reading the clock costs CPU time too: look at it every 50 µs at most.
        spin((left.min(50_000) / 1000 + 1) * rounds_per_us);
    }
}

fn spin(rounds: u64) {
    let mut x = rounds;
    for _ in 0..rounds {
        x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// How many rounds of [`spin`] take about a microsecond here, measured once.
fn calibration() -> u64 {
    static ROUNDS: OnceLock<u64> = OnceLock::new();
    *ROUNDS.get_or_init(|| {
        const ROUNDS: u64 = 50_000;
        let begun = thread_cpu();
        spin(ROUNDS);
        let took = thread_cpu().saturating_sub(begun).max(1);
        (ROUNDS * 1000 / took).max(1)
    })
}
