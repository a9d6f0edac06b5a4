//! `ManagedPipelineHandler`: what a page's execution takes and what it answers.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use sim_httpsys::api::{ProcessId, Request};
use sim_httpsys::runs;

use super::super::app_domain::LoadedPage;
use super::super::http_context::Plan;
use super::super::session_state::Lookup;
use super::custom_error::Refusal;
use super::{SERVER, session};
use crate::application::{BYTES_MAX, BuiltIn, Draws, Fault, Purpose, TIME_MAX, unit};

/// Bytes that the header lines of a page seldom exceed.
const HEADERS_ROOM: usize = 320;

/// What the execution of a page takes for one request.
pub(crate) fn plan(
    loaded: &LoadedPage,
    request: &Request,
    draws: Draws,
) -> Result<(Duration, Plan), Refusal> {
    let page = &loaded.page;
    let mut cpu = page.cpu.at(draws.draw(Purpose::Cpu));
    let mut plan = Plan {
        wait: page.wait.at(draws.draw(Purpose::Wait)),
        allocate: page.allocate,
        leak: page.leak,
        fault: page.fault,
        exit_code: 1,
        missing: None,
    };
    let Some(built_in) = page.built_in else {
        return Ok((cpu, plan));
    };
    let query = request.text.str(request.text.query);
    let time = || {
        number(
            query,
            "time",
            u64::try_from(TIME_MAX.as_millis()).unwrap_or(u64::MAX),
        )
    };
    let bytes = || number(query, "bytes", BYTES_MAX);
    match built_in {
        BuiltIn::Wait => plan.wait = Duration::from_millis(time()?.unwrap_or(1000)),
        BuiltIn::Cpu => cpu = Duration::from_millis(time()?.unwrap_or(100)),
        BuiltIn::Leak => plan.leak = bytes()?.unwrap_or(1 << 20),
        BuiltIn::Alloc => plan.allocate = bytes()?.unwrap_or(1 << 20),
        BuiltIn::Exit => {
            plan.exit_code = i32::try_from(number(query, "code", 255)?.unwrap_or(1)).unwrap_or(1);
        }
        BuiltIn::Session | BuiltIn::Cache => {}
    }
    Ok((cpu, plan))
}

/// A parameter of the query: a whole number up to `max`.
fn number(query: &str, name: &str, max: u64) -> Result<Option<u64>, Refusal> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = pairs
        .into_iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
    else {
        return Ok(None);
    };
    match value.parse() {
        Ok(number) if number <= max => Ok(Some(number)),
        Ok(_) | Err(_) => Err(Refusal::because(
            400,
            0,
            format!("{name} is a whole number from 0 to {max}"),
        )),
    }
}

/// Which key of the application's cache a request wants.
pub(crate) fn cache_key(loaded: &LoadedPage, draws: Draws) -> u64 {
    let rank = loaded.key_at(unit(draws.draw(Purpose::CacheKey)));
    crate::application::splitmix64(loaded.hash ^ rank)
}

/// What a request saw of its session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) id: &'a str,
    pub(crate) found: Lookup,
    pub(crate) visits: u64,
}

/// Header lines and body of a page, in memory of the given kind.
pub(crate) fn response(
    loaded: &LoadedPage,
    process: ProcessId,
    seen: Option<Seen<'_>>,
    note: &str,
    mut room: impl FnMut(usize) -> BytesMut,
) -> (Bytes, Bytes) {
    let page = &loaded.page;
    let size = usize::try_from(page.bytes).expect("bodies are bounded");
    let mut body = room(size.max(128));
    put(&mut body, &["<!-- iis-sim w3wp "]);
    put_number(&mut body, process.0.into());
    put(&mut body, &[" -->\n", &page.path, "\n"]);
    if let Some(seen) = seen {
        put(
            &mut body,
            &["session ", seen.id, ": ", seen.found.name(), ", visit "],
        );
        put_number(&mut body, seen.visits);
        put(&mut body, &["\n"]);
    }
    put(&mut body, &[note]);
    body.resize(
        size.max(if page.built_in.is_some() || seen.is_some() {
            body.len()
        } else {
            size
        }),
        b'.',
    );
    let mut headers = room(HEADERS_ROOM);
    put(
        &mut headers,
        &["Cache-Control: private\r\nContent-Type: text/html; charset=utf-8\r\n"],
    );
    put(&mut headers, &[SERVER, "X-Sim-Worker: "]);
    put_number(&mut headers, process.0.into());
    if let Some(seen) = seen {
        put(&mut headers, &["\r\nX-Sim-Session: ", seen.found.name()]);
    }
    put(&mut headers, &["\r\n"]);
    if let Some(seen) = seen
        && seen.found == Lookup::New
    {
        headers.put_slice(session::set_cookie(seen.id).as_bytes());
    }
    put(&mut headers, &["Content-Length: "]);
    put_number(&mut headers, body.len() as u64);
    put(&mut headers, &["\r\n"]);
    (headers.freeze(), body.freeze())
}

/// Appends texts. Responses are made too often for the formatter.
fn put(out: &mut BytesMut, texts: &[&str]) {
    for text in texts {
        out.put_slice(text.as_bytes());
    }
}

/// Appends a decimal number.
fn put_number(out: &mut BytesMut, number: u64) {
    runs::decimal(number, |digits| out.put_slice(digits));
}

/// Whether a page always answers the same, so that its response can be made once.
pub(crate) fn is_constant(loaded: &LoadedPage) -> bool {
    let page = &loaded.page;
    page.session == crate::application::Access::None
        && page.application_cache.is_none()
        && page.built_in.is_none()
        && page.fault == Fault::None
}
