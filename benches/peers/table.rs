//! The numbers, their ratios, and what we want them to be.

use serde_json::{Value, json};

use crate::Arguments;
use crate::cpu;
use crate::demand::DemandStart;
use crate::memory::IdleConnections;
use crate::servers::{Contender, NginxStyle};
use crate::wrk::Round;

/// Processor time of a worker per request below which it cannot have served the request.
const WORKER_CPU_US_OF_A_HIT: f64 = 0.5;

/// What a contender is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A hop to another process, over a Unix socket with keep-alive.
    HopNginx,
    /// The same behind HAProxy.
    HopHaproxy,
    /// Through the driver, the pool's queue and a worker process.
    HopOurs,
    /// A hit in nginx's proxy cache.
    CacheNginx,
    /// A hit in Varnish.
    CacheVarnish,
    /// A hit in the driver's response cache.
    CacheOurs,
}

/// All rounds of one contender.
#[derive(Debug)]
pub(crate) struct Measurement {
    name: &'static str,
    role: Role,
    response_bytes: usize,
    /// Those that count.
    pub(crate) rounds: Vec<Round>,
}

impl Measurement {
    /// Nothing yet.
    pub(crate) fn of(contender: &Contender) -> Self {
        let Contender {
            name,
            role,
            ref answer,
            ..
        } = *contender;
        Self {
            name,
            role,
            response_bytes: answer.bytes,
            rounds: Vec::new(),
        }
    }

    fn median_of(&self, what: impl Fn(&Round) -> f64) -> f64 {
        median(&self.rounds.iter().map(what).collect::<Vec<_>>())
    }

    fn requests_per_second(&self) -> f64 {
        self.median_of(|round| round.requests_per_second)
    }

    fn cpu_us(&self) -> f64 {
        self.median_of(|round| round.cpu_us)
    }

    fn worker_cpu_us(&self) -> f64 {
        self.median_of(|round| round.worker_cpu_us)
    }

    fn errors(&self) -> u64 {
        self.rounds.iter().map(|round| round.errors).sum()
    }
}

/// One figure, what it should reach, and what it should one day reach.
#[derive(Debug)]
struct Verdict {
    what: &'static str,
    value: f64,
    goal: Bound,
    aim: f64,
}

/// On which side of it a figure is good.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Verdict {
    fn says(&self) -> &'static str {
        let reached = |bound: f64| match self.goal {
            Bound::AtMost(_) => self.value <= bound,
            Bound::AtLeast(_) => self.value >= bound,
        };
        let (Bound::AtMost(goal) | Bound::AtLeast(goal)) = self.goal;
        match (reached(self.aim), reached(goal)) {
            (true, _) => "aim",
            (false, true) => "goal",
            (false, false) => "missed",
        }
    }
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Results {
    measurements: Vec<Measurement>,
    /// A worker that had to be started.
    pub(crate) demand_start: Option<DemandStart>,
    /// Idle connections.
    pub(crate) memory: Option<IdleConnections>,
}

impl Results {
    /// The rounds; the rest is filled in as it is measured.
    pub(crate) fn new(measurements: Vec<Measurement>) -> Self {
        Self {
            measurements,
            demand_start: None,
            memory: None,
        }
    }

    /// Prints the table.
    pub(crate) fn print(&self, arguments: &Arguments) {
        println!(
            "\n{}; wrk {} thread(s), {} keep-alive connections, {} round(s) of {} s; medians",
            cpu::processor(),
            arguments.wrk_threads,
            arguments.connections,
            self.measurements.first().map_or(0, |m| m.rounds.len()),
            arguments.seconds,
        );
        println!(
            "\n{:<26} {:>9} {:>11} {:>7} {:>7}",
            "", "req/s", "CPU µs/req", "bytes", "errors"
        );
        for m in &self.measurements {
            let (rps, cpu) = (m.requests_per_second(), m.cpu_us());
            let (bytes, errors) = (m.response_bytes, m.errors());
            println!(
                "{:<26} {rps:>9.0} {cpu:>11.2} {bytes:>7} {errors:>7}",
                m.name
            );
        }
        self.print_remarks(arguments);
    }

    /// Prints how the figures stand to the goals.
    pub(crate) fn print_verdicts(&self) {
        println!("\n{:<58} {:>8} {:>8} {:>8}", "", "is", "goal", "aim");
        for verdict in self.verdicts() {
            let Verdict {
                what,
                value,
                goal,
                aim,
            } = &verdict;
            let goal = match goal {
                Bound::AtMost(goal) => format!("≤ {goal}"),
                Bound::AtLeast(goal) => format!("≥ {goal}"),
            };
            println!(
                "{what:<58} {value:>8.2} {goal:>8} {aim:>8}  {}",
                verdict.says()
            );
        }
    }

    fn print_remarks(&self, arguments: &Arguments) {
        let nginx = match arguments.nginx {
            NginxStyle::Tuned => "tuned: its log buffered, as iis-sim's; its files kept open",
            NginxStyle::Stock => "as Debian ships it: a write to the log for each request",
        };
        println!("nginx is {nginx}. HAProxy and Varnish log nothing.");
        if let Some(ours) = self.find(Role::HopOurs) {
            let worker = ours.worker_cpu_us();
            println!(
                "Of {}: {worker:.2} µs in w3wp, the rest in httpsys",
                ours.name
            );
        }
        if let Some(DemandStart {
            answer_us,
            spawn_us,
            times,
        }) = self.demand_start
        {
            println!(
                "Demand start: first byte after {answer_us:.0} µs; a trivial process's after \
                 {spawn_us:.0} µs ({times} of each)"
            );
        }
        if let Some(IdleConnections {
            count,
            nginx: Some(nginx),
            ..
        }) = self.memory
        {
            println!("An idle connection of nginx holds {nginx:.0} B ({count} held)");
        }
    }

    /// What iis-sim did wrong, whatever the numbers are.
    pub(crate) fn faults(&self) -> Option<String> {
        let ours = [Role::HopOurs, Role::CacheOurs].map(|role| self.find(role));
        if let Some(failed) = ours.into_iter().flatten().find(|m| m.errors() > 0) {
            return Some(format!("{}: {} errors", failed.name, failed.errors()));
        }
        let worker = self.find(Role::CacheOurs)?.worker_cpu_us();
        (worker > WORKER_CPU_US_OF_A_HIT)
            .then(|| format!("not a cache hit: the worker used {worker:.1} µs a request"))
    }

    fn find(&self, role: Role) -> Option<&Measurement> {
        self.measurements
            .iter()
            .find(|measurement| measurement.role == role)
    }

    fn ratio(&self, ours: Role, peer: Role, figure: fn(&Measurement) -> f64) -> Option<f64> {
        Some(figure(self.find(ours)?) / figure(self.find(peer)?))
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let cpu = Measurement::cpu_us;
        let rps = Measurement::requests_per_second;
        let most = Bound::AtMost;
        let (hop, cache) = (Role::HopOurs, Role::CacheOurs);
        let rows = [
            (
                "hop: CPU ÷ nginx → nginx",
                self.ratio(hop, Role::HopNginx, cpu),
                most(0.42),
                0.33,
            ),
            (
                "hop: CPU ÷ HAProxy → nginx",
                self.ratio(hop, Role::HopHaproxy, cpu),
                most(0.42),
                0.33,
            ),
            (
                "hop: requests/s ÷ nginx → nginx",
                self.ratio(hop, Role::HopNginx, rps),
                Bound::AtLeast(1.9),
                2.3,
            ),
            (
                "cache hit: CPU ÷ nginx proxy_cache",
                self.ratio(cache, Role::CacheNginx, cpu),
                most(0.60),
                0.48,
            ),
            (
                "cache hit: CPU ÷ Varnish",
                self.ratio(cache, Role::CacheVarnish, cpu),
                most(0.38),
                0.30,
            ),
            (
                "demand start: first byte ÷ process spawn to first byte",
                self.demand_start.map(|d| d.answer_us / d.spawn_us),
                most(5.0),
                3.0,
            ),
            (
                "memory per idle connection, KiB",
                self.memory
                    .and_then(|memory| memory.ours)
                    .map(|bytes| bytes / 1024.0),
                most(4.0),
                1.0,
            ),
        ];
        rows.into_iter()
            .filter_map(|(what, value, goal, aim)| {
                value.map(|value| Verdict {
                    what,
                    value,
                    goal,
                    aim,
                })
            })
            .collect()
    }

    /// All of it, for machines.
    pub(crate) fn json(&self, arguments: &Arguments) -> Value {
        let rows = self.measurements.iter().map(|m| {
            json!({
                "name": m.name,
                "requests_per_second": m.requests_per_second(),
                "cpu_us_per_request": m.cpu_us(),
                "worker_cpu_us_per_request": m.worker_cpu_us(),
                "response_bytes": m.response_bytes,
                "errors": m.errors(),
                "rounds": m.rounds.iter().map(|round| json!({
                    "requests_per_second": round.requests_per_second,
                    "cpu_us_per_request": round.cpu_us,
                })).collect::<Vec<_>>(),
            })
        });
        let ratios = self.verdicts().into_iter().map(|verdict| {
            let (Bound::AtMost(goal) | Bound::AtLeast(goal)) = verdict.goal;
            json!({
                "what": verdict.what, "value": verdict.value, "goal": goal, "aim": verdict.aim,
                "says": verdict.says(),
            })
        });
        json!({
            "schema": "iis-sim/peers/1",
            "processor": cpu::processor(),
            "connections": arguments.connections,
            "seconds": arguments.seconds,
            "wrk_threads": arguments.wrk_threads,
            "nginx": format!("{:?}", arguments.nginx).to_lowercase(),
            "rows": rows.collect::<Vec<_>>(),
            "ratios": ratios.collect::<Vec<_>>(),
            "demand_start_us": self.demand_start.map(|demand| json!({
                "first_byte": demand.answer_us, "process_spawn": demand.spawn_us,
                "times": demand.times,
            })),
            "idle_connection_bytes": self.memory.map(|memory| json!({
                "iis_sim": memory.ours, "nginx": memory.nginx, "held": memory.count,
            })),
        })
    }
}

/// The middle value; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    match (
        values.len() % 2,
        values.get(upper),
        values.get(upper.saturating_sub(1)),
    ) {
        (0, Some(upper), Some(lower)) => f64::midpoint(*upper, *lower),
        (_, Some(middle), _) => *middle,
        (_, None, _) => 0.0,
    }
}
