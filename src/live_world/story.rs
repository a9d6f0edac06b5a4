//! What the examples share: a server of their own, and lines that are told as they happen.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sim_was::control::{Answer, Command, WorkerProcessInfo};

use super::page::{self, Page};
use super::server::{BoundEndpoint, Server, ServerError, ServerOptions};
use crate::report::text;

/// A story told against a running server.
#[derive(Debug)]
pub struct Story {
    server: Server,
}

/// What may go wrong in a story.
pub type StoryResult = Result<(), Box<dyn std::error::Error>>;

/// The `main` of an example: starts a server with the given configuration (or the default one) in a
/// temporary folder, tells the story, and ends everything.
pub fn tell(config: Option<&str>, story: impl FnOnce(&mut Story) -> StoryResult) -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(code) = crate::cli::program(&arguments) {
        return code;
    }
    let folder = std::env::temp_dir().join(format!("iis-sim-story-{}", std::process::id()));
    let outcome = run(&folder, config, story);
    let _ = std::fs::remove_dir_all(&folder);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            text::tell(&format!("the story ended badly: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(
    folder: &Path,
    config: Option<&str>,
    story: impl FnOnce(&mut Story) -> StoryResult,
) -> StoryResult {
    std::fs::create_dir_all(folder)?;
    let mut options = ServerOptions::on_any_port(&folder.join("root"));
    if let Some(config) = config {
        let path = folder.join("applicationHost.config");
        std::fs::write(&path, config)?;
        options.config = Some(path);
    }
    let mut tale = Story {
        server: Server::start(&options)?,
    };
    story(&mut tale)?;
    tale.server.stop();
    Ok(())
}

impl Story {
    /// Tells a line.
    pub fn say(&self, line: &str) {
        text::tell(line);
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where the first http binding is reached.
    pub fn address(&self) -> Result<SocketAddr, ServerError> {
        let endpoints = self.server.endpoints();
        let mut open = endpoints.iter().filter(|endpoint| !endpoint.secure);
        open.find_map(BoundEndpoint::address)
            .ok_or_else(|| ServerError::NoEndpoint("no http binding".to_owned()))
    }

    /// Gets a page.
    pub fn get(&self, path: &str) -> Result<Page, Box<dyn std::error::Error>> {
        Ok(page::get(self.address()?, path)?)
    }

    /// Gets a page in the background.
    pub fn get_meanwhile(
        &self,
        path: &str,
    ) -> Result<std::thread::JoinHandle<std::io::Result<Page>>, ServerError> {
        let (address, path) = (self.address()?, path.to_owned());
        Ok(std::thread::spawn(move || page::get(address, &path)))
    }

    /// Asks the services something.
    pub fn ask(&self, command: &Command) -> Result<Answer, ServerError> {
        self.server.ask(command)
    }

    /// The worker processes.
    pub fn workers(&self) -> Result<Vec<WorkerProcessInfo>, ServerError> {
        let answer = self.ask(&Command::ListWorkerProcesses)?;
        let Answer::WorkerProcesses(workers) = answer else {
            return Err(ServerError::Control(format!(
                "unexpected answer: {answer:?}"
            )));
        };
        Ok(workers)
    }

    /// Looks at the worker processes until they are as `wanted`.
    pub fn until_workers(
        &self,
        wanted: impl Fn(&[WorkerProcessInfo]) -> bool,
    ) -> Result<Vec<WorkerProcessInfo>, Box<dyn std::error::Error>> {
        until("the worker processes", || {
            let workers = self.workers()?;
            Ok(wanted(&workers).then_some(workers))
        })
    }

    /// Looks at the executing requests until there are `count`.
    pub fn until_requests(&self, count: usize) -> StoryResult {
        until("the executing requests", || {
            let answer = self.ask(&Command::ListRequests)?;
            Ok(
                matches!(answer, Answer::Requests(requests) if requests.len() == count)
                    .then_some(()),
            )
        })
    }

    /// Asks for a page until another worker than `old` answers it; gives that worker's pid.
    pub fn until_answered_by_another(&self, old: u32) -> Result<u32, Box<dyn std::error::Error>> {
        until("another worker to answer", || {
            Ok(self
                .get("/default.aspx")?
                .worker()
                .filter(|worker| *worker != old))
        })
    }

    /// Reads the HTTPERR log until a line has `reason`; gives that line.
    pub fn until_httperr(&self, reason: &str) -> Result<String, Box<dyn std::error::Error>> {
        let path = self
            .server
            .root
            .join("Windows/System32/LogFiles/HTTPERR/httperr1.log");
        until("a line in HTTPERR", || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            Ok(text
                .lines()
                .find(|line| line.contains(reason))
                .map(str::to_owned))
        })
    }

    /// Stops a process where it is (SIGSTOP).
    pub fn freeze(&self, pid: u32) -> StoryResult {
        signal(pid, Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self, pid: u32) -> StoryResult {
        signal(pid, Signal::CONT)
    }
}

/// Looks every 5 ms, for 15 s at most.
fn until<T>(
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>, Box<dyn std::error::Error>>,
) -> Result<T, Box<dyn std::error::Error>> {
    for _ in 0..3_000 {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(format!("waited in vain for {what}").into())
}

fn signal(pid: u32, signal: Signal) -> StoryResult {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or("not a pid")?;
    Ok(kill_process(pid, signal)?)
}
