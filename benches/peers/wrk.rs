//! One round of wrk against one contender.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;
use crate::client::HEADERS;
use crate::cpu::Usage;
use crate::servers::Contender;

/// What one round showed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Round {
    /// Requests answered per second.
    pub(crate) requests_per_second: f64,
    /// Microseconds of processor time per request, all processes of the contender.
    pub(crate) cpu_us: f64,
    /// Of these, what iis-sim's workers used.
    pub(crate) worker_cpu_us: f64,
    /// Socket errors and answers other than 2xx and 3xx.
    pub(crate) errors: u64,
}

/// Drives a contender for `seconds`.
pub(crate) fn drive(
    contender: &Contender,
    connections: u32,
    threads: u32,
    seconds: f64,
) -> Outcome<Round> {
    let before = Usage::of(&contender.roots);
    let output = run(contender, connections, threads, seconds)?;
    let after = Usage::of(&contender.roots);
    let said = read(&output).ok_or_else(|| format!("wrk said something else:\n{output}"))?;
    let per_request = |time: Duration| time.as_secs_f64() * 1e6 / said.requests;
    Ok(Round {
        requests_per_second: said.requests_per_second,
        cpu_us: per_request(after.since(&before)),
        worker_cpu_us: per_request(after.of_program_since("w3wp", &before)),
        errors: said.errors,
    })
}

/// wrk knows whole seconds only; an interrupt ends it sooner, and it reports as usual.
fn run(contender: &Contender, connections: u32, threads: u32, seconds: f64) -> Outcome<String> {
    let whole = seconds.ceil();
    let mut command = Command::new("wrk");
    command
        .args([
            format!("-t{threads}"),
            format!("-c{connections}"),
            format!("-d{whole}s"),
        ])
        .args(HEADERS.iter().flat_map(|header| ["-H", header]))
        .arg(format!("http://{}{}", contender.address, contender.path))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let child = command.spawn().map_err(|error| format!("wrk: {error}"))?;
    if seconds < whole {
        std::thread::sleep(Duration::from_secs_f64(seconds));
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::INT);
        }
    }
    let output = child
        .wait_with_output()
        .map_err(|error| format!("wrk: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

struct Said {
    requests: f64,
    requests_per_second: f64,
    errors: u64,
}

/// Reads wrk's report; `None` if it answered nothing or is no report.
fn read(output: &str) -> Option<Said> {
    let after = |prefix: &str| {
        output
            .lines()
            .map(str::trim)
            .find_map(|line| line.strip_prefix(prefix))
            .map(str::trim)
    };
    let requests = output.lines().find(|line| line.contains(" requests in "))?;
    let requests: f64 = requests.split_whitespace().next()?.parse().ok()?;
    let requests_per_second = after("Requests/sec:")?.parse().ok()?;
    let socket = after("Socket errors:").unwrap_or_default();
    let socket: u64 = numbers(socket).sum();
    let bad = numbers(after("Non-2xx or 3xx responses:").unwrap_or_default()).sum::<u64>();
    (requests > 0.0).then_some(Said {
        requests,
        requests_per_second,
        errors: socket + bad,
    })
}

fn numbers(text: &str) -> impl Iterator<Item = u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
}
