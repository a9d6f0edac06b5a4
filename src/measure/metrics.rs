//! The figures of one trial, and what each of them means.
//!
//! The names are those of the schema `iis-sim/compare/1`. Times are milliseconds since the operation
//! began (its command was accepted). What nobody recorded is `null`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sim_httpsys::clockwork::{Instant, UtcClock};
use sim_httpsys::etw;
use sim_worker::facts::CacheLayer;

use super::balancer::{Balancer, Stamped};
use super::cache::{self, LayerLoss, Lookups, Times};
use super::connections::{Connections, Tls};
use super::downtime::{Bounded, Downtime, FailureWindow, StreamDowntime};
use super::events::{Recycles, events, recycles};
use super::latencies::{Latencies, latencies};
use super::ledger::Ledger;
use super::outcomes::Outcomes;
use super::read::Observation;
use super::sessions::{Sessions, sessions};
use super::statistics::{median, quantile};
use super::steady::time_to_steady_state_ms;
use super::targets::{ready, without_target};
use super::workers::{WorkerLife, replaced_ms, served_until, worker_lives};
use crate::load::book::AttemptRecord;
use crate::load::outcome::Outcome;
use crate::load::plan::Stream;

/// What must be known of a trial besides its records.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// When the operation's command was accepted.
    pub operation: Instant,
    /// The pool that was operated on; `None` if nothing was done.
    pub pool: Option<String>,
    /// From when on the server was warm: the baseline lies between this and the operation.
    pub baseline_from: Instant,
    /// The most memory that all workers together held since the operation began, if somebody watched.
    pub workers_peak_bytes: Option<u64>,
    /// The clock on the wall, if it is known.
    pub clock: Option<UtcClock>,
}

/// What an operation cost in one trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The longest gap between two successes of a probe stream, less the interval of the probes;
    /// of the two streams the worse one; `None` if all probes failed before the operation too.
    pub downtime_max_gap_ms: Option<Bounded>,
    /// Failed probes times their interval, of the stream that fared worse.
    pub downtime_total_ms: Option<f64>,
    /// Seconds in which at least one probe failed.
    pub disruption_seconds: Option<u64>,
    /// To the end of the first success after the first failure, of the stream that fared worse; `None` if
    /// no probe failed.
    pub time_to_first_success_ms: Option<f64>,
    /// To the first moment after which for two seconds nothing failed, the 95th percentile of
    /// latency was within 1.25 times the baseline's, and no cache was colder than 0.95 of it.
    pub time_to_steady_state_ms: Option<f64>,
    /// Attempts of the load that were made or still in flight after the operation began, to the end
    /// of the run.
    pub attempts: u64,
    /// How these ended.
    pub outcomes: Outcomes,
    /// Of `attempts`, those that failed.
    pub failed: u64,
    /// Work may have been done and lost: `reset_inflight` and `truncated`.
    pub dropped: u64,
    /// Answered "no", nothing was begun: `http_503` and `refused`.
    pub rejected: u64,
    /// Successes that waited more than 100 ms in the request queue.
    pub deferred: Option<u64>,
    /// Σ max(0, latency − the baseline's median for the same URL) of all successes, in seconds; `None`
    /// if nothing was answered in the baseline.
    pub excess_delay_s: Option<f64>,
    /// The share of users' time with service since the operation: between two events of a user
    /// (30 s at most) counts the earlier one. Source: Hauer et al., NSDI 2020.
    pub user_uptime: Option<f64>,
    /// Connections of load and probes.
    pub connections: Connections,
    /// TLS handshakes.
    pub tls: Tls,
    /// The caches, layer by layer.
    pub cache: Caches,
    /// Sessions in the workers' memory.
    pub sessions: Sessions,
    /// Latency of the load's successes, from the planned time.
    pub latency_ms: Latencies,
    /// Workers that lived at or after the operation's start.
    pub workers: Option<Vec<WorkerLife>>,
    /// Until the last worker that the operation ended was gone, and in each pool of these the first new
    /// one, if there is one, was ready; `None` if it ended none, or if one that was killed has none after it. One that
    /// WAS gives up counts as gone. Workers that crash, ask to be recycled or are idle are not ended by it, nor are
    /// those of other pools than that which was operated on if WAS kills or gives them up.
    pub workers_replaced_ms: Option<f64>,
    /// How long a queue had no worker to deliver requests to, from the operation's begin to the end of the
    /// load, in all: of the queues that had one when it began the worst. One that starts is none until it is ready. Requests wait meanwhile, or are
    /// refused: see `downtime_total_ms` for what that cost. `None` without the driver's facts, or if no
    /// queue had a worker.
    #[serde(default)]
    pub no_delivery_target_ms: Option<f64>,
    /// Whether a queue had none at the end of the load either: then it was at least so long.
    #[serde(default)]
    pub no_delivery_target_lasts: bool,
    /// Memory.
    pub memory: Memory,
    /// How often each event was logged from the operation's begin to the end of the load, by its id.
    pub events: Option<BTreeMap<String, u64>>,
    /// Recycles from the operation's begin to the end of the load.
    pub recycles: Option<Recycles>,
    /// The reconciliation of client and server; `None` without the server's facts.
    pub ledger: Option<Ledger>,
    /// What the balancer of a farm saw; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancer: Option<Balancer>,
    /// What each stream of probes saw.
    pub probes: ProbeDetail,
    /// Every run of failed probes.
    pub downtime_windows: Vec<FailureWindow>,
    /// How the load went before the operation.
    pub before: Before,
    /// How punctual the generator was.
    pub lateness: Option<Lateness>,
}

/// The cache layers. One without a trace has only `null`s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Caches {
    /// The response cache of HTTP.sys.
    pub kernel: LayerLoss,
    /// Contents of static files.
    pub file: LayerLoss,
    /// Finished responses in the worker.
    pub output: LayerLoss,
    /// What applications keep.
    pub application: LayerLoss,
    /// Compiled pages.
    pub compiled: LayerLoss,
}

/// Memory figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The most that all workers together held since the operation began, what was there then included. Live it is
    /// the most that was seen, by looking every 5 ms, or up to every 50 ms where a look takes long.
    pub workers_peak_bytes: Option<u64>,
}

/// What each stream of probes saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeDetail {
    /// On new connections.
    pub new: Option<StreamDowntime>,
    /// On kept-alive connections.
    pub reused: Option<StreamDowntime>,
    /// How the probes of both streams ended.
    pub outcomes: Outcomes,
    /// How those ended that ended before the operation.
    pub before: Outcomes,
}

impl ProbeDetail {
    /// Whether probes were tried before the operation and none succeeded: then they say nothing of it.
    pub fn never_succeeded(&self) -> bool {
        self.before.total() > 0 && self.before.ok + self.before.slow == 0
    }
}

/// How the load went in the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Attempts of the load.
    pub attempts: u64,
    /// How they ended.
    pub outcomes: Outcomes,
}

/// How punctual the generator was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lateness {
    /// 99.9 % of all attempts were begun within so many microseconds of their plan.
    pub p999_us: f64,
    /// The worst.
    pub max_us: f64,
    /// The bound that was set.
    pub bound_us: f64,
    /// Whether it was kept, and every attempt made. If not, the trial must not be used silently.
    pub valid: bool,
}

impl Trial {
    fn times(&self, observation: &Observation) -> Times {
        let book = &observation.book;
        let summary = book.summary.as_ref();
        Times {
            operation: self.operation,
            baseline_from: self.baseline_from,
            end: summary.map_or_else(|| last_moment(&book.attempts), |s| s.end),
        }
    }
}

impl Metrics {
    /// Works out the figures of a trial.
    pub fn of(observation: &Observation, trial: &Trial) -> Self {
        let book = &observation.book;
        let operation = trial.operation;
        let times = trial.times(observation);
        let end = times.end;
        let load = || book.attempts.iter().filter(|a| a.stream == Stream::Load);
        let since = || load().filter(|a| a.finished >= operation);
        let before =
            || load().filter(|a| a.finished < operation && a.planned >= trial.baseline_from);
        let (caches, lookups) = caches(observation, times);
        let lookups: Vec<&Lookups> = lookups.iter().collect();
        let downtime = Downtime::of(&book.attempts, operation, book.header.probe_interval);
        let first_success = downtime.time_to_first_success_ms();
        let steady = time_to_steady_state_ms(
            &book.attempts,
            &lookups,
            operation,
            trial.baseline_from,
            first_success.unwrap_or_default(),
        );
        let outcomes = Outcomes::of(since());
        let probes = book.attempts.iter().filter(|a| a.stream != Stream::Load);
        let workers = worker_lives(observation, times);
        let probes = ProbeDetail {
            before: Outcomes::of(probes.clone().filter(|a| a.finished < operation)),
            outcomes: Outcomes::of(probes.filter(|a| a.finished >= operation)),
            new: downtime.new.clone().map(without_sign),
            reused: downtime.reused.clone().map(without_sign),
        };
        let tells = !probes.never_succeeded();
        let without_target = observation
            .httpsys
            .as_deref()
            .and_then(|facts| without_target(facts, &ready(observation), operation, end));
        let has_probes = downtime.new.is_some() || downtime.reused.is_some();
        Self {
            downtime_max_gap_ms: downtime.max_gap_ms().filter(|_| tells),
            downtime_total_ms: downtime
                .total_ms()
                .filter(|_| tells)
                .map(|total| total + 0.0),
            disruption_seconds: (has_probes && tells).then_some(downtime.disruption_seconds),
            time_to_first_success_ms: first_success.filter(|_| tells),
            time_to_steady_state_ms: steady,
            attempts: outcomes.total(),
            outcomes,
            failed: outcomes.failed(),
            dropped: outcomes.reset_inflight + outcomes.truncated,
            rejected: outcomes.http_503 + outcomes.refused,
            deferred: deferred(observation, operation),
            excess_delay_s: excess_delay_s(before(), since()),
            user_uptime: user_uptime(since(), end),
            connections: Connections::of(observation, operation),
            tls: Tls::of(&book.connections, operation),
            cache: caches,
            sessions: sessions(observation, operation),
            latency_ms: latencies(before(), since(), operation, steady),
            workers_replaced_ms: workers
                .as_deref()
                .and_then(|lives| replaced_ms(observation, lives, trial.pool.as_deref())),
            workers,
            no_delivery_target_ms: without_target.map(|without| without.ms),
            no_delivery_target_lasts: without_target.is_some_and(|without| without.lasts),
            memory: Memory {
                workers_peak_bytes: trial.workers_peak_bytes,
            },
            events: events(observation, operation..times.end),
            recycles: recycles(observation, operation..times.end, trial.clock),
            ledger: Ledger::reconcile(observation),
            balancer: None,
            probes,
            downtime_windows: downtime.windows,
            before: Before {
                attempts: before().count() as u64,
                outcomes: Outcomes::of(before()),
            },
            lateness: lateness(observation, trial.baseline_from),
        }
    }

    /// The figures of a trial against a farm: `observation` is the book, and the server that was
    /// operated on without its driver; `servers` are the facts of all drivers, its own first.
    pub fn of_farm(
        observation: &Observation,
        trial: &Trial,
        log: &[Stamped],
        servers: &[Vec<etw::Traced<etw::Fact>>],
    ) -> Self {
        let book = &observation.book;
        let operation = trial.operation;
        let mut of_server = Self::of(observation, trial);
        if let Some(own) = servers.first() {
            let times = trial.times(observation);
            of_server.cache.kernel = cache::kernel(own, times).0;
            let without = without_target(own, &ready(observation), operation, times.end);
            of_server.no_delivery_target_ms = without.map(|without| without.ms);
            of_server.no_delivery_target_lasts = without.is_some_and(|without| without.lasts);
        }
        Self {
            ledger: Some(Ledger::reconcile_farm(book, log, servers)),
            balancer: Some(Balancer::of(log, &book.attempts, servers.len(), operation)),
            ..of_server
        }
    }
}

/// A sum of no outages is negative zero: the one to which every number can be added. Nobody wants to read it.
fn without_sign(mut stream: StreamDowntime) -> StreamDowntime {
    stream.total_ms += 0.0;
    stream
}

fn last_moment(attempts: &[AttemptRecord]) -> Instant {
    attempts
        .iter()
        .map(|a| a.finished)
        .max()
        .unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a report")]
/// Of the attempts whose numbers are used: those planned since the baseline began.
fn lateness(observation: &Observation, baseline_from: Instant) -> Option<Lateness> {
    let bound_us = observation.book.header.late_bound as f64 / 1e3;
    let used = || {
        observation
            .book
            .attempts
            .iter()
            .filter(|a| a.planned >= baseline_from)
    };
    let mut late: Vec<f64> = used()
        .map(|attempt| attempt.lateness() as f64 / 1e3)
        .collect();
    late.sort_by(f64::total_cmp);
    let p999_us = quantile(&late, 0.999)?;
    let all_sent = used().all(|attempt| attempt.outcome != Outcome::NotSent);
    Some(Lateness {
        p999_us,
        max_us: late.last().copied()?,
        bound_us,
        valid: all_sent && p999_us <= bound_us,
    })
}

fn caches(observation: &Observation, times: Times) -> (Caches, Vec<Lookups>) {
    let mut caches = Caches::default();
    let mut lookups = Vec::new();
    if let Some(facts) = &observation.httpsys {
        let (loss, of_layer) = cache::kernel(facts, times);
        caches.kernel = loss;
        lookups.push(of_layer);
    }
    let Some(workers) = &observation.workers else {
        return (caches, lookups);
    };
    let served_until = served_until(observation);
    let layers = [
        (CacheLayer::File, &mut caches.file),
        (CacheLayer::Output, &mut caches.output),
        (CacheLayer::Application, &mut caches.application),
        (CacheLayer::Compiled, &mut caches.compiled),
    ];
    for (layer, loss) in layers {
        let (of_layer, found) = cache::worker_layer(workers, &served_until, layer, times);
        *loss = of_layer;
        lookups.push(found);
    }
    (caches, lookups)
}

fn deferred(observation: &Observation, operation: Instant) -> Option<u64> {
    const LONG: u64 = 100_000_000;
    let successes: BTreeSet<u64> = observation
        .book
        .attempts
        .iter()
        .filter(|a| a.stream == Stream::Load && a.outcome.is_success() && a.finished >= operation)
        .map(|a| a.id)
        .collect();
    let facts = observation.httpsys.as_ref()?.iter();
    let waited_long = facts.filter_map(|traced| {
        let etw::Fact::Deliver {
            activity, waited, ..
        } = &traced.fact
        else {
            return None;
        };
        (*waited > LONG).then_some(activity.0)
    });
    Some(waited_long.filter(|id| successes.contains(id)).count() as u64)
}

fn excess_delay_s<'a>(
    before: impl Iterator<Item = &'a AttemptRecord>,
    since: impl Iterator<Item = &'a AttemptRecord>,
) -> Option<f64> {
    let mut by_url: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut all = Vec::new();
    for attempt in before.filter(|a| a.outcome.is_success()) {
        by_url
            .entry(&attempt.url)
            .or_default()
            .push(attempt.latency_ms());
        all.push(attempt.latency_ms());
    }
    let overall = median(&all)?;
    let usual: BTreeMap<&str, f64> = by_url
        .into_iter()
        .filter_map(|(url, all)| Some((url, median(&all)?)))
        .collect();
    let excess = since.filter(|a| a.outcome.is_success()).map(|attempt| {
        let usual = usual.get(attempt.url.as_str()).copied().unwrap_or(overall);
        (attempt.latency_ms() - usual).max(0.0)
    });
    Some(excess.sum::<f64>() / 1e3 + 0.0)
}

#[expect(clippy::cast_precision_loss, reason = "a share of nanoseconds")]
fn user_uptime<'a>(since: impl Iterator<Item = &'a AttemptRecord>, end: Instant) -> Option<f64> {
    const CUT_OFF: u64 = 30_000_000_000;
    let mut users: BTreeMap<u32, Vec<(Instant, bool)>> = BTreeMap::new();
    for attempt in since.filter(|a| a.outcome.is_verdict()) {
        let event = (attempt.finished, attempt.outcome.is_success());
        users.entry(attempt.user).or_default().push(event);
    }
    let (mut up, mut total) = (0_u64, 0_u64);
    for events in users.values_mut() {
        events.sort_by_key(|(at, _)| *at);
        let next = events.iter().skip(1).map(|(at, _)| *at).chain([end]);
        for ((at, well), next) in events.iter().zip(next) {
            let span = next.0.saturating_sub(at.0).min(CUT_OFF);
            total += span;
            up += if *well { span } else { 0 };
        }
    }
    (total > 0).then(|| up as f64 / total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::synthetic::{OPERATION, at, book_with_outage};

    const TRIAL: Trial = Trial {
        operation: OPERATION,
        pool: None,
        baseline_from: Instant(95_000_000_000),
        workers_peak_bytes: None,
        clock: None,
    };

    fn metrics(outage_ms: u64, outcome: Outcome) -> Metrics {
        let book = book_with_outage(outage_ms, outcome);
        Metrics::of(
            &Observation {
                book,
                ..Observation::default()
            },
            &TRIAL,
        )
    }

    #[test]
    fn the_names_are_those_of_the_schema() {
        let value = serde_json::to_value(metrics(50, Outcome::Http503)).unwrap();
        for name in [
            "downtime_max_gap_ms",
            "downtime_total_ms",
            "disruption_seconds",
            "time_to_first_success_ms",
            "time_to_steady_state_ms",
            "attempts",
            "outcomes",
            "connections",
            "tls",
            "cache",
            "sessions",
            "latency_ms",
            "workers",
            "no_delivery_target_ms",
            "memory",
            "ledger",
        ] {
            assert!(value.get(name).is_some(), "{name}");
        }
        assert_eq!(value["outcomes"]["http_503"], 5);
        assert!(
            value["cache"]["kernel"]["entries_lost"].is_null(),
            "nobody kept a trace"
        );
        assert!(value["latency_ms"]["before"]["p50"].is_number());
    }

    #[test]
    fn every_attempt_is_counted_once() {
        let metrics = metrics(500, Outcome::Refused);
        assert_eq!(metrics.attempts, 1_200);
        assert_eq!(metrics.outcomes.total(), 1_200);
        assert_eq!(
            (metrics.failed, metrics.rejected, metrics.dropped),
            (50, 50, 0)
        );
        assert_eq!(metrics.before.attempts, 500);
        assert!(metrics.user_uptime.unwrap() < 1.0);
    }

    #[test]
    fn an_attempt_that_was_in_flight_when_the_operation_began_counts() {
        let mut book = book_with_outage(0, Outcome::Ok);
        let early = book
            .attempts
            .iter_mut()
            .rfind(|a| a.stream == Stream::Load && a.planned < OPERATION);
        let early = early.unwrap();
        early.finished = at(50.0);
        early.outcome = Outcome::ResetInflight;
        let metrics = Metrics::of(
            &Observation {
                book,
                ..Observation::default()
            },
            &TRIAL,
        );
        assert_eq!(
            (metrics.outcomes.reset_inflight, metrics.attempts),
            (1, 1_201)
        );
    }

    #[test]
    fn nothing_happened_costs_nothing() {
        let metrics = metrics(0, Outcome::Ok);
        assert_eq!((metrics.failed, metrics.excess_delay_s), (0, Some(0.0)));
        let written = serde_json::to_string(&metrics).unwrap();
        assert!(!written.contains(":-0.0"), "{written}");
        assert_eq!(
            (metrics.time_to_first_success_ms, metrics.user_uptime),
            (None, Some(1.0))
        );
        assert_eq!(metrics.time_to_steady_state_ms, Some(0.0));
    }
}
