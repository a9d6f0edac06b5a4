//! K1, K2, C4, N4: what comes from the response cache is the answer to that URL and not too old, content that
//! was changed is not served for long, whole responses are whole, and no timer of an idle connection ends a request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use sim_httpsys::api::{CachePolicy, Call, ConnectionId, ProcessId, RequestId};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::Fact;
use sim_httpsys::logging::LogEntry;
use sim_httpsys::model::ReasonPhrase;

use super::book::{Book, End, Move, Place, Worker};
use super::{Verdict, broken};

/// How long an entry may outlive the content that it was made from.
/// Assumed: a worker looks once a second, one look takes less than another, and the rest is on the way.
const STALE_MAX: Duration = Duration::from_secs(5);

/// What is known of an entry of the response cache.
#[derive(Debug)]
struct Entry {
    process: ProcessId,
    inserted: Instant,
    expires: Option<Instant>,
    /// The URL that was asked for by the request that it was made for.
    url: Option<String>,
    /// The body that its worker gave.
    body: Bytes,
}

/// What answers come from.
#[derive(Debug, Default)]
pub(super) struct Answers {
    entries: BTreeMap<u64, Entry>,
    /// The request that this input answers, how long the answer may be kept, and its body.
    answering: Option<(RequestId, CachePolicy, Bytes)>,
    /// What was sent on each connection since its last request ended.
    sent: BTreeMap<ConnectionId, Vec<u8>>,
    /// Entries whose request has no line in the log so far.
    made_for: BTreeMap<RequestId, u64>,
    /// Requests that were answered from an entry of that URL, and have no line so far.
    hits: BTreeMap<RequestId, String>,
    /// Bytes of the bodies that were sent as whole responses, by the clients' names for their requests.
    bodies: BTreeMap<u64, u64>,
    /// Requests that a worker was made to answer which it may not have known, and which worker.
    lies: BTreeSet<(ProcessId, RequestId)>,
    /// Requests that were answered by the worker that was made to, by the clients' names for them.
    lied_to: BTreeSet<u64>,
    /// When the content was changed last.
    changed: Option<Instant>,
}

impl Answers {
    /// A call has reached the driver.
    pub(super) fn called(&mut self, call: &Call) {
        self.answering = match call {
            Call::SendResponse {
                request, response, ..
            } => Some((*request, response.cache_policy, response.body.clone())),
            _other => None,
        };
    }

    /// The driver sends something.
    pub(super) fn sends(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let sent = self.sent.entry(connection).or_default();
        sent.extend_from_slice(bytes);
    }

    /// A worker is made to answer a request besides its own: it may have that as well, or be about to get it.
    pub(super) fn lied(&mut self, by: ProcessId, request: RequestId) {
        self.lies.insert((by, request));
    }

    /// Requests that were answered by a worker that lied of them, by the clients' names for them.
    pub(super) fn lied_to(&self) -> &BTreeSet<u64> {
        &self.lied_to
    }

    /// Every file was written to.
    pub(super) fn content_changed(&mut self, now: Instant) {
        self.changed = Some(now);
    }

    /// A fact of the driver.
    pub(super) fn httpsys(&mut self, book: &Book, fact: &Fact, step: &Move) -> Verdict {
        if let Fact::SendComplete { activity, .. } | Fact::SrvdFrmCache { activity, .. } = fact
            && let Move::Ended(request, before, _) = step
        {
            let sent = self.sent.get(&before.connection);
            let body = whole_body(*request, sent.map(Vec::as_slice).unwrap_or_default())?;
            self.bodies.insert(activity.0, body);
            if let Place::Delivered(process) = before.place
                && self.lies.contains(&(process, *request))
            {
                self.lied_to.insert(activity.0);
            }
        }
        match fact {
            Fact::CacheInsert { entry, process, .. } => {
                let Some((request, policy, body)) = self.answering.clone() else {
                    return Ok(());
                };
                let expires = match policy {
                    CachePolicy::TimeToLive(seconds) => {
                        Some(book.now + Duration::from_secs(seconds.into()))
                    }
                    CachePolicy::UserInvalidates | CachePolicy::Nocache => None,
                };
                self.made_for.insert(request, *entry);
                let fresh = Entry {
                    process: *process,
                    inserted: book.now,
                    expires,
                    url: None,
                    body,
                };
                self.entries.insert(*entry, fresh);
            }
            Fact::CacheRemove { entry, .. } => {
                self.entries.remove(entry);
            }
            Fact::SrvdFrmCache {
                request,
                entry,
                status,
                ..
            } => {
                let sent = match step {
                    Move::Ended(_, before, _) => self.sent.remove(&before.connection),
                    _other => None,
                };
                // It may have left before the last byte went.
                let Some(known) = self.entries.get(entry) else {
                    return Ok(());
                };
                // It was decided when the request was parsed; this is when the last byte went.
                if let Move::Ended(_, before, _) = step
                    && known.expires.is_some_and(|expires| expires <= before.since)
                {
                    let what = format!("{request:?} came from entry {entry}: {known:?}");
                    return broken("K1", what);
                }
                if let Some(url) = &known.url {
                    self.hits.insert(*request, url.clone());
                }
                if *status == 200 {
                    same_body(
                        *request,
                        *entry,
                        sent.as_deref().unwrap_or_default(),
                        &known.body,
                    )?;
                }
            }
            Fact::ConnCleanup { connection, .. } => {
                self.sent.remove(connection);
            }
            _other => {}
        }
        if let Move::Ended(_, before, _) = step {
            self.sent.remove(&before.connection);
        }
        idle_timer(step)
    }

    /// Bytes of the bodies that were sent as whole responses, by the clients' names for their requests.
    pub(super) fn bodies(&self) -> &BTreeMap<u64, u64> {
        &self.bodies
    }

    /// A line of a site's log says which URL a request was for.
    pub(super) fn log(&mut self, entry: &LogEntry) -> Verdict {
        let LogEntry::W3c(record) = entry else {
            return Ok(());
        };
        let text = &record.request.text;
        let (request, url) = (record.request.id, text.str(text.raw_url));
        if let Some(made) = self.made_for.remove(&request)
            && let Some(entry) = self.entries.get_mut(&made)
        {
            entry.url = Some(url.to_owned());
        }
        match self.hits.remove(&request) {
            Some(of_entry) if of_entry != url => broken(
                "K1",
                format!("{request:?} asked for {url}, and got what was kept for {of_entry}"),
            ),
            Some(_) | None => Ok(()),
        }
    }

    /// K2: a worker that lives has thrown away what it made of older content.
    pub(super) fn look(&self, book: &Book) -> Verdict {
        let Some(changed) = self.changed else {
            return Ok(());
        };
        if book.now.saturating_since(changed) <= STALE_MAX {
            return Ok(());
        }
        // One that is suspended sees nothing: it looks when it is awake again.
        let looks = |worker: &Worker| {
            let awake = book.now.saturating_since(worker.awake_since);
            worker.serves() && !worker.struck && !worker.suspended && awake > STALE_MAX
        };
        let lives = |process: &ProcessId| book.workers.get(process).is_some_and(looks);
        let mut entries = self.entries.iter();
        let stale = entries.find(|(_, e)| e.inserted <= changed && lives(&e.process));
        match stale {
            Some((id, entry)) => broken(
                "K2",
                format!("entry {id} is older than the content of {changed}: {entry:?}"),
            ),
            None => Ok(()),
        }
    }
}

/// A head and a body.
fn parts(sent: &[u8]) -> Option<(&[u8], &[u8])> {
    const END: &[u8] = b"\r\n\r\n";
    let head = sent.windows(END.len()).position(|bytes| bytes == END)?;
    sent.split_at_checked(head + END.len())
}

/// C4: a whole response has a body as long as its head says. Gives its length.
fn whole_body(request: RequestId, sent: &[u8]) -> Result<u64, (&'static str, String)> {
    let Some((head, body)) = parts(sent) else {
        let sent = sent.len();
        let what = format!("{request:?} was answered, and the {sent} bytes have no head");
        return Err(("C4", what));
    };
    let head = String::from_utf8_lossy(head);
    let said = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<u64>().ok())?
    });
    let (is, has_none) = (body.len() as u64, head.contains(" 304 ") && body.is_empty());
    if said.is_some_and(|said| said != is) && !has_none {
        let what = format!("{request:?} has a body of {is} bytes, and its head says {said:?}");
        return Err(("C4", what));
    }
    Ok(is)
}

/// K1: what comes from an entry has the bytes that its worker gave.
fn same_body(request: RequestId, entry: u64, sent: &[u8], made: &[u8]) -> Verdict {
    let body = parts(sent).map(|(_, body)| body);
    if body == Some(made) {
        return Ok(());
    }
    let (got, wanted) = (body.map_or(0, <[u8]>::len), made.len());
    broken(
        "K1",
        format!(
            "{request:?} came from entry {entry} with a body of {got} bytes, which is not the one of \
             {wanted} that its worker gave"
        ),
    )
}

/// N4: the timers of idle connections and of heads do nothing to a request.
fn idle_timer(step: &Move) -> Verdict {
    let Move::Ended(request, before, End::Dropped(reason)) = step else {
        return Ok(());
    };
    let is_idle = matches!(
        reason,
        ReasonPhrase::TimerConnectionIdle | ReasonPhrase::TimerHeaderWait
    );
    if is_idle && before.place != Place::Parsed {
        let what = format!("{request:?} was ended by {reason}, and is {before:?}");
        return broken("N4", what);
    }
    Ok(())
}
