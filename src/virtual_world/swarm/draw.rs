//! From a seed to its plan. Each part has a stream of its own, so that a new choice in one part does not
//! deal the others anew.

use sim_was::config::CpuAction;

use super::applications::NEW;
use super::plan::{Act, LoadPlan, Plan, PlannedOperation, PoolPlan, SitePlan};
use super::sites::{Bound, FIRST_SITE, OtherSite};
use crate::virtual_world::faults::{Faults, Moment};
use crate::virtual_world::random::Random;

/// Draws what a seed stands for, with `millis` of virtual time for load and faults.
pub fn draw(seed: u64, millis: u64) -> Plan {
    let pools = pools(&mut Dice::of(seed, "swarm: pools"));
    let mut sites = Dice::of(seed, "swarm: sites");
    let mut plan = Plan {
        seed,
        millis,
        site: site(&mut Dice::of(seed, "swarm: site")),
        other_sites: other_sites(&mut sites, &pools),
        load: LoadPlan {
            // A form, what the driver reads ahead, and more than that.
            body_bytes: Dice::of(seed, "swarm: bodies").one_of(&[0, 0, 0, 300, 70_000, 200_000]),
            ..load(&mut Dice::of(seed, "swarm: load"))
        },
        operations: operations(
            &mut Dice::of(seed, "swarm: operations"),
            &ACTS,
            &pools,
            millis,
        ),
        faults: faults(&mut Dice::of(seed, "swarm: faults")),
        pools,
    };
    features(&mut Dice::of(seed, "swarm: features"), &mut plan);
    changes(&mut Dice::of(seed, "swarm: changes"), &mut plan);
    let is_pressed = press(&mut Dice::of(seed, "swarm: theme"), &mut plan);
    let numbers: Vec<u32> = plan.sites().collect();
    for operation in &mut plan.operations {
        operation.site = sites.one_of(&numbers);
    }
    if !is_pressed {
        applications(&mut Dice::of(seed, "swarm: applications"), &mut plan);
    }
    plan
}

/// Some seeds press one rare meeting, so that a sweep of two thousand sees it. Says whether this one does.
fn press(dice: &mut Dice, plan: &mut Plan) -> bool {
    let theme = dice.0.below(60);
    let number = dice.one_of(&[120, 150, 180, 210, 240]);
    if theme < 4 {
        plan.other_sites.clear();
    }
    let (pools, load, faults) = (&mut plan.pools, &mut plan.load, &mut plan.faults);
    match theme {
        // A long queue, and starts that fail late.
        0 => {
            load.rate = 300.0;
            load.deadline = 100_000;
            // Once a worker is there it serves what waits, in the time that there is to come to rest.
            load.wait = load.wait.min(300);
            load.cpu = 1;
            faults.slow_start = 8_000.0;
            faults.crash_at_start = 0.5;
            pools.truncate(1);
            pools[0].queue_length = 65_535;
            pools[0].startup_limit = 90_000;
            pools[0].rapid_fail = false;
        }
        // Words that take long, and workers that are idle between two requests.
        1 => {
            load.rate = 2.0;
            load.probe_interval = 2_000;
            pools.truncate(1);
            plan.operations.clear();
            // Workers look whether they are idle once a minute.
            plan.millis = plan.millis.max(250_000);
            (load.wait, load.wait_weight) = (1_000, 5);
            *faults = Faults {
                ipm_delay: 2_000.0,
                ..Faults::default()
            };
            for pool in pools {
                pool.idle_timeout = 100;
                pool.startup_limit = pool.startup_limit.max(9_000);
                pool.max_processes = 1;
                pool.always_running = true;
                pool.restart_time = 0;
                pool.ping_interval = 0;
            }
        }
        // A worker's age and its number of requests, close together.
        2 => {
            load.rate = 10.0;
            load.probe_interval = 500;
            *faults = Faults {
                slow_start: 5_000.0,
                ..Faults::default()
            };
            pools.truncate(1);
            pools[0].max_processes = 1;
            pools[0].overlapped = true;
            pools[0].startup_limit = 90_000;
            pools[0].restart_time = 15_000;
            pools[0].restart_requests = number;
        }
        // Workers that are suspended between two requests.
        3 => {
            load.rate = 2.0;
            load.wait = load.wait.min(300);
            load.probe_interval = 2_000;
            plan.millis = plan.millis.max(130_000);
            for pool in pools {
                pool.idle_timeout = 100;
                pool.suspend = true;
                pool.restart_time = 0;
            }
        }
        _none => {}
    }
    let names: Vec<String> = plan.pools.iter().map(|pool| pool.name.clone()).collect();
    plan.operations
        .retain(|operation| names.contains(&operation.pool));
    theme < 4
}

/// What fewer administrators use, and what they do less often: in half of the runs.
fn features(dice: &mut Dice, plan: &mut Plan) {
    if dice.coin() {
        return;
    }
    for pool in &mut plan.pools {
        pool.orphan = dice.0.chance(0.25);
        pool.suspend = dice.0.chance(0.5);
        pool.cpu_limit = dice.one_of(&[0, 0, 0, 1_000, 50_000]);
        pool.cpu_action = dice.one_of(&[
            CpuAction::NoAction,
            CpuAction::KillW3wp,
            CpuAction::Throttle,
            CpuAction::ThrottleUnderLoad,
        ]);
    }
    plan.faults.resend = dice.one_of(&[0.0, 0.1, 1.0]);
    let acts = [
        Act::FreezeWas,
        Act::ShortenQueue,
        Act::LengthenQueue,
        Act::To32Bit,
        Act::To64Bit,
        Act::KeepOnChange,
        Act::ClockForward,
        Act::ClockBack,
    ];
    let more = operations(dice, &acts, &plan.pools, plan.millis);
    plan.operations.extend(more);
    plan.operations.sort_by_key(|operation| operation.at);
}

/// What settings are set to while the services run. None is what it is without: a plan knows by that what was changed.
const SETTINGS: [&str; 19] = [
    "recycling.periodicRestart.time:00:01:00",
    "recycling.periodicRestart.requests:20",
    "recycling.disallowOverlappingRotation:true",
    "recycling.disallowOverlappingRotation:false",
    "processModel.idleTimeout:00:01:00",
    "processModel.shutdownTimeLimit:00:00:02",
    "processModel.startupTimeLimit:00:00:03",
    "processModel.pingInterval:00:00:02",
    "processModel.pingResponseTime:00:00:01",
    "processModel.pingingEnabled:false",
    "processModel.maxProcesses:1",
    "processModel.maxProcesses:3",
    "failure.rapidFailProtection:false",
    "failure.rapidFailProtection:true",
    "failure.rapidFailProtectionMaxCrashes:2",
    "failure.loadBalancerCapabilities:TcpLevel",
    "failure.loadBalancerCapabilities:HttpLevel",
    "limits.connectionTimeout:00:00:03",
    "limits.maxConnections:10",
];

/// Settings of pools and of the site are changed in half of the runs.
fn changes(dice: &mut Dice, plan: &mut Plan) {
    if dice.coin() {
        return;
    }
    let mut more = operations(dice, &[Act::Set], &plan.pools, plan.millis);
    for operation in &mut more {
        dice.one_of(&SETTINGS).clone_into(&mut operation.set);
    }
    plan.operations.extend(more);
    plan.operations.sort_by_key(|operation| operation.at);
}

/// In half of the runs applications come, go and move to other pools: one or two, each several times.
fn applications(dice: &mut Dice, plan: &mut Plan) {
    if dice.coin() {
        return;
    }
    let numbers: Vec<u32> = plan.sites().collect();
    let subject = |dice: &mut Dice| {
        let site = dice.one_of(&numbers);
        let mut paths = plan.paths(site);
        paths.push(NEW.to_owned());
        let path = usize::try_from(dice.0.below(paths.len() as u64)).unwrap_or(0);
        (site, paths.swap_remove(path))
    };
    let subjects = [subject(dice), subject(dice)];
    let acts = [
        Act::RemoveApplication,
        Act::AddApplication,
        Act::MoveApplication,
    ];
    let mut more = operations(dice, &acts, &plan.pools, plan.millis);
    for operation in &mut more {
        let (site, path) = &subjects[dice.one_of(&[0, 0, 1])];
        operation.site = *site;
        operation.application.clone_from(path);
        // A site without a root is none.
        if path == "/" {
            operation.act = Act::MoveApplication;
        }
    }
    // What comes for it while a worker starts waits for one, and is there when it goes.
    let mut kills = more.clone();
    kills.retain(|_| dice.0.chance(0.3));
    for kill in &mut kills {
        let path = std::mem::take(&mut kill.application);
        kill.act = Act::KillW3wp;
        kill.at = kill.at.saturating_sub(dice.0.below(500_000_000));
        kill.pool = plan.pool_of(kill.site, &path).unwrap_or_default();
    }
    kills.retain(|kill| !kill.pool.is_empty());
    plan.operations.extend(kills);
    plan.operations.extend(more);
    plan.operations.sort_by_key(|operation| operation.at);
}

/// Random choices.
struct Dice(Random);

impl Dice {
    fn of(seed: u64, purpose: &str) -> Self {
        Self(Random::stream(seed, purpose))
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = self.0.below(choices.len() as u64);
        choices[usize::try_from(index).unwrap_or(0)]
    }

    fn coin(&mut self) -> bool {
        self.0.chance(0.5)
    }

    /// Something, or nothing, as likely as not.
    fn maybe<T: Default>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> T {
        let value = draw(self);
        if self.coin() { value } else { T::default() }
    }

    /// A number whose logarithm is uniform, to three digits: it is read back as it is printed.
    fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        let exact = low * (high / low).powf(self.0.unit());
        format!("{exact:.2e}").parse().unwrap_or(exact)
    }
}

fn pools(dice: &mut Dice) -> Vec<PoolPlan> {
    let count = dice.one_of(&[1_u32, 1, 1, 2, 2, 3, 4, 8]);
    let numbered = |number| PoolPlan {
        name: format!("P{number}"),
        ..pool(dice)
    };
    (0..count).map(numbered).collect()
}

/// A pool with the times of IIS, or a tenth or a hundredth of them.
fn pool(dice: &mut Dice) -> PoolPlan {
    // Thousandths of IIS's own times.
    let scale = dice.one_of(&[1_000_u64, 100, 100, 10]);
    let ping_interval = 30 * scale * dice.one_of(&[0, 1, 1, 1]);
    PoolPlan {
        name: String::new(),
        queue_length: dice.one_of(&[10, 10, 100, 1_000, 65_535]),
        always_running: dice.coin(),
        preload: dice.coin(),
        max_processes: dice.one_of(&[1, 1, 1, 2, 4]),
        startup_limit: 90 * scale,
        shutdown_limit: 90 * scale,
        ping_interval,
        ping_response: dice.one_of(&[90, 10]) * scale,
        idle_timeout: dice.one_of(&[0, 0, 60_000, 1_200 * scale]),
        overlapped: dice.coin(),
        restart_time: dice.one_of(&[0, 0, 104_400_000, 15_000]),
        restart_requests: dice.one_of(&[0, 0, 0, 50, 500]),
        restart_schedule: dice
            .one_of(&[None, None, Some(30_000)])
            .into_iter()
            .collect(),
        rapid_fail: dice.one_of(&[true, true, true, false]),
        crashes_max: dice.one_of(&[1, 2, 5, 5]),
        crash_interval: dice.one_of(&[300_000, 30_000, 3_000]),
        tcp_level: dice.one_of(&[false, false, true]),
        ..PoolPlan::default()
    }
}

fn site(dice: &mut Dice) -> SitePlan {
    SitePlan {
        connections_max: dice.one_of(&[None, None, None, Some(20)]),
        connection_timeout: dice.one_of(&[120_000, 120_000, 2_000]),
        header_wait: dice.one_of(&[0, 1_000]),
        flush_owned: dice.coin(),
        cache_bytes: dice.one_of(&[256 << 20, 4_096]),
        cache_seconds: dice.one_of(&[0, 0, 2]),
    }
}

/// Up to three more sites, each with some of the pools: most are shared then.
fn other_sites(dice: &mut Dice, pools: &[PoolPlan]) -> Vec<OtherSite> {
    let count = dice.one_of(&[0_u32, 0, 1, 1, 2, 3]);
    let numbered = |index| {
        let first = usize::try_from(dice.0.below(pools.len() as u64)).unwrap_or(0);
        let served = dice.one_of(&[1_usize, 1, 2, 3]).min(pools.len());
        let names = pools.iter().map(|pool| pool.name.clone());
        OtherSite {
            number: FIRST_SITE + 1 + index,
            bound: dice.one_of(&[Bound::Host, Bound::Port]),
            pools: names.cycle().skip(first).take(served).collect(),
            connections_max: dice.one_of(&[None, None, None, Some(5)]),
            connection_timeout: dice.one_of(&[120_000, 120_000, 3_000]),
            cache_seconds: dice.one_of(&[0, 0, 2]),
        }
    };
    (0..count).map(numbered).collect()
}

fn load(dice: &mut Dice) -> LoadPlan {
    LoadPlan {
        rate: dice.log_uniform(1.0, 100.0).round(),
        keep_alive_connections: dice.one_of(&[1, 8, 64]),
        one_shot_share: dice.one_of(&[0.0, 0.1, 0.7]),
        tls_share: dice.one_of(&[0.0, 0.0, 0.3]),
        deadline: dice.one_of(&[1_000, 10_000, 100_000]),
        wait: dice.one_of(&[10, 300, 5_000, 20_000]),
        wait_weight: dice.one_of(&[1, 5]),
        cpu: dice.one_of(&[1, 20]),
        file_weight: dice.one_of(&[1, 5]),
        probe_interval: dice.one_of(&[500, 2_000]),
        body_bytes: 0,
    }
}

/// What administrators do most.
const ACTS: [Act; 15] = [
    Act::Iisreset,
    Act::IisresetNoforce,
    Act::RestartWas,
    Act::RestartW3svc,
    Act::StopStart,
    Act::StopPool,
    Act::StartPool,
    Act::Recycle,
    Act::Recycle,
    Act::Recycle,
    Act::KillW3wp,
    Act::KillWas,
    Act::StopSite,
    Act::StartSite,
    Act::ChangeContent,
];

fn operations(
    dice: &mut Dice,
    acts: &[Act],
    pools: &[PoolPlan],
    millis: u64,
) -> Vec<PlannedOperation> {
    let count = dice.one_of(&[0, 1, 2, 4, 8]);
    // Close together, so that they meet; or anywhere.
    let spread = dice.one_of(&[5_u64, 1_000, 200_000]) * 1_000_000;
    let start = 2_000_000_000 + dice.0.below(millis.saturating_sub(4_000).max(1) * 500_000);
    let mut operations = Vec::new();
    for _ in 0..count {
        // Two triggers in one nanosecond are as likely as not to be tried.
        let at = start + dice.maybe(|dice| dice.0.below(spread));
        let pool = usize::try_from(dice.0.below(pools.len() as u64)).unwrap_or(0);
        operations.push(PlannedOperation {
            at: at.min(millis * 1_000_000),
            act: dice.one_of(acts),
            pool: pools[pool].name.clone(),
            site: FIRST_SITE,
            set: String::new(),
            application: String::new(),
        });
    }
    operations.sort_by_key(|operation| operation.at);
    operations
}

const MOMENTS: [Moment; 6] = [
    Moment::Called,
    Moment::Request,
    Moment::Disconnected,
    Moment::Ping,
    Moment::Shutdown,
    Moment::WorkDone,
];

/// Half of the runs are spared each fault, and one in eight all of them.
fn faults(dice: &mut Dice) -> Faults {
    let drawn = any_faults(dice);
    if dice.0.chance(0.125) {
        Faults::default()
    } else {
        drawn
    }
}

fn any_faults(dice: &mut Dice) -> Faults {
    Faults {
        crash: dice.maybe(|dice| dice.log_uniform(1e-5, 3e-3)),
        hang: dice.maybe(|dice| dice.log_uniform(1e-6, 3e-4)),
        crash_at_start: dice.maybe(|dice| dice.log_uniform(0.01, 0.7)),
        never_ready: dice.maybe(|dice| dice.log_uniform(0.01, 0.3)),
        slow_start: dice.maybe(|dice| dice.log_uniform(10.0, 20_000.0)),
        crash_when: dice.maybe(|dice| Some(dice.one_of(&MOMENTS))),
        crash_at_input: if dice.0.chance(0.1) {
            dice.one_of(&[1, 2, 3, 5, 20, 100])
        } else {
            0
        },
        zombie: dice.maybe(|dice| dice.log_uniform(1e-6, 1e-3)),
        slow_pong: dice.maybe(|dice| dice.log_uniform(0.01, 0.5)),
        last_moment: dice.maybe(|dice| dice.log_uniform(0.01, 1.0)),
        ipm_delay: dice.maybe(|dice| dice.log_uniform(0.1, 500.0)),
        ipm_stall: dice.maybe(|dice| dice.log_uniform(1e-4, 0.1)),
        ipm_duplicate: dice.maybe(|dice| dice.log_uniform(1e-4, 0.1)),
        ipm_garble: dice.maybe(|dice| dice.log_uniform(1e-4, 0.1)),
        ipm_cut: dice.maybe(|dice| dice.log_uniform(1e-4, 0.1)),
        device_stall: dice.maybe(|dice| dice.log_uniform(1e-5, 1e-2)),
        late_death: dice.maybe(|dice| dice.log_uniform(10.0, 5_000.0)),
        lie: dice.maybe(|dice| dice.log_uniform(1e-5, 1e-2)),
        client_abort: dice.maybe(|dice| dice.log_uniform(1e-3, 0.3)),
        half_close: dice.maybe(|dice| dice.log_uniform(1e-3, 0.3)),
        trickle: dice.maybe(|dice| dice.log_uniform(1e-3, 0.1)),
        slow_read: dice.maybe(|dice| dice.log_uniform(1e-3, 0.1)),
        resend: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_one_to_four_sites_and_they_share_pools_and_ports() {
        let plans: Vec<Plan> = (0..200).map(|seed| draw(seed, 60_000)).collect();
        for count in 1..=4 {
            let with = |plan: &&Plan| plan.sites().count() == count;
            assert!(plans.iter().filter(with).count() > 10, "{count} site(s)");
        }
        let others: Vec<&OtherSite> = plans.iter().flat_map(|plan| &plan.other_sites).collect();
        let bound = |bound| others.iter().filter(|site| site.bound == bound).count();
        assert!(bound(Bound::Host) > 50 && bound(Bound::Port) > 50);
        assert!(others.iter().any(|site| site.pools.len() > 1));
        let operations = plans.iter().flat_map(|plan| &plan.operations);
        let elsewhere = operations.filter(|operation| operation.site != FIRST_SITE);
        assert!(elsewhere.count() > 50);
    }

    #[test]
    fn applications_come_go_and_move_in_many_runs_and_a_root_only_moves() {
        let plans: Vec<Plan> = (0..200).map(|seed| draw(seed, 60_000)).collect();
        for act in [
            Act::RemoveApplication,
            Act::AddApplication,
            Act::MoveApplication,
        ] {
            let does = |plan: &&Plan| plan.operations.iter().any(|done| done.act == act);
            assert!(plans.iter().filter(does).count() > 20, "{act:?}");
        }
        let operations = plans.iter().flat_map(|plan| &plan.operations);
        let mut of_roots = operations.filter(|operation| operation.application == "/");
        assert!(of_roots.all(|operation| operation.act == Act::MoveApplication));
    }

    #[test]
    fn every_site_is_asked_for_every_application_that_it_has() {
        let with_most = (0..200).map(|seed| draw(seed, 60_000));
        let plan = with_most.max_by_key(|plan| plan.other_sites.len()).unwrap();
        let profile = plan.profile();
        let asked = |host: Option<&str>, url: &str| {
            let mut mix = profile.mix.iter();
            mix.any(|entry| entry.host.as_deref() == host && entry.url == url)
        };
        assert!(asked(None, "/default.aspx"));
        for site in &plan.other_sites {
            for (path, _) in site.applications(&plan) {
                assert!(asked(Some(&site.host()), &format!("{path}/iisstart.htm")));
            }
        }
    }
}
