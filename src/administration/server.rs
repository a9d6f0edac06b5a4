//! Where the REST API is served: HTTPS on loopback, for whoever has the token.
//!
//! Source: microsoft/IIS.Administration: `https://localhost:55539`, header `Access-Token: Bearer …`. Assumed:
//! one token, made when the server starts and kept where only this user can read it; 401 without one, 403
//! with another.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use sim_httpsys::live::{TlsError, tls_configuration};
use sim_was::secrets::{body_without_secrets, text_without_secrets_of};
use tokio_rustls::TlsAcceptor;

use super::api;
use super::resource::{ApiError, Asked, Reply, hex};
use super::store::Store;
use crate::live_world::loopback::{self, LoopbackError};

/// Below a root.
const TOKEN_FILE: &str = "run/administration.token";
/// The largest body, bytes. Assumed: no object of the configuration needs more.
const BODY_MAX: usize = 1 << 20;
/// So much of one that is larger is read before it is given up. Assumed: more is not sent by mistake.
const DISCARDED_MAX: usize = 64 << 20;
/// How long a client may take for a handshake, for the head and for the body of a request. Assumed: a client on
/// loopback that takes longer has forgotten.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where it is served.
#[derive(Clone, Debug)]
pub struct Administration {
    /// The address.
    pub address: SocketAddr,
    /// The file with the token.
    pub token: PathBuf,
}

/// Why it is not served.
#[derive(Debug, thiserror::Error)]
pub enum AdministrationError {
    /// The address.
    #[error(transparent)]
    Listen(#[from] LoopbackError),
    /// The token could not be made.
    #[error("{}: {source}", path.display())]
    Token {
        /// Where it is kept.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What every connection needs.
struct Shared {
    root: PathBuf,
    token: String,
}

/// Serves the API of the server at `root` until this process ends.
pub fn serve(root: &Path, address: SocketAddr) -> Result<Administration, AdministrationError> {
    let path = root.join(TOKEN_FILE);
    let token = make_token(&path).map_err(|source| AdministrationError::Token {
        path: path.clone(),
        source,
    })?;
    let tls = TlsAcceptor::from(tls_configuration(&root.join("run"))?);
    let shared = Arc::new(Shared {
        root: root.to_owned(),
        token,
    });
    let what = "the administration";
    let address = loopback::listen(address, what, "administration", move |stream| {
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        async move {
            let handshake = tokio::time::timeout(PATIENCE, tls.accept(stream));
            if let Ok(Ok(stream)) = handshake.await {
                let answer = |request| answer(request, Arc::clone(&shared));
                loopback::converse(stream, PATIENCE, answer).await;
            }
        }
    })?;
    Ok(Administration {
        address,
        token: path,
    })
}

/// 256 bits of the kernel's, in a file for this user only.
fn make_token(path: &Path) -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let token = hex(bytes);
    let _ = fs::remove_file(path);
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(token.as_bytes())?;
    Ok(token)
}

async fn answer(
    request: Request<hyper::body::Incoming>,
    shared: Arc<Shared>,
) -> Response<Full<Bytes>> {
    let wanted = format!("{} {}", request.method(), request.uri().path());
    let reply = match admit(&request, &shared.token) {
        Err(error) => {
            // Whoever sends none may not know that there is one; who sends a wrong one tries.
            if error.status == 403 {
                let store = Store::new(shared.root.clone());
                let store = store.on_behalf_of("IIS Administration API, a wrong access token");
                store.write_down(&rest(&wanted, None), Some(&error.to_string()));
            }
            error.reply()
        }
        Ok(()) => match understand(request).await {
            Err(error) => {
                if !wanted.starts_with("GET ") {
                    let store = store_of(&shared);
                    store.write_down(&rest(&wanted, None), Some(&error.to_string()));
                }
                error.reply()
            }
            Ok(asked) => {
                let work = move || {
                    let store = store_of(&shared);
                    let reply = api::answer(&asked, &store);
                    if asked.method != "GET" {
                        write_down(&wanted, asked.body, &reply, &store);
                    }
                    reply
                };
                let failed = ApiError::new(500, "Server error", "", "the request was given up");
                let done = tokio::task::spawn_blocking(work).await;
                done.unwrap_or_else(|_| failed.reply())
            }
        },
    };
    respond(reply)
}

/// Whoever has the token.
fn store_of(shared: &Shared) -> Store {
    Store::new(shared.root.clone()).on_behalf_of("IIS Administration API, access token")
}

/// A request for the audit log.
fn rest(request: &str, body: Option<&Value>) -> Value {
    let body = body.map(body_without_secrets);
    json!({"Rest": {"request": request, "body": body}})
}

/// Writes into the audit log what the server does not, with what was asked for.
fn write_down(request: &str, body: Map<String, Value>, reply: &Reply, store: &Store) {
    let body = Value::Object(body);
    let wanted = rest(request, Some(&body));
    let refusal = reply.body.as_ref().filter(|_| reply.status >= 400);
    let refusal = refusal.and_then(|error| error["detail"].as_str());
    let refusal = refusal.map(|detail| text_without_secrets_of(&body, detail));
    store.write_down(&wanted, refusal.as_deref());
}

fn admit(request: &Request<hyper::body::Incoming>, token: &str) -> Result<(), ApiError> {
    let given = request.headers().get("access-token");
    let given = given.and_then(|value| value.to_str().ok());
    let Some(given) = given.and_then(|value| value.strip_prefix("Bearer ")) else {
        let detail = "send the header Access-Token: Bearer <token>";
        return Err(ApiError::new(401, "Unauthorized", "Access-Token", detail));
    };
    // As long for a wrong token as for a right one.
    let differs = given
        .bytes()
        .zip(token.bytes())
        .fold(0, |differs, (a, b)| differs | (a ^ b));
    if given.len() != token.len() || differs != 0 {
        let detail = "this is not the token of this server";
        return Err(ApiError::new(403, "Forbidden", "Access-Token", detail));
    }
    Ok(())
}

async fn understand(request: Request<hyper::body::Incoming>) -> Result<Asked, ApiError> {
    let method = request.method().as_str().to_owned();
    let has_body = [Method::POST, Method::PATCH].contains(request.method());
    let path = request.uri().path().trim_matches('/');
    let path = path.strip_prefix("api").ok_or_else(|| {
        let detail = "everything is below /api";
        ApiError::new(404, "Not found", path, detail)
    })?;
    let path = path.split('/').filter(|part| !part.is_empty()).map(decoded);
    let path = path.collect();
    let query = request.uri().query().unwrap_or_default();
    let query: BTreeMap<String, String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect();
    let accept = request.headers().get(ACCEPT);
    let links = accept
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("application/hal+json"));
    let body = if has_body {
        object(&bytes_of(request).await?)?
    } else {
        Map::new()
    };
    Ok(Asked {
        method,
        path,
        query,
        body,
        links,
    })
}

async fn bytes_of(request: Request<hyper::body::Incoming>) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(PATIENCE, read(request.into_body())).await {
        Ok(Some(body)) => Ok(Bytes::from(body)),
        Ok(None) => {
            let detail = format!("a body has at most {BODY_MAX} bytes");
            Err(ApiError::new(413, "Payload too large", "", &detail))
        }
        Err(_) => Err(ApiError::new(
            408,
            "Request timeout",
            "",
            "no body came in time",
        )),
    }
}

/// A body; `None` if it is too large or breaks off. What is too much is read and thrown away as far as
/// that makes sense: a client that still sends would not see the answer.
async fn read(mut body: hyper::body::Incoming) -> Option<Vec<u8>> {
    let (mut kept, mut all) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.ok()?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        all = all.saturating_add(data.len());
        if all > DISCARDED_MAX {
            return None;
        }
        if all <= BODY_MAX {
            kept.extend_from_slice(data);
        }
    }
    (all <= BODY_MAX).then_some(kept)
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::field("model", "the body is not a JSON object")),
        Err(error) => Err(ApiError::field(
            "model",
            &format!("the body is not JSON: {error}"),
        )),
    }
}

/// Percent-decoded; what is no escape stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = after.get(..2).filter(|_| *first == b'%');
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(if *first == b'+' { b' ' } else { *first });
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn respond(reply: Reply) -> Response<Full<Bytes>> {
    let body = reply
        .body
        .map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    let is_empty = body.is_empty();
    let mut response = Response::new(Full::new(body));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if !is_empty {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}
