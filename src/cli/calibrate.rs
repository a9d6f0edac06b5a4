//! `iis-sim calibrate`: measure what virtual time needs to know of this machine, and write a profile.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::json;
use sim_httpsys::live::clock::utc_now;

use super::fail;
use super::measuring::{INTERRUPTED, Temporary};
use super::output_file::output_file;
use super::up::stop_flag;
use crate::live_world::calibrate::{CalibrateError, Calibration, calibrate};
use crate::report::Environment;
use crate::scenario::Clock;
use crate::virtual_world::costs::{CORES_MAX, Measured};

/// Arguments of `iis-sim calibrate`.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Measures on this machine what the virtual world needs to know, with real processes and \
    sockets: hops between clients, driver, WAS and workers, spawn, death, TLS handshakes, files, commands. \
    Writes a profile for `iis-sim compare --clock virtual --profile FILE` (and `run`, `agree`).\n\n\
    Nothing reads a profile that it was not told of, so that virtual runs stay the same from machine to \
    machine. Measure with a release build on a machine that has nothing else to do.",
    after_help = "Exit codes: 0 measured and written; 1 failed; 2 wrong arguments; 130 interrupted"
)]
pub(super) struct Arguments {
    /// Where the profile is written
    #[arg(long, value_name = "FILE", default_value = "iis-sim-profile.toml", value_parser = output_file())]
    out: PathBuf,
    /// A tenth of the samples: a few seconds
    #[arg(long)]
    quick: bool,
    /// Print the figures as JSON (schema iis-sim/calibrate/1) instead of a table
    #[arg(long)]
    json: bool,
}

/// Measures, writes and prints.
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let (stop, temporary) = match stop_flag().and_then(|stop| Ok((stop, Temporary::make()?))) {
        Ok(made) => made,
        Err(error) => return fail(&error),
    };
    let bar = ProgressBar::new(1);
    bar.enable_steady_tick(Duration::from_millis(100));
    let measured = calibrate(&temporary.0, arguments.quick, &mut |step, total, what| {
        bar.set_length(total);
        bar.set_position(step);
        bar.set_message(what);
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let calibration = match measured {
        Ok(calibration) => calibration,
        Err(error @ CalibrateError::Interrupted) => {
            fail(&error);
            return ExitCode::from(INTERRUPTED);
        }
        Err(error) => return fail(&error),
    };
    let profile = profile(&calibration);
    if let Err(error) = std::fs::write(&arguments.out, profile) {
        eprintln!("iis-sim: {}: {error}", arguments.out.display());
        return ExitCode::FAILURE;
    }
    if arguments.json {
        println!("{}", figures(&calibration));
    } else {
        tell(&calibration);
        println!("written to {}", arguments.out.display());
    }
    ExitCode::SUCCESS
}

fn origin(calibration: &Calibration) -> (Measured, usize) {
    let environment = Environment::of_this_machine(Clock::Live);
    let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    let mut samples: BTreeMap<String, u64> = calibration
        .figures()
        .map(|figure| (figure.name.to_owned(), count(figure.seconds.len())))
        .collect();
    samples.insert(
        "worker_memory".to_owned(),
        count(calibration.worker_memory.1),
    );
    let on = format!(
        "{} x {}, Linux {}, {} build, load {}",
        environment.cpus,
        environment.cpu,
        environment.kernel,
        environment.build,
        environment.load_average.as_deref().unwrap_or_default()
    );
    let when = utc_now().timestamp().to_string();
    // A profile has no more.
    let cores_max = usize::try_from(CORES_MAX).unwrap_or(usize::MAX);
    (
        Measured { on, when, samples },
        environment.cpus.min(cores_max),
    )
}

fn nanos(seconds: f64) -> String {
    format!("{:.0}ns", seconds * 1e9)
}

/// The text of the profile.
fn profile(calibration: &Calibration) -> String {
    let (measured, cores) = origin(calibration);
    let mut text = String::from(
        "# What things cost in the virtual world, measured by `iis-sim calibrate`.\n\
         # For `iis-sim compare --clock virtual --profile FILE`.\n\n",
    );
    // Writing to a string does not fail.
    let _ = writeln!(text, "cores = {cores}");
    for figure in &calibration.samples {
        let [low, median, high] = [0.1, 0.5, 0.99].map(|share| figure.quantile(share) * 1e6);
        let _ = writeln!(
            text,
            "\n# {}: {} samples; 10 % below {low:.1} us, median {median:.1} us, 99 % below {high:.1} us\n\
             {} = {{ lognormal_median = \"{}\", sigma = {:.3} }}",
            figure.how,
            figure.seconds.len(),
            figure.name,
            nanos(figure.quantile(0.5)),
            figure.sigma()
        );
    }
    for figure in &calibration.constants {
        let median = figure.quantile(0.5);
        let _ = writeln!(
            text,
            "\n# {}: median of {} samples\n{} = \"{}\"",
            figure.how,
            figure.seconds.len(),
            figure.name,
            nanos(median)
        );
    }
    let (bytes, workers) = calibration.worker_memory;
    let _ = writeln!(
        text,
        "\n# resident memory of a worker that is ready and has served nothing: {workers} samples\n\
         worker_memory = {bytes}\n"
    );
    let table = toml::to_string(&BTreeMap::from([("measured", measured)]));
    text + &table.expect("a few words and numbers can be written")
}

fn figures(calibration: &Calibration) -> serde_json::Value {
    let (measured, cores) = origin(calibration);
    let figure = |figure: &crate::live_world::calibrate::Samples| {
        json!({
            "name": figure.name,
            "how": figure.how,
            "samples": figure.seconds.len(),
            "p10_us": figure.quantile(0.1) * 1e6,
            "median_us": figure.quantile(0.5) * 1e6,
            "p99_us": figure.quantile(0.99) * 1e6,
            "sigma": figure.sigma(),
        })
    };
    json!({
        "schema": "iis-sim/calibrate/1",
        "measured": measured,
        "cores": cores,
        "figures": calibration.figures().map(figure).collect::<Vec<_>>(),
        "worker_memory_bytes": calibration.worker_memory.0,
    })
}

fn tell(calibration: &Calibration) {
    let (measured, _) = origin(calibration);
    println!("measured {} on {}\n", measured.when, measured.on);
    println!(
        "{:<18} {:>8} {:>10} {:>10} {:>10} {:>6}",
        "", "samples", "p10, us", "median", "p99", "sigma"
    );
    for figure in calibration.figures() {
        println!(
            "{:<18} {:>8} {:>10.1} {:>10.1} {:>10.1} {:>6.2}  {}",
            figure.name,
            figure.seconds.len(),
            figure.quantile(0.1) * 1e6,
            figure.quantile(0.5) * 1e6,
            figure.quantile(0.99) * 1e6,
            figure.sigma(),
            figure.how
        );
    }
    let (bytes, workers) = calibration.worker_memory;
    println!("{:<18} {workers:>8} {bytes:>10} bytes", "worker_memory");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live_world::calibrate::Samples;
    use crate::virtual_world::costs::Costs;

    #[test]
    fn what_is_written_is_a_profile_that_says_where_it_comes_from() {
        let names = [
            "client_hop",
            "device_hop",
            "ipm_hop",
            "spawn",
            "was_hang_up",
            "boot",
            "hang_up",
            "reap",
            "handshake_full",
            "handshake_resumed",
            "file_read",
            "command_hop",
        ];
        let samples = |name| Samples {
            name,
            how: "a test",
            seconds: vec![1e-3, 2e-3, 4e-3],
        };
        let calibration = Calibration {
            samples: names.map(samples).into(),
            constants: ["hop_cpu", "connection_cpu"].map(samples).into(),
            worker_memory: (7_000_000, 3),
        };
        let costs = Costs::parse(&profile(&calibration)).unwrap();
        assert_eq!(costs.worker_memory, 7_000_000);
        assert_eq!(costs.hop_cpu.as_micros(), 2_000);
        assert_eq!(costs.spawn.at(1 << 63).as_micros(), 2_000);
        let measured = costs.measured.unwrap();
        assert_eq!(measured.samples["spawn"], 3);
        assert!(measured.when.starts_with("20"), "{}", measured.when);
    }
}
