//! K1–K4: what comes from a cache is in it, and leaves it when it has to.

use std::collections::BTreeMap;

use sim_httpsys::api::{CachePolicy, Call, ControlCall, ProcessId, QueueState};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{CacheRemoval, Fact};
use sim_worker::facts::{self, CacheLayer};

use super::book::{Book, Move, Place, PoolIndex};
use super::sometimes::{Seen, Sometimes};
use super::{Verdict, broken};

/// An entry of the response cache.
#[derive(Debug)]
struct Entry {
    pool: PoolIndex,
    process: ProcessId,
    bytes: u64,
    expires: Option<Instant>,
}

/// The response cache, and those of the workers.
#[derive(Debug, Default)]
pub(super) struct Caches {
    entries: BTreeMap<u64, Entry>,
    bytes: u64,
    bytes_max: u64,
    flush_owned: bool,
    inserted: u64,
    removed: u64,
    /// How long the response may be kept that this input brings.
    life: Option<CachePolicy>,
    /// What this input has to empty.
    emptied: Option<PoolIndex>,
    gone: Option<ProcessId>,
    /// Entries of each worker's caches.
    own: BTreeMap<ProcessId, [i64; 4]>,
}

impl Caches {
    pub(super) fn new(bytes_max: u64, flush_owned: bool) -> Self {
        Self {
            bytes_max,
            flush_owned,
            ..Self::default()
        }
    }

    /// A call has reached the driver.
    pub(super) fn called(&mut self, book: &Book, call: &Call) {
        match call {
            Call::SendResponse { response, .. } => self.life = Some(response.cache_policy),
            Call::Control { call, .. } => match call {
                ControlCall::SetRequestQueueProperties { queue, properties }
                    if properties.state != QueueState::Active =>
                {
                    self.emptied = book.pool_of(queue);
                }
                ControlCall::CloseRequestQueue { queue }
                | ControlCall::FlushResponseCache {
                    queue, url: None, ..
                } => {
                    self.emptied = book.pool_of(queue);
                }
                _other => {}
            },
            _other => {}
        }
    }

    /// A process has let go of the driver.
    pub(super) fn gone(&mut self, process: ProcessId) {
        self.gone = Some(process);
    }

    /// A fact of the driver.
    pub(super) fn httpsys(
        &mut self,
        book: &Book,
        fact: &Fact,
        step: &Move,
        seen: &mut Sometimes,
    ) -> Verdict {
        match fact {
            Fact::CacheInsert {
                entry,
                queue,
                process,
                bytes,
                ..
            } => {
                let Some(pool) = book.pool_of(queue) else {
                    return broken(
                        "K1",
                        format!("entry {entry} belongs to {queue}, which is no pool"),
                    );
                };
                let expires = match self.life {
                    Some(CachePolicy::TimeToLive(seconds)) => {
                        Some(book.now + std::time::Duration::from_secs(seconds.into()))
                    }
                    Some(CachePolicy::UserInvalidates | CachePolicy::Nocache) | None => None,
                };
                let (process, bytes) = (*process, *bytes);
                let fresh = Entry {
                    pool,
                    process,
                    bytes,
                    expires,
                };
                if self.entries.insert(*entry, fresh).is_some() {
                    return broken("K3", format!("entry {entry} was inserted twice"));
                }
                self.inserted += 1;
                self.bytes += bytes;
                if self.bytes > self.bytes_max {
                    let (is, most) = (self.bytes, self.bytes_max);
                    return broken(
                        "K3",
                        format!("the response cache holds {is} bytes, and may {most}"),
                    );
                }
            }
            Fact::CacheRemove { entry, bytes, why } => {
                let Some(gone) = self.entries.remove(entry) else {
                    return broken("K3", format!("entry {entry} left twice, or never came"));
                };
                self.removed += 1;
                self.bytes -= gone.bytes;
                let early = *why == CacheRemoval::Expired
                    && gone.expires.is_none_or(|expires| expires > book.now);
                if gone.bytes != *bytes || early {
                    let what = format!("entry {entry} left with {bytes} bytes, {why:?}: {gone:?}");
                    return broken("K3", what);
                }
            }
            Fact::SrvdFrmCache { request, entry, .. } => {
                return self.hit(book, *request, *entry, step, seen);
            }
            _other => {}
        }
        Ok(())
    }

    fn hit(
        &self,
        book: &Book,
        request: sim_httpsys::api::RequestId,
        id: u64,
        step: &Move,
        seen: &mut Sometimes,
    ) -> Verdict {
        if let Move::Ended(_, entry, _) = step
            && entry.place != Place::Parsed
        {
            let what = format!("{request:?} came from the cache, and is {:?}", entry.place);
            return broken("K1", what);
        }
        // Stated when the last byte has gone: the entry may have left in between.
        if let Some(entry) = self.entries.get(&id)
            && book.workers_of(entry.pool).next().is_none()
        {
            seen.note(Seen::KernelHitWithoutWorker);
        }
        if id == 0 || id > self.inserted {
            return broken(
                "K1",
                format!("{request:?} came from entry {id}, which never was"),
            );
        }
        Ok(())
    }

    /// The driver begins to answer from the cache: the entry must be there and good.
    pub(super) fn settled(&mut self, book: &Book) -> Verdict {
        self.life = None;
        if let Some(pool) = self.emptied.take()
            && let Some((id, _)) = self.entries.iter().find(|(_, entry)| entry.pool == pool)
        {
            let name = &book.pool(pool).name;
            return broken(
                "K2",
                format!("entry {id} of {name} is left after all were flushed"),
            );
        }
        if let Some(process) = self.gone.take()
            && self.flush_owned
            && let Some((id, _)) = self
                .entries
                .iter()
                .find(|(_, entry)| entry.process == process)
        {
            return broken(
                "K2",
                format!("entry {id} is left, and its {process:?} has gone"),
            );
        }
        Ok(())
    }

    /// K3: the numbers, and the driver's own.
    pub(super) fn scan(&self, entries: u64, bytes: u64) -> Verdict {
        let booked = self.entries.len() as u64;
        if self.inserted - self.removed != booked || booked != entries || self.bytes != bytes {
            let what = format!(
                "{} entries came, {} left, {booked} with {} bytes are booked, and the driver has {entries} \
                 with {bytes}",
                self.inserted, self.removed, self.bytes
            );
            return broken("K3", what);
        }
        Ok(())
    }

    /// K4: a worker's own caches begin empty, and nothing comes out that was not put in.
    pub(super) fn own(&mut self, process: ProcessId, fact: &facts::Fact) -> Verdict {
        let index = |layer: &CacheLayer| match layer {
            CacheLayer::File => 0,
            CacheLayer::Output => 1,
            CacheLayer::Application => 2,
            CacheLayer::Compiled => 3,
        };
        match fact {
            facts::Fact::CacheInsert { layer, .. } => {
                self.own.entry(process).or_default()[index(layer)] += 1;
            }
            facts::Fact::CacheRemove { layer, .. } => {
                let held = &mut self.own.entry(process).or_default()[index(layer)];
                *held -= 1;
                if *held < 0 {
                    return broken(
                        "K4",
                        format!("{process:?} lost more from {layer:?} than it had"),
                    );
                }
            }
            facts::Fact::CacheLookup { layer, hit: true } => {
                let held = self.own.get(&process).map_or(0, |held| held[index(layer)]);
                if held == 0 {
                    return broken(
                        "K4",
                        format!("{process:?} found something in {layer:?}, which is empty"),
                    );
                }
            }
            _other => {}
        }
        Ok(())
    }

    /// A worker is gone, and its caches.
    pub(super) fn forget(&mut self, process: ProcessId) {
        self.own.remove(&process);
    }
}
