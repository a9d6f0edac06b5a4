//! The ends of a connection, as small as they are kept: there are very many of them, mostly of IPv4.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use super::Ends;

/// Both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortEnds(Kept);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    V4 {
        client: SocketAddrV4,
        local: SocketAddrV4,
    },
    Other(Box<Ends>),
}

impl ShortEnds {
    /// The same, kept small.
    pub fn new(ends: Ends) -> Self {
        Self(match (ends.client, ends.local) {
            (SocketAddr::V4(client), SocketAddr::V4(local)) => Kept::V4 { client, local },
            (SocketAddr::V4(_) | SocketAddr::V6(_), _) => Kept::Other(Box::new(ends)),
        })
    }

    /// Both ends, written out.
    pub fn get(&self) -> Ends {
        match &self.0 {
            Kept::V4 { client, local } => Ends {
                client: SocketAddr::V4(*client),
                local: SocketAddr::V4(*local),
            },
            Kept::Other(ends) => **ends,
        }
    }

    /// The address that the client sees as the server.
    pub fn local_ip(&self) -> IpAddr {
        match &self.0 {
            Kept::V4 { local, .. } => IpAddr::V4(*local.ip()),
            Kept::Other(ends) => ends.local.ip(),
        }
    }
}

/// Nobody's.
impl Default for ShortEnds {
    fn default() -> Self {
        let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        Self(Kept::V4 {
            client: nobody,
            local: nobody,
        })
    }
}
