//! Certificates: which files there are, and which of them a connection gets.
//!
//! Windows keeps them in its certificate stores, and says with `netsh http add sslcert` which binding has
//! which. Here they are files below `ROOT/run`, named after what `netsh` would name; they are read when the
//! driver starts, and never again. Left out: the central certificate store, and revocation.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::regular_file;
use super::tls::TlsError;

/// The certificate of every binding that has none of its own, below `ROOT/run`; its key lies beside it.
const DEFAULT: &str = "certificate.pem";

/// The folder of the bindings' own certificates, below `ROOT/run`: `<host or ip>_<port>.pem`.
const FOLDER: &str = "certificates";

/// Certificates of hosts, by host and port; a host may begin with `*.`.
type Hosts = BTreeMap<(String, u16), Arc<CertifiedKey>>;

/// All certificates.
#[derive(Debug)]
pub(super) struct Certificates {
    hosts: Arc<Hosts>,
    /// Those of addresses; 0.0.0.0 stands for every address.
    addresses: BTreeMap<(IpAddr, u16), Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl Certificates {
    /// Reads them; the default one is made if there is none.
    pub(super) fn read(run: &Path, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let default = read_default(run, provider)?;
        let (mut hosts, mut addresses) = (Hosts::new(), BTreeMap::new());
        for path in files(&run.join(FOLDER))? {
            let Some((name, port)) = binding_of(&path) else {
                return Err(TlsError::Name(path));
            };
            let pair = read_pair(&path, provider)?;
            match name.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(ip) if ip.is_unspecified() => {
                    addresses.insert((Ipv4Addr::UNSPECIFIED.into(), port), pair);
                }
                Ok(ip) => {
                    addresses.insert((ip, port), pair);
                }
                Err(_) => {
                    hosts.insert((name, port), pair);
                }
            }
        }
        let hosts = Arc::new(hosts);
        Ok(Self {
            hosts,
            addresses,
            default,
        })
    }

    /// The address and port pairs whose clients are served in a way of their own; `None` stands for all
    /// addresses that are not named.
    pub(super) fn places(&self) -> impl Iterator<Item = (Option<IpAddr>, u16)> {
        let hosts = self.hosts.keys().map(|&(_, port)| (None, port));
        let addresses = self.addresses.keys();
        hosts.chain(addresses.map(|&(ip, port)| (Some(ip).filter(|ip| !ip.is_unspecified()), port)))
    }

    /// The choice among the certificates of one address and port; without one, there is no choice.
    ///
    /// Source: HTTP.SYS, the order in which `netsh http show sslcert` entries are looked up: host and port,
    /// wildcard host and port, address and port, 0.0.0.0 and port.
    /// Assumed: where HTTP.SYS would find none and reset the handshake, the default one is sent.
    pub(super) fn choice(&self, place: Option<(Option<IpAddr>, u16)>) -> Choice {
        let Some((ip, port)) = place else {
            return Choice {
                hosts: Arc::default(),
                port: 0,
                fallback: Arc::clone(&self.default),
            };
        };
        let own = ip.and_then(|ip| self.addresses.get(&(ip, port)));
        let all = || self.addresses.get(&(Ipv4Addr::UNSPECIFIED.into(), port));
        Choice {
            hosts: Arc::clone(&self.hosts),
            port,
            fallback: Arc::clone(own.or_else(all).unwrap_or(&self.default)),
        }
    }
}

/// The choice among certificates by the name that a client asks for (SNI).
#[derive(Debug)]
pub(super) struct Choice {
    hosts: Arc<Hosts>,
    port: u16,
    fallback: Arc<CertifiedKey>,
}

impl Choice {
    fn of_host(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        let host = host.to_ascii_lowercase();
        let wildcard = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let find = |host| self.hosts.get(&(host, self.port));
        find(host).or_else(|| wildcard.and_then(find))
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let own = hello.server_name().and_then(|host| self.of_host(host));
        Some(Arc::clone(own.unwrap_or(&self.fallback)))
    }
}

/// The certificates of a folder, if there is one.
fn files(folder: &Path) -> Result<Vec<PathBuf>, TlsError> {
    let failed = |error| TlsError::File(folder.to_owned(), error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<io::Result<_>>().map_err(failed)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pem"));
    paths.sort();
    Ok(paths)
}

/// What a file is named after: host or address, and port.
fn binding_of(path: &Path) -> Option<(String, u16)> {
    let (name, port) = path.file_stem()?.to_str()?.rsplit_once('_')?;
    (!name.is_empty()).then_some((name.to_ascii_lowercase(), port.parse().ok()?))
}

fn read_default(run: &Path, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let certificate = run.join(DEFAULT);
    if !certificate.exists() {
        make_certificate(&certificate, &certificate.with_extension("key"))?;
    }
    read_pair(&certificate, provider)
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    regular_file::read(path).map_err(|error| TlsError::File(path.to_owned(), error))
}

/// A chain and its key, which lies beside it or in the same file.
fn read_pair(file: &Path, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let malformed = |error| TlsError::Pem(file.to_owned(), error);
    let pem = read_file(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(malformed)?;
    if chain.is_empty() {
        return Err(malformed(pem::Error::NoItemsFound));
    }
    let beside = file.with_extension("key");
    let key = if beside.exists() {
        PrivateKeyDer::from_pem_slice(&read_file(&beside)?).map_err(|e| TlsError::Pem(beside, e))?
    } else {
        PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
            if matches!(error, pem::Error::NoItemsFound) {
                TlsError::NoKey(file.to_owned(), beside)
            } else {
                malformed(error)
            }
        })?
    };
    let pair = CertifiedKey::from_der(chain, key, provider);
    let pair = pair.map_err(|error| TlsError::Pair(file.to_owned(), error))?;
    Ok(Arc::new(pair))
}

/// Makes a certificate; for the key that is there, if there is one: a user's key is never written over.
///
/// Assumed: ECDSA P-256, the cheapest handshake; `New-SelfSignedCertificate` would make RSA-2048,
/// whose handshakes cost six times as much.
fn make_certificate(certificate: &Path, key: &Path) -> Result<(), TlsError> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let pair = if key.exists() {
        let text = read_file(key)?;
        rcgen::KeyPair::from_pem(&String::from_utf8_lossy(&text))
            .map_err(|e| TlsError::KeyAlone(key.to_owned(), e))?
    } else {
        let pair = rcgen::KeyPair::generate()?;
        store(key, &pair.serialize_pem())?;
        pair
    };
    let made = rcgen::CertificateParams::new(names)?.self_signed(&pair)?;
    store(certificate, &made.pem())
}

fn store(path: &Path, pem: &str) -> Result<(), TlsError> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(pem.as_bytes()))
        .map_err(|error| TlsError::File(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::crypto::ring;

    use super::*;

    struct Run(tempfile::TempDir);

    impl Run {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join(FOLDER)).unwrap();
            Self(folder)
        }

        fn write(&self, file: &str, text: &str) {
            fs::write(self.0.path().join(file), text).unwrap();
        }

        fn text(&self, file: &str) -> String {
            fs::read_to_string(self.0.path().join(file)).unwrap()
        }

        fn read(&self) -> Result<Certificates, String> {
            let read = Certificates::read(self.0.path(), &ring::default_provider());
            read.map_err(|error| {
                let source = std::error::Error::source(&error);
                let source = source.map_or(String::new(), |source| format!(": {source}"));
                let folder = self.0.path().to_str().unwrap();
                format!("{error}{source}").replace(folder, "run")
            })
        }
    }

    /// A certificate and its key.
    fn pair(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn first(pair: &CertifiedKey) -> &[u8] {
        pair.cert.first().unwrap()
    }

    fn der(pem: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(pem.as_bytes())
            .unwrap()
            .to_vec()
    }

    #[test]
    fn the_whole_chain_is_read() {
        let run = Run::new();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = KeyPair::generate().unwrap();
        let root = params.self_signed(&authority).unwrap();
        let issuer = Issuer::new(params, authority);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        run.write("certificate.pem", &(leaf.pem() + &root.pem()));
        run.write("certificate.key", &key.serialize_pem());
        let chain = &run.read().unwrap().default.cert;
        assert_eq!(chain.len(), 2);
        assert_eq!(chain[1], *root.der());
    }

    #[test]
    fn a_key_without_a_certificate_is_kept_and_gets_one() {
        let run = Run::new();
        let (_, key) = pair("a.example");
        run.write("certificate.key", &key);
        run.read().unwrap();
        assert_eq!(run.text("certificate.key"), key);
        let made = run.text("certificate.pem");
        run.read().unwrap();
        assert_eq!(run.text("certificate.pem"), made);
    }

    #[test]
    fn a_key_that_no_certificate_can_be_made_for_is_kept_and_named() {
        let run = Run::new();
        run.write("certificate.key", "secret");
        let error = run.read().unwrap_err();
        assert!(
            error.starts_with("no certificate can be made for the key in run/certificate.key; "),
            "{error}"
        );
        assert_eq!(run.text("certificate.key"), "secret");
    }

    #[test]
    fn a_certificate_without_its_key_is_kept_and_named() {
        let run = Run::new();
        let (certificate, _) = pair("a.example");
        run.write("certificate.pem", &certificate);
        assert_eq!(
            run.read().unwrap_err(),
            "the certificate in run/certificate.pem has no key, neither in that file nor in \
             run/certificate.key"
        );
        assert_eq!(run.text("certificate.pem"), certificate);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let run = Run::new();
        run.write("certificate.pem", &pair("a.example").0);
        run.write("certificate.key", &pair("a.example").1);
        let error = run.read().unwrap_err();
        let expected = "the certificate in run/certificate.pem cannot be used with its key: ";
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn a_file_that_is_not_named_after_a_binding_is_refused() {
        for name in ["a.example.pem", "a.example_https.pem", "_443.pem"] {
            let run = Run::new();
            run.write(&format!("certificates/{name}"), "");
            assert_eq!(
                run.read().unwrap_err(),
                format!(
                    "run/certificates/{name} is not named after a binding: expected <host or ip>_<port>.pem"
                )
            );
        }
    }

    #[test]
    fn a_binding_s_own_certificate_is_found_in_the_order_of_http_sys() {
        let run = Run::new();
        let files = [
            "A.example_443",
            "*.example_443",
            "10.0.0.1_443",
            "0.0.0.0_443",
            "::1_8443",
        ];
        let written = files.map(|name| {
            let (certificate, key) = pair(name.split_once('_').unwrap().0);
            run.write(&format!("certificates/{name}.pem"), &(key + &certificate));
            der(&certificate)
        });
        let [host, wildcard, address, all, v6] = &written;
        let certificates = run.read().unwrap();
        let default = first(&certificates.default).to_vec();
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for (ip, port, name, expected) in [
            (None, 443, Some("a.EXAMPLE"), host),
            (ip("10.0.0.1"), 443, Some("a.example"), host),
            (None, 443, Some("b.example"), wildcard),
            (None, 443, Some("b.a.example"), all),
            (ip("10.0.0.1"), 443, Some("other"), address),
            (ip("10.0.0.1"), 443, None, address),
            (ip("10.0.0.2"), 443, None, all),
            (None, 8443, Some("a.example"), &default),
            (ip("::1"), 8443, None, v6),
        ] {
            let choice = certificates.choice(Some((ip, port)));
            let own = name.and_then(|name| choice.of_host(name));
            let chosen = first(own.unwrap_or(&choice.fallback));
            assert!(chosen == expected, "{ip:?} {port} {name:?}");
        }
    }
}
