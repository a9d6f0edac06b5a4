//! N6, C4: a request goes to the site and the pool that its port, its host and its path name, what becomes of
//! it is told of that site, and as many bytes are counted as were on the wire.
//!
//! The checker reads requests itself, and looks the URLs through that are registered. Where a configuration
//! has what it does not read (addresses, wildcards in a host) it says nothing; so it does of a request that
//! is no plain one.

use std::collections::BTreeMap;

use sim_httpsys::api::{Call, ConnectionId, ControlCall, RequestId, SiteId};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::counters::WebService;
use sim_httpsys::etw::Fact;
use sim_httpsys::model::ReasonPhrase;
use sim_was::config::Configuration;

use super::book::{Book, End, Move, Place, PoolIndex};
use super::numbered::Numbered;
use super::sometimes::{Seen, Sometimes};
use super::urls::Urls;
use super::wire::{Came, Wire};
use super::{Verdict, broken};

/// Where a request belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The checker cannot tell.
    #[default]
    Unknown,
    /// No URL is registered for it.
    Nowhere,
    /// To that site, and that pool of it, by a URL with so long a path.
    To(SiteId, PoolIndex, usize),
}

impl Wanted {
    /// Whether a request may go to a pool.
    fn takes(self, pool: PoolIndex) -> bool {
        match self {
            Self::Unknown => true,
            Self::Nowhere => false,
            Self::To(_, wanted, _) => wanted == pool,
        }
    }

    /// Whether a request may be one of a site.
    fn is_of(self, site: SiteId) -> bool {
        match self {
            Self::Unknown => true,
            Self::Nowhere => false,
            Self::To(wanted, ..) => wanted == site,
        }
    }
}

/// What was counted of one site, by what was seen on the wires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    answered: u64,
    sent: u64,
    received: u64,
    connections: u64,
}

/// URLs, and what was on the wires.
#[derive(Debug)]
pub(super) struct Sites {
    urls: Urls,
    wires: Numbered<Wire>,
    /// Requests that have ended without an answer, and what came for them: the answer may still be counted.
    late: BTreeMap<RequestId, (Wanted, Came)>,
    /// The request that this input answers.
    answering: Option<RequestId>,
    /// Where the requests belong that entries of the response cache were made for.
    entries: BTreeMap<u64, Wanted>,
    tallies: BTreeMap<SiteId, Tally>,
}

impl Sites {
    pub(super) fn new(configuration: &Configuration) -> Self {
        let pools = &configuration.application_pools;
        let pool_named = |name: &str| pools.iter().position(|pool| pool.name == name);
        let mut sites = Self {
            urls: Urls::new(configuration),
            wires: Numbered::default(),
            late: BTreeMap::new(),
            answering: None,
            entries: BTreeMap::new(),
            tallies: BTreeMap::new(),
        };
        sites.take(configuration, |name| pool_named(name).map(PoolIndex));
        sites
    }

    /// WAS is given a configuration: the driver may be told of it from now on.
    pub(super) fn take(
        &mut self,
        configuration: &Configuration,
        pool_named: impl Fn(&str) -> Option<PoolIndex>,
    ) {
        self.urls.take(configuration, pool_named);
    }

    /// Bytes have come on a connection: for a head, or the rest of a body that nobody wants.
    pub(super) fn received(&mut self, book: &mut Book, id: ConnectionId, bytes: &[u8]) {
        let now = book.now;
        let Some(connection) = book.connections.get_mut(id.0) else {
            return;
        };
        let wire = self.wires.get_or_default(id.0);
        let is_wanted = wire.receive(bytes);
        if !wire.is_draining() && connection.draining_since.take().is_some() {
            connection.idle_since = now;
        }
        if is_wanted && connection.request.is_none() {
            connection.head_since.get_or_insert(now);
        }
    }

    /// The driver sends something.
    pub(super) fn sends(&mut self, id: ConnectionId, bytes: &[u8]) {
        if let Some(wire) = self.wires.get_mut(id.0) {
            wire.sent += bytes.len() as u64;
        }
    }

    /// A call has reached the driver.
    pub(super) fn called(&mut self, call: &Call) {
        self.answering = match call {
            Call::SendResponse { request, .. } => Some(*request),
            _other => None,
        };
    }

    /// N6: the driver is told to have a URL lead where the configuration says, or has said.
    pub(super) fn told(&mut self, book: &Book, call: &ControlCall) -> Verdict {
        self.urls.told(book, call)
    }

    /// Since when which pool had the root of the first site; none while the driver was being told of a change.
    pub(super) fn root_led_to(&self) -> &[(Instant, Option<PoolIndex>)] {
        self.urls.root_led_to()
    }

    /// A fact of the driver.
    pub(super) fn httpsys(
        &mut self,
        book: &mut Book,
        fact: &Fact,
        step: &Move,
        seen: &mut Sometimes,
    ) -> Verdict {
        match fact {
            Fact::AddUrl { url } => self.urls.add(url, book.now),
            Fact::RemoveUrl { url } => self.urls.remove(url),
            Fact::ConnCounted { connection, site } => self.counted(book, *connection, *site)?,
            Fact::CacheInsert { entry, queue, .. } => {
                let wanted = self.answering.map_or(Wanted::Unknown, |request| {
                    let late = || self.late.get(&request).map(|(wanted, _)| *wanted);
                    let known = book.requests.get(request.0).map(|known| known.wanted);
                    known.or_else(late).unwrap_or_default()
                });
                if book.pool_of(queue).is_some_and(|pool| !wanted.takes(pool)) {
                    let what = format!("entry {entry} is kept for {queue}, and is {wanted:?}");
                    return broken("N6", what);
                }
                if let Wanted::To(..) = wanted
                    && !self.urls.leads_to(wanted)
                {
                    let what = format!("entry {entry} is made, and its URL has gone: {wanted:?}");
                    return broken("K2", what);
                }
                self.entries.insert(*entry, wanted);
            }
            Fact::CacheRemove { entry, .. } => {
                let made_for = self.entries.remove(entry);
                if made_for.is_some_and(|made_for| self.urls.has_left(made_for)) {
                    seen.note(Seen::EntriesGoneWithApplication);
                }
            }
            Fact::LogFileWrite {
                request,
                site,
                bytes,
                received,
                ..
            } => {
                let late = self.late.remove(request);
                let unknown = Came {
                    head: *received,
                    body: 0,
                };
                let (wanted, came) = late.unwrap_or((Wanted::Unknown, unknown));
                self.answered(*request, wanted, *site, (*bytes, *bytes), (*received, came))?;
            }
            Fact::ConnCleanup { connection, .. } => {
                self.wires.remove(connection.0);
            }
            _other => {}
        }
        match *step {
            Move::Parsed(request) => {
                self.parsed(book, request, seen);
                Ok(())
            }
            Move::Queued(request, pool) => check(book, request, pool),
            Move::Delivered(request, process, before) => {
                if before.place != Place::Parsed && self.urls.has_left(before.wanted) {
                    seen.note(Seen::ApplicationMovedWhileWaiting);
                }
                match book.workers.get(&process) {
                    Some(worker) => check(book, request, worker.pool),
                    None => Ok(()),
                }
            }
            Move::Ended(request, entry, end) => {
                let wire = self.wires.get_mut(entry.connection.0);
                let (came, sent) = wire.map_or_else(
                    || (Wire::default().came(), 0),
                    |wire| {
                        let was = (wire.came(), wire.sent);
                        wire.next();
                        if wire.is_draining() {
                            seen.note(Seen::BodyComesBehind);
                        }
                        if let Some(connection) = book.connections.get_mut(entry.connection.0) {
                            connection.draining_since = wire.is_draining().then_some(book.now);
                        }
                        was
                    },
                );
                if let Fact::SendComplete {
                    site,
                    bytes,
                    received,
                    ..
                }
                | Fact::SrvdFrmCache {
                    site,
                    bytes,
                    received,
                    ..
                } = fact
                {
                    let sent = (*bytes, sent);
                    self.answered(request, entry.wanted, *site, sent, (*received, came))?;
                }
                if let Fact::SrvdFrmCache { entry: kept, .. } = fact {
                    self.same_site(request, entry.wanted, *kept)?;
                }
                if let End::Dropped(ReasonPhrase::ConnectionDropped) = end {
                    self.late.insert(request, (entry.wanted, came));
                }
                ended(book, request, entry.wanted, entry.pool, end)
            }
            Move::None => Ok(()),
        }
    }

    /// C4, N6: an answer is counted, as what was on the wire, for the site that was asked.
    fn answered(
        &mut self,
        request: RequestId,
        wanted: Wanted,
        site: SiteId,
        (told_sent, sent): (u64, u64),
        (told_received, received): (u64, Came),
    ) -> Verdict {
        if !wanted.is_of(site) {
            let what = format!("{request:?} is counted for {site:?}, and is {wanted:?}");
            return broken("N6", what);
        }
        if told_sent != sent || !received.allows(told_received) {
            let what = format!(
                "{request:?} had {received:?} bytes, and {told_received} are counted; its answer {sent}, and \
                 {told_sent} are"
            );
            return broken("C4", what);
        }
        let tally = self.tallies.entry(site).or_default();
        tally.answered += 1;
        tally.sent += sent;
        tally.received += told_received;
        Ok(())
    }

    /// N6, K1: what comes from the cache was made for the same site, pool and URL.
    fn same_site(&self, request: RequestId, wanted: Wanted, entry: u64) -> Verdict {
        // It may have left before the last byte went.
        let Some(made_for) = self.entries.get(&entry).copied() else {
            return Ok(());
        };
        let is_known = made_for != Wanted::Unknown && wanted != Wanted::Unknown;
        if is_known && made_for != wanted {
            let what =
                format!("{request:?} is {wanted:?}, and got entry {entry}, which is {made_for:?}");
            return broken("N6", what);
        }
        Ok(())
    }

    /// A connection counts for the site of its first request.
    fn counted(&mut self, book: &mut Book, id: ConnectionId, site: SiteId) -> Verdict {
        self.tallies.entry(site).or_default().connections += 1;
        let Some(connection) = book.connections.get_mut(id.0) else {
            return Ok(());
        };
        connection.site = Some(site);
        if connection.times_of.is_none() {
            connection.times_of = Some(site);
            connection.limits = book.sites.of(site).map(|terms| terms.limits);
        }
        let request = connection.request;
        let wanted = request.map_or(Wanted::Unknown, |request| wanted_of(book, request));
        if wanted.is_of(site) {
            return Ok(());
        }
        let what = format!("{id:?} counts for {site:?}, and {request:?} is {wanted:?}");
        broken("N6", what)
    }

    /// Reads a request, and finds out where it belongs.
    fn parsed(&mut self, book: &mut Book, request: RequestId, seen: &mut Sometimes) {
        let Some(entry) = book.requests.get_mut(request.0) else {
            return;
        };
        let Some(connection) = book.connections.get_mut(entry.connection.0) else {
            return;
        };
        let head = self.wires.get(entry.connection.0);
        let head = head.and_then(|wire| read(wire.head()));
        entry.wanted = match head {
            Some((host, path)) if self.urls.is_readable() => {
                let found = self.urls.find(connection.port, host, path);
                if found.has_come {
                    seen.note(Seen::ApplicationCame);
                }
                if found.has_gone {
                    seen.note(Seen::ApplicationGone);
                }
                found.wanted
            }
            Some(_) | None => Wanted::Unknown,
        };
        match entry.wanted {
            Wanted::To(site, ..) => {
                if self.urls.first() != Some(site) {
                    seen.note(Seen::OtherSiteAsked);
                }
                if connection.site.is_some_and(|counted| counted != site) {
                    seen.note(Seen::ConnectionOfOtherSite);
                }
                connection.times_of = Some(site);
                connection.limits = book.sites.of(site).map(|terms| terms.limits);
            }
            Wanted::Unknown => {
                connection.is_unsure = book.sites.only().is_none();
                // It may have been routed, and have the times of now, or not.
                let terms = connection.times_of.and_then(|site| book.sites.of(site));
                if terms.map(|terms| terms.limits) != connection.limits {
                    connection.limits = None;
                }
            }
            Wanted::Nowhere => seen.note(Seen::NoSiteAsked),
        }
    }

    /// K2: the driver has carried out an input; of a URL that it has removed no response is kept.
    pub(super) fn settled(&mut self) -> Verdict {
        for gone in self.urls.take_removed() {
            let mut kept = self.entries.iter();
            if let Some((id, _)) = kept.find(|(_, made_for)| **made_for == gone) {
                let what = format!("entry {id} is kept, and its URL has gone: {gone:?}");
                return broken("K2", what);
            }
        }
        Ok(())
    }

    /// N6: everything has come to rest.
    pub(super) fn at_rest(&self) -> Verdict {
        self.urls.at_rest()
    }

    /// M1: what PerfMon's counters said of each site is what was seen of it on the wires.
    pub(super) fn counters(&self, told: &Told) -> Verdict {
        for site in self.tallies.keys().chain(told.0.keys()) {
            let of =
                |tallies: &BTreeMap<SiteId, Tally>| tallies.get(site).copied().unwrap_or_default();
            let (seen, told) = (of(&self.tallies), of(&told.0));
            if seen != told {
                let what = format!("{site:?} had {seen:?}, and PerfMon says {told:?}");
                return broken("M1", what);
            }
        }
        Ok(())
    }
}

/// What PerfMon's counters said of each site, over all times that W3SVC ran.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<SiteId, Tally>);

impl Told {
    /// They have begun anew, or it is the end.
    pub(super) fn add(&mut self, sites: &BTreeMap<SiteId, WebService>) {
        for (site, counters) in sites {
            let tally = self.0.entry(*site).or_default();
            tally.answered += counters.total_method_requests;
            tally.sent += counters.total_bytes_sent;
            tally.received += counters.total_bytes_received;
            tally.connections += counters.total_connection_attempts;
        }
    }
}

fn wanted_of(book: &Book, request: RequestId) -> Wanted {
    let entry = book.requests.get(request.0);
    entry.map(|entry| entry.wanted).unwrap_or_default()
}

fn check(book: &Book, request: RequestId, pool: PoolIndex) -> Verdict {
    let wanted = wanted_of(book, request);
    if wanted.takes(pool) {
        return Ok(());
    }
    let name = &book.pool(pool).name;
    let what = format!("{request:?} goes to {name}, and is {wanted:?}");
    broken("N6", what)
}

/// What is refused is refused by the pool that was meant, or for want of one.
fn ended(
    book: &Book,
    request: RequestId,
    wanted: Wanted,
    pool: Option<PoolIndex>,
    end: End,
) -> Verdict {
    if let Some(pool) = pool
        && !wanted.takes(pool)
    {
        let name = &book.pool(pool).name;
        let what = format!("{request:?} has ended in {name}, and is {wanted:?}");
        return broken("N6", what);
    }
    if let (Wanted::To(..), End::Refused(ReasonPhrase::NotFound | ReasonPhrase::Hostname)) =
        (wanted, end)
    {
        let what = format!("{request:?} was refused by {end:?}, and is {wanted:?}");
        return broken("N6", what);
    }
    Ok(())
}

/// The host and the path of a plain request.
fn read(head: &[u8]) -> Option<(&str, &str)> {
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let target = words.nth(1)?;
    let path = target.split('?').next()?;
    let is_plain = path.starts_with('/')
        && !path.contains(['%', '\\'])
        && !path.contains("//")
        && !path.contains("..")
        && words.next() == Some("HTTP/1.1");
    let host = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim())
    });
    is_plain.then_some((host?, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_requests_are_read() {
        let head = b"GET /a/b?c=/d HTTP/1.1\r\nHost: x.test\r\n\r\n";
        assert_eq!(read(head), Some(("x.test", "/a/b")));
        for other in ["/a/../b", "/%61", "*", "/a//b"] {
            let head = format!("GET {other} HTTP/1.1\r\nhost: x\r\n\r\n");
            assert_eq!(read(head.as_bytes()), None, "{other}");
        }
    }
}
