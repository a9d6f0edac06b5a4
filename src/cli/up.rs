//! `iis-sim up`: a server that runs until Ctrl-C.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use roxmltree::Document;
use serde_json::json;
use sim_httpsys::live::regular_file;
use sim_was::config::{Binding, Configuration, decode};
use sim_was::model::Personality;

use super::{ROOT_DEFAULT, fail};
use crate::administration::{self, Administration};
use crate::live_world::metrics_server::serve_metrics;
use crate::live_world::server::{BoundEndpoint, Server, ServerOptions, config_path};
use crate::virtual_world::interruption;

/// How often a running server is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

const HTTPS: &str = "\
https: a binding's certificate is looked up below DIR/run, when the server starts (what is changed later counts at the \
next up):
  certificates/HOST_PORT.pem       of the host that the client asks for (SNI)
  certificates/*.DOMAIN_PORT.pem   of its domain
  certificates/IP_PORT.pem         of the address; 0.0.0.0 is any
  certificate.pem                  of everything else; made, for localhost, if missing
PORT is the binding's, not that of --port-map. A file may hold a whole chain, its own certificate first, and the key; or \
the key lies beside it as .key.";

/// `sslFlags` that something other than what the flag asks for comes of.
///
/// Of the others the SNI flag (1) is not needed, as a client's name is always looked at; and no HTTP/2 (4), no OCSP
/// stapling (8), no QUIC (16), no TLS before 1.2 (64) hold for every binding.
const SSL_FLAGS_WITHOUT_EFFECT: [(u32, &str); 2] = [
    (2, "2 (central certificate store)"),
    (32, "32 (no TLS 1.3)"),
];

/// Arguments of `iis-sim up`.
#[derive(Debug, clap::Args)]
#[command(after_help = HTTPS)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Arguments {
    /// The applicationHost.config to run [default: the root's own, made with a welcome page if missing]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// If the configuration cannot be read, put the newest good copy of inetpub\history in its place
    #[arg(long)]
    last_good: bool,
    /// The folder that is the simulated C:\ (sites, logs, configuration)
    #[arg(long, value_name = "DIR", default_value = ROOT_DEFAULT)]
    root: PathBuf,
    /// Listen at port TO where a binding says FROM; TO 0 lets the kernel choose, FROM * means all others
    #[arg(long = "port-map", value_name = "FROM:TO", value_parser = parse_port_map)]
    port_map: Vec<(Option<u16>, u16)>,
    /// The address on which bindings for all addresses (*) listen
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// Write every fact to files below DIR/trace
    #[arg(long)]
    trace: bool,
    /// Record every input of httpsys, was and w3wp with its time in DIR/record, for `iis-sim replay DIR`
    #[arg(long)]
    record: bool,
    /// Which version of IIS the services behave like, where versions differ: iis10 or iis6. Events are those of iis10
    #[arg(long, value_name = "VERSION", default_value_t = Personality::default())]
    personality: Personality,
    /// Serve /metrics for Prometheus at this loopback address; port 0 lets the kernel choose
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// Serve the IIS Administration REST API at this loopback address, over TLS with a certificate of our own;
    /// its token is in DIR/run/administration.token. Port 0 lets the kernel choose
    #[arg(long, value_name = "ADDRESS:PORT")]
    administration: Option<SocketAddr>,
    /// Say when it is ready as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Reads `FROM:TO`.
pub(super) fn parse_port_map(text: &str) -> Result<(Option<u16>, u16), String> {
    let wanted = "expected FROM:TO, e.g. 80:8080, 443:0 or '*:0'";
    let (from, to) = text.split_once(':').ok_or(wanted)?;
    let port = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| format!("'{text}' is no port; {wanted}"))
    };
    let from = if from == "*" { None } else { Some(port(from)?) };
    Ok((from, port(to)?))
}

/// Runs a server until Ctrl-C, SIGTERM, or until one of its programs ends.
pub(super) fn main(arguments: Arguments) -> ExitCode {
    let stop = match stop_flag() {
        Ok(stop) => stop,
        Err(error) => return fail(&error),
    };
    let options = ServerOptions {
        root: arguments.root,
        config: arguments.config,
        last_good: arguments.last_good,
        listen: arguments.listen,
        port_map: arguments.port_map,
        trace: arguments.trace,
        record: arguments.record,
        parameters: sim_httpsys::model::Parameters::default(),
        personality: arguments.personality,
    };
    let mut server = match Server::start(&options) {
        Ok(server) => server,
        Err(error) => return fail(&error),
    };
    if let Some(good) = server.last_good() {
        eprintln!(
            "iis-sim: warning: {}; it is kept as {}, and {} is in its place",
            good.error,
            good.kept_as.display(),
            good.copy.display()
        );
    }
    for warning in &server.configuration().warnings {
        eprintln!("iis-sim: warning: {}", warning.text);
    }
    let unheeded = server.configuration().unheeded();
    let ssl_flags = ssl_flags_without_effect(server.configuration());
    let redirected = redirection_without_effect(&server.root);
    for warning in unheeded.into_iter().chain(ssl_flags).chain(redirected) {
        eprintln!("iis-sim: warning: {warning}");
    }
    let metrics = arguments.metrics.map(|at| serve_metrics(&server.root, at));
    let metrics = match metrics.transpose() {
        Ok(metrics) => metrics.map(|address| format!("http://{address}/metrics")),
        Err(error) => return fail(&error),
    };
    let administration = arguments
        .administration
        .map(|at| administration::serve(&server.root, at));
    let besides = match administration.transpose() {
        Ok(administration) => Besides {
            metrics,
            administration,
        },
        Err(error) => return fail(&error),
    };
    if arguments.json {
        println!("{}", ready_line(&server, &besides));
    } else {
        print_ready(&server, &besides);
    }
    let mut terminations = 0;
    while !stop.load(Ordering::Relaxed) {
        if let Err(error) = server.watch(LOOK_INTERVAL) {
            return fail(&error);
        }
        if server.terminations() > terminations {
            terminations = server.terminations();
            if server.has_given_up() {
                eprintln!("iis-sim: was cannot run, its services are stopped (event 7034)");
            } else {
                let pid = server.was_pid();
                eprintln!("iis-sim: was has died and is started again, pid {pid} (event 7031)");
            }
        }
    }
    server.stop();
    ExitCode::SUCCESS
}

/// The flag that SIGINT, SIGTERM and SIGHUP raise; worlds in virtual time look at it too.
pub(super) fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let flag = interruption::flag();
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// A redirection.config that leads to a shared configuration, which nobody reads here.
fn redirection_without_effect(root: &Path) -> Option<String> {
    let path = config_path(root).with_file_name("redirection.config");
    let bytes = regular_file::read(&path).ok()?;
    let text = decode(&bytes, "").ok()?;
    let document = Document::parse(&text).ok()?;
    let mut elements = document.descendants();
    let leads = elements.find(|element| element.has_tag_name("configurationRedirection"))?;
    let is_on = leads.attribute("enabled")?.eq_ignore_ascii_case("true");
    is_on.then(|| {
        format!(
            "{} has no effect here: the configuration is not shared",
            path.display()
        )
    })
}

/// What is said about the `sslFlags` of https bindings that are not followed.
fn ssl_flags_without_effect(configuration: &Configuration) -> Vec<String> {
    let mut said = Vec::new();
    for site in &configuration.sites {
        let secure = |binding: &&Binding| binding.http.as_ref().is_some_and(|http| http.secure);
        for binding in site.bindings.iter().filter(secure) {
            for (flag, meaning) in SSL_FLAGS_WITHOUT_EFFECT {
                if binding.ssl_flags & flag != 0 {
                    said.push(format!(
                        "sslFlags {} of the https binding '{}' of site '{}': {meaning} has no effect here",
                        binding.ssl_flags, binding.information, site.name
                    ));
                }
            }
        }
    }
    said
}

/// What is served besides the sites.
struct Besides {
    metrics: Option<String>,
    administration: Option<Administration>,
}

fn ready_line(server: &Server, besides: &Besides) -> serde_json::Value {
    let administration = besides.administration.as_ref().map(
        |served| json!({"url": format!("https://{}/api", served.address), "token": served.token}),
    );
    let endpoints: Vec<_> = server
        .endpoints()
        .iter()
        .map(|endpoint| {
            json!({
                "site": endpoint.site,
                "binding": endpoint.binding,
                "address": endpoint.address().map(|address| address.to_string()),
                "refusal": endpoint.reached.as_ref().err().map(ToString::to_string),
            })
        })
        .collect();
    json!({
        "ready": true,
        "endpoints": endpoints,
        "control": server.root.join("run/control.sock"),
        "root": server.root,
        "metrics": besides.metrics,
        "administration": administration,
        "pids": { "httpsys": server.httpsys_pid(), "was": server.was_pid() },
    })
}

fn print_ready(server: &Server, besides: &Besides) {
    println!("iis-sim is up; its C:\\ is {}", server.root.display());
    println!("  httpsys  pid {}", server.httpsys_pid());
    println!("  was      pid {}", server.was_pid());
    if let Some(url) = &besides.metrics {
        println!("  metrics  {url}");
    }
    if let Some(served) = &besides.administration {
        println!(
            "  REST API https://{}/api, token in {}",
            served.address,
            served.token.display()
        );
    }
    for endpoint in server.endpoints() {
        println!("  {}", endpoint_line(&endpoint));
    }
    println!("Workers start with the first request. Ctrl-C ends everything.");
}

fn endpoint_line(endpoint: &BoundEndpoint) -> String {
    let scheme = if endpoint.secure { "https" } else { "http" };
    let reached = match &endpoint.reached {
        Ok(address) if endpoint.host.is_empty() => format!("{scheme}://{address}/"),
        Ok(address) => format!("{scheme}://{address}/  with Host: {}", endpoint.host),
        Err(closed) => closed.to_string(),
    };
    format!("{:<28} {:<24} {reached}", endpoint.site, endpoint.binding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_map_may_leave_the_choice_to_the_kernel() {
        assert_eq!(parse_port_map("80:0"), Ok((Some(80), 0)));
        assert_eq!(parse_port_map("*:0"), Ok((None, 0)));
        assert!(parse_port_map("80").is_err());
        assert!(parse_port_map("80:http").is_err_and(|message| message.contains("http")));
    }
}
