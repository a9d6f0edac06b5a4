//! A URL prefix: `scheme://host:port/relativeURI`, as it is registered.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::api::{Endpoint, Win32Error};

/// A URL prefix, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UrlPrefix {
    /// `https`.
    pub secure: bool,
    /// Which bucket it lies in, and the host that it names.
    pub host: PrefixHost,
    /// The port.
    pub port: u16,
    /// The path: lower case, begins and ends with `/`.
    pub path: String,
}

impl UrlPrefix {
    /// Where connections for it arrive.
    pub fn endpoint(&self) -> Endpoint {
        let address = match &self.host {
            PrefixHost::StrongWildcard | PrefixHost::WeakWildcard => None,
            PrefixHost::Explicit { bound, .. } => *bound,
            PrefixHost::IpBoundWeakWildcard(address) => Some(*address),
        };
        Endpoint {
            address,
            port: self.port,
            secure: self.secure,
        }
    }
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
    ///
    /// Source: win32 `UrlPrefix` strings; wine's tests of `HttpAddUrl` for what is refused: a missing
    /// last slash, scheme or port, port 0; ASP.NET Core's `UrlPrefix.Create`: the path is text that
    /// is not escaped, so that `%20` is three characters of a name here, and a blank is a blank.
    /// Assumed: a path to which no request's path can lead is refused.
    pub fn parse(url: &str) -> Result<Self, Win32Error> {
        Self::read(url).ok_or(Win32Error::InvalidParameter)
    }

    fn read(url: &str) -> Option<Self> {
        let (secure, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (None, rest) => (true, rest?),
        };
        let (authority, path) = rest.split_at(rest.find('/')?);
        // `host:port` or `host:port:address`; a host in brackets may have colons itself.
        let host_end = match authority.strip_prefix('[') {
            Some(rest) => rest.find(']')? + 2,
            None => authority.find(':')?,
        };
        let (host, ports) = authority.split_at(host_end);
        let ports = ports.strip_prefix(':')?;
        let (port, bound) = match ports.split_once(':') {
            Some((port, address)) => (port, Some(parse_address(address)?)),
            None => (ports, None),
        };
        Some(Self {
            secure,
            host: PrefixHost::read(host, bound)?,
            port: parse_port(port)?,
            path: parse_path(path)?,
        })
    }
}

impl PrefixHost {
    fn read(host: &str, bound: Option<IpAddr>) -> Option<Self> {
        match (host, bound) {
            ("+", None) => return Some(Self::StrongWildcard),
            ("*", None) => return Some(Self::WeakWildcard),
            _ => {}
        }
        let name = match parse_address(host) {
            // Source: netsh prints the prefix of the binding `10.0.0.1:80:` as
            // `HTTP://10.0.0.1:80:10.0.0.1/`.
            Some(address) if bound == Some(address) => {
                return Some(Self::IpBoundWeakWildcard(address));
            }
            Some(IpAddr::V4(address)) => address.to_string(),
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            None => parse_name(host)?,
        };
        Some(Self::Explicit { name, bound })
    }
}

/// Source: IIS 10 wildcard host headers: a star only as the left-most label.
fn parse_name(host: &str) -> Option<String> {
    let labels = host.strip_prefix("*.").unwrap_or(host);
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
    };
    let labels = labels.strip_suffix('.').unwrap_or(labels);
    (host.len() <= 255 && labels.split('.').all(is_label)).then(|| fold_case(host).into_owned())
}

fn parse_address(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')?
            .parse::<Ipv6Addr>()
            .ok()
            .map(IpAddr::V6),
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let canonical = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    canonical.then(|| text.parse().ok()).flatten()
}

/// A path as requests have it when they are decoded: without what decoding resolves or refuses.
fn parse_path(path: &str) -> Option<String> {
    let segments = path.strip_prefix('/')?;
    let is_canonical = |segment: &str| !matches!(segment, "." | "..");
    let legal = !path.contains(|c: char| c.is_control() || matches!(c, '?' | '\\'));
    (legal && path.ends_with('/') && segments.split('/').all(is_canonical))
        .then(|| fold_case(path).into_owned())
}

/// The text in lower case, character by character, so that a part folds like the whole.
pub(super) fn fold_case(text: &str) -> Cow<'_, str> {
    if text
        .bytes()
        .any(|b| b.is_ascii_uppercase() || !b.is_ascii())
    {
        Cow::Owned(text.chars().flat_map(char::to_lowercase).collect())
    } else {
        Cow::Borrowed(text)
    }
}

impl fmt::Display for UrlPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        let bracketed = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let (host, bound) = match &self.host {
            PrefixHost::StrongWildcard => (Cow::Borrowed("+"), None),
            PrefixHost::WeakWildcard => (Cow::Borrowed("*"), None),
            PrefixHost::Explicit { name, bound } => (Cow::Borrowed(&**name), bound.as_ref()),
            PrefixHost::IpBoundWeakWildcard(address) => {
                (Cow::Owned(bracketed(address)), Some(address))
            }
        };
        write!(f, "{scheme}://{host}:{}", self.port)?;
        if let Some(bound) = bound {
            write!(f, ":{}", bracketed(bound))?;
        }
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes_are_read_and_written_back() {
        for url in [
            "http://+:80/",
            "https://*:443/app/",
            "http://www.x.com:8080/a/b/",
            "http://*.x.com:80/",
            "http://10.0.0.1:80:10.0.0.1/",
            "http://www.x.com:80:10.0.0.1/",
            "http://[::1]:80/",
            "http://[::1]:80:[::1]/",
            "http://10.0.0.1:80/",
        ] {
            assert_eq!(
                UrlPrefix::parse(url).map(|prefix| prefix.to_string()),
                Ok(url.to_owned())
            );
        }
    }

    #[test]
    fn host_and_path_are_kept_in_lower_case() {
        let prefix = UrlPrefix::parse("http://WWW.X.com:80/Ärger/A B/").unwrap();
        assert_eq!(prefix.to_string(), "http://www.x.com:80/ärger/a b/");
    }

    #[test]
    fn a_path_is_text_that_is_not_escaped() {
        for path in ["/my app/", "/c#/", "/50%/", "/%41/", "/a+b/", "/%/"] {
            let url = format!("http://*:80{path}");
            let prefix = UrlPrefix::parse(&url).map(|prefix| prefix.path);
            assert_eq!(prefix.as_deref(), Ok(path.to_lowercase().as_str()));
        }
    }

    #[test]
    fn malformed_prefixes_are_refused() {
        for url in [
            "",
            "http://",
            "http://a:80",
            "http://a/",
            "http://a:/",
            "http://a:0/",
            "http://a:080/",
            "http://a:65536/",
            "http://a:+80/",
            "http://a:*/",
            "a:80/",
            "HTTP://a:80/",
            "ftp://a:80/",
            "http://:80/",
            "http://a b:80/",
            "http://a..b:80/",
            "http://x.*.com:80/",
            "http://*x:80/",
            "http://+:80:10.0.0.1/",
            "http://a:80:x/",
            "http://a:80/b",
            "http://a:80/b?c/",
            "http://a:80/../",
            "http://a:80/b/./",
            "http://a:80/b\\c/",
            "http://a:80/b\r\n/",
            "http://[x]:80/",
            "http://::1:80/",
            "http://*.:80/",
        ] {
            assert_eq!(
                UrlPrefix::parse(url),
                Err(Win32Error::InvalidParameter),
                "{url}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(url in "(https?://)?[a*+.:\\[\\]0-9/%?é-]{0,30}/?") {
            if let Ok(prefix) = UrlPrefix::parse(&url) {
                prop_assert!(prefix.path.starts_with('/') && prefix.path.ends_with('/'));
            }
        }
    }
}
