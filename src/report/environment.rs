//! Where something was measured.

use std::fs;

use serde::Serialize;

use super::Clock;

/// The machine and the build.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// Version of iis-sim.
    pub version: String,
    /// `release` or `debug`: a debug build is slower and its costs are not comparable.
    pub build: &'static str,
    /// The kernel.
    pub kernel: String,
    /// The processor.
    pub cpu: String,
    /// How many of them this process may use.
    pub cpus: usize,
    /// The load averages over 1, 5 and 15 minutes when the report was made; `None` in virtual time, which does
    /// not depend on them.
    pub load_average: Option<String>,
    /// The clock of every moment.
    pub clock_source: &'static str,
}

impl Environment {
    /// Looks around.
    pub fn of_this_machine(clock: Clock) -> Self {
        let read = |path: &str| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let cpu_info = read("/proc/cpuinfo");
        let model = cpu_info
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let averages = || read("/proc/loadavg");
        let three = |text: String| text.split(' ').take(3).collect::<Vec<_>>().join(" ");
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: model
                .unwrap_or("")
                .trim_start_matches(['\t', ' ', ':'])
                .to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            load_average: match clock {
                Clock::Live => Some(three(averages())),
                Clock::Virtual => None,
            },
            clock_source: match clock {
                Clock::Live => "CLOCK_MONOTONIC",
                Clock::Virtual => "virtual",
            },
        }
    }
}
