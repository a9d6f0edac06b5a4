//! The time of this machine, and a timer that keeps it to a few microseconds.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use sim_httpsys::clockwork::Instant;
use tokio::io::unix::AsyncFd;

/// The moment it is: `CLOCK_MONOTONIC`, the clock of all processes of the simulator.
pub(super) fn now() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant(seconds * 1_000_000_000 + nanos)
}

/// A timer with the grain of the kernel; tokio's own has one of a millisecond.
pub(super) struct PreciseTimer {
    fd: AsyncFd<OwnedFd>,
}

impl PreciseTimer {
    /// A timer that is not set.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an OwnedFd keeps its descriptor open"
        )]
        let fd = AsyncFd::new(fd)?;
        Ok(Self { fd })
    }

    /// Sets it to a moment. One that has passed fires at once.
    pub(super) fn set(&self, at: Instant) -> io::Result<()> {
        let at = at.0.max(1);
        let value = Timespec {
            tv_sec: i64::try_from(at / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(at % 1_000_000_000).unwrap_or(0),
        };
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spec = Itimerspec {
            it_interval: zero,
            it_value: value,
        };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }

    /// Waits until it fires. May be dropped and begun again.
    pub(super) async fn fired(&self) -> io::Result<()> {
        loop {
            let mut guard = self.fd.readable().await?;
            let mut count = [0_u8; 8];
            let read = guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut count)?));
            if let Ok(read) = read {
                return read.map(|_| ());
            }
        }
    }
}
