//! The contenders: each on a free port of loopback, in a temporary folder, gone when dropped.
//!
//! Fair on both sides: what fronts a worker writes an access log (HAProxy and Varnish cannot log to
//! a file by themselves, and log nothing); what stands behind the hop logs nothing. Keep-alive never
//! runs out. nginx is as [Debian ships it](NginxStyle::Stock) unless it is asked for tuned. A peer that
//! is missing or does not start is left out, and that is said; iis-sim has to start.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::client::{self, Answer};
use crate::table::Role;
use crate::{Outcome, cpu, executable};

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(15);
/// How long an ordered end may take before what is left is killed.
const STOP_MAX: Duration = Duration::from_secs(3);
/// How often a condition is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// The size of every page.
const PAGE_BYTES: usize = 1024;
/// The application that iis-sim runs: one page of 1 KiB that costs nothing, and a file.
const SIMULATION: &str = "[[page]]\npath = \"/default.aspx\"\nbytes = 1024\n";

/// How nginx is configured, apart from keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NginxStyle {
    /// Its log is buffered, as iis-sim's is, and the page's file stays open: the harder peer.
    Tuned,
    /// What `apt install nginx` configures: a write to the log per request, the file opened for each.
    Stock,
}

impl NginxStyle {
    /// What the server behind the hop does about the page's file.
    fn files(self) -> &'static str {
        match self {
            Self::Tuned => "open_file_cache max=16;",
            Self::Stock => "",
        }
    }

    /// How the front's log is written.
    fn log(self) -> &'static str {
        match self {
            Self::Tuned => "combined buffer=64k flush=1s",
            Self::Stock => "combined",
        }
    }

    /// What Debian's `nginx.conf` says about every server. No client here accepts gzip.
    fn general(self) -> &'static str {
        match self {
            Self::Tuned => "",
            Self::Stock => "sendfile on; tcp_nopush on; gzip on;",
        }
    }
}

/// One row of the table: a path of a running server.
#[derive(Debug)]
pub(crate) struct Contender {
    /// Who, and how.
    pub(crate) name: &'static str,
    /// What it is compared as.
    pub(crate) role: Role,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What is asked for.
    pub(crate) path: &'static str,
    /// The processes whose trees serve it.
    pub(crate) roots: Vec<u32>,
    /// What its answer looks like.
    pub(crate) answer: Answer,
}

impl Contender {
    fn new(
        name: &'static str,
        role: Role,
        (address, path): (SocketAddr, &'static str),
        roots: Vec<u32>,
    ) -> Outcome<Self> {
        let answer = answered(address, path).map_err(|error| format!("{name}: {error}"))?;
        Ok(Self {
            name,
            role,
            address,
            path,
            roots,
            answer,
        })
    }

    /// Asks often enough that every cache that may hold the page holds it.
    pub(crate) fn warm_up(&self) -> Outcome<()> {
        for _ in 0..5 {
            client::get(self.address, self.path)
                .map_err(|error| format!("{}: {error}", self.name))?;
        }
        Ok(())
    }
}

/// All contenders, and what keeps them alive.
#[derive(Debug)]
pub(crate) struct Contenders {
    /// Those that run.
    pub(crate) all: Vec<Contender>,
    /// Who does not take part, and why.
    pub(crate) left_out: Vec<String>,
    // Ended in this order: the programs before their folder goes.
    programs: Vec<Program>,
    folder: TempDir,
    iis_sim: IisSim,
}

impl Contenders {
    /// Starts iis-sim, and what is installed of its peers.
    pub(crate) fn start(iis_sim: &Path, style: NginxStyle) -> Outcome<Self> {
        let mut contenders = Self {
            all: Vec::new(),
            left_out: Vec::new(),
            programs: Vec::new(),
            folder: temporary()?,
            iis_sim: IisSim::start(iis_sim)?,
        };
        contenders.start_peers(style);
        contenders.add_iis_sim()?;
        Ok(contenders)
    }

    /// The processes of iis-sim's driver.
    pub(crate) fn httpsys(&self) -> Vec<u32> {
        self.iis_sim.pids("httpsys")
    }

    fn start_peers(&mut self, style: NginxStyle) {
        let backend = match nginx_backend(self.folder(), style) {
            Ok(backend) => backend,
            Err(error) => return self.left_out.push(format!("all peers: {error}")),
        };
        for started in [
            self.start_nginx(backend.pid(), style),
            self.start_haproxy(backend.pid()),
            self.start_varnish(backend.pid()),
        ] {
            self.left_out.extend(started.err());
        }
        self.programs.push(backend);
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn start_nginx(&mut self, backend: u32, style: NginxStyle) -> Outcome<()> {
        for (name, role, cache) in [
            ("nginx → nginx", Role::HopNginx, false),
            ("nginx proxy_cache", Role::CacheNginx, true),
        ] {
            let port = free_port()?;
            let front = nginx_front(self.folder(), port, cache, style)?;
            let roots = vec![front.pid(), backend];
            self.programs.push(front);
            let contender = Contender::new(name, role, (loopback(port), "/page.html"), roots)?;
            if cache && !contender.answer.head.contains("X-Cache: HIT") {
                return Err(format!("nginx does not cache: {}", contender.answer.head));
            }
            self.all.push(contender);
        }
        Ok(())
    }

    fn start_haproxy(&mut self, backend: u32) -> Outcome<()> {
        let port = free_port()?;
        let server = haproxy(self.folder(), port)?;
        let roots = vec![server.pid(), backend];
        self.programs.push(server);
        let place = (loopback(port), "/page.html");
        self.all.push(Contender::new(
            "HAProxy → nginx",
            Role::HopHaproxy,
            place,
            roots,
        )?);
        Ok(())
    }

    fn start_varnish(&mut self, backend: u32) -> Outcome<()> {
        let port = free_port()?;
        let server = varnish(self.folder(), port)?;
        let roots = vec![server.pid(), backend];
        self.programs.push(server);
        let place = (loopback(port), "/page.html");
        let contender = Contender::new("Varnish", Role::CacheVarnish, place, roots)?;
        let hit = contender
            .answer
            .head
            .lines()
            .find(|line| line.starts_with("X-Varnish:"));
        if hit.is_none_or(|line| line.split_whitespace().count() != 3) {
            return Err(format!("Varnish does not cache: {}", contender.answer.head));
        }
        self.all.push(contender);
        Ok(())
    }

    fn add_iis_sim(&mut self) -> Outcome<()> {
        let (address, roots) = (self.iis_sim.address, vec![self.iis_sim.program.pid()]);
        for (name, role, path) in [
            ("iis-sim, queue and w3wp", Role::HopOurs, "/default.aspx"),
            ("iis-sim, response cache", Role::CacheOurs, "/page.html"),
        ] {
            let contender = Contender::new(name, role, (address, path), roots.clone())?;
            self.all.push(contender);
        }
        Ok(())
    }
}

/// A running `iis-sim up`.
#[derive(Debug)]
pub(crate) struct IisSim {
    /// The launcher.
    pub(crate) program: Program,
    /// Where its site listens.
    pub(crate) address: SocketAddr,
    /// Its simulated `C:\`.
    pub(crate) root: TempDir,
}

impl IisSim {
    /// Starts a server with one application that costs nothing.
    pub(crate) fn start(executable: &Path) -> Outcome<Self> {
        let root = temporary()?;
        let site = root.path().join("inetpub/wwwroot");
        fs::create_dir_all(&site).map_err(|error| format!("{}: {error}", site.display()))?;
        write(&site.join("simulation.toml"), SIMULATION)?;
        write(&site.join("page.html"), &page())?;
        let mut command = Command::new(executable);
        command
            .args(["up", "--json", "--port-map", "*:0", "--root"])
            .arg(root.path());
        let mut program = Program::start(command.stdout(Stdio::piped()), "iis-sim")?;
        let stdout = program.child.stdout.take().expect("its output is piped");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(|error| format!("iis-sim: {error}"))?;
        let address = ready_address(&line)
            .ok_or_else(|| format!("{} up did not say that it is ready", executable.display()))?;
        Ok(Self {
            program,
            address,
            root,
        })
    }

    /// The pids of its processes of one name.
    pub(crate) fn pids(&self, program: &str) -> Vec<u32> {
        let mut tree = cpu::tree(&[self.program.pid()]);
        tree.retain(|&pid| cpu::program(pid) == program);
        tree
    }
}

/// The first address in the line of JSON that `up` prints.
fn ready_address(line: &str) -> Option<SocketAddr> {
    let ready: serde_json::Value = serde_json::from_str(line).ok()?;
    let endpoints = ready.get("endpoints")?.as_array()?;
    endpoints
        .iter()
        .find_map(|endpoint| endpoint.get("address")?.as_str()?.parse().ok())
}

/// A process that ends, with all of its descendants, when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
}

impl Program {
    fn start(command: &mut Command, name: &str) -> Outcome<Self> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .map_err(|e| format!("{name}: {e}"))?;
        Ok(Self { child })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let descendants = cpu::tree(&[self.pid()]);
        signal(self.pid(), Signal::TERM);
        let deadline = Instant::now() + STOP_MAX;
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        for process in descendants {
            signal(process, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn signal(process: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Waits until a server answers, then asks often enough that a cache answers, and gives that answer.
fn answered(address: SocketAddr, path: &str) -> Outcome<Answer> {
    let deadline = Instant::now() + START_MAX;
    loop {
        let answer = client::get(address, path);
        match answer {
            Ok(answer) if answer.is_ok() => break,
            Ok(answer) => return Err(format!("answered {path} with {}", answer.head)),
            Err(error) if Instant::now() > deadline => return Err(error.to_string()),
            Err(_) => std::thread::sleep(LOOK_INTERVAL),
        }
    }
    for _ in 0..4 {
        client::get(address, path).map_err(|error| error.to_string())?;
    }
    client::get(address, path).map_err(|error| error.to_string())
}

fn nginx_backend(folder: &Path, style: NginxStyle) -> Outcome<Program> {
    write(&folder.join("page.html"), &page())?;
    let folder = folder.display();
    let server = format!(
        "access_log off; {}
         server {{ listen unix:{folder}/back.sock; root {folder}; }}",
        style.files()
    );
    nginx("back", &server, &folder.to_string(), style)
}

fn nginx_front(folder: &Path, port: u16, cache: bool, style: NginxStyle) -> Outcome<Program> {
    let folder = folder.display();
    let name = if cache { "cache" } else { "front" };
    let log = style.log();
    let (zone, location) = if cache {
        (
            format!("proxy_cache_path {folder}/cached keys_zone=pages:1m;"),
            "proxy_cache pages; proxy_cache_valid 200 1h; add_header X-Cache $upstream_cache_status;",
        )
    } else {
        (String::new(), "")
    };
    let server = format!(
        "access_log {folder}/{name}.access.log {log}; {zone}
         upstream back {{ server unix:{folder}/back.sock; keepalive 128; keepalive_requests 1000000000; }}
         server {{ listen 127.0.0.1:{port} backlog=4096;
           location / {{
             proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection '';
             {location}
           }} }}"
    );
    nginx(name, &server, &folder.to_string(), style)
}

/// An nginx with a worker per core.
fn nginx(name: &str, http: &str, folder: &str, style: NginxStyle) -> Outcome<Program> {
    // Workers of root's nginx become somebody who may not enter the folder.
    let user = if geteuid().is_root() {
        "user root root;"
    } else {
        ""
    };
    let config = format!(
        "daemon off; worker_processes auto; pid {folder}/{name}.pid; {user}
         error_log {folder}/{name}.error.log crit;
         events {{ worker_connections 15000; }}
         http {{
           {} default_type text/html; keepalive_requests 1000000000; keepalive_timeout 1h;
           client_body_temp_path {folder}/{name}.body; proxy_temp_path {folder}/{name}.proxy;
           fastcgi_temp_path {folder}/{name}.fastcgi; uwsgi_temp_path {folder}/{name}.uwsgi;
           scgi_temp_path {folder}/{name}.scgi;
           {http}
         }}",
        style.general()
    );
    let file = format!("{folder}/{name}.conf");
    write(Path::new(&file), &config)?;
    let program = executable::find("nginx").ok_or("nginx is not installed")?;
    let log = format!("{folder}/{name}.error.log");
    Program::start(
        Command::new(program).args(["-e", &log, "-c", &file]),
        "nginx",
    )
}

fn haproxy(folder: &Path, port: u16) -> Outcome<Program> {
    let config = format!(
        "global\n  nbthread 2\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  \
         http-reuse always\n\
         frontend front\n  bind 127.0.0.1:{port}\n  default_backend back\n\
         backend back\n  server nginx unix@{}/back.sock\n",
        folder.display()
    );
    let file = folder.join("haproxy.cfg");
    write(&file, &config)?;
    let program = executable::find("haproxy").ok_or("HAProxy → nginx: haproxy is not installed")?;
    Program::start(
        Command::new(program).args(["-db", "-q", "-f"]).arg(file),
        "haproxy",
    )
}

fn varnish(folder: &Path, port: u16) -> Outcome<Program> {
    let config = format!(
        "vcl 4.1;\nbackend nginx {{ .path = \"{}/back.sock\"; }}\n\
         sub vcl_backend_response {{ set beresp.ttl = 1h; }}\n",
        folder.display()
    );
    let file = folder.join("varnish.vcl");
    write(&file, &config)?;
    let program = executable::find("varnishd").ok_or("Varnish: varnishd is not installed")?;
    let mut command = Command::new(program);
    command
        .args(["-F", "-j", "none", "-s", "malloc,32m", "-a"])
        .arg(format!("127.0.0.1:{port}"));
    command
        .arg("-f")
        .arg(file)
        .arg("-n")
        .arg(folder.join("varnish"));
    Program::start(
        command.stdout(Stdio::null()).stderr(Stdio::null()),
        "varnishd",
    )
}

fn page() -> String {
    "<p>one kibibyte of page</p>\n"
        .chars()
        .cycle()
        .take(PAGE_BYTES)
        .collect()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A port that is free now; the peers cannot be given port 0.
fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
    listener
        .map(|address| address.port())
        .map_err(|error| format!("no free port: {error}"))
}

fn temporary() -> Outcome<TempDir> {
    tempfile::tempdir().map_err(|error| format!("temporary folder: {error}"))
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
