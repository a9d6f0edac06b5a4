//! A small HTTP server on a loopback address, on a thread of its own, for as long as this process lives.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Why something is not served.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    /// Others could reach it.
    #[error("{address}: {what} is served on a loopback address only, e.g. 127.0.0.1:{}", address.port())]
    NotLoopback {
        /// What.
        what: &'static str,
        /// Where it was to be.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("{address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Listens, and hands every connection to `converse`; gives where. `what` names it to people, `thread` to `top`.
pub(crate) fn listen<C, F>(
    address: SocketAddr,
    what: &'static str,
    thread: &str,
    converse: C,
) -> Result<SocketAddr, LoopbackError>
where
    C: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    if !address.ip().is_loopback() {
        return Err(LoopbackError::NotLoopback { what, address });
    }
    let failed = |source| LoopbackError::Bind { address, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    std::thread::Builder::new()
        .name(thread.to_owned())
        .spawn(move || runtime.block_on(accept(listener, converse)))
        .map_err(failed)?;
    Ok(bound)
}

async fn accept<C, F>(listener: TcpListener, converse: C)
where
    C: Fn(TcpStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream))),
            // Out of descriptors, mostly: wait until some are free again.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Answers the requests of one connection, whose heads may take no longer than `patience`.
pub(crate) async fn converse<A, F>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    patience: Duration,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .serve_connection(TokioIo::new(stream), service);
    connection.await.ok();
}
