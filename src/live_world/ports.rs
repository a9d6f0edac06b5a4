//! The ports at which bindings really listen, and why one of them cannot be had.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

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

    /// What the system says if one listens where a binding's port is mapped to, and who is to blame.
    pub(super) fn refusal(&self, port: u16) -> Option<String> {
        let to = |wanted: Option<u16>| self.map.iter().find(|(from, _)| *from == wanted);
        let real = to(Some(port))
            .or_else(|| to(None))
            .map_or(port, |(_, real)| *real);
        let address = SocketAddr::new(self.listen, real);
        let error = TcpListener::bind(address).err()?;
        let owner = owner(real).map_or_else(String::new, |owner| format!(", {owner} has it"));
        Some(format!("{address} (for port {port}): {error}{owner}"))
    }
}

/// The process that listens at a port, as far as this user may see it: `pid 17 (nginx)`.
fn owner(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let text: String = tables
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .collect();
    let sockets: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| listening(line, port))
        .map(|inode| PathBuf::from(format!("socket:[{inode}]")))
        .collect();
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut files = std::fs::read_dir(process.path().join("fd")).ok()?.flatten();
        files.find(|file| {
            std::fs::read_link(file.path()).is_ok_and(|target| sockets.contains(&target))
        })?;
        let name = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm"));
        Some(format!("pid {pid} ({})", name.unwrap_or_default().trim()))
    })
}

/// The inode of a line of `/proc/net/tcp`, if it is a socket that listens at this port.
///
/// Source: `proc_net_tcp` of the kernel's documentation: local address as `HEX:PORT` in column 2, the state
/// in column 4 (`0A` listens), the inode in column 10.
fn listening(line: &str, port: u16) -> Option<&str> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local) = columns.get(1)?.rsplit_once(':')?;
    let is_it = u16::from_str_radix(local, 16).ok()? == port && *columns.get(3)? == "0A";
    columns.get(9).filter(|_| is_it).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_at_a_port_is_found() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let me = format!("pid {} (", std::process::id());
        assert!(owner(port).is_some_and(|owner| owner.starts_with(&me)));
        drop(taken);
        assert_eq!(owner(port), None);
    }

    #[test]
    fn lines_of_the_kernel_are_read_and_others_are_not() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000 100 0 0 10 0";
        assert_eq!(listening(line, 8080), Some("12345"));
        assert_eq!(listening(line, 8081), None);
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), 8080), None);
        for hostile in ["", "a b c d", ":", "0: zz:zz : 0A"] {
            assert_eq!(listening(hostile, 8080), None);
        }
    }
}
