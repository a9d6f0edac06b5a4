//! A URL prefix: `scheme://host:port/relativeURI`, as it is registered.

use std::fmt;
use std::net::IpAddr;

use crate::api::Win32Error;

/// A URL prefix, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UrlPrefix {
    /// `https`.
    pub secure: bool,
    /// Which bucket it lies in, and the host that it names.
    pub host: PrefixHost,
    /// The port.
    pub port: u16,
    /// The path: lower case, decoded, begins and ends with `/`.
    pub path: String,
}

/// The host of a prefix, by the four buckets in the order in which they are looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrefixHost {
    /// `+`: any host, before all others.
    StrongWildcard,
    /// A host name or address, lower case. `bound` restricts it to one local address
    /// (`http://www.x.com:80:10.0.0.1/`).
    Explicit {
        /// The host. A left-most label `*` (IIS 10) matches any one or more labels there.
        name: String,
        /// The local address, if the prefix names one.
        bound: Option<IpAddr>,
    },
    /// A local address for any host (`http://10.0.0.1:80:10.0.0.1/`).
    IpBoundWeakWildcard(IpAddr),
    /// `*`: any host, after all others.
    WeakWildcard,
}

impl UrlPrefix {
    /// Reads a prefix as it is given to `AddUrl`.
    pub fn parse(_url: &str) -> Result<Self, Win32Error> {
        Err(Win32Error::InvalidParameter)
    }
}

impl fmt::Display for UrlPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.host)
    }
}
