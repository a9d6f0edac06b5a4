//! One request from a client through `httpsys`, a process of its own, to a worker and back: sockets,
//! wake-ups and all, with one request under way. Most of it is waking sleeping cores.

#![expect(clippy::disallowed_types, reason = "the client is a socket")]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use criterion::Criterion;
use sim_httpsys::api::wire::{Frames, decode_completion, encode_call};
use sim_httpsys::api::{CachePolicy, Call, CallId, Completion, ControlCall};
use sim_httpsys::live::{ENDPOINTS_FILE, Options, open_device, run};
use sim_httpsys::model::Parameters;

mod stage;

/// The first argument with which this executable is the program `httpsys`; its root follows.
const HTTPSYS: &str = "httpsys";

fn main() -> io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == HTTPSYS) {
        let root = arguments.next().map(PathBuf::from).unwrap_or_default();
        return httpsys(root).map_err(io::Error::other);
    }
    let root = tempfile::tempdir()?;
    let executable = std::env::current_exe()?;
    let _driver = Driver(
        Command::new(executable)
            .arg(HTTPSYS)
            .arg(root.path())
            .spawn()?,
    );
    let mut controller = Handle::open(root.path())?;
    let mut log = stage::log_settings();
    log.directory = root.path().join("W3SVC1").display().to_string();
    for call in stage::site(Some(log)) {
        controller.control(call)?;
    }
    let worker = Handle::open(root.path())?;
    // Ends with the driver, whose device it reads.
    std::thread::spawn(|| work(worker));
    let mut client = TcpStream::connect(address(root.path())?)?;
    client.set_nodelay(true)?;
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("one live round trip", |bencher| {
        bencher.iter(|| round_trip(&mut client).expect("the driver answers"));
    });
    criterion.final_summary();
    Ok(())
}

fn httpsys(root: PathBuf) -> Result<(), sim_httpsys::live::RunError> {
    run(Options {
        device: root.join("run/device"),
        root,
        listen: Ipv4Addr::LOCALHOST.into(),
        port_map: vec![(None, 0)],
        trace: false,
        record: false,
        parameters: Parameters::default(),
        telling: |_, _| {},
    })
}

/// Sends a request and reads its response.
fn round_trip(client: &mut TcpStream) -> io::Result<usize> {
    client.write_all(stage::REQUEST)?;
    let mut buffer = [0; 4096];
    let mut length = 0;
    loop {
        length += match client.read(&mut buffer[length..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => more,
        };
        let end = buffer[..length]
            .windows(4)
            .position(|four| four == b"\r\n\r\n");
        if end.is_some_and(|end| length >= end + 4 + 1024) {
            assert!(buffer.starts_with(b"HTTP/1.1 200"), "a worker answers");
            return Ok(length);
        }
    }
}

/// Answers every request, as a worker process with a trivial handler.
fn work(mut worker: Handle) -> io::Result<()> {
    worker.control(ControlCall::OpenRequestQueue {
        name: stage::queue(),
    })?;
    worker.call(&Call::ReceiveRequest { credits: 100 })?;
    loop {
        if let Completion::Request(request) = worker.next()? {
            let response = stage::response(CachePolicy::Nocache, true);
            worker.call(&Call::SendResponse {
                request: request.id,
                response,
                more: false,
            })?;
            worker.call(&Call::ReceiveRequest { credits: 1 })?;
        }
    }
}

fn address(root: &Path) -> io::Result<SocketAddr> {
    let endpoints = std::fs::read_to_string(root.join(ENDPOINTS_FILE))?;
    let endpoints: serde_json::Value = serde_json::from_str(&endpoints)?;
    let address = endpoints
        .pointer("/0/address")
        .and_then(serde_json::Value::as_str);
    address
        .and_then(|address| address.parse().ok())
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// A process that ends when dropped.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An open device.
struct Handle {
    stream: UnixStream,
    frames: Frames,
}

impl Handle {
    /// Opens the device as soon as it is there.
    fn open(root: &Path) -> io::Result<Self> {
        let stream = loop {
            match open_device(&root.join("run/device")) {
                Ok(stream) => break stream,
                Err(error) if error.kind() == io::ErrorKind::NotFound => std::thread::yield_now(),
                Err(error) => return Err(error),
            }
        };
        stream.set_nonblocking(false)?;
        Ok(Self {
            stream,
            frames: Frames::default(),
        })
    }

    fn call(&mut self, call: &Call) -> io::Result<()> {
        let mut out = Vec::new();
        encode_call(call, &mut out);
        self.stream.write_all(&out)
    }

    fn control(&mut self, call: ControlCall) -> io::Result<()> {
        self.call(&Call::Control {
            id: CallId(1),
            call,
        })?;
        match self.next()? {
            Completion::Called { result, .. } => result.map(drop).map_err(io::Error::other),
            Completion::Request(_)
            | Completion::EntityBody { .. }
            | Completion::Disconnected { .. }
            | Completion::DemandStart { .. }
            | Completion::Untrusted { .. } => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn next(&mut self) -> io::Result<Completion> {
        let mut buffer = [0; 8192];
        loop {
            if let Some(frame) = self.frames.next_frame().map_err(io::Error::other)? {
                return decode_completion(frame).map_err(io::Error::other);
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.frames.buffer.extend_from_slice(&buffer[..count]),
            }
        }
    }
}
