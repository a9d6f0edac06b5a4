//! What an idle keep-alive connection holds in the process that owns it.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::servers::Contenders;
use crate::table::Role;
use crate::{Outcome, client, cpu};

/// How long connections rest before memory is read.
const REST: Duration = Duration::from_millis(500);
/// Descriptors that are needed besides the connections.
const FILES_BESIDES: u64 = 100;

/// Bytes per connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleConnections {
    /// How many were held.
    pub(crate) count: u32,
    /// In httpsys.
    pub(crate) ours: Option<f64>,
    /// In nginx's front, for comparison; `None` if nginx is not there.
    pub(crate) nginx: Option<f64>,
}

/// Lets this process, and the servers that inherit it, open as many files as the system allows.
pub(crate) fn allow_many_files() -> Outcome<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .map_err(|error| format!("limit of open files: {error}"))
}

/// Holds `count` connections open, each after one answer, at iis-sim and at nginx.
pub(crate) fn of_idle_connections(
    contenders: &Contenders,
    count: u32,
) -> Outcome<Option<IdleConnections>> {
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if allowed < u64::from(count) + FILES_BESIDES {
        println!("left out: memory of {count} connections (this machine allows {allowed} files)");
        return Ok(None);
    }
    let mut ours = None;
    let mut nginx = None;
    for contender in &contenders.all {
        match contender.role {
            Role::CacheOurs => {
                let driver = contenders.httpsys();
                ours = Some(per_connection(
                    contender.address,
                    contender.path,
                    &driver,
                    count,
                )?);
            }
            Role::HopNginx => {
                let front = cpu::tree(&contender.roots[..1]);
                nginx = Some(per_connection(
                    contender.address,
                    contender.path,
                    &front,
                    count,
                )?);
            }
            Role::CacheNginx | Role::CacheVarnish | Role::HopHaproxy | Role::HopOurs => {}
        }
    }
    Ok(Some(IdleConnections { count, ours, nginx }))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of memory, far below 2^52"
)]
fn per_connection(address: SocketAddr, path: &str, processes: &[u32], count: u32) -> Outcome<f64> {
    let resident = || processes.iter().map(|&pid| cpu::resident(pid)).sum::<u64>() as f64;
    let before = resident();
    let mut held = Vec::new();
    for number in 0..count {
        let stream = client::connect(address).and_then(|mut stream| {
            client::send(&mut stream, path)?;
            client::receive(&mut stream).map(|_| stream)
        });
        held.push(stream.map_err(|error| format!("connection {number}: {error}"))?);
    }
    std::thread::sleep(REST);
    Ok((resident() - before) / f64::from(count))
}
