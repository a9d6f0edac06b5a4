//! Who listens at a port that cannot be had.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The process that listens at an address, as far as this user may see it: `pid 17 (nginx)`.
pub fn port_owner(address: SocketAddr) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let text: String = tables
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .collect();
    let sockets: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| listening(line, address))
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

/// The inode of a line of `/proc/net/tcp`, if it is a socket that listens at this address, or at one that
/// goes with no other of its port.
///
/// Source: `proc_net_tcp` of the kernel's documentation: local address as `HEX:PORT` in column 2, the state
/// in column 4 (`0A` listens), the inode in column 10.
fn listening(line: &str, wanted: SocketAddr) -> Option<&str> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let (ip, port) = columns.get(1)?.rsplit_once(':')?;
    let is_at_ip = ip == hexadecimal(wanted.ip())
        || wanted.ip().is_unspecified()
        || ip.bytes().all(|digit| digit == b'0');
    let is_at_port = u16::from_str_radix(port, 16).ok()? == wanted.port();
    let is_it = is_at_ip && is_at_port && *columns.get(3)? == "0A";
    columns.get(9).filter(|_| is_it).copied()
}

/// An address as the kernel prints it: words of four bytes, each as this machine stores it.
fn hexadecimal(ip: IpAddr) -> String {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).map(|word| {
        let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        format!("{word:08X}")
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_at_a_port_is_found() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let me = format!("pid {} (", std::process::id());
        assert!(port_owner(address).is_some_and(|owner| owner.starts_with(&me)));
        let beside = SocketAddr::new([127, 0, 0, 2].into(), address.port());
        assert_eq!(port_owner(beside), None);
        drop(taken);
        assert_eq!(port_owner(address), None);
    }

    #[test]
    fn lines_of_the_kernel_are_read_and_others_are_not() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000 100 0 0 10 0";
        let at = |ip: [u8; 4], port| SocketAddr::from((ip, port));
        let here = at([127, 0, 0, 1], 8080);
        assert_eq!(listening(line, here), Some("12345"));
        assert_eq!(listening(line, at([127, 0, 0, 1], 8081)), None);
        assert_eq!(listening(line, at([127, 0, 0, 2], 8080)), None);
        assert_eq!(listening(line, at([0; 4], 8080)), Some("12345"));
        let for_all = line.replace("0100007F", "00000000");
        assert_eq!(listening(&for_all, here), Some("12345"));
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), here), None);
        for hostile in ["", "a b c d", ":", "0: zz:zz : 0A"] {
            assert_eq!(listening(hostile, here), None);
        }
    }
}
