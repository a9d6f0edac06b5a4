//! What happens when nobody reads any more, or what was said cannot be kept: `iis-sim compare | head -3`,
//! `iis-sim compare > /mnt/full/result`.
//!
//! Rust ignores SIGPIPE, and `println!` panics when it cannot write. That panic is the way out of whatever
//! runs (servers and workers are ended on the way, as by any other error), but it is no fault of ours. Of a
//! closed pipe nothing is said; of everything else one line.

use std::any::Any;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

/// Source: POSIX shells: a program that a signal has ended shows 128 and the signal's number, here 13.
const ENDED_BY_SIGPIPE: u8 = 141;

/// Why `println!` or `eprintln!` has panicked.
#[derive(Debug, PartialEq, Eq)]
enum Unwritten<'a> {
    /// Nobody reads.
    Closed,
    /// It could not be kept: of which stream, and why.
    Failed(&'a str),
}

/// Runs `main`; a stdout that is closed or full ends it, and is no panic.
pub(super) fn quietly(main: impl FnOnce() -> ExitCode) -> ExitCode {
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if unwritten(panic.payload()).is_none() {
            told(panic);
        }
    }));
    let ended = panic::catch_unwind(AssertUnwindSafe(|| {
        let code = main();
        io::stdout().flush().unwrap_or_else(|error| give_up(&error));
        code
    }));
    match ended {
        Ok(code) => code,
        Err(payload) => match unwritten(payload.as_ref()) {
            Some(Unwritten::Closed) => ExitCode::from(ENDED_BY_SIGPIPE),
            Some(Unwritten::Failed(what)) => {
                // If this is the stream that fails, there is nobody to be told.
                let _ = writeln!(io::stderr(), "iis-sim: {what}");
                ExitCode::FAILURE
            }
            None => panic::resume_unwind(payload),
        },
    }
}

/// As `println!` does when it cannot write.
pub(super) fn give_up(error: &io::Error) -> ! {
    panic!("failed printing to stdout: {error}")
}

/// Whether a panic is that of `println!` or `eprintln!`, and why it is.
fn unwritten(payload: &(dyn Any + Send)) -> Option<Unwritten<'_>> {
    let what = payload
        .downcast_ref::<String>()?
        .strip_prefix("failed printing to ")?;
    if what.contains("(os error 32)") {
        return Some(Unwritten::Closed);
    }
    Some(Unwritten::Failed(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_panic_is_told() {
        assert_eq!(unwritten(&"index out of bounds".to_owned()), None);
        assert_eq!(unwritten(&"a static text"), None);
    }

    #[test]
    fn a_closed_pipe_is_told_from_a_full_disk() {
        let closed = "failed printing to stdout: Broken pipe (os error 32)".to_owned();
        assert_eq!(unwritten(&closed), Some(Unwritten::Closed));
        let full = "failed printing to stdout: No space left on device (os error 28)".to_owned();
        let what = "stdout: No space left on device (os error 28)";
        assert_eq!(unwritten(&full), Some(Unwritten::Failed(what)));
    }
}
