//! Work that cannot be interrupted, done apart: whoever wants an end need not wait for it.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// From one question whether to go on to the next. Assumed: people do not notice it.
const ASK: Duration = Duration::from_millis(50);

/// What comes of some work; `None` if `goes_on` says `false` before that is known. Then the work is left to
/// itself, and ends with the process at the latest.
///
/// # Panics
///
/// If the work does.
pub(crate) fn unless_stopped<T: Send + 'static>(
    goes_on: &mut dyn FnMut() -> bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = sync_channel(1);
    let worker = thread::spawn(move || {
        // Nobody waits any more: then it was for nothing.
        let _ = sender.send(work());
    });
    loop {
        match receiver.recv_timeout(ASK) {
            Ok(outcome) => return Some(outcome),
            Err(RecvTimeoutError::Timeout) if goes_on() => {}
            Err(RecvTimeoutError::Timeout) => return None,
            Err(RecvTimeoutError::Disconnected) => match worker.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("it sends what comes of it before it ends"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stopped_is_not_waited_for() {
        let (held, end) = sync_channel::<()>(0);
        let outcome = unless_stopped(&mut || false, move || end.recv().is_ok());
        assert_eq!(outcome, None, "it would wait for ever");
        drop(held);
    }

    #[test]
    fn what_comes_of_it_is_given_and_its_panic_too() {
        assert_eq!(unless_stopped(&mut || true, || 7), Some(7));
        let work = || -> u8 { panic!("it cannot be worked out") };
        let panic = std::panic::catch_unwind(|| unless_stopped(&mut || true, work));
        assert!(panic.is_err());
    }
}
