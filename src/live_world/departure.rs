//! How programs end that are told to.

use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How a program went that was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It ended by itself, and has written down what it knows.
    Ended,
    /// It took too long, and was killed with what it had not written.
    Killed,
}

/// Tells a program to end, and kills it if it has not after so long.
pub(super) fn terminate(child: &mut Child, time_max: Duration) -> Departure {
    let deadline = Instant::now() + time_max;
    if let Ok(Some(_)) = child.try_wait() {
        return Departure::Ended;
    }
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
    while Instant::now() < deadline {
        if let Ok(Some(_)) = child.try_wait() {
            return Departure::Ended;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    let _ = child.wait();
    Departure::Killed
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// A shell that has said that it is ready, and then waits.
    fn shell(first: &str) -> Child {
        let mut shell = Command::new("sh");
        let script = format!("{first}; echo; while :; do sleep 0.05; done");
        shell.args(["-c", &script]).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let said = child.stdout.as_mut().unwrap();
        said.read_exact(&mut [0]).unwrap();
        child
    }

    #[test]
    fn who_does_not_end_in_time_is_killed_and_that_is_told() {
        let mut quick = shell(":");
        let long = Duration::from_secs(30);
        assert_eq!(terminate(&mut quick, long), Departure::Ended);
        let mut deaf = shell("trap '' TERM");
        let short = Duration::from_millis(50);
        assert_eq!(terminate(&mut deaf, short), Departure::Killed);
        assert!(deaf.try_wait().unwrap().is_some());
    }
}
