//! A few requests by hand, to see that a contender answers, how, and how soon.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Headers that make a request about 300 B long, as a browser's is. No `Accept-Encoding` and no
/// cookie: they would change what a cache may do.
pub(crate) const HEADERS: [&str; 3] = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Peers/1.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.8,de;q=0.5",
];

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status line and headers.
    pub(crate) head: String,
    /// All bytes of it.
    pub(crate) bytes: usize,
}

impl Answer {
    /// Whether it is a 200.
    pub(crate) fn is_ok(&self) -> bool {
        self.head.split(' ').nth(1) == Some("200")
    }
}

/// Opens a connection.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a GET on a connection that stays open.
pub(crate) fn send(stream: &mut TcpStream, path: &str) -> io::Result<()> {
    let host = stream.peer_addr()?;
    let headers = HEADERS.join("\r\n");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n\r\n").as_bytes())
}

/// Reads one answer that says its length.
pub(crate) fn receive(stream: &mut TcpStream) -> io::Result<Answer> {
    let mut text = Vec::with_capacity(2048);
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            let message = "the connection was closed before the answer was complete";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        text.extend_from_slice(&buffer[..count]);
        if let Some((head, length)) = head_and_length(&text)
            && text.len() >= length
        {
            return Ok(Answer {
                head,
                bytes: text.len(),
            });
        }
    }
}

/// Asks once, on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut stream = connect(address)?;
    send(&mut stream, path)?;
    receive(&mut stream)
}

/// The head, and how long the whole answer is, once the head is complete.
fn head_and_length(text: &[u8]) -> Option<(String, usize)> {
    let end = text.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(text.get(..end)?).into_owned();
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length
        .and_then(|length| length.trim().parse().ok())
        .unwrap_or(0);
    Some((head, end + length))
}
