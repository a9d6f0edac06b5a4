//! A port that nobody listens on, as long as it is held: whoever connects to it is refused.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

/// The port.
#[derive(Debug)]
pub(super) struct ClosedPort {
    /// Where it is.
    pub(super) address: SocketAddr,
    /// Bound, so that nobody else gets it.
    _socket: OwnedFd,
}

impl ClosedPort {
    pub(super) fn new() -> io::Result<Self> {
        let held = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&held, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = SocketAddr::try_from(getsockname(&held)?)?;
        Ok(Self {
            address,
            _socket: held,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn whoever_connects_is_refused() {
        let closed = ClosedPort::new().expect("there is a port");
        let refused = TcpStream::connect(closed.address).map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(io::ErrorKind::ConnectionRefused));
    }
}
