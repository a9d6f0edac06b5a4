//! TLS of one connection, and what all of them share: the certificates and the sessions.
//!
//! Under Windows TLS lives in the kernel as well, and its session cache in LSASS: neither a recycle
//! nor an iisreset forgets a session. Here sessions live as long as the driver does.
//! HTTP/2 is not offered.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use mio::net::TcpStream;
use rustls::crypto::ring;
use rustls::server::ServerSessionMemoryCache;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};

use super::certificates::Certificates;
use super::connection::Received;

/// Sessions that are remembered. Source: Schannel, `MaximumCacheSize` default 20,000.
const SESSIONS_MAX: usize = 20_000;

/// Cleartext that is encrypted before it is written, bytes.
const ENCRYPTED_AHEAD: usize = 64 << 10;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate or its key could not be read or stored.
    #[error("{0} cannot be read or stored")]
    File(PathBuf, #[source] io::Error),
    /// The certificate's file is not PEM.
    #[error("the certificate or key in {0} is malformed")]
    Pem(PathBuf, #[source] rustls::pki_types::pem::Error),
    /// A certificate's file is not named after a binding.
    #[error("{0} is not named after a binding: expected <host or ip>_<port>.pem")]
    Name(PathBuf),
    /// There is no key to a certificate.
    #[error("the certificate in {0} has no key, neither in that file nor in {1}")]
    NoKey(PathBuf, PathBuf),
    /// A certificate and its key do not go together, or are of no use.
    #[error("the certificate in {0} cannot be used with its key")]
    Pair(PathBuf, #[source] rustls::Error),
    /// There is a key and no certificate, and none can be made for it.
    #[error(
        "no certificate can be made for the key in {0}; put its certificate beside it, or remove it"
    )]
    KeyAlone(PathBuf, #[source] rcgen::Error),
    /// The certificate could not be made.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// The certificate cannot be used.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct TlsConfigurations {
    default: Arc<ServerConfig>,
    /// Those of the places that have certificates of their own; `None` stands for all other addresses.
    own: BTreeMap<(Option<IpAddr>, u16), Arc<ServerConfig>>,
}

impl TlsConfigurations {
    /// The certificates are read, or made, below `run`.
    pub(super) fn read(run: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let certificates = Certificates::read(run, &provider)?;
        let mut default = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates.choice(None)));
        default.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        default.ticketer = ring::Ticketer::new()?;
        default.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Sessions are common: a client takes one up only for the name that it was made for.
        let of_place = |place| {
            let mut own = default.clone();
            own.cert_resolver = Arc::new(certificates.choice(Some(place)));
            (place, Arc::new(own))
        };
        Ok(Self {
            own: certificates.places().map(of_place).collect(),
            default: Arc::new(default),
        })
    }

    /// That of a connection, by the server's address as the binding names it.
    pub(super) fn of(&self, local: SocketAddr) -> &Arc<ServerConfig> {
        let (ip, port) = (local.ip(), local.port());
        let own = self.own.get(&(Some(ip), port));
        let own = own.or_else(|| self.own.get(&(None, port)));
        own.unwrap_or(&self.default)
    }
}

/// TLS with the certificate in `folder` of all that has none of its own.
pub fn configuration(folder: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    Ok(TlsConfigurations::read(folder)?.default)
}

/// TLS of one connection.
#[derive(Debug)]
pub(super) struct Tls {
    session: ServerConnection,
    /// Whether the end of the handshake has been told.
    told: bool,
}

impl Tls {
    pub(super) fn new(config: &Arc<ServerConfig>) -> Result<Box<Self>, TlsError> {
        let mut session = ServerConnection::new(Arc::clone(config))?;
        // What waits is bounded by `ENCRYPTED_AHEAD`.
        session.set_buffer_limit(None);
        Ok(Box::new(Self {
            session,
            told: false,
        }))
    }

    pub(super) fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    /// Reads and decrypts until there is something to tell.
    pub(super) fn receive(&mut self, socket: &mut TcpStream, buffer: &mut [u8]) -> Received {
        loop {
            if let Some(kind) = self.session.handshake_kind()
                && !self.told
                && !self.session.is_handshaking()
            {
                self.told = true;
                return Received::Secured {
                    resumed: kind == HandshakeKind::Resumed,
                };
            }
            match self.session.reader().read(buffer) {
                Ok(0) => return Received::Fin,
                Ok(length) => return Received::Bytes { length, more: true },
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                // The client has closed without saying so first: browsers do.
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Received::Fin,
                Err(_) => return Received::Reset,
            }
            match self.session.read_tls(socket) {
                Ok(0) if self.session.is_handshaking() => return Received::Reset,
                Ok(0) => return Received::Fin,
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Received::Nothing,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Received::Reset,
            }
            if self.session.process_new_packets().is_err() {
                // Say why, as far as the client listens.
                let _ = self.session.write_tls(socket);
                return Received::Reset;
            }
        }
    }

    /// Encrypts and writes what waits.
    pub(super) fn flush(
        &mut self,
        socket: &mut TcpStream,
        waiting: &mut VecDeque<Bytes>,
    ) -> io::Result<()> {
        loop {
            // A client that does not read must not make us encrypt ahead for ever: first out with
            // what is encrypted already.
            let mut encrypted = if self.session.wants_write() {
                ENCRYPTED_AHEAD
            } else {
                0
            };
            while encrypted < ENCRYPTED_AHEAD
                && let Some(first) = waiting.front_mut()
            {
                let n = first.len().min(ENCRYPTED_AHEAD);
                self.session.writer().write_all(&first[..n])?;
                encrypted += n;
                first.advance(n);
                if first.is_empty() {
                    waiting.pop_front();
                }
            }
            if !self.session.wants_write() {
                return Ok(());
            }
            while self.session.wants_write() {
                match self.session.write_tls(socket) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
        }
    }

    /// Says that nothing more will be sent; written by the next [`Self::flush`].
    pub(super) fn say_goodbye(&mut self) {
        self.session.send_close_notify();
    }
}
