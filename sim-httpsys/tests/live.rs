//! The driver as a process of its own, with a controller, a worker and clients made of plain sockets.
#![cfg(feature = "live")]
#![expect(clippy::disallowed_types, reason = "clients are sockets")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "anything else fails the test"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sim_httpsys::api::wire::{Frames, decode_completion, encode_call};
use sim_httpsys::api::{
    CachePolicy, Call, CallId, CallResult, Completion, ControlCall, DisabledReason, LogData,
    LogSettings, QueueState, Request, RequestQueueName, RequestQueueProperties, Response,
    ResponseVerbosity, SharedRequest, SiteId, Timeouts, UrlContext, UrlGroupId, UrlGroupProperties,
};
use sim_httpsys::live::{ENDPOINTS_FILE, Options, open_device, run};
use sim_httpsys::model::Parameters;

/// Tells the test binary that it is to be the program `httpsys`, and where.
const ROOT: &str = "IIS_SIM_TEST_ROOT";

/// Not a test when run by hand: the tests below start it in a process of its own.
#[test]
fn the_program_itself() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else {
        return;
    };
    run(Options {
        device: root.join("run/device"),
        root,
        listen: Ipv4Addr::LOCALHOST.into(),
        port_map: vec![(None, 0)],
        trace: true,
        record: false,
        parameters: Parameters::default(),
        telling: |_, _| {},
    })
    .unwrap();
}

/// A running driver; it dies with the test that started it.
struct Driver {
    root: tempfile::TempDir,
    child: Child,
}

fn program(root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "the_program_itself"])
        .env(ROOT, root)
        .stdout(Stdio::null());
    command
}

impl Driver {
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let child = program(root.path()).spawn().unwrap();
        let driver = Self { root, child };
        driver.open();
        driver
    }

    fn open(&self) -> Handle {
        Handle::open(self.root.path())
    }

    /// A controller with the queue `Pool` and the site 1 on ports 80 and 443.
    fn controller(&self, state: QueueState) -> Handle {
        let mut controller = self.open();
        let queue = RequestQueueName("Pool".into());
        let properties = RequestQueueProperties {
            length: 1000,
            verbosity: ResponseVerbosity::Limited,
            state,
        };
        let directory = self.root.path().join("inetpub/logs/LogFiles/W3SVC1");
        let log = LogSettings::daily(directory.to_str().unwrap().to_owned());
        let group = UrlGroupProperties {
            queue: queue.clone(),
            site: SiteId(1),
            connections_max: None,
            url_segments_max: 32,
            timeouts: Timeouts::default(),
            log: Some(log),
        };
        controller.control(ControlCall::CreateRequestQueue {
            name: queue,
            properties,
        });
        let id = UrlGroupId(1);
        controller.control(ControlCall::CreateUrlGroup {
            group: id,
            properties: Box::new(group),
        });
        for url in ["http://*:80/", "https://*:443/"] {
            controller.control(ControlCall::AddUrl {
                group: id,
                url: url.to_owned(),
                context: UrlContext(7),
            });
        }
        controller
    }

    fn worker(&self) -> Handle {
        let mut worker = self.open();
        worker.control(ControlCall::OpenRequestQueue {
            name: RequestQueueName("Pool".into()),
        });
        worker.call(&Call::ReceiveRequest { credits: 100 });
        worker
    }

    fn address(&self, port: u16) -> SocketAddr {
        let text = std::fs::read_to_string(self.root.path().join(ENDPOINTS_FILE)).unwrap();
        let lines: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut lines = lines.as_array().unwrap().iter();
        let line = lines.find(|line| line["endpoint"]["port"] == port).unwrap();
        line["address"].as_str().unwrap().parse().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address(80)).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client
    }

    fn terminate(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.path().join(path)).unwrap()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An open device.
struct Handle {
    stream: UnixStream,
    frames: Frames,
}

impl Handle {
    fn open(root: &Path) -> Self {
        let stream = loop {
            match open_device(&root.join("run/device")) {
                Ok(stream) => break stream,
                Err(_) => std::thread::yield_now(),
            }
        };
        stream.set_nonblocking(false).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self {
            stream,
            frames: Frames::default(),
        }
    }

    fn call(&mut self, call: &Call) {
        let mut out = Vec::new();
        encode_call(call, &mut out);
        self.stream.write_all(&out).unwrap();
    }

    fn control(&mut self, call: ControlCall) {
        self.call(&Call::Control {
            id: CallId(1),
            call,
        });
        match self.next() {
            Completion::Called { result, .. } => assert_eq!(result, Ok(CallResult::Done)),
            other => panic!("{other:?}"),
        }
    }

    fn next(&mut self) -> Completion {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return decode_completion(frame).unwrap();
            }
            let mut buffer = [0; 8192];
            let n = self.stream.read(&mut buffer).unwrap();
            assert_ne!(n, 0, "the driver has closed the device");
            self.frames.buffer.extend_from_slice(&buffer[..n]);
        }
    }

    fn request(&mut self) -> SharedRequest {
        match self.next() {
            Completion::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, request: &Request, body: &'static str) {
        let response = Response {
            status: 200,
            headers: Bytes::from_static(b"Content-Type: text/plain\r\n"),
            body: Bytes::from_static(body.as_bytes()),
            cache_policy: CachePolicy::Nocache,
            log: Some(LogData::default()),
            disconnect: false,
        };
        self.call(&Call::SendResponse {
            request: request.id,
            response,
            more: false,
        });
    }
}

/// Sends a request.
fn ask(client: &mut impl Write, path: &str) {
    write!(client, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
}

/// Reads a response with a `Content-Length`: its first line and its body.
fn response(client: &mut impl Read) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    client.read_exact(&mut body).unwrap();
    (
        head.lines().next().unwrap().to_owned(),
        String::from_utf8(body).unwrap(),
    )
}

#[test]
fn requests_travel_through_the_queue_to_a_worker_and_back_on_one_connection() {
    let driver = Driver::start();
    let _controller = driver.controller(QueueState::Active);
    let mut worker = driver.worker();
    let mut client = driver.connect();
    for (path, body) in [("/one", "first"), ("/two", "second"), ("/three", "third")] {
        ask(&mut client, path);
        let request = worker.request();
        assert_eq!(request.text.str(request.text.path), path);
        assert_eq!(request.url_context, UrlContext(7));
        worker.answer(&request, body);
        assert_eq!(
            response(&mut client),
            ("HTTP/1.1 200 OK".into(), body.into())
        );
    }
}

#[test]
fn many_clients_are_answered_each_with_its_own_response() {
    let driver = Driver::start();
    let _controller = driver.controller(QueueState::Active);
    let mut worker = driver.worker();
    let mut clients: Vec<TcpStream> = (0..50).map(|_| driver.connect()).collect();
    for client in &mut clients {
        ask(client, "/");
    }
    for _ in 0..50 {
        let request = worker.request();
        worker.answer(&request, "yours");
    }
    for client in &mut clients {
        assert_eq!(response(client).1, "yours");
    }
}

#[test]
fn a_disabled_queue_answers_503_and_the_error_log_says_why() {
    let mut driver = Driver::start();
    let _controller = driver.controller(QueueState::Inactive(DisabledReason::AppOffline));
    let mut client = driver.connect();
    ask(&mut client, "/");
    assert_eq!(response(&mut client).0, "HTTP/1.1 503 Service Unavailable");
    driver.terminate();
    let log = driver.text("Windows/System32/LogFiles/HTTPERR/httperr1.log");
    assert!(
        log.starts_with("#Software: Microsoft HTTP API 2.0"),
        "{log}"
    );
    assert!(log.contains("AppOffline Pool"), "{log}");
}

#[test]
fn closing_the_endpoint_resets_its_connections_and_refuses_new_ones() {
    let driver = Driver::start();
    let mut controller = driver.controller(QueueState::Active);
    let mut worker = driver.worker();
    let mut idle = driver.connect();
    ask(&mut idle, "/");
    let request = worker.request();
    worker.answer(&request, "ok");
    response(&mut idle);
    let address = driver.address(80);
    controller.control(ControlCall::CloseUrlGroup {
        group: UrlGroupId(1),
    });
    assert_eq!(
        idle.read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_killed_worker_resets_what_it_held_and_the_next_takes_what_waited() {
    let driver = Driver::start();
    let _controller = driver.controller(QueueState::Active);
    let mut first = driver.open();
    first.control(ControlCall::OpenRequestQueue {
        name: RequestQueueName("Pool".into()),
    });
    first.call(&Call::ReceiveRequest { credits: 1 });
    let (mut held, mut waiting) = (driver.connect(), driver.connect());
    ask(&mut held, "/held");
    first.request();
    ask(&mut waiting, "/waiting");
    drop(first);
    assert_eq!(
        held.read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    let mut second = driver.worker();
    let request = second.request();
    second.answer(&request, "late");
    assert_eq!(response(&mut waiting).1, "late");
}

#[test]
fn a_second_handshake_resumes_and_the_trace_says_so() {
    let driver = Driver::start();
    let _controller = driver.controller(QueueState::Active);
    let mut worker = driver.worker();
    let file = driver.root.path().join("run/certificate.pem");
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(file).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    for _ in 0..2 {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(&config), name).unwrap();
        let socket = TcpStream::connect(driver.address(443)).unwrap();
        let mut client = StreamOwned::new(session, socket);
        ask(&mut client, "/");
        let request = worker.request();
        assert!(request.secure);
        worker.answer(&request, "secret");
        assert_eq!(response(&mut client).1, "secret");
    }
    let trace = driver.text("trace/httpsys.jsonl");
    assert_eq!(trace.matches(r#""resumed":false"#).count(), 1);
    assert_eq!(trace.matches(r#""resumed":true"#).count(), 1);
}

#[test]
fn asked_to_end_it_writes_its_logs_and_takes_its_device_with_it() {
    let mut driver = Driver::start();
    let _controller = driver.controller(QueueState::Active);
    let mut worker = driver.worker();
    let mut client = driver.connect();
    ask(&mut client, "/logged?yes");
    let request = worker.request();
    worker.answer(&request, "ok");
    response(&mut client);
    driver.terminate();
    let folder = driver.root.path().join("inetpub/logs/LogFiles/W3SVC1");
    let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    let log = std::fs::read_to_string(file.path()).unwrap();
    assert!(log.contains(" GET /logged yes 80 "), "{log}");
    assert!(!driver.root.path().join("run/device").exists());
    assert!(!driver.root.path().join(ENDPOINTS_FILE).exists());
}

#[test]
fn it_dies_with_its_launcher_even_if_that_is_killed() {
    let root = tempfile::tempdir().unwrap();
    let direct = program(root.path());
    let mut launcher = Command::new("sh");
    launcher
        .args(["-c", r#""$0" "$@" & wait"#])
        .arg(direct.get_program())
        .args(direct.get_args());
    let mut launcher = launcher
        .env(ROOT, root.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut handle = Handle::open(root.path());
    // Answered, so the driver has taken the handle in: its end is then a plain end of the stream.
    handle.call(&Call::Control {
        id: CallId(1),
        call: ControlCall::QueryServiceState,
    });
    handle.next();
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    assert_eq!(handle.stream.read(&mut [0; 1]).unwrap(), 0);
}
