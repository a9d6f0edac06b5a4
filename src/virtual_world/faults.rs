//! Faults: what may go wrong, drawn from streams of their own, one for each question.
//!
//! Each kind is on or off for a whole run; the rates belong to one run. Every question takes one number
//! from its stream, whatever is answered, so that switching one fault on does not deal the others anew.
//! What clients do to a server is among their own (`clients::mischief`). Absent so far: faults of the
//! wall clock, of disks, and of the wire between WAS and the driver.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sim_httpsys::api::{Call, Completion};
use sim_httpsys::clockwork::Instant;
use sim_worker::ipm::ToWorker;
use sim_worker::model::Input;

use super::random::{Random, times};

/// Which faults there are, and how often. Zero is never. Times are milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// A worker dies of SIGSEGV instead of handling what has reached it: the chance for each input.
    pub crash: f64,
    /// Crashes strike only at this step, if one is named.
    pub crash_when: Option<Moment>,
    /// Every worker dies at its input of this number; 0 is never.
    pub crash_at_input: u32,
    /// A worker stops for good instead, and stays: the chance for each input.
    pub hang: f64,
    /// A worker answers pings from then on, and no requests: the chance for each request.
    pub zombie: f64,
    /// A worker dies before its first word: the chance for each start.
    pub crash_at_start: f64,
    /// A worker never gets as far as its first word.
    pub never_ready: f64,
    /// A start takes so much longer: the median of a lognormal distribution.
    pub slow_start: f64,
    /// A ping is answered a nanosecond before its limit, at it or after it: the chance for each answer.
    pub slow_pong: f64,
    /// A worker that is told to stop gives a response a nanosecond before its limit, at it or after it.
    pub last_moment: f64,
    /// Words between WAS and workers take up to so much longer.
    pub ipm_delay: f64,
    /// The pipe stands still for up to three seconds: the chance for each word.
    pub ipm_stall: f64,
    /// A worker's word arrives twice.
    pub ipm_duplicate: f64,
    /// A worker's word arrives as nonsense.
    pub ipm_garble: f64,
    /// A worker's word is cut, and its pipe with it.
    pub ipm_cut: f64,
    /// A worker does not take what the driver sends for up to three seconds: the chance for each.
    pub device_stall: f64,
    /// WAS hears of a death up to so much later.
    pub late_death: f64,
    /// A worker answers a request that is not its own: the chance for each response.
    pub lie: f64,
    /// A client resets its connection before, while or after its request is dealt with.
    pub client_abort: f64,
    /// A client sends FIN behind its request.
    pub half_close: f64,
    /// A client sends its request in pieces, with pauses of up to two seconds.
    pub trickle: f64,
    /// A client takes its response late.
    pub slow_read: f64,
    /// A client asks once more when the server has broken off, as browsers do.
    pub resend: f64,
}

/// A step of a worker's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// The driver has answered a call.
    Called,
    /// A request comes.
    Request,
    /// A client has gone.
    Disconnected,
    /// It is pinged.
    Ping,
    /// It is told to stop.
    Shutdown,
    /// A piece of work is done.
    WorkDone,
}

impl Moment {
    fn of(input: &Input) -> Option<Self> {
        if let Input::Completed(completion) = input {
            return match completion {
                Completion::Called { .. } => Some(Self::Called),
                Completion::Request(_) => Some(Self::Request),
                Completion::Disconnected { .. } => Some(Self::Disconnected),
                Completion::EntityBody { .. }
                | Completion::DemandStart { .. }
                | Completion::Untrusted { .. } => None,
            };
        }
        if let Input::Told(ToWorker::Ping { .. }) = input {
            Some(Self::Ping)
        } else if let Input::Told(ToWorker::Shutdown { .. }) = input {
            Some(Self::Shutdown)
        } else if let Input::WorkDone { .. } = input {
            Some(Self::WorkDone)
        } else {
            None
        }
    }
}

/// What strikes a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strike {
    Crash,
    Hang,
    Zombie,
}

/// What happens to a worker's word on its way to WAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Garble {
    Not,
    Twice,
    Nonsense,
    Cut,
}

/// The longest that anything stands still.
const STALL: Duration = Duration::from_secs(3);

/// Deals out faults until it is told to be quiet.
#[derive(Debug)]
pub(super) struct Fate {
    faults: Faults,
    inputs: Random,
    starts: Random,
    pongs: Random,
    moments: Random,
    pipes: Random,
    words: Random,
    devices: Random,
    deaths: Random,
    lies: Random,
    is_quiet: bool,
}

impl Fate {
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        let stream = |what: &str| Random::stream(seed, &format!("faults of {what}"));
        Self {
            is_quiet: faults == Faults::default(),
            faults,
            inputs: stream("inputs"),
            starts: stream("starts"),
            pongs: stream("pongs"),
            moments: stream("last moments"),
            pipes: stream("pipes"),
            words: stream("words"),
            devices: stream("devices"),
            deaths: stream("deaths"),
            lies: stream("lies"),
        }
    }

    /// No more faults.
    pub(super) fn be_quiet(&mut self) {
        self.is_quiet = true;
    }

    /// What happens to a worker instead of its input of that number.
    pub(super) fn of_input(&mut self, number: u32, input: &Input) -> Option<Strike> {
        if self.is_quiet {
            return None;
        }
        let faults = &self.faults;
        let moment = Moment::of(input);
        let draw = self.inputs.unit();
        if faults.crash_at_input > 0 && number == faults.crash_at_input {
            return Some(Strike::Crash);
        }
        let may_crash = faults.crash_when.is_none() || moment == faults.crash_when;
        let crash = if may_crash { faults.crash } else { 0.0 };
        let zombie = if moment == Some(Moment::Request) {
            faults.zombie
        } else {
            0.0
        };
        if draw < crash {
            Some(Strike::Crash)
        } else if draw < crash + faults.hang {
            Some(Strike::Hang)
        } else if draw < crash + faults.hang + zombie {
            Some(Strike::Zombie)
        } else {
            None
        }
    }

    /// What happens to a worker instead of its start.
    pub(super) fn of_start(&mut self) -> Option<Strike> {
        if self.is_quiet {
            return None;
        }
        let (crash, hang) = (self.faults.crash_at_start, self.faults.never_ready);
        let draw = self.starts.unit();
        if draw < crash {
            Some(Strike::Crash)
        } else if draw < crash + hang {
            Some(Strike::Hang)
        } else {
            None
        }
    }

    /// How much longer a start takes.
    pub(super) fn delay_of_start(&mut self) -> Duration {
        if self.is_quiet || self.faults.slow_start == 0.0 {
            return Duration::ZERO;
        }
        let normal: f64 = self.starts.sample(&rand_distr::StandardNormal);
        times(millis(self.faults.slow_start), normal.exp())
    }

    /// When a ping that is answered now arrives, if not as usual. `limit` is its last moment.
    pub(super) fn of_pong(&mut self, now: Instant, limit: Instant) -> Option<Duration> {
        let rate = self.faults.slow_pong;
        around(&mut self.pongs, self.is_quiet, rate, now, limit)
    }

    /// When a response of a worker that is told to stop goes out, if not as usual.
    pub(super) fn of_last_moment(&mut self, now: Instant, limit: Instant) -> Option<Duration> {
        let rate = self.faults.last_moment;
        around(&mut self.moments, self.is_quiet, rate, now, limit)
    }

    /// How much longer a word between WAS and a worker takes.
    pub(super) fn delay_of_word(&mut self) -> Duration {
        if self.is_quiet || (self.faults.ipm_delay == 0.0 && self.faults.ipm_stall == 0.0) {
            return Duration::ZERO;
        }
        let usual = times(millis(self.faults.ipm_delay), self.pipes.unit());
        usual + stall(&mut self.pipes, self.faults.ipm_stall)
    }

    /// What happens to a worker's word.
    pub(super) fn of_word(&mut self) -> Garble {
        let faults = &self.faults;
        let (twice, nonsense, cut) = (faults.ipm_duplicate, faults.ipm_garble, faults.ipm_cut);
        if self.is_quiet || twice + nonsense + cut == 0.0 {
            return Garble::Not;
        }
        let draw = self.words.unit();
        if draw < twice {
            Garble::Twice
        } else if draw < twice + nonsense {
            Garble::Nonsense
        } else if draw < twice + nonsense + cut {
            Garble::Cut
        } else {
            Garble::Not
        }
    }

    /// For how long a worker does not take what the driver sends.
    pub(super) fn of_device(&mut self) -> Duration {
        if self.is_quiet || self.faults.device_stall == 0.0 {
            return Duration::ZERO;
        }
        stall(&mut self.devices, self.faults.device_stall)
    }

    /// How much later WAS hears of a death.
    pub(super) fn delay_of_death(&mut self) -> Duration {
        if self.is_quiet || self.faults.late_death == 0.0 {
            return Duration::ZERO;
        }
        times(millis(self.faults.late_death), self.deaths.unit())
    }

    /// Which request a worker answers besides its own.
    pub(super) fn of_response(&mut self, call: &Call) -> Option<u64> {
        if self.is_quiet || self.faults.lie == 0.0 {
            return None;
        }
        let Call::SendResponse { request, .. } = call else {
            return None;
        };
        let lies = self.lies.chance(self.faults.lie);
        let which = self.lies.below(4);
        lies.then_some(match which {
            0 => 0,
            1 => u64::MAX,
            2 => request.0 + 1,
            _before => request.0.saturating_sub(1),
        })
    }
}

fn millis(millis: f64) -> Duration {
    Duration::try_from_secs_f64(millis / 1_000.0).unwrap_or_default()
}

/// A pause, or none.
fn stall(random: &mut Random, chance: f64) -> Duration {
    let (strikes, part) = (random.chance(chance), random.unit());
    if strikes {
        times(STALL, part)
    } else {
        Duration::ZERO
    }
}

/// A nanosecond before a limit, at it or a nanosecond later; nothing if it does not strike.
fn around(
    random: &mut Random,
    is_quiet: bool,
    chance: f64,
    now: Instant,
    limit: Instant,
) -> Option<Duration> {
    if is_quiet || chance == 0.0 {
        return None;
    }
    let (strikes, side) = (random.chance(chance), random.below(3));
    let at = Instant((limit.0 + side).saturating_sub(1));
    (strikes && at > now).then(|| at - now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fault_more_leaves_the_others_where_they_were() {
        let struck = |faults: Faults| {
            let mut fate = Fate::new(faults, 7);
            let input = Input::Told(ToWorker::Ping { sequence: 1 });
            let strikes = (0..2_000).filter(|number| {
                let _ = fate.delay_of_word();
                fate.of_input(*number, &input) == Some(Strike::Crash)
            });
            strikes.collect::<Vec<_>>()
        };
        let crash = Faults {
            crash: 0.01,
            ..Faults::default()
        };
        let both = Faults {
            ipm_delay: 5.0,
            hang: 0.1,
            ..crash.clone()
        };
        assert!(!struck(crash.clone()).is_empty());
        assert_eq!(struck(crash), struck(both));
    }

    #[test]
    fn a_limit_is_tried_on_both_sides_and_in_the_middle() {
        let faults = Faults {
            slow_pong: 1.0,
            ..Faults::default()
        };
        let mut fate = Fate::new(faults, 1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..50 {
            seen.extend(fate.of_pong(Instant(100), Instant(1_000)));
        }
        let nanos: Vec<u128> = seen.iter().map(Duration::as_nanos).collect();
        assert_eq!(nanos, [899, 900, 901]);
        fate.be_quiet();
        assert_eq!(fate.of_pong(Instant(100), Instant(1_000)), None);
    }
}
