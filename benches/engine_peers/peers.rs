//! Who takes part, how they are found or built, and how one of them is run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use iis_sim::scenario::Scenario;
use iis_sim::virtual_world::costs::Costs;
use iis_sim::virtual_world::full_model::FullModel;
use iis_sim::virtual_world::station::{Customers, Line, ServiceTimes, Station};
use iis_sim::virtual_world::trial::TrialError;
use rustix::time::{ClockId, clock_gettime};

use crate::Outcome;
use crate::sample::{LOAD, PLACES, SERVERS, Sample};

/// Where the sources of the peers are.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/engine_peers");
/// Where they are built.
const BUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/engine-peers");

/// Which comparison a peer is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Ours,
    SimPy,
    Ns3,
    Nexosim,
    Tokio,
    OurServer,
    SimPyServer,
}

impl Role {
    /// Whether it is the web server and not the station.
    pub(crate) fn is_server(self) -> bool {
        matches!(self, Self::OurServer | Self::SimPyServer)
    }
}

/// Somebody who takes part.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// Customers of a round; of the peer's web server, thousandths of a virtual second.
    work: f64,
    how: How,
}

#[derive(Debug)]
enum How {
    OurStation,
    OurServer(Box<Scenario>),
    Program(PathBuf, Vec<String>),
}

/// All who take part, and who does not and why.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) found: Vec<Peer>,
    pub(crate) left_out: Vec<String>,
}

impl Peers {
    /// Looks for them. Those that must be built first are built only if `may_build`.
    pub(crate) fn find(may_build: bool) -> Self {
        let mut peers = Self {
            found: vec![Peer {
                name: "iis-sim, event queue and station",
                role: Role::Ours,
                work: 3e6,
                how: How::OurStation,
            }],
            left_out: Vec::new(),
        };
        let python = simpy().map(|python| (python, "station_simpy.py"));
        peers.add("SimPy, processes", Role::SimPy, 4e4, python.map(script));
        let ns3 = built(may_build, || ns3().map(|program| (program, Vec::new())));
        peers.add("ns-3, PriorityQueueScheduler", Role::Ns3, 1e6, ns3);
        let rust = built(may_build, rust);
        let bin = |name: &str| {
            let path = rust.clone()?.join(name);
            Ok((path, Vec::new()))
        };
        peers.add(
            "nexosim, one model",
            Role::Nexosim,
            3e5,
            bin("station-nexosim"),
        );
        peers.add(
            "tokio, paused clock",
            Role::Tokio,
            2e5,
            bin("station-tokio"),
        );
        match server() {
            Ok(scenario) => peers.found.push(Peer {
                name: "iis-sim, full model",
                role: Role::OurServer,
                work: 1e4,
                how: How::OurServer(Box::new(scenario)),
            }),
            Err(error) => peers.left_out.push(format!("iis-sim, full model: {error}")),
        }
        let python = simpy().map(|python| (python, "server_simpy.py"));
        peers.add(
            "SimPy, the same server",
            Role::SimPyServer,
            4e3,
            python.map(script),
        );
        peers
    }

    fn add(
        &mut self,
        name: &'static str,
        role: Role,
        work: f64,
        found: Outcome<(PathBuf, Vec<String>)>,
    ) {
        match found {
            Ok((program, words)) => self.found.push(Peer {
                name,
                role,
                work,
                how: How::Program(program, words),
            }),
            Err(why) => self.left_out.push(format!("{name}: {why}")),
        }
    }
}

impl Peer {
    /// Runs it once.
    pub(crate) fn run(&self, scale: f64, seed: u64) -> Outcome<Sample> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of customers"
        )]
        let work = (self.work * scale).max(100.0) as u64;
        let ran = match &self.how {
            How::OurStation => Ok(our_station(work, seed)),
            How::OurServer(scenario) => our_server(scenario, scale, seed),
            How::Program(program, words) => {
                let work = if self.role.is_server() {
                    format!("{}.{:03}", work / 1_000, work % 1_000)
                } else {
                    work.to_string()
                };
                self.program(program, words, &[work, seed.to_string()])
            }
        };
        ran.map_err(|error| format!("{}: {error}", self.name))
    }

    fn program(&self, program: &Path, words: &[String], more: &[String]) -> Outcome<Sample> {
        let output = Command::new(program)
            .args(words)
            .args(more)
            .output()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<f64> = text.split_whitespace().flat_map(str::parse).collect();
        let &[served, second, third, seconds] = numbers.as_slice() else {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("it said {text:?} and {errors:?}"));
        };
        let is_server = self.role.is_server();
        Ok(Sample {
            served,
            refused: if is_server { third } else { second },
            waited: if is_server { second * served } else { third },
            events: if is_server {
                0.0
            } else {
                2.0 * served + second
            },
            seconds,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates are wanted")]
fn our_station(counted: u64, seed: u64) -> Sample {
    let customers = Customers {
        load: LOAD,
        service_times: ServiceTimes::Exponential,
        warm_up: 0,
        counted,
        seed,
    };
    let start = processor_time();
    let observed = Station::new(Line::new(SERVERS, Some(PLACES)), customers).run();
    Sample {
        served: observed.served as f64,
        refused: observed.refused as f64,
        waited: observed.wait_mean() * observed.served as f64,
        events: observed.events as f64,
        seconds: processor_time() - start,
    }
}

/// The server and its clients, as the peer has them: nothing is written down to be measured. As long again
/// passes before the processor time is taken: a real server is started and warmed.
#[expect(clippy::cast_precision_loss, reason = "rates are wanted")]
fn our_server(scenario: &Scenario, scale: f64, seed: u64) -> Outcome<Sample> {
    let span = Duration::from_secs_f64(4.0 * scale.clamp(0.02, 100.0));
    let wrong = |error: TrialError| error.to_string();
    let mut model = FullModel::new(scenario, seed, &Costs::default(), false).map_err(wrong)?;
    model.run_for(span).map_err(wrong)?;
    let (served, events, start) = (model.requests(), model.events(), processor_time());
    model.run_for(span).map_err(wrong)?;
    Ok(Sample {
        served: (model.requests() - served) as f64,
        refused: 0.0,
        waited: 0.0,
        events: (model.events() - events) as f64,
        seconds: processor_time() - start,
    })
}

fn server() -> Outcome<Scenario> {
    let path = Path::new(SOURCES).join("full-model.toml");
    Scenario::read(&path).map_err(|error| error.to_string())
}

/// Processor time of this process, in seconds.
#[expect(clippy::cast_precision_loss, reason = "a rate is wanted")]
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A Python that has `SimPy`.
fn simpy() -> Outcome<PathBuf> {
    let python = PathBuf::from("python3");
    let status = Command::new(&python).args(["-c", "import simpy"]).output();
    match status {
        Ok(output) if output.status.success() => Ok(python),
        Ok(_) => Err("SimPy is not installed (pip install simpy)".to_owned()),
        Err(_) => Err("python3 is not installed".to_owned()),
    }
}

fn script((python, name): (PathBuf, &str)) -> (PathBuf, Vec<String>) {
    (python, vec![format!("{SOURCES}/{name}")])
}

fn built<T>(may_build: bool, build: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    if may_build {
        build()
    } else {
        Err("built only to be measured".to_owned())
    }
}

fn ns3() -> Outcome<PathBuf> {
    if !Path::new("/usr/include/ns3.37/ns3/core-module.h").exists()
        && !Path::new("/usr/include/ns3/core-module.h").exists()
    {
        return Err("ns-3 is not installed (apt-get install g++ libns3-dev)".to_owned());
    }
    let program = Path::new(BUILT).join("station-ns3");
    std::fs::create_dir_all(BUILT).map_err(|error| format!("{BUILT}: {error}"))?;
    let mut compiler = Command::new("g++");
    compiler
        .args(["-O3", "-std=c++17", "-I/usr/include/ns3.37", "-o"])
        .arg(&program)
        .arg(format!("{SOURCES}/station_ns3.cc"))
        .arg("-lns3-core");
    succeeds(&mut compiler, "g++")?;
    Ok(program)
}

/// The folder with what is built of `rust/`.
fn rust() -> Outcome<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--release", "--locked", "--quiet"])
        .args(["--manifest-path", &format!("{SOURCES}/rust/Cargo.toml")])
        .args(["--target-dir", BUILT]);
    succeeds(&mut cargo, "cargo")?;
    Ok(Path::new(BUILT).join("release"))
}

fn succeeds(command: &mut Command, name: &str) -> Outcome<()> {
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().last().unwrap_or_default();
    Err(format!("{name} failed: {last}"))
}
