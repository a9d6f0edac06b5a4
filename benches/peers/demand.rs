//! Demand start: how soon a pool without a worker answers, beside what starting any process costs.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::servers::IisSim;
use crate::table::median;
use crate::{Outcome, client};

/// The argument with which this bench is the trivial process: it writes a byte and ends.
pub(crate) const FIRST_BYTE: &str = "--first-byte";

/// The pool that the default configuration serves the site from.
const POOL: &str = "/apppool.name:DefaultAppPool";
/// How long the old worker may take to go.
const GONE_MAX: Duration = Duration::from_secs(15);

/// Medians, microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DemandStart {
    /// From connecting to the first byte of the answer of a worker that had to be started.
    pub(crate) answer_us: f64,
    /// From spawning a trivial process to its first byte.
    pub(crate) spawn_us: f64,
    /// How often each was timed.
    pub(crate) times: u32,
}

/// Times demand starts and spawns in turn.
pub(crate) fn measure(iis_sim: &Path, times: u32) -> Outcome<DemandStart> {
    let server = IisSim::start(iis_sim)?;
    let mut answers = Vec::new();
    let mut spawns = Vec::new();
    for _ in 0..times {
        spawns.push(spawn_to_first_byte()?);
        stop_worker(iis_sim, &server)?;
        answers.push(request_to_first_byte(&server)?);
    }
    let micros = |times: Vec<Duration>| {
        let times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
        median(&times)
    };
    Ok(DemandStart {
        answer_us: micros(answers),
        spawn_us: micros(spawns),
        times,
    })
}

fn request_to_first_byte(server: &IisSim) -> Outcome<Duration> {
    let answer = |started: Instant| {
        let mut stream = client::connect(server.address)?;
        client::send(&mut stream, "/default.aspx")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start[..1])?;
        let time = started.elapsed();
        stream.read_exact(&mut start[1..])?;
        Ok((time, start))
    };
    let (time, start) =
        answer(Instant::now()).map_err(|error: std::io::Error| error.to_string())?;
    match &start[9..] {
        b"200" => Ok(time),
        other => Err(format!(
            "a pool without a worker answered {}",
            String::from_utf8_lossy(other)
        )),
    }
}

fn spawn_to_first_byte() -> Outcome<Duration> {
    let executable = std::env::current_exe().map_err(|error| error.to_string())?;
    let started = Instant::now();
    let mut child = Command::new(executable)
        .arg(FIRST_BYTE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stdout = child.stdout.take().expect("its output is piped");
    stdout
        .read_exact(&mut [0])
        .map_err(|error| error.to_string())?;
    let time = started.elapsed();
    child.wait().map_err(|error| error.to_string())?;
    Ok(time)
}

/// Stops the pool and starts it again: its queue takes requests, and no worker runs.
fn stop_worker(iis_sim: &Path, server: &IisSim) -> Outcome<()> {
    appcmd(iis_sim, server, "stop")?;
    let deadline = Instant::now() + GONE_MAX;
    while !server.pids("w3wp").is_empty() {
        if Instant::now() > deadline {
            return Err("the worker of a stopped pool did not go".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    appcmd(iis_sim, server, "start")
}

fn appcmd(iis_sim: &Path, server: &IisSim, verb: &str) -> Outcome<()> {
    let output = Command::new(iis_sim)
        .args(["appcmd", verb, "apppool", POOL])
        .env("IIS_SIM_ROOT", server.root.path())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Err(format!(
        "appcmd {verb} apppool: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    ))
}
