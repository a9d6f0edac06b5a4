//! The kernel response cache: whole responses that workers allowed the driver to give again.
//!
//! An entry is kept ready to be sent: head and small body lie in one allocation, in which the `Date`
//! is renewed at most once a second, so that a hit is the clone of a reference. Entries are keyed by
//! site, endpoint, host and raw URL with its query, and carry their queue and the process that made
//! them. Left out: several ranges in one request (they go to the worker).

use core::time::Duration;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;

use bytes::{Bytes, BytesMut};

use super::cache_entry::{CacheEntry, answer_from};
use super::exchange::{Answer, Answerer, Stage};
use super::framing::HeaderKind;
use super::known_heads::KnownHost;
use super::known_routes::Cached;
use super::request_queue::QueueIndex;
use super::response::INLINE_BODY_MAX;
use super::response_head::ResponseHead;
use super::routing::{Registration, Route, RouteBy};
use super::{HttpSys, Timer};
use crate::api::{
    CachePolicy, CallResult, ConnectionId, ProcessId, QueueState, Request, RequestQueueName,
    Response, UrlContext, Win32Error,
};
use crate::clockwork::Instant;
use crate::clockwork::mutants::{Mutant, mutated};
use crate::etw::{CacheRemoval, Fact};

/// Source: win32, kernel-mode cache: response headers of at most 1024 bytes.
const HEADERS_MAX: usize = 1024;

/// What the cache may do for a request.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state"
)]
pub(super) struct CacheUse {
    /// An entry may answer it.
    pub(super) serve: bool,
    /// The response to it may become an entry.
    store: bool,
    pub(super) range: bool,
    pub(super) conditional: bool,
}

impl CacheUse {
    /// Nothing: not a GET, or one with a body.
    pub(super) const NONE: Self = Self {
        serve: false,
        store: false,
        range: false,
        conditional: false,
    };

    /// Everything: a GET without a body, and without headers that forbid anything.
    ///
    /// Source: aspnetcore's tests of http.sys: `Authorization` bypasses the cache in both directions,
    /// `Cache-Control` and `Pragma` of a request change nothing; KB817445: no body, no
    /// `Translate: f`, and no range when an entry is made. Assumed: whether a precondition fails is the worker's
    /// business.
    pub(super) const ALL: Self = Self {
        serve: true,
        store: true,
        range: false,
        conditional: false,
    };

    /// What one more header leaves of it.
    pub(super) fn note(&mut self, kind: HeaderKind) {
        match kind {
            HeaderKind::Range => (self.store, self.range) = (false, true),
            HeaderKind::Expect => self.store = false,
            HeaderKind::Condition => self.conditional = true,
            HeaderKind::ForWorker => (self.serve, self.store) = (false, false),
            HeaderKind::Host
            | HeaderKind::Connection
            | HeaderKind::Activity
            | HeaderKind::ContentLength
            | HeaderKind::TransferEncoding
            | HeaderKind::Other => {}
        }
    }
}

/// All entries.
#[derive(Debug, Default)]
pub(super) struct ResponseCache {
    slots: Vec<Option<CacheEntry>>,
    free: Vec<usize>,
    by_key: HashMap<Box<[u8]>, usize, BuildHasherDefault<DefaultHasher>>,
    bytes: u64,
    inserted: u64,
    /// Where keys are put together.
    scratch: Vec<u8>,
}

impl ResponseCache {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn write_key(&mut self, port: u16, request: &Request) {
        let text = &request.text;
        self.scratch.clear();
        if !mutated(Mutant::CacheKeyWithoutSite) {
            self.scratch
                .extend_from_slice(&request.site.0.to_le_bytes());
            self.scratch.extend_from_slice(&port.to_le_bytes());
            let host = text.bytes(text.host);
            self.scratch.extend(host.iter().map(u8::to_ascii_lowercase));
            self.scratch.push(0);
        }
        if !mutated(Mutant::CacheKeyWithoutUrl) {
            self.scratch.extend_from_slice(text.bytes(text.raw_url));
        }
    }

    /// The entry that a request could be answered from.
    fn look_up(&mut self, port: u16, request: &Request) -> Cached {
        self.write_key(port, request);
        let found = self.by_key.get(self.scratch.as_slice());
        let entry = found.and_then(|&slot| Some((slot, self.slots.get(slot)?.as_ref()?)));
        match entry {
            Some((slot, entry)) => Cached::Entry { slot, id: entry.id },
            None => Cached::Nothing {
                inserted: self.inserted,
            },
        }
    }

    /// Whether what was looked up would be found again.
    fn is_still(&self, cached: Cached) -> bool {
        match cached {
            Cached::Nothing { inserted } => inserted == self.inserted,
            Cached::Entry { slot, id } => {
                let entry = self.slots.get(slot).and_then(Option::as_ref);
                entry.is_some_and(|entry| entry.id == id)
            }
        }
    }

    fn remove(&mut self, slot: usize) -> Option<CacheEntry> {
        let entry = self.slots.get_mut(slot)?.take()?;
        self.by_key.remove(&entry.key);
        self.free.push(slot);
        self.bytes -= entry.bytes();
        Some(entry)
    }

    fn insert(&mut self, entry: CacheEntry) {
        self.bytes += entry.bytes();
        let key = entry.key.clone();
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot] = Some(entry);
            slot
        } else {
            self.slots.push(Some(entry));
            self.slots.len() - 1
        };
        self.by_key.insert(key, slot);
    }

    pub(super) fn check_invariants(&self) {
        debug_assert_eq!(
            self.by_key.len() + self.free.len(),
            self.slots.len(),
            "every slot holds an entry or is free"
        );
        debug_assert!(
            self.bytes == 0 || !self.by_key.is_empty(),
            "an empty cache holds no bytes"
        );
    }
}

impl HttpSys {
    /// Answers a request from the cache. `false` if it has to go to its queue.
    ///
    /// `known` is the beginning of its head that is known: what the cache has for it is looked up once.
    pub(super) fn serve_from_cache(
        &mut self,
        id: ConnectionId,
        known: Option<KnownHost>,
        now: Instant,
    ) -> bool {
        if !self.parameters.uri_enable_cache {
            return false;
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return false;
        };
        let super::connection::ConnectionState::Busy(exchange) = &connection.state else {
            return false;
        };
        if !exchange.cache.serve {
            return false;
        }
        let (request, activity) = (exchange.request.id, exchange.request.activity);
        let owner = (exchange.queue, exchange.request.url_context);
        let site = exchange.request.site;
        let remembered = known.and_then(|host| self.known_routes.cached(host, site));
        let remembered = remembered.filter(|&cached| self.cache.is_still(cached));
        let cached = remembered.unwrap_or_else(|| {
            let port = self.endpoints.of(connection.endpoint).port;
            let cached = self.cache.look_up(port, &exchange.request);
            if let Some(host) = known {
                self.known_routes.keep_cached(host, site, cached);
            }
            cached
        });
        let found = match cached {
            Cached::Nothing { .. } => None,
            Cached::Entry { slot, .. } => Some(slot),
        };
        let Some(slot) = found.and_then(|slot| self.unexpired(slot, owner, now)) else {
            self.fact(Fact::CacheMiss { request, activity });
            return false;
        };
        let (second, date) = self.date.line(now);
        let Some(Some(entry)) = self.cache.slots.get_mut(slot) else {
            return false;
        };
        let Some(exchange) = self.connections.get_mut(id).and_then(|c| c.exchange()) else {
            return false;
        };
        entry.make_ready(second, date);
        let Some(hit) = answer_from(entry, exchange, date) else {
            return false;
        };
        entry.touched = now;
        let bytes = (hit.first.len() + hit.second.as_ref().map_or(0, Bytes::len)) as u64;
        exchange.stage = Stage::Sending(Answerer::Cache(entry.id));
        exchange.answer = Some(Answer {
            status: hit.status,
            log: entry.log,
            bytes,
            body: hit.body,
            declared: None,
            has_body: hit.body > 0,
            close: !exchange.keep_alive,
        });
        if let Some(queue) = self.queues.get_mut(owner.0) {
            queue.cache_hits += 1;
        }
        self.send(id, hit.first);
        if let Some(body) = hit.second {
            self.send(id, body);
        }
        self.arm_min_send_rate(id, bytes, now);
        true
    }

    /// The slot, unless its entry's time is over, or another queue or another URL has the request now.
    fn unexpired(
        &mut self,
        slot: usize,
        owner: (QueueIndex, UrlContext),
        now: Instant,
    ) -> Option<usize> {
        let entry = self.cache.slots.get(slot)?.as_ref()?;
        let is_over = entry.expires.is_some_and(|expires| expires <= now);
        let is_owned = entry.queue == owner.0
            && (entry.context == owner.1 || mutated(Mutant::CacheKeyWithoutSite));
        if is_over && !mutated(Mutant::ServeExpired) {
            self.remove_slot(slot, CacheRemoval::Expired);
            None
        } else if is_owned {
            Some(slot)
        } else {
            self.remove_slot(slot, CacheRemoval::Flushed);
            None
        }
    }

    /// Keeps a response, if everybody allows it.
    ///
    /// Source: win32, kernel-mode cache; KB817445; aspnetcore's tests of http.sys: one single send, a
    /// `Content-Type`, any status but 206, no time to live below one second.
    pub(super) fn store_in_cache(
        &mut self,
        id: ConnectionId,
        process: ProcessId,
        response: &Response,
        head: &ResponseHead,
        now: Instant,
    ) {
        let expires = match response.cache_policy {
            CachePolicy::Nocache | CachePolicy::TimeToLive(0) => return,
            CachePolicy::UserInvalidates => None,
            CachePolicy::TimeToLive(seconds) => Some(now + Duration::from_secs(seconds.into())),
        };
        let length = response.body.len() as u64;
        let is_cacheable = self.parameters.uri_enable_cache
            && (200..600).contains(&response.status)
            && response.status != 206
            && head.has_content_type
            && !head.chunked
            && !head.close
            && !response.disconnect
            && head
                .content_length
                .is_none_or(|declared| declared == length)
            && response.headers.len() <= HEADERS_MAX
            && length <= u64::from(self.parameters.uri_max_uri_bytes);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let super::connection::ConnectionState::Busy(exchange) = &connection.state else {
            return;
        };
        // The answer to a condition is no answer to those who set none.
        let answers_condition = exchange.cache.conditional && response.status != 200;
        if !is_cacheable || !exchange.cache.store || answers_condition {
            return;
        }
        let queue = self.queues.get(exchange.queue);
        if queue.is_none_or(|queue| queue.properties.state != QueueState::Active) {
            return;
        }
        let endpoint = self.endpoints.of(connection.endpoint);
        let port = endpoint.port;
        let text = &exchange.request.text;
        let route = self.routing.route(RouteBy {
            secure: endpoint.secure,
            port,
            local: Some(exchange.request.ends.local_ip()),
            host: text.str(text.host),
            path: text.str(text.path),
        });
        // Assumed: what comes for a URL that has gone meanwhile is not kept, for the same reason for which what
        // was kept has gone with it. No document says so.
        let is_routed_so = |to: Registration| {
            let queue = self.groups.get(&to.group).map(|group| group.queue);
            (queue, to.context) == (Some(exchange.queue), exchange.request.url_context)
        };
        let is_led_there = matches!(route, Route::To(to) if is_routed_so(to));
        if !is_led_there && !mutated(Mutant::KeepForUrlThatWent) {
            return;
        }
        self.cache.write_key(port, &exchange.request);
        let path = path_of(text.str(text.raw_url));
        let decoded_path = text.str(text.path).to_ascii_lowercase();
        let mut entry = CacheEntry {
            id: self.cache.inserted + 1,
            key: self.cache.scratch.as_slice().into(),
            decoded_path: Some(decoded_path).filter(|decoded| *decoded != path),
            path,
            queue: exchange.queue,
            context: exchange.request.url_context,
            port,
            process,
            status: response.status,
            log: response.log,
            lines: Bytes::new(),
            etag: None,
            last_modified: None,
            ready: Bytes::new(),
            head_len: 0,
            second: u64::MAX,
            large_body: None,
            expires,
            touched: now,
        };
        let mut lines = BytesMut::with_capacity(response.headers.len() + 40);
        head.append_cacheable_lines(&response.headers, &mut lines);
        entry.lines = lines.freeze();
        let copy = |span: &core::ops::Range<usize>| {
            Bytes::copy_from_slice(&response.headers[span.clone()])
        };
        entry.etag = head.etag.as_ref().map(copy);
        entry.last_modified = head.last_modified.as_ref().map(copy);
        // Copied: a slice would keep the worker's whole frame alive.
        let body = Bytes::copy_from_slice(&response.body);
        if body.len() > INLINE_BODY_MAX {
            entry.large_body = Some(body);
        } else {
            entry.ready = body;
        }
        let (second, date) = self.date.line(now);
        entry.make_ready(second, date);
        self.insert_entry(entry, now);
    }

    fn insert_entry(&mut self, mut entry: CacheEntry, now: Instant) {
        if let Some(&slot) = self.cache.by_key.get(&entry.key) {
            self.remove_slot(slot, CacheRemoval::Replaced);
        }
        // Source: win32, kernel-mode cache: a full cache takes no new entries.
        let is_full = self.cache.bytes + entry.bytes() > self.parameters.response_cache_bytes_max;
        if is_full && !mutated(Mutant::CacheOverLimit) {
            return;
        }
        let Some(queue) = self.queues.name(entry.queue) else {
            return;
        };
        self.cache.inserted += 1;
        entry.id = self.cache.inserted;
        let (process, bytes, expires) = (entry.process, entry.bytes(), entry.expires);
        self.fact(Fact::CacheInsert {
            entry: entry.id,
            queue,
            process,
            bytes,
            expires,
        });
        self.cache.insert(entry);
        if self.deadlines.get(Timer::Scavenger).is_none() {
            self.deadlines
                .set(Timer::Scavenger, now + self.scavenger_period());
        }
    }

    fn remove_slot(&mut self, slot: usize, why: CacheRemoval) {
        if let Some(entry) = self.cache.remove(slot) {
            self.fact(Fact::CacheRemove {
                entry: entry.id,
                bytes: entry.bytes(),
                why,
            });
        }
    }

    /// Removes the entries that `which` picks.
    pub(super) fn remove_cached(&mut self, why: CacheRemoval, which: impl Fn(&CacheEntry) -> bool) {
        for slot in 0..self.cache.slots.len() {
            if self.cache.slots[slot].as_ref().is_some_and(&which) {
                self.remove_slot(slot, why);
            }
        }
    }

    /// A URL leads to nothing any more, or to somebody else: what was made under it goes.
    ///
    /// Assumed: at once, and for every host name at that port; no document says so. Otherwise pages of an
    /// application that is gone would be served until their time is over.
    pub(super) fn flush_url(&mut self, port: u16, context: UrlContext) {
        if !mutated(Mutant::NoFlushAtUrlRemoval) {
            self.remove_cached(CacheRemoval::Flushed, |entry| {
                (entry.port, entry.context) == (port, context)
            });
        }
    }

    fn scavenger_period(&self) -> Duration {
        Duration::from_secs(self.parameters.uri_scavenger_period.max(1).into())
    }

    /// Source: KB820129, `UriScavengerPeriod`: every period, what nobody asked for during it goes.
    pub(super) fn scavenge(&mut self, now: Instant) {
        let period = self.scavenger_period();
        self.remove_cached(CacheRemoval::Expired, |e| {
            e.expires.is_some_and(|at| at <= now) && !mutated(Mutant::ServeExpired)
        });
        self.remove_cached(CacheRemoval::Scavenged, |e| e.touched + period <= now);
        if self.cache.len() > 0 {
            self.deadlines.set(Timer::Scavenger, now + period);
        }
    }

    /// Source: `HttpFlushResponseCache`: the scope is the queue; recursive takes what lies below too.
    pub(super) fn flush_response_cache(
        &mut self,
        queue: &RequestQueueName,
        url: Option<&str>,
        recursive: bool,
    ) -> Result<CallResult, Win32Error> {
        let queue = self.queues.find(queue).ok_or(Win32Error::FileNotFound)?;
        let path = url.map(path_of);
        self.remove_cached(CacheRemoval::Flushed, |entry| {
            let is_hit = path
                .as_deref()
                .is_none_or(|path| entry.lies_under(path, recursive));
            entry.queue == queue && is_hit
        });
        Ok(CallResult::Done)
    }
}

/// The path of a URL, absolute or not: lower case, without the query.
fn path_of(url: &str) -> String {
    // A `://` further on belongs to the query.
    let path = match url.split_once("://").filter(|_| !url.starts_with('/')) {
        Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => url,
    };
    path.split('?').next().unwrap_or(path).to_ascii_lowercase()
}
