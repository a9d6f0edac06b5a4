//! `httpsys`, `was` and `w3wp`: what this executable is when it is started under those names.
//!
//! Their arguments are written by the program that starts them, not by people, and so are their
//! diagnostics: they go to `ROOT/run/<program>.log`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sim_httpsys::live::LogFault;
use sim_httpsys::live::clock::utc_now;
use sim_was::event_log::Event;
use sim_was::live::{Boot, EventLogFile};
use sim_was::model::Personality;

use super::diagnostics::Diagnostics;
use super::up::parse_port_map;
use super::{fail, name_of};
use crate::live_world::balancer::LAUNCHER;

/// Runs the program that the executable was started as, if it is one of the three.
pub fn program(arguments: &[String]) -> Option<ExitCode> {
    let run: fn(&[String]) -> ExitCode = match name_of(arguments) {
        "httpsys" => httpsys,
        "was" => was,
        "w3wp" => w3wp,
        LAUNCHER => haproxy,
        _ => return None,
    };
    name_thread(name_of(arguments));
    trace_to_stderr();
    Some(run(arguments.get(1..).unwrap_or_default()))
}

/// Makes `top` and `pgrep` show the program's name too; `ps` shows the arguments as they are.
fn name_thread(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// Diagnostics: warnings and worse, or what `IIS_SIM_LOG` says.
fn trace_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("IIS_SIM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Diagnostics::default())
        .log_internal_errors(false)
        .with_ansi(false)
        .try_init();
}

fn httpsys(words: &[String]) -> ExitCode {
    let options = match httpsys_options(words) {
        Ok(options) => options,
        Err(message) => return wrong("httpsys", &message),
    };
    match sim_httpsys::live::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn httpsys_options(words: &[String]) -> Result<sim_httpsys::live::Options, String> {
    let mut root = None;
    let mut listen = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    let mut port_map = Vec::new();
    let (mut trace, mut record) = (false, false);
    let mut parameters = sim_httpsys::model::Parameters::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| format!("{word}: its value is missing"))
        };
        match word.as_str() {
            "--root" => root = Some(PathBuf::from(value()?)),
            "--listen" => {
                listen = value()?
                    .parse()
                    .map_err(|error| format!("{word}: {error}"))?;
            }
            "--port-map" => port_map.push(parse_port_map(value()?)?),
            "--parameters" => {
                parameters =
                    serde_json::from_str(value()?).map_err(|error| format!("{word}: {error}"))?;
            }
            "--trace" => trace = true,
            "--record" => record = true,
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    let root = root.ok_or("--root is missing")?;
    let device = root.join("run/httpsys.sock");
    Ok(sim_httpsys::live::Options {
        device,
        root,
        listen,
        port_map,
        trace,
        record,
        parameters,
        telling: log_fault,
    })
}

/// Puts into the event log what the driver says of a log file.
fn log_fault(root: &Path, fault: &LogFault) {
    let event = Event::log_file_failed(&fault.path, fault.is_open);
    let written = EventLogFile::open(root).and_then(|mut log| log.write(&event, utc_now()));
    if let Err(error) = written {
        tracing::warn!(%error, "an event is lost");
    }
}

fn was(words: &[String]) -> ExitCode {
    let options = match was_options(words) {
        Ok(options) => options,
        Err(message) => return wrong("was", &message),
    };
    if let Err(error) = sim_httpsys::live::die_with_launcher(None) {
        return fail(&error);
    }
    match sim_was::live::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn was_options(words: &[String]) -> Result<sim_was::live::Options, String> {
    let mut root = None;
    let mut config = None;
    let (mut trace, mut record) = (false, false);
    let mut boot = Boot::Start;
    let mut personality = Personality::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| format!("{word}: its value is missing"))
        };
        match word.as_str() {
            "--root" => root = Some(PathBuf::from(value()?)),
            "--boot" => {
                boot = match value()?.as_str() {
                    "restart" => Boot::Restart,
                    "stopped" => Boot::Stopped,
                    other => return Err(format!("{word}: restart or stopped, not {other:?}")),
                }
            }
            "--personality" => personality = value()?.parse()?,
            "--config" => config = Some(PathBuf::from(value()?)),
            "--trace" => trace = true,
            "--record" => record = true,
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    let root = root.ok_or("--root is missing")?;
    let config = config.ok_or("--config is missing")?;
    let options = sim_was::live::Options::new(root).map_err(|error| error.to_string())?;
    Ok(sim_was::live::Options {
        config,
        trace,
        record,
        boot,
        personality,
        ..options
    })
}

/// Becomes a HAProxy that ends with its launcher. The first word is where it is installed.
fn haproxy(words: &[String]) -> ExitCode {
    let Some((program, words)) = words.split_first() else {
        return wrong(LAUNCHER, "the path of haproxy is missing");
    };
    if let Err(error) = sim_httpsys::live::die_with_launcher(None) {
        return fail(&error);
    }
    fail(&std::process::Command::new(program).args(words).exec())
}

fn w3wp(words: &[String]) -> ExitCode {
    let arguments = match sim_worker::live::Args::parse(words) {
        Ok(arguments) => arguments,
        Err(error) => return wrong("w3wp", &error.to_string()),
    };
    match sim_worker::live::run(arguments) {
        Ok(code) => u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => fail(&error),
    }
}

fn wrong(program: &str, message: &str) -> ExitCode {
    eprintln!("{program}: {message}");
    ExitCode::from(2)
}
