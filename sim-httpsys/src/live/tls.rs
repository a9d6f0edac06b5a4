//! TLS of one connection, and what all of them share: the certificate and the sessions.
//!
//! Under Windows TLS lives in the kernel as well, and its session cache in LSASS: neither a recycle
//! nor an iisreset forgets a session. Here sessions live as long as the driver does.
//! HTTP/2 is not offered.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use mio::net::TcpStream;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerSessionMemoryCache;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};

use super::connection::Received;

/// Sessions that are remembered. Source: Schannel, `MaximumCacheSize` default 20,000.
const SESSIONS_MAX: usize = 20_000;

/// Cleartext that is encrypted before it is written, bytes.
const ENCRYPTED_AHEAD: usize = 64 << 10;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate or its key could not be read or stored.
    #[error("the certificate in {0} cannot be read or stored")]
    File(std::path::PathBuf, #[source] io::Error),
    /// The certificate's file is not PEM.
    #[error("the certificate in {0} is malformed")]
    Pem(std::path::PathBuf, #[source] rustls::pki_types::pem::Error),
    /// The certificate could not be made.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// The certificate cannot be used.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

/// What all connections share. The certificate is made once and kept in `folder`.
pub fn configuration(folder: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let (certificate, key) = (
        folder.join("certificate.pem"),
        folder.join("certificate.key"),
    );
    if !certificate.exists() || !key.exists() {
        make_certificate(&certificate, &key)?;
    }
    let chain = vec![
        CertificateDer::from_pem_file(&certificate)
            .map_err(|error| TlsError::Pem(certificate.clone(), error))?,
    ];
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| TlsError::Pem(key, error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    config.ticketer = ring::Ticketer::new()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Assumed: ECDSA P-256, the cheapest handshake; `New-SelfSignedCertificate` would make RSA-2048,
/// whose handshakes cost six times as much.
fn make_certificate(certificate: &Path, key: &Path) -> Result<(), TlsError> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    let store = |path: &Path, pem: String| {
        let mut options = fs::OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path);
        file.and_then(|mut file| file.write_all(pem.as_bytes()))
            .map_err(|error| TlsError::File(path.to_owned(), error))
    };
    store(key, made.signing_key.serialize_pem())?;
    store(certificate, made.cert.pem())
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
