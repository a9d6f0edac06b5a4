//! Servers, a line before them and random customers: the engine at its smallest.
//!
//! ```text
//!   arrivals ──► line ──► servers ──► done          two events a customer: it arrives, it is done
//!                  └──► refused, if nobody else may wait
//! ```
//!
//! [`theory`](super::theory) knows what such a station must show, so this is how the event queue and
//! the random numbers are checked, and what the engine's speed is measured on. The line is behind a
//! trait: `tests/theory.rs` puts the request queue of HTTP.sys there, everything else being equal.

use core::time::Duration;
use std::collections::VecDeque;

use sim_httpsys::clockwork::Instant;

use super::event_queue::EventQueue;
use super::random::{Random, times};

/// A line and the servers behind it.
pub trait WaitingLine {
    /// A customer arrives.
    fn arrive(&mut self, now: Instant) -> Offered;

    /// A service is over; says whose service begins, if anybody waits.
    fn done(&mut self, service: u32, now: Instant) -> Option<Served>;
}

/// What became of a customer that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// A server takes it.
    Served(Served),
    /// It waits.
    Waits,
    /// It is sent away.
    Refused,
}

/// A service that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The line's number for the service; given back when it is over.
    pub service: u32,
    /// When the customer arrived.
    pub arrived: Instant,
}

/// The simplest line: so many servers, so many places to wait.
#[derive(Clone, Debug)]
pub struct Line {
    idle: u32,
    places: Option<u32>,
    waiting: VecDeque<Instant>,
}

impl Line {
    /// A line before idle servers; without a number of places everybody may wait.
    pub fn new(servers: u32, places: Option<u32>) -> Self {
        Self {
            idle: servers,
            places,
            waiting: VecDeque::with_capacity(places.unwrap_or(1_024) as usize),
        }
    }
}

impl WaitingLine for Line {
    #[inline]
    fn arrive(&mut self, now: Instant) -> Offered {
        if self.idle > 0 {
            self.idle -= 1;
            Offered::Served(Served {
                service: 0,
                arrived: now,
            })
        } else if self
            .places
            .is_some_and(|places| self.waiting.len() >= places as usize)
        {
            Offered::Refused
        } else {
            self.waiting.push_back(now);
            Offered::Waits
        }
    }

    #[inline]
    fn done(&mut self, service: u32, _now: Instant) -> Option<Served> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.idle += 1;
        }
        next.map(|arrived| Served { service, arrived })
    }
}

/// How long services take, as a multiple of their mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ServiceTimes {
    /// Exponential (M).
    Exponential,
    /// All equally long (D).
    Equal,
    /// From nothing to twice the mean, each as likely.
    Uniform,
    /// Many short ones and few long ones: exponential around a short mean with probability `short`,
    /// around a long mean otherwise, both kinds making up half of the work.
    ShortAndLong {
        /// How probable a short one is.
        short: f64,
    },
}

impl ServiceTimes {
    /// Variance by squared mean.
    pub fn variation_squared(self) -> f64 {
        match self {
            Self::Exponential => 1.0,
            Self::Equal => 0.0,
            Self::Uniform => 1.0 / 3.0,
            Self::ShortAndLong { short } => 0.5 / short + 0.5 / (1.0 - short) - 1.0,
        }
    }

    #[inline]
    fn draw(self, random: &mut Random) -> f64 {
        match self {
            Self::Exponential => random.exponential(),
            Self::Equal => 1.0,
            Self::Uniform => 2.0 * random.unit(),
            Self::ShortAndLong { short } => {
                let kind = if random.chance(short) {
                    short
                } else {
                    1.0 - short
                };
                random.exponential() * 0.5 / kind
            }
        }
    }
}

/// Who comes to a station, and how long they take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Customers {
    /// Arrivals per mean service time.
    pub load: f64,
    /// How long services take.
    pub service_times: ServiceTimes,
    /// The first that many are not counted: a station begins empty.
    pub warm_up: u64,
    /// That many are counted.
    pub counted: u64,
    /// From which all random numbers follow.
    pub seed: u64,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observation {
    /// Events of the whole run.
    pub events: u64,
    /// Counted customers that were refused.
    pub refused: u64,
    /// Counted customers that were served.
    pub served: u64,
    /// Sum of the waits of the served, in nanoseconds.
    pub waited: u64,
    /// A number that differs if any service began at another moment.
    pub digest: u64,
}

/// One mean service time.
pub const MEAN_SERVICE_TIME: Duration = Duration::from_millis(1);

impl Observation {
    /// Share of customers that were refused.
    #[expect(clippy::cast_precision_loss, reason = "a share of a few millions")]
    pub fn refused_share(&self) -> f64 {
        self.refused as f64 / (self.refused + self.served) as f64
    }

    /// Mean wait of those served, in mean service times.
    #[expect(clippy::cast_precision_loss, reason = "a mean is rounded anyway")]
    pub fn wait_mean(&self) -> f64 {
        self.waited as f64 / self.served as f64 / MEAN_SERVICE_TIME.as_nanos() as f64
    }
}

/// What happens at a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Arrives,
    Done { service: u32 },
}

/// A station at work.
#[derive(Debug)]
pub struct Station<L> {
    line: L,
    customers: Customers,
    gap: Duration,
    queue: EventQueue<Event>,
    arrivals: Random,
    service_times: Random,
    arrived: u64,
    /// Counted from this arrival on.
    counts_from: Instant,
    seen: Observation,
}

impl<L: WaitingLine> Station<L> {
    /// A station before its first customer.
    pub fn new(line: L, customers: Customers) -> Self {
        let mut station = Self {
            line,
            customers,
            gap: times(MEAN_SERVICE_TIME, 1.0 / customers.load),
            queue: EventQueue::with_capacity(64),
            arrivals: Random::stream(customers.seed, "arrivals"),
            service_times: Random::stream(customers.seed, "service times"),
            arrived: 0,
            counts_from: Instant(u64::MAX),
            seen: Observation::default(),
        };
        station.expect_next();
        station
    }

    /// Lets all customers come and go.
    pub fn run(&mut self) -> Observation {
        while let Some((now, event)) = self.queue.pop() {
            self.seen.events += 1;
            match event {
                Event::Arrives => self.arrives(now),
                Event::Done { service } => {
                    if let Some(next) = self.line.done(service, now) {
                        self.begin(next, now);
                    }
                }
            }
        }
        self.seen
    }

    fn expect_next(&mut self) {
        if self.arrived < self.customers.warm_up + self.customers.counted {
            let at = self.queue.now() + self.arrivals.exponential_span(self.gap);
            self.queue.push(at, Event::Arrives);
        }
    }

    #[inline]
    fn arrives(&mut self, now: Instant) {
        if self.arrived == self.customers.warm_up {
            self.counts_from = now;
        }
        self.arrived += 1;
        match self.line.arrive(now) {
            Offered::Served(served) => self.begin(served, now),
            Offered::Waits => {}
            Offered::Refused => self.seen.refused += u64::from(self.counts_from <= now),
        }
        self.expect_next();
    }

    #[inline]
    fn begin(&mut self, served: Served, now: Instant) {
        let wait = now.0 - served.arrived.0;
        if served.arrived >= self.counts_from {
            self.seen.served += 1;
            self.seen.waited += wait;
        }
        self.seen.digest = (self.seen.digest ^ now.0).wrapping_mul(0x0000_0100_0000_01b3);
        let factor = self.customers.service_times.draw(&mut self.service_times);
        let service = served.service;
        self.queue.push(
            now + times(MEAN_SERVICE_TIME, factor),
            Event::Done { service },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eight_servers(seed: u64) -> Observation {
        let customers = Customers {
            load: 7.2,
            service_times: ServiceTimes::Exponential,
            warm_up: 100,
            counted: 1_000,
            seed,
        };
        Station::new(Line::new(8, Some(20)), customers).run()
    }

    #[test]
    fn every_customer_is_served_or_refused() {
        let seen = eight_servers(1);
        assert_eq!(seen.served + seen.refused, 1_000);
        assert!(seen.events <= 2 * 1_100);
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        assert_eq!(eight_servers(1), eight_servers(1));
        assert_ne!(eight_servers(1).digest, eight_servers(2).digest);
    }

    #[test]
    fn nobody_waits_where_services_are_shorter_than_gaps_between_arrivals() {
        let customers = Customers {
            load: 1e-6,
            service_times: ServiceTimes::Equal,
            warm_up: 0,
            counted: 100,
            seed: 1,
        };
        let seen = Station::new(Line::new(1, None), customers).run();
        assert_eq!((seen.served, seen.waited), (100, 0));
    }
}
