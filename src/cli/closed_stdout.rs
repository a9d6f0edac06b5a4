//! What happens when nobody reads any more: `iis-sim compare | head -3`.
//!
//! Rust ignores SIGPIPE, and `println!` panics when its pipe is closed. That panic is the way out of
//! whatever runs (servers and workers are ended on the way, as by any other error), but it is no fault, so
//! nothing is said about it.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

/// Source: POSIX shells: a program that a signal has ended shows 128 and the signal's number, here 13.
const ENDED_BY_SIGPIPE: u8 = 141;

/// Runs `main`; a closed stdout ends it quietly.
pub(super) fn quietly(main: impl FnOnce() -> ExitCode) -> ExitCode {
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !is_closed_pipe(panic.payload()) {
            told(panic);
        }
    }));
    match panic::catch_unwind(AssertUnwindSafe(main)) {
        Ok(code) => code,
        Err(payload) if is_closed_pipe(payload.as_ref()) => ExitCode::from(ENDED_BY_SIGPIPE),
        Err(payload) => panic::resume_unwind(payload),
    }
}

/// Whether a panic is that of `println!` or `eprintln!` on a closed pipe.
fn is_closed_pipe(payload: &(dyn Any + Send)) -> bool {
    let text = payload.downcast_ref::<String>();
    text.is_some_and(|text| {
        text.starts_with("failed printing to std") && text.contains("(os error 32)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_panic_is_no_closed_pipe() {
        assert!(!is_closed_pipe(&"index out of bounds".to_owned()));
        assert!(!is_closed_pipe(&"a static text"));
        let closed = "failed printing to stdout: Broken pipe (os error 32)".to_owned();
        assert!(is_closed_pipe(&closed));
    }
}
