//! What the load process is told in a file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::profile::{Profile, duration_text};

/// What `iis-sim load --plan FILE` reads: all that the load process has to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// The load.
    pub profile: Profile,
    /// The seed of the plan.
    pub seed: u64,
    /// For how long attempts are made.
    #[serde(with = "duration_text")]
    pub duration: Duration,
    /// Where the hosts are.
    pub targets: Vec<Target>,
    /// The host name of entries that name none.
    pub host: String,
    /// The id of the first attempt; later ones count up.
    #[serde(default = "one")]
    pub first_id: u64,
    /// Where the book is written.
    pub book: PathBuf,
}

fn one() -> u64 {
    1
}

/// Where a host really is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The host name, `None` for every name that has no target of its own.
    pub host: Option<String>,
    /// Whether TLS is spoken there.
    pub secure: bool,
    /// The address.
    pub address: SocketAddr,
    /// The address as the server's records name it, if that is another one: what the binding says, where a
    /// port map has moved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_as: Option<SocketAddr>,
}

impl Target {
    /// Every host is at this address, in clear text.
    pub fn any(address: SocketAddr) -> Self {
        Self {
            host: None,
            secure: false,
            address,
            seen_as: None,
        }
    }
}
