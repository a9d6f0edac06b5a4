//! In-process session state: what is lost with the worker.
//!
//! ```text
//!   acquire(write) ─► lock is free ─► locked ─► release ─► free
//!                  └► locked by another: the request polls every 500 ms
//! ```
//!
//! Left out: `StateServer` and `SQLServer` modes, cookieless ids.

use crate::facts::SessionId;
use std::collections::BTreeMap;
use std::time::Duration;

use sim_httpsys::api::{ProcessId, RequestId, UrlContext};
use sim_httpsys::clockwork::Instant;

use crate::application::splitmix64;

/// Source: .NET Framework reference source, `SessionStateModule`: a waiter polls every 500 ms.
pub(crate) const POLL: Duration = Duration::from_millis(500);
/// Source: `aspnet:RequestQueueLimitPerSession`: 50 since .NET 4.6.3 (before: unlimited).
pub(crate) const WAITERS_MAX: u32 = 50;
/// The cookie.
pub(crate) const COOKIE: &str = "ASP.NET_SessionId";

/// A session's number in this worker.
pub(crate) type SessionNumber = u64;

/// One client's state.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) visits: u64,
    /// What the application keeps in it.
    data: Vec<u8>,
    pub(crate) application: UrlContext,
    /// Its application as it was when it began: a domain that is set apart has another number.
    origin: UrlContext,
    lock: Option<RequestId>,
    waiters: u32,
}

/// How a request found its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// It brought no id: a session began.
    New,
    /// Its state is here.
    Here,
    /// It brought an id for which there is no state here.
    Lost,
}

impl Lookup {
    /// The value of `X-Sim-Session`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Here => "found",
            Self::Lost => "lost",
        }
    }
}

/// The sessions of a worker, of all its applications.
#[derive(Debug)]
pub(crate) struct SessionState {
    process: ProcessId,
    begun: u64,
    by_id: BTreeMap<UrlContext, BTreeMap<SessionId, SessionNumber>>,
    sessions: BTreeMap<SessionNumber, Session>,
    bytes: u64,
}

impl SessionState {
    pub(crate) fn new(process: ProcessId) -> Self {
        Self {
            process,
            begun: 0,
            by_id: BTreeMap::new(),
            sessions: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// What applications keep in all of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number and the id of a session that there is.
    pub(crate) fn find(
        &self,
        application: UrlContext,
        id: &str,
    ) -> Option<(SessionNumber, SessionId)> {
        let (id, number) = self.by_id.get(&application)?.get_key_value(id)?;
        Some((*number, SessionId::clone(id)))
    }

    /// Begins a session, under an id of the client's or a new one: its number and its id.
    pub(crate) fn begin(
        &mut self,
        (application, origin): (UrlContext, UrlContext),
        id: Option<&str>,
        request: RequestId,
        now: Instant,
    ) -> (SessionNumber, SessionId) {
        self.begun += 1;
        let number = self.begun;
        let id: SessionId = id.map_or_else(|| self.new_id(request, now).into(), SessionId::from);
        self.by_id
            .entry(application)
            .or_default()
            .insert(SessionId::clone(&id), number);
        let session = Session {
            id: SessionId::clone(&id),
            visits: 0,
            data: Vec::new(),
            application,
            origin,
            lock: None,
            waiters: 0,
        };
        self.sessions.insert(number, session);
        (number, id)
    }

    /// Tries to lock a session for a request (`exclusive`), or to look at it.
    pub(crate) fn acquire(
        &mut self,
        number: SessionNumber,
        request: RequestId,
        exclusive: bool,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(&number) else {
            return true;
        };
        if session.lock.is_some() {
            return false;
        }
        if exclusive {
            session.lock = Some(request);
        }
        true
    }

    /// Counts one more request that waits for the lock; `false` if there are too many.
    pub(crate) fn wait(&mut self, number: SessionNumber) -> bool {
        let Some(session) = self.sessions.get_mut(&number) else {
            return true;
        };
        let room = session.waiters < WAITERS_MAX;
        session.waiters += u32::from(room);
        room
    }

    /// A request waits no longer.
    pub(crate) fn wait_no_more(&mut self, number: SessionNumber) {
        if let Some(session) = self.sessions.get_mut(&number) {
            session.waiters = session.waiters.saturating_sub(1);
        }
    }

    /// Gives a lock back.
    pub(crate) fn release(&mut self, number: SessionNumber, request: RequestId) {
        if let Some(session) = self.sessions.get_mut(&number)
            && session.lock == Some(request)
        {
            session.lock = None;
        }
    }

    /// The state behind a number.
    pub(crate) fn get_mut(&mut self, number: SessionNumber) -> Option<&mut Session> {
        self.sessions.get_mut(&number)
    }

    /// A request that has the session was served: its visits, and at least so many bytes are kept in it from now on.
    pub(crate) fn visit(&mut self, number: SessionNumber, bytes: usize) -> Option<&Session> {
        let session = self.sessions.get_mut(&number)?;
        session.visits += 1;
        if session.data.len() < bytes {
            self.bytes += (bytes - session.data.len()) as u64;
            session.data.resize(bytes, 0x5A);
        }
        Some(session)
    }

    /// Ends a session that timed out, unless a request has it: its application and its id, if it ended.
    pub(crate) fn expire(&mut self, number: SessionNumber) -> Option<(UrlContext, SessionId)> {
        let session = self.sessions.get(&number)?;
        if session.lock.is_some() || session.waiters > 0 {
            return None;
        }
        let session = self.sessions.remove(&number)?;
        self.bytes -= session.data.len() as u64;
        if let Some(ids) = self.by_id.get_mut(&session.application) {
            ids.remove(&session.id);
        }
        Some((session.origin, session.id))
    }

    /// The sessions of an application are under another number now: its new domain finds none.
    pub(crate) fn rename(&mut self, from: UrlContext, to: UrlContext) {
        let Some(ids) = self.by_id.remove(&from) else {
            return;
        };
        for number in ids.values() {
            if let Some(session) = self.sessions.get_mut(number) {
                session.application = to;
            }
        }
        self.by_id.insert(to, ids);
    }

    /// Ends all sessions of an application: of which it was, and their ids.
    pub(crate) fn end_all_of(&mut self, application: UrlContext) -> Vec<(UrlContext, SessionId)> {
        let numbers = self
            .by_id
            .remove(&application)
            .unwrap_or_default()
            .into_values();
        let ended = numbers.filter_map(|number| self.sessions.remove(&number));
        let bytes = &mut self.bytes;
        ended
            .map(|session| {
                *bytes -= session.data.len() as u64;
                (session.origin, session.id)
            })
            .collect()
    }

    /// Ends all sessions: their applications and ids.
    pub(crate) fn end_all(&mut self) -> Vec<(UrlContext, SessionId)> {
        self.by_id.clear();
        self.bytes = 0;
        std::mem::take(&mut self.sessions)
            .into_values()
            .map(|session| (session.origin, session.id))
            .collect()
    }

    /// A new id: 120 bits as 24 characters of `[a-z0-5]`.
    ///
    /// Source: .NET reference source, `SessionId`: 15 bytes of randomness, 24 characters. Ours come
    /// from the process, the count, the request and the time, so that a run can be repeated; they
    /// are not secret, which a simulator's sessions need not be.
    fn new_id(&self, request: RequestId, now: Instant) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012345";
        let seed = splitmix64(u64::from(self.process.0) << 32 ^ self.begun);
        let high = splitmix64(seed ^ request.0);
        let low = splitmix64(high ^ now.0);
        let bits = u128::from(high) << 64 | u128::from(low);
        let character = |i: u32| char::from(ALPHABET[(bits >> (5 * i) & 31) as usize]);
        (0..24).map(character).collect()
    }
}

/// Whether a cookie's value can be a session id.
pub(crate) fn is_id(value: &[u8]) -> bool {
    value.len() == 24 && value.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'5'))
}
