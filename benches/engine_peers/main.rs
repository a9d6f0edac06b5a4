//! Our engine beside its peers, in one run on one machine: `cargo bench --bench engine_peers`.
//!
//! The same station, M/M/8 at a load of 90 % with 20 places to wait, on our engine, in `SimPy` with
//! processes, in ns-3, in nexosim and in tokio with a paused clock; and a web server with 1,000 kept-alive
//! connections on our full model and in `SimPy`. All take turns, round by round, so that a slow minute of the
//! machine hits all of them. What is compared is processor time of the process, start-up aside. Every
//! station must come out where theory says; one that does not is no peer, and the bench fails.
//!
//! A peer that is not installed is left out, and that is said. To have all of them: `pip install simpy`,
//! `apt-get install g++ libns3-dev`; nexosim and tokio are built from `rust/`, a package of its own.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is the result"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

mod peers;
mod sample;
mod table;

use peers::{Peer, Peers};
use sample::Sample;

/// What went wrong, in words.
type Outcome<T> = Result<T, String>;

/// Measures our engine beside `SimPy`, ns-3, nexosim and tokio with a paused clock.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many rounds
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Customers of each round, relative to what is usual
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Write the numbers to FILE
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only see whether everything works: one short round, and nothing is built
    #[arg(long)]
    test: bool,
    /// Passed by cargo, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.test {
        arguments.rounds = 1;
        arguments.scale = 0.02;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine_peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let Peers { found, left_out } = Peers::find(!arguments.test);
    for line in &left_out {
        println!("left out: {line}");
    }
    let mut measured: Vec<(&Peer, Vec<Sample>)> =
        found.iter().map(|peer| (peer, Vec::new())).collect();
    for round in 0..arguments.rounds {
        for (peer, samples) in &mut measured {
            samples.push(peer.run(arguments.scale, u64::from(round) + 1)?);
        }
    }
    let rows: Vec<table::Row> = measured
        .into_iter()
        .map(|(peer, samples)| table::Row::new(peer, &samples))
        .collect();
    table::print(&rows, arguments.rounds);
    if arguments.test {
        println!("\nA test: the numbers mean nothing.");
    } else {
        table::print_verdicts(&rows);
    }
    if let Some(path) = &arguments.json {
        let text = format!("{:#}\n", table::json(&rows, &left_out));
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    table::faults(&rows)
}
