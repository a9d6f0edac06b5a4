//! Listening sockets: which endpoint really listens where.
//!
//! A binding may name an address and a port that this machine does not have or may not use.
//! Addresses: `*` is the configured address; another one is itself, or, if we only serve loopback, a
//! loopback address of its own, so that routing by local address works. Ports go through a map.
//!
//! A port that the kernel chose stays ours while its endpoint is closed (bound, not listening: who
//! connects is refused), so that an endpoint comes back where its clients look for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use mio::net::{TcpListener, TcpStream};
use rustix::net::sockopt::{set_socket_reuseaddr, set_tcp_nodelay};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use serde::Serialize;

use crate::api::{Endpoint, Win32Error};

/// Connections that may wait to be accepted.
/// Assumed: more than the bursts that are measured; the kernel caps it at `somaxconn`.
const BACKLOG: i32 = 4096;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) endpoint: Endpoint,
    pub(super) socket: TcpListener,
    /// Where it really listens.
    pub(super) address: SocketAddr,
}

/// A line of the file that tells others where endpoints are.
#[derive(Serialize)]
struct Line<'a> {
    endpoint: &'a Endpoint,
    address: SocketAddr,
}

/// All listening sockets.
#[derive(Debug)]
pub(super) struct Endpoints {
    listen: IpAddr,
    port_map: Vec<(Option<u16>, u16)>,
    /// Slots keep their number while a listener lives; it is its token.
    pub(super) listeners: Vec<Option<Listener>>,
    /// Endpoints whose port the kernel chose, closed for now.
    resting: BTreeMap<Endpoint, Listener>,
    /// Which loopback address stands for which bound address.
    loopbacks: BTreeMap<IpAddr, IpAddr>,
    file: PathBuf,
    /// Given up for a moment to accept (and close) when no descriptor is left.
    reserve: Option<File>,
}

impl Endpoints {
    pub(super) fn new(listen: IpAddr, port_map: Vec<(Option<u16>, u16)>, file: PathBuf) -> Self {
        let endpoints = Self {
            listen,
            port_map,
            listeners: Vec::new(),
            resting: BTreeMap::new(),
            loopbacks: BTreeMap::new(),
            file,
            reserve: reserve(),
        };
        endpoints.publish();
        endpoints
    }

    /// Opens an endpoint and gives its slot.
    pub(super) fn open(&mut self, endpoint: Endpoint) -> Result<usize, Win32Error> {
        let listener = match self.resting.remove(&endpoint) {
            Some(listener) => rustix::net::listen(&listener.socket, BACKLOG)
                .map(|()| listener)
                .map_err(io::Error::from),
            None => self.listen_anew(endpoint),
        };
        let listener = listener.map_err(|error| {
            tracing::warn!(?endpoint, %error, "an endpoint cannot be opened");
            win32_error(&error)
        })?;
        let free = self.listeners.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.listeners.push(None);
            self.listeners.len() - 1
        });
        tracing::info!(?endpoint, address = %listener.address, "endpoint opened");
        self.listeners[slot] = Some(listener);
        self.publish();
        Ok(slot)
    }

    /// Closes an endpoint and gives its socket, for the loop to forget. Connections that wait to be
    /// accepted are reset.
    pub(super) fn close(&mut self, endpoint: Endpoint, registry: &mio::Registry) {
        let is_it = |l: &Option<Listener>| l.as_ref().is_some_and(|l| l.endpoint == endpoint);
        let Some(slot) = self.listeners.iter().position(is_it) else {
            return;
        };
        let Some(mut listener) = self.listeners[slot].take() else {
            return;
        };
        let _ = registry.deregister(&mut listener.socket);
        tracing::info!(?endpoint, address = %listener.address, "endpoint closed");
        if self.real_port(endpoint.port) == 0
            && rustix::net::shutdown(&listener.socket, Shutdown::Read).is_ok()
        {
            self.resting.insert(endpoint, listener);
        }
        self.publish();
    }

    /// The next connection of a listener; `None` when there is none.
    pub(super) fn accept(&mut self, slot: usize) -> io::Result<Option<Accepted>> {
        let Some(Some(listener)) = self.listeners.get(slot) else {
            return Ok(None);
        };
        loop {
            match listener.socket.accept() {
                Ok((socket, client)) => {
                    let local = listener.seen_as(&socket)?;
                    return Ok(Some(Accepted {
                        endpoint: listener.endpoint,
                        socket,
                        client,
                        local,
                    }));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                Err(e) if is_out_of_descriptors(&e) && self.reserve.is_some() => {
                    tracing::warn!(error = %e, "a connection is turned away");
                    // Give up the reserve to get rid of one connection: clients are turned away
                    // instead of the loop turning hot.
                    self.reserve = None;
                    let turned_away = listener.socket.accept();
                    if let Ok((socket, _)) = &turned_away {
                        super::connection::reset(socket);
                    }
                    let any = turned_away.is_ok();
                    self.reserve = reserve();
                    if !any {
                        return Ok(None);
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn real_port(&self, port: u16) -> u16 {
        let named = self.port_map.iter().find(|&&(from, _)| from == Some(port));
        let rest = || self.port_map.iter().find(|&&(from, _)| from.is_none());
        named.or_else(rest).map_or(port, |&(_, to)| to)
    }

    fn real_address(&mut self, bound: Option<IpAddr>) -> io::Result<IpAddr> {
        let Some(bound) = bound.filter(|&bound| bound != self.listen) else {
            return Ok(self.listen);
        };
        if !self.listen.is_loopback() || bound.is_loopback() {
            return Ok(bound);
        }
        if let Some(&address) = self.loopbacks.get(&bound) {
            return Ok(address);
        }
        let number = u8::try_from(self.loopbacks.len() + 2)
            .map_err(|_| io::Error::new(ErrorKind::AddrNotAvailable, "too many addresses"))?;
        let address = Ipv4Addr::new(127, 0, 0, number).into();
        self.loopbacks.insert(bound, address);
        Ok(address)
    }

    fn listen_anew(&mut self, endpoint: Endpoint) -> io::Result<Listener> {
        let address = SocketAddr::new(
            self.real_address(endpoint.address)?,
            self.real_port(endpoint.port),
        );
        let (mut socket, mut address) = bind(address)?;
        if self.real_port(endpoint.port) == 0 {
            // Only a port that was asked for by number survives the closing of its endpoint.
            drop(socket);
            (socket, address) = bind(address)?;
        }
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Listener {
            endpoint,
            socket,
            address,
        })
    }

    /// Tells others where endpoints are, in one step.
    fn publish(&self) {
        let line = |l: &Listener| {
            serde_json::to_string(&Line {
                endpoint: &l.endpoint,
                address: l.address,
            })
            .expect("an endpoint is plain data")
        };
        let lines: Vec<String> = self.listeners.iter().flatten().map(line).collect();
        if let Err(error) = replace(&self.file, &format!("[{}]\n", lines.join(",\n "))) {
            tracing::warn!(%error, file = %self.file.display(), "endpoints are not published");
        }
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A connection that was accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) endpoint: Endpoint,
    pub(super) socket: TcpStream,
    pub(super) client: SocketAddr,
    pub(super) local: SocketAddr,
}

impl Listener {
    /// The server's address as the binding names it: what stands for it here is nobody's business.
    fn seen_as(&self, socket: &TcpStream) -> io::Result<SocketAddr> {
        let ip = match self.endpoint.address {
            Some(address) => address,
            None if self.address.ip().is_unspecified() => socket.local_addr()?.ip(),
            None => self.address.ip(),
        };
        Ok(SocketAddr::new(ip, self.endpoint.port))
    }
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Old connections in TIME_WAIT must not keep an endpoint from coming back.
    set_socket_reuseaddr(&socket, true)?;
    // Accepted sockets inherit it.
    set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((TcpListener::from_std(listener), address))
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(
        errno,
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)
    )
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

fn win32_error(error: &io::Error) -> Win32Error {
    if error.kind() == ErrorKind::AddrInUse {
        Win32Error::SharingViolation
    } else if error.kind() == ErrorKind::PermissionDenied {
        Win32Error::AccessDenied
    } else {
        Win32Error::InvalidParameter
    }
}

/// Writes a file so that readers see the old one or the new one.
pub(super) fn replace(path: &Path, content: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}.{}", std::process::id()));
    std::fs::write(&unfinished, content)?;
    std::fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(folder: &tempfile::TempDir) -> Endpoints {
        let file = folder.path().join("endpoints.json");
        Endpoints::new(Ipv4Addr::LOCALHOST.into(), vec![(None, 0)], file)
    }

    fn endpoint(address: Option<[u8; 4]>) -> Endpoint {
        Endpoint {
            address: address.map(IpAddr::from),
            port: 80,
            secure: false,
        }
    }

    fn address(endpoints: &Endpoints, slot: usize) -> SocketAddr {
        endpoints.listeners[slot].as_ref().unwrap().address
    }

    #[test]
    fn an_endpoint_comes_back_where_it_was_and_refuses_in_between() {
        let folder = tempfile::tempdir().unwrap();
        let mut endpoints = endpoints(&folder);
        let poll = mio::Poll::new().unwrap();
        let slot = endpoints.open(endpoint(None)).unwrap();
        let before = address(&endpoints, slot);
        let _held = std::net::TcpStream::connect(before).unwrap();

        endpoints.close(endpoint(None), poll.registry());
        let refused = std::net::TcpStream::connect(before).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

        let slot = endpoints.open(endpoint(None)).unwrap();
        assert_eq!(address(&endpoints, slot), before);
        std::net::TcpStream::connect(before).unwrap();
    }

    #[test]
    fn every_bound_address_gets_a_loopback_address_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut endpoints = endpoints(&folder);
        let all = endpoints.open(endpoint(None)).unwrap();
        let one = endpoints.open(endpoint(Some([10, 0, 0, 1]))).unwrap();
        let two = endpoints.open(endpoint(Some([10, 0, 0, 2]))).unwrap();
        assert_eq!(address(&endpoints, all).ip(), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(address(&endpoints, one).ip(), IpAddr::from([127, 0, 0, 2]));
        assert_eq!(address(&endpoints, two).ip(), IpAddr::from([127, 0, 0, 3]));

        let _client = std::net::TcpStream::connect(address(&endpoints, one)).unwrap();
        let accepted = endpoints.accept(one).unwrap().expect("a connection waits");
        assert_eq!(accepted.local, "10.0.0.1:80".parse().unwrap());
    }

    #[test]
    fn the_file_says_where_each_endpoint_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut endpoints = endpoints(&folder);
        let slot = endpoints.open(endpoint(None)).unwrap();
        let text = std::fs::read_to_string(folder.path().join("endpoints.json")).unwrap();
        let lines: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(lines[0]["address"], address(&endpoints, slot).to_string());
        assert_eq!(lines[0]["endpoint"]["port"], 80);
        let poll = mio::Poll::new().unwrap();
        endpoints.close(endpoint(None), poll.registry());
        let text = std::fs::read_to_string(folder.path().join("endpoints.json")).unwrap();
        assert_eq!(text, "[]\n");
    }

    #[test]
    fn a_port_that_is_taken_is_a_sharing_violation() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut endpoints = endpoints(&folder);
        endpoints.port_map = vec![(Some(80), port)];
        assert_eq!(
            endpoints.open(endpoint(None)),
            Err(Win32Error::SharingViolation)
        );
    }
}
