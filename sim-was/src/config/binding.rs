//! `bindingInformation` of http and https: `address:port:host`.

use std::net::{IpAddr, Ipv6Addr};

use super::HttpBinding;

/// Understands the binding information of an http or https binding; the error goes after "because ".
///
/// Source: IIS configuration reference, `binding`: `IP:port:host` (`*:80:`, `[::1]:8080:`,
/// `10.0.0.1:443:www.x`); wildcard hosts (IIS 10): "*.contoso.com", the star only as the left-most
/// label.
pub(super) fn parse(information: &str, secure: bool) -> Result<HttpBinding, String> {
    let information = information.trim();
    let form = "it is not of the form address:port:host";
    let (address, rest) = if let Some(inner) = information.strip_prefix('[') {
        let (address, rest) = inner.split_once(']').ok_or("its address has no ]")?;
        (Some(ipv6(address)?), rest.strip_prefix(':').ok_or(form)?)
    } else {
        let (address, rest) = information.split_once(':').ok_or(form)?;
        (ipv4_or_all(address)?, rest)
    };
    let (port, host) = rest.split_once(':').ok_or(form)?;
    let port = match port
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| port.parse::<u16>())
    {
        Some(Ok(port)) if port > 0 => port,
        Some(Ok(_) | Err(_)) | None => {
            return Err(format!("its port '{port}' is not between 1 and 65535"));
        }
    };
    // Assumed: HTTP.sys listens on every address if the one given is unspecified.
    let address = address.filter(|address| !address.is_unspecified());
    Ok(HttpBinding {
        secure,
        address,
        port,
        host: host_name(host)?,
    })
}

fn ipv6(text: &str) -> Result<IpAddr, String> {
    // A zone (`fe80::1%4`) names a network card of that machine.
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    let parsed = address.parse::<Ipv6Addr>().map(IpAddr::V6);
    parsed.map_err(|_| format!("its address '{text}' is not an IPv6 address"))
}

/// Assumed: an empty address means all, as in the bindings of IIS Express (`:8080:localhost`).
fn ipv4_or_all(text: &str) -> Result<Option<IpAddr>, String> {
    match text {
        "*" | "" => Ok(None),
        text => match text.parse() {
            Ok(address) => Ok(Some(IpAddr::V4(address))),
            Err(_) => Err(format!(
                "its address '{text}' is neither * nor an IP address"
            )),
        },
    }
}

/// Assumed: `*` alone means any host, as IIS Express takes it.
fn host_name(text: &str) -> Result<String, String> {
    let host = text.trim().to_lowercase();
    if host.is_empty() || host == "*" {
        return Ok(String::new());
    }
    let name = host.strip_prefix("*.").unwrap_or(&host);
    let bad = |c: char| c.is_whitespace() || c.is_control() || "*/\\:?#@[]\"<>|,;".contains(c);
    if name.is_empty() || name.len() > 255 || name.contains(bad) {
        return Err(if name.contains('*') {
            format!("in its host '{text}' a * may only be the left-most label")
        } else {
            format!("its host '{text}' is not a host name")
        });
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_bindings_are_understood() {
        for (text, address, port, host) in [
            ("*:80:", None, 80, ""),
            ("10.0.0.1:443:WWW.X", Some("10.0.0.1"), 443, "www.x"),
            ("[::1]:8080:", Some("::1"), 8080, ""),
            ("[fe80::1%4]:80:a", Some("fe80::1"), 80, "a"),
            ("[::]:80:", None, 80, ""),
            ("0.0.0.0:80:", None, 80, ""),
            (":8080:localhost", None, 8080, "localhost"),
            ("*:8080:*", None, 8080, ""),
            ("*:80:*.contoso.com", None, 80, "*.contoso.com"),
            ("*:80:my_host", None, 80, "my_host"),
        ] {
            let binding = parse(text, false).unwrap();
            assert_eq!(
                binding.address,
                address.map(|a| a.parse().unwrap()),
                "{text}"
            );
            assert_eq!(
                (binding.port, binding.host.as_str()),
                (port, host),
                "{text}"
            );
        }
    }

    #[test]
    fn bad_bindings_say_why() {
        for (text, why) in [
            ("", "form address:port:host"),
            ("*:80", "form address:port:host"),
            ("80", "form address:port:host"),
            ("*:0:", "between 1 and 65535"),
            ("*:65536:", "between 1 and 65535"),
            ("*:+80:", "between 1 and 65535"),
            ("*::", "between 1 and 65535"),
            ("*:80:service.*.contoso.com", "left-most"),
            ("*:80:**", "left-most"),
            ("*:80:a b", "not a host name"),
            ("*:80:a:b", "not a host name"),
            ("300.0.0.1:80:", "neither * nor"),
            ("::1:80:", "between 1 and 65535"),
            ("[::1:80:", "no ]"),
            ("[x]:80:", "not an IPv6"),
        ] {
            let error = parse(text, false).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
