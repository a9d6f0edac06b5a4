//! The plan: every attempt with its time, user, URL and connection, drawn before the run begins.
//!
//! Each question ("when?", "who?", "which URL?") has a stream of random numbers of its own, and each
//! attempt takes exactly one number from each. So the same seed gives the same attempts, and
//! changing one parameter does not redeal the others. Sources of randomness elsewhere: none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::mix::{Mix, PlannedUrl, Urls};
use super::profile::{Arrivals, Profile, ProfileError};

/// Which stream an attempt belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The load.
    Load,
    /// Probes, each on a connection of its own.
    ProbeNew,
    /// Probes on kept-alive connections.
    ProbeReused,
}

/// An attempt that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedAttempt {
    /// Its id, counted from 0 over all streams, in the order of time.
    pub number: u32,
    /// Its stream.
    pub stream: Stream,
    /// When, in nanoseconds from the start of the plan.
    pub at: u64,
    /// Whose.
    pub user: u32,
    /// Which of [`Plan::urls`].
    pub url: u32,
    /// Whether the user's session cookie goes with it.
    pub session: bool,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// Whether it opens a connection and closes it.
    pub one_shot: bool,
    /// Which kept-alive connection of its kind it would like, counted without end.
    pub connection: u32,
}

/// Everything that is to be attempted, in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The attempts.
    pub attempts: Vec<PlannedAttempt>,
    /// The URLs that they ask for.
    pub urls: Vec<PlannedUrl>,
}

impl Plan {
    /// Draws the plan of a profile. The same profile, seed and duration give the same plan.
    ///
    /// # Panics
    ///
    /// Never: what nobody stops is drawn to its end.
    pub fn draw(profile: &Profile, seed: u64, duration: Duration) -> Result<Self, ProfileError> {
        let plan = Self::draw_unless(&AtomicBool::new(false), profile, seed, duration)?;
        Ok(plan.expect("nobody raises it"))
    }

    /// As [`Plan::draw`]; `None` if `stop` is raised before all is drawn: the largest plans take seconds.
    pub fn draw_unless(
        stop: &AtomicBool,
        profile: &Profile,
        seed: u64,
        duration: Duration,
    ) -> Result<Option<Self>, ProfileError> {
        const LOOK: u32 = 1 << 16;
        let end = nanos(duration);
        let mut drawing = Attempts::new(profile, seed)?;
        drawing.end = end;
        let mut is_stopped = false;
        let attempts = drawing.by_ref().take_while(|attempt| {
            is_stopped |= attempt.number.is_multiple_of(LOOK) && stop.load(Ordering::Relaxed);
            !is_stopped && attempt.at < end
        });
        let attempts = attempts.collect();
        Ok((!is_stopped).then_some(Self {
            attempts,
            urls: drawing.urls.list,
        }))
    }
}

/// The attempts of a profile, in the order of time, without end.
#[derive(Clone, Debug)]
pub struct Attempts {
    profile: Profile,
    dice: Dice,
    mix: Mix,
    urls: Urls,
    /// The next attempt of the load.
    load: PlannedAttempt,
    /// Attempts of the load that were drawn.
    drawn: u32,
    /// When the load has got so far, in seconds.
    clock: f64,
    /// The next probe of each stream.
    probes: [PlannedAttempt; 2],
    /// What is held, and how many of it are still to come. Nothing of it is random, so that it redeals
    /// nothing.
    held: (PlannedAttempt, u32),
    number: u32,
    /// From here on nobody asks what would be attempted; nanoseconds.
    end: u64,
}

impl Attempts {
    /// Of that profile. The same profile and seed give the same attempts.
    pub fn new(profile: &Profile, seed: u64) -> Result<Self, ProfileError> {
        profile.check()?;
        let mut urls = Urls::default();
        let url = urls.number(&profile.probes.url, profile.probes.host.as_ref());
        let probe = |stream, at| PlannedAttempt {
            number: 0,
            stream,
            at,
            user: 0,
            url,
            session: false,
            secure: false,
            one_shot: stream == Stream::ProbeNew,
            connection: 0,
        };
        let half = nanos(profile.probes.interval) / 2;
        let probes = [probe(Stream::ProbeNew, 0), probe(Stream::ProbeReused, half)];
        let held = profile.held.as_ref().map(|held| {
            let one = PlannedAttempt {
                url: urls.number(&held.url, held.host.as_ref()),
                one_shot: true,
                ..probe(Stream::Load, nanos(held.at))
            };
            (one, held.count)
        });
        let mut attempts = Self {
            held: held.unwrap_or((probes[0], 0)),
            dice: Dice::new(seed),
            mix: Mix::new(&profile.mix),
            urls,
            load: probes[0],
            drawn: 0,
            clock: 0.0,
            probes,
            number: 0,
            end: u64::MAX,
            profile: profile.clone(),
        };
        attempts.load = attempts.draw();
        Ok(attempts)
    }

    /// Every URL that will ever be asked for, in the order of its number, whatever was drawn so far.
    pub fn all_urls(&mut self) -> &[PlannedUrl] {
        if let Some(long) = &self.profile.long {
            self.urls.number(&long.url, long.host.as_ref());
        }
        self.mix.number_all(&mut self.urls);
        &self.urls.list
    }

    /// The next attempt of all streams.
    fn merged(&mut self) -> PlannedAttempt {
        let [new, reused] = &mut self.probes;
        let probe = if (new.at, new.stream) < (reused.at, reused.stream) {
            new
        } else {
            reused
        };
        let (held, left) = &mut self.held;
        if *left > 0 && held.at <= self.load.at.min(probe.at) {
            *left -= 1;
            return *held;
        }
        if (self.load.at, self.load.stream) <= (probe.at, probe.stream) {
            let next = self.load;
            self.load = self.draw();
            return next;
        }
        let next = *probe;
        probe.at = probe.at.saturating_add(nanos(self.profile.probes.interval));
        next
    }

    /// The next attempt of the load.
    fn draw(&mut self) -> PlannedAttempt {
        let (profile, dice) = (&self.profile, &mut self.dice);
        let gap = unit(&mut dice.arrivals);
        self.drawn = self.drawn.saturating_add(1);
        self.clock = match profile.arrivals {
            Arrivals::Poisson => self.clock - (1.0 - gap).ln() / profile.rate,
            Arrivals::Uniform => f64::from(self.drawn) / profile.rate,
        };
        let one_shot = happens(&mut dice.one_shots, profile.one_shot_share);
        let secure = happens(&mut dice.tls, profile.tls_share);
        let user = scaled(unit(&mut dice.users), profile.users);
        let connection = scaled(unit(&mut dice.connections), u32::MAX);
        let (kind, page) = (unit(&mut dice.urls), unit(&mut dice.pages));
        let (url, session) = match &profile.long {
            Some(long) if happens(&mut dice.long, long.share) => {
                (self.urls.number(&long.url, long.host.as_ref()), false)
            }
            Some(_) | None => self.mix.choose(kind, page, &mut self.urls),
        };
        PlannedAttempt {
            number: 0,
            stream: Stream::Load,
            at: nanos(Duration::from_secs_f64(self.clock)),
            user,
            url,
            session,
            secure,
            one_shot,
            connection,
        }
    }
}

impl Iterator for Attempts {
    type Item = PlannedAttempt;

    fn next(&mut self) -> Option<PlannedAttempt> {
        // Drawn and left out, so that a pause does not redeal what comes after it.
        let mut next = self.merged();
        let pauses = |of: &Self, at| of.profile.pauses.iter().any(|pause| pause.covers(at));
        while next.at < self.end && pauses(self, next.at) {
            next = self.merged();
        }
        next.number = self.number;
        self.number = self.number.saturating_add(1);
        Some(next)
    }
}

/// One stream of random numbers for each question.
#[derive(Clone, Debug)]
struct Dice {
    arrivals: Pcg64Mcg,
    one_shots: Pcg64Mcg,
    tls: Pcg64Mcg,
    users: Pcg64Mcg,
    connections: Pcg64Mcg,
    urls: Pcg64Mcg,
    pages: Pcg64Mcg,
    long: Pcg64Mcg,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self {
            arrivals: random_stream(seed, "arrivals"),
            one_shots: random_stream(seed, "one-shots"),
            tls: random_stream(seed, "tls"),
            users: random_stream(seed, "users"),
            connections: random_stream(seed, "connections"),
            urls: random_stream(seed, "urls"),
            pages: random_stream(seed, "pages"),
            long: random_stream(seed, "long"),
        }
    }
}

/// The stream of random numbers with this name: the same for the same seed on every machine.
///
/// The name is mixed in with FNV-1a, which is written out here because the standard library does
/// not promise that its hash stays the same.
pub fn random_stream(seed: u64, name: &str) -> Pcg64Mcg {
    let bytes = seed.to_le_bytes().into_iter().chain(name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Pcg64Mcg::seed_from_u64(hash)
}

/// A number from 0 up to but without 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
pub fn unit(dice: &mut Pcg64Mcg) -> f64 {
    (dice.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Whether what has that share happens. Where it never does nothing is drawn: each question has a stream of its own.
fn happens(dice: &mut Pcg64Mcg, share: f64) -> bool {
    share > 0.0 && unit(dice) < share
}

/// A whole number below `below`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number below 1 times a u32 is a u32"
)]
fn scaled(unit: f64, below: u32) -> u32 {
    (unit * f64::from(below)) as u32
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan_file::{PlanFile, Target};
    use crate::load::profile::Pause;

    fn profile() -> Profile {
        let text = "
            [[mix]]
            url = '/page/{n}'
            catalogue = 50
            weight = 3
            session = true
            [[mix]]
            url = '/static.css'
        ";
        toml::from_str(text).unwrap()
    }

    fn load(profile: &Profile, seed: u64) -> (Vec<PlannedAttempt>, Vec<PlannedUrl>) {
        let plan = Plan::draw(profile, seed, Duration::from_secs(4)).unwrap();
        let of_load = |attempt: &PlannedAttempt| attempt.stream == Stream::Load;
        (
            plan.attempts.into_iter().filter(of_load).collect(),
            plan.urls,
        )
    }

    #[test]
    fn a_plan_that_nobody_wants_any_more_is_not_drawn() {
        let second = Duration::from_secs(1);
        let drawn = |stop| Plan::draw_unless(&AtomicBool::new(stop), &profile(), 1, second);
        assert_eq!(drawn(true), Ok(None));
        assert_eq!(drawn(false), Plan::draw(&profile(), 1, second).map(Some));
    }

    #[test]
    fn the_same_seed_gives_the_same_attempts() {
        assert_eq!(load(&profile(), 7), load(&profile(), 7));
        assert_ne!(load(&profile(), 7), load(&profile(), 8));
    }

    #[test]
    fn a_pause_leaves_attempts_out_and_does_not_redeal_the_others() {
        let mut paused = profile();
        paused.pauses = vec![Pause {
            from: Duration::from_secs(1),
            to: Duration::from_secs(2),
        }];
        let is_outside = |at: u64| !(1_000_000_000..2_000_000_000).contains(&at);
        let all = load(&profile(), 7).0.into_iter().map(|a| (a.at, a.user));
        let outside: Vec<_> = all.filter(|(at, _)| is_outside(*at)).collect();
        let with_pause: Vec<_> = load(&paused, 7).0.iter().map(|a| (a.at, a.user)).collect();
        assert_eq!(with_pause, outside);
    }

    #[test]
    fn the_values_of_a_seed_are_pinned() {
        let (attempts, urls) = load(&profile(), 42);
        let first: Vec<_> = attempts
            .iter()
            .take(3)
            .map(|a| {
                (
                    a.at / 1_000,
                    a.user,
                    urls[a.url as usize].url.as_str(),
                    a.secure,
                )
            })
            .collect();
        assert_eq!(first, PINNED);
    }

    const PINNED: [(u64, u32, &str, bool); 3] = [
        (3924, 114, "/page/42", false),
        (4500, 19, "/page/43", false),
        (5477, 45, "/page/0", false),
    ];

    #[test]
    fn another_rate_does_not_redeal_users_and_urls() {
        let (slow, slow_urls) = load(&profile(), 3);
        let (fast, fast_urls) = load(
            &Profile {
                rate: 900.0,
                ..profile()
            },
            3,
        );
        for (a, b) in slow.iter().zip(&fast) {
            assert_eq!(slow_urls[a.url as usize], fast_urls[b.url as usize]);
            assert_eq!(
                (a.user, a.secure, a.one_shot),
                (b.user, b.secure, b.one_shot)
            );
        }
    }

    #[test]
    fn the_rate_is_kept_and_popular_pages_are_popular() {
        let (attempts, urls) = load(&profile(), 1);
        assert!(
            (1_800..2_200).contains(&attempts.len()),
            "{}",
            attempts.len()
        );
        let asked = |url: &str| {
            attempts
                .iter()
                .filter(|a| urls[a.url as usize].url == url)
                .count()
        };
        assert!(asked("/page/0") > 3 * asked("/page/20"));
        let sheets = asked("/static.css");
        assert!(
            (400..600).contains(&sheets),
            "a quarter of the weight: {sheets}"
        );
    }

    #[test]
    fn probes_of_both_streams_are_planned_at_every_interval() {
        let plan = Plan::draw(&profile(), 1, Duration::from_secs(1)).unwrap();
        for stream in [Stream::ProbeNew, Stream::ProbeReused] {
            assert_eq!(
                plan.attempts.iter().filter(|a| a.stream == stream).count(),
                100
            );
        }
        assert!(
            plan.attempts
                .windows(2)
                .all(|pair| pair[0].at <= pair[1].at)
        );
        assert!(
            plan.attempts
                .iter()
                .enumerate()
                .all(|(n, a)| a.number as usize == n)
        );
    }

    #[test]
    fn requests_to_be_held_are_begun_together_and_redeal_nothing() {
        let held = super::super::profile::Held {
            url: "/wait.aspx?time=3000".to_owned(),
            count: 8,
            at: Duration::from_millis(500),
            host: None,
        };
        let with = Profile {
            held: Some(held.clone()),
            ..profile()
        };
        let (attempts, urls) = load(&with, 7);
        let (is_held, others): (Vec<_>, Vec<_>) = attempts
            .into_iter()
            .partition(|a| urls[a.url as usize].url == held.url);
        assert_eq!(is_held.len(), 8);
        assert!(is_held.iter().all(|a| a.at == 500_000_000 && a.one_shot));
        let times = |attempts: &[PlannedAttempt]| attempts.iter().map(|a| a.at).collect::<Vec<_>>();
        assert_eq!(times(&others), times(&load(&profile(), 7).0));
    }

    #[test]
    fn a_plan_file_survives_being_written() {
        let file = PlanFile {
            profile: profile(),
            seed: 1,
            duration: Duration::from_secs(20),
            targets: vec![Target {
                host: None,
                secure: false,
                address: "127.0.0.1:8080".parse().unwrap(),
                seen_as: Some("127.0.0.1:80".parse().unwrap()),
            }],
            host: "localhost".to_owned(),
            first_id: 1,
            book: "book.jsonl".into(),
        };
        let text = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<PlanFile>(&text).unwrap(), file);
    }
}
