//! The ports at which bindings really listen, and why one of them cannot be had.

use std::net::{IpAddr, SocketAddr, TcpListener};

use sim_httpsys::live::port_owner;

use super::server_options::ServerOptions;

/// Where bindings really listen.
#[derive(Clone, Debug)]
pub(super) struct Ports {
    listen: IpAddr,
    map: Vec<(Option<u16>, u16)>,
}

impl Ports {
    pub(super) fn of(options: &ServerOptions) -> Self {
        Self {
            listen: options.listen,
            map: options.port_map.clone(),
        }
    }

    /// What the system says if one listens where a binding is mapped to, and who is to blame. Nothing for
    /// an address that another one stands for here: the driver alone knows which.
    pub(super) fn refusal(&self, bound: Option<IpAddr>, port: u16) -> Option<String> {
        let ip = bound.unwrap_or(self.listen);
        if self.listen.is_loopback() && !ip.is_loopback() {
            return None;
        }
        let to = |wanted: Option<u16>| self.map.iter().find(|(from, _)| *from == wanted);
        let real = to(Some(port))
            .or_else(|| to(None))
            .map_or(port, |(_, real)| *real);
        let address = SocketAddr::new(ip, real);
        let error = TcpListener::bind(address).err()?;
        let owner =
            port_owner(address).map_or_else(String::new, |owner| format!(", {owner} has it"));
        Some(format!("{address} (for port {port}): {error}{owner}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_blamed_for_an_address_that_another_one_stands_for() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let ports = Ports {
            listen: [127, 0, 0, 1].into(),
            map: vec![(Some(80), port)],
        };
        assert!(ports.refusal(None, 80).is_some());
        assert!(ports.refusal(Some([127, 0, 0, 1].into()), 80).is_some());
        assert_eq!(ports.refusal(Some([127, 0, 0, 2].into()), 80), None);
        assert_eq!(ports.refusal(Some([10, 0, 0, 1].into()), 80), None);
    }
}
