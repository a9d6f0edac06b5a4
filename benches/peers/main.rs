//! iis-sim beside its peers, in one run on one machine: `cargo bench --bench peers`.
//!
//! nginx → nginx, HAProxy → nginx, nginx `proxy_cache`, Varnish and `iis-sim up` are started on
//! loopback in temporary folders; what is not installed is left out, and that is said. wrk drives
//! one after the other, round by round, so that a slow minute of the machine hits all of them.
//! Processor time is that of the servers' own processes; the load generator's does not count.
//! Absolute figures move with the machine: trust the ratios.
//!
//! * [`servers`] – starting and ending the contenders
//! * [`wrk`], [`cpu`] – one round: requests answered, processor time used
//! * [`demand`] – the first byte of a pool that has no worker yet
//! * [`memory`] – what an idle connection holds
//! * [`table`] – what is printed, and the goals
//!
//! Absent on purpose: NGINX Unit, whose closest configuration needs an application in C.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench measures real time on real sockets"
)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is the result"
)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

mod client;
mod cpu;
mod demand;
mod executable;
mod memory;
mod servers;
mod table;
mod wrk;

use servers::{Contender, Contenders, NginxStyle};
use table::{Measurement, Results};

/// What went wrong, in words.
type Outcome<T> = Result<T, String>;

/// Rounds in which the hypervisor took more than this share of the machine are dropped.
const STEAL_MAX: f64 = 0.05;

/// Measures iis-sim beside nginx, and beside HAProxy and Varnish where they are installed.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many rounds count
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How long each contender is driven in a round
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Keep-alive connections
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Threads of wrk; with one of them wrk itself is what limits the faster contenders
    #[arg(long, default_value_t = 2)]
    wrk_threads: u32,
    /// How often a demand start is timed
    #[arg(long, default_value_t = 20)]
    demand_starts: u32,
    /// How many idle connections are held to measure their memory
    #[arg(long, default_value_t = 10_000)]
    idle_connections: u32,
    /// How nginx is configured
    #[arg(long, value_enum, default_value_t = NginxStyle::Stock)]
    nginx: NginxStyle,
    /// The iis-sim to measure [default: the one that cargo built along with this bench]
    #[arg(long, value_name = "PATH")]
    iis_sim: Option<PathBuf>,
    /// Write the numbers to FILE
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only see whether everything works: one short round. Fails if iis-sim does; a peer that is
    /// missing is only said
    #[arg(long)]
    test: bool,
    /// Passed by cargo, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(demand::FIRST_BYTE) {
        return match std::io::stdout().write_all(b"x") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let mut arguments = Arguments::parse();
    if arguments.test {
        arguments.rounds = 1;
        arguments.seconds = 0.2;
        arguments.demand_starts = 1;
        arguments.idle_connections = 100;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let missing = ["nginx", "wrk"]
        .into_iter()
        .find(|program| executable::find(program).is_none());
    if let Some(program) = missing
        && !arguments.test
    {
        return Err(format!("{program} is not installed"));
    }
    let iis_sim = executable::iis_sim(arguments.iis_sim.as_deref()).ok_or(
        "iis-sim is not built: cargo build --release, then --iis-sim target/release/iis-sim",
    )?;
    memory::allow_many_files()?;
    let contenders = Contenders::start(&iis_sim, arguments.nginx)?;
    for line in &contenders.left_out {
        println!("left out: {line}");
    }
    let mut results = if executable::find("wrk").is_some() {
        Results::new(measure(&contenders, arguments)?)
    } else {
        println!("left out: load (no wrk on the PATH)");
        Results::new(Vec::new())
    };
    results.memory = memory::of_idle_connections(&contenders, arguments.idle_connections)?;
    drop(contenders);
    if arguments.demand_starts > 0 {
        results.demand_start = Some(demand::measure(&iis_sim, arguments.demand_starts)?);
    }
    results.print(arguments);
    if arguments.test {
        println!("\nA test: the numbers mean nothing.");
    } else {
        results.print_verdicts();
    }
    if let Some(path) = &arguments.json {
        let text = format!("{:#}\n", results.json(arguments));
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    results.faults().map_or(Ok(()), Err)
}

/// Drives every contender in turn, round by round. A round with too much steal is dropped whole and
/// repeated, at most once for each that was asked for.
fn measure(contenders: &Contenders, arguments: &Arguments) -> Outcome<Vec<Measurement>> {
    let mut measured: Vec<Measurement> = contenders.all.iter().map(Measurement::of).collect();
    let mut kept = 0;
    for _ in 0..arguments.rounds * 2 {
        let before = cpu::Machine::now()?;
        let round: Vec<wrk::Round> = contenders
            .all
            .iter()
            .map(|contender| drive(contender, arguments))
            .collect::<Outcome<_>>()?;
        let steal = cpu::Machine::now()?.steal_since(&before);
        if steal > STEAL_MAX && !arguments.test {
            println!("dropped: a round with {:.0} % steal", steal * 100.0);
            continue;
        }
        for (measurement, round) in measured.iter_mut().zip(round) {
            measurement.rounds.push(round);
        }
        kept += 1;
        if kept == arguments.rounds {
            break;
        }
    }
    if kept == 0 {
        return Err("every round had too much steal; try again on a quieter machine".to_owned());
    }
    Ok(measured)
}

fn drive(contender: &Contender, arguments: &Arguments) -> Outcome<wrk::Round> {
    contender.warm_up()?;
    wrk::drive(
        contender,
        arguments.connections,
        arguments.wrk_threads,
        arguments.seconds,
    )
    .map_err(|error| format!("{}: {error}", contender.name))
}
