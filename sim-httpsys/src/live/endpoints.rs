//! Listening sockets: which endpoint really listens where.
//!
//! A binding may name an address and a port that this machine does not have or may not use.
//! Addresses: `*` is the configured address; another one is itself, or, if we only serve loopback, a
//! loopback address of its own, so that routing by local address works. Ports go through a map.
//!
//! `*:80:` and `10.0.0.1:80:` go together under HTTP.sys. Where both come to the same place (`*` is that
//! address here, or really all of them) they share one socket, and a connection belongs to the
//! endpoint that names the address it came in on.
//!
//! A port that the kernel chose stays ours while its endpoint is closed (bound, not listening: who
//! connects is refused), so that an endpoint comes back where its clients look for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustix::net::sockopt::{set_socket_reuseaddr, set_tcp_nodelay};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};

use super::endpoints_file::EndpointsFile;
use super::port_owner::port_owner;
use crate::api::{Endpoint, Win32Error};
use crate::clockwork::Instant;

/// Connections that may wait to be accepted.
/// Assumed: more than the bursts that are measured; the kernel caps it at `somaxconn`.
const BACKLOG: i32 = 4096;

/// Tokens with this bit are slots of listening sockets.
pub(super) const ENDPOINT: usize = 1 << 62;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    /// Whose connections arrive on it: all of one port, differing in their address.
    endpoints: Vec<Endpoint>,
    pub(super) socket: TcpListener,
    /// Where it really listens.
    pub(super) address: SocketAddr,
}

/// All listening sockets.
#[derive(Debug)]
pub(super) struct Endpoints {
    listen: IpAddr,
    port_map: Vec<(Option<u16>, u16)>,
    /// Slots keep their number while a listener lives; it is its token.
    pub(super) listeners: Vec<Option<Listener>>,
    /// Sockets whose port the kernel chose, closed for now; by address and the binding's port.
    resting: BTreeMap<(IpAddr, u16), Listener>,
    /// Which loopback address stands for which bound address.
    loopbacks: BTreeMap<IpAddr, IpAddr>,
    file: EndpointsFile,
    /// Given up for a moment to accept (and close) when no descriptor is left.
    reserve: Option<File>,
}

impl Endpoints {
    pub(super) fn new(listen: IpAddr, port_map: Vec<(Option<u16>, u16)>, file: PathBuf) -> Self {
        let mut endpoints = Self {
            listen,
            port_map,
            listeners: Vec::new(),
            resting: BTreeMap::new(),
            loopbacks: BTreeMap::new(),
            file: EndpointsFile::new(file),
            reserve: reserve(),
        };
        endpoints.publish();
        endpoints
    }

    /// Opens an endpoint: on an open socket, if there is one that can take it, or on a new one.
    pub(super) fn open(
        &mut self,
        endpoint: Endpoint,
        registry: &Registry,
    ) -> Result<(), Win32Error> {
        let opened = self.open_socket(endpoint, registry).map_err(|error| {
            let owner = self.owner(endpoint, &error);
            tracing::warn!(?endpoint, owner, %error, "an endpoint cannot be opened");
            win32_error(&error)
        });
        self.publish();
        opened
    }

    /// Who has the port of an endpoint that is in use: W3SVC's event and appcmd only say that somebody has it.
    fn owner(&mut self, endpoint: Endpoint, error: &io::Error) -> Option<String> {
        let ip = self.real_address(endpoint.address).ok()?;
        let address = SocketAddr::new(ip, self.real_port(endpoint.port));
        let is_in_use = error.kind() == ErrorKind::AddrInUse;
        is_in_use.then(|| port_owner(address)).flatten()
    }

    fn open_socket(&mut self, endpoint: Endpoint, registry: &Registry) -> io::Result<()> {
        let ip = self.real_address(endpoint.address)?;
        let mut open = self.listeners.iter_mut().flatten();
        if let Some(listener) = open.find(|listener| listener.can_take(endpoint, ip)) {
            tracing::info!(?endpoint, address = %listener.address, "endpoint opened");
            listener.endpoints.push(endpoint);
            return Ok(());
        }
        let listener = match self.resting.remove(&(ip, endpoint.port)) {
            Some(mut listener) => {
                rustix::net::listen(&listener.socket, BACKLOG)?;
                listener.endpoints = vec![endpoint];
                listener
            }
            None if ip.is_unspecified() => self.listen_for_all(endpoint, ip, registry)?,
            None => listen_at(vec![endpoint], ip, self.real_port(endpoint.port))?,
        };
        tracing::info!(?endpoint, address = %listener.address, "endpoint opened");
        self.watch(listener, registry)
    }

    /// Gives a socket a slot and watches it.
    fn watch(&mut self, mut listener: Listener, registry: &Registry) -> io::Result<()> {
        let free = self.listeners.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.listeners.push(None);
            self.listeners.len() - 1
        });
        let token = Token(ENDPOINT | slot);
        registry.register(&mut listener.socket, token, Interest::READABLE)?;
        self.listeners[slot] = Some(listener);
        Ok(())
    }

    /// Listens on really all addresses. Linux has no such socket beside one for a single address of the
    /// same port, so that it takes over theirs; who waits there to be accepted is reset.
    fn listen_for_all(
        &mut self,
        endpoint: Endpoint,
        ip: IpAddr,
        registry: &Registry,
    ) -> io::Result<Listener> {
        let is_covered = |l: &&mut Option<Listener>| {
            let listener = l.as_ref();
            listener.is_some_and(|l| l.port() == endpoint.port && covers(ip, l.address.ip()))
        };
        let covered = self.listeners.iter_mut().filter(is_covered);
        let covered: Vec<Listener> = covered.filter_map(Option::take).collect();
        let port = covered.first().map(|listener| listener.address.port());
        let port = port.unwrap_or_else(|| self.real_port(endpoint.port));
        let places: Vec<(Vec<Endpoint>, IpAddr)> = covered
            .into_iter()
            .map(|listener| (listener.endpoints, listener.address.ip()))
            .collect();
        let all = places.iter().flat_map(|(endpoints, _)| endpoints.clone());
        let listener = listen_at(all.chain([endpoint]).collect(), ip, port);
        if listener.is_err() {
            // Back to where they were.
            for (endpoints, ip) in places {
                self.watch(listen_at(endpoints, ip, port)?, registry)?;
            }
        }
        listener
    }

    /// Closes an endpoint, and its socket if it was the last there. Connections that wait to be
    /// accepted are reset.
    pub(super) fn close(&mut self, endpoint: Endpoint, registry: &Registry) {
        let is_its = |l: &Option<Listener>| {
            let listener = l.as_ref();
            listener.is_some_and(|l| l.endpoints.contains(&endpoint))
        };
        let Some(slot) = self.listeners.iter().position(is_its) else {
            return;
        };
        if let Some(listener) = &mut self.listeners[slot] {
            tracing::info!(?endpoint, address = %listener.address, "endpoint closed");
            listener.endpoints.retain(|&other| other != endpoint);
        }
        let last = self.listeners[slot].take_if(|listener| listener.endpoints.is_empty());
        if let Some(mut listener) = last {
            let _ = registry.deregister(&mut listener.socket);
            if self.real_port(endpoint.port) == 0
                && rustix::net::shutdown(&listener.socket, Shutdown::Read).is_ok()
            {
                let place = (listener.address.ip(), endpoint.port);
                self.resting.insert(place, listener);
            }
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
                    let Some((endpoint, local)) = listener.seen_as(&socket)? else {
                        // Nobody listens at that address any more.
                        super::connection::reset(&socket);
                        continue;
                    };
                    return Ok(Some(Accepted {
                        endpoint,
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

    /// When [`Endpoints::publish_if_due`] has something to do.
    pub(super) fn publish_due(&self) -> Option<Instant> {
        self.file.due()
    }

    /// Tells others where endpoints are, if that has failed and it is time to try again.
    pub(super) fn publish_if_due(&mut self, now: Instant) {
        if self.file.due().is_some_and(|due| due <= now) {
            self.publish();
        }
    }

    /// Tells others where endpoints are.
    fn publish(&mut self) {
        let open = self.listeners.iter().flatten();
        self.file.write(open.flat_map(Listener::places));
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
    /// Its endpoints, and where each of them really is.
    fn places(&self) -> impl Iterator<Item = (&Endpoint, SocketAddr)> {
        let endpoints = self.endpoints.iter();
        endpoints.map(|endpoint| (endpoint, self.address_of(endpoint)))
    }

    /// The binding's port.
    fn port(&self) -> u16 {
        self.endpoints.first().map_or(0, |endpoint| endpoint.port)
    }

    /// Whether it can be the socket of another endpoint as well, whose address really is `ip`, and its
    /// connections be told apart.
    fn can_take(&self, endpoint: Endpoint, ip: IpAddr) -> bool {
        let own = self.address.ip();
        let mut others = self.endpoints.iter();
        let is_at_ip = own == ip
            && (endpoint.address.is_none() || others.all(|other| other.address.is_none()));
        self.port() == endpoint.port && (is_at_ip || covers(own, ip))
    }

    /// The endpoint of a connection, and the server's address as the binding names it: what stands for
    /// it here is nobody's business.
    fn seen_as(&self, socket: &TcpStream) -> io::Result<Option<(Endpoint, SocketAddr)>> {
        let is_for_all = self.address.ip().is_unspecified();
        let arrived = if is_for_all {
            socket.local_addr()?.ip().to_canonical()
        } else {
            self.address.ip()
        };
        let names_it = |address: IpAddr| !is_for_all || address == arrived;
        let mut named = self.endpoints.iter();
        let named = named.find(|endpoint| endpoint.address.is_some_and(names_it));
        let mut all = self.endpoints.iter();
        let endpoint = named.or_else(|| all.find(|endpoint| endpoint.address.is_none()));
        Ok(endpoint.map(|endpoint| {
            let ip = endpoint.address.unwrap_or(arrived);
            (*endpoint, SocketAddr::new(ip, endpoint.port))
        }))
    }

    /// Where clients find one of its endpoints.
    fn address_of(&self, endpoint: &Endpoint) -> SocketAddr {
        match endpoint.address {
            Some(address) if self.address.ip().is_unspecified() => {
                SocketAddr::new(address, self.address.port())
            }
            Some(_) | None => self.address,
        }
    }
}

/// Whether a socket that is bound to the first address gets the connections to the second one too.
fn covers(all: IpAddr, one: IpAddr) -> bool {
    all.is_unspecified() && (all.is_ipv6() || one.is_ipv4())
}

fn listen_at(endpoints: Vec<Endpoint>, ip: IpAddr, port: u16) -> io::Result<Listener> {
    let (mut socket, mut address) = bind(SocketAddr::new(ip, port))?;
    if port == 0 {
        // Only a port that was asked for by number survives the closing of its endpoint.
        drop(socket);
        (socket, address) = bind(address)?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(Listener {
        endpoints,
        socket,
        address,
    })
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

#[cfg(test)]
mod tests {
    use std::net::TcpStream as Client;

    use super::*;

    const LISTEN: [u8; 4] = [127, 0, 0, 1];

    struct Bench {
        endpoints: Endpoints,
        poll: mio::Poll,
        folder: tempfile::TempDir,
    }

    fn listening_on(listen: [u8; 4]) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("endpoints.json");
        Bench {
            endpoints: Endpoints::new(listen.into(), vec![(None, 0)], file),
            poll: mio::Poll::new().unwrap(),
            folder,
        }
    }

    fn endpoint(address: Option<[u8; 4]>) -> Endpoint {
        Endpoint {
            address: address.map(IpAddr::from),
            port: 80,
            secure: false,
        }
    }

    impl Bench {
        /// Opens an endpoint: where it really is.
        fn open(&mut self, address: Option<[u8; 4]>) -> SocketAddr {
            let endpoint = endpoint(address);
            let opened = self.endpoints.open(endpoint, self.poll.registry());
            opened.unwrap();
            let mut open = self.endpoints.listeners.iter().flatten();
            open.find(|listener| listener.endpoints.contains(&endpoint))
                .unwrap()
                .address
        }

        fn close(&mut self, address: Option<[u8; 4]>) {
            self.endpoints
                .close(endpoint(address), self.poll.registry());
        }

        /// Somebody connects: as what he is accepted.
        fn accepted(&mut self, address: impl std::net::ToSocketAddrs) -> Option<Accepted> {
            let _client = Client::connect(address).unwrap();
            let slots = 0..self.endpoints.listeners.len();
            let mut accepted = slots.map(|slot| self.endpoints.accept(slot).unwrap());
            accepted.find_map(|accepted| accepted)
        }

        fn endpoint_of(&mut self, address: impl std::net::ToSocketAddrs) -> Option<Endpoint> {
            self.accepted(address).map(|accepted| accepted.endpoint)
        }

        fn file(&self) -> String {
            std::fs::read_to_string(self.folder.path().join("endpoints.json")).unwrap()
        }
    }

    #[test]
    fn an_endpoint_comes_back_where_it_was_and_refuses_in_between() {
        let mut bench = listening_on(LISTEN);
        let before = bench.open(None);
        let _held = Client::connect(before).unwrap();

        bench.close(None);
        let refused = Client::connect(before).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

        assert_eq!(bench.open(None), before);
        Client::connect(before).unwrap();
    }

    #[test]
    fn every_bound_address_gets_a_loopback_address_of_its_own() {
        let mut bench = listening_on(LISTEN);
        let all = bench.open(None);
        let one = bench.open(Some([10, 0, 0, 1]));
        let two = bench.open(Some([10, 0, 0, 2]));
        assert_eq!(all.ip(), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(one.ip(), IpAddr::from([127, 0, 0, 2]));
        assert_eq!(two.ip(), IpAddr::from([127, 0, 0, 3]));

        let accepted = bench.accepted(one).expect("a connection waits");
        assert_eq!(accepted.local, "10.0.0.1:80".parse().unwrap());
    }

    #[test]
    fn the_file_says_where_each_endpoint_is() {
        let mut bench = listening_on(LISTEN);
        let address = bench.open(None);
        bench.open(Some(LISTEN));
        let lines: serde_json::Value = serde_json::from_str(&bench.file()).unwrap();
        assert_eq!(lines[0]["address"], address.to_string());
        assert_eq!(lines[0]["endpoint"]["port"], 80);
        assert_eq!(lines[1]["address"], address.to_string());
        assert_eq!(lines[1]["endpoint"]["address"], "127.0.0.1");
        bench.close(None);
        bench.close(Some(LISTEN));
        assert_eq!(bench.file(), "[]\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_tried_again() {
        let mut bench = listening_on(LISTEN);
        let folder = bench.folder.path().to_owned();
        std::fs::remove_dir_all(&folder).unwrap();
        let address = bench.open(None);
        let due = bench.endpoints.publish_due().expect("there is no folder");
        std::fs::create_dir(folder).unwrap();
        bench.endpoints.publish_if_due(due);
        assert!(bench.file().contains(&address.to_string()));
        assert_eq!(bench.endpoints.publish_due(), None);
    }

    #[test]
    fn a_port_that_is_taken_is_a_sharing_violation() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut bench = listening_on(LISTEN);
        bench.endpoints.port_map = vec![(Some(80), port)];
        let opened = bench.endpoints.open(endpoint(None), bench.poll.registry());
        assert_eq!(opened, Err(Win32Error::SharingViolation));
    }

    #[test]
    fn the_endpoint_of_the_address_that_stands_for_all_shares_its_socket() {
        for [first, second] in [[None, Some(LISTEN)], [Some(LISTEN), None]] {
            let mut bench = listening_on(LISTEN);
            let address = bench.open(first);
            assert_eq!(bench.open(second), address);
            let named = endpoint(Some(LISTEN));
            assert_eq!(bench.endpoint_of(address), Some(named));

            bench.close(Some(LISTEN));
            assert_eq!(bench.endpoint_of(address), Some(endpoint(None)));
            bench.close(None);
            Client::connect(address).unwrap_err();
        }
    }

    #[test]
    fn a_socket_for_really_all_addresses_is_shared_by_those_for_one() {
        const ONE: [u8; 4] = [127, 0, 0, 5];
        for [first, second] in [[None, Some(ONE)], [Some(ONE), None]] {
            let mut bench = listening_on([0; 4]);
            bench.open(first);
            let port = bench.open(second).port();
            let one = (IpAddr::from(ONE), port);
            assert_eq!(bench.endpoint_of(one), Some(endpoint(Some(ONE))));
            let other = ("127.0.0.1", port);
            assert_eq!(bench.endpoint_of(other), Some(endpoint(None)));
            bench.close(None);
            assert_eq!(bench.endpoint_of(other), None);
            assert_eq!(bench.endpoint_of(one), Some(endpoint(Some(ONE))));
        }
    }

    #[test]
    fn those_for_one_address_stay_if_there_can_be_none_for_all() {
        const ONE: [u8; 4] = [127, 0, 0, 5];
        let mut bench = listening_on([0; 4]);
        let one = bench.open(Some(ONE));
        let _taken = std::net::TcpListener::bind(("127.0.0.6", one.port())).unwrap();
        let opened = bench.endpoints.open(endpoint(None), bench.poll.registry());
        assert_eq!(opened, Err(Win32Error::SharingViolation));
        assert_eq!(bench.endpoint_of(one), Some(endpoint(Some(ONE))));
    }
}
