//! When a program ends, with its launcher or when it is asked to, and how many descriptors it may
//! open until then.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::process::{
    Pid, Resource, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// Makes this process die (SIGKILL) when the thread that started it ends.
///
/// Linux watches the *thread*: a launcher must start its programs from a thread that lives as long
/// as it does. `launcher` is who must still be there; without it whoever is the parent now.
pub fn die_with_launcher(launcher: Option<u32>) -> io::Result<()> {
    let expected = match launcher {
        Some(pid) => i32::try_from(pid).ok().and_then(Pid::from_raw),
        None => getppid(),
    };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The launcher may have died before the kernel was asked to watch it.
    if getppid() == expected {
        Ok(())
    } else {
        Err(io::Error::other("the launcher has ended already"))
    }
}

/// A stream that becomes readable when SIGTERM or SIGINT arrives.
pub(super) fn ended_by_signal() -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    pipe::register(SIGTERM, writer.try_clone()?)?;
    pipe::register(SIGINT, writer)?;
    Ok(reader)
}

/// Raises the limit of open descriptors as far as this user may: a connection needs one.
pub(super) fn allow_many_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open descriptors stays as it is");
    }
}
