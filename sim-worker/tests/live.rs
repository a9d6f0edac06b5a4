//! Driver and workers as processes of their own; the test plays W3SVC, WAS and the clients.
#![cfg(feature = "live")]
#![expect(clippy::disallowed_types, reason = "clients are sockets")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use sim_httpsys::api::wire::{Frames, decode_completion, encode_call};
use sim_httpsys::api::{
    Call, CallId, Completion, ControlCall, QueueState, RequestQueueName, RequestQueueProperties,
    ResponseVerbosity, SiteId, Timeouts, UrlContext, UrlGroupId, UrlGroupProperties,
};
use sim_httpsys::etw::Traced;
use sim_httpsys::live::{ENDPOINTS_FILE, open_device};
use sim_worker::configuration::{
    Application, PathSettings, PeriodicRestart, VirtualDirectory, WorkerConfiguration,
};
use sim_worker::facts::Fact;
use sim_worker::ipm::{FromWorker, ShutdownReason, ToWorker, wire};
use sim_worker::live::Args;

/// Tell the test binary which program it is to be, and where.
const PROGRAM: &str = "IIS_SIM_TEST_PROGRAM";
const ROOT: &str = "IIS_SIM_TEST_ROOT";

/// Not a test when run by hand: the tests below start it in processes of its own.
#[test]
fn the_program_itself() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else {
        return;
    };
    let device = root.join("run/device");
    if std::env::var_os(PROGRAM).is_some_and(|program| program == "httpsys") {
        let options = sim_httpsys::live::Options {
            device,
            root,
            listen: Ipv4Addr::LOCALHOST.into(),
            port_map: vec![(None, 0)],
            trace: false,
            record: false,
            parameters: sim_httpsys::model::Parameters::default(),
            telling: |_, _| {},
        };
        return sim_httpsys::live::run(options).unwrap();
    }
    let line = [
        ("-ap", "DefaultAppPool".into()),
        ("-v", "v4.0".into()),
        ("-a", root.join("run/ipm")),
        ("-h", root.join("DefaultAppPool.config")),
        ("-device", device),
        ("-trace", root.join("trace")),
    ];
    let line: Vec<String> = line
        .iter()
        .flat_map(|(switch, value)| [(*switch).to_owned(), value.to_str().unwrap().to_owned()])
        .collect();
    let code = sim_worker::live::run(Args::parse(&line).unwrap()).unwrap();
    std::process::exit(code);
}

fn start(program: &str, root: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "the_program_itself"])
        .env(PROGRAM, program)
        .env(ROOT, root);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A pipe of frames, read with patience.
struct Frame {
    stream: UnixStream,
    frames: Frames,
}

impl Frame {
    fn new(stream: UnixStream) -> Self {
        stream.set_nonblocking(false).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self {
            stream,
            frames: Frames::default(),
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return Some(frame);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => self.frames.buffer.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }
}

/// A server with one pool, whose site has these files. It ends with its test.
struct Server {
    root: tempfile::TempDir,
    driver: Child,
    ipm: UnixListener,
    _controller: Frame,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.driver.kill().unwrap();
        self.driver.wait().unwrap();
    }
}

/// A worker of the server.
struct Worker {
    child: Child,
    pipe: Frame,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Worker {
    fn hear(&mut self) -> Option<FromWorker> {
        self.pipe.next().map(|frame| wire::decode(&frame).unwrap())
    }

    fn tell(&mut self, message: &ToWorker) {
        let mut out = Vec::new();
        wire::encode(message, &mut out);
        self.pipe.stream.write_all(&out).unwrap();
    }

    fn stop(&mut self, drain: bool) {
        self.tell(&ToWorker::Shutdown {
            reason: ShutdownReason::Recycle,
            drain,
        });
    }

    /// Waits until it has exited.
    fn end(&mut self) -> ExitStatus {
        while self.hear().is_some() {}
        self.child.wait().unwrap()
    }
}

fn server(files: &[(&str, &str)]) -> Server {
    let root = tempfile::tempdir().unwrap();
    let site = root.path().join("site");
    std::fs::create_dir_all(&site).unwrap();
    for (name, contents) in files {
        std::fs::write(site.join(name), contents).unwrap();
    }
    let application = Application {
        url_context: UrlContext(1),
        site: SiteId(1),
        site_name: "Default Web Site".into(),
        path: "/".into(),
        virtual_directories: vec![VirtualDirectory {
            path: "/".into(),
            physical_path: site,
        }],
        preload: false,
        auto_start: false,
        initialization: sim_worker::configuration::Initialization::default(),
        concurrent_requests_max: 5000,
        session_state: sim_worker::configuration::SessionStateSettings::default(),
        settings: PathSettings {
            default_documents: vec!["index.html".into(), "default.aspx".into()],
            ..PathSettings::default()
        },
        paths: std::collections::BTreeMap::new(),
    };
    let configuration = WorkerConfiguration {
        pool: "DefaultAppPool".into(),
        applications: vec![application],
        departed: Vec::new(),
        periodic_restart: PeriodicRestart::default(),
        idle_timeout: Duration::ZERO,
        receives: 100,
        threads_max: 100,
        time_zone: sim_worker::local_time::TimeZone::default(),
        schedule_ran: None,
        environment: std::collections::BTreeMap::new(),
    };
    let json = serde_json::to_vec(&configuration).unwrap();
    std::fs::write(root.path().join("DefaultAppPool.config"), json).unwrap();
    std::fs::create_dir_all(root.path().join("run")).unwrap();
    let ipm = UnixListener::bind(root.path().join("run/ipm")).unwrap();
    let driver = start("httpsys", root.path());
    let controller = controller(&root.path().join("run/device"));
    Server {
        root,
        driver,
        ipm,
        _controller: controller,
    }
}

fn controller(device: &Path) -> Frame {
    let stream = loop {
        match open_device(device) {
            Ok(stream) => break stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    let mut pipe = Frame::new(stream);
    let queue = RequestQueueName("DefaultAppPool".into());
    let properties = RequestQueueProperties {
        length: 1000,
        verbosity: ResponseVerbosity::Limited,
        state: QueueState::Active,
    };
    let group = UrlGroupProperties {
        queue: queue.clone(),
        site: SiteId(1),
        connections_max: None,
        url_segments_max: 32,
        timeouts: Timeouts::default(),
        log: None,
    };
    let id = UrlGroupId(1);
    for call in [
        ControlCall::CreateRequestQueue {
            name: queue,
            properties,
        },
        ControlCall::CreateUrlGroup {
            group: id,
            properties: Box::new(group),
        },
        ControlCall::AddUrl {
            group: id,
            url: "http://*:80/".into(),
            context: UrlContext(1),
        },
    ] {
        let mut out = Vec::new();
        encode_call(
            &Call::Control {
                id: CallId(1),
                call,
            },
            &mut out,
        );
        pipe.stream.write_all(&out).unwrap();
        let answer = decode_completion(pipe.next().unwrap()).unwrap();
        assert!(
            matches!(answer, Completion::Called { result: Ok(_), .. }),
            "{answer:?}"
        );
    }
    pipe
}

impl Server {
    fn worker(&self) -> Worker {
        let child = start("w3wp", self.root.path());
        let (stream, _) = self.ipm.accept().unwrap();
        let mut worker = Worker {
            child,
            pipe: Frame::new(stream),
        };
        assert_eq!(worker.hear(), Some(FromWorker::Ready));
        worker
    }

    fn connect(&self) -> TcpStream {
        let text = std::fs::read_to_string(self.root.path().join(ENDPOINTS_FILE)).unwrap();
        let lines: serde_json::Value = serde_json::from_str(&text).unwrap();
        let address: SocketAddr = lines[0]["address"].as_str().unwrap().parse().unwrap();
        let client = TcpStream::connect(address).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client
    }

    fn get(&self, url: &str) -> String {
        let mut client = self.connect();
        ask(&mut client, url);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).ok();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn facts(&self, worker: &Worker) -> Vec<Fact> {
        let name = format!("trace/w3wp-{}.jsonl", worker.child.id());
        let text = std::fs::read_to_string(self.root.path().join(name)).unwrap();
        let read = |line| serde_json::from_str::<Traced<Fact>>(line).unwrap().fact;
        text.lines().map(read).collect()
    }
}

fn ask(client: &mut TcpStream, url: &str) {
    write!(
        client,
        "GET {url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let lines = answer.split("\r\n");
    lines
        .filter_map(|line| line.split_once(": "))
        .find(|(n, _)| *n == name)
        .map(|(_, v)| v)
}

#[test]
fn pages_and_files_are_served_through_the_driver() {
    let server = server(&[("Hello.TXT", "hello"), ("big.bin", &"x".repeat(3 << 20))]);
    let worker = server.worker();
    let page = server.get("/default.aspx");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert_eq!(
        header(&page, "X-Sim-Worker"),
        Some(worker.child.id().to_string().as_str())
    );
    assert_eq!(header(&page, "Server"), Some("Microsoft-IIS/10.0"));
    assert!(server.get("/hello.txt").ends_with("\r\n\r\nhello"));
    let big = server.get("/big.bin");
    assert_eq!(big.split_once("\r\n\r\n").unwrap().1.len(), 3 << 20);
    assert!(server.get("/none").starts_with("HTTP/1.1 404 "));
    assert!(server.get("/cpu.aspx?time=20").starts_with("HTTP/1.1 200 "));
    assert!(
        server
            .get("/leak.aspx?bytes=1000000")
            .starts_with("HTTP/1.1 200 ")
    );
    let facts = server.facts(&worker);
    let answered = facts
        .iter()
        .filter(|fact| matches!(fact, Fact::RequestEnded { .. }))
        .count();
    assert_eq!(answered, 6);
}

#[test]
fn a_hot_file_that_the_driver_keeps_is_renewed_when_it_changes() {
    let server = server(&[("a.txt", "old")]);
    let _worker = server.worker();
    for _ in 0..4 {
        assert!(server.get("/a.txt").ends_with("old"));
    }
    std::fs::write(server.root.path().join("site/a.txt"), "renewed").unwrap();
    let mut asked = 0;
    while !server.get("/a.txt").ends_with("renewed") {
        asked += 1;
        assert!(asked < 1_000_000, "the old file is served for ever");
    }
}

#[test]
fn a_request_in_flight_outlives_the_order_to_stop_and_the_successor_is_cold() {
    let server = server(&[]);
    let mut old = server.worker();
    let cookie = header(&server.get("/session.aspx"), "Set-Cookie")
        .unwrap()
        .to_owned();
    let session = cookie.split(';').next().unwrap();
    let mut slow = server.connect();
    ask(&mut slow, "/wait.aspx?time=700");
    let began = |fact: &Fact| matches!(fact, Fact::RequestBegan { .. });
    while server.facts(&old).iter().filter(|fact| began(fact)).count() < 2 {
        std::thread::yield_now();
    }
    let new = server.worker();
    old.stop(true);
    assert_eq!(old.hear(), Some(FromWorker::Draining));
    let mut client = server.connect();
    let lines = format!(
        "GET /session.aspx HTTP/1.1\r\nHost: a\r\nCookie: {session}\r\nConnection: close\r\n\r\n"
    );
    client.write_all(lines.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(
        header(&answer, "X-Sim-Worker"),
        Some(new.child.id().to_string().as_str())
    );
    assert_eq!(header(&answer, "X-Sim-Session"), Some("lost"));
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert_eq!(
        header(&answer, "X-Sim-Worker"),
        Some(old.child.id().to_string().as_str())
    );
    assert!(old.end().success());
}

#[test]
fn a_page_can_take_its_worker_down() {
    use std::os::unix::process::ExitStatusExt as _;
    let server = server(&[]);
    let mut crashes = server.worker();
    assert_eq!(server.get("/crash.aspx"), "");
    assert_eq!(crashes.end().signal(), Some(11));
    let mut exits = server.worker();
    assert_eq!(server.get("/exit.aspx?code=3"), "");
    assert_eq!(exits.end().code(), Some(3));
}

#[test]
fn a_worker_ends_when_was_is_gone() {
    let server = server(&[]);
    let mut worker = server.worker();
    worker
        .pipe
        .stream
        .shutdown(std::net::Shutdown::Both)
        .unwrap();
    assert!(worker.child.wait().unwrap().success());
}
