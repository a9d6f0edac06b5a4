//! Opening connections, and the pool of kept-alive ones.
//!
//! An attempt takes an idle connection of its kind or opens one; it never waits for one that is
//! busy, since that would hide the server's slowness from the plan. A connection that dies while it
//! is idle is noticed at once, because each has a task that reads from it.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::wire::{Socket, Stream, Wire};
use crate::load::book::{ConnectionKind, TlsKind};

/// A connection that speaks HTTP/1.1. It is closed when this is dropped.
pub(super) struct Line {
    /// Where requests are handed in.
    pub(super) sender: SendRequest<Full<Bytes>>,
    /// What is known of it.
    pub(super) wire: Rc<Wire>,
    task: AbortHandle,
    open: Option<Rc<Cell<u32>>>,
}

impl Line {
    /// Whether a request may still be handed to it, as far as is known.
    pub(super) fn is_usable(&self) -> bool {
        self.wire.ended().is_none() && !self.sender.is_closed()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(open) = &self.open {
            open.set(open.get().saturating_sub(1));
        }
    }
}

/// Why a connection could not be opened.
pub(super) enum OpenError {
    /// Nobody listens there.
    Refused,
    /// It was ended before it could carry a request; what is known of it, if it was established.
    Reset(io::Error, Option<Rc<Wire>>),
    /// The fault is on this side.
    Ours(io::Error),
}

impl OpenError {
    fn of(error: io::Error) -> Self {
        let kind = error.kind();
        if kind == io::ErrorKind::ConnectionRefused {
            Self::Refused
        } else if [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::NotConnected,
        ]
        .contains(&kind)
        {
            Self::Reset(error, None)
        } else {
            Self::Ours(error)
        }
    }
}

/// Where a connection goes to.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) address: SocketAddr,
    /// As the server's records name it.
    pub(super) seen_as: SocketAddr,
    /// The name for TLS, `None` for clear text.
    pub(super) tls_name: Option<ServerName<'static>>,
}

/// TLS as clients of a lab speak it: any certificate is good, and sessions are kept to be taken up again.
pub(crate) fn client_config() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let schemes = provider
        .signature_verification_algorithms
        .supported_schemes();
    // The session cache of a ClientConfig is what makes resumption happen, so there is one.
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate { schemes }))
        .with_no_client_auth())
}

/// Opens connections and remembers every one of them.
pub(super) struct Opener {
    tls: TlsConnector,
    wires: RefCell<Vec<Rc<Wire>>>,
}

impl Opener {
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let config = client_config()?;
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            wires: RefCell::default(),
        })
    }

    /// Every connection that was opened.
    pub(super) fn wires(&self) -> Vec<Rc<Wire>> {
        self.wires.borrow().clone()
    }

    /// Opens a connection; `open` counts it while it lives, and must have been raised.
    pub(super) async fn open(
        &self,
        to: &Destination,
        kind: ConnectionKind,
        open: Option<OpenCount>,
    ) -> Result<Line, OpenError> {
        let tcp = TcpStream::connect(to.address)
            .await
            .map_err(OpenError::of)?;
        tcp.set_nodelay(true).map_err(OpenError::of)?;
        let port = tcp.local_addr().map_err(OpenError::of)?.port();
        let wire = {
            let mut wires = self.wires.borrow_mut();
            let number = u32::try_from(wires.len()).unwrap_or(u32::MAX);
            wires.push(Rc::new(Wire::new(number, kind, port, to)));
            Rc::clone(wires.last().expect("it was pushed in the line before"))
        };
        let socket = Socket::new(tcp, Rc::clone(&wire));
        let stream = match &to.tls_name {
            None => Stream::plain(socket, Rc::clone(&wire)),
            Some(name) => self.handshake(name.clone(), socket, &wire).await?,
        };
        let io = TokioIo::new(stream);
        let (sender, connection) = http1::handshake(io)
            .await
            .map_err(|error| OpenError::Reset(io::Error::other(error), Some(Rc::clone(&wire))))?;
        let task = tokio::task::spawn_local(async move {
            // What went wrong is on the wire's record, seen from below.
            let _ = connection.await;
        });
        let open = open.map(OpenCount::keep);
        Ok(Line {
            sender,
            wire,
            task: task.abort_handle(),
            open,
        })
    }

    async fn handshake(
        &self,
        name: ServerName<'static>,
        socket: Socket,
        wire: &Rc<Wire>,
    ) -> Result<Stream, OpenError> {
        let tls =
            self.tls
                .connect(name, socket)
                .await
                .map_err(|error| match OpenError::of(error) {
                    OpenError::Reset(error, _) => OpenError::Reset(error, Some(Rc::clone(wire))),
                    OpenError::Refused => OpenError::Refused,
                    OpenError::Ours(error) => OpenError::Ours(error),
                })?;
        let kind = match tls.get_ref().1.handshake_kind() {
            Some(HandshakeKind::Resumed) => TlsKind::Resumed,
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) | None => {
                TlsKind::Full
            }
        };
        wire.set_tls(kind);
        Ok(Stream::tls(tls, Rc::clone(wire)))
    }
}

/// A place in a pool that is given back if the connection never comes to be.
pub(super) struct OpenCount(Option<Rc<Cell<u32>>>);

impl OpenCount {
    fn keep(mut self) -> Rc<Cell<u32>> {
        self.0.take().expect("a place is kept once")
    }
}

impl Drop for OpenCount {
    fn drop(&mut self) {
        if let Some(open) = &self.0 {
            open.set(open.get().saturating_sub(1));
        }
    }
}

/// The kept-alive connections to one destination.
pub(super) struct Pool {
    pub(super) destination: Destination,
    /// How many there should be; more are opened only while all are busy.
    pub(super) nominal: u32,
    open: Rc<Cell<u32>>,
    idle: RefCell<Vec<Line>>,
}

impl Pool {
    pub(super) fn new(destination: Destination, nominal: u32) -> Self {
        Self {
            destination,
            nominal,
            open: Rc::default(),
            idle: RefCell::default(),
        }
    }

    /// An idle connection: the one that the plan would like, so that work is spread over all.
    pub(super) fn take(&self, wish: u32) -> Option<Line> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(Line::is_usable);
        if idle.is_empty() {
            return None;
        }
        let index = wish as usize % idle.len();
        Some(idle.swap_remove(index))
    }

    /// A place for another connection, `None` if there are enough.
    pub(super) fn reserve(&self) -> Option<OpenCount> {
        if self.open.get() >= self.nominal {
            return None;
        }
        self.open.set(self.open.get() + 1);
        Some(OpenCount(Some(Rc::clone(&self.open))))
    }

    /// Takes a connection (back) in.
    pub(super) fn give(&self, line: Line) {
        if line.is_usable() {
            self.idle.borrow_mut().push(line);
        }
    }

    /// Lets go of every idle connection.
    pub(super) fn clear(&self) {
        let lines = std::mem::take(&mut *self.idle.borrow_mut());
        drop(lines);
    }
}

/// Accepts any certificate: the server is on this machine and makes its own.
#[derive(Debug)]
struct AnyCertificate {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
