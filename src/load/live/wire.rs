//! A connection as it is seen from outside of HTTP: which bytes went, and how it ended.
//!
//! ```text
//!   hyper ── Stream (counts bytes of HTTP) ── TLS, or nothing ── Socket (sees RST and FIN)
//! ```
//!
//! A library's error says "connection closed"; what a report needs is whether the server reset the
//! connection or closed it in order, and whether any byte of a request had gone before.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use sim_httpsys::clockwork::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::clock::now;
use super::connection::Destination;
use crate::load::book::{ConnectionEnded, ConnectionKind, ConnectionRecord, TlsKind};

/// What is known of one connection.
pub(super) struct Wire {
    number: u32,
    kind: ConnectionKind,
    secure: bool,
    opened: Instant,
    local_port: u16,
    server: SocketAddr,
    tls: Cell<TlsKind>,
    requests: Cell<u32>,
    /// Bytes that the kernel has taken.
    taken: Cell<u64>,
    /// Bytes of HTTP that were handed down.
    handed: Cell<u64>,
    /// `taken` and `handed` when the last request began.
    before: Cell<(u64, u64)>,
    first_byte: Cell<Option<Instant>>,
    ended: Cell<Option<(Instant, ConnectionEnded)>>,
    closed: Cell<Option<(Instant, ConnectionEnded)>>,
    busy: Cell<bool>,
    busy_at_end: Cell<bool>,
    farewell: Cell<Farewell>,
}

/// Whether one of the sides has said that the connection ends after this response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Nobody has.
    None,
    /// The client asked for it, and has its whole response.
    Client,
    /// The server announced it, and the response was whole.
    Server,
}

impl Wire {
    pub(super) fn new(
        number: u32,
        kind: ConnectionKind,
        local_port: u16,
        to: &Destination,
    ) -> Self {
        Self {
            number,
            kind,
            secure: to.tls_name.is_some(),
            opened: now(),
            local_port,
            server: to.seen_as,
            tls: Cell::default(),
            requests: Cell::default(),
            taken: Cell::default(),
            handed: Cell::default(),
            before: Cell::default(),
            first_byte: Cell::default(),
            ended: Cell::default(),
            closed: Cell::default(),
            busy: Cell::new(false),
            busy_at_end: Cell::new(false),
            farewell: Cell::new(Farewell::None),
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn kind(&self) -> ConnectionKind {
        self.kind
    }

    pub(super) fn set_tls(&self, tls: TlsKind) {
        self.tls.set(tls);
    }

    /// A request is about to be handed to it.
    pub(super) fn begin_request(&self) {
        self.requests.set(self.requests.get() + 1);
        self.before.set((self.taken.get(), self.handed.get()));
        self.first_byte.set(None);
        self.busy.set(true);
    }

    /// The request that was on it has got its whole response.
    pub(super) fn end_request(&self, farewell: Farewell) {
        self.busy.set(false);
        // The end of the connection may have been read together with the end of the response.
        self.busy_at_end.set(false);
        self.farewell.set(farewell);
    }

    /// Whether the kernel has taken any byte of the request.
    pub(super) fn has_sent(&self) -> bool {
        let (taken, handed) = self.before.get();
        self.handed.get() > handed && self.taken.get() > taken
    }

    /// When the first byte of the response was read.
    pub(super) fn first_byte(&self) -> Option<Instant> {
        self.first_byte.get()
    }

    /// How the server ended it, if it has.
    pub(super) fn ended(&self) -> Option<ConnectionEnded> {
        self.ended.get().map(|(_, how)| how)
    }

    fn server_ended(&self, how: ConnectionEnded) {
        if self.ended.get().is_none() {
            self.ended.set(Some((now(), how)));
            self.busy_at_end.set(self.busy.get());
        }
    }

    /// The socket is gone: whoever has not been seen to end it, it was the client.
    fn close(&self) {
        if self.closed.get().is_some() {
            return;
        }
        let end = self.ended.get().unwrap_or_else(|| {
            self.busy_at_end.set(self.busy.get());
            (now(), ConnectionEnded::Client)
        });
        self.closed.set(Some(end));
    }

    /// What the book says about it.
    pub(super) fn record(&self) -> ConnectionRecord {
        let closed = self
            .closed
            .get()
            .map(|(at, how)| match self.farewell.get() {
                Farewell::Client => (at, ConnectionEnded::Client),
                Farewell::Server => (at, ConnectionEnded::Announced),
                Farewell::None => (at, how),
            });
        ConnectionRecord {
            number: self.number,
            kind: self.kind,
            secure: self.secure,
            opened: self.opened,
            local_port: self.local_port,
            server: self.server,
            tls: self.tls.get(),
            requests: self.requests.get(),
            closed: closed.map(|(at, _)| at),
            how: closed.map(|(_, how)| how),
            in_flight: closed.is_some() && self.busy_at_end.get(),
        }
    }
}

/// A TCP socket that notes what the kernel says.
pub(super) struct Socket {
    tcp: TcpStream,
    wire: Rc<Wire>,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, wire: Rc<Wire>) -> Self {
        Self { tcp, wire }
    }

    fn note_failure<T>(&self, result: &Poll<io::Result<T>>) {
        if let Poll::Ready(Err(_)) = result {
            self.wire.server_ended(ConnectionEnded::Rst);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.wire.close();
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let has_room = buffer.remaining() > 0;
        let result = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        if matches!(result, Poll::Ready(Ok(()))) && has_room && buffer.filled().len() == before {
            self.wire.server_ended(ConnectionEnded::Fin);
        }
        self.note_failure(&result);
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &result {
            self.wire.taken.set(self.wire.taken.get() + *count as u64);
        }
        self.note_failure(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(count)) = &result {
            self.wire.taken.set(self.wire.taken.get() + *count as u64);
        }
        self.note_failure(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// What hyper talks to: the socket, or TLS over it.
pub(super) struct Stream {
    layer: Layer,
    wire: Rc<Wire>,
}

enum Layer {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    pub(super) fn plain(socket: Socket, wire: Rc<Wire>) -> Self {
        Self {
            layer: Layer::Plain(socket),
            wire,
        }
    }

    pub(super) fn tls(stream: TlsStream<Socket>, wire: Rc<Wire>) -> Self {
        Self {
            layer: Layer::Tls(Box::new(stream)),
            wire,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let has_room = buffer.remaining() > 0;
        let result = match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Layer::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        if matches!(result, Poll::Ready(Ok(()))) && has_room {
            if buffer.filled().len() == before {
                // TLS says goodbye before TCP does.
                self.wire.server_ended(ConnectionEnded::Fin);
            } else if self.wire.first_byte.get().is_none() {
                self.wire.first_byte.set(Some(now()));
            }
        }
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Layer::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        if let Poll::Ready(Ok(count)) = &result {
            self.wire.handed.set(self.wire.handed.get() + *count as u64);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Layer::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Layer::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
