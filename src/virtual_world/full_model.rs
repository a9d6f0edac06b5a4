//! The whole model under a load without end: how fast it is, and how much memory it takes.
//!
//! The same world as in a [`trial`](super::trial), with nothing written down but the digest, so that a run
//! may be as long as one likes: whatever grows then is a leak. Attempts and facts are streamed, neither is
//! kept.

use std::time::Duration;

use sim_httpsys::clockwork::Instant;
use sim_was::control::{Command, Service};

use super::chronicle::Keeping;
use super::clients::{Clients, Load};
use super::costs::Costs;
use super::destinations::Destinations;
use super::faults::Faults;
use super::track::Watch;
use super::trial::{ROOT, TrialError, files};
use super::world::{Notice, Reader, Setting, World};
use crate::load::plan::{Attempts, PlannedAttempt, Stream};
use crate::load::profile::Profile;
use crate::scenario::{Operation, Scenario, timing};

/// A world that is running.
#[derive(Debug)]
pub struct FullModel {
    world: World,
}

impl FullModel {
    /// The services are told to start, and the load begins. With `checked`, invariants are checked as in
    /// a swarm.
    pub fn new(
        scenario: &Scenario,
        seed: u64,
        costs: &Costs,
        checked: bool,
    ) -> Result<Self, TrialError> {
        let served = scenario.served(Operation::None)?;
        let profile = &scenario.load;
        let mut attempts = Attempts::new(profile, seed)?;
        let urls = attempts.all_urls();
        let kinds = kinds(profile, urls.len());
        let to = Destinations::of(urls, &kinds, profile, &served.configuration)
            .map_err(|source| TrialError::target(scenario, source))?;
        let load = Load::Endless(Box::new(attempts));
        let mut world = World::new(Setting {
            costs,
            seed,
            httpsys: scenario.server.httpsys.clone(),
            root: ROOT.into(),
            files: files(scenario, &served)?,
            clients: Clients::new(profile.clone(), seed, load, to),
            configuration: served.configuration,
            configuration_text: served.text,
            reader: Reader::default(),
            faults: Faults::default(),
            keeping: Keeping::Nothing { checked },
            watch: Watch::Digest,
            personality: scenario.server.personality,
        });
        let services = vec![Service::Was, Service::W3svc];
        world.command(Command::StartServices { services });
        world.go(world.now() + timing::LEAD);
        Ok(Self { world })
    }

    /// Lets at least so many events happen.
    pub fn run(&mut self, events: u64) -> Result<(), TrialError> {
        let end = self.events() + events;
        self.run_until(|world| world.timeline.events >= end)
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, span: Duration) -> Result<(), TrialError> {
        let end = self.world.now() + span;
        self.run_until(|world| world.now() >= end)
    }

    fn run_until(&mut self, is_over: impl Fn(&World) -> bool) -> Result<(), TrialError> {
        while !is_over(&self.world) {
            match self.world.run() {
                Notice::Look => {
                    let now = self.world.now();
                    self.world.clients.progress(now);
                }
                Notice::Answered(..) | Notice::Reached | Notice::Stopped => {}
                Notice::Interrupted => return Err(TrialError::Interrupted),
                Notice::Silence => return Err(TrialError::Silence(self.world.now())),
                Notice::Broken(broken) => {
                    let event = self.events();
                    return Err(TrialError::Broken { broken, event });
                }
            }
        }
        Ok(())
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.world.timeline.events
    }

    /// Requests that have ended, as clients count them.
    pub fn requests(&self) -> u64 {
        self.world.clients.done()
    }

    /// Requests that have begun and not ended.
    pub fn in_flight(&self) -> usize {
        self.world.clients.in_flight()
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.world.now()
    }

    /// The digest over all facts so far.
    pub fn digest(&self) -> u64 {
        self.world.digest()
    }
}

/// One attempt of every kind that a profile may make.
fn kinds(profile: &Profile, urls: usize) -> Vec<PlannedAttempt> {
    let of = |stream, url, secure| PlannedAttempt {
        number: 0,
        stream,
        at: 0,
        user: 0,
        url,
        session: false,
        secure,
        one_shot: false,
        connection: 0,
    };
    let urls = 0..u32::try_from(urls).unwrap_or(u32::MAX);
    let mut kinds = vec![of(Stream::ProbeNew, 0, false)];
    for url in urls {
        if profile.tls_share < 1.0 {
            kinds.push(of(Stream::Load, url, false));
        }
        if profile.tls_share > 0.0 {
            kinds.push(of(Stream::Load, url, true));
        }
    }
    kinds
}
