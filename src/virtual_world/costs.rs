//! What things cost in the virtual world: a profile of distributions, and the dice that draw from it.
//!
//! Each kind of cost has a stream of random numbers of its own, so that a change of one does not redeal
//! the others. What requests cost in their handlers is not here: that is the applications' behaviour.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Deserializer, Serialize, de};
use sim_worker::application::{Distribution, deserialize_size};

use super::quantiles::Quantiles;
use crate::load::plan::random_stream;
use crate::load::profile::duration_text;

/// The profile in the repository.
pub const DEFAULT_PROFILE: &str = include_str!("default-profile.toml");

/// What things cost.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// Processor cores that the handlers of all workers share.
    #[serde(deserialize_with = "cores")]
    pub cores: u32,
    /// From one end of a connection to the other.
    #[serde(deserialize_with = "cost")]
    pub client_hop: Distribution,
    /// Between a process and the driver, one way.
    #[serde(deserialize_with = "cost")]
    pub device_hop: Distribution,
    /// Between WAS and a worker, one way.
    #[serde(deserialize_with = "cost")]
    pub ipm_hop: Distribution,
    /// From the order for a process to its first words.
    #[serde(deserialize_with = "cost")]
    pub spawn: Distribution,
    /// From the death of WAS to the driver's notice.
    #[serde(deserialize_with = "cost")]
    pub was_hang_up: Distribution,
    /// From there to where the next one starts the services.
    #[serde(deserialize_with = "cost")]
    pub boot: Distribution,
    /// From the death of a process to the driver's notice.
    #[serde(deserialize_with = "cost")]
    pub hang_up: Distribution,
    /// From the death of a process to the notice of WAS.
    #[serde(deserialize_with = "cost")]
    pub reap: Distribution,
    /// A full TLS handshake.
    #[serde(deserialize_with = "cost")]
    pub handshake_full: Distribution,
    /// A TLS handshake that takes up an earlier session.
    #[serde(deserialize_with = "cost")]
    pub handshake_resumed: Distribution,
    /// Opening and reading a file.
    #[serde(deserialize_with = "cost")]
    pub file_read: Distribution,
    /// Between two commands of a tool.
    #[serde(deserialize_with = "cost")]
    pub command_hop: Distribution,
    /// What both ends of a hop compute for it, between client and driver and between driver and worker.
    #[serde(deserialize_with = "cpu")]
    pub hop_cpu: Duration,
    /// What both ends compute for a connection that is opened and closed, besides its hops.
    #[serde(deserialize_with = "cpu")]
    pub connection_cpu: Duration,
    /// Memory of a worker that has loaded nothing yet: bytes, or `"8MiB"`.
    #[serde(deserialize_with = "worker_memory")]
    pub worker_memory: u64,
    /// Where the figures come from, if they were measured in one go (`iis-sim calibrate`).
    #[serde(default)]
    pub measured: Option<Measured>,
}

/// Where the figures of a profile come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// On what machine, by which build.
    pub on: String,
    /// When, in UTC.
    pub when: String,
    /// How many samples each figure rests on.
    pub samples: BTreeMap<String, u64>,
}

impl Costs {
    /// Understands a profile.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

/// Cores of a profile at most: each event looks at all of them.
pub const CORES_MAX: u32 = 256;
/// Durations of a profile at most: a story's clock does not come near its end.
pub const COST_MAX: Duration = Duration::from_hours(1);
/// Memory of an empty worker at most, 1 TiB: the sum over all workers stays a number.
pub const WORKER_MEMORY_MAX: u64 = 1 << 40;

fn cores<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let cores = i64::deserialize(from)?;
    u32::try_from(cores)
        .ok()
        .filter(|cores| (1..=CORES_MAX).contains(cores))
        .ok_or_else(|| {
            de::Error::custom(format!("cores must be from 1 to {CORES_MAX}, not {cores}"))
        })
}

/// The error that comes of it shows the line, and with it the field.
fn cost<'de, D: Deserializer<'de>>(from: D) -> Result<Distribution, D::Error> {
    let cost = Distribution::deserialize(from)?;
    let (Distribution::Constant(most)
    | Distribution::Exponential { mean: most }
    | Distribution::Uniform { high: most, .. }
    | Distribution::Lognormal { median: most, .. }) = cost;
    bounded(most).map(|_| cost)
}

fn cpu<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    bounded(duration_text::deserialize(from)?)
}

fn bounded<E: de::Error>(duration: Duration) -> Result<Duration, E> {
    if duration > COST_MAX {
        return Err(E::custom("a cost is at most 1h"));
    }
    Ok(duration)
}

fn worker_memory<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let bytes = deserialize_size(from)?;
    // A process without memory is none, and was not measured.
    if (1..=WORKER_MEMORY_MAX).contains(&bytes) {
        return Ok(bytes);
    }
    Err(de::Error::custom(format!(
        "worker_memory must be from 1 to {WORKER_MEMORY_MAX} bytes, not {bytes}"
    )))
}

impl Default for Costs {
    /// The profile in the repository.
    fn default() -> Self {
        Self::parse(DEFAULT_PROFILE).expect("a test reads the profile in the repository")
    }
}

/// A kind of cost that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    ClientHop,
    /// Between a worker and the driver.
    DeviceHop,
    /// Between WAS and the driver: as long, but dealt apart, so that a pool that nobody asks for leaves the
    /// hops of requests as they are.
    ControlHop,
    IpmHop,
    Spawn,
    WasHangUp,
    Boot,
    HangUp,
    Reap,
    HandshakeFull,
    HandshakeResumed,
    FileRead,
    CommandHop,
}

impl Cost {
    const ALL: [(Self, &'static str); 13] = [
        (Self::ClientHop, "client-hop"),
        (Self::DeviceHop, "device-hop"),
        (Self::ControlHop, "control-hop"),
        (Self::IpmHop, "ipm-hop"),
        (Self::Spawn, "spawn"),
        (Self::WasHangUp, "was-hang-up"),
        (Self::Boot, "boot"),
        (Self::HangUp, "hang-up"),
        (Self::Reap, "reap"),
        (Self::HandshakeFull, "handshake-full"),
        (Self::HandshakeResumed, "handshake-resumed"),
        (Self::FileRead, "file-read"),
        (Self::CommandHop, "command-hop"),
    ];
}

/// Draws costs.
#[derive(Debug)]
pub(super) struct Dice {
    costs: [Quantiles; 13],
    streams: [Pcg64Mcg; 13],
    hop_cpu: Duration,
    placement: Pcg64Mcg,
}

impl Dice {
    pub(super) fn new(costs: &Costs, seed: u64) -> Self {
        let distribution = |(cost, _)| match cost {
            Cost::ClientHop => costs.client_hop,
            Cost::DeviceHop | Cost::ControlHop => costs.device_hop,
            // Assumed: too seldom, or too little, to be missed by a handler.
            Cost::IpmHop => costs.ipm_hop,
            Cost::Spawn => costs.spawn,
            Cost::WasHangUp => costs.was_hang_up,
            Cost::Boot => costs.boot,
            Cost::HangUp => costs.hang_up,
            Cost::Reap => costs.reap,
            Cost::HandshakeFull => costs.handshake_full,
            Cost::HandshakeResumed => costs.handshake_resumed,
            Cost::FileRead => costs.file_read,
            Cost::CommandHop => costs.command_hop,
        };
        Self {
            costs: Cost::ALL.map(|cost| Quantiles::new(distribution(cost))),
            streams: Cost::ALL.map(|(_, name)| random_stream(seed, name)),
            hop_cpu: costs.hop_cpu,
            placement: random_stream(seed, "placement"),
        }
    }

    /// The next cost of this kind.
    pub(super) fn draw(&mut self, cost: Cost) -> Duration {
        let index = cost as usize;
        self.costs[index].at(self.streams[index].next_u64())
    }

    /// Which of so many cores that are equally good gets a thread.
    pub(super) fn place(&mut self, cores: usize) -> usize {
        let drawn = self.placement.next_u64() % cores.max(1) as u64;
        usize::try_from(drawn).unwrap_or(0)
    }

    /// How much of a cost that took so long was computing.
    pub(super) fn cpu(&self, cost: Cost, took: Duration) -> Duration {
        match cost {
            Cost::ClientHop | Cost::DeviceHop | Cost::ControlHop => self.hop_cpu,
            // Assumed: making a process, taking its memory down and shaking hands is computing all along.
            Cost::Spawn
            | Cost::WasHangUp
            | Cost::Boot
            | Cost::HangUp
            | Cost::HandshakeFull
            | Cost::HandshakeResumed => took,
            Cost::IpmHop | Cost::Reap | Cost::FileRead | Cost::CommandHop => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_in_the_repository_is_one() {
        let costs = Costs::parse(DEFAULT_PROFILE).unwrap();
        assert_eq!(costs.cores, 2);
    }

    #[test]
    fn a_figure_out_of_its_range_is_refused_with_its_line() {
        let line = |key: &str| {
            let is_it = |line: &str| line.starts_with(&format!("{key} = "));
            DEFAULT_PROFILE.lines().position(is_it).unwrap() + 1
        };
        let with = |key: &str, value: &str| {
            let first = line(key) - 1;
            let lines = DEFAULT_PROFILE.lines().enumerate().map(|(at, line)| {
                if at == first {
                    value.to_owned()
                } else {
                    line.to_owned()
                }
            });
            Costs::parse(&lines.collect::<Vec<_>>().join("\n"))
        };
        for (key, value, range) in [
            ("cores", "0", "from 1 to 256"),
            ("cores", "257", "from 1 to 256"),
            ("cores", "-1", "from 1 to 256"),
            ("cores", "99999999999", "from 1 to 256"),
            (
                "worker_memory",
                "1099511627777",
                "from 1 to 1099511627776 bytes",
            ),
            ("worker_memory", "0", "from 1 to 1099511627776 bytes"),
            (
                "worker_memory",
                "9000000000000000000",
                "from 1 to 1099511627776 bytes",
            ),
        ] {
            let said = with(key, &format!("{key} = {value}"))
                .unwrap_err()
                .to_string();
            assert!(said.contains(&format!("line {}", line(key))), "{said}");
            assert!(
                said.contains(&format!("{key} must be {range}, not {value}")),
                "{said}"
            );
        }
        for (key, value) in [
            ("spawn", "\"61m\""),
            ("client_hop", "{ exponential_mean = \"2h\" }"),
            ("boot", "{ uniform = [\"1s\", \"2h\"] }"),
            ("file_read", "{ lognormal_median = \"2h\", sigma = 0.5 }"),
            ("hop_cpu", "\"1000000h\""),
            ("connection_cpu", "\"2h\""),
        ] {
            let written = format!("{key} = {value}");
            let said = with(key, &written).unwrap_err().to_string();
            assert!(said.contains(&format!("line {}", line(key))), "{said}");
            assert!(
                said.contains(&written) && said.contains("at most 1h"),
                "{said}"
            );
        }
        assert!(with("spawn", "spawn = \"1h\"").is_ok());
        assert!(with("cores", "cores = 256").is_ok());
        assert!(with("worker_memory", "worker_memory = 1099511627776").is_ok());
        let memory = with("worker_memory", "worker_memory = \"8MiB\"").unwrap();
        assert_eq!(memory.worker_memory, 8 << 20);
        let said = with("worker_memory", "worker_memory = -1").unwrap_err();
        assert!(said.to_string().contains("expected a size"), "{said}");
        let said = with("cores", "").unwrap_err().to_string();
        assert!(said.contains("missing field `cores`"), "{said}");
    }

    #[test]
    fn kinds_of_cost_are_listed_in_their_order() {
        for (index, (cost, _)) in Cost::ALL.into_iter().enumerate() {
            assert_eq!(cost as usize, index);
        }
    }

    #[test]
    fn one_kind_of_cost_does_not_redeal_another() {
        let costs = Costs::default();
        let (mut first, mut second) = (Dice::new(&costs, 1), Dice::new(&costs, 1));
        first.draw(Cost::Spawn);
        assert_eq!(first.draw(Cost::ClientHop), second.draw(Cost::ClientHop));
    }
}
