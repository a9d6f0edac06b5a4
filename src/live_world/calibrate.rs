//! Measures on this machine what the virtual world needs to know: one real server, small clients, and the
//! facts that its programs state about themselves, all by one clock.
//!
//! Every figure is a sample of many; its median and the spread of its logarithm between the 10th and the
//! 90th percentile become a lognormal distribution. The server is otherwise idle and keeps a trace, as in
//! a trial. Absent on purpose: what applications compute, which a scenario says.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a few facts are picked out of many; one that is added is no sample until somebody says so"
)]

mod boots;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, HandshakeKind, StreamOwned};
use sim_httpsys::api::{ProcessId, RequestId};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw;
use sim_httpsys::live::clock::clock_now;
use sim_was::control::{Answer, Command};
use sim_was::event_log;
use sim_worker::facts;

use super::page;
use super::processes::{computed, resident_bytes};
use super::server::{BoundEndpoint, Server, ServerError, ServerOptions, config_path};
use crate::load::live::client_config;
use crate::measure::statistics::quantile;
use crate::measure::{Observation, ReadError};

const CONFIG: &str = r#"<configuration><system.applicationHost>
<applicationPools><add name="Calibration"><failure rapidFailProtection="false" /></add></applicationPools>
<sites><site name="Calibration" id="1">
<application path="/" applicationPool="Calibration">
<virtualDirectory path="/" physicalPath="%SystemDrive%\inetpub\wwwroot" /></application>
<bindings><binding protocol="http" bindingInformation="*:80:" />
<binding protocol="https" bindingInformation="*:443:" /></bindings>
</site></sites></system.applicationHost></configuration>"#;

const POOL: &str = "Calibration";
/// The file that is read and asked for.
const FILE_BYTES: usize = 8 << 10;
/// How long a worker may take to be replaced.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A request, a file, a socket.
    #[error("calibration: {0}")]
    Io(#[from] io::Error),
    /// TLS.
    #[error("calibration: TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A trace.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Too little was seen to say anything.
    #[error("calibration: no sample of {0}")]
    NoSample(&'static str),
    /// Ctrl-C.
    #[error("interrupted; every process was ended")]
    Interrupted,
}

/// What was measured of one figure of the profile, in seconds.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Its name in the profile.
    pub name: &'static str,
    /// What exactly was measured.
    pub how: &'static str,
    /// The samples, sorted.
    pub seconds: Vec<f64>,
}

impl Samples {
    fn new(
        name: &'static str,
        how: &'static str,
        mut seconds: Vec<f64>,
    ) -> Result<Self, CalibrateError> {
        seconds.retain(|value| value.is_finite());
        for value in &mut seconds {
            *value = value.max(1e-6);
        }
        seconds.sort_by(f64::total_cmp);
        if seconds.is_empty() {
            return Err(CalibrateError::NoSample(name));
        }
        Ok(Self { name, how, seconds })
    }

    /// A quantile, in seconds.
    pub fn quantile(&self, share: f64) -> f64 {
        quantile(&self.seconds, share).unwrap_or(0.0)
    }

    /// The standard deviation of the logarithm, from the 10th and the 90th percentile: a few samples that
    /// a busy machine delayed do not count.
    pub fn sigma(&self) -> f64 {
        // Source: the 90th percentile of the normal distribution lies 1.2816 standard deviations up.
        let spread = (self.quantile(0.9) / self.quantile(0.1)).ln();
        (spread / (2.0 * 1.2816)).clamp(0.01, 2.0)
    }
}

/// All that a profile needs.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// The figures that are drawn.
    pub samples: Vec<Samples>,
    /// The figures that are the same every time: their median is taken.
    pub constants: Vec<Samples>,
    /// Memory of a worker that has loaded nothing yet, bytes, and how many were looked at.
    pub worker_memory: (u64, usize),
}

impl Calibration {
    /// Every figure that was sampled.
    pub fn figures(&self) -> impl Iterator<Item = &Samples> {
        self.samples.iter().chain(&self.constants)
    }
}

/// Told which of how many steps begins; `false` interrupts.
pub type Watcher<'a> = &'a mut dyn FnMut(u64, u64, &'static str) -> bool;

/// Measures everything below `folder`, which is empty.
pub fn calibrate(
    folder: &Path,
    quick: bool,
    watcher: Watcher<'_>,
) -> Result<Calibration, CalibrateError> {
    let (requests, workers, services) = if quick { (300, 4, 2) } else { (3_000, 25, 10) };
    let total = 5 + 2 * workers + services;
    let mut step = 0;
    let mut begin = |what| {
        step += 1;
        watcher(step, total, what)
            .then_some(())
            .ok_or(CalibrateError::Interrupted)
    };
    begin("starting a server")?;
    let root = folder.join("root");
    let server = start(&root)?;
    let (http, https) = (
        open_endpoint(&server, false)?,
        open_endpoint(&server, true)?,
    );
    page::get(http, "/default.aspx")?;
    begin("cache hits and requests to a worker")?;
    let round_trips = keep_alive(http, "/file.htm", requests)?;
    keep_alive(http, "/default.aspx", requests)?;
    let constants = processor_times(&server, http, requests / 15)?;
    let client_hop = Samples::new(
        "client_hop",
        "half of a hit in the response cache over a kept-alive connection",
        round_trips
            .iter()
            .skip(requests / 10)
            .map(|took| took / 2.0)
            .collect(),
    )?;
    begin("TLS handshakes")?;
    let [full, resumed] = handshakes(https, requests / 10, 2.0 * client_hop.quantile(0.5))?;
    begin("files and commands")?;
    let file_read = file_reads(folder, requests)?;
    let commands = timed(requests / 10, || {
        Ok(server.ask(&Command::ServiceStatus).map(|_| ())?)
    })?;
    let mut memory = Vec::new();
    for _ in 0..workers {
        begin("recycles")?;
        memory.push(resident_bytes(&[recycle(&server)?]));
    }
    let mut kills = Vec::new();
    for _ in 0..workers {
        begin("kill -9")?;
        kills.push(kill(&server)?);
        until_served(http)?;
    }
    server.stop();
    let boots = boots::boots(&folder.join("boots"), services, || begin("kill -9 of WAS"))?;
    begin("reading the traces")?;
    let seen = observe(&root)?;
    memory.sort_unstable();
    let worker_memory = (memory[memory.len() / 2], memory.len());
    let mut samples = vec![client_hop, device_hops(&seen)?];
    samples.extend(lives(&seen)?);
    samples.extend(deaths(&seen, &kills)?);
    samples.extend(boots);
    samples.push(full);
    samples.push(resumed);
    samples.push(file_read);
    samples.push(Samples::new(
        "command_hop",
        "a round trip on the control socket",
        commands,
    )?);
    Ok(Calibration {
        samples,
        constants,
        worker_memory,
    })
}

fn start(root: &Path) -> Result<Server, CalibrateError> {
    let config = config_path(root);
    std::fs::create_dir_all(config.parent().unwrap_or(root))?;
    std::fs::write(&config, CONFIG)?;
    let content = root.join("inetpub/wwwroot");
    std::fs::create_dir_all(&content)?;
    std::fs::write(content.join("file.htm"), vec![b'x'; FILE_BYTES])?;
    let mut options = ServerOptions::on_any_port(root);
    options.trace = true;
    Ok(Server::start(&options)?)
}

/// Where the first binding that is secure, or not, is reached.
fn open_endpoint(server: &Server, secure: bool) -> Result<SocketAddr, CalibrateError> {
    let endpoints = server.endpoints();
    let mut open = endpoints.iter().filter(|e| e.secure == secure);
    open.find_map(BoundEndpoint::address)
        .ok_or(CalibrateError::NoSample("an endpoint"))
}

fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

/// How long something takes, again and again.
fn timed(
    count: usize,
    mut what: impl FnMut() -> Result<(), CalibrateError>,
) -> Result<Vec<f64>, CalibrateError> {
    let once = |_| {
        let begun = clock_now();
        what()?;
        Ok(seconds(clock_now() - begun))
    };
    (0..count.max(10)).map(once).collect()
}

/// Asks for a page again and again over one connection.
fn keep_alive(address: SocketAddr, path: &str, count: usize) -> Result<Vec<f64>, CalibrateError> {
    let mut stream = connect(address)?;
    timed(count, || Ok(get(&mut stream, path)?))
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn get(stream: &mut TcpStream, path: &str) -> io::Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    read_response(stream)
}

/// Reads one response with a `Content-Length`.
fn read_response(stream: &mut impl Read) -> io::Result<()> {
    let wrong = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 << 10]);
    loop {
        let end = bytes.windows(4).position(|part| part == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|text| text.trim().parse::<usize>().ok());
            let length = length.ok_or_else(|| wrong("a response without a length"))?;
            if bytes.len() >= end + 4 + length {
                return Ok(());
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(wrong("a response was cut")),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Handshakes without and with a session to take up, less the two hops that are counted elsewhere.
fn handshakes(
    address: SocketAddr,
    count: usize,
    hops: f64,
) -> Result<[Samples; 2], CalibrateError> {
    let (mut full, mut resumed) = (Vec::new(), Vec::new());
    for _ in 0..count.max(10) {
        let config = Arc::new(client_config()?);
        // The first one with a configuration has no session, the second one takes up the first one's.
        for _ in 0..2 {
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            let mut tls = ClientConnection::new(Arc::clone(&config), name)?;
            let mut stream = connect(address)?;
            let begun = clock_now();
            while tls.is_handshaking() {
                tls.complete_io(&mut stream)?;
            }
            let took = seconds(clock_now() - begun) - hops;
            match tls.handshake_kind() {
                Some(HandshakeKind::Resumed) => resumed.push(took),
                Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) | None => {
                    full.push(took);
                }
            }
            // The tickets come with the first bytes of an answer.
            let mut stream = StreamOwned::new(tls, stream);
            stream.write_all(b"GET /file.htm HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            read_response(&mut stream)?;
        }
    }
    let how = "from the open connection to the end of the handshake at the client, less two hops";
    Ok([
        Samples::new("handshake_full", how, full)?,
        Samples::new("handshake_resumed", how, resumed)?,
    ])
}

/// What driver, worker and client compute for a request, a fifth for each of its five hops, and for a
/// connection.
fn processor_times(
    server: &Server,
    address: SocketAddr,
    requests: usize,
) -> Result<Vec<Samples>, CalibrateError> {
    const ROUNDS: usize = 10;
    const HOPS: f64 = 5.0;
    const APART: Duration = Duration::from_millis(5);
    let who = [
        std::process::id(),
        server.httpsys_pid(),
        worker(server, None)?,
    ];
    let per_round = u32::try_from(requests / ROUNDS).unwrap_or(0).max(10);
    // As far apart as in a load that leaves time: everybody sleeps, and is woken.
    let each = |what: &mut dyn FnMut() -> io::Result<()>| {
        let before: u64 = who.map(computed).iter().sum();
        for _ in 0..per_round {
            what()?;
            std::thread::sleep(APART);
        }
        let after: u64 = who.map(computed).iter().sum();
        let took = seconds(Duration::from_nanos(after.saturating_sub(before)));
        Ok::<f64, io::Error>(took / f64::from(per_round))
    };
    let mut kept = connect(address)?;
    let (mut hops, mut connections) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let on_kept = each(&mut || get(&mut kept, "/default.aspx"))?;
        let on_new = each(&mut || get(&mut connect(address)?, "/default.aspx"))?;
        hops.push(on_kept / HOPS);
        connections.push(on_new - on_kept);
    }
    let of_hop = "a fifth of what client, driver and worker compute for a request, 5 ms apart";
    let of_connection = "what they compute more for one on a connection of its own";
    Ok(vec![
        Samples::new("hop_cpu", of_hop, hops)?,
        Samples::new("connection_cpu", of_connection, connections)?,
    ])
}

fn file_reads(folder: &Path, count: usize) -> Result<Samples, CalibrateError> {
    let path = folder.join("file");
    std::fs::write(&path, vec![b'x'; FILE_BYTES])?;
    let took = timed(count, || {
        let mut file = std::fs::File::open(&path)?;
        let mut bytes = Vec::with_capacity(FILE_BYTES);
        file.metadata()?;
        file.read_to_end(&mut bytes)?;
        Ok(())
    })?;
    Samples::new(
        "file_read",
        "open, stat and read 8 KiB that the page cache has",
        took,
    )
}

/// The worker of the pool, once there is exactly one and it is not `old`.
fn worker(server: &Server, old: Option<u32>) -> Result<u32, CalibrateError> {
    let begun = clock_now();
    loop {
        if let Answer::WorkerProcesses(workers) = server.ask(&Command::ListWorkerProcesses)?
            && let [only] = workers.as_slice()
            && Some(only.pid) != old
        {
            return Ok(only.pid);
        }
        if clock_now() - begun > PATIENCE {
            return Err(CalibrateError::NoSample("a worker that is replaced"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Asks until a worker answers: what reaches the driver before the news of a death dies with the dead.
fn until_served(address: SocketAddr) -> Result<(), CalibrateError> {
    let begun = clock_now();
    loop {
        match page::get(address, "/default.aspx") {
            Ok(page) if page.status == 200 => return Ok(()),
            Ok(_) | Err(_) if clock_now() - begun < PATIENCE => {}
            Ok(_) => return Err(CalibrateError::NoSample("a worker after a kill")),
            Err(error) => return Err(error.into()),
        }
    }
}

fn recycle(server: &Server) -> Result<u32, CalibrateError> {
    let old = worker(server, None)?;
    let name = POOL.to_owned();
    server.ask(&Command::RecycleApplicationPool { name })?;
    worker(server, Some(old))
}

/// Kills the worker; gives who it was and when.
fn kill(server: &Server) -> Result<(ProcessId, Instant), CalibrateError> {
    let pid = worker(server, None)?;
    let at = clock_now();
    kill_9(pid)?;
    Ok((ProcessId(pid), at))
}

fn kill_9(pid: u32) -> Result<(), CalibrateError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(CalibrateError::NoSample("a pid"))?;
    Ok(kill_process(pid, Signal::KILL).map_err(io::Error::from)?)
}

fn observe(root: &Path) -> Result<Observation, CalibrateError> {
    let mut seen = Observation::default();
    let trace = root.join("trace");
    seen.read_httpsys(&trace.join("httpsys.jsonl"))?;
    seen.read_was(&trace.join("was.jsonl"))?;
    for entry in std::fs::read_dir(&trace)? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("w3wp-"))
        {
            seen.read_worker(&path)?;
        }
    }
    Ok(seen)
}

/// From one moment to another; `None` if they are the wrong way round.
fn between(from: Instant, to: Instant) -> Option<f64> {
    (to >= from).then(|| seconds(to - from))
}

fn device_hops(seen: &Observation) -> Result<Samples, CalibrateError> {
    let began: BTreeMap<RequestId, Instant> = seen
        .workers
        .iter()
        .flat_map(BTreeMap::values)
        .flatten()
        .filter_map(|traced| match &traced.fact {
            facts::Fact::RequestBegan { request, .. } => Some((*request, traced.at)),
            _ => None,
        })
        .collect();
    let hop = |traced: &etw::Traced<etw::Fact>| match &traced.fact {
        etw::Fact::Deliver { request, .. } => between(traced.at, *began.get(request)?),
        _ => None,
    };
    let hops = seen.httpsys.iter().flatten().filter_map(hop).collect();
    Samples::new(
        "device_hop",
        "from the driver's delivery of a request to the worker's receipt",
        hops,
    )
}

/// Births, and words between WAS and workers.
fn lives(seen: &Observation) -> Result<[Samples; 2], CalibrateError> {
    let (mut spawns, mut hops) = (Vec::new(), Vec::new());
    let of_worker = |process: ProcessId, wanted: &dyn Fn(&facts::Fact) -> bool| {
        let own = seen.workers.as_ref()?.get(&process)?;
        own.iter()
            .find(|traced| wanted(&traced.fact))
            .map(|traced| traced.at)
    };
    let mut accepted = None;
    for traced in seen.was.iter().flatten() {
        match &traced.fact {
            event_log::Fact::CommandAccepted { .. } => accepted = Some(traced.at),
            event_log::Fact::WorkerSpawned { process, .. } => {
                // The order is what the process is created for; one on demand has no command before it.
                let ordered = accepted.take().unwrap_or(traced.at);
                let started = of_worker(*process, &|fact| {
                    matches!(fact, facts::Fact::Started { .. })
                });
                // A command long before was for something else.
                let took = started.and_then(|started| between(ordered, started));
                spawns.extend(took.filter(|took| *took < 1.0));
            }
            event_log::Fact::WorkerReady { process } => {
                let said = of_worker(*process, &|fact| matches!(fact, facts::Fact::Ready));
                hops.extend(said.and_then(|said| between(said, traced.at)));
            }
            event_log::Fact::WorkerStopOrdered { process, .. } => {
                let heard = of_worker(*process, &|fact| {
                    matches!(fact, facts::Fact::StopOrdered { .. })
                });
                hops.extend(heard.and_then(|heard| between(traced.at, heard)));
            }
            _ => {}
        }
    }
    Ok([
        Samples::new(
            "spawn",
            "from the order for a worker to its first words",
            spawns,
        )?,
        Samples::new(
            "ipm_hop",
            "words between WAS and a worker, either way",
            hops,
        )?,
    ])
}

fn deaths(
    seen: &Observation,
    kills: &[(ProcessId, Instant)],
) -> Result<[Samples; 2], CalibrateError> {
    let (mut hang_ups, mut reaps) = (Vec::new(), Vec::new());
    for (killed, at) in kills {
        let detached = seen.httpsys.iter().flatten().find(
            |t| matches!(&t.fact, etw::Fact::ProcessDetach { process, .. } if process == killed),
        );
        hang_ups.extend(detached.and_then(|traced| between(*at, traced.at)));
        let exited = seen.was.iter().flatten().find(
            |t| matches!(&t.fact, event_log::Fact::WorkerExited { process, .. } if process == killed),
        );
        reaps.extend(exited.and_then(|traced| between(*at, traced.at)));
    }
    Ok([
        Samples::new("hang_up", "from kill -9 to the driver's notice", hang_ups)?,
        Samples::new("reap", "from kill -9 to the notice of WAS", reaps)?,
    ])
}
