//! The loop with real sockets around a machine that does what its clients say.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::{Bytes, BytesMut};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;
use crate::api::wire::{Frames, decode_completion, encode_call};
use crate::api::{Call, Completion, RequestId};
use crate::clockwork::Deadline;
use crate::etw::Fact;
use crate::live::{Options, assemble, clock, open_device};
use crate::model::{Parameters, ReasonPhrase};

const CLEAR: Endpoint = Endpoint {
    address: None,
    port: 80,
    secure: false,
};
const SECURE: Endpoint = Endpoint {
    address: None,
    port: 443,
    secure: true,
};

/// More than a client's window and less than what a socket takes.
const SOME: usize = 2_000_000;

/// Listens when a process attaches; says what was said; `bye`, `cut`, `lots`, `some`, `kept` and `pause`
/// are orders.
#[derive(Default)]
struct Parrot {
    outputs: VecDeque<Output>,
    sent: u32,
    paused: Option<ConnectionId>,
}

impl StateMachine for Parrot {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Timer = ();

    fn handle_input(&mut self, input: Input<'_>, _now: Instant) {
        let mut out = |output| self.outputs.push_back(output);
        match input {
            Input::Attached { .. } => {
                out(Output::Listen { endpoint: CLEAR });
                out(Output::Listen { endpoint: SECURE });
            }
            Input::Listening { endpoint, result } => {
                result.expect("the kernel chooses the port");
                out(Output::Fact(Fact::EndpointOpen {
                    port: endpoint.port,
                }));
            }
            Input::Secured {
                connection,
                resumed,
            } => {
                let text = if resumed { "resumed" } else { "full" };
                out(Output::Send {
                    connection,
                    bytes: Bytes::from_static(text.as_bytes()),
                });
            }
            Input::Received {
                connection,
                bytes: b"cut",
            } => {
                out(Output::Close {
                    connection,
                    how: CloseHow::Reset,
                });
            }
            Input::Received {
                connection,
                bytes: b"lots",
            } => {
                out(Output::Send {
                    connection,
                    bytes: vec![b'x'; 10 << 20].into(),
                });
                out(Output::Close {
                    connection,
                    how: CloseHow::AfterSending,
                });
            }
            Input::Received {
                connection,
                bytes: order @ (b"some" | b"kept"),
            } => {
                out(Output::Send {
                    connection,
                    bytes: vec![b'x'; SOME].into(),
                });
                if order == b"some" {
                    out(Output::Close {
                        connection,
                        how: CloseHow::AfterSending,
                    });
                }
            }
            Input::Received {
                connection,
                bytes: b"pause",
            } => {
                out(Output::Send {
                    connection,
                    bytes: Bytes::from_static(b"paused"),
                });
                out(Output::Reading {
                    connection,
                    paused: true,
                });
                self.paused = Some(connection);
            }
            Input::Received { connection, bytes } => {
                out(Output::Send {
                    connection,
                    bytes: Bytes::copy_from_slice(bytes),
                });
                if bytes == b"bye" {
                    out(Output::Close {
                        connection,
                        how: CloseHow::AfterSending,
                    });
                }
            }
            Input::HalfClosed { connection } => {
                out(Output::Send {
                    connection,
                    bytes: Bytes::from_static(b"half"),
                });
                out(Output::Close {
                    connection,
                    how: CloseHow::AfterSending,
                });
            }
            Input::Sent { .. } => self.sent += 1,
            Input::Called {
                by: to,
                call: Call::CancelRequest { request },
            } => {
                out(Output::Unlisten { endpoint: CLEAR });
                out(Output::Complete {
                    to,
                    completion: Completion::Disconnected { request },
                });
            }
            Input::Called {
                call: Call::ReceiveRequest { credits: 0 },
                ..
            }
            | Input::Opened { .. } => {}
            Input::Reset { connection } => out(Output::Fact(Fact::ConnError {
                connection,
                reason: ReasonPhrase::ClientReset,
            })),
            Input::Called { by: to, call } => {
                if let (Call::ReceiveRequest { credits: 2 }, Some(connection)) = (call, self.paused)
                {
                    out(Output::Reading {
                        connection,
                        paused: false,
                    });
                }
                let request = RequestId(self.sent.into());
                out(Output::Complete {
                    to,
                    completion: Completion::Disconnected { request },
                });
            }
            Input::Gone { process } => out(Output::Fact(Fact::ProcessDetach {
                process,
                abandoned: 0,
            })),
        }
    }

    fn handle_deadline(&mut self, _now: Instant) {}

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Deadline<()>> {
        None
    }
}

struct Server {
    folder: tempfile::TempDir,
    process: UnixStream,
    frames: Frames,
    end: UnixStream,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    fn start_in(folder: tempfile::TempDir) -> Self {
        let options = Options {
            device: folder.path().join("run/httpsys"),
            root: folder.path().to_owned(),
            listen: Ipv4Addr::LOCALHOST.into(),
            port_map: vec![(None, 0)],
            trace: true,
            record: false,
            parameters: Parameters::default(),
            telling: |_, _| {},
        };
        let device = options.device.clone();
        let (end, ended) = UnixStream::pair().unwrap();
        ended.set_nonblocking(true).unwrap();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = Some(std::thread::spawn(move || {
            let driver = assemble(Parrot::default(), options, clock::utc_clock());
            ready.send(()).unwrap();
            driver.unwrap().run(ended)
        }));
        is_ready.recv().unwrap();
        let process = open_device(&device).unwrap();
        process.set_nonblocking(false).unwrap();
        let mut server = Self {
            folder,
            process,
            frames: Frames::default(),
            end,
            thread,
        };
        server.call(&Call::ReceiveRequest { credits: 1 });
        server
    }

    /// Makes a call and waits for its answer.
    fn call(&mut self, call: &Call) -> RequestId {
        let mut out = Vec::new();
        encode_call(call, &mut out);
        self.process.write_all(&out).unwrap();
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                let Completion::Disconnected { request } = decode_completion(frame).unwrap() else {
                    panic!("the parrot says nothing else");
                };
                return request;
            }
            let mut buffer = BytesMut::zeroed(1024);
            let n = self.process.read(&mut buffer).unwrap();
            self.frames.buffer.extend_from_slice(&buffer[..n]);
        }
    }

    fn address(&self, port: u16) -> SocketAddr {
        let text = std::fs::read_to_string(self.folder.path().join("run/endpoints.json")).unwrap();
        let lines: serde_json::Value = serde_json::from_str(&text).unwrap();
        let lines = lines.as_array().unwrap();
        let line = lines
            .iter()
            .find(|line| line["endpoint"]["port"] == port)
            .unwrap();
        line["address"].as_str().unwrap().parse().unwrap()
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address(80)).unwrap()
    }

    fn trace(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("trace/httpsys.jsonl")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.write_all(b"x").unwrap();
        self.thread.take().unwrap().join().unwrap().unwrap();
        assert!(open_device(&self.folder.path().join("run/httpsys")).is_err());
    }
}

fn said(stream: &mut impl Read, length: usize) -> String {
    let mut buffer = vec![0; length];
    stream.read_exact(&mut buffer).unwrap();
    String::from_utf8(buffer).unwrap()
}

fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

#[test]
fn what_is_sent_arrives_and_the_machine_is_told_once_per_turn() {
    let mut server = Server::start();
    let mut client = server.connect();
    for word in ["one", "two", "three"] {
        client.write_all(word.as_bytes()).unwrap();
        assert_eq!(said(&mut client, word.len()), word);
    }
    assert_eq!(
        server.call(&Call::ReceiveRequest { credits: 1 }),
        RequestId(3)
    );
}

#[test]
fn an_orderly_close_sends_everything_first() {
    let server = Server::start();
    let mut client = server.connect();
    client.write_all(b"lots").unwrap();
    assert_eq!(rest(&mut client).len(), 10 << 20);

    let mut client = server.connect();
    client.write_all(b"bye").unwrap();
    assert_eq!(rest(&mut client), b"bye");
}

/// Longer than what arrives is dropped after our FIN.
const LONG: Duration = Duration::from_millis(2500);

#[test]
fn a_client_that_reads_late_gets_everything_of_a_connection_that_was_closed() {
    let server = Server::start();
    let mut clients: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        // It fits into the socket's buffer.
        client.write_all(b"some").unwrap();
    }
    // This one has said all.
    clients[1].shutdown(std::net::Shutdown::Write).unwrap();
    std::thread::park_timeout(LONG);
    // This one says more.
    let _ = clients[2].write_all(b"more");
    for client in &mut clients {
        assert_eq!(rest(client).len(), SOME);
    }
}

#[test]
fn what_lies_in_the_socket_is_not_sent_yet() {
    let mut server = Server::start();
    let mut client = server.connect();
    client.write_all(b"kept").unwrap();
    std::thread::park_timeout(Duration::from_millis(100));
    assert_eq!(
        server.call(&Call::ReceiveRequest { credits: 1 }),
        RequestId(0)
    );
    assert_eq!(said(&mut client, SOME).len(), SOME);
    // What it asks next says that it has everything.
    client.write_all(b"next").unwrap();
    assert_eq!(said(&mut client, 4), "next");
    let sent = server.call(&Call::ReceiveRequest { credits: 1 });
    assert!(sent > RequestId(0));
}

#[test]
fn a_client_that_goes_before_it_has_read_what_was_sent_is_told_as_a_reset() {
    let mut server = Server::start();
    let mut client = server.connect();
    client.write_all(b"kept").unwrap();
    assert_eq!(said(&mut client, 1), "x");
    drop(client);
    for _ in 0..1000 {
        server.call(&Call::ReceiveRequest { credits: 1 });
        if server.trace().contains("ConnError") {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert!(server.trace().contains("ConnError"));
    assert_eq!(
        server.call(&Call::ReceiveRequest { credits: 1 }),
        RequestId(0)
    );
}

#[test]
fn a_client_that_has_said_all_may_still_listen() {
    let server = Server::start();
    let mut client = server.connect();
    client.write_all(b"well").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"wellhalf");
}

#[test]
fn a_client_that_says_all_while_nothing_is_read_is_heard_to_the_end_later() {
    let mut server = Server::start();
    let mut client = server.connect();
    client.write_all(b"pause").unwrap();
    assert_eq!(said(&mut client, 6), "paused");
    client.write_all(b"late").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    server.call(&Call::ReceiveRequest { credits: 1 });
    server.call(&Call::ReceiveRequest { credits: 2 });
    assert_eq!(rest(&mut client), b"latehalf");
}

#[test]
fn a_reset_arrives_as_a_reset() {
    let server = Server::start();
    let mut client = server.connect();
    client.write_all(b"cut").unwrap();
    assert_eq!(
        client.read(&mut [0; 8]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn a_closed_endpoint_refuses_and_an_open_connection_stays_until_it_is_closed() {
    let mut server = Server::start();
    let address = server.address(80);
    let mut client = server.connect();
    client.write_all(b"hello").unwrap();
    assert_eq!(said(&mut client, 5), "hello");
    assert_eq!(
        server.call(&Call::CancelRequest {
            request: RequestId(77)
        }),
        RequestId(77)
    );
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    client.write_all(b"still here").unwrap();
    assert_eq!(said(&mut client, 10), "still here");
}

#[test]
fn a_process_that_sends_nonsense_is_let_go_and_the_others_stay() {
    let mut server = Server::start();
    let mut other = open_device(&server.folder.path().join("run/httpsys")).unwrap();
    other.set_nonblocking(false).unwrap();
    other.write_all(&[1, 0, 0, 0, 200]).unwrap();
    assert_eq!(rest(&mut other), b"");
    server.call(&Call::ReceiveRequest { credits: 1 });
}

#[test]
fn a_process_that_goes_with_its_last_word_is_missed() {
    const MANY: usize = 64;
    let mut server = Server::start();
    let mut last_word = Vec::new();
    // Nothing is answered to it: a failed write would tell as well.
    encode_call(&Call::ReceiveRequest { credits: 0 }, &mut last_word);
    for _ in 0..MANY {
        let mut other = open_device(&server.folder.path().join("run/httpsys")).unwrap();
        other.write_all(&last_word).unwrap();
    }
    // Every call is a turn of the loop: it has seen all that came before.
    let gone = (0..MANY).any(|_| {
        server.call(&Call::ReceiveRequest { credits: 1 });
        server.trace().matches("ProcessDetach").count() == MANY
    });
    assert!(gone, "{}", server.trace().matches("ProcessDetach").count());
}

#[test]
fn a_fact_is_in_the_trace_before_anybody_is_told() {
    let server = Server::start();
    // The first answer of the parrot came after both endpoints were opened.
    assert_eq!(server.trace().matches("EndpointOpen").count(), 2);
}

#[test]
fn a_second_handshake_resumes_the_session() {
    let server = Server::start();
    let folder = server.folder.path();
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(folder.join("run/certificate.pem")).unwrap();
    roots.add(certificate).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let config = Arc::new(config);
        for expected in ["full", "resumed", "resumed"] {
            let name = ServerName::try_from("localhost").unwrap();
            let session = ClientConnection::new(Arc::clone(&config), name).unwrap();
            let socket = TcpStream::connect(server.address(443)).unwrap();
            let mut client = StreamOwned::new(session, socket);
            assert_eq!(said(&mut client, expected.len()), expected, "{version:?}");
            client.write_all(b"bye").unwrap();
            assert_eq!(rest(&mut client), b"bye");
        }
    }
}

#[test]
fn a_long_answer_over_tls_arrives_in_full() {
    let server = Server::start();
    let folder = server.folder.path();
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(folder.join("run/certificate.pem")).unwrap();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(server.address(443)).unwrap();
    let mut client = StreamOwned::new(session, socket);
    assert_eq!(said(&mut client, 4), "full");
    client.write_all(b"lots").unwrap();
    assert_eq!(rest(&mut client).len(), 10 << 20);
}

#[test]
fn a_connection_gets_the_certificate_of_the_name_that_it_asks_for_or_else_of_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = folder.path().join("run/certificates");
    std::fs::create_dir_all(&certificates).unwrap();
    let made = ["a.example", "127.0.0.1"].map(|name| {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let pem = made.cert.pem() + &made.signing_key.serialize_pem();
        std::fs::write(certificates.join(format!("{name}_443.pem")), pem).unwrap();
        made.cert.der().clone()
    });
    let server = Server::start_in(folder);
    for (name, expected) in ["a.example", "127.0.0.1"].into_iter().zip(made) {
        let mut roots = RootCertStore::empty();
        roots.add(expected.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name).unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(server.address(443)).unwrap();
        let mut client = StreamOwned::new(session, socket);
        assert_eq!(said(&mut client, 4), "full");
        assert_eq!(client.conn.peer_certificates(), Some(&[expected][..]));
    }
}
