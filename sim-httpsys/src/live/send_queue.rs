//! What a socket still holds of the bytes that were written to it.
//!
//! A write says that the kernel has taken bytes, some megabytes ahead of what the client has read. Only the
//! socket's send queue tells whether they have left, and whether they have arrived.
#![expect(
    unsafe_code,
    reason = "two ioctls that write one int each; no safe wrapper of them exists"
)]

use mio::net::TcpStream;
use rustix::ioctl::{Getter, Opcode, ioctl};

/// Source: tcp(7): "Returns the amount of unsent and unacknowledged data in the socket send queue."
const SIOCOUTQ: Opcode = 0x5411;

/// Source: linux/sockios.h: "output queue size (not sent only)".
const SIOCOUTQNSD: Opcode = 0x894B;

/// Bytes that the client has not acknowledged, a FIN counted as one.
pub(super) fn unacknowledged(socket: &TcpStream) -> u64 {
    size_of_queue::<SIOCOUTQ>(socket)
}

/// Bytes that have not left because the client's window is full, a FIN counted as one.
pub(super) fn not_sent(socket: &TcpStream) -> u64 {
    size_of_queue::<SIOCOUTQNSD>(socket)
}

/// A socket that cannot say it holds nothing.
fn size_of_queue<const WHICH: Opcode>(socket: &TcpStream) -> u64 {
    // SAFETY: both requests write one int, and nothing else, to where they are told.
    let size = unsafe { ioctl(socket, Getter::<WHICH, i32>::new()) };
    size.ok().and_then(|size| size.try_into().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream as Client};

    use super::*;

    #[test]
    fn what_a_client_does_not_read_stays_in_the_queue_until_it_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut socket = TcpStream::from_std(socket);
        assert_eq!(not_sent(&socket), 0);
        let zeros = vec![0; 100_000];
        while socket.write(&zeros).is_ok() {}
        socket.shutdown(Shutdown::Write).unwrap();
        assert!(not_sent(&socket) > 1);
        assert!(unacknowledged(&socket) >= not_sent(&socket));
        client.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(not_sent(&socket), 0);
        drop(client);
        assert_eq!(unacknowledged(&socket), 0);
    }
}
