//! One attempt, from its planned time to its one outcome.

use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::USER_AGENT;
use hyper::header::{CONNECTION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use hyper::{Method, Request, Response, body::Incoming};
use sim_httpsys::clockwork::Instant;

use super::clock::now;
use super::connection::{Line, OpenError, Pool};
use super::generator::{Destinations, Shared};
use super::wire::{Farewell, Wire};
use crate::load::book::{AttemptRecord, ConnectionEnded, ConnectionKind, SessionSeen, TlsKind};
use crate::load::outcome::{NO_MARKER, Outcome};
use crate::load::plan::{PlannedAttempt, Stream};

const ATTEMPT_ID: HeaderName = HeaderName::from_static("x-attempt-id");
const SESSION: HeaderName = HeaderName::from_static("x-sim-session");
const WORKER: HeaderName = HeaderName::from_static("x-sim-worker");

/// Probes look for their marker in the first so many bytes of a body.
const MARKER_WITHIN: usize = 64 * 1024;

/// Why an attempt did not succeed, when no whole response came.
struct Failure {
    outcome: Outcome,
    detail: String,
}

/// Makes the attempt, notes how it ended, and gives the connection back.
pub(super) async fn make(shared: Rc<Shared>, planned: PlannedAttempt, index: usize) {
    let probe = planned.stream != Stream::Load;
    let profile = &shared.profile;
    let allowed = if probe {
        profile.probes.deadline
    } else {
        profile.deadline
    };
    let planned_at = shared.record(index, |record| record.planned);
    let left = (planned_at + allowed).saturating_since(now());
    let result = tokio::time::timeout(left, perform(&shared, &planned, index)).await;
    let (outcome, detail, line) = match result {
        Err(_elapsed) => (Outcome::Timeout, None, None),
        Ok(Err(failure)) => (failure.outcome, Some(failure.detail), None),
        Ok(Ok((outcome, detail, line))) => (outcome, detail, line),
    };
    let finished = now();
    shared.record(index, |record| {
        let late = finished.saturating_since(planned_at) > profile.slow;
        record.outcome = if outcome == Outcome::Ok && late {
            Outcome::Slow
        } else {
            outcome
        };
        record.finished = finished;
        record.detail = detail;
    });
    shared.finished(index);
    if let Some(mut line) = line {
        // hyper takes the next request only when it has seen the end of this response.
        if line.sender.ready().await.is_ok() {
            let pool = shared.destinations(planned.stream, planned.url, planned.secure);
            pool.kept.give(line);
        }
    }
}

type Answered = (Outcome, Option<String>, Option<Line>);

async fn perform(
    shared: &Rc<Shared>,
    planned: &PlannedAttempt,
    index: usize,
) -> Result<Answered, Failure> {
    let destinations = shared.destinations(planned.stream, planned.url, planned.secure);
    let begun = now();
    shared.record(index, |record| record.sent = begun);
    let idle = if planned.one_shot {
        None
    } else {
        destinations.kept.take(planned.connection)
    };
    let mut line = match idle {
        Some(line) => line,
        None => open(shared, planned, destinations, index).await?,
    };
    let wire = Rc::clone(&line.wire);
    wire.begin_request();
    shared.record(index, |record| {
        record.connection = Some(wire.number());
    });
    let request = shared.request(planned, index);
    let response = line.sender.send_request(request).await;
    shared.record(index, |record| record.first_byte = wire.first_byte());
    let response = response.map_err(|error| failure(&wire, None, &error))?;
    let head = Head::of(&response);
    shared.record(index, |record| {
        record.status = Some(head.status);
        record.session = head.session;
        record.worker = head.worker;
    });
    if let Some(cookie) = session_cookie(response.headers()) {
        shared.keep_cookie(planned, cookie);
    }
    let marker = (planned.stream != Stream::Load)
        .then_some(shared.marker())
        .flatten();
    let is_marked = read_body(shared, index, response, marker)
        .await
        .map_err(|error| failure(&wire, Some(head.status), &error))?;
    let farewell = match (planned.one_shot, head.closes) {
        (true, _) => Farewell::Client,
        (false, true) => Farewell::Server,
        (false, false) => Farewell::None,
    };
    wire.end_request(farewell);
    let outcome = Outcome::of_status(head.status);
    if outcome == Outcome::Ok && !is_marked {
        let detail = NO_MARKER.to_owned();
        return Ok((Outcome::Truncated, Some(detail), None));
    }
    let stays = farewell == Farewell::None && wire.kind() != ConnectionKind::Extra;
    Ok((outcome, None, stays.then_some(line)))
}

async fn open(
    shared: &Rc<Shared>,
    planned: &PlannedAttempt,
    destinations: &Destinations,
    index: usize,
) -> Result<Line, Failure> {
    let (kind, place) = match planned.stream {
        Stream::ProbeNew => (ConnectionKind::ProbeNew, None),
        Stream::Load if planned.one_shot => (ConnectionKind::OneShot, None),
        Stream::Load => kept(&destinations.kept, ConnectionKind::KeepAlive),
        Stream::ProbeReused => kept(&destinations.kept, ConnectionKind::ProbeReused),
    };
    let opened = shared
        .opener
        .open(&destinations.kept.destination, kind, place)
        .await;
    let line = opened.map_err(|error| match error {
        OpenError::Refused => Failure {
            outcome: Outcome::Refused,
            detail: "connection refused".to_owned(),
        },
        OpenError::Reset(error, wire) => {
            shared.record(index, |record| {
                record.connection = wire.as_ref().map(|wire| wire.number());
            });
            Failure {
                outcome: Outcome::ResetIdle,
                detail: format!("before the request: {error}"),
            }
        }
        OpenError::Ours(error) => Failure {
            outcome: Outcome::NotSent,
            detail: error.to_string(),
        },
    })?;
    let tls = line.wire.record().tls;
    if tls != TlsKind::None {
        shared.record(index, |record| record.tls = tls);
    }
    Ok(line)
}

fn kept(
    pool: &Pool,
    kind: ConnectionKind,
) -> (ConnectionKind, Option<super::connection::OpenCount>) {
    match pool.reserve() {
        Some(place) => (kind, Some(place)),
        None => (ConnectionKind::Extra, None),
    }
}

/// What the outcome is when no whole response came: decided by what went over the wire.
fn failure(wire: &Wire, status: Option<u16>, error: &hyper::Error) -> Failure {
    let outcome = match (wire.ended(), wire.has_sent(), status) {
        (_, false, None) => Outcome::ResetIdle,
        (Some(ConnectionEnded::Rst), _, _) | (Some(_), _, None) => Outcome::ResetInflight,
        // The stream ended or went wrong inside of a response that had begun.
        (Some(_), _, Some(_)) | (None, _, _) => Outcome::Truncated,
    };
    Failure {
        outcome,
        detail: error.to_string(),
    }
}

/// What is kept of a response's head.
struct Head {
    status: u16,
    session: Option<SessionSeen>,
    worker: Option<u32>,
    closes: bool,
}

impl Head {
    fn of(response: &Response<Incoming>) -> Self {
        let text = |name: &HeaderName| response.headers().get(name).and_then(|v| v.to_str().ok());
        Self {
            status: response.status().as_u16(),
            session: match text(&SESSION) {
                Some("found") => Some(SessionSeen::Found),
                Some("new") => Some(SessionSeen::New),
                Some("lost") => Some(SessionSeen::Lost),
                Some(_) | None => None,
            },
            worker: text(&WORKER).and_then(|pid| pid.parse().ok()),
            closes: text(&CONNECTION).is_some_and(|value| value.eq_ignore_ascii_case("close")),
        }
    }
}

/// Reads the body to its end; says whether the marker, if any, was in it.
async fn read_body(
    shared: &Rc<Shared>,
    index: usize,
    response: Response<Incoming>,
    marker: Option<&str>,
) -> Result<bool, hyper::Error> {
    let mut body = response.into_body();
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        shared.record(index, |record: &mut AttemptRecord| {
            record.bytes += data.len() as u64;
        });
        if marker.is_some() && kept.len() < MARKER_WITHIN {
            kept.extend_from_slice(&data);
        }
    }
    Ok(marker.is_none_or(|marker| {
        marker.is_empty()
            || kept
                .windows(marker.len())
                .any(|part| part == marker.as_bytes())
    }))
}

/// The session cookie of a `Set-Cookie`, as it is to be sent back.
fn session_cookie(headers: &HeaderMap) -> Option<HeaderValue> {
    headers
        .get_all(SET_COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or(value))
        .find(|pair| pair.starts_with("ASP.NET_SessionId="))
        .and_then(|pair| HeaderValue::from_str(pair).ok())
}

/// The request of an attempt: a body is posted, and without one it is a GET.
pub(super) fn request(
    id: u64,
    uri: hyper::Uri,
    host: HeaderValue,
    cookie: Option<HeaderValue>,
    close: bool,
    body: Bytes,
) -> Request<Full<Bytes>> {
    let method = if body.is_empty() {
        Method::GET
    } else {
        Method::POST
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(ATTEMPT_ID, HeaderValue::from(id));
    let agent = HeaderValue::from_str(&format!("iis-sim-load/{id}"));
    headers.insert(USER_AGENT, agent.expect("a number is a legal header value"));
    if let Some(cookie) = cookie {
        headers.insert(COOKIE, cookie);
    }
    if close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    request
}

/// A record of an attempt that has just begun.
pub(super) fn begun(id: u64, planned: &PlannedAttempt, at: Instant) -> AttemptRecord {
    AttemptRecord {
        id,
        stream: planned.stream,
        planned: at,
        sent: now(),
        first_byte: None,
        finished: at,
        outcome: Outcome::Abandoned,
        status: None,
        url: String::new(),
        user: planned.user,
        keeps_session: planned.session,
        session: None,
        worker: None,
        bytes: 0,
        connection: None,
        tls: TlsKind::None,
        detail: None,
    }
}
