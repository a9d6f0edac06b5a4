//! The load generator's process, seen from the comparison that started it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

use sim_httpsys::clockwork::Instant;

use crate::load::live::Progress;

/// How long the generator may take to be ready, and to finish after it was stopped.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why the load generator could not be used.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// Its process or pipes.
    #[error("load generator: {0}")]
    Io(#[from] io::Error),
    /// It did not say that it is ready.
    #[error("load generator: not ready within {} s", PATIENCE.as_secs())]
    NotReady,
    /// It ended before it was told to.
    #[error("load generator: ended early")]
    EndedEarly,
    /// It failed.
    #[error("load generator: {0}")]
    Failed(ExitStatus),
    /// It did not end.
    #[error("load generator: still running {} s after it was stopped", PATIENCE.as_secs())]
    Stuck,
}

/// A running load generator. It ends with this process: its standard input closes.
#[derive(Debug)]
pub struct Generator {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Generator {
    /// Starts the generator on a plan file and waits until it is ready.
    pub fn start(plan: &Path, log: &Path) -> Result<Self, GeneratorError> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["load", "--plan"])
            .arg(plan)
            // Ctrl-C in a terminal is for whoever measures; it ends the generator.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(log)?)
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no standard output"))?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let generator = Self {
            child,
            stdin,
            lines,
        };
        match generator.lines.recv_timeout(PATIENCE) {
            Ok(_ready) => Ok(generator),
            Err(RecvTimeoutError::Timeout) => Err(GeneratorError::NotReady),
            Err(RecvTimeoutError::Disconnected) => Err(GeneratorError::EndedEarly),
        }
    }

    /// Begins the plan at `start`.
    pub fn go(&mut self, start: Instant) -> Result<(), GeneratorError> {
        self.say(&format!("go {}", start.0))
    }

    /// The next progress, if one has come. A plan that was carried out to its end makes none any more.
    pub fn progress(&mut self) -> Result<Option<Progress>, GeneratorError> {
        match self.lines.try_recv() {
            Ok(line) => Ok(serde_json::from_str(&line).ok()),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => match self.ended()? {
                Some(status) if status.success() => Ok(None),
                Some(_) | None => Err(GeneratorError::EndedEarly),
            },
        }
    }

    /// How it ended, if it does within its time.
    fn ended(&mut self) -> Result<Option<ExitStatus>, GeneratorError> {
        let step = Duration::from_millis(5);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            std::thread::sleep(step);
        }
        Ok(None)
    }

    /// Ends the plan now and waits until the book is written.
    pub fn stop(mut self) -> Result<(), GeneratorError> {
        // It may have come to the end of its plan by itself, just now too.
        if self.child.try_wait()?.is_none()
            && let Err(error) = self.say("stop")
            && !matches!(&error, GeneratorError::Io(io) if io.kind() == io::ErrorKind::BrokenPipe)
        {
            return Err(error);
        }
        match self.ended()? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(GeneratorError::Failed(status)),
            None => Err(GeneratorError::Stuck),
        }
    }

    fn say(&mut self, word: &str) -> Result<(), GeneratorError> {
        let stdin = self.stdin.as_mut().ok_or(GeneratorError::EndedEarly)?;
        writeln!(stdin, "{word}")?;
        stdin.flush()?;
        Ok(())
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
