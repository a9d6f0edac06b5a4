//! The ends of a connection, as small as they are kept: there are very many of them, mostly of IPv4.

use std::net::{SocketAddr, SocketAddrV4};

use crate::api::Ends;

/// Both ends.
#[derive(Debug)]
pub(super) enum ShortEnds {
    V4 {
        client: SocketAddrV4,
        local: SocketAddrV4,
    },
    Other(Box<Ends>),
}

impl ShortEnds {
    pub(super) fn new(ends: Ends) -> Self {
        match (ends.client, ends.local) {
            (SocketAddr::V4(client), SocketAddr::V4(local)) => Self::V4 { client, local },
            (SocketAddr::V4(_) | SocketAddr::V6(_), _) => Self::Other(Box::new(ends)),
        }
    }

    pub(super) fn get(&self) -> Ends {
        match self {
            Self::V4 { client, local } => Ends {
                client: SocketAddr::V4(*client),
                local: SocketAddr::V4(*local),
            },
            Self::Other(ends) => **ends,
        }
    }
}
