//! What the caches lost: entries that went with a worker or with the queue, and the work redone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sim_httpsys::api::ProcessId;
use sim_httpsys::clockwork::Instant;
use sim_httpsys::etw::{self, CacheRemoval, Traced};
use sim_worker::facts::{self, CacheLayer};

use super::steady::{STEADY_FOR_MS, STEP_MS, WARM};

/// A hit ratio is not worth the name below so many look-ups.
const LOOKUPS_MIN: usize = 10;

/// What one layer lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerLoss {
    /// Entries that were alive when the operation began: put in, not taken out and not too old; `None` if nobody
    /// kept a trace.
    pub entries_before: Option<u64>,
    /// Of these, the ones that no new request finds any more: their worker gets no more requests, as it is told to
    /// stop, given up or gone, or their application has gone or restarted; or they were flushed from the kernel's
    /// cache. What was made after the operation and went later is no loss of the operation's.
    pub entries_lost: Option<u64>,
    /// Their bytes.
    pub bytes_lost: Option<u64>,
    /// Hits by look-ups before the operation; `None` if there were fewer than ten look-ups. What is told in
    /// comparison with it is not known either then.
    pub hit_ratio_before: Option<f64>,
    /// The lowest hit ratio afterwards, over stretches of at least 100 ms and 10 look-ups.
    pub hit_ratio_min: Option<f64>,
    /// From the operation to the first moment after which the hit ratio was at least 0.95 of the
    /// baseline for two seconds, and for ten look-ups at least.
    pub refill_ms: Option<f64>,
    /// Misses until then (or to the end) beyond those of the baseline: the work redone.
    pub excess_misses: Option<f64>,
}

/// The look-ups of a layer, in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lookups {
    /// Milliseconds since the operation, and whether it was a hit.
    events: Vec<(f64, bool)>,
    baseline: Option<f64>,
}

impl Lookups {
    /// From look-ups in any order; the baseline lies between `baseline_from` and the operation.
    pub fn new(mut events: Vec<(f64, bool)>, baseline_from_ms: f64) -> Self {
        events.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut lookups = Self {
            events,
            baseline: None,
        };
        let before = lookups.between(baseline_from_ms, 0.0);
        lookups.baseline = ratio(before).filter(|_| before.len() >= LOOKUPS_MIN);
        lookups
    }

    fn between(&self, from: f64, to: f64) -> &[(f64, bool)] {
        let first = self.events.partition_point(|(at, _)| *at < from);
        let last = self.events.partition_point(|(at, _)| *at < to);
        &self.events[first..last.max(first)]
    }

    /// Whether the hit ratio in a window is what it was. A layer that hardly anybody used is warm.
    pub fn is_warm(&self, from: f64, to: f64) -> bool {
        let Some(baseline) = self.baseline else {
            return true;
        };
        let window = self.between(from, to);
        window.len() < LOOKUPS_MIN || ratio(window).is_some_and(|r| r >= WARM * baseline)
    }

    fn min_ratio(&self) -> Option<f64> {
        let since = self.between(0.0, f64::INFINITY);
        let mut lowest: Option<f64> = None;
        let mut rest = since;
        while let Some((from, _)) = rest.first() {
            let by_time = rest.partition_point(|(at, _)| *at < from + STEP_MS);
            let length = by_time.max(LOOKUPS_MIN);
            if length > rest.len() {
                break;
            }
            let (window, later) = rest.split_at(length);
            lowest = ratio(window)
                .map(|r| lowest.map_or(r, |l| l.min(r)))
                .or(lowest);
            rest = later;
        }
        lowest
    }

    fn refill_ms(&self, end_ms: f64) -> Option<f64> {
        let baseline = self.baseline?;
        let mut from = 0.0;
        while from + STEADY_FOR_MS <= end_ms + STEP_MS {
            // A cache that is asked seldom is judged by its next look-ups, however long they take.
            let first = self.events.partition_point(|(at, _)| *at < from);
            let rest = &self.events[first..];
            let by_time = rest.partition_point(|(at, _)| *at < from + STEADY_FOR_MS);
            let window = rest.get(..by_time.max(LOOKUPS_MIN))?;
            if ratio(window)? >= WARM * baseline {
                return Some(from);
            }
            // No window differs from this one before a look-up has left it.
            let leaves = (rest.first()?.0 / STEP_MS).ceil() * STEP_MS;
            from = leaves.max(from + STEP_MS);
        }
        None
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a report")]
    fn excess_misses(&self, until: f64) -> Option<f64> {
        let window = self.between(0.0, until);
        let hits = window.iter().filter(|(_, hit)| *hit).count() as f64;
        Some((self.baseline? * window.len() as f64 - hits).max(0.0))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a report")]
fn ratio(window: &[(f64, bool)]) -> Option<f64> {
    let hits = window.iter().filter(|(_, hit)| *hit).count();
    (!window.is_empty()).then(|| hits as f64 / window.len() as f64)
}

/// Times that the folding needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// When the operation began.
    pub operation: Instant,
    /// From when on the server was warm.
    pub baseline_from: Instant,
    /// When the run ended.
    pub end: Instant,
}

impl Times {
    fn baseline_from_ms(self) -> f64 {
        self.baseline_from.millis_since(self.operation)
    }

    fn finish(self, lookups: &Lookups, loss: &mut LayerLoss) {
        let end = self.end.millis_since(self.operation);
        loss.hit_ratio_before = lookups.baseline;
        loss.hit_ratio_min = lookups.min_ratio();
        loss.refill_ms = lookups.refill_ms(end);
        // The refill's window of two seconds begins at the moment; its misses belong to it.
        loss.excess_misses =
            lookups.excess_misses(loss.refill_ms.map_or(f64::INFINITY, |refill| {
                if refill > 0.0 {
                    refill + STEADY_FOR_MS
                } else {
                    0.0
                }
            }));
    }
}

/// What the kernel's response cache lost.
pub fn kernel(facts: &[Traced<etw::Fact>], times: Times) -> (LayerLoss, Lookups) {
    let mut loss = LayerLoss::default();
    let mut alive: BTreeMap<u64, Option<Instant>> = BTreeMap::new();
    let (mut before, mut gone, mut bytes_lost) = (None, 0_u64, 0_u64);
    let mut events = Vec::new();
    for traced in facts {
        let is_after = traced.at >= times.operation;
        let ms = traced.at.millis_since(times.operation);
        if is_after && before.is_none() {
            before = Some(still_fresh(&mut alive, times.operation, |expires| *expires));
        }
        if let etw::Fact::CacheInsert { entry, expires, .. } = &traced.fact {
            if !is_after {
                alive.insert(*entry, *expires);
            }
        } else if let etw::Fact::CacheRemove { entry, bytes, why } = &traced.fact {
            let was_fresh = alive.remove(entry).is_some_and(|e| is_fresh(e, traced.at));
            if was_fresh && is_after && traced.at <= times.end && is_loss(*why) {
                gone += 1;
                bytes_lost += bytes;
            }
        } else if let etw::Fact::CacheMiss { .. } = &traced.fact {
            events.push((ms, false));
        } else if let etw::Fact::SrvdFrmCache { .. } = &traced.fact {
            events.push((ms, true));
        }
    }
    let before = before.unwrap_or_else(|| still_fresh(&mut alive, times.operation, |e| *e));
    loss.entries_before = Some(before);
    loss.entries_lost = Some(gone);
    loss.bytes_lost = Some(bytes_lost);
    let lookups = Lookups::new(events, times.baseline_from_ms());
    times.finish(&lookups, &mut loss);
    (loss, lookups)
}

/// Whether an entry can still be used: one that is too old is in the cache until somebody looks for it, and nothing
/// is lost with it.
fn is_fresh(expires: Option<Instant>, now: Instant) -> bool {
    expires.is_none_or(|expires| expires > now)
}

/// Forgets the entries that are too old, and counts the others.
fn still_fresh<E>(
    alive: &mut BTreeMap<u64, E>,
    now: Instant,
    expires: impl Fn(&E) -> Option<Instant>,
) -> u64 {
    alive.retain(|_, entry| is_fresh(expires(entry), now));
    alive.len() as u64
}

/// Whether an entry left because of what somebody did to the server, and not by its own policy.
fn is_loss(why: CacheRemoval) -> bool {
    match why {
        CacheRemoval::Flushed | CacheRemoval::OwnerGone | CacheRemoval::QueueClosed => true,
        CacheRemoval::Expired
        | CacheRemoval::Scavenged
        | CacheRemoval::Replaced
        | CacheRemoval::Evicted => false,
    }
}

/// What a layer of the workers' caches lost. `served_until` says from when on each worker gets no more requests: that
/// it lives on to finish those that it has, for as long as they take, is of no use to the next one.
pub fn worker_layer(
    workers: &BTreeMap<ProcessId, Vec<Traced<facts::Fact>>>,
    served_until: &BTreeMap<ProcessId, Instant>,
    wanted: CacheLayer,
    times: Times,
) -> (LayerLoss, Lookups) {
    let mut of_layer = Account::default();
    let mut events = Vec::new();
    for (process, facts) in workers {
        let until = served_until.get(process).copied();
        of_layer.add(&Account::of_worker(facts, until, wanted, times));
        events.extend(facts.iter().filter_map(|traced| {
            let facts::Fact::CacheLookup { layer, hit } = traced.fact else {
                return None;
            };
            (layer == wanted).then(|| (traced.at.millis_since(times.operation), hit))
        }));
    }
    let mut loss = LayerLoss {
        entries_before: Some(of_layer.before),
        entries_lost: Some(of_layer.lost),
        bytes_lost: Some(of_layer.bytes_lost),
        ..LayerLoss::default()
    };
    let lookups = Lookups::new(events, times.baseline_from_ms());
    times.finish(&lookups, &mut loss);
    (loss, lookups)
}

/// Entries of a layer: how many there were, and how many were lost.
#[derive(Default)]
struct Account {
    before: u64,
    lost: u64,
    bytes_lost: u64,
}

impl Account {
    fn of_worker(
        facts: &[Traced<facts::Fact>],
        until: Option<Instant>,
        wanted: CacheLayer,
        times: Times,
    ) -> Self {
        let mut account = Self::default();
        if until.is_some_and(|until| until < times.operation) {
            return account;
        }
        let mut alive: BTreeMap<u64, (u64, Option<Instant>)> = BTreeMap::new();
        let mut before = None;
        let serves = |traced: &&Traced<facts::Fact>| {
            traced.at <= times.end && until.is_none_or(|until| traced.at < until)
        };
        for traced in facts.iter().take_while(serves) {
            let is_after = traced.at >= times.operation;
            if is_after && before.is_none() {
                before = Some(still_fresh(&mut alive, times.operation, |(_, e)| *e));
            }
            if let facts::Fact::CacheInsert {
                layer,
                key,
                bytes,
                expires,
            } = traced.fact
                && layer == wanted
            {
                if is_after {
                    alive.remove(&key);
                } else {
                    alive.insert(key, (bytes, expires));
                }
            } else if let facts::Fact::CacheRemove { layer, key, .. } = traced.fact
                && layer == wanted
            {
                alive.remove(&key);
            } else if let facts::Fact::CacheLost { layer, key, .. } = traced.fact
                && layer == wanted
                && let Some((bytes, expires)) = alive.remove(&key)
                && is_after
                && is_fresh(expires, traced.at)
            {
                account.lost += 1;
                account.bytes_lost += bytes;
            }
        }
        let at_operation = || still_fresh(&mut alive, times.operation, |(_, e)| *e);
        account.before = before.unwrap_or_else(at_operation);
        if let Some(until) = until.filter(|until| *until <= times.end) {
            account.lost += still_fresh(&mut alive, until, |(_, expires)| *expires);
            account.bytes_lost += alive.values().map(|(bytes, _)| bytes).sum::<u64>();
        }
        account
    }

    fn add(&mut self, other: &Self) {
        self.before += other.before;
        self.lost += other.lost;
        self.bytes_lost += other.bytes_lost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::synthetic::{OPERATION, at};

    const TIMES: Times = Times {
        operation: OPERATION,
        baseline_from: Instant(95_000_000_000),
        end: Instant(110_000_000_000),
    };

    fn traced(ms: f64, fact: facts::Fact) -> Traced<facts::Fact> {
        Traced { at: at(ms), fact }
    }

    fn insert(ms: f64, key: u64) -> Traced<facts::Fact> {
        traced(
            ms,
            facts::Fact::CacheInsert {
                layer: CacheLayer::File,
                key,
                bytes: 100,
                expires: None,
            },
        )
    }

    #[test]
    fn entries_die_with_their_worker_and_only_with_it() {
        let removed = traced(
            -10.0,
            facts::Fact::CacheRemove {
                layer: CacheLayer::File,
                key: 2,
                bytes: 100,
            },
        );
        let old = vec![
            insert(-100.0, 1),
            insert(-90.0, 2),
            removed,
            insert(-5.0, 3),
            insert(5.0, 4),
        ];
        let other = vec![insert(-100.0, 1)];
        let workers = BTreeMap::from([(ProcessId(1), old), (ProcessId(2), other)]);
        let exits = BTreeMap::from([(ProcessId(1), at(300.0))]);
        let (loss, _) = worker_layer(&workers, &exits, CacheLayer::File, TIMES);
        assert_eq!(loss.entries_before, Some(3));
        assert_eq!((loss.entries_lost, loss.bytes_lost), (Some(2), Some(200)));
        let (output, _) = worker_layer(&workers, &exits, CacheLayer::Output, TIMES);
        assert_eq!(output.entries_lost, Some(0));
        assert_eq!(output.hit_ratio_before, None);
    }

    fn lost(ms: f64, key: u64) -> Traced<facts::Fact> {
        traced(
            ms,
            facts::Fact::CacheLost {
                layer: CacheLayer::File,
                key,
                bytes: 100,
            },
        )
    }

    #[test]
    fn entries_are_lost_when_no_new_request_gets_to_their_worker_however_long_it_lives() {
        let removed = traced(
            400.0,
            facts::Fact::CacheRemove {
                layer: CacheLayer::File,
                key: 1,
                bytes: 100,
            },
        );
        let old = vec![insert(-100.0, 1), insert(-90.0, 2), removed];
        let workers = BTreeMap::from([(ProcessId(1), old)]);
        let file = |until| {
            let until = BTreeMap::from([(ProcessId(1), until)]);
            worker_layer(&workers, &until, CacheLayer::File, TIMES).0
        };
        assert_eq!(file(at(300.0)).entries_lost, Some(2));
        assert_eq!(file(at(500.0)).entries_lost, Some(1), "one went by itself");
        let before = file(at(-1.0));
        assert_eq!(
            (before.entries_before, before.entries_lost),
            (Some(0), Some(0)),
            "it was out of service already"
        );
        assert_eq!(file(at(12_000.0)).entries_lost, Some(0), "not in this run");
    }

    #[test]
    fn what_goes_with_an_application_is_lost_although_the_worker_stays() {
        let facts = vec![
            insert(-100.0, 1),
            insert(-90.0, 2),
            insert(-80.0, 3),
            lost(-70.0, 3),
            insert(-60.0, 4),
            insert(5.0, 5),
            lost(10.0, 1),
            lost(10.0, 2),
            lost(10.0, 5),
            insert(20.0, 1),
        ];
        let workers = BTreeMap::from([(ProcessId(1), facts)]);
        let (loss, _) = worker_layer(&workers, &BTreeMap::new(), CacheLayer::File, TIMES);
        assert_eq!((loss.entries_before, loss.entries_lost), (Some(3), Some(2)));
        assert_eq!(loss.bytes_lost, Some(200));
    }

    #[test]
    fn a_cold_cache_costs_its_excess_misses_until_it_is_refilled() {
        let lookup = |step: i32| {
            let ms = f64::from(step) * 10.0 + 1.0;
            let cold = (0.0..1_000.0).contains(&ms);
            traced(
                ms,
                facts::Fact::CacheLookup {
                    layer: CacheLayer::File,
                    hit: !cold,
                },
            )
        };
        let workers = BTreeMap::from([(ProcessId(1), (-400..900).map(lookup).collect())]);
        let (loss, lookups) = worker_layer(&workers, &BTreeMap::new(), CacheLayer::File, TIMES);
        assert_eq!(
            (loss.hit_ratio_before, loss.hit_ratio_min),
            (Some(1.0), Some(0.0))
        );
        assert_eq!(loss.excess_misses, Some(100.0));
        let refill = loss.refill_ms.unwrap();
        assert!((900.0..=1_000.0).contains(&refill), "{refill}");
        assert!(!lookups.is_warm(0.0, 2_000.0));
    }

    #[test]
    fn a_cache_that_is_asked_once_a_minute_is_judged_by_its_next_look_ups() {
        let hits_from = |first: i32| {
            let lookup = |minute: i32| {
                (
                    f64::from(minute) * 60_000.0 + 1.0,
                    minute < 0 || minute >= first,
                )
            };
            let lookups = Lookups::new((-60..60).map(lookup).collect(), -3_600_000.0);
            lookups.refill_ms(3_600_000.0)
        };
        assert_eq!(hits_from(0), Some(0.0), "it has lost nothing");
        let cold = hits_from(7).unwrap();
        assert!((360_000.0..=360_100.0).contains(&cold), "{cold}");
        assert_eq!(hits_from(55), None, "five look-ups prove nothing");
    }

    #[test]
    fn a_baseline_of_fewer_than_ten_look_ups_tells_nothing() {
        let measured = |before: u32| {
            // Half of them hit before the operation, and none does afterwards.
            let before = (0..before).map(|n| (f64::from(n) - 500.0, n % 2 == 0));
            let after = (0..400).map(|n| (f64::from(n) * 10.0, false));
            let lookups = Lookups::new(before.chain(after).collect(), -1_000.0);
            let mut loss = LayerLoss::default();
            TIMES.finish(&lookups, &mut loss);
            (loss, lookups.is_warm(0.0, 2_000.0))
        };
        let (loss, is_warm) = measured(9);
        assert_eq!((loss.hit_ratio_before, loss.excess_misses), (None, None));
        assert_eq!((loss.refill_ms, loss.hit_ratio_min), (None, Some(0.0)));
        assert!(is_warm);
        let (loss, is_warm) = measured(10);
        assert_eq!(
            (loss.hit_ratio_before, loss.excess_misses),
            (Some(0.5), Some(200.0))
        );
        assert!(!is_warm);
    }

    #[test]
    fn an_entry_that_is_too_old_is_neither_alive_nor_lost() {
        let made = |ms, key, expires| {
            let fact = facts::Fact::CacheInsert {
                layer: CacheLayer::Application,
                key,
                bytes: 100,
                expires: Some(at(expires)),
            };
            traced(ms, fact)
        };
        // Too old at the operation; too old before the worker is out of service; good until after that.
        let facts = vec![
            made(-900.0, 1, 0.0),
            made(-800.0, 2, 200.0),
            made(-700.0, 3, 301.0),
        ];
        let loss = |facts: Vec<_>, until: &BTreeMap<_, _>| {
            let workers = BTreeMap::from([(ProcessId(1), facts)]);
            worker_layer(&workers, until, CacheLayer::Application, TIMES).0
        };
        let until = BTreeMap::from([(ProcessId(1), at(300.0))]);
        let recycled = loss(facts.clone(), &until);
        assert_eq!(
            (recycled.entries_before, recycled.entries_lost),
            (Some(2), Some(1))
        );
        assert_eq!(recycled.bytes_lost, Some(100));
        let went = |key| {
            let fact = facts::Fact::CacheLost {
                layer: CacheLayer::Application,
                key,
                bytes: 100,
            };
            traced(250.0, fact)
        };
        let facts = [facts, vec![went(1), went(2), went(3)]].concat();
        let unloaded = loss(facts, &BTreeMap::new());
        assert_eq!(
            (unloaded.entries_before, unloaded.entries_lost),
            (Some(2), Some(1))
        );
    }

    #[test]
    fn a_kernel_entry_that_expires_is_no_loss() {
        let remove = |entry, why| Traced {
            at: at(10.0),
            fact: etw::Fact::CacheRemove {
                entry,
                bytes: 7,
                why,
            },
        };
        let made = |entry| Traced {
            at: at(-10.0),
            fact: etw::Fact::CacheInsert {
                entry,
                queue: sim_httpsys::api::RequestQueueName("A".to_owned()),
                process: ProcessId(1),
                bytes: 7,
                expires: None,
            },
        };
        let with_age = |entry, ms| {
            let mut made = made(entry);
            if let etw::Fact::CacheInsert { expires, .. } = &mut made.fact {
                *expires = Some(at(ms));
            }
            made
        };
        let facts = [
            made(1),
            made(2),
            with_age(4, 0.0),
            with_age(5, 5.0),
            remove(1, CacheRemoval::Expired),
            remove(2, CacheRemoval::OwnerGone),
            remove(4, CacheRemoval::Flushed),
            remove(5, CacheRemoval::Flushed),
            Traced {
                at: at(20.0),
                ..made(3)
            },
            remove(3, CacheRemoval::Flushed),
        ];
        let (loss, _) = kernel(&facts, TIMES);
        assert_eq!((loss.entries_before, loss.entries_lost), (Some(3), Some(1)));
        assert_eq!(loss.bytes_lost, Some(7));
    }
}
